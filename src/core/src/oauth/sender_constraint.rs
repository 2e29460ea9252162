//! Sender-constrained tokens (RFC 8705, section 3).

use serde_json::Value;

use crate::http::base64;

/// What `cnf` binds a token to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Confirmation {
    /// The certificate with this SHA-256 digest (`x5t#S256`).
    Certificate([u8; 32]),
    /// Something that the filter cannot check.
    Other,
}

impl Confirmation {
    /// Reads a `cnf` claim. Every member of it is binding, so an additional unknown member makes it
    /// unverifiable.
    pub(crate) fn from_claim(cnf: &Value) -> Self {
        let digest = || -> Option<[u8; 32]> {
            let members = cnf.as_object().filter(|members| members.len() == 1)?;
            let thumbprint = members.get("x5t#S256")?.as_str()?;
            base64::decode_url(thumbprint.trim_end_matches('=').as_bytes())?.try_into().ok()
        };
        digest().map_or(Self::Other, Self::Certificate)
    }
}

/// The requirements on certificate-bound tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum MutualTls {
    /// Possession is not checked, so bound tokens are rejected.
    #[default]
    Off,
    /// Bound tokens require the certificate; others are accepted.
    Optional,
    /// All tokens must be bound, and require the certificate.
    Required,
}

impl MutualTls {
    /// Whether a token may be used on a connection with this certificate, given as the SHA-256
    /// digest from TLS itself.
    pub(crate) fn allows(
        self,
        confirmation: Option<&Confirmation>,
        certificate: impl FnOnce() -> Option<[u8; 32]>,
    ) -> bool {
        match (self, confirmation) {
            (Self::Off | Self::Optional, None) => true,
            (Self::Optional | Self::Required, Some(Confirmation::Certificate(bound))) => {
                certificate().is_some_and(|presented| presented == *bound)
            }
            _ => false,
        }
    }
}

/// Parses the hexadecimal digest that Envoy provides.
pub fn digest_from_hex(hex: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut digest = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use serde_json::json;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    fn digest() -> [u8; 32] {
        digest_from_hex(HEX.as_bytes()).unwrap()
    }

    #[test]
    fn rs_8705_01_the_thumbprint_is_the_base64url_of_the_digest() {
        let thumbprint = Base64UrlUnpadded::encode_string(digest().as_ref());
        let read = Confirmation::from_claim(&json!({"x5t#S256": thumbprint}));
        assert_eq!(read, Confirmation::Certificate(digest()));
        assert_eq!(digest()[31], 0x1f);
        let short = HEX.strip_prefix('0').unwrap();
        for no_digest in ["", "00", short, &HEX.replace('0', "g")] {
            assert_eq!(digest_from_hex(no_digest.as_bytes()), None);
        }
    }

    #[test]
    fn rs_9449_07_d5_09_a_confirmation_that_is_not_understood_cannot_be_checked() {
        let thumbprint = Base64UrlUnpadded::encode_string(digest().as_ref());
        for cnf in [
            json!({"jkt": "abc"}),
            json!({"x5t#S256": thumbprint, "jkt": "abc"}),
            json!({"x5t#S256": "short"}),
            json!({"x5t#S256": 5}),
            json!({}),
            json!("x"),
            json!([thumbprint]),
        ] {
            assert_eq!(Confirmation::from_claim(&cnf), Confirmation::Other, "{cnf}");
        }
    }

    #[test]
    fn rs_8705_03_each_mode_lets_only_proved_bindings_pass() {
        use MutualTls::{Off, Optional, Required};
        let bound = Confirmation::Certificate(digest());
        let (same, other, none) = (Some(digest()), Some([0; 32]), None);
        for (mode, confirmation, certificate, allowed) in [
            (Off, None, same, true),
            (Off, Some(&bound), same, false),
            (Off, Some(&Confirmation::Other), same, false),
            (Optional, None, none, true),
            (Optional, Some(&bound), same, true),
            (Optional, Some(&bound), other, false),
            (Optional, Some(&bound), none, false),
            (Optional, Some(&Confirmation::Other), same, false),
            (Required, None, same, false),
            (Required, Some(&bound), same, true),
            (Required, Some(&bound), other, false),
            (Required, Some(&bound), none, false),
            (Required, Some(&Confirmation::Other), same, false),
        ] {
            let case = (mode, confirmation, certificate);
            assert_eq!(mode.allows(confirmation, || certificate), allowed, "{case:?}");
        }
    }
}
