//! Signatures, which Envoy makes: its function `sign` takes and returns protobuf messages.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use oauth2_filter_core::SignError;
use oauth2_filter_driver::Host;

/// What the function takes.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Arguments {
    /// The name of the hash.
    #[prost(string, tag = "1")]
    hash_function: String,
    /// The text.
    #[prost(bytes = "vec", tag = "3")]
    text: Vec<u8>,
    /// The key, in PEM.
    #[prost(string, tag = "4")]
    private_key_pem: String,
}

/// Signs a text with a private key in PEM, by the function of the host.
///
/// # Errors
/// The host has no such function, or it refuses to sign with this key.
pub fn sign<H: Host>(host: &H, private_key: &str, text: &[u8]) -> Result<Vec<u8>, SignError> {
    let arguments = Arguments {
        hash_function: "sha256".to_owned(),
        text: text.to_vec(),
        private_key_pem: private_key.to_owned(),
    };
    let signed = host.foreign_function("sign", &arguments.encode_to_vec());
    let signed = signed.ok().flatten().ok_or(SignError::Absent)?;
    signature(&signed).filter(|signature| !signature.is_empty()).ok_or(SignError::BadKey)
}

/// The signature in what the function gives, if it has signed: `bool result = 1`, and
/// `bytes signature = 2`. Read field by field, since decoding bytes for a struct would bring in
/// 5 kB of buffers.
fn signature(mut message: &[u8]) -> Option<Vec<u8>> {
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
