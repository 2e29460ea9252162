//! Tokens in headers, queries and cookies: a service reads none that the filter has not checked.

use oauth2_filter_testbed::client::Request;
use serde_json::{Value, json};

use crate::reading::Reading;
use crate::services::SERVICES;
use crate::set_up::{BOTH, SetUp, Wrong, inbound, listener};

/// A token that the authorization server has not issued.
const FORGED: &str = "forged-token";

/// Names that PHP, or another parser, takes for `access_token`.
const NAMES: [&str; 28] = [
    "access_token",
    "access.token",
    "access token",
    "access+token",
    "access%20token",
    "access%5Ftoken",
    "access%5ftoken",
    "access%2Etoken",
    "access[token",
    "access%5Btoken",
    "[access_token]",
    "%5Baccess_token%5D",
    "access_token[]",
    "access_token%5B%5D",
    "access_token[0]",
    "access_token[x",
    "access.token[]",
    " access_token",
    "+access_token",
    "%20access_token",
    "%20access.token",
    "access_token%00",
    "access_token%00x",
    "access.token%00",
    "%61ccess_token",
    "access_token%20",
    "access_token+",
    "%00access_token",
];

/// Callers may have a token here.
fn optional(source: &Value) -> Value {
    inbound(json!({"token_sources": [source], "rules": [{"access": "optional"}]}))
}

/// Whether no part of a reading has the forged token.
fn has_none(read: Option<String>) -> bool {
    read.is_none_or(|text| !text.contains(FORGED))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_source_is_read_unless_it_was_checked() {
    let Some(set_up) = SetUp::start([
        listener("header", &optional(&json!({"header": "x-token"}))),
        listener("query", &optional(&json!({"query": "access_token"}))),
        listener("cookie", &optional(&json!({"cookie": "access_token"}))),
    ])
    .await
    else {
        return;
    };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        let plain = Request::get("/?other=1").header("x-other", "1").header("cookie", "other=1");
        for listener in ["header", "query", "cookie"] {
            let reading = set_up.arrives(listener, service, &plain).await;
            assert_eq!(reading.header("x-other"), Some("1"), "{reading}");
            assert_eq!(reading.parameter("other").as_deref(), Some("1"), "{reading}");
            let has_cookies = service != "node";
            assert_eq!(reading.cookie("other").is_some(), has_cookies, "{reading}");
        }
        let in_header = |reading: &Reading| has_none(reading.header("x-token").map(str::to_owned));
        for name in ["x_token", "x~token", "x.token", "x!token", "x|token", "X^TOKEN", "x-token"] {
            for http in BOTH {
                let request = Request::get("/").header(name, FORGED);
                let outcome = set_up.send(http, "header", service, &request).await;
                let safe = outcome.reading().is_none_or(in_header);
                wrong.unless(safe, format!("{service} {http:?} {name}"), &outcome);
            }
        }
        for query in queries() {
            for http in BOTH {
                let request = Request::get(&format!("/?{query}"));
                let outcome = set_up.send(http, "query", service, &request).await;
                let safe = outcome.reading().is_none_or(|r| has_none(r.parameter("access_token")));
                wrong.unless(safe, format!("{service} {http:?} {query}"), &outcome);
            }
        }
        for cookies in cookies() {
            for http in BOTH {
                let mut request = Request::get("/");
                for cookie in &cookies {
                    request = request.header("cookie", cookie);
                }
                let outcome = set_up.send(http, "cookie", service, &request).await;
                let safe = outcome.reading().is_none_or(|r| has_none(r.cookie("access_token")));
                wrong.unless(safe, format!("{service} {http:?} {cookies:?}"), &outcome);
            }
        }
    }
    wrong.none();
}

/// Queries in which some parser finds the token.
fn queries() -> Vec<String> {
    let named = NAMES.map(|name| format!("{name}={FORGED}"));
    let second = NAMES.map(|name| format!("a=1&{name}={FORGED}"));
    let more = [
        format!("a=1;access_token={FORGED}"),
        // The server of Debian ends the path at the last question mark.
        format!("?access_token={FORGED}"),
        format!("a=1?access_token={FORGED}"),
        format!("access_token=alice-token&access.token={FORGED}"),
        format!("access.token={FORGED}&access_token=alice-token"),
        format!("&&access_token={FORGED}"),
        format!("a=%26access_token={FORGED}"),
    ];
    named.into_iter().chain(second).chain(more).collect()
}

/// `Cookie` headers in which some parser finds the token.
fn cookies() -> Vec<Vec<String>> {
    let named = NAMES.map(|name| vec![format!("{name}={FORGED}")]);
    let second = NAMES.map(|name| vec![format!("a=1; {name}={FORGED}")]);
    let more = [
        // The standard library of Python begins a cookie after any blank, and CGI::Cookie at commas.
        vec![format!("a=1 access_token={FORGED}")],
        vec![format!("a=1,access_token={FORGED}")],
        vec![format!("a=1, access_token={FORGED}")],
        vec![format!("a=1;access_token={FORGED}")],
        vec![format!("a=1;\taccess_token={FORGED}")],
        vec![format!("\taccess_token={FORGED}")],
        vec![format!("access_token ={FORGED}")],
        vec![format!("access_token\t= {FORGED}")],
        vec![format!("access_token=\"{FORGED}\"")],
        vec![format!("a=\"1; access_token={FORGED}; b=\"")],
        vec![format!("$Version=1; access_token={FORGED}")],
        vec!["a=1".to_owned(), format!("access_token={FORGED}")],
        vec!["a=1".to_owned(), format!("access.token={FORGED}")],
        vec![format!("access_token=alice-token; access.token={FORGED}")],
        vec![format!("access.token={FORGED}; access_token=alice-token")],
    ];
    named.into_iter().chain(second).chain(more).collect()
}
