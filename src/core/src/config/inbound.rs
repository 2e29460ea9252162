//! The `inbound` object.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::cors::cors;
use super::forward::forward;
use super::jwt::issuers;
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, JsonIf, Words},
    KeyRow, KeyTable,
};
use super::metadata::documents;
use super::names::Names;
use super::policy::{AskedClaims, needs, rule};
use super::reader::{Field, Object};
use super::scopes::scope_reading;
use super::servers::servers;
use super::sources::token_sources;
use super::values::{boolean, count, is_scope, one_or_any, text, ttl};
use crate::http::path::EncodedSlash;
use crate::inbound::guard::Guard;
use crate::inbound::introspection_cache::CacheConfig;
use crate::inbound::issuers::Issuer;
use crate::inbound::policy::{Access, Audience, Needs, Rule};
use crate::inbound::resources::{Coverage, Resources};
use crate::inbound::servers::Server;
use crate::oauth::clock_skew::ClockSkew;
use crate::oauth::denial::{REALM, Resource};
use crate::oauth::introspection::{Reading, RequiredClaims, ServerReading, TokenType};
use crate::oauth::json::escaped;
use crate::oauth::reason::Reason;
use crate::oauth::scope::{Implied, ScopeReading};
use crate::oauth::sender_constraint::MutualTls;
use crate::oauth::token_sources::Precedence;
use crate::rules::index::RuleIndex;
#[cfg(feature = "review")]
use crate::rules::matcher::Matcher;

/// The maximum of `max_entries`: the memory of a worker is limited to 1 GiB.
const MOST_ENTRIES: u32 = 1_000_000;

/// The keys of `inbound`.
#[cfg(feature = "review")]
pub(super) const INBOUND_TABLE: KeyTable = KeyTable {
    heading: "### `inbound`",
    parts: &[&[
        KeyRow::new(
            &["introspection"],
            "object or list",
            Words("required without `jwt`"),
            "the introspection endpoint",
        )
        .see("inboundintrospection"),
        KeyRow::new(
            &["jwt"],
            "object or list",
            Words("none"),
            "issuers whose JWTs the filter verifies itself. All other tokens are introspected",
        )
        .see("inboundjwt"),
        KeyRow::new(&["cache"], "object", Words(""), "the introspection cache").see("inboundcache"),
        KeyRow::new(
            &["token_sources"],
            "list",
            Json(r#"[{"header": "authorization", "scheme": "Bearer"}]"#),
            "where requests carry the token",
        )
        .see("inboundtoken_sources"),
        KeyRow::new(
            &["token_precedence"],
            "string",
            Json(r#""single""#),
            "`\"single\"`: several tokens in a request are rejected. `\"first\"`: the first source \
             with a value counts, [even if malformed](#inboundtoken_sources)",
        ),
        KeyRow::new(
            &["max_token_bytes"],
            "number",
            Json("16384"),
            "the maximum length of a token, up to 49152: longer ones get 431. Above 60 KiB in all \
             headers, Envoy needs a larger `max_request_headers_kb`",
        ),
        KeyRow::new(&["realm"], "string", Json(r#""oauth2""#), "the `realm` of every challenge"),
        KeyRow::new(
            &["audience"],
            "string or list",
            Words("any"),
            "accepted values of `aud`. Set it: otherwise, tokens issued for other services are \
             accepted. With a list of `resource_metadata`, the default is the resource of the \
             request, and `\"*\"` accepts any",
        )
        .strong("Set it"),
        KeyRow::new(&["issuer"], "string or list", Words("any"), "accepted values of `iss`"),
        KeyRow::new(&["scope"], "scope", Words("none"), "the required scopes"),
        KeyRow::new(
            &["scope_implies"],
            "object",
            Json("{}"),
            "`{\"orders:admin\": [\"orders:write\"]}`: the first scope includes the others, and \
             those that they imply",
        ),
        KeyRow::new(&["claims"], "object", Json("{}"), "required values of other claims")
            .see("inboundclaims"),
        KeyRow::new(
            &["acr_values"],
            "string or list",
            Words("any"),
            "accepted authentication context classes (`acr`)",
        ),
        KeyRow::new(
            &["max_age"],
            "duration",
            Words("any"),
            "the maximum time since the user authenticated (`auth_time`), in whole seconds",
        ),
        KeyRow::new(
            &["scope_claim"],
            "string or list",
            Json(r#""scope""#),
            "the claim with the scopes: a string separated by spaces, or a list. Dots address \
             nested claims (`realm_access.roles`), unless a claim has this very name. Of several \
             names, the first claim that is present counts",
        ),
        KeyRow::new(
            &["scope_wildcards"],
            "boolean",
            Json("false"),
            "`*` in a granted scope stands for one whole component between `.`, `/` and `:`, if \
             another component is literal: `patient/*.read` for `patient/Observation.read`. Implied \
             scopes are taken literally",
        ),
        KeyRow::new(
            &["clock_skew"],
            "duration",
            Words(r#"`"5s"` for `nbf`, `"0s"` for `exp` and `max_age`"#),
            "tolerance for `exp`, `nbf` and `max_age`; a given value is for all three",
        ),
        KeyRow::new(&["rules"], "list", Words("all require a token"), "what each request requires")
            .see("inboundrules"),
        KeyRow::new(
            &["unmatched"],
            "string",
            JsonIf(r#""deny""#, "there are rules"),
            r#"what requests require that match no rule: `"deny"`, `"token"` or `"public"`"#,
        ),
        KeyRow::new(
            &["encoded_slash"],
            "string",
            Json(r#""refuse""#),
            "`\"keep\"` allows `%2F` [in paths](operations.md#paths), with a warning: they are judged \
             twice, with `%2F` as a character of its segment and as a slash. If different rules \
             decide, or what is between slashes of either kind is empty or a dot segment: 400",
        ),
        KeyRow::new(&["forward"], "object", Words(""), "what the upstream service receives")
            .see("inboundforward"),
        KeyRow::new(
            &["allow_cors_preflight"],
            "boolean",
            Json("false"),
            "allows `OPTIONS` with `Origin` and `Access-Control-Request-Method` without a required \
             token. Rules that list `methods` must list `OPTIONS`",
        ),
        KeyRow::new(
            &["cors"],
            "object",
            Words("none"),
            "scripts of other origins, where Envoy's CORS filter cannot be before this one",
        )
        .see("inboundcors"),
        KeyRow::new(
            &["failure_mode_allow"],
            "boolean",
            Json("false"),
            "forwards requests unchecked and without claims while the server is unavailable: from \
             when calls for two different tokens in a row end in a connection failure, timeout or \
             5xx, until it responds. Not after 4xx or unsent calls",
        ),
        KeyRow::new(
            &["resource_metadata"],
            "object or list",
            Words("none"),
            "the protected resource metadata (RFC 9728)",
        )
        .see("inboundresource_metadata"),
        KeyRow::new(&["sender_constraint"], "object", Words(""), "sender-constrained tokens")
            .see("inboundsender_constraint"),
    ]],
};

pub(super) fn inbound(field: &Field<'_>, names: Names<'_>) -> Option<Guard> {
    let mut object = field.object("an object with introspection and rules")?;
    #[cfg(feature = "review")]
    object.described(&[&INBOUND_TABLE]);
    let asked = AskedClaims::default();
    let scope = scope_reading(&mut object, &ScopeReading::default());
    let clock_skew = object.read("clock_skew", ttl).map(ClockSkew::from).unwrap_or_default();
    let reading =
        ServerReading { issuer: None, token_type: TokenType::Optional, scope, clock_skew };
    let verifiers = verifiers(&mut object, names, &reading);
    let cache = object.read("cache", cache).unwrap_or_default();
    let token_sources = token_sources(&mut object);
    let realm = object.read("realm", realm).unwrap_or_else(|| REALM.to_owned());
    let implied = object.read("scope_implies", scope_implies).unwrap_or_default();
    // Of several resources, each is the audience of its tokens.
    let unset = match object.at("resource_metadata").value {
        Value::Array(_) => Audience::Resource,
        _ => Audience::Any,
    };
    let defaults = Needs { rule: "unmatched".into(), audience: unset.clone(), ..Needs::default() };
    let needs = needs(&mut object, defaults, &asked, &unset);
    let mut forward = object.read("forward", forward).unwrap_or_default();
    forward.set_token_sources(&token_sources.places);
    let rules = object.read("rules", |field| {
        field.list_of("a list of rules", |field| {
            rule(field, &needs, &asked, &unset, &forward, cache.max_ttl)
        })
    });
    let has_rules = object.has("rules");
    let unmatched = object.read("unmatched", unmatched);
    let encoded_slash = object.read("encoded_slash", encoded_slash).unwrap_or_default();
    let allow_cors_preflight = object.read("allow_cors_preflight", boolean).unwrap_or(false);
    let cors = object.read("cors", |field| cors(field, &token_sources.places));
    if allow_cors_preflight && object.has("cors") {
        object.at("allow_cors_preflight").mistake::<()>(
            "conflicts with `cors`, with which the filter answers preflights; remove one of the two",
        );
    }
    let introspects = verifiers.introspects;
    let failure_mode_allow = object
        .read("failure_mode_allow", |field| failure_mode_allow(field, introspects))
        .unwrap_or(false);
    let accepts_basic = token_sources.accept_basic();
    let resource = Resource { realm, accepts_basic, ..Resource::default() };
    let resources = resources(&mut object, resource, &unset);
    let mutual_tls = object.read("sender_constraint", sender_constraint).unwrap_or_default();
    let unmatched = unmatched.unwrap_or(if has_rules { Unmatched::Deny } else { Unmatched::Token });
    let name = Arc::clone(&needs.rule);
    let access = match unmatched {
        Unmatched::Deny => Access::Deny(Reason::Unmatched),
        Unmatched::Token => Access::Token(Arc::new(needs)),
        Unmatched::Public => Access::Public,
    };
    let unmatched = Rule { name, access, mcp: None };
    object.check_keys();
    let rules = rules.unwrap_or_default();
    #[cfg(feature = "review")]
    advise(&object, &rules, &unmatched, &implied);
    #[cfg(feature = "review")]
    if matches!(unset, Audience::Resource) {
        super::advice::advise_on_coverage(&object.at("rules"), &rules, &resources.described);
    }
    let mut all = vec![&unmatched];
    all.extend(rules.iter().map(|(_, rule)| rule));
    // Entries of `jwt` have audiences of their own.
    if introspects
        && matches!(unset, Audience::Any)
        && all.iter().any(|rule| rule.takes_any_audience())
    {
        object.at("audience").warn(
            "not set: tokens issued for other services are accepted (RFC 9700 section 2.3); set \
             the audience of this service",
        );
    }
    let what = asked_of_tokens(&all);
    let limits_age = all.iter().any(|rule| rule.limits_age());
    let reads_messages = all.iter().any(|rule| rule.mcp.is_some());
    if token_sources.precedence == Precedence::First && forward.withhold_token() {
        object.at("forward.token").warn(
            "no effect with token_precedence \"first\", which removes the values of all token_sources",
        );
    }
    Some(Guard {
        issuers: verifiers.issuers?,
        verify: field.reader.host.verify,
        servers: verifiers.servers?,
        cache,
        limits_age,
        token_sources,
        resources,
        reads_messages,
        rules: RuleIndex::new(rules),
        unmatched,
        encoded_slash,
        reading: Reading { implied, claims: asked.into_paths(), asked: what },
        mutual_tls,
        allow_cors_preflight,
        cors,
        failure_mode_allow,
        forward,
    })
}

/// What verifies tokens; each is `None` after an error in it.
struct Verifiers {
    servers: Option<Vec<Server>>,
    issuers: Option<Vec<Issuer>>,
    /// Whether any tokens are introspected, or should be.
    introspects: bool,
}

/// `introspection` and `jwt`, of which one is required.
fn verifiers(object: &mut Object<'_>, names: Names<'_>, reading: &ServerReading) -> Verifiers {
    let (has_servers, has_jwt) = (object.has("introspection"), object.has("jwt"));
    let read = object.read("introspection", |field| servers(field, names, reading));
    let servers = match (has_servers, has_jwt) {
        (true, _) => read,
        (false, true) => Some(Vec::new()),
        (false, false) => {
            let place = object.at("introspection");
            place.mistake("required: the introspection endpoint, or `jwt`")
        }
    };
    let read = object.read("jwt", |field| issuers(field, reading, servers.as_deref()));
    let issuers = if has_jwt { read } else { Some(Vec::new()) };
    Verifiers { servers, issuers, introspects: has_servers || !has_jwt }
}

fn failure_mode_allow(field: &Field<'_>, introspects: bool) -> Option<bool> {
    let allow = boolean(field)?;
    if allow {
        field.warn(if introspects {
            "while the authorization server is unavailable, requests are forwarded unchecked"
        } else {
            "no effect without introspection: without keys, JWTs are never accepted; remove it"
        });
    }
    Some(allow)
}

/// Advises on rules.
#[cfg(feature = "review")]
fn advise(object: &Object<'_>, rules: &[(Matcher, Rule)], unmatched: &Rule, implied: &Implied) {
    use super::{advice, header_tests, letter_case};
    let place = object.at("rules");
    advice::advise_on_order(&place, rules, |rule| rule.mcp.is_none());
    header_tests::advise_on_spelling(&place, rules);
    letter_case::note_on_letter_case(&place, rules, (&object.at("unmatched"), unmatched), implied);
    let all = rules.iter().map(|(_, rule)| rule).chain([unmatched]);
    advice::advise_on_token_type(&object.at("introspection"), all);
}

/// The resources that `resource_metadata` describes; `unset` says whether there are several. Other
/// requests are for `undescribed`.
fn resources(object: &mut Object<'_>, undescribed: Resource, unset: &Audience) -> Resources {
    let documents = object.read("resource_metadata", |field| documents(field, &undescribed));
    let described = documents.unwrap_or_default();
    let coverage = match (unset, described.first()) {
        (Audience::Any, Some(only)) => Coverage::All(Arc::clone(&only.resource)),
        (Audience::Any, None) => Coverage::All(Arc::new(undescribed)),
        _ => Coverage::ByTarget(Arc::new(undescribed)),
    };
    Resources { described, coverage }
}

/// The claims that rules require of tokens.
fn asked_of_tokens(rules: &[&Rule]) -> RequiredClaims {
    let mut asked = RequiredClaims::default();
    for rule in rules {
        for needs in rule.needs() {
            asked.issuer |= !needs.issuer.is_empty();
            asked.audience |= !matches!(needs.audience, Audience::Any);
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
            "how long an active response is cached, at most until `exp`. A revoked token is \
             accepted as long. `\"0s\"` introspects (or verifies) the token of every request, and \
             caches no rejections. [Rules](#inboundrules) may have shorter times",
        ),
        KeyRow::new(
            &["negative_ttl"],
            "duration",
            Json(r#""5s""#),
            r#"how long a rejected token is cached; `"0s"` disables this"#,
        ),
        KeyRow::new(
            &["max_entries"],
            "number",
            Json("10000"),
            "the most active responses in a worker's cache",
        ),
        KeyRow::new(
            &["negative_max_entries"],
            "number",
            Json("1000"),
            "the most negative entries in a worker's cache, separate so that bad tokens evict no \
             good ones",
        ),
        KeyRow::new(
            &["stale_if_error"],
            "duration",
            Json(r#""0s""#),
            "how long after `max_ttl`, at most until `exp`, a response is served stale while the \
             server fails, other than with 4xx except 429. Requires it in shared data (up to 4 \
             KiB)",
        ),
    ]],
};

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

/// `realm`: what is valid in a quoted string.
fn realm(field: &Field<'_>) -> Option<String> {
    let realm = text(field, "a realm")?;
    if realm.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        Some(realm)
    } else {
        field.mistake("must be printable ASCII")
    }
}

fn scope_implies(field: &Field<'_>) -> Option<Implied> {
    const WHAT: &str = "an object of scopes, such as {\"orders:admin\": [\"orders:write\"]}";
    let direct = field.members_of(WHAT, |scope, field| {
        let implied = one_or_any(field, "an implied scope")?;
        // An invalid scope could never match.
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

/// What requests require that match no rule.
enum Unmatched {
    Deny,
    Token,
    Public,
}

fn unmatched(field: &Field<'_>) -> Option<Unmatched> {
    match field.choice(&["deny", "token", "public"])? {
        "deny" => Some(Unmatched::Deny),
        "token" => Some(Unmatched::Token),
        _ => Some(Unmatched::Public),
    }
}

fn encoded_slash(field: &Field<'_>) -> Option<EncodedSlash> {
    if field.choice(&["refuse", "keep"])? == "refuse" {
        return Some(EncodedSlash::Refuse);
    }
    field.warn("`%2F` is allowed in paths; some services take it for a slash, others do not");
    Some(EncodedSlash::Keep)
}

/// The keys of `sender_constraint`.
#[cfg(feature = "review")]
pub(super) const SENDER_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.sender_constraint`",
    parts: &[&[KeyRow::new(
        &["mtls"],
        "string",
        Json(r#""off""#),
        "tokens bound to the client certificate (RFC 8705). `\"off\"`: they are rejected, \
             because possession is not checked. `\"optional\"`: they require the certificate. \
             `\"required\"`: every token must be bound",
    )]],
};

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
