//! Whether what came of a request is what must come of it, for either host.

use serde_json::Value;

use super::Expected;

/// What came of a request.
#[derive(Debug)]
pub enum Seen {
    /// The service got this head.
    Passed(Vec<(String, String)>),
    /// The filter gave this answer.
    Answered {
        /// The HTTP status; a gRPC request's is not looked at.
        status: u16,
        /// The gRPC status, for a gRPC request.
        grpc_status: Option<u32>,
        /// `%RESPONSE_CODE_DETAILS%`.
        details: String,
        /// The head.
        headers: Vec<(String, String)>,
        /// The body, or a gRPC answer's message; `None` if the method has none.
        body: Option<String>,
    },
}

/// Panics, with `at` in its text, unless it is.
pub fn check(seen: &Seen, expected: &Expected, at: &str) {
    match (seen, expected) {
        (Seen::Passed(head), Expected::Passed { has, lacks }) => {
            for (name, value) in has {
                assert_eq!(values(head, name), [value], "{at}: {name}");
            }
            for name in lacks {
                assert!(values(head, name).is_empty(), "{at}: {name} came through");
            }
        }
        (
            Seen::Answered { status, grpc_status, details, headers, body },
            Expected::Refused { status: expected, details: reason, challenge, error, retry_after },
        ) => {
            assert_eq!(details, reason, "{at}: {seen:?}");
            let challenge = challenge.map(|rest| match rest.strip_prefix("Bearer ") {
                Some(_) => rest.to_owned(),
                None => format!("Bearer realm=\"oauth2\"{rest}"),
            });
            let challenges = values(headers, "www-authenticate");
            let challenges = (!challenges.is_empty()).then(|| challenges.join(", "));
            assert_eq!(challenges, challenge, "{at}");
            assert_eq!(one(headers, "retry-after", at), *retry_after, "{at}");
            assert_eq!(one(headers, "cache-control", at), Some("no-store"), "{at}");
            if let Some(grpc_status) = grpc_status {
                assert_eq!(*grpc_status, grpc_status_for(*expected), "{at}: {seen:?}");
                let message = body.as_deref().unwrap_or_default();
                assert!(!message.is_empty() && !message.contains('{'), "{at}: {message}");
            } else {
                assert_eq!(status, expected, "{at}: {seen:?}");
                assert_eq!(one(headers, "content-type", at), Some("application/json"), "{at}");
                let Some(body) = body else { return };
                let body: Value = serde_json::from_str(body).expect("a JSON body");
                assert_eq!(body["error"], *error, "{at}");
                assert!(body["error_description"].is_string(), "{at}");
            }
        }
        (Seen::Answered { status, details, headers, body, .. }, Expected::Described(document)) => {
            assert_eq!((*status, details.as_str()), (200, "oauth2_resource_metadata"), "{at}");
            assert_eq!(one(headers, "content-type", at), Some("application/json"), "{at}");
            assert_eq!(one(headers, "www-authenticate", at), None, "{at}");
            let body = body.as_deref().expect("a body");
            let body: Value = serde_json::from_str(body).expect("a JSON body");
            assert_eq!(body, *document, "{at}");
        }
        (
            Seen::Answered { status, grpc_status, details, headers, .. },
            Expected::Answered { status: expected, details: reason, has, lacks },
        ) => {
            assert_eq!(details, reason, "{at}: {seen:?}");
            match grpc_status {
                Some(grpc_status) => assert_eq!(*grpc_status, grpc_status_for(*expected), "{at}"),
                None => assert_eq!(status, expected, "{at}: {seen:?}"),
            }
            for (name, value) in has {
                assert_eq!(values(headers, name), [value], "{at}: {name}");
            }
            for name in lacks {
                assert!(values(headers, name).is_empty(), "{at}: {name} is there: {seen:?}");
            }
        }
        _ => panic!("{at}: {seen:?}"),
    }
}

/// The gRPC status that stands for an HTTP status.
fn grpc_status_for(status: u16) -> u32 {
    match status {
        400 | 431 => 3,
        401 => 16,
        403 => 7,
        502 | 503 => 14,
        other => panic!("no gRPC status stands for {other}"),
    }
}

/// The values of a header.
fn values<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    let of_name = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    of_name.map(|(_, value)| value.as_str()).collect()
}

/// The value of a header that stands at most once.
fn one<'h>(headers: &'h [(String, String)], name: &str, at: &str) -> Option<&'h str> {
    let values = values(headers, name);
    assert!(values.len() <= 1, "{at}: {name} stands twice: {values:?}");
    values.first().copied()
}
