//! TLS at both ends of the filter: tokens that are bound to the caller's certificate (RFC 8705),
//! and a call to an authorization server that has to show who it is.

use std::net::SocketAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, example, merge};
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::tls::{
    Authority, Identity, TlsClient, TlsFront, Version, certificate_files,
};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, listener, one_worker, plugin};

/// The name of every Envoy here.
const SERVER: &str = "api.test";

const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

/// The listeners beside [`LISTENER`], which speaks TLS and has the mode `optional`: the same without
/// TLS, the same for certificates that nobody vouches for, and the other modes.
const PLAIN: &str = "plain";
const SELF_SIGNED: &str = "self-signed";
const OFF: &str = "off";
const REQUIRED: &str = "required";

/// An Envoy with all those listeners, and its callers.
struct Callers {
    set_up: SetUp,
    servers: Authority,
    /// Whose certificate tokens are bound to.
    owner: Identity,
    /// Another client of the same authority.
    thief: Identity,
}

impl Callers {
    /// The authorization server says that tokens with `bound` in them are bound to the owner's
    /// certificate, and others to none.
    async fn start() -> Self {
        let (servers, clients) = (Authority::new(), Authority::new());
        let (owner, thief) = (clients.issue("owner.test"), clients.issue("thief.test"));
        let context = |validation: Value| {
            let mut context = json!({
                "require_client_certificate": false,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [servers.issue(SERVER).tls_certificate()],
                    "validation_context": {"trusted_ca": {"inline_string": clients.pem()}},
                },
            });
            merge(&mut context["common_tls_context"]["validation_context"], validation);
            context
        };
        let mode = |mode: &str| plugin(json!({"sender_constraint": {"mtls": mode}}));
        // Envoy takes the header out by itself, unless it is told to let it be.
        let forwarding = |listener: Listener| {
            listener
                .connection_manager(json!({"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"}))
        };
        let guarded = |name, mode| forwarding(Listener::to(name, "service").filter(mode));
        let optional = mode("optional");
        let ends = Ends::start().await;
        let bound = Answer::json(200, &bound_to(&owner));
        ends.server.on_each(ENDPOINT, move |call| {
            let token = call.parameter("token").expect("a token");
            if token.contains("bound") {
                bound.clone()
            } else {
                Answer::json(200, &json!({"active": true}))
            }
        });
        let bootstrap = ends
            .bootstrap()
            .listener(forwarding(listener(&optional)).tls(context(json!({}))))
            .listener(guarded(PLAIN, optional.filter("oauth2")))
            .listener(
                guarded(SELF_SIGNED, optional.filter("oauth2"))
                    .tls(context(json!({"trust_chain_verification": "ACCEPT_UNTRUSTED"}))),
            )
            .listener(guarded(OFF, mode("off").filter("oauth2")).tls(context(json!({}))))
            .listener(guarded(REQUIRED, mode("required").filter("oauth2")).tls(context(json!({}))));
        let set_up = ends.with(bootstrap).await;
        Self { set_up, servers, owner, thief }
    }

    /// A client with this certificate.
    fn client(&self, version: Version, certificate: Option<&Identity>) -> TlsClient {
        TlsClient::new(&self.servers, SERVER, version, certificate)
    }

    /// What comes of a request over TLS.
    async fn send(&self, certificate: Option<&Identity>, name: &str, request: &Request) -> Seen {
        let client = self.client(Version::Tls13, certificate);
        let answer = client.send(request, self.set_up.envoy.address(name)).await;
        Seen::of(&answer.expect("an answer"))
    }

    /// What comes of a GET with this token over TLS.
    async fn get(&self, certificate: Option<&Identity>, name: &str, token: &str) -> Seen {
        self.send(certificate, name, &Request::get("/").bearer(token)).await
    }

    /// What comes of a GET with this token without TLS.
    async fn get_plainly(&self, token: &str) -> Seen {
        let request = Request::get("/").bearer(token);
        let answer = request.send(self.set_up.envoy.address(PLAIN)).await;
        Seen::of(&answer.expect("an answer"))
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    /// It has reached the service.
    Passed,
    /// It was refused since its token's binding was not proved.
    Unproved,
}

impl Seen {
    /// Panics with the answer if it is none of the two.
    fn of(answer: &Response) -> Self {
        if answer.status == 200 {
            return Self::Passed;
        }
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert_eq!(
            answer.headers.all("www-authenticate"),
            [r#"Bearer realm="oauth2", error="invalid_token""#]
        );
        assert_eq!(
            answer.json(),
            json!({
                "error": "invalid_token",
                "error_description": "The access token requires proof of possession of its key.",
            })
        );
        Self::Unproved
    }
}

/// An introspection response for a token that is bound to this certificate.
fn bound_to(identity: &Identity) -> Value {
    json!({"active": true, "cnf": {"x5t#S256": identity.thumbprint()}})
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_01_a_token_passes_with_the_certificate_that_it_is_bound_to() {
    let callers = Callers::start().await;
    let address = callers.set_up.address();
    for version in VERSIONS {
        let client = callers.client(version, Some(&callers.owner));
        let request = |token: &str| Request::get("/").bearer(&format!("{token}-{version:?}"));
        for token in ["bound", "plain"] {
            let one = client.send(&request(token), address).await.expect("an answer");
            let two = client.send_http2(&request(token), address).await.expect("an answer");
            assert_eq!((one.status, two.status), (200, 200), "{token} {version:?}");
        }
    }
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_01_d4_04_a_header_proves_nothing() {
    let callers = Callers::start().await;
    let hex = callers.owner.digest_hex();
    let der = BASE64_STANDARD.encode(callers.owner.der());
    let headers = [
        ("x-forwarded-client-cert", format!("Hash={hex};Subject=\"CN=owner.test\"")),
        ("x-client-cert-sha256", hex),
        ("x-client-cert-thumbprint", callers.owner.thumbprint()),
        // RFC 9440.
        ("client-cert", format!(":{der}:")),
        ("ssl-client-cert", der),
    ];
    for state in ["fresh", "kept"] {
        for (name, value) in &headers {
            let request = Request::get("/").bearer(&format!("bound-{name}")).header(name, value);
            for certificate in [None, Some(&callers.thief)] {
                let seen = callers.send(certificate, LISTENER, &request).await;
                assert_eq!(seen, Seen::Unproved, "{name}, {state}");
            }
            let answer = request.send(callers.set_up.envoy.address(PLAIN)).await;
            let seen = Seen::of(&answer.expect("an answer"));
            assert_eq!(seen, Seen::Unproved, "{name}, {state}, without TLS");
        }
    }
    assert!(callers.set_up.service.requests().is_empty());
    // All of them came as far as the filter.
    for (name, value) in &headers {
        let request = Request::get("/").bearer("free").header(name, value);
        let over_tls = callers.send(None, LISTENER, &request).await;
        let plain = request.send(callers.set_up.envoy.address(PLAIN)).await;
        assert_eq!((over_tls, Seen::of(&plain.expect("an answer"))), (Seen::Passed, Seen::Passed));
        let received = callers.set_up.service.requests_with(name, value);
        assert_eq!(received.len(), 2, "{name}");
    }
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_02_without_the_certificate_or_with_another_it_is_refused() {
    let callers = Callers::start().await;
    for version in VERSIONS {
        for (n, certificate) in [None, Some(&callers.thief)].into_iter().enumerate() {
            let client = callers.client(version, certificate);
            let address = callers.set_up.address();
            let request = Request::get("/").bearer(&format!("bound-{version:?}-{n}"));
            for _ in ["fresh", "kept"] {
                let one = client.send(&request, address).await.expect("an answer");
                assert_eq!(Seen::of(&one), Seen::Unproved, "{version:?}");
                let two = client.send_http2(&request, address).await.expect("an answer");
                assert_eq!(Seen::of(&two), Seen::Unproved, "{version:?}");
            }
        }
    }
    assert_eq!(callers.get_plainly("bound-without-tls").await, Seen::Unproved);
    assert!(callers.set_up.service.requests().is_empty());
    // Only bound tokens are.
    assert_eq!(callers.get(None, LISTENER, "free").await, Seen::Passed);
    assert_eq!(callers.get(Some(&callers.thief), LISTENER, "free").await, Seen::Passed);
    assert_eq!(callers.get_plainly("free").await, Seen::Passed);
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_02_envoy_takes_no_certificate_of_another_authority_unless_told() {
    let callers = Callers::start().await;
    // The same name, and even the same name of the authority.
    let stranger = Authority::new().issue("owner.test");
    let alone = Identity::self_signed("owner.test");
    let address = callers.set_up.address();
    for certificate in [&stranger, &alone] {
        for version in VERSIONS {
            let client = callers.client(version, Some(certificate));
            let answer = client.send(&Request::get("/").bearer("free"), address).await;
            assert!(answer.is_err(), "{version:?}: {answer:?}");
        }
    }
    // Envoy names its statistics after the port that was asked for.
    let refused = callers.set_up.envoy.stat("listener.127.0.0.1_0.ssl.fail_verify_error").await;
    assert_eq!(refused, Some(4));

    // Where Envoy takes any, it still is the binding that counts (RFC 8705 section 2.2).
    let bound = Answer::json(200, &bound_to(&alone));
    callers.set_up.server.on(ENDPOINT, bound);
    for (certificate, seen) in [
        (Some(&stranger), Seen::Unproved),
        (None, Seen::Unproved),
        (Some(&callers.owner), Seen::Unproved),
        (Some(&alone), Seen::Passed),
        (Some(&stranger), Seen::Unproved),
    ] {
        assert_eq!(callers.get(certificate, SELF_SIGNED, "t").await, seen);
    }
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_02_a_binding_that_cannot_be_checked_is_refused() {
    let callers = Callers::start().await;
    let thumbprint = callers.owner.thumbprint();
    let cases = [
        json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"kid": "key-1"}),
        json!({"jwk": {"kty": "EC"}}),
        json!({"x5t": &thumbprint}),
        json!({"x5t#s256": &thumbprint}),
        json!({}),
        json!([]),
        json!(false),
        json!(1),
        json!(&thumbprint),
        json!([{"x5t#S256": &thumbprint}]),
        json!({"x5t#S256": null}),
        json!({"x5t#S256": [&thumbprint]}),
        json!({"x5t#S256": ""}),
        json!({"x5t#S256": callers.owner.digest_hex()}),
        json!({"x5t#S256": &thumbprint[..42]}),
        json!({"x5t#S256": format!("{thumbprint}A")}),
        json!({"x5t#S256": format!(" {thumbprint}")}),
        json!({"x5t#S256": &thumbprint, "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"x5t#S256": &thumbprint, "kid": "key-1"}),
    ];
    for (n, cnf) in cases.iter().enumerate() {
        let said = Answer::json(200, &json!({"active": true, "cnf": cnf}));
        callers.set_up.server.on(ENDPOINT, said);
        for listener in [LISTENER, REQUIRED, OFF] {
            let seen = callers.get(Some(&callers.owner), listener, &format!("t-{n}")).await;
            assert_eq!(seen, Seen::Unproved, "{cnf} {listener}");
        }
    }
    assert!(callers.set_up.service.requests().is_empty());
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_03_each_mode_refuses_a_binding_that_is_not_proved() {
    use Seen::{Passed, Unproved};
    let callers = Callers::start().await;
    let (owner, thief, none) = (Some(&callers.owner), Some(&callers.thief), None);
    // What comes of a bound token, and of one that is not.
    let cases = [
        (OFF, owner, (Unproved, Passed)),
        (OFF, thief, (Unproved, Passed)),
        (OFF, none, (Unproved, Passed)),
        (LISTENER, owner, (Passed, Passed)),
        (LISTENER, thief, (Unproved, Passed)),
        (LISTENER, none, (Unproved, Passed)),
        (REQUIRED, owner, (Passed, Unproved)),
        (REQUIRED, thief, (Unproved, Unproved)),
        (REQUIRED, none, (Unproved, Unproved)),
    ];
    for state in ["fresh", "kept"] {
        for (n, (listener, certificate, expected)) in cases.into_iter().enumerate() {
            let bound = callers.get(certificate, listener, &format!("bound-{n}")).await;
            let free = callers.get(certificate, listener, &format!("free-{n}")).await;
            assert_eq!((bound, free), expected, "{listener}, case {n}, {state}");
        }
    }
    assert_eq!(callers.set_up.calls(), 2 * cases.len(), "each token was asked about once");
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_04_d2_06_a_kept_answer_is_no_proof() {
    use Seen::{Passed, Unproved};
    let callers = Callers::start().await;
    let (owner, thief) = (Some(&callers.owner), Some(&callers.thief));
    assert_eq!(callers.get(owner, LISTENER, "bound").await, Passed);
    for _ in 0..2 {
        assert_eq!(callers.get(thief, LISTENER, "bound").await, Unproved);
        assert_eq!(callers.get(None, LISTENER, "bound").await, Unproved);
        assert_eq!(callers.get_plainly("bound").await, Unproved);
        assert_eq!(callers.get(owner, LISTENER, "bound").await, Passed);
    }
    // Nor does a refusal stick to a token whose owner comes after the thief.
    assert_eq!(callers.get(thief, LISTENER, "bound-2").await, Unproved);
    assert_eq!(callers.get(owner, LISTENER, "bound-2").await, Passed);
    assert_eq!(callers.set_up.calls(), 2);
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_04_who_waits_for_the_same_answer_proves_for_himself() {
    use Seen::{Passed, Unproved};
    let callers = Callers::start().await;
    let gate = Gate::new();
    let said = Answer::json(200, &bound_to(&callers.owner)).held_by(&gate);
    callers.set_up.server.on(ENDPOINT, said);
    let total = async |name: &str| {
        let active = format!("http.{name}.downstream_rq_active");
        callers.set_up.envoy.stat(&active).await
    };
    let opened = async {
        wait::until("all to wait", async || {
            (total(LISTENER).await, total(PLAIN).await) == (Some(3), Some(1))
        })
        .await;
        gate.open();
    };
    let (thief, nobody, plain, owner, ()) = tokio::join!(
        callers.get(Some(&callers.thief), LISTENER, "t"),
        callers.get(None, LISTENER, "t"),
        callers.get_plainly("t"),
        callers.get(Some(&callers.owner), LISTENER, "t"),
        opened,
    );
    assert_eq!((thief, nobody, plain, owner), (Unproved, Unproved, Unproved, Passed));
    assert_eq!(callers.set_up.calls(), 1);
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_04_a_resumed_session_has_the_certificate_of_the_first() {
    let callers = Callers::start().await;
    let address = callers.set_up.address();
    for version in VERSIONS {
        for (certificate, expected) in [
            (Some(&callers.owner), Seen::Passed),
            (Some(&callers.thief), Seen::Unproved),
            (None, Seen::Unproved),
        ] {
            let client = callers.client(version, certificate);
            for resumed in [false, true, true] {
                let mut connection = client.open(address).await.expect("a connection");
                assert_eq!(connection.resumed(), resumed, "{version:?}");
                let answer = connection.send(&Request::get("/").bearer("bound")).await;
                let seen = Seen::of(&answer.expect("an answer"));
                assert_eq!(seen, expected, "{version:?}, resumed: {resumed}");
            }
        }
    }
    callers.set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_8705_03_inbound_mtls_yaml_lets_bound_tokens_pass_to_their_owners_only() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (owner, thief) = (clients.issue("owner.test"), clients.issue("thief.test"));
    let files = certificate_files(&servers.issue(SERVER), &clients);
    let server = ScriptedServer::start().await;
    let service = Upstream::start().await;
    let text = example(
        "inbound-mtls.yaml",
        &[
            ("/etc/envoy/tls", &files.path().display().to_string()),
            ("port_value: 10000 ", "port_value: 0 "),
            ("port_value: 9000 ", &port(server.address())),
            ("port_value: 9001 ", &port(service.address())),
        ],
    );
    let envoy = Envoy::start_with(text, &with_secret()).await.expect("inbound-mtls.yaml");
    let (thumbprint, audience) = (owner.thumbprint(), "https://orders.example.com");
    server.on_each(ENDPOINT, move |call| {
        let mut said = json!({
            "active": true, "aud": audience, "scope": "orders:read", "sub": "somebody",
        });
        if call.parameter("token").as_deref() == Some("bound") {
            said["cnf"] = json!({"x5t#S256": thumbprint});
        }
        Answer::json(200, &said)
    });
    let send = async |certificate, request: Request| {
        let client = TlsClient::new(&servers, SERVER, Version::Tls13, certificate);
        client.send(&request, envoy.address("inbound")).await.expect("an answer")
    };
    let get = |token| Request::get("/orders/1").bearer(token);
    assert_eq!(send(Some(&owner), get("bound")).await.status, 200);
    let request = service.requests().pop().expect("a request");
    assert_eq!(request.header("x-user").as_deref(), Some("somebody"));
    assert_eq!(request.header("authorization"), None);
    for (certificate, token) in [
        (Some(&thief), "bound"),
        (None, "bound"),
        (Some(&owner), "free"),
        (Some(&thief), "free"),
        (None, "free"),
    ] {
        let answer = send(certificate, get(token)).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert_eq!(answer.status, 401, "{token}");
        assert!(challenge.contains(r#"error="invalid_token""#), "{token}: {challenge}");
    }
    assert_eq!(send(None, Request::get("/healthz")).await.status, 200);
    assert_eq!(service.requests().len(), 2);
    envoy.logged("oauth2_unproved_cnf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_7662_04_inbound_tls_yaml_believes_nobody_but_the_authorization_server() {
    let authority = Authority::new();
    let files = certificate_files(&authority.issue(SERVER), &authority);
    let server = ScriptedServer::start().await;
    let said = json!({
        "active": true, "aud": "https://orders.example.com", "scope": "orders:read",
    });
    server.on("/oauth2/introspect", Answer::json(200, &said));
    let service = Upstream::start().await;
    let cases = [
        ("the server", authority.issue("as.example.com"), true),
        ("another name", authority.issue("as.example.org"), false),
        ("a name below", authority.issue("x.as.example.com"), false),
        ("another authority", Authority::new().issue("as.example.com"), false),
        ("nobody vouches", Identity::self_signed("as.example.com"), false),
    ];
    for (what, identity, good) in cases {
        let front = TlsFront::start(&identity, server.address()).await;
        let text = example(
            "inbound-tls.yaml",
            &[
                ("port_value: 10000 ", "port_value: 0 "),
                ("port_value: 9001 ", &port(service.address())),
                (
                    "address: as.example.com, port_value: 443 ",
                    &format!("address: 127.0.0.1, {}", port(front.address())),
                ),
                (
                    "/etc/ssl/certs/ca-certificates.crt",
                    &files.path().join("clients-ca.pem").display().to_string(),
                ),
            ],
        );
        let envoy = Envoy::start_with(text, &with_secret()).await.expect("inbound-tls.yaml");
        let request = Request::get("/orders/1").bearer("t");
        let answer = request.send(envoy.address("inbound")).await.expect("an answer");
        let verified = async |stat: &str| {
            envoy.stat(&format!("cluster.as.ssl.{stat}")).await.expect("a statistic")
        };
        if good {
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            assert_eq!(verified("handshake").await, 1);
        } else {
            assert_eq!(answer.status, 503, "{what}: {}", answer.text());
            assert_eq!(answer.header("retry-after").as_deref(), Some("1"), "{what}");
            assert_eq!(answer.header("www-authenticate"), None, "{what}");
            assert_eq!(answer.json()["error"], "temporarily_unavailable", "{what}");
            let stat = if what.contains("name") { "fail_verify_san" } else { "fail_verify_error" };
            assert!(verified(stat).await > 0, "{what}: {stat}");
            envoy.logged("oauth2_server_unavailable").await;
        }
    }
    assert_eq!(server.count("/oauth2/introspect"), 1, "only the true one was told a token");
    assert_eq!(service.requests().len(), 1);
}

/// How the examples write a port.
fn port(address: SocketAddr) -> String {
    format!("port_value: {} ", address.port())
}

/// One worker, with the secret that the examples take from the environment.
fn with_secret() -> Options {
    let environment = vec![("ORDERS_API_SECRET".to_owned(), "secret".to_owned())];
    Options { environment, ..one_worker() }
}
