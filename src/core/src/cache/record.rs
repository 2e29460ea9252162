//! Records that workers share: who may read them, and their form in bytes.

use std::fmt;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::cache::sealed::{OVERHEAD, SealingKey};
use crate::timestamp::Timestamp;

/// The longest answer that is shared, in bytes. With it, a slot takes up to 4.2 kB of memory.
pub(crate) const MAX_SHARED: usize = 4 * 1024;

/// How much younger than who finds it a marker may be: workers look at the clock when they begin.
/// One that is younger still was put up before the clock was set back, and may stand for long.
pub(crate) const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);

/// The form of groups and records; others are not read.
pub(super) const VERSION: u8 = 3;

/// The longest record.
pub(super) const MAX_RECORD: usize = Header::LENGTH + MAX_SHARED + OVERHEAD;

/// What identifies an answer to all workers: SHA-256 of the server's identity and the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint(pub(super) [u8; 32]);

/// Who is asked and as whom: all but the token that an answer depends on. It also encrypts records:
/// the client's secret is a part of it, so no other plugin knows it.
pub(crate) struct Identity {
    /// Digest of the parts.
    digest: [u8; 32],
    /// Encrypts records.
    pub(crate) sealing: SealingKey,
}

impl Identity {
    /// The identity of these lists, each with its number of parts and each part with its length,
    /// so that no two of them look the same.
    pub(crate) fn new(lists: &[Vec<&str>]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"oauth2-filter identity");
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes();
        for list in lists {
            hash.update(number(list.len()));
            for part in list {
                hash.update(number(part.len()));
                hash.update(part);
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        let key = Sha256::new_with_prefix(b"oauth2-filter sealing").chain_update(digest);
        Self { digest, sealing: SealingKey::new(key.finalize().into()) }
    }

    /// The identity of what depends on two.
    pub(crate) fn joined(first: &Self, second: &Self) -> Self {
        let name = |identity: &Self| Base64UrlUnpadded::encode_string(&identity.digest);
        Self::new(&[vec![&name(first), &name(second)]])
    }

    /// A name for keys and for other identities: it tells nothing of what it is made of.
    pub(crate) fn name(&self) -> String {
        let hash = Sha256::new_with_prefix(b"oauth2-filter name").chain_update(self.digest);
        let hash = hash.finalize();
        Base64UrlUnpadded::encode_string(hash.first_chunk::<16>().unwrap_or(&[0; 16]))
    }

    /// The fingerprint of a token's answer.
    pub(crate) fn fingerprint(&self, token: &str) -> Fingerprint {
        let hash = Sha256::new_with_prefix(self.digest).chain_update(token);
        Fingerprint(hash.finalize().into())
    }
}

/// What a slot holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    /// When it was written: for an answer, when the server gave it.
    pub(crate) written: Timestamp,
    /// From then on nobody needs it.
    pub(crate) ends: Timestamp,
    /// An answer's body; in a marker a [`Note`], or nothing.
    pub(crate) body: Vec<u8>,
}

/// What a marker says of a call that has failed: who waits for it in another worker learns so that
/// it has, and does not ask once more.
pub(super) struct Note<'r> {
    /// Whether a later call is under way, whose marker it is.
    pub(super) under_way: bool,
    /// When the marker of the call that has failed was put up.
    pub(super) call: Timestamp,
    /// Why it has failed.
    pub(super) why: &'r [u8],
}

impl<'r> Note<'r> {
    /// Reads the body of a marker.
    pub(super) fn read(body: &'r [u8]) -> Option<Self> {
        let (under_way, rest) = body.split_first()?;
        let (call, why) = rest.split_first_chunk()?;
        let call = Timestamp::from_millis(u64::from_le_bytes(*call));
        Some(Self { under_way: *under_way == 1, call, why })
    }

    /// The same in bytes.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.under_way)];
        bytes.extend(self.call.as_millis().to_le_bytes());
        bytes.extend_from_slice(self.why);
        bytes
    }
}

/// What stands before a record's body: version, fingerprint, two times.
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

impl Identity {
    /// The bytes of a record: header, and the body, sealed for it.
    pub(super) fn seal(&self, fingerprint: Fingerprint, record: &Record) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(fingerprint.0);
        bytes.extend(record.written.as_millis().to_le_bytes());
        bytes.extend(record.ends.as_millis().to_le_bytes());
        let body = self.sealing.seal(&bytes, &record.body);
        bytes.extend(body);
        bytes
    }

    /// The record in these bytes, which begin with this header, if this identity has sealed it.
    pub(super) fn open(&self, header: &Header, bytes: &[u8]) -> Option<Record> {
        let (place, sealed) = bytes.split_at_checked(Header::LENGTH)?;
        let body = self.sealing.open(place, sealed)?;
        Some(Record { written: header.written, ends: header.ends, body })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}
