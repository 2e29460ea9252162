//! Characters that are reserved in paths: services decode them, so rules must know them in every
//! spelling.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::Listener;
use serde_json::{Value, json};

use crate::reading::Reading;
use crate::services::SERVICES;
use crate::set_up::{Http, SetUp, Wrong, inbound, listener, normalizing};

/// The characters that can be in a segment as they are (`pchar` of RFC 3986), without letters, and
/// without the `*` that patterns have for something else.
const CHARACTERS: [char; 16] =
    [':', '@', '!', '$', '&', '\'', '(', ')', '+', ',', '=', ';', '-', '.', '_', '~'];

/// The path of a method that few may call.
fn guarded(character: char) -> String {
    format!("/v1/orders{character}purge")
}

/// Few may call those methods, and many all else.
fn methods(strict: &Value, paths: &[String]) -> Value {
    let mut strict = strict.clone();
    strict["paths"] = json!(paths);
    inbound(json!({"rules": [strict, {"paths": ["/v1/**"], "scope": "read"}]}))
}

/// The ways to write a path, of which some services read each as `plain`.
fn spellings(plain: &str, character: char) -> Vec<String> {
    let byte = u32::from(character);
    let (upper, lower) = (format!("{byte:02X}"), format!("{byte:02x}"));
    let mixed = format!("{}{}", &upper[..1], &lower[1..]);
    let other = format!("{}{}", &lower[..1], &upper[1..]);
    let overlong = format!("%{:02x}%{:02x}", 0xc0 | byte >> 6, 0x80 | byte & 0x3f);
    let longer = format!("%e0%{:02x}%{:02x}", 0x80 | byte >> 6, 0x80 | byte & 0x3f);
    let hex = [&upper, &lower, &mixed, &other];
    let once = hex.map(|hex| format!("%{hex}"));
    let twice = hex.map(|hex| format!("%25{hex}"));
    // The digits themselves are escaped.
    let digits = upper.bytes().map(|digit| format!("%{digit:02x}")).collect::<Vec<_>>().concat();
    let others = [overlong, longer, format!("%25{digits}"), format!("%2525{upper}")];
    let escapes = once.into_iter().chain(twice).chain(others);
    let spelled = escapes.map(|escape| plain.replace(character, &escape));
    let around = [
        plain.to_owned(),
        format!("{plain}?x"),
        format!("{plain};x=1"),
        format!("{plain}%3Bx=1"),
        format!("{plain}%3bx=1"),
        plain.replacen("/v1", "/v1;x", 1),
        plain.replacen("/v1", "/v1/;x", 1),
        plain.replacen("/v1", "/v1%3B", 1),
        plain.replacen("/v1", "//v1", 1),
        plain.replacen("/v1", "/v1/", 1),
        plain.replacen("orders", "%6frders", 1),
        plain.replacen("orders", "%256frders", 1),
    ];
    spelled.chain(around).collect()
}

/// Sends every spelling to every service; none may read one as the guarded path.
async fn never_read(set_up: &SetUp, name: &str, characters: &[char], wrong: &mut Wrong) {
    for service in SERVICES {
        let other = Request::post("/v1/orders", "").bearer("alice-token");
        let reading = set_up.arrives(name, service, &other).await;
        assert!(reads(&reading, "/v1/orders"), "{reading}");
        for character in characters {
            let plain = guarded(*character);
            for target in spellings(&plain, *character) {
                let request = Request::post(&target, "").bearer("alice-token");
                let outcome = set_up.send(Http::One, name, service, &request).await;
                let safe = outcome.reading().is_none_or(|reading| !reads(reading, &plain));
                wrong.unless(safe, format!("{name} {service} {target}"), &outcome);
            }
        }
    }
}

fn reads(reading: &Reading, path: &str) -> bool {
    reading.paths().any(|read| read == path)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_guarded_method_passes_by_its_rule() {
    let paths: Vec<_> = CHARACTERS.map(guarded).into();
    let colon = [guarded(':')];
    let raw = listener("scope", &methods(&json!({"scope": "admin"}), &paths));
    let normal = listener("normal", &methods(&json!({"scope": "admin"}), &colon));
    let deny = listener("deny", &methods(&json!({"access": "deny"}), &colon));
    let Some(set_up) = SetUp::start([raw, normalizing(normal), deny]).await else { return };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        // The guarded path is there for those who may.
        let admin = Request::post(&guarded(':'), "").bearer("admin-token");
        let reading = set_up.arrives("scope", service, &admin).await;
        assert!(reads(&reading, &guarded(':')), "{reading}");
    }
    never_read(&set_up, "scope", &CHARACTERS, &mut wrong).await;
    never_read(&set_up, "normal", &[':'], &mut wrong).await;
    never_read(&set_up, "deny", &[':'], &mut wrong).await;
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escape_in_a_pattern_is_the_character() {
    let pattern = ["/v1/orders%3Apurge".to_owned()];
    let listener: Listener = listener("escaped", &methods(&json!({"access": "deny"}), &pattern));
    let Some(set_up) = SetUp::try_start([listener]).await else { return };
    match set_up {
        Ok(set_up) => {
            let mut wrong = Wrong::default();
            never_read(&set_up, "escaped", &[':'], &mut wrong).await;
            wrong.none();
        }
        // A pattern may be refused instead, if its error says where.
        Err(error) => assert!(error.log.contains("inbound.rules[0].paths"), "{error}"),
    }
}
