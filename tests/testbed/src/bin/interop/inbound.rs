//! The filter guards a service, and introspects tokens at the server.

use std::time::{Duration, Instant};

use oauth2_filter_testbed::{
    client::{Request, Response},
    wait,
};

use super::{
    Report, rows,
    world::{ORDER, Outcome, READ, STORY, World, arrival, same},
};

/// Plays the steps that are the same for all servers, and then its own.
pub(crate) async fn play(world: &World, report: &mut Report) {
    report.step("A token's claims are forwarded, but not the token", right_scope(world)).await;
    report.step("Another method requires another scope", wrong_scope(world)).await;
    report.step("A revoked token passes until the cached response expires", revoked(world)).await;
    rows::play(world, report, "inbound", &world.guard).await;
}

async fn send(world: &World, request: Request) -> Outcome<Response> {
    Ok(request.send(world.guard.address(STORY)).await?)
}

fn challenge(answer: &Response, expected: &str) -> Outcome {
    let found = answer.headers.all("www-authenticate").join(", ");
    same("www-authenticate", found, format!("Bearer realm=\"oauth2\", {expected}"))
}

async fn token(world: &World) -> Outcome<String> {
    world.token(&world.setup.parameters()).await
}

async fn right_scope(world: &World) -> Outcome {
    let token = token(world).await?;
    let headers = arrival(&send(world, Request::get(ORDER).bearer(&token)).await?)?;
    same("x-user", headers.all("x-user").join(", ").as_str(), "svc")?;
    same("x-scope", headers.all("x-scope").join(", ").as_str(), READ)?;
    same("the token at the service", headers.contains("authorization"), false)
}

async fn wrong_scope(world: &World) -> Outcome {
    let request = Request::new("DELETE", ORDER).bearer(&token(world).await?);
    let answer = send(world, request).await?;
    same("the status", answer.status, 403)?;
    challenge(&answer, "error=\"insufficient_scope\", scope=\"orders:write\"")
}

async fn revoked(world: &World) -> Outcome {
    let token = token(world).await?;
    let request = Request::get(ORDER).bearer(&token);
    let introspected = Instant::now();
    arrival(&send(world, request.clone()).await?)?;
    world.revoke(("svc", "svc-secret"), &token).await?;
    let answer = send(world, request.clone()).await?;
    if introspected.elapsed() < MAX_TTL {
        arrival(&answer)?;
    }
    let answer = until_rejected(world, STORY, &request, MAX_TTL + SLACK).await?;
    same("the status", answer.status, 401)?;
    challenge(&answer, "error=\"invalid_token\", scope=\"orders:read\"")
}

/// Sends a request again and again until it is rejected.
pub(crate) async fn until_rejected(
    world: &World,
    listener: &str,
    request: &Request,
    limit: Duration,
) -> Outcome<Response> {
    let address = world.guard.address(listener);
    let rejected = wait::poll("the token to be rejected", limit, async || {
        let answer = request.send(address).await;
        let passes = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        (!passes).then_some(answer)
    });
    Ok(rejected.await??)
}

/// `cache.max_ttl` of `envoy/inbound.yaml`.
const MAX_TTL: Duration = Duration::from_secs(5);
/// How much later than promised it may be seen that a token is rejected, on a slow machine.
pub(crate) const SLACK: Duration = Duration::from_secs(5);
