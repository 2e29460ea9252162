//! Signatures by the foreign function of the proxy.

use oauth2_filter::sign;
use oauth2_filter_core::SignError;
use oauth2_filter_driver::HostCall;

use crate::proxy::Proxy;

#[test]
fn a_signature_is_read_from_what_the_function_returns() {
    let signed = b"\x08\x01\x12\x03sig";
    let refused = b"\x08\x00\x12\x00\x1a\x03why";
    let bad_key = Err(SignError::BadKey);
    let cases: [(&[u8], _); 8] = [
        (signed, Ok(&b"sig"[..])),
        // Members that are not known are skipped.
        (b"\x1a\x00\x08\x01\x20\x05\x12\x03sig", Ok(&b"sig"[..])),
        (refused, bad_key),
        (b"\x08\x00\x12\x03sig", bad_key),
        (b"", bad_key),
        (b"\x08\x01", bad_key),
        (b"\x08\x01\x12\x09sig", bad_key),
        (b"\xff\xff", bad_key),
    ];
    for (returned, expected) in cases {
        let proxy = Proxy::default();
        proxy.add_function("sign", returned);
        let signature = sign(&proxy, "key", b"text");
        assert_eq!(signature.as_deref(), expected.as_ref().copied(), "{returned:?}");
    }
}

#[test]
fn a_proxy_that_cannot_sign_or_refuses_to_has_no_signature() {
    let proxy = Proxy::default();
    assert_eq!(sign(&proxy, "key", b"text"), Err(SignError::Absent));
    proxy.add_function("sign", b"\x08\x01\x12\x03sig");
    proxy.refuse(HostCall::ForeignFunction);
    assert_eq!(sign(&proxy, "key", b"text"), Err(SignError::Absent));
}
