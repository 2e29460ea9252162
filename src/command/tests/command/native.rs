//! The filter as a dynamic module: what `check` and `explain` know of it.

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::{file, run};

/// A document with this client secret.
fn document(client_secret: &Value) -> Value {
    json!({"inbound": {
        "introspection": {
            "endpoint": "https://as.test/", "cluster": "as", "client_id": "rs",
            "client_secret": client_secret,
        },
        "audience": "https://api.test",
    }})
}

/// A bootstrap with the filter, and with this configuration of it for a route. `more` is added to the
/// module.
fn bootstrap(filter_config: &Value, of_route: Option<&Value>, more: &Value) -> String {
    let mut module = json!({
        "module": {"local": {"filename": "/lib/liboauth2_filter.so"}}, "do_not_close": true,
    });
    module.as_object_mut().expect("an object").extend(more.as_object().expect("members").clone());
    let config = |kind: &str, config: &Value| {
        json!({
            "@type": format!("type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.{kind}"),
            "dynamic_module_config": module, "filter_name": "oauth2", "filter_config": config,
        })
    };
    let mut routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]);
    if let Some(of_route) = of_route {
        routes[0]["typed_per_filter_config"] =
            json!({"oauth2": config("DynamicModuleFilterPerRoute", of_route)});
    }
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
            HttpConnectionManager",
        "normalize_path": true, "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "route_config": {"virtual_hosts": [{"domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "oauth2", "typed_config": config("DynamicModuleFilter", filter_config)},
        ],
    });
    let chain = json!({"filters": [{"typed_config": manager}]});
    json!({"static_resources": {
        "clusters": [{"name": "as"}, {"name": "service"}],
        "listeners": [{"name": "in", "filter_chains": [chain]}],
    }})
    .to_string()
}

fn text(document: &Value) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document.to_string()})
}

/// The messages about a file, without their places in it.
fn messages(name: &str, content: &str, options: &[&str]) -> Vec<String> {
    let path = file(name, content);
    let arguments = [&["check", path.to_str().expect("text")][..], options].concat();
    let lines = run(arguments).out.lines().map(str::to_owned).collect::<Vec<_>>();
    let messages = lines.iter().filter_map(|line| {
        let at = [" error: ", " warning: "].into_iter().find_map(|level| line.find(level))?;
        Some(line[at + 1..].to_owned())
    });
    messages.collect()
}

#[test]
fn the_example_of_a_dynamic_module_is_checked() {
    for (file, warnings) in [("inbound", "1 warning"), ("jwt", "2 warnings")] {
        let ran = run(["check", &format!("envoy/native/{file}.yaml")]);
        assert_eq!((ran.status, ran.err), (0, String::new()), "{}", ran.out);
        let found = format!("no errors, {warnings}");
        assert!(ran.out.contains(&found), "found, and in plain HTTP: {}", ran.out);
    }
}

#[test]
fn what_only_the_dynamic_module_can_do_is_valid_where_envoy_loads_it() {
    for secret in [json!({"file": "/etc/secret"}), json!({"sds": "client-secret"})] {
        let document = document(&secret);
        let base64 = Base64::encode_string(document.to_string().as_bytes());
        for config in [
            text(&document),
            json!({"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": base64}),
            json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": document}),
        ] {
            let bootstrap = bootstrap(&config, None, &json!({}));
            assert_eq!(messages("native.json", &bootstrap, &[]), [""; 0], "{config}");
        }
    }
    let mut signing = document(&Value::Null);
    let keys = json!({
        "endpoint": "https://as.test/", "cluster": "as", "client_id": "rs",
        "auth_method": "private_key_jwt", "private_key": {"env": "KEY"}, "alg": "PS256",
        "aud": "https://as.test",
    });
    signing["inbound"]["introspection"] = keys;
    let bootstrap = bootstrap(&text(&signing), None, &json!({}));
    assert_eq!(messages("signing.json", &bootstrap, &[]), [""; 0]);
}

#[test]
fn a_document_alone_is_for_the_module_unless_it_is_said_otherwise() {
    let document = document(&json!({"sds": "client-secret"})).to_string();
    let mistake = "error: inbound.introspection.client_secret: only in the dynamic module; use \
                   {\"env\": \"NAME\"}";
    assert_eq!(messages("alone.json", &document, &[]), [mistake]);
    assert_eq!(messages("alone.json", &document, &["--host", "module"]), [mistake]);
    assert_eq!(messages("alone.json", &document, &["--host", "native"]), [""; 0]);
    let path = file("alone.json", &document);
    let explain = |host| {
        let path = path.to_str().expect("text");
        run(["explain", path, "--url", "https://api.test/", "--host", host])
    };
    assert_eq!(explain("module").status, 1);
    let explained = explain("native");
    assert_eq!(explained.status, 0, "{}", explained.out);
    assert!(explained.out.contains("https://as.test/") || explained.out.contains("as.test"));
    assert_eq!(run(["check", path.to_str().expect("text"), "--host", "wasm"]).status, 2);
}

#[test]
fn a_document_of_a_route_is_checked_as_one() {
    let good = text(&document(&json!({"file": "/etc/secret"})));
    for (secret, expected) in [
        (json!({"file": "/etc/secret"}), None),
        (json!({"env": "SECRET"}), None),
        (
            json!({"sds": "client-secret"}),
            Some(
                "error: inbound.introspection.client_secret.sds: not in a document for a route, to \
                 which Envoy gives no secrets; use `file`, or the document of the filter",
            ),
        ),
        (
            json!({"file": "secret"}),
            Some("error: inbound.introspection.client_secret.file: expected an absolute path"),
        ),
    ] {
        let bootstrap = bootstrap(&good, Some(&text(&document(&secret))), &json!({}));
        let found = messages("route.json", &bootstrap, &[]);
        assert_eq!(found.len(), usize::from(expected.is_some()), "{found:?}");
        let begins = |(found, expected): (&String, &str)| found.starts_with(expected);
        assert!(found.iter().zip(expected).all(begins), "{found:?}");
    }
}

#[test]
fn a_dynamic_module_that_is_not_loaded_or_has_another_filter_is_told_of() {
    let good = text(&document(&json!({"env": "SECRET"})));
    let other = bootstrap(&good, None, &json!({}))
        .replace("\"filter_name\":\"oauth2\"", "\"filter_name\":\"oauth\"");
    let found = messages("other.json", &other, &[]);
    assert!(found[0].starts_with("error: filter_name: expected `oauth2`"), "{found:?}");
    let remote = json!({"remote": {"http_uri": {"uri": "https://x.test/oauth2_filter.so"}}});
    let more = json!({"module": remote});
    let found = messages("remote.json", &bootstrap(&good, None, &more), &[]);
    assert!(
        found[0].starts_with("warning: module.remote without `nack_on_cache_miss"),
        "{found:?}"
    );
    let more = json!({"module": remote, "nack_on_cache_miss": true});
    let found = messages("nack.json", &bootstrap(&good, None, &more), &[]);
    assert_eq!(found, [""; 0]);
}
