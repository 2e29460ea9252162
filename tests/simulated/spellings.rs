//! One request, many spellings: whatever is allowed is what every service takes it for.

use std::fmt::Write as _;

use oauth2_filter_testbed::envoy::with_members;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::host::{Outcome, SimulatedHost};
use crate::outbound::{client, token};
use crate::readers;

/// A request's headers.
type Head = Vec<(String, Vec<u8>)>;

fn head(path: &[u8], host: &[u8]) -> Head {
    let named = [(":method", &b"GET"[..]), (":path", path), (":authority", host)];
    named.map(|(name, value)| (name.to_owned(), value.to_vec())).into()
}

/// A guard whose rules are these.
fn guard(inbound: &Value) -> SimulatedHost {
    let introspection = json!({"endpoint": "http://as.test/introspect", "cluster": "as",
        "client_id": "api", "client_secret": "api-secret"});
    let inbound = with_members(json!({"introspection": introspection}), inbound);
    SimulatedHost::new(&json!({"inbound": inbound}))
}

/// What a table or a property is about: the answer to a head, in a word.
fn decision(host: &mut SimulatedHost, head: Head) -> String {
    let stream = host.send_head(head);
    if host.state(stream) == "waits" {
        host.answer_with(&json!({"active": true, "scope": "read"}));
    }
    host.state(stream).to_owned()
}

/// Spells a segment.
type Spell = fn(&str) -> String;

/// How a segment is spelled, with what must become of the request.
const SPELLINGS: [(&str, Spell, Becomes); 33] = [
    ("raw", str::to_owned, Becomes::Same),
    ("first letter escaped", |s| escaped(s, 1, false), Becomes::Same),
    ("all escaped, upper case", |s| escaped(s, usize::MAX, false), Becomes::Same),
    ("all escaped, lower case", |s| escaped(s, usize::MAX, true), Becomes::Same),
    ("escaped twice", |s| escaped(s, 1, false).replace('%', "%25"), Becomes::Refused),
    ("escaped three times", |s| escaped(s, 1, false).replace('%', "%2525"), Becomes::Refused),
    ("digits of the escape escaped", |s| format!("%25%36%{s}"), Becomes::Refused),
    ("dot segment before", |s| format!("./{s}"), Becomes::Refused),
    ("escaped dot segment before", |s| format!("%2e/{s}"), Becomes::Refused),
    ("dot segment after", |s| format!("{s}/."), Becomes::Refused),
    ("up and down", |s| format!("x/../{s}"), Becomes::Refused),
    ("up and down, escaped", |s| format!("x/%2e%2E/{s}"), Becomes::Refused),
    ("up and down, half escaped", |s| format!("x/.%2e/{s}"), Becomes::Refused),
    ("up and down, twice escaped", |s| format!("x/%252e%252e/{s}"), Becomes::Refused),
    ("up and down with parameters", |s| format!("x/..;a=b/{s}"), Becomes::Refused),
    ("up and down, escaped slashes", |s| format!("x%2f..%2F{s}"), Becomes::Refused),
    ("up and down, backslashes", |s| format!("x\\..\\{s}"), Becomes::Refused),
    ("up and down, escaped backslashes", |s| format!("x%5c..%5C{s}"), Becomes::Refused),
    ("up and down, overlong", |s| format!("x/%c0%ae%c0%ae/{s}"), Becomes::Refused),
    ("up and down, overlong in three bytes", |s| format!("x/%e0%80%ae./{s}"), Becomes::Refused),
    ("up and down with NUL", |s| format!("x/..%00/{s}"), Becomes::Refused),
    ("up and down with a blank", |s| format!("x/..%20/{s}"), Becomes::Refused),
    ("empty segment before", |s| format!("/{s}"), Becomes::Refused),
    ("empty segment after", |s| format!("{s}//"), Becomes::Refused),
    ("parameter", |s| format!("{s};v=1"), Becomes::Refused),
    ("escaped parameter", |s| format!("{s}%3bv=1"), Becomes::Refused),
    ("nothing but a parameter before", |s| format!(";v=1/{s}"), Becomes::Refused),
    ("NUL after", |s| format!("{s}%00"), Becomes::Refused),
    ("line feed after", |s| format!("{s}%0a"), Becomes::Refused),
    ("blank after", |s| format!("{s}%20"), Becomes::Refused),
    ("fragment", |s| format!("{s}#x"), Becomes::Refused),
    ("escaped query", |s| format!("{s}%3fx"), Becomes::Refused),
    ("broken escape", |s| format!("{s}%"), Becomes::Refused),
];

/// What must become of a spelling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Becomes {
    /// The same as of the raw one.
    Same,
    /// It is refused.
    Refused,
}

/// Escapes so many characters.
fn escaped(text: &str, count: usize, lower: bool) -> String {
    let mut found = String::new();
    for (number, byte) in text.bytes().enumerate() {
        _ = match (number < count, lower) {
            (true, true) => write!(found, "%{byte:02x}"),
            (true, false) => write!(found, "%{byte:02X}"),
            _ => write!(found, "{}", char::from(byte)),
        };
    }
    found
}

/// Where a path decides: the segment that is spelled, what stands around it, and the decision on the
/// raw path.
struct Position {
    name: &'static str,
    host: fn() -> SimulatedHost,
    around: (&'static str, &'static str),
    segment: &'static str,
    raw: &'static str,
}

const POSITIONS: [Position; 5] = [
    Position {
        name: "a public rule",
        host: || guard(&json!({"rules": [{"paths": ["/a/jobs/x"], "access": "public"}]})),
        around: ("/a/", "/x"),
        segment: "jobs",
        raw: "passed",
    },
    Position {
        name: "a rule before a wider one",
        host: || {
            guard(&json!({"rules": [
                {"paths": ["/v1/jobs"], "access": "deny"}, {"paths": ["/**"], "access": "public"},
            ]}))
        },
        around: ("/v1/", ""),
        segment: "jobs",
        raw: "oauth2_access_denied",
    },
    Position {
        name: "a rule whose pattern is escaped",
        host: || {
            guard(&json!({"rules": [
                {"paths": ["/v1/%6a%6fbs"], "access": "deny"},
                {"paths": ["/**"], "access": "public"},
            ]}))
        },
        around: ("/v1/", ""),
        segment: "jobs",
        raw: "oauth2_access_denied",
    },
    Position {
        name: "an outbound rule",
        host: || {
            let rules = json!([{"paths": ["/v1/jobs"], "client": "billing"}, {"paths": ["/**"], "client": null}]);
            SimulatedHost::new(&json!({"outbound": {
                "clients": {"billing": client(json!({}))}, "rules": rules,
            }}))
        },
        around: ("/v1/", ""),
        segment: "jobs",
        raw: "token",
    },
    Position {
        name: "the metadata document",
        host: || {
            guard(&json!({"resource_metadata": {
                "resource": "https://api.test/jobs", "authorization_servers": ["https://as.test"],
            }}))
        },
        around: ("/.well-known/oauth-protected-resource/", ""),
        segment: "jobs",
        raw: "oauth2_resource_metadata",
    },
];

/// What becomes of a path at a position: for an outbound one, whether it goes on with a token.
fn at(host: &mut SimulatedHost, path: &[u8]) -> String {
    let stream = host.send_head(head(path, b"api.test"));
    if host.state(stream) == "waits" {
        host.answer_with(&token("one"));
    }
    match host.passed_header(stream, "authorization") {
        Some(_) => "token".to_owned(),
        None => host.state(stream).to_owned(),
    }
}

#[test]
fn every_spelling_of_a_path_is_decided_alike_or_refused_wherever_paths_decide() {
    let is_other = |spelling| matches!(spelling, "parameter" | "escaped parameter");
    for Position { name, host, around: (before, after), segment, raw } in POSITIONS {
        let mut host = host();
        let is_metadata = raw == "oauth2_resource_metadata";
        for (spelling, spell, becomes) in SPELLINGS {
            let path = format!("{before}{}{after}", spell(segment));
            let expected = match becomes {
                Becomes::Same => raw,
                // It is another document's, and all else needs a token.
                Becomes::Refused if is_metadata && is_other(spelling) => "oauth2_no_token",
                Becomes::Refused => "oauth2_bad_path",
            };
            assert_eq!(at(&mut host, path.as_bytes()), expected, "{name}, {spelling}: {path}");
            // The metadata document has no query.
            if !is_metadata {
                let path = format!("{path}?a=b/c");
                assert_eq!(at(&mut host, path.as_bytes()), expected, "{name}, {spelling}: {path}");
            }
        }
    }
}

#[test]
fn every_spelling_of_a_host_is_decided_alike_or_refused_wherever_hosts_decide() {
    let by_rule: fn() -> SimulatedHost = || {
        guard(&json!({"rules": [{"hosts": ["a.test"], "access": "deny"}, {"access": "public"}]}))
    };
    let by_when: fn() -> SimulatedHost = || {
        let server = |when: Value| {
            json!({"endpoint": "http://as.test/introspect", "cluster": "as", "client_id": "api",
                "client_secret": "api-secret", "when": when})
        };
        SimulatedHost::new(&json!({"inbound": {"introspection": [
            server(json!({"hosts": ["a.test"]})),
        ]}}))
    };
    let by_client: fn() -> SimulatedHost = || {
        let rules = json!([{"hosts": ["a.test"], "client": "billing"}, {"client": null}]);
        SimulatedHost::new(&json!({"outbound": {
            "clients": {"billing": client(json!({}))}, "rules": rules,
        }}))
    };
    for (name, host, raw, other) in [
        ("a rule", by_rule, "oauth2_access_denied", "passed"),
        ("when", by_when, "passed", "oauth2_no_server"),
        ("an outbound rule", by_client, "token", "passed"),
    ] {
        let mut host = host();
        let mut check = |authority: &str, expected: &str| {
            let mut head = head(b"/", authority.as_bytes());
            if name == "when" {
                head.push(("authorization".to_owned(), b"Bearer t".to_vec()));
            }
            let stream = host.send_head(head);
            if host.state(stream) == "waits" {
                let answer = if name == "when" { json!({"active": true}) } else { token("one") };
                host.answer_with(&answer);
            }
            let found = match host.passed_header(stream, "authorization") {
                Some(_) => "token",
                None => host.state(stream),
            };
            assert_eq!(found, expected, "{name}: {authority}");
        };
        for same in ["a.test", "A.TEST", "a.test.", "a.test:80", "a.test.:8443", "a.test:"] {
            check(same, raw);
        }
        for refused in [
            "b@a.test",
            "a.test@b",
            "a%2etest",
            "a.test%2e",
            "a.test..",
            "a..test",
            "a.test:80:80",
            "a.test:x",
            "a.test,b.test",
            "b.test,a.test",
            "a.test/",
            "a.test#b",
            "a.test?b",
            "a.test\\b",
            "a\u{3002}test",
            "\u{ff41}.test",
            "a.test\0",
            "a.test;b",
        ] {
            check(refused, "oauth2_bad_host");
        }
        check("b.test", other);
        check("aa.test", other);
    }
}

/// Texts put together from these.
fn texts(
    parts: &'static [&'static [u8]],
    count: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<u8>> {
    vec(select(parts), count).prop_map(|parts| parts.concat())
}

/// What paths are made of. What matters most stands there more than once.
const OF_PATHS: &[&[u8]] = &[
    b"/",
    b"/",
    b"/",
    b"/",
    b"..",
    b"..",
    b".",
    b"%2e",
    b"%2E%2e",
    b"%2f",
    b"%5c",
    b"\\",
    b";",
    b"%3b",
    b"?",
    b"?",
    b"%3f",
    b"#",
    b"%23",
    b"%00",
    b"@",
    b":",
    b"%",
    b"%25",
    b"%252e",
    b"%255c",
    b"*",
    b"%20",
    b" ",
    b"+",
    b"x",
    b"&",
    b"=",
    b"~",
    b"|",
    b"\xff",
    b"%ff",
    b"\xc0\xae",
    b"%c0%ae",
    b"%c0%af",
    b"%0a",
    b"\t",
    b",",
    b"public",
    b"admin",
    b"/public",
    b"/admin",
    b"/public/",
    b"/admin/",
    b"/../admin/x",
    b"%61dmin",
    b"orders",
    b"%3a",
    b"purge",
    b"orders:purge",
    b"2e",
];

const OF_HOSTS: &[&[u8]] = &[
    b"a.test",
    b"a.test",
    b"a",
    b".",
    b"test",
    b"b.test",
    b"A.TEST",
    b":",
    b":80",
    b":443",
    b"@",
    b"[",
    b"]",
    b"%2e",
    b"%61",
    b"%40",
    b"%00",
    b"x",
    b",",
    b" ",
    b"/",
    b"\\",
    b"#",
    b"?",
    b";",
    b"::1",
    b"-",
    b"_",
    b"\t",
    b"&",
    b"=",
    b"\xef\xbd\x81",
    b"\xe3\x80\x82",
    b"\xff",
    b"127.0.0.1",
    b"127",
    b".0",
    b".1",
    b"0x7f",
    b"0177",
    b"2130706433",
    b"0",
];

const OF_VALUES: &[&[u8]] = &[
    b"Bearer",
    b"Bearer",
    b"Bearer ",
    b"Bearer ",
    b"bearer ",
    b"BEARER ",
    b" ",
    b" ",
    b"\t",
    b"\xa0",
    b"\x85",
    b"\xe2\x80\x83",
    b"\xef\xbb\xbf",
    b"\x0b",
    b"\x1c",
    b",",
    b", ",
    b"\"",
    b"'",
    b"=",
    b";",
    b"Basic",
    b"Basic ",
    b"Digest ",
    b"a=b",
    b"a=\"b",
    b"JWT",
    b"JWT",
    b"JWT.x",
    b":",
    b"\\",
    b"/",
    b"(",
    b"token=",
    b"x",
    b"-",
    b"\0",
];

const OF_NAMES: &[&str] = &[
    "x", "X", "user", "User", "-", "-", "_", "_", ".", "!", "#", "$", "%", "&", "'", "*", "+", "^",
    "`", "|", "~", "1", "x-user", "http", "id",
];

/// As many cases as take about a second each.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

fn is_in(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

thread_local! {
    static FOLDERS: std::cell::RefCell<SimulatedHost> = guard(&json!({"rules": [
        {"paths": ["/public/**"], "access": "public"}, {"paths": ["/admin/**"], "scope": "admin"},
    ]})).into();
    static PURGE: std::cell::RefCell<SimulatedHost> = guard(&json!({"rules": [
        {"paths": ["/v1/orders:purge"], "access": "deny"},
        {"paths": ["/v1/**"], "access": "public"},
    ]})).into();
    static OUTBOUND: std::cell::RefCell<SimulatedHost> = {
        let rules = json!([{"paths": ["/public/**"], "client": "billing"}, {"client": null}]);
        SimulatedHost::new(&json!({"outbound": {
            "clients": {"billing": client(json!({}))}, "rules": rules,
        }})).into()
    };
    static HOSTS: std::cell::RefCell<SimulatedHost> = guard(&json!({"rules": [
        {"hosts": ["a.test", "127.0.0.1"], "access": "deny"}, {"access": "public"},
    ]})).into();
    static OPTIONAL: std::cell::RefCell<SimulatedHost> = guard(&json!({
        "rules": [{"access": "optional"}], "forward": {"token": true, "claims": {"x-user": "sub"}},
        // So each case asks.
        "cache": {"max_ttl": "0s"},
    })).into();
}

proptest! {
    #![proptest_config(cases(8_000))]

    #[test]
    fn no_service_reads_a_public_path_as_a_guarded_one(
        begin in select(vec!["/public/", "/public", "/", "/public/x"]),
        rest in texts(OF_PATHS, 0..=8),
    ) {
        let path = [begin.as_bytes(), &rest].concat();
        let state = FOLDERS.with_borrow_mut(|host| decision(host, head(&path, b"api.test")));
        let shown = path.escape_ascii();
        if state == "passed" {
            for read in readers::paths(&path) {
                prop_assert!(!is_in(&read, b"/admin"), "{} is read as {}", shown, read.escape_ascii());
            }
        }
    }

    #[test]
    fn no_service_reads_an_allowed_path_as_one_that_another_rule_denies(
        begin in select(vec!["/v1/", "/v1/orders", "/v1/orders:purge", "/v1"]),
        middle in texts(OF_PATHS, 0..=3),
        end in select(vec!["", "purge", ":purge", "/orders:purge", "/purge"]),
    ) {
        let path = [begin.as_bytes(), &middle, end.as_bytes()].concat();
        let state = PURGE.with_borrow_mut(|host| decision(host, head(&path, b"api.test")));
        let shown = path.escape_ascii();
        if state == "passed" {
            for read in readers::paths(&path) {
                prop_assert!(read != b"/v1/orders:purge", "{} is read as it", shown);
            }
        }
    }

    #[test]
    fn no_token_goes_where_a_service_reads_a_path_in_another_folder(
        begin in select(vec!["/public/", "/public", "/"]),
        rest in texts(OF_PATHS, 0..=8),
    ) {
        let path = [begin.as_bytes(), &rest].concat();
        let state = OUTBOUND.with_borrow_mut(|host| at(host, &path));
        if state == "token" {
            for read in readers::paths(&path) {
                prop_assert!(!is_in(&read, b"/admin"), "{} is read as {}",
                    path.escape_ascii(), read.escape_ascii());
            }
        }
    }

    #[test]
    fn no_service_reads_a_host_as_one_that_another_rule_denies(host in texts(OF_HOSTS, 0..=5)) {
        let state = HOSTS.with_borrow_mut(|guard| decision(guard, head(b"/", &host)));
        let shown = host.escape_ascii();
        if state == "passed" {
            for read in readers::hosts(&host) {
                prop_assert!(read != "a.test" && read != "127.0.0.1", "{} is read as {}", shown, read);
            }
        }
    }

    #[test]
    fn no_service_finds_a_token_that_was_not_introspected(
        first in texts(OF_VALUES, 0..=5),
        second in proptest::option::weighted(0.3, texts(OF_VALUES, 1..=4)),
    ) {
        let mut head = head(b"/", b"api.test");
        for value in [Some(first), second].into_iter().flatten() {
            head.push(("authorization".to_owned(), value));
        }
        let (judged, passed) = OPTIONAL.with_borrow_mut(|host| {
            let stream = host.send_head(head.clone());
            let mut judged = None;
            if host.state(stream) == "waits" {
                let form = host.calls[0].body.clone();
                let pairs = url::form_urlencoded::parse(form.as_bytes());
                judged = pairs.into_owned().find(|(name, _)| name == "token").map(|(_, token)| token);
                host.answer_with(&json!({"active": true}));
            }
            let value = match host.outcome(stream) {
                Some(Outcome::Passed(head)) => {
                    let mut values = head.iter().filter(|(name, _)| name == "authorization");
                    Some(values.next().map(|(_, value)| value.clone()).unwrap_or_default())
                }
                _ => None,
            };
            (judged, value)
        });
        let shown = format!("{head:?}");
        for read in passed.map(|value| readers::tokens(&value)).unwrap_or_default() {
            prop_assert_eq!(Some(&read), judged.as_ref(), "{}", shown);
        }
    }

    #[test]
    fn no_service_takes_a_callers_header_for_one_of_the_filter(
        names in vec(vec(select(OF_NAMES), 1..=4), 1..=3),
    ) {
        let mut head = head(b"/", b"api.test");
        head.extend(names.iter().map(|name| (name.concat(), b"root".to_vec())));
        OPTIONAL.with_borrow_mut(|host| {
            let stream = host.send_head(head.clone());
            let Some(Outcome::Passed(passed)) = host.outcome(stream) else {
                return Err(TestCaseError::fail(format!("{head:?} is refused")));
            };
            for (name, _) in passed {
                prop_assert!(readers::variable(name) != "X_USER", "{name} of {head:?}");
            }
            Ok(())
        })?;
    }
}

#[test]
fn the_readers_find_what_the_real_ones_have_found() {
    let reads = |target: &[u8], path: &[u8]| readers::paths(target).iter().any(|p| p == path);
    for (target, path) in [
        (&b"/public/..%2fadmin/x"[..], &b"/admin/x"[..]),
        (b"/public/%252e%252e/admin/x", b"/admin/x"),
        (b"/public/..;v=1/admin/x", b"/admin/x"),
        (b"/public/..%3b/admin/x", b"/admin/x"),
        (b"/public\\..\\admin/x", b"/admin/x"),
        (b"/public/x?/../../admin/x?", b"/admin/x"),
        (b"/public/%c0%ae%c0%ae/admin/x", b"/admin/x"),
        (b"//public/admin/x", b"/admin/x"),
        (b"/admin/x#/../../public/x", b"/admin/x"),
        (b"/v1/orders%3Apurge", b"/v1/orders:purge"),
        (b"/v1/orders%253apurge", b"/v1/orders:purge"),
        (b"/admin%00/../public", b"/admin"),
    ] {
        assert!(reads(target, path), "{}", target.escape_ascii());
    }
    for host in
        ["user@a.test", "a.test:80", "a.test,b", "a%2Etest", "a.test.", "a.test#b", "A.test"]
    {
        assert!(readers::hosts(host.as_bytes()).contains(&"a.test".to_owned()), "{host}");
    }
    assert!(readers::hosts(b"0x7f.1").contains(&"127.0.0.1".to_owned()));
    for value in [
        &b"Bearer JWT"[..],
        b"bearer\tJWT",
        b"Bearer\xa0JWT",
        b"Bearer\x1cJWT",
        b"Basic Bearer JWT",
        b"xBearer JWT",
        b"Basic a,Bearer JWT",
        b"\"Bearer JWT\"",
        b"Bearer JWT,x",
    ] {
        let found = readers::tokens(value);
        assert!(found.iter().any(|token| token.starts_with("JWT")), "{}", value.escape_ascii());
    }
    assert_eq!(readers::variable("x.user"), readers::variable("X_USER"));
}
