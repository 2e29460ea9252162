//! `envoy/jwt.yaml` and `envoy/native/jwt.yaml`: JWTs and opaque tokens under the same rules.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Envoy, Options, example, native, with_members};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use serde_json::{Value, json};

use super::{keys, signed_with};
use crate::exchanges::seconds_from_now;
use crate::exchanges::signing::Key;
use crate::set_up::{BOTH, ENDPOINT, one_worker};

/// Claims that both kinds of tokens have, with these additions, of which null removes.
fn claims(more: &Value) -> Value {
    let claims = json!({
        "iss": "https://as.example.com", "aud": "https://orders.example.com", "sub": "alice",
        "exp": seconds_from_now(600),
    });
    with_members(claims, more)
}

/// The file, whose keys have these names, with other addresses.
async fn start(file: &str, of: &[(&Key, &str)]) -> (ScriptedServer, Upstream, Envoy) {
    let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
    server.on("/jwks", keys(of));
    // The name of an opaque token is its scope.
    server.on_each(ENDPOINT, |call| {
        let token = call.parameter("token").expect("a token");
        let is_known = ["read", "write"].contains(&token.as_str());
        let scope = format!("orders:{token}");
        Answer::json(200, &claims(&json!({"active": is_known, "scope": scope})))
    });
    let port = |port: u16| format!("port_value: {port} ");
    let text = example(
        file,
        &[
            ("port_value: 9000 ", &port(server.address().port())),
            ("port_value: 9001 ", &port(service.address().port())),
            ("port_value: 10000 ", "port_value: 0 "),
        ],
    );
    let environment = vec![("ORDERS_API_SECRET".to_owned(), "secret".to_owned())];
    let envoy = Envoy::start_with(text, &Options { environment, ..one_worker() }).await;
    (server, service, envoy.unwrap_or_else(|error| panic!("{file}: {error}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn jwts_and_opaque_tokens_are_under_the_same_rules() {
    let file = if native::is_chosen() { "native/jwt.yaml" } else { "jwt.yaml" };
    let (rsa, p256, ed25519) = (Key::rsa(), Key::p256(), Key::ed25519());
    let forger = Key::p256();
    let of = [(&rsa, "r"), (&p256, "e"), (&ed25519, "d")];
    let (server, service, envoy) = start(file, &of).await;
    let send = async |request: Request| {
        let mut statuses = Vec::new();
        for http in BOTH {
            let request = request.clone().header("x-user", "root").header("x-scope", "all");
            statuses.push(http.send(&request, envoy.address("inbound")).await.status);
        }
        assert_eq!(statuses[0], statuses[1]);
        statuses[0]
    };
    let jwt = |key, algorithm, id, more: Value| signed_with(key, algorithm, id, &claims(&more));
    let scope = |scope: &str| json!({"scope": format!("orders:{scope}")});
    for (name, status) in [("read", 403), ("write", 200)] {
        for token in [jwt(&p256, "ES256", "e", scope(name)), name.to_owned()] {
            service.clear();
            assert_eq!(
                send(Request::post("/orders/1", "{}").bearer(&token)).await,
                status,
                "{name}"
            );
            assert_eq!(send(Request::get("/elsewhere").bearer(&token)).await, 403);
            for request in service.requests() {
                assert_eq!(request.headers.all("x-user"), ["alice"]);
                assert_eq!(request.headers.all("x-scope"), [format!("orders:{name}")]);
            }
        }
    }
    assert_eq!(send(Request::get("/healthz")).await, 200);
    let only_native = if native::is_chosen() { 200 } else { 401 };
    for (key, algorithm, id, status) in [
        (&rsa, "RS256", "r", 200),
        (&p256, "ES256", "e", 200),
        (&rsa, "PS256", "r", only_native),
        (&ed25519, "EdDSA", "d", only_native),
        (&forger, "ES256", "e", 401),
    ] {
        let token = jwt(key, algorithm, id, scope("read"));
        assert_eq!(send(Request::get("/orders/1").bearer(&token)).await, status, "{algorithm}");
    }
    for (more, status) in [
        (json!({"scope": "orders:read", "exp": 1}), 401),
        (json!({"scope": "orders:read", "exp": null}), 401),
        (json!({"scope": "orders:read", "aud": "others"}), 401),
        (json!({"scope": "other"}), 403),
        (json!({}), 403),
    ] {
        let token = jwt(&p256, "ES256", "e", more.clone());
        assert_eq!(send(Request::get("/orders/1").bearer(&token)).await, status, "{more}");
    }
    let introspected = server.count(ENDPOINT);
    assert_eq!(introspected, 2, "only the opaque ones");
    assert_eq!(send(Request::get("/orders/1").bearer("unknown")).await, 401);
    // A JWT of nobody who is known here is one of the others.
    let foreign = jwt(&p256, "ES256", "e", json!({"iss": "https://other.test"}));
    assert_eq!(send(Request::get("/orders/1").bearer(&foreign)).await, 401);
    assert_eq!(server.count(ENDPOINT), introspected + 2);
}
