//! Common kinds of value: durations, secrets, scopes, URLs, header names.

use std::time::Duration;

use serde_json::Value;

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Required, Words},
    KeyRow, KeyTable,
};
use super::notes::Shape;
use super::reader::{Field, Sources};
use crate::http::header_name::is_token_char;
use crate::http::url::HttpUrl;
use crate::oauth::claims::ClaimPath;
use crate::oauth::json::escaped;
use crate::oauth::scope::ScopeNeed;
use crate::oauth::secret::{Credential, OpenSecret, Secret, SecretPlace};

const DURATION: &str = "a duration such as \"250ms\", \"5s\", \"1.5s\", \"1m30s\" or \"1h\"";

/// A duration: numbers with the units `h`, `m`, `s`, `ms`, from large to small.
pub(super) fn duration(field: &Field<'_>) -> Option<Duration> {
    field.looks_for(|| Shape::Duration);
    let Value::String(text) = field.value else { return field.expected(DURATION) };
    match parse_duration(text) {
        Some(duration) => Some(duration),
        None => field.mistake(format_args!("expected {DURATION}")),
    }
}

/// The duration in `text`, to the millisecond.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let unit_millis: u64 = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        if unit_millis >= last_unit {
            return None;
        }
        last_unit = unit_millis;
        total = total.checked_add(Duration::from_millis(scaled(number, unit_millis)?))?;
        rest = after;
    }
    // `last_unit` is untouched only for the empty text.
    (last_unit != u64::MAX).then_some(total)
}

/// `number` (digits, possibly with a fraction) times `unit`, if the result is an integer in range.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 9 {
        return None;
    }
    let denominator = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(unit)?;
    if part.checked_rem(denominator)? != 0 {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part.checked_div(denominator)?)
}

/// A positive duration in milliseconds of at most 32 bits, as the host requires.
pub(super) fn timeout(field: &Field<'_>) -> Option<Duration> {
    let duration = duration(field)?;
    if duration.is_zero() || duration.as_millis() > u128::from(u32::MAX) {
        return field.mistake("must be greater than zero and less than 49 days");
    }
    Some(duration)
}

/// A duration of at most a year.
pub(super) fn ttl(field: &Field<'_>) -> Option<Duration> {
    const YEAR: Duration = Duration::from_hours(366 * 24);
    let ttl = duration(field)?;
    if ttl > YEAR { field.mistake("must not be longer than a year") } else { Some(ttl) }
}

/// A duration of whole seconds; any other is this mistake.
pub(super) fn whole_seconds(field: &Field<'_>, otherwise: &str) -> Option<Duration> {
    let duration = ttl(field)?;
    if duration.subsec_millis() == 0 { Some(duration) } else { field.mistake(otherwise) }
}

/// A positive lifetime of a token.
pub(super) fn lives(field: &Field<'_>) -> Option<Duration> {
    let lives = ttl(field)?;
    if lives.is_zero() { field.mistake("must be greater than zero") } else { Some(lives) }
}

/// A number of things, from 0 to `most`.
pub(super) fn count(field: &Field<'_>, most: u32) -> Option<u32> {
    count_from(field, 0, most)
}

/// A whole number from `least` to `most`.
pub(super) fn count_from(field: &Field<'_>, least: u32, most: u32) -> Option<u32> {
    field.looks_for(|| Shape::Whole(least, most));
    let what = format!("a whole number from {least} to {most}");
    let whole = match field.value {
        // A Struct's numbers are all floats, so 3.0 is a whole number too.
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).and_then(float_to_count)),
        _ => return field.expected(&what),
    };
    match whole.and_then(|n| u32::try_from(n).ok()).filter(|n| (least..=most).contains(n)) {
        Some(n) => Some(n),
        None => field.mistake(format_args!("expected {what}")),
    }
}

/// A float without a fraction as a count.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn float_to_count(n: f64) -> Option<u64> {
    (0.0..=f64::from(u32::MAX)).contains(&n).then_some(n as u64)
}

/// True or false.
pub(super) fn boolean(field: &Field<'_>) -> Option<bool> {
    field.looks_for(|| Shape::Boolean);
    match field.value {
        Value::Bool(value) => Some(*value),
        _ => field.expected("a boolean"),
    }
}

/// A non-empty string; `what` describes it.
pub(super) fn text(field: &Field<'_>, what: &str) -> Option<String> {
    field.looks_for(|| Shape::Text(what.to_owned()));
    match field.string(what)? {
        "" => field.mistake(format_args!("expected {what}, found an empty string")),
        text => Some(text.to_owned()),
    }
}

/// A string, or a list of strings of which any one suffices.
pub(super) fn one_or_any(field: &Field<'_>, what: &str) -> Option<Vec<Box<str>>> {
    let list_or_one = format!("{what}, or a list of them");
    match field.value {
        Value::Array(_) => field.list_of(&list_or_one, |f| text(f, what).map(Into::into)),
        Value::String(_) => text(field, what).map(|text| vec![text.into()]),
        _ => field.expected(&list_or_one),
    }
}

/// The keys of a secret that is not written in the document.
#[cfg(feature = "review")]
pub(super) const SECRET_TABLE: KeyTable = KeyTable {
    heading: "### Secrets",
    parts: &[&[
        KeyRow::new(
            &["env"],
            "string",
            Words("none"),
            "an environment variable: of the VM (`vm_config.environment_variables`, Istio \
             `vmConfig.env`), or of Envoy with the dynamic module",
        ),
        KeyRow::new(
            &["file"],
            "string",
            Words("none"),
            "the absolute path of a file, which is read again after a change. Dynamic module only",
        ),
        KeyRow::new(
            &["sds"],
            "string or object",
            Words("none"),
            "a secret that Envoy has, as `generic_secret`. Dynamic module only, Envoy 1.40",
        ),
    ]],
};

/// The keys of a secret that Envoy obtains.
#[cfg(feature = "review")]
pub(super) const SDS_TABLE: KeyTable = KeyTable {
    heading: "#### `sds`",
    parts: &[&[
        KeyRow::new(&["name"], "string", Required, "the name of the secret"),
        KeyRow::new(
            &["sds_config"],
            "object",
            Words("a static secret of the bootstrap"),
            "where Envoy obtains it: an `envoy.config.core.v3.ConfigSource`",
        ),
    ]],
};

/// A secret that is read once: the text itself, or `{"env": "NAME"}`.
pub(super) fn secret(field: &Field<'_>) -> Option<Secret> {
    const WHAT: &str = "a secret as a string, or {\"env\": \"NAME\"}";
    match field.value {
        Value::Object(_) => {
            let mut object = field.object(WHAT)?;
            let name = object.need("env", "an environment variable of the VM", |f| Some(*f));
            object.check_keys();
            variable(&name?)
        }
        Value::String(_) => {
            field.is_secret();
            text(field, "a secret").map(Secret::new)
        }
        _ => field.expected(WHAT),
    }
}

/// A secret that is read for each call, so that it may change: in other hosts than the module also
/// `{"file": "PATH"}` or `{"sds": "NAME"}`.
pub(super) fn credential(field: &Field<'_>) -> Option<Credential> {
    if let Some(sources) = field.reader.sources
        && field.value.is_object()
    {
        return (sources.read)(field, sources.open);
    }
    if field.value.get("file").or_else(|| field.value.get("sds")).is_some() {
        return field.mistake("only in the dynamic module; use {\"env\": \"NAME\"}");
    }
    secret(field).map(Credential::fixed)
}

/// Reads secrets whose sources are opened by `open`.
pub(super) fn sources(open: OpenSecret<'_>) -> Sources<'_> {
    Sources { read: changing, open }
}

/// A secret that may change.
fn changing(field: &Field<'_>, open: OpenSecret<'_>) -> Option<Credential> {
    const WHAT: &str = "{\"env\": \"NAME\"}, {\"file\": \"PATH\"} or {\"sds\": \"NAME\"}";
    field.looks_for(|| Shape::OneOf);
    let mut object = field.object(WHAT)?;
    #[cfg(feature = "review")]
    object.described(&[&SECRET_TABLE]);
    let [env, file, sds] = ["env", "file", "sds"].map(|key| object.take(key));
    object.check_keys();
    let (at, source) = match (env, file, sds) {
        (Some(env), None, None) => return variable(&env).map(Credential::fixed),
        (None, Some(file), None) => {
            let path = text(&file, "a path")?;
            (file, open(SecretPlace::File(&path)))
        }
        (None, None, Some(sds)) => {
            let (name, sds_config) = subscription(&sds)?;
            let sds_config = sds_config.as_deref();
            (sds, open(SecretPlace::Sds { name: &name, sds_config }))
        }
        _ => return field.mistake(format_args!("expected {WHAT}")),
    };
    match source {
        Ok(source) => Some(Credential::changing(field.value.to_string(), source)),
        Err(error) => at.mistake(error),
    }
}

/// The secret in an environment variable.
fn variable(field: &Field<'_>) -> Option<Secret> {
    let name = text(field, "an environment variable name")?;
    match field.reader.environment(&name).filter(|value| !value.is_empty()) {
        Some(value) => Some(Secret::new(value)),
        None => field.mistake(format_args!(
            "environment variable `{}` is unset or empty; pass it to the VM with \
             vm_config.environment_variables (Istio: vmConfig.env, Envoy Gateway: env.hostKeys)",
            escaped(&name)
        )),
    }
}

/// The name of a secret that Envoy obtains, and from where.
fn subscription(field: &Field<'_>) -> Option<(String, Option<String>)> {
    if !field.value.is_object() {
        return Some((text(field, "the name of a secret")?, None));
    }
    let mut object = field.object("an object with name and sds_config")?;
    #[cfg(feature = "review")]
    object.described(&[&SDS_TABLE]);
    let name = object.need("name", "the name of the secret", |f| text(f, "the name of a secret"));
    let sds_config = object.read("sds_config", |field| {
        field.looks_for(|| Shape::Foreign);
        if field.value.is_object() {
            Some(field.value.to_string())
        } else {
            field.expected("an object")
        }
    });
    object.check_keys();
    Some((name?, sds_config))
}

/// Required scopes: all of `"a b"`, any one entry of `["a", "b c"]`.
pub(super) fn scope(field: &Field<'_>) -> Option<ScopeNeed> {
    const WHAT: &str = "scopes such as \"a b\" for both, [\"a\", \"b\"] for either";
    let entry = |field: &Field<'_>| -> Option<Vec<Box<str>>> {
        field.looks_for(|| {
            Shape::Text("space-separated scopes, all of which are required".to_owned())
        });
        let Value::String(text) = field.value else { return field.expected(WHAT) };
        let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return field.mistake("must not be empty; omit the key if no scope is required");
        }
        if !words.iter().all(|word| word.bytes().all(is_scope_char)) {
            return field.mistake(
                "invalid scope; expected visible ASCII characters except \" and \\ (RFC 6749 \
                 section 3.3)",
            );
        }
        if words.contains(&"offline_access") {
            field.warn("offline_access is for clients, not for resources; remove it");
        }
        Some(words.into_iter().map(Into::into).collect())
    };
    let alternatives = match field.value {
        Value::Array(_) => field.list_of(WHAT, entry)?,
        _ => vec![entry(field)?],
    };
    Some(ScopeNeed::any_of(alternatives))
}

/// Requested scopes as sent: separated by spaces (RFC 6749, section 3.3).
pub(super) fn scope_text(field: &Field<'_>) -> Option<String> {
    const WHAT: &str = "space-separated scopes such as \"orders:read orders:write\"";
    let text = field.string(WHAT)?;
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return field.mistake("must not be empty; omit the key to request no scope");
    }
    if words.iter().all(|word| word.bytes().all(is_scope_char)) {
        Some(words.join(" "))
    } else {
        field.mistake(format_args!("expected {WHAT}, in visible ASCII characters except \" and \\"))
    }
}

/// Whether the text is one `scope-token`.
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_scope_char)
}

/// A character of a `scope-token` (RFC 6749, section 3.3).
fn is_scope_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

/// An absolute `http` or `https` URL without fragment or user information.
pub(super) fn endpoint_url(field: &Field<'_>) -> Option<HttpUrl> {
    field.looks_for(|| Shape::Url);
    let Value::String(text) = field.value else {
        return field
            .expected("an absolute URL such as \"https://as.example.com/oauth2/introspect\"");
    };
    match HttpUrl::parse(text) {
        Ok(url) => Some(url),
        Err(wrong) => field.mistake(wrong),
    }
}

/// The name of a claim, with dots for nested claims.
pub(super) fn claim_path(field: &Field<'_>) -> Option<ClaimPath> {
    text(field, "a claim name, with dots for nested claims").map(ClaimPath::new)
}

/// A header name, in lower case.
pub(super) fn header_name(name: &str, field: &Field<'_>) -> Option<String> {
    if name.is_empty() || !name.bytes().all(is_token_char) {
        return field.mistake("invalid header name; expected letters, digits, -, _ and .");
    }
    Some(name.to_ascii_lowercase())
}

/// Whether a header (in lower case) frames a message or controls the proxy.
pub(super) fn frames_or_steers(name: &str) -> bool {
    const FRAMING: [&str; 9] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.contains(&name) || name.starts_with("x-envoy-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_from_large_to_small() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("1.100000000s", 1_100),
            ("0.250s", 250),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1h1m1s1ms", 3_661_001),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "0",
            "s",
            "-5s",
            "+5s",
            "5 s",
            " 5s",
            "5s ",
            "5d",
            "5S",
            "1s1s",
            "1s1m",
            ".5s",
            "5.s",
            "1..5s",
            "0.0001s",
            "1e3s",
            "1.1000000000s",
            "5sec",
            "99999999999999999999s",
            "0.5ms",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
