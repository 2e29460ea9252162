//! `check` and `explain`: JWTs that the filter verifies itself.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::check::{FINE, check};
use crate::documents::{entry, entry_without_calls, jwk, jwt, jwt_and_introspection};
use crate::paths::listener;
use crate::{http_filter, indented, own_file, run_with};

/// The issuer of the entries.
const ISSUER: &str = "https://login.test/tenant";

/// What the command explains of a request with a document, in this order: the lines before the
/// request that is forwarded, or the response.
fn explain_with(document: &Value, claims: Option<&Value>, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["explain", "-", "--url", "https://a.test/orders"];
    let path = claims.map(|claims| own_file("json", &claims.to_string()));
    if let Some(path) = &path {
        all.extend(["--claims", path.to_str().expect("text")]);
    }
    all.extend(arguments);
    let ran = run_with(all, &document.to_string(), &[]);
    assert_eq!((ran.err.as_str(), ran.status), ("", 0), "{}", ran.out);
    let told = ran.out.split("\n\nThe ").next().expect("lines");
    told.lines().map(str::to_owned).collect()
}

fn explain(document: &Value, arguments: &[&str]) -> Vec<String> {
    explain_with(document, None, arguments)
}

/// The value of a line with this label.
fn value<'l>(lines: &'l [String], label: &str) -> &'l str {
    let mut values = lines.iter().filter_map(|line| line.strip_prefix(&format!("{label:<10}")));
    values.next().unwrap_or_else(|| panic!("no {label}: {lines:#?}"))
}

/// The reason for which a request is denied, or the decision.
fn outcome(lines: &[String]) -> &str {
    match value(lines, "decision") {
        "denied" => value(lines, "details"),
        decision => decision,
    }
}

#[test]
fn the_entry_that_verifies_a_token_is_told_with_all_that_it_requires() {
    let mut document = jwt(json!([
        entry(json!({"issuer": "https://other.test", "jwks_uri": null})),
        entry(json!({
            "audience": ["orders", "shop"], "claims": {"azp": ["a", "b"], "roles.c": {"not": "x"}},
            "algorithms": ["ES256", "RS512"], "typ": ["at+jwt", "application/JWT"],
            "scope_claim": "scp",
        })),
    ]));
    document["inbound"]["rules"] = json!([{"scope": "read", "max_ttl": "10s"}]);
    let claims = json!({"iss": ISSUER, "aud": "shop", "azp": "b", "roles.c": "d", "scp": "read"});
    let told = explain_with(&document, Some(&claims), &[]);
    assert_eq!(
        told,
        [
            "request   GET /orders for a.test, with a token",
            "rule      inbound.rules[0]",
            "access    token",
            "requires  scope: read",
            "requires  a verification less than 10s old",
            "jwt       of https://login.test/tenant",
            &format!("claims    {claims}, exp in 5 minutes"),
            "requires  typ: at+jwt, or jwt",
            "requires  alg: ES256, or RS512",
            "requires  audience: orders, or shop",
            "requires  claim azp: \"a\" or \"b\"",
            "requires  claim roles.c: present, and not \"x\"",
            "requires  claim exp: later than now",
            "signature assumed to be valid",
            "call      GET https://login.test/keys (cluster login)",
            "response  keys",
            "decision  allowed",
        ]
    );
    // Without claims, it meets what the entry requires, and the rule.
    document["inbound"]["rules"][0]["audience"] = json!("other");
    document["inbound"]["rules"][0]["issuer"] = json!(ISSUER);
    let told = explain(&document, &["--scope", "read"]);
    let claims: Value = serde_json::from_str(
        value(&told, "claims").strip_suffix(", exp in 5 minutes").expect("no exp of its own"),
    )
    .expect("JSON");
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "aud": ["other", "orders"], "azp": "a", "roles.c": "aa", "scp": "read",
        })
    );
    assert_eq!(outcome(&told), "allowed");
    // With no issuer, it is a token of the first entry, if none is introspected.
    document["inbound"]["rules"] = json!([{}]);
    let told = explain(&document, &[]);
    assert_eq!((value(&told, "jwt"), outcome(&told)), ("of https://other.test", "allowed"));
    let calls: Vec<_> = told.iter().filter(|line| line.starts_with("call ")).collect();
    assert_eq!(
        calls,
        [
            "call      GET https://other.test/.well-known/oauth-authorization-server (cluster login)",
            "call      GET https://other.test/keys (cluster login)",
        ]
    );
    assert_eq!(value(&told, "response"), "jwks_uri: https://other.test/keys");
}

#[test]
fn a_token_that_would_be_rejected_is_rejected() {
    let document = jwt(entry(json!({"claims": {"azp": "a"}})));
    let good = json!({"iss": ISSUER, "aud": "api://orders", "azp": "a"});
    let with = |more: Value| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        explain_with(&document, Some(&claims), &[])
    };
    assert_eq!(outcome(&with(json!({}))), "allowed");
    for (more, details) in [
        (json!({"aud": "other"}), "oauth2_wrong_audience"),
        (json!({"aud": null}), "oauth2_wrong_audience"),
        (json!({"azp": "b"}), "oauth2_claim_not_met"),
        (json!({"exp": 1}), "oauth2_expired"),
        (json!({"exp": null}), "oauth2_malformed_token"),
        (json!({"nbf": 99_999_999_999_u64}), "oauth2_not_yet_valid"),
        (json!({"active": false}), "oauth2_inactive"),
        (json!({"iss": "https://other.test"}), "oauth2_no_server"),
        (json!({"iss": null}), "oauth2_no_server"),
    ] {
        let told = with(more.clone());
        assert_eq!(outcome(&told), details, "{more}");
        // What is rejected for what it says needs no key.
        let is_signed = ["oauth2_not_yet_valid", "oauth2_claim_not_met"].contains(&details);
        assert_eq!(told.iter().any(|line| line.starts_with("call ")), is_signed, "{more}");
        let is_of_entry = details != "oauth2_no_server";
        assert_eq!(told.iter().any(|line| line.starts_with("jwt ")), is_of_entry, "{more}");
    }
    // A given end is not replaced.
    let told = with(json!({"exp": 99_999_999_999_u64}));
    assert_eq!(outcome(&told), "allowed");
    assert!(!value(&told, "claims").contains("5 minutes"), "{told:?}");
}

#[test]
fn a_jwt_in_a_header_is_explained_without_its_signature() {
    let encode = |part: &Value| Base64UrlUnpadded::encode_string(part.to_string().as_bytes());
    let claims = json!({"iss": ISSUER, "aud": "api://orders", "exp": 99_999_999_999_u64});
    let bearer = |header: &Value, claims: &Value, signature: usize| {
        let signature = Base64UrlUnpadded::encode_string(&vec![7; signature]);
        format!("authorization: Bearer {}.{}.{signature}", encode(header), encode(claims))
    };
    let document = jwt(entry(json!({})));
    let told = |header: &Value, claims: &Value, signature: usize| {
        explain(&document, &["--header", &bearer(header, claims, signature)])
    };
    for (alg, size) in
        [("RS256", 256), ("RS384", 384), ("RS512", 512), ("ES256", 64), ("ES384", 96)]
    {
        let header = json!({"alg": alg, "kid": "any", "typ": "at+jwt"});
        let told = told(&header, &claims, size);
        assert_eq!(outcome(&told), "allowed", "{alg}");
        assert_eq!(value(&told, "signature"), "assumed to be valid");
        // What it says may be secret.
        assert!(!told.iter().any(|line| line.starts_with("claims ")), "{told:?}");
    }
    let at = |more: Value| {
        let mut header = json!({"alg": "ES256", "typ": "at+jwt"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    let other = json!({"iss": ISSUER, "aud": "other", "exp": 99_999_999_999_u64});
    for (header, claims, size, details) in [
        (at(json!({"typ": "JWT"})), &claims, 64, "oauth2_not_an_access_token"),
        (at(json!({"alg": "none"})), &claims, 64, "oauth2_bad_signature"),
        (at(json!({"alg": "HS256"})), &claims, 64, "oauth2_bad_signature"),
        (at(json!({"alg": "EdDSA"})), &claims, 64, "oauth2_bad_signature"),
        (at(json!({"crit": ["a"]})), &claims, 64, "oauth2_malformed_token"),
        (at(json!({})), &claims, 63, "oauth2_bad_signature"),
        (at(json!({})), &other, 64, "oauth2_wrong_audience"),
    ] {
        assert_eq!(outcome(&told(&header, claims, size)), details, "{header}");
    }
    // Keys in the document are those that there are.
    let mut key = jwk();
    key["kid"] = json!("a");
    let fixed = jwt(entry_without_calls(json!({"jwks": {"keys": [key]}})));
    for (id, details) in [("a", "allowed"), ("b", "oauth2_bad_signature")] {
        let header = bearer(&at(json!({ "kid": id })), &claims, 64);
        assert_eq!(outcome(&explain(&fixed, &["--header", &header])), details, "{id}");
    }
    let told = explain(&fixed, &[]);
    assert_eq!(outcome(&told), "allowed");
    assert!(!told.iter().any(|line| line.starts_with("call ")), "{told:?}");
}

#[test]
fn who_verifies_a_token_is_told() {
    let claims = json!({"iss": ISSUER, "aud": "api://orders", "n": 1.5, "l": [null, {"a": true}]});
    let by_host = jwt(entry_without_calls(json!({"verified_by": "envoy.filters.http.jwt_authn"})));
    let told = explain_with(&by_host, Some(&claims), &[]);
    let signature = "assumed to be verified by envoy.filters.http.jwt_authn";
    assert_eq!((value(&told, "signature"), outcome(&told)), (signature, "allowed"));
    assert!(!told.iter().any(|line| line.starts_with("call ")), "{told:?}");

    let both = jwt_and_introspection(entry(json!({"introspect": true})), json!({"cluster": "as"}));
    let told = explain_with(&both, Some(&claims), &[]);
    assert!(told.contains(&"requires  introspection, too".to_owned()), "{told:?}");
    let calls: Vec<_> = told.iter().filter(|line| line.starts_with("call ")).collect();
    let expected = [
        "call      GET https://login.test/keys (cluster login)",
        "call      POST https://as.test/introspect (cluster as)",
    ];
    assert_eq!(calls, expected);
    assert_eq!(outcome(&told), "allowed");

    // Other tokens are introspected.
    let either = jwt_and_introspection(entry(json!({})), json!({"cluster": "as"}));
    let others = json!({"iss": "https://other.test", "aud": "api://orders"});
    for (claims, has_jwt) in [(Some(&claims), true), (Some(&others), false), (None, false)] {
        let told = explain_with(&either, claims, &[]);
        assert_eq!(told.iter().any(|line| line.starts_with("jwt ")), has_jwt, "{told:?}");
        assert_eq!(value(&told, "call").starts_with("POST "), !has_jwt, "{told:?}");
        assert_eq!(outcome(&told), "allowed");
    }
    // Where no token counts, nothing is said of it.
    let mut public = jwt(entry(json!({})));
    public["inbound"]["rules"] = json!([{"access": "public"}]);
    let told = explain_with(&public, Some(&claims), &[]);
    assert!(!told.iter().any(|line| line.starts_with("jwt ")), "{told:?}");
}

#[test]
fn algorithms_of_the_dynamic_module_are_explained_for_it() {
    let document = jwt(entry(json!({"algorithms": ["EdDSA", "PS256"]})));
    assert_eq!(outcome(&explain(&document, &["--host", "native"])), "allowed");
    let ran = run_with(["explain", "-", "--url", "https://a.test/"], &document.to_string(), &[]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("inbound.jwt.algorithms[0]: only in the dynamic module"),
        "{}",
        ran.out
    );
}

#[test]
fn a_document_is_checked_with_what_is_weak() {
    let found = |document: &Value| {
        let (lines, _) = check(&own_file("json", &document.to_string()));
        lines
    };
    assert_eq!(found(&jwt(entry(json!({})))), [FINE]);
    for (more, text) in [
        (json!({"typ": ["JWT"], "audience": "orders"}), "warning: inbound.jwt.typ: \"JWT\" is the"),
        (json!({"jwks_uri": "http://login.test/"}), "warning: inbound.jwt.jwks_uri: plain http"),
        (json!({"refresh_interval": "2s"}), "warning: inbound.jwt.refresh_interval: keys are"),
        (json!({"stale_if_error": "8000h"}), "warning: inbound.jwt.stale_if_error: a key that"),
        (json!({"issuer": "a", "jwks_uri": null}), "error: inbound.jwt.jwks_uri: required"),
    ] {
        let lines = found(&jwt(entry(more.clone())));
        assert_eq!(lines.len(), 2, "{more}: {lines:?}");
        assert!(lines[0].contains(text), "{more}: {lines:?}");
    }
}

/// Manifests of a platform with this document.
fn manifest(platform: &str, document: &Value) -> String {
    let document = indented(&document.to_string(), 4);
    match platform {
        "istio" => format!(
            "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{ name: oauth2, namespace: shop }}
spec:
  url: oci://registry.test/oauth2-filter:1
  match: [{{ mode: SERVER }}]
  pluginConfig:
{document}"
        ),
        _ => format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {{ name: oauth2, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: Gateway, name: shop }}]
  wasm:
  - name: oauth2-filter
    config:
  {document}"
        ),
    }
}

#[test]
fn the_cluster_of_keys_must_be_there() {
    let fetched = entry(json!({"cluster": "nowhere"}));
    let text = listener(NORMALIZED, &wasm(&jwt(json!([fetched]))));
    let bootstrap =
        text.replacen("resources:\n", "static_resources:\n  clusters: []\n  listeners:\n", 1);
    let (text, known) = (&bootstrap, bootstrap.replace("[]", "[{ name: nowhere }]"));
    let (lines, _) = check(&own_file("yaml", text));
    let expected = "warning: inbound.jwt[0]: cluster `nowhere` is not defined in this file";
    assert!(lines.iter().any(|line| line.contains(expected)), "{lines:?}");
    assert_eq!(check(&own_file("yaml", &known)).0, [FINE]);
    // A key server outside of Istio's mesh has no cluster of Istio's.
    let istio = jwt(entry(json!({"cluster": null})));
    let (lines, _) = check(&own_file("yaml", &manifest("gateway", &istio)));
    let expected = "warning: inbound.jwt: no cluster `outbound|443||login.test`: only Istio has";
    assert!(lines.iter().any(|line| line.contains(expected)), "{lines:?}");
    let (lines, _) = check(&own_file("yaml", &manifest("istio", &istio)));
    assert_eq!(lines, [FINE]);
}

/// What a listener needs besides filters, so that nothing else is wrong with it.
const NORMALIZED: &str = "normalize_path: true
merge_slashes: true
path_with_escaped_slashes_action: REJECT_REQUEST
";

/// The filter with this document.
fn wasm(document: &Value) -> String {
    format!(
        "\
- name: oauth2
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      name: oauth2_filter
      configuration:
        \"@type\": type.googleapis.com/google.protobuf.StringValue
        value: '{document}'
"
    )
}

/// A `jwt_authn` that verifies all tokens of the issuer, and says so.
const PROVIDER: &str = "\
providers:
  login:
    issuer: https://login.test/tenant
    forward: true
    payload_in_metadata: payload
    header_in_metadata: header
rules:
- match: { prefix: / }
  requires: { provider_name: login }
";

/// The filter `jwt_authn` with these settings.
fn jwt_authn(settings: &str) -> String {
    http_filter("authn", "jwt_authn.v3.JwtAuthentication", settings)
}

/// What is warned of in a listener with these filters, and more settings of its manager.
fn warnings(manager: &str, filters: &str) -> Vec<String> {
    let text = listener(&format!("{NORMALIZED}{manager}"), filters);
    let (lines, status) = check(&own_file("yaml", &text));
    assert_eq!(status, 0, "{lines:?}");
    lines.into_iter().filter(|line| line.contains(": warning: ")).collect()
}

/// A document whose tokens `jwt_authn` verifies.
fn verified_by_host() -> Value {
    jwt(entry_without_calls(json!({"verified_by": "envoy.filters.http.jwt_authn"})))
}

#[test]
fn the_filter_that_verifies_tokens_is_before_ours_and_says_what_it_has_verified() {
    let ours = wasm(&verified_by_host());
    assert_eq!(warnings("", &(jwt_authn(PROVIDER) + &ours)), Vec::<String>::new());
    let any = PROVIDER.replace("    issuer: https://login.test/tenant\n", "");
    let camel = PROVIDER.replace("payload_in_metadata", "payloadInMetadata");
    for settings in [any, camel] {
        assert_eq!(warnings("", &(jwt_authn(&settings) + &ours)), Vec::<String>::new());
    }
    let missing = "`jwt_authn` is not before this filter";
    for filters in [ours.clone(), format!("{ours}{}", jwt_authn(PROVIDER))] {
        let found = warnings("", &filters);
        assert!(found.len() == 1 && found[0].contains(missing), "{found:?}");
    }
    let other_provider = "providers:\n  other: { issuer: o, failed_status_in_metadata: f }\n";
    let status = "    failed_status_in_metadata: status\n";
    let replaced = |from: &str, to: &str| {
        assert!(PROVIDER.contains(from), "{from}");
        PROVIDER.replace(from, to)
    };
    for (settings, part) in [
        (replaced("    forward: true\n", ""), "requires `forward: true`"),
        (replaced("forward: true", "forward: false"), "requires `forward: true`"),
        (replaced("    payload_in_metadata: payload\n", ""), "requires `payload_in_metadata`"),
        (replaced("    header_in_metadata: header\n", ""), "requires `header_in_metadata`"),
        (replaced(": header\n", ": payload\n"), "must not be `payload_in_metadata`"),
        (replaced("/tenant", "/"), "no provider has the `issuer` of inbound.jwt"),
        (
            replaced(
                "    forward: true\n",
                "    forward: true\n    normalize_payload_in_metadata: { space_delimited_claims: [scope] }\n",
            ),
            "changes the payload",
        ),
        (
            replaced("    forward: true\n", &format!("    forward: true\n{status}"))
                .replace("providers:\n", other_provider),
            "where one of several providers fails",
        ),
        (
            replaced("{ provider_name: login }", "{ allow_missing: {} }"),
            "`allow_missing`: requests",
        ),
        (
            replaced(
                "{ provider_name: login }",
                "{ requires_any: { requirements: [{ provider_name: login }, { allow_missing_or_failed: {} }] } }",
            ),
            "`allow_missing_or_failed`: requests",
        ),
        (replaced("  requires: { provider_name: login }\n", ""), "this rule requires nothing"),
        (PROVIDER.split("rules:").next().unwrap().to_owned(), "has no `rules`"),
    ] {
        let found = warnings("", &(jwt_authn(&settings) + &ours));
        assert_eq!(found.len(), 1, "{settings}: {found:?}");
        let is_said = found[0].contains("warning: envoy.filters.http.jwt_authn: ");
        assert!(is_said && found[0].contains(part), "{settings}: {found:?}");
    }
    // With a single provider, a request that passes has no failure status.
    let alone = replaced("    forward: true\n", &format!("    forward: true\n{status}"));
    assert_eq!(warnings("", &(jwt_authn(&alone) + &ours)), Vec::<String>::new());
    let of_map = replaced("rules:", "requirement_map:\n  a: { allow_missing: {} }\nrules:");
    assert_eq!(warnings("", &(jwt_authn(&of_map) + &ours)).len(), 1);
    // Where nothing depends on it, it is none of our business.
    let fetched = wasm(&jwt(entry(json!({}))));
    let weak = replaced("    forward: true\n", "");
    assert_eq!(warnings("", &(jwt_authn(&weak) + &fetched)), Vec::<String>::new());
}

#[test]
fn routes_without_the_filter_that_verifies_tokens_are_told() {
    let filters = jwt_authn(PROVIDER) + &wasm(&verified_by_host());
    let routes = |name: &str, settings: &str| {
        format!(
            "route_config:
  virtual_hosts:
  - name: all
    domains: ['*']
    routes:
    - match: {{ prefix: /open }}
      direct_response: {{ status: 200 }}
      typed_per_filter_config:
        {name}: {settings}
"
        )
    };
    let of_route = "{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, disabled: true }";
    let of_any =
        "{ \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }";
    let named = "{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, requirement_name: a }";
    let inner = format!(
        "{{ \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {of_route} }}"
    );
    for (name, settings, is_told) in [
        ("authn", of_route, true),
        ("authn", of_any, true),
        ("authn", &inner, true),
        ("authn", named, false),
        ("other", of_any, false),
    ] {
        let found = warnings(&routes(name, settings), &filters);
        assert_eq!(found.len(), usize::from(is_told), "{name} {settings}: {found:?}");
        assert!(found.iter().all(|it| it.contains("disabled for these requests")), "{found:?}");
    }
    let disabled = filters.replacen("- name: authn\n", "- name: authn\n  disabled: true\n", 1);
    let found = warnings("", &disabled);
    assert!(found.len() == 1 && found[0].contains("except on routes that enable it"), "{found:?}");
}

#[test]
fn the_filter_of_a_control_plane_says_too_little() {
    let document = verified_by_host();
    for (platform, source) in [("istio", "RequestAuthentication"), ("gateway", "SecurityPolicy")] {
        let text = manifest(platform, &document);
        let told = |text: &str| {
            let (lines, _) = check(&own_file("yaml", text));
            let said = format!("inbound.jwt.verified_by: the `jwt_authn` of a {source} does not");
            lines.iter().filter(|line| line.contains(&said)).count()
        };
        assert_eq!(told(&text), 1, "{platform}");
        assert_eq!(told(&manifest(platform, &jwt(entry(json!({}))))), 0, "{platform}");
        // One that somebody has written may say enough.
        let own = "---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: authn, namespace: shop }
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_BEFORE
      value:
        name: authn
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
";
        assert_eq!(told(&(text + own)), 0, "{platform}");
    }
}
