//! What the core of the filter costs by itself, without a proxy and natively: `make micro`.

#![allow(unused_qualifications)] // in what the macros make

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gungraun::{library_benchmark, library_benchmark_group, main};
use oauth2_filter_core::bench::{ClockCache, Keyed, Rules, is_active, is_path, is_token};
use oauth2_filter_core::{
    Action, Answer, Context, Environment, Fields, Filter, Input, NotWritten, Output, SharedData,
    SharedStore, Step, StreamId, Timestamp,
};
use serde_json::{Value, json};

/// What an authorization server says of a token.
const ANSWER: &str = r#"{"active": true, "scope": "orders:read orders:write profile",
    "client_id": "l238j323ds-23ij4", "username": "jdoe", "token_type": "Bearer",
    "sub": "Z5O3upPC88QrAjx00dis", "aud": "https://orders.example.com",
    "iss": "https://as.example.com/", "exp": 4102444800, "iat": 1419350238,
    "department": "sales", "extension_field": "twenty-seven"}"#;

/// What one says that issues a token.
const TOKEN: &str = r#"{"access_token": "of-ours", "token_type": "Bearer", "expires_in": 3600}"#;

/// The time of every request.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A piece of work, set up: each call does it once.
type Work = Box<dyn FnMut()>;

// The instructions of each piece, which was set up and run before. It is handed back, so that what
// its end takes is not counted.
#[library_benchmark(setup = warm)]
#[bench::read_a_token_of_900_bytes(read_token())]
#[bench::its_key(key())]
#[bench::look_up_one_of_1_cached_response(look_up(1))]
#[bench::look_up_one_of_500(look_up(500))]
#[bench::look_up_one_of_10000(look_up(10_000))]
#[bench::read_a_path_in_normal_form(path("/api/v1/orders/4711/items"))]
#[bench::read_a_path_in_another(path("/api/v1/orders/%34711/items"))]
#[bench::find_the_rule_the_last_of_1(last_rule(1))]
#[bench::find_the_rule_the_last_of_50(last_rule(50))]
#[bench::find_the_rule_the_last_of_500(last_rule(500))]
#[bench::find_the_rule_the_last_of_2000(last_rule(2_000))]
#[bench::read_an_introspection_response(introspection_response())]
#[bench::a_request_with_a_cached_response(inbound(1, &json!({})))]
#[bench::one_of_500_tokens(inbound(500, &json!({})))]
#[bench::one_of_10000_tokens(inbound(10_000, &json!({})))]
#[bench::one_rule(inbound(1, &rules(1)))]
#[bench::fifty_rules(inbound(1, &rules(50)))]
#[bench::forward_claims(inbound(1, &claims(json!({}))))]
#[bench::all_of_it_500_tokens_50_rules_forward_claims(inbound(500, &claims(rules(50))))]
#[bench::a_request_and_its_introspection(introspected())]
#[bench::a_request_with_a_cached_jwt(verified("5m"))]
#[bench::a_request_and_the_verification_of_its_jwt_without_cryptography(verified("0s"))]
#[bench::an_outbound_request_with_a_cached_token(outbound())]
fn piece(mut work: Work) -> Work {
    work();
    work
}

library_benchmark_group!(name = core; benchmarks = piece);
main!(library_benchmark_groups = core);

/// The first time may differ.
fn warm(mut work: Work) -> Work {
    for _ in 0..10 {
        work();
    }
    work
}

/// Reads the syntax of a token.
fn read_token() -> Work {
    let token = token(0).into_bytes();
    Box::new(move || assert!(is_token(black_box(&token))))
}

/// Makes the key of a token.
fn key() -> Work {
    let (keyed, token) = (Keyed::new([7; 16]), token(0));
    Box::new(move || _ = black_box(keyed.key(black_box(&token))))
}

/// Reads an introspection response.
fn introspection_response() -> Work {
    Box::new(|| assert!(is_active(black_box(ANSWER.as_bytes()))))
}

/// These keys, and claims that are forwarded.
fn claims(mut more: Value) -> Value {
    more["forward"] =
        json!({"claims": {"x-user": "sub", "x-client": "client_id", "x-scope": "scope"}});
    more
}

/// A request, each time with its introspection.
fn introspected() -> Work {
    let mut worker = Worker::new(&guard(&json!({"cache": {"max_ttl": "0s"}})));
    let head = request(&token(0));
    Box::new(move || worker.pass(black_box(&head)))
}

/// A request with a JWT, which is cached so long.
fn verified(max_ttl: &str) -> Work {
    let key = json!({
        "kty": "EC", "crv": "P-256", "kid": "key-1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let mut worker = Worker::new(&json!({"inbound": {
        "jwt": {
            "issuer": "https://as.example.com/", "audience": "https://orders.example.com",
            "jwks": {"keys": [key]},
        },
        "cache": {"max_ttl": max_ttl},
    }}));
    let head = request(&jwt());
    Box::new(move || worker.pass(black_box(&head)))
}

/// A JWT of 900 bytes.
fn jwt() -> String {
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"key-1"}"#;
    let mut claims: Value = serde_json::from_str(ANSWER).expect("JSON");
    let encoded = |claims: &Value| {
        let claims = claims.to_string();
        let parts = [header.as_bytes(), claims.as_bytes(), &[7; 64]];
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    };
    let more = (900 - encoded(&claims).len()) * 3 / 4;
    claims["extension_field"] = "twenty-seven".repeat(more)[..more].into();
    encoded(&claims)
}

/// A request on its way out.
fn outbound() -> Work {
    let mut worker = Worker::new(&json!({"outbound": {
        "clients": {"billing": {
            "grant_type": "client_credentials", "cluster": "as",
            "endpoint": "https://as.example.com/oauth2/token",
            "client_id": "orders", "client_secret": "secret",
        }},
        "rules": [{"hosts": ["api.example.com"], "client": "billing"}],
    }}));
    let whole = request(&token(0));
    let head: Fields = whole.iter().filter(|(name, _)| *name != b"authorization").collect();
    Box::new(move || worker.pass(black_box(&head)))
}

/// A token of 900 bytes.
fn token(number: usize) -> String {
    format!("{number:08}{}", "eyJhbGciOi".repeat(90)).chars().take(900).collect()
}

/// Looks up kept answers, one after the other.
fn look_up(kept: usize) -> Work {
    let keyed = Keyed::new([7; 16]);
    let keys: Vec<_> = (0..kept).map(|number| keyed.key(&token(number))).collect();
    let mut answers = ClockCache::new(&keys);
    let mut next = (0..kept).cycle();
    Box::new(move || assert!(answers.has(black_box(keys[next.next().expect("a number")]))))
}

/// Reads a path.
fn path(path: &'static str) -> Work {
    Box::new(move || assert!(is_path(black_box(path.as_bytes()))))
}

/// As many rules as an API of that many operations has, with the one for our request last.
fn rule_texts(count: usize) -> Vec<(String, String)> {
    let other = |number: usize| ("GET".to_owned(), format!("/api/v1/resource{number}/*/items"));
    let ours = ("GET".to_owned(), "/api/v1/orders/*/items".to_owned());
    (1..count).map(other).chain([ours]).collect()
}

/// Finds the last of so many rules.
fn last_rule(count: usize) -> Work {
    let rules = Rules::new(&rule_texts(count)).expect("rules");
    let head = request(&token(0));
    Box::new(move || assert_eq!(rules.find(black_box(&head)), Some(count - 1)))
}

/// A configuration of so many rules.
fn rules(count: usize) -> Value {
    let rule =
        |(method, path)| json!({"methods": [method], "paths": [path], "scope": "orders:read"});
    json!({"rules": rule_texts(count).into_iter().map(rule).collect::<Vec<_>>()})
}

/// A document for the inbound direction, with more keys.
fn guard(more: &Value) -> Value {
    let mut inbound = json!({
        "introspection": {
            "endpoint": "https://as.example.com/oauth2/introspect", "cluster": "as",
            "client_id": "orders-api", "client_secret": "secret",
        },
        "audience": "https://orders.example.com",
    });
    for (key, value) in more.as_object().expect("an object") {
        inbound[key] = value.clone();
    }
    json!({"inbound": inbound})
}

/// Requests of so many tokens, one after the other, to which the answers are kept.
fn inbound(tokens: usize, more: &Value) -> Work {
    let mut worker = Worker::new(&guard(more));
    let heads: Vec<Fields> = (0..tokens).map(|number| request(&token(number))).collect();
    for head in &heads {
        worker.pass(head);
    }
    let mut next = (0..tokens).cycle();
    Box::new(move || worker.pass(black_box(&heads[next.next().expect("a number")])))
}

/// A filter, and an authorization server that answers at once.
struct Worker(Filter, Output);

impl Worker {
    /// A worker with this configuration.
    fn new(document: &Value) -> Self {
        let sign = |_, _: &str, text: &[u8]| Ok(text.to_vec());
        let environment = Environment {
            variable: &|_| None,
            seed: [7; 16],
            sign,
            // Not the text of the test that each load of a configuration makes.
            verify: |_, _, text, _| Ok(text.contains(&b'.')),
            reads_jwt_authn: true,
        };
        let (filter, _) = Filter::load(document.to_string().as_bytes(), &environment)
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        Self(filter, Output::default())
    }

    /// Lets a request pass, as the host does.
    fn pass(&mut self, head: &Fields) {
        let Self(filter, output) = self;
        let store = SharedStore::new(&Nothing);
        let context = Context { now: NOW, store: &store };
        let verdict = match filter.handle(Input::Request(StreamId(1), head), context, output) {
            Step::Decided(verdict) => verdict,
            Step::Waiting | Step::Nothing => {
                let call = output.calls.pop().expect("a call");
                let asks_for_token = call.headers.iter().any(|(_, v)| v.ends_with("/token"));
                let body = if asks_for_token { TOKEN } else { ANSWER };
                let answer = Answer { status: 200, retry_after: None, body: body.into() };
                let _ = filter.handle(Input::CallEnded(call.id, Ok(&answer)), context, output);
                output.decided.pop().expect("a verdict").1
            }
        };
        assert!(matches!(black_box(verdict).action, Action::Forward(_)), "refused");
        output.events.drain(..).for_each(|event| _ = black_box(event));
    }
}

/// Shared data of which nobody else knows anything.
struct Nothing;

impl SharedData for Nothing {
    fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<(), NotWritten> {
        Ok(())
    }
}

/// The head of a request that a program sends, already copied from its host.
fn request(token: &str) -> Fields {
    let authorization = format!("Bearer {token}");
    let headers = [
        (":method", "GET"),
        (":path", "/api/v1/orders/4711/items"),
        (":authority", "api.example.com"),
        (":scheme", "https"),
        ("authorization", &*authorization),
        ("accept", "application/json"),
        ("user-agent", "orders-client/1.0"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "a2f1c3de-0d2b-4d2c-9a55-0d6f5d6f2a10"),
    ];
    headers.into_iter().collect()
}
