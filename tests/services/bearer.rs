//! `Authorization`: no library takes a token out of it that the filter has not judged.

use oauth2_filter_testbed::client::Request;
use serde_json::json;

use crate::services::SERVICES;
use crate::set_up::{BOTH, SetUp, Wrong, inbound, listener};

/// The token in place of `JWT` below, which the authorization server has not issued.
const FORGED: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.c2ln";

/// Values of one or several `Authorization` headers; JWT is a token.
const VALUES: [&[&[u8]]; 42] = [
    &[b"Bearer JWT"],
    &[b"bearer JWT"],
    &[b"BEARER JWT"],
    &[b"Bearer  JWT"],
    &[b"Bearer\tJWT"],
    &[b"Bearer \tJWT"],
    &[b"Bearer\t JWT"],
    &[b"Bearer\t\tJWT"],
    &[b" Bearer JWT"],
    &[b"\tBearer JWT"],
    &[b"\t Bearer\tJWT"],
    &[b"Bearer\xa0JWT"],
    &[b"Bearer\xc2\xa0JWT"],
    &[b"Bearer \xa0JWT"],
    &[b"\xa0Bearer JWT"],
    &[b"\xef\xbb\xbfBearer JWT"],
    &[b"Bearer\x85JWT"],
    &[b"Bearer\x0bJWT"],
    &[b"Bearer\x0cJWT"],
    &[b"Bearer\x1fJWT"],
    &[b"Bearer\x1cJWT"],
    &[b"\x0bBearer JWT"],
    &[b"\x0cBearer JWT"],
    &[b"Bearer\xe2\x80\x83JWT"],
    &[b"Bearer\xef\xbb\xbfJWT"],
    &[b"\"Bearer JWT"],
    &[b"\"Bearer JWT\""],
    // Laravel looks for the word wherever it is.
    &[b"xBearer JWT"],
    &[b"'Bearer JWT"],
    &[b"x=Bearer JWT"],
    &[b"Basic Bearer JWT"],
    &[b"Digest a=\"x, Bearer JWT, y\""],
    &[b",Bearer JWT"],
    &[b", Bearer JWT"],
    &[b"Bearer"],
    &[b"Bearer "],
    &[b"Bearer", b"JWT"],
    &[b"Bearer ", b"Bearer JWT"],
    &[b"Digest a=\"b", b"Bearer JWT"],
    &[b"Basic eDp5", b"Bearer JWT"],
    &[b"Bearer alice-token", b"Bearer JWT"],
    &[b"Digest a=b", b"Bearer\tJWT"],
];

#[tokio::test(flavor = "multi_thread")]
async fn no_service_finds_a_token_that_was_not_judged() {
    let document = inbound(json!({"rules": [{"access": "optional"}], "forward": {"token": true}}));
    let Some(set_up) = SetUp::start([listener("in", &document)]).await else { return };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        let alice = Request::get("/").bearer("alice-token");
        let reading = set_up.arrives("in", service, &alice).await;
        assert!(reading.bearer().any(|token| token == "alice-token"), "{reading}");
        let nobody = Request::get("/").header("authorization", "Basic eDp5");
        let reading = set_up.arrives("in", service, &nobody).await;
        assert_eq!(reading.header("authorization"), Some("Basic eDp5"), "{reading}");
        assert_eq!(reading.bearer().count(), 0, "{reading}");
        for values in VALUES {
            let mut request = Request::get("/");
            for value in values {
                request = request.header("authorization", with_token(value));
            }
            for http in BOTH {
                let outcome = set_up.send(http, "in", service, &request).await;
                let safe = outcome
                    .reading()
                    .is_none_or(|reading| reading.bearer().all(|token| token == "alice-token"));
                let shown: Vec<_> = values.iter().map(|v| v.escape_ascii().to_string()).collect();
                wrong.unless(safe, format!("{service} {http:?} {}", shown.join(" + ")), &outcome);
            }
        }
    }
    wrong.none();
}

/// The value with the token in its place.
fn with_token(value: &[u8]) -> Vec<u8> {
    match value.windows(3).position(|three| three == b"JWT") {
        Some(at) => [&value[..at], FORGED.as_bytes(), &value[at + 3..]].concat(),
        None => value.to_vec(),
    }
}
