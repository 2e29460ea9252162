//! `private_key_jwt`: client authentication with a signed JWT (RFC 7523, RFC 10070).

use std::fmt;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use crate::oauth::secret::{Credential, Secret};
use crate::random::Random;
use crate::timestamp::Timestamp;

/// Signs a text with a private key in PEM format. The signature is as the algorithm makes it: that
/// of ECDSA in DER. The host provides it; a host that signs with RS256 and ES256 only may choose
/// between these two by the key.
pub type Sign = fn(Algorithm, private_key: &str, text: &[u8]) -> Result<Vec<u8>, SignError>;

/// Why there is no signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignError {
    /// The host cannot sign.
    Absent,
    /// The host cannot sign with this algorithm.
    Unsupported,
    /// The host rejects the key.
    BadKey,
}

/// Why a key cannot make assertions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyMistake {
    /// A key that may change needs an algorithm.
    AlgorithmNeeded,
    /// The key is one for another algorithm.
    Requires(Algorithm),
    Sign(SignError),
}

/// The size of a signature by the shortest RSA key of RS256 (RFC 7518, section 3.3): 2048 bits.
const RSA_SIGNATURE: usize = 256;

/// The size of a signature by Ed25519.
const EDDSA_SIGNATURE: usize = 64;

/// The value of `client_assertion_type`.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a signature is made (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them. Of those that a key allows, the first is its default.
    pub(crate) const ALL: [Self; 4] = [Self::Rs256, Self::Es256, Self::Ps256, Self::EdDsa];

    /// Its name in JOSE.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// A signature as JOSE has it, if it is one by this algorithm: other elliptic curves make
    /// longer ones in DER, and RSA keys that are too short shorter ones.
    fn encode(self, signature: Vec<u8>) -> Option<Vec<u8>> {
        let elliptic = joined(&signature);
        match self {
            Self::Es256 => elliptic,
            Self::EdDsa => Some(signature).filter(|it| it.len() == EDDSA_SIGNATURE),
            Self::Rs256 | Self::Ps256 => {
                Some(signature).filter(|it| elliptic.is_none() && it.len() >= RSA_SIGNATURE)
            }
        }
    }

    /// The signature of a text.
    fn sign(self, sign: Sign, key: &Secret, text: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = sign(self, key.reveal(), text)?;
        self.encode(signature).ok_or(SignError::BadKey)
    }

    /// The default algorithm of a key.
    fn of(sign: Sign, key: &Secret) -> Result<Self, SignError> {
        let mut result = Err(SignError::BadKey);
        for algorithm in Self::ALL {
            match algorithm.sign(sign, key, b"") {
                Ok(_) => return Ok(algorithm),
                Err(SignError::Absent) => result = Err(SignError::Absent),
                Err(_) => {}
            }
        }
        result
    }
}

/// The configuration of assertions.
pub(crate) struct AssertionOptions {
    /// `iss` and `sub`.
    pub(crate) client_id: String,
    /// `aud`: the issuer identifier of the authorization server, the only value.
    pub(crate) aud: String,
    /// `kid` of the header, if configured.
    pub(crate) kid: Option<String>,
    /// `typ` of the header.
    pub(crate) typ: String,
    /// From `iat` to `exp`.
    pub(crate) lifetime: Duration,
    /// The key in PEM format.
    pub(crate) private_key: Credential,
    pub(crate) sign: Sign,
}

/// Makes a new assertion for each call.
pub(crate) struct Assertions {
    options: AssertionOptions,
    pub(crate) algorithm: Algorithm,
    /// Makes every `jti` unique.
    random: Random,
}

impl Assertions {
    /// Creates assertions, after trying the key once. `alg` is the algorithm, unless it is the key's
    /// default.
    ///
    /// # Errors
    /// The host cannot sign, or rejects this key.
    pub(crate) fn new(
        options: AssertionOptions,
        alg: Option<Algorithm>,
        seed: [u8; 16],
    ) -> Result<Self, KeyMistake> {
        let AssertionOptions { private_key, sign, .. } = &options;
        let algorithm = match (alg, private_key.current()) {
            (None, _) if !private_key.is_fixed() => return Err(KeyMistake::AlgorithmNeeded),
            (None, Some(key)) => Algorithm::of(*sign, &key).map_err(KeyMistake::Sign)?,
            (Some(alg), Some(key)) => match alg.sign(*sign, &key, b"") {
                Ok(_) => alg,
                Err(error) => {
                    let other = Algorithm::of(*sign, &key);
                    let other = other.ok().filter(|_| error == SignError::BadKey);
                    return Err(other.map_or(KeyMistake::Sign(error), KeyMistake::Requires));
                }
            },
            // It may come later.
            (Some(alg), None) => alg,
            (None, None) => return Err(KeyMistake::Sign(SignError::BadKey)),
        };
        let random = Random::new(seed, "client assertions");
        Ok(Self { options, algorithm, random })
    }

    /// The client's identifier.
    pub(crate) fn client_id(&self) -> &str {
        &self.options.client_id
    }

    /// Adds what distinguishes these credentials from others.
    pub(crate) fn identify<'s>(&'s self, parts: &mut Vec<&'s str>) {
        let AssertionOptions { client_id, aud, private_key, .. } = &self.options;
        parts.extend([client_id.as_str(), aud]);
        private_key.identify(parts);
    }

    /// A new assertion (RFC 7523, section 3); `None` if there is no key, or it cannot sign.
    pub(crate) fn assertion(&self, now: Timestamp) -> Option<String> {
        let AssertionOptions { client_id, aud, kid, typ, lifetime, private_key, sign } =
            &self.options;
        let mut header = vec![("alg", self.algorithm.name().into()), ("typ", typ.as_str().into())];
        header.extend(kid.as_ref().map(|kid| ("kid", kid.as_str().into())));
        let payload = vec![
            ("iss", client_id.as_str().into()),
            ("sub", client_id.as_str().into()),
            ("aud", aud.as_str().into()),
            ("jti", Base64UrlUnpadded::encode_string(&self.random.draw().to_le_bytes()).into()),
            ("iat", now.as_seconds().into()),
            ("exp", now.plus(*lifetime).as_seconds().into()),
        ];
        let signed = format!("{}.{}", encoded(header), encoded(payload));
        let signature =
            self.algorithm.sign(*sign, &private_key.current()?, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature)))
    }
}

/// A part of a JWT: the encoded object with these members.
fn encoded(members: Vec<(&str, Value)>) -> String {
    let mut object = Map::new();
    for (name, value) in members {
        object.insert(name.to_owned(), value);
    }
    Base64UrlUnpadded::encode_string(Value::Object(object).to_string().as_bytes())
}

/// Converts an ECDSA signature from DER, a `SEQUENCE` of two `INTEGER`s, to JOSE (RFC 7518, section
/// 3.4), two numbers of 32 bytes.
fn joined(der: &[u8]) -> Option<Vec<u8>> {
    /// Removes an element of this kind from the front.
    fn element(kind: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
        let ([tag, length], rest) = der.split_first_chunk()?;
        // No part of a P-256 signature requires the long form of a length.
        (*tag == kind && *length < 0x80).then(|| rest.split_at_checked((*length).into()))?
    }
    let (sequence, rest) = element(0x30, der)?;
    let (r, after) = element(0x02, sequence)?;
    let (s, end) = element(0x02, after)?;
    let mut numbers = Vec::with_capacity(64);
    for number in [r, s] {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let digits = number.get(start..)?;
        numbers.resize(numbers.len().saturating_add(32usize.checked_sub(digits.len())?), 0);
        numbers.extend(digits);
    }
    (rest.is_empty() && end.is_empty()).then_some(numbers)
}

/// The key is not displayed.
impl fmt::Debug for Assertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertions").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::oauth::secret::SecretSource;
    use serde_json::json;

    /// A signature in DER whose numbers have 33 bytes (a zero before a high bit) and 31 bytes.
    fn der() -> Vec<u8> {
        [&[0x30, 68, 0x02, 33, 0, 0x80][..], &[1; 31], &[0x02, 31, 0x7f], &[2; 30]].concat()
    }

    fn options(sign: Sign) -> AssertionOptions {
        AssertionOptions {
            client_id: "orders".into(),
            aud: "https://as.test".into(),
            kid: Some("k1".into()),
            typ: "client-authentication+jwt".into(),
            lifetime: Duration::from_mins(1),
            private_key: Credential::fixed(Secret::new("k3y".into())),
            sign,
        }
    }

    fn parts(assertion: &str) -> Vec<Vec<u8>> {
        assertion.split('.').map(|part| Base64UrlUnpadded::decode_vec(part).unwrap()).collect()
    }

    #[test]
    fn cl_7523_02_cl_10070_01_cl_10070_02_an_assertion_says_who_to_whom_and_for_how_long() {
        let assertions =
            Assertions::new(options(|_, _, _| Ok(vec![7; 256])), None, [0; 16]).unwrap();
        let now = Timestamp::from_millis(1_700_000_000_900);
        let made = assertions.assertion(now).unwrap();
        let [header, payload, signature] = parts(&made).try_into().unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let expected = json!({"alg": "RS256", "typ": "client-authentication+jwt", "kid": "k1"});
        assert_eq!(header, expected);
        let mut payload: Value = serde_json::from_slice(&payload).unwrap();
        let jti = payload.as_object_mut().unwrap().remove("jti").unwrap();
        assert!(jti.as_str().unwrap().len() >= 22);
        let expected = json!({
            "iss": "orders", "sub": "orders", "aud": "https://as.test",
            "iat": 1_700_000_000, "exp": 1_700_000_060,
        });
        assert_eq!(payload, expected);
        assert_eq!(signature, [7; 256]);
    }

    #[test]
    fn cl_7523_04_d6_06_every_try_is_a_new_assertion() {
        let assertions =
            Assertions::new(options(|_, _, _| Ok(vec![7; 256])), None, [0; 16]).unwrap();
        let now = Timestamp::from_millis(0);
        assert_ne!(assertions.assertion(now), assertions.assertion(now));
    }

    #[test]
    fn an_elliptic_signature_is_two_numbers_of_32_bytes() {
        let assertions = Assertions::new(options(|_, _, _| Ok(der())), None, [0; 16]).unwrap();
        let made = assertions.assertion(Timestamp::from_millis(0)).unwrap();
        let [header, _, signature] = parts(&made).try_into().unwrap();
        assert!(String::from_utf8(header).unwrap().contains("ES256"));
        let expected = [&[0x80][..], &[1; 31], &[0, 0x7f], &[2; 30]].concat();
        assert_eq!(signature, expected);
    }

    #[test]
    fn what_is_no_elliptic_signature_is_not_taken_for_one() {
        assert!(joined(&der()).is_some());
        for n in 0..der().len() {
            assert_eq!(joined(&der()[..n]), None, "{n} bytes");
        }
        assert_eq!(joined(&[der(), vec![0]].concat()), None);
        assert_eq!(joined(&[7; 256]), None);
        let long = [&[0x30, 70, 0x02, 33][..], &[1; 33], &[0x02, 33], &[2; 33]].concat();
        assert_eq!(joined(&long), None);
    }

    #[test]
    fn a_key_of_another_kind_or_too_short_is_found_by_its_signature() {
        let p384: Sign = |_, _, _| {
            Ok([&[0x30, 102, 0x02, 49, 0, 0x80][..], &[1; 47], &[0x02, 49, 0, 0x80], &[2; 47]]
                .concat())
        };
        let short_rsa: Sign = |_, _, _| Ok(vec![7; 255]);
        for sign in [p384, short_rsa] {
            let made = Assertions::new(options(sign), None, [0; 16]);
            assert_eq!(made.err(), Some(KeyMistake::Sign(SignError::BadKey)));
        }
    }

    #[test]
    fn the_text_is_signed_with_the_key_and_neither_shows() {
        let sign: Sign = |_, key, text| {
            assert_eq!(key, "k3y");
            Ok([vec![9; 256], text.to_vec()].concat())
        };
        let assertions = Assertions::new(options(sign), None, [0; 16]).unwrap();
        let made = assertions.assertion(Timestamp::from_millis(0)).unwrap();
        let (signed, _) = made.rsplit_once('.').unwrap();
        assert_eq!(parts(&made)[2][256..], *signed.as_bytes());
        assert!(!format!("{assertions:?}").contains("k3y"));
    }

    #[test]
    fn a_key_that_the_host_does_not_take_is_found_at_once() {
        for error in [SignError::Absent, SignError::BadKey] {
            let sign: Sign = match error {
                SignError::Absent => |_, _, _| Err(SignError::Absent),
                _ => |_, _, _| Err(SignError::BadKey),
            };
            let made = Assertions::new(options(sign), None, [0; 16]);
            assert_eq!(made.err(), Some(KeyMistake::Sign(error)));
        }
    }

    /// Signs as a host with an RSA key does, which makes a signature of each of its algorithms.
    fn rsa(algorithm: Algorithm, _: &str, _: &[u8]) -> Result<Vec<u8>, SignError> {
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => Ok(vec![7; 256]),
            Algorithm::Es256 | Algorithm::EdDsa => Err(SignError::BadKey),
        }
    }

    fn header(assertions: &Assertions) -> String {
        let made = assertions.assertion(Timestamp::from_millis(0)).unwrap();
        String::from_utf8(parts(&made)[0].clone()).unwrap()
    }

    #[test]
    fn an_algorithm_is_the_keys_default_or_another_one_that_it_allows() {
        let made = |alg| Assertions::new(options(rsa), alg, [0; 16]);
        assert!(header(&made(None).unwrap()).contains("\"RS256\""));
        assert!(header(&made(Some(Algorithm::Ps256)).unwrap()).contains("\"PS256\""));
        for other in [Algorithm::Es256, Algorithm::EdDsa] {
            let expected = KeyMistake::Requires(Algorithm::Rs256);
            assert_eq!(made(Some(other)).err(), Some(expected));
        }
        let ed25519: Sign = |algorithm, _, _| match algorithm {
            Algorithm::EdDsa => Ok(vec![7; 64]),
            _ => Err(SignError::BadKey),
        };
        let made = Assertions::new(options(ed25519), None, [0; 16]).unwrap();
        assert!(header(&made).contains("\"EdDSA\""));
    }

    #[test]
    fn a_host_without_an_algorithm_says_so() {
        let sign: Sign = |algorithm, key, text| match algorithm {
            Algorithm::Rs256 | Algorithm::Es256 => rsa(algorithm, key, text),
            _ => Err(SignError::Unsupported),
        };
        for alg in [Algorithm::Ps256, Algorithm::EdDsa] {
            let made = Assertions::new(options(sign), Some(alg), [0; 16]);
            assert_eq!(made.err(), Some(KeyMistake::Sign(SignError::Unsupported)));
        }
    }

    /// A key that changes.
    struct Source(Mutex<Option<&'static str>>);

    impl SecretSource for Source {
        fn current(&self) -> Option<String> {
            self.0.lock().unwrap().map(str::to_owned)
        }

        fn each_recent(&self, _: &mut dyn FnMut(&str)) {}
    }

    #[test]
    fn a_key_that_changes_keeps_its_algorithm_and_without_it_there_is_no_assertion() {
        let source = Arc::new(Source(Mutex::new(Some("rsa"))));
        let sign: Sign = |algorithm, key, text| match key {
            "rsa" | "other rsa" => rsa(algorithm, key, text),
            _ => Ok(der()),
        };
        let changing = || {
            let source: Arc<dyn SecretSource> = Arc::clone(&source) as _;
            let private_key = Credential::changing("file".into(), source);
            AssertionOptions { private_key, ..options(sign) }
        };
        let needed = Assertions::new(changing(), None, [0; 16]);
        assert_eq!(needed.err(), Some(KeyMistake::AlgorithmNeeded));
        let made = Assertions::new(changing(), Some(Algorithm::Rs256), [0; 16]).unwrap();
        let now = Timestamp::from_millis(0);
        for (key, signs) in
            [(Some("rsa"), true), (Some("p256"), false), (None, false), (Some("other rsa"), true)]
        {
            *source.0.lock().unwrap() = key;
            assert_eq!(made.assertion(now).is_some(), signs, "{key:?}");
        }
        // A key that is not there yet may come later.
        *source.0.lock().unwrap() = None;
        let made = Assertions::new(changing(), Some(Algorithm::Es256), [0; 16]).unwrap();
        assert_eq!(made.assertion(now), None);
        *source.0.lock().unwrap() = Some("p256");
        assert!(header(&made).contains("\"ES256\""));
    }
}
