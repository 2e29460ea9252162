//! Signatures, which Envoy makes: its function `sign` takes and gives protobuf messages.

use prost::Message;

use super::abi;
use crate::client_assertion::SignError;

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

/// What it gives.
#[derive(Clone, PartialEq, Message)]
struct Signed {
    /// Whether it has signed.
    #[prost(bool, tag = "1")]
    result: bool,
    /// The signature.
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
}

/// Signs a text with a private key in PEM.
pub(super) fn sign(private_key: &str, text: &[u8]) -> Result<Vec<u8>, SignError> {
    let arguments = Arguments {
        hash_function: "sha256".to_owned(),
        text: text.to_vec(),
        private_key_pem: private_key.to_owned(),
    };
    let signed = abi::foreign_function("sign", &arguments.encode_to_vec());
    let signed = signed.ok_or(SignError::Absent)?;
    match Signed::decode(&*signed) {
        Ok(Signed { result: true, signature }) if !signature.is_empty() => Ok(signature),
        _ => Err(SignError::BadKey),
    }
}
