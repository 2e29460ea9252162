//! Verification by the foreign function of the proxy.

use oauth2_filter::verify;
use oauth2_filter_core::{PublicKey, SignatureAlgorithm, VerifyError};
use oauth2_filter_driver::HostCall;
use serde_json::json;

use crate::proxy::Proxy;

/// The result for a signature by ES256, or by another algorithm.
fn verified(proxy: &Proxy, algorithm: SignatureAlgorithm) -> Result<bool, VerifyError> {
    let coordinate = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate});
    let key = PublicKey::of_jwk(jwk.as_object().expect("an object")).expect("a key");
    verify(proxy, algorithm, &key, b"text", &[1; 64])
}

#[test]
fn only_the_result_for_a_valid_signature_is_one() {
    let results: [&[u8]; 9] = [
        b"",
        b"\x08\x00",
        b"\x08\x02",
        b"\x08\x81\x00",
        b"\x08\x01\x12\x00",
        b"\x12\x03why",
        b"\x12\x03why\x08\x01",
        b"\x10\x01",
        b"\x08",
    ];
    for result in results {
        let proxy = Proxy::default();
        proxy.add_function("verify_signature", result);
        assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Ok(false), "{result:?}");
    }
    let proxy = Proxy::default();
    proxy.add_function("verify_signature", b"\x08\x01");
    assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Ok(true));
}

#[test]
fn a_proxy_that_does_not_verify_says_nothing_of_a_signature() {
    let proxy = Proxy::default();
    assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Err(VerifyError::Failed));
    proxy.add_function("verify_signature", b"\x08\x01");
    for algorithm in [SignatureAlgorithm::Ps256, SignatureAlgorithm::EdDsa] {
        assert_eq!(verified(&proxy, algorithm), Err(VerifyError::Unsupported));
    }
    proxy.refuse(HostCall::ForeignFunction);
    assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Err(VerifyError::Failed));
}
