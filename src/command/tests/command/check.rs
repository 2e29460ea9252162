//! `check`: what it finds in which files, and how it tells it.

use std::path::Path;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::{file, indented, run};

/// Line and column of the only place in a text that begins like this.
pub fn at(text: &str, part: &str) -> String {
    let mut found = text.match_indices(part);
    let (start, _) = found.next().expect(part);
    assert!(found.next().is_none(), "{part} stands there twice");
    let before = &text[..start];
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{}:{column}", before.matches('\n').count() + 1)
}

/// Runs `check` on one file: the lines without its name, and the exit status.
pub fn check(path: &Path) -> (Vec<String>, i32) {
    let name = path.to_str().expect("a name of text");
    let ran = run(["check", name]);
    assert_eq!(ran.err, "");
    let line = |line: &str| line.trim_start_matches(name).trim_start_matches(':').trim().to_owned();
    (ran.out.lines().map(line).collect(), ran.status)
}

/// Checks a file of this name and text against the lines that it gets.
pub fn finds(name: &str, text: &str, expected: &[&str]) {
    let (lines, status) = check(&file(name, text));
    assert_eq!(lines, expected, "{name}");
    let has_mistake = expected.iter().any(|line| line.contains(" error: "));
    assert_eq!(status, i32::from(has_mistake), "{name}");
}

/// A document that is good, but for what `more` adds to its `inbound`.
pub fn document(more: &str) -> String {
    format!(
        r#"{{
  "inbound": {{
    "introspection": {{
      "endpoint": "https://as.test/introspect", "cluster": "as",
      "client_id": "rs", "client_secret": {{"env": "SECRET"}}
    }},
    "audience": "https://api.test"{more}
  }}
}}
"#
    )
}

pub const FINE: &str = "no errors, no warnings";

#[test]
fn a_document_in_json_is_checked_with_its_places() {
    finds("good.json", &document(""), &[FINE]);
    finds(
        "bad.json",
        &document(
            ",\n    \"rules\": [\n      {\"paths\": [\"/a\"]},\n      {\"scope\": \"\"}\n    ], \"relm\": 1",
        ),
        &[
            "10:8: error: inbound.rules[1].scope: must not be empty; omit the key if no scope is \
             required",
            "11:8: error: inbound.relm: unknown key; did you mean `realm`?",
            "2 errors, no warnings",
        ],
    );
    finds(
        "broken.json",
        "{\n  \"inbound\": {},\n}\n",
        &[
            "3:1: error: configuration: invalid JSON: trailing comma at line 3 column 1",
            "1 error, no warnings",
        ],
    );
    finds(
        "misspelt.json",
        "{\"inbuond\": {}}",
        &["1:2: error: inbuond: unknown key; did you mean `inbound`?", "1 error, no warnings"],
    );
    for (name, text) in [("empty.json", ""), ("braces.json", "{}")] {
        let (lines, status) = check(&file(name, text));
        assert!(lines[0].starts_with("1:1: error: configuration: "), "{lines:?}");
        assert_eq!(status, 1, "{name}");
    }
}

#[test]
fn a_document_in_yaml_is_checked_with_its_places() {
    let text = "\
# The document of a WasmPlugin.
inbound:
  introspection:
    endpoint: https://as.test/introspect
    client_id: rs
    client_secret: { env: SECRET }
  audience: https://api.test
  rules:
    - paths: [/a, b]
      access: pubic
  cache:
    max_ttl: 60
  realm: a
  realm: b
";
    finds(
        "document.yaml",
        text,
        &[
            "9:19: error: inbound.rules[0].paths[1]: must begin with a slash",
            "10:7: error: inbound.rules[0].access: expected \"token\", \"optional\", \"public\" or \"deny\"",
            "12:5: error: inbound.cache.max_ttl: expected a duration such as \"250ms\", \"5s\", \"1.5s\", \"1m30s\" or \"1h\", found a number",
            "14:3: warning: duplicate key `realm`; only the last one is used",
            "3 errors, 1 warning",
        ],
    );
    // What is there, but wrong, is not missing; of two, the last is the one that is wrong.
    finds(
        "wrong.yaml",
        "\
inbound:
  introspection: { endpoint: 'https://as.test/', client_id: rs, client_secret: { env: SECRET } }
  audience: a
  audience: 1
",
        &[
            "4:3: warning: duplicate key `audience`; only the last one is used",
            "4:3: error: inbound.audience: expected an audience, or a list of them, found a number",
            "1 error, 1 warning",
        ],
    );
    let (lines, status) = check(&file("broken.yaml", "inbound:\n  a: [1\n  b: 2\n"));
    assert!(lines[0].contains(": error: invalid YAML: "), "{lines:?}");
    assert_eq!(status, 1);
}

/// A bootstrap with the filter, its configuration and more.
pub fn bootstrap(configuration: &str, more: &str) -> String {
    let configuration = indented(configuration, 26);
    format!(
        "static_resources:
  listeners:
    - name: in
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                http_filters:
                  - name: oauth2
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        name: oauth2
                        vm_config:
                          code: {{ local: {{ filename: oauth2_filter.wasm }} }}
                          environment_variables: {{ host_env_keys: [SECRET] }}
                        configuration:
{configuration}  clusters:
    - name: as
{more}"
    )
}

#[test]
fn every_form_of_the_configuration_in_envoy_is_read_with_its_places() {
    let with_mistake = document(", \"realm\": 1");
    let block = indented(&with_mistake, 4);
    let one_line = with_mistake.replace('\n', "");
    let string = "\"@type\": type.googleapis.com/google.protobuf.StringValue\n";
    let said = "inbound.realm: expected a realm, found a number";
    let struct_value = "\"@type\": type.googleapis.com/google.protobuf.Struct\nvalue:\n  inbound:\n    introspection: {endpoint: \"https://as.test/\", cluster: as, client_id: rs, client_secret: {env: SECRET}}\n    audience: a\n    realm: 1\n";
    let base64 = Base64::encode_string(with_mistake.as_bytes());
    let first_line = format!("{{\n{:32}\"inbound\"", "");
    for (name, configuration, place) in [
        ("block.yaml", format!("{string}value: |\n{block}"), "\"realm\""),
        ("quoted.yaml", format!("{string}value: '{one_line}'\n"), "\"realm\""),
        ("struct.yaml", struct_value.to_owned(), "realm"),
        // Where lines are joined, or the text is encoded, all of it is the place.
        ("folded.yaml", format!("{string}value: >\n{block}"), &*first_line),
        (
            "bytes.yaml",
            format!("\"@type\": type.googleapis.com/google.protobuf.BytesValue\nvalue: {base64}\n"),
            &*base64,
        ),
    ] {
        let text = bootstrap(&configuration, "");
        let line = format!("{}: error: {said}", at(&text, place));
        finds(name, &text, &[&line, "1 error, no warnings"]);
    }
    let nothing = bootstrap("", "").replace("                        configuration:\n", "");
    let (lines, status) = check(&file("nothing.yaml", &nothing));
    assert!(lines[0].contains("error: configuration: missing; expected a JSON doc"), "{lines:?}");
    assert_eq!(status, 1);
    let empty = bootstrap("\"@type\": type.googleapis.com/google.protobuf.Struct\nvalue: {}", "");
    let (lines, _) = check(&file("empty.yaml", &empty));
    assert!(lines[0].contains("error: configuration: missing; expected a JSON doc"), "{lines:?}");
}

#[test]
fn the_filter_is_found_wherever_envoy_can_have_it() {
    let plugin = |name: &str| {
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "rootId": name,
                "vmConfig": {
                    "code": {"remote": {"httpUri": {"uri": "https://x.test/oauth2_filter.wasm"}}},
                    "environmentVariables": {"keyValues": {"SECRET": "s3cr3t"}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": document(", \"realm\": \"\""),
                },
            },
        })
    };
    let filter = |name: &str, config: Value| json!({"name": name, "typed_config": config});
    let manager = json!({
        "http_filters": [
            filter("plain", plugin("a")),
            filter("another", json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {"name": "another", "vm_config": {"code": {"local": {"filename": "b.wasm"}}}},
            })),
            filter("matched", json!({
                "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
                "extension_config": filter("inner", plugin("b")),
                "xds_matcher": {"on_no_match": {"action": filter("composite", json!({
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction",
                    "typed_config": filter("deep", plugin("c")),
                }))}},
            })),
            filter("typed", json!({
                "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
                "type_url": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "value": {"config": plugin("d")["config"]},
            })),
        ],
    });
    let bootstrap = json!({
        "static_resources": {
            "listeners": [{"name": "in", "filter_chains": [{"filters": [filter("hcm", manager)]}]}],
            "clusters": [{"name": "as"}, {"name": "up", "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "http_filters": [filter("upstream", plugin("e"))],
                },
            }}],
        },
    });
    let path = file("everywhere.json", &bootstrap.to_string());
    let ran = run(["check", "--format", "json", path.to_str().expect("text")]);
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(report["files"][0]["uses"], 5, "{report:#}");
    let findings = report["files"][0]["findings"].as_array().expect("findings");
    let mut within: Vec<_> =
        findings.iter().map(|it| it["within"].as_str().expect("text")).collect();
    within.sort_unstable();
    assert_eq!(
        within,
        [
            "cluster up, filter upstream",
            "listener in, filter matched",
            "listener in, filter matched",
            "listener in, filter plain",
            "listener in, filter typed",
        ]
    );
    for finding in findings {
        assert_eq!(finding["place"], "inbound.realm");
        assert_eq!(finding["level"], "error");
    }

    // By itself, as a file of extension configuration, and what is no filter of ours.
    let alone = json!({"resources": [filter("alone", plugin("f"))]});
    let (lines, status) = check(&file("discovered.json", &alone.to_string()));
    assert!(lines[0].contains("error: inbound.realm: "), "{lines:?}");
    assert_eq!(status, 1);
    let path = file("another.yaml", "static_resources:\n  listeners: []\n");
    let ran = run(["check", path.to_str().expect("text")]);
    assert!(ran.out.ends_with("another.yaml: no configuration of the filter\n"), "{}", ran.out);
    assert!(ran.err.contains("it is recognized by `oauth2_filter` or"), "{}", ran.err);
    assert_eq!(ran.status, 2, "{}", ran.err);
}

#[test]
fn one_value_stands_for_a_list_of_it_as_in_protobuf() {
    let text = "\"@type\": type.googleapis.com/google.protobuf.StringValue
value: '{\"outbound\": {\"clients\": {\"a\": {\"grant_type\": \"direct_token\", \"access_token\": {\"env\": \"SECRET\"}}}, \"rules\": [{\"hosts\": [\"a.test\"], \"client\": \"a\"}]}}'
";
    let text = bootstrap(text, "")
        .replace("    - name: in\n", "      name: in\n")
        .replace("host_env_keys: [SECRET]", "host_env_keys: SECRET");
    finds("one.yaml", &text, &[FINE]);
}

#[test]
fn a_document_that_a_slip_has_made_no_json_is_known_by_its_keys() {
    let text =
        "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: '{\"inbound\": {},}'\n";
    let text = bootstrap(text, "").replace("oauth2_filter.wasm", "filter.wasm");
    let (lines, status) = check(&file("slip.yaml", &text));
    assert!(lines[0].contains("error: configuration: invalid JSON: trailing comma"), "{lines:?}");
    assert_eq!(status, 1);
}

#[test]
fn a_variable_that_envoy_is_told_of_twice_is_a_mistake() {
    let text = "\"@type\": type.googleapis.com/google.protobuf.StringValue
value: '{\"outbound\": {\"clients\": {\"a\": {\"grant_type\": \"direct_token\", \"access_token\": {\"env\": \"SECRET\"}}}, \"rules\": [{\"hosts\": [\"a.test\"], \"client\": \"a\"}]}}'
";
    let text = bootstrap(text, "");
    for (variables, repeated) in [
        ("host_env_keys: [SECRET, OTHER]", false),
        ("host_env_keys: [SECRET, SECRET]", true),
        ("host_env_keys: [SECRET], key_values: { OTHER: a }", false),
        ("host_env_keys: [SECRET], key_values: { SECRET: s3cr3t }", true),
    ] {
        let text = text.replace("host_env_keys: [SECRET]", variables);
        let (lines, status) = check(&file("variables.yaml", &text));
        let said = lines[0].contains("error: environment_variables: duplicate name `SECRET`; ");
        assert_eq!((said, status), (repeated, i32::from(repeated)), "{variables}: {lines:?}");
    }
    for (value, is_text) in [("'12345'", true), ("12345", false), ("yes", false), ("~", false)] {
        let variables = format!("key_values: {{ SECRET: {value} }}");
        let text = text.replace("host_env_keys: [SECRET]", &variables);
        let (lines, status) = check(&file("variables.yaml", &text));
        let said = lines[0]
            .contains("error: environment_variables: the value of `SECRET` is not a string");
        assert_eq!((said, status), (!is_text, i32::from(!is_text)), "{variables}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("12345")), "{lines:?}");
    }
}

#[test]
fn what_envoy_itself_refuses_or_does_not_have_is_told() {
    let route = "static_resources:
  listeners:
    - filter_chains:
        - filters:
            - typed_config:
                route_config:
                  virtual_hosts:
                    - name: service
                      typed_per_filter_config:
                        oauth2:
                          \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                          config:
                            name: oauth2_filter
                            configuration:
                              \"@type\": type.googleapis.com/google.protobuf.StringValue
                              value: '{\"outbound\": {\"clients\": {\"a\": {\"grant_type\": \"direct_token\", \"access_token\": {\"env\": \"TOKEN\"}}}, \"rules\": [{\"hosts\": [\"a.test\"], \"client\": \"a\"}]}}'
";
    let (lines, _) = check(&file("route.yaml", route));
    assert!(
        lines[0].starts_with("9:23: error: Envoy does not support Wasm configuration for a route"),
        "{lines:?}"
    );
    let text = "\"@type\": type.googleapis.com/google.protobuf.Struct
value:
  inbound:
    introspection: { endpoint: https://as.test/, client_id: rs, client_secret: { env: OTHER } }
    audience: a
";
    let text = bootstrap(text, "").replace(
        "name: oauth2\n                        vm",
        "name: oauth2\n                        failure_policy: FAIL_OPEN\n                        \
         allow_on_headers_stop_iteration: true\n                        vm",
    );
    let lines = [
        (
            "failure_policy",
            "warning: FAIL_OPEN: after a crash, requests bypass the filter; use FAIL_RELOAD",
        ),
        (
            "allow_on",
            "warning: allow_on_headers_stop_iteration: Envoy buffers the body of a \
             request that waits for a token, and responds with 413 if it exceeds the buffer limit; \
             remove it",
        ),
        (
            "introspection",
            "warning: inbound.introspection: cluster `outbound|443||as.test` is not \
             defined in this file",
        ),
        (
            "env: OTHER",
            "error: inbound.introspection.client_secret.env: environment variable \
             `OTHER` is unset or empty; pass it to the VM with vm_config.environment_variables \
             (Istio: vmConfig.env, Envoy Gateway: env.hostKeys)",
        ),
    ]
    .map(|(place, said)| format!("{}: {said}", at(&text, place)));
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.push("1 error, 3 warnings");
    finds("envoy.yaml", &text, &lines);
}

#[test]
fn what_is_accepted_but_risky_is_warned_of() {
    let clients = r#"{
  "inbound": {
    "introspection": {
      "endpoint": "http://as.test/introspect", "client_id": "rs", "client_secret": "s3cr3t"
    },
    "rules": [
      {"paths": ["/orders/**"], "scope": "a"},
      {"paths": ["/orders/1"], "access": "public"}
    ]
  },
  "outbound": {
    "clients": {
      "one": {
        "grant_type": "password", "endpoint": "https://as.test/token", "client_id": "a",
        "client_secret": {"env": "SECRET"}, "username": {"env": "U"}, "password": {"env": "P"}
      },
      "two": {"grant_type": "direct_token", "access_token": {"env": "TOKEN"}}
    },
    "rules": [{"hosts": ["a.test"], "client": "one"}, {"hosts": ["A.test"], "client": null}]
  }
}"#;
    let expected = [
        "2:3: warning: inbound.audience: not set: tokens issued for other services are accepted \
         (RFC 9700 section 2.3); set the audience of this service",
        "4:7: warning: inbound.introspection.endpoint: plain http: tokens and client credentials \
         are sent unencrypted; use https",
        "4:67: warning: inbound.introspection.client_secret: secret in plain text; use {\"env\": \
         \"NAME\"} and pass the variable to the VM",
        "8:7: warning: inbound.rules[1]: never reached: inbound.rules[0] matches all of its \
         requests first",
        "14:9: warning: outbound.clients.one.grant_type: the password grant is deprecated (RFC \
         9700 section 2.4); use client_credentials if possible",
        "17:7: warning: outbound.clients.two: unused: no rule, `actor` or `introspection.client` \
         refers to it",
        "19:55: warning: outbound.rules[1]: never reached: outbound.rules[0] matches all of its \
         requests first",
        "no errors, 7 warnings",
    ];
    finds("risky.json", clients, &expected);
    let path = file("risky.json", clients);
    let path = path.to_str().expect("text");
    assert_eq!(run(["check", "--strict", path]).status, 1);
    let good = file("good.json", &document(""));
    assert_eq!(run(["check", "--strict", good.to_str().expect("text")]).status, 0);
    let said = run(["check", path]).out;
    assert!(!said.contains("s3cr3t"), "{said}");
}

#[test]
fn clients_with_one_name_in_statistics_are_warned_of() {
    let text = r#"{"outbound": {
  "clients": {
    "a.b": {"grant_type": "direct_token", "access_token": {"env": "A"}},
    "a_b": {"grant_type": "direct_token", "access_token": {"env": "B"}}
  },
  "rules": [{"hosts": ["a.test"], "client": "a.b"}, {"hosts": ["b.test"], "client": "a_b"}]
}}"#;
    let expected = [
        "4:5: warning: outbound.clients.a_b: has the name \"a_b\" in statistics, like client \
         \"a.b\"; rename one of them",
        "no errors, 1 warning",
    ];
    finds("alike.json", text, &expected);
}

#[test]
fn a_rule_that_head_no_longer_reaches_is_warned_of() {
    let advice = |rules: &str| {
        let text = document(&format!(r#", "rules": {rules}"#));
        let said = run(["check", file("head.json", &text).to_str().expect("text")]).out;
        let (_, found) = said.split_once("warning: ").unwrap_or_default();
        found.lines().next().unwrap_or_default().to_owned()
    };
    let get = r#"{"name": "read", "methods": ["GET"], "paths": ["/orders/**"]}"#;
    assert_eq!(
        advice(&format!(r#"[{get}, {{"methods": ["HEAD"], "paths": ["/orders/*"]}}]"#)),
        "inbound.rules[1]: never reached: inbound.rules[0] matches all of its requests first"
    );
    assert_eq!(
        advice(&format!(r#"[{get}, {{"methods": ["PUT", "HEAD"], "paths": ["/orders/*"]}}]"#)),
        "inbound.rules[1].methods: `HEAD` never reaches this rule: inbound.rules[0] matches it \
         first (`GET` includes `HEAD`)"
    );
    for reached in [
        r#"{"methods": ["PUT", "HEAD"], "paths": ["/**"]}"#,
        r#"{"methods": ["PUT"], "paths": ["/orders/*"]}"#,
        r#"{"paths": ["/orders/*"]}"#,
    ] {
        assert_eq!(advice(&format!("[{get}, {reached}]")), "", "{reached}");
    }
    assert_eq!(advice(&format!(r#"[{{"methods": ["HEAD"], "paths": ["/orders/*"]}}, {get}]"#)), "");
}

#[test]
fn two_spellings_of_a_header_and_rules_that_headers_cover_are_warned_of() {
    let advice = |one: &str, other: &str| {
        let rules = format!(r#", "rules": [{{"headers": {one}}}, {{"headers": {other}}}]"#);
        let said =
            run(["check", file("headers.json", &document(&rules)).to_str().expect("text")]).out;
        said.lines()
            .filter_map(|line| Some(line.split_once("warning: ")?.1.to_owned()))
            .collect::<Vec<_>>()
    };
    let spelled = |place: &str, other: &str| {
        format!(
            "inbound.rules{place}: another rule tests `{other}`: a request with either gets 400 \
             where the other is tested"
        )
    };
    assert_eq!(
        advice(r#"{"x-a": "b"}"#, r#"{"x_a": "b"}"#),
        [spelled("[0].headers.x-a", "x_a"), spelled("[1].headers.x_a", "x-a")]
    );
    let covered =
        "inbound.rules[1]: never reached: inbound.rules[0] matches all of its requests first";
    assert_eq!(advice(r#"{"x-a": ["b", "c"]}"#, r#"{"x-a": "c", "x-d": "e"}"#), [covered]);
    assert_eq!(advice(r#"{"x-a": "c", "x-d": "e"}"#, r#"{"x-a": "c"}"#), [""; 0]);
}

#[test]
fn a_rule_for_requests_that_no_resource_covers_is_warned_of() {
    let warned = |rule: &Value| {
        let mut found: Value = serde_json::from_str(&document("")).expect("a document");
        found["inbound"]["resource_metadata"] = json!([
            {"resource": "https://api.test/a"}, {"resource": "https://mcp.test/b/c"}
        ]);
        found["inbound"]["rules"] = json!([rule]);
        let path = file("resources.json", &found.to_string());
        let said = run(["check", path.to_str().expect("text")]).out;
        let line = "inbound.rules[0]: no resource of `resource_metadata` covers its requests: they \
                    get 403";
        said.contains(line)
    };
    for rule in [
        json!({}),
        json!({"paths": ["/a"]}),
        json!({"paths": ["/x", "/*/b"]}),
        json!({"paths": ["/b/**"]}),
        json!({"paths": ["/b/c/d"], "hosts": ["*.test"]}),
        json!({"paths": ["/x"], "access": "public"}),
        json!({"paths": ["/x"], "access": "deny"}),
    ] {
        assert!(!warned(&rule), "{rule}");
    }
    for rule in [
        json!({"paths": ["/ab", "/b", "/b/x/**", "/"]}),
        json!({"paths": ["/a"], "hosts": ["mcp.test"]}),
        json!({"hosts": ["other.test"], "access": "optional"}),
    ] {
        assert!(warned(&rule), "{rule}");
    }
}

#[test]
fn what_some_authorization_servers_make_unsafe_is_warned_of() {
    let advice = |document: Value| {
        let path = file("server.json", &document.to_string());
        run(["check", path.to_str().expect("text")]).out
    };
    let spring = |introspection: Value, rule: Value| {
        let mut server = json!({
            "endpoint": "https://as.test/oauth2/introspect", "client_id": "orders",
            "client_secret": {"env": "SECRET"},
        });
        for (key, value) in introspection.as_object().expect("members") {
            server[key] = value.clone();
        }
        advice(json!({"inbound": {
            "introspection": server, "audience": ["billing", "orders"], "rules": [rule],
        }}))
    };
    let text = "introspection.token_type: not \"required\": Spring Authorization Server";
    let all = || json!({"paths": ["/**"]});
    assert!(spring(json!({}), all()).contains(text));
    assert!(spring(json!({"token_type": "optional"}), all()).contains(text));
    let tenant = "https://as.test/tenant/oauth2/introspect?a=b";
    assert!(spring(json!({"endpoint": tenant}), all()).contains(text));
    assert!(spring(json!({}), json!({"access": "optional"})).contains(text));
    for (introspection, rule) in [
        (json!({"token_type": "required"}), all()),
        (json!({"client_id": "gateway"}), all()),
        (json!({"endpoint": "https://as.test/introspect"}), all()),
        (json!({}), json!({"scope": "a"})),
        (json!({}), json!({"audience": "billing"})),
        (json!({}), json!({"access": "public"})),
    ] {
        let said = spring(introspection.clone(), rule.clone());
        assert!(said.contains("no errors, no warnings"), "{introspection} {rule}: {said}");
    }
    let server = |path: &str| {
        json!({
            "endpoint": format!("https://as.test{path}"), "client_id": "orders",
            "client_secret": {"env": "SECRET"}, "when": {"issuer": path},
        })
    };
    let several = advice(json!({"inbound": {
        "introspection": [server("/a"), server("/oauth2/introspect")], "audience": "orders",
    }}));
    assert!(several.contains("inbound.introspection[1].token_type: not"), "{several}");

    let assertion = |scope: &str| {
        advice(json!({"outbound": {
            "clients": {"a": {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": {"env": "ASSERTION"}, "endpoint": "https://as.test/token",
                "client_id": "a", "client_secret": {"env": "SECRET"}, "scope": scope,
            }},
            "rules": [{"hosts": ["a.test"], "client": "a"}],
        }}))
    };
    for (scope, is_warned) in [("a", true), ("offline_a", true), ("a offline_access", false)] {
        let said = assertion(scope);
        let text = "outbound.clients.a.assertion: sent for every token";
        assert_eq!(said.contains(text), is_warned, "{scope}: {said}");
    }
}
