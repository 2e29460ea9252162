//! Request paths in one form, so that rules compare what a service would understand (RFC 3986,
//! section 6).

use std::fmt::Write;

/// A path after percent-decoding unreserved characters, removing dot segments and merging slashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NormalPath(String);

/// A path that services read in different ways: no rule can be sure what it names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadPath;

impl NormalPath {
    /// The form of a request's `:path`; its query does not count.
    ///
    /// # Errors
    /// An encoded slash, any backslash, NUL or other control character, a broken escape, a dot
    /// segment with parameters (`..;`), one that would remove an empty segment (`//..`), or a path
    /// that does not begin with a slash (`*` of `OPTIONS *` excepted).
    pub(crate) fn parse(path: &[u8]) -> Result<Self, BadPath> {
        match normal(path) {
            Some(path) => Ok(Self(path.to_owned())),
            None => Self::normalize(path),
        }
    }

    /// The form of any path.
    fn normalize(path: &[u8]) -> Result<Self, BadPath> {
        let path = path.split(|b| matches!(b, b'?' | b'#')).next().unwrap_or_default();
        if path == b"*" {
            return Ok(Self("*".to_owned()));
        }
        let path = path.strip_prefix(b"/").ok_or(BadPath)?;
        let mut segments: Vec<String> = Vec::new();
        let mut ends_in_slash = false;
        for raw in path.split(|b| *b == b'/') {
            let segment = decode(raw)?;
            // A last segment that is empty or a dot leaves a slash at the end.
            ends_in_slash = matches!(segment.as_str(), "" | "." | "..");
            match segment.as_str() {
                "." => {}
                ".." => {
                    // Whoever merges slashes first sees no empty segment, and removes the one before.
                    if segments.pop().is_some_and(|last| is_empty(&last)) {
                        return Err(BadPath);
                    }
                }
                // Servlet containers drop `;x` from a segment first, and then see a dot segment.
                dots if dots.starts_with(".;") || dots.starts_with("..;") => return Err(BadPath),
                _ => segments.push(segment),
            }
        }
        let mut normal = String::with_capacity(path.len().saturating_add(1));
        for segment in segments.iter().filter(|segment| !segment.is_empty()) {
            normal.push('/');
            normal.push_str(segment);
        }
        if ends_in_slash || normal.is_empty() {
            normal.push('/');
        }
        Ok(Self(normal))
    }

    /// The text after each of its slashes. `OPTIONS *` names no path, so it has none.
    pub(crate) fn segments(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.strip_prefix('/').map(|path| path.split('/'))
    }

    /// The path's text.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The path without its query, if it clearly has the form already, as almost all have: a slash, then
/// visible ASCII without escapes, in segments of which none but the last is empty and none begins
/// with a dot.
fn normal(path: &[u8]) -> Option<&str> {
    let mut end = path.len();
    let mut begins = false;
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'?' | b'#' => {
                end = at;
                break;
            }
            b'/' | b'.' if begins => return None,
            b'%' | b'\\' => return None,
            0x21..=0x7e => begins = *byte == b'/',
            _ => return None,
        }
    }
    let path = std::str::from_utf8(path.get(..end)?).ok()?;
    path.starts_with('/').then_some(path)
}

/// Whether a segment has no text, or none before its parameters (`;x`), which some services drop.
fn is_empty(segment: &str) -> bool {
    segment.is_empty() || segment.starts_with(';')
}

/// One segment with its unreserved characters decoded and all else in one spelling.
fn decode(raw: &[u8]) -> Result<String, BadPath> {
    let mut segment = String::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (hex(bytes.next())? << 4 | hex(bytes.next())?, true),
            _ => (byte, false),
        };
        match byte {
            b'/' | b'\\' | 0 => return Err(BadPath),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            0x21..=0x7e if !escaped => segment.push(char::from(byte)),
            0x00..=0x1f | 0x7f if !escaped => return Err(BadPath),
            // Writing to a String does not fail.
            _ => _ = write!(segment, "%{byte:02X}"),
        }
    }
    Ok(segment)
}

/// The value of a hexadecimal digit.
fn hex(digit: Option<u8>) -> Result<u8, BadPath> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16)).ok_or(BadPath)?;
    u8::try_from(value).map_err(|_| BadPath)
}

/// A pattern of whole segments: `*` fits any one, `**` at the end fits the rest, be it empty.
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
    /// The same text.
    Literal(Box<str>),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What would be right.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        if !pattern.starts_with('/') {
            return Err("a path pattern begins with a slash");
        }
        if pattern.contains(['?', '#']) {
            return Err("a path pattern has no query and no fragment");
        }
        let NormalPath(normal) = NormalPath::parse(pattern.as_bytes()).map_err(|BadPath| {
            "a path pattern has no encoded slash, no backslash, no NUL and no broken escape: a \
             request with one gets 400 before any rule is looked at"
        })?;
        let mut segments: Vec<&str> = normal.split('/').skip(1).collect();
        let rest = segments.last() == Some(&"**");
        if rest {
            segments.pop();
        }
        let segment = |text: &&str| match *text {
            "*" => Ok(Segment::Any),
            "**" => Err("`**` fits the rest of a path, so it stands last"),
            text if text.contains('*') => Err("`*` stands for a whole segment"),
            text => Ok(Segment::Literal(text.into())),
        };
        Ok(Self { segments: segments.iter().map(segment).collect::<Result<_, _>>()?, rest })
    }

    /// Whether the path fits: what the index of rules must agree with.
    #[cfg(test)]
    pub(crate) fn fits(&self, path: &NormalPath) -> bool {
        let mut given = path.0.split('/').skip(1);
        for segment in &self.segments {
            let fits = match (segment, given.next()) {
                (Segment::Any, Some(given)) => !given.is_empty(),
                (Segment::Literal(text), Some(given)) => **text == *given,
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        // `OPTIONS *` names no path, so nothing is below it.
        path.0 != "*" && (self.rest || given.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(path: &str) -> Result<String, BadPath> {
        NormalPath::parse(path.as_bytes()).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn d4_05_paths_are_compared_in_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a?b=/../c", "/a"),
            ("/a#b", "/a"),
            ("//a///b//", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/../../a", "/a"),
            ("//a/..//b", "/b"),
            ("/a/b;x/../c", "/a/c"),
            ("/%61%2d%2E%5f%7e", "/a-._~"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E/b", "/a/b"),
            ("/a/.%2e/b", "/b"),
            ("/a%20b", "/a%20b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/%21!", "/%21!"),
            ("/a%0a%7F", "/a%0A%7F"),
            ("*", "*"),
        ] {
            assert_eq!(form(path), Ok(expected.to_owned()), "{path}");
        }
    }

    #[test]
    fn d4_05_paths_that_services_read_in_different_ways_are_bad() {
        for path in [
            "",
            "a",
            "http://h/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%2g",
            "/a\u{1}",
            "/a b\u{7f}",
            "/%2",
            "**",
            "/a/..;/b",
            "/a/.;x=1",
            "/a/%2e%2e;/b",
            "/a//../b",
            "/a//./%2e%2e/b",
            "/a//b/../../c",
            "/a/;x/../b",
            "//..",
        ] {
            assert_eq!(form(path), Err(BadPath), "{path}");
        }
        assert_eq!(form("/fine?but=%zz%2f\\"), Ok("/fine".to_owned()));
    }

    #[test]
    fn paths_that_have_the_form_already_are_read_as_others() {
        let mut quick = 0;
        let mut check = |path: &[u8]| {
            let parsed = NormalPath::parse(path);
            assert_eq!(parsed, NormalPath::normalize(path), "{:?}", path.escape_ascii());
            quick += usize::from(normal(path).is_some());
        };
        // All paths of up to six bytes that matter, and all bytes in pairs.
        let alphabet = b"/.;a%2\\?";
        let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..6 {
            for path in &paths {
                check(path);
            }
            let longer = |path: &Vec<u8>| {
                let path = path.clone();
                alphabet.iter().map(move |byte| [&*path, &[*byte]].concat())
            };
            paths = paths.iter().flat_map(longer).collect();
        }
        for path in &paths {
            check(path);
        }
        for pair in 0..=u16::MAX {
            let [first, second] = pair.to_be_bytes();
            check(&[b'/', first, second]);
            check(&[b'/', b'a', first, second, b'b']);
        }
        assert!(quick > 10_000, "{quick}");
    }

    #[test]
    fn patterns_fit_whole_segments() {
        let table: [(&str, &[&str], &[&str]); 8] = [
            ("/", &["/", "//", "/a/.."], &["/a"]),
            ("/healthz", &["/healthz", "/x/../healthz", "//healthz"], &["/healthz/", "/Healthz"]),
            ("/orders/*", &["/orders/1"], &["/orders", "/orders/", "/orders/1/2", "/orders/1/"]),
            ("/orders/**", &["/orders", "/orders/", "/orders/1/2"], &["/ordersx", "/order", "/"]),
            ("/*/b", &["/a/b"], &["/b", "//b", "/a/b/c"]),
            ("/**", &["/", "/a/b/"], &["*"]),
            ("/caf%c3%a9", &["/café", "/caf%C3%A9"], &["/cafe"]),
            ("/a/", &["/a/", "/a/."], &["/a"]),
        ];
        for (pattern, fitting, others) in table {
            let fits = |path: &&&str| {
                let path = NormalPath::parse(path.as_bytes()).unwrap();
                PathPattern::parse(pattern).unwrap().fits(&path)
            };
            assert_eq!(fitting.iter().find(|path| !fits(path)), None, "{pattern}");
            assert_eq!(others.iter().find(fits), None, "{pattern}");
        }
    }

    #[test]
    fn patterns_that_could_not_mean_what_they_say_are_refused() {
        for pattern in ["", "a", "*", "/a/**/b", "/a*", "/**a", "/a?b", "/a#b", "/a%2fb", "/%"] {
            assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
