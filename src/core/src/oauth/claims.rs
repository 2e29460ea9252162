//! The claims of an introspection response, and the paths that name them.

use serde_json::{Map, Value};

use crate::http::base64;
use crate::oauth::json;

/// The members of an introspection response (RFC 7662, section 2.2).
pub(crate) type Claims = Map<String, Value>;

/// The claims of a token that looks like a signed JWT (RFC 7519). They are not verified.
pub(crate) fn unverified_claims(token: &str) -> Option<Claims> {
    let [_, payload, _] = jwt_parts(token)?;
    json::object(&base64::decode_url(payload.as_bytes())?)
}

/// The header, the payload and the signature of a JWT, each encoded.
pub(crate) fn jwt_parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// The path of a claim: its name, or names separated by dots for a nested claim.
///
/// Claim names may contain dots themselves (`https://example.com/roles`), so a member with the
/// whole text as its name takes precedence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClaimPath(Box<str>);

impl ClaimPath {
    pub(crate) fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The path's text.
    #[cfg(feature = "review")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
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

/// The strings in a claim that is a string or a list of strings; none otherwise.
pub(crate) fn strings(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match claim {
        Some(Value::Array(elements)) => (None, elements.as_slice()),
        other => (other, &[][..]),
    };
    one.into_iter().chain(many).filter_map(Value::as_str)
}

/// A condition on a claim. A list meets a condition if one of its elements does; a claim that is
/// absent, null or of another type meets none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClaimTest {
    /// One of these.
    AnyOf(Vec<Value>),
    /// A list that contains each of these.
    All(Vec<Value>),
    /// Present, and none of these.
    Not(Vec<Value>),
    /// An object with one of these members, whose value is neither false nor null.
    Members(Vec<Box<str>>),
    Exists,
}

impl ClaimTest {
    /// Whether the claim meets the condition.
    pub(crate) fn is_met(&self, claim: Option<&Value>) -> bool {
        let Some(claim) = claim else { return false };
        let elements = match claim {
            Value::Array(elements) => elements.as_slice(),
            single => std::slice::from_ref(single),
        };
        let holds = |wanted: &Value| elements.iter().any(|element| is_same(element, wanted));
        match self {
            Self::AnyOf(wanted) => wanted.iter().any(holds),
            Self::All(wanted) => wanted.iter().all(holds),
            // Of another type, so it cannot be compared.
            Self::Not(unwanted) => elements.iter().any(is_scalar) && !unwanted.iter().any(holds),
            Self::Members(names) => {
                names.iter().any(|name| claim.get(&**name).is_some_and(is_held))
            }
            Self::Exists => true,
        }
    }
}

/// Whether the value of a member counts: it is neither false nor null.
pub(crate) fn is_held(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// Whether the value can be compared: a string, number or boolean.
pub(crate) fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) && is_exact(value)
}

/// Whether all numbers in the value are exact. An integer of more than 64 bits was rounded to the
/// nearest float, like other integers.
pub(crate) fn is_exact(value: &Value) -> bool {
    /// The largest integer up to which floats are exact: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            number.as_f64().is_some_and(|float| float.abs() < EXACT)
        }
        Value::Array(elements) => elements.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

/// Whether two scalars are equal; 1 and 1.0 are.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64() == b.as_f64() && is_exact(one) && is_exact(other)
        }
        _ => one == other,
    }
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

    #[test]
    fn d5_05_claims_are_compared_with_what_a_rule_wants() {
        let any = |values: Value| ClaimTest::AnyOf(values.as_array().unwrap().clone());
        let all = |values: Value| ClaimTest::All(values.as_array().unwrap().clone());
        let not = |values: Value| ClaimTest::Not(values.as_array().unwrap().clone());
        let members = |names: &[&str]| {
            ClaimTest::Members(names.iter().map(|name| Box::from(*name)).collect())
        };
        let table = [
            (any(json!(["sales"])), json!("sales"), true),
            (any(json!(["sales"])), json!("Sales"), false),
            (any(json!(["sales"])), json!("sales2"), false),
            (any(json!(["sales", "ops"])), json!(["hr", "ops"]), true),
            (any(json!(["sales", "ops"])), json!(["hr"]), false),
            (any(json!([1])), json!(1.0), true),
            (any(json!([1.0])), json!([2, 1]), true),
            (any(json!([1])), json!("1"), false),
            (any(json!([1.5])), json!(1.25), false),
            (any(json!([1])), json!(2.0), false),
            // As floats they are the same.
            (any(json!([9_007_199_254_740_992_u64])), json!(9_007_199_254_740_993_u64), false),
            // Beyond 64 bits nobody can tell what was written.
            (any(json!([1e20])), json!(1e20), false),
            (any(json!([1e20])), json!([1e20, "a"]), false),
            (not(json!(["a"])), json!(1e20), false),
            (any(json!([4_503_599_627_370_496_u64])), json!(4_503_599_627_370_496.0), true),
            (any(json!([true])), json!(true), true),
            (any(json!([true])), json!("true"), false),
            (any(json!(["a"])), json!({"a": "a"}), false),
            (any(json!(["a"])), json!([["a"]]), false),
            (any(json!(["a"])), json!([]), false),
            (all(json!(["a", "b"])), json!(["c", "b", "a"]), true),
            (all(json!(["a", "b"])), json!(["a"]), false),
            (all(json!(["a"])), json!("a"), true),
            (not(json!(["a", "b"])), json!("c"), true),
            (not(json!(["a", "b"])), json!("b"), false),
            (not(json!(["a"])), json!(["c", "a"]), false),
            (not(json!(["a"])), json!({"a": 1}), false),
            (not(json!(["a"])), json!([]), false),
            (members(&["admin"]), json!({"admin": {"1": "example.org"}}), true),
            (members(&["admin", "dev"]), json!({"ops": 1, "dev": {}}), true),
            (members(&["admin"]), json!({"admin": 0}), true),
            (members(&["admin"]), json!({"admin": ""}), true),
            (members(&["admin"]), json!({"admin": false}), false),
            (members(&["admin"]), json!({"admin": null}), false),
            (members(&["admin"]), json!({"Admin": {}}), false),
            (members(&["admin"]), json!({"dev": {"admin": {}}}), false),
            (members(&["admin"]), json!([{"admin": {}}]), false),
            (members(&["admin"]), json!(["admin"]), false),
            (members(&["admin"]), json!("admin"), false),
            (members(&["a,b"]), json!({"a,b": true}), true),
            (members(&["a,b"]), json!({"a": true, "b": true}), false),
            (ClaimTest::Exists, json!(false), true),
            (ClaimTest::Exists, json!([]), true),
        ];
        for (test, claim, met) in table {
            assert_eq!(test.is_met(Some(&claim)), met, "{test:?} {claim}");
        }
        for test in [
            any(json!(["a"])),
            all(json!(["a"])),
            not(json!(["a"])),
            members(&["a"]),
            ClaimTest::Exists,
        ] {
            assert!(!test.is_met(None), "{test:?}");
        }
    }
}
