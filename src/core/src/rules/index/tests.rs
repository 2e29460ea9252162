//! The index against a scan of all rules.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use super::*;
use crate::http::authority::{Authority, HostPattern};
use crate::http::body::Body;
use crate::http::head::{Fields, Head};
use crate::http::header_name::BadHeader;
use crate::http::path::BadPath;
use crate::rules::header::ValueTest;
use crate::rules::matcher::method_matches;
use crate::rules::target::*;

/// Numbers that look random and are the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % sides
    }

    /// One of these.
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    /// One to three of these, or nothing: no configuration has an empty list.
    fn list<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Option<Vec<T>> {
        let list: Vec<T> = (0..self.roll(4)).map(|_| one(self)).collect();
        (!list.is_empty()).then_some(list)
    }

    /// A path of up to `most` segments, each one of these.
    fn path(&mut self, most: usize, of: &[&str]) -> String {
        let segments: Vec<&str> = (0..=self.roll(most)).map(|_| self.pick(of)).collect();
        format!("/{}", segments.join("/"))
    }
}

const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "OPTIONS"];

fn matcher(dice: &mut Dice, segments: &[&str]) -> Matcher {
    const HOSTS: [&str; 8] =
        ["a.test", "b.test", "x.a.test", "*.test", "*.a.test", "*.x.a.test", "test", "[::1]"];
    Matcher {
        hosts: dice.list(|dice| HostPattern::parse(dice.pick(&HOSTS)).unwrap()),
        methods: dice.list(|dice| dice.pick(&METHODS[..3]).into()),
        paths: dice.list(|dice| {
            let rest = if dice.roll(3) == 0 { "/**" } else { "" };
            let path = dice.path(4, segments);
            PathPattern::parse(&format!("{path}{rest}")).unwrap()
        }),
        headers: Arc::default(),
    }
}

/// One that tests headers, too.
fn matcher_of_headers(dice: &mut Dice, segments: &[&str]) -> Matcher {
    Matcher { headers: header_tests(dice).into(), ..matcher(dice, segments) }
}

/// Conditions on none of two headers, one or both.
fn header_tests(dice: &mut Dice) -> Vec<HeaderTest> {
    let mut tests = Vec::new();
    for name in ["x-a", "x-b"] {
        let value = match dice.roll(16) {
            0 => ValueTest::Absent,
            1 => ValueTest::Prefix(dice.pick(&["a", "aa", "b"]).into()),
            2 => ValueTest::AnyOf(vec!["a".into(), dice.pick(&["ab", "b"]).into()]),
            _ => continue,
        };
        tests.push(HeaderTest { name: name.into(), value });
    }
    tests
}

/// A request: method, host, path, where there is one, and headers.
type Request<'a> = (&'a str, &'a str, Option<String>, Vec<(&'a str, &'a str)>);

fn request(dice: &mut Dice, segments: &[&str]) -> Request<'static> {
    const HOSTS: [&str; 12] = [
        "a.test",
        "A.test:80",
        "b.test.",
        "x.a.test",
        "y.x.a.test",
        "q.w.e.test",
        "test",
        "a.test:80@b.test",
        "..test",
        "atest",
        "[::1]:8080",
        "",
    ];
    let path = match dice.roll(16) {
        0 => None,
        1 => Some("*".to_owned()),
        2 => Some("/bad%2fpath".to_owned()),
        _ => Some(dice.path(6, segments)),
    };
    let header = |dice: &mut Dice| {
        let name = dice.pick(&["x-a", "x-a", "x-b", "x-b", "x-b", "x_b", "x-c"]);
        (name, dice.pick(&["a", "ab", "aab", "b", "c", "", "=?base64?YQ==?=", "=?base64?Y"]))
    };
    let headers = (0..dice.roll(3)).map(|_| header(dice)).collect();
    (dice.pick(&METHODS), dice.pick(&HOSTS), path, headers)
}

fn head((method, host, path, headers): &Request<'_>) -> Fields {
    let path = path.as_deref().map(|path| (":path", path));
    let pseudo = [(":method", *method), (":authority", *host)].into_iter().chain(path);
    pseudo.chain(headers.iter().copied()).collect()
}

/// What a look at one rule after the other finds, with the path read before or when it is asked
/// for.
fn scan(
    rules: &[Matcher],
    request: &Request<'_>,
    path_first: bool,
) -> Result<Option<usize>, Undecided> {
    let fields = head(request);
    let (method, host, path, _) = request;
    let path = path.as_deref().map(|path| RequestPath::parse(path.as_bytes()));
    let has_parameters = matches!(&path, Some(Ok(path)) if path.has_parameters());
    let host = Authority::parse(host.as_bytes()).map(|authority| authority.host);
    let mut asked = path_first && rules.iter().any(|rule| rule.paths.is_some());
    for (number, Matcher { hosts, methods, paths, headers }) in rules.iter().enumerate() {
        let host_fits = match (hosts, &host) {
            (Some(list), Ok(host)) => list.iter().any(|pattern| pattern.matches(host)),
            _ => true,
        };
        let method_fits = methods
            .as_ref()
            .is_none_or(|list| list.iter().any(|listed| method_matches(listed, method)));
        if !host_fits || !method_fits {
            continue;
        }
        asked |= paths.is_some();
        let pattern = match (paths, &path) {
            (None, _) => None,
            (Some(_), None) => continue,
            (Some(_), Some(Err(BadPath))) => return Err(Undecided::BadPath),
            (Some(paths), Some(Ok(path))) => {
                match paths.iter().find(|pattern| pattern.matches(path)) {
                    Some(pattern) => Some((pattern, path)),
                    None => continue,
                }
            }
        };
        let headers: Vec<_> = headers.iter().map(|test| test.is_met(&fields)).collect();
        if headers.contains(&Ok(false)) {
            continue;
        }
        if hosts.is_some() && host.is_err() {
            return Err(Undecided::BadHost);
        }
        if headers.contains(&Err(BadHeader)) {
            return Err(Undecided::BadHeader);
        }
        let names_parameters = pattern.is_some_and(|(pattern, path)| {
            path.segments().into_iter().flatten().enumerate().all(|(at, segment)| {
                let literal = Some(&Segment::Literal(segment.into()));
                !segment.contains(';') || pattern.segments.get(at) == literal
            })
        });
        return if asked && has_parameters && !names_parameters {
            Err(Undecided::BadPath)
        } else {
            Ok(Some(number))
        };
    }
    if asked && has_parameters { Err(Undecided::BadPath) } else { Ok(None) }
}

fn index(matchers: Vec<Matcher>) -> RuleIndex<usize> {
    RuleIndex::new(matchers.into_iter().zip(0..))
}

#[test]
fn the_index_finds_what_a_scan_of_all_rules_finds() {
    compare_with_a_scan(matcher, false);
}

#[test]
fn the_index_of_rules_that_test_headers_finds_what_a_scan_finds() {
    compare_with_a_scan(matcher_of_headers, true);
}

/// Compares index and scan. Only inbound rules test headers, and there the path is read first,
/// whatever the rules ask for.
fn compare_with_a_scan(matcher: fn(&mut Dice, &[&str]) -> Matcher, tests_headers: bool) {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut found, mut missed, mut bad, mut bad_header) = (0, 0, 0, 0);
    for round in 0..600 {
        // Many small sets, a few that need several blocks.
        let many = if round % 100 == 0 { 1500 } else { 24 };
        let count = dice.roll(many);
        // With few segments many patterns fit one path, with more most do not.
        let segments: &[&str] = if round % 2 == 0 {
            &["a", "*", "c;x", "a*"]
        } else {
            &["a", "b", "c", "*", "d", "*b"]
        };
        let build = |seed: u64| {
            let mut dice = Dice(seed);
            (0..count).map(|_| matcher(&mut dice, segments)).collect::<Vec<_>>()
        };
        let seed = dice.0;
        let (rules, index) = (build(seed), index(build(seed)));
        for _ in 0..60 {
            let request = request(&mut dice, &["a", "b", "c", "d", "a", "*", "c;x", "ab", "a;b"]);
            let head = head(&request);
            for path_first in [false, true] {
                let target = Target::new(&head);
                if if path_first { target.path().is_err() } else { tests_headers } {
                    continue;
                }
                let expected = scan(&rules, &request, path_first);
                let got = index.find(&target).map(Option::<&usize>::copied);
                assert_eq!(got, expected, "round {round}, {path_first}: {request:?} by {rules:#?}");
                match expected {
                    Ok(Some(_)) => found += 1,
                    Ok(None) => missed += 1,
                    Err(Undecided::BadHeader) => bad_header += 1,
                    Err(_) => bad += 1,
                }
            }
        }
    }
    // The requests are of all kinds.
    assert!(found > 5_000 && missed > 5_000 && bad > 500, "{found} {missed} {bad}");
    assert_eq!(bad_header > 500, tests_headers, "{bad_header}");
}

/// All paths of one to `most` segments, each one of these.
fn all_paths(most: usize, segments: &[&str]) -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut shorter = 0;
    for _ in 0..most {
        let longest = paths.split_off(shorter);
        shorter += longest.len();
        let longer =
            |path: &String| segments.iter().map(|s| format!("{path}/{s}")).collect::<Vec<_>>();
        let longer: Vec<String> = longest.iter().flat_map(longer).collect();
        paths.extend(longest);
        paths.extend(longer);
    }
    paths.split_off(1)
}

#[test]
fn every_pattern_alone_fits_in_the_index_what_it_fits_by_itself() {
    let mut patterns = all_paths(3, &["a", "*", "a*", "*b"]);
    patterns.extend(patterns.iter().map(|path| format!("{path}/")).collect::<Vec<_>>());
    patterns.push("/".to_owned());
    let below = |path: &String| format!("{}/**", path.trim_end_matches('/'));
    patterns.extend(patterns.iter().map(below).collect::<Vec<_>>());
    for pattern in patterns {
        let pattern = PathPattern::parse(&pattern).unwrap();
        let paths = Some(vec![pattern.clone()]);
        let index = index(vec![Matcher { paths, ..Matcher::default() }]);
        let paths = all_paths(4, &["a", "ab"]);
        let ending = paths.iter().map(|path| format!("{path}/")).collect::<Vec<_>>();
        let paths = paths.iter().chain(&ending).map(String::as_str);
        for path in paths.chain(["*", "/"]) {
            let head = Fields::from_iter([(":path", path)]);
            let found = index.find(&Target::new(&head)).unwrap().is_some();
            let fits = pattern.matches(&RequestPath::parse(path.as_bytes()).unwrap());
            assert_eq!(found, fits, "{path} by {pattern:?}");
        }
    }
}

/// Rules that look at one path each.
fn by_path(paths: impl IntoIterator<Item = String>) -> Vec<Matcher> {
    let one = |path: String| Some(vec![PathPattern::parse(&path).unwrap()]);
    paths.into_iter().map(|path| Matcher { paths: one(path), ..Matcher::default() }).collect()
}

#[test]
fn rules_of_every_block_are_found_in_their_order() {
    let mut rules = by_path((0..2 * BLOCK).map(|n| format!("/{n}")));
    // The paths of this one are in two blocks.
    let paths = (BLOCK..3 * BLOCK).map(|n| PathPattern::parse(&format!("/{n}")).unwrap());
    rules.push(Matcher { paths: Some(paths.collect()), ..Matcher::default() });
    rules.extend(by_path(["/**".to_owned(), "/1".to_owned()]));
    let index = index(rules);
    for number in 0..4 * BLOCK {
        let path = format!("/{number}");
        let head = Fields::from_iter([(":path", &*path)]);
        let expected = match number {
            _ if number < 2 * BLOCK => number,
            _ if number < 3 * BLOCK => 2 * BLOCK,
            _ => 2 * BLOCK + 1,
        };
        let found = index.find(&Target::new(&head)).unwrap();
        assert_eq!(found, Some(&expected), "{path}");
    }
}

#[test]
fn candidates_are_what_a_scan_finds_without_the_method() {
    let mut dice = Dice(0x0123_4567_89AB_CDEF);
    let mut several = 0;
    for round in 0..400 {
        let count = dice.roll(if round % 100 == 0 { 1500 } else { 24 });
        let build = |seed: u64| {
            let mut dice = Dice(seed);
            (0..count).map(|_| matcher_of_headers(&mut dice, &["a", "*", "b"])).collect::<Vec<_>>()
        };
        let seed = dice.0;
        let (rules, index) = (build(seed), index(build(seed)));
        for _ in 0..20 {
            let (_, host, path, _) = request(&mut dice, &["a", "b", "c"]);
            let Ok(Authority { host, .. }) = Authority::parse(host.as_bytes()) else {
                continue;
            };
            let path = path.and_then(|path| RequestPath::parse(path.into_bytes()).ok());
            let mut expected = Vec::new();
            for (number, Matcher { hosts, methods, paths, headers }) in rules.iter().enumerate() {
                let path_fits = match (paths, &path) {
                    (Some(list), Some(path)) => list.iter().any(|one| one.matches(path)),
                    (None, _) | (_, None) => true,
                };
                let host_fits = |list: &Vec<HostPattern>| list.iter().any(|one| one.matches(&host));
                if path_fits && hosts.as_ref().is_none_or(host_fits) {
                    expected.push(number);
                    let is_free = methods.is_none() && headers.is_empty();
                    if is_free && (paths.is_none() || path.is_some()) {
                        break;
                    }
                }
            }
            let found: Vec<usize> =
                index.candidates(&host, path.as_ref()).into_iter().copied().collect();
            assert_eq!(found, expected, "{host} {path:?} by {rules:#?}");
            several += usize::from(found.len() > 1);
        }
    }
    assert!(several > 1_000, "{several}");
}

/// A head that knows what was read of it.
struct Watched(Fields, RefCell<Vec<String>>);

impl Head for Watched {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.1.borrow_mut().push(name.to_owned());
        self.0.value(name)
    }

    fn fields(&self) -> &Fields {
        self.1.borrow_mut().push("all".to_owned());
        self.0.fields()
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn body(&self) -> Body {
        Body::Empty
    }
}

#[test]
fn only_what_the_rules_ask_for_is_read_and_only_once() {
    let rule = |host: Option<&str>, method: Option<&str>, path: Option<&str>| Matcher {
        hosts: host.map(|host| vec![HostPattern::parse(host).unwrap()]),
        methods: method.map(|method| vec![method.into()]),
        paths: path.map(|path| vec![PathPattern::parse(path).unwrap()]),
        headers: Arc::default(),
    };
    let read = |index: &RuleIndex<usize>, method: &str, path: &str, path_first: bool| {
        let head = [(":method", method), (":authority", "a.test"), (":path", path)];
        let head = Watched(Fields::from_iter(head), RefCell::default());
        let target = Target::new(&head);
        if path_first {
            target.path().unwrap();
        }
        let found = index.find(&target).map(Option::<&usize>::copied);
        (found, head.1.into_inner())
    };
    let is = |(found, read): (Result<Option<usize>, Undecided>, Vec<String>),
              expected: Result<Option<usize>, Undecided>,
              names: &[&str]| {
        assert_eq!(found, expected);
        assert_eq!(read, names);
    };
    let all = [":authority", ":method", ":path"];

    is(read(&index(vec![]), "GET", "/", false), Ok(None), &[]);
    is(read(&index(vec![rule(None, None, None)]), "GET", "/%2f", false), Ok(Some(0)), &[]);
    // Rules of two blocks read once.
    let many = || (0..=BLOCK).map(|_| rule(Some("a.test"), Some("PUT"), Some("/x")));
    is(read(&index(many().collect()), "PUT", "/y", false), Ok(None), &all);
    is(read(&index(many().collect()), "GET", "/y", false), Ok(None), &all[..2]);

    let rules = || {
        index(vec![
            rule(None, Some("GET"), Some("/orders/**")),
            rule(None, None, Some("/healthz")),
            rule(Some("b.test"), None, Some("/hooks")),
            rule(None, None, Some("/**")),
        ])
    };
    // The path came first: only rules for it ask for more.
    is(read(&rules(), "GET", "/healthz", true), Ok(Some(1)), &[":path"]);
    is(read(&rules(), "PUT", "/orders/1", true), Ok(Some(3)), &[":path", ":method"]);
    is(read(&rules(), "GET", "/hooks", true), Ok(Some(3)), &[":path", ":authority"]);
    is(read(&rules(), "GET", "/else", true), Ok(Some(3)), &[":path"]);
    // A bad path is bad only for a rule that otherwise fits.
    let by_host = || index(vec![rule(Some("b.test"), None, Some("/x")), rule(None, None, None)]);
    is(read(&by_host(), "GET", "/%2f", false), Ok(Some(1)), &[":authority"]);
    // Headers are read for a rule that otherwise fits.
    let tenant = Matcher {
        headers: vec![HeaderTest { name: "x-a".into(), value: ValueTest::Absent }].into(),
        ..rule(None, Some("PUT"), None)
    };
    let by_header = index(vec![rule(None, Some("POST"), None), tenant, rule(None, None, None)]);
    is(read(&by_header, "POST", "/", false), Ok(Some(0)), &[":method"]);
    is(read(&by_header, "GET", "/", false), Ok(Some(2)), &[":method"]);
    let (found, names) = read(&by_header, "PUT", "/", false);
    assert_eq!(found, Ok(Some(1)));
    assert!(names.starts_with(&[":method".to_owned(), "all".to_owned()]), "{names:?}");
    is(read(&rules(), "PUT", "/%2f", false), Err(Undecided::BadPath), &[":method", ":path"]);
}

#[test]
fn a_rule_that_is_lost_refuses_the_request() {
    let any = Matcher::default;
    let head = Fields::from_iter([(":path", "/")]);
    let mut lost = index(vec![any()]);
    lost.rules.clear();
    assert_eq!(lost.find(&Target::new(&head)), Err(Undecided::Lost));
    let mut lost = index(vec![any()]);
    lost.matches.blocks[0].entries.clear();
    assert_eq!(lost.find(&Target::new(&head)), Err(Undecided::Lost));
}

#[test]
fn stars_in_every_place_find_the_first_that_fits() {
    // Of 1024 patterns, each path fits from one to all.
    let mut patterns = all_paths(10, &["a", "*"]);
    patterns.retain(|path| path.len() == 20);
    for _ in 0..2 {
        let index = index(by_path(patterns.iter().cloned()));
        let parsed: Vec<_> = patterns.iter().map(|p| PathPattern::parse(p).unwrap()).collect();
        for path in &patterns {
            let path = path.replace('*', "b");
            let normal = RequestPath::parse(path.as_bytes()).unwrap();
            let head = Fields::from_iter([(":path", &*path)]);
            let found = index.find(&Target::new(&head)).unwrap().copied();
            assert_eq!(found, parsed.iter().position(|one| one.matches(&normal)), "{path}");
        }
        patterns.reverse();
    }
}
