//! Glewlwyd, a server written in C, from Debian's package, set up by `tests/interop/glewlwyd`.

use oauth2_filter_testbed::wait;
use serde_json::json;

use super::{
    Boxed, Report, Server,
    inbound::{Token, forwarded, rejected},
    outbound::REFUSED_CLIENT,
    world::{AUDIENCE, Documents, GUARDED, Outcome, READ, STORY, Setup, World, one, same, with},
};

pub(crate) const SERVER: Server = Server {
    name: "Glewlwyd 2.7.5",
    folder: "glewlwyd",
    token: "/api/oidc/token",
    introspection: "/api/oidc/introspect",
    revocation: "/api/oidc/revoke",
    // Without it, a token's audience is its scope here.
    parameters: ORDERS,
    user: ("svc", "svc-secret"),
    refresher: None,
    tells: false,
    guards,
    clients,
    inbound: &[
        // Here the client that introspects has to be the one that got the token. This server does
        // not decode what RFC 6749 section 2.3.1 wants encoded.
        rejected("Odd characters, encoded, are not decoded", "odd", ODD, 502, REFUSED_CLIENT.1),
        forwarded("Odd characters with client_secret_basic_raw", "odd-raw", ODD),
        forwarded("The filter authenticates with client_secret_post", "post", OWN),
        // Whose token has the scope introspect may introspect any token (RFC 7662 section 2.1).
        forwarded("The filter authenticates with a token of its own", "token", OWN),
        rejected("Its token lacks the scope", "wrong-token", OWN, 502, REFUSED_CLIENT.1),
        rejected("A wrong secret is an error of ours", "wrong-secret", OWN, 502, REFUSED_CLIENT.1),
        rejected(
            "A refresh token with token_type_hint is inactive",
            STORY,
            Token::Refresh,
            401,
            "oauth2_inactive",
        ),
        rejected(
            "Without the hint it is active, with a token_type of its own",
            "no-hint",
            Token::Refresh,
            401,
            "oauth2_not_an_access_token",
        ),
    ],
    steps,
};

fn guards(setup: &Setup) -> Documents {
    let svc = |more| with(json!({"client_id": "svc", "client_secret": "svc-secret"}), more);
    let odd = json!({"client_id": "odd", "client_secret": "s%c&r=t+/~!"});
    let with_token = |scope| {
        let more = json!({"client_secret": "introspector-secret", "scope": scope});
        let client = setup.client("introspector", "client_credentials", more);
        let mut document = setup.guard(json!({"client": "introspector"}));
        document["outbound"] = json!({"clients": {"introspector": client}});
        document
    };
    vec![
        (STORY, setup.guard(svc(json!({})))),
        ("odd", setup.guard(odd.clone())),
        ("odd-raw", setup.guard(with(odd, json!({"auth_method": "client_secret_basic_raw"})))),
        ("post", setup.guard(svc(json!({"auth_method": "client_secret_post"})))),
        ("wrong-secret", setup.guard(svc(json!({"client_secret": "wrong"})))),
        ("token", with_token("introspect")),
        ("wrong-token", with_token(READ)),
        (GUARDED, setup.uncached(svc(json!({})), &json!([AUDIENCE, READ]))),
        ("no-hint", setup.guard(svc(json!({"token_type_hint": ""})))),
    ]
}

fn clients(setup: &Setup) -> Documents {
    let own = |secret| {
        let more = json!({"client_secret": secret, "resource": AUDIENCE});
        one(&setup.client("svc", "client_credentials", more))
    };
    let user = |more| {
        let user = json!({
            "client_secret": "svc-secret", "username": "alice", "password": "alice-pw",
        });
        one(&setup.client("svc", "password", with(user, more)))
    };
    vec![
        ("basic", own("svc-secret")),
        ("wrong-secret", own("wrong")),
        ("password", user(json!({}))),
        ("password-resource", user(json!({"resource": AUDIENCE}))),
    ]
}

fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
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
    let calls = world.client.stat("cluster.as.upstream_rq_total").await.unwrap_or_default();
    same("the number of token requests", calls, expected)
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

const ORDERS: &[(&str, &str)] = &[("resource", AUDIENCE)];
const OWN: Token = Token::Own(ORDERS);
/// `odd:s%c&r=t+/~!` in Base64.
const ODD: Token = Token::Raw("b2RkOnMlYyZyPXQrL34h", ORDERS);
