//! django-oauth-toolkit, a library for Django, in a server of `tests/interop/django-oauth-toolkit`. It
//! returns neither subject nor issuer, and an audience only where a client has named a resource; its
//! own refusals have status 403, even of a token that has expired.

use oauth2_filter_testbed::client::Request;

use super::{
    Boxed, Report,
    outbound::REFUSED_CLIENT,
    world::{ORDER, Outcome, World, same, text},
};

pub(crate) fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
    Box::pin(async move {
        let title = "The filter authenticates with a token of its own, and replaces a revoked one";
        report.step(title, own_token(world)).await;
        report.step("A user's token has no sub, but a username", username(world)).await;
        report.step("client_credentials: one token for all workers", shared(world)).await;
        for (title, listener, method) in [
            ("Odd characters in Basic", "odd", "client_secret_basic"),
            ("Odd characters in the form", "odd-post", "client_secret_post"),
        ] {
            let step = async { world.obtains(listener, ODD, method).await.map(drop) };
            report.step(title, step).await;
        }
        report.step("A wrong secret: one token request", world.wrong_secret()).await;
        let title = "password: tokens of 3 s, each refresh token is sent once";
        report.step(title, password(world)).await;
        let title = "A token is revoked, and its refresh token with it: the grant is run again";
        report.step(title, revoked(world)).await;
        let title = "A refresh token is sent by somebody else, too: the grant is run again";
        report.step(title, lost_grant(world)).await;
    })
}

async fn own_token(world: &World) -> Outcome {
    let request = Request::get(ORDER).bearer(&world.token(&world.setup.parameters()).await?);
    world.arrives(&world.guard, "token", &request).await?;
    let held = world.grants("introspector").await?;
    same("the number of tokens that it got", held.len(), 1)?;
    let held = text(&held[0], "access_token");
    world.revoke(("introspector", "introspector-secret"), held).await?;
    // The server answers 403, so the filter gets another token, and introspects again.
    let token = world.token(&world.setup.parameters()).await?;
    let request = Request::get(ORDER).bearer(&token);
    world.arrives(&world.guard, "token", &request).await?;
    same("the number of tokens that it got", world.grants("introspector").await?.len(), 2)?;
    // Nor does the second token have the scope.
    world.rejected(&world.guard, "wrong-token", Some(&token), REFUSED_CLIENT).await?;
    same("the number of tokens that it got", world.grants("reader").await?.len(), 2)
}

async fn username(world: &World) -> Outcome {
    let tokens = world.user_tokens().await?;
    let request = Request::get(ORDER).bearer(text(&tokens, "access_token"));
    let headers = world.arrives(&world.guard, "user", &request).await?;
    same("x-user", headers.all("x-user").join(", ").as_str(), "alice")
}

async fn shared(world: &World) -> Outcome {
    let enough = world.introspections().await? + MANY;
    let tokens = world.load("basic", async || Ok(world.introspections().await? > enough)).await?;
    same("the number of tokens that reached the service", tokens.len(), 1)?;
    world.obtains_once().await
}

async fn password(world: &World) -> Outcome {
    for _ in 0..2 {
        let token = world.serves("hasty", HASTY).await?;
        world.expires(&token).await?;
    }
    let last = world.serves("hasty", HASTY).await?;
    world.last_grants(HASTY, &["password", "refresh_token", "refresh_token"]).await?;
    let grants = world.grants(HASTY).await?;
    for (before, after) in grants.iter().zip(grants.iter().skip(1)) {
        let given = text(before, "next_refresh_token");
        same("the refresh token that was sent", text(after, "refresh_token"), given)?;
    }
    let issued = grants.last().map_or("", |grant| text(grant, "access_token"));
    same("the token that was issued", issued, &last)
}

async fn revoked(world: &World) -> Outcome {
    let token = world.serves("password", USER).await?;
    world.revoke((USER, "app-secret"), &token).await?;
    world.replaces("password", &token).await?;
    world.last_grants(USER, &["refresh_token (invalid_grant)", "password"]).await
}

async fn lost_grant(world: &World) -> Outcome {
    let token = world.serves("hasty", HASTY).await?;
    world.expires(&token).await?;
    world.serves("hasty", HASTY).await?;
    let grants = world.grants(HASTY).await?;
    let spent = grants.last().map_or("", |grant| text(grant, "refresh_token"));
    world.lost_grant("hasty", HASTY, spent).await?;
    // The first of these is the other's.
    let refused = "refresh_token (invalid_grant)";
    world.last_grants(HASTY, &[refused, refused, "password"]).await
}

/// A client with characters that get lost where they are not form-encoded.
const ODD: &str = "odd:client id";
/// A client that gets tokens for users.
const USER: &str = "app";
/// Another, whose tokens live for 3 s.
const HASTY: &str = "hasty";
/// Requests that are enough to see that nobody gets a token of their own.
const MANY: u64 = 100;
