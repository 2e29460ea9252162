//! django-oauth-toolkit, a library for Django, in a server of `tests/interop/django-oauth-toolkit`. It
//! returns neither subject nor issuer, and an audience only where a client has named a resource; its
//! own refusals have status 403, even of a token that has expired.

use oauth2_filter_testbed::client::Request;
use serde_json::{Value, json};

use super::{
    Boxed, Report, Server,
    inbound::{Token, forwarded, rejected},
    outbound::REFUSED_CLIENT,
    world::{
        AUDIENCE, Documents, GUARDED, ORDER, Outcome, READ, STORY, Setup, World, one, same, text,
        with,
    },
};

pub(crate) const SERVER: Server = Server {
    name: "django-oauth-toolkit 3.4.1",
    folder: "django-oauth-toolkit",
    token: "/o/token/",
    introspection: "/o/introspect/",
    revocation: "/o/revoke_token/",
    parameters: ORDERS,
    user: ("app", "app-secret"),
    refresher: None,
    tells: true,
    guards,
    clients,
    inbound: &[
        forwarded("client_secret_basic encodes odd characters in id and secret", "odd", OWN),
        forwarded("So does client_secret_post", "odd-post", OWN),
        rejected("client_secret_basic_raw does not", "odd-raw", OWN, 502, REFUSED_CLIENT.1),
        forwarded("The filter authenticates with client_secret_post", "post", OWN),
        rejected("A wrong secret is an error of ours", "wrong-secret", OWN, 502, REFUSED_CLIENT.1),
        // Django sends clients to the path with the slash: 301.
        rejected("An endpoint without its slash", "no-slash", OWN, 502, "oauth2_server_bad_answer"),
        rejected(
            "A token without a resource has no audience",
            STORY,
            Token::Own(&[]),
            401,
            "oauth2_wrong_audience",
        ),
        // It calls one inactive, whatever the hint.
        rejected("A refresh token is inactive", STORY, Token::Refresh, 401, "oauth2_inactive"),
    ],
    steps,
};

fn guards(setup: &Setup) -> Documents {
    let rs =
        |more| setup.guard(with(json!({"client_id": "rs", "client_secret": "rs-secret"}), more));
    let odd =
        |more| setup.guard(with(json!({"client_id": ODD, "client_secret": ODD_SECRET}), more));
    let method = |method: &str| json!({"auth_method": method});
    let mut user = rs(json!({}));
    user["inbound"]["forward"]["claims"]["x-user"] = "username".into();
    let with_token = json!({"client": "introspector"});
    // For each request that it guards, this would check the hash of a secret otherwise.
    let guarded = setup.uncached(with_token.clone(), &AUDIENCE.into());
    let no_slash = format!("http://{}/o/introspect", setup.address);
    vec![
        (STORY, rs(json!({}))),
        ("odd", odd(json!({}))),
        ("odd-post", odd(method("client_secret_post"))),
        ("odd-raw", odd(method("client_secret_basic_raw"))),
        ("post", rs(method("client_secret_post"))),
        ("wrong-secret", rs(json!({"client_secret": "wrong"}))),
        ("no-slash", rs(json!({"endpoint": no_slash}))),
        ("token", asking(setup, "introspector", SCOPE, setup.guard(with_token.clone()))),
        ("wrong-token", asking(setup, "reader", READ, setup.guard(with_token))),
        ("user", user),
        (GUARDED, asking(setup, "guard", SCOPE, guarded)),
    ]
}

/// The document, with the outbound client for its introspection: its id, and its token's scope.
fn asking(setup: &Setup, client_id: &str, scope: &str, mut document: Value) -> Value {
    let more = json!({"client_secret": format!("{client_id}-secret"), "scope": scope});
    let client = setup.client(client_id, "client_credentials", more);
    document["outbound"] = json!({"clients": {"introspector": client}});
    document
}

fn clients(setup: &Setup) -> Documents {
    let client = |id, secret, grant_type, more| {
        let client = json!({"client_secret": secret, "resource": AUDIENCE});
        one(&setup.client(id, grant_type, with(client, more)))
    };
    let own = |id, secret, more| client(id, secret, "client_credentials", more);
    let user = json!({"username": "alice", "password": "alice-pw"});
    // A token of 3 s may live for 2 s only, by an `exp` in whole seconds.
    let hasty = with(user.clone(), json!({"clock_skew": "1s"}));
    vec![
        ("basic", own("shop", "shop-secret", json!({}))),
        ("wrong-secret", own("shop", "wrong", json!({}))),
        ("odd", own(ODD, ODD_SECRET, json!({}))),
        ("odd-post", own(ODD, ODD_SECRET, json!({"auth_method": "client_secret_post"}))),
        ("password", client(USER, "app-secret", "password", user)),
        ("hasty", client(HASTY, "hasty-secret", "password", hasty)),
    ]
}

fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
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
    let request = Request::get(ORDER).bearer(&world.token(ORDERS).await?);
    world.arrives(&world.guard, "token", &request).await?;
    let held = world.grants("introspector").await?;
    same("the number of tokens that it got", held.len(), 1)?;
    let held = text(&held[0], "access_token");
    world.revoke(("introspector", "introspector-secret"), held).await?;
    // The server answers 403, so the filter gets another token, and introspects again.
    let token = world.token(ORDERS).await?;
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

/// Whose token has it may introspect.
const SCOPE: &str = "introspection";
/// A client with characters that get lost where they are not form-encoded.
const ODD: &str = "odd:client id";
const ODD_SECRET: &str = "s%c&r=t+/~! ü";
/// A client that gets tokens for users.
const USER: &str = "app";
/// Another, whose tokens live for 3 s.
const HASTY: &str = "hasty";
/// Without it, a token has no audience here.
const ORDERS: &[(&str, &str)] = &[("resource", AUDIENCE)];
const OWN: Token = Token::Own(ORDERS);
/// Requests that are enough to see that nobody gets a token of their own.
const MANY: u64 = 100;
