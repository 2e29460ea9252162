//! Whether a call is what an exchange expects, for the hosts that see it before Envoy edits it.

use oauth2_filter_core::Call;

use crate::exchanges::ExpectedCall;

/// Checks a call. (Headers that steer retries are removed by Envoy, which is not here.)
pub fn check_call(call: &Call, prefix: &str, expected: &ExpectedCall, at: &str) {
    assert_eq!(&*call.cluster, "as", "{at}");
    let values = |name: &str| {
        let of_name = call.headers.iter().filter(|(n, _)| **n == *name);
        of_name.map(|(_, value)| &**value).collect::<Vec<_>>()
    };
    assert_eq!(values(":path"), [format!("/{prefix}{}", expected.path)], "{at}");
    for (name, value) in &expected.headers {
        assert_eq!(values(name), [*value], "{at}: {name} of the call");
    }
    for name in expected.lacks.iter().filter(|name| !name.starts_with("x-envoy-")) {
        assert!(values(name).is_empty(), "{at}: {name} of the call");
    }
    assert_eq!(call.body, expected.body, "{at}");
}
