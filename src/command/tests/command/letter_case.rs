//! `check`: what it notes of paths in another letter case.

use serde_json::{Value, json};

use crate::documents::with;
use crate::{file, run, run_with};

/// What is noted of a document, line by line.
fn notes(document: &Value) -> Vec<String> {
    let ran = run_with(["check", "--format", "json", "-"], &document.to_string(), &[]);
    let report: Value = serde_json::from_str(&ran.out).expect("a report in JSON");
    let findings = report["files"][0]["findings"].as_array().expect("findings");
    assert!(!findings.iter().any(|finding| finding["level"] == "error"), "{document}: {report:#}");
    let notes = findings.iter().filter(|finding| finding["level"] == "note");
    let said = |part: &Value| part.as_str().expect("text").to_owned();
    notes.map(|note| format!("{}: {}", said(&note["place"]), said(&note["text"]))).collect()
}

/// The one note that there may be: whose path, and what decides on it.
fn expected(path: &str, decides: &str) -> String {
    format!(
        "inbound.rules{path}: in another letter case, the path is decided by inbound.{decides}, \
         which requires less: a service that ignores case would serve it"
    )
}

#[test]
fn a_path_that_needs_less_in_another_letter_case_is_noted() {
    let admin = json!({"paths": ["/admin/**"], "scope": "admin"});
    let rest = json!({"paths": ["/**"], "scope": "read"});
    for (rules, found) in [
        (json!([admin, rest]), Some(("[0].paths[0]", "rules[1]"))),
        (
            json!([{"paths": ["/admin"], "access": "deny"}, rest]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        (
            json!([admin, {"paths": ["/*/**"], "access": "public"}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        (json!([admin, {"access": "optional"}]), Some(("[0].paths[0]", "rules[1]"))),
        (json!([admin, {"methods": ["GET"]}]), Some(("[0].paths[0]", "rules[1]"))),
        (json!([admin, {"paths": ["/ADMIN/x"]}]), Some(("[0].paths[0]", "rules[1]"))),
        (
            json!([{"paths": ["/v1/orders:purge"], "scope": "admin"}, {"paths": ["/v1/**"]}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        // The first that is for it decides, and what asks for as much is no way around.
        (
            json!([admin, {"paths": ["/Admin/**"], "scope": "admin"}, rest]),
            Some(("[0].paths[0]", "rules[2]")),
        ),
        (json!([admin, {"paths": ["/*/**"], "scope": "admin a"}, rest]), None),
        (
            json!([admin, {"paths": ["/*/x"], "scope": "admin"}, rest]),
            Some(("[0].paths[0]", "rules[2]")),
        ),
        (
            json!([admin, {"methods": ["GET"], "scope": "admin"}, rest]),
            Some(("[0].paths[0]", "rules[2]")),
        ),
        (json!([admin, {"access": "deny"}]), None),
        (json!([admin, {"scope": "admin"}]), None),
        (json!([admin, {"scope": ["admin", "read"]}]), Some(("[0].paths[0]", "rules[1]"))),
        (json!([admin, {"scope": ["admin read", "admin write"]}]), None),
        // What implies a scope is more.
        (json!([{"paths": ["/a"], "scope": "read"}, {"scope": "admin"}]), None),
        // The rest of what tokens need.
        (json!([{"paths": ["/a"], "max_age": "5m"}, {"max_age": "5m"}]), None),
        (json!([{"paths": ["/a"], "max_ttl": "5s"}, {"max_ttl": "4s"}]), None),
        (
            json!([{"paths": ["/a"], "max_ttl": "5s"}, {"max_ttl": "6s"}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        (
            json!([{"paths": ["/a"], "max_age": "5m"}, {"max_age": "6m"}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        (json!([{"paths": ["/a"], "acr_values": "b c"}, {"acr_values": "c"}]), None),
        (
            json!([{"paths": ["/a"], "acr_values": "b c"}, {"acr_values": "c d"}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        (json!([{"paths": ["/a"], "issuer": "https://a"}, {}]), Some(("[0].paths[0]", "rules[1]"))),
        (json!([{"paths": ["/a"], "audience": "x"}, {}]), Some(("[0].paths[0]", "rules[1]"))),
        (json!([{"paths": ["/a"], "claims": {"b": 1}}, {"claims": {"c": 1, "b": 1}}]), None),
        (
            json!([{"paths": ["/a"], "claims": {"b": 1}}, {"claims": {"b": 2}}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        // Other requests.
        (json!([{"paths": ["/a"], "methods": ["GET"], "scope": "a"}, {"methods": ["PUT"]}]), None),
        (
            json!([{"paths": ["/a"], "hosts": ["a.test"], "scope": "a"}, {"hosts": ["b.test"]}]),
            None,
        ),
        (
            json!([{"paths": ["/a"], "hosts": ["a.test"], "scope": "a"}, {"hosts": ["*.test"]}]),
            Some(("[0].paths[0]", "rules[1]")),
        ),
        // Nothing is open to those who may not have it already.
        (json!([{"paths": ["/a"], "access": "public"}, {"access": "optional"}]), None),
        (json!([{"paths": ["/a"], "access": "optional"}, {"access": "public"}]), None),
        // Patterns without letters, and no other rule for the path.
        (json!([{"paths": ["/1/*", "/*", "/%C3%A9"], "scope": "a"}, {}]), None),
        (json!([admin]), None),
        (json!([rest, admin]), None),
        (
            json!([
                {"paths": ["/healthz"], "access": "public"},
                {"methods": ["GET"], "paths": ["/orders/**"], "scope": "read"},
                {"paths": ["/orders/**"], "scope": "write"},
            ]),
            None,
        ),
    ] {
        let mut document = with("inbound/rules", rules);
        document["inbound"]["scope_implies"] = json!({"admin": ["read"]});
        let expected: Vec<String> =
            found.iter().map(|(path, decides)| expected(path, decides)).collect();
        let mut notes = notes(&document);
        // How many such paths there are is not what this is about.
        for note in &mut notes {
            note.truncate(note.find(" (the first").unwrap_or(note.len()));
        }
        assert_eq!(notes, expected, "{document}");
    }
}

#[test]
fn what_no_rule_fits_counts_too_and_a_document_has_one_note() {
    for (unmatched, is_noted) in [("deny", false), ("token", true), ("public", true)] {
        let rules = json!([{"paths": ["/1", "/admin/**"], "scope": "admin"}]);
        let mut document = with("inbound/rules", rules);
        document["inbound"]["unmatched"] = unmatched.into();
        let expected: Vec<String> =
            is_noted.then(|| expected("[0].paths[1]", "unmatched")).into_iter().collect();
        assert_eq!(notes(&document), expected, "{unmatched}");
    }
    let rules = json!([
        {"paths": ["/a", "/b"], "access": "deny"}, {"paths": ["/c"], "scope": "c"}, {"paths": ["/**"]},
    ]);
    let expected = expected("[0].paths[0]", "rules[2]") + " (the first of 3 such paths)";
    assert_eq!(notes(&with("inbound/rules", rules)), [expected]);
}

#[test]
fn a_note_is_told_in_every_format_and_is_no_warning() {
    let text = "inbound:
  introspection: { endpoint: https://as.test/, client_id: rs, client_secret: { env: S } }
  audience: a
  rules:
    - { paths: [/admin], scope: a }
    - {}
";
    let path = file("notes.yaml", text);
    let path = path.to_str().expect("text");
    let ran = run(["check", "--strict", path]);
    let said = expected("[0].paths[0]", "rules[1]");
    assert_eq!(ran.status, 0, "{}", ran.out);
    assert_eq!(
        ran.out,
        format!("{path}:5:17: note: {said}\n{path}: no errors, no warnings, 1 note\n")
    );
    let ran = run(["check", "--strict", "--format", "github", path]);
    assert_eq!(ran.out, format!("::notice file={path},line=5,col=17::{said}\n"));
    assert_eq!(ran.status, 0);
}
