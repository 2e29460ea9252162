//! The `inbound` object.

use std::rc::Rc;
use std::time::Duration;

use super::endpoint::endpoint;
use super::reader::{Field, Object};
use super::values::{
    boolean, count, duration, frames_or_steers, header_name, is_token_char, one_or_any, scope,
    text, ttl,
};
use crate::claims::ClaimPath;
use crate::denial::Reason;
use crate::forward::{Forwarding, fold};
use crate::inbound::{Access, CacheConfig, InboundConfig, Needs, Rule};
use crate::introspection::{self, Introspection};
use crate::path::PathPattern;
use crate::rules::{HostPattern, Matcher};

/// The most answers that may be asked to be kept; a worker's memory ends at 1 GiB.
const MOST_ENTRIES: u32 = 1_000_000;

/// Reads `inbound`.
pub(super) fn inbound(field: &Field<'_>) -> Option<InboundConfig> {
    let mut object = field.object("an object with introspection and rules")?;
    let introspection =
        object.need("introspection", "the endpoint that is asked about tokens", introspection);
    let cache = object.read("cache", cache).unwrap_or_default();
    let realm = object.read("realm", realm).unwrap_or_else(|| "oauth2".to_owned());
    let scope_claim = object.read("scope_claim", claim_path);
    let clock_skew = object.read("clock_skew", duration).unwrap_or_default();
    let needs = Needs {
        rule: "unmatched".into(),
        audience: object.read("audience", audience).unwrap_or_default(),
        issuer: object.read("issuer", issuer).unwrap_or_default(),
        scope: object.read("scope", scope),
    };
    let rules = object.read("rules", |field| field.list_of("rules", |field| rule(field, &needs)));
    let has_rules = object.has("rules");
    let unmatched = object.read("unmatched", unmatched);
    let forward = object.read("forward", forward).unwrap_or_default();
    let unmatched = unmatched.unwrap_or(if has_rules { Unmatched::Deny } else { Unmatched::Token });
    let name = Rc::clone(&needs.rule);
    let access = match unmatched {
        Unmatched::Deny => Access::Deny(Reason::Unmatched),
        Unmatched::Token => Access::Token(Rc::new(needs)),
        Unmatched::Public => Access::Public,
    };
    let unmatched = Rule { name, matcher: Matcher::default(), access };
    object.check_keys();
    if rules.iter().flatten().chain([&unmatched]).any(Rule::takes_any_audience) {
        object.at("audience").warn(
            "not set: any active token of the authorization server passes, whoever it was issued \
             for (RFC 9700 section 2.3)",
        );
    }
    Some(InboundConfig {
        introspection: introspection?,
        cache,
        realm,
        rules: rules.unwrap_or_default(),
        unmatched,
        scope_claim: scope_claim.unwrap_or_else(|| ClaimPath::new("scope")),
        clock_skew,
        forward,
    })
}

/// `introspection`.
fn introspection(field: &Field<'_>) -> Option<Introspection> {
    let mut object = field.object("an object with endpoint, cluster, client_id, client_secret")?;
    let endpoint = endpoint(&mut object, &introspection::PARAMETERS);
    let hint = object.read("token_type_hint", |f| f.string("a string; \"\" to send none"));
    object.check_keys();
    let token_type_hint = hint.unwrap_or_else(|| "access_token".to_owned());
    Some(Introspection { endpoint: endpoint?, token_type_hint })
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_ttl: Duration::from_mins(1),
            negative_ttl: Duration::from_secs(5),
            max_entries: 10_000,
            negative_max_entries: 1_000,
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

/// A claim's name, or names with dots between.
fn claim_path(field: &Field<'_>) -> Option<ClaimPath> {
    text(field, "the name of a claim, with dots for a nested one").map(ClaimPath::new)
}

/// `audience`.
fn audience(field: &Field<'_>) -> Option<Vec<Box<str>>> {
    one_or_any(field, "an audience that tokens must be for")
}

/// `issuer`.
fn issuer(field: &Field<'_>) -> Option<Vec<Box<str>>> {
    one_or_any(field, "an issuer that tokens must be of")
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
    const WHAT: &str = "\"deny\", \"token\" or \"public\"";
    match field.string(WHAT)?.as_str() {
        "deny" => Some(Unmatched::Deny),
        "token" => Some(Unmatched::Token),
        "public" => Some(Unmatched::Public),
        _ => field.mistake(format!("expected {WHAT}")),
    }
}

impl Rule {
    /// Whether a token for another service would do.
    fn takes_any_audience(&self) -> bool {
        match &self.access {
            Access::Token(needs) | Access::Optional(needs) => needs.audience.is_empty(),
            Access::Public | Access::Deny(_) => false,
        }
    }
}

/// One of `rules`.
fn rule(field: &Field<'_>, defaults: &Needs) -> Option<Rule> {
    /// What `access` may be.
    const ACCESS: &str = "\"token\", \"optional\", \"public\" or \"deny\"";
    let mut object = field.object("a rule with hosts, methods, paths and what they need")?;
    let name = object.read("name", |f| text(f, "a name for logs"));
    let name: Rc<str> = name.unwrap_or_else(|| field.place.clone()).into();
    let matcher = matcher(&mut object);
    let access = object.read("access", |field| field.string(ACCESS));
    let asks = ["issuer", "audience", "scope"].into_iter().find(|key| object.has(key));
    let needs = Rc::new(Needs {
        rule: Rc::clone(&name),
        issuer: object.read("issuer", issuer).unwrap_or_else(|| defaults.issuer.clone()),
        audience: object.read("audience", audience).unwrap_or_else(|| defaults.audience.clone()),
        scope: object.read("scope", scope).or_else(|| defaults.scope.clone()),
    });
    let access = match access.as_deref() {
        None | Some("token") => Some(Access::Token(needs)),
        Some("optional") => Some(Access::Optional(needs)),
        Some(access @ ("public" | "deny")) => match asks {
            Some(key) => object
                .at(key)
                .mistake(format!("never looked at: access is {access:?}, so drop one of the two")),
            None if access == "public" => Some(Access::Public),
            None => Some(Access::Deny(Reason::AccessDenied)),
        },
        Some(_) => object.at("access").mistake(format!("expected {ACCESS}")),
    };
    object.check_keys();
    Some(Rule { name, matcher, access: access? })
}

/// `hosts`, `methods` and `paths`.
fn matcher(object: &mut Object<'_>) -> Matcher {
    let hosts = list(object, "hosts", "hosts such as \"api.example.com\"", HostPattern::parse);
    let methods = list(object, "methods", "methods such as \"GET\"", |text| {
        let is_method = |b: u8| is_token_char(b) && !b.is_ascii_lowercase();
        if !text.is_empty() && text.bytes().all(is_method) {
            Ok(Box::from(text))
        } else {
            Err("expected a method such as \"GET\"; methods are case-sensitive, upper case here")
        }
    });
    let paths = list(object, "paths", "paths such as \"/orders/**\"", PathPattern::parse);
    Matcher { hosts, methods, paths }
}

/// An optional list of strings, each read by `parse`.
fn list<T>(
    object: &mut Object<'_>,
    key: &'static str,
    what: &str,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<Vec<T>> {
    let read = |field: &Field<'_>| match parse(&field.string("a string")?) {
        Ok(value) => Some(value),
        Err(advice) => field.mistake(advice),
    };
    object.read(key, |field| field.list_of(&format!("a list of {what}"), read))
}

/// Headers that mean something to whoever reads the request: no claim may stand there.
const RESERVED_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "expect", "trailer"];

/// `forward`.
fn forward(field: &Field<'_>) -> Option<Forwarding> {
    let mut object = field.object("an object with token, claims, payload")?;
    let token = object.read("token", boolean).unwrap_or(false);
    let mut names: Vec<String> = Vec::new();
    let mut own_header = |name: &str, field: &Field<'_>| {
        let name = header_name(name, field)?;
        if RESERVED_HEADERS.contains(&name.as_str()) || frames_or_steers(&name) {
            return field.mistake("this header has a meaning of its own; choose another");
        }
        let folded = fold(&name);
        if names.contains(&folded) {
            return field.mistake("this header is named twice (case and - _ . make no difference)");
        }
        names.push(folded);
        Some(name)
    };
    let claims = object.read("claims", |field| {
        field.members_of(
            "an object {header: claim}, such as {\"x-user\": \"sub\"}",
            |name, field| Some((own_header(name, field)?, claim_path(field)?)),
        )
    });
    let payload =
        object.read("payload", |field| own_header(&text(field, "the name of a header")?, field));
    object.check_keys();
    Some(Forwarding::new(token, claims.unwrap_or_default(), payload))
}
