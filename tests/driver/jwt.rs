//! JWTs: hosts that do not verify signatures, keys that are fetched, and what `jwt_authn` has left in
//! dynamic metadata.

use oauth2_filter_core::{Verify, VerifyError};
use oauth2_filter_driver::HostCall;
use oauth2_filter_testbed::envoy::with_members;
use serde_json::{Value, json};

use crate::exchanges::signing::Key;
use crate::exchanges::{get, seconds_from_now};
use crate::metadata::of_filters;
use crate::proxy::{Proxy, verify_by};
use crate::set_up::{SetUp, document, logged};

const ISSUER: &str = "https://login.test";

const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// A document with one issuer, with these additions to its entry, of which null removes.
fn jwt(more: &Value) -> Value {
    let entry = json!({
        "issuer": ISSUER, "audience": "orders", "jwks_uri": "https://login.test/keys",
        "cluster": "login",
    });
    json!({"inbound": {"jwt": with_members(entry, more)}})
}

/// A document whose tokens the other filter verifies.
fn verified_by() -> Value {
    jwt(&json!({"jwks_uri": null, "cluster": null, "verified_by": JWT_AUTHN}))
}

fn set(key: &Key) -> Value {
    json!({"keys": [key.jwk("a")]})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["orders", "other"], "sub": "alice", "exp": seconds_from_now(600),
        "big": 9_007_199_254_740_991_u64, "list": [1, "a", {"b": [null, true]}], "none": null,
    })
}

fn header() -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": "a"})
}

#[test]
fn a_document_with_keys_is_loaded_only_where_signatures_are_verified() {
    let key = Key::p256();
    let fixed = jwt(&json!({"jwks_uri": null, "cluster": null, "jwks": set(&key)}));
    let hosts: [(Verify, bool); 5] = [
        (|_, _, _, _| Err(VerifyError::Failed), false),
        (|_, _, _, _| Err(VerifyError::Unsupported), false),
        (|_, _, _, _| Ok(true), false),
        (|_, _, _, _| Ok(false), false),
        (crate::signatures::verify, true),
    ];
    let line = "ERROR inbound.jwt: the host cannot verify signatures (Envoy 1.36 or later can); \
                use introspection or verified_by";
    for (number, (verify, works)) in hosts.into_iter().enumerate() {
        verify_by(verify);
        for document in [jwt(&json!({})), fixed.clone()] {
            let mut set_up = SetUp::unconfigured(Proxy::default());
            assert_eq!(set_up.configure(&document), works, "{number}");
            let expected: &[&str] = if works { &[] } else { &[line] };
            assert_eq!(logged(), expected, "{number}");
            let request = get("/").bearer(&key.sign("a", &claims()));
            let outcome = set_up.outcome_of(&request);
            assert!(["waits", "forwarded"].contains(&outcome) == works, "{number}: {outcome}");
        }
        // Without keys here, nothing is to be verified here.
        let mut set_up = SetUp::unconfigured(Proxy::default());
        assert!(set_up.configure(&verified_by()), "{number}");
    }
}

#[test]
fn a_host_that_fails_later_refuses_the_token_and_caches_nothing() {
    let key = Key::p256();
    let fixed = jwt(&json!({"jwks_uri": null, "cluster": null, "jwks": set(&key)}));
    let mut set_up = SetUp::with(&fixed);
    let request = get("/").bearer(&key.sign("a", &claims()));
    verify_by(|_, _, _, _| Err(VerifyError::Failed));
    assert_eq!(set_up.outcome_of(&request), "oauth2_host_error");
    verify_by(|_, _, _, _| Ok(false));
    let other = get("/").bearer(&key.sign("a", &claims()));
    assert_eq!(set_up.outcome_of(&other), "oauth2_bad_signature");
    verify_by(crate::signatures::verify);
    assert_eq!(set_up.outcome_of(&request), "forwarded", "it was not cached");
    assert_eq!(set_up.outcome_of(&other), "oauth2_bad_signature", "it was");
}

#[test]
fn keys_are_fetched_by_the_first_tick_with_a_call_that_has_no_body() {
    let key = Key::p256();
    let mut set_up = SetUp::with(&jwt(&json!({})));
    set_up.tick();
    let [number] = set_up.proxy.calls()[..] else { panic!("one call") };
    let call = set_up.proxy.call(number);
    let header = |name: &str| {
        let found = call.headers.iter().find(|(n, _)| &**n == name);
        found.map(|(_, value)| value.to_string())
    };
    assert_eq!(&*call.cluster, "login");
    assert_eq!(header(":method").as_deref(), Some("GET"));
    assert_eq!(header(":path").as_deref(), Some("/keys"));
    assert!(call.body.is_empty());
    assert_eq!(header("content-length"), None);
    let waits = set_up.send(&get("/").bearer(&key.sign("a", &claims())));
    assert_eq!(set_up.outcome(waits), "waits");
    assert_eq!(set_up.proxy.calls_made(), 1);
    set_up.respond_to_call(200, &set(&key));
    assert_eq!(set_up.outcome(waits), "forwarded");
    assert_eq!(set_up.waiting(), 0);
    assert_eq!(set_up.outcome_of(&get("/").bearer(&key.sign("a", &claims()))), "forwarded");
}

#[test]
fn nothing_about_keys_is_in_shared_data() {
    let key = Key::p256();
    let document = jwt(&json!({}));
    let mut set_up = SetUp::with(&document);
    let other = set_up.worker(&document);
    for worker in [&set_up, &other] {
        // Whatever it would read or write there.
        worker.proxy.refuse(HostCall::SharedData);
        worker.proxy.refuse(HostCall::SetSharedData);
        worker.tick();
        worker.respond_to_call(200, &set(&key));
    }
    assert_eq!(set_up.outcome_of(&get("/").bearer(&key.sign("a", &claims()))), "forwarded");
    assert_eq!(logged(), [""; 0]);
}

/// What becomes of a token whose filters have left this metadata.
fn outcome(token: &str, metadata: Vec<u8>) -> &'static str {
    let mut set_up = SetUp::with(&verified_by());
    let stream = set_up.open(&get("/").bearer(token));
    set_up.proxy.stream(stream).metadata = metadata;
    set_up.deliver(stream, true);
    set_up.outcome(stream)
}

#[test]
fn only_metadata_that_is_this_very_token_proves_that_it_was_verified() {
    let token = Key::p256().sign("a", &claims());
    let both = |payload: &Value, header: &Value| json!({"payload": payload, "header": header});
    let good = both(&claims(), &header());
    let (refused, accepted) = ("oauth2_not_verified", "forwarded");
    let other = |more: Value| with_members(claims(), &more);
    let mut with_null = claims();
    with_null["other"] = Value::Null;
    let failed = json!({"code": 26, "message": "Jwt verification fails"});
    for (what, stored, expected) in [
        ("good", good.clone(), accepted),
        ("with other names", json!({"": claims(), "a.b": header()}), accepted),
        ("twice", with_members(good.clone(), &json!({"again": claims()})), accepted),
        ("nothing", json!({}), refused),
        ("without its header", json!({"payload": claims()}), refused),
        ("without its payload", json!({"header": header()}), refused),
        ("merged", with_members(claims(), &header()), refused),
        ("another subject", both(&other(json!({"sub": "bob"})), &header()), refused),
        ("a claim more", both(&other(json!({"more": 1})), &header()), refused),
        ("a claim less", both(&other(json!({"sub": null})), &header()), refused),
        ("null more", both(&with_null, &header()), refused),
        ("a number as text", both(&other(json!({"exp": "1"})), &header()), refused),
        ("another order", both(&other(json!({"aud": ["other", "orders"]})), &header()), refused),
        ("an element less", both(&other(json!({"aud": ["orders"]})), &header()), refused),
        ("text for a list", both(&other(json!({"aud": "orders"})), &header()), refused),
        ("another header", both(&claims(), &with_members(header(), &json!({"kid": "b"}))), refused),
        ("payload in the place of both", both(&claims(), &claims()), refused),
        ("text", json!({"payload": claims().to_string(), "header": header()}), refused),
        ("a failure, too", with_members(good.clone(), &json!({"failed": failed})), refused),
        (
            "another token, too",
            with_members(good.clone(), &json!({"b": other(json!({"sub": "bob"}))})),
            refused,
        ),
        ("a value more", with_members(good.clone(), &json!({"x": true})), refused),
    ] {
        assert_eq!(outcome(&token, of_filters(&[(JWT_AUTHN, &stored)])), expected, "{what}");
    }
}

#[test]
fn metadata_of_other_filters_or_that_is_malformed_proves_nothing() {
    let token = Key::p256().sign("a", &claims());
    let good = json!({"payload": claims(), "header": header()});
    let of = |names: &[&str]| {
        let filters: Vec<_> = names.iter().map(|name| (*name, &good)).collect();
        of_filters(&filters)
    };
    assert_eq!(outcome(&token, of(&[JWT_AUTHN])), "forwarded");
    assert_eq!(outcome(&token, of(&["envoy.lua", JWT_AUTHN, "x"])), "forwarded");
    let large = json!({"text": "x".repeat(16_000)});
    let mut many = of(&[JWT_AUTHN]);
    for _ in 0..17 {
        many.extend(of_filters(&[("x", &large)]));
    }
    assert!(many.len() > 256 * 1024);
    for (what, metadata) in [
        ("none", Vec::new()),
        ("of another", of(&["envoy.filters.http.jwt_authn2"])),
        ("twice", of(&[JWT_AUTHN, JWT_AUTHN])),
        ("too much", many),
        ("no protobuf", b"\xff\xff".to_vec()),
        ("more bytes", [of(&[JWT_AUTHN]), vec![7]].concat()),
    ] {
        assert_eq!(outcome(&token, metadata), "oauth2_not_verified", "{what}");
    }
    let whole = of(&[JWT_AUTHN]);
    for end in 0..whole.len() {
        assert_eq!(outcome(&token, whole[..end].to_vec()), "oauth2_not_verified", "{end}");
    }
}

#[test]
fn metadata_is_read_for_no_other_token() {
    let key = Key::p256();
    let good = key.sign("a", &claims());
    let metadata = of_filters(&[(JWT_AUTHN, &json!({"payload": claims(), "header": header()}))]);
    let with = |more: Value| key.sign("a", &with_members(claims(), &more));
    let mut document = document(json!({
        "jwt": verified_by()["inbound"]["jwt"],
        "rules": [{"paths": ["/public"], "access": "public"}, {"paths": ["/**"]}],
    }));
    document["inbound"]["cache"] = json!({"max_ttl": "1m"});
    let mut set_up = SetUp::with(&document);
    let mut send = |path: &'static str, token: &str| {
        let request = get(path);
        let request = if token.is_empty() { request } else { request.bearer(token) };
        let stream = set_up.open(&request);
        set_up.proxy.stream(stream).metadata.clone_from(&metadata);
        let before = set_up.proxy.metadata_read();
        set_up.deliver(stream, true);
        (set_up.outcome(stream), set_up.proxy.metadata_read() - before)
    };
    for (path, token, expected) in [
        ("/", "", ("oauth2_no_token", 0)),
        ("/public", &good, ("forwarded", 0)),
        ("/", "opaque", ("waits", 0)),
        ("/", &with(json!({"iss": "https://other.test"})), ("waits", 0)),
        ("/", &with(json!({"aud": "others"})), ("oauth2_wrong_audience", 0)),
        ("/", &with(json!({"exp": 1})), ("oauth2_expired", 0)),
        ("/", &with(json!({"exp": null})), ("oauth2_malformed_token", 0)),
        ("/", "e30.e.e30", ("oauth2_malformed_token", 0)),
        ("/", &good, ("forwarded", 1)),
        // What was verified in another request says nothing about this one.
        ("/", &good, ("forwarded", 1)),
        ("/", &with(json!({"sub": "bob"})), ("oauth2_not_verified", 1)),
    ] {
        assert_eq!(send(path, token), expected, "{path}");
    }
    let mut set_up = SetUp::new(json!({}));
    set_up.send(&get("/").bearer(&good));
    assert_eq!(set_up.proxy.metadata_read(), 0);
}

#[test]
fn a_host_that_does_not_return_metadata_refuses_the_request() {
    let mut set_up = SetUp::with(&verified_by());
    set_up.proxy.refuse_for(HostCall::Property, "metadata");
    let request = get("/").bearer(&Key::p256().sign("a", &claims()));
    let stream = set_up.send(&request);
    assert_eq!(set_up.outcome(stream), "oauth2_host_error");
    let reply = set_up.proxy.stream(stream).reply.clone().expect("an answer");
    assert_eq!(reply.status, 503);
}
