//! What a fetcher knows of the keys of an issuer.

use std::sync::Arc;

use crate::cache::single_flight::CallId;
use crate::inbound::issuers::{Issuer, KeySource};
use crate::jose::upkeep::KeyUpkeep;
use crate::oauth::failure_log::FailureLog;
use crate::oauth::json::escaped;
use crate::timestamp::Timestamp;

/// The keys of an issuer.
pub(super) struct IssuerHealth {
    pub(super) upkeep: KeyUpkeep,
    pub(super) failures: FailureLog,
    /// When the first fetch began.
    pub(super) began: Option<Timestamp>,
    /// The fetch that is under way.
    pub(super) fetch: Option<CallId>,
    /// The path of the keys that the last metadata named.
    pub(super) path: Option<Arc<str>>,
}

impl IssuerHealth {
    /// The state of an issuer whose keys are fetched.
    pub(super) fn of(issuer: &Issuer) -> Option<Self> {
        let KeySource::Fetched(_, times) = &issuer.keys else { return None };
        let failures = FailureLog::new(format!("keys of issuer {}", escaped(issuer.identifier())));
        let upkeep = KeyUpkeep::new(*times);
        Some(Self { upkeep, failures, began: None, fetch: None, path: None })
    }

    /// How old the keys are, in milliseconds, or how long they have been missing.
    pub(super) fn age(&self, now: Timestamp) -> u64 {
        let missing = || self.began.map(|began| now.since(began));
        self.upkeep.age(now).or_else(missing).unwrap_or(0)
    }
}
