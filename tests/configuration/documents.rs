//! Documents, good and bad, each with what is wrong with it.

#![expect(clippy::needless_pass_by_value, reason = "tables of JSON read better without `&`")]

use oauth2_filter_testbed::envoy::with_members;
use serde_json::{Value, json};

/// A document or client with a mistake, its place, and how its message begins.
pub type Row = (Value, &'static str, &'static str);

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A document without mistakes or warnings.
pub fn good() -> Value {
    json!({"inbound": {
        "introspection": {
            "endpoint": "https://as.test/introspect", "client_id": "rs", "client_secret": "s"
        },
        "audience": "https://api.test"
    }})
}

/// The good document with one member set: `path` names it with slashes.
pub fn with(path: &str, value: Value) -> Value {
    let mut document = good();
    let mut at = &mut document;
    for key in path.split('/') {
        at = match key.parse::<usize>() {
            Ok(n) => &mut at[n],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
    document
}

/// A document with these cross-origin requests.
fn cors(value: Value) -> Value {
    with("inbound/cors", value)
}

/// A document with cross-origin requests, and this in `inbound`.
fn cors_and(key: &str, value: Value) -> Value {
    let mut document = cors(json!({"allow_origins": ["https://a.test"]}));
    document["inbound"][key] = value;
    document
}

/// A document with several resources, and this in `inbound`.
pub fn resources_with(key: &str, value: Value) -> Value {
    let mut document = with("inbound/resource_metadata", json!([{"resource": "https://a.test"}]));
    document["inbound"][key] = value;
    document
}

/// A client without mistakes, with these members set; null takes one out.
pub fn client(more: Value) -> Value {
    let client = json!({
        "grant_type": "client_credentials", "endpoint": "https://as.test/token",
        "client_id": "orders", "client_secret": "s3cr3t",
    });
    with_members(client, &more)
}

/// The same with a grant and what it needs.
pub fn with_grant(grant_type: &str, more: Value) -> Value {
    let mut client = client(json!({ "grant_type": grant_type }));
    let own = match grant_type {
        "password" => json!({"username": "alice", "password": "s3cr3t"}),
        "refresh_token" => json!({"refresh_token": "s3cr3t"}),
        "direct_token" => json!({"access_token": "s3cr3t"}),
        JWT_BEARER => json!({"assertion": "s3cr3t"}),
        _ => json!({}),
    };
    for (key, value) in [own, more].iter().flat_map(|part| part.as_object().expect("members")) {
        if value.is_null() {
            client.as_object_mut().expect("an object").remove(key);
        } else {
            client[key] = value.clone();
        }
    }
    client
}

pub fn password(more: Value) -> Value {
    with_grant("password", more)
}

/// A token from elsewhere, without an endpoint.
pub fn direct(more: Value) -> Value {
    let mut direct = json!({"grant_type": "direct_token", "access_token": "s3cr3t"});
    for (key, value) in more.as_object().expect("members") {
        direct[key] = value.clone();
    }
    direct
}

/// A client that signs assertions.
pub fn signing(more: Value) -> Value {
    let mut signing = client(json!({
        "client_secret": null, "auth_method": "private_key_jwt",
        "private_key": "elliptic s3cr3t", "aud": "https://as.test",
    }));
    for (key, value) in more.as_object().expect("members") {
        if value.is_null() {
            signing.as_object_mut().expect("an object").remove(key);
        } else {
            signing[key] = value.clone();
        }
    }
    signing
}

/// A document with this client and one rule, which warns of nothing.
pub fn document(client: Value) -> Value {
    json!({"outbound": {
        "clients": {"a": client}, "rules": [{"hosts": ["api.test"], "client": "a"}],
    }})
}

/// A document with these rules, and the clients a and b.
pub fn rules(rules: Value) -> Value {
    let clients = json!({"a": client(json!({})), "b": client(json!({"client_id": "b"}))});
    json!({"outbound": {"clients": clients, "rules": rules}})
}

/// A document with these clients and a rule for the one called a.
pub fn clients(clients: Value) -> Value {
    json!({"outbound": {"clients": clients, "rules": [{"hosts": ["api.test"], "client": "a"}]}})
}

/// The public key of RFC 7515 appendix A.3.
pub fn jwk() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// An entry of `jwt` without mistakes or warnings, with these members set; null takes one out.
pub fn entry(more: Value) -> Value {
    let entry = json!({
        "issuer": "https://login.test/tenant", "audience": "api://orders",
        "jwks_uri": "https://login.test/keys", "cluster": "login",
    });
    with_members(entry, &more)
}

/// An entry whose keys are not fetched.
pub fn entry_without_calls(more: Value) -> Value {
    with_members(entry(json!({"jwks_uri": null, "cluster": null})), &more)
}

/// A document with this as `jwt`, and no introspection.
pub fn jwt(jwt: Value) -> Value {
    json!({"inbound": {"jwt": jwt}})
}

/// A document with this entry of `jwt`, and introspection with these members.
pub fn jwt_and_introspection(entry: Value, more: Value) -> Value {
    let introspection = with_members(good()["inbound"]["introspection"].clone(), &more);
    json!({"inbound": {"jwt": entry, "introspection": introspection, "audience": "api://orders"}})
}

/// Documents with a mistake in `jwt`, its place, and how its message begins.
#[expect(clippy::too_many_lines, reason = "a table of all mistakes")]
pub fn jwt_mistakes() -> Vec<(Value, &'static str, &'static str)> {
    const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";
    let is_not_https = "required: the issuer is not an https URL, so its keys cannot be discovered";
    let without_keys = |keys: Value| entry_without_calls(json!({ "jwks": keys }));
    let introspected = || entry(json!({"introspect": true}));
    let of_entry = [
        (json!({"issuer": null}), "issuer", "required: the issuer"),
        (json!({"issuer": ""}), "issuer", "expected an issuer, found an empty string"),
        (json!({"issuer": ["a"]}), "issuer", "expected an issuer, found a list"),
        (json!({"audience": null}), "audience", "required: accepted audiences"),
        (json!({"audience": []}), "audience", "must not be empty"),
        (json!({"audience": 1}), "audience", "expected an audience, or a list of them, found"),
        (
            json!({"audience": "*"}),
            "audience",
            "\"*\" requires `claims` that tell which tokens are for this service",
        ),
        (
            json!({"audience": "*", "claims": {}}),
            "audience",
            "\"*\" requires `claims` that tell which tokens are for this service",
        ),
        (
            json!({"audience": ["*", "a"], "claims": {"a": 1}}),
            "audience",
            "\"*\" accepts any audience; remove the others",
        ),
        (json!({"claims": {"": 1}}), "claims.", "a claim name must not be empty"),
        (json!({"claims": {"a": null}}), "claims.a", "expected a value, a list of altern"),
        (json!({"scope_claim": []}), "scope_claim", "must not be empty"),
        (json!({"scope_wildcards": 1}), "scope_wildcards", "expected a boolean, found a number"),
        (json!({"clock_skew": 5}), "clock_skew", "expected a duration such as"),
        (json!({"clock_skew": "9000h"}), "clock_skew", "must not be longer than a year"),
        (json!({"jwks_uri": "login.test/keys"}), "jwks_uri", "expected an absolute URL"),
        (json!({"jwks_uri": "https://login.test/#a"}), "jwks_uri", "must not have a fragment"),
        (json!({"jwks_uri": null, "issuer": "login"}), "jwks_uri", is_not_https),
        (json!({"jwks_uri": null, "issuer": "http://login.test"}), "jwks_uri", is_not_https),
        (json!({"jwks_uri": null, "issuer": "https://login.test/?a"}), "jwks_uri", is_not_https),
        (json!({"cluster": ""}), "cluster", "expected an Envoy cluster name, found an empty"),
        (json!({"timeout": "0s"}), "timeout", "must be greater than zero"),
        (json!({"retries": 11}), "retries", "expected a whole number from 0 to 10"),
        (json!({"headers": {"Host": "a"}}), "headers.Host", "reserved: the proxy sets this header"),
        (json!({"algorithms": []}), "algorithms", "must not be empty; expected a list of"),
        (json!({"algorithms": "RS256"}), "algorithms", "expected a list of algorithms such as"),
        (json!({"algorithms": ["none"]}), "algorithms[0]", "expected \"RS256\", \"RS384\", \"RS5"),
        (json!({"algorithms": ["HS256"]}), "algorithms[0]", "expected \"RS256\", \"RS384\", \"RS5"),
        (json!({"algorithms": ["ES256", "rs256"]}), "algorithms[1]", "expected \"RS256\""),
        (json!({"token": "refresh_token"}), "token", "expected \"access_token\" or \"id_token\""),
        (json!({"typ": []}), "typ", "must not be empty"),
        (
            json!({"typ": [""]}),
            "typ[0]",
            "expected a type such as \"at+jwt\", found an empty string",
        ),
        (json!({"refresh_interval": "0s"}), "refresh_interval", "must be at least \"1s\""),
        (json!({"refresh_interval": "999ms"}), "refresh_interval", "must be at least \"1s\""),
        (json!({"refresh_interval": "9000h"}), "refresh_interval", "must not be longer than a y"),
        (json!({"stale_if_error": "9000h"}), "stale_if_error", "must not be longer than a year"),
        (json!({"introspect": "yes"}), "introspect", "expected a boolean, found a string"),
        (json!({"introspect": true}), "introspect", "requires an entry in `introspection`"),
        (json!({"jwks_url": "a"}), "jwks_url", "unknown key; did you mean `jwks_uri`?"),
        (json!({"when": {}}), "when", "unknown key; expected one of: issuer, audience, claims, sc"),
        (json!({"jwks": {"keys": [jwk()]}}), "jwks_uri", "conflicts with jwks; remove one of the"),
        (json!({"verified_by": JWT_AUTHN}), "jwks_uri", "conflicts with verified_by; remove one"),
    ];
    let without_calls = [
        (json!({"jwks": "https://login.test/keys"}), "jwks", "expected a JWK set, such as"),
        (json!({"jwks": {"keys": jwk()}}), "jwks", "expected keys as a list of objects"),
        (json!({"jwks": {"keys": ["a"]}}), "jwks", "expected keys as a list of objects"),
        (json!({"jwks": {"keys": vec![jwk(); 101]}}), "jwks", "more than 100 keys"),
        (json!({"jwks": {"keys": []}}), "jwks", "no usable key; expected RSA from 2048"),
        (
            json!({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}),
            "jwks",
            "no usable key; expected RSA from 2048",
        ),
        (
            json!({"verified_by": "ext_authz"}),
            "verified_by",
            "expected \"envoy.filters.http.jwt_au",
        ),
        (
            json!({"verified_by": JWT_AUTHN, "jwks": {"keys": [jwk()]}}),
            "verified_by",
            "conflicts with jwks; remove one of the two",
        ),
        (
            json!({"verified_by": JWT_AUTHN, "introspect": true}),
            "introspect",
            "conflicts with verified_by; remove one of the two",
        ),
    ];
    let mut mistakes = vec![
        (json!("a"), "", "expected an object with issuer, audience, jwks_uri, cluster, or a list"),
        (json!([]), "", "must not be empty; expected a list of objects, each an object with iss"),
        (json!([1]), "[0]", "expected an object with issuer, audience, jwks_uri, cluster, found"),
        (
            json!([entry(json!({})), entry(json!({"issuer": "b"})), entry(json!({}))]),
            "[2]",
            "duplicate issuer; remove one of the two entries",
        ),
        (
            json!([entry(json!({})), entry(json!({"audience": null}))]),
            "[1].audience",
            "required: accepted audiences",
        ),
    ];
    mistakes.extend(of_entry.map(|(more, at, text)| (entry(more), at, text)));
    mistakes.extend(without_calls.map(|(more, at, text)| (entry_without_calls(more), at, text)));
    // What is for fetching keys is for nothing else.
    for (key, value) in [
        ("cluster", json!("a")),
        ("timeout", json!("1s")),
        ("retries", json!(1)),
        ("headers", json!({"x-a": "b"})),
        ("refresh_interval", json!("1m")),
        ("stale_if_error", json!("1h")),
    ] {
        let more = json!({key: value.clone(), "verified_by": JWT_AUTHN});
        mistakes.push((entry_without_calls(more), key, "conflicts with verified_by; remove one"));
        let fixed = with_members(without_keys(json!({"keys": [jwk()]})), &json!({ key: value }));
        mistakes.push((fixed, key, "conflicts with jwks; remove one of the two"));
    }
    let mut mistakes: Vec<_> =
        mistakes.into_iter().map(|(it, at, text)| (jwt(it), at, text)).collect();
    for more in [
        json!({"issuer": "https://other.test"}),
        json!({"when": {"issuer": ["https://other.test"]}}),
    ] {
        let document = jwt_and_introspection(introspected(), more);
        mistakes.push((
            document,
            "introspect",
            "requires an entry in `introspection` for this issuer",
        ));
    }
    mistakes
}

/// Documents with a mistake in `inbound`, and how its message begins.
#[expect(clippy::too_many_lines, reason = "a table of all mistakes")]
pub fn inbound_mistakes() -> Vec<(Value, &'static str)> {
    let rules = |rule: Value| with("inbound/rules", json!([{"paths": ["/a"]}, {}, rule]));
    let introspection =
        |key: &str, value: Value| with(&format!("inbound/introspection/{key}"), value);
    vec![
        (
            json!({"inbound": 1}),
            "inbound: expected an object with introspection and rules, found a number",
        ),
        (json!({"outbound": {}}), "outbound.clients: required: an object of clients by name"),
        (json!({"inbuond": {}}), "inbuond: unknown key; did you mean `inbound`?"),
        (
            json!({"inbound": {"audience": "a"}}),
            "inbound.introspection: required: the introspection endpoint",
        ),
        (with("inbound/scop", json!("a")), "inbound.scop: unknown key; did you mean `scope`?"),
        (
            introspection("time_out", json!("5s")),
            "inbound.introspection.time_out: unknown key; did you mean `timeout`?",
        ),
        (
            introspection("timeout", json!(5)),
            "inbound.introspection.timeout: expected a duration such as \"250ms\", \"5s\", \"1.5s\", \"1m30s\" or \"1h\", found a number",
        ),
        (
            introspection("timeout", json!("5")),
            "inbound.introspection.timeout: expected a duration such as",
        ),
        (
            introspection("timeout", json!("-5s")),
            "inbound.introspection.timeout: expected a duration such as",
        ),
        (
            introspection("timeout", json!("0s")),
            "inbound.introspection.timeout: must be greater than zero and less than 49 days",
        ),
        (
            introspection("timeout", json!("2000h")),
            "inbound.introspection.timeout: must be greater than zero and less than 49 days",
        ),
        (
            introspection("retries", json!(-1)),
            "inbound.introspection.retries: expected a whole number from 0 to 10",
        ),
        (
            introspection("retries", json!(11)),
            "inbound.introspection.retries: expected a whole number from 0 to 10",
        ),
        (
            introspection("retries", json!("1")),
            "inbound.introspection.retries: expected a whole number from 0 to 10, found a string",
        ),
        (
            introspection("endpoint", json!(null)),
            "inbound.introspection.endpoint: expected an absolute URL such as",
        ),
        (
            introspection("endpoint", json!("/introspect")),
            "inbound.introspection.endpoint: expected an absolute URL such as",
        ),
        (
            introspection("endpoint", json!("ftp://as.test/")),
            "inbound.introspection.endpoint: expected an http or https URL",
        ),
        (
            introspection("endpoint", json!("https://as.test/#x")),
            "inbound.introspection.endpoint: must not have a fragment (RFC 6749 section 3.2)",
        ),
        (
            introspection("endpoint", json!("https://u:p@as.test/")),
            "inbound.introspection.endpoint: must not contain user information; use client_id \
             and client_secret",
        ),
        (
            introspection("endpoint", json!("https://u@as.test/")),
            "inbound.introspection.endpoint: must not contain user information; use client_id \
             and client_secret",
        ),
        (
            introspection("endpoint", json!("https://:p@as.test/")),
            "inbound.introspection.endpoint: must not contain user information; use client_id \
             and client_secret",
        ),
        (
            introspection("endpoint", json!(" https://as.test/")),
            "inbound.introspection.endpoint: must be ASCII without spaces, backslashes and \
             \"<>^`{|}; percent-encode these, and write hosts as xn--…",
        ),
        (
            introspection("endpoint", json!("https://")),
            "inbound.introspection.endpoint: expected an absolute URL such as",
        ),
        (
            introspection("cluster", json!("")),
            "inbound.introspection.cluster: expected an Envoy cluster name, found an empty string",
        ),
        (
            introspection("headers", json!([])),
            "inbound.introspection.headers: expected an object of headers",
        ),
        (
            introspection("headers", json!({"a b": "c"})),
            "inbound.introspection.headers.a b: invalid header name; expected letters, digits, \
             -, _ and .",
        ),
        (
            introspection("headers", json!({":path": "/"})),
            "inbound.introspection.headers.:path: invalid header name; expected letters, \
             digits, -, _ and .",
        ),
        (
            introspection("headers", json!({"a": "b\r\nc: d"})),
            "inbound.introspection.headers.a: must be printable ASCII",
        ),
        (
            introspection("headers", json!({"Host": "b"})),
            "inbound.introspection.headers.Host: reserved: the proxy sets this header",
        ),
        (
            introspection("headers", json!({"x-envoy-max-retries": "9"})),
            "inbound.introspection.headers.x-envoy-max-retries: reserved: the proxy sets this \
             header",
        ),
        (
            introspection("headers", json!({"Authorization": "b"})),
            "inbound.introspection.headers: `authorization` is set by client authentication; remove it, or use \
             auth_method \"none\"",
        ),
        (
            introspection("parameters", json!({"token": "b"})),
            "inbound.introspection.parameters.token: reserved: the filter sends this parameter \
             (RFC 6749 section 3.2)",
        ),
        (
            introspection("parameters", json!({"client_id": "b"})),
            "inbound.introspection.parameters.client_id: reserved: the filter sends this \
             parameter (RFC 6749 section 3.2)",
        ),
        (
            introspection("parameters", json!({"a": 1})),
            "inbound.introspection.parameters.a: expected a string, found a number",
        ),
        (
            introspection("token_type", json!("bearer")),
            "inbound.introspection.token_type: expected \"optional\" or \"required\"",
        ),
        (
            introspection("token_type", json!(true)),
            "inbound.introspection.token_type: expected \"optional\" or \"required\"",
        ),
        (
            introspection("token_type_hint", json!(null)),
            "inbound.introspection.token_type_hint: expected a string",
        ),
        (
            introspection("client_secret", json!({"env": "UNSET"})),
            "inbound.introspection.client_secret.env: environment variable `UNSET` is unset or \
             empty; pass it to the VM with vm_config.environment_variables (Istio: vmConfig.env, \
             Envoy Gateway: env.hostKeys)",
        ),
        (
            introspection("client_secret", json!({"env": "EMPTY"})),
            "inbound.introspection.client_secret.env: environment variable `EMPTY` is unset or \
             empty; pass it to the VM with vm_config.environment_variables (Istio: vmConfig.env, \
             Envoy Gateway: env.hostKeys)",
        ),
        (
            introspection("client_secret", json!({"path": "x"})),
            "inbound.introspection.client_secret.env: required: an environment variable of the VM; \
             inbound.introspection.client_secret.path: unknown key",
        ),
        (
            introspection("client_secret", json!("")),
            "inbound.introspection.client_secret: expected a secret, found an empty string",
        ),
        (
            introspection("client_secret", json!(1)),
            "inbound.introspection.client_secret: expected a secret as a string, or {\"env\": \
             \"NAME\"}, found a number",
        ),
        (
            introspection("auth_method", json!("basic")),
            "inbound.introspection.auth_method: expected \"client_secret_basic\"",
        ),
        (
            introspection("auth_method", json!("none")),
            "inbound.introspection.client_secret: not used by auth_method \"none\"",
        ),
        (
            introspection("auth_method", json!("client_secret_jwt")),
            "inbound.introspection.auth_method: expected \"client_secret_basic\"",
        ),
        (
            with("inbound/introspection", json!({"endpoint": "https://as.test/"})),
            "inbound.introspection.client_secret: required: set client_id and client_secret, \
             or auth_method \"none\" if the server requires no client authentication (RFC 7662 \
             section 2.1, RFC 6749 section 4.4.2)",
        ),
        (
            with(
                "inbound/introspection",
                json!({"endpoint": "https://as.test/", "client_id": "a", "auth_method": "client_secret_post"}),
            ),
            "inbound.introspection.client_secret: required by this auth_method",
        ),
        (
            with(
                "inbound/introspection",
                json!({"endpoint": "https://as.test/", "client_secret": "a"}),
            ),
            "inbound.introspection.client_id: required with client_secret",
        ),
        (
            with("inbound/introspection", json!([{}])),
            "inbound.introspection[0].endpoint: required: the endpoint URL; ",
        ),
        (
            with("inbound/cache", json!({"max_ttl": 60})),
            "inbound.cache.max_ttl: expected a duration",
        ),
        (
            with("inbound/cache", json!({"max_ttl": "8784h1ms"})),
            "inbound.cache.max_ttl: must not be longer than a year",
        ),
        (
            with("inbound/cache", json!({"max_entries": 1_000_001})),
            "inbound.cache.max_entries: expected a whole number from 0 to 1000000",
        ),
        (
            with("inbound/realm", json!("")),
            "inbound.realm: expected a realm, found an empty string",
        ),
        (with("inbound/realm", json!("a\nb")), "inbound.realm: must be printable ASCII"),
        (
            with("inbound/scope", json!("")),
            "inbound.scope: must not be empty; omit the key if no scope is required",
        ),
        (
            with("inbound/scope", json!(["a", " "])),
            "inbound.scope[1]: must not be empty; omit the key if no scope is required",
        ),
        (
            with("inbound/scope", json!([])),
            "inbound.scope: must not be empty; expected scopes such as \"a b\" for both, [\"a\", \
             \"b\"] for either",
        ),
        (
            with("inbound/scope", json!("a\"b")),
            "inbound.scope: invalid scope; expected visible ASCII characters except \" and \\ \
             (RFC 6749 section 3.3)",
        ),
        (
            with("inbound/scope", json!({"a": 1})),
            "inbound.scope: expected scopes such as \"a b\" for both, [\"a\", \"b\"] for \
             either, found an object",
        ),
        (
            with("inbound/audience", json!(null)),
            "inbound.audience: expected an audience, or a list of them, found null",
        ),
        (
            with("inbound/audience", json!([])),
            "inbound.audience: must not be empty; expected an audience, or a list of them",
        ),
        (
            with("inbound/issuer", json!(["", "a"])),
            "inbound.issuer[0]: expected an issuer, found an empty string",
        ),
        (
            with("inbound/scope_claim", json!("")),
            "inbound.scope_claim: expected a claim name, with dots for nested claims, found an \
             empty string",
        ),
        (
            with("inbound/scope_claim", json!(["scope", ""])),
            "inbound.scope_claim[1]: expected a claim name, with dots for nested claims, found an \
             empty string",
        ),
        (with("inbound/scope_claim", json!([])), "inbound.scope_claim: must not be empty"),
        (
            introspection("scope_claim", json!({})),
            "inbound.introspection.scope_claim: expected a claim name, with dots for nested \
             claims, or a list of them, found an object",
        ),
        (
            introspection("scope_wildcards", json!("yes")),
            "inbound.introspection.scope_wildcards: expected a boolean",
        ),
        (
            with("inbound/scope_wildcards", json!("*")),
            "inbound.scope_wildcards: expected a boolean",
        ),
        (with("inbound/clock_skew", json!(true)), "inbound.clock_skew: expected a duration"),
        (
            introspection("endpoint", json!("https:///introspect")),
            "inbound.introspection.endpoint: expected an absolute URL such as",
        ),
        (
            introspection("endpoint", json!("https://as.test:0/")),
            "inbound.introspection.endpoint: expected a host name or address, with a port from \
             1 to 65535 or none",
        ),
        (
            introspection("headers", json!({"X-A": "b", "x-a": "c"})),
            "inbound.introspection.headers.x-a: duplicate header; names are case-insensitive",
        ),
        (
            introspection("headers", json!({"x\na": "b"})),
            "inbound.introspection.headers.x\\na: invalid header name; expected letters, \
             digits, -, _ and .",
        ),
        (
            rules(json!({"methods": ["*"]})),
            "inbound.rules[2].methods[0]: expected a method in upper case such as \"GET\"; \
             omit the key for all methods",
        ),
        (
            rules(json!({"claims": {"uid": 123_456_789_012_345_678_901.0}})),
            "inbound.rules[2].claims.uid: number too large for an exact comparison",
        ),
        (
            with("inbound/clock_skew", json!("8785h")),
            "inbound.clock_skew: must not be longer than a year",
        ),
        (
            with("inbound/max_age", json!("8785h")),
            "inbound.max_age: must not be longer than a year",
        ),
        (
            with(
                "inbound/token_sources",
                json!([{"header": "a", "scheme": "b"}, {"header": "A", "scheme": "B"}]),
            ),
            "inbound.token_sources[1]: duplicate token source",
        ),
        (
            with(
                "inbound/resource_metadata",
                json!({"resource": "https://a.test/", "authorization_servers": ["not a url"]}),
            ),
            "inbound.resource_metadata.authorization_servers[0]: must be ASCII without spaces, \
             backslashes and \"<>^`{|}; percent-encode these, and write hosts as xn--…",
        ),
        (
            with(
                "inbound/resource_metadata",
                json!({"resource": "https://a.test/", "jwks_uri": "none"}),
            ),
            "inbound.resource_metadata.jwks_uri: expected an absolute URL",
        ),
        (
            with(
                "inbound/resource_metadata",
                json!({"resource": "https://a.test/", "resource_documentation#de": "a b#c"}),
            ),
            "inbound.resource_metadata.resource_documentation#de: expected an absolute URL",
        ),
        (
            with("inbound/unmatched", json!("allow")),
            "inbound.unmatched: expected \"deny\", \"token\" or \"public\"",
        ),
        (
            with("inbound/encoded_slash", json!("decode")),
            "inbound.encoded_slash: expected \"refuse\" or \"keep\"",
        ),
        (
            with("inbound/rules", json!({})),
            "inbound.rules: expected a list of rules, found an object",
        ),
        (
            with("inbound/rules", json!([])),
            "inbound.rules: must not be empty; expected a list of rules",
        ),
        (
            rules(json!("x")),
            "inbound.rules[2]: expected an object with hosts, methods, paths, access, found a \
             string",
        ),
        (
            rules(json!({"path": ["/a"]})),
            "inbound.rules[2].path: unknown key; did you mean `paths`?",
        ),
        (rules(json!({"paths": "/a"})), "inbound.rules[2].paths: expected a list of paths"),
        (
            rules(json!({"paths": []})),
            "inbound.rules[2].paths: must not be empty; expected a list of paths such as \
             \"/orders/**\"",
        ),
        (rules(json!({"paths": ["a"]})), "inbound.rules[2].paths[0]: must begin with a slash"),
        (
            rules(json!({"paths": ["/a", "/a/**/b"]})),
            "inbound.rules[2].paths[1]: `**` must be the last segment",
        ),
        (
            rules(json!({"paths": ["/a*b*"]})),
            "inbound.rules[2].paths[0]: a segment must not contain `*` more than once",
        ),
        (
            rules(json!({"paths": ["/*%3Bv=1"]})),
            "inbound.rules[2].paths[0]: a segment with parameters (`;`) must not contain `*`",
        ),
        (
            rules(json!({"paths": ["/a%2fb"]})),
            "inbound.rules[2].paths[0]: must not contain an encoded slash, dot segment, empty \
             segment except the last, backslash, control character or invalid escape: such \
             requests get 400",
        ),
        (
            rules(json!({"methods": ["get"]})),
            "inbound.rules[2].methods[0]: expected a method in upper case such as \"GET\"; \
             omit the key for all methods",
        ),
        (
            rules(json!({"headers": ["a"]})),
            "inbound.rules[2].headers: expected an object of headers",
        ),
        (rules(json!({"headers": {}})), "inbound.rules[2].headers: must not be empty; expected"),
        (
            rules(json!({"headers": {"x a": "b"}})),
            "inbound.rules[2].headers.x a: invalid header name; expected letters, digits, -, _ \
             and .",
        ),
        (
            rules(json!({"headers": {":path": "/"}})),
            "inbound.rules[2].headers.:path: invalid header name",
        ),
        (
            rules(json!({"headers": {"x": 1}})),
            "inbound.rules[2].headers.x: expected a value, a list of alternatives, {\"prefix\": \
             \"…\"} or {\"absent\": true}, found a number",
        ),
        (
            rules(json!({"headers": {"x": ""}})),
            "inbound.rules[2].headers.x: expected a value, found an empty string",
        ),
        (rules(json!({"headers": {"x": []}})), "inbound.rules[2].headers.x: must not be empty"),
        (
            rules(json!({"headers": {"x": ["a", "=?Base64?YQ==?="]}})),
            "inbound.rules[2].headers.x[1]: encoded; write the text that it stands for",
        ),
        (
            rules(json!({"headers": {"x": {"prefix": "=?base64?"}}})),
            "inbound.rules[2].headers.x.prefix: encoded; write the text that it stands for",
        ),
        (
            rules(json!({"headers": {"x": {"prefix": ""}}})),
            "inbound.rules[2].headers.x.prefix: expected a value, found an empty string",
        ),
        (
            rules(json!({"headers": {"x": {"absent": false}}})),
            "inbound.rules[2].headers.x.absent: expected true",
        ),
        (
            rules(json!({"headers": {"x": {"prefix": "a", "absent": true}}})),
            "inbound.rules[2].headers.x: expected a value, a list of alternatives",
        ),
        (
            rules(json!({"headers": {"x": {"suffix": "a"}}})),
            "inbound.rules[2].headers.x.suffix: unknown key; expected one of: prefix, absent",
        ),
        (
            rules(json!({"headers": {"Host": "a"}})),
            "inbound.rules[2].headers.Host: must not be `host`, a header with credentials, or one \
             that the filter sets",
        ),
        (
            rules(json!({"headers": {"Cookie": {"absent": true}}})),
            "inbound.rules[2].headers.Cookie: must not be `host`, a header with credentials, or one",
        ),
        (
            rules(json!({"headers": {"authorization": {"prefix": "Bearer "}}})),
            "inbound.rules[2].headers.authorization: must not be `host`, a header with credentials",
        ),
        (
            rules(json!({"headers": {"X-A": "b", "x-a": "c"}})),
            "inbound.rules[2].headers.x-a: duplicate header; services may treat all characters \
             other than letters and digits as equal",
        ),
        (
            {
                let mut document = with("inbound/rules", json!([{"headers": {"x_token": "a"}}]));
                document["inbound"]["token_sources"] = json!([{"header": "x-token"}]);
                document
            },
            "inbound.rules[0].headers.x_token: must not be `host`, a header with credentials",
        ),
        (
            {
                let of_ours = json!({"headers": {"X-User": {"absent": true}}});
                let mut document = with("inbound/rules", json!([{}, of_ours]));
                document["inbound"]["forward"] = json!({"claims": {"x-user": "sub"}});
                document
            },
            "inbound.rules[1].headers.X-User: must not be `host`, a header with credentials, or one",
        ),
        (
            rules(json!({"headers": {"x-a": "b", "x_a": "c"}})),
            "inbound.rules[2].headers.x_a: duplicate header; services may treat all characters",
        ),
        (
            rules(json!({"hosts": ["a.test:80"]})),
            "inbound.rules[2].hosts[0]: expected a host such as",
        ),
        (
            rules(json!({"access": "allow"})),
            "inbound.rules[2].access: expected \"token\", \"optional\", \"public\" or \"deny\"",
        ),
        (
            rules(json!({"access": "public", "scope": "a"})),
            "inbound.rules[2].scope: conflicts with access \"public\"; remove one of the two",
        ),
        (
            rules(json!({"mcp": ["tools/call"]})),
            "inbound.rules[2].mcp: expected an object with methods, tools, found a list",
        ),
        (rules(json!({"mcp": {}})), "inbound.rules[2].mcp: expected methods, tools or both"),
        (
            rules(json!({"mcp": {"tool": ["a"], "methods": ["ping"]}})),
            "inbound.rules[2].mcp.tool: unknown key; did you mean `tools`?",
        ),
        (
            rules(json!({"mcp": {"tools": []}})),
            "inbound.rules[2].mcp.tools: must not be empty; expected a list of tools such as",
        ),
        (
            rules(json!({"mcp": {"tools": ["a", "a*b"]}})),
            "inbound.rules[2].mcp.tools[1]: expected a name, or its beginning and `*`",
        ),
        (
            rules(json!({"mcp": {"tools": ["*"]}})),
            "inbound.rules[2].mcp.tools[0]: expected a name, or its beginning and `*`",
        ),
        (
            rules(json!({"mcp": {"tools": [""]}})),
            "inbound.rules[2].mcp.tools[0]: expected a name, or its beginning and `*`",
        ),
        (
            rules(json!({"mcp": {"methods": ["__jsonrpc_response"]}})),
            "inbound.rules[2].mcp.methods[0]: expected a name, or its beginning and `*`; \
             `__jsonrpc_response` is always refused",
        ),
        (
            rules(json!({"mcp": {"methods": ["tools/list"], "tools": ["a"]}})),
            "inbound.rules[2].mcp.tools: requires \"tools/call\" in `methods`, or no `methods`",
        ),
        (
            rules(json!({"methods": ["GET", "PUT"], "mcp": {"tools": ["a"]}})),
            "inbound.rules[2].mcp: requires \"POST\" in the `methods` of the rule",
        ),
        (
            rules(json!({"access": "deny", "audience": "a"})),
            "inbound.rules[2].audience: conflicts with access \"deny\"; remove one of the two",
        ),
        (
            with("inbound/forward", json!({"token": "no"})),
            "inbound.forward.token: expected a boolean, found a string",
        ),
        (
            with("inbound/forward", json!({"claims": {"x user": "sub"}})),
            "inbound.forward.claims.x user: invalid header name; expected letters, digits, -, \
             _ and .",
        ),
        (
            with("inbound/forward", json!({"claims": {"Authorization": "sub"}})),
            "inbound.forward.claims.Authorization: reserved header; choose another",
        ),
        (
            with("inbound/forward", json!({"claims": {"Sec-WebSocket-Protocol": "sub"}})),
            "inbound.forward.claims.Sec-WebSocket-Protocol: reserved header; choose another",
        ),
        (
            with("inbound/forward", json!({"claims": {"x-user": ""}})),
            "inbound.forward.claims.x-user: expected a claim name, with dots for nested \
             claims, found an empty string",
        ),
        (
            with("inbound/forward", json!({"token": true, "bearer": {"claim": "jwt"}})),
            "inbound.forward.bearer: conflicts with `token`; remove one of the two",
        ),
        (
            {
                let mut both = with("inbound/forward", json!({"bearer": {"claim": "jwt"}}));
                both["outbound"] =
                    document(client(json!({"header": "Authorization"})))["outbound"].take();
                both
            },
            "inbound.forward.bearer: conflicts with an outbound client that sets `authorization`; \
             give the client another `header`, or remove `bearer`",
        ),
        (
            with("inbound/forward", json!({"bearer": "jwt"})),
            "inbound.forward.bearer: expected an object with claim, found a string",
        ),
        (
            with("inbound/forward", json!({"bearer": {}})),
            "inbound.forward.bearer.claim: required: a claim name",
        ),
        (
            with("inbound/forward", json!({"bearer": {"claim": "jwt", "scheme": "DPoP"}})),
            "inbound.forward.bearer.scheme: unknown key; expected one of: claim",
        ),
        (
            introspection("response_format", json!("JWT")),
            "inbound.introspection.response_format: expected \"json\" or \"jwt\"",
        ),
        (
            with(
                "inbound/introspection",
                json!({
                    "endpoint": "https://as.test/i", "auth_method": "none",
                    "response_format": "jwt", "headers": {"Accept": "application/json"}
                }),
            ),
            "inbound.introspection.headers: `accept` conflicts with `response_format`; remove one \
             of the two",
        ),
        (
            with("inbound/forward", json!({"claims": {"x-user": ["sub"]}})),
            "inbound.forward.claims.x-user: expected a claim name, with dots for nested claims, or \
             an object with claim, encoding, format, found a list",
        ),
        (
            with("inbound/forward", json!({"claims": {"x-user": {"encoding": "percent"}}})),
            "inbound.forward.claims.x-user.claim: required: a claim name",
        ),
        (
            with(
                "inbound/forward",
                json!({"claims": {"x-user": {"claim": "a", "encoding": "b64"}}}),
            ),
            "inbound.forward.claims.x-user.encoding: expected \"percent\" or \"base64url\"",
        ),
        (
            with(
                "inbound/forward",
                json!({"claims": {"x-user": {"claim": "a", "format": "json"}}}),
            ),
            "inbound.forward.claims.x-user.format: expected \"members\"",
        ),
        (
            with(
                "inbound/forward",
                json!({"claims": {"x-user": {"claim": "a", "formt": "members"}}}),
            ),
            "inbound.forward.claims.x-user.formt: unknown key; did you mean `format`?",
        ),
        (
            with("inbound/forward", json!({"claims": {"x-user": "sub", "x_user": "sub"}})),
            "inbound.forward.claims.x_user: duplicate header; services may treat all \
             characters other than letters and digits as equal",
        ),
        (
            with("inbound/forward", json!({"claims": {"x-user": "sub"}, "payload": "X-User"})),
            "inbound.forward.payload: duplicate header; services may treat all characters \
             other than letters and digits as equal",
        ),
        (
            with("inbound/token_sources", json!([])),
            "inbound.token_sources: must not be empty; expected a list of token sources, such \
             as {\"header\": \"x-token\"}",
        ),
        (
            with("inbound/token_sources", json!([{"header": "a", "query": "b"}])),
            "inbound.token_sources[0]: expected exactly one of header, query, cookie, \
             websocket_protocol and basic",
        ),
        (
            with("inbound/token_sources", json!([{"query": "a", "scheme": "b"}])),
            "inbound.token_sources[0].scheme: requires `header`",
        ),
        (
            with("inbound/token_sources", json!([{"header": "authorization", "scheme": "Basic"}])),
            "inbound.token_sources[0].scheme: Basic credentials are not tokens; the filter would \
             send callers' passwords to the authorization server",
        ),
        (
            with(
                "inbound/token_sources",
                json!([{"query": "a"}, {"header": "Proxy-Authorization", "scheme": "bASIC"}]),
            ),
            "inbound.token_sources[1].scheme: Basic credentials are not tokens; the filter \
             would send callers' passwords to the authorization server",
        ),
        (
            with("inbound/token_sources", json!([{"header": "Authorization"}])),
            "inbound.token_sources[0].header: `authorization` requires a scheme; add \
             \"scheme\": \"Bearer\"",
        ),
        (
            with("inbound/token_sources", json!([{"header": "cookie"}])),
            "inbound.token_sources[0].header: reserved header; use {\"cookie\": \"NAME\"}",
        ),
        (
            with("inbound/token_sources", json!([{"header": "Host"}])),
            "inbound.token_sources[0].header: reserved header; choose another",
        ),
        (
            with("inbound/token_sources", json!([{"cookie": "a b"}])),
            "inbound.token_sources[0].cookie: expected a cookie name",
        ),
        (
            with("inbound/token_sources", json!([{"header": "a"}, {"header": "A", "scheme": "b"}])),
            "inbound.token_sources[1]: duplicate token source",
        ),
        (
            with("inbound/token_sources", json!([{"basic": "username"}])),
            "inbound.token_sources[0].basic: expected \"password\"",
        ),
        (
            with("inbound/token_sources", json!([{"basic": "password"}, {"basic": "password"}])),
            "inbound.token_sources[1]: duplicate token source",
        ),
        (
            with("inbound/token_sources", json!([{"basic": "password", "scheme": "Basic"}])),
            "inbound.token_sources[0].scheme: requires `header`",
        ),
        (
            with("inbound/token_sources", json!([{"websocket_protocol": "bearer, v1"}])),
            "inbound.token_sources[0].websocket_protocol: expected a subprotocol such as",
        ),
        (
            with("inbound/token_sources", json!([{"websocket_protocol": ""}])),
            "inbound.token_sources[0].websocket_protocol: expected a subprotocol such as",
        ),
        (
            with(
                "inbound/token_sources",
                json!([{"websocket_protocol": "a"}, {"websocket_protocol": "A"}]),
            ),
            "inbound.token_sources[1]: duplicate token source",
        ),
        (
            with(
                "inbound/token_sources",
                json!([{"header": "Sec_WebSocket_Protocol"}, {"websocket_protocol": "a"}]),
            ),
            "inbound.token_sources[1]: duplicate token source",
        ),
        (
            with("inbound/rules", json!([{}, {"max_ttl": "61s"}])),
            "inbound.rules[1].max_ttl: must not be longer than cache.max_ttl",
        ),
        (
            with("inbound/rules", json!([{"max_ttl": 5}])),
            "inbound.rules[0].max_ttl: expected a duration",
        ),
        (
            with("inbound/rules", json!([{"access": "public", "max_ttl": "0s"}])),
            "inbound.rules[0].max_ttl: conflicts with access \"public\"; remove one of the two",
        ),
        (
            with("inbound/token_precedence", json!("last")),
            "inbound.token_precedence: expected \"single\" or \"first\"",
        ),
        (
            with("inbound/max_token_bytes", json!(49153)),
            "inbound.max_token_bytes: expected a whole number from 1 to 49152",
        ),
        (
            with("inbound/max_token_bytes", json!(0)),
            "inbound.max_token_bytes: expected a whole number from 1 to 49152",
        ),
        (
            with("inbound/cache", json!({"stale_if_error": 5})),
            "inbound.cache.stale_if_error: expected a duration",
        ),
        (
            with("inbound/scope_implies", json!({"a": ["b"], "b": "a"})),
            "inbound.scope_implies: `a` implies itself; remove the cycle",
        ),
        (
            with("inbound/scope_implies", json!({"a": [1]})),
            "inbound.scope_implies.a[0]: expected an implied scope, found a number",
        ),
        (
            with("inbound/scope_implies", json!({"a": "b c"})),
            "inbound.scope_implies.a: invalid scope; expected visible ASCII characters except \
             \" and \\ (RFC 6749 section 3.3)",
        ),
        (
            with("inbound/scope_implies", json!({"a b": ["c"]})),
            "inbound.scope_implies.a b: invalid scope; expected visible ASCII characters \
             except \" and \\ (RFC 6749 section 3.3)",
        ),
        (with("inbound/claims", json!([])), "inbound.claims: expected an object of claims"),
        (with("inbound/claims", json!({"a": null})), "inbound.claims.a: expected a value, a list"),
        (
            with("inbound/claims", json!({"a": []})),
            "inbound.claims.a: must not be empty; expected a string, number or boolean, or a list \
             of these",
        ),
        (
            with("inbound/claims", json!({"a": [{}]})),
            "inbound.claims.a[0]: expected a string, number or boolean",
        ),
        (
            with("inbound/claims", json!({"a": {"all": ["b"], "not": "c"}})),
            "inbound.claims.a: expected a value, a list",
        ),
        (
            with("inbound/claims", json!({"a": {"exists": false}})),
            "inbound.claims.a.exists: expected true",
        ),
        (
            with("inbound/claims", json!({"a": {"members": []}})),
            "inbound.claims.a.members: must not be empty; expected the name of a member, or a list \
             of them",
        ),
        (
            with("inbound/claims", json!({"a": {"members": [1]}})),
            "inbound.claims.a.members[0]: expected the name of a member, found a number",
        ),
        (
            with("inbound/claims", json!({"a": {"members": "b", "exists": true}})),
            "inbound.claims.a: expected a value, a list",
        ),
        (
            with("inbound/claims", json!({"a": {"any": ["b"]}})),
            "inbound.claims.a.any: unknown key; did you mean `all`?",
        ),
        (
            with("inbound/acr_values", json!(" ")),
            "inbound.acr_values: expected authentication context class references",
        ),
        (with("inbound/max_age", json!(300)), "inbound.max_age: expected a duration"),
        (
            with("inbound/max_age", json!("1500ms")),
            "inbound.max_age: must be whole seconds (RFC 9470 section 4)",
        ),
        (
            with("inbound/allow_cors_preflight", json!("yes")),
            "inbound.allow_cors_preflight: expected a boolean",
        ),
        (
            with("inbound/sender_constraint", json!({"mtls": "on"})),
            "inbound.sender_constraint.mtls: expected \"off\", \"optional\" or \"required\"",
        ),
        (
            with("inbound/sender_constraint", json!({"dpop": "off"})),
            "inbound.sender_constraint.dpop: unknown key",
        ),
        (
            with("inbound/resource_metadata", json!({})),
            "inbound.resource_metadata.resource: required",
        ),
        (
            with("inbound/resource_metadata", json!({"resource": "https://A.test/"})),
            "inbound.resource_metadata.resource: expected a normalized URL: lowercase scheme \
             and host, no default port, no dot segments, a slash before a query",
        ),
        (
            with("inbound/resource_metadata", json!({"resource": "https://a.test", "scope": []})),
            "inbound.resource_metadata.scope: unknown key; not defined by RFC 9728 section 2",
        ),
        (
            with(
                "inbound/resource_metadata",
                json!({"resource": "https://a.test", "scopes_supported": "a"}),
            ),
            "inbound.resource_metadata.scopes_supported: expected a list of strings",
        ),
        (
            with("inbound/resource_metadata", json!("https://a.test")),
            "inbound.resource_metadata: expected an RFC 9728 document with resource, or a list of \
             them, found a string",
        ),
        (
            with("inbound/resource_metadata", json!([])),
            "inbound.resource_metadata: must not be empty; expected a list of objects",
        ),
        (
            with("inbound/resource_metadata", json!([{"resource": "https://a.test"}, {}])),
            "inbound.resource_metadata[1].resource: required",
        ),
        (
            with("inbound/resource_metadata", json!([{"resource": "https://a.test/b?c=d"}])),
            "inbound.resource_metadata[0]: `resource` has a query; in a list, requests are \
             assigned by host and path",
        ),
        (
            with(
                "inbound/resource_metadata",
                json!([
                    {"resource": "https://a.test/b"}, {"resource": "https://a.test"},
                    {"resource": "http://a.test:8080/%62/"}
                ]),
            ),
            "inbound.resource_metadata[2]: `resource` has the host and path of another one; \
             remove one of the two",
        ),
        (
            cors(json!({"allow_methods": ["GET"]})),
            "inbound.cors.allow_origins: required: the origins of scripts",
        ),
        (
            cors(json!({"allow_origins": ["https://a.test", "*"]})),
            "inbound.cors.allow_origins: expected an origin as browsers send it, such as \
             \"https://app.example.com\": in lower case, without default port, path and slash at \
             the end; not \"*\" or \"null\"",
        ),
        (
            cors(json!({"allow_origins": []})),
            "inbound.cors.allow_origins: must not be empty; expected an origin, or a list of them",
        ),
        (
            cors(json!({"allow_origins": ["https://a.test"], "allow_methods": ["get"]})),
            "inbound.cors.allow_methods: expected methods in upper case such as \"GET\"",
        ),
        (
            cors(json!({"allow_origins": ["https://a.test"], "allow_headers": ["*"]})),
            "inbound.cors.allow_headers: expected names of headers, or the beginning of one and \
             an asterisk",
        ),
        (
            cors(json!({"allow_origins": ["https://a.test"], "max_age": "1500ms"})),
            "inbound.cors.max_age: must be whole seconds",
        ),
        (
            cors(json!({"allow_origins": ["https://a.test"], "expose_headers": ["a"]})),
            "inbound.cors.expose_headers: unknown key; expected one of: allow_origins, \
             allow_methods, allow_headers, max_age, allow_credentials",
        ),
        (
            cors_and("token_sources", json!([{"cookie": "a"}])),
            "inbound.cors.allow_credentials: must be true: without it, browsers do not send the \
             cookie of `token_sources`",
        ),
        (
            cors_and("allow_cors_preflight", json!(true)),
            "inbound.allow_cors_preflight: conflicts with `cors`, with which the filter answers \
             preflights; remove one of the two",
        ),
        (
            resources_with("audience", json!(["*", "a"])),
            "inbound.audience: \"*\" accepts any audience; remove the others",
        ),
        (introspection("client", json!("billing")), "inbound.introspection.client: unknown client"),
        (
            introspection("when", json!({"issuers": []})),
            "inbound.introspection.when.issuers: unknown key; did you mean `issuer`?",
        ),
        (
            introspection("when", json!({"hosts": ["a:80"]})),
            "inbound.introspection.when.hosts[0]: expected a host",
        ),
        (
            with("inbound/introspection", json!([])),
            "inbound.introspection: must not be empty; expected a list of objects, each an \
             object with endpoint, cluster, client_id, client_secret",
        ),
    ]
}

/// Documents with a mistake among `clients` and `rules`, its place, and how its message begins.
pub fn rule_mistakes() -> Vec<Row> {
    let endless = json!({"a": with_grant(EXCHANGE, json!({"actor": "a"}))});
    let chain = json!({
        "a": with_grant(EXCHANGE, json!({"actor": "b"})), "b": with_grant(EXCHANGE, json!({})),
    });
    vec![
        (json!({"outbound": 1}), "outbound", "expected an object with clients and rules"),
        (json!({"outbound": {}}), "outbound.clients", "required: an object of clients"),
        (json!({"outbound": {"clients": []}}), "outbound.clients", "expected an object of clients"),
        (
            json!({"outbound": {"clients": {}}}),
            "outbound.clients",
            "must define at least one client",
        ),
        (
            json!({"outbound": {"clients": {"": client(json!({}))}}}),
            "outbound.clients.",
            "a client name must not be empty",
        ),
        (
            json!({"outbound": {"clients": {"a": client(json!({}))}, "client": "a"}}),
            "outbound.client",
            "unknown key; did you mean `clients`?",
        ),
        (
            json!({"outbound": {"clients": rules(json!(0))["outbound"]["clients"]}}),
            "outbound.rules",
            "required with several clients; expected rules such as [{\"hosts\": \
             [\"api.example.com\"], \"client\": \"NAME\"}]",
        ),
        (rules(json!({})), "outbound.rules", "expected a list of rules, found an object"),
        (rules(json!([])), "outbound.rules", "must not be empty; expected"),
        (
            rules(json!(["a"])),
            "outbound.rules[0]",
            "expected an object with hosts, methods, paths, client, found a string",
        ),
        (
            rules(json!([{"hosts": ["a.test"]}])),
            "outbound.rules[0].client",
            "required: a client name, or null",
        ),
        (
            rules(json!([{"hosts": ["a.test"], "client": "c"}])),
            "outbound.rules[0].client",
            "unknown client; known clients: a, b",
        ),
        (
            rules(json!([{"hosts": ["a.test"], "client": false}])),
            "outbound.rules[0].client",
            "expected a client name, found",
        ),
        (
            rules(json!([{"host": ["a.test"], "client": "a"}])),
            "outbound.rules[0].host",
            "unknown key; did you mean `hosts`?",
        ),
        (
            rules(json!([{"client": "a", "hosts": ["https://a.test"]}])),
            "outbound.rules[0].hosts[0]",
            "expected a host such as",
        ),
        (
            rules(json!([{"client": "a", "hosts": ["a.test"], "paths": ["x"]}])),
            "outbound.rules[0].paths[0]",
            "must begin with a slash",
        ),
        (
            rules(json!([{"client": "a", "hosts": ["a.test"], "access": "deny"}])),
            "outbound.rules[0].access",
            "unknown key; expected one of: name, hosts, methods, paths, client",
        ),
        (
            clients(endless),
            "outbound.clients.a.actor",
            "must be a client that does not use token exchange",
        ),
        (
            clients(chain),
            "outbound.clients.a.actor",
            "must be a client that does not use token exchange",
        ),
        (
            json!({
                "inbound": {
                    "introspection": {"endpoint": "https://as.test/introspect", "client": "a"},
                    "audience": "x",
                },
                "outbound": {"clients": {"a": with_grant(EXCHANGE, json!({}))}},
            }),
            "outbound.clients.a.grant_type",
            "a client that authenticates introspection calls must not use token exchange",
        ),
    ]
}

/// Clients with a mistake in what their grant needs.
pub fn grant_mistakes() -> Vec<Row> {
    let no_type = client(json!({"grant_type": null}));
    let known = "required: \"client_credentials\", \"password\", \"refresh_token\", ";
    let mut mistakes = vec![
        (
            json!("a"),
            "",
            "expected an object with grant_type, endpoint, client_id, client_secret, found a \
             string",
        ),
        (no_type, "grant_type", known),
        (client(json!({"grant_type": 1})), "grant_type", "expected a grant type, found"),
        (client(json!({"grant_type": "implicit"})), "grant_type", "expected one of \"client_cred"),
        (client(json!({"grant_type": "authorization_code"})), "grant_type", "expected one of"),
        // What each grant needs.
        (password(json!({"username": null})), "username", "required: the user name"),
        (password(json!({"password": null})), "password", "required: the user's password"),
        (
            password(json!({"password": 1})),
            "password",
            "expected a secret as a string, or {\"env\": \"NAME\"}, found a number",
        ),
        (
            with_grant("refresh_token", json!({"refresh_token": null})),
            "refresh_token",
            "required: the refresh token",
        ),
        (
            with_grant("refresh_token", json!({"refresh_token": {"env": "UNSET"}})),
            "refresh_token.env",
            "environment variable `UNSET` is unset or empty; pass it to the VM with \
             vm_config.environment_variables (Istio: vmConfig.env, \
             Envoy Gateway: env.hostKeys)",
        ),
        (json!({"grant_type": "direct_token"}), "access_token", "required: the access token"),
        (direct(json!({"access_token": "s3cr3t two"})), "access_token", "must be visible ASCII"),
        (direct(json!({"expires_in": 60})), "expires_in", "expected a duration such as"),
        (direct(json!({"expires_in": "0s"})), "expires_in", "must be greater than zero"),
        (with_grant(JWT_BEARER, json!({"assertion": null})), "assertion", "required: a JWT"),
        (
            with_grant(EXCHANGE, json!({"subject_token_type": ""})),
            "subject_token_type",
            "expected a token type such as",
        ),
        (
            with_grant(EXCHANGE, json!({"requested_token_type": []})),
            "requested_token_type",
            "expected a token type such as",
        ),
        (with_grant(EXCHANGE, json!({"actor": "b"})), "actor", "unknown client; known clients: a"),
        // What is asked for.
        (
            client(json!({"scope": ["a"]})),
            "scope",
            "expected space-separated scopes such as \"orders:read orders:write\",",
        ),
        (
            client(json!({"scope": " "})),
            "scope",
            "must not be empty; omit the key to request no scope",
        ),
        (
            client(json!({"scope": "a\"b"})),
            "scope",
            "expected space-separated scopes such as \"orders:read orders:write\", in visible \
             ASCII characters except \" and \\",
        ),
        (client(json!({"audience": ""})), "audience", "expected an audience, found an"),
        (client(json!({"audience": ["a"]})), "audience", "expected an audience, found"),
    ];
    mistakes.extend(keys_of_other_grants());
    mistakes
}

/// Clients with a key of another grant, or with an unknown one.
fn keys_of_other_grants() -> Vec<Row> {
    vec![
        (client(json!({"username": "u"})), "username", "only valid with grant_type password"),
        (
            client(json!({"refresh": false})),
            "refresh",
            "only valid with grant_type password or direct",
        ),
        (
            client(json!({"refresh_token": "s3cr3t"})),
            "refresh_token",
            "only valid with grant_type ref",
        ),
        (
            direct(json!({"refresh_token": "s3cr3t"})),
            "refresh_token",
            "only valid with grant_type refresh_token; for direct_token, set it in `refresh`",
        ),
        (
            client(json!({"access_token": "s3cr3t"})),
            "access_token",
            "only valid with grant_type direct",
        ),
        (
            client(json!({"expires_in": "1h"})),
            "expires_in",
            "only valid with grant_type direct_token",
        ),
        (
            password(json!({"assertion": "s3cr3t"})),
            "assertion",
            "only valid with grant_type urn:ietf",
        ),
        (
            client(json!({"actor": "a"})),
            "actor",
            "only valid with grant_type urn:ietf:params:oauth",
        ),
        (
            password(json!({"subject_token_type": "t"})),
            "subject_token_type",
            "only valid with grant_type urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (client(json!({"scopes": "a"})), "scopes", "unknown key; did you mean `scope`?"),
        (password(json!({"user_name": "s3cr3t"})), "user_name", "unknown key; did you mean `user"),
        (
            with_grant("refresh_token", json!({"refreshtoken": "s3cr3t"})),
            "refreshtoken",
            "unknown key; did you mean `refresh_token`?",
        ),
        (
            client(json!({"client_assertion": "s3cr3t"})),
            "client_assertion",
            "unknown key; expected one of: grant_type, endpoint, cluster,",
        ),
    ]
}

/// Clients with a mistake in `resource`.
pub fn resource_mistakes() -> Vec<Row> {
    vec![
        (
            client(json!({"resource": "https://api.test/#x"})),
            "resource",
            "expected an absolute URI without a fragment (RFC 8707 section 2)",
        ),
        (client(json!({"resource": "/orders"})), "resource", "expected an absolute URI without"),
        (client(json!({"resource": ""})), "resource", "expected an absolute URI, found an empty"),
        (client(json!({"resource": []})), "resource", "must not be empty; expected"),
        (
            client(json!({"resource": ["urn:a", "b"]})),
            "resource[1]",
            "expected an absolute URI without a fragment (RFC 8707 section 2)",
        ),
    ]
}

/// Clients with a mistake in their endpoint.
pub fn endpoint_mistakes() -> Vec<Row> {
    vec![
        (client(json!({"endpoint": null})), "endpoint", "required: the endpoint URL"),
        (client(json!({"endpoint": 1})), "endpoint", "expected an absolute URL such as"),
        (client(json!({"endpoint": "as.test/token"})), "endpoint", "expected an absolute URL such"),
        (client(json!({"endpoint": "ftp://as.test/"})), "endpoint", "expected an http or https"),
        (client(json!({"resource": "https://r/a b"})), "resource", "expected an absolute URI"),
        (
            with_grant("direct_token", json!({"expires_in": "1s"})),
            "expires_in",
            "must be longer than `clock_skew` (default \"1s\")",
        ),
        (
            with_grant("direct_token", json!({"expires_in": "30s", "clock_skew": "30s"})),
            "expires_in",
            "must be longer than `clock_skew` (default \"1s\")",
        ),
        (
            with_grant(EXCHANGE, json!({"overwrite": false})),
            "overwrite",
            "must be true; the caller's token in this header is to be exchanged",
        ),
        (client(json!({"cluster": 1})), "cluster", "expected an Envoy cluster name"),
        (
            client(json!({"timeout": "0s"})),
            "timeout",
            "must be greater than zero and less than 49 days",
        ),
        (client(json!({"retries": 11})), "retries", "expected a whole number from 0 to 10"),
        (
            client(json!({"headers": {"host": "a"}})),
            "headers.host",
            "reserved: the proxy sets this header",
        ),
        (
            client(json!({"headers": {"authorization": "s3cr3t"}})),
            "headers",
            "`authorization` is set by client authentication; remove it, or use auth_method \"none\"",
        ),
        (direct(json!({"timeout": "5s"})), "timeout", "has no effect without `endpoint`"),
        (direct(json!({"client_id": "a"})), "client_id", "has no effect without `endpoint`"),
        // A renewal that could not be done.
        (
            direct(json!({"refresh": {"endpoint": "https://as.test/", "refresh_token": "s3cr3t"}})),
            "refresh.client_secret",
            "required: set client_id and client_secret, or auth_method \"none\" if the server \
             requires no client authentication (RFC 7662 section 2.1, RFC 6749 section 4.4.2)",
        ),
        (
            direct(json!({"refresh": true})),
            "refresh",
            "expected false or an object with endpoint, scope, parameters, found a boolean",
        ),
        (
            with_grant("direct_token", json!({"refresh": {}})),
            "refresh.refresh_token",
            "required: the refresh token",
        ),
        (
            password(json!({"refresh": "no"})),
            "refresh",
            "expected false or an object with endpoint, scope, parameters, found a string",
        ),
        (password(json!({"refresh": null, "retries": []})), "retries", "expected a whole number"),
        (
            password(json!({"refresh": {"refresh_token": "s3cr3t"}})),
            "refresh.refresh_token",
            "unknown key; expected one of:",
        ),
        (
            password(json!({"refresh": {"scopes": "a"}})),
            "refresh.scopes",
            "unknown key; did you mean `scope`?",
        ),
        (
            password(json!({"refresh": {"parameters": {"username": "u"}}})),
            "refresh.parameters.username",
            "reserved: the filter sends this parameter (RFC 6749 section 3.2)",
        ),
        // A mistake in what `refresh` is completed with is told once.
        (
            password(json!({"endpoint": "x", "refresh": {"scope": "a"}})),
            "endpoint",
            "expected an absolute URL such as",
        ),
    ]
}

/// Clients with a mistake in how long or where their token serves.
pub fn service_mistakes() -> Vec<Row> {
    vec![
        (client(json!({"refresh_before": 5})), "refresh_before", "expected a duration such as"),
        (
            client(json!({"refresh_before": "9000h"})),
            "refresh_before",
            "must not be longer than a year",
        ),
        (client(json!({"clock_skew": "-1s"})), "clock_skew", "expected a duration such as"),
        (client(json!({"clock_skew": "8785h"})), "clock_skew", "must not be longer than a year"),
        (
            client(json!({"default_expires_in": "0s"})),
            "default_expires_in",
            "must be greater than zero",
        ),
        (
            client(json!({"renew_on_status": 401})),
            "renew_on_status",
            "expected a list of HTTP statuses from 400 to 599, such as [401], found a number",
        ),
        (
            client(json!({"renew_on_status": [401, 302]})),
            "renew_on_status[1]",
            "expected a whole number from 400 to 599",
        ),
        (client(json!({"renew_on_status": [600]})), "renew_on_status[0]", "expected a whole numb"),
        (client(json!({"renew_on_status": ["401"]})), "renew_on_status[0]", "expected a whole nu"),
        (client(json!({"header": ""})), "header", "expected a header name, found an empty"),
        (
            client(json!({"header": "a b"})),
            "header",
            "invalid header name; expected letters, digits, -, _ and .",
        ),
        (
            client(json!({"header": ":path"})),
            "header",
            "invalid header name; expected letters, digits, -, _ and .",
        ),
        (client(json!({"header": "Host"})), "header", "reserved header; choose another"),
        (client(json!({"header": "content-length"})), "header", "reserved header; choose another"),
        (client(json!({"header": "cookie"})), "header", "reserved header; choose another"),
        (
            client(json!({"header": "x-envoy-retry-on"})),
            "header",
            "reserved header; choose another",
        ),
        (client(json!({"scheme": "Bearer "})), "scheme", "must be one word such as \"Bearer\""),
        (client(json!({"scheme": "A\r\nB"})), "scheme", "must be one word such as \"Bearer\""),
        (client(json!({"scheme": false})), "scheme", "expected a scheme such as \"Bearer\""),
        (client(json!({"overwrite": "no"})), "overwrite", "expected a boolean, found a string"),
        (client(json!({"failure_mode_allow": 1})), "failure_mode_allow", "expected a boolean"),
    ]
}

/// Clients with a mistake in the URL of their endpoint.
pub fn url_mistakes() -> Vec<Row> {
    vec![
        (
            client(json!({"endpoint": "https://as.test/token#x"})),
            "endpoint",
            "must not have a fragment (RFC 6749 section 3.2)",
        ),
        (
            client(json!({"endpoint": "https://as.test/?grant_type=s3cr3t"})),
            "endpoint",
            "the query must not contain credentials or parameters that the filter sends (RFC \
             6749 sections 2.3.1, 3.2)",
        ),
        (
            client(json!({"endpoint": "https://as.test/?client_secret=s3cr3t"})),
            "endpoint",
            "the query must not contain credentials or parameters that the filter sends (RFC \
             6749 sections 2.3.1, 3.2)",
        ),
    ]
}

/// Clients with a mistake in how they authenticate.
pub fn authentication_mistakes() -> Vec<Row> {
    let tls = json!({"client_secret": null, "auth_method": "tls_client_auth"});
    let mut nobody = client(tls);
    nobody.as_object_mut().expect("an object").remove("client_id");
    vec![
        (nobody, "client_id", "required by this auth_method (RFC 8705 section 2)"),
        (
            client(json!({"auth_method": "tls_client_auth"})),
            "client_secret",
            "not used by auth_method \"tls_client_auth\"",
        ),
        (
            client(json!({"auth_method": "none"})),
            "client_secret",
            "not used by auth_method \"none\"",
        ),
        (
            client(json!({"client_secret": null})),
            "client_secret",
            "required: set client_id and client_secret, or auth_method \"none\" if the server \
             requires no client authentication (RFC 7662 section 2.1, RFC 6749 section 4.4.2)",
        ),
        (client(json!({"client_id": null})), "client_id", "required with client_secret"),
        (client(json!({"auth_method": "basic"})), "auth_method", "expected \"client_secret_basic"),
        (client(json!({"auth_method": 1})), "auth_method", "expected \"client_secret_basic\""),
        (
            client(json!({"client_secret": {"env": "UNSET"}})),
            "client_secret.env",
            "environment variable `UNSET` is unset or empty; pass it to the VM with \
             vm_config.environment_variables (Istio: vmConfig.env, \
             Envoy Gateway: env.hostKeys)",
        ),
        // Keys of the one that signs.
        (client(json!({"kid": "k"})), "kid", "only valid with auth_method \"private_key_jwt\""),
        (
            client(json!({"private_key": "s3cr3t"})),
            "private_key",
            "only valid with auth_method \"private_key_jwt\"",
        ),
        (
            signing(json!({"client_secret": "s3cr3t"})),
            "client_secret",
            "not used by auth_method \"private_key_jwt\"",
        ),
        (signing(json!({"client_id": null})), "client_id", "required by this auth_method"),
        (signing(json!({"client_id": 1})), "client_id", "expected a client identifier"),
        (signing(json!({"private_key": null})), "private_key", "required: the client's private"),
        (
            signing(json!({"private_key": {"env": "UNSET"}})),
            "private_key.env",
            "environment variable `UNSET` is unset or empty; pass it to the VM with \
             vm_config.environment_variables (Istio: vmConfig.env, \
             Envoy Gateway: env.hostKeys)",
        ),
        (
            signing(json!({"private_key": "bad"})),
            "private_key",
            "key rejected by the host; expected RSA from 2048 bits or P-256, in PEM format (PKCS #8, \
             PKCS #1 or SEC 1)",
        ),
        (
            signing(json!({"private_key": "no host"})),
            "auth_method",
            "the host cannot sign (Envoy 1.37 or later can); use another method",
        ),
        (signing(json!({"alg": "RS256"})), "alg", "the private key requires ES256"),
        (
            signing(json!({"private_key": "rsa", "alg": "ES256"})),
            "alg",
            "the private key requires RS256",
        ),
        (signing(json!({"alg": "PS256"})), "alg", "only in the dynamic module; use RS256 or ES256"),
        (signing(json!({"alg": "EdDSA"})), "alg", "only in the dynamic module; use RS256 or ES256"),
        (
            signing(json!({"alg": "none"})),
            "alg",
            "expected \"RS256\", \"ES256\", \"PS256\" or \"EdDSA\"",
        ),
        (signing(json!({"kid": ""})), "kid", "expected a key identifier, found an empty"),
        (signing(json!({"typ": []})), "typ", "expected a `typ` for the header, found a list"),
        (signing(json!({"lifetime": "0s"})), "lifetime", "must be from one second to five minutes"),
        (
            signing(json!({"lifetime": "301s"})),
            "lifetime",
            "must be from one second to five minutes",
        ),
        (signing(json!({"lifetime": 60})), "lifetime", "expected a duration such as"),
    ]
}

/// Clients with a mistake in the audience of their assertions.
pub fn assertion_mistakes() -> Vec<Row> {
    vec![
        (
            signing(json!({"aud": null})),
            "aud",
            "required: the issuer identifier of the authorization server (RFC 10070); some servers \
             expect the endpoint URL",
        ),
        (
            signing(json!({"aud": ["https://as.test"]})),
            "aud",
            "expected an issuer identifier, found a list",
        ),
        (
            signing(json!({"aud": ""})),
            "aud",
            "expected an issuer identifier, found an empty string",
        ),
    ]
}

/// Clients without mistakes or warnings, which between them have every key.
pub fn good_clients() -> Vec<Value> {
    let all = json!({
        "endpoint": "https://as.test/token?tenant=1", "cluster": "as", "timeout": "2s",
        "retries": 0, "headers": {"x-api-key": "k"}, "parameters": {"realm": "a"},
        "scope": "a b", "audience": "billing", "resource": ["https://a.test/", "urn:b"],
        "refresh_before": "10s", "clock_skew": "5s", "default_expires_in": "10m",
        "renew_on_status": [401, 403], "header": "X-Token", "scheme": "", "overwrite": false,
        "failure_mode_allow": false,
    });
    let signs = json!({
        "kid": "k1", "alg": "ES256", "typ": "JWT", "lifetime": "5m",
    });
    vec![
        client(all.clone()),
        client(json!({"auth_method": "client_secret_basic_raw"})),
        client(json!({"client_secret": null, "auth_method": "tls_client_auth"})),
        client(json!({"client_secret": {"env": "SECRET"}})),
        client(json!({"renew_on_status": []})),
        signing(signs),
        signing(json!({"private_key": "rsa", "alg": "RS256"})),
        with_grant("refresh_token", all.clone()),
        with_grant(JWT_BEARER, all.clone()),
        with_grant(JWT_BEARER, json!({"client_secret": null, "auth_method": "none"})),
        with_grant(EXCHANGE, all),
        with_grant(EXCHANGE, json!({"subject_token_type": "x:y", "requested_token_type": "x:z"})),
        direct(json!({"expires_in": "1h"})),
        direct(json!({"refresh": false})),
        with_grant("direct_token", json!({"refresh": {"refresh_token": "r"}})),
    ]
}

/// A document with every key of `inbound`.
pub fn every_inbound_key() -> Value {
    json!({"inbound": {
        "introspection": {
            "endpoint": "https://as.test/introspect?tenant=1", "cluster": "as", "timeout": "4294967295ms",
            "retries": 3, "headers": {"x-api-key": "k"}, "parameters": {"realm": "a"},
            "token_type_hint": "", "client_id": "rs", "client_secret": "s",
            "auth_method": "client_secret_post", "scope_claim": "scp", "scope_wildcards": false
        },
        "jwt": [
            {
                "issuer": "https://login.test/tenant", "audience": ["x", "y"],
                "claims": {"token_use": "access", "azp": ["a", "b"], "c": {"exists": true}},
                "scope_claim": "scp", "scope_wildcards": true, "clock_skew": "10s",
                "jwks_uri": "https://login.test/keys?a=b", "cluster": "login", "timeout": "1s",
                "retries": 0, "headers": {"x-api-key": "k"}, "algorithms": ["ES256", "RS256"],
                "token": "access_token", "typ": ["at+jwt", "JWT"], "refresh_interval": "1h",
                "stale_if_error": "0s", "introspect": true
            },
            {"issuer": "i", "audience": "*", "claims": {"token_use": "access"}, "jwks": {"keys": [jwk()]}},
            {
                "issuer": "j", "audience": "x", "token": "id_token", "typ": "JWT",
                "verified_by": "envoy.filters.http.jwt_authn"
            }
        ],
        "cache": {
            "max_ttl": "8784h", "negative_ttl": "1s", "max_entries": 10, "negative_max_entries": 0
        },
        "realm": "orders", "scope": ["a b", "c"], "audience": ["x", "y"], "issuer": "i",
        "scope_claim": ["realm_access.roles", "scp"], "scope_wildcards": true, "clock_skew": "30s",
        "rules": [{
            "name": "one", "hosts": ["a.test", "*.b.test"], "methods": ["GET"], "paths": ["/a/*"],
            "headers": {"x-a": "b", "x-c": ["d"], "x-e": {"prefix": "f"}, "x-g": {"absent": true}},
            "access": "optional", "scope": "d", "audience": "z", "issuer": ["j"]
        }],
        "unmatched": "token", "encoded_slash": "refuse",
        "forward": {
            "token": true, "payload": "x-payload", "claims": {
                "X-User": "sub",
                "x-name": {"claim": "name", "encoding": "percent"},
                "x-roles": {"claim": "roles", "encoding": "base64url", "format": "members"}
            }
        }
    }})
}
