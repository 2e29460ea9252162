//! The outbound story: a program without a token calls a protected service. The token is obtained
//! once, renewed while requests flow, refused by the service and replaced; then the authorization
//! server goes down and comes back.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use super::{NotAsExpected, Page, arrival, expect};
use crate::{
    authorization_server::{AuthorizationServer, Client, Options},
    client::{Request, Response},
    wait,
};

/// What the story is played with: Envoy as in `envoy/outbound.yaml`, and the servers around it.
#[derive(Debug)]
pub struct Scene {
    /// Where Envoy takes what the program sends.
    pub envoy: SocketAddr,
    /// The authorization server; `None` while it is down.
    pub server: Option<AuthorizationServer>,
    /// How it is started again.
    pub options: Options,
}

impl Scene {
    /// How the authorization server of the story is set up: it knows the client of
    /// `envoy/outbound.yaml`, and its tokens live a few seconds.
    pub fn options(listen: SocketAddr) -> Options {
        let client = Client {
            id: CLIENT.to_owned(),
            secret: CLIENT_SECRET.to_owned(),
            scope: vec!["invoices:read".to_owned()],
            subject: CLIENT.to_owned(),
            audience: "https://billing.example.com".to_owned(),
            ..Client::shop()
        };
        Options { listen, access_token_ttl: LIFETIME, clients: vec![client], ..Options::default() }
    }

    /// How often the token endpoint was called since the server was started.
    fn calls(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.stats().token)
    }

    /// Sends the program's request.
    async fn send(&self) -> Result<Response, NotAsExpected> {
        Ok(invoice().send(self.envoy).await?)
    }

    /// The same, on the page.
    async fn show(&self, page: &mut Page) -> Result<String, NotAsExpected> {
        authorization(&page.exchange(self.envoy, &invoice()).await?)
    }

    /// Shows how often the token endpoint was called, and checks it.
    fn expect_calls(&self, page: &mut Page, expected: u64) -> Result<(), NotAsExpected> {
        let calls = self.calls();
        page.say(&format!("Calls of the token endpoint, by the server's own count: {calls}."));
        expect("the number of token calls", calls, expected)
    }
}

/// Plays the story.
pub async fn play(scene: &mut Scene, page: &mut Page) {
    let first = page
        .step(
            "A program without a token calls a protected service, and Envoy adds one",
            async |page| obtained(scene, page).await,
        )
        .await;
    // Without a token none of the rest can be seen.
    let Some(first) = first else { return };
    let heading = format!("{BURST} requests at once: no further call for a token");
    page.step(&heading, async |page| shared(scene, page).await).await;
    let second = page
        .step("Requests flow, and the token is renewed ahead of its end", async |page| {
            renewed(scene, page, &first).await
        })
        .await;
    page.step("The service refuses the token: the next request has another", async |page| {
        replaced(scene, page, &second.unwrap_or(first)).await
    })
    .await;
    page.step(
        "The authorization server goes down: requests go on while the token lives",
        async |page| bridged(scene, page).await,
    )
    .await;
    page.step("It comes back, and so does the token: nothing has to be restarted", async |page| {
        recovered(scene, page).await
    })
    .await;
}

async fn obtained(scene: &Scene, page: &mut Page) -> Result<String, NotAsExpected> {
    page.say(
        "The rules say: what goes to billing.example.com gets the token of the client \"billing\". \
         The filter has none yet, and asks the authorization server (client credentials, RFC 6749).",
    );
    let authorization = scene.show(page).await?;
    scene.expect_calls(page, 1)?;
    Ok(authorization)
}

async fn shared(scene: &Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    let before = scene.calls();
    let mut requests = JoinSet::new();
    for _ in 0..BURST {
        let envoy = scene.envoy;
        requests.spawn(async move { invoice().send(envoy).await });
    }
    let mut passed = 0;
    for answer in requests.join_all().await {
        authorization(&answer?)?;
        passed += 1;
    }
    page.say(&format!("{passed} of {BURST} requests reached the service with a token."));
    // On a slow machine it may be time for the next token.
    let more = scene.calls() - before;
    page.say(&format!("Further calls of the token endpoint: {more}."));
    if more <= 1 { Ok(()) } else { expect("the number of further calls", more, 0) }
}

async fn renewed(scene: &Scene, page: &mut Page, first: &str) -> Result<String, NotAsExpected> {
    let lifetime = LIFETIME.as_secs();
    page.say(&format!(
        "Tokens live {lifetime} s here. A fifth of that before its end, one worker thread asks for \
         the next one in the background, while requests go on with the old one.",
    ));
    page.begin("   Sending requests until the service sees another token");
    let started = Instant::now();
    let (sent, longest) = (Cell::new(0), Cell::new(Duration::ZERO));
    let another = wait::poll("another token", LIFETIME + SLACK, async || {
        let begin = Instant::now();
        let answer = scene.send().await.and_then(|answer| authorization(&answer));
        longest.set(longest.get().max(begin.elapsed()));
        sent.set(sent.get() + 1);
        answer.map_or_else(|wrong| Some(Err(wrong)), |seen| (seen != first).then_some(Ok(seen)))
    })
    .await;
    let (time, longest) = (started.elapsed().as_secs_f64(), longest.get().as_millis());
    page.line(&format!("after {time:.1} s."));
    page.blank();
    page.say(&format!("{} requests, none refused; the slowest took {longest} ms.", sent.get()));
    another.map_err(|_| NotAsExpected::new("the token is not renewed"))?
}

async fn replaced(scene: &Scene, page: &mut Page, before: &str) -> Result<(), NotAsExpected> {
    let calls = scene.calls();
    page.say("The service answers 401 here, as if the token had been taken back.");
    let request = Request::get("/status/401").authority(HOST);
    let answer = page.brief_exchange(scene.envoy, &request).await?;
    expect("the status", answer.status, 401)?;
    page.say(
        "The filter has dropped that token. The caller sees this 401 where Envoy does not send the \
         request again.",
    );
    let after = scene.show(page).await?;
    if after == before {
        return Err(NotAsExpected::new("the refused token was sent again"));
    }
    let more = scene.calls() - calls;
    page.say(&format!("Further calls of the token endpoint: {more}."));
    // On a slow machine the token may have been renewed in between.
    if (1..=2).contains(&more) { Ok(()) } else { expect("the number of further calls", more, 1) }
}

async fn bridged(scene: &mut Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    let server = scene.server.take();
    let server = server.ok_or_else(|| NotAsExpected::new("the server is down already"))?;
    page.say("The authorization server is stopped.");
    server.stop().await;
    page.begin("   Sending requests until one does not pass");
    let started = Instant::now();
    let passed = Cell::new(0);
    let refused = wait::poll("a request to be refused", LIFETIME + SLACK, async || {
        let answer = scene.send().await;
        let is_good = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        passed.set(passed.get() + u32::from(is_good));
        (!is_good).then_some(answer)
    })
    .await;
    page.line(&format!("after {:.1} s.", started.elapsed().as_secs_f64()));
    page.blank();
    let passed = passed.get();
    page.say(&format!("{passed} requests went on with the token that was held. Then it ended:"));
    page.curl(&invoice().curl(scene.envoy));
    let answer = refused.map_err(|_| NotAsExpected::new("the token has outlived its end"))??;
    page.answer(&answer);
    expect("the status", answer.status, 503)?;
    if answer.header("retry-after").is_none() {
        return Err(NotAsExpected::new("there is no retry-after"));
    }
    if passed == 0 { Err(NotAsExpected::new("no request went on")) } else { Ok(()) }
}

async fn recovered(scene: &mut Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say(
        "The authorization server is started again. After each failure the filter waits longer \
         before it calls: 1 s, 2 s, 4 s, up to a minute. Then the next call brings a token.",
    );
    scene.server = Some(AuthorizationServer::start(scene.options.clone()).await?);
    page.begin("   Sending requests until one passes");
    let started = Instant::now();
    let passed = wait::poll("a request to pass", RECOVERY, async || {
        scene.send().await.ok().filter(|answer| answer.status == 200)
    })
    .await;
    page.line(&format!("after {:.1} s.", started.elapsed().as_secs_f64()));
    page.blank();
    passed.map_err(|_| NotAsExpected::new("no request passes"))?;
    scene.show(page).await?;
    scene.expect_calls(page, 1)
}

/// The program's request: it knows nothing of OAuth.
fn invoice() -> Request {
    Request::get("/invoices/7").authority(HOST)
}

/// The token with which a request reached the service.
fn authorization(answer: &Response) -> Result<String, NotAsExpected> {
    let headers = arrival(answer)?.headers;
    let value = headers.get("authorization").filter(|value| value.starts_with("Bearer "));
    value.ok_or_else(|| NotAsExpected::new("the request reached the service without a token"))
}

/// The filter's client in `envoy/outbound.yaml`.
pub const CLIENT: &str = "orders";
/// Its secret.
pub const CLIENT_SECRET: &str = "orders-secret";
/// The host for which its rule is.
pub const HOST: &str = "billing.example.com";
/// Requests that are sent at once.
const BURST: u32 = 50;
/// How long a token lives.
const LIFETIME: Duration = Duration::from_secs(6);
/// How much later than promised something may be seen, on a slow machine.
const SLACK: Duration = Duration::from_secs(3);
/// The longest back-off that may have come up since the token ended, and more.
const RECOVERY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::{upstream::Upstream, wait};

    #[tokio::test]
    async fn without_the_filter_no_token_reaches_the_service() {
        let service = Upstream::start().await;
        let options = Scene::options("127.0.0.1:0".parse().unwrap());
        let server = AuthorizationServer::start(options.clone()).await.unwrap();
        let mut scene = Scene { envoy: service.address(), server: Some(server), options };
        let mut page = Page::new(false, io::sink());
        wait::within("the story", play(&mut scene, &mut page)).await;
        // The first step finds that out, and the others need a token.
        assert_eq!((page.steps(), page.failures()), (1, 1));
    }

    #[tokio::test]
    async fn the_client_of_the_example_gets_a_token() {
        let document = crate::story::InboundYaml::named("outbound.yaml").document();
        let client = &document["outbound"]["clients"]["billing"];
        assert_eq!(client["client_id"], CLIENT);
        assert_eq!(document["outbound"]["rules"][0]["hosts"][0], HOST);
        let scope = client["scope"].as_str().unwrap();
        let options = Scene::options("127.0.0.1:0".parse().unwrap());
        let server = AuthorizationServer::start(options).await.unwrap();
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = Request::form("/token", &form).basic(CLIENT, CLIENT_SECRET);
        let answer = request.send(server.address()).await.unwrap();
        assert_eq!(answer.json()["expires_in"], LIFETIME.as_secs());
    }
}
