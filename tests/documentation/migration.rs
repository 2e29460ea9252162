//! `docs/migration.md`: what stood in Envoy before and what comes in its place answer alike, and
//! differ where the page says so. Both stand in one Envoy, and in one chain.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{
    Bootstrap, Envoy, Listener, Options, WasmPlugin, merge, native, with_members,
};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::wait;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::pages::MIGRATION;
use crate::yaml;

/// The documents of a block.
fn documents(block: &str) -> Vec<Value> {
    yaml::documents(block).unwrap_or_else(|error| panic!("{error}\n{block}"))
}

/// A block below a heading, by its language and its place among those of the language.
fn block(heading: &str, language: &str, place: usize) -> Value {
    let fence = format!("```{language}\n");
    let rest = MIGRATION.section(heading).split(&fence).nth(place + 1).expect("a block");
    let block = rest.split("```").next().expect("its end");
    let [value] = <[Value; 1]>::try_from(documents(block)).expect("one document");
    value
}

/// The listeners: the filter of before, ours, and one behind the other.
const LISTENERS: [&str; 3] = [BEFORE, AFTER, BOTH];
const BEFORE: &str = "before";
const AFTER: &str = "after";
const BOTH: &str = "both";

/// An Envoy with all three.
struct Migration {
    envoy: Envoy,
    server: ScriptedServer,
    authz: ScriptedServer,
    service: Upstream,
}

impl Migration {
    /// With the blocks below this heading, and an authorization server that works.
    async fn of(heading: &str) -> Self {
        let issued = AtomicUsize::new(0);
        Self::with(heading, move || {
            let token = format!("issued-{}", issued.fetch_add(1, Ordering::Relaxed));
            let said = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600});
            Answer::json(200, &said)
        })
        .await
    }

    /// The same, with these answers of the token endpoint.
    async fn with(heading: &str, tokens: impl Fn() -> Answer + Send + 'static) -> Self {
        let (before, after) = (block(heading, "yaml", 0), block(heading, "json", 0));
        Self::start(&before, &after, tokens).await
    }

    /// With these filters of before, and this document of ours.
    async fn start(
        before: &Value,
        after: &Value,
        tokens: impl Fn() -> Answer + Send + 'static,
    ) -> Self {
        let plugin = WasmPlugin::new(after)
            .env("ORDERS_API_SECRET", "orders-api-secret")
            .env("BILLING_SECRET", "billing-secret");
        let filter = plugin.filter("oauth2");
        let (server, authz) = (ScriptedServer::start().await, ScriptedServer::start().await);
        let service = Upstream::start().await;
        let mut bootstrap = Bootstrap::new()
            .cluster("as", server.address())
            .cluster("authz", authz.address())
            .cluster("service", service.address());
        for name in LISTENERS {
            let mut listener = Listener::to(name, "service");
            if name != AFTER {
                let filters = before["http_filters"].as_array().expect("filters");
                listener = filters.iter().cloned().fold(listener, Listener::filter);
            }
            if name != BEFORE {
                listener = listener.filter(filter.clone());
            }
            bootstrap = bootstrap.listener(listener);
        }
        let mut configuration = bootstrap.value();
        let secrets = before.get("secrets").cloned().unwrap_or_else(|| json!([]));
        merge(&mut configuration, json!({"static_resources": {"secrets": secrets}}));
        let secret = |name: &str| (name.to_owned(), "a-secret".to_owned());
        let environment = ["BILLING_SECRET", "SHOP_SECRET", "COOKIE_SECRET"].map(secret).into();
        let options = Options { environment, concurrency: 1, ..Options::default() };
        server.on_each("/introspect", introspect);
        server.on("/jwks", Answer::json(200, &key_set()));
        server.on_each("/token", move |_| tokens());
        let envoy = Envoy::start_with(configuration, &options).await.expect("Envoy with both");
        Self { envoy, server, authz, service }
    }

    async fn send(&self, listener: &str, request: &Request) -> Response {
        let answer = request.send(self.envoy.address(listener)).await;
        answer.unwrap_or_else(|error| panic!("{listener}: {request:?}: {error}"))
    }

    /// Checks what all three answer.
    async fn answers_alike(&self, cases: &[(Request, u16)]) {
        for (request, status) in cases {
            self.answers(request, [*status; 3]).await;
        }
    }

    /// Checks that both let the same tokens pass, and tell the service who the user is.
    async fn tells_of_users_alike(&self) {
        self.answers_alike(&[
            (get(), 401),
            (get().bearer("bad"), 401),
            (get().bearer("poor"), 403),
            (get().bearer("good").header("x-user", "root"), 200),
        ])
        .await;
        let user = Some("somebody".to_owned());
        assert_eq!(self.received("x-user"), [user.clone(), user.clone(), user]);
    }

    /// Checks where the two differ; in the chain, the stricter one counts.
    async fn differ(&self, cases: &[(Request, u16, u16)]) {
        for (request, before, after) in cases {
            let chain = if *before == 200 { after } else { before };
            self.answers(request, [*before, *after, *chain]).await;
        }
    }

    /// Checks what each listener answers.
    async fn answers(&self, request: &Request, statuses: [u16; LISTENERS.len()]) {
        for (listener, status) in LISTENERS.into_iter().zip(statuses) {
            let answer = self.send(listener, request).await;
            assert_eq!(answer.status, status, "{listener}: {request:?}");
        }
    }

    /// What the service got of this header, by the order of requests.
    fn received(&self, header: &str) -> Vec<Option<String>> {
        self.service.requests().iter().map(|request| request.header(header)).collect()
    }
}

/// What the server says of a token, by its name or, of a JWT, by its subject.
fn introspect(call: &oauth2_filter_testbed::Received) -> Answer {
    let token = call.parameter("token").unwrap_or_default();
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    let name =
        claims.as_ref().map_or(token.as_str(), |claims| claims["sub"].as_str().expect("one"));
    let scope = match name {
        "poor" => "orders:none",
        "longer" => "orders:readonly",
        _ => "orders:read",
    };
    let mut said = json!({"active": true, "sub": "somebody", "scope": scope});
    merge(&mut said, claims.clone().unwrap_or_else(|| json!({})));
    match name {
        "good" | "poor" | "longer" => Answer::json(200, &said),
        _ => Answer::json(200, &json!({"active": false})),
    }
}

/// A request for what is guarded.
fn get() -> Request {
    Request::get("/orders/1")
}

#[tokio::test(flavor = "multi_thread")]
async fn ext_authz_and_the_filter_answer_alike() {
    let migration = Migration::of("## From `ext_authz`").await;
    migration.authz.on_each("/authorize/orders/1", |request| {
        match request.header("authorization").as_deref() {
            Some("Bearer good") => Answer::status(200).header("x-user", "somebody"),
            Some("Bearer poor") => Answer::status(403),
            _ => Answer::status(401),
        }
    });
    migration.tells_of_users_alike().await;
    let token = Some("Bearer good".to_owned());
    assert_eq!(migration.received("authorization"), [token, None, None]);

    // The service says nothing of the user: the caller's word stays where nobody takes it out.
    migration.authz.on("/authorize/orders/1", Answer::status(200));
    migration.service.clear();
    for listener in [BEFORE, AFTER] {
        let request = get().bearer("good").header("x-user", "root");
        assert_eq!(migration.send(listener, &request).await.status, 200);
    }
    let users = ["root", "somebody"].map(|user| Some(user.to_owned()));
    assert_eq!(migration.received("x-user"), users);

    migration.authz.on("/authorize/orders/1", Answer::reset());
    migration.server.on("/introspect", Answer::reset());
    let new = || get().bearer("new");
    assert_eq!(migration.send(BEFORE, &new()).await.status, 403);
    let answer = migration.send(AFTER, &new()).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn lua_and_the_filter_answer_alike_but_where_the_page_says_so() {
    let migration = Migration::of("## From Lua").await;
    migration.tells_of_users_alike().await;
    migration
        .differ(&[
            (get().bearer("longer"), 200, 403),
            (get().bearer("good&token=x"), 200, 401),
            (get().header("authorization", "bearer good"), 401, 200),
        ])
        .await;
    migration.server.on("/introspect", Answer::reset());
    migration.differ(&[(get().bearer("new"), 401, 503)]).await;
}

/// Where the page compares `jwt_authn` with the filter.
const JWT_AUTHN: &str = "## From `jwt_authn`";

#[tokio::test(flavor = "multi_thread")]
async fn jwt_authn_and_the_filter_answer_alike_but_where_the_page_says_so() {
    let migration = Migration::of(JWT_AUTHN).await;
    let good = jwt(&json!({}));
    // Envoy fetches the keys with the first request.
    migration.answers_alike(&[(get().bearer(&good), 200), (get(), 401)]).await;
    let forged = format!("{}{}", &good[..good.len() - 8], "AAAAAAAA");
    let expired = jwt(&json!({"exp": 1}));
    migration
        .answers_alike(&[
            (get().bearer(&forged), 401),
            (get().bearer(&expired), 401),
            (get().bearer("opaque"), 401),
        ])
        .await;
    let typed = |header: Value| signed(&header, &claims(&json!({})));
    migration
        .differ(&[
            (get().bearer(&typed(json!({"alg": "ES256", "kid": "a"}))), 200, 401),
            (get().bearer(&typed(json!({"alg": "ES256", "kid": "a", "typ": "JWT"}))), 200, 401),
            (get().bearer(&jwt(&json!({"exp": null}))), 200, 401),
            (get().bearer(&jwt(&json!({"aud": "https://other.example.com"}))), 403, 401),
        ])
        .await;
    let unknown = typed(json!({"alg": "ES256", "kid": "b", "typ": "at+jwt"}));
    migration.differ(&[(get().bearer(&unknown), 401, 503)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_jwt_authn_says_401_and_the_filter_that_they_are_away() {
    let (mut before, mut after) = (block(JWT_AUTHN, "yaml", 0), block(JWT_AUTHN, "json", 0));
    let elsewhere = "https://as.example.com/none";
    before["http_filters"][0]["typed_config"]["providers"]["as"]["remote_jwks"]["http_uri"]["uri"] =
        elsewhere.into();
    after["inbound"]["jwt"]["jwks_uri"] = elsewhere.into();
    let migration = Migration::start(&before, &after, || Answer::status(500)).await;
    migration.differ(&[(get().bearer(&jwt(&json!({}))), 401, 503)]).await;
}

/// The filter of before, which verifies for ours. `requires` is what it asks of requests.
fn verifying(requires: Option<Value>) -> Value {
    let mut before = block(JWT_AUTHN, "yaml", 0);
    let config = &mut before["http_filters"][0]["typed_config"];
    merge(&mut config["providers"]["as"], block(JWT_AUTHN, "yaml", 1));
    if let Some(requires) = requires {
        config["rules"][0]["requires"] = requires;
    }
    before
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_accepts_what_jwt_authn_has_verified_and_nothing_else() {
    // The dynamic module verifies itself.
    if native::is_chosen() {
        return;
    }
    let any = json!({"requires_any": {"requirements": [
        {"provider_name": "as"}, {"allow_missing_or_failed": {}},
    ]}});
    let mut after = block(JWT_AUTHN, "json", 1);
    let alone = Migration::start(&verifying(None), &after, || Answer::status(500)).await;
    after["inbound"]["introspection"] = json!({
        "endpoint": "https://as.example.com/introspect", "cluster": "as",
        "client_id": "orders-api", "client_secret": "s",
    });
    let both = Migration::start(&verifying(Some(any)), &after, || Answer::status(500)).await;
    let good = jwt(&json!({}));
    let forged = format!("{}{}", &good[..good.len() - 8], "AAAAAAAA");
    for (migration, opaque) in [(&alone, 401), (&both, 200)] {
        for (what, token, status) in [
            ("good", &good, 200),
            ("forged", &forged, 401),
            ("expired", &jwt(&json!({"exp": 1})), 401),
            ("opaque", &"good".to_owned(), opaque),
        ] {
            let answer = migration.send(BOTH, &get().bearer(token)).await;
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
        }
        // Without the other filter, nobody has verified it.
        assert_eq!(migration.send(AFTER, &get().bearer(&good)).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_injector_and_the_filter_put_tokens_on_requests() {
    let migration = Migration::of("## From `credential_injector`").await;
    let billing = |path: &str| Request::get(path).authority("billing.example.com");
    // The injector has none at first.
    wait::until("the injector to have its token", async || {
        migration.send(BEFORE, &billing("/")).await.status == 200
            && migration.send(BOTH, &billing("/")).await.status == 200
    })
    .await;
    migration.service.clear();
    let tokens = async |listener: &str, request: &Request| {
        migration.service.clear();
        migration.send(listener, request).await;
        migration.received("authorization").pop().flatten().expect("a token")
    };
    let caller = |path: &str| billing(path).bearer("the-callers");
    let [injected, ours] = [tokens(BEFORE, &caller("/")).await, tokens(AFTER, &caller("/")).await];
    assert!(injected.starts_with("Bearer issued-") && ours.starts_with("Bearer issued-"));
    // In one chain, a rule of ours says whose token it is.
    assert_eq!(tokens(BOTH, &caller("/")).await, ours);
    let other = tokens(BOTH, &Request::get("/").authority("other.example.com")).await;
    assert_ne!(other, ours);
    // That of the other injector: each has its own.
    assert_ne!(other, injected);

    // The service does not take them: ours is replaced.
    for listener in [BEFORE, AFTER] {
        assert_eq!(migration.send(listener, &caller("/status/401")).await.status, 401);
    }
    assert_eq!(tokens(BEFORE, &caller("/")).await, injected);
    assert_ne!(tokens(AFTER, &caller("/")).await, ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_injector_says_401_and_the_filter_that_the_server_is_away() {
    let answer = || Answer::status(500);
    let migration = Migration::with("## From `credential_injector`", answer).await;
    let request = Request::get("/").authority("billing.example.com");
    assert_eq!(migration.send(BEFORE, &request).await.status, 401);
    assert_eq!(migration.send(AFTER, &request).await.status, 503);
    assert!(migration.service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_disabled_guards_the_routes_that_ask_for_it() {
    let section = MIGRATION.section("## Step by step");
    let (_, block) = section.split_once("```yaml\n").expect("a block");
    let block = block.split("```").next().expect("its end");
    let [with_filter] = <[Value; 1]>::try_from(documents(block)).expect("one document");
    let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
    let route =
        |prefix: &str| json!({"match": {"prefix": prefix}, "route": {"cluster": "service"}});
    let mut guarded = route("/orders");
    merge(&mut guarded, with_filter);
    let document = json!({"inbound": {"introspection": {
        "endpoint": "https://as.example.com/introspect", "cluster": "as", "auth_method": "none",
    }}});
    let mut filter = WasmPlugin::new(&document).filter("oauth2");
    filter["disabled"] = true.into();
    let listener = Listener::routing(AFTER, json!([guarded, route("/")])).filter(filter);
    let bootstrap = Bootstrap::new()
        .cluster("as", server.address())
        .cluster("service", service.address())
        .listener(listener);
    let envoy = Envoy::start(bootstrap).await.expect("Envoy with the route");
    for (path, status) in [("/orders/1", 401), ("/other", 200)] {
        let answer = Request::get(path).send(envoy.address(AFTER)).await.expect("an answer");
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_envoys_oauth2_the_filter_checks_what_that_lets_pass() {
    let migration = Migration::of("## From Envoy's `oauth2`").await;
    for (request, statuses) in [
        (get(), [302, 401, 302]),
        (get().bearer("bad"), [200, 401, 401]),
        (get().bearer("poor"), [200, 403, 403]),
        (get().bearer("good"), [200, 200, 200]),
    ] {
        for (listener, status) in LISTENERS.into_iter().zip(statuses) {
            let answer = migration.send(listener, &request).await;
            assert_eq!(answer.status, status, "{listener}: {request:?}");
            let location = answer.header("location").unwrap_or_default();
            assert_eq!(
                location.starts_with("https://as.example.com/authorize?"),
                status == 302,
                "{location}"
            );
        }
    }
}

/// The key that JWTs are signed with.
fn key() -> EcdsaKeyPair {
    let pem = include_str!("../envoy/keys/p256-pkcs8.pem");
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = BASE64_STANDARD.decode(text).expect("base64");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &SystemRandom::new())
        .expect("a key")
}

/// What `jwks_uri` gives.
fn key_set() -> Value {
    let key = key();
    // One byte says that the point is not compressed.
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "a", "x": x, "y": y}]})
}

/// Claims that are accepted, but for these; null takes one out.
fn claims(more: &Value) -> Value {
    let claims = json!({
        "iss": "https://as.example.com", "aud": "https://orders.example.com", "sub": "somebody",
        "exp": 4_102_444_800_u64,
    });
    with_members(claims, more)
}

/// A JWT with this header.
fn signed(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = key().sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// An access token with these claims besides those that are accepted.
fn jwt(more: &Value) -> String {
    signed(&json!({"alg": "ES256", "kid": "a", "typ": "at+jwt"}), &claims(more))
}
