//! JWTs that the filter verifies itself, with the keys of the server, which are replaced while requests
//! flow.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use oauth2_filter_testbed::{client::Request, wait};
use serde_json::{Value, json};

use super::{
    Report,
    load::Load,
    outage::elapsed,
    rows,
    world::{ORDER, Outcome, World, same},
};

/// Plays the rows `verified` of a table that has them, and replaces the keys of the server.
pub(crate) async fn play(world: &World, report: &mut Report) {
    if world.setup.text("jwt").is_empty() {
        return;
    }
    rows::play(world, report, "verified", &world.guard).await;
    report.step("The keys of the server are replaced under load", rotation(world)).await;
}

/// A key is added, and the old one removed, while requests flow with tokens of both and with forged
/// ones, which leave no fetch for the sake of unknown keys to others.
async fn rotation(world: &World) -> Outcome {
    let steps = &world.setup.table["rotation"];
    let address = world.guard.address(ROTATION);
    let token = async || {
        let token = rows::token(world, world.setup.text("jwt")).await?;
        Outcome::Ok(token.unwrap_or_default())
    };
    let old = token().await?;
    let old_load = Load::start(address, Some(old.clone())).await?;
    let forged_load = Load::start(address, Some(of_unknown_key(&old)?)).await?;

    world.setup.administer(&steps["add"]).await?;
    let added = Instant::now();
    let new = token().await?;
    if key_of(&old)? == key_of(&new)? {
        return Err("the new token has the old key".into());
    }
    let new_load = Load::start(address, Some(new.clone())).await?;
    // Where nobody has asked for an unknown key, this one is fetched at once.
    world.arrives(&world.guard, VERIFIED, &Request::get(ORDER).bearer(&new)).await?;
    wait::poll("the new token to pass", wait::LIMIT, async || new_load.passed(added)).await?;
    elapsed(added, LEARNED + SLACK).await?;

    world.setup.administer(&steps["drop"]).await?;
    let dropped = Instant::now();
    elapsed(dropped, FORGOTTEN + 2 * SLACK).await?;

    let [old, forged, new] =
        [old_load.stop().await?, forged_load.stop().await?, new_load.stop().await?];
    let (learned, forgotten) = (new.last(503, added), old.last(200, dropped));
    for (name, load) in [("old", &old), ("forged", &forged), ("new", &new)] {
        println!("           {name}: {:?}", load.statuses());
    }
    println!(
        "           the last 503 of the new token {:.1} s after its key came, the last 200 of the old \
         token {:.1} s after its key went",
        learned.as_secs_f64(),
        forgotten.as_secs_f64(),
    );
    same("the statuses of forged tokens", forged.statuses().into_keys().collect(), vec![503])?;
    let only = |load: &super::load::Answers| {
        load.statuses().into_keys().find(|status| ![200, 503].contains(status))
    };
    same("another status of the old token", only(&old), None)?;
    same("another status of the new token", only(&new), None)?;
    // While its key was there, it passed, and afterwards it was refused.
    same(
        "whether the old token was refused too early",
        old.first(503).is_some_and(|at| at < dropped),
        false,
    )?;
    same("whether the old token is refused", old.first(503).is_some(), true)?;
    same("whether the new token passes in time", learned <= LEARNED + SLACK, true)?;
    same("whether the old token is refused in time", forgotten <= FORGOTTEN + SLACK, true)
}

/// The header of a JWT.
fn header(jwt: &str) -> Outcome<Value> {
    let header = jwt.split('.').next().unwrap_or_default();
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header)?)?)
}

fn key_of(jwt: &str) -> Outcome<Value> {
    Ok(header(jwt)?["kid"].take())
}

/// A JWT that names a key that nobody has.
fn of_unknown_key(jwt: &str) -> Outcome<String> {
    let mut header = header(jwt)?;
    header["kid"] = json!("unknown");
    let (_, rest) = jwt.split_once('.').unwrap_or_default();
    Ok(format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header.to_string())))
}

/// The listener of the steps that every table with JWTs has; nobody sends it unknown keys.
const VERIFIED: &str = "verified";
/// That of short times: `refresh_interval` 2 s, `cache.max_ttl` and `timeout` 1 s.
pub(crate) const ROTATION: &str = "rotation";
/// That which introspects JWTs, too.
pub(crate) const BOTH: &str = "both";
/// How soon a new key verifies on [`ROTATION`]: `refresh_interval` and `timeout`.
const LEARNED: Duration = Duration::from_secs(3);
/// How soon one that is gone does not any more: `max_ttl` later than that.
const FORGOTTEN: Duration = Duration::from_secs(4);
/// The precision of `refresh_interval`, and as much for a slow machine.
const SLACK: Duration = Duration::from_secs(2);
