//! What is compared does the same: the full Lua filter and ours answer alike, and let the same on.

use std::sync::Arc;
use std::time::Duration;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener};
use oauth2_filter_testbed::upstream::Upstream;

use crate::proxy::{options, quiet, with_secret};
use crate::servers::{AuthorizationServer, Sidecar};
use crate::tokens::{SCOPE, Tokens};
use crate::variants::{Variant, named};

/// A proxy before a service that keeps what reaches it.
struct Guarded {
    envoy: Envoy,
    service: Upstream,
    server: AuthorizationServer,
    tokens: Arc<Tokens>,
    _sidecar: Option<Sidecar>,
}

impl Guarded {
    async fn by(name: &str) -> Self {
        let variant = named(name).expect("a variant");
        let tokens = Arc::new(Tokens::sign(1).expect("a token"));
        let server = AuthorizationServer::start(Arc::clone(&tokens), Duration::ZERO);
        let (server, service) = (server.expect("a free port"), Upstream::start().await);
        let sidecar = if variant.has_sidecar() {
            Some(Sidecar::start(server.address, name).await.expect("Node.js"))
        } else {
            None
        };
        let asked = sidecar.as_ref().map_or(server.address, |sidecar| sidecar.address);
        let filter = (variant.filter)(name, &tokens.key_set);
        let bootstrap = Bootstrap::new()
            .cluster("as", asked)
            .cluster("service", service.address())
            .listener(quiet(Listener::to("bench", "service")).filter(filter));
        let envoy = Envoy::start_with(with_secret(&bootstrap), &options(1)).await;
        let envoy = envoy.expect("Envoy with the filter");
        Self { envoy, service, server, tokens, _sidecar: sidecar }
    }

    async fn status(&self, request: &Request) -> u16 {
        let answer = request.send(self.envoy.address("bench")).await;
        answer.expect("an answer").status
    }
}

#[tokio::test]
async fn the_full_lua_filter_and_ours_answer_alike_and_no_client_can_spoof_what_they_forward() {
    for name in ["ours-full", "lua-full", "lua-told"] {
        let guarded = Guarded::by(name).await;
        let token = guarded.tokens.all[0].as_str();
        let get = |path| Request::get(path).header("x-user", "root").header("x-scope", "all");
        for (request, status) in [
            (get("/orders/1").bearer(token), 200),
            (get("/healthz"), 200),
            (get("/orders/1?a=/none").bearer(token), 200),
            (Request::new("DELETE", "/orders/1").bearer(token), 200),
            (get("/orders/1"), 401),
            (get("/orders/1").header("authorization", "Basic YTpi"), 401),
            (get("/orders/1").bearer("another"), 401),
            (get("/none").bearer(token), 403),
            (get("/ordersx").bearer(token), 403),
            (get("/orders/%2Fa").bearer(token), 400),
            (get("/orders//../healthz").bearer(token), 400),
        ] {
            assert_eq!(guarded.status(&request).await, status, "{name}: {request:?}");
        }
        let fields = |place: usize| {
            let headers = &guarded.service.requests()[place].headers;
            ["x-user", "x-scope", "authorization"].map(|name| headers.get(name))
        };
        let claims = [Some("user-00000"), Some(SCOPE), None];
        assert_eq!(fields(0), claims.map(|claim| claim.map(str::to_owned)), "{name}");
        assert_eq!(fields(1), [None, None, None], "{name}");
    }
}

#[tokio::test]
async fn every_guard_refuses_other_tokens_and_those_that_cache_introspect_once() {
    for (name, calls) in [
        ("lua-short", 2),
        ("lua-full", 2),
        ("ours", 2),
        ("ours-full", 2),
        ("ext-authz", 6),
        ("ext-authz-sidecar", 2),
        ("jwt-authn", 0),
        ("jwt-authn-cache", 0),
        ("jwt-authn-es256", 0),
        ("ours-jwt", 0),
        ("ours-jwt-rs256", 0),
        ("ours-jwt-es256", 0),
        ("native-jwt-rs256", 0),
        ("native-jwt-es256", 0),
    ] {
        if name == "ext-authz-sidecar" && !Sidecar::can_run() {
            continue;
        }
        let guarded = Guarded::by(name).await;
        let variant = named(name).expect("a variant");
        let own = Variant { tokens: 1, ..variant }.tokens_of(&guarded.tokens)[0].as_str();
        for (token, status) in [(own, 200), ("another", 401)] {
            for _ in 0..3 {
                let request = Request::get("/orders/1").bearer(token);
                assert_eq!(guarded.status(&request).await, status, "{name}: {token}");
            }
        }
        assert_eq!(guarded.server.calls(name), calls, "{name}");
    }
}

#[tokio::test]
async fn both_clients_put_the_token_of_the_server_in_place_of_the_callers() {
    for name in ["credential-injector", "ours-outbound"] {
        let guarded = Guarded::by(name).await;
        let request = Request::get("/orders/1").bearer("the-callers");
        assert_eq!(guarded.status(&request).await, 200, "{name}");
        let sent = guarded.service.requests()[0].headers.get("authorization");
        assert_eq!(sent, Some(format!("Bearer {}", guarded.tokens.all[0])), "{name}");
    }
}
