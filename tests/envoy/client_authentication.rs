//! How the filter proves to an authorization server who it is, where Envoy has a part in it: it signs
//! assertions (`private_key_jwt`), and shows the certificate of a cluster (`tls_client_auth`).

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Cluster, Envoy, Options, WasmPlugin, merge, native};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::tls::{Authority, TlsFront};
use oauth2_filter_testbed::{Received, wait};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519 as ED25519_VERIFICATION,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Value, json};

use crate::set_up::{ENDPOINT, Ends, SetUp, active, listener, one_worker};

/// The path of the token endpoint.
const TOKEN: &str = "/token";

const RSA: &str = include_str!("keys/rsa-pkcs8.pem");
const P256: &str = include_str!("keys/p256-pkcs8.pem");
const ED25519: &str = include_str!("keys/ed25519-pkcs8.pem");

/// The keys that Envoy takes: both of RSA are one, and both of P-256.
const KEYS: [(&str, &str, &str); 4] = [
    ("PKCS #8, RSA", "RS256", RSA),
    ("PKCS #1", "RS256", include_str!("keys/rsa-pkcs1.pem")),
    ("PKCS #8, P-256", "ES256", P256),
    ("SEC 1", "ES256", include_str!("keys/p256-sec1.pem")),
];

/// What only the dynamic module can sign with.
const NATIVE_KEYS: [(&str, &str, &str); 2] =
    [("PKCS #8, RSA", "PS256", RSA), ("PKCS #8, Ed25519", "EdDSA", ED25519)];

/// The keys and algorithms of the host that is chosen.
fn keys() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let native = NATIVE_KEYS.into_iter().filter(|_| native::is_chosen());
    KEYS.into_iter().chain(native)
}

/// The keys of a client that signs.
fn signing(more: Value) -> Value {
    let mut keys = json!({
        "client_id": "orders", "auth_method": "private_key_jwt", "private_key": {"env": "KEY"},
        "aud": "https://as.test", "kid": "k-1",
    });
    merge(&mut keys, more);
    keys
}

/// A document with one outbound client, and with this added to it.
fn outbound(more: Value) -> Value {
    let mut client = json!({
        "grant_type": "client_credentials", "endpoint": format!("http://as.test{TOKEN}"),
        "cluster": "as", "timeout": "30s",
    });
    merge(&mut client, more);
    json!({"outbound": {"clients": {"billing": client}}})
}

/// A document that guards, and with this added to introspection.
fn inbound(more: Value) -> Value {
    let mut endpoint = json!({
        "endpoint": format!("http://as.test{ENDPOINT}"), "cluster": "as", "timeout": "30s",
    });
    merge(&mut endpoint, more);
    json!({"inbound": {"introspection": endpoint}})
}

/// An Envoy whose filter has this document, and this text in `KEY`.
async fn set_up(document: &Value, key: &str) -> SetUp {
    let ends = Ends::start().await;
    ends.server.on(TOKEN, token());
    let plugin = WasmPlugin::new(document).env("KEY", key);
    let bootstrap = ends.bootstrap().listener(listener(&plugin));
    let options = Options { component_log_level: "wasm:trace".to_owned(), ..one_worker() };
    ends.with_options(bootstrap, &options).await
}

fn token() -> Answer {
    let token = json!({"access_token": "t1", "token_type": "Bearer", "expires_in": 3600});
    Answer::json(200, &token)
}

/// The bytes that a PEM text holds.
fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(lines).expect("PEM")
}

/// Header and claims of an assertion, if it was signed with the key of this algorithm.
fn verified(assertion: &str, algorithm: &str) -> Option<(Value, Value)> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let (text, signature) = (signed.as_bytes(), decode(signature)?);
    let rsa = || RsaKeyPair::from_pkcs8(&der(RSA)).expect("a key").public().as_ref().to_vec();
    let (how, key): (&'static dyn VerificationAlgorithm, _) = match algorithm {
        "RS256" => (&RSA_PKCS1_2048_8192_SHA256, rsa()),
        "PS256" => (&RSA_PSS_2048_8192_SHA256, rsa()),
        "EdDSA" => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED25519)).expect("a key");
            (&ED25519_VERIFICATION, key.public_key().as_ref().to_vec())
        }
        _ => {
            let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
            let key = EcdsaKeyPair::from_pkcs8(kind, &der(P256), &random).expect("a key");
            (&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref().to_vec())
        }
    };
    UnparsedPublicKey::new(how, key).verify(text, &signature).ok()?;
    let json = |part| serde_json::from_slice(&decode(part)?).ok();
    Some((json(header)?, json(claims)?))
}

/// The `jti` of a call, after a look at all else that stands in it.
fn jti(call: &Received, algorithm: &str) -> String {
    assert!(!call.headers.contains("authorization"));
    assert_eq!(call.parameter("client_secret"), None);
    assert_eq!(call.parameter("client_id").as_deref(), Some("orders"));
    assert_eq!(
        call.parameter("client_assertion_type").as_deref(),
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    let assertion = call.parameter("client_assertion").expect("an assertion");
    let (header, claims) = verified(&assertion, algorithm).expect("a signature of the key");
    let expected = json!({"alg": algorithm, "kid": "k-1", "typ": "client-authentication+jwt"});
    assert_eq!(header, expected);
    for (name, value) in [("iss", "orders"), ("sub", "orders"), ("aud", "https://as.test")] {
        assert_eq!(claims[name], value, "{name}");
    }
    let time = |name: &str| claims[name].as_u64().expect("a time");
    assert_eq!(time("exp") - time("iat"), 60);
    claims["jti"].as_str().expect("a jti").to_owned()
}

/// Checks that no line of the key stands in Envoy's log.
fn is_not_logged(log: &str, key: &str) {
    for line in key.lines().filter(|line| line.len() >= 8 && !line.starts_with('-')) {
        assert!(!log.contains(line), "the key is in Envoy's log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_7523_02_assertions_signed_by_envoy_verify_whatever_form_the_key_has() {
    for (form, algorithm, key) in keys() {
        let set_up = set_up(&outbound(signing(json!({"alg": algorithm}))), key).await;
        let answer = set_up.send(&Request::get("/")).await;
        assert_eq!(answer.status, 200, "{form}: {}", answer.text());
        let calls = set_up.server.requests(TOKEN);
        assert_eq!(calls.len(), 1, "{form}");
        jti(&calls[0], algorithm);
        assert_eq!(calls[0].parameter("grant_type").as_deref(), Some("client_credentials"));
        let log = set_up.envoy.log();
        // The dynamic module has nothing to say at this level.
        assert!(native::is_chosen() || log.contains("[trace]"), "the log shows all that there is");
        is_not_logged(&log, key);
        let assertion = calls[0].parameter("client_assertion").expect("an assertion");
        assert!(!log.contains(&assertion), "{form}: the assertion is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_7523_02_a_signature_of_another_key_does_not_verify() {
    let set_up = set_up(&outbound(signing(json!({}))), RSA).await;
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    let assertion = set_up.server.requests(TOKEN)[0].parameter("client_assertion").expect("one");
    assert!(verified(&assertion, "RS256").is_some());
    assert!(verified(&assertion, "ES256").is_none());
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    assert!(verified(&format!("{signed}x.{signature}"), "RS256").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_7523_04_no_assertion_is_ever_sent_twice() {
    for (what, failure) in [
        ("503", Answer::status(503)),
        ("502", Answer::status(502)),
        ("reset", Answer::reset()),
        ("close", Answer::close()),
    ] {
        let document = outbound(signing(json!({"retries": 3})));
        let set_up = set_up(&document, P256).await;
        set_up.server.on(TOKEN, failure);
        assert_eq!(set_up.send(&Request::get("/")).await.status, 503, "{what}");
        assert_eq!(set_up.server.count(TOKEN), 1, "{what}: Envoy has sent it again");
        // Our own next try, after the back-off, is a new one.
        set_up.server.on(TOKEN, token());
        wait::until("a token", async || set_up.send(&Request::get("/")).await.status == 200).await;
        let calls = set_up.server.requests(TOKEN);
        let numbers: BTreeSet<_> = calls.iter().map(|call| jti(call, "ES256")).collect();
        assert_eq!((calls.len(), numbers.len()), (2, 2), "{what}");
    }
    // With a secret, nothing is wrong with it.
    let secret = json!({"client_id": "orders", "client_secret": "orders-secret", "retries": 3});
    let set_up = set_up(&outbound(secret), "").await;
    set_up.server.on(TOKEN, [Answer::status(503), Answer::reset(), token()]);
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    assert_eq!(set_up.server.count(TOKEN), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_7523_04_a_call_that_has_reached_nobody_is_sent_again_by_envoy() {
    // Nobody has read the assertion.
    let set_up = set_up(&outbound(signing(json!({"retries": 2}))), P256).await;
    set_up.server.refuse().await;
    assert_eq!(set_up.send(&Request::get("/")).await.status, 503);
    assert_eq!(set_up.envoy.stat("cluster.as.upstream_rq_retry").await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_7523_04_introspection_signs_each_call_anew() {
    for (form, algorithm, key) in keys() {
        let document = inbound(signing(json!({"retries": 3, "alg": algorithm})));
        let set_up = set_up(&document, key).await;
        for token in ["a", "b", "c"] {
            assert_eq!(set_up.get(token).await.status, 200, "{form}");
        }
        set_up.server.on(ENDPOINT, Answer::status(503));
        assert_eq!(set_up.get("d").await.status, 503, "{form}");
        set_up.server.on(ENDPOINT, active());
        assert_eq!(set_up.get("d").await.status, 200, "{form}");
        let calls = set_up.server.requests(ENDPOINT);
        let numbers: BTreeSet<_> = calls.iter().map(|call| jti(call, algorithm)).collect();
        assert_eq!((calls.len(), numbers.len()), (5, 5), "{form}");
        is_not_logged(&set_up.envoy.log(), key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_sign_stop_envoy_from_starting() {
    let truncated: String = RSA.lines().take(10).collect::<Vec<_>>().join("\n");
    let rest = RSA.replace("-----END PRIVATE KEY-----", "");
    let bad_key = "private_key: key rejected by the host";
    let is_native = native::is_chosen();
    let of_ed25519 = if is_native { "alg: the private key requires EdDSA" } else { bad_key };
    let only_native = "alg: only in the dynamic module; use RS256 or ES256";
    let of_rsa = if is_native { "alg: the private key requires RS256" } else { only_native };
    for (what, key, alg, mistake) in [
        ("no PEM", "a secret that is no key", Value::Null, bad_key),
        ("truncated", &truncated, Value::Null, bad_key),
        ("without its end", &rest, Value::Null, bad_key),
        ("in one line", &RSA.replace('\n', " "), Value::Null, bad_key),
        ("public", include_str!("keys/rsa-public.pem"), Value::Null, bad_key),
        ("encrypted", include_str!("keys/rsa-encrypted.pem"), Value::Null, bad_key),
        ("Ed25519", ED25519, json!("ES256"), of_ed25519),
        ("P-384", include_str!("keys/p384-pkcs8.pem"), Value::Null, bad_key),
        ("P-521", include_str!("keys/p521-pkcs8.pem"), Value::Null, bad_key),
        ("RSA, 1024 bits", include_str!("keys/rsa1024-pkcs8.pem"), Value::Null, bad_key),
        ("another algorithm", P256, json!("RS256"), "alg: the private key requires ES256"),
        ("another algorithm", RSA, json!("ES256"), "alg: the private key requires RS256"),
        ("another algorithm", RSA, json!("EdDSA"), of_rsa),
    ] {
        let mut keys = signing(json!({}));
        if !alg.is_null() {
            keys["alg"] = alg;
        }
        for document in [outbound(keys.clone()), inbound(keys)] {
            let ends = Ends::start().await;
            let plugin = WasmPlugin::new(&document).env("KEY", key);
            let bootstrap = ends.bootstrap().listener(listener(&plugin));
            let error = Envoy::start_with(bootstrap, &one_worker()).await.expect_err(what);
            assert!(error.log.contains(mistake), "{what}: {}", error.log);
            is_not_logged(&error.log, key);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_8705_01_a_certificate_of_the_cluster_authenticates_the_client() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let identity = clients.issue("orders.test");
    let auth = json!({"client_id": "orders", "auth_method": "tls_client_auth"});
    for certificate in [Some(&identity), None] {
        let ends = Ends::start().await;
        ends.server.on(TOKEN, token());
        let server = servers.issue("as.test");
        let front = TlsFront::start_mutual(&server, &clients, ends.server.address()).await;
        let shown: Vec<Value> = certificate.iter().map(|c| c.tls_certificate()).collect();
        let context = json!({
            "@type": "type.googleapis.com/\
                envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "as.test",
            "common_tls_context": {
                "tls_certificates": shown,
                "validation_context": {"trusted_ca": {"inline_string": servers.pem()}},
            },
        });
        let socket = json!({"name": "envoy.transport_sockets.tls", "typed_config": context});
        let secure =
            Cluster::new("secure", front.address()).with(json!({"transport_socket": socket}));
        let mut document = outbound(auth.clone());
        document["outbound"]["clients"]["billing"]["cluster"] = "secure".into();
        merge(&mut document, inbound(auth.clone()));
        document["inbound"]["introspection"]["cluster"] = "secure".into();
        let listener = listener(&WasmPlugin::new(&document));
        let bootstrap = ends.bootstrap().custom_cluster(secure).listener(listener);
        let set_up = ends.with(bootstrap).await;
        let answer = set_up.get("callers").await;
        let calls = [ENDPOINT, TOKEN].map(|path| set_up.server.requests(path));
        if certificate.is_none() {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(calls.iter().all(Vec::is_empty), "a call without a certificate");
            continue;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!front.certificates().is_empty());
        assert!(front.certificates().iter().all(|shown| shown == identity.der()));
        for calls in calls {
            let [call] = calls.try_into().expect("one call each");
            assert_eq!(call.parameter("client_id").as_deref(), Some("orders"));
            for name in ["client_secret", "client_assertion", "client_assertion_type"] {
                assert_eq!(call.parameter(name), None, "{name}");
            }
            assert!(!call.headers.contains("authorization"));
        }
        let passed = set_up.service.requests();
        assert_eq!(passed.len(), 1);
        assert_eq!(passed[0].headers.all("authorization"), ["Bearer t1"]);
    }
}
