//! Signatures with Envoy's function `sign`, which uses protobuf messages.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use oauth2_filter_core::SignError;
use oauth2_filter_driver::ProxyWasm;

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

/// The signature in the result of the function, if it succeeded: `bool result = 1`, and `bytes
/// signature = 2`. It is read field by field, because decoding it into a struct would add 5 kB.
fn signature(mut message: &[u8]) -> Option<Vec<u8>> {
    // By reference, as messages are decoded: another type would have code of its own.
    let mut message = &mut message;
    let mut signed = false;
    let mut signature = None;
    while !message.is_empty() {
        match decode_key(&mut message).ok()? {
            (1, WireType::Varint) => signed = decode_varint(&mut message).ok()? != 0,
            (2, WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
                signature = Some(message.split_off(..length)?.to_vec());
            }
            (tag, wire) => {
                skip_field(wire, tag, &mut message, DecodeContext::default()).ok()?;
            }
        }
    }
    signature.filter(|_| signed)
}
