//! The access tokens of all requests: JWTs of some 900 bytes, signed with RS256, and the same with
//! ES256, which are 340 bytes shorter.

use std::collections::HashMap;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64_URL, Engine};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::Outcome;

/// Who issues the tokens.
pub const ISSUER: &str = "https://as.example.com";
/// For whom they are.
pub const AUDIENCE: &str = "https://orders.example.com";
/// What they allow.
pub const SCOPE: &str = "openid profile email orders:read orders:write";

/// Signed tokens.
#[derive(Debug)]
pub struct Tokens {
    /// All of them with RS256.
    pub all: Vec<String>,
    /// As many with ES256.
    pub es256: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The keys that they are signed with, as a JSON Web Key Set.
    pub key_set: Value,
}

impl Tokens {
    /// Signs this many.
    pub fn sign(number: usize) -> Outcome<Self> {
        let random = SystemRandom::new();
        let pem = include_str!("../../envoy/keys/rsa-pkcs8.pem");
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let rsa = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(text)?);
        let rsa = rsa.map_err(|error| error.to_string())?;
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(curve, &random)
            .map_err(|_| "failed to make a key".to_owned())
            .and_then(|key| {
                EcdsaKeyPair::from_pkcs8(curve, key.as_ref(), &random)
                    .map_err(|error| error.to_string())
            })?;
        let by_rsa = |text: &[u8]| {
            let mut signature = vec![0; rsa.public().modulus_len()];
            rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).ok()?;
            Some(signature)
        };
        let by_ec = |text: &[u8]| Some(ec.sign(&random, text).ok()?.as_ref().to_vec());
        let all = (0..number).map(|number| jwt("RS256", by_rsa, number));
        let all = all.collect::<Outcome<Vec<String>>>()?;
        let es256 = (0..number).map(|number| jwt("ES256", by_ec, number));
        let es256 = es256.collect::<Outcome<Vec<String>>>()?;
        let numbers = all.iter().cloned().zip(0..).collect();
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
        // The form of the point is its first byte.
        let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
        let key_set = json!({"keys": [
            {
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256",
                "n": BASE64_URL.encode(n), "e": BASE64_URL.encode(e),
            },
            {
                "kty": "EC", "use": "sig", "alg": "ES256", "kid": "ES256", "crv": "P-256",
                "x": BASE64_URL.encode(x), "y": BASE64_URL.encode(y),
            },
        ]});
        Ok(Self { all, es256, numbers, key_set })
    }

    /// What introspection says of a token.
    pub fn introspection(&self, token: &str) -> String {
        let Some(number) = self.numbers.get(token) else {
            return r#"{"active":false}"#.to_owned();
        };
        let mut answer = claims(*number);
        answer["active"] = true.into();
        answer["token_type"] = "Bearer".into();
        answer.to_string()
    }

    /// Whether it is one of these.
    pub fn contain(&self, token: &str) -> bool {
        self.numbers.contains_key(token)
    }
}

fn claims(number: usize) -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": format!("user-{number:05}"),
        "username": format!("user-{number:05}@example.com"),
        "client_id": "shop",
        "scope": SCOPE,
        "iat": 1_700_000_000,
        "exp": 4_102_444_800_u64, // in 2100
        "jti": format!("8f14e45f-ceea-467f-9575-{number:012}"),
        "sid": format!("c4ca4238-a0b9-4382-8dcc-{number:012}"),
        "department": "sales",
    })
}

/// A token; the algorithm also names the key.
fn jwt(algorithm: &str, sign: impl Fn(&[u8]) -> Option<Vec<u8>>, number: usize) -> Outcome<String> {
    let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": algorithm});
    let part = |value: &Value| BASE64_URL.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims(number)));
    let signature = sign(signed.as_bytes()).ok_or("failed to sign a token")?;
    Ok(format!("{signed}.{}", BASE64_URL.encode(signature)))
}
