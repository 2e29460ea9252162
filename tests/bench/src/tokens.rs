//! The access tokens of all requests: JWTs of some 900 bytes, signed with RS256.

use std::collections::HashMap;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
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
/// Seconds since 1970 at which they end: in 2100.
const EXPIRES_AT: u64 = 4_102_444_800;

/// Signed tokens.
#[derive(Debug)]
pub struct Tokens {
    all: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The key that they are signed with, as a JSON Web Key Set.
    pub key_set: Value,
}

impl Tokens {
    /// Signs this many.
    pub fn sign(number: usize) -> Outcome<Self> {
        let key = key()?;
        let all: Outcome<Vec<String>> = (0..number).map(|number| jwt(&key, number)).collect();
        let all = all?;
        let numbers =
            all.iter().enumerate().map(|(number, token)| (token.clone(), number)).collect();
        Ok(Self { all, numbers, key_set: key_set(&key) })
    }

    /// All of them.
    pub fn all(&self) -> &[String] {
        &self.all
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

fn key() -> Outcome<RsaKeyPair> {
    let pem = include_str!("../../envoy/keys/rsa-pkcs8.pem");
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(text)?).map_err(|error| error.to_string().into())
}

fn key_set(key: &RsaKeyPair) -> Value {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let number = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
        "n": number(n),
        "e": number(e),
    }]})
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
        "exp": EXPIRES_AT,
        "jti": format!("8f14e45f-ceea-467f-9575-{number:012}"),
        "sid": format!("c4ca4238-a0b9-4382-8dcc-{number:012}"),
        "department": "sales",
    })
}

fn jwt(key: &RsaKeyPair, number: usize) -> Outcome<String> {
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": KEY_ID});
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims(number)));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "the key does not sign")?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

const KEY_ID: &str = "bench";

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_token_has_some_900_bytes_and_a_signature_by_the_key_that_is_told() {
        let tokens = Tokens::sign(2).expect("tokens");
        let [token, other] = tokens.all() else { panic!("two tokens") };
        assert_ne!(token, other);
        assert!((850..950).contains(&token.len()), "{} bytes", token.len());
        let (signed, signature) = token.rsplit_once('.').expect("a JWT");
        let key = key().expect("the key");
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        assert_eq!(public.verify(signed.as_bytes(), &signature), Ok(()));
    }

    #[test]
    fn introspection_says_who_has_a_token_and_that_others_are_none() {
        let tokens = Tokens::sign(2).expect("tokens");
        let said: Value =
            serde_json::from_str(&tokens.introspection(&tokens.all()[1])).expect("JSON");
        assert_eq!((&said["active"], &said["sub"]), (&json!(true), &json!("user-00001")));
        assert_eq!(tokens.introspection("another"), r#"{"active":false}"#);
    }
}
