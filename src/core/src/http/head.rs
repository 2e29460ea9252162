//! The headers of a request, as far as the filter reads them.

use std::borrow::Cow;
use std::slice;

use crate::http::body::Body;

/// Access to the headers of a request. Each call may cost a copy in the host, so the filter reads
/// little.
pub trait Head {
    /// A header's value, or a pseudo-header's (`:method`, `:path`, `:authority`). A header that
    /// stands more than once is joined by commas, if the host shows that here: Envoy does for
    /// `authorization`.
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// All headers, each as often as it stands, names in lower case. From then on
    /// [`value`](Self::value) joins every header.
    fn fields(&self) -> &Fields;

    /// The SHA-256 digest of the client's TLS certificate, if any.
    fn peer_certificate(&self) -> Option<[u8; 32]>;

    /// What the proxy has read of the body.
    fn body(&self) -> Body;

    /// The dynamic metadata of Envoy's filter `jwt_authn`, a `google.protobuf.Struct` in wire
    /// format, if there is any.
    fn jwt_authn(&self) -> Option<Vec<u8>> {
        None
    }
}

/// All headers of a request, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Names and values.
    text: Vec<u8>,
    /// The offset and length of each name and value.
    at: Vec<[Span; 2]>,
}

/// Lengths of names, modulo 64: a filter with a few false positives.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Lengths(u64);

impl Lengths {
    /// Whether names of this length are compared.
    #[inline]
    fn has(self, length: usize) -> bool {
        self.0 >> (length % 64) & 1 == 1
    }
}

impl FromIterator<usize> for Lengths {
    fn from_iter<I: IntoIterator<Item = usize>>(lengths: I) -> Self {
        Self(lengths.into_iter().fold(0, |all, length| all | 1 << (length % 64)))
    }
}

/// A part of the text: its offset and length.
type Span = (usize, usize);

impl Fields {
    /// Reads a header map in the form of the proxy-wasm ABI: the number of fields, the sizes of
    /// each, then all names and values, each with a NUL after it; numbers have 32 bits, the lowest
    /// first. `None` if it is not of that form.
    pub fn parse(text: Vec<u8>) -> Option<Self> {
        let size = |word: &[u8; 4]| usize::try_from(u32::from_le_bytes(*word)).ok();
        let (count, rest) = text.split_first_chunk()?;
        let count = size(count)?;
        let sizes = rest.get(..count.checked_mul(8)?)?.as_chunks().0;
        let mut next = count.checked_mul(8)?.checked_add(4)?;
        let mut at = Vec::with_capacity(count);
        for [name, value] in sizes.as_chunks().0 {
            let name = (next, size(name)?);
            let value = (name.0.checked_add(name.1)?.checked_add(1)?, size(value)?);
            let end = value.0.checked_add(value.1)?;
            if end > text.len() {
                return None;
            }
            at.push([name, value]);
            next = end.checked_add(1)?;
        }
        Some(Self { text, at })
    }

    /// A copy of these names and values.
    pub fn copy_of<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone) -> Self {
        let size = fields.clone().map(|(name, value)| name.len().saturating_add(value.len()));
        let mut text = Vec::with_capacity(size.fold(0, usize::saturating_add));
        let mut copy = |part: &[u8]| {
            let start = text.len();
            text.extend_from_slice(part);
            (start, part.len())
        };
        let at = fields.map(|(name, value)| [copy(name), copy(value)]).collect();
        Self { text, at }
    }

    /// Each name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.at.iter().map(|[name, value]| (self.part(*name), self.part(*value)))
    }

    /// Each name of one of these lengths, in order: most other names need no comparison.
    #[inline]
    pub(crate) fn names(&self, lengths: Lengths) -> impl Iterator<Item = &[u8]> {
        let names = self.at.iter().map(|[name, _]| *name);
        names.filter(move |name| lengths.has(name.1)).map(|name| self.part(name))
    }

    /// The values of a header, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.at.iter();
        std::iter::from_fn(move || self.next_value(&mut rest, name.as_bytes()))
    }

    /// The next value of a header.
    fn next_value(&self, rest: &mut slice::Iter<'_, [Span; 2]>, wanted: &[u8]) -> Option<&[u8]> {
        for [name, value] in rest {
            // Few names have this length, so few are compared.
            if name.1 == wanted.len() && self.part(*name) == wanted {
                return Some(self.part(*value));
            }
        }
        None
    }

    /// Sets a header in place of all its values, or removes them.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        let Self { text, at } = self;
        let part = |(start, size): Span| text.get(start..start.saturating_add(size));
        at.retain(|[field, _]| part(*field) != Some(name.as_bytes()));
        if let Some(value) = value {
            let mut add = |part: &str| {
                let start = text.len();
                text.extend_from_slice(part.as_bytes());
                (start, part.len())
            };
            at.push([add(name), add(value)]);
        }
    }

    /// A part of the text.
    fn part(&self, (start, size): Span) -> &[u8] {
        self.text.get(start..start.saturating_add(size)).unwrap_or_default()
    }

    /// The values of a header, joined by commas.
    pub fn joined(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut rest = self.at.iter();
        let mut joined = Cow::Borrowed(self.next_value(&mut rest, name.as_bytes())?);
        while let Some(value) = self.next_value(&mut rest, name.as_bytes()) {
            let joined = joined.to_mut();
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        Some(joined)
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields: Vec<(N, V)> = fields.into_iter().collect();
        Self::copy_of(fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
    }
}

/// Headers that are all in memory, without a client certificate, of a request whose body is unknown.
impl Head for Fields {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.joined(name)
    }

    fn fields(&self) -> &Fields {
        self
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn body(&self) -> Body {
        Body::Unread
    }
}

/// Whether Envoy treats this as a gRPC request.
pub(crate) fn is_grpc(head: &dyn Head) -> bool {
    is_grpc_type(&head.value("content-type").unwrap_or_default())
}

/// Whether Envoy treats a request with this `content-type` as gRPC.
pub fn is_grpc_type(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header map as the ABI has it.
    fn serialized(fields: &[(&str, &str)]) -> Vec<u8> {
        let word = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let mut bytes = word(fields.len()).to_vec();
        for (name, value) in fields {
            bytes.extend([word(name.len()), word(value.len())].concat());
        }
        for part in fields.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend([part.as_bytes(), b"\0"].concat());
        }
        bytes
    }

    #[test]
    fn a_header_map_is_read_field_by_field_and_repeated_ones_are_joined() {
        let fields = [("a", "1"), ("b", ""), ("a", "2"), ("long-name", "some value")];
        let read = Fields::parse(serialized(&fields)).unwrap();
        let expected = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert!(read.iter().eq(expected));
        assert_eq!(read.joined("a").as_deref(), Some(&b"1,2"[..]));
        assert_eq!(read.joined("b").as_deref(), Some(&b""[..]));
        assert_eq!(read.joined("c"), None);
        assert!(Fields::parse(serialized(&[])).unwrap().iter().next().is_none());
    }

    #[test]
    fn a_header_is_set_in_place_of_all_its_values() {
        let mut fields = Fields::from_iter([("a", "1"), ("b", "2"), ("a", "3")]);
        fields.set("a", Some("4"));
        fields.set("c", None);
        let read = |fields: &Fields, name| fields.joined(name).map(Cow::into_owned);
        assert_eq!(read(&fields, "a"), Some(b"4".to_vec()));
        fields.set("a", None);
        assert_eq!((read(&fields, "a"), read(&fields, "b")), (None, Some(b"2".to_vec())));
    }

    #[test]
    fn what_is_no_header_map_is_not_read() {
        let whole = serialized(&[("name", "value"), ("other", "x")]);
        // The last NUL is read by nobody.
        for end in 0..whole.len() - 1 {
            assert!(Fields::parse(whole[..end].to_vec()).is_none(), "{end} bytes");
        }
        for word in [u32::MAX, u32::MAX / 8, 1 << 28] {
            let mut wrong = whole.clone();
            wrong[..4].copy_from_slice(&word.to_le_bytes());
            assert!(Fields::parse(wrong).is_none());
            let mut wrong = whole.clone();
            wrong[4..8].copy_from_slice(&word.to_le_bytes());
            assert!(Fields::parse(wrong).is_none());
        }
    }
}
