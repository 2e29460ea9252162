//! Dynamic metadata in protobuf, as Envoy returns it and as it never should.

use super::*;

/// A field with bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f | 0x80).unwrap());
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    field.extend_from_slice(content);
    field
}

/// An entry of a map.
fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    bytes(1, &[bytes(1, key.as_bytes()), bytes(2, value)].concat())
}

fn text(text: &str) -> Vec<u8> {
    bytes(3, text.as_bytes())
}

fn number(number: f64) -> Vec<u8> {
    [&[0x11][..], &number.to_le_bytes()].concat()
}

const TRUE: &[u8] = &[0x20, 1];
const FALSE: &[u8] = &[0x20, 0];
const NULL: &[u8] = &[8, 0];

fn object(members: &[(&str, &[u8])]) -> Vec<u8> {
    let members: Vec<u8> = members.iter().flat_map(|(key, value)| entry(key, value)).collect();
    bytes(5, &members)
}

/// The results of the filter with these changes, of which an empty one removes.
fn results(changes: &[(&str, &[u8])]) -> Vec<u8> {
    let (jsonrpc, method, name) = (text("2.0"), text("tools/call"), text("wipe"));
    let (status, params) = (text("mcp_ok"), object(&[("name", &name)]));
    let mut members: Vec<(&str, &[u8])> = vec![
        ("jsonrpc", &jsonrpc),
        ("method", &method),
        ("params", &params),
        ("is_mcp_request", TRUE),
        ("status", &status),
    ];
    for (key, value) in changes {
        members.retain(|(known, _)| known != key);
        if !value.is_empty() {
            members.push((key, value));
        }
    }
    members.iter().flat_map(|(key, value)| entry(key, value)).collect()
}

fn metadata(namespaces: &[(&str, &[u8])]) -> Vec<u8> {
    namespaces.iter().flat_map(|(name, fields)| entry(name, fields)).collect()
}

fn body_with(changes: &[(&str, &[u8])]) -> Body {
    body_of(&metadata(&[(NAMESPACE, &results(changes))]))
}

fn message(method: &str, name: Option<&str>) -> Body {
    Body::Message(Message { method: method.into(), name: name.map(Into::into) })
}

#[test]
fn a_message_is_one_that_the_filter_has_read_as_a_whole() {
    let params = |members: &[(&str, &[u8])]| object(members);
    let (name, uri) = (text("wipe"), text("file:///a"));
    let call = message("tools/call", Some("wipe"));
    for (change, value, expected) in [
        ("id", number(1.0), call.clone()),
        ("is_exceeding_limit", FALSE.to_vec(), call.clone()),
        ("method", text("ping"), message("ping", Some("wipe"))),
        ("params", Vec::new(), message("tools/call", None)),
        ("params", params(&[]), message("tools/call", None)),
        ("params", params(&[("uri", &uri)]), message("tools/call", Some("file:///a"))),
        ("params", params(&[("uri", &uri), ("name", &name)]), call.clone()),
        ("params", params(&[("_meta", &object(&[("name", NULL)])), ("name", &name)]), call),
        // Anything but a string as the name.
        ("params", params(&[("name", &number(9.477_802_600_079_069e170))]), Body::Malformed),
        ("params", params(&[("name", NULL)]), Body::Malformed),
        ("params", params(&[("name", TRUE)]), Body::Malformed),
        ("params", params(&[("name", &object(&[]))]), Body::Malformed),
        ("params", params(&[("name", &bytes(6, &[]))]), Body::Malformed),
        ("params", params(&[("uri", NULL)]), Body::Malformed),
        ("params", params(&[("name", &name), ("name", &name)]), Body::Malformed),
        ("params", params(&[("name", &bytes(3, &[0xff]))]), Body::Malformed),
        ("method", number(1.0), Body::Malformed),
        ("method", Vec::new(), Body::Malformed),
        ("method", text("__jsonrpc_response"), Body::Malformed),
        // Bodies that the filter has forwarded without parsing them.
        ("is_mcp_request", FALSE.to_vec(), Body::Malformed),
        ("is_mcp_request", Vec::new(), Body::Malformed),
        ("is_mcp_request", text("true"), Body::Malformed),
        ("is_exceeding_limit", TRUE.to_vec(), Body::Malformed),
        ("passthrough_reason", text("mcp_not_jsonrpc"), Body::Malformed),
        ("passthrough_reason", NULL.to_vec(), Body::Malformed),
        ("status", text("mcp_error"), Body::Malformed),
        ("status", TRUE.to_vec(), Body::Malformed),
        // Envoy before 1.39.
        ("status", Vec::new(), Body::Unread),
    ] {
        assert_eq!(body_with(&[(change, &value)]), expected, "{change}: {value:?}");
    }
}

#[test]
fn only_one_namespace_counts() {
    let (good, other) = (results(&[]), results(&[("method", &text("ping"))]));
    let call = message("tools/call", Some("wipe"));
    for (namespaces, expected) in [
        (&[][..], Body::Unread),
        (&[("envoy.lua", &good[..])], Body::Unread),
        (&[(FORMER_NAMESPACE, &good)], Body::Unread),
        (&[("envoy.filters.http.jwt_authn", &other), (NAMESPACE, &good)], call),
        (&[(FORMER_NAMESPACE, &other), (NAMESPACE, &good)], Body::Malformed),
        (&[(NAMESPACE, &good), (NAMESPACE, &good)], Body::Malformed),
    ] {
        assert_eq!(body_of(&metadata(namespaces)), expected);
    }
}

#[test]
fn bytes_that_are_not_protobuf_are_no_message() {
    let whole = metadata(&[(NAMESPACE, &results(&[]))]);
    for end in 1..whole.len() {
        let read = body_of(&whole[..end]);
        assert!(matches!(read, Body::Malformed), "{end}: {read:?}");
    }
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[byte] ^= 1 << bit;
            // It must end; what it is does not matter.
            let _ = body_of(&changed);
        }
    }
    for odd in [&[0x0a][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[7]]
    {
        assert_eq!(body_of(odd), Body::Malformed, "{odd:?}");
    }
    // Fields that are unknown here.
    let unknown = [vec![0x3d, 1, 2, 3, 4, 0x41, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0xff, 1], whole];
    assert_eq!(body_of(&unknown.concat()), message("tools/call", Some("wipe")));
    let large = bytes(2, &vec![0; MAX_METADATA]);
    assert_eq!(
        body_of(&[large, metadata(&[(NAMESPACE, &results(&[]))])].concat()),
        Body::Malformed
    );
}
