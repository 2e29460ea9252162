//! Which messages a rule matches, and which are uncertain.

use std::borrow::Cow;

use super::*;

/// A request with a body.
struct Sent(Fields, Body);

impl Head for Sent {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.0.value(name)
    }

    fn fields(&self) -> &Fields {
        &self.0
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn body(&self) -> Body {
        self.1.clone()
    }
}

/// A message.
fn message(method: &str, name: Option<&str>) -> Body {
    Body::Message(Message { method: method.into(), name: name.map(Into::into) })
}

/// What is read of a request.
fn read_of(method: &str, headers: &[(&str, &str)], body: Body) -> Result<Option<Message>, Reason> {
    read(&Sent(headers.iter().copied().collect(), body), method)
}

#[test]
fn only_posts_have_messages_and_nothing_else_has_a_body() {
    for (method, body, expected) in [
        ("POST", message("ping", None), Ok(true)),
        ("POST", Body::Malformed, Err(Reason::BadMcpMessage)),
        ("POST", Body::Unread, Err(Reason::NoMcpMetadata)),
        ("POST", Body::Empty, Err(Reason::NoMcpMetadata)),
        ("GET", Body::Empty, Ok(false)),
        ("DELETE", Body::Empty, Ok(false)),
        ("OPTIONS", Body::Empty, Ok(false)),
        ("GET", Body::Unread, Err(Reason::NoMcpMetadata)),
        ("DELETE", Body::Unread, Err(Reason::NoMcpMetadata)),
        ("PUT", Body::Malformed, Err(Reason::NoMcpMetadata)),
        ("PUT", message("ping", None), Err(Reason::NoMcpMetadata)),
        ("post", message("ping", None), Err(Reason::NoMcpMetadata)),
        ("", message("ping", None), Err(Reason::NoMcpMetadata)),
    ] {
        let read = read_of(method, &[], body.clone()).map(|message| message.is_some());
        assert_eq!(read, expected, "{method} {body:?}");
    }
}

#[test]
fn a_header_that_repeats_a_part_of_the_message_must_agree_with_it() {
    let call = || message(CALL, Some("wipe"));
    for (headers, is_certain) in [
        (&[("mcp-method", "tools/call"), ("mcp-name", "wipe")][..], true),
        (&[("mcp-name", "=?base64?d2lwZQ==?=")], true),
        (&[("mcp-name", "Wipe")], false),
        (&[("mcp-name", "")], false),
        (&[("mcp-name", "wipe,wipe")], false),
        (&[("mcp-name", "wipe"), ("mcp-name", "wipe")], false),
        (&[("mcp_name", "wipe")], false),
        (&[("mcp-name", "wipe"), ("mcp.name", "wipe")], false),
        (&[("mcp-method", "tools/list")], false),
        (&[("mcp_method", "tools/call")], false),
        (&[("mcp-method", "tools/call"), ("mcp-method", "tools/call")], false),
        // Sentinels around something else.
        (&[("mcp-name", "=?base64?d2lwZQ?=")], false),
        (&[("mcp-name", "=?base64?d2lwZf==?=")], false),
        (&[("mcp-name", "=?base64?bGlzdA==?=")], false),
        (&[("mcp-name", "=?base64??=")], false),
        (&[("mcp-name", "=?BASE64?d2lwZQ==?=")], false),
        (&[("mcp-names", "x")], true),
        // The service would decode the body first.
        (&[("content-encoding", "Identity")], true),
        (&[("content-encoding", "deflate")], false),
        (&[("content-encoding", "identity, gzip")], false),
        (&[("content_encoding", "identity")], false),
        (&[("content-type", "application/json; Charset=UTF-8")], true),
        (&[("content-type", "application/json")], true),
        (&[("content-type", "application/json; charset=utf-7")], false),
        (&[("content-type", "application/json; charset=utf-8; charset=utf-7")], false),
        (&[("content-type", "application/json"), ("content-type", "text/plain")], false),
    ] {
        let read = read_of("POST", headers, call()).map(|message| message.is_some());
        let expected = if is_certain { Ok(true) } else { Err(Reason::BadMcpMessage) };
        assert_eq!(read, expected, "{headers:?}");
    }
    // A name that looks like an encoded one is encoded itself.
    let odd = || message(CALL, Some("=?base64?d2lwZQ==?="));
    for (value, is_certain) in
        [("=?base64?d2lwZQ==?=", false), ("=?base64?PT9iYXNlNjQ/ZDJsd1pRPT0/PQ==?=", true)]
    {
        assert_eq!(read_of("POST", &[("mcp-name", value)], odd()).is_ok(), is_certain, "{value}");
    }
    // The proxy has not read what the header is about.
    assert!(read_of("POST", &[("mcp-name", "1")], message("tasks/get", None)).is_ok());
    assert_eq!(read_of("POST", &[], message(CALL, None)), Err(Reason::BadMcpMessage));
}

#[test]
fn a_rule_matches_methods_and_of_calls_those_of_its_tools() {
    let patterns = |texts: &[&str]| {
        (!texts.is_empty()).then(|| texts.iter().map(|text| Box::from(*text)).collect())
    };
    for (methods, tools, method, name, expected) in [
        (&[CALL][..], &[][..], CALL, Some("a"), true),
        (&[CALL], &["wipe", "admin_*"], CALL, Some("wipe"), true),
        (&[CALL], &["wipe", "admin_*"], CALL, Some("admin_"), true),
        (&[CALL], &["wipe", "admin_*"], CALL, Some("wipe2"), false),
        (&[CALL], &["wipe", "admin_*"], CALL, Some("Wipe"), false),
        (&[CALL], &["wipe", "admin_*"], CALL, Some("admin"), false),
        (&[CALL], &["wipe"], "tools/list", None, false),
        (&[], &["wipe"], CALL, Some("wipe"), true),
        (&[], &["wipe"], CALL, Some("a"), false),
        (&[], &["wipe"], "prompts/get", Some("wipe"), false),
        (&["tools/*"], &["wipe"], "tools/list", None, true),
        (&["tools/*"], &["wipe"], CALL, Some("a"), false),
        (&["prompts/get", CALL], &["wipe"], "prompts/get", Some("a"), true),
        (&["ping"], &[], "Ping", None, false),
        (&["ping"], &[], "ping ", None, false),
    ] {
        let pattern = McpPattern { methods: patterns(methods), tools: patterns(tools) };
        let message = Message { method: method.into(), name: name.map(Into::into) };
        assert_eq!(pattern.matches(&message), expected, "{methods:?} {tools:?} {message:?}");
    }
}
