//! Several protected resources behind one proxy.

use serde_json::json;

use super::*;

/// Where clients look for the metadata of the root.
const ROOT: &str = "/.well-known/oauth-protected-resource";

/// What is served there.
const DETAILS: &str = "oauth2_resource_metadata";

/// The parameter of a challenge.
macro_rules! metadata {
    ($before:literal, $origin:literal, $path:literal) => {
        concat!(
            $before,
            ", resource_metadata=\"",
            $origin,
            "/.well-known/oauth-protected-resource",
            $path,
            "\""
        )
    };
}

/// Several resources, and what belongs to none.
pub fn resources() -> Vec<Exchange> {
    let two = json!([
        {"resource": "https://api.test/a", "scopes_supported": ["a"]},
        {"resource": "https://api.test/b"}
    ]);
    macro_rules! wrong_audience {
        ($origin:literal, $path:literal) => {
            invalid_token("oauth2_wrong_audience").challenge(metadata!(
                ", error=\"invalid_token\"",
                $origin,
                $path
            ))
        };
    }
    let unmatched = || access_denied("oauth2_unmatched");
    vec![
        exchange("rs_9728_05 of several resources, the nearest above the path gives the challenge")
            .inbound(json!({"resource_metadata": [
                {"resource": "https://api.test/a"}, {"resource": "https://api.test/a/b"},
                {"resource": "https://api.test/ab/"}, {"resource": "https://root.test"},
                {"resource": "https://[::1]:8443/six"}
            ]}))
            .refuses(get("/a"), no_token().challenge(metadata!("", "https://api.test", "/a")))
            .refuses(get("/a/"), no_token().challenge(metadata!("", "https://api.test", "/a")))
            .refuses(get("/a/bc"), no_token().challenge(metadata!("", "https://api.test", "/a")))
            .refuses(get("/a/b"), no_token().challenge(metadata!("", "https://api.test", "/a/b")))
            .refuses(
                get("/%61/b/c?x=/a"),
                no_token().challenge(metadata!("", "https://api.test", "/a/b")),
            )
            .refuses(get("/ab"), no_token().challenge(metadata!("", "https://api.test", "/ab/")))
            .refuses(get("/ab/c"), no_token().challenge(metadata!("", "https://api.test", "/ab/")))
            .refuses(
                get("/a").host("API.test.:8443"),
                no_token().challenge(metadata!("", "https://api.test", "/a")),
            )
            .refuses(
                get("/a").host("root.test"),
                no_token().challenge(metadata!("", "https://root.test", "")),
            )
            .refuses(
                get("/six").host("[0:0::1]"),
                no_token().challenge(metadata!("", "https://[::1]:8443", "/six")),
            )
            .refuses(get("/abc"), unmatched())
            .refuses(get("/A"), unmatched())
            .refuses(get("/"), unmatched())
            .refuses(get("/").bearer("t"), unmatched())
            .refuses(get("/a").host("other.test"), unmatched())
            .refuses(get("/six").host("[::2]"), unmatched())
            // Some services drop parameters.
            .refuses(get("/a/b;x=1/c"), invalid_request("oauth2_bad_path"))
            .refuses(get("/a//b"), invalid_request("oauth2_bad_path"))
            .refuses(get("/a").host("api..test"), invalid_request("oauth2_bad_host"))
            .calls(0),
        exchange("rs_9700_01 of several resources, each is the audience of its tokens")
            .inbound(json!({
                "resource_metadata": [
                    {"resource": "https://api.test/a"}, {"resource": "https://api.test/b/"},
                    {"resource": "https://root.test/"}
                ],
                "rules": [{"paths": ["/a/any"], "audience": "*"},
                    {"paths": ["/a/own"], "audience": "own"}, {"access": "optional"}]
            }))
            .server([
                active(json!({"aud": ["x", "https://api.test/a"]})),
                active(json!({"aud": "https://api.test/b"})),
                active(json!({"aud": "https://root.test"})),
                active(json!({"aud": "https://root.test/"})),
                active(json!({"aud": "own"})),
                active(json!({})),
            ])
            .passes(get("/a").bearer("a"))
            .passes(get("/a/x").bearer("a"))
            .refuses(get("/b").bearer("a"), wrong_audience!("https://api.test", "/b/"))
            // Only after an empty path, a slash is ignored.
            .refuses(get("/b/").bearer("b"), wrong_audience!("https://api.test", "/b/"))
            .passes(get("/").host("root.test").bearer("root"))
            .passes(get("/").host("root.test").bearer("root/"))
            .refuses(
                get("/").host("root.test").bearer("a"),
                wrong_audience!("https://root.test", ""),
            )
            .passes(get("/a/own").bearer("own"))
            .refuses(get("/a/own").bearer("a"), wrong_audience!("https://api.test", "/a"))
            .passes(get("/a/any").bearer("none"))
            .passes(get("/a/any").bearer("own"))
            .refuses(get("/a").bearer("none"), wrong_audience!("https://api.test", "/a"))
            .passes(get("/a"))
            .refuses(get("/c"), unmatched()),
        exchange("rs_9728_01 each of several resources has its document at its own path")
            .inbound(json!({
                "resource_metadata": [
                    two[0], two[1], {"resource": "https://one.test/a"},
                    {"resource": "https://root.test"}, {"resource": "https://root.test/a"}
                ],
                "unmatched": "token"
            }))
            .describes(get("/.well-known/oauth-protected-resource/a").bearer("t"), two[0].clone())
            .describes(
                get("/.well-known/oauth-protected-resource/b").host("API.test:443"),
                two[1].clone(),
            )
            .describes(
                get("/.well-known/oauth-protected-resource/a").host("one.test"),
                json!({"resource": "https://one.test/a"}),
            )
            // The root form is of use where it can mean one resource only.
            .describes(get(ROOT).host("one.test"), json!({"resource": "https://one.test/a"}))
            .describes(get(ROOT).host("root.test"), json!({"resource": "https://root.test"}))
            .answers(get(ROOT), 404, DETAILS)
            .with("access-control-allow-origin", "*")
            .answers(get(ROOT).host("other.test"), 404, DETAILS)
            .answers(get("/.well-known/oauth-protected-resource/"), 404, DETAILS)
            .answers(get("/.well-known/oauth-protected-resource/a/").method("HEAD"), 404, DETAILS)
            .answers(get(ROOT).method("OPTIONS"), 200, DETAILS)
            .refuses(get(ROOT).method("POST"), unmatched())
            .refuses(get("/.well-known/oauth-protected-resource/a?x"), unmatched())
            .refuses(get("/.well-known/oauth-protected-resource/c"), unmatched())
            .refuses(get("/.well-known/oauth-protected-resource-b"), unmatched())
            .refuses(get(ROOT).host("root..test"), invalid_request("oauth2_bad_host"))
            .calls(0),
        exchange("what belongs to no resource passes only by a rule that makes it public")
            .inbound(json!({
                "resource_metadata": two, "allow_cors_preflight": true, "unmatched": "public",
                "rules": [{"paths": ["/healthz"], "access": "public"},
                    {"paths": ["/no"], "access": "deny"}, {"paths": ["/c"], "access": "optional"}]
            }))
            .passes(get("/healthz"))
            .passes(get("/healthz").host("other..test"))
            .passes(get("/a"))
            .refuses(get("/no"), access_denied("oauth2_access_denied"))
            .refuses(get("/c"), unmatched())
            .refuses(get("/d"), unmatched())
            .refuses(
                get("/c")
                    .method("OPTIONS")
                    .header("origin", "https://app.test")
                    .header("access-control-request-method", "PUT"),
                unmatched(),
            )
            .calls(0),
        exchange("the root form is served on the host of the only resource, too")
            .inbound(json!({
                "resource_metadata": {"resource": "https://api.test/mcp"},
                "rules": [{"paths": ["/mcp"]}]
            }))
            .describes(get(ROOT), json!({"resource": "https://api.test/mcp"}))
            .answers(get("/.well-known/oauth-protected-resource/"), 404, DETAILS)
            .answers(
                get("/.well-known/oauth-protected-resource/mcp/").host("other.test"),
                404,
                DETAILS,
            )
            .refuses(get(ROOT).host("other.test"), unmatched())
            .refuses(get(ROOT).host("other..test"), unmatched())
            .refuses(get("/.well-known/oauth-protected-resource?x"), unmatched()),
    ]
}

/// Scripts of other origins (CORS).
pub fn cross_origin() -> Vec<Exchange> {
    const ALLOW: &str = "access-control-allow-origin";
    const EXPOSE: &str = "access-control-expose-headers";
    const EXPOSED: &str = "www-authenticate, retry-after, grpc-status, grpc-message";
    let app = "https://app.test";
    let cors = json!({
        "allow_origins": [app, "https://other.test:8443", "vscode-webview://panel"],
        "allow_methods": ["GET", "PUT"], "allow_headers": ["Authorization", "x-a", "mcp-param-*"],
        "max_age": "1h"
    });
    let preflight = |path| {
        get(path)
            .method("OPTIONS")
            .header("origin", app)
            .header("access-control-request-method", "PUT")
    };
    let asking = |headers: &[&str]| {
        headers.iter().fold(preflight("/"), |request, headers| {
            request.header("access-control-request-headers", *headers)
        })
    };
    let mut answered = exchange("only a preflight of which all is listed is answered")
        .inbound(json!({"cors": cors, "rules": [{"paths": ["/no"], "access": "deny"}, {}]}));
    let listed = [
        (asking(&[]), ""),
        (asking(&[""]), ""),
        (asking(&["authorization"]), ""),
        (asking(&["AUTHORIZATION,X-a"]), ""),
        (asking(&["authorization", " x-a,, "]), ""),
        (asking(&["authorization,mcp-param-region"]), ", mcp-param-region"),
        (asking(&["MCP-Param-A", "mcp-param-"]), ", MCP-Param-A, mcp-param-"),
        (asking(&["authorization"]).bearer("t"), ""),
        (preflight("/no"), ""),
    ];
    for (request, more) in listed {
        answered = answered
            .answers(request, 200, "oauth2_cors_preflight")
            .with(ALLOW, app)
            .with("access-control-allow-methods", "GET, PUT")
            .with("access-control-allow-headers", format!("Authorization, x-a{more}"))
            .with("access-control-max-age", "3600")
            .with("vary", "origin")
            .without("access-control-allow-credentials");
    }
    let of_origin = |origin: &'static str| {
        get("/")
            .method("OPTIONS")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
    };
    for request in [of_origin("https://other.test:8443"), of_origin("vscode-webview://panel")] {
        answered = answered.answers(request, 200, "oauth2_cors_preflight");
    }
    let method = |method: &'static str| {
        get("/")
            .method("OPTIONS")
            .header("origin", app)
            .header("access-control-request-method", method)
    };
    for request in [
        asking(&["authorization,x-evil"]),
        asking(&["x-evil", "authorization"]),
        asking(&["*"]),
        asking(&["mcp-param-*"]),
        asking(&["mcp-param"]),
        asking(&["mcp-param-a b"]),
        asking(&["x-a;x-b"]),
        method("DELETE"),
        method("put"),
        method(""),
        method("GET").header("access-control-request-method", "PUT"),
        get("/").method("OPTIONS").header("origin", app),
        preflight("/").method("GET"),
    ] {
        answered = answered.answers(request, 401, "oauth2_no_token").with(ALLOW, app);
    }
    for origin in [
        "null",
        "",
        "*",
        "HTTPS://app.test",
        "https://APP.test",
        "https://app.test.",
        "https://app.test:443",
        "https://app.test/",
        "https://app.test.evil.test",
        "http://app.test",
        "https://other.test",
        "https://app.test, https://app.test",
    ] {
        answered = answered
            .answers(of_origin(origin), 401, "oauth2_no_token")
            .without(ALLOW)
            .without(EXPOSE)
            .with("vary", "origin");
    }
    answered = answered
        .answers(preflight("/").header("origin", "https://evil.test"), 401, "oauth2_no_token")
        .without(ALLOW)
        .answers(preflight("/").header("origin", app), 401, "oauth2_no_token")
        .without(ALLOW)
        .calls(0);
    let script = |path| get(path).header("origin", app);
    vec![
        answered,
        exchange("scripts of listed origins may read all refusals, and others none")
            .inbound(json!({
                "cors": cors, "introspection": {"retries": 0},
                "rules": [{"paths": ["/no"], "access": "deny"}, {"paths": ["/**"], "scope": "a"}]
            }))
            .server([inactive(), active(json!({})), Scripted::Reset, active(json!({"scope": "a"}))])
            .answers(script("/"), 401, "oauth2_no_token")
            .with("www-authenticate", r#"Bearer realm="oauth2", scope="a""#)
            .with(ALLOW, app)
            .with(EXPOSE, EXPOSED)
            .with("vary", "origin")
            .without("access-control-allow-credentials")
            .answers(script("/").bearer("1"), 401, "oauth2_inactive")
            .with(ALLOW, app)
            .with(EXPOSE, EXPOSED)
            .answers(script("/").bearer("1"), 401, "oauth2_inactive")
            .with(ALLOW, app)
            .answers(script("/").bearer("2"), 403, "oauth2_insufficient_scope")
            .with(ALLOW, app)
            .answers(
                get("/").header("origin", "null").bearer("2"),
                403,
                "oauth2_insufficient_scope",
            )
            .without(ALLOW)
            .with("vary", "origin")
            .answers(script("/").bearer("3"), 503, "oauth2_server_unavailable")
            .with(ALLOW, app)
            .answers(script("/no"), 403, "oauth2_access_denied")
            .with(ALLOW, app)
            .answers(script("//"), 400, "oauth2_bad_path")
            .with(ALLOW, app)
            .answers(script("/x.Y/Z").grpc(), 401, "oauth2_no_token")
            .with(ALLOW, app)
            .with(EXPOSE, EXPOSED)
            .answers(get("/"), 401, "oauth2_no_token")
            .with("vary", "origin")
            .without(ALLOW)
            .passes(script("/").bearer("4"))
            .with("origin", app),
        exchange("a token in a cookie needs credentials, and the metadata keeps its own origin")
            .inbound(json!({
                "token_sources": [{"cookie": "token"}],
                "cors": {"allow_origins": [app], "allow_credentials": true},
                "resource_metadata": {"resource": "https://api.test"}
            }))
            .answers(script("/"), 401, "oauth2_no_token")
            .with(ALLOW, app)
            .with("access-control-allow-credentials", "true")
            .answers(method("POST"), 200, "oauth2_cors_preflight")
            .with("access-control-allow-methods", "GET, HEAD, POST")
            .with("access-control-allow-credentials", "true")
            .without("access-control-allow-headers")
            .without("access-control-max-age")
            .answers(script(ROOT), 200, DETAILS)
            .with(ALLOW, "*")
            .with("vary", "origin")
            .without("access-control-allow-credentials")
            .answers(preflight(ROOT), 200, DETAILS)
            .with(ALLOW, "*")
            .passes(script("/").header("cookie", "token=t")),
    ]
}
