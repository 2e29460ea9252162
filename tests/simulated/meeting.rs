//! What keys do together: each is tested alone elsewhere.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use oauth2_filter_core::{Answer, CallFailure};
use serde_json::{Value, json};

use crate::exchanges::{Request, exchange, get};
use crate::host::SimulatedHost;

const SECOND: Duration = Duration::from_secs(1);

fn document(inbound: Value) -> Value {
    exchange("meeting").inbound(inbound).document("p")
}

/// A JWT with these claims.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(claims))
}

fn answer(host: &mut SimulatedHost, body: &str) {
    let body = body.as_bytes().to_vec();
    host.answer(&Ok(Answer { status: 200, retry_after: None, body }));
}

/// The same request, with a token that was issued in place of the caller's, after a redirect.
fn redirected(token: &str) -> Request {
    get("/").bearer(token).header("x-envoy-original-url", "http://api.test/go")
}

#[test]
fn a_phantom_token_is_nobodys_as_long_as_it_is_forwarded() {
    let mut host = SimulatedHost::new(&document(json!({
        "introspection": {"response_format": "jwt"}, "forward": {"bearer": {"claim": "jwt"}},
        "clock_skew": "30s",
    })));
    let phantom = jwt(&json!({"sub": "alice", "exp": host.seconds() + 10}));
    host.send(&get("/").bearer("t"));
    answer(&mut host, &phantom);
    host.advance(39 * SECOND);
    let stream = host.send(&get("/").bearer("t"));
    assert_eq!(host.passed_header(stream, "authorization"), Some(format!("Bearer {phantom}")));
    assert_eq!(host.state_of(&redirected(&phantom)), "oauth2_no_token");
}

#[test]
fn the_next_hop_keeps_the_headers_of_both_directions() {
    let mut document = document(json!({
        "forward": {"claims": {"x-user": "sub"}}, "rules": [{"access": "optional"}],
    }));
    document["outbound"] = json!({"clients": {"a": {
        "grant_type": "direct_token", "access_token": "ours", "header": "x-token", "scheme": "",
    }}});
    let mut host = SimulatedHost::new(&document);
    for (sent, forwarded) in [
        ("upgrade, x-user, x-token", Some("upgrade")),
        ("x-token, upgrade, X_User", Some("upgrade")),
        ("x-user, x-token", None),
        ("x-user", None),
        ("x-token", None),
        ("upgrade, x-user", Some("upgrade")),
        ("upgrade, x-token", Some("upgrade")),
        ("upgrade", Some("upgrade")),
    ] {
        let stream = host.send(&get("/").header("connection", sent));
        assert_eq!(host.passed_header(stream, "x-token").as_deref(), Some("ours"));
        assert_eq!(host.passed_header(stream, "connection").as_deref(), forwarded, "{sent}");
    }
}

#[test]
fn every_token_is_taken_out_whichever_counts_and_whatever_becomes_of_the_request() {
    let both = |path| {
        get(path)
            .bearer("t")
            .header("cookie", "a=1; at=u")
            .header("sec-websocket-protocol", "bearer, v, chat")
            .header("connection", "upgrade, authorization")
    };
    let mut host = SimulatedHost::new(&document(json!({
        "token_sources": [
            {"cookie": "at"}, {"header": "authorization", "scheme": "Bearer"},
            {"websocket_protocol": "bearer"},
        ],
        "token_precedence": "first", "failure_mode_allow": true,
        "forward": {"bearer": {"claim": "jwt"}},
        "rules": [{"paths": ["/public"], "access": "public"}, {"paths": ["/**"]}],
    })));
    let stream = host.send(&both("/public"));
    assert_eq!(host.passed_header(stream, "authorization"), None);
    assert_eq!(host.passed_header(stream, "connection").as_deref(), Some("upgrade"));
    let stream = host.send(&both("/"));
    answer(&mut host, r#"{"active":true,"jwt":"phantom"}"#);
    assert_eq!(host.passed_header(stream, "authorization").as_deref(), Some("Bearer phantom"));
    assert_eq!(host.passed_header(stream, "cookie").as_deref(), Some("a=1"));
    assert_eq!(host.passed_header(stream, "sec-websocket-protocol").as_deref(), Some("chat"));
    for token in ["w", "x", "y"] {
        let cookie = format!("a=1; at={token}");
        let mut request = both("/");
        for (name, value) in &mut request.headers {
            if *name == "cookie" {
                *value = cookie.clone().into_bytes();
            }
        }
        let stream = host.send(&request);
        if host.state(stream) == "waits" {
            host.answer(&Err(CallFailure::Unreachable));
        }
        if host.state(stream) == "passed" {
            assert_eq!(host.passed_header(stream, "authorization"), None);
            assert_eq!(host.passed_header(stream, "cookie").as_deref(), Some("a=1"));
            let protocol = host.passed_header(stream, "sec-websocket-protocol");
            assert_eq!(protocol.as_deref(), Some("chat"));
            assert_eq!(host.passed_header(stream, "connection").as_deref(), Some("upgrade"));
        }
        assert!(token != "y" || host.state(stream) == "passed", "it is unchecked by then");
    }
}

#[test]
fn an_exchanged_token_is_for_as_long_as_its_callers_is_accepted() {
    let mut document = document(json!({"clock_skew": "30s"}));
    document["outbound"] = json!({"clients": {"a": {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": "billing",
        "endpoint": "http://as.test/token", "cluster": "as", "client_id": "api",
        "client_secret": "secret",
    }}});
    let mut host = SimulatedHost::new(&document);
    let end = host.seconds() + 10;
    host.send(&get("/").bearer("t"));
    answer(&mut host, &json!({"active": true, "exp": end}).to_string());
    host.answer(&Err(CallFailure::Unreachable));
    host.advance(20 * SECOND);
    for made in [3, 3] {
        let stream = host.send(&get("/").bearer("t"));
        if host.state(stream) == "waits" {
            let body = json!({"access_token": "ours", "token_type": "Bearer", "expires_in": 100,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"});
            answer(&mut host, &body.to_string());
        }
        assert_eq!(host.passed_header(stream, "authorization").as_deref(), Some("Bearer ours"));
        assert_eq!(host.made, made);
    }
}

#[test]
fn the_token_of_an_uncertain_message_is_judged_where_no_other_rule_needs_one() {
    let mut host = SimulatedHost::new(&document(json!({
        "audience": "api", "issuer": "as",
        "rules": [{"mcp": {"tools": ["wipe"]}, "access": "deny"}, {"access": "public"}],
    })));
    let mut request = get("/").bearer("t");
    request.method = "POST";
    let stream = host.send(&request);
    answer(&mut host, r#"{"active":true,"aud":"api","iss":"as"}"#);
    assert_eq!(host.state(stream), "oauth2_no_mcp_metadata");
    request.headers.retain(|(name, _)| *name != "authorization");
    assert_eq!(host.state_of(&request), "oauth2_no_token");
}

#[test]
fn scripts_read_all_answers_of_the_filter_whatever_they_are() {
    let mut document = document(json!({
        "token_sources": [{"cookie": "at"}, {"header": "authorization", "scheme": "Bearer"}],
        "max_token_bytes": 8,
        "cors": {"allow_origins": ["https://app.test"], "allow_methods": ["PUT"],
            "allow_headers": ["authorization"], "allow_credentials": true},
        "resource_metadata": [
            {"resource": "https://api.test/a", "authorization_servers": ["https://as.test"]},
            {"resource": "https://api.test/b", "authorization_servers": ["https://as.test"]},
        ],
        "rules": [
            {"paths": ["/a/deny"], "access": "deny"},
            {"paths": ["/a/optional"], "access": "optional"},
            {"paths": ["/**"]},
        ],
    }));
    document["outbound"] = json!({
        "clients": {"a": {"grant_type": "direct_token", "access_token": "o", "header": "x-t"}},
        "rules": [{"paths": ["/a/{nothing}"], "client": "a"}],
    });
    let mut host = SimulatedHost::new(&document);
    let long = || get("/a").bearer("123456789");
    for (request, details) in [
        (get("/a/deny"), "oauth2_access_denied"),
        (get("/a"), "oauth2_no_token"),
        (get("/c"), "oauth2_unmatched"),
        (get("/a//b"), "oauth2_bad_path"),
        (long(), "oauth2_token_too_long"),
        (long().header("content-type", "application/grpc"), "oauth2_token_too_long"),
        (get("/a/optional").bearer("t").header("cookie", "at=t"), "oauth2_repeated_token"),
        (get("/a/optional").header("cookie", "at=a b"), "oauth2_malformed_token"),
        (get("/.well-known/oauth-protected-resource/c"), "oauth2_unmatched"),
    ] {
        let path = request.path;
        let origin = |origin| request.clone().header("origin", origin);
        let stream = host.send(&origin("https://app.test"));
        assert_eq!(host.state(stream), details, "{path}");
        let header = |host: &SimulatedHost, stream, name| {
            host.refused_header(stream, name).map(ToOwned::to_owned)
        };
        let allowed = header(&host, stream, "access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some("https://app.test"), "{path}");
        let credentials = header(&host, stream, "access-control-allow-credentials");
        assert_eq!(credentials.as_deref(), Some("true"), "{path}");
        assert_eq!(header(&host, stream, "vary").as_deref(), Some("origin"));
        let stream = host.send(&origin("https://other.test"));
        assert_eq!(host.state(stream), details, "{path}");
        assert_eq!(header(&host, stream, "access-control-allow-origin"), None, "{path}");
        assert_eq!(header(&host, stream, "vary").as_deref(), Some("origin"));
    }
}

#[test]
fn an_escaped_slash_does_not_lead_from_one_resource_to_another() {
    let mut host = SimulatedHost::new(&document(json!({
        "encoded_slash": "keep",
        "resource_metadata": [
            {"resource": "https://api.test/a", "authorization_servers": ["https://as.test"]},
            {"resource": "https://api.test/", "authorization_servers": ["https://as.test"]},
        ],
        "rules": [
            {"paths": ["/a/public/**"], "access": "public"},
            {"paths": ["/a/**"]}, {"paths": ["/b/**"]},
        ],
    })));
    for (path, expected) in [
        ("/a%2Fb", "oauth2_bad_path"),
        ("/a/b%2Fc", "waits"),
        ("/b/a%2Fb", "waits"),
        ("/b%2Fa", "oauth2_bad_path"),
        ("/a/public/b%2Fc", "passed"),
        ("/a%2Fpublic/b", "oauth2_bad_path"),
        ("/a/public%2Fb", "oauth2_bad_path"),
        ("/a/public%2F..%2Fb", "oauth2_bad_path"),
        ("/.well-known%2Foauth-protected-resource/a", "oauth2_unmatched"),
        ("/.well-known/oauth-protected-resource%2Fa", "oauth2_unmatched"),
        ("/.well-known/oauth-protected-resource/a%2F", "oauth2_bad_path"),
        ("/.well-known/oauth-protected-resource/a", "oauth2_resource_metadata"),
    ] {
        assert_eq!(host.state_of(&get(path).bearer("t")), expected, "{path}");
    }
}

#[test]
fn a_websocket_keeps_its_token_where_tokens_are_forwarded() {
    for (forward, precedence, expected) in [
        (true, "single", Some("bearer, t, chat")),
        (false, "single", Some("chat")),
        (true, "first", Some("chat")),
    ] {
        let mut host = SimulatedHost::new(&document(json!({
            "token_sources": [{"websocket_protocol": "bearer"}, {"basic": "password"}],
            "token_precedence": precedence, "forward": {"token": forward},
        })));
        let stream = host.send(&get("/").header("sec-websocket-protocol", "bearer, t, chat"));
        answer(&mut host, r#"{"active":true}"#);
        let protocol = host.passed_header(stream, "sec-websocket-protocol");
        assert_eq!(protocol.as_deref(), expected, "{forward} {precedence}");
    }
}

#[test]
fn a_password_that_is_a_token_gives_way_to_the_token_of_a_client() {
    for overwrite in [true, false] {
        let mut document = document(json!({
            "token_sources": [{"basic": "password"}, {"header": "authorization", "scheme": "Bearer"}],
            "rules": [{"paths": ["/public"], "access": "public"},
                {"paths": ["/optional"], "access": "optional"}, {"paths": ["/**"]}],
        }));
        document["outbound"] = json!({"clients": {"a": {
            "grant_type": "direct_token", "access_token": "ours", "overwrite": overwrite,
        }}});
        let mut host = SimulatedHost::new(&document);
        let sent = |path| get(path).header("authorization", "Basic dTp0");
        let stream = host.send(&sent("/"));
        answer(&mut host, r#"{"active":true}"#);
        let seen = host.passed_header(stream, "authorization");
        assert_eq!(seen.as_deref(), Some("Bearer ours"));
        let stream = host.send(&sent("/public"));
        let seen = host.passed_header(stream, "authorization");
        assert_eq!(seen.as_deref(), Some(if overwrite { "Bearer ours" } else { "Basic dTp0" }));
        // After a redirect, the token of the proxy is not the caller's.
        let redirected =
            |path| get(path).bearer("ours").header("x-envoy-original-url", "http://api.test/");
        assert_eq!(host.state_of(&redirected("/")), "oauth2_no_token");
        let stream = host.send(&redirected("/optional"));
        let seen = host.passed_header(stream, "authorization");
        assert_eq!(seen.as_deref(), Some("Bearer ours"));
    }
}

#[test]
fn a_rule_on_messages_with_other_conditions_decides_only_where_they_are_met() {
    let mut host = SimulatedHost::new(&document(json!({
        "encoded_slash": "keep",
        "rules": [
            {"paths": ["/mcp/*"], "headers": {"x-tenant": "a"}, "mcp": {"tools": ["wipe"]},
             "access": "optional", "scope": "admin"},
            {"paths": ["/mcp/*"], "access": "public"},
            {"paths": ["/**"], "access": "deny"},
        ],
    })));
    let tenant = |method, path, tenant| {
        let mut request = get(path).header("x-tenant", tenant);
        request.method = method;
        request
    };
    for (request, expected) in [
        (tenant("POST", "/mcp/x", "a"), "oauth2_no_mcp_metadata"),
        (tenant("POST", "/mcp/x", "b"), "passed"),
        (tenant("GET", "/mcp/x", "a"), "passed"),
        (tenant("HEAD", "/mcp/x", "a"), "passed"),
        (tenant("POST", "/mcp/x", "a").header("x-tenant", "b"), "oauth2_bad_header"),
        (tenant("HEAD", "/mcp/x", "a").header("x-tenant", "b"), "passed"),
        (tenant("POST", "/mcp/x%2Fy", "a"), "oauth2_bad_path"),
        (tenant("POST", "/other", "a"), "oauth2_access_denied"),
        (tenant("POST", "/mcp/x", "a").bearer("t"), "waits"),
    ] {
        let (method, path) = (request.method, request.path);
        assert_eq!(host.state_of(&request), expected, "{method} {path}");
    }
    // The lack of a scope comes before the flaw of the message.
    answer(&mut host, r#"{"active":true}"#);
    let stream = host.send(&tenant("POST", "/mcp/x", "a").bearer("t"));
    assert_eq!(host.state(stream), "oauth2_insufficient_scope");
}

#[test]
fn a_token_of_the_proxy_hides_none_of_the_callers() {
    for precedence in ["first", "single"] {
        let mut document = document(json!({
            "token_sources": [{"header": "authorization", "scheme": "Bearer"}, {"cookie": "at"}],
            "token_precedence": precedence,
            "rules": [{"paths": ["/public"], "access": "public"},
                {"paths": ["/optional"], "access": "optional"}, {"paths": ["/**"]}],
        }));
        document["outbound"] = json!({"clients": {"a": {
            "grant_type": "direct_token", "access_token": "ours",
        }}});
        let mut host = SimulatedHost::new(&document);
        assert_eq!(host.state_of(&get("/public")), "passed");
        // A path without a check was redirected.
        let redirected = |path, token| {
            get(path)
                .bearer(token)
                .header("cookie", "at=t; a=1")
                .header("x-envoy-original-url", "http://api.test/public")
        };
        for path in ["/", "/optional"] {
            assert_eq!(host.state_of(&redirected(path, "ours")), "waits", "{precedence} {path}");
        }
        answer(&mut host, r#"{"active":true}"#);
        let stream = host.send(&redirected("/optional", "ours"));
        let seen = host.passed_header(stream, "authorization");
        assert_eq!(seen.as_deref(), Some("Bearer ours"));
        assert_eq!(host.passed_header(stream, "cookie").as_deref(), Some("a=1"));
        let other = host.state_of(&redirected("/", "other"));
        assert_eq!(other, if precedence == "first" { "waits" } else { "oauth2_repeated_token" });
    }
}

#[test]
fn only_rules_without_an_age_get_a_stale_phantom_token() {
    let mut host = SimulatedHost::new(&document(json!({
        "introspection": {"response_format": "jwt"}, "forward": {"bearer": {"claim": "jwt"}},
        "cache": {"max_ttl": "10s", "stale_if_error": "60s"},
        "rules": [{"paths": ["/pay"], "max_ttl": "0s"}, {"paths": ["/**"]}],
    })));
    let phantom = jwt(&json!({"sub": "alice"}));
    host.send(&get("/").bearer("t"));
    answer(&mut host, &phantom);
    for seconds in [0, 11] {
        host.advance(seconds * SECOND);
        let pay = host.send(&get("/pay").bearer("t"));
        host.answer(&Err(CallFailure::Timeout));
        assert_eq!(host.state(pay), "oauth2_server_timeout");
        let stream = host.send(&get("/").bearer("t"));
        if host.state(stream) == "waits" {
            host.answer(&Err(CallFailure::Timeout));
        }
        let seen = host.passed_header(stream, "authorization");
        assert_eq!(seen, Some(format!("Bearer {phantom}")));
    }
    let pay = host.send(&get("/pay").bearer("t"));
    host.answer(&Ok(Answer { status: 204, retry_after: None, body: Vec::new() }));
    assert_eq!(host.state(pay), "oauth2_inactive");
    assert_eq!(host.state_of(&get("/").bearer("t")), "oauth2_inactive");
}

#[test]
fn an_escaped_slash_is_kept_unless_outbound_rules_look_at_paths() {
    for (rule, expected) in [
        (json!({"hosts": ["api.test"], "client": "a"}), "passed"),
        (json!({"paths": ["/**"], "client": "a"}), "oauth2_bad_path"),
    ] {
        let mut document = document(json!({
            "encoded_slash": "keep", "rules": [{"paths": ["/**"], "access": "public"}],
        }));
        document["outbound"] = json!({
            "clients": {"a": {"grant_type": "direct_token", "access_token": "ours"}},
            "rules": [rule],
        });
        let mut host = SimulatedHost::new(&document);
        assert_eq!(host.state_of(&get("/a%2Fb")), expected);
    }
}

#[test]
fn wildcards_imply_what_the_scopes_that_they_stand_for_imply_and_nothing_more() {
    let document = document(json!({
        "scope_wildcards": true,
        "scope_implies": {"patient/Observation.read": ["summary"], "admin": ["user/*.read"]},
        "rules": [{"paths": ["/summary"], "scope": "summary"},
            {"paths": ["/user"], "scope": "user/Patient.read"},
            {"paths": ["/any"], "scope": "user/*.read"}],
    }));
    for (path, scope, challenge) in [
        ("/summary", "patient/*.read", None),
        ("/summary", "patient/*.write", Some("summary")),
        ("/user", "user/*.read", None),
        ("/user", "admin", Some("user/Patient.read")),
        ("/any", "admin", None),
        ("/any", "user/Patient.read", Some("user/*.read")),
    ] {
        let mut host = SimulatedHost::new(&document);
        let stream = host.send(&get(path).bearer("t"));
        answer(&mut host, &json!({"active": true, "scope": scope}).to_string());
        let sent = host.refused_header(stream, "www-authenticate").map(ToOwned::to_owned);
        let expected = challenge.map(|scope| {
            format!(r#"Bearer realm="oauth2", error="insufficient_scope", scope="{scope}""#)
        });
        assert_eq!(sent, expected, "{path} {scope}");
    }
}
