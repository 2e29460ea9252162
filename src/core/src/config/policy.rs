//! The requirements of rules: the keys of `inbound` that apply to all rules, and those of each
//! rule.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::header_tests::headers;
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Words},
    KeyRow, KeyTable,
};
use super::lists::{Parse, list};
use super::mcp::mcp;
use super::notes::Shape;
use super::reader::{Field, Object};
use super::values::{one_or_any, scope, text, ttl, whole_seconds};
use crate::cache::age::AgeLimit;
use crate::http::authority::HostPattern;
use crate::http::header_name::is_token_char;
use crate::http::path::PathPattern;
use crate::ids::ClaimId;
use crate::inbound::forwarding::Forwarding;
use crate::inbound::policy::{Access, Audience, McpRule, Needs, Rule};
use crate::oauth::claims::{ClaimPath, ClaimTest, is_scalar};
use crate::oauth::reason::Reason;
use crate::rules::matcher::Matcher;

/// The claims that rules require, without duplicates; conditions refer to them by index.
#[derive(Default)]
pub(super) struct AskedClaims(RefCell<Vec<ClaimPath>>);

impl AskedClaims {
    /// The identifier of a claim.
    fn id(&self, path: ClaimPath) -> ClaimId {
        let mut paths = self.0.borrow_mut();
        ClaimId(paths.iter().position(|known| *known == path).unwrap_or_else(|| {
            paths.push(path);
            paths.len().saturating_sub(1)
        }))
    }

    /// All of them, in order.
    pub(super) fn into_paths(self) -> Vec<ClaimPath> {
        self.0.into_inner()
    }
}

/// The keys of requirements.
const NEEDS: [&str; 6] = ["audience", "issuer", "scope", "claims", "acr_values", "max_age"];

/// Reads requirements, in place of those in `needs`; `unset` is the audience if there is
/// none.
pub(super) fn needs(
    object: &mut Object<'_>,
    mut needs: Needs,
    asked: &AskedClaims,
    unset: &Audience,
) -> Needs {
    if let Some(issuer) = object.read("issuer", |f| one_or_any(f, "an issuer")) {
        needs.issuer = issuer;
    }
    if let Some(audience) = object.read("audience", |f| audience(f, unset)) {
        needs.audience = audience;
    }
    if let Some(claims) = object.read("claims", |f| claims(f, asked)) {
        needs.claims = claims;
    }
    if let Some(acr_values) = object.read("acr_values", acr_values) {
        needs.acr_values = acr_values;
    }
    needs.max_age = object.read("max_age", max_age).or(needs.max_age);
    needs.scope = object.read("scope", scope).or(needs.scope);
    needs
}

/// `audience`: `"*"` is for documents where the default is not any.
fn audience(field: &Field<'_>, unset: &Audience) -> Option<Audience> {
    let accepted = one_or_any(field, "an audience")?;
    let mut stars = accepted.iter().map(|audience| **audience == *"*");
    match unset {
        Audience::Resource if stars.clone().all(|is_star| is_star) => {
            field.warn("tokens issued for other services are accepted (RFC 9700 section 2.3)");
            Some(Audience::Any)
        }
        Audience::Resource if stars.any(|is_star| is_star) => {
            field.mistake("\"*\" accepts any audience; remove the others")
        }
        _ => Some(Audience::OneOf(accepted)),
    }
}

/// `claims`: a condition for each.
pub(super) fn claims(field: &Field<'_>, asked: &AskedClaims) -> Option<Vec<(ClaimId, ClaimTest)>> {
    const WHAT: &str = "an object of claims, such as {\"department\": \"sales\"}";
    field.members_of(WHAT, |path, field| {
        if path.is_empty() {
            return field.mistake("a claim name must not be empty");
        }
        Some((asked.id(ClaimPath::new(path)), claim_test(field)?))
    })
}

/// The keys of a condition.
#[cfg(feature = "review")]
pub(super) const TEST_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.claims`",
    parts: &[&[
        KeyRow::new(
            &["all"],
            "string, number, boolean or list",
            Words("none"),
            "the claim contains each of these",
        ),
        KeyRow::new(
            &["not"],
            "string, number, boolean or list",
            Words("none"),
            "the claim is present, and is none of these",
        ),
        KeyRow::new(
            &["members"],
            "string or list",
            Words("none"),
            "the claim is an object with one of these members, and its value is neither false nor \
             null",
        ),
        KeyRow::new(&["exists"], "`true`", Words("none"), "the claim is present with any value"),
    ]],
};

/// A condition on a claim.
fn claim_test(field: &Field<'_>) -> Option<ClaimTest> {
    const WHAT: &str = "a value, a list of alternatives, {\"all\": […]}, {\"not\": […]}, \
                        {\"members\": […]} or {\"exists\": true}";
    match field.value {
        Value::Object(_) => {
            let mut object = field.object(WHAT)?;
            #[cfg(feature = "review")]
            object.described(&[&TEST_TABLE]);
            let all = object.take("all");
            let not = object.take("not");
            let members = object.take("members");
            let exists = object.take("exists");
            object.check_keys();
            match (all, not, members, exists) {
                (Some(field), None, None, None) => scalars(&field).map(ClaimTest::All),
                (None, Some(field), None, None) => scalars(&field).map(ClaimTest::Not),
                (None, None, Some(field), None) => {
                    one_or_any(&field, "the name of a member").map(ClaimTest::Members)
                }
                (None, None, None, Some(field)) => {
                    field.looks_for(|| Shape::Only(true));
                    match field.value {
                        Value::Bool(true) => Some(ClaimTest::Exists),
                        _ => field.mistake("expected true; an absent claim meets no condition"),
                    }
                }
                _ => field.mistake(format_args!("expected {WHAT}")),
            }
        }
        Value::Null => field.expected(WHAT),
        _ => scalars(field).map(ClaimTest::AnyOf),
    }
}

/// A scalar, or a list of scalars.
fn scalars(field: &Field<'_>) -> Option<Vec<Value>> {
    const WHAT: &str = "a string, number or boolean, or a list of these";
    let scalar = |field: &Field<'_>| {
        field.looks_for(|| Shape::Scalar);
        match field.value {
            scalar if is_scalar(scalar) => Some(scalar.clone()),
            Value::Number(_) => field.mistake("number too large for an exact comparison"),
            _ => field.expected(WHAT),
        }
    };
    match field.value {
        Value::Array(_) => field.list_of(WHAT, scalar),
        _ => scalar(field).map(|value| vec![value]),
    }
}

/// `acr_values`: words with spaces between, as in the parameter of that name, or a list.
fn acr_values(field: &Field<'_>) -> Option<Vec<Box<str>>> {
    const WHAT: &str = "authentication context class references";
    let values = one_or_any(field, WHAT)?;
    let values = values.join(" ");
    let words = values.split(' ').filter(|word| !word.is_empty());
    let words: Vec<Box<str>> = words.map(Into::into).collect();
    let is_word = |word: &str| word.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if words.is_empty() || !words.iter().all(|word| is_word(word)) {
        return field.mistake(format_args!("expected {WHAT} in visible ASCII"));
    }
    Some(words)
}

/// `max_age`, as in a challenge.
fn max_age(field: &Field<'_>) -> Option<Duration> {
    whole_seconds(field, "must be whole seconds (RFC 9470 section 4)")
}

impl Rule {
    /// The requirements on tokens, among them those of requests whose message is uncertain.
    pub(super) fn needs(&self) -> impl Iterator<Item = &Arc<Needs>> {
        let of_access = match &self.access {
            Access::Token(needs) | Access::Optional(needs) => Some(needs),
            Access::Public | Access::Deny(_) => None,
        };
        of_access.into_iter().chain(self.mcp.as_ref().map(|mcp| &mcp.needs))
    }

    /// Whether it limits the age of responses.
    pub(super) fn limits_age(&self) -> bool {
        match &self.access {
            Access::Token(needs) | Access::Optional(needs) => needs.age.is_limited(),
            Access::Public | Access::Deny(_) => false,
        }
    }

    /// Whether it accepts tokens issued for other services.
    pub(super) fn takes_any_audience(&self) -> bool {
        match &self.access {
            Access::Token(needs) | Access::Optional(needs) => {
                matches!(needs.audience, Audience::Any)
            }
            Access::Public | Access::Deny(_) => false,
        }
    }
}

/// The keys of a rule.
#[cfg(feature = "review")]
pub(super) const RULE_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.rules`",
    parts: &[&[
        KeyRow::new(&["name"], "string", Words("its path"), "the name of the rule in logs"),
        KeyRow::new(
            &["hosts"],
            "list",
            Words("all"),
            r#"`"api.example.com"`, or `"*.example.com"` for hosts below it; ports are ignored"#,
        ),
        KeyRow::new(&["methods"], "list", Words("all"), r#"`"GET"` includes `HEAD`"#),
        KeyRow::new(
            &["paths"],
            "list",
            Words("all"),
            "`*` matches one segment, or one or more characters of it (`/orders/*:cancel`, \
             `/files/*.pdf`), `**` at the end any number of segments: `/orders/**` matches \
             `/orders`, `/orders/` and `/orders/1/items`",
        ),
        KeyRow::new(
            &["headers"],
            "object",
            Words("any"),
            "values of headers, all of which must match",
        )
        .see("inboundrulesheaders"),
        KeyRow::new(
            &["mcp"],
            "object",
            Words("all"),
            "messages of the Model Context Protocol, as Envoy's filter `mcp` has read them",
        )
        .see("inboundrulesmcp"),
        KeyRow::new(
            &["access"],
            "string",
            Json(r#""token""#),
            "`\"optional\"`: no token is allowed, a bad one rejected. `\"public\"`: tokens are not \
             checked. `\"deny\"`: always denied",
        ),
        KeyRow::new(&["scope"], "scope", Words("as in `inbound`"), "the required scopes"),
        KeyRow::new(
            &["audience"],
            "string or list",
            Words("as in `inbound`"),
            "accepted values of `aud`",
        ),
        KeyRow::new(
            &["issuer"],
            "string or list",
            Words("as in `inbound`"),
            "accepted values of `iss`",
        ),
        KeyRow::new(
            &["claims"],
            "object",
            Words("as in `inbound`"),
            "required values of other claims; replaces those of `inbound`",
        ),
        KeyRow::new(
            &["acr_values"],
            "string or list",
            Words("as in `inbound`"),
            "accepted authentication context classes",
        ),
        KeyRow::new(
            &["max_age"],
            "duration",
            Words("as in `inbound`"),
            "the maximum time since the user authenticated",
        ),
        KeyRow::new(
            &["max_ttl"],
            "duration",
            Words("that of `cache`"),
            "the maximum age of a cached response, active or not, that decides on these requests, \
             [without `stale_if_error`](#inboundcache); `\"0s\"` introspects the token, or \
             verifies the JWT again, for each request. At most `max_ttl` of `cache`",
        ),
    ]],
};

/// `max_ttl`: at most that of the cache, after which nothing is cached.
fn shorter_ttl(field: &Field<'_>, most: Duration) -> Option<Duration> {
    let max_ttl = ttl(field)?;
    if max_ttl > most {
        return field.mistake("must not be longer than cache.max_ttl (default \"60s\")");
    }
    Some(max_ttl)
}

/// One of `rules`. `max_ttl` is that of the cache.
pub(super) fn rule(
    field: &Field<'_>,
    defaults: &Needs,
    asked: &AskedClaims,
    unset: &Audience,
    forward: &Forwarding,
    max_ttl: Duration,
) -> Option<(Matcher, Rule)> {
    let mut object = field.object("an object with hosts, methods, paths, access")?;
    #[cfg(feature = "review")]
    object.described(&[&RULE_TABLE]);
    let name = object.read("name", |f| text(f, "a rule name"));
    let name: Arc<str> = name.unwrap_or_else(|| field.place()).into();
    let mut matcher = matcher(&mut object);
    let headers = object.read("headers", |field| headers(field, forward));
    matcher.headers = headers.unwrap_or_default().into();
    let mcp = object.read("mcp", mcp);
    let access =
        object.read("access", |field| field.choice(&["token", "optional", "public", "deny"]));
    let asks = NEEDS.into_iter().chain(["max_ttl"]).find(|key| object.has(key));
    let age = AgeLimit::new(object.read("max_ttl", |field| shorter_ttl(field, max_ttl)));
    let defaults = Needs { rule: Arc::clone(&name), age, ..defaults.clone() };
    let needs = Arc::new(needs(&mut object, defaults, asked, unset));
    let of_mcp = Arc::clone(&needs);
    let access = match access {
        None | Some("token") => Some(Access::Token(needs)),
        Some("optional") => Some(Access::Optional(needs)),
        Some(access) => match asks {
            Some(key) => object
                .at(key)
                .mistake(format_args!("conflicts with access {access:?}; remove one of the two")),
            None if access == "public" => Some(Access::Public),
            None => Some(Access::Deny(Reason::AccessDenied)),
        },
    };
    object.check_keys();
    let mcp = mcp.map(|pattern| McpRule { pattern, needs: of_mcp });
    if let (Some(_), Some(methods)) = (&mcp, &matcher.methods)
        && !methods.iter().any(|method| **method == *"POST")
    {
        return object.at("mcp").mistake("requires \"POST\" in the `methods` of the rule");
    }
    Some((matcher, Rule { name, access: access?, mcp }))
}

/// `hosts`, `methods` and `paths`.
pub(super) fn matcher(object: &mut Object<'_>) -> Matcher {
    let hosts = list(object, "hosts", "hosts such as \"api.example.com\"", HostPattern::parse);
    let method: Parse = |text| {
        if is_method(text) {
            Ok(Box::from(text))
        } else {
            Err("expected a method in upper case such as \"GET\"; omit the key for all methods")
        }
    };
    let methods = list(object, "methods", "methods such as \"GET\"", method);
    let paths = list(object, "paths", "paths such as \"/orders/**\"", PathPattern::parse);
    Matcher { hosts, methods, paths, ..Matcher::default() }
}

/// Whether this is the name of a method, without lower case.
pub(super) fn is_method(text: &str) -> bool {
    let is_in_name = |b: u8| is_token_char(b) && !b.is_ascii_lowercase() && b != b'*';
    !text.is_empty() && text.bytes().all(is_in_name)
}
