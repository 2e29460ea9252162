//! Glewlwyd, a server written in C, from Debian's package, set up by `tests/interop/glewlwyd`.

use oauth2_filter_testbed::wait;

use super::{
    Boxed, Report,
    world::{Outcome, World, same},
};

pub(crate) fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
    Box::pin(async move {
        report
            .step("client_credentials: a token is put on requests", async {
                world.serves("basic", "svc").await?;
                calls(world, 1).await
            })
            .await;
        report
            .step("A wrong secret, which this server answers with 403 and no body", async {
                world.wrong_secret().await?;
                calls(world, 2).await
            })
            .await;
        let title = "password: a revoked token is replaced with the refresh token";
        report.step(title, replaced(world, "password", 4, (1, 1))).await;
        // This server knows no resource for passwords, and refuses one with a refresh token: 400
        // invalid_target.
        let title = "A refresh token that the server refuses: the grant is run again";
        report.step(title, replaced(world, "password-resource", 7, (2, 0))).await;
    })
}

/// A token is revoked and replaced, with so many calls so far, and these tokens for the password and
/// for a refresh token.
async fn replaced(
    world: &World,
    listener: &str,
    expected: u64,
    (by_password, by_refresh_token): (usize, usize),
) -> Outcome {
    let before = user_grants(world);
    let first = world.serves(listener, "svc").await?;
    world.revoke(("svc", "svc-secret"), &first).await?;
    world.replaces(listener, &first).await?;
    calls(world, expected).await?;
    let after = (before.0 + by_password, before.1 + by_refresh_token);
    let logged = wait::poll("the server's log", wait::LIMIT, async || {
        (user_grants(world) == after).then_some(())
    });
    Ok(logged.await?)
}

/// There were this many token requests so far, as Envoy counts.
async fn calls(world: &World, expected: u64) -> Outcome {
    same("the number of token requests", world.calls().await, expected)
}

/// How often the user's tokens were issued for the password (with a refresh token) and for a refresh
/// token, as the server logs it.
fn user_grants(world: &World) -> (usize, usize) {
    let log = world.server_log();
    let lines = |what: &str| {
        let line = format!("{what} token generated for client 'svc' granted by user 'alice'");
        log.matches(&line).count()
    };
    let by_password = lines("Refresh");
    (by_password, lines("Access").saturating_sub(by_password))
}
