//! The access tokens that were issued. They stay in memory for as long as the server.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::registry::Client;

/// What the server knows of an access token.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// `jti`.
    pub id: String,
    /// The client it was issued to.
    pub client_id: String,
    /// `sub`.
    pub subject: String,
    /// The user's name, if it was issued for a user.
    pub username: Option<String>,
    /// `scope`, words separated by spaces.
    pub scope: String,
    /// `aud`.
    pub audience: String,
    /// `iat`, in seconds since 1970.
    pub issued_at: u64,
    /// `exp`, in seconds since 1970.
    pub expires_at: u64,
    /// `cnf.x5t#S256`, if it is bound to a certificate (RFC 8705 section 3.1).
    pub thumbprint: Option<String>,
}

impl AccessToken {
    /// A client's token for itself.
    pub(super) fn new(client: &Client, scope: String, now: u64, ttl: Duration) -> Self {
        Self {
            id: random(),
            client_id: client.id.clone(),
            subject: client.subject.clone(),
            username: None,
            scope,
            audience: client.audience.clone(),
            issued_at: now,
            expires_at: now.saturating_add(ttl.as_secs()),
            thumbprint: None,
        }
    }
}

/// Access tokens by their value.
#[derive(Debug)]
pub(super) struct TokenStore {
    prefix: String,
    tokens: Mutex<HashMap<String, AccessToken>>,
}

impl TokenStore {
    /// A store whose values begin with `prefix`.
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, tokens: Mutex::default() }
    }

    /// Keeps the token under a new value.
    pub(super) fn issue(&self, token: AccessToken) -> String {
        let value = format!("{}{}", self.prefix, random());
        self.lock().insert(value.clone(), token);
        value
    }

    /// The token of this value, unless it has expired.
    pub(super) fn active(&self, value: &str, now: u64) -> Option<AccessToken> {
        self.lock().get(value).filter(|token| now < token.expires_at).cloned()
    }

    pub(super) fn revoke(&self, value: &str) {
        self.lock().remove(value);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, AccessToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits as `b64token` characters (RFC 6750 section 2.1).
fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system's randomness");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
