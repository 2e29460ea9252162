//! A request as a command line of curl, for people to try.

use std::net::SocketAddr;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Request;
use crate::headers::text;

impl Request {
    /// The command line that sends this request and shows the head of the answer: an option and its
    /// value make one piece, to be joined by spaces. A body that is no text is left out.
    pub fn curl(&self, address: SocketAddr) -> Vec<String> {
        let mut pieces = vec!["curl -i".to_owned()];
        let form = self.form_parameters();
        let method = if form.is_none() && self.body.is_empty() { "GET" } else { "POST" };
        if self.method != method {
            pieces.push(format!("-X {}", quoted(&self.method)));
        }
        let credentials = self.headers.get("authorization").as_deref().and_then(basic);
        if let Some(credentials) = &credentials {
            pieces.push(format!("-u {}", quoted(credentials)));
        }
        pieces.push(quoted(&format!("http://{address}{}", self.target)));
        if let Some(authority) = &self.authority {
            pieces.push(header("host", authority));
        }
        for (name, value) in self.headers.iter() {
            let name_is = |other: &str| name.eq_ignore_ascii_case(other);
            let said = (name_is("authorization") && credentials.is_some())
                || (name_is("content-type") && form.is_some());
            if !said {
                pieces.push(header(name, &text(value)));
            }
        }
        match form {
            Some(parameters) => pieces.extend(parameters.iter().map(|(name, value)| {
                let option = if stands_for_itself(value) { "-d" } else { "--data-urlencode" };
                format!("{option} {}", quoted(&format!("{name}={value}")))
            })),
            None if !self.body.is_empty() => {
                pieces.push(format!("--data-binary {}", quoted(&text(&self.body))));
            }
            None => {}
        }
        pieces
    }

    fn form_parameters(&self) -> Option<Vec<(String, String)>> {
        let content_type = self.headers.get("content-type")?;
        (content_type == "application/x-www-form-urlencoded")
            .then(|| form_urlencoded::parse(&self.body).into_owned().collect())
    }
}

fn header(name: &str, value: &str) -> String {
    format!("-H {}", quoted(&format!("{name}: {value}")))
}

/// What `-u` takes, of the value of an `authorization` field.
fn basic(authorization: &str) -> Option<String> {
    let credentials = authorization.strip_prefix("Basic ")?;
    String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()
}

/// Whether a form can hold it as it is.
fn stands_for_itself(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/=,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(request: &Request) -> String {
        request.curl(SocketAddr::from(([127, 0, 0, 1], 80))).join(" ")
    }

    #[test]
    fn a_request_is_a_line_to_paste() {
        let cases = [
            (Request::get("/a"), "curl -i http://127.0.0.1:80/a"),
            (
                Request::new("DELETE", "/a?b&c").bearer("t"),
                "curl -i -X DELETE 'http://127.0.0.1:80/a?b&c' -H 'authorization: Bearer t'",
            ),
            (Request::post("/a", "it's"), r"curl -i http://127.0.0.1:80/a --data-binary 'it'\''s'"),
            (Request::post("/a", ""), "curl -i -X POST http://127.0.0.1:80/a"),
            (
                Request::form("/t", &[("scope", "a:b"), ("x", "c d")]).basic("i d", "s:"),
                "curl -i -u i+d:s%3A http://127.0.0.1:80/t -d scope=a:b --data-urlencode 'x=c d'",
            ),
            (
                Request::get("/").authority("a.example"),
                "curl -i http://127.0.0.1:80/ -H 'host: a.example'",
            ),
        ];
        for (request, expected) in cases {
            assert_eq!(line(&request), expected);
        }
    }
}
