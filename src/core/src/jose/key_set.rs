//! JWK sets (RFC 7517 section 5).

use std::sync::Arc;

use serde_json::Value;

use super::algorithm::SignatureAlgorithm;
use super::jwk::PublicKey;
use crate::oauth::failure::Failure;
use crate::oauth::json;

/// The largest set that is read, in bytes.
pub(crate) const MAX_SET: usize = 256 * 1024;

/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// The most keys that one signature is tried with: each costs a verification.
const MAX_TRIED: usize = 5;

/// The public keys of an issuer. It has at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeySet(Vec<Arc<Key>>);

/// A key of a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    /// Its identifier (`kid`).
    id: Option<Box<str>>,
    /// The only algorithm that it may be used with (`alg`).
    algorithm: Option<SignatureAlgorithm>,
    pub(crate) public: PublicKey,
}

/// Why a JWK set is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadSet {
    TooLarge,
    TooManyKeys,
    /// It is not a JSON object with a list of objects as `keys`.
    Malformed,
    /// No key verifies a supported algorithm.
    NoUsableKey,
}

impl From<BadSet> for Failure {
    fn from(bad: BadSet) -> Self {
        Self::Member(match bad {
            BadSet::TooLarge => "JWK set larger than 256 KiB",
            BadSet::TooManyKeys => "JWK set with more than 100 keys",
            BadSet::Malformed => "not a JWK set",
            BadSet::NoUsableKey => "JWK set without a key that verifies signatures",
        })
    }
}

impl KeySet {
    /// Reads a set. Keys that verify nothing are left out: for encryption, private, of other kinds,
    /// or of unacceptable sizes.
    ///
    /// # Errors
    /// It is not a set, or none of its keys is usable.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, BadSet> {
        if text.len() > MAX_SET {
            return Err(BadSet::TooLarge);
        }
        Self::of_value(&json::parse(text).map_err(|_| BadSet::Malformed)?)
    }

    /// The set of a JSON value.
    ///
    /// # Errors
    /// It is not a set, or none of its keys is usable.
    pub(crate) fn of_value(set: &Value) -> Result<Self, BadSet> {
        let keys =
            set.as_object().and_then(|set| set.get("keys")?.as_array()).ok_or(BadSet::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(BadSet::TooManyKeys);
        }
        if !keys.iter().all(Value::is_object) {
            return Err(BadSet::Malformed);
        }
        let mut usable = Vec::new();
        for key in keys {
            usable.extend(Key::of_jwk(key).map(Arc::new));
        }
        if usable.is_empty() { Err(BadSet::NoUsableKey) } else { Ok(Self(usable)) }
    }

    /// The keys that a signature may be by: those with the identifier that its header names, or all
    /// of its algorithm if it names none.
    pub(crate) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: SignatureAlgorithm,
    ) -> impl Iterator<Item = &Arc<Key>> {
        let keys = self.0.iter().filter(move |key| key.verifies(algorithm));
        keys.filter(move |key| id.is_none_or(|id| key.id.as_deref() == Some(id))).take(MAX_TRIED)
    }

    /// Whether a key has this identifier, whatever it is for.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// What the header of a token says that a key of the set can have signed, by one of these
    /// algorithms, and the size of its signature in bytes.
    #[cfg(feature = "review")]
    pub(crate) fn example(
        &self,
        algorithms: &[SignatureAlgorithm],
    ) -> Option<(SignatureAlgorithm, Option<&str>, usize)> {
        algorithms.iter().find_map(|algorithm| {
            let key = self.candidates(None, *algorithm).next()?;
            Some((*algorithm, key.id.as_deref(), key.public.signature_size(*algorithm)))
        })
    }

    /// Whether it has this key.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.iter().any(|known| **known == *key)
    }
}

impl Key {
    /// The key of a JWK, if it verifies signatures.
    fn of_jwk(jwk: &Value) -> Option<Self> {
        let jwk = jwk.as_object()?;
        let text = |name: &str| match jwk.get(name) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(&**text)),
            // Of a wrong type, so nobody knows what was meant.
            Some(_) => None,
        };
        let id = text("kid")?.map(Into::into);
        // RFC 7517 section 4.2: a key for encryption verifies nothing.
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let verifies = |operations: &Value| {
            operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"))
        };
        if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return None;
        }
        // Whoever can read a private key in a set can sign.
        if ["d", "p", "q"].iter().any(|member| jwk.contains_key(*member)) {
            return None;
        }
        let public = PublicKey::of_jwk(jwk).ok()?;
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => Some(SignatureAlgorithm::of_name(name)?),
        };
        if algorithm.is_some_and(|algorithm| algorithm.key_type() != public.key_type()) {
            return None;
        }
        Some(Self { id, algorithm, public })
    }

    /// Whether it verifies this algorithm: the key decides, never the token.
    fn verifies(&self, algorithm: SignatureAlgorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm)
            && self.public.key_type() == algorithm.key_type()
    }
}
