//! oidc-provider, a library for Node.js, in a server of `tests/interop/oidc-provider`.

use std::time::Duration;

use oauth2_filter_testbed::client::Request;
use serde_json::json;

use super::{
    Boxed, Report, Server,
    inbound::{SLACK, Token, forwarded, rejected, until_rejected},
    outbound::REFUSED_CLIENT,
    world::{
        AUDIENCE, Documents, GUARDED, ORDER, Outcome, READ, SERVER_NAME, STORY, Setup, World, one,
        same, text, token_on, with,
    },
};

pub(crate) const SERVER: Server = Server {
    name: "oidc-provider 9.13.3",
    folder: "oidc-provider",
    token: "/token",
    introspection: "/token/introspection",
    revocation: "/token/revocation",
    parameters: &[],
    user: ("svc", "svc-secret"),
    refresher: Some(("shop-refresh", "shop-refresh-secret")),
    tells: true,
    guards,
    clients,
    inbound: &[
        forwarded("client_secret_basic encodes odd characters in id and secret", "odd", OWN),
        rejected("client_secret_basic_raw does not", "odd-raw", OWN, 502, REFUSED_CLIENT.1),
        forwarded("The filter authenticates with client_secret_post", "post", OWN),
        forwarded("The filter authenticates with private_key_jwt", "key", OWN),
        rejected("A wrong secret is an error of ours", "wrong-secret", OWN, 502, REFUSED_CLIENT.1),
        // It answers 400, which says nothing of the token.
        rejected(
            "A JWT is not introspected by this server",
            STORY,
            Token::Own(&[("resource", "https://jwt.example.com")]),
            502,
            REFUSED_CLIENT.1,
        ),
        // It calls one active, whatever the hint; but it has no audience.
        rejected(
            "A refresh token is not an access token",
            STORY,
            Token::Refresh,
            401,
            "oauth2_wrong_audience",
        ),
    ],
    steps,
};

fn guards(setup: &Setup) -> Documents {
    let rs = json!({"client_id": "rs", "client_secret": "rs-secret"});
    let odd = json!({"client_id": "odd:client id", "client_secret": "s%c&r=t+/~!"});
    let post = json!({
        "client_id": "rs-post", "client_secret": "rs-post-secret",
        "auth_method": "client_secret_post",
    });
    let mut short = setup.guard(rs.clone());
    short["inbound"]["audience"] = SHORT.into();
    // 60 s then, by default.
    short["inbound"]["cache"] = json!({});
    vec![
        (STORY, setup.guard(rs.clone())),
        ("odd", setup.guard(odd.clone())),
        ("odd-raw", setup.guard(with(odd, json!({"auth_method": "client_secret_basic_raw"})))),
        ("post", setup.guard(post)),
        ("key", setup.guard(with(setup.signing("rsa"), json!({"client_id": "rs-key"})))),
        ("wrong-secret", setup.guard(json!({"client_id": "rs", "client_secret": "wrong"}))),
        ("short", short),
        (GUARDED, setup.uncached(rs, &AUDIENCE.into())),
    ]
}

fn clients(setup: &Setup) -> Documents {
    let own = |id, more| setup.client(id, "client_credentials", more);
    let shop = |more| own("shop", with(json!({"client_secret": "shop-secret"}), more));
    let post = json!({"client_secret": "shop-post-secret", "auth_method": "client_secret_post"});
    let certificate = json!({
        "endpoint": format!("https://{SERVER_NAME}/token"), "cluster": "as-tls",
        "auth_method": "tls_client_auth",
    });
    // This server counts in whole seconds: a token of 3 s may live for 2 s only.
    let user = json!({
        "client_secret": "shop-user-secret", "username": "alice", "password": "alice-pw",
        "clock_skew": "1s",
    });
    let given = json!({
        "client_secret": "shop-refresh-secret", "refresh_token": setup.refresh_token,
        "clock_skew": "1s",
    });
    let exchange = json!({"client_secret": "shop-exchange-secret", "actor": "shop"});
    let token_exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let mut exchange = one(&setup.client("shop-exchange", token_exchange, exchange));
    exchange["outbound"]["clients"]["shop"] = shop(json!({}));
    let mut inbound =
        setup.guard(json!({"client_id": "rs", "client_secret": "rs-secret"}))["inbound"].take();
    inbound = json!({
        "introspection": inbound["introspection"], "audience": AUDIENCE, "scope": READ,
        "cache": {"max_ttl": "0s"},
    });
    exchange["inbound"] = inbound;
    vec![
        ("basic", one(&shop(json!({})))),
        ("post", one(&own("shop-post", post))),
        ("odd", one(&own("odd:client id", json!({"client_secret": "s%c&r=t+/~!"})))),
        ("rsa", one(&own("shop-key", setup.signing("rsa")))),
        ("ec", one(&own("shop-key", setup.signing("ec")))),
        ("certificate", one(&own("shop-certificate", certificate))),
        ("resource", one(&shop(json!({"resource": SHORT})))),
        ("wrong-secret", one(&shop(json!({"client_secret": "wrong"})))),
        ("password", one(&setup.client("shop-user", "password", user))),
        ("refresh-token", one(&setup.client("shop-refresh", "refresh_token", given))),
        ("exchange", exchange),
    ]
}

fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
    Box::pin(async move {
        report.step("A token expires before the cached response does", expiry(world)).await;
        let title = "client_credentials: a token replaces what requests carry";
        report.step(title, world.obtains_once()).await;
        for (title, listener, id, method, member, expected) in [
            ("client_secret_post", "post", "shop-post", "client_secret_post", "scope", READ),
            ("Odd characters", "odd", "odd:client id", "client_secret_basic", "scope", READ),
            ("private_key_jwt with ES256", "ec", "shop-key", "private_key_jwt", "alg", "ES256"),
            (
                "tls_client_auth with the certificate of Envoy's cluster",
                "certificate",
                "shop-certificate",
                "tls_client_auth",
                "certificate",
                "DNS:shop.test",
            ),
        ] {
            let step = async {
                let grant = world.obtains(listener, id, method).await?;
                same(member, text(&grant, member), expected)
            };
            report.step(title, step).await;
        }
        report
            .step("private_key_jwt with RS256; a revoked token is replaced", revoked(world))
            .await;
        report.step("resource: the service rejects a token for another", resource(world)).await;
        report.step("A wrong secret: one token request", world.wrong_secret()).await;
        let title = "password: tokens are renewed under load, each refresh token is sent once";
        report.step(title, password(world)).await;
        let title = "A refresh token is sent by somebody else, too: the grant is run again";
        report.step(title, lost_grant(world)).await;
        let title = "refresh_token: one from elsewhere, and those that follow it";
        report.step(title, given_refresh_token(world)).await;
        let title = "Token exchange: the caller's token is introspected and exchanged";
        report.step(title, token_exchange(world)).await;
    })
}

async fn expiry(world: &World) -> Outcome {
    let token = world.token(&[("resource", SHORT)]).await?;
    let request = Request::get(ORDER).bearer(&token);
    world.arrives(&world.guard, "short", &request).await?;
    let lifetime = Duration::from_secs(3);
    let answer = until_rejected(world, "short", &request, lifetime + SLACK).await?;
    same("the status", answer.status, 401)
}

async fn revoked(world: &World) -> Outcome {
    let first = world.obtains("rsa", "shop-key", "private_key_jwt").await?;
    same("alg", text(&first, "alg"), "RS256")?;
    let token = text(&first, "access_token");
    let before = world.grants("shop-key").await?.len();
    world.revoke(("svc", "svc-secret"), token).await?;
    let token = world.replaces("rsa", token).await?;
    let grants = world.grants("shop-key").await?;
    same("the number of token requests", grants.len(), before + 1)?;
    let second = grants.last().ok_or("no token request")?;
    same("the token that was issued", text(second, "access_token"), &token)?;
    // The server accepts no assertion twice.
    same("the assertion is the old one", second["jti"] == first["jti"], false)
}

async fn resource(world: &World) -> Outcome {
    let answer = Request::get(ORDER).send(world.client.address("resource")).await?;
    same("the status", answer.status, 401)?;
    let grants = world.grants("shop").await?;
    same("resource", grants.last().map_or("", |grant| text(grant, "resource")), SHORT)
}

async fn password(world: &World) -> Outcome {
    world.renews("password", "shop-user").await?;
    let first = world.grants("shop-user").await?.swap_remove(0);
    same("the first grant", text(&first, "grant_type"), "password")
}

async fn lost_grant(world: &World) -> Outcome {
    let grants = world.grants("shop-user").await?;
    let spent = grants.iter().find_map(|grant| grant["refresh_token"].as_str());
    world.lost_grant("password", "shop-user", spent.ok_or("no refresh token")?).await?;
    world.last_grants("shop-user", &["refresh_token (invalid_grant)", "password"]).await
}

async fn given_refresh_token(world: &World) -> Outcome {
    // With the first token request, we got what the filter was given.
    let grants = world.renews("refresh-token", "shop-refresh").await?;
    let first = grants.first().map_or("", |grant| text(grant, "refresh_token"));
    same("the first refresh token", first, &world.setup.refresh_token)
}

async fn token_exchange(world: &World) -> Outcome {
    let tokens = world.user_tokens().await?;
    let caller = text(&tokens, "access_token");
    let request = Request::get(ORDER).bearer(caller);
    let headers = world.arrives(&world.client, "exchange", &request).await?;
    let token = token_on(&headers)?;
    for (name, value) in [("x-user", "alice"), ("x-client", "shop-exchange"), ("x-actor", "shop")] {
        same(name, headers.all(name).join(", ").as_str(), value)?;
    }
    let next = world.arrives(&world.client, "exchange", &request).await?;
    same("the next request's token", token_on(&next)?, token.clone())?;
    let grants = world.grants("shop-exchange").await?;
    same("the number of exchanges", grants.len(), 1)?;
    same("subject_token", text(&grants[0], "subject_token"), caller)?;
    same("the token that was issued", text(&grants[0], "access_token"), &token)?;
    let actor = &grants[0]["actor_token"];
    let actors = world.grants("shop").await?;
    same("an actor", actors.iter().any(|grant| grant["access_token"] == *actor), true)?;
    world.rejected(&world.client, "exchange", None, (401, "oauth2_no_token")).await?;
    // Its exchanged token is still cached.
    world.revoke(("svc", "svc-secret"), caller).await?;
    let answer = request.send(world.client.address("exchange")).await?;
    same("the status", answer.status, 401)?;
    same("the number of exchanges", world.grants("shop-exchange").await?.len(), 1)
}

const OWN: Token = Token::Own(&[]);
const SHORT: &str = "https://short.example.com";
