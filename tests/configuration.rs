//! How the document arrives, and every mistake in it.

use std::collections::BTreeMap;
use std::path::Path;

use oauth2_filter_core::{Algorithm, ConfigErrors, Environment, Filter, Review, SignError, review};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as StructValue};
use serde_json::{Value, json};

#[path = "configuration/documents.rs"]
mod documents;
#[path = "configuration/jwt.rs"]
mod jwt;
#[path = "configuration/outbound.rs"]
mod outbound;
#[path = "configuration/sources.rs"]
mod sources;

use documents::{good, resources_with, with};

fn load_bytes(document: &[u8]) -> Result<Vec<String>, ConfigErrors> {
    let variable = |name: &str| match name {
        "SECRET" => Some("s3cr3t-from-env".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    // Of one key it can make nothing, of another RSA signatures, of others elliptic ones.
    let sign = |algorithm, key: &str, _: &[u8]| match key {
        _ if !matches!(algorithm, Algorithm::Rs256 | Algorithm::Es256) => {
            Err(SignError::Unsupported)
        }
        "bad" => Err(SignError::BadKey),
        "no host" => Err(SignError::Absent),
        "rsa" => Ok(vec![1; 256]),
        _ => Ok([&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat()),
    };
    let environment = Environment { sign, ..Environment::pretended(&variable) };
    let loaded = Filter::load(document, &environment);
    // Whoever reviews the document gets the same words.
    let Review { mistakes, warnings: reviewed, .. } = review(document, &environment, None);
    match &loaded {
        Ok((_, warnings)) => assert!(mistakes.is_empty() && reviewed.starts_with(warnings)),
        Err(refused) => assert!(refused.iter().eq(&mistakes), "{refused} {mistakes:?}"),
    }
    let (_, warnings) = loaded?;
    Ok(warnings.iter().map(ToString::to_string).collect())
}

fn load(document: &Value) -> Result<Vec<String>, ConfigErrors> {
    load_bytes(document.to_string().as_bytes())
}

/// The single message of a refused document.
fn mistake(document: &Value) -> String {
    let mistakes = load(document).expect_err(&format!("accepted: {document}"));
    assert_eq!(mistakes.iter().count(), 1, "{mistakes}");
    mistakes.to_string()
}

#[test]
fn the_documents_of_the_reference_load() {
    assert_eq!(load(&good()).unwrap(), Vec::<String>::new());
    let example = json!({"inbound": {
        "introspection": {
            "endpoint": "https://as.example.com/oauth2/introspect", "cluster": "as",
            "client_id": "orders-api", "client_secret": {"env": "SECRET"}
        },
        "audience": "https://orders.example.com",
        "rules": [
            {"paths": ["/healthz"], "access": "public"},
            {"methods": ["GET"], "paths": ["/orders/**"], "scope": "orders:read"},
            {"paths": ["/orders/**"], "scope": ["orders:write", "orders:admin"]}
        ],
        "forward": {"claims": {"x-user": "sub", "x-scope": "scope"}}
    }});
    assert_eq!(load(&example).unwrap(), Vec::<String>::new());
}

#[test]
fn every_key_is_read() {
    let document = documents::every_inbound_key();
    assert_eq!(load(&document).unwrap(), Vec::<String>::new());
}

#[test]
fn nothing_at_all_is_a_mistake() {
    for empty in ["", " \n", "{}", " { } "] {
        let mistakes = load_bytes(empty.as_bytes()).unwrap_err().to_string();
        assert!(
            mistakes.starts_with("configuration: ") && mistakes.contains("inbound"),
            "{mistakes}"
        );
    }
}

#[test]
fn what_is_no_json_is_a_mistake_with_its_position() {
    for (text, expected) in [
        ("{", "configuration: invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("\n{\"inbound\": }", "configuration: invalid JSON: expected value at line 2 column 13"),
        ("[]", "configuration: expected an object with inbound, outbound or both, found a list"),
        ("null", "configuration: expected an object with inbound, outbound or both, found null"),
        (
            r#"{"inbound":{},"inbound":{}}"#,
            "configuration: invalid JSON: duplicate key `inbound` at line 1 column 27",
        ),
        ("\u{1}\u{2}", "configuration: invalid JSON: expected value at line 1 column 1"),
        ("\n\u{ff}\u{ff}", "configuration: invalid JSON: expected value at line 2 column 1"),
    ] {
        assert_eq!(load_bytes(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn a_struct_is_read_from_its_wire_format() {
    let mut document = good();
    document["inbound"]["cache"] = json!({"max_entries": 10});
    document["inbound"]["introspection"]["retries"] = json!(0);
    document["inbound"]["rules"] = json!([{"paths": ["/a"], "access": "public"}]);
    document["inbound"]["forward"] = json!({"token": true});
    let bytes = to_struct(&document).encode_to_vec();
    assert_eq!(bytes.first(), Some(&b'\n'));
    assert_eq!(load_bytes(&bytes).unwrap(), Vec::<String>::new());

    document["inbound"]["cache"]["max_entries"] = json!(1.5);
    let mistakes = load_bytes(&to_struct(&document).encode_to_vec()).unwrap_err().to_string();
    assert!(mistakes.starts_with("inbound.cache.max_entries: "), "{mistakes}");

    // A JSON text may begin with the same byte.
    assert!(load_bytes(format!("\n{}", good()).as_bytes()).is_ok());
    // A broken one is neither.
    assert!(load_bytes(&bytes[..bytes.len() - 1]).is_err());
}

fn to_struct(value: &Value) -> Struct {
    let members = value.as_object().expect("an object");
    let fields: BTreeMap<_, _> =
        members.iter().map(|(key, value)| (key.clone(), to_struct_value(value))).collect();
    Struct { fields }
}

fn to_struct_value(value: &Value) -> StructValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a number")),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(elements) => {
            Kind::ListValue(ListValue { values: elements.iter().map(to_struct_value).collect() })
        }
        Value::Object(_) => Kind::StructValue(to_struct(value)),
    };
    StructValue { kind: Some(kind) }
}

#[test]
fn d6_11_a_mistake_names_its_place_and_what_would_be_right() {
    let mut wrong = Vec::new();
    for (document, expected) in documents::inbound_mistakes() {
        let mistakes = load(&document).expect_err(&format!("accepted: {document}")).to_string();
        if !mistakes.starts_with(expected) {
            wrong.push(format!("expected: {expected}\n   found: {mistakes}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_mistake_of_an_endpoint_block_hides_another() {
    for (block, expected) in [
        (json!({"client": "a", "timeout": 5, "x": 1}), ["client", "endpoint", "timeout", "x"]),
        (
            json!({"client_id": 5, "client_secret": 1, "auth_method": "a", "timeout": 5}),
            ["auth_method", "client_id", "client_secret", "timeout"],
        ),
        (
            json!({"auth_method": "private_key_jwt", "client_id": 5, "alg": "a", "timeout": 5}),
            ["alg", "client_id", "private_key", "timeout"],
        ),
        (
            json!({"client_secret": {"env": "NONE"}, "endpoint": "a", "headers": 1}),
            ["client_id", "client_secret.env", "endpoint", "headers"],
        ),
    ] {
        let mut document = good();
        document["inbound"]["introspection"] = block.clone();
        let mistakes = load(&document).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
        for place in expected {
            let place = format!("inbound.introspection.{place}");
            assert!(places.contains(&place.as_str()), "{block}: {mistakes}");
        }
    }
}

#[test]
fn all_mistakes_stand_in_one_message() {
    let mut document = good();
    document["inbound"]["realm"] = json!(1);
    document["inbound"]["rules"] = json!([{"paths": ["x"], "access": "y"}, {"scope": "\t"}]);
    document["inbound"]["extra"] = json!(1);
    let mistakes = load(&document).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    let expected = [
        "inbound.realm",
        "inbound.rules[0].paths[0]",
        "inbound.rules[0].access",
        "inbound.rules[1].scope",
        "inbound.extra",
    ];
    assert_eq!(places, expected, "{mistakes}");
    assert_eq!(mistakes.to_string().lines().count(), 1);
}

#[test]
fn d6_01_a_message_repeats_no_value_of_the_document() {
    for document in [
        with("inbound/introspection/client_secret", json!(["s3cr3t"])),
        with("inbound/introspection/endpoint", json!("https://u:s3cr3t@as.test/")),
        with("inbound/introspection/endpoint", json!("s3cr3t")),
        with("inbound/introspection/auth_method", json!("s3cr3t")),
        with("inbound/introspection/timeout", json!("s3cr3t")),
        with("inbound/introspection/headers", json!({"authorization": "s3cr3t"})),
        with("inbound/unmatched", json!("s3cr3t")),
        with("inbound/rules", json!([{"access": "s3cr3t", "paths": ["s3cr3t"]}])),
        with("inbound/scope", json!("s3cr3t\u{e9}")),
    ] {
        let mistakes = load(&document).unwrap_err().to_string();
        assert!(!mistakes.contains("s3cr3t"), "{mistakes}");
    }
}

#[test]
fn what_is_accepted_but_should_be_known_is_warned_of() {
    let mut document = good();
    document["inbound"]["introspection"]["endpoint"] = json!("http://as.test/");
    let warnings = load(&document).unwrap();
    assert!(warnings[0].starts_with("inbound.introspection.endpoint: plain http"), "{warnings:?}");

    let mut document = good();
    document["inbound"].as_object_mut().unwrap().remove("audience");
    let warnings = load(&document).unwrap();
    assert!(warnings[0].starts_with("inbound.audience: not set"), "{warnings:?}");
    let warnings = load(&with("inbound/encoded_slash", json!("keep"))).unwrap();
    assert!(warnings[0].starts_with("inbound.encoded_slash: `%2F` is allowed"), "{warnings:?}");

    document["inbound"]["rules"] = json!([{"audience": "a"}, {"access": "public"}]);
    assert_eq!(load(&document).unwrap(), Vec::<String>::new());
    document["inbound"]["unmatched"] = json!("token");
    assert_eq!(load(&document).unwrap().len(), 1);
    document["inbound"]["unmatched"] = json!("public");
    document["inbound"]["rules"] = json!([{"audience": "a"}, {"access": "optional"}]);
    assert_eq!(load(&document).unwrap().len(), 1);
}

#[test]
fn cl_6749_02_an_endpoint_may_have_a_query_and_no_fragment() {
    let endpoint = |url: &str| with("inbound/introspection/endpoint", json!(url));
    assert!(load(&endpoint("https://as.test/i?tenant=a%20b&x")).is_ok());
    for url in ["https://as.test/i#", "https://as.test/i#x", "https://as.test/i?a=b#x"] {
        assert!(
            mistake(&endpoint(url)).contains("must not have a fragment (RFC 6749 section 3.2)"),
            "{url}"
        );
    }
}

#[test]
fn a_server_that_no_token_would_come_to_is_a_mistake() {
    let block = |when: Value| {
        json!({
            "endpoint": "https://as.test/i", "client_id": "rs", "client_secret": "s", "when": when
        })
    };
    let list = |blocks: &[Value]| with("inbound/introspection", json!(blocks));
    let of_hosts = || block(json!({"hosts": ["a.test"]}));
    for when in [
        json!({"hosts": ["a.test"]}),
        json!({"issuer": "https://as.test"}),
        json!({"token_prefix": ["x-"]}),
    ] {
        assert!(load(&list(&[block(when.clone()), block(json!({}))])).is_ok(), "{when}");
    }
    assert!(load(&list(&[of_hosts(), of_hosts(), block(json!({}))])).is_ok());
    let found = mistake(&list(&[of_hosts(), block(json!({})), of_hosts()]));
    assert!(found.starts_with("inbound.introspection[1]: matches every token"), "{found}");
}

#[test]
fn cl_6749_03_cl_6749_05_what_the_filter_sends_is_sent_once_and_never_in_the_url() {
    for name in [
        "token",
        "token_type_hint",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    ] {
        let parameters = with("inbound/introspection/parameters", json!({name: "x"}));
        assert!(
            mistake(&parameters)
                .contains("reserved: the filter sends this parameter (RFC 6749 section 3.2)"),
            "{name}"
        );
        let url = format!("https://as.test/i?a=b&{name}=x");
        let query = with("inbound/introspection/endpoint", json!(url));
        assert!(
            mistake(&query).contains("the query must not contain credentials or parameters"),
            "{name}"
        );
    }
    let user = with("inbound/introspection/endpoint", json!("https://rs:s@as.test/i"));
    assert!(
        mistake(&user)
            .contains("must not contain user information; use client_id and client_secret")
    );
}

#[test]
fn cl_6749_05_cl_7662_02_a_call_has_one_way_to_authenticate_and_none_only_if_that_is_said() {
    let block = |members: Value| {
        let mut block = json!({"endpoint": "https://as.test/i"});
        for (key, value) in members.as_object().expect("an object") {
            block[key] = value.clone();
        }
        with("inbound/introspection", block)
    };
    for (members, said) in [
        (
            json!({}),
            "required: set client_id and client_secret, or auth_method \"none\" if the server \
             requires no client authentication (RFC 7662 section 2.1, RFC 6749 section 4.4.2)",
        ),
        (
            json!({"client_id": "rs"}),
            "required: set client_id and client_secret, or auth_method \"none\" if the server \
             requires no client authentication (RFC 7662 section 2.1, RFC 6749 section 4.4.2)",
        ),
        (json!({"client_secret": "s", "auth_method": "none"}), "not used by auth_method \"none\""),
        (
            json!({"client_id": "rs", "client_secret": "s", "headers": {"authorization": "x"}}),
            "`authorization` is set by client authentication; remove it, or use auth_method \"none\"",
        ),
    ] {
        let found = mistake(&block(members.clone()));
        assert!(found.contains(said), "{members}: {found}");
    }
    assert!(load(&block(json!({"auth_method": "none"}))).is_ok());
    assert!(load(&block(json!({"client_id": "rs", "auth_method": "none"}))).is_ok());
}

#[test]
fn cl_6749_06_d6_08_plain_http_is_warned_of() {
    assert_eq!(load(&good()).unwrap(), Vec::<String>::new());
    let warnings =
        load(&with("inbound/introspection/endpoint", json!("http://as.test/i"))).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("inbound.introspection.endpoint: plain http"), "{warnings:?}");
}

#[test]
fn cl_6749_06_cl_7662_04_an_example_that_calls_over_tls_verifies_who_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy");
    let files = folder.read_dir().expect("the examples").map(|entry| entry.expect("one").path());
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    let over_tls: Vec<_> = texts.filter(|text| text.contains(r#""endpoint": "https://"#)).collect();
    assert!(!over_tls.is_empty());
    for text in over_tls {
        let (_, host) = text.split_once(r#""endpoint": "https://"#).expect("the endpoint");
        let host = host.split(['/', '"']).next().expect("its host");
        let (_, cluster) = text.split_once("- name: as\n").expect("the cluster");
        for part in [
            "envoy.transport_sockets.tls",
            &format!("sni: {host}"),
            "validation_context",
            "trusted_ca",
            "match_typed_subject_alt_names",
            &format!("matcher: {{ exact: {host} }}"),
        ] {
            assert!(cluster.contains(part), "{host}: {part}");
        }
    }
}

#[test]
fn rs_9700_01_a_configuration_that_takes_tokens_for_anybody_is_warned_of() {
    let mut document = good();
    document["inbound"].as_object_mut().unwrap().remove("audience");
    let warnings = load(&document).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("tokens issued for other services are accepted"));
    // Of several resources, each is the audience, unless any is accepted.
    document["inbound"]["resource_metadata"] = json!([{"resource": "https://a.test"}]);
    assert_eq!(load(&document).unwrap(), Vec::<String>::new());
    let warnings = load(&resources_with("audience", json!("*"))).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("inbound.audience: tokens issued for other services"));
    let warnings = load(&resources_with("rules", json!([{"audience": "*"}]))).unwrap();
    assert!(warnings[0].starts_with("inbound.rules[0].audience: "), "{warnings:?}");
    // Elsewhere it is an audience like any other.
    assert_eq!(load(&with("inbound/audience", json!("*"))).unwrap(), Vec::<String>::new());
}

#[test]
fn mcp_09_offline_access_is_warned_of_where_clients_would_read_it() {
    let metadata = |scopes: Value| {
        let document = json!({"resource": "https://api.test/", "scopes_supported": scopes});
        load(&with("inbound/resource_metadata", document)).unwrap()
    };
    assert_eq!(metadata(json!(["a"])), Vec::<String>::new());
    assert_eq!(metadata(json!(["a", "offline_access"])).len(), 1);
    // Challenges name the scope of the rule.
    assert_eq!(load(&with("inbound/scope", json!("a offline_access"))).unwrap().len(), 1);
    let rules = json!([{"scope": ["a", "b offline_access"]}]);
    let warnings = load(&with("inbound/rules", rules)).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("inbound.rules[0].scope[1]: offline_access"), "{warnings:?}");
}

#[test]
fn rs_9728_02_rs_9728_04_metadata_is_what_the_standard_defines_in_the_form_that_is_told() {
    let metadata = |document: Value| with("inbound/resource_metadata", document);
    let all = json!({
        "resource": "https://api.test/v1?tenant=a", "authorization_servers": ["https://as.test"],
        "jwks_uri": "https://api.test/jwks", "scopes_supported": ["a"],
        "bearer_methods_supported": ["header"], "resource_signing_alg_values_supported": ["RS256"],
        "resource_name": "Orders", "resource_name#de": "Bestellungen",
        "resource_documentation": "https://api.test/docs",
        "resource_policy_uri": "https://api.test/policy", "resource_tos_uri": "https://api.test/tos",
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_details_types_supported": ["payment"],
        "dpop_signing_alg_values_supported": ["ES256"], "dpop_bound_access_tokens_required": false,
        "signed_metadata": "e30.e30.c2ln"
    });
    assert_eq!(load(&metadata(all)).unwrap(), Vec::<String>::new());
    let warnings = load(&metadata(json!({"resource": "http://api.test"}))).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("inbound.resource_metadata.resource: plain http"));
    for resource in [
        "https://API.test",
        "HTTPS://api.test",
        "https://api.test:443",
        "https://api.test/a/../b",
        "https://api.test?tenant=a",
        "https://api.test/caf\u{e9}",
        "https://api.test/#x",
        "api.test",
    ] {
        let found = mistake(&metadata(json!({ "resource": resource })));
        assert!(found.starts_with("inbound.resource_metadata.resource: "), "{resource}: {found}");
    }
}

#[test]
fn origins_are_those_that_browsers_send() {
    let origins = |origin: &str| with("inbound/cors", json!({"allow_origins": [origin]}));
    for origin in [
        "https://app.test",
        "http://localhost:3000",
        "http://[::1]:3000",
        "https://app.test.",
        "vscode-webview://0a1b",
        "capacitor://localhost",
    ] {
        assert_eq!(load(&origins(origin)).unwrap(), Vec::<String>::new(), "{origin}");
    }
    for origin in [
        "",
        "*",
        "null",
        "app.test",
        "https://*.app.test",
        "https://app.test/",
        "https://app.test/a",
        "https://app.test?a",
        "https://app.test:443",
        "http://app.test:80",
        "HTTPS://app.test",
        "https://App.test",
        "https://u@app.test",
        "https://a.test,https://b.test",
        "https://a.test https://b.test",
        "https://",
        "capacitor://",
        "capacitor://localhost/",
        "Capacitor://localhost",
        "mailto:a",
    ] {
        let found = mistake(&origins(origin));
        assert!(found.starts_with("inbound.cors.allow_origins"), "{origin}: {found}");
    }
}

#[test]
fn one_mistake_makes_one_message() {
    for document in [
        with("inbound/realm", json!(1)),
        with("inbound/rules", json!([{"scope": 1}])),
        with("inbound/introspection/timeout", json!("x")),
        with("inbound/cache", json!({"max_ttl": "x"})),
        with("inbound/forward", json!({"payload": "a b"})),
    ] {
        mistake(&document);
    }
}
