//! Requests flow, at a moderate pace, while tokens of a few seconds are renewed, and while the server is
//! stopped and started again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use oauth2_filter_testbed::wait;

use super::{
    Report, jwt,
    load::Load,
    rows,
    world::{Outcome, World, same, token_of},
};

/// Plays both steps, with the listeners `renewal` and `outage` of the table.
pub(crate) async fn play(world: &World, report: &mut Report) {
    report.step("Tokens of 6 s are renewed before they expire", renewal(world)).await;
    report
        .step("The server is stopped under load for 40 s, and started again", outage(world))
        .await;
}

/// Each request passes while a client's token is renewed several times.
async fn renewal(world: &World) -> Outcome {
    let before = world.calls().await;
    let load = Load::start(world.client.address("renewal"), None).await?;
    wait::poll("tokens to be renewed", RENEWALS_LIMIT, async || {
        (world.calls().await >= before + RENEWALS).then_some(())
    })
    .await?;
    let statuses = load.stop().await?.statuses();
    let all = statuses.values().sum();
    same("the statuses", statuses, BTreeMap::from([(200, all)]))
}

async fn outage(world: &World) -> Outcome {
    let mut loads = Vec::new();
    for (kind, expected) in [("own", ASKED), ("revoked", REJECTED), ("unknown", REJECTED)] {
        let token = rows::token(world, kind).await?;
        loads.push((kind, expected, Load::start(world.guard.address(LISTENER), token).await?));
    }
    let kind = world.setup.text("jwt");
    for (listener, expected) in [(jwt::ROTATION, VERIFIED), (jwt::BOTH, ASKED)] {
        if !kind.is_empty() {
            let token = rows::token(world, kind).await?;
            let load = Load::start(world.guard.address(listener), token).await?;
            loads.push((listener, expected, load));
        }
    }
    let outbound = Load::start(world.client.address(LISTENER), None).await?;

    let stopped = Instant::now();
    world.setup.server.stop();
    elapsed(stopped, OUTAGE).await?;
    world.setup.server.resume()?;
    let back = wait::poll("the server to issue tokens", RETURN_LIMIT, async || {
        let request = world.token_request(&world.setup.parameters()).basic("svc", "svc-secret");
        let answer = request.send(world.setup.address).await.ok()?;
        (answer.status == 200 && token_of(&answer).is_ok()).then(Instant::now)
    });
    let back = back.await?;
    println!("           the server was away for {:.1} s", (back - stopped).as_secs_f64());
    wait::poll("a request of the client to pass again", RECOVERY_LIMIT, async || {
        outbound.passed(back)
    })
    .await?;
    elapsed(Instant::now(), AFTERWARDS).await?;

    loads.push(("outbound", ASKED, outbound));
    let mut errors = Vec::new();
    for (kind, expected, load) in loads {
        let answers = load.stop().await?;
        let (statuses, passed) = (answers.statuses(), answers.passed(back));
        let shown = passed.map_or_else(String::new, |time| {
            format!("; the first 200 {:.1} s after the server's first token", time.as_secs_f64())
        });
        println!("           {kind}: {statuses:?}{shown}");
        let has = |status: &u16| statuses.contains_key(status);
        if !expected.required.iter().all(has) || expected.forbidden.iter().any(has) {
            errors.push(format!("the statuses of {kind}"));
        }
        if expected.required.contains(&200) && passed.is_none_or(|time| time > RECOVERY) {
            errors.push(format!("{kind} did not pass within {RECOVERY:?}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ").into()) }
}

pub(crate) async fn elapsed(since: Instant, time: Duration) -> Outcome {
    let passed =
        wait::poll("time to pass", 2 * time, async || (since.elapsed() >= time).then_some(()));
    Ok(passed.await?)
}

/// The statuses of a load.
struct Expected {
    required: &'static [u16],
    forbidden: &'static [u16],
}

/// The server is asked about the token, and feels the outage.
const ASKED: Expected = Expected { required: &[200, 503], forbidden: &[401] };
/// The token is verified without the server.
const VERIFIED: Expected = Expected { required: &[200], forbidden: &[401, 502, 503, 504] };
/// The token is rejected.
const REJECTED: Expected = Expected { required: &[401], forbidden: &[200] };
/// Of the table, in both directions.
const LISTENER: &str = "outage";
/// Token requests that are seen under load.
const RENEWALS: u64 = 3;
const RENEWALS_LIMIT: Duration = Duration::from_secs(40);
/// For how long the server is stopped.
const OUTAGE: Duration = Duration::from_secs(40);
const RETURN_LIMIT: Duration = Duration::from_mins(4);
/// How soon after the server's first token requests must pass.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long one is awaited, so that the figure is known.
const RECOVERY_LIMIT: Duration = Duration::from_mins(2);
/// How long the load goes on then: two lifetimes of a token.
const AFTERWARDS: Duration = Duration::from_secs(12);
