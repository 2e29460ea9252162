//! Advice on valid documents: rules that are never reached, clients that are not used, and what some
//! authorization servers make unsafe.

use serde_json::Value;

use super::reader::{Field, Object};
use crate::http::authority::HostPattern;
use crate::http::path::{PathPattern, Segment};
use crate::http::url::HttpUrl;
use crate::ids::ClientId;
use crate::inbound::policy::{Access, Audience, Rule};
use crate::inbound::resource_metadata::ResourceMetadata;
use crate::metrics::labels::label_value;
use crate::outbound::client::Client;
use crate::rules::matcher::{Matcher, method_matches};

/// Advises on rules that are never reached, because an earlier rule matches all their requests, and
/// on those that no `HEAD` request reaches, because `GET` of an earlier rule includes it. `is_whole`
/// is whether a rule has no conditions besides its matcher.
pub(super) fn advise_on_order<T>(
    rules: &Field<'_>,
    list: &[(Matcher, T)],
    is_whole: impl Fn(&T) -> bool,
) {
    for (n, (later, _)) in list.iter().enumerate() {
        let earlier_than = |later: &Matcher| {
            let is_earlier = |(earlier, rule): &(_, T)| is_whole(rule) && covers(earlier, later);
            let earlier = list.iter().take(n).position(is_earlier)?;
            Some(rules.element(earlier).place())
        };
        if let Some(earlier) = earlier_than(later) {
            rules
                .element(n)
                .advise(|| format!("never reached: {earlier} matches all of its requests first"));
        } else if later.methods.iter().flatten().any(|method| **method == *"HEAD")
            && let methods = Some(vec!["HEAD".into()])
            && let Some(earlier) = earlier_than(&Matcher { methods, ..later.clone() })
        {
            rules.element(n).member("methods").advise(|| {
                format!(
                    "`HEAD` never reaches this rule: {earlier} matches it first (`GET` includes \
                     `HEAD`)"
                )
            });
        }
    }
}

/// Advises on rules whose requests none of several resources covers.
pub(super) fn advise_on_coverage(
    rules: &Field<'_>,
    list: &[(Matcher, Rule)],
    resources: &[ResourceMetadata],
) {
    for (n, (matcher, rule)) in list.iter().enumerate() {
        let needs_resource = matches!(rule.access, Access::Token(_) | Access::Optional(_));
        if needs_resource && !resources.iter().any(|resource| meets(matcher, resource)) {
            rules.element(n).advise(|| {
                "no resource of `resource_metadata` covers its requests: they get 403".to_owned()
            });
        }
    }
}

/// Whether the resource covers some of the requests.
fn meets(matcher: &Matcher, resource: &ResourceMetadata) -> bool {
    let meets_path = |pattern: &PathPattern| {
        let mut segments = pattern.segments.iter();
        resource.base().split('/').skip(1).all(|text| match segments.next() {
            Some(Segment::Literal(literal)) => **literal == *text,
            Some(Segment::Any) => true,
            Some(Segment::Partial(affixes)) => affixes.match_segment(text.as_bytes()),
            None => pattern.rest,
        })
    };
    matcher.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| host.matches(&resource.host)))
        && matcher.paths.as_ref().is_none_or(|paths| paths.iter().any(meets_path))
}

/// Advises on clients whose token is not used.
pub(super) fn advise_on_use(
    object: &Object<'_>,
    clients: &[Client],
    rules: &[(Matcher, Option<ClientId>)],
    introspecting: &[ClientId],
) {
    for (place, client) in clients.iter().enumerate() {
        let id = ClientId(place);
        let is_used = rules.iter().any(|(_, client)| *client == Some(id))
            || introspecting.contains(&id)
            || clients.iter().any(|client| client.grant.actor() == Some(id));
        if !is_used {
            object.at("clients").member(&client.name).advise(|| {
                "unused: no rule, `actor` or `introspection.client` refers to it".to_owned()
            });
        }
    }
}

/// Advises on clients that statistics do not tell apart.
pub(super) fn advise_on_names(object: &Object<'_>, clients: &[Client]) {
    for (place, client) in clients.iter().enumerate() {
        let label = label_value(&client.name);
        let mut earlier = clients.iter().take(place);
        if let Some(other) = earlier.find(|earlier| label_value(&earlier.name) == label) {
            object.at("clients").member(&client.name).advise(|| {
                format!(
                    "has the name {label:?} in statistics, like client {:?}; rename one of them",
                    &*other.name
                )
            });
        }
    }
}

/// Advises on servers that may report ID tokens as active, without a `token_type`: they pass rules
/// that require no scope, and whose audience is the client.
pub(super) fn advise_on_token_type<'r>(
    introspection: &Field<'_>,
    rules: impl Iterator<Item = &'r Rule>,
) {
    let audiences = rules.filter_map(|rule| match &rule.access {
        Access::Token(needs) | Access::Optional(needs) if needs.scope.is_none() => {
            Some(&needs.audience)
        }
        _ => None,
    });
    let audiences = audiences.filter_map(|audience| match audience {
        Audience::OneOf(accepted) => Some(accepted),
        Audience::Any | Audience::Resource => None,
    });
    let audiences: Vec<_> = audiences.flatten().collect();
    let servers = match introspection.value {
        Value::Array(servers) => (0..servers.len()).map(|n| introspection.element(n)).collect(),
        _ => vec![*introspection],
    };
    for server in servers {
        let text = |key: &str| server.value.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_springs = HttpUrl::parse(text("endpoint"))
            .is_ok_and(|endpoint| endpoint.path.ends_with("/oauth2/introspect"));
        let is_audience = audiences.iter().any(|audience| ***audience == *text("client_id"));
        if is_springs && is_audience && text("token_type") != "required" {
            server.member("token_type").advise(|| {
                "not \"required\": Spring Authorization Server, which has this path, reports ID \
                 tokens of the client as active, and the audience is the client"
                    .to_owned()
            });
        }
    }
}

/// Advises on an assertion that is sent for every token.
pub(super) fn advise_on_assertion(assertion: &Field<'_>, scope: Option<&str>) {
    let is_offline = |scope: &str| matches!(scope, "offline" | "offline_access");
    if !scope.is_some_and(|scope| scope.split(' ').any(is_offline)) {
        assertion.advise(|| {
            "sent for every token: some servers (Keycloak, Ory Hydra) accept an assertion once; \
             unless the token response has a refresh token, only the first request succeeds"
                .to_owned()
        });
    }
}

/// Whether the first matches every request that the second matches.
pub(super) fn covers(first: &Matcher, second: &Matcher) -> bool {
    list_covers(first.hosts.as_deref(), second.hosts.as_deref(), host_covers)
        && list_covers(first.methods.as_deref(), second.methods.as_deref(), |a, b| {
            method_matches(a, b)
        })
        && list_covers(first.paths.as_deref(), second.paths.as_deref(), path_covers)
        && first.headers.iter().all(|wide| second.headers.iter().any(|test| wide.covers(test)))
}

/// Whether each of the second is covered by one of the first. An absent list matches everything.
fn list_covers<T>(first: Option<&[T]>, second: Option<&[T]>, covers: fn(&T, &T) -> bool) -> bool {
    match (first, second) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(second)) => {
            second.iter().all(|pattern| first.iter().any(|wider| covers(wider, pattern)))
        }
    }
}

/// Whether all hosts of the second are hosts of the first.
pub(super) fn host_covers(first: &HostPattern, second: &HostPattern) -> bool {
    match (first, second) {
        (_, HostPattern::Exact(host)) => first.matches(host),
        (HostPattern::Exact(_), HostPattern::Below(_)) => false,
        (HostPattern::Below(suffix), HostPattern::Below(longer)) => longer.ends_with(&**suffix),
    }
}

/// Whether all paths of the second are paths of the first.
fn path_covers(first: &PathPattern, second: &PathPattern) -> bool {
    let segment_covers = |(first, second): (&Segment, &Segment)| match (first, second) {
        (Segment::Any, Segment::Any | Segment::Partial(_)) => true,
        (Segment::Any, Segment::Literal(text)) => !text.is_empty(),
        (Segment::Literal(one), Segment::Literal(other)) => one == other,
        (Segment::Partial(affixes), Segment::Literal(text)) => {
            affixes.match_segment(text.as_bytes())
        }
        (Segment::Partial(one), Segment::Partial(other)) => {
            other.prefix.starts_with(&*one.prefix) && other.suffix.ends_with(&*one.suffix)
        }
        (Segment::Literal(_) | Segment::Partial(_), _) => false,
    };
    let length_covers = if first.rest {
        first.segments.len() <= second.segments.len()
    } else {
        !second.rest && first.segments.len() == second.segments.len()
    };
    length_covers && first.segments.iter().zip(&second.segments).all(segment_covers)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_path_pattern_covers_another_if_it_fits_all_that_the_other_fits() {
        for (first, second, covered) in [
            ("/**", "/**", true),
            ("/**", "/a", true),
            ("/**", "/", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/*/b", true),
            ("/a/**", "/a/b/**", true),
            ("/a/*", "/a/b", true),
            ("/*/b", "/*/b", true),
            ("/a/*", "/a/*.pdf", true),
            ("/*.pdf", "/a.pdf", true),
            ("/*.pdf", "/a*b.pdf", true),
            ("/a*", "/a*", true),
            ("/*.pdf", "/.pdf", false),
            ("/a*.pdf", "/*.pdf", false),
            ("/*.pdf", "/*", false),
            ("/a.pdf", "/*.pdf", false),
            ("/a/b/**", "/a/**", false),
            ("/a", "/a/**", false),
            ("/a", "/a/", false),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/b", "/a/*", false),
            ("/*", "/**", false),
        ] {
            let [first, second] = [first, second].map(|text| PathPattern::parse(text).unwrap());
            assert_eq!(path_covers(&first, &second), covered, "{first:?} {second:?}");
        }
    }

    #[test]
    fn one_host_pattern_covers_another_if_it_fits_all_that_the_other_fits() {
        for (first, second, covered) in [
            ("a.test", "A.test", true),
            ("*.test", "a.test", true),
            ("*.test", "*.test", true),
            ("*.test", "*.a.test", true),
            ("a.test", "*.a.test", false),
            ("*.a.test", "a.test", false),
            ("*.a.test", "*.test", false),
            ("*.a.test", "*.ba.test", false),
        ] {
            let [first, second] = [first, second].map(|text| HostPattern::parse(text).unwrap());
            assert_eq!(host_covers(&first, &second), covered, "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_rule_without_a_list_is_wider_than_one_with_it() {
        let matcher = |methods: Option<&[&str]>, paths: Option<&str>| Matcher {
            hosts: None,
            methods: methods.map(|list| list.iter().map(|method| Box::from(*method)).collect()),
            paths: paths.map(|path| vec![PathPattern::parse(path).unwrap()]),
            headers: Arc::default(),
        };
        let all = matcher(None, None);
        let get = matcher(Some(&["GET"]), None);
        let reads = matcher(Some(&["GET", "HEAD"]), Some("/a"));
        assert!(covers(&all, &get) && covers(&all, &all) && !covers(&get, &all));
        // `GET` includes `HEAD`, but not the other way round.
        assert!(covers(&get, &reads) && !covers(&reads, &get));
        assert!(!covers(&matcher(Some(&["HEAD"]), None), &get));
        assert!(covers(&reads, &matcher(Some(&["GET"]), Some("/a"))));
        // What has no path fits no pattern, and every path fits `/**`.
        assert!(!covers(&matcher(None, Some("/**")), &all));
    }
}
