//! A walk through what the filter does, step by step, with any authorization server: a request
//! without a token, a public path, scopes, what the service learns, one call for many requests,
//! and a token that is revoked. [`outbound`] is the other
//! direction.

mod arrival;
mod not_as_expected;
mod numbers;
pub mod outbound;
mod page;
mod revocation;
mod server;

use std::{net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time::Instant};

pub use self::{
    arrival::Arrival,
    not_as_expected::{NotAsExpected, expect, expect_header},
    numbers::Numbers,
    page::Page,
    server::{Count, READ, Server, WRITE},
};
use crate::client::{Connection, Request, Response};
pub use crate::examples::InboundYaml;

/// What a story is played with: Envoy as in `envoy/inbound.yaml`, and the servers around it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where Envoy takes requests for the service.
    pub envoy: SocketAddr,
    /// The authorization server that the filter asks.
    pub server: Server,
    /// What the service gets as `x-user` for tokens of the server's client.
    pub user: &'static str,
    /// The filter's `cache.max_ttl`.
    pub max_ttl: Duration,
}

/// How many worker threads Envoy has in a story. They share what they are told.
pub const WORKERS: u32 = 2;

/// Plays the story.
pub async fn play(scene: &Scene, page: &mut Page) {
    page.step("A request without a token is refused, and told what it needs", async |page| {
        no_token(scene, page).await
    })
    .await;
    page.step("A public path needs no token", async |page| public_path(scene, page).await).await;
    let token = page
        .step("A token with the scope passes, and the service learns whose it is", async |page| {
            right_scope(scene, page).await
        })
        .await;
    if let Some(token) = token {
        page.step("The same token lacks the scope to change anything", async |page| {
            wrong_scope(scene, page, &token).await
        })
        .await;
    }
    page.step("Nobody can forge the headers that the service trusts", async |page| {
        forged_header(scene, page).await
    })
    .await;
    let heading = format!("{} requests with one new token: it is asked about once", BURST + AFTER);
    page.step(&heading, async |page| many_requests(scene, page).await).await;
    revocation::play(scene, page).await;
}

impl Scene {
    /// Sends a request to Envoy.
    async fn send(&self, page: &mut Page, request: Request) -> Result<Response, NotAsExpected> {
        page.exchange(self.envoy, &request).await
    }

    /// Gets a token with this scope from the server, as a step has shown already.
    async fn token(&self, page: &mut Page, scope: &str) -> Result<String, NotAsExpected> {
        let request = self.server.token_request(scope);
        token_of(&page.brief_exchange(self.server.address, &request).await?)
    }
}

/// The token in the answer of a token endpoint.
pub fn token_of(answer: &Response) -> Result<String, NotAsExpected> {
    expect("the token endpoint's status", answer.status, 200)?;
    let token = answer.json()["access_token"].as_str().map(ToOwned::to_owned);
    token.ok_or_else(|| NotAsExpected::new("the token endpoint's answer has no access_token"))
}

/// What reached the service; an answer that is not the service's is not as expected.
pub fn arrival(answer: &Response) -> Result<Arrival, NotAsExpected> {
    expect("the status", answer.status, 200)?;
    Arrival::told_by(answer).ok_or_else(|| NotAsExpected::new("the service has not answered"))
}

async fn no_token(scene: &Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say("The rules say: GET on /orders/** needs the scope orders:read.");
    let answer = scene.send(page, Request::get(ORDER)).await?;
    expect("the status", answer.status, 401)?;
    let challenge = format!("Bearer realm=\"oauth2\", scope=\"{READ}\"");
    expect_header(&answer, "www-authenticate", Some(&challenge))?;
    expect_header(&answer, "cache-control", Some("no-store"))
}

async fn public_path(scene: &Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say("The rules say: /healthz is public.");
    let answer = scene.send(page, Request::get("/healthz")).await?;
    arrival(&answer)?;
    Ok(())
}

async fn right_scope(scene: &Scene, page: &mut Page) -> Result<String, NotAsExpected> {
    page.say("A client gets a token from the authorization server.");
    let request = scene.server.token_request(READ);
    let token = token_of(&page.exchange(scene.server.address, &request).await?)?;
    page.say(
        "The filter does not know this token yet. It asks the authorization server (introspection, \
         RFC 7662), and tells the service who calls, in x-user, and with what scope, in x-scope. \
         The token itself is not passed on.",
    );
    let answer = scene.send(page, Request::get(ORDER).bearer(&token)).await?;
    let arrival = arrival(&answer)?;
    expect("x-user", arrival.headers.all("x-user").join(", ").as_str(), scene.user)?;
    expect("x-scope", arrival.headers.all("x-scope").join(", ").as_str(), READ)?;
    if arrival.headers.contains("authorization") {
        return Err(NotAsExpected::new("the token has reached the service"));
    }
    Ok(token)
}

async fn wrong_scope(scene: &Scene, page: &mut Page, token: &str) -> Result<(), NotAsExpected> {
    page.say("The rules say: every other method on /orders/** needs the scope orders:write.");
    let answer = scene.send(page, Request::new("DELETE", ORDER).bearer(token)).await?;
    expect("the status", answer.status, 403)?;
    let challenge =
        format!("Bearer realm=\"oauth2\", error=\"insufficient_scope\", scope=\"{WRITE}\"");
    expect_header(&answer, "www-authenticate", Some(&challenge))
}

async fn forged_header(scene: &Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say(
        "x-user comes from the authorization server's answer or not at all: on public paths too, \
         the filter takes out what a caller sends under that name, in any spelling.",
    );
    let request = Request::get("/healthz").header("x-user", "admin").header("X_User", "admin");
    let answer = scene.send(page, request).await?;
    let forged = arrival(&answer)?.headers.iter().any(|(name, _)| {
        let name = name.replace(['_', '.'], "-");
        name.eq_ignore_ascii_case("x-user")
    });
    if forged {
        Err(NotAsExpected::new("the forged x-user has reached the service"))
    } else {
        Ok(())
    }
}

async fn many_requests(scene: &Scene, page: &mut Page) -> Result<(), NotAsExpected> {
    let Server { introspections, .. } = scene.server;
    let token = scene.token(page, READ).await?;
    page.say(&format!(
        "{BURST} requests at once, each on a connection of its own, then {AFTER} more on the same \
         connections. Those that come before the authorization server has answered wait for that \
         one answer, and the others find it kept.",
    ));
    let all = format!("'http://{}/orders/[1-{}]'", scene.envoy, BURST + AFTER);
    page.curl(&[
        "curl -s -o /dev/null -w '%{http_code}\\n'".to_owned(),
        format!("--parallel --parallel-immediate --parallel-max {BURST}"),
        all,
        format!("-H 'authorization: Bearer {token}'"),
        "| sort | uniq -c".to_owned(),
    ]);
    let before = introspections.now().await?;
    let started = Instant::now();
    let passed = burst(scene.envoy, &token).await?;
    let time = started.elapsed();
    let made = introspections.now().await?.saturating_sub(before);

    page.say(&format!(
        "{passed} of {} requests were answered with 200, in {:.2} s.",
        BURST + AFTER,
        time.as_secs_f64()
    ));
    let (address, request) = introspections.request();
    page.curl(&request.curl(address));
    page.say(&format!(
        "Introspections, by {}: {before} before, {} after. Envoy runs with {WORKERS} worker \
         threads here: they share what they are told.",
        introspections.whose(),
        before + made,
    ));
    expect("the number of requests that passed", passed, BURST + AFTER)?;
    // Where this takes longer than an answer is kept, it has to be asked for again.
    let kept = 1 + time.as_millis() / scene.max_ttl.as_millis().max(1);
    let at_most = u64::try_from(kept).unwrap_or(u64::MAX);
    if (1..=at_most).contains(&made) {
        Ok(())
    } else {
        Err(NotAsExpected::new(format!("there were {made} introspections, not {at_most}")))
    }
}

/// Sends the requests, and says how many of them got 200.
async fn burst(envoy: SocketAddr, token: &str) -> Result<u32, NotAsExpected> {
    let request = |number| Request::get(&format!("/orders/{number}")).bearer(token);
    let mut connections = Vec::new();
    for _ in 0..BURST {
        connections.push(Connection::open(envoy).await?);
    }
    let mut passed = 0;
    let mut number = 0;
    let rounds = 1 + AFTER / BURST;
    for _ in 0..rounds {
        let mut round = JoinSet::new();
        for mut connection in connections.drain(..) {
            number += 1;
            let request = request(number);
            round.spawn(async move { connection.send(&request).await.map(|a| (a, connection)) });
        }
        for answer in round.join_all().await {
            let (answer, connection) = answer?;
            passed += u32::from(answer.status == 200);
            connections.push(connection);
        }
    }
    Ok(passed)
}

const ORDER: &str = "/orders/1";
/// Requests that are sent at once, on as many connections.
const BURST: u32 = 50;
/// Requests after those, a multiple of them.
const AFTER: u32 = 200;

#[cfg(test)]
mod tests;
