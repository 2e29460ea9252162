use super::*;
use crate::client::{self, Request};

async fn send(server: &AuthorizationServer, request: Request) -> client::Response {
    request.send(server.address()).await.unwrap()
}

fn token_request(parameters: &[(&str, &str)]) -> Request {
    Request::form("/token", &[&[("grant_type", "client_credentials")], parameters].concat())
}

/// A token for the shop with these parameters.
async fn token(server: &AuthorizationServer, parameters: &[(&str, &str)]) -> String {
    let answer = send(server, token_request(parameters).basic(SHOP, SHOP_SECRET)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn introspect(server: &AuthorizationServer, token: &str) -> Value {
    let request = Request::form("/introspect", &[("token", token)]);
    send(server, request.basic(ORDERS_API, ORDERS_API_SECRET)).await.json()
}

#[tokio::test]
async fn a_token_is_issued_introspected_revoked_and_expires() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let issued = token(&server, &[("scope", "orders:read")]).await;
    let claims = introspect(&server, &issued).await;
    let text =
        ["scope", "client_id", "sub", "aud", "iss"].map(|claim| claims[claim].as_str().unwrap());
    assert_eq!(text, ["orders:read", SHOP, SHOP, ORDERS_AUDIENCE, server.issuer()]);
    let revoke = Request::form("/revoke", &[("token", &issued)]);
    let by_another = send(&server, revoke.clone().basic(ORDERS_API, ORDERS_API_SECRET)).await;
    assert_eq!(by_another.status, 400);
    assert_eq!(introspect(&server, &issued).await["active"], true);
    let answer = send(&server, revoke.basic(SHOP, SHOP_SECRET)).await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    assert_eq!(introspect(&server, &issued).await, json!({"active": false}));
    assert_eq!(server.stats(), Stats { token: 1, introspect: 3, revoke: 2 });

    let issued = token(&server, &[]).await;
    server.advance_clock(Duration::from_secs(3599));
    assert_eq!(introspect(&server, &issued).await["scope"], "orders:read orders:write");
    server.advance_clock(Duration::from_secs(1));
    assert_eq!(introspect(&server, &issued).await, json!({"active": false}));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let by_form = [("client_id", SHOP), ("client_secret", SHOP_SECRET)];
    let shop = |request: Request| request.basic(SHOP, SHOP_SECRET);
    let introspection = Request::form("/introspect", &[("token", "x")]);
    for (request, status, error) in [
        (token_request(&[]), 401, "invalid_client"),
        (token_request(&[]).basic(SHOP, "wrong"), 401, "invalid_client"),
        (token_request(&[]).bearer("x"), 401, "invalid_client"),
        (shop(token_request(&by_form)), 400, "invalid_request"),
        (shop(token_request(&[("a", "1"), ("a", "2")])), 400, "invalid_request"),
        (Request::form("/token", &by_form), 400, "invalid_request"),
        (shop(Request::post("/token", "{}")), 400, "invalid_request"),
        (shop(token_request(&[]).header("client-cert", "YWJj")), 400, "invalid_request"),
        (shop(Request::form("/token", &[("grant_type", "magic")])), 400, "unsupported_grant_type"),
        (shop(token_request(&[("scope", "admin")])), 400, "invalid_scope"),
        (shop(token_request(&[("resource", "https://a.test")])), 400, "invalid_target"),
        (token_request(&[]).basic(ORDERS_API, ORDERS_API_SECRET), 400, "unauthorized_client"),
        (Request::get("/token"), 405, "invalid_request"),
        (introspection.clone(), 401, "invalid_client"),
        (shop(introspection), 401, "invalid_client"),
    ] {
        let answer = send(&server, request.clone()).await;
        let found = answer.json();
        assert_eq!((answer.status, found["error"].as_str()), (status, Some(error)), "{request:?}");
        assert_eq!(answer.headers.contains("www-authenticate"), status == 401);
    }
}

#[tokio::test]
async fn a_token_is_exchanged_for_another_that_lives_no_longer_and_bound_to_a_certificate() {
    let server = AuthorizationServer::start(Options::of_examples()).await.unwrap();
    let subject = token(&server, &[("scope", "invoices:read")]).await;
    server.advance_clock(Duration::from_mins(30));
    let billing = "https://billing.example.com";
    let parameters = [
        ("grant_type", GrantType::TokenExchange.name()),
        ("subject_token", &*subject),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", billing),
    ];
    let exchange = Request::form("/token", &parameters).basic("gateway", "gateway-secret");
    let exchange = exchange.header("client-cert", ":YWJj:");
    let body = send(&server, exchange).await.json();
    assert_eq!(body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(body["expires_in"], 1800);
    let claims = introspect(&server, body["access_token"].as_str().unwrap()).await;
    let text = ["aud", "sub", "client_id", "scope"].map(|claim| claims[claim].as_str().unwrap());
    assert_eq!(text, [billing, SHOP, "gateway", "invoices:read"]);
    // The SHA-256 of "abc" (FIPS 180-4).
    let thumbprint = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
    assert_eq!(claims["cnf"], json!({"x5t#S256": thumbprint}));
}
