//! Common kinds of value: durations, secrets, scopes, URLs, header names.

use std::time::Duration;

use serde_json::Value;

use super::notes::Shape;
use super::reader::Field;
use crate::http::header_name::is_token_char;
use crate::http::url::HttpUrl;
use crate::oauth::claims::ClaimPath;
use crate::oauth::json::escaped;
use crate::oauth::scope::ScopeNeed;
use crate::oauth::secret::Secret;

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

/// A secret: the text itself, or `{"env": "NAME"}`.
pub(super) fn secret(field: &Field<'_>) -> Option<Secret> {
    const WHAT: &str = "a secret as a string, or {\"env\": \"NAME\"}";
    match field.value {
        Value::Object(_) => {
            let mut object = field.object(WHAT)?;
            let at = object.at("env");
            let name = object.need("env", "an environment variable of the VM", |f| {
                text(f, "an environment variable name")
            });
            object.check_keys();
            let name = name?;
            match at.reader.environment(&name).filter(|value| !value.is_empty()) {
                Some(value) => Some(Secret::new(value)),
                None => at.mistake(format_args!(
                    "environment variable `{}` is unset or empty; pass it to the VM with \
                     vm_config.environment_variables (Istio: vmConfig.env, Envoy Gateway: \
                     env.hostKeys)",
                    escaped(&name)
                )),
            }
        }
        Value::String(_) => {
            field.is_secret();
            text(field, "a secret").map(Secret::new)
        }
        _ => field.expected(WHAT),
    }
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
