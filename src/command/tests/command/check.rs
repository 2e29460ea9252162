//! `check`: what it finds in which files, and how it tells it.

use std::ffi::OsStr;
use std::path::Path;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::{corpus, file, indented, run, run_with};

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

pub const FINE: &str = "no mistakes, no warnings";

#[test]
fn a_document_in_json_is_checked_with_its_places() {
    finds("good.json", &document(""), &[FINE]);
    finds(
        "bad.json",
        &document(
            ",\n    \"rules\": [\n      {\"paths\": [\"/a\"]},\n      {\"scope\": \"\"}\n    ], \"relm\": 1",
        ),
        &[
            "10:8: error: inbound.rules[1].scope: names no scope; leave the key out if none is needed",
            "11:8: error: inbound.relm: unknown key; did you mean `realm`?",
            "2 mistakes, no warnings",
        ],
    );
    finds(
        "broken.json",
        "{\n  \"inbound\": {},\n}\n",
        &[
            "3:1: error: configuration: not JSON: trailing comma at line 3 column 1",
            "1 mistake, no warnings",
        ],
    );
    finds(
        "misspelt.json",
        "{\"inbuond\": {}}",
        &["1:2: error: inbuond: unknown key; did you mean `inbound`?", "1 mistake, no warnings"],
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
            "9:19: error: inbound.rules[0].paths[1]: a path pattern begins with a slash",
            "10:7: error: inbound.rules[0].access: expected \"token\", \"optional\", \"public\" or \"deny\"",
            "12:5: error: inbound.cache.max_ttl: expected a duration such as \"250ms\", \"5s\", \"1.5s\", \"1m30s\" or \"1h\", found a number",
            "14:3: warning: `realm` stands twice: only the last counts",
            "3 mistakes, 1 warning",
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
            "4:3: warning: `audience` stands twice: only the last counts",
            "4:3: error: inbound.audience: expected an audience that tokens must be for, or a list of them, found a number",
            "1 mistake, 1 warning",
        ],
    );
    let (lines, status) = check(&file("broken.yaml", "inbound:\n  a: [1\n  b: 2\n"));
    assert!(lines[0].contains(": error: not YAML: "), "{lines:?}");
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
    let said = "inbound.realm: expected a name for the protected space, found a number";
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
        finds(name, &text, &[&line, "1 mistake, no warnings"]);
    }
    let nothing = bootstrap("", "").replace("                        configuration:\n", "");
    let (lines, status) = check(&file("nothing.yaml", &nothing));
    assert!(lines[0].contains("error: configuration: there is none; give a JSON doc"), "{lines:?}");
    assert_eq!(status, 1);
    let empty = bootstrap("\"@type\": type.googleapis.com/google.protobuf.Struct\nvalue: {}", "");
    let (lines, _) = check(&file("empty.yaml", &empty));
    assert!(lines[0].contains("error: configuration: there is none; give a JSON doc"), "{lines:?}");
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
    assert!(ran.out.ends_with("another.yaml: no use of the filter\n"), "{}", ran.out);
    assert!(ran.err.contains("it is known by `oauth2_filter` or"), "{}", ran.err);
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
    assert!(lines[0].contains("error: configuration: not JSON: trailing comma"), "{lines:?}");
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
        let said = lines[0].contains("error: environment_variables: `SECRET` stands twice: ");
        assert_eq!((said, status), (repeated, i32::from(repeated)), "{variables}: {lines:?}");
    }
    for (value, is_text) in [("'12345'", true), ("12345", false), ("yes", false), ("~", false)] {
        let variables = format!("key_values: {{ SECRET: {value} }}");
        let text = text.replace("host_env_keys: [SECRET]", &variables);
        let (lines, status) = check(&file("variables.yaml", &text));
        let said = lines[0].contains("error: environment_variables: `SECRET` is no text to Envoy");
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
        lines[0]
            .starts_with("9:23: error: Envoy takes no Wasm configuration for a route or virtual"),
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
        ("failure_policy", "warning: FAIL_OPEN: after a crash, requests go by the filter unchecked; use FAIL_RELOAD"),
        ("allow_on", "warning: allow_on_headers_stop_iteration: Envoy keeps the body of a request that waits for a token, and answers 413 where that is larger than its buffer; leave it out"),
        ("introspection", "warning: inbound.introspection: no cluster `outbound|443||as.test` in this file"),
        ("env: OTHER", "error: inbound.introspection.client_secret.env: the environment variable `OTHER` is unset or empty; give it to the VM with vm_config.environment_variables (Istio: vmConfig.env)"),
    ]
    .map(|(place, said)| format!("{}: {said}", at(&text, place)));
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.push("1 mistake, 3 warnings");
    finds("envoy.yaml", &text, &lines);
}

#[test]
fn a_plugin_that_envoy_lets_requests_by_is_warned_of() {
    let text = "\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: '{}'\n";
    let text = bootstrap(text, "");
    let open = "warning: FAIL_OPEN: after a crash, requests go by";
    let restricted = "warning: capability_restriction_config: Envoy leaves out what is not";
    for (line, said) in [
        ("failure_policy: FAIL_OPEN", open),
        ("failure_policy: 3", open),
        ("failurePolicy: 3", open),
        ("fail_open: true", open),
        ("failure_policy: 1", ""),
        ("failure_policy: FAIL_CLOSED", ""),
        ("fail_open: false", ""),
        ("capability_restriction_config: { allowed_capabilities: { proxy_log: {} } }", restricted),
        ("capability_restriction_config: { allowed_capabilities: {} }", ""),
        ("capability_restriction_config: {}", ""),
    ] {
        let text =
            text.replace("vm_config:", &format!("{line}\n                        vm_config:"));
        let (lines, _) = check(&file("open.yaml", &text));
        let warnings: Vec<_> = lines.iter().filter(|line| line.contains("warning: ")).collect();
        match said {
            "" => assert!(warnings.is_empty(), "{line}: {warnings:?}"),
            _ => {
                assert!(warnings.iter().any(|it| it.contains(said)), "{line}: {lines:?}");
            }
        }
    }
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
        "2:3: warning: inbound.audience: not set: any active token of the authorization server passes, whoever it was issued for (RFC 9700 section 2.3)",
        "4:7: warning: inbound.introspection.endpoint: plain http: tokens and client credentials travel in clear text",
        "4:67: warning: inbound.introspection.client_secret: a secret in clear text: whoever reads this file has it; give {\"env\": \"NAME\"}, and the variable to the VM",
        "8:7: warning: inbound.rules[1]: never decides: inbound.rules[0] stands before it, for all of its requests",
        "14:9: warning: outbound.clients.one.grant_type: the password grant is legacy and must not be used where there is another (RFC 9700 section 2.4)",
        "17:7: warning: outbound.clients.two: not used: no rule names it, nor an `actor`, nor `introspection.client`",
        "19:55: warning: outbound.rules[1]: never decides: outbound.rules[0] stands before it, for all of its requests",
        "no mistakes, 7 warnings",
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
fn manifests_for_istio_are_checked_one_by_one() {
    let text = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: as }
spec: { hosts: [as.test] }
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: { name: guard, namespace: shop }
spec:
  url: oci://registry.test/oauth2-filter:0.1.0
  match: [{ mode: SERVER }]
  failStrategy: FAIL_OPEN
  vmConfig:
    env:
      - { name: SECRET, valueFrom: HOST }
      - { name: GIVEN, value: x }
  pluginConfig:
    inbound:
      introspection:
        - endpoint: https://as.test/
          client_id: rs
          client_secret: { env: SECRET }
          when: { hosts: [a.test] }
        - endpoint: https://as.test/
          client_id: rs
          client_secret: { env: OTHER }
      audience: a
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: call }
spec:
  configPatches:
    - applyTo: CLUSTER
      patch:
        operation: MERGE
        value:
          typed_extension_protocol_options:
            envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
              http_filters:
                - name: oauth2
                  typed_config:
                    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                    config:
                      root_id: oauth2
                      configuration:
                        \"@type\": type.googleapis.com/google.protobuf.StringValue
                        value: |
                          {\"outbound\": {
                            \"clients\": {}
                          }}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: { name: empty }
spec:
  url: oci://registry.test/oauth2-filter:0.1.0
";
    finds(
        "manifests.yaml",
        text,
        &[
            "12:3: warning: FAIL_OPEN: after a crash, requests go by the filter unchecked; use FAIL_RELOAD [WasmPlugin shop/guard]",
            "26:28: error: inbound.introspection[1].client_secret.env: the environment variable `OTHER` is unset or empty; give it to the VM with vm_config.environment_variables (Istio: vmConfig.env) [WasmPlugin shop/guard]",
            "50:29: error: outbound.clients: names no client [EnvoyFilter call, filter oauth2]",
            "57:3: warning: no mode: a sidecar runs the filter both on what its workload gets and on what it calls; say `match: [{mode: SERVER}]` for one of the two, or `[{mode: CLIENT}]` for the other and for gateways [WasmPlugin empty]",
            "57:3: error: configuration: there is none; give a JSON document with `inbound`, `outbound` or both (Envoy: `configuration` as google.protobuf.StringValue or Struct; Istio: pluginConfig) [WasmPlugin empty]",
            "3 uses of the filter, 3 mistakes, 2 warnings",
        ],
    );
}

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
    assert!(
        unset.out.contains("the environment variable `SECRET` is unset or empty"),
        "{}",
        unset.out
    );
    assert_eq!(unset.status, 1);
    let with = |key: &str| {
        let ran = run_with(["check", "--env", signing], "", &[("SECRET", key)]);
        assert!(!ran.out.contains("PRIVATE") && !ran.err.contains("PRIVATE"), "{}", ran.out);
        (ran.status, ran.out)
    };
    assert_eq!(with(include_str!("../../../../tests/envoy/keys/p256-pkcs8.pem")).0, 0);
    let (status, out) = with(include_str!("../../../../tests/envoy/keys/rsa-pkcs8.pem"));
    assert!(status == 1 && out.contains("alg: the key is one for RS256"), "{out}");
    let (status, out) = with(include_str!("../../../../tests/envoy/keys/p384-pkcs8.pem"));
    assert!(status == 1 && out.contains("private_key: the host does not take this key"), "{out}");
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
    for document in corpus::good() {
        let mut places = Vec::new();
        texts(&document, &mut String::new(), &mut places);
        // Names of clusters and of variables are told: that is what they are for.
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
        let uses = format!("{} uses of the filter, ", documents.len());
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
    let realm =
        "7:37: error: inbound.realm: expected a name for the protected space, found a number";
    for (name, text, line) in [
        ("crlf.json", &*crlf, realm),
        ("bom.json", &bom, realm),
        ("null.json", "null", "1:1: error: configuration: expected an object with inbound"),
        ("word.txt", "hello", "1:1: error: configuration: expected an object with inbound"),
        (
            "text.json",
            "inbound: {}",
            "1:1: error: configuration: not JSON: expected value at line 1",
        ),
        (
            "deep.json",
            &"[".repeat(100_000),
            "1:128: error: configuration: not JSON: recursion limit",
        ),
        ("deep.yaml", &"[".repeat(100_000), "1:256: error: not YAML: recursion limit exceeded"),
        ("nested.yaml", &deep, "257:257: error: not YAML: values stand too deep in each other"),
        ("bomb.yaml", &bomb, "7:40: error: not YAML: the aliases stand for too much"),
        ("cycle.yaml", "a: &a [*a]\n", "1:8: error: not YAML: this alias stands for nothing"),
        ("tab.yaml", "inbound:\n\taudience: a\n", "2:2: error: not YAML: tabs disallowed"),
        ("nul.yaml", "inbound: a\0b\n", "1:11: error: not YAML: found unprintable character"),
        ("flow.yaml", "{inbound: {relm: a}}", "1:12: error: inbound.relm: unknown key; did you"),
        ("flow.json", "{inbound: {}}", "1:2: error: configuration: not JSON: key must be a string"),
        (
            "long.yaml",
            &long,
            "2002:7: warning: inbound.rules[1999]: never decides: inbound.rules[0]",
        ),
        (
            "merge.yaml",
            "x: &x { scope: '' }\ninbound:\n  <<: *x\n",
            "1:9: error: inbound.scope: names no scope",
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
    for path in [&*binary, Path::new("src"), Path::new("/dev/zero")] {
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
        "2 uses of the filter, 3 mistakes, 1 warning",
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
    assert!(said.starts_with("19:34: error: a google.protobuf.StringValue has text: wr"), "{said}");
    assert_eq!(status, 1);
    let (said, status) = of_type("BytesValue", "'{}'");
    assert!(said.starts_with("19:34: error: a google.protobuf.BytesValue has Base64\n"), "{said}");
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
        said.contains("warning: the configuration is of a type that the filter does"),
        "{said}"
    );
    assert_eq!(status, 1);
}

#[test]
fn a_report_can_be_read_by_programs_and_code_reviews() {
    let input = document(", \"realm\": \"\"");
    let ran = run_with(["check", "--format", "json", "-"], &input, &[]);
    let text = "expected a name for the protected space, found an empty string";
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
