//! How services read paths, hosts, authorization values and header names: each way is one that a real
//! library has. They are written from those, not from the filter.

use std::borrow::Cow;

use url::Url;

/// The paths that services find in a request target, decoded, with dot segments resolved.
pub fn paths(target: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for raw in raw_paths(target) {
        // WSGI servers and Express decode once; programs behind a server that has decoded, again.
        for times in 0..=2 {
            for drop_parameters in [Parameters::Kept, Parameters::Dropped, Parameters::DroppedLast]
            {
                let raw = match drop_parameters {
                    Parameters::Dropped => without_parameters(&raw),
                    _ => raw.clone(),
                };
                let mut path = raw;
                for _ in 0..times {
                    path = shortest(&decoded(&path));
                }
                if drop_parameters == Parameters::DroppedLast {
                    path = without_parameters(&path);
                }
                found.push(path.clone());
                // C programs end a text at NUL.
                found.push(resolved(path.split(|byte| *byte == 0).next().unwrap_or_default()));
                found.push(resolved(&path));
                // `new URL` of browsers and Node.js, and IIS.
                let slashes = path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte });
                found.push(resolved(&slashes.collect::<Vec<u8>>()));
                // Programs that trim each segment.
                let trimmed = path.split(|byte| *byte == b'/').map(<[u8]>::trim_ascii);
                found.push(resolved(&trimmed.collect::<Vec<_>>().join(&b'/')));
            }
        }
    }
    found
}

/// What is done with `;v=1` in a segment.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Parameters {
    /// It is a part of the name.
    Kept,
    /// Servlet containers drop it, then decode.
    Dropped,
    /// Others decode first.
    DroppedLast,
}

/// The parts of a target that are taken for its path.
fn raw_paths(target: &[u8]) -> Vec<Vec<u8>> {
    let cut = |at: Option<usize>| at.map_or(target, |at| &target[..at]).to_vec();
    let is_mark = |byte: &u8| *byte == b'?';
    let first = cut(target.iter().position(is_mark));
    // lighttpd as Debian configures it.
    let last = cut(target.iter().rposition(is_mark));
    // `urlsplit` and `new URL` know fragments.
    let fragment = first.split(|byte| *byte == b'#').next().unwrap_or_default().to_vec();
    // Python drops these from URLs.
    let dropped = |byte: &u8| !matches!(byte, b'\t' | b'\r' | b'\n');
    let without: Vec<u8> = fragment.iter().copied().filter(dropped).collect();
    let mut found = vec![first, last, fragment, without];
    if let Ok(text) = std::str::from_utf8(target) {
        let base = Url::parse("http://service.test").expect("a URL");
        for url in [base.join(text), Url::parse(&format!("http://service.test{text}"))] {
            found.extend(url.map(|url| url.path().as_bytes().to_vec()));
        }
        // Two slashes begin an authority.
        if let Some(rest) = text.strip_prefix("//") {
            found.extend(rest.find('/').map(|slash| rest.as_bytes()[slash..].to_vec()));
        }
    }
    found
}

/// Percent-decoded, once; what is no escape stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                found.push(byte);
                rest = &after[2..];
            }
            _ => {
                found.push(*first);
                rest = after;
            }
        }
    }
    found
}

/// With overlong forms of two bytes as the characters that old decoders take them for.
fn shortest(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let (0xc0 | 0xc1, Some(second @ 0x80..=0xbf)) = (first, after.first()) {
            found.push((first & 1) << 6 | (second & 0x3f));
            rest = &after[1..];
        } else {
            found.push(*first);
            rest = after;
        }
    }
    found
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/');
    let names = names.map(|name| name.split(|byte| *byte == b';').next().unwrap_or_default());
    names.collect::<Vec<_>>().join(&b'/')
}

/// Without dot segments and repeated slashes.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    let mut is_folder = false;
    for name in path.split(|byte| *byte == b'/') {
        is_folder = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => _ = names.pop(),
            name => names.push(name),
        }
    }
    let end: &[u8] = if is_folder && !names.is_empty() { b"/" } else { b"" };
    [b"/", &*names.join(&b'/'), end].concat()
}

/// The hosts that services find in `Host`, in lower case.
pub fn hosts(authority: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(authority).into_owned();
    let mut found: Vec<String> = Vec::new();
    // Repeated headers are joined.
    let parts: Vec<&str> = [text.as_str()].into_iter().chain(text.split(',')).collect();
    for part in parts {
        let decoded = String::from_utf8_lossy(&decoded(part.as_bytes())).into_owned();
        for text in [part, &decoded] {
            for url in [format!("http://{text}"), format!("http://{}", text.trim())] {
                found.extend(
                    Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned)),
                );
            }
            let ended = text.split(['/', '?', '#', '\\']).next().unwrap_or_default();
            for text in [text, ended] {
                // `parse_url` of PHP looks for the last, others for the first.
                let after_last = text.rsplit('@').next().unwrap_or_default();
                let after_first = text.split_once('@').map_or(text, |(_, after)| after);
                let before = text.split('@').next().unwrap_or_default();
                for name in [text, after_last, after_first, before] {
                    found.push(name.to_owned());
                    found.extend(name.split_once(':').map(|(name, _)| name.to_owned()));
                    found.extend(name.rsplit_once(':').map(|(name, _)| name.to_owned()));
                    found.extend(name.split('\0').next().map(str::to_owned));
                }
            }
        }
    }
    let ends = |name: String| name.trim().trim_end_matches('.').to_ascii_lowercase();
    found.into_iter().map(ends).collect()
}

/// The tokens that services find in the value of `Authorization`.
pub fn tokens(value: &[u8]) -> Vec<String> {
    let latin: String = value.iter().map(|byte| char::from(*byte)).collect();
    let utf8 = String::from_utf8_lossy(value).into_owned();
    let mut found = Vec::new();
    for text in [&latin, &utf8] {
        let headers = text.split(',');
        for header in [text.as_str()].into_iter().chain(headers) {
            found.extend(second_word(header, is_python_space));
            found.extend(second_word(header, char::is_whitespace));
            // Python's `strip` with the signs around some values.
            let trimmed = header.trim_matches(['"', '\'', '\u{feff}']);
            found.extend(second_word(trimmed, is_python_space));
        }
        found.extend(laravel(text));
        found.extend(preg_match(text));
    }
    found.into_iter().map(|token| token.trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

/// Django REST framework, passport-jwt, and most programs: the words are a scheme and a token.
fn second_word(header: &str, is_space: fn(char) -> bool) -> Option<String> {
    let mut words = header.split(is_space).filter(|word| !word.is_empty());
    let scheme = words.next()?;
    if scheme.eq_ignore_ascii_case("bearer") { words.next().map(str::to_owned) } else { None }
}

/// Python's white space, which has these separators too.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// Laravel: what follows the last `Bearer `, up to a comma.
fn laravel(value: &str) -> Option<String> {
    let at = value.to_ascii_lowercase().rfind("bearer ")?;
    value[at + 7..].split(',').next().map(str::to_owned)
}

/// Programs in PHP without a framework: `/Bearer\s+(\S+)/i`, and the same anchored.
fn preg_match(value: &str) -> Option<String> {
    let lower: Cow<'_, str> = value.to_ascii_lowercase().into();
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    for (at, word) in lower.match_indices("bearer") {
        let after = &value[at + word.len()..];
        let token = after.trim_start_matches(is_space);
        let token = token.split(is_space).next().unwrap_or_default();
        if after.starts_with(is_space) && !token.is_empty() {
            return Some(token.to_owned());
        }
    }
    None
}

/// The variable in which CGI, WSGI and PHP have a header.
pub fn variable(name: &str) -> String {
    let character = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(character).collect()
}
