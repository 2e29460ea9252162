//! IDs of what a configuration lists. A type for each list prevents their confusion.

/// An authorization server that introspects tokens, by its position in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServerId(pub(crate) usize);

/// An issuer whose JWTs are verified by the filter, by its position in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IssuerId(pub(crate) usize);

/// An outbound client, by its position in the order of names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientId(pub(crate) usize);

/// A claim that rules require, by its position among all required claims.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ClaimId(pub(crate) usize);

/// A header with claims, by its position among those of a configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct HeaderId(pub(crate) usize);

impl HeaderId {
    /// The position of the header in [`Filter::claim_headers`](crate::Filter::claim_headers).
    pub const fn index(self) -> usize {
        self.0
    }
}

impl IssuerId {
    /// The position of the issuer in [`Filter::key_issuers`](crate::Filter::key_issuers).
    pub const fn index(self) -> usize {
        self.0
    }
}

impl ClientId {
    /// The position of the client in [`Filter::clients`](crate::Filter::clients).
    pub const fn index(self) -> usize {
        self.0
    }
}
