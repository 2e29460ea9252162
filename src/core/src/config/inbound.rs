//! The `inbound` object.

use std::rc::Rc;
use std::time::Duration;

use super::forward::forward;
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, JsonIf, Required, Words},
    KeyRow, KeyTable,
};
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
use crate::oauth::denial::{REALM, Resource};
use crate::oauth::introspection::{Reading, RequiredClaims};
use crate::oauth::json::escaped;
use crate::oauth::reason::Reason;
use crate::oauth::scope::Implied;
use crate::oauth::sender_constraint::MutualTls;
use crate::oauth::token_source::TokenSource;
use crate::rules::index::RuleIndex;

/// The most answers that may be asked to be kept; a worker's memory ends at 1 GiB.
const MOST_ENTRIES: u32 = 1_000_000;

/// The keys of `inbound`.
#[cfg(feature = "review")]
pub(super) const INBOUND_TABLE: KeyTable = KeyTable {
    heading: "### `inbound`",
    parts: &[&[
        KeyRow::new(&["introspection"], "object or list", Required, "the introspection endpoint")
            .see("inboundintrospection"),
        KeyRow::new(&["cache"], "object", Words(""), "how long and how many answers are kept")
            .see("inboundcache"),
        KeyRow::new(
            &["token_sources"],
            "list",
            Json(r#"[{"header": "authorization", "scheme": "Bearer"}]"#),
            "where tokens are looked for",
        )
        .see("inboundtoken_sources"),
        KeyRow::new(&["realm"], "string", Json(r#""oauth2""#), "the `realm` of every challenge"),
        KeyRow::new(
            &["audience"],
            "string or list",
            Words("any"),
            "what `aud` must name: a string, or a list of which any will do. Set it: without, a \
         token that was issued for any other service passes",
        )
        .strong("Set it"),
        KeyRow::new(
            &["issuer"],
            "string or list",
            Words("any"),
            "what `iss` must be: a string, or a list of which any will do",
        ),
        KeyRow::new(&["scope"], "scope", Words("none"), "what a token must hold"),
        KeyRow::new(
            &["scope_implies"],
            "object",
            Json("{}"),
            "`{\"orders:admin\": [\"orders:write\"]}`: who has the one has the others too, and \
         what those imply",
        ),
        KeyRow::new(&["claims"], "object", Json("{}"), "what other claims must be")
            .see("inboundclaims"),
        KeyRow::new(
            &["acr_values"],
            "string or list",
            Words("any"),
            "how the user must have been authenticated (`acr`): one of these words",
        ),
        KeyRow::new(
            &["max_age"],
            "duration",
            Words("any"),
            "how long ago at most (`auth_time`); a duration in whole seconds",
        ),
        KeyRow::new(
            &["scope_claim"],
            "string",
            Json(r#""scope""#),
            "the claim that holds the scopes: a string with spaces between, or a list. Dots \
         lead into nested claims (`realm_access.roles`), unless a claim has the whole text \
         as its name",
        ),
        KeyRow::new(
            &["clock_skew"],
            "duration",
            Json(r#""0s""#),
            "leeway for `exp`, `nbf` and `max_age`",
        ),
        KeyRow::new(&["rules"], "list", Words("all need a token"), "which requests need what")
            .see("inboundrules"),
        KeyRow::new(
            &["unmatched"],
            "string",
            JsonIf(r#""deny""#, "there are rules"),
            "what requests need that no rule fits: `\"deny\"` (403), `\"token\"`, or \
         `\"public\"` for nothing",
        ),
        KeyRow::new(&["forward"], "object", Words(""), "what the service gets")
            .see("inboundforward"),
        KeyRow::new(
            &["allow_cors_preflight"],
            "boolean",
            Json("false"),
            "`OPTIONS` with `Origin` and `Access-Control-Request-Method` passes without a token \
         where one would be needed: rules that list `methods` list `OPTIONS` too",
        ),
        KeyRow::new(
            &["failure_mode_allow"],
            "boolean",
            Json("false"),
            "while the authorization server is down, requests pass unchecked, without claims: \
         once calls about two different tokens in a row have found no connection, no answer \
         in time or 5xx, until it answers. Never after 4xx, nor where the cluster has not \
         sent the call",
        ),
        KeyRow::new(&["resource_metadata"], "object", Words("none"), "the RFC 9728 document")
            .see("inboundresource_metadata"),
        KeyRow::new(
            &["sender_constraint"],
            "object",
            Words(""),
            "tokens that are bound to their caller",
        )
        .see("inboundsender_constraint"),
    ]],
};

/// Reads `inbound`.
pub(super) fn inbound(field: &Field<'_>, names: Names<'_>) -> Option<Guard> {
    let mut object = field.object("an object with introspection and rules")?;
    #[cfg(feature = "review")]
    object.described(&[&INBOUND_TABLE]);
    let asked = AskedClaims::default();
    let servers =
        object.need("introspection", "the introspection endpoint", |field| servers(field, names));
    let cache = object.read("cache", cache).unwrap_or_default();
    let token_sources = object.read("token_sources", token_sources);
    let realm = object.read("realm", realm).unwrap_or_else(|| REALM.to_owned());
    let scope_claim = object.read("scope_claim", claim_path);
    let implied = object.read("scope_implies", scope_implies).unwrap_or_default();
    let clock_skew = object.read("clock_skew", ttl).unwrap_or_default();
    let needs = needs(&mut object, "unmatched".into(), None, &asked);
    let rules = object.read("rules", |field| {
        field.list_of("a list of rules", |field| rule(field, &needs, &asked))
    });
    let has_rules = object.has("rules");
    let unmatched = object.read("unmatched", unmatched);
    let mut forward = object.read("forward", forward).unwrap_or_default();
    let allow_cors_preflight = object.read("allow_cors_preflight", boolean).unwrap_or(false);
    let failure_mode_allow = object.read("failure_mode_allow", |field| {
        let allow = boolean(field)?;
        if allow {
            field.warn(
                "while the authorization server is unavailable, requests are forwarded unchecked",
            );
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
            "not set: tokens issued for other services are accepted (RFC 9700 section 2.3); set \
             the audience of this service",
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
fn asked_of_tokens<'r>(rules: impl Iterator<Item = &'r Rule>) -> RequiredClaims {
    let mut asked = RequiredClaims::default();
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

/// The keys of `cache`.
#[cfg(feature = "review")]
pub(super) const CACHE_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.cache`",
    parts: &[&[
        KeyRow::new(
            &["max_ttl"],
            "duration",
            Json(r#""60s""#),
            "how long an active answer serves, and never past `exp`. A revoked token passes for \
         so long at most. `\"0s\"` asks for every single request, but for tokens that are \
         kept as refused",
        ),
        KeyRow::new(
            &["negative_ttl"],
            "duration",
            Json(r#""5s""#),
            r#"how long a refusal serves; `"0s"` keeps none"#,
        ),
        KeyRow::new(
            &["max_entries"],
            "number",
            Json("10000"),
            "how many active answers a worker keeps",
        ),
        KeyRow::new(
            &["negative_max_entries"],
            "number",
            Json("1000"),
            "how many refusals a worker keeps; apart, so that a flood of bad tokens pushes out \
         no good one",
        ),
        KeyRow::new(
            &["stale_if_error"],
            "duration",
            Json(r#""0s""#),
            "how long past `max_ttl`, never past `exp`, an answer serves while the server \
         fails, as long as it is in shared data (which takes answers of 4 KiB), and not \
         after 400 to 499 other than 429",
        ),
    ]],
};

/// `cache`.
fn cache(field: &Field<'_>) -> Option<CacheConfig> {
    let mut object = field.object("an object with max_ttl, negative_ttl, max_entries")?;
    #[cfg(feature = "review")]
    object.described(&[&CACHE_TABLE]);
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
    let realm = text(field, "a realm")?;
    if realm.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        Some(realm)
    } else {
        field.mistake("must be printable ASCII")
    }
}

/// `scope_implies`.
fn scope_implies(field: &Field<'_>) -> Option<Implied> {
    const WHAT: &str = "an object of scopes, such as {\"orders:admin\": [\"orders:write\"]}";
    let direct = field.members_of(WHAT, |scope, field| {
        let implied = one_or_any(field, "an implied scope")?;
        // One that no token can hold would be accepted, and do nothing.
        if !is_scope(scope) || !implied.iter().all(|implied| is_scope(implied)) {
            return field.mistake(
                "invalid scope; expected visible ASCII characters except \" and \\ (RFC 6749 \
                 section 3.3)",
            );
        }
        Some((Box::from(scope), implied))
    })?;
    match Implied::transitive(&direct) {
        Ok(implied) => Some(implied),
        Err(scope) => {
            field.mistake(format_args!("`{}` implies itself; remove the cycle", escaped(&scope)))
        }
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

/// The keys of `sender_constraint`.
#[cfg(feature = "review")]
pub(super) const SENDER_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.sender_constraint`",
    parts: &[&[KeyRow::new(
        &["mtls"],
        "string",
        Json(r#""off""#),
        "tokens bound to the caller's TLS certificate (RFC 8705). `\"off\"`: they are \
         refused, since nobody checks the proof. `\"optional\"`: they need the certificate, \
         others need none. `\"required\"`: every token is bound, and needs it",
    )]],
};

/// `sender_constraint`.
fn sender_constraint(field: &Field<'_>) -> Option<MutualTls> {
    let mut object = field.object("an object with mtls")?;
    #[cfg(feature = "review")]
    object.described(&[&SENDER_TABLE]);
    let mode =
        object.read("mtls", |field| match field.choice(&["off", "optional", "required"])? {
            "off" => Some(MutualTls::Off),
            "optional" => Some(MutualTls::Optional),
            _ => Some(MutualTls::Required),
        });
    object.check_keys();
    Some(mode.unwrap_or_default())
}
