//! Signatures with Envoy's function `sign`, which uses protobuf messages.

use oauth2_filter_core::SignError;
use oauth2_filter_core::protobuf::{fields, number, push, tag_of, tag_of_number};
use oauth2_filter_driver::ProxyWasm;

/// The fields of the function's argument: the name of the hash, the text, and the key in PEM format.
const HASH: u64 = 1;
const TEXT: u64 = 3;
const PRIVATE_KEY: u64 = 4;

/// Signs a text with a private key in PEM format, using the function of the host.
///
/// # Errors
/// The host has no such function, or rejects this key.
pub fn sign<H: ProxyWasm>(host: &H, private_key: &str, text: &[u8]) -> Result<Vec<u8>, SignError> {
    let mut argument = Vec::new();
    push(&mut argument, HASH, b"sha256");
    push(&mut argument, TEXT, text);
    push(&mut argument, PRIVATE_KEY, private_key.as_bytes());
    let signed = host.foreign_function("sign", &argument);
    let signed = signed.ok().flatten().ok_or(SignError::Absent)?;
    signature(&signed).filter(|signature| !signature.is_empty()).ok_or(SignError::BadKey)
}

/// The fields of the function's result: a boolean, and the signature.
const RESULT: u64 = tag_of_number(1);
const SIGNATURE: u64 = tag_of(2);

/// The signature in the result of the function, if it succeeded.
fn signature(message: &[u8]) -> Option<Vec<u8>> {
    let (mut signed, mut signature) = (false, None);
    fields(message, &mut |tag, content| {
        match tag {
            RESULT => signed = number(content)?.0 != 0,
            SIGNATURE => signature = Some(content.to_vec()),
            _ => {}
        }
        Some(())
    })?;
    signature.filter(|_| signed)
}
