//! The table itself.

use serde_json::{Value, json};

use super::*;

/// Every exchange.
pub fn table() -> Vec<Exchange> {
    [
        challenges(),
        tokens(),
        bound(),
        sources(),
        rules(),
        headers(),
        paths(),
        claims(),
        claim_rules(),
        mcp_rules(),
        step_up(),
        servers(),
        metadata(),
        resources::resources(),
        resources::cross_origin(),
        exceptions(),
        forwarding(),
        claims::exchanges(),
        jwt::exchanges(),
        calls(),
        misbehaviour(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Rules on messages of MCP, which a proxy has read from the body.
fn mcp_rules() -> Vec<Exchange> {
    let call = |name: Value| {
        let params = json!({"name": name});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    };
    let send = |method: &str| message("/mcp", json!({"jsonrpc": "2.0", "id": 1, "method": method}));
    let wipe = || message("/mcp", call(json!("wipe")));
    let scoped = || active(json!({"scope": "tools"}));
    let bad = || invalid_request("oauth2_bad_mcp_message");
    let bad_of_tools = || bad().challenge(r#", error="invalid_request", scope="tools""#);
    let unread = || invalid_request("oauth2_no_mcp_metadata");
    let unread_of_tools = || unread().challenge(r#", error="invalid_request", scope="tools""#);
    let more = || insufficient_scope(r#", error="insufficient_scope", scope="admin""#);
    let rules = json!({"rules": [
        {"paths": ["/mcp"], "mcp": {"methods": ["tools/call", "ping"], "tools": ["list", "get_*"]}, "scope": "tools"},
        {"paths": ["/mcp"], "mcp": {"methods": ["tools/call"]}, "scope": "admin"},
        {"paths": ["/mcp"], "methods": ["GET", "POST"], "scope": "tools"},
        {"paths": ["/open"], "mcp": {"methods": ["ping"]}, "access": "public"},
    ]});
    vec![
        exchange("the first rule that matches the message decides")
            .inbound(rules.clone())
            .server([scoped()])
            .passes(message("/mcp", call(json!("list"))).bearer("t"))
            .passes(message("/mcp", call(json!("get_order"))).bearer("t"))
            .refuses(message("/mcp", call(json!("List"))).bearer("t"), more())
            .refuses(wipe().bearer("t"), more())
            .passes(send("ping").bearer("t"))
            .passes(send("tools/list").bearer("t"))
            .passes(get("/mcp").bearer("t"))
            .refuses(get("/mcp").method("DELETE").bearer("t"), access_denied("oauth2_unmatched"))
            .refuses(get("/open"), access_denied("oauth2_unmatched"))
            .passes(message("/open", json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})))
            .calls(1),
        exchange("a request whose message is uncertain is refused once its token is accepted")
            .inbound(rules.clone())
            .server([scoped(), inactive(), active(json!({"scope": "other"}))])
            .refuses(message("/mcp", "[]").bearer("t"), unread_of_tools())
            .refuses(message("/mcp", "{").bearer("t"), bad_of_tools())
            .refuses(message("/mcp", call(json!(1))).bearer("t"), bad_of_tools())
            .refuses(message("/mcp", call(json!(null))).bearer("t"), bad_of_tools())
            .refuses(send("tools/call").bearer("t"), bad_of_tools())
            .refuses(
                message("/mcp", json!({"jsonrpc": "2.0", "id": 1, "result": {}})).bearer("t"),
                bad_of_tools(),
            )
            .refuses(get("/mcp").method("POST").bearer("t"), unread_of_tools())
            .refuses(get("/mcp").method("POST").body("{}").bearer("t"), unread_of_tools())
            .refuses(get("/mcp").body(call(json!("list")).to_string()).bearer("t"), unread_of_tools())
            .refuses(wipe().method("PUT").bearer("t"), unread_of_tools())
            .refuses(wipe().header("mcp-name", "list").bearer("t"), bad_of_tools())
            .refuses(send("ping").header("mcp-method", "tools/call").bearer("t"), bad_of_tools())
            .refuses(
                message("/mcp", call(json!("list"))).header("mcp-name", "list")
                    .header("mcp-name", "wipe").bearer("t"),
                bad_of_tools(),
            )
            .refuses(
                message("/mcp", call(json!("list"))).header("mcp_name", "list").bearer("t"),
                bad_of_tools(),
            )
            .passes(
                message("/mcp", call(json!("list"))).header("mcp-method", "tools/call")
                    .header("mcp-name", "=?base64?bGlzdA==?=").bearer("t"),
            )
            .calls(1)
            .refuses(message("/mcp", "{"), no_token().challenge(r#", scope="tools""#))
            .refuses(
                message("/mcp", "{").bearer("bad"),
                invalid_token("oauth2_inactive").challenge(r#", error="invalid_token", scope="tools""#),
            )
            .refuses(
                message("/mcp", "{").bearer("other"),
                insufficient_scope(r#", error="insufficient_scope", scope="tools""#),
            )
            .refuses(message("/open", "{"), bad())
            .refuses(get("/open").body("{}"), unread()),
        exchange("what is uncertain is not allowed by a rule that denies, an optional token or an outage")
            .inbound(json!({
                "failure_mode_allow": true,
                "introspection": {"retries": 0},
                "cache": {"max_ttl": "0s"},
                "allow_cors_preflight": true,
                "rules": [
                    {"paths": ["/deny"], "mcp": {"tools": ["wipe"]}, "access": "deny"},
                    {"paths": ["/deny"], "access": "public"},
                    {"paths": ["/optional"], "mcp": {"methods": ["ping"]}, "access": "optional"},
                    {"paths": ["/optional"], "access": "public"},
                    {"paths": ["/up"]},
                ],
            }))
            .server([active(json!({})), Scripted::Close])
            .refuses(message("/deny", call(json!("wipe"))), access_denied("oauth2_access_denied"))
            .passes(message("/deny", call(json!("list"))))
            .refuses(message("/deny", "{"), no_token())
            .refuses(message("/deny", "{").bearer("t"), bad())
            .refuses(message("/optional", "{"), bad())
            .refuses(
                message("/optional", "{").method("OPTIONS").header("origin", "https://a.test")
                    .header("access-control-request-method", "POST"),
                unread(),
            )
            .refuses(message("/optional", "{").bearer("u"), unavailable("oauth2_server_unavailable"))
            .refuses(message("/optional", "{").bearer("v"), unavailable("oauth2_server_unavailable"))
            .passes(get("/up").bearer("v")),
    ]
}

/// What is said to who comes without a good token.
fn challenges() -> Vec<Exchange> {
    vec![
        exchange("rs_6750_07 no credentials get a challenge without an error")
            .refuses(get("/"), no_token())
            .calls(0),
        exchange("rs_6750_14 another scheme counts as no credentials")
            .refuses(get("/").header("authorization", "Basic dTpw"), no_token())
            .refuses(get("/").header("authorization", "DPoP abc"), no_token())
            .refuses(get("/").header("authorization", ""), no_token())
            .calls(0),
        exchange(
            "mcp_02 every challenge names the scope that the rule needs, the shortest alternative",
        )
        .inbound(json!({"scope": ["a b", "c", "d"]}))
        .refuses(get("/"), no_token().challenge(r#", scope="c""#))
        .refuses(
            get("/").bearer("a b"),
            invalid_token("oauth2_malformed_token")
                .challenge(r#", error="invalid_token", scope="c""#),
        )
        .refuses(
            get("/").bearer("a,b"),
            invalid_request("oauth2_repeated_token")
                .challenge(r#", error="invalid_request", scope="c""#),
        )
        .calls(0),
        exchange("rs_6750_09 too little scope gets 403 with what the token lacks least")
            .inbound(json!({"scope": ["a b", "c d", "e f g"]}))
            .server([
                active(json!({"scope": "d x"})),
                active(json!({})),
                active(json!({"scope": "f g"})),
            ])
            .refuses(
                get("/").bearer("one"),
                insufficient_scope(r#", error="insufficient_scope", scope="c d""#),
            )
            .refuses(
                get("/").bearer("two"),
                insufficient_scope(r#", error="insufficient_scope", scope="a b""#),
            )
            .refuses(
                get("/").bearer("three"),
                insufficient_scope(r#", error="insufficient_scope", scope="e f g""#),
            ),
        exchange("rs_6750_11 the realm is a quoted string")
            .inbound(json!({"realm": r#"a "b" \c"#}))
            .refuses(
                get("/"),
                Refusal { challenge: Some(r#"Bearer realm="a \"b\" \\c""#), ..no_token() },
            ),
        exchange("rs_http_04 gRPC requests get their own status")
            .inbound(json!({
                "introspection": {"retries": 0},
                "scope": "a",
                "rules": [{"paths": ["/x.Y/Denied"], "access": "deny"}, {"paths": ["/**"]}]
            }))
            .server([
                inactive(),
                active(json!({})),
                Scripted::Reset,
                says("no"),
                active(json!({"scope": "a"})),
            ])
            .refuses(get("/x.Y/Z").grpc(), no_token().challenge(r#", scope="a""#))
            // As Envoy, which does not take this for gRPC.
            .answers(
                get("/x.Y/Z").method("POST").header("content-type", "application/grpc;x=y"),
                401,
                "oauth2_no_token",
            )
            .without("grpc-status")
            .refuses(
                get("/x.Y/Z").grpc().bearer("one"),
                invalid_token("oauth2_inactive").challenge(r#", error="invalid_token", scope="a""#),
            )
            .refuses(
                get("/x.Y/Z").grpc().bearer("two"),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            )
            .refuses(get("/x.Y/Z").grpc().bearer("three"), unavailable("oauth2_server_unavailable"))
            .refuses(get("/x.Y/Z").grpc().bearer("four"), server_error("oauth2_server_bad_answer"))
            .passes(get("/x.Y/Z").grpc().bearer("five"))
            .refuses(get("/x.Y/Denied").grpc(), access_denied("oauth2_access_denied"))
            .refuses(get("/x%2fY").grpc(), invalid_request("oauth2_bad_path")),
    ]
}

/// What is a token, and which are refused before anybody is asked.
fn tokens() -> Vec<Exchange> {
    let long = "a".repeat(16 * 1024);
    vec![
        exchange("rs_6750_01 the scheme is read in any case, with more than one space")
            .passes(get("/").header("authorization", "bearer  t"))
            .passes(get("/").header("authorization", "BEARER t"))
            .calls(1),
        exchange("rs_6750_02 rs_7662_09 d6_04 what is no b64token is refused without a call")
            .refuses(get("/").bearer("a&client_id=evil"), invalid_token("oauth2_malformed_token"))
            .refuses(get("/").bearer("a\"b"), invalid_token("oauth2_malformed_token"))
            .refuses(get("/").bearer("="), invalid_token("oauth2_malformed_token"))
            .refuses(
                get("/").header("authorization", "Bearer"),
                invalid_token("oauth2_malformed_token"),
            )
            .refuses(
                get("/").header("authorization", &b"Bearer \xff\xfe"[..]),
                invalid_token("oauth2_malformed_token"),
            )
            .calls(0),
        exchange("d3_04 a token has at most 16 KiB")
            .passes(get("/").bearer(&long))
            .refuses(get("/").bearer(&(long.clone() + "a")), token_too_long())
            .refuses(get("/").grpc().bearer(&(long.clone() + "a")), token_too_long())
            .calls(1),
        exchange("d3_04 a token has at most max_token_bytes, and the rest of the head has room beside it")
            .inbound(json!({"max_token_bytes": 48 * 1024}))
            .passes(get("/").bearer(&"a".repeat(48 * 1024)))
            .refuses(get("/").bearer(&"a".repeat(48 * 1024 + 1)), token_too_long())
            .calls(1),
        exchange("d3_04 the length of a token is that of what is decoded")
            .inbound(json!({
                "max_token_bytes": 3, "token_sources": [{"query": "t"}, {"basic": "password"}]
            }))
            .passes(get("/?t=%61%62%63"))
            .with(":path", "/")
            .refuses(
                get("/?t=%61%62%63%64"),
                token_too_long(),
            )
            // long-name:abc
            .passes(get("/").header("authorization", "Basic bG9uZy1uYW1lOmFiYw=="))
            .calls(1),
        exchange("rs_6750_03 rs_6750_10 two tokens are a malformed request")
            .refuses(get("/").bearer("a").bearer("b"), invalid_request("oauth2_repeated_token"))
            .refuses(
                get("/").header("authorization", "Basic dTpw").bearer("b"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(0),
        exchange("rs_7662_09 d3_02 a refused token is not asked about again at once")
            .server([inactive(), active(json!({}))])
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .calls(1)
            .passes(get("/").bearer("u"))
            .calls(2),
        exchange("d3_02 negative_ttl 0s keeps no refusal")
            .inbound(json!({"cache": {"negative_ttl": "0s"}}))
            .server([inactive(), active(json!({}))])
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .passes(get("/").bearer("t"))
            .calls(2),
        exchange("d3_01 a flood of refused tokens pushes out no good one")
            .inbound(json!({"cache": {"max_entries": 1, "negative_max_entries": 1}}))
            .server([active(json!({})), inactive()])
            .passes(get("/").bearer("good"))
            .refuses_tokens(20, invalid_token("oauth2_inactive"))
            .passes(get("/").bearer("good"))
            .calls(21),
        exchange("rs_6750_08 a token that is malformed, unknown, revoked or expired is invalid")
            .inbound(json!({"cache": {"max_ttl": "0s"}}))
            .server([
                inactive(),
                active(json!({})),
                inactive(),
                active(json!({"exp": seconds_from_now(-1)})),
            ])
            .refuses(get("/").bearer("a\tb"), invalid_token("oauth2_malformed_token"))
            .refuses(get("/").bearer("unknown"), invalid_token("oauth2_inactive"))
            .passes(get("/").bearer("revoked-then"))
            .refuses(get("/").bearer("revoked-then"), invalid_token("oauth2_inactive"))
            .refuses(get("/").bearer("ended"), invalid_token("oauth2_expired")),
        exchange("d2_03 max_ttl 0s asks every time")
            .inbound(json!({"cache": {"max_ttl": "0s"}}))
            .server([active(json!({})), active(json!({})), inactive()])
            .passes(get("/").bearer("t"))
            .passes(get("/").bearer("t"))
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .calls(3),
        exchange("d2_03 a rule may limit the age of what decides on its requests")
            .inbound(json!({
                "rules": [{"paths": ["/pay/**"], "max_ttl": "0s"}, {"paths": ["/**"]}],
                "cache": {"negative_ttl": "1h"}
            }))
            .server([active(json!({})), active(json!({})), inactive(), active(json!({}))])
            .passes(get("/orders").bearer("t"))
            .passes(get("/orders").bearer("t"))
            .calls(1)
            .passes(get("/pay/1").bearer("t"))
            .refuses(get("/pay/1").bearer("t"), invalid_token("oauth2_inactive"))
            .calls(3)
            .refuses(get("/orders").bearer("t"), invalid_token("oauth2_inactive"))
            .calls(3)
            .passes(get("/pay/1").bearer("t"))
            .passes(get("/orders").bearer("t"))
            .calls(4),
        exchange("max_entries 0 keeps no answer")
            .inbound(json!({"cache": {"max_entries": 0, "negative_max_entries": 0}}))
            .passes(get("/").bearer("t"))
            .passes(get("/").bearer("t"))
            .calls(2),
        exchange("rs_7662_10 d5_03 a refresh, ID or VP token is no access token, where the server says so")
            .server(
                [
                    json!({"token_type": "refresh_token"}),
                    json!({"token_type": "urn:ietf:params:oauth:token-type:refresh_token"}),
                    json!({"token_use": "refresh"}),
                    json!({"token_use": "id"}),
                    json!({"typ": "Refresh"}),
                    json!({"typ": "Offline"}),
                    json!({"typ": "ID"}),
                    json!({"token_type": ["Bearer", "refresh_token"]}),
                    json!({"token_type": "vp_token"}),
                    json!({"typ": "vp+jwt"}),
                    json!({"token_type": "Bearer", "token_use": "access", "typ": "at+jwt"}),
                ]
                .map(active),
            )
            .refuses_tokens(10, invalid_token("oauth2_not_an_access_token"))
            .passes(get("/").bearer("access")),
        exchange("rs_7662_10 d5_03 where access tokens have a token_type, an ID token without one is refused")
            .inbound(json!({"introspection": {"token_type": "required"}, "audience": "orders"}))
            .server([
                // As Spring Authorization Server reports an ID token, and then an access token.
                active(json!({"aud": ["orders"], "sub": "alice", "azp": "orders"})),
                active(json!({"aud": ["orders"], "sub": "alice", "token_type": "Bearer"})),
            ])
            .refuses(get("/").bearer("id"), invalid_token("oauth2_not_an_access_token"))
            .refuses(get("/").bearer("id"), invalid_token("oauth2_not_an_access_token"))
            .passes(get("/").bearer("access"))
            .calls(2),
        exchange("rs_9449_02 rs_9449_07 d5_09 a token that is bound to a key is refused, since no key is proved")
            .server(
                [
                    json!({"cnf": {"x5t#S256": "abc"}}),
                    json!({"cnf": {"jkt": "abc"}, "token_type": "DPoP"}),
                    json!({"cnf": {}}),
                    json!({"cnf": "abc"}),
                    json!({"token_type": "DPoP"}),
                    json!({"cnf": null}),
                ]
                .map(active),
            )
            .refuses(get("/").bearer("1"), invalid_token("oauth2_unproved_cnf"))
            .refuses(get("/").bearer("2"), invalid_token("oauth2_unproved_cnf"))
            .refuses(get("/").bearer("3"), invalid_token("oauth2_unproved_cnf"))
            .refuses(get("/").bearer("4"), invalid_token("oauth2_unproved_cnf"))
            .refuses(get("/").bearer("5"), invalid_token("oauth2_unproved_cnf"))
            .passes(get("/").bearer("6")),
    ]
}

/// Tokens that are bound to a certificate, which none of these clients has (RFC 8705).
fn bound() -> Vec<Exchange> {
    // The base64url and the hexadecimal form of 32 zero bytes.
    let thumbprint = "A".repeat(43);
    let digest = "0".repeat(64);
    let bound = || active(json!({"cnf": {"x5t#S256": thumbprint}}));
    vec![
        exchange("rs_8705_01 d4_04 a header is no certificate")
            .inbound(json!({"sender_constraint": {"mtls": "optional"}}))
            .server([bound()])
            .refuses(
                get("/").bearer("t").header("x-forwarded-client-cert", format!("Hash={digest}")),
                invalid_token("oauth2_unproved_cnf"),
            )
            .refuses(
                get("/").bearer("t").header("client-cert", ":AAAA:").header("x-ssl-cert", "AAAA"),
                invalid_token("oauth2_unproved_cnf"),
            )
            .calls(1),
        exchange("rs_8705_02 rs_8705_03 who need not prove a binding must prove one that is there")
            .inbound(json!({"sender_constraint": {"mtls": "optional"}}))
            .server([bound(), active(json!({}))])
            .refuses(get("/").bearer("bound"), invalid_token("oauth2_unproved_cnf"))
            .passes(get("/").bearer("free")),
        exchange("rs_8705_03 where bindings are required no other token passes")
            .inbound(json!({"sender_constraint": {"mtls": "required"}}))
            .server([bound(), active(json!({})), active(json!({"cnf": null}))])
            .refuses_tokens(3, invalid_token("oauth2_unproved_cnf")),
        exchange("rs_8705_03 where bindings are not looked at no bound token passes")
            .inbound(json!({"sender_constraint": {"mtls": "off"}}))
            .server([bound()])
            .refuses_tokens(1, invalid_token("oauth2_unproved_cnf")),
    ]
}

/// Where tokens are looked for, and taken out.
fn sources() -> Vec<Exchange> {
    let everywhere = json!({"token_sources": [
        {"header": "authorization", "scheme": "Bearer"}, {"header": "X-Token"},
        {"header": "x-auth", "scheme": "Token"}, {"query": "access_token"}, {"cookie": "at"}
    ]});
    vec![
        exchange("a token is found in each configured place, and taken out there")
            .inbound(everywhere.clone())
            .passes(get("/").bearer("t"))
            .without("authorization")
            .passes(get("/").header("x-token", "t"))
            .without("x-token")
            .passes(get("/").header("X-Auth", "token t"))
            .without("x-auth")
            .passes(get("/").header("cookie", "a=1; at=t; b=2"))
            .with("cookie", "a=1; b=2")
            .passes(get("/").header("cookie", "at=t"))
            .without("cookie")
            .calls(1),
        exchange("rs_6750_05 a token in the query never goes on")
            .inbound(everywhere.clone())
            .passes(get("/a?access_token=t"))
            .with(":path", "/a")
            .passes(get("/a?x=%20&access_token=t&y"))
            .with(":path", "/a?x=%20&y")
            .calls(1),
        exchange("a token that is to be forwarded goes on, but for one in the query")
            .inbound(json!({
                "token_sources": [{"query": "access_token"}, {"cookie": "at"}],
                "forward": {"token": true}
            }))
            .passes(get("/a?access_token=t&b"))
            .with(":path", "/a?b")
            .passes(get("/").header("cookie", "at=t"))
            .with("cookie", "at=t")
            .passes(get("/").header("cookie", "a=1; at=t; b=2"))
            .with("cookie", "a=1; at=t; b=2"),
        exchange("rs_6750_03 a header of another name that is repeated is one too many")
            .inbound(json!({"token_sources": [{"header": "x-auth", "scheme": "Token"}]}))
            .passes(get("/").header("x-auth", "Token t"))
            .refuses(
                get("/").header("x-auth", "Token t").header("x-auth", "Token u"),
                invalid_request("oauth2_repeated_token"),
            )
            .refuses(
                get("/").header("x-auth", "Basic dTpw").header("x-auth", "Token t"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(1),
        exchange("rs_6750_03 two tokens in different places are one too many")
            .inbound(everywhere.clone())
            .refuses(
                get("/").bearer("t").header("x-token", "t"),
                invalid_request("oauth2_repeated_token"),
            )
            .refuses(get("/?access_token=t").bearer("t"), invalid_request("oauth2_repeated_token"))
            .refuses(
                get("/?access_token=t&access_token=t"),
                invalid_request("oauth2_repeated_token"),
            )
            .refuses(
                get("/").header("x-token", "t").header("x-token", "t"),
                invalid_request("oauth2_repeated_token"),
            )
            .refuses(
                get("/").header("cookie", "at=t; at=u"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(0),
        exchange("rs_6750_05 rs_9700_03 mcp_08 a token in a place that is not configured is none")
            .refuses(get("/?access_token=t").header("cookie", "at=t"), no_token())
            .calls(0),
        exchange("an empty value is no token, and does not count beside one")
            .inbound(everywhere.clone())
            .passes(get("/").header("cookie", "at=").bearer("t"))
            .with("cookie", "at=")
            .passes(get("/?access_token=").header("x-token", "").header("cookie", "a=1; at=t"))
            .with("cookie", "a=1")
            .refuses(get("/?access_token").header("cookie", "at=\"\""), no_token())
            .refuses(
                get("/").header("cookie", "at=; at=t"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(1),
        exchange("a WebSocket hands over its token in the list of subprotocols")
            .inbound(json!({"token_sources": [{"websocket_protocol": "bearer"}]}))
            .passes(get("/").header("sec-websocket-protocol", "bearer, t, chat.v2, chat.v1"))
            .with("sec-websocket-protocol", "chat.v2, chat.v1")
            .passes(
                get("/")
                    .header("sec-websocket-protocol", "chat.v1, bearer, t")
                    .header("sec-websocket-protocol", "chat.v2"),
            )
            .with("sec-websocket-protocol", "chat.v1, chat.v2")
            .passes(get("/").header("sec-websocket-protocol", "bearer,t"))
            .without("sec-websocket-protocol")
            .refuses(get("/").header("sec-websocket-protocol", "chat.v1"), no_token())
            .refuses(
                get("/").header("sec-websocket-protocol", "chat.v1, bearer"),
                invalid_token("oauth2_malformed_token"),
            )
            .refuses(
                get("/").header("sec-websocket-protocol", "Bearer, t, chat.v1"),
                invalid_token("oauth2_malformed_token"),
            )
            .refuses(
                get("/").header("sec-websocket-protocol", "bearer,bearer,t"),
                invalid_request("oauth2_repeated_token"),
            )
            .refuses(
                get("/")
                    .header("sec-websocket-protocol", "bearer, t")
                    .header("sec-websocket-protocol", "bearer, u"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(1),
        exchange("the password of Basic credentials is a token where that is configured")
            .inbound(json!({
                "token_sources": [{"header": "authorization", "scheme": "Bearer"}, {"basic": "password"}]
            }))
            .refuses(get("/"), no_token().challenge(r#", Basic realm="oauth2""#))
            // git:t
            .passes(get("/").header("authorization", "Basic Z2l0OnQ="))
            .without("authorization")
            .passes(get("/").bearer("t"))
            .calls(1)
            // git: without a password, and a user name without a colon.
            .refuses(
                get("/").header("authorization", "Basic Z2l0Og=="),
                no_token().challenge(r#", Basic realm="oauth2""#),
            )
            .refuses(
                get("/").header("authorization", "Basic Z2l0"),
                invalid_token("oauth2_malformed_token")
                    .challenge(r#", error="invalid_token", Basic realm="oauth2""#),
            )
            .refuses(
                get("/").header("authorization", "Basic Z2l0OnQ=").bearer("t"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(1),
        exchange("of several tokens the first source's counts where that is configured, and all are removed")
            .inbound(json!({
                "token_precedence": "first", "forward": {"token": true},
                "token_sources": [
                    {"header": "authorization", "scheme": "Bearer"}, {"cookie": "at"},
                    {"cookie": "old"}, {"query": "access_token"}
                ]
            }))
            .server([active(json!({})), inactive()])
            .passes(get("/a?access_token=v&b").bearer("t").header("cookie", "at=u; a=1; old=w"))
            .without("authorization")
            .with("cookie", "a=1")
            .with(":path", "/a?b")
            .passes(get("/").bearer("t").header("cookie", "old=u; at=v"))
            .without("authorization")
            .without("cookie")
            .passes(get("/").header("cookie", "at=; old=t"))
            .with("cookie", "at=")
            .calls(1)
            // No other source is tried.
            .refuses(
                get("/").bearer("a b").header("cookie", "at=t"),
                invalid_token("oauth2_malformed_token"),
            )
            .refuses(
                get("/").bearer("u").header("cookie", "at=t"),
                invalid_token("oauth2_inactive"),
            )
            .refuses(
                get("/").bearer("t").header("cookie", "at=t; at=t"),
                invalid_request("oauth2_repeated_token"),
            )
            .calls(2),
        exchange("the syntax of a token is checked wherever it stands")
            .inbound(everywhere)
            .refuses(get("/?access_token=a%26b"), invalid_token("oauth2_malformed_token"))
            .refuses(get("/").header("cookie", "at=a b"), invalid_token("oauth2_malformed_token"))
            .refuses(get("/").header("x-token", "a b"), invalid_token("oauth2_malformed_token"))
            .calls(0),
    ]
}

/// Which rule decides, and what it needs.
fn rules() -> Vec<Exchange> {
    vec![
        exchange("the first rule that fits decides")
            .inbound(json!({"rules": [
                {"paths": ["/healthz"], "access": "public"},
                {"methods": ["GET"], "paths": ["/orders/**"], "scope": "orders:read"},
                {"paths": ["/orders/**"], "scope": ["orders:write", "orders:admin"]}
            ]}))
            .server([active(json!({"scope": "orders:read"}))])
            .passes(get("/healthz"))
            .calls(0)
            .passes(get("/orders/1").bearer("t"))
            .passes(get("/orders").bearer("t"))
            .refuses(
                get("/orders/1").method("PUT").bearer("t"),
                insufficient_scope(r#", error="insufficient_scope", scope="orders:write""#),
            )
            .passes(get("/orders/1").method("HEAD").bearer("t"))
            .refuses(get("/").bearer("t"), access_denied("oauth2_unmatched"))
            .refuses(get("/healthz/"), access_denied("oauth2_unmatched"))
            .calls(1),
        exchange("rs_6749_01 only a token that is good and holds the scope opens the resource")
            .inbound(json!({"scope": "a", "cache": {"max_ttl": "0s", "negative_ttl": "0s"}}))
            .server([
                active(json!({"scope": "a"})),
                inactive(),
                active(json!({"scope": "a", "exp": seconds_from_now(-1)})),
                active(json!({"scope": "b"})),
                active(json!({})),
            ])
            .passes(get("/").bearer("t"))
            .refuses(
                get("/").bearer("t"),
                invalid_token("oauth2_inactive").challenge(r#", error="invalid_token", scope="a""#),
            )
            .refuses(
                get("/").bearer("t"),
                invalid_token("oauth2_expired").challenge(r#", error="invalid_token", scope="a""#),
            )
            .refuses_tokens(2, insufficient_scope(r#", error="insufficient_scope", scope="a""#)),
        exchange("d4_06 without rules every request needs a token, whatever it looks like")
            .refuses(get("/"), no_token())
            .refuses(get("/").method("POST").header("content-type", "text/plain"), no_token())
            .refuses(get("/").method("POST").header("content-type", "application/json"), no_token())
            .refuses(get("/").method("OPTIONS"), no_token())
            .refuses(get("/favicon.ico").method("HEAD"), no_token())
            .refuses(get("/.well-known/anything").header("accept", "text/event-stream"), no_token())
            .calls(0),
        exchange("d2_01 each rule judges a cached response itself (CVE-2021-32701)")
            .inbound(json!({"rules": [
                {"paths": ["/any"]}, {"paths": ["/scope"], "scope": "x"},
                {"paths": ["/aud"], "audience": "x"}, {"paths": ["/iss"], "issuer": "x"}
            ]}))
            .passes(get("/any").bearer("t"))
            .refuses(
                get("/scope").bearer("t"),
                insufficient_scope(r#", error="insufficient_scope", scope="x""#),
            )
            .refuses(get("/aud").bearer("t"), invalid_token("oauth2_wrong_audience"))
            .refuses(get("/iss").bearer("t"), invalid_token("oauth2_wrong_issuer"))
            .passes(get("/any").bearer("t"))
            .calls(1),
        exchange("access deny refuses every request, with a token or without")
            .inbound(json!({"rules": [{"paths": ["/admin/**"], "access": "deny"}], "unmatched": "token"}))
            .refuses(get("/admin"), access_denied("oauth2_access_denied"))
            .refuses(get("/admin/x").bearer("t"), access_denied("oauth2_access_denied"))
            .refuses(get("/%61dmin/x").bearer("t"), access_denied("oauth2_access_denied"))
            .refuses(get("/x/../admin/x").bearer("t"), invalid_request("oauth2_bad_path"))
            .calls(0)
            .passes(get("/").bearer("t"))
            .refuses(get("/"), no_token()),
        exchange("access optional passes without a token, and judges one that is there")
            .inbound(json!({"rules": [{"access": "optional", "scope": "a"}], "forward": {"claims": {"x-user": "sub"}}}))
            .server([inactive(), active(json!({"scope": "a", "sub": "alice"})), active(json!({"scope": "b"}))])
            .passes(get("/").header("x-user", "root"))
            .without("x-user")
            .passes(get("/").header("authorization", "Basic dTpw"))
            .with("authorization", "Basic dTpw")
            .refuses(
                get("/").bearer("1"),
                invalid_token("oauth2_inactive").challenge(r#", error="invalid_token", scope="a""#),
            )
            .passes(get("/").bearer("2"))
            .with("x-user", "alice")
            .without("authorization")
            .refuses(
                get("/").bearer("3"),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            )
            .refuses(
                get("/").bearer("a").bearer("b"),
                invalid_request("oauth2_repeated_token")
                    .challenge(r#", error="invalid_request", scope="a""#),
            ),
        exchange("unmatched public lets the rest pass, and leaves its Authorization alone")
            .inbound(json!({"rules": [{"paths": ["/api/**"]}], "unmatched": "public"}))
            .passes(get("/").bearer("theirs"))
            .with("authorization", "Bearer theirs")
            .refuses(get("/api/x"), no_token())
            .calls(0),
        exchange("d4_06 unmatched deny refuses all that no rule fits, and everything without rules")
            .inbound(json!({"unmatched": "deny"}))
            .refuses(get("/").bearer("t"), access_denied("oauth2_unmatched"))
            .calls(0),
        exchange("hosts, methods and paths of a rule must all fit")
            .inbound(json!({"rules": [
                {"hosts": ["a.test", "*.b.test"], "methods": ["GET", "PUT"], "paths": ["/x", "/y/*"],
                 "access": "public"}
            ]}))
            .passes(get("/x").host("a.test"))
            .passes(get("/y/1").host("A.test:8080").method("PUT"))
            .passes(get("/x").host("c.d.b.test"))
            .refuses(get("/x").host("b.test"), access_denied("oauth2_unmatched"))
            .refuses(get("/x").host("xa.test"), access_denied("oauth2_unmatched"))
            .refuses(get("/x").host("a.test").method("POST"), access_denied("oauth2_unmatched"))
            .refuses(get("/y").host("a.test"), access_denied("oauth2_unmatched"))
            .refuses(get("/y/1/2").host("a.test"), access_denied("oauth2_unmatched")),
        exchange("a rule's own needs take the place of those for all")
            .inbound(json!({
                "scope": "a", "audience": "x", "issuer": "i",
                "rules": [
                    {"paths": ["/own"], "scope": "b", "audience": ["y", "z"], "issuer": "j"},
                    {"paths": ["/all"]}
                ]
            }))
            .server([
                active(json!({"scope": "a", "aud": "x", "iss": "i"})),
                active(json!({"scope": "b", "aud": ["w", "z"], "iss": "j"})),
            ])
            .passes(get("/all").bearer("1"))
            .refuses(
                get("/own").bearer("1"),
                invalid_token("oauth2_wrong_issuer")
                    .challenge(r#", error="invalid_token", scope="b""#),
            )
            .passes(get("/own").bearer("2"))
            .refuses(
                get("/all").bearer("2"),
                invalid_token("oauth2_wrong_issuer")
                    .challenge(r#", error="invalid_token", scope="a""#),
            ),
    ]
}

/// Which headers a rule sees.
fn headers() -> Vec<Exchange> {
    let encoded = |text: &str| format!("=?base64?{text}?=");
    let with = |name: &'static str, value: &str| get("/orders").header(name, value);
    let denied = || access_denied("oauth2_access_denied");
    let bad = || invalid_request("oauth2_bad_header");
    vec![
        exchange("a rule matches by exact values, prefixes and the absence of headers")
            .inbound(json!({"rules": [
                {"paths": ["/orders"], "access": "public",
                 "headers": {"x-tenant": ["a", "b, c"], "X-Beta": {"absent": true}}},
                {"paths": ["/tools"], "headers": {"mcp-name": {"prefix": "read_"}},
                 "access": "public"},
                {"access": "deny"}
            ]}))
            .passes(with("x-tenant", "a"))
            .passes(with("X-Tenant", "a"))
            .passes(with("x-tenant", "b, c"))
            .passes(with("x-tenant", &encoded("YQ==")))
            .refuses(get("/orders"), denied())
            .refuses(with("x-tenant", ""), denied())
            .refuses(with("x-tenant", "A"), denied())
            .refuses(with("x-tenant", "a, b"), denied())
            .refuses(with("x-tenant", "b,c"), denied())
            .refuses(with("x-tenant", &encoded("IGE=")), denied())
            .refuses(get("/orders").header("x-tenant", &b"a\xff"[..]), denied())
            .refuses(with("x-tenant", &"a".repeat(50_000)), denied())
            .refuses(with("x-tenant", "a").header("x-beta", ""), denied())
            .refuses(with("x-tenant", "a").header("x-beta", "1"), denied())
            .passes(get("/tools").header("mcp-name", "read_orders"))
            .passes(get("/tools").header("mcp-name", encoded("cmVhZF/Dqw==")))
            .refuses(get("/tools").header("mcp-name", "read"), denied())
            .calls(0),
        exchange("a header that services read in different ways is refused where a rule tests it")
            .inbound(json!({"rules": [
                {"paths": ["/orders"], "headers": {"x-tenant": "a", "x-beta": {"absent": true}},
                 "access": "public"},
                {"access": "deny"}
            ]}))
            .passes(with("x-tenant", "a"))
            .refuses(with("x_tenant", "a"), bad())
            .refuses(with("x-tenant", "a").header("X_Tenant", "b"), bad())
            .refuses(with("x-tenant", "a").header("x.tenant", "a"), bad())
            .refuses(with("x-tenant", "a").header("x-tenant", "a"), bad())
            .refuses(with("x-tenant", "a").header("X-TENANT", "b"), bad())
            .refuses(with("x-tenant", "a").header("x-tenant", ""), bad())
            .refuses(with("x-tenant", "a").header("x_beta", "1"), bad())
            .refuses(with("x-tenant", &encoded("YQ")), bad())
            .refuses(with("x-tenant", &encoded("YR==")), bad())
            .refuses(with("x-tenant", &encoded("/w==")), bad())
            .refuses(with("x-tenant", "=?base64?YQ=="), bad())
            .refuses(with("x-tenant", "=?BASE64?YQ==?="), bad())
            .refuses(with("x-tenant", &encoded(&"YWFh".repeat(12_000))), denied())
            .refuses(with("x_tenant", "a").grpc(), bad())
            // No other value of this header would let the rule match.
            .refuses(with("x_tenant", "a").header("x-beta", "1"), denied())
            .refuses(get("/").header("x_tenant", "a"), denied())
            .calls(0),
    ]
}

/// Which path a rule sees.
fn paths() -> Vec<Exchange> {
    let open = json!({"rules": [{"paths": ["/open/**"], "access": "public"}]});
    vec![
        exchange("d4_05 paths are compared in one form, without the query")
            .inbound(open.clone())
            .passes(get("/open"))
            .passes(get("/open/a?x=/../..&y=%zz%2f"))
            .passes(get("/%6fpen/a"))
            .passes(get("/open/a%3Ab%40c"))
            .refuses(get("/closed/../open/a"), invalid_request("oauth2_bad_path"))
            .refuses(get("//open//a"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/./a"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/../closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%2e%2e/closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%2E./closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/closed?/open/"), access_denied("oauth2_unmatched"))
            .refuses(get("/closed/?x=/open/a"), access_denied("oauth2_unmatched"))
            .refuses(get("/OPEN/a"), access_denied("oauth2_unmatched"))
            .refuses(get("/open%252fa"), invalid_request("oauth2_bad_path"))
            .calls(0),
        exchange("a `*` in a segment is one or more characters of it, and `%2A` is an asterisk")
            .inbound(json!({"rules": [
                {"paths": ["/orders/*:cancel", "/files/*.pdf", "/%2A*"], "access": "public"}
            ]}))
            .passes(get("/orders/1:cancel"))
            .passes(get("/orders/1%3acancel?x"))
            .passes(get("/files/.pdf.pdf"))
            .passes(get("/%2ax"))
            .passes(get("/**"))
            .refuses(get("/orders/:cancel"), access_denied("oauth2_unmatched"))
            .refuses(get("/orders/1:cancel/"), access_denied("oauth2_unmatched"))
            .refuses(get("/orders/1/2:cancel"), access_denied("oauth2_unmatched"))
            .refuses(get("/files/.pdf"), access_denied("oauth2_unmatched"))
            .refuses(get("/files/a.PDF"), access_denied("oauth2_unmatched"))
            .refuses(get("/x*"), access_denied("oauth2_unmatched"))
            .refuses(get("/files/a%2fb.pdf"), invalid_request("oauth2_bad_path"))
            .refuses(get("/files/a;x.pdf"), invalid_request("oauth2_bad_path"))
            .refuses(get("/files/..%3b.pdf"), invalid_request("oauth2_bad_path"))
            .calls(0),
        exchange("d4_05 an escaped slash that is kept is judged as a character and as a slash")
            .inbound(json!({
                "encoded_slash": "keep",
                "rules": [
                    {"paths": ["/packages/*", "/packages/*/*"], "access": "public"},
                    {"paths": ["/one/*"], "access": "public"},
                    {"paths": ["/admin/**"], "access": "deny"},
                    {"paths": ["/open/**"], "access": "public"}
                ]
            }))
            .passes(get("/packages/@scope%2fname"))
            .passes(get("/packages/%40scope%2Fname?x=%2f"))
            .passes(get("/packages/name"))
            .passes(get("/open/a%2fb%2Fc/"))
            .refuses(get("/admin/a%2fb"), access_denied("oauth2_access_denied"))
            .refuses(get("/nowhere%2fa"), access_denied("oauth2_unmatched"))
            // Other rules decide if it is a slash.
            .refuses(get("/packages/a%2fb%2fc"), invalid_request("oauth2_bad_path"))
            .refuses(get("/packages%2fname"), invalid_request("oauth2_bad_path"))
            .refuses(get("/one/a%2fb"), invalid_request("oauth2_bad_path"))
            .refuses(get("/admin%2fa"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open%2fa"), invalid_request("oauth2_bad_path"))
            // What is between slashes of either kind.
            .refuses(get("/open/..%2fadmin"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/x%2f..%2f..%2fadmin"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%2e%2E%2fadmin"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/..;%2fadmin"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%2fadmin"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/a%2f"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/a%2f/b"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/a%2F%2fb"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/a%252fb"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/a%5cb"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/a;x%2fb"), invalid_request("oauth2_bad_path"))
            .calls(0),
        exchange("d4_05 rules compare method, host and path, whatever headers and the query say")
            .inbound(json!({"rules": [
                {"methods": ["GET"], "hosts": ["api.test"], "paths": ["/open"], "access": "public"}
            ]}))
            .passes(get("/open"))
            .refuses(
                get("/closed").header("x-forwarded-uri", "/open").header("x-original-url", "/open"),
                access_denied("oauth2_unmatched"),
            )
            .refuses(
                get("/closed").header("x-rewrite-url", "/open").header("user-agent", "/open"),
                access_denied("oauth2_unmatched"),
            )
            .refuses(
                get("/open").method("POST").header("x-http-method-override", "GET"),
                access_denied("oauth2_unmatched"),
            )
            .refuses(get("/open?_method=GET").method("POST"), access_denied("oauth2_unmatched"))
            .refuses(
                get("/open").host("evil.test").header("x-forwarded-host", "api.test"),
                access_denied("oauth2_unmatched"),
            )
            .refuses(get("/open;/closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/closed?/../open"), access_denied("oauth2_unmatched"))
            .calls(0),
        exchange("rs_6750_10 d4_05 a path that services read in different ways is refused before any rule")
            .inbound(open)
            .refuses(get("/open%2fa"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/..%2Fclosed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/..%5cclosed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/..\\closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%00"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%4"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/%zz"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/..;/closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open//../closed"), invalid_request("oauth2_bad_path"))
            .refuses(get("/open/;/../closed"), invalid_request("oauth2_bad_path"))
            .calls(0),
        exchange("one rule that looks at paths is enough to refuse a bad one, whichever would fit")
            .inbound(json!({"rules": [{"methods": ["GET"]}, {"paths": ["/open"]}]}))
            .refuses(get("/a%2fb").bearer("t"), invalid_request("oauth2_bad_path"))
            .calls(0),
        exchange("where nothing looks at paths, services may be sent any")
            .inbound(json!({"rules": [{"methods": ["GET"], "hosts": ["api.test"]}]}))
            .passes(get("/group%2fproject").bearer("t"))
            .calls(1),
    ]
}

/// What the server says of a token, and what comes of it.
fn claims() -> Vec<Exchange> {
    let later = seconds_from_now(1000);
    vec![
        exchange("rs_7662_04 a token whose exp has passed is refused though it is active")
            .server([active(json!({"exp": seconds_from_now(-5)}))])
            .refuses(get("/").bearer("t"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("t"), invalid_token("oauth2_expired"))
            .calls(1),
        exchange("rs_7662_06 d2_04 exp of every shape is read without letting an ended token live")
            .inbound(json!({"cache": {"negative_ttl": "0s"}}))
            .server(
                [
                    json!({"exp": later}),
                    json!({"exp": later.to_string().parse::<f64>().expect("a number") + 0.5}),
                    json!({"exp": later.to_string()}),
                    json!({"exp": 1e300}),
                    json!({"exp": u64::MAX}),
                    json!({"exp": null}),
                    json!({"exp": -1}),
                    json!({"exp": 0}),
                    json!({"exp": seconds_from_now(0)}),
                    json!({"exp": "soon"}),
                    json!({"exp": "1"}),
                    json!({"exp": true}),
                    json!({"exp": [later]}),
                    json!({"exp": {}}),
                    json!({"exp": -1e300}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .passes(get("/").bearer("3"))
            .passes(get("/").bearer("4"))
            .passes(get("/").bearer("5"))
            .passes(get("/").bearer("6"))
            .refuses(get("/").bearer("7"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("8"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("9"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("10"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("11"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("12"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("13"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("14"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("15"), invalid_token("oauth2_expired")),
        exchange("rs_7662_06 a token whose nbf has not come is refused")
            .server(
                [
                    json!({"nbf": later}),
                    json!({"nbf": later.to_string()}),
                    json!({"nbf": later.to_string().parse::<f64>().expect("a number") + 0.5}),
                    json!({"nbf": 1e300}),
                    json!({"nbf": u64::MAX}),
                    json!({"nbf": "tomorrow"}),
                    json!({"nbf": true}),
                    json!({"nbf": [0]}),
                    json!({"nbf": seconds_from_now(-5)}),
                    json!({"nbf": seconds_from_now(-5).to_string()}),
                    json!({"nbf": -1}),
                    json!({"nbf": -1e300}),
                    json!({"nbf": null}),
                ]
                .map(active),
            )
            .refuses_tokens(8, invalid_token("oauth2_not_yet_valid"))
            .passes_tokens(5),
        exchange("d2_05 an exp that is far away is kept like any other")
            .server(
                [json!(1_u64 << 53), json!(i64::MAX), json!(1e300), json!(4_000_000_000.5)]
                    .map(|exp| active(json!({ "exp": exp }))),
            )
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .passes(get("/").bearer("3"))
            .passes(get("/").bearer("4"))
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .passes(get("/").bearer("3"))
            .passes(get("/").bearer("4"))
            .calls(4),
        exchange("a token that has just been issued by a clock slightly ahead is valid")
            .server(
                [
                    json!({"nbf": seconds_from_now(4)}),
                    // With room for a machine on which the table takes minutes.
                    json!({"nbf": seconds_from_now(3600)}),
                    json!({"exp": seconds_from_now(-1)}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .refuses(get("/").bearer("2"), invalid_token("oauth2_not_yet_valid"))
            .refuses(get("/").bearer("3"), invalid_token("oauth2_expired")),
        exchange("clock_skew is leeway for exp and nbf")
            // With room for a machine on which the table takes minutes.
            .inbound(json!({"clock_skew": "1h"}))
            .server(
                [
                    json!({"exp": seconds_from_now(-5)}),
                    json!({"nbf": seconds_from_now(1800)}),
                    json!({"exp": seconds_from_now(-3605)}),
                    json!({"nbf": seconds_from_now(5400)}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .refuses(get("/").bearer("3"), invalid_token("oauth2_expired"))
            .refuses(get("/").bearer("4"), invalid_token("oauth2_not_yet_valid")),
        exchange("rs_7662_07 rs_9700_01 mcp_03 d5_02 the audience must be named, exactly")
            .inbound(json!({"audience": "https://a.test"}))
            .server(
                [
                    json!({"aud": "https://a.test"}),
                    json!({"aud": ["https://b.test", "https://a.test"]}),
                    json!({}),
                    json!({"aud": null}),
                    json!({"aud": "https://a.test/"}),
                    json!({"aud": "https://A.test"}),
                    json!({"aud": "https://a.test https://b.test"}),
                    json!({"aud": []}),
                    json!({"aud": {"https://a.test": true}}),
                    json!({"aud": [["https://a.test"]]}),
                    json!({"aud": "https://a.tes"}),
                    json!({"aud": "https://a.test.evil.test"}),
                    json!({"aud": "http://a.test"}),
                    json!({"aud": "a.test"}),
                    json!({"aud": "*"}),
                    json!({"aud": true}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .refuses_tokens(14, invalid_token("oauth2_wrong_audience")),
        exchange("the issuer must be the one that is needed")
            .inbound(json!({"issuer": "https://as.test"}))
            .server(
                [
                    json!({"iss": "https://as.test"}),
                    json!({"iss": "https://as.test/"}),
                    json!({}),
                    json!({"iss": ["https://as.test"]}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .refuses(get("/").bearer("2"), invalid_token("oauth2_wrong_issuer"))
            .refuses(get("/").bearer("3"), invalid_token("oauth2_wrong_issuer"))
            .refuses(get("/").bearer("4"), invalid_token("oauth2_wrong_issuer")),
        exchange("rs_6749_02 rs_7662_07 d5_04 d5_06 scopes are whole words, and none is made up")
            .inbound(json!({"scope": "admin"}))
            .server(
                [
                    json!({"scope": "x admin y"}),
                    json!({"scope": "  admin  "}),
                    json!({"scope": "admin2"}),
                    json!({"scope": "my-admin"}),
                    json!({"scope": "admin:read"}),
                    json!({"scope": "ADMIN"}),
                    json!({"scope": "x\tadmin"}),
                    json!({"scope": "admin\nx"}),
                    json!({"scope": "x,admin"}),
                    json!({"scope": "\u{a0}admin"}),
                    json!({"scope": ""}),
                    json!({"scope": " "}),
                    json!({"scope": null}),
                    json!({"scope": true}),
                    json!({"scope": {"admin": true}}),
                    json!({"scp": "admin", "scopes": ["admin"]}),
                    json!({}),
                ]
                .map(active),
            )
            .passes_tokens(2)
            .refuses_tokens(15, insufficient_scope(r#", error="insufficient_scope", scope="admin""#)),
        exchange("d5_05 a claim that the configuration asks for and the answer lacks is not met")
            .inbound(json!({"rules": [
                {"paths": ["/aud"], "audience": "x"},
                {"paths": ["/iss"], "issuer": "x"},
                {"paths": ["/scope"], "scope": "x"},
                {"paths": ["/acr"], "acr_values": "x"},
                {"paths": ["/age"], "max_age": "1h"},
                {"paths": ["/claims"], "claims": {"x": {"exists": true}}},
                {"paths": ["/not"], "claims": {"x": {"not": "y"}}}
            ]}))
            .server([active(json!({
                "aud": null, "iss": {"x": "x"}, "scope": {"x": "x"}, "acr": ["x"], "auth_time": null,
                "x": null
            }))])
            .refuses(get("/aud").bearer("t"), invalid_token("oauth2_wrong_audience"))
            .refuses(get("/iss").bearer("t"), invalid_token("oauth2_wrong_issuer"))
            .refuses(
                get("/scope").bearer("t"),
                insufficient_scope(r#", error="insufficient_scope", scope="x""#),
            )
            .refuses(
                get("/acr").bearer("t"),
                insufficient_user_authentication(r#", error="insufficient_user_authentication", acr_values="x""#),
            )
            .refuses(
                get("/age").bearer("t"),
                insufficient_user_authentication(r#", error="insufficient_user_authentication", max_age="3600""#),
            )
            .refuses(get("/claims").bearer("t"), access_denied("oauth2_claim_not_met"))
            .refuses(get("/not").bearer("t"), access_denied("oauth2_claim_not_met"))
            .calls(1),
        exchange("rs_7662_07 scope_claim names the claim that holds the scopes, nested or a list")
            .inbound(json!({"scope": "a", "scope_claim": "realm_access.roles"}))
            .server(
                [
                    json!({"realm_access": {"roles": ["b", "a"]}}),
                    json!({"realm_access": {"roles": "b a"}}),
                    json!({"scope": "a"}),
                    json!({"realm_access": {"roles": {"a": true}}}),
                    json!({"realm_access": {"roles": ["a b"]}}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .refuses(
                get("/").bearer("3"),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            )
            .refuses(
                get("/").bearer("4"),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            )
            .refuses(
                get("/").bearer("5"),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            ),
        exchange("rs_7662_01 d5_01 only the boolean true is active")
            .server(
                [
                    r#"{"active":true}"#,
                    r#"{"active":false}"#,
                    r#"{"active":"true"}"#,
                    r#"{"active":1}"#,
                    r#"{"active":null}"#,
                    r#"{"active":0}"#,
                    r#"{"active":1.0}"#,
                    r#"{"active":"TRUE"}"#,
                    r#"{"active":"yes"}"#,
                    r#"{"active":[]}"#,
                    r#"{"active":{}}"#,
                    r#"{"active":[true]}"#,
                    r#"{"active":{"active":true}}"#,
                    r#"{"Active":true}"#,
                    r#"{"active":false,"active":true}"#,
                    r#"{"active":true,"active":true}"#,
                    "{}",
                ]
                .map(says),
            )
            .passes(get("/").bearer("1"))
            .refuses(get("/").bearer("2"), invalid_token("oauth2_inactive"))
            .refuses_tokens(15, server_error("oauth2_server_bad_answer")),
    ]
}

/// Which other claims a rule may ask for.
fn claim_rules() -> Vec<Exchange> {
    let rule = |path: &str, claims: Value| json!({"paths": [path], "claims": claims});
    vec![
        exchange("claims are asked for by value, and those that are not met give 403")
            .inbound(json!({"rules": [
                rule("/equal", json!({"department": "sales"})),
                rule("/any", json!({"department": ["sales", "ops"]})),
                rule("/all", json!({"groups": {"all": ["a", "b"]}})),
                rule("/not", json!({"department": {"not": ["ops"]}})),
                rule("/exists", json!({"profile.email": {"exists": true}})),
                rule("/number", json!({"level": 3, "admin": true})),
                rule("/both", json!({"department": "sales", "level": 4})),
                rule("/absent", json!({"absent": {"not": "x"}}))
            ]}))
            .server([active(json!({
                "department": "sales", "groups": ["c", "b", "a"], "profile": {"email": "a@b.test"},
                "level": 3, "admin": true
            }))])
            .passes(get("/equal").bearer("t"))
            .passes(get("/any").bearer("t"))
            .passes(get("/all").bearer("t"))
            .passes(get("/not").bearer("t"))
            .passes(get("/exists").bearer("t"))
            .passes(get("/number").bearer("t"))
            .refuses(get("/both").bearer("t"), access_denied("oauth2_claim_not_met"))
            .refuses(get("/absent").bearer("t"), access_denied("oauth2_claim_not_met"))
            .calls(1),
        exchange("d5_05 a claim that is absent, null or of another type is not met")
            .inbound(json!({"claims": {"a": "x"}}))
            .server(
                [
                    json!({}),
                    json!({"a": null}),
                    json!({"a": {"x": "x"}}),
                    json!({"a": [["x"]]}),
                    json!({"a": "X"}),
                    json!({"a": ["y", "x"]}),
                ]
                .map(active),
            )
            .refuses(get("/").bearer("1"), access_denied("oauth2_claim_not_met"))
            .refuses(get("/").bearer("2"), access_denied("oauth2_claim_not_met"))
            .refuses(get("/").bearer("3"), access_denied("oauth2_claim_not_met"))
            .refuses(get("/").bearer("4"), access_denied("oauth2_claim_not_met"))
            .refuses(get("/").bearer("5"), access_denied("oauth2_claim_not_met"))
            .passes(get("/").bearer("6")),
        exchange("rs_8693_01 a rule on the actor sees the current one, not those before it")
            .inbound(json!({"claims": {"act.sub": "gateway"}}))
            .server(
                [
                    json!({"act": {"sub": "gateway", "act": {"sub": "batch"}}}),
                    json!({"act": {"sub": "batch", "act": {"sub": "gateway"}}}),
                    json!({"act": {"act": {"sub": "gateway"}}}),
                    json!({"sub": "gateway"}),
                ]
                .map(active),
            )
            .passes_tokens(1)
            .refuses_tokens(3, access_denied("oauth2_claim_not_met")),
        exchange("mcp_05 a scope that implies others satisfies a need for them")
            .inbound(json!({
                "scope_implies": {"admin": ["write"], "write": "read"},
                "rules": [{"paths": ["/read"], "scope": "read"}, {"paths": ["/admin"], "scope": "admin"}],
                "forward": {"claims": {"x-scope": "scope"}}
            }))
            .server([active(json!({"scope": "admin"})), active(json!({"scope": "write"}))])
            .passes(get("/read").bearer("admin"))
            .with("x-scope", "admin")
            .passes(get("/admin").bearer("admin"))
            .passes(get("/read").bearer("write"))
            .refuses(
                get("/admin").bearer("write"),
                insufficient_scope(r#", error="insufficient_scope", scope="admin""#),
            ),
    ]
}

/// How a user must have been authenticated (RFC 9470).
fn step_up() -> Vec<Exchange> {
    vec![
        exchange("rs_9470_01 a user who is not authenticated as needed is asked to be")
            .inbound(json!({"rules": [
                {"paths": ["/acr"], "acr_values": "gold silver"},
                {"paths": ["/age"], "max_age": "5m", "scope": "a"},
                {"paths": ["/both"], "acr_values": ["gold"], "max_age": "1h"}
            ]}))
            .server([
                active(json!({"acr": "silver", "auth_time": seconds_from_now(-600), "scope": "a"})),
                active(json!({"acr": "gold", "auth_time": seconds_from_now(-60), "scope": "a"})),
            ])
            .passes(get("/acr").bearer("1"))
            .refuses(
                get("/age").bearer("1"),
                insufficient_user_authentication(
                    r#", error="insufficient_user_authentication", scope="a", max_age="300""#,
                ),
            )
            .refuses(
                get("/both").bearer("1"),
                insufficient_user_authentication(
                    r#", error="insufficient_user_authentication", acr_values="gold", max_age="3600""#,
                ),
            )
            .passes(get("/age").bearer("2"))
            .passes(get("/both").bearer("2"))
            .calls(2),
        exchange("rs_9470_02 a claim that does not tell how or when is not enough")
            .inbound(json!({"acr_values": "gold", "max_age": "5m"}))
            .server(
                [
                    json!({}),
                    json!({"acr": "gold"}),
                    json!({"acr": "gold", "auth_time": "now"}),
                    json!({"acr": ["gold"], "auth_time": seconds_from_now(-1)}),
                    json!({"acr": "gold", "auth_time": seconds_from_now(-1)}),
                ]
                .map(active),
            )
            .refuses(get("/").bearer("1"), insufficient_user_authentication(STEP_UP))
            .refuses(get("/").bearer("2"), insufficient_user_authentication(STEP_UP))
            .refuses(get("/").bearer("3"), insufficient_user_authentication(STEP_UP))
            .refuses(get("/").bearer("4"), insufficient_user_authentication(STEP_UP))
            .passes(get("/").bearer("5")),
    ]
}

/// The challenge where both are asked for.
const STEP_UP: &str =
    r#", error="insufficient_user_authentication", acr_values="gold", max_age="300""#;

/// Which of several authorization servers is asked.
fn servers() -> Vec<Exchange> {
    // {"alg":"none"}.{"iss":"https://b.test"}.sig and the same with https://c.test
    let of_b = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2IudGVzdCJ9.c2ln";
    let of_c = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2MudGVzdCJ9.c2ln";
    let list = json!([
        {"endpoint": "http://as.test/{prefix}/b", "when": {"issuer": "https://b.test"}},
        {"endpoint": "http://as.test/{prefix}/x", "when": {"token_prefix": ["x-", "y-"]}},
        {"endpoint": "http://as.test/{prefix}/h", "when": {"hosts": ["h.test"], "token_prefix": "z"}},
        {}
    ]);
    vec![
        exchange("the first server whose when fits is asked, and no other")
            .inbound(json!({"introspection": list, "forward": {"claims": {"x-by": "by"}}}))
            .server([active(json!({"by": "rest"}))])
            .other("/b", [active(json!({"by": "issuer"}))])
            .other("/x", [active(json!({"by": "prefix"}))])
            .other("/h", [active(json!({"by": "host"}))])
            .passes(get("/").bearer(of_b))
            .with("x-by", "issuer")
            .passes(get("/").bearer("y-1"))
            .with("x-by", "prefix")
            .passes(get("/").bearer("z1").host("h.test"))
            .with("x-by", "host")
            .passes(get("/").bearer("z1"))
            .with("x-by", "rest")
            .passes(get("/").bearer(of_c))
            .with("x-by", "rest"),
        exchange("d1_01 d1_03 a token is never judged by another server's answer (CVE-2026-33496)")
            .inbound(json!({"introspection": [
                {"endpoint": "http://as.test/{prefix}/a", "when": {"hosts": ["a.test"]}},
                {"endpoint": "http://as.test/{prefix}/b", "when": {"hosts": ["b.test"]}}
            ]}))
            .other("/a", [active(json!({}))])
            .other("/b", [inactive()])
            .passes(get("/").bearer("t").host("a.test"))
            .refuses(get("/").bearer("t").host("b.test"), invalid_token("oauth2_inactive"))
            .passes(get("/").bearer("t").host("a.test"))
            .refuses(get("/").bearer("t").host("c.test"), invalid_token("oauth2_no_server")),
        exchange("a server answers for the issuer that it is said to have, and for no other")
            .inbound(json!({
                "introspection": {"issuer": "https://as.test"}, "issuer": "https://as.test"
            }))
            .server([
                active(json!({})),
                active(json!({"iss": "https://as.test"})),
                active(json!({"iss": "https://evil.test"})),
            ])
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .refuses(get("/").bearer("3"), invalid_token("oauth2_wrong_issuer")),
    ]
}

/// The resource's metadata (RFC 9728).
fn metadata() -> Vec<Exchange> {
    vec![
        exchange("rs_9728_05 mcp_01 every challenge says where the metadata is")
            .inbound(json!({
                "resource_metadata": {
                    "resource": "https://mcp.test/mcp", "authorization_servers": ["https://as.test"]
                },
                "rules": [{"paths": ["/mcp"], "scope": "mcp:use"}, {"paths": ["/no"], "access": "deny"}]
            }))
            .server([inactive(), active(json!({}))])
            .refuses(
                get("/mcp"),
                no_token().challenge(
                    r#", scope="mcp:use", resource_metadata="https://mcp.test/.well-known/oauth-protected-resource/mcp""#,
                ),
            )
            .refuses(
                get("/mcp").bearer("1"),
                invalid_token("oauth2_inactive").challenge(
                    r#", error="invalid_token", scope="mcp:use", resource_metadata="https://mcp.test/.well-known/oauth-protected-resource/mcp""#,
                ),
            )
            .refuses(
                get("/mcp").bearer("2"),
                insufficient_scope(
                    r#", error="insufficient_scope", scope="mcp:use", resource_metadata="https://mcp.test/.well-known/oauth-protected-resource/mcp""#,
                ),
            )
            .refuses(get("/no"), access_denied("oauth2_access_denied")),
        exchange("rs_9728_01 rs_9728_02 rs_9728_03 mcp_01 everybody may read the metadata")
            .inbound(json!({
                "resource_metadata": {
                    "resource": "https://mcp.test/mcp?tenant=a",
                    "authorization_servers": ["https://as.test"],
                    "scopes_supported": ["mcp:use"], "bearer_methods_supported": ["header"],
                    "tls_client_certificate_bound_access_tokens": true
                },
                "rules": [{"access": "deny"}],
                "forward": {"claims": {"x-user-id": "sub"}}
            }))
            .describes(
                spoofing(get("/.well-known/oauth-protected-resource/mcp?tenant=a")),
                json!({
                    "resource": "https://mcp.test/mcp?tenant=a",
                    "authorization_servers": ["https://as.test"],
                    "scopes_supported": ["mcp:use"], "bearer_methods_supported": ["header"],
                    "tls_client_certificate_bound_access_tokens": true
                }),
            )
            .refuses(
                get("/.well-known/oauth-protected-resource/mcp"),
                access_denied("oauth2_access_denied"),
            )
            .refuses(
                get("/.well-known/oauth-protected-resource?tenant=a"),
                access_denied("oauth2_access_denied"),
            )
            .refuses(
                get("/mcp/.well-known/oauth-protected-resource?tenant=a"),
                access_denied("oauth2_access_denied"),
            )
            .refuses(
                get("/.well-known/oauth-protected-resource/mcp?tenant=a").method("POST"),
                access_denied("oauth2_access_denied"),
            )
            .calls(0),
        exchange("rs_9728_03 rs_9728_04 the resource is told as configured, and so is its place")
            .inbound(json!({"resource_metadata": {"resource": "https://api.test"}}))
            .describes(
                get("/.well-known/oauth-protected-resource"),
                json!({"resource": "https://api.test"}),
            )
            .refuses(
                get("/"),
                no_token().challenge(
                    r#", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
                ),
            )
            .answers(
                get("/.well-known/oauth-protected-resource/"),
                404,
                "oauth2_resource_metadata",
            ),
        exchange("rs_9728_06 nothing that a request says of its host moves the metadata")
            .inbound(json!({"resource_metadata": {"resource": "https://api.test/v1"}}))
            .refuses(
                get("/v1")
                    .host("evil.test")
                    .header("x-forwarded-host", "evil.test")
                    .header("x-forwarded-proto", "http")
                    .header("forwarded", "host=evil.test"),
                no_token().challenge(
                    r#", resource_metadata="https://api.test/.well-known/oauth-protected-resource/v1""#,
                ),
            )
            .describes(
                get("/.well-known/oauth-protected-resource/v1")
                    .host("evil.test")
                    .header("x-forwarded-host", "evil.test"),
                json!({"resource": "https://api.test/v1"}),
            ),
        exchange("mcp_04 a call that needs more is told every scope that it needs, in one challenge")
            .inbound(json!({
                "resource_metadata": {"resource": "https://mcp.test/mcp"},
                "scope": "mcp:use tools:read tools:call"
            }))
            .server([active(json!({"scope": "mcp:use tools:read"}))])
            .refuses(
                get("/mcp").method("POST").bearer("t"),
                insufficient_scope(
                    r#", error="insufficient_scope", scope="mcp:use tools:read tools:call", resource_metadata="https://mcp.test/.well-known/oauth-protected-resource/mcp""#,
                ),
            ),
        exchange("mcp_06 mcp_08 every request of a session is judged by itself, with the same statuses")
            .inbound(json!({"rules": [
                {"paths": ["/mcp"], "scope": "mcp:use"}, {"paths": ["/admin"], "scope": "admin"}
            ]}))
            .server([active(json!({"scope": "mcp:use"}))])
            .passes(get("/mcp").method("POST").bearer("t"))
            .refuses(
                get("/mcp").header("accept", "text/event-stream").header("mcp-session-id", "1"),
                no_token().challenge(r#", scope="mcp:use""#),
            )
            .refuses(
                get("/mcp").method("DELETE").header("mcp-session-id", "1"),
                no_token().challenge(r#", scope="mcp:use""#),
            )
            .refuses(
                get("/mcp?access_token=t").method("POST"),
                no_token().challenge(r#", scope="mcp:use""#),
            )
            .refuses(
                get("/admin").method("POST").bearer("t"),
                insufficient_scope(r#", error="insufficient_scope", scope="admin""#),
            )
            .refuses(
                get("/mcp").method("POST").bearer("t").bearer("t"),
                invalid_request("oauth2_repeated_token")
                    .challenge(r#", error="invalid_request", scope="mcp:use""#),
            )
            .passes(get("/mcp").method("DELETE").header("mcp-session-id", "1").bearer("t"))
            .calls(1),
        exchange("the metadata's path is like any other where none is configured")
            .inbound(json!({"rules": [{"paths": ["/mcp"]}]}))
            .refuses(
                get("/.well-known/oauth-protected-resource/mcp"),
                access_denied("oauth2_unmatched"),
            ),
    ]
}

/// What passes without a checked token.
fn exceptions() -> Vec<Exchange> {
    let preflight = |request: Request| {
        request
            .method("OPTIONS")
            .header("origin", "https://app.test")
            .header("access-control-request-method", "PUT")
    };
    vec![
        exchange("rs_http_05 d4_01 d4_02 a CORS preflight passes if it may, and no other OPTIONS does")
            .inbound(json!({
                "allow_cors_preflight": true,
                "rules": [{"paths": ["/a"], "access": "token"}, {"paths": ["/no"], "access": "deny"}],
                "forward": {"claims": {"x-user-id": "sub"}}
            }))
            .passes(spoofing(preflight(get("/a"))))
            .without("x-user-id")
            .without("x_user_id")
            .without("x.user.id")
            .refuses(get("/a").method("OPTIONS").header("origin", "https://app.test"), no_token())
            .refuses(
                get("/a").method("OPTIONS").header("access-control-request-method", "PUT"),
                no_token(),
            )
            .refuses(preflight(get("/a")).method("PUT"), no_token())
            .refuses(preflight(get("/no")), access_denied("oauth2_access_denied"))
            .refuses(preflight(get("/other")), access_denied("oauth2_unmatched"))
            .calls(0),
        exchange("rs_http_05 a CORS preflight needs a token like any other request, unless it may pass")
            .refuses(preflight(get("/a")), no_token()),
        exchange("d4_01 d4_02 d6_09 failure_mode_allow lets requests pass while the server fails, without claims")
            .inbound(json!({
                "introspection": {"retries": 0}, "failure_mode_allow": true, "scope": "a",
                "forward": {"claims": {"x-user-id": "sub"}}
            }))
            .server([
                Scripted::Reset,
                status(500),
                status(500),
                status(401),
                status(500),
                says("no"),
                inactive(),
                active(json!({"sub": "alice"})),
            ])
            .refuses(get("/").bearer("0"), unavailable("oauth2_server_unavailable"))
            .passes(spoofing(get("/").bearer("1")))
            .without("x-user-id")
            .without("x_user_id")
            .without("x.user.id")
            .without("authorization")
            .passes(get("/").bearer("2"))
            .refuses(get("/").bearer("3"), server_error("oauth2_server_refused_client"))
            .refuses(get("/").bearer("3"), unavailable("oauth2_server_unavailable"))
            .refuses(get("/").bearer("4"), server_error("oauth2_server_bad_answer"))
            .refuses(
                get("/").bearer("5"),
                invalid_token("oauth2_inactive").challenge(r#", error="invalid_token", scope="a""#),
            )
            .refuses(
                get("/").bearer("6"),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            )
            .refuses(get("/"), no_token().challenge(r#", scope="a""#)),
    ]
}

/// What the service behind gets.
fn forwarding() -> Vec<Exchange> {
    vec![
        exchange("rs_9700_04 mcp_07 the token is taken out of a request that passes")
            .passes(get("/").bearer("t"))
            .without("authorization"),
        exchange("rs_9700_04 only forward.token leaves the token in the request")
            .inbound(json!({"forward": {"token": true}}))
            .passes(get("/").bearer("t"))
            .with("authorization", "Bearer t"),
        exchange("rs_7662_11 only the configured claims are forwarded, in the headers named")
            .inbound(json!({"forward": {"claims": {
                "x-user": "sub", "X-Scope": "scope", "x-email": "profile.email", "x-n": "n",
                "x-groups": "groups", "x-absent": "absent", "x-null": "null"
            }}}))
            .server([active(json!({
                "sub": "alice", "scope": "a b", "profile": {"email": "a@b.test"}, "n": 1.5,
                "groups": ["g1", "g2"], "secret": "s3cr3t", "null": null
            }))])
            .passes(get("/").bearer("t").header("x-absent", "evil").header("x-null", "evil"))
            .with("x-user", "alice")
            .with("x-scope", "a b")
            .with("x-email", "a@b.test")
            .with("x-n", "1.5")
            .with("x-groups", "g1,g2")
            .without("x-absent")
            .without("x-null"),
        exchange("forward.payload is the whole answer as base64url")
            .inbound(json!({"forward": {"payload": "x-payload"}}))
            .server([says(r#"{"active":true,"sub":"a"}"#)])
            .passes(get("/").bearer("t").header("X-Payload", "evil"))
            .with("x-payload", "eyJhY3RpdmUiOnRydWUsInN1YiI6ImEifQ"),
        exchange("rs_9700_05 d4_01 d4_02 every spelling of a forwarded header is taken out, on every path")
            .inbound(json!({
                "rules": [
                    {"paths": ["/public"], "access": "public"},
                    {"paths": ["/optional"], "access": "optional"},
                    {"paths": ["/**"]}
                ],
                "forward": {"claims": {"x-user-id": "sub"}}
            }))
            .server([active(json!({"sub": "alice"})), active(json!({}))])
            .passes(spoofing(get("/public")))
            .without("x-user-id")
            .without("x_user_id")
            .without("x.user.id")
            .with("x-user", "kept")
            .passes(spoofing(get("/optional")))
            .without("x-user-id")
            .without("x_user_id")
            .without("x.user.id")
            .passes(spoofing(get("/private").bearer("with-sub")))
            .with("x-user-id", "alice")
            .without("x_user_id")
            .without("x.user.id")
            .passes(spoofing(get("/private").bearer("without-sub")))
            .without("x-user-id")
            .without("x_user_id")
            .without("x.user.id"),
        exchange("d4_03 a claim that cannot stand in a header is dropped, and splits none")
            .inbound(json!({"forward": {"claims": {"x-user": "sub"}}}))
            .server(
                [
                    json!({"sub": "a\r\nx-admin: true"}),
                    json!({"sub": "a\nb"}),
                    json!({"sub": "a\u{0}b"}),
                    json!({"sub": "Jos\u{e9}"}),
                    json!({"sub": " a"}),
                    json!({"sub": "a".repeat(100 * 1024)}),
                    json!({"sub": ["a,admin"]}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .without("x-user")
            .without("x-admin")
            .passes(get("/").bearer("2"))
            .without("x-user")
            .passes(get("/").bearer("3"))
            .without("x-user")
            .passes(get("/").bearer("4"))
            .without("x-user")
            .passes(get("/").bearer("5"))
            .without("x-user")
            .passes(get("/").bearer("6"))
            .without("x-user")
            .passes(get("/").bearer("7"))
            .without("x-user"),
    ]
}

/// A request with a forwarded header in every spelling.
fn spoofing(request: Request) -> Request {
    request
        .header("X-User-Id", "evil")
        .header("x_user_id", "evil")
        .header("x.user.id", "evil")
        .header("x-user", "kept")
}

/// What the authorization server is asked.
fn calls() -> Vec<Exchange> {
    let form = "application/x-www-form-urlencoded";
    let body = "token=t&token_type_hint=access_token";
    vec![
        exchange("cl_7662_01 cl_7662_03 d6_04 the token is sent in a form, with its hint and the client's credentials")
            .passes(get("/").bearer("a+/~-._="))
            .call(ExpectedCall {
                path: "/introspect",
                headers: vec![
                    (":method", "POST"),
                    (":authority", "as.test"),
                    ("content-type", form),
                    ("accept", "application/json"),
                    ("authorization", "Basic cnM6cnMtc2VjcmV0"),
                ],
                lacks: vec!["x-envoy-retry-on", "x-envoy-max-retries"],
                body: "token=a%2B%2F%7E-._%3D&token_type_hint=access_token",
            }),
        exchange("cl_6749_04 id and secret are form-encoded before Basic")
            .inbound(json!({"introspection": {"client_id": "odd:client id", "client_secret": "s%c&r=t+/~!"}}))
            .passes(get("/").bearer("t"))
            .call(ExpectedCall {
                path: "/introspect",
                headers: vec![(
                    "authorization",
                    "Basic b2RkJTNBY2xpZW50JTIwaWQ6cyUyNWMlMjZyJTNEdCUyQiUyRiU3RSUyMQ==",
                )],
                lacks: vec![],
                body,
            }),
        exchange("cl_6749_04 client_secret_basic_raw sends id and secret as they are")
            .inbound(json!({"introspection": {
                "client_id": "a b", "client_secret": "c%d", "auth_method": "client_secret_basic_raw"
            }}))
            .passes(get("/").bearer("t"))
            .call(ExpectedCall {
                path: "/introspect",
                headers: vec![("authorization", "Basic YSBiOmMlZA==")],
                lacks: vec![],
                body,
            }),
        exchange("cl_6749_05 client_secret_post sends the credentials in the form only")
            .inbound(json!({"introspection": {"client_secret": "a&b", "auth_method": "client_secret_post"}}))
            .passes(get("/").bearer("t"))
            .call(ExpectedCall {
                path: "/introspect",
                headers: vec![],
                lacks: vec!["authorization"],
                body: "token=t&token_type_hint=access_token&client_id=rs&client_secret=a%26b",
            }),
        exchange("cl_7662_02 auth_method none sends no credentials, and client_id if there is one")
            .inbound(json!({"introspection": {
                "client_id": "public", "client_secret": null, "auth_method": "none",
                "headers": {"Authorization": "Bearer static"}
            }}))
            .passes(get("/").bearer("t"))
            .call(ExpectedCall {
                path: "/introspect",
                headers: vec![("authorization", "Bearer static")],
                lacks: vec![],
                body: "token=t&token_type_hint=access_token&client_id=public",
            }),
        exchange("cl_6749_02 cl_6749_03 the endpoint's query, headers, parameters and hint are the operator's")
            .inbound(json!({"introspection": {
                "endpoint": "http://as.test:8080/{prefix}/in%74rospect?tenant=a%20b&x",
                "token_type_hint": "",
                "headers": {"X-Api-Key": "k", "Accept": "application/json;q=1"},
                "parameters": {"realm": "a b", "z": ""}
            }}))
            .passes(get("/").bearer("t"))
            .call(ExpectedCall {
                path: "/in%74rospect?tenant=a%20b&x",
                headers: vec![
                    (":authority", "as.test:8080"),
                    ("x-api-key", "k"),
                    ("accept", "application/json;q=1"),
                ],
                lacks: vec![],
                body: "token=t&realm=a+b&z=",
            }),
    ]
}

/// What an authorization server can do wrong: none of it lets a request pass.
fn misbehaviour() -> Vec<Exchange> {
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    let bad = || server_error("oauth2_server_bad_answer");
    let down = || unavailable("oauth2_server_unavailable");
    let us = || server_error("oauth2_server_refused_client");
    let retry_after =
        |seconds: &'static str| Scripted::Answer(429, vec![("retry-after", seconds)], Vec::new());
    vec![
        exchange(
            "rs_7662_02 rs_http_02 what is no JSON object is an endpoint failure, and is not kept",
        )
        .server([
            says(""),
            says("active"),
            says(r#"{"active":true"#),
            says(r#"{"active":true}}"#),
            says("[true]"),
            says(r#""active""#),
            says("true"),
            says(format!(r#"{{"active":true,"deep":{deep}}}"#)),
            says("\u{feff}{\"active\":true}"),
            says(&b"{\"active\":true,\"x\":\"\xff\"}"[..]),
            says("<html>{\"active\":true}</html>"),
            says(r#"{"active":true,"exp":1e999}"#),
            says(r#"{"active":true,"a":1,"a":2}"#),
            active(json!({})),
        ])
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .refuses(get("/").bearer("t"), bad())
        .passes(get("/").bearer("t"))
        .calls(14),
        exchange("rs_7662_02 d3_05 a body over 1 MiB is a failure, however large")
            .server([
                Scripted::Huge(1024 * 1024 + 1),
                Scripted::Huge(10 * 1024 * 1024),
                Scripted::Huge(1024 * 1024),
            ])
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .passes(get("/").bearer("t")),
        exchange("rs_7662_03 a server that refuses us says nothing of the token")
            .server([status(401), status(403), status(400), active(json!({}))])
            .refuses(get("/").bearer("t"), us())
            .refuses(get("/").bearer("t"), us())
            .refuses(get("/").bearer("t"), us())
            .passes(get("/").bearer("t"))
            .calls(4),
        exchange("d6_07 redirects are not followed, and other statuses count as no answer")
            .server([
                Scripted::Answer(302, vec![("location", "http://as.test/")], Vec::new()),
                status(307),
                status(201),
                Scripted::Answer(204, Vec::new(), Vec::new()),
                status(206),
                status(404),
                status(405),
                status(418),
            ])
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .refuses(get("/").bearer("t"), bad())
            .calls(8),
        exchange("rs_http_02 a server that cannot answer now gives 503 with Retry-After")
            .inbound(json!({"introspection": {"retries": 0}}))
            .server([
                status(500),
                status(501),
                status(502),
                status(503),
                status(504),
                status(599),
                retry_after("7"),
                retry_after("86400"),
                retry_after("soon"),
                retry_after("-1"),
                retry_after("Wed, 21 Oct 2026 07:28:00 GMT"),
                active(json!({})),
            ])
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down().retry_after("7"))
            .refuses(get("/").bearer("t"), down().retry_after("3600"))
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .passes(get("/").bearer("t"))
            .calls(12),
        exchange("rs_http_02 a connection that breaks gives 503")
            .inbound(json!({"introspection": {"retries": 0}}))
            .server([
                Scripted::Reset,
                Scripted::Close,
                Scripted::Truncated,
                Scripted::Garbage,
                active(json!({})),
            ])
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .refuses(get("/").bearer("t"), down())
            .passes(get("/").bearer("t")),
        exchange("early hints are no answer: the one that follows counts")
            .server([
                Scripted::EarlyHints(Box::new(inactive())),
                Scripted::EarlyHints(Box::new(active(json!({})))),
            ])
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .passes(get("/").bearer("u")),
        exchange("rs_http_02 a server that does not answer in time gives 503")
            .server([Scripted::Hang, active(json!({}))])
            .refuses(get("/").bearer("t"), unavailable("oauth2_server_timeout"))
            .passes(get("/").bearer("t")),
        exchange("rs_7662_03 a failure is no statement on the token: a kept refusal stays one")
            .inbound(json!({"introspection": {"retries": 0}}))
            .server([inactive(), Scripted::Reset])
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .refuses(get("/").bearer("u"), down())
            .refuses(get("/").bearer("t"), invalid_token("oauth2_inactive"))
            .calls(2),
    ]
}
