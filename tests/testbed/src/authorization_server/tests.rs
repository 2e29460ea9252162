use serde_json::json;

use super::*;
use crate::client::{self, Request};

async fn started() -> AuthorizationServer {
    AuthorizationServer::start(Options::default()).await.unwrap()
}

async fn send(server: &AuthorizationServer, request: Request) -> client::Response {
    request.send(server.address()).await.unwrap()
}

fn token_request(parameters: &[(&str, &str)]) -> Request {
    let grant = [("grant_type", "client_credentials")];
    Request::form("/token", &[&grant, parameters].concat())
}

async fn introspect(server: &AuthorizationServer, token: &str) -> Value {
    let request = Request::form("/introspect", &[("token", token)]);
    let answer = send(server, request.basic(ORDERS_API, ORDERS_API_SECRET)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_token_is_issued_introspected_and_revoked() {
    let server = started().await;
    let request = token_request(&[("scope", "orders:read")]).basic(SHOP, SHOP_SECRET);
    let answer = send(&server, request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["scope"], "orders:read");
    let token = body["access_token"].as_str().unwrap();

    let claims = introspect(&server, token).await;
    assert_eq!(claims["active"], true);
    assert_eq!(claims["scope"], "orders:read");
    assert_eq!(claims["client_id"], SHOP);
    assert_eq!(claims["sub"], SHOP);
    assert_eq!(claims["aud"], ORDERS_AUDIENCE);
    assert_eq!(claims["iss"], server.issuer());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    assert!(claims.get("username").is_none());

    for _ in 0..2 {
        let request = Request::form("/revoke", &[("token", token)]).basic(SHOP, SHOP_SECRET);
        let answer = send(&server, request).await;
        assert_eq!((answer.status, answer.text()), (200, String::new()));
    }
    assert_eq!(introspect(&server, token).await, json!({"active": false}));
    let stats = send(&server, Request::get("/stats")).await;
    assert_eq!(stats.json(), json!({"token": 1, "introspect": 2, "revoke": 2}));
    assert_eq!(server.stats(), Stats { token: 1, introspect: 2, revoke: 2 });
}

#[tokio::test]
async fn a_client_gets_its_whole_scope_when_it_asks_for_none() {
    let server = started().await;
    let request = token_request(&[("client_id", SHOP), ("client_secret", SHOP_SECRET)]);
    assert_eq!(send(&server, request).await.json()["scope"], "orders:read orders:write");
}

#[tokio::test]
async fn a_token_is_for_the_resource_that_was_asked_for() {
    let resources = vec!["https://a.test/x".to_owned(), "https://b.test".to_owned()];
    let clients = vec![Client { resources, ..Client::shop() }, Client::orders_api()];
    let options = Options { clients, ..Options::default() };
    let server = AuthorizationServer::start(options).await.unwrap();
    let ask = async |resource| {
        let request = token_request(&[("resource", resource)]).basic(SHOP, SHOP_SECRET);
        send(&server, request).await
    };
    for resource in ["https://a.test/x", "https://b.test"] {
        let token = ask(resource).await.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(introspect(&server, &token).await["aud"], resource);
    }
    for resource in ["https://a.test", "https://a.test/x/", ORDERS_AUDIENCE] {
        let answer = ask(resource).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_target")));
    }
}

#[tokio::test]
async fn a_token_expires() {
    let server = started().await;
    let token = server.issue(SHOP, "orders:read");
    server.advance_clock(Duration::from_secs(3599));
    assert_eq!(introspect(&server, &token).await["active"], true);
    server.advance_clock(Duration::from_secs(1));
    assert_eq!(introspect(&server, &token).await, json!({"active": false}));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_a_token_is_named() {
    let server = started().await;
    let by_form = [("client_id", SHOP), ("client_secret", SHOP_SECRET)];
    let cases = [
        (token_request(&[]), 401, "invalid_client"),
        (token_request(&[]).basic(SHOP, "wrong"), 401, "invalid_client"),
        (token_request(&[]).basic("nobody", SHOP_SECRET), 401, "invalid_client"),
        (token_request(&[]).bearer("x"), 401, "invalid_client"),
        (token_request(&by_form).basic(SHOP, SHOP_SECRET), 400, "invalid_request"),
        (token_request(&[("a", "1"), ("a", "2")]).basic(SHOP, SHOP_SECRET), 400, "invalid_request"),
        (Request::form("/token", &by_form), 400, "invalid_request"),
        (Request::post("/token", "{}").basic(SHOP, SHOP_SECRET), 400, "invalid_request"),
        (
            Request::form("/token", &[&by_form[..], &[("grant_type", "magic")]].concat()),
            400,
            "unsupported_grant_type",
        ),
        (token_request(&[("scope", "admin")]).basic(SHOP, SHOP_SECRET), 400, "invalid_scope"),
        (token_request(&[]).basic(ORDERS_API, ORDERS_API_SECRET), 400, "unauthorized_client"),
        (Request::get("/token"), 405, "invalid_request"),
    ];
    for (request, status, error) in cases {
        let answer = send(&server, request.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (status, &error.into()),
            "{request:?}"
        );
        assert_eq!(answer.headers.contains("www-authenticate"), status == 401);
    }
}

#[tokio::test]
async fn only_a_resource_server_may_introspect() {
    let server = started().await;
    let request = Request::form("/introspect", &[("token", "x")]);
    for request in [request.clone(), request.basic(SHOP, SHOP_SECRET)] {
        let answer = send(&server, request).await;
        assert_eq!(answer.status, 401);
        assert!(answer.headers.contains("www-authenticate"));
    }
}

#[tokio::test]
async fn a_client_cannot_revoke_the_token_of_another() {
    let server = started().await;
    let token = server.issue(SHOP, "orders:read");
    let request = Request::form("/revoke", &[("token", &token)]);
    let answer = send(&server, request.basic(ORDERS_API, ORDERS_API_SECRET)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(introspect(&server, &token).await["active"], true);
}

#[tokio::test]
async fn the_metadata_names_the_endpoints() {
    let server = started().await;
    let answer = send(&server, Request::get("/.well-known/oauth-authorization-server")).await;
    let metadata = answer.json();
    assert_eq!(metadata["issuer"], server.issuer());
    assert_eq!(metadata["introspection_endpoint"], format!("{}/introspect", server.issuer()));
}

#[tokio::test]
async fn a_token_is_exchanged_for_one_of_another_audience_that_lives_no_longer() {
    let server = AuthorizationServer::start(Options::of_examples()).await.unwrap();
    let token = server.issue(SHOP, "invoices:read");
    server.advance_clock(Duration::from_mins(30));
    let exchange = |subject: &str, kind: &str, audience: &str| {
        let parameters = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", subject),
            ("subject_token_type", kind),
            ("audience", audience),
        ];
        Request::form("/token", &parameters).basic("gateway", "gateway-secret")
    };
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let billing = "https://billing.example.com";
    let answer = send(&server, exchange(&token, access_token, billing)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["issued_token_type"], access_token);
    assert_eq!(body["expires_in"], 1800);
    let claims = introspect(&server, body["access_token"].as_str().unwrap()).await;
    for (claim, value) in
        [("aud", billing), ("sub", SHOP), ("client_id", "gateway"), ("scope", "invoices:read")]
    {
        assert_eq!(claims[claim], value, "{claim}");
    }
    for (subject, kind, audience, error) in [
        ("other", access_token, billing, "invalid_request"),
        (&*token, "urn:ietf:params:oauth:token-type:jwt", billing, "invalid_request"),
        (&*token, access_token, "https://other.example.com", "invalid_target"),
    ] {
        let answer = send(&server, exchange(subject, kind, audience)).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!(error)));
    }
}

#[tokio::test]
async fn a_token_is_bound_to_the_certificate_that_a_tls_proxy_names() {
    let server = started().await;
    let request =
        |field: &str| token_request(&[]).basic(SHOP, SHOP_SECRET).header("client-cert", field);
    let answer = send(&server, request(":YWJj:")).await;
    let claims = introspect(&server, answer.json()["access_token"].as_str().unwrap()).await;
    // The SHA-256 of "abc" (FIPS 180-4).
    let thumbprint = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
    assert_eq!(claims["cnf"], json!({"x5t#S256": thumbprint}));
    for malformed in ["YWJj", ":YWJj", ":*:"] {
        let answer = send(&server, request(malformed)).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_request")));
    }
}

#[tokio::test]
async fn the_tokens_of_a_partner_begin_in_their_own_way() {
    let server = AuthorizationServer::start(Options::of_partner()).await.unwrap();
    assert!(server.issue("partner", "orders:read").starts_with("partner_"));
}
