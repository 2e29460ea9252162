//! Records in shared data: their form in bytes, and who may read them.

use super::{CachedResponse, LeaseOwner};
use crate::cache::identity::{Fingerprint, Identity};
use crate::oauth::failure::Failure;
use crate::store::TokenKey;
use crate::store::sealed::{OVERHEAD, SealingKey};
use crate::timestamp::Timestamp;

/// The longest body that is shared, in bytes. With it, a slot takes up to 4.2 kB of memory.
pub(crate) const MAX_SHARED: usize = 4 * 1024;

/// The form of groups and records; others are not read.
pub(super) const VERSION: u8 = 4;

/// The longest record.
pub(super) const MAX_RECORD: usize = Header::LENGTH + MAX_SHARED + OVERHEAD;

/// What a slot holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    /// When it was written: for a response, when the server returned it.
    pub(super) written: Timestamp,
    /// From then on nobody needs it.
    pub(super) ends: Timestamp,
    /// A response's body, a token, or a [`LeaseRecord`].
    pub(super) body: Vec<u8>,
}

impl Record {
    /// The response in a record.
    pub(super) fn into_response(self, is_active: bool) -> CachedResponse {
        let Self { written, ends, body } = self;
        CachedResponse { is_active, body, at: written, expires: ends }
    }
}

/// The body of a lease's record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LeaseRecord {
    /// Who has the lease, or had it.
    pub(super) owner: LeaseOwner,
    /// Whether the call is under way.
    pub(super) is_under_way: bool,
    /// The last call that has failed, for those who wait for that: this one, or the one before.
    pub(super) failed: Option<(LeaseOwner, Failure)>,
}

impl LeaseRecord {
    /// Reads it.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8; 8]| LeaseOwner(u64::from_le_bytes(*bytes));
        let (owner, rest) = body.split_first_chunk()?;
        let (is_under_way, rest) = rest.split_first()?;
        let failed = rest.split_first_chunk();
        let failed = failed.map(|(owner, why)| (number(owner), Failure::from_bytes(why)));
        Some(Self { owner: number(owner), is_under_way: *is_under_way == 1, failed })
    }

    /// The same in bytes.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = self.owner.0.to_le_bytes().to_vec();
        bytes.push(u8::from(self.is_under_way));
        if let Some((owner, failure)) = self.failed {
            bytes.extend(owner.0.to_le_bytes());
            bytes.extend(failure.to_bytes());
        }
        bytes
    }
}

/// The beginning of a record: version, fingerprint, two times.
pub(super) struct Header {
    /// Whose record it is.
    pub(super) fingerprint: Fingerprint,
    /// As in [`Record`].
    pub(super) written: Timestamp,
    /// As in [`Record`].
    pub(super) ends: Timestamp,
}

impl Header {
    /// Its length in bytes.
    pub(super) const LENGTH: usize = 1 + 32 + 8 + 8;

    /// Reads it, whoever wrote it. What is longer than any record of ours is none: nobody is to
    /// have us compute the code of megabytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_RECORD {
            return None;
        }
        let (version, rest) = bytes.split_first()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (written, rest) = rest.split_first_chunk()?;
        let (ends, _) = rest.split_first_chunk()?;
        let time = |bytes: &[u8; 8]| Timestamp::from_millis(u64::from_le_bytes(*bytes));
        (*version == VERSION).then(|| Self {
            fingerprint: Fingerprint(*fingerprint),
            written: time(written),
            ends: time(ends),
        })
    }
}

impl TokenKey<'_> {
    /// The bytes of a record: header, and the body, sealed for it.
    pub(super) fn seal(self, record: &Record) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.token.0);
        bytes.extend(record.written.as_millis().to_le_bytes());
        bytes.extend(record.ends.as_millis().to_le_bytes());
        let body = self.identity.sealing().seal(&bytes, &record.body);
        bytes.extend(body);
        bytes
    }

    /// The record in these bytes, which begin with this header, if this identity has sealed it.
    pub(super) fn open(self, header: &Header, bytes: &[u8]) -> Option<Record> {
        let (place, sealed) = bytes.split_at_checked(Header::LENGTH)?;
        let body = self.identity.sealing().open(place, sealed)?;
        Some(Record { written: header.written, ends: header.ends, body })
    }
}

impl Identity {
    /// Seals and opens records.
    pub(super) fn sealing(&self) -> SealingKey {
        SealingKey::new(self.sealing_key)
    }
}
