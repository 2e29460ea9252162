//! Claims that are not forwarded: each is counted, and the first of each header is logged.

use serde_json::{Value, json};

use crate::exchanges::get;
use crate::set_up::{SetUp, document, logged};

fn inbound() -> Value {
    json!({"forward": {
        "claims": {"x-name": "name", "x-groups": "groups"}, "payload": "x-payload",
    }})
}

#[test]
fn a_claim_that_is_not_forwarded_is_counted_and_logged_once_for_each_header() {
    let mut first = SetUp::new(inbound());
    let line =
        |header: &str, why: &str| format!("WARN header {header} is not set: its claim is {why}");
    let name = line("x-name", "not printable ASCII, or ambiguous: set `encoding`");
    for (n, (claims, counts, lines)) in [
        (json!({"name": "Zo\u{eb}"}), [1, 0, 0], vec![name.clone()]),
        (json!({"name": "s3cret\r\n"}), [2, 0, 0], vec![]),
        (
            json!({"name": "zoe", "groups": 1e20}),
            [2, 1, 0],
            vec![line("x-groups", "an integer of more than 64 bits")],
        ),
        (json!({"name": "", "groups": []}), [2, 1, 0], vec![]),
        (json!({"groups": null}), [2, 1, 0], vec![]),
        (
            json!({"filler": "a".repeat(24 * 1024)}),
            [2, 1, 1],
            vec![line("x-payload", "too long for a header")],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let request = get("/").bearer(&format!("token-{n}"));
        let stream = first.send(&request);
        let mut body = claims.clone();
        body["active"] = true.into();
        first.respond_to_call(200, &body);
        assert_eq!(first.outcome(stream), "forwarded");
        // A cached response is not read again.
        assert_eq!(first.outcome_of(&request), "forwarded");
        for (header, count) in ["x-name", "x-groups", "x-payload"].into_iter().zip(counts) {
            let metric = first.proxy.metric(&format!("claims_dropped.header.{header}"));
            assert_eq!(metric, Some(count), "{claims} {header}");
        }
        assert_eq!(logged(), lines, "{claims}");
    }

    // Another worker reads what this one shares.
    let mut other = first.worker(&document(inbound()));
    assert_eq!(other.outcome_of(&get("/").bearer("token-0")), "forwarded");
    assert_eq!(logged(), [name]);
    let metric = other.proxy.metric("claims_dropped.header.x-name");
    assert_eq!(metric, Some(1));
}
