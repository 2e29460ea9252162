use super::*;

fn text(path: &str) -> Result<String, BadPath> {
    RequestPath::parse(path.as_bytes()).map(|path| path.as_str().to_owned())
}

#[test]
fn d4_05_paths_are_compared_decoded() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a?b=/../c", "/a"),
        ("/a?", "/a"),
        ("/%61%2d%2E%5f%7e", "/a-._~"),
        ("/v1/orders%3Apurge", "/v1/orders:purge"),
        ("/%21%24%26%27%28%29%2A%2b%2C%3d%40", "/!$&'()*+,=@"),
        ("/a%20b", "/a b"),
        ("/caf%c3%a9", "/café"),
        ("/café", "/café"),
        ("/a%7Cb", "/a|b"),
        ("/a|b", "/a|b"),
        ("/100%25", "/100%"),
        ("/a.b/.c/...", "/a.b/.c/..."),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a%3Bx=1/b", "/a;x=1/b"),
        ("*", "*"),
    ] {
        assert_eq!(text(path), Ok(expected.to_owned()), "{path}");
    }
}

#[test]
fn d4_05_paths_that_services_read_in_different_ways_are_bad() {
    for path in [
        // No path.
        "",
        "a",
        "http://h/a",
        "**",
        "?",
        "#",
        // Escaped delimiters, backslashes, fragments.
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%3fb",
        "/a%23b",
        "/a#b",
        // Broken escapes.
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%2g",
        "/%2",
        "/%u002e%u002e/a",
        // Control characters.
        "/a%00",
        "/a\u{1}",
        "/a\u{7f}",
        "/a%0a",
        "/a%7F",
        "/a%0d%0ab",
        "/a%c2%85b",
        // Dot segments.
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a/.",
        "/../a",
        "/a/%2e%2e/b",
        "/a/%2E/b",
        "/a/.%2e/b",
        // Dot segments and empty ones with parameters.
        "/a/..;/b",
        "/a/.;x=1",
        "/a/%2e%2e;/b",
        "/a/..%3b/b",
        "/a/;x/b",
        "/;",
        // Empty segments.
        "//",
        "//a",
        "/a//b",
        "/a//",
        "//a///b//",
        // Escapes of escapes.
        "/%252e%252e/a",
        "/a%252fb",
        "/a%25252f",
        "/%25%32%65",
        "/%2525",
        // Overlong and other invalid UTF-8.
        "/%c0%ae%c0%ae/a",
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/%ed%a0%80",
        "/caf%e9",
        // White space around a segment.
        "/a%20",
        "/%20a",
        "/a%20/b",
        "/a%c2%a0",
        "/a%20;x",
    ] {
        assert_eq!(text(path), Err(BadPath), "{path}");
    }
    assert_eq!(text("/fine?but=%zz%2f\\#"), Ok("/fine".to_owned()));
}

#[test]
fn d4_05_a_query_with_another_question_mark_may_be_a_part_of_the_path() {
    for path in [
        "/a?/../b?",
        "/a?/../b?x",
        "/a?b/./c?",
        "/a?x/%2e%2e/b?y",
        "/a?x/%2E./b?y?z",
        "/a?x/..;v=1/b?",
        "/a?%2f..%2fb?",
        "/a?\\..\\b?",
        "/a?x/%252e%252e/b?",
        "/a?x/%c0%ae%c0%ae/b?",
        "/a?../b?",
    ] {
        assert_eq!(text(path), Err(BadPath), "{path}");
    }
    for path in ["/a?b?", "/a??", "/a?b=c/d&e=f?g", "/a?u=https://h/x?y=/../z", "/a?x=..&y=?"] {
        assert_eq!(text(path), Ok("/a".to_owned()), "{path}");
    }
}

#[test]
fn d4_05_a_path_has_at_most_8_kib_and_256_segments() {
    let long = format!("/{}", "a".repeat(8 * 1024 - 1));
    assert!(text(&long).is_ok() && text(&format!("{long}?{long}{long}")).is_ok());
    assert_eq!(text(&format!("{long}a")), Err(BadPath));
    assert_eq!(text(&format!("{long}a?x")), Err(BadPath));
    let escaped = format!("/{}", "%61".repeat(2730));
    assert!(text(&escaped).is_ok());
    for segment in ["/a", "/%61"] {
        assert!(text(&segment.repeat(256)).is_ok(), "{segment}");
        assert_eq!(text(&segment.repeat(257)), Err(BadPath), "{segment}");
    }
}

#[test]
fn plain_paths_are_read_as_others_and_owned_ones_as_borrowed_ones() {
    let mut plain = 0;
    let mut check = |path: &[u8]| {
        let parsed = RequestPath::parse(path);
        let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
        let refuse = |path| RequestPath::decode(path, EncodedSlash::Refuse);
        let decoded = without_query(path).and_then(refuse);
        assert_eq!(parsed, decoded, "{:?}", path.escape_ascii());
        assert_eq!(parsed, RequestPath::parse(path.to_vec()), "{:?}", path.escape_ascii());
        plain += usize::from(is_plain(&path[..end]));
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
    assert!(plain > 10_000, "{plain}");
}

#[test]
fn an_escaped_slash_that_is_kept_is_a_character_between_valid_segments() {
    let keep = |path: &str| RequestPath::parse_with(path.as_bytes().to_vec(), EncodedSlash::Keep);
    for (path, kept, slashes) in [
        ("/a%2fb", "/a|b", "/a/b"),
        ("/@scope%2Fname/1", "/@scope|name/1", "/@scope/name/1"),
        ("/a%2Fb%2fc/", "/a|b|c/", "/a/b/c/"),
        ("/%61%2F%62?x=%2f/..", "/a|b", "/a/b"),
        ("/a%2F...%2F.b", "/a|...|.b", "/a/.../.b"),
        ("/a;x%2Fb", "/a;x|b", "/a;x/b"),
        ("/a%25%2Fb", "/a%|b", "/a%/b"),
    ] {
        let parsed = keep(path).unwrap();
        assert_eq!(parsed.as_str().replace(KEPT_SLASH, "|"), kept, "{path}");
        let other = parsed.with_slashes().unwrap();
        assert_eq!(other.as_str(), slashes, "{path}");
        assert_eq!(other.with_slashes(), None);
        // As if it had these slashes.
        assert_eq!(Ok(other), RequestPath::parse(slashes.replace('%', "%25").into_bytes()));
        assert_eq!(text(path), Err(BadPath), "{path}");
    }
    for path in [
        "/%2f",
        "/%2Fa",
        "/a%2f",
        "/a%2F/b",
        "/a/%2fb",
        "/a%2F%2Fb",
        "/a%2f?",
        "/..%2fa",
        "/a%2f..",
        "/a%2F.%2Fb",
        "/a%2f%2e%2E%2fb",
        "/a%2f..;x",
        "/a%2f;x",
        "/a%2f%20b",
        "/a%20%2fb",
        "/a%5cb",
        "/a%2fb%5C",
        "/a%252fb",
        "/a%2f%252e",
        "/a%25%32%66b",
        "/a%2%2Fb",
        "/%%2f2fa",
        "/a%2",
        "/a%2f%00b",
        "/a\0b",
        "/a%2fb/../c",
        "/a%2fb//c",
        "/a?x%2fy?",
        "%2fa",
        "*%2fa",
    ] {
        assert_eq!(keep(path), Err(BadPath), "{path}");
    }
    assert_eq!(keep("/a/b").map(|path| path.with_slashes()), Ok(None));
    assert!(keep(&"/a%2fa".repeat(128)).is_ok());
    assert_eq!(keep(&format!("{}/a", "/a%2fa".repeat(128))), Err(BadPath));
}

#[test]
fn patterns_match_whole_segments() {
    let table: [(&str, &[&str], &[&str]); 16] = [
        ("/", &["/"], &["/a"]),
        ("/healthz", &["/healthz", "/%68ealthz"], &["/healthz/", "/Healthz"]),
        ("/orders/*", &["/orders/1"], &["/orders", "/orders/", "/orders/1/2", "/orders/1/"]),
        ("/orders/**", &["/orders", "/orders/", "/orders/1/2"], &["/ordersx", "/order", "/"]),
        ("/*/b", &["/a/b"], &["/b", "/a/b/c"]),
        ("/**", &["/", "/a/b/"], &["*"]),
        ("/caf%c3%a9", &["/café", "/caf%C3%A9"], &["/cafe"]),
        ("/a/", &["/a/"], &["/a"]),
        ("/a%2A%3Ab", &["/a*:b", "/a%2a%3ab"], &["/ax:b"]),
        (
            "/orders/*:cancel",
            &["/orders/1:cancel", "/orders/a%20b:canc%65l", "/orders/%2A%3acancel"],
            &["/orders/:cancel", "/orders/1:cancel/", "/orders/1:Cancel", "/orders/1"],
        ),
        ("/f/*.pdf", &["/f/a.pdf", "/f/.pdf.pdf", "/f/é.pdf"], &["/f/.pdf", "/f/a.pdfx", "/f/"]),
        ("/v*", &["/v1", "/vv", "/v*"], &["/v", "/", "/V1", "/v1/"]),
        ("/v*/x/**", &["/v1/x", "/v1/x/y"], &["/v/x", "/v1"]),
        // The texts do not share a character.
        ("/ab*ba", &["/abxba", "/ababa"], &["/aba", "/abba"]),
        ("/%2A*%2a", &["/*x*", "/***"], &["/**", "/x*", "/*x"]),
        ("/a%20*%25", &["/a%20x%25"], &["/a%20%25", "/ax%25"]),
    ];
    for (pattern, matching, others) in table {
        let matches = |path: &&&str| {
            let path = RequestPath::parse(path.as_bytes()).unwrap();
            PathPattern::parse(pattern).unwrap().matches(&path)
        };
        assert_eq!(matching.iter().find(|path| !matches(path)), None, "{pattern}");
        assert_eq!(others.iter().find(matches), None, "{pattern}");
    }
    assert_eq!(
        PathPattern::parse("/%2A").unwrap().segments,
        [Segment::Literal("*".into())],
        "an escaped asterisk is no wildcard"
    );
}

#[test]
fn patterns_that_could_not_mean_what_they_say_are_refused() {
    for pattern in [
        "", "a", "*", "/a/**/b", "/a**", "/**a", "/a*b*c", "/a;*", "/*%3bx", "/a%2*A", "/%20*",
        "/a?b", "/a#b", "/a%2fb", "/%", "/a/../b", "//a", "/a%252fb", "/a%20", "/%c3*%a9", "/*%2f",
    ] {
        assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
    }
}
