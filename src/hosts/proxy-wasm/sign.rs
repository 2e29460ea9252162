//! Signatures with Envoy's function `sign`, which uses protobuf messages.

use prost::Message;

use oauth2_filter_core::SignError;
use oauth2_filter_driver::ProxyWasm;
use oauth2_filter_driver::protobuf::{fields, number, tag_of, tag_of_number};

/// The argument of the function.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Arguments {
    /// The name of the hash.
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "3")]
    text: Vec<u8>,
    /// The key in PEM format.
    #[prost(string, tag = "4")]
    private_key_pem: String,
}

/// Signs a text with a private key in PEM format, using the function of the host.
///
/// # Errors
/// The host has no such function, or rejects this key.
pub fn sign<H: ProxyWasm>(host: &H, private_key: &str, text: &[u8]) -> Result<Vec<u8>, SignError> {
    let arguments = Arguments {
        hash_function: "sha256".to_owned(),
        text: text.to_vec(),
        private_key_pem: private_key.to_owned(),
    };
    let signed = host.foreign_function("sign", &arguments.encode_to_vec());
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
