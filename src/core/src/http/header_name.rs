//! Header names, and the spellings that services treat as equal.
//!
//! CGI and what descends from it knows headers as variables in which every byte of a name that is
//! not a letter or a digit becomes an underscore: `x-user`, `x_user` and `x~user` are one variable,
//! whose value is that of any of them (RFC 3875, section 4.1.18).

use crate::http::head::Fields;

/// Whether a byte may be part of a header name, or of the name of an authentication scheme (`token`
/// in RFC 9110, section 5.6.2).
pub(crate) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The header that lists the headers that the next hop removes (RFC 9110, section 7.6.1).
pub(crate) const CONNECTION: &str = "connection";

/// A byte of a name in CGI's form.
fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' }
}

/// A header name with all its spellings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Spelling(Box<[u8]>);

impl Spelling {
    /// The spellings of `name`.
    pub(crate) fn of(name: &str) -> Self {
        Self(name.bytes().map(folded).collect())
    }

    /// Whether `name` is one of them.
    #[inline]
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let is_same = |(own, byte): (&u8, &u8)| own == byte || *own == folded(*byte);
        name.len() == self.0.len() && self.0.iter().zip(name).all(is_same)
    }

    /// The length of each of them.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are spellings that differ in more than letter case, which Envoy normalizes.
    pub(crate) fn has_others(&self) -> bool {
        self.0.contains(&b'_')
    }
}

/// A header whose value services interpret in different ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadHeader;

/// The value of the header `name`, if the request has it.
///
/// # Errors
/// The header is repeated, or has another of its spellings.
pub(crate) fn only_value<'f>(
    fields: &'f Fields,
    name: &str,
    spelling: &Spelling,
) -> Result<Option<&'f [u8]>, BadHeader> {
    let mut found = None;
    for (given, value) in fields.iter().filter(|(given, _)| spelling.matches(given)) {
        if given != name.as_bytes() || found.replace(value).is_some() {
            return Err(BadHeader);
        }
    }
    Ok(found)
}

/// The value of `Connection` without these names, if it has any of them.
pub(crate) fn connection_without(fields: &Fields, names: &[Spelling]) -> Option<String> {
    options_without(&fields.joined(CONNECTION)?, names)
}

/// The options in a value of `Connection` without those with these spellings, if it has any.
pub(crate) fn options_without(value: &[u8], names: &[Spelling]) -> Option<String> {
    let options = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_kept = |option: &&[u8]| !names.iter().any(|name| name.matches(option));
    if options().all(|option| is_kept(&option)) {
        return None;
    }
    let kept: Vec<&[u8]> = options().filter(is_kept).collect();
    Some(String::from_utf8_lossy(&kept.join(&b", "[..])).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rs_9700_05_every_byte_that_is_not_alphanumeric_is_the_same_in_a_spelling() {
        let name = Spelling::of("X-User.id");
        for byte in 0..=u8::MAX {
            let spelled = [b"x", &[byte][..], b"USER", &[byte], b"id"].concat();
            assert_eq!(name.matches(&spelled), !byte.is_ascii_alphanumeric(), "{byte}");
        }
        for other in ["x-user-i", "xuserid", "x--user-id", "x-user-id-", ""] {
            assert!(!name.matches(other.as_bytes()), "{other}");
        }
        assert!(name.has_others() && !Spelling::of("Authorization").has_others());
    }

    #[test]
    fn a_connection_header_loses_the_names_that_it_must_not_have() {
        let names = [Spelling::of("x-user"), Spelling::of("authorization")];
        let without = |values: &[&str]| {
            let fields: Fields = values.iter().map(|value| ("connection", *value)).collect();
            connection_without(&fields, &names)
        };
        assert_eq!(without(&[]), None);
        assert_eq!(without(&["upgrade, x-users"]), None);
        assert_eq!(
            without(&["upgrade,\tX_User", "keep-alive"]),
            Some("upgrade, keep-alive".into())
        );
        assert_eq!(without(&["Authorization"]), Some(String::new()));
    }
}
