//! The path of a request, in the form in which it is compared with patterns.
//!
//! The proxy forwards a path unchanged, and services interpret it in different ways (RFC 3986,
//! section 6.2.2). So an ambiguous path is rejected, never normalized: only then does the rule that
//! decides also apply to what the service sees.

use std::borrow::Cow;
use std::sync::Arc;

/// The maximum length of a path, in bytes and without the query.
const MAX_PATH: usize = 8 * 1024;

/// The maximum number of segments of a path.
const MAX_SEGMENTS: usize = 256;

/// A path with decoded percent-escapes and its original slashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RequestPath<'p> {
    /// The decoded text. No segment contains a slash; an escaped one that is kept is
    /// [`KEPT_SLASH`].
    text: Cow<'p, str>,
    /// Whether a segment has parameters (`;v=1`), which some services drop.
    has_parameters: bool,
    /// Whether it has an escaped slash.
    keeps_slash: bool,
}

/// What becomes of escaped slashes (`%2F`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum EncodedSlash {
    /// The path is ambiguous.
    #[default]
    Refuse,
    /// They are characters of their segment, between pieces that are valid segments.
    Keep,
}

/// Stands for an escaped slash, because no segment contains a control character.
const KEPT_SLASH: char = '\0';

/// An ambiguous path, which no rule can match safely.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadPath;

impl<'p> RequestPath<'p> {
    /// Parses the `:path` of a request, without escaped slashes.
    ///
    /// # Errors
    /// Those of [`parse_with`](Self::parse_with).
    pub(crate) fn parse(path: impl Into<Cow<'p, [u8]>>) -> Result<Self, BadPath> {
        Self::parse_with(path, EncodedSlash::Refuse)
    }

    /// Parses the `:path` of a request. The query is ignored, unless it contains another question
    /// mark.
    ///
    /// # Errors
    /// - a dot segment, also with parameters (`..;`), or an empty segment that is not the last;
    /// - an escaped delimiter (`/` unless it is kept, `?`, `#`), a backslash or a control character;
    /// - an escape that is incomplete, or that is escaped once more (`%252e`);
    /// - bytes that are not UTF-8, overlong forms included;
    /// - a segment that begins or ends with white space;
    /// - such a segment in the query, before its last question mark if it holds one;
    /// - more than 8 KiB or 256 segments;
    /// - no slash at the beginning, except for the `*` of `OPTIONS *`.
    pub(crate) fn parse_with(
        path: impl Into<Cow<'p, [u8]>>,
        encoded_slash: EncodedSlash,
    ) -> Result<Self, BadPath> {
        let path = match path.into() {
            Cow::Borrowed(path) => Cow::Borrowed(without_query(path)?),
            Cow::Owned(mut path) => {
                let end = without_query(&path)?.len();
                path.truncate(end);
                Cow::Owned(path)
            }
        };
        if is_plain(&path) {
            return Ok(Self::plain(utf8(path)?));
        }
        Self::decode(&path, encoded_slash)
    }

    fn plain(text: Cow<'p, str>) -> Self {
        Self { text, has_parameters: false, keeps_slash: false }
    }

    /// Parses a path with escapes or with segments to check.
    fn decode(path: &[u8], encoded_slash: EncodedSlash) -> Result<Self, BadPath> {
        if path == b"*" {
            return Ok(Self::plain("*".into()));
        }
        let path = path.strip_prefix(b"/").ok_or(BadPath)?;
        let mut text = String::with_capacity(path.len().saturating_add(1));
        let (mut is_last, mut keeps_slash, mut count) = (false, false, 0_usize);
        for raw in path.split(|byte| *byte == b'/') {
            // Only the last segment may be empty.
            if is_last {
                return Err(BadPath);
            }
            is_last = raw.is_empty();
            let (mut before, mut rest) = ('/', Some(raw));
            while let Some(raw) = rest {
                let (piece, after) = match encoded_slash {
                    EncodedSlash::Refuse => (raw, None),
                    EncodedSlash::Keep => until_escaped_slash(raw),
                };
                let is_between = before == KEPT_SLASH || after.is_some();
                count = count.saturating_add(1);
                if count > MAX_SEGMENTS || (is_between && piece.is_empty()) {
                    return Err(BadPath);
                }
                text.push(before);
                text.push_str(&segment(piece)?);
                keeps_slash |= is_between;
                (before, rest) = (KEPT_SLASH, after);
            }
        }
        let has_parameters = text.contains(';');
        Ok(Self { text: text.into(), has_parameters, keeps_slash })
    }

    /// The path with slashes in place of the escaped ones, if it keeps any.
    pub(crate) fn with_slashes(&self) -> Option<Self> {
        let slash = |c| if c == KEPT_SLASH { '/' } else { c };
        self.keeps_slash.then(|| Self {
            text: self.text.chars().map(slash).collect::<String>().into(),
            has_parameters: self.has_parameters,
            keeps_slash: false,
        })
    }

    /// The text after each slash. `OPTIONS *` names no path, so it has none.
    pub(crate) fn segments(&self) -> Option<impl Iterator<Item = &str>> {
        self.text.strip_prefix('/').map(|path| path.split('/'))
    }

    /// The text after the slash of this number.
    pub(crate) fn segment(&self, at: usize) -> Option<&[u8]> {
        self.text.as_bytes().split(|byte| *byte == b'/').nth(at.saturating_add(1))
    }

    /// Whether a segment has parameters.
    pub(crate) fn has_parameters(&self) -> bool {
        self.has_parameters
    }

    /// The decoded text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The path without its query, if it is short enough.
///
/// Some services end the path at the last question mark instead of the first. What they interpret
/// as further segments must be valid segments.
fn without_query(target: &[u8]) -> Result<&[u8], BadPath> {
    let most = target.get(..=MAX_PATH).unwrap_or(target);
    let Some(end) = most.iter().position(|byte| *byte == b'?') else {
        return if target.len() > MAX_PATH { Err(BadPath) } else { Ok(target) };
    };
    let (path, query) = target.split_at_checked(end).ok_or(BadPath)?;
    let last = query.iter().rposition(|byte| *byte == b'?').unwrap_or_default();
    for raw in query.get(1..last).unwrap_or_default().split(|byte| *byte == b'/') {
        segment(raw)?;
    }
    Ok(path)
}

/// Whether the path is already decoded, as most are: a limited number of segments of visible ASCII
/// without escapes and parameters, none of which begins with a dot, and none but the last is empty.
fn is_plain(path: &[u8]) -> bool {
    let mut segments = 0_usize;
    let mut begins = false;
    for byte in path {
        match byte {
            b'/' | b'.' if begins => return false,
            b'%' | b'\\' | b'#' | b';' => return false,
            b'/' => (begins, segments) = (true, segments.saturating_add(1)),
            0x21..=0x7e => begins = false,
            _ => return false,
        }
    }
    path.starts_with(b"/") && segments <= MAX_SEGMENTS
}

/// The part of a segment before its first escaped slash, and the part after it, if it has one.
fn until_escaped_slash(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    let is_slash = |escape: &[u8]| escape.eq_ignore_ascii_case(b"%2F");
    let at = raw.windows(3).position(is_slash).unwrap_or(raw.len());
    let (piece, rest) = raw.split_at_checked(at).unwrap_or_default();
    (piece, rest.get(3..))
}

/// Bytes as text.
fn utf8(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, BadPath> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    }
    .ok_or(BadPath)
}

/// One segment, decoded.
fn segment(raw: &[u8]) -> Result<String, BadPath> {
    let decoded = unescape(raw)?;
    // Servlet containers remove parameters before they check for dot segments.
    let name = decoded.split(';').next().unwrap_or_default();
    let is_dots = matches!(name, "." | "..");
    let is_nameless = name.is_empty() && !decoded.is_empty();
    if is_dots || is_nameless || decoded.trim() != decoded || name.trim() != name {
        return Err(BadPath);
    }
    if decoded.chars().any(char::is_control) || has_escape(decoded.as_bytes()) {
        return Err(BadPath);
    }
    Ok(decoded)
}

/// Text without its escapes.
fn unescape(raw: &[u8]) -> Result<String, BadPath> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (hex(bytes.next())? << 4 | hex(bytes.next())?, true),
            _ => (byte, false),
        };
        match byte {
            // Some services decode a path before they find its end.
            b'\\' | b'#' => return Err(BadPath),
            b'/' | b'?' if escaped => return Err(BadPath),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| BadPath)
}

/// Whether decoded text contains another escape: some services decode twice.
fn has_escape(text: &[u8]) -> bool {
    text.windows(3).any(|window| {
        matches!(window, [b'%', first, second]
            if first.is_ascii_hexdigit() && second.is_ascii_hexdigit())
    })
}

/// The value of a hexadecimal digit.
fn hex(digit: Option<u8>) -> Result<u8, BadPath> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16)).ok_or(BadPath)?;
    u8::try_from(value).map_err(|_| BadPath)
}

/// A pattern of segments: `*` matches any one or a part of one, `**` at the end matches the rest,
/// also none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PathPattern {
    /// The segments before the rest.
    pub(crate) segments: Vec<Segment>,
    /// Whether `**` follows.
    pub(crate) rest: bool,
}

/// One segment of a pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// `*`: any segment that is not empty.
    Any,
    /// This text, decoded.
    Literal(Box<str>),
    /// `*.pdf`: any text between others.
    Partial(Arc<Affixes>),
}

/// The texts before and after a `*`, decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Affixes {
    pub(crate) prefix: Box<str>,
    pub(crate) suffix: Box<str>,
}

impl Segment {
    /// Parses a segment that is no wildcard as a whole, and which is valid.
    fn parse(raw: &str) -> Result<Self, &'static str> {
        let text = |raw: &str| unescape(raw.as_bytes()).map_err(|BadPath| "invalid segment");
        let Some((prefix, suffix)) = raw.split_once('*') else {
            return Ok(Self::Literal(text(raw)?.into()));
        };
        if suffix.contains('*') {
            return Err("a segment must not contain `*` more than once");
        }
        let (prefix, suffix) = (text(prefix)?, text(suffix)?);
        if prefix.contains(';') || suffix.contains(';') {
            return Err("a segment with parameters (`;`) must not contain `*`");
        }
        Ok(Self::Partial(Arc::new(Affixes { prefix: prefix.into(), suffix: suffix.into() })))
    }
}

impl Affixes {
    #[cfg(feature = "review")]
    pub(crate) fn in_lower_case(&self) -> Self {
        let [prefix, suffix] =
            [&self.prefix, &self.suffix].map(|text| text.to_ascii_lowercase().into());
        Self { prefix, suffix }
    }

    /// Whether the segment has both, and at least one character between them.
    pub(crate) fn match_segment(&self, segment: &[u8]) -> bool {
        let Self { prefix, suffix } = self;
        segment.len() > prefix.len().saturating_add(suffix.len())
            && segment.starts_with(prefix.as_bytes())
            && segment.ends_with(suffix.as_bytes())
    }
}

impl PathPattern {
    /// Parses a pattern. Wildcards are recognized before escapes are decoded: `%2A` is an asterisk.
    ///
    /// # Errors
    /// What is expected.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        let Some(path) = pattern.strip_prefix('/') else {
            return Err("must begin with a slash");
        };
        if pattern.contains(['?', '#']) {
            return Err("must not contain a query or a fragment");
        }
        // A path that would be rejected in a request cannot match.
        RequestPath::parse(pattern.as_bytes()).map_err(|BadPath| {
            "must not contain an encoded slash, dot segment, empty segment except the last, \
             backslash, control character or invalid escape: such requests get 400"
        })?;
        let mut raw: Vec<&str> = path.split('/').collect();
        let rest = raw.last() == Some(&"**");
        if rest {
            raw.pop();
        }
        let read = |raw: &&str| match *raw {
            "*" => Ok(Segment::Any),
            "**" => Err("`**` must be the last segment"),
            raw => Segment::parse(raw),
        };
        Ok(Self { segments: raw.iter().map(read).collect::<Result<_, _>>()?, rest })
    }

    /// The pattern in lower case.
    #[cfg(feature = "review")]
    pub(crate) fn in_lower_case(&self) -> Self {
        let segment = |segment: &Segment| match segment {
            Segment::Any => Segment::Any,
            Segment::Literal(text) => Segment::Literal(text.to_ascii_lowercase().into()),
            Segment::Partial(affixes) => Segment::Partial(affixes.in_lower_case().into()),
        };
        Self { segments: self.segments.iter().map(segment).collect(), rest: self.rest }
    }

    /// Whether the path matches: what the index of rules must agree with.
    #[cfg(test)]
    pub(crate) fn matches(&self, path: &RequestPath<'_>) -> bool {
        self.matches_text(&path.text)
    }

    /// Whether a decoded path matches.
    #[cfg(any(test, feature = "review"))]
    pub(crate) fn matches_text(&self, path: &str) -> bool {
        let mut given = path.split('/').skip(1);
        for segment in &self.segments {
            let matches = match (segment, given.next()) {
                (Segment::Any, Some(given)) => !given.is_empty(),
                (Segment::Literal(text), Some(given)) => **text == *given,
                (Segment::Partial(affixes), Some(given)) => affixes.match_segment(given.as_bytes()),
                (_, None) => false,
            };
            if !matches {
                return false;
            }
        }
        // `OPTIONS *` names no path, so nothing is below it.
        path != "*" && (self.rest || given.next().is_none())
    }
}

#[cfg(test)]
mod tests;
