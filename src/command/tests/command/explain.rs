//! `explain`: which rule decides on a request, and what comes of it.

use serde_json::{Value, json};

use crate::corpus::with_real_keys;
use crate::documents::{EXCHANGE, client, clients, direct, document, good_clients};
use crate::{Ran, file, run, run_with};

/// A document that guards orders.
fn guard() -> Value {
    json!({"inbound": {
        "introspection": {
            "endpoint": "https://as.test/introspect?key=k3y", "cluster": "as",
            "client_id": "rs", "client_secret": {"env": "SECRET"},
        },
        "audience": "https://api.test",
        "rules": [
            {"paths": ["/healthz"], "access": "public"},
            {"methods": ["GET"], "paths": ["/orders/**"], "scope": ["orders:read", "a b"]},
            {"name": "admins", "paths": ["/admin/**"], "acr_values": "gold", "max_age": "5m",
             "issuer": "https://as.test", "claims": {"department": ["sales", "ops"]}},
        ],
        "forward": {"claims": {"x-user": "sub"}},
    }})
}

/// What the command does with a document and these arguments.
fn ran(document: &Value, arguments: &[&str]) -> Ran {
    run_with([&["explain", "-"][..], arguments].concat(), &document.to_string(), &[])
}

/// What it explains.
fn explain(document: &Value, arguments: &[&str]) -> String {
    let ran = ran(document, arguments);
    assert_eq!((ran.err.as_str(), ran.status), ("", 0), "{arguments:?}: {}", ran.out);
    ran.out
}

#[test]
fn a_request_that_passes_is_told_with_the_call_and_what_the_service_gets() {
    let claims = json!({"scope": "orders:read", "aud": "https://api.test", "sub": "alice"});
    let claims = file("explain/claims.json", &claims.to_string());
    let told = explain(
        &guard(),
        &[
            "--url",
            "https://api.test:8443/orders/1?page=2#top",
            "--claims",
            claims.to_str().expect("text"),
            "--header",
            "X-User: mallory",
        ],
    );
    assert_eq!(
        told,
        "\
request   GET /orders/1?page=2 for api.test:8443, with a token
rule      inbound.rules[1]
access    token
requires  scope: orders:read, or a b
requires  audience: https://api.test
call      POST https://as.test/introspect (cluster as)
response  {\"active\":true,\"aud\":\"https://api.test\",\"scope\":\"orders:read\",\"sub\":\"alice\"}
decision  allowed

The upstream service receives:
  :method: GET
  :scheme: https
  :authority: api.test:8443
  :path: /orders/1?page=2
- x-user: [as given]
- authorization: Bearer TOKEN
+ x-user: alice
"
    );
}

#[test]
fn a_request_that_is_refused_is_told_with_the_answer_header_by_header() {
    let told = explain(&guard(), &["--url", "https://api.test/orders/1", "--scope", "b orders"]);
    assert_eq!(
        told,
        "\
request   GET /orders/1 for api.test, with a token
rule      inbound.rules[1]
access    token
requires  scope: orders:read, or a b
requires  audience: https://api.test
call      POST https://as.test/introspect (cluster as)
response  {\"active\":true,\"aud\":\"https://api.test\",\"scope\":\"b orders\"}
decision  denied
reason    insufficient_scope
details   oauth2_insufficient_scope

The client receives:
HTTP 403 Forbidden
cache-control: no-store
content-type: application/json
www-authenticate: Bearer realm=\"oauth2\", error=\"insufficient_scope\", scope=\"orders:read\"

{\"error\":\"insufficient_scope\",\"error_description\":\"The access token lacks the required scope.\"}
"
    );
    let told = explain(
        &guard(),
        &["--url", "https://a/orders/", "--no-token", "--header", "content-type: application/grpc"],
    );
    let (_, answer) = told.split_once("\nThe client receives:\n").expect("an answer");
    assert_eq!(
        answer,
        "\
HTTP 200
grpc-status: 16
grpc-message: An access token is required.
cache-control: no-store
www-authenticate: Bearer realm=\"oauth2\", scope=\"orders:read\"
"
    );
}

#[test]
fn a_request_with_other_credentials_gets_no_token_beside_them() {
    let basic = ["--url", "https://a/orders/", "--header", "Authorization: Basic YTpi"];
    let told = explain(&guard(), &basic);
    assert!(told.contains("details   oauth2_no_token\n"), "{told}");
    let bearer = ["--url", "https://a/orders/", "--header", "Authorization: Bearer t"];
    let told = explain(&guard(), &bearer);
    assert!(!told.contains("oauth2_no_token") && !told.contains("repeated_token"), "{told}");
}

#[test]
fn the_rule_that_decides_is_named_with_all_that_it_needs() {
    for (arguments, lines) in [
        (
            &["https://a/healthz", "--no-token"][..],
            "rule      inbound.rules[0]\naccess    public\ndecision  allowed\nreason    public\n",
        ),
        (
            &["https://a/%61dmin/x", "--method", "DELETE"],
            "rule      admins\naccess    token\nrequires  audience: https://api.test\n\
             requires  issuer: https://as.test\nrequires  acr_values: gold\n\
             requires  max_age: 300 s\nrequires  claim department: \"sales\" or \"ops\"\n",
        ),
        (
            &["https://a/orders/1", "--method", "PUT"],
            "rule      unmatched\naccess    deny\ndecision  denied\nreason    unmatched\n",
        ),
        (&["https://a/orders%2f1"], "rule      path\ndecision  denied\nreason    bad_path\n"),
        (&["https://[::1]:8443"], "request   GET / for [::1]:8443, with a token\nrule      unmat"),
        (&["https://a?x=1"], "request   GET /?x=1 for a, with a token\nrule      unmatched\n"),
    ] {
        let told = explain(&guard(), &[&["--url"], arguments].concat());
        assert!(told.contains(lines), "{arguments:?}: {told}");
    }
    let mut roles = guard();
    roles["inbound"]["rules"] = json!([{"claims": {"roles": {"members": ["admin", "editor"]}}}]);
    let told = explain(&roles, &["--url", "https://a/"]);
    assert!(told.contains("requires  claim roles: an object with admin or editor\n"), "{told}");
    // What is asked by a scope has all else that the rule needs.
    let told = explain(&guard(), &["--url", "https://a/admin/x", "--scope", ""]);
    assert!(told.contains("reason    claim_not_met\n"), "{told}");
    // A required `token_type` is one of the requirements.
    let mut typed = guard();
    typed["inbound"]["introspection"]["token_type"] = "required".into();
    let told = explain(&typed, &["--url", "https://a/orders/1", "--scope", "orders:read"]);
    let needed = "requires  token_type in the introspection response\n";
    assert!(told.contains(needed) && told.contains("decision  allowed\n"), "{told}");
    // So is the maximum age of a cached response, if the rule has one.
    for (max_ttl, line) in [
        ("0s", "requires  a new introspection response\n"),
        ("1.5s", "requires  an introspection response less than 1.5s old\n"),
    ] {
        let mut limited = guard();
        limited["inbound"]["rules"][0]["max_ttl"] = max_ttl.into();
        limited["inbound"]["rules"][0]["access"] = "token".into();
        limited["inbound"]["rules"][0]["paths"] = json!(["/**"]);
        let told = explain(&limited, &["--url", "https://a/orders/1"]);
        assert!(told.contains(line), "{told}");
    }
    // What answers before the rules is named, and no rule.
    let mut document = guard();
    document["inbound"]["resource_metadata"] = json!({"resource": "https://api.test/"});
    let url = "https://api.test/.well-known/oauth-protected-resource";
    let told = explain(&document, &["--url", url]);
    let lines = "\nrule      resource_metadata\ndecision  answered\n";
    assert!(told.contains(lines) && told.contains("\nHTTP 200 OK\n"), "{told}");
    // Of several resources, the one that covers the request is named.
    document["inbound"]["resource_metadata"] = json!([
        {"resource": "https://api.test/orders"}, {"resource": "https://api.test/orders/1"}
    ]);
    document["inbound"].as_object_mut().expect("an object").remove("audience");
    let url = "https://api.test/orders/1";
    let told = explain(&document, &["--url", url, "--scope", "orders:read"]);
    let lines = "rule      inbound.rules[1]\nresource  https://api.test/orders/1\naccess    token\n\
                 requires  scope: orders:read, or a b\n\
                 requires  audience: https://api.test/orders/1\n";
    assert!(told.contains(lines) && told.contains("\ndecision  allowed\n"), "{told}");
    let told = explain(&document, &["--url", "https://api.test/admin/x"]);
    let lines = "rule      resource_metadata\nresource  none covers this request\n\
                 decision  denied\nreason    unmatched\n";
    assert!(told.contains(lines), "{told}");
    let told = explain(&document, &["--url", "https://api.test/healthz"]);
    assert!(told.contains("rule      inbound.rules[0]\naccess    public\n"), "{told}");
    // So is what answers a preflight.
    let mut document = guard();
    document["inbound"]["cors"] = json!({"allow_origins": ["https://app.test"]});
    let preflight = [
        "--url",
        "https://api.test/orders/1",
        "--method",
        "OPTIONS",
        "--no-token",
        "--header",
        "origin: https://app.test",
        "--header",
        "access-control-request-method: GET",
    ];
    let told = explain(&document, &preflight);
    let lines = "rule      cors\ndecision  answered\nreason    cors_preflight\n\
                 details   oauth2_cors_preflight\n\nThe client receives:\nHTTP 200 OK\n";
    assert!(told.contains(lines) && told.contains("\nvary: origin\n"), "{told}");
}

#[test]
fn a_rule_that_nearly_matches_is_told_with_what_it_matches_instead() {
    let mut guard = guard();
    guard["inbound"]["rules"] = json!([
        {"name": "mcp", "paths": ["/mcp"]},
        {"name": "hooks", "paths": ["/hooks/"], "access": "public"},
        {"name": "read", "methods": ["GET"], "paths": ["/orders/*"]},
        {"name": "a", "hosts": ["a.test"], "paths": ["/tenant"]},
        {"name": "b", "headers": {"x-tenant": "b"}, "paths": ["/header"]},
        {"name": "c", "headers": {"x-tenant": {"absent": true}}, "paths": ["/header"]},
        {"name": "d", "headers": {"x-tenant": "b"}, "methods": ["PUT"], "paths": ["/header"]},
        {"name": "rest", "hosts": ["a.test"], "access": "deny"},
        {"name": "last", "paths": ["/last"]},
    ]);
    let told = |arguments: &[&str]| {
        let told = explain(&guard, &[&["--url"], arguments].concat());
        let is_about = |line: &&str| line.starts_with("nearly ") || line.starts_with("rule ");
        told.lines().filter(is_about).map(|line| line[10..].to_owned()).collect::<Vec<_>>()
    };
    let header = ["--header", "X-Tenant: s3cr3t"];
    for (arguments, lines) in [
        (&["https://b/mcp"][..], &["mcp"][..]),
        (
            &["https://b/mcp/"],
            &["mcp, for a path without a slash at the end", "rest, for another host", "unmatched"],
        ),
        (&["https://a.test/mcp/"], &["mcp, for a path without a slash at the end", "rest"]),
        (&["https://a.test/hooks"], &["hooks, for a path with a slash at the end", "rest"]),
        (&["https://a.test/MCP"], &["mcp, for a path in another letter case", "rest"]),
        (
            &["https://a.test/mcp/x"],
            &["mcp, for a shorter path (`/**` matches those below it)", "rest"],
        ),
        (&["https://a.test/orders/1", "--method", "PUT"], &["read, for another method", "rest"]),
        (&["https://a.test/orders/1", "--method", "HEAD"], &["read"]),
        // Two conditions, or another path.
        (&["https://a.test/ORDERS/1", "--method", "PUT"], &["rest"]),
        (&["https://a.test/else"], &["rest"]),
        // The host matters where no rule decides.
        (&["https://b/tenant"], &["a, for another host", "rest, for another host", "unmatched"]),
        (&["https://b/last"], &["last"]),
        (
            &[&["https://a.test/header"], &header[..]].concat(),
            &[
                "b, for another value of the header x-tenant",
                "c, for requests without the header x-tenant",
                "rest",
            ],
        ),
        (&["https://a.test/header"], &["b, for another value of the header x-tenant", "c"]),
        (&["https://a.test/header", "--header", "x_tenant: b"], &["header"]),
        // What comes later than the rule that decides is not told.
        (&["https://a.test/last/"], &["rest"]),
    ] {
        assert_eq!(told(arguments), lines, "{arguments:?}");
    }
    let told = explain(&guard, &[&["--url", "https://a.test/header"], &header[..]].concat());
    assert!(!told.contains("s3cr3t"), "{told}");

    // So are outbound rules, by their places.
    let mut outbound = document(client(json!({})));
    outbound["outbound"]["rules"] = json!([
        {"hosts": ["api.test"], "paths": ["/v1/*"], "methods": ["GET"], "client": "a"},
        {"hosts": ["*.test"], "client": null},
    ]);
    for (url, method, near) in [
        ("https://api.test/v1/x", "PUT", Some("outbound.rules[0], for another method")),
        (
            "https://api.test/v1/x/",
            "GET",
            Some("outbound.rules[0], for a path without a slash at the end"),
        ),
        ("https://api.test/v1/x", "HEAD", None),
        ("https://b.test/v1/x", "GET", None),
    ] {
        let told = explain(&outbound, &["--url", url, "--method", method]);
        let line = told.lines().find_map(|line| line.strip_prefix("nearly    "));
        assert_eq!(line, near, "{told}");
    }
}

#[test]
fn the_token_stands_where_the_filter_looks_for_it() {
    for (source, line) in [
        (json!({"header": "x-token"}), "- x-token: TOKEN\n"),
        (json!({"header": "x-token", "scheme": "DPoP"}), "- x-token: DPoP TOKEN\n"),
        (json!({"query": "t"}), "- :path: /orders/1?t=TOKEN\n+ :path: /orders/1\n"),
        (json!({"cookie": "t"}), "- cookie: t=TOKEN\n"),
        (json!({"websocket_protocol": "t"}), "- sec-websocket-protocol: t, TOKEN\n"),
        (json!({"basic": "password"}), "- authorization: Basic BASE64(:TOKEN)\n"),
    ] {
        let mut document = guard();
        document["inbound"]["token_sources"] = json!([source]);
        let told = explain(&document, &["--url", "https://a/orders/1", "--scope", "orders:read"]);
        assert!(told.contains("decision  allowed\n") && told.contains(line), "{source} {told}");
    }
    // One of the caller's own takes its place, and is not shown.
    let own = ["--header", "authorization: Bearer 0wn-t0ken"];
    for more in [["--scope", "orders:read"].as_slice(), &["--no-token"]] {
        let told = explain(&guard(), &[&["--url", "https://a/orders/1"], &own[..], more].concat());
        assert!(told.contains("/orders/1 for a, with a token\n"), "{told}");
        assert!(told.contains("call      POST") && !told.contains("0wn"), "{told}");
    }
}

#[test]
fn servers_are_told_apart_by_the_issuer_of_the_token() {
    let server = |name: &str| {
        json!({
            "endpoint": format!("https://{name}.test/"), "cluster": name, "client_id": "a",
            "client_secret": {"env": "SECRET"}, "issuer": format!("https://{name}.test"),
            "when": {"issuer": [format!("https://{name}.test")]},
        })
    };
    let mut document = guard();
    document["inbound"]["introspection"] = json!([server("one"), server("two")]);
    let claims = json!({
        "iss": "https://two.test", "scope": "orders:read", "aud": "https://api.test", "sub": "a",
    });
    let claims = file("explain/issuer.json", &claims.to_string());
    let claims = claims.to_str().expect("text");
    let told = explain(&document, &["--url", "https://a/orders/1", "--claims", claims]);
    assert!(told.contains("call      POST https://two.test/ (cluster two)\n"), "{told}");
    assert!(told.contains("decision  allowed\n") && told.contains("Bearer TOKEN\n"), "{told}");
    let told = explain(&document, &["--url", "https://a/orders/1", "--scope", "orders:read"]);
    assert!(told.contains("reason    no_server\n"), "{told}");
}

#[test]
fn the_way_out_is_told_with_the_client_whose_token_the_request_gets() {
    let told = explain(
        &document(client(json!({}))),
        &["--url", "http://api.test:8080/x", "--method", "PUT"],
    );
    assert_eq!(
        told,
        "\
request   PUT /x for api.test:8080
client    a
call      POST https://as.test/token (cluster outbound|443||as.test)
response  a token: TOKEN-FROM-outbound-443--as.test

The upstream service receives:
  :method: PUT
  :scheme: http
  :authority: api.test:8080
  :path: /x
+ authorization: Bearer TOKEN-FROM-outbound-443--as.test
"
    );
    let told = explain(&document(client(json!({}))), &["--url", "http://other.test/"]);
    assert!(!told.contains("client ") && !told.contains("+ "), "{told}");

    // Both ways at once: the caller's token is exchanged.
    let mut both = guard();
    let exchange = json!({"grant_type": EXCHANGE});
    both["outbound"] = document(client(exchange))["outbound"].clone();
    let arguments = ["--url", "https://api.test/orders/1", "--scope", "orders:read"];
    let told = explain(&both, &arguments);
    let calls: Vec<_> = told.lines().filter(|line| line.starts_with("call ")).collect();
    assert_eq!(
        calls,
        [
            "call      POST https://as.test/introspect (cluster as)",
            "call      POST https://as.test/token (cluster outbound|443||as.test)",
        ]
    );
    assert!(told.ends_with("+ authorization: Bearer TOKEN-FROM-outbound-443--as.test\n"), "{told}");
    // Without `inbound` too, callers have tokens then.
    let exchange = json!({"outbound": both["outbound"]});
    let told = explain(&exchange, &["--url", "https://api.test/", "--no-token"]);
    assert!(told.contains(", without a token\n") && told.contains("HTTP 401 "), "{told}");
}

#[test]
fn a_document_with_mistakes_gets_what_check_says_of_it() {
    let mut document = guard();
    document["inbound"]["realm"] = json!(1);
    let explained = ran(&document, &["--url", "https://a/"]);
    let checked = run_with(["check", "-"], &document.to_string(), &[]);
    assert!(explained.out.contains("inbound.realm: expected"), "{}", explained.out);
    assert_eq!((explained.out, explained.status), (checked.out, 1));
    // A mistake of what stands around the document.
    let text = run(["new", "inbound"]).out.replace("protobuf.Struct", "protobuf.StringValue");
    let path = file("explain/no-text.yaml", &text);
    let path = path.to_str().expect("text");
    let explained = run(["explain", path, "--url", "https://a/"]);
    assert!(explained.out.contains("error: a google.protobuf.StringValue must contain a string"));
    assert_eq!((explained.out, explained.status), (run(["check", path]).out, 1));
}

#[test]
fn of_a_file_that_has_no_claims_nothing_is_told() {
    for text in ["\"s3cr3t\"", "s3cr3t", "[\"s3cr3t\"]", "{\"a\": s3cr3t}", "5", ""] {
        let claims = file("explain/no-claims.json", text);
        let claims = claims.to_str().expect("text");
        let ran = ran(&guard(), &["--url", "https://a/", "--claims", claims]);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{text}");
        assert!(ran.err.contains("expected a JSON object of claims"), "{}", ran.err);
        assert!(!ran.err.contains("s3cr3t"), "{}", ran.err);
    }
}

#[test]
fn one_of_several_uses_is_asked_about_by_its_number() {
    let text = run(["new", "both"]).out;
    let path = file("explain/both.yaml", &text);
    let path = path.to_str().expect("text");
    let url = ["--url", "http://billing.example.com/"];
    let explain = |more: &[&str]| run([&["explain", path][..], &url, more].concat());
    let asked = explain(&[]);
    assert_eq!(asked.status, 2);
    assert!(
        asked.err.contains(
            "select one with --use: 1 is listener inbound, filter oauth2; 2 is listener outbound"
        ),
        "{}",
        asked.err
    );
    assert!(explain(&["--use", "1"]).out.contains("rule      unmatched\n"));
    assert!(explain(&["--use", "2"]).out.contains("client    billing\n"));
    for number in ["0", "3", "x", "-1"] {
        let ran = explain(&["--use", number]);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{number}");
        if ["0", "3"].contains(&number) {
            assert!(ran.err.ends_with("both.yaml: --use must be from 1 to 2\n"), "{}", ran.err);
        }
    }
}

#[test]
fn what_is_no_request_is_wrong_usage() {
    for arguments in [
        &["--url", "api.test/a"][..],
        &["--url", "https://"],
        &["--url", "ftp://api.test/a"],
        &["--url", "https://u:p@api.test/"],
        &["--url", "https://api.test/a b"],
        &["--url", "https://api.test/caf\u{e9}"],
        &["--url", "https://a/", "--method", ""],
        &["--url", "https://a/", "--method", "G T"],
        &["--url", "https://a/", "--header", "x"],
        &["--url", "https://a/", "--header", ":path: /"],
        &["--url", "https://a/", "--header", "a: b\r\nc: d"],
        &["--url", "https://a/", "--claims", "no-such-file"],
        &["--url", "https://a/", "--claims", "Cargo.toml"],
        &["--url", "https://a/", "--scope", "a", "--no-token"],
    ] {
        let ran = ran(&guard(), arguments);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.starts_with("oauth2-filter: "), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn no_secret_is_explained() {
    const MARK: &str = "s3cr3t-m4rk";
    let asked = ["--url", "https://api.test/orders/1", "--scope", "orders:read"];
    let marked = |document: Value| with_real_keys(&document).to_string().replace("s3cr3t", MARK);
    let mut both = guard();
    both["inbound"]["introspection"] = json!({"endpoint": "https://as.test/", "client": "a"});
    let mut outbound = document(direct(json!({})))["outbound"].clone();
    outbound["rules"][0]["hosts"] = json!(["*.test"]);
    both["outbound"] = outbound;
    let mut texts = vec![marked(both)];
    texts.extend(good_clients().into_iter().map(|client| marked(document(client))));
    let mut in_url = guard();
    in_url["inbound"]["introspection"]["endpoint"] = json!(format!("https://as.test/?k={MARK}"));
    in_url["inbound"]["introspection"]["headers"] = json!({"x-key": MARK});
    in_url["inbound"]["introspection"]["parameters"] = json!({"key": MARK});
    texts.push(in_url.to_string());
    // Names with dots in them make two places look alike.
    let token = || direct(json!({}));
    let odd = json!({"a": token(), "a.access_token": token(), "[0]": token()});
    texts.push(marked(clients(odd)));
    // The environment of the VM has secrets too.
    let plugin = json!({
        "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {},
        "spec": {
            "url": "oauth2-filter", "match": [{"mode": "CLIENT"}],
            "vmConfig": {"env": [{"name": "TOKEN", "value": MARK}]},
            "pluginConfig": document(direct(json!({"access_token": {"env": "TOKEN"}}))),
        },
    });
    texts.push(plugin.to_string());
    for text in texts {
        let checked = run_with(["check", "-"], &text, &[]);
        let explained = run_with([&["explain", "-"][..], &asked].concat(), &text, &[]);
        for ran in [&checked, &explained] {
            let said = ran.out.clone() + &ran.err;
            assert!(!said.contains(MARK) && !said.contains("BEGIN"), "{text}\n{said}");
        }
        assert_eq!((checked.status, explained.status), (0, 0), "{text}\n{}", checked.out);
    }
}

#[test]
fn a_claim_that_is_not_forwarded_is_named_with_the_reason() {
    let mut document = guard();
    document["inbound"]["rules"] = json!([{}]);
    document["inbound"]["forward"] = json!({"claims": {
        "x-name": "name", "x-groups": "groups", "x-n": "n",
        "x-roles": {"claim": "name", "format": "members"}, "x-absent": "absent", "x-none": "none",
        "x-percent": {"claim": "name", "encoding": "percent"},
    }});
    let groups: Vec<String> = (0..300).map(|n| format!("group-{n:032}")).collect();
    let claims = json!({
        "aud": "https://api.test", "name": "Zoë", "groups": groups, "n": 1e20, "none": [],
    });
    let claims = file("explain/dropped.json", &claims.to_string());
    let told =
        explain(&document, &["--url", "https://a/", "--claims", claims.to_str().expect("text")]);
    let dropped = "\
dropped   header x-groups: its claim is too long for a header
dropped   header x-n: its claim is an integer of more than 64 bits
dropped   header x-name: its claim is not printable ASCII, or ambiguous: set `encoding`
dropped   header x-roles: its claim is not an object
decision  allowed
";
    assert!(told.contains(dropped), "{told}");
    assert!(told.ends_with("- authorization: Bearer TOKEN\n+ x-percent: Zo%C3%AB\n"), "{told}");
}

#[test]
fn the_token_that_replaces_the_callers_is_told_and_a_response_without_it_is_refused() {
    let mut document = guard();
    document["inbound"]["introspection"]["response_format"] = "jwt".into();
    document["inbound"]["rules"] = json!([{"paths": ["/public"], "access": "public"}, {}]);
    document["inbound"]["forward"] = json!({"bearer": {"claim": "jwt"}});
    let told = explain(&document, &["--url", "https://a/", "--scope", "a"]);
    let line = "requires  claim jwt: a token, which replaces the caller's\n";
    assert!(told.contains(line), "{told}");
    let forwarded = "- authorization: Bearer TOKEN\n\
                     + authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln\n";
    assert!(told.ends_with(forwarded), "{told}");
    let told = explain(&document, &["--url", "https://a/public"]);
    assert!(told.ends_with("- authorization: Bearer TOKEN\n"), "{told}");
    document["inbound"]["forward"] = json!({"bearer": {"claim": "phantom"}});
    let claims = file("explain/phantom.json", r#"{"aud": "https://api.test", "phantom": "a b"}"#);
    let arguments = ["--url", "https://a/", "--claims", claims.to_str().expect("text")];
    let told = explain(&document, &arguments);
    assert!(told.contains("reason    server_bad_answer\n"), "{told}");
}
