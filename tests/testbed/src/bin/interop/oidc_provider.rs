//! oidc-provider, a library for Node.js, in a server of `tests/interop/oidc-provider`.

use std::time::Duration;

use oauth2_filter_testbed::client::Request;

use super::{
    Boxed, Report,
    inbound::{SLACK, until_rejected},
    world::{ORDER, Outcome, READ, World, same, text, token_on},
};

pub(crate) fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
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

const SHORT: &str = "https://short.example.com";
