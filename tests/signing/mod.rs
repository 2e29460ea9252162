//! Keys that sign tokens for tests, and their public halves as JWKs.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// A private key.
pub enum Key {
    /// RSA of 2048 bits.
    Rsa(RsaKeyPair),
    /// A key of a curve, by the name of the curve.
    Ec(&'static str, EcdsaKeyPair),
    /// A key of Ed25519.
    Ed25519(Ed25519KeyPair),
}

/// The RSA key of all tests: a new one would take a second each.
static RSA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pem = include_str!("../envoy/keys/rsa-pkcs8.pem");
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64_STANDARD.decode(lines).expect("base64")
});

/// Encodes as JOSE does.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    /// The RSA key of all tests.
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(&RSA).expect("a key"))
    }

    /// A new key of P-256.
    pub fn p256() -> Self {
        Self::ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    /// A new key of P-384.
    pub fn p384() -> Self {
        Self::ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(curve: &'static str, signing: &'static EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).expect("a key");
        Self::Ec(curve, pair)
    }

    /// A new key of Ed25519.
    pub fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key"))
    }

    /// The algorithm that its tokens have without another `alg`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec("P-256", _) => "ES256",
            Self::Ec(..) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key, with this identifier.
    pub fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": encode(public.n), "e": encode(public.e)})
            }
            Self::Ec(curve, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())})
            }
        };
        jwk["kid"] = id.into();
        jwk
    }

    /// The signature of a text by this algorithm of JOSE.
    pub fn sign_text(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let padding: &dyn ring::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, text, &mut signature).expect("a signature");
                signature
            }
            Self::Ec(_, pair) => pair.sign(&random, text).expect("a signature").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, in JSON, signed as the header says.
    pub fn sign_json(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        let read: Value = serde_json::from_str(header).unwrap_or_default();
        let algorithm = read["alg"].as_str().unwrap_or_default();
        format!("{text}.{}", encode(self.sign_text(algorithm, text.as_bytes())))
    }

    /// An access token (RFC 9068) with these claims, which names the key.
    pub fn sign(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "at+jwt", "kid": id});
        self.sign_json(&header.to_string(), &claims.to_string())
    }
}
