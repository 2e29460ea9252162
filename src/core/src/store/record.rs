//! The encoding of records in shared data, and their encryption.

use super::{CachedResponse, LeaseOwner};
use crate::cache::identity::{Fingerprint, Identity};
use crate::oauth::failure::Failure;
use crate::store::TokenKey;
use crate::store::sealed::{OVERHEAD, SealingKey};
use crate::timestamp::Timestamp;

/// The maximum length of a shared body, in bytes. With it, a slot takes up to 4.2 kB of memory.
pub(super) const MAX_SHARED: usize = 4 * 1024;

/// The version of the encoding of groups and records. Other versions are not read.
pub(super) const VERSION: u8 = 4;

/// The maximum length of a record, in bytes.
pub(super) const MAX_RECORD: usize = Header::LENGTH + MAX_SHARED + OVERHEAD;

/// The content of a slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    /// When it was written; for a response, when the authorization server returned it.
    pub(super) written: Timestamp,
    /// When it expires.
    pub(super) ends: Timestamp,
    /// A response's body, a token, or a [`LeaseRecord`].
    pub(super) body: Vec<u8>,
}

impl Record {
    pub(super) fn into_response(self, is_active: bool) -> CachedResponse {
        let Self { written, ends, body } = self;
        CachedResponse { is_active, body, at: written, expires: ends }
    }
}

/// The body of a lease's record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LeaseRecord {
    /// The current or the last owner of the lease.
    pub(super) owner: LeaseOwner,
    pub(super) is_under_way: bool,
    /// The last call that failed, for the workers that wait for it: this call or the previous one.
    pub(super) failed: Option<(LeaseOwner, Failure)>,
}

impl LeaseRecord {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8; 8]| LeaseOwner(u64::from_le_bytes(*bytes));
        let (owner, rest) = body.split_first_chunk()?;
        let (is_under_way, rest) = rest.split_first()?;
        let failed = rest.split_first_chunk();
        let failed = failed.map(|(owner, why)| (number(owner), Failure::from_bytes(why)));
        Some(Self { owner: number(owner), is_under_way: *is_under_way == 1, failed })
    }

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

/// The unencrypted beginning of a record: version, fingerprint and two times.
pub(super) struct Header {
    pub(super) fingerprint: Fingerprint,
    pub(super) written: Timestamp,
    pub(super) ends: Timestamp,
}

impl Header {
    /// The length in bytes.
    pub(super) const LENGTH: usize = 1 + 32 + 8 + 8;

    /// Reads a header, which another plugin may have written. Input that is longer than any record
    /// is rejected, so that no plugin can make the filter authenticate megabytes.
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
    /// Encodes a record: the header, and the body sealed for it.
    pub(super) fn seal(self, record: &Record) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.token.0);
        bytes.extend(record.written.as_millis().to_le_bytes());
        bytes.extend(record.ends.as_millis().to_le_bytes());
        let body = self.identity.sealing().seal(&bytes, &record.body);
        bytes.extend(body);
        bytes
    }

    /// Opens a record that begins with this header, if it was sealed with this identity.
    pub(super) fn open(self, header: &Header, bytes: &[u8]) -> Option<Record> {
        let (place, sealed) = bytes.split_at_checked(Header::LENGTH)?;
        let body = self.identity.sealing().open(place, sealed)?;
        Some(Record { written: header.written, ends: header.ends, body })
    }
}

impl Identity {
    /// The key for sealing and opening records.
    pub(super) fn sealing(&self) -> SealingKey {
        SealingKey::new(self.sealing_key)
    }
}
