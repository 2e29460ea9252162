//! What the core allocates for a request: nothing, where its token is cached.

use oauth2_filter_core::{
    Action, Answer, Context, Environment, Fields, Filter, Input, NotWritten, Output, SharedData,
    SharedStore, Step, StreamId, Timestamp,
};
use oauth2_filter_testbed::envoy::with_members;
use serde_json::{Value, json};

/// Shared data that nobody else writes.
struct Alone;

impl SharedData for Alone {
    fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
        None
    }

    fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<(), NotWritten> {
        Ok(())
    }
}

/// How many allocations a request makes whose token is cached.
fn allocations(more: &Value) -> u64 {
    let introspection = json!({"endpoint": "http://as.test/introspect", "cluster": "as",
        "client_id": "api", "client_secret": "secret"});
    let inbound = with_members(json!({"introspection": introspection}), more);
    let document = json!({"inbound": inbound});
    let environment = Environment::new(&|_| None, [1; 16]);
    let text = document.to_string();
    let (mut filter, _) = Filter::load(text.as_bytes(), &environment).expect("a configuration");
    let head = Fields::from_iter([
        (":method", "GET"),
        (":path", "/orders/49/lines?page=2"),
        (":authority", "api.example.com"),
        ("authorization", "Bearer mF_9.B5f-4.1JqM"),
        ("x-request-id", "1"),
        ("x_tenant", "root"),
    ]);
    let store = SharedStore::new(&Alone);
    let context = Context { now: Timestamp::from_millis(1_000), store: &store };
    let mut output = Output::default();
    let step = filter.handle(Input::Request(StreamId(1), &head), context, &mut output);
    assert!(matches!(step, Step::Waiting), "{step:?}");
    let body = json!({"active": true, "scope": "read", "sub": "alice"}).to_string().into_bytes();
    let answer = Answer { status: 200, retry_after: None, body };
    let call = output.calls.pop().expect("a call").id;
    let step = filter.handle(Input::CallEnded(call, Ok(&answer)), context, &mut output);
    assert!(matches!(step, Step::Nothing), "{step:?}");
    output.decided.clear();
    output.events.clear();
    let mut step = Step::Nothing;
    let counted = allocation_counter::measure(|| {
        step = filter.handle(Input::Request(StreamId(2), &head), context, &mut output);
    });
    let Step::Decided(verdict) = step else { panic!("{step:?}") };
    let Action::Forward(forward) = verdict.action else { panic!("{verdict:?}") };
    assert!(forward.removed().any(|name| **name == *"authorization"), "{forward:?}");
    counted.count_total
}

#[test]
fn a_request_whose_token_is_cached_allocates_nothing() {
    assert_eq!(allocations(&json!({})), 0);
    let rules: Vec<Value> =
        (0..50).map(|n| json!({"paths": [format!("/orders/{n}/**")], "scope": "read"})).collect();
    assert_eq!(allocations(&json!({"rules": rules})), 0);
    let hosts = json!([{"hosts": ["*.example.com"], "methods": ["GET"], "paths": ["/orders/**"]}]);
    assert_eq!(allocations(&json!({"rules": hosts})), 0);
}

#[test]
fn requests_share_their_headers() {
    let forwarding = |header: &str| json!({"forward": {"claims": {header: "sub"}}});
    assert_eq!(allocations(&forwarding("x-user")), 0);
    // The name that the caller gave it is taken out.
    assert!(allocations(&forwarding("x-tenant")) > 0);
}
