//! The `inbound` object.

use std::rc::Rc;
use std::time::Duration;

use super::forward::forward;
use super::metadata::metadata;
use super::names::Names;
use super::policy::{AskedClaims, needs, rule};
use super::reader::Field;
use super::servers::servers;
use super::sources::token_sources;
use super::values::{boolean, claim_path, count, is_scope, one_or_any, text, ttl};
use crate::inbound::guard::Guard;
use crate::inbound::introspection_cache::CacheConfig;
use crate::inbound::policy::{Access, Rule};
use crate::oauth::claims::ClaimPath;
use crate::oauth::denial::{REALM, Reason, Resource};
use crate::oauth::introspection::{Asked, Reading};
use crate::oauth::json::escaped;
use crate::oauth::scope::Implied;
use crate::oauth::sender_constraint::MutualTls;
use crate::oauth::token_source::TokenSource;
use crate::rules::index::RuleIndex;

/// The most answers that may be asked to be kept; a worker's memory ends at 1 GiB.
const MOST_ENTRIES: u32 = 1_000_000;

/// Reads `inbound`.
pub(super) fn inbound(field: &Field<'_>, names: Names<'_>) -> Option<Guard> {
    let mut object = field.object("an object with introspection and rules")?;
    let asked = AskedClaims::default();
    let servers =
        object.need("introspection", "the endpoint that is asked about tokens", |field| {
            servers(field, names)
        });
    let cache = object.read("cache", cache).unwrap_or_default();
    let token_sources = object.read("token_sources", token_sources);
    let realm = object.read("realm", realm).unwrap_or_else(|| REALM.to_owned());
    let scope_claim = object.read("scope_claim", claim_path);
    let implied = object.read("scope_implies", scope_implies).unwrap_or_default();
    let clock_skew = object.read("clock_skew", ttl).unwrap_or_default();
    let needs = needs(&mut object, "unmatched".into(), None, &asked);
    let rules =
        object.read("rules", |field| field.list_of("rules", |field| rule(field, &needs, &asked)));
    let has_rules = object.has("rules");
    let unmatched = object.read("unmatched", unmatched);
    let mut forward = object.read("forward", forward).unwrap_or_default();
    let allow_cors_preflight = object.read("allow_cors_preflight", boolean).unwrap_or(false);
    let failure_mode_allow = object.read("failure_mode_allow", |field| {
        let allow = boolean(field)?;
        if allow {
            field.warn("while the authorization server fails, requests pass unchecked");
        }
        Some(allow)
    });
    let metadata = object.read("resource_metadata", metadata);
    let mutual_tls = object.read("sender_constraint", sender_constraint).unwrap_or_default();
    let unmatched = unmatched.unwrap_or(if has_rules { Unmatched::Deny } else { Unmatched::Token });
    let name = Rc::clone(&needs.rule);
    let access = match unmatched {
        Unmatched::Deny => Access::Deny(Reason::Unmatched),
        Unmatched::Token => Access::Token(Rc::new(needs)),
        Unmatched::Public => Access::Public,
    };
    let unmatched = Rule { name, access };
    object.check_keys();
    let rules = rules.unwrap_or_default();
    #[cfg(feature = "review")]
    super::advice::advise_on_order(&object.at("rules"), &rules);
    #[cfg(feature = "review")]
    super::letter_case::note_on_letter_case(
        &object.at("rules"),
        &rules,
        (&object.at("unmatched"), &unmatched),
        &implied,
    );
    if rules.iter().map(|(_, rule)| rule).chain([&unmatched]).any(Rule::takes_any_audience) {
        object.at("audience").warn(
            "not set: any active token of the authorization server passes, whoever it was issued \
             for (RFC 9700 section 2.3)",
        );
    }
    let scope_claim = scope_claim.unwrap_or_else(|| ClaimPath::new("scope"));
    let what = asked_of_tokens(rules.iter().map(|(_, rule)| rule).chain([&unmatched]));
    let token_sources = token_sources.unwrap_or_else(|| vec![TokenSource::authorization()]);
    forward.set_token_sources(&token_sources);
    Some(Guard {
        servers: servers?,
        cache,
        token_sources,
        resource: Resource { realm, metadata_url: metadata.as_ref().map(|m| m.url.clone()) },
        metadata,
        rules: RuleIndex::new(rules),
        unmatched,
        reading: Reading { scope_claim, implied, claims: asked.into_paths(), asked: what },
        clock_skew,
        mutual_tls,
        allow_cors_preflight,
        failure_mode_allow: failure_mode_allow.unwrap_or(false),
        forward,
    })
}

/// What rules ask for of tokens.
fn asked_of_tokens<'r>(rules: impl Iterator<Item = &'r Rule>) -> Asked {
    let mut asked = Asked::default();
    for rule in rules {
        if let Access::Token(needs) | Access::Optional(needs) = &rule.access {
            asked.issuer |= !needs.issuer.is_empty();
            asked.audience |= !needs.audience.is_empty();
            asked.scope |= needs.scope.is_some();
            asked.acr |= !needs.acr_values.is_empty();
        }
    }
    asked
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_ttl: Duration::from_mins(1),
            negative_ttl: Duration::from_secs(5),
            max_entries: 10_000,
            negative_max_entries: 1_000,
            stale_if_error: Duration::ZERO,
        }
    }
}

/// `cache`.
fn cache(field: &Field<'_>) -> Option<CacheConfig> {
    let mut object = field.object("an object with max_ttl, negative_ttl, max_entries")?;
    let defaults = CacheConfig::default();
    let entries = |field: &Field<'_>| count(field, MOST_ENTRIES)?.try_into().ok();
    let cache = CacheConfig {
        max_ttl: object.read("max_ttl", ttl).unwrap_or(defaults.max_ttl),
        negative_ttl: object.read("negative_ttl", ttl).unwrap_or(defaults.negative_ttl),
        max_entries: object.read("max_entries", entries).unwrap_or(defaults.max_entries),
        negative_max_entries: object
            .read("negative_max_entries", entries)
            .unwrap_or(defaults.negative_max_entries),
        stale_if_error: object.read("stale_if_error", ttl).unwrap_or(defaults.stale_if_error),
    };
    object.check_keys();
    Some(cache)
}

/// `realm`: what can stand in a quoted string.
fn realm(field: &Field<'_>) -> Option<String> {
    let realm = text(field, "a name for the protected space")?;
    if realm.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        Some(realm)
    } else {
        field.mistake("a realm has printable ASCII characters only")
    }
}

/// `scope_implies`.
fn scope_implies(field: &Field<'_>) -> Option<Implied> {
    const WHAT: &str = "an object of scopes, such as {\"orders:admin\": [\"orders:write\"]}";
    let direct = field.members_of(WHAT, |scope, field| {
        let implied = one_or_any(field, "a scope that it implies")?;
        // One that no token can hold would be accepted, and do nothing.
        if !is_scope(scope) || !implied.iter().all(|implied| is_scope(implied)) {
            return field.mistake(
                "one scope each, several as a list: visible ASCII characters other than \" and \\ \
                 (RFC 6749 section 3.3)",
            );
        }
        Some((Box::from(scope), implied))
    })?;
    match Implied::transitive(&direct) {
        Ok(implied) => Some(implied),
        Err(scope) => field.mistake(format_args!(
            "`{}` implies itself in the end: break the circle",
            escaped(&scope)
        )),
    }
}

/// What requests need that no rule fits.
enum Unmatched {
    /// Nothing that they could have.
    Deny,
    /// A token.
    Token,
    /// Nothing.
    Public,
}

/// `unmatched`.
fn unmatched(field: &Field<'_>) -> Option<Unmatched> {
    match field.choice(&["deny", "token", "public"])? {
        "deny" => Some(Unmatched::Deny),
        "token" => Some(Unmatched::Token),
        _ => Some(Unmatched::Public),
    }
}

/// `sender_constraint`.
fn sender_constraint(field: &Field<'_>) -> Option<MutualTls> {
    let mut object = field.object("an object with mtls")?;
    let mode =
        object.read("mtls", |field| match field.choice(&["off", "optional", "required"])? {
            "off" => Some(MutualTls::Off),
            "optional" => Some(MutualTls::Optional),
            _ => Some(MutualTls::Required),
        });
    object.check_keys();
    Some(mode.unwrap_or_default())
}
