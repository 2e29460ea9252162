//! A token that is ready to be put on requests.

use std::sync::Arc;

use crate::ids::ClientId;
use crate::oauth::cached_token::GrantedToken;
use crate::oauth::call::{Call, TokenUse};
use crate::oauth::secret::Secret;
use crate::timestamp::Timestamp;

/// A token that is ready to be put on requests.
#[derive(Debug)]
pub(crate) struct AccessToken {
    /// The header's value.
    pub(crate) value: Arc<str>,
    /// The token itself.
    pub(crate) token: Secret,
    /// Which one it is.
    pub(crate) number: u64,
    /// From then on it is not used.
    pub(crate) expires: Timestamp,
    /// From then on another one is obtained.
    pub(crate) renew_at: Timestamp,
    /// When it was obtained.
    pub(crate) obtained: Timestamp,
}

impl AccessToken {
    /// Makes a token ready to be put on requests as `value`.
    pub(crate) fn new(token: &GrantedToken, number: u64, value: Arc<str>) -> Self {
        Self {
            value,
            token: Secret::new(token.access_token.clone()),
            number,
            expires: token.expires(),
            renew_at: Timestamp::from_millis(token.renew_at),
            obtained: Timestamp::from_millis(token.obtained_at),
        }
    }

    /// Puts the token of a client on a call to an authorization server, in place of the one that it had.
    pub(crate) fn authorize(&self, client: ClientId, call: &mut Call) -> TokenUse {
        call.headers.retain(|(name, _)| **name != *"authorization");
        let value = format!("Bearer {}", self.token.reveal());
        call.headers.push(("authorization".into(), value.into()));
        TokenUse { client, number: self.number, subject: None }
    }
}
