//! The access tokens of all requests: JWTs of some 900 bytes, signed with RS256.

use std::collections::HashMap;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64_URL, Engine};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
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
    /// All of them.
    pub all: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The key that they are signed with, as a JSON Web Key Set.
    pub key_set: Value,
}

impl Tokens {
    /// Signs this many.
    pub fn sign(number: usize) -> Outcome<Self> {
        let pem = include_str!("../../envoy/keys/rsa-pkcs8.pem");
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(text)?);
        let key = key.map_err(|error| error.to_string())?;
        let all = (0..number).map(|number| jwt(&key, number)).collect::<Outcome<Vec<String>>>()?;
        let numbers = all.iter().cloned().zip(0..).collect();
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
        let key_set = json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": BASE64_URL.encode(n), "e": BASE64_URL.encode(e),
        }]});
        Ok(Self { all, numbers, key_set })
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

fn jwt(key: &RsaKeyPair, number: usize) -> Outcome<String> {
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": KEY_ID});
    let part = |value: &Value| BASE64_URL.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims(number)));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "failed to sign a token")?;
    Ok(format!("{signed}.{}", BASE64_URL.encode(signature)))
}

const KEY_ID: &str = "bench";
