//! The claims of an introspection response, and the paths that name them.

use serde_json::{Map, Value};

/// The members of an introspection response (RFC 7662, section 2.2).
pub(crate) type Claims = Map<String, Value>;

/// Where a claim stands: its name, or names with dots between for a nested one.
///
/// Claim names may hold dots themselves (`https://example.com/roles`), so a member that has the
/// whole text as its name comes first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClaimPath(Box<str>);

impl ClaimPath {
    /// The path with this text.
    pub(crate) fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The claim, unless it is absent or null.
    pub(crate) fn find<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        find(&self.0, claims).filter(|value| !value.is_null())
    }
}

/// The member at `path`, the longest name first.
fn find<'c>(path: &str, claims: &'c Claims) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (name, rest) = path.split_at_checked(dot)?;
        find(rest.strip_prefix('.')?, claims.get(name)?.as_object()?)
    })
}

/// The strings in a claim that is one or a list of them; none in any other.
pub(crate) fn strings(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match claim {
        Some(Value::Array(elements)) => (None, elements.as_slice()),
        other => (other, &[][..]),
    };
    one.into_iter().chain(many).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_nested_members_and_names_with_dots() {
        let Value::Object(claims) = json!({
            "sub": "alice",
            "none": null,
            "realm_access": {"roles": ["a"], "x.y": 1},
            "https://example.com/roles": "r",
            "a.b": {"c": 2},
            "a": {"b": {"c": 3, "d": 4}}
        }) else {
            unreachable!()
        };
        for (path, expected) in [
            ("sub", Some(json!("alice"))),
            ("realm_access.roles", Some(json!(["a"]))),
            ("realm_access.x.y", Some(json!(1))),
            ("https://example.com/roles", Some(json!("r"))),
            ("a.b.c", Some(json!(2))),
            ("a.b.d", Some(json!(4))),
            ("none", None),
            ("sub.x", None),
            ("realm_access.roles.0", None),
            ("absent", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(ClaimPath::new(path).find(&claims), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn strings_are_found_in_one_or_a_list() {
        let of = |value: Value| strings(Some(&value)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of(json!("a")), ["a"]);
        assert_eq!(of(json!(["a", 1, null, "b"])), ["a", "b"]);
        assert!(of(json!({"a": "b"})).is_empty());
        assert_eq!(strings(None).count(), 0);
    }
}
