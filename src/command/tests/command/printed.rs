//! What `check` prints, and what it never does: secrets, and texts of the document.

use std::ffi::OsStr;
use std::path::Path;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::check::{FINE, bootstrap, check, document};
use crate::{corpus, file, run, run_with};

#[test]
fn variables_are_taken_to_be_set_unless_the_real_ones_are_asked_for() {
    let signing = document("").replace(
        r#""client_secret": {"env": "SECRET"}"#,
        r#""auth_method": "private_key_jwt", "aud": "a", "alg": "ES256", "private_key": {"env": "SECRET"}"#,
    );
    let plain = file("env-plain.json", &document(""));
    let signing = file("env-signing.json", &signing);
    let [plain, signing] = [&plain, &signing].map(|path| path.to_str().expect("text"));
    assert_eq!(run(["check", plain, signing]).status, 0);
    let unset = run(["check", "--env", plain]);
    assert!(unset.out.contains("environment variable `SECRET` is unset or empty"), "{}", unset.out);
    assert_eq!(unset.status, 1);
    let with = |key: &str| {
        let ran = run_with(["check", "--env", signing], "", &[("SECRET", key)]);
        assert!(!ran.out.contains("PRIVATE") && !ran.err.contains("PRIVATE"), "{}", ran.out);
        (ran.status, ran.out)
    };
    assert_eq!(with(include_str!("../../../../tests/envoy/keys/p256-pkcs8.pem")).0, 0);
    let (status, out) = with(include_str!("../../../../tests/envoy/keys/rsa-pkcs8.pem"));
    assert!(status == 1 && out.contains("alg: the private key requires RS256"), "{out}");
    let (status, out) = with(include_str!("../../../../tests/envoy/keys/p384-pkcs8.pem"));
    assert!(status == 1 && out.contains("private_key: key rejected by the host"), "{out}");
}

#[test]
fn no_secret_of_a_document_is_printed_in_any_format() {
    let secret = "s3cr3t-value";
    for text in [
        document("").replace(r#"{"env": "SECRET"}"#, &format!("\"{secret}\"")),
        document("").replace(r#"{"env": "SECRET"}"#, &format!("[\"{secret}\"]")),
        document(&format!(", \"realm\": [\"{secret}\"], \"unmatched\": \"{secret}\"")),
        format!("inbound: {{ introspection: {secret} }}\n"),
        format!("inbound: \"{secret}\n"),
        format!("{{\"inbound\": {{\"introspection\": \"{secret}\""),
    ] {
        for format in ["text", "json", "github"] {
            let ran = run_with(["check", "--format", format, "-"], &text, &[]);
            assert!(
                !ran.out.contains(secret) && !ran.err.contains(secret),
                "{}{}",
                ran.out,
                ran.err
            );
        }
    }
}

#[test]
fn no_text_of_a_document_is_printed_wherever_it_stands() {
    let mut marked = Vec::new();
    // Most of a large document are keys of one kind.
    for document in corpus::good().into_iter().filter(|it| it.to_string().len() < 4096) {
        let mut places = Vec::new();
        texts(&document, &mut String::new(), &mut places);
        // Names of clusters and variables may appear: they are in the report on purpose.
        places.retain(|place| !place.ends_with("/cluster") && !place.ends_with("/env"));
        for place in places {
            let mut document = document.clone();
            *document.pointer_mut(&place).expect("a place") = json!("m4rk of \u{1} s3cr3t");
            marked.push(document);
        }
    }
    marked.dedup();
    assert!(marked.len() > 500, "{}", marked.len());
    // Several in a file, since each run takes a while.
    for documents in marked.chunks(100) {
        let text: Vec<String> = documents.iter().map(ToString::to_string).collect();
        let path = file("marked.yaml", &text.join("\n---\n"));
        let ran = run([OsStr::new("check"), path.as_os_str()]);
        let uses = format!("{} configurations of the filter, ", documents.len());
        assert!(ran.status == 1 && ran.out.contains(&uses), "{}{}", ran.out, ran.err);
        let line = ran.out.lines().chain(ran.err.lines()).find(|line| line.contains("m4rk"));
        assert_eq!(line, None);
    }
}

/// The places of all texts in a value, as JSON pointers.
fn texts(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let length = at.len();
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        texts(value, at, found);
        at.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| below(&n.to_string(), value));
        }
        Value::String(_) => found.push(at.clone()),
        _ => {}
    }
}

#[test]
fn whatever_is_in_a_file_is_read_or_refused_in_words() {
    let bomb = (1..12).fold("x0: &x0 [a]\n".to_owned(), |text, n| {
        let list = vec![format!("*x{}", n - 1); 9].join(", ");
        format!("{text}x{n}: &x{n} [{list}]\n")
    });
    let deep: String = (0..300).map(|n| " ".repeat(n) + "a:\n").collect();
    let long = "inbound:\n  rules:\n".to_owned() + &"    - paths: [/a]\n".repeat(2000);
    let crlf = document(", \"realm\": 1").replace('\n', "\r\n");
    let bom = format!("\u{feff}{}", document(", \"realm\": 1"));
    let realm = "7:37: error: inbound.realm: expected a realm, found a number";
    for (name, text, line) in [
        ("crlf.json", &*crlf, realm),
        ("bom.json", &bom, realm),
        ("null.json", "null", "1:1: error: configuration: expected an object with inbound"),
        ("word.txt", "hello", "1:1: error: configuration: expected an object with inbound"),
        (
            "text.json",
            "inbound: {}",
            "1:1: error: configuration: invalid JSON: expected value at line 1",
        ),
        (
            "deep.json",
            &"[".repeat(100_000),
            "1:128: error: configuration: invalid JSON: recursion limit",
        ),
        ("deep.yaml", &"[".repeat(100_000), "1:256: error: invalid YAML: recursion limit exceeded"),
        ("nested.yaml", &deep, "257:257: error: invalid YAML: nesting too deep"),
        ("bomb.yaml", &bomb, "7:40: error: invalid YAML: aliases expand to too many values"),
        ("cycle.yaml", "a: &a [*a]\n", "1:8: error: invalid YAML: unknown alias"),
        ("tab.yaml", "inbound:\n\taudience: a\n", "2:2: error: invalid YAML: tabs disallowed"),
        ("nul.yaml", "inbound: a\0b\n", "1:11: error: invalid YAML: found unprintable character"),
        ("flow.yaml", "{inbound: {relm: a}}", "1:12: error: inbound.relm: unknown key; did you"),
        (
            "flow.json",
            "{inbound: {}}",
            "1:2: error: configuration: invalid JSON: key must be a string",
        ),
        (
            "long.yaml",
            &long,
            "2002:7: warning: inbound.rules[1999]: never reached: inbound.rules[0]",
        ),
        (
            "merge.yaml",
            "x: &x { scope: '' }\ninbound:\n  <<: *x\n",
            "1:9: error: inbound.scope: must not be empty",
        ),
    ] {
        let (lines, status) = check(&file(&format!("odd/{name}"), text));
        assert!(lines.iter().any(|found| found.starts_with(line)), "{name}: {line}: {lines:?}");
        assert_eq!(status, 1, "{name}");
    }
    // Nothing that could be the filter's is no success.
    for (name, text) in
        [("comment.yaml", "# nothing\n"), ("list.json", "[]"), ("of.yaml", "- a\n- b\n")]
    {
        let ran = run([OsStr::new("check"), file(&format!("odd/{name}"), text).as_os_str()]);
        assert_eq!(ran.status, 2, "{name}: {}", ran.out);
    }
    // Nor is what cannot be read.
    let binary = file("odd/binary.yaml", "");
    std::fs::write(&binary, b"inbound: \xff\n").expect("a folder to write to");
    for path in [&*binary, Path::new("missing.yaml"), Path::new("/dev/zero")] {
        let ran = run([OsStr::new("check"), path.as_os_str()]);
        let name = path.to_str().expect("text");
        assert!(ran.err.starts_with(&format!("oauth2-filter: {name}: ")), "{}", ran.err);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{name}");
    }
}

#[test]
fn of_several_documents_those_of_others_are_left_alone() {
    let text = "\
apiVersion: v1
kind: ConfigMap
data: { inbound: x }
---
a: 1
---
inbound: { relm: a }
---
apiVersion: v1
kind: List
items:
  - apiVersion: extensions.istio.io/v1alpha1
    kind: WasmPlugin
    metadata: { name: listed }
    spec: { pluginName: oauth2-filter, match: [{ mode: SERVER }], pluginConfig: { inbound: 1 } }
";
    let (lines, status) = check(&file("several.yaml", text));
    let starts = [
        "7:1: error: inbound.introspection: required",
        "7:1: warning: inbound.audience: not set",
        "7:12: error: inbound.relm: unknown key; did you mean `realm`?",
        "15:83: error: inbound: expected an object with introspection and rules, found a number [WasmPlugin listed]",
        "2 configurations of the filter, 3 errors, 1 warning",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(status, 1);
}

#[test]
fn a_value_that_envoy_cannot_take_is_told_with_what_it_would_take() {
    let of_type = |kind: &str, value: &str| {
        let text =
            format!("\"@type\": type.googleapis.com/google.protobuf.{kind}\nvalue: {value}\n");
        let text = bootstrap(&text, "");
        let (lines, status) = check(&file(&format!("values/{kind}.yaml"), &text));
        (lines.join("\n"), status)
    };
    let object = "{ outbound: { clients: { a: { grant_type: direct_token, access_token: { env: SECRET } } } } }";
    let (said, status) = of_type("StringValue", object);
    assert!(
        said.starts_with("19:34: error: a google.protobuf.StringValue must contain a string; wr"),
        "{said}"
    );
    assert_eq!(status, 1);
    let (said, status) = of_type("BytesValue", "'{}'");
    assert!(
        said.starts_with("19:34: error: a google.protobuf.BytesValue must contain Base64\n"),
        "{said}"
    );
    assert_eq!(status, 1);
    // Of either alphabet, with padding or without.
    let object = r#"{"outbound": {"clients": {"a>?~": {"grant_type": "direct_token", "access_token": {"env": "SECRET"}}}, "rules": [{"hosts": ["a.test"], "client": "a>?~"}]}}"#;
    let padded = Base64::encode_string(object.as_bytes());
    let url = padded.replace('+', "-").replace('/', "_");
    assert!(padded.ends_with('=') && padded != url, "{padded}");
    for value in [&*padded, padded.trim_end_matches('='), &url, url.trim_end_matches('=')] {
        assert_eq!(of_type("BytesValue", value), (FINE.to_owned(), 0), "{value}");
    }
    let (said, status) = of_type("Duration", "5s");
    assert!(
        said.contains("warning: the filter does not support this type of configuration"),
        "{said}"
    );
    assert_eq!(status, 1);
}

#[test]
fn a_report_can_be_read_by_programs_and_code_reviews() {
    let input = document(", \"realm\": \"\"");
    let ran = run_with(["check", "--format", "json", "-"], &input, &[]);
    let text = "expected a realm, found an empty string";
    assert_eq!(
        serde_json::from_str::<Value>(&ran.out).expect("JSON"),
        json!({
            "mistakes": 1, "warnings": 0,
            "files": [{"file": "-", "uses": 1, "findings": [{
                "line": 7, "column": 37, "level": "error", "place": "inbound.realm", "text": text,
                "within": "",
            }]}],
        })
    );
    let ran = run_with(["check", "--format", "github", "-"], &input, &[]);
    assert_eq!(ran.out, format!("::error file=-,line=7,col=37::inbound.realm: {text}\n"));
    assert_eq!(ran.status, 1);
}

#[test]
fn wrong_usage_is_told_apart_from_mistakes() {
    for arguments in [
        &["check"][..],
        &["check", "no-such-file.yaml"],
        &["check", "--format", "xml", "README.md"],
        &["check", "--stric", "README.md"],
        &["chekc"],
        &[],
        &["new"],
        &["new", "sideways"],
        &["schema", "now"],
        &["explain"],
        &["explain", "envoy/inbound.yaml"],
        &["explain", "envoy/inbound.yaml", "--url", "/no-host"],
        &["explain", "envoy/inbound.yaml", "--url", "http://a/", "--scope", "a", "--no-token"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.status, 2, "{arguments:?}: {}", ran.out);
        assert!(ran.err.starts_with("oauth2-filter: ") && ran.out.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["check", "--help"], &["new", "-h"]] {
        let ran = run(arguments);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{arguments:?}");
    }
}
