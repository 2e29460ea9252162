//! The end of the story: a token is revoked, still passes while the answer about it is kept, and
//! is refused from then on.

use std::time::Duration;

use tokio::time::Instant;

use super::{NotAsExpected, ORDER, Page, READ, Scene, arrival, expect, expect_header};
use crate::{client::Request, wait};

/// A token that was revoked while the filter kept an answer about it.
struct Revoked {
    token: String,
    /// When it was first used; the filter asked about it then, and not before.
    asked: Instant,
    /// When the server had confirmed the revocation.
    at: Instant,
}

/// Plays the end of the story.
pub(super) async fn play(scene: &Scene, page: &mut Page) {
    let revoked = page
        .step("A token passes, and is then revoked at the authorization server", async |page| {
            revoke(scene, page).await
        })
        .await;
    let Some(revoked) = revoked else { return };
    page.step("It still passes, for as long as the answer about it is kept", async |page| {
        still_passes(scene, page, &revoked).await
    })
    .await;
    page.step("Once the kept answer ends, it is refused", async |page| {
        is_refused(scene, page, &revoked).await
    })
    .await;
}

async fn revoke(scene: &Scene, page: &mut Page) -> Result<Revoked, NotAsExpected> {
    let token = scene.token(page, READ).await?;
    let asked = Instant::now();
    let answer = scene.send(page, Request::get(ORDER).bearer(&token)).await?;
    arrival(&answer)?;
    let request = scene.server.revocation_request(&token);
    let answer = page.exchange(scene.server.address, &request).await?;
    expect("the revocation endpoint's status", answer.status, 200)?;
    Ok(Revoked { token, asked, at: Instant::now() })
}

async fn still_passes(
    scene: &Scene,
    page: &mut Page,
    Revoked { token, asked, .. }: &Revoked,
) -> Result<(), NotAsExpected> {
    let max_ttl = scene.max_ttl.as_secs_f64();
    let left = scene.max_ttl.saturating_sub(asked.elapsed()).as_secs_f64();
    page.say(&format!(
        "The filter asked about this token a moment ago, was told that it is active, and goes by \
         that answer for cache.max_ttl: {max_ttl} s in this set-up, 60 s by default. So there are \
         {left:.1} s left. A shorter max_ttl closes that gap, and costs more introspections; \"0s\" \
         asks for every single request.",
    ));
    let answer = scene.send(page, Request::get(ORDER).bearer(token)).await?;
    if asked.elapsed() >= scene.max_ttl && answer.status == 401 {
        page.say("This machine was too slow to see it: the kept answer has ended already.");
        return Ok(());
    }
    arrival(&answer)?;
    Ok(())
}

async fn is_refused(
    scene: &Scene,
    page: &mut Page,
    Revoked { token, at, .. }: &Revoked,
) -> Result<(), NotAsExpected> {
    let request = Request::get(ORDER).bearer(token);
    page.begin("   Sending it until it is refused");
    let refused = wait::poll("the token to be refused", scene.max_ttl + SLACK, async || {
        let answer = request.send(scene.envoy).await;
        let passes = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        if passes { None } else { Some(answer) }
    })
    .await;
    let taken = at.elapsed().as_secs_f64();
    page.line(&format!("that was {taken:.1} s after its revocation."));
    page.blank();
    page.curl(&request.curl(scene.envoy));
    let answer = refused.map_err(|_| NotAsExpected::new("the revoked token still passes"))??;
    page.answer(&answer);
    expect("the status", answer.status, 401)?;
    let challenge = format!("Bearer realm=\"oauth2\", error=\"invalid_token\", scope=\"{READ}\"");
    expect_header(&answer, "www-authenticate", Some(&challenge))
}

/// How much later than promised it may be seen that a token is refused, on a slow machine.
const SLACK: Duration = Duration::from_secs(3);
