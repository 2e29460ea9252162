//! Names of what a configuration lists: a number by itself does not say in which list it counts.

/// An authorization server that introspects tokens, by its place in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServerId(pub(crate) usize);

/// An outbound client, by its place in the order of names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClientId(pub(crate) usize);

/// A claim that rules require, by its place among all that they require.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ClaimId(pub(crate) usize);

impl ClientId {
    /// The place of the client in [`Filter::clients`](crate::Filter::clients).
    pub const fn index(self) -> usize {
        self.0
    }
}
