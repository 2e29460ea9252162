//! Why a rule does not match a request that it nearly matches, for explanations.

use super::header::ValueTest;
use super::matcher::{Matcher, method_matches};
use super::target::Target;
use crate::http::path::PathPattern;

/// The one condition that a request does not meet, in words. `None` if it meets all or misses
/// several, or if its path or, where another rule decides, its host has nothing to do with the rule.
pub(crate) fn missed(matcher: &Matcher, target: &Target<'_>, is_unmatched: bool) -> Option<String> {
    let Matcher { hosts, methods, paths, headers } = matcher;
    let (host, method) = (target.host().unwrap_or_default(), target.method());
    let path = target.path().ok().flatten().map_or("", |path| path.as_str());
    let mut missed = Vec::new();
    if hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|one| one.matches(host))) {
        missed.push(is_unmatched.then(|| "another host".to_owned()));
    }
    if methods.as_ref().is_some_and(|list| !list.iter().any(|one| method_matches(one, method))) {
        missed.push(Some("another method".to_owned()));
    }
    if let Some(paths) = paths
        && !paths.iter().any(|pattern| pattern.matches_text(path))
    {
        let difference = paths.iter().find_map(|pattern| difference(pattern, path));
        missed.push(difference.map(str::to_owned));
    }
    for test in headers.iter().filter(|test| test.is_met(target.fields()) == Ok(false)) {
        let name = &test.name;
        missed.push(Some(match test.value {
            ValueTest::Absent => format!("requests without the header {name}"),
            _ => format!("another value of the header {name}"),
        }));
    }
    match missed.as_mut_slice() {
        [only] => only.take(),
        _ => None,
    }
}

/// How a path differs from those that match, if it does not differ much.
fn difference(pattern: &PathPattern, path: &str) -> Option<&'static str> {
    let matches_case = pattern.in_lower_case().matches_text(&path.to_ascii_lowercase());
    let below = PathPattern { rest: true, ..pattern.clone() };
    if path.strip_suffix('/').is_some_and(|path| pattern.matches_text(path)) {
        Some("a path without a slash at the end")
    } else if pattern.matches_text(&format!("{path}/")) {
        Some("a path with a slash at the end")
    } else if matches_case {
        Some("a path in another letter case")
    } else {
        below.matches_text(path).then_some("a shorter path (`/**` matches those below it)")
    }
}
