use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    scripted::{Answer, ScriptedServer},
    upstream::Upstream,
};

/// What was written on a page.
#[derive(Clone, Default)]
pub(in crate::story) struct Paper(Rc<RefCell<Vec<u8>>>);

impl Paper {
    pub(in crate::story) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An empty page.
pub(in crate::story) fn page(colours: bool) -> (Page, Paper) {
    let paper = Paper::default();
    (Page::new(colours, paper.clone()), paper)
}

#[tokio::test]
async fn a_step_is_marked_and_counted() {
    let (mut page, paper) = page(false);
    assert_eq!(page.step("Right", async |_| Ok(7)).await, Some(7));
    page.verdict();
    let wrong = page.step("Wrong", async |_| Err::<(), _>(NotAsExpected::new("it is so"))).await;
    assert_eq!(wrong, None);
    page.verdict();
    assert_eq!((page.steps(), page.failures()), (2, 1));
    let expected = "\
1. Right\n\n   ok\n\n\
All 1 steps came out as expected.\n\
2. Wrong\n\n   NOT AS EXPECTED: it is so\n\n\
1 of 2 steps did NOT come out as expected.\n";
    assert_eq!(paper.text(), expected);
}

#[tokio::test]
async fn colours_stand_on_a_terminal_only() {
    for colours in [true, false] {
        let (mut page, paper) = page(colours);
        page.step("Right", async |_| Ok(())).await;
        assert_eq!(paper.text().contains('\x1b'), colours);
    }
}

#[tokio::test]
async fn an_exchange_shows_what_reached_the_service() {
    let upstream = Upstream::start().await;
    let address = upstream.address();
    let (mut page, paper) = page(false);
    let request = Request::get("/a").header("x-user", "shop");
    page.exchange(address, &request).await.unwrap();
    let expected = format!(
        "   curl -i http://{address}/a -H 'x-user: shop'\n\n   HTTP/1.1 200 OK\n\n   \
         What reached the service, as its answer tells:\n     GET /a\n     x-user: shop\n     \
         (no authorization)\n\n"
    );
    assert_eq!(paper.text(), expected);
}

#[tokio::test]
async fn an_exchange_shows_a_refusal_and_keeps_within_the_page() {
    let server = ScriptedServer::start().await;
    let challenge = "Bearer realm=\"oauth2\"";
    let body = format!(r#"{{"error": "{}", "b": "{}"}}"#, "word ".repeat(15), "x".repeat(200));
    server.on("/a", Answer::status(401).header("www-authenticate", challenge).body(body));
    let (mut page, paper) = page(false);
    let request = Request::get("/a").bearer(&"t".repeat(64)).header("x-a", "b");
    page.exchange(server.address(), &request).await.unwrap();
    let text = paper.text();
    assert!(text.contains("   HTTP/1.1 401 Unauthorized\n   www-authenticate: Bearer"), "{text}");
    assert!(text.contains(" \\\n     -H 'authorization: Bearer tttt"), "{text}");
    assert!(text.contains("\"b\": \"xxxxxxxxxxxxxxxx…\""), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
}

#[test]
fn only_words_that_are_too_long_are_shortened() {
    let fits = "t".repeat(LONGEST_WORD);
    for text in ["", "a b", "é…é", &format!("-H 'a: {fits}'")] {
        assert_eq!(shortened(text), text);
    }
    assert_eq!(shortened(&format!("'{fits}t' é")), format!("'{}…' é", "t".repeat(16)));
}
