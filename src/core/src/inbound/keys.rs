//! The keys of issuers, as far as one worker has them.

use std::sync::Arc;

use crate::ids::IssuerId;
use crate::inbound::issuers::{Issuer, KeySource};
use crate::jose::key_set::KeySet;
use crate::jose::upkeep::KeyNews;
use crate::timestamp::Timestamp;

/// The keys of all issuers, in their order.
pub(crate) struct IssuerKeys(Vec<Held>);

/// The keys of an issuer.
#[derive(Default)]
struct Held {
    keys: Option<Arc<KeySet>>,
    /// Until when they serve.
    until: Timestamp,
    /// When keys that are not among them are worth asking for; `None` if never.
    retry_at: Option<Timestamp>,
}

impl IssuerKeys {
    pub(crate) fn new(issuers: &[Issuer]) -> Self {
        let held = |issuer: &Issuer| match &issuer.keys {
            KeySource::Fixed(keys) => {
                Held { keys: Some(Arc::clone(keys)), until: Timestamp::NEVER, retry_at: None }
            }
            KeySource::Fetched(..) | KeySource::JwtAuthn => {
                Held { retry_at: Some(Timestamp::from_millis(0)), ..Held::default() }
            }
        };
        Self(issuers.iter().map(held).collect())
    }

    /// The keys of an issuer, while they serve.
    pub(crate) fn of(&self, IssuerId(place): IssuerId, now: Timestamp) -> Option<&Arc<KeySet>> {
        let held = self.0.get(place).filter(|held| now < held.until)?;
        held.keys.as_ref()
    }

    /// When keys of an issuer are worth asking for that are not here; `None` if never.
    pub(crate) fn retry_at(&self, IssuerId(place): IssuerId) -> Option<Timestamp> {
        self.0.get(place)?.retry_at
    }

    /// Adopts what is new. Returns the new keys if they are others, so that what was decided with
    /// the old ones may no longer be right.
    pub(crate) fn adopt(
        &mut self,
        IssuerId(place): IssuerId,
        news: &KeyNews,
    ) -> Option<Arc<KeySet>> {
        let held = self.0.get_mut(place)?;
        held.retry_at = Some(news.retry_at);
        let (keys, until) = news.keys.as_ref()?;
        held.until = *until;
        if held.keys.as_ref().is_some_and(|held| Arc::ptr_eq(held, keys)) {
            return None;
        }
        held.keys = Some(Arc::clone(keys));
        held.keys.clone()
    }
}
