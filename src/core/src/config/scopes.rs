//! How scopes are read from responses: keys of `inbound`, and of each server.

use super::reader::{Field, Object};
use super::values::{boolean, one_or_any};
use crate::oauth::claims::ClaimPath;
use crate::oauth::scope::ScopeReading;

impl Default for ScopeReading {
    fn default() -> Self {
        Self { claims: vec![ClaimPath::new("scope")], wildcards: false }
    }
}

/// Reads the keys. Missing ones are taken from `defaults`.
pub(super) fn scope_reading(object: &mut Object<'_>, defaults: &ScopeReading) -> ScopeReading {
    let claims = object.read("scope_claim", scope_claim);
    let wildcards = object.read("scope_wildcards", boolean);
    ScopeReading {
        claims: claims.unwrap_or_else(|| defaults.claims.clone()),
        wildcards: wildcards.unwrap_or(defaults.wildcards),
    }
}

fn scope_claim(field: &Field<'_>) -> Option<Vec<ClaimPath>> {
    let names = one_or_any(field, "a claim name, with dots for nested claims")?;
    Some(names.into_iter().map(ClaimPath::new).collect())
}
