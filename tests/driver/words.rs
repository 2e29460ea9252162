//! What an authorization server says about a call that it refuses is logged, and nothing that it was
//! sent.

use oauth2_filter_testbed::envoy::with_members;
use serde_json::{Value, json};

use crate::exchanges::{Request, get};
use crate::set_up::{SetUp, document, logged};

/// What calls contain that no log may.
const SECRETS: [&str; 9] = [
    "cl13nt-s3cr3t-pl&in/text",
    "pa55 w0rd & m0re",
    "alice-the-user",
    "r3fr3sh.t0k3n~0001",
    "a55er.t10n.s1gn4ture",
    "c4ller-t0ken.of.alice",
    "k3y-in-a-header-01",
    "k3y-in-a-parameter-02",
    "k3y-in-a-query-03",
];

/// A document whose first call contains secrets, each in another way.
fn documents() -> Vec<(&'static str, Value)> {
    let endpoint = |more: Value| {
        let endpoint = json!({
            "endpoint": "http://as.test/token?api_key=k3y-in-a-query-03", "cluster": "as",
            "client_id": "orders", "client_secret": SECRETS[0],
            "headers": {"x-api-key": "k3y-in-a-header-01"},
            "parameters": {"api_key": "k3y-in-a-parameter-02"},
        });
        with_members(endpoint, &more)
    };
    let outbound = |more: Value| json!({"outbound": {"clients": {"billing": endpoint(more)}}});
    let refresh = endpoint(json!({"refresh_token": SECRETS[3]}));
    let mut introspection = document(json!({}));
    introspection["inbound"]["introspection"] = endpoint(json!({}));
    let mut post = introspection.clone();
    post["inbound"]["introspection"]["auth_method"] = json!("client_secret_post");
    vec![
        ("introspection", introspection),
        ("introspection, secret in the form", post),
        ("client_credentials", outbound(json!({"grant_type": "client_credentials"}))),
        (
            "raw secret",
            outbound(json!({
                "grant_type": "client_credentials", "auth_method": "client_secret_basic_raw",
            })),
        ),
        (
            "password",
            outbound(json!({
                "grant_type": "password", "username": SECRETS[2], "password": SECRETS[1],
            })),
        ),
        (
            "refresh_token",
            outbound(json!({"grant_type": "refresh_token", "refresh_token": SECRETS[3]})),
        ),
        (
            "direct_token",
            json!({"outbound": {"clients": {"billing": {
                "grant_type": "direct_token", "access_token": "g1ven-acce55-token", "expires_in": "2s",
                "refresh": refresh,
            }}}}),
        ),
        (
            "jwt-bearer",
            outbound(json!({
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": SECRETS[4],
            })),
        ),
        (
            "token-exchange",
            outbound(json!({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"})),
        ),
    ]
}

/// A request of a caller with a token.
fn request() -> Request {
    get("/").bearer(SECRETS[5])
}

/// What is logged if the first call of a document gets this response.
fn lines(document: &Value, status: u16, body: impl FnOnce(&[String]) -> Value) -> String {
    let mut set_up = SetUp::with(document);
    logged();
    set_up.send(&request());
    if set_up.proxy.calls().is_empty() {
        // The token that was given serves for a second.
        set_up.proxy.advance(std::time::Duration::from_secs(2));
        set_up.send(&request());
    }
    let call = set_up.proxy.call(set_up.proxy.calls()[0]);
    let form = url::form_urlencoded::parse(call.body.as_bytes());
    let mut sent: Vec<String> = form.map(|(_, value)| value.into_owned()).collect();
    sent.extend(call.headers.iter().map(|(_, value)| value.to_string()));
    sent.push(call.body.clone());
    set_up.respond_to_call(status, &body(&sent));
    logged().join("\n")
}

/// Whether a text contains eight characters of a secret in a row, in any letter case.
fn leaks(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let is_in = |secret: &&str| {
        let secret = secret.to_ascii_lowercase();
        secret.as_bytes().windows(8).any(|part| {
            let part = std::str::from_utf8(part).expect("ASCII");
            text.contains(part)
        })
    };
    SECRETS.into_iter().find(is_in)
}

#[test]
fn the_words_of_a_server_that_refuses_a_call_are_logged() {
    for (name, document) in documents() {
        let lines = lines(&document, 400, |_| {
            json!({
                "error": "unsupported_thing", "error_uri": "https://as.test/help",
                "error_description": "This thing is\nnot supported",
            })
        });
        let words = r#"; the server says "unsupported_thing: This thing is?not supported""#;
        assert!(lines.contains(words), "{name}: {lines}");
        assert!(!lines.contains("as.test/help"), "{name}: {lines}");
    }
}

#[test]
fn d6_12_a_server_that_repeats_what_it_was_sent_is_not_quoted() {
    for (name, document) in documents() {
        let count = {
            let mut count = 0;
            lines(&document, 400, |sent| {
                count = sent.len();
                json!({})
            });
            count
        };
        for n in 0..count {
            for before in ["", "Invalid: ", "xx"] {
                let echo = |sent: &[String]| format!("{before}{}", sent[n]);
                let described = |sent: &[String]| json!({"error": "invalid_request", "error_description": echo(sent)});
                let lines_of = lines(&document, 400, described);
                assert_eq!(leaks(&lines_of), None, "{name}: {lines_of}");
                assert!(lines_of.contains("server returned 400"), "{name}: {lines_of}");
                let lines_of = lines(&document, 401, |sent| json!({"error": echo(sent)}));
                assert_eq!(leaks(&lines_of), None, "{name}: {lines_of}");
                let lines_of = lines(&document, 200, |sent| json!({"error": echo(sent)}));
                assert_eq!(leaks(&lines_of), None, "{name}: {lines_of}");
            }
        }
    }
}

#[test]
fn d6_12_no_caller_is_told_what_the_server_says() {
    for (name, document) in documents() {
        let mut set_up = SetUp::with(&document);
        let mut stream = set_up.send(&request());
        if set_up.proxy.calls().is_empty() {
            set_up.proxy.advance(std::time::Duration::from_secs(2));
            stream = set_up.send(&request());
        }
        let said = json!({"error": "odd_code", "error_description": "odd description"});
        set_up.respond_to_call(400, &said);
        let stream = set_up.proxy.stream(stream);
        let reply = format!("{:?}", stream.reply.as_ref().expect(name));
        assert!(!reply.contains("odd"), "{name}: {reply}");
    }
}
