//! Conditions of rules on headers.

use std::borrow::Cow;
use std::slice;

use crate::http::base64;
use crate::http::head::Fields;
use crate::http::header_name::{BadHeader, Spelling, connection_without, only_value};

/// A condition on a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderTest {
    /// Its name, in lower case.
    pub(crate) name: Box<str>,
    pub(crate) value: ValueTest,
}

/// A condition on the value of a header. No text is empty, so an empty value meets none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ValueTest {
    /// One of these values.
    AnyOf(Vec<Box<str>>),
    /// A value that begins with this.
    Prefix(Box<str>),
    /// The request does not have the header.
    Absent,
}

/// The marker of an encoded value in the Model Context Protocol: `=?base64?…?=`.
const ENCODED: &[u8] = b"=?base64?";

/// The value of a header, decoded, or `None` if the request does not have it.
///
/// # Errors
/// - The header is repeated, or has another spelling.
/// - `Connection` names it, so that the next hop may remove it.
/// - It has the marker of an encoded value, but is not standard Base64 of UTF-8.
fn read<'h>(name: &str, fields: &'h Fields) -> Result<Option<Cow<'h, [u8]>>, BadHeader> {
    let spelling = Spelling::of(name);
    let Some(value) = only_value(fields, name, &spelling)? else { return Ok(None) };
    if connection_without(fields, slice::from_ref(&spelling)).is_some() {
        return Err(BadHeader);
    }
    decoded(value.trim_ascii()).map(Some)
}

/// Decodes a value that is marked as encoded.
fn decoded(value: &[u8]) -> Result<Cow<'_, [u8]>, BadHeader> {
    if !is_marked(value) {
        return Ok(value.into());
    }
    // Clients encode everything that looks encoded, but not all decoders look for the same.
    let encoded = between_sentinels(value).ok_or(BadHeader)?;
    let text = base64::decode(encoded).ok_or(BadHeader)?;
    String::from_utf8(text).map(|text| text.into_bytes().into()).map_err(|_| BadHeader)
}

/// Whether a value would have to be decoded before it is compared.
pub(crate) fn is_marked(value: &[u8]) -> bool {
    value.get(..ENCODED.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(ENCODED))
}

/// The Base64 of a value that is encoded.
pub(crate) fn between_sentinels(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(ENCODED)?.strip_suffix(b"?=")
}

impl HeaderTest {
    /// Whether a request with these headers meets the condition.
    ///
    /// # Errors
    /// The header is ambiguous.
    pub(crate) fn is_met(&self, fields: &Fields) -> Result<bool, BadHeader> {
        let value = read(&self.name, fields)?;
        Ok(match (&self.value, &value) {
            (ValueTest::Absent, value) => value.is_none(),
            (_, None) => false,
            (ValueTest::AnyOf(values), Some(value)) => {
                values.iter().any(|known| known.as_bytes() == &**value)
            }
            (ValueTest::Prefix(prefix), Some(value)) => value.starts_with(prefix.as_bytes()),
        })
    }
}

#[cfg(any(test, feature = "review"))]
impl HeaderTest {
    /// Whether every request that meets the other condition meets this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.value, &other.value) {
                (ValueTest::AnyOf(wide), ValueTest::AnyOf(narrow)) => {
                    narrow.iter().all(|value| wide.contains(value))
                }
                (ValueTest::Prefix(prefix), ValueTest::AnyOf(values)) => {
                    values.iter().all(|value| value.starts_with(&**prefix))
                }
                (ValueTest::Prefix(short), ValueTest::Prefix(long)) => long.starts_with(&**short),
                (ValueTest::Absent, ValueTest::Absent) => true,
                _ => false,
            }
    }

    /// Whether a request can meet both conditions.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.name != other.name
            || match (&self.value, &other.value) {
                (ValueTest::AnyOf(one), ValueTest::AnyOf(other)) => {
                    one.iter().any(|value| other.contains(value))
                }
                (ValueTest::Prefix(prefix), ValueTest::AnyOf(values))
                | (ValueTest::AnyOf(values), ValueTest::Prefix(prefix)) => {
                    values.iter().any(|value| value.starts_with(&**prefix))
                }
                (ValueTest::Prefix(one), ValueTest::Prefix(other)) => {
                    one.starts_with(&**other) || other.starts_with(&**one)
                }
                (one, other) => one == other,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(fields: &[(&str, &[u8])]) -> Result<Option<Vec<u8>>, BadHeader> {
        let fields: Fields = fields.iter().copied().collect();
        let value = read("x-tenant", &fields)?;
        Ok(value.map(Cow::into_owned))
    }

    #[test]
    fn a_header_has_one_value_and_one_spelling() {
        let a = || Ok(Some(b"a".to_vec()));
        assert_eq!(value(&[("x-tenants", b"a"), ("xtenant", b"a")]), Ok(None));
        assert_eq!(value(&[("x-tenant", b"a"), ("x-tenants", b"b")]), a());
        assert_eq!(value(&[("x-tenant", b" a\t")]), a());
        assert_eq!(value(&[("x-tenant", b"")]), Ok(Some(Vec::new())));
        assert_eq!(value(&[("x-tenant", b"a, b")]), Ok(Some(b"a, b".to_vec())));
        assert_eq!(value(&[("x-tenant", b"\xff")]), Ok(Some(b"\xff".to_vec())));
        for name in ["x_tenant", "x.tenant", "x~tenant", "X-Tenant"] {
            assert_eq!(value(&[(name, b"a")]), Err(BadHeader), "{name}");
            assert_eq!(value(&[("x-tenant", b"a"), (name, b"a")]), Err(BadHeader), "{name}");
            assert_eq!(value(&[(name, b"a"), ("x-tenant", b"a")]), Err(BadHeader), "{name}");
        }
        assert_eq!(value(&[("x-tenant", b"a"), ("x-tenant", b"a")]), Err(BadHeader));
        assert_eq!(value(&[("x-tenant", b"a"), ("x-tenant", b"")]), Err(BadHeader));
        // The next hop removes what `Connection` names.
        let removed: [&[u8]; 2] = [b"x-tenant", b"upgrade, X_TENANT"];
        for names in removed {
            assert_eq!(value(&[("x-tenant", b"a"), ("connection", names)]), Err(BadHeader));
            assert_eq!(value(&[("connection", names)]), Ok(None));
        }
        assert_eq!(value(&[("x-tenant", b"a"), ("connection", b"upgrade")]), a());
    }

    #[test]
    fn an_encoded_value_is_decoded_once() {
        for (encoded, text) in [
            ("=?base64?YQ==?=", "a"),
            ("=?base64???=", ""),
            ("=?base64?IGEg?=", " a "),
            ("=?base64?Wm/Dqw==?=", "Zoë"),
            ("=?base64?PT9iYXNlNjQ/YT89?=", "=?base64?a?="),
            ("=?base64", "=?base64"),
            ("=?utf-8?Q?a?=", "=?utf-8?Q?a?="),
            ("a=?base64?YQ==?=", "a=?base64?YQ==?="),
        ] {
            let expected = match encoded {
                "=?base64???=" => Err(BadHeader),
                _ => Ok(text.as_bytes().to_vec()),
            };
            assert_eq!(decoded(encoded.as_bytes()).map(Cow::into_owned), expected, "{encoded}");
        }
        assert_eq!(decoded(b"=?base64??=").as_deref(), Ok(&b""[..]));
        for bad in [
            "=?base64?YQ?=",
            "=?base64?YQ=?=",
            "=?base64?YQ===?=",
            "=?base64?YR==?=",
            "=?base64?Y Q==?=",
            "=?base64?YQ==\n?=",
            "=?base64?_w==?=",
            "=?base64?/w==?=",
            "=?base64?7aCA?=",
            "=?base64?YQ==",
            "=?base64?YQ==?",
            "=?base64?=",
            "=?base64?",
            "=?BASE64?YQ==?=",
            "=?Base64?YQ==?=",
            "=?base64?YQ==?= ?=",
            "=?base64?YQ==?=,=?base64?YQ==?=",
        ] {
            assert_eq!(decoded(bad.as_bytes()), Err(BadHeader), "{bad}");
        }
        assert_eq!(decoded(b"=?base64?\xff?="), Err(BadHeader));
        let long = base64::encode(&vec![b'a'; 50_000]);
        let encoded = format!("=?base64?{long}?=");
        assert_eq!(decoded(encoded.as_bytes()).map(|text| text.len()), Ok(50_000));
    }

    #[test]
    fn one_condition_covers_another_if_all_that_meet_the_other_meet_it() {
        let values = ["a", "ab", "b"];
        let any_of =
            |list: &[&str]| ValueTest::AnyOf(list.iter().map(|text| (*text).into()).collect());
        let mut kinds = vec![ValueTest::Absent, any_of(&values), any_of(&["a", "ab"])];
        kinds.extend(values.map(|text| any_of(&[text])));
        kinds.extend(values.map(|text| ValueTest::Prefix(text.into())));
        let tests = kinds.into_iter().map(|value| HeaderTest { name: "x".into(), value });
        let tests: Vec<HeaderTest> = tests.collect();
        // Each prefix has a value that is in no list.
        let requests = ["a", "ab", "b", "a1", "ab1", "b1"].map(|text| vec![("x", text)]);
        let requests = requests.into_iter().chain([Vec::new()]).map(Fields::from_iter);
        let requests: Vec<Fields> = requests.collect();
        for one in &tests {
            for other in &tests {
                let both = |fields: &&Fields| (one.is_met(fields), other.is_met(fields));
                let mut met = requests.iter().map(|fields| both(&fields));
                let covers = met.clone().all(|both| both != (Ok(false), Ok(true)));
                assert_eq!(one.covers(other), covers, "{one:?} {other:?}");
                let meets = met.any(|both| both == (Ok(true), Ok(true)));
                assert_eq!(one.meets(other), meets, "{one:?} {other:?}");
            }
        }
        let elsewhere = HeaderTest { name: "y".into(), value: ValueTest::Absent };
        assert!(tests.iter().all(|test| !test.covers(&elsewhere) && test.meets(&elsewhere)));
    }
}
