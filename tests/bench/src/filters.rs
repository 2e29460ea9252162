//! The filters that are compared, as Envoy is told of them.

use oauth2_filter_testbed::envoy::{WasmPlugin, merge};
use oauth2_filter_testbed::workspace;
use serde_json::{Value, json};

use crate::tokens::{AUDIENCE, ISSUER};

/// A module of `tests/bench/floor`, as `make bench` puts it into `target/bench`.
pub fn floor(module: &str) -> Value {
    let file = workspace().join("target/bench").join(format!("{module}.wasm"));
    WasmPlugin::unconfigured().file(file).filter("floor")
}

/// A Lua filter, one of `tests/bench/lua`.
pub fn lua(code: &str, proxy: &str) -> Value {
    let code = code.replace("PATH", &format!("/introspect/{proxy}"));
    let code = match proxy {
        "lua-told" => code.replace("TELL = false", "TELL = true"),
        _ => code,
    };
    typed("lua", "lua.v3.Lua", json!({"default_source_code": {"inline_string": code}}))
}

/// Verifies the signature of JWTs, each time or once for each that it keeps.
pub fn jwt_authn(key_set: &Value, cache: bool) -> Value {
    let mut provider = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": key_set.to_string()},
        "forward": true,
    });
    if cache {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": 1000});
    }
    let rules = json!([{"match": {"prefix": "/"}, "requires": {"provider_name": "as"}}]);
    let config = json!({"providers": {"as": provider}, "rules": rules});
    typed("jwt_authn", "jwt_authn.v3.JwtAuthentication", config)
}

/// Asks a service about each request.
pub fn ext_authz(proxy: &str, _: &Value) -> Value {
    let service = json!({
        "server_uri": {"uri": "http://as.test", "cluster": "as", "timeout": "5s"},
        "path_prefix": format!("/authorize/{proxy}"),
    });
    let config = json!({"transport_api_version": "V3", "http_service": service});
    typed("ext_authz", "ext_authz.v3.ExtAuthz", config)
}

/// Envoy's own client of an authorization server. Its secret is [`client_secret`].
pub fn credential_injector(proxy: &str, _: &Value) -> Value {
    let credential = json!({
        "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2",
        "token_endpoint": {
            "uri": format!("http://as.test/token/{proxy}"), "cluster": "as", "timeout": "5s",
        },
        "client_credentials": {
            "client_id": "bench", "client_secret": {"name": "client-secret"},
        },
        "scopes": ["orders:read"],
    });
    let config = json!({
        "overwrite": true,
        "credential": {
            "name": "envoy.http.injected_credentials.oauth2", "typed_config": credential,
        },
    });
    typed("credential_injector", "credential_injector.v3.CredentialInjector", config)
}

/// A secret of Envoy's configuration.
pub fn client_secret() -> Value {
    let secret = json!({"secret": {"inline_string": "bench-secret"}});
    json!({"name": "client-secret", "generic_secret": secret})
}

/// Ours, and no more asked of it than of the short Lua filter.
pub fn minimal(proxy: &str, _: &Value) -> Value {
    ours(&inbound(proxy, json!({})))
}

/// The same as a dynamic module.
pub fn native(proxy: &str, _: &Value) -> Value {
    WasmPlugin::new(&inbound(proxy, json!({}))).native_filter("oauth2")
}

/// Ours, with what a service usually wants.
pub fn full(proxy: &str, _: &Value) -> Value {
    ours(&usual(proxy))
}

/// The same as a dynamic module.
pub fn native_full(proxy: &str, _: &Value) -> Value {
    WasmPlugin::new(&usual(proxy)).native_filter("oauth2")
}

/// What a service usually wants.
fn usual(proxy: &str) -> Value {
    let rules = json!([
        {"paths": ["/healthz"], "access": "public"},
        {"methods": ["GET"], "paths": ["/orders/**"], "scope": "orders:read"},
        {"paths": ["/orders/**"], "scope": "orders:write"},
    ]);
    let claims = json!({"x-user": "sub", "x-scope": "scope"});
    inbound(proxy, json!({"audience": AUDIENCE, "rules": rules, "forward": {"claims": claims}}))
}

/// Ours with so many rules, of which the last fits.
pub fn rules(proxy: &str, number: usize) -> Value {
    let rule = |path: String| json!({"methods": ["GET"], "paths": [path], "scope": "orders:read"});
    let others = (1..number).map(|number| rule(format!("/resource-{number}/**")));
    let rules: Vec<Value> = others.chain([rule("/orders/**".to_owned())]).collect();
    ours(&inbound(proxy, json!({"rules": rules})))
}

/// Ours, with claims for the service and no rules.
pub fn claims(proxy: &str, _: &Value) -> Value {
    let claims = json!({"x-user": "sub", "x-scope": "scope"});
    ours(&inbound(proxy, json!({"forward": {"claims": claims}})))
}

/// Ours with JWTs that it verifies.
pub fn jwt(_: &str, key_set: &Value) -> Value {
    ours(&verifying(key_set, MOST_CACHED))
}

/// The same as a dynamic module.
pub fn native_jwt(_: &str, key_set: &Value) -> Value {
    WasmPlugin::new(&verifying(key_set, MOST_CACHED)).native_filter("oauth2")
}

/// Ours with JWTs that it verifies; when 10,000 take turns, none is cached any more when it is its
/// turn.
pub fn first_jwt(_: &str, key_set: &Value) -> Value {
    ours(&verifying(key_set, FEW_CACHED))
}

/// The same as a dynamic module.
pub fn native_first_jwt(_: &str, key_set: &Value) -> Value {
    WasmPlugin::new(&verifying(key_set, FEW_CACHED)).native_filter("oauth2")
}

/// Verifies JWTs, and keeps so many.
fn verifying(key_set: &Value, max_entries: u32) -> Value {
    let issuer = json!({"issuer": ISSUER, "audience": AUDIENCE, "jwks": key_set});
    let cache = json!({"max_ttl": "1h", "max_entries": max_entries});
    json!({"inbound": {"jwt": issuer, "cache": cache}})
}

/// The default of `max_entries`.
const MOST_CACHED: u32 = 10_000;
const FEW_CACHED: u32 = 1_000;

/// Ours as a client.
pub fn outbound(proxy: &str, _: &Value) -> Value {
    ours(&client(proxy))
}

/// The same as a dynamic module.
pub fn native_outbound(proxy: &str, _: &Value) -> Value {
    WasmPlugin::new(&client(proxy)).native_filter("oauth2")
}

/// A client of an authorization server.
fn client(proxy: &str) -> Value {
    let client = json!({
        "grant_type": "client_credentials",
        "endpoint": format!("http://as.test/token/{proxy}"), "cluster": "as",
        "client_id": "bench", "client_secret": "bench-secret", "scope": "orders:read",
    });
    json!({"outbound": {"clients": {"bench": client}}})
}

fn inbound(proxy: &str, more: Value) -> Value {
    let mut inbound = json!({
        "introspection": {
            "endpoint": format!("http://as.test/introspect/{proxy}"), "cluster": "as",
            "client_id": "bench", "client_secret": "bench-secret",
        },
        // What is measured is the answer that is kept.
        "cache": {"max_ttl": "1h"},
    });
    merge(&mut inbound, more);
    json!({"inbound": inbound})
}

fn ours(document: &Value) -> Value {
    WasmPlugin::new(document).filter("oauth2")
}

fn typed(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}").into();
    json!({"name": format!("envoy.filters.http.{name}"), "typed_config": config})
}
