//! The path that rules see is the path that the service reads.

use oauth2_filter_testbed::client::Request;
use serde_json::{Value, json};

use crate::services::SERVICES;
use crate::set_up::{BOTH, Http, SetUp, Wrong, inbound, listener_to, normalizing, outbound};

/// Ways to write a path that some parser reads as another one. `in` is a folder in which one may be,
/// and `out` the one that is meant.
const SPELLINGS: [&str; 55] = [
    "/in/../out/x",
    "/in/./../out/x",
    "/in/x/../../out/x",
    "/in/%2e%2e/out/x",
    "/in/%2E%2E/out/x",
    "/in/.%2e/out/x",
    "/in/%2e./out/x",
    "/in/%252e%252e/out/x",
    "/in/..%2fout/x",
    "/in/..%2Fout/x",
    "/in%2f../out/x",
    "/in%2f..%2fout/x",
    "/in/..%252fout/x",
    "/in/..\\out/x",
    "/in/..%5cout/x",
    "/in\\..\\out\\x",
    "/in/..;/out/x",
    "/in/..;x=1/out/x",
    "/in/..%3b/out/x",
    "/in/;/../out/x",
    "/in/;x/../../out/x",
    "/in/%c0%ae%c0%ae/out/x",
    "/in/%e0%80%ae%e0%80%ae/out/x",
    "/in/..%00/out/x",
    "/in/..%09/out/x",
    "/in/..%20/out/x",
    "/in/.\t./out/x",
    "/in//../out/x",
    "/in//../../out/x",
    "/in/x//../../out/x",
    "/in/../../out/x",
    "/../in/../out/x",
    "//in/out/x",
    "//in/../out/x",
    "///in/../out/x",
    "//in//out/x",
    "//in:80/out/x",
    "//u@in/out/x",
    "/./in/../out/x",
    "/.//in/out/x",
    "/in/..//in/out/x",
    "//out/../in/x",
    "/out/../in/x",
    "/out/%2e%2e/in/x",
    "/out/..%2fin/x",
    "//out/x",
    "/out//x",
    "/out/",
    "/out",
    "/out;x=1/x",
    "/%6fut/x",
    "/in/x#/../../out/x",
    "http://in/out/x",
    // The server of Debian ends the path at the last question mark.
    "/in/x?/../../out/x?",
    "/in?x/%2e%2e/../out/x?y",
];

/// Ordinary targets, all of them in `/public`.
const ORDINARY: [&str; 12] = [
    "/public",
    "/public/",
    "/public/x",
    "/public/a.b/..c/...",
    "/public/x?next=/a/../b//c",
    "/public/a/../x",
    "/public/./x",
    "/public//x",
    "//public/x",
    "/admin/../public/x",
    "/public/caf%C3%A9",
    "/public/%7Euser/x%20y",
];

/// Everybody may see one folder, and few another.
fn folders() -> Value {
    inbound(json!({"rules": [
        {"paths": ["/public/**"], "access": "public"},
        {"paths": ["/admin/**"], "scope": "admin"},
    ]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_public_path_is_read_as_a_guarded_one() {
    let prefixes = ["/admin", "/public", "/"];
    let Some(set_up) = SetUp::start([
        listener_to("raw", &folders(), &prefixes),
        normalizing(listener_to("normal", &folders(), &prefixes)),
    ])
    .await
    else {
        return;
    };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        for listener in ["raw", "normal"] {
            let reading = set_up.arrives(listener, service, &Request::get("/public/x")).await;
            assert!(reading.is_nowhere_but_in("/public"), "{reading}");
            assert_eq!(reading.route(), Some("/public"), "{reading}");
            let admin = Request::get("/admin/x").bearer("admin-token");
            let reading = set_up.arrives(listener, service, &admin).await;
            assert!(reading.is_nowhere_but_in("/admin"), "{reading}");
            for target in spelled("/public", "/admin") {
                for (method, http) in [("GET", Http::One), ("DELETE", Http::Two)] {
                    let request = Request::new(method, &target);
                    let outcome = set_up.send(http, listener, service, &request).await;
                    let safe = outcome.reading().is_none_or(|reading| {
                        !reading.is_in("/admin") && reading.route() != Some("/admin")
                    });
                    let row = format!("{listener} {service} {http:?} {target}");
                    wrong.unless(safe, row, &outcome);
                }
            }
        }
    }
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_envoy_makes_paths_uniform_no_ordinary_request_is_refused() {
    let listener = normalizing(listener_to("normal", &folders(), &["/"]));
    let Some(set_up) = SetUp::start([listener]).await else { return };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        for target in ORDINARY {
            for http in BOTH {
                let request = Request::get(target);
                let outcome = set_up.send(http, "normal", service, &request).await;
                let arrives = outcome.reading().is_some_and(|r| r.is_nowhere_but_in("/public"));
                wrong.unless(arrives, format!("{service} {http:?} {target}"), &outcome);
            }
        }
    }
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_with_no_request_that_is_read_as_for_another_path() {
    let document = outbound(
        json!({}),
        &json!([{"hosts": ["api.test"], "paths": ["/api/**"], "client": "ours"}]),
    );
    let prefixes = ["/partner", "/api", "/"];
    let Some(set_up) = SetUp::start([
        listener_to("raw", &document, &prefixes),
        normalizing(listener_to("normal", &document, &prefixes)),
    ])
    .await
    else {
        return;
    };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        for listener in ["raw", "normal"] {
            let ours = Request::get("/api/x").authority("api.test");
            let reading = set_up.arrives(listener, service, &ours).await;
            assert_eq!(reading.header("authorization"), Some("Bearer our-token"), "{reading}");
            let partners = Request::get("/partner/x").authority("api.test");
            let reading = set_up.arrives(listener, service, &partners).await;
            assert!(!reading.has_in_headers("our-token"), "{reading}");
            for target in spelled("/partner", "/api").chain(spelled("/api", "/partner")) {
                let request = Request::get(&target).authority("api.test");
                let outcome = set_up.send(Http::One, listener, service, &request).await;
                let safe = outcome.reading().is_none_or(|reading| {
                    !reading.has_in_headers("our-token")
                        || (reading.is_nowhere_but_in("/api") && reading.route() == Some("/api"))
                });
                wrong.unless(safe, format!("{listener} {service} {target}"), &outcome);
            }
        }
    }
    wrong.none();
}

/// The spellings, with these folders.
fn spelled(inside: &str, outside: &str) -> impl Iterator<Item = String> {
    let [inside, outside] =
        [inside, outside].map(|folder| folder.trim_start_matches('/').to_owned());
    let spell = move |text: &str| text.replace("in", &inside).replace("out", &outside);
    SPELLINGS.into_iter().map(spell)
}
