//! Paths that differ from the path of a rule only in letter case. Rules are case-sensitive, so
//! another rule decides such a path, and may require less; but the service may ignore case.

use std::sync::Arc;

use super::advice::{covers, host_covers};
use super::reader::Field;
use crate::http::authority::HostPattern;
use crate::http::path::{PathPattern, Segment};
use crate::inbound::policy::{Access, Audience, Needs, Rule};
use crate::oauth::scope::Implied;
use crate::rules::matcher::{Matcher, method_matches};

/// Notes that a path in another letter case needs less. It is noted once: documents that end in a
/// rule for all other paths have many such paths, and whether the service minds case is not in them.
pub(super) fn note_on_letter_case(
    rules: &Field<'_>,
    list: &[(Matcher, Rule)],
    (at_unmatched, unmatched): (&Field<'_>, &Rule),
    implied: &Implied,
) {
    let mut found = Vec::new();
    for (n, (matcher, rule)) in list.iter().enumerate() {
        for (p, path) in matcher.paths.iter().flatten().enumerate() {
            let later = list.iter().enumerate().skip(n.saturating_add(1));
            let decides = first_for_other_case(matcher, path, rule, later, implied);
            let asks_for_less = match decides {
                Decides::Rule(later) => Some(rules.element(later).place()),
                Decides::Unmatched if !is_as_strict(unmatched, rule, implied) => {
                    Some(at_unmatched.place())
                }
                Decides::Unmatched | Decides::Nothing => None,
            };
            found.extend(asks_for_less.map(|place| (n, p, place)));
        }
    }
    let Some((n, p, place)) = found.first() else { return };
    rules.element(*n).member("paths").element(*p).note(|| {
        let others = match found.len() {
            1 => String::new(),
            count => format!(" (the first of {count} such paths)"),
        };
        format!(
            "in another letter case, the path is decided by {place}, which requires less: a \
             service that ignores case would serve it{others}"
        )
    });
}

/// What decides paths that differ from a rule's only in letter case.
enum Decides {
    /// This rule, which allows requests that the first would deny.
    Rule(usize),
    /// None of the rules, for some of them.
    Unmatched,
    /// Rules that require as much.
    Nothing,
}

/// Which of the later rules decides the paths of a rule in another letter case.
fn first_for_other_case<'r>(
    matcher: &Matcher,
    path: &PathPattern,
    rule: &Rule,
    later: impl Iterator<Item = (usize, &'r (Matcher, Rule))>,
    implied: &Implied,
) -> Decides {
    if !path.segments.iter().any(has_case) {
        return Decides::Nothing;
    }
    let any_case = Matcher {
        hosts: matcher.hosts.clone(),
        methods: matcher.methods.clone(),
        paths: Some(vec![in_any_case(path)]),
        headers: Arc::clone(&matcher.headers),
    };
    for (n, (other, needs)) in later {
        if is_for_other_case(matcher, path, other) {
            if !is_as_strict(needs, rule, implied) {
                return Decides::Rule(n);
            }
            if needs.mcp.is_none() && covers(other, &any_case) {
                return Decides::Nothing;
            }
        }
    }
    Decides::Unmatched
}

/// Whether a rule matches requests that differ from another rule's only in the case of the path.
fn is_for_other_case(matcher: &Matcher, path: &PathPattern, other: &Matcher) -> bool {
    let hosts_meet = |a: &HostPattern, b: &HostPattern| host_covers(a, b) || host_covers(b, a);
    lists_meet(matcher.hosts.as_deref(), other.hosts.as_deref(), hosts_meet)
        && lists_meet(matcher.methods.as_deref(), other.methods.as_deref(), |a, b| {
            method_matches(a, b) || method_matches(b, a)
        })
        && matcher.headers.iter().all(|one| other.headers.iter().all(|test| one.meets(test)))
        && other.paths.iter().all(|paths| paths.iter().any(|other| fits_other_case(path, other)))
}

/// Whether one of the first meets one of the second. No list at all meets everything.
fn lists_meet<T>(one: Option<&[T]>, other: Option<&[T]>, meet: impl Fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.iter().any(|a| other.iter().any(|b| meet(a, b))),
        _ => true,
    }
}

/// Whether the second pattern fits a path that the first would fit but for letter case.
fn fits_other_case(path: &PathPattern, other: &PathPattern) -> bool {
    let (length, other_length) = (path.segments.len(), other.segments.len());
    let length_fits =
        (path.rest || other_length <= length) && (other.rest || length <= other_length);
    let mut pairs = path.segments.iter().zip(&other.segments);
    let text_fits = pairs.clone().all(|pair| match pair {
        (Segment::Literal(one), Segment::Literal(other)) => one.eq_ignore_ascii_case(other),
        (Segment::Literal(text), Segment::Any) | (Segment::Any, Segment::Literal(text)) => {
            !text.is_empty()
        }
        (Segment::Literal(text), Segment::Partial(affixes))
        | (Segment::Partial(affixes), Segment::Literal(text)) => {
            affixes.in_lower_case().match_segment(text.to_ascii_lowercase().as_bytes())
        }
        (Segment::Partial(one), Segment::Partial(other)) => {
            let (one, other) = (one.in_lower_case(), other.in_lower_case());
            let (prefix, suffix) = (&*one.prefix, &*one.suffix);
            (prefix.starts_with(&*other.prefix) || other.prefix.starts_with(prefix))
                && (suffix.ends_with(&*other.suffix) || other.suffix.ends_with(suffix))
        }
        (Segment::Any, Segment::Any | Segment::Partial(_))
        | (Segment::Partial(_), Segment::Any) => true,
    });
    // One that both name differs only if they name it differently.
    let is_free = |(one, other): (&Segment, &Segment)| has_case(one) && one != other;
    let mut beyond = path.segments.iter().skip(other_length);
    length_fits && text_fits && (pairs.any(is_free) || beyond.any(has_case))
}

/// A pattern that matches the same paths in any case, and possibly others.
fn in_any_case(path: &PathPattern) -> PathPattern {
    let segment =
        |segment: &Segment| if has_case(segment) { Segment::Any } else { segment.clone() };
    PathPattern { segments: path.segments.iter().map(segment).collect(), rest: path.rest }
}

/// Whether a segment contains letters.
fn has_case(segment: &Segment) -> bool {
    match segment {
        Segment::Any => false,
        Segment::Literal(text) => has_letter(text),
        Segment::Partial(affixes) => has_letter(&affixes.prefix) || has_letter(&affixes.suffix),
    }
}

/// Whether a text contains letters. The hexadecimal digits of an escape do not count.
fn has_letter(text: &str) -> bool {
    let mut parts = text.split('%').enumerate();
    parts.any(|(n, part)| {
        let digits = if n == 0 { 0 } else { 2 };
        part.bytes().skip(digits).any(|byte| byte.is_ascii_alphabetic())
    })
}

/// Whether the second rule allows everything that the first allows.
fn is_as_strict(first: &Rule, second: &Rule, implied: &Implied) -> bool {
    match (&first.access, &second.access) {
        // The second allows anonymous requests.
        (_, Access::Public | Access::Optional(_)) | (Access::Deny(_), _) => true,
        (_, Access::Deny(_)) | (Access::Public | Access::Optional(_), _) => false,
        (Access::Token(first), Access::Token(second)) => needs_as_much(first, second, implied),
    }
}

/// Whether a token that meets the first needs meets the second, too.
fn needs_as_much(first: &Needs, second: &Needs, implied: &Implied) -> bool {
    let within = |first: &[Box<str>], second: &[Box<str>]| {
        second.is_empty() || (!first.is_empty() && first.iter().all(|value| second.contains(value)))
    };
    let scope = match (&first.scope, &second.scope) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(first), Some(second)) => first.implies(second, implied),
    };
    let audience = match (&first.audience, &second.audience) {
        (_, Audience::Any) | (Audience::Resource, Audience::Resource) => true,
        (Audience::OneOf(first), Audience::OneOf(second)) => within(first, second),
        (_, Audience::OneOf(_) | Audience::Resource) => false,
    };
    let max_age = second.max_age.is_none_or(|most| first.max_age.is_some_and(|age| age <= most));
    within(&first.issuer, &second.issuer)
        && audience
        && within(&first.acr_values, &second.acr_values)
        && max_age
        && first.age.is_as_strict_as(second.age)
        && scope
        && second.claims.iter().all(|claim| first.claims.contains(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_another_names_in_another_letter_case() {
        for (path, other, fits) in [
            ("/admin/**", "/**", true),
            ("/admin", "/*", true),
            ("/admin", "/Admin", true),
            ("/v1/orders:purge", "/v1/**", true),
            ("/v1/orders", "/v1/*/**", true),
            ("/*/admin", "/a/**", true),
            ("/a/**", "/*/b/c", true),
            ("/*.pdf", "/*", true),
            ("/*.pdf", "/A*.PDF", true),
            ("/a*b", "/axb", true),
            ("/Axb", "/a*b", true),
            // It is the same in either case, or another path.
            ("/admin/**", "/admin/*", false),
            ("/1/**", "/**", false),
            ("/%C3%A9", "/**", false),
            ("/admin", "/", false),
            ("/admin", "/*/b", false),
            ("/admin/x", "/*", false),
            ("/v1/orders", "/v2/**", false),
            ("/*", "/**", false),
            ("/*.1", "/*", false),
            ("/a*", "/b*", false),
            ("/*.pdf", "/a.txt", false),
        ] {
            let [path, other] = [path, other].map(|text| PathPattern::parse(text).unwrap());
            assert_eq!(fits_other_case(&path, &other), fits, "{path:?} {other:?}");
        }
    }
}
