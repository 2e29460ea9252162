//! Rules, compiled: the first that fits a request is found without a look at each.
//!
//! The rules have numbers, in the order of the document. All that they look at (host, method, each
//! segment of the path, and where the path ends) has a table, from values to the set of the numbers
//! that fit. What fits a request is the intersection of a few such sets, and the first number in it
//! decides. The literature calls this bit vectors (Lakshman and Stiliadis, SIGCOMM 1998).
//!
//! So one look-up in each table serves [`BLOCK`] rules, whatever they say: stars do not branch, and
//! rules that differ in one thing only cost no more than others. Where there are more rules, they
//! form several blocks, which are looked at in order, and memory grows with the text of the rules.
//!
//! A rule with several paths has a number for each, since all segments have to fit the same one.
//! Nothing is read from a request before a rule that may be the first asks for it.

use std::borrow::Cow;
use std::cell::OnceCell;

use fnv::FnvHashMap;

use crate::http::authority::{Authority, BadHost, HostPattern};
use crate::http::head::Head;
use crate::http::path::{BadPath, PathPattern, RequestPath, Segment};
use crate::rules::matcher::Matcher;

/// How many numbers a block has.
const BLOCK: usize = 512;

/// What rules look at in a request, each read once, when it is first asked for.
pub(crate) struct Target<'a> {
    /// The request's head.
    head: &'a dyn Head,
    /// Its method, case-sensitive.
    method: OnceCell<Cow<'a, [u8]>>,
    /// The host of its `:authority`; empty if there is none.
    host: OnceCell<Result<Cow<'a, str>, BadHost>>,
    /// Its path; absent for CONNECT.
    path: OnceCell<Result<Option<RequestPath<'a>>, BadPath>>,
}

/// Why it cannot be told which rule decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Undecided {
    /// A rule asks for the path, which services read in different ways.
    BadPath,
    /// A rule asks for the host, which services read in different ways.
    BadHost,
    /// The index names a rule that does not exist: a defect.
    Lost,
}

impl From<BadPath> for Undecided {
    fn from(BadPath: BadPath) -> Self {
        Self::BadPath
    }
}

impl From<BadHost> for Undecided {
    fn from(BadHost: BadHost) -> Self {
        Self::BadHost
    }
}

/// The host of a request; empty if it names none.
pub(crate) fn host_of(head: &dyn Head) -> Result<Cow<'_, str>, BadHost> {
    match head.value(":authority").unwrap_or_default() {
        Cow::Borrowed(authority) => Ok(Authority::parse(authority)?.host),
        Cow::Owned(authority) => Ok(Authority::parse(&authority)?.host.into_owned().into()),
    }
}

impl<'a> Target<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(head: &'a dyn Head) -> Self {
        Self { head, method: OnceCell::new(), host: OnceCell::new(), path: OnceCell::new() }
    }

    /// The method; empty if it is not UTF-8.
    pub(crate) fn method(&self) -> &str {
        let method = self.method.get_or_init(|| self.head.value(":method").unwrap_or_default());
        std::str::from_utf8(method).unwrap_or_default()
    }

    /// The host.
    fn host(&self) -> Result<&str, BadHost> {
        let host = self.host.get_or_init(|| host_of(self.head));
        host.as_deref().map_err(|bad| *bad)
    }

    /// The path. Once it was asked for, rules look at it first.
    pub(crate) fn path(&self) -> Result<Option<&RequestPath<'a>>, BadPath> {
        let read = || self.head.value(":path").map(RequestPath::parse).transpose();
        self.path.get_or_init(read).as_ref().map(Option::as_ref).map_err(|bad| *bad)
    }

    /// The path, if it was asked for and has parameters.
    fn parameters(&self) -> Option<&RequestPath<'a>> {
        let path = self.path.get()?.as_ref().ok()?.as_ref()?;
        path.has_parameters().then_some(path)
    }
}

/// Rules in the order of the document, each with what it says of the requests that it is for.
#[derive(Debug)]
pub(crate) struct RuleIndex<T> {
    /// What the rules say.
    rules: Vec<T>,
    /// Which requests they are for.
    blocks: Vec<Block>,
    /// Whether any of them looks at paths.
    looks_at_paths: bool,
    /// Whether they look at more than one thing: host, method, path.
    looks_at_several: bool,
}

impl<T> RuleIndex<T> {
    /// Compiles rules.
    pub(crate) fn new(rules: impl IntoIterator<Item = (Matcher, T)>) -> Self {
        let (matchers, rules): (Vec<Matcher>, Vec<T>) = rules.into_iter().unzip();
        let mut numbered = Vec::new();
        for (rule, matcher) in matchers.iter().enumerate() {
            match &matcher.paths {
                None => numbered.push(Numbered { rule, matcher, path: None }),
                Some(paths) => numbered.extend(paths.iter().map(|path| Numbered {
                    rule,
                    matcher,
                    path: Some(path),
                })),
            }
        }
        let blocks = numbered.chunks(BLOCK).map(Block::new).collect();
        let asked = |asks: fn(&Matcher) -> bool| matchers.iter().any(asks);
        let looks_at_paths = asked(|matcher| matcher.paths.is_some());
        let parts = [
            looks_at_paths,
            asked(|matcher| matcher.methods.is_some()),
            asked(|matcher| matcher.hosts.is_some()),
        ];
        let looks_at_several = parts.into_iter().filter(|asked| *asked).count() > 1;
        Self { rules, blocks, looks_at_paths, looks_at_several }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether they look at more than one thing, so that the whole head costs less than its parts.
    pub(crate) fn looks_at_several(&self) -> bool {
        self.looks_at_several
    }

    /// Whether any of them looks at paths.
    pub(crate) fn looks_at_paths(&self) -> bool {
        self.looks_at_paths
    }

    /// The first rule that fits.
    ///
    /// # Errors
    /// A rule that fits otherwise asks for a path or a host that is bad, or for a path with
    /// parameters that the pattern which decides does not have: services drop them, or do not.
    pub(crate) fn find(&self, target: &Target<'_>) -> Result<Option<&T>, Undecided> {
        for block in &self.blocks {
            if let Some(rule) = block.find(target, self.looks_at_paths)? {
                return self.rules.get(rule).map(Some).ok_or(Undecided::Lost);
            }
        }
        match target.parameters() {
            Some(_) if self.looks_at_paths => Err(Undecided::BadPath),
            _ => Ok(None),
        }
    }

    /// The rules of which one is the first that fits a request to this host, in order: its method
    /// is not known, nor is its path if that is `None`.
    pub(crate) fn candidates(&self, host: &str, path: Option<&RequestPath<'_>>) -> Vec<&T> {
        let mut candidates = Vec::new();
        for block in &self.blocks {
            if block.add_candidates(host, path, &mut candidates) {
                break;
            }
        }
        candidates.dedup();
        candidates.into_iter().filter_map(|rule| self.rules.get(rule)).collect()
    }
}

/// What has a number.
struct Numbered<'a> {
    /// The place of the rule.
    rule: usize,
    /// Which requests it is for.
    matcher: &'a Matcher,
    /// Which of its paths this is about, if it has any.
    path: Option<&'a PathPattern>,
}

impl Numbered<'_> {
    /// What its path says of a segment.
    fn segment(&self, at: usize) -> Option<&Segment> {
        self.path.and_then(|path| path.segments.get(at))
    }

    /// How many segments its path says something of.
    fn length(&self) -> usize {
        self.path.map_or(0, |path| path.segments.len())
    }
}

/// Up to [`BLOCK`] numbers.
#[derive(Debug)]
struct Block {
    /// The place of each number's rule.
    rules: Vec<usize>,
    /// All numbers.
    all: Set,
    /// By the host.
    hosts: Hosts,
    /// By the method.
    methods: Table,
    /// By the segments of the path, for as many as the longest pattern has.
    segments: Vec<Position>,
    /// What fits paths that are longer than that.
    longer: Set,
    /// What does not look at the path: all that fits a request without one.
    pathless: Set,
}

/// A segment of the path.
#[derive(Debug)]
struct Position {
    /// By its text.
    texts: Table,
    /// What fits a path that ends here.
    last: Set,
}

impl Block {
    /// Makes the tables.
    fn new(numbered: &[Numbered<'_>]) -> Self {
        let set = |is_in: &dyn Fn(&Numbered<'_>) -> bool| {
            let numbers = numbered.iter().enumerate().filter(|(_, one)| is_in(one));
            numbers.map(|(number, _)| number).collect::<Set>()
        };
        let mut hosts = Hosts::new(set(&|one| one.matcher.hosts.is_none()));
        let mut methods = Table::new(set(&|one| one.matcher.methods.is_none()));
        for (number, one) in numbered.iter().enumerate() {
            for host in one.matcher.hosts.iter().flatten() {
                hosts.insert(host, number);
            }
            for method in one.matcher.methods.iter().flatten() {
                methods.insert(method, number);
            }
        }
        let position = |at: usize| {
            let anything = set(&|one| one.segment(at).is_none());
            let star = set(&|one| one.segment(at) == Some(&Segment::Any));
            let mut texts = Table::new(anything.or(&star));
            // No star fits a segment that is empty.
            texts.named.insert("".into(), anything);
            for (number, one) in numbered.iter().enumerate() {
                if let Some(Segment::Literal(text)) = one.segment(at) {
                    texts.insert(text, number);
                }
            }
            let last = set(&|one| {
                let end = one.length().checked_sub(1);
                one.path.is_none_or(|path| end == Some(at) || (path.rest && end <= Some(at)))
            });
            Position { texts, last }
        };
        Self {
            rules: numbered.iter().map(|one| one.rule).collect(),
            all: set(&|_| true),
            hosts,
            methods,
            segments: (0..numbered.iter().map(Numbered::length).max().unwrap_or(0))
                .map(position)
                .collect(),
            longer: set(&|one| one.path.is_none_or(|path| path.rest)),
            pathless: set(&|one| one.path.is_none()),
        }
    }

    /// The place of the first rule that fits.
    fn find(&self, target: &Target<'_>, looks_at_paths: bool) -> Result<Option<usize>, Undecided> {
        let mut fitting = self.all;
        let (mut host, mut method, mut path) = (false, false, false);
        let mut bad_host = false;
        if let Some(Ok(known)) = target.path.get() {
            fitting.keep(&self.on_path(known.as_ref()));
            path = true;
        }
        while let Some(number) = fitting.first() {
            if !host && !self.hosts.others.has(number) {
                match target.host() {
                    Ok(name) => fitting.keep(&self.hosts.fitting(name)),
                    Err(BadHost) => bad_host = true,
                }
                host = true;
            } else if !method && !self.methods.others.has(number) {
                fitting.keep(self.methods.fitting(target.method()));
                method = true;
            } else if !path && !self.pathless.has(number) {
                // After the others, since only for what fits otherwise a bad path is bad.
                fitting.keep(&self.on_path(target.path()?));
                path = true;
            } else {
                // Last, since only for what fits otherwise a bad host is bad.
                if bad_host && !self.hosts.others.has(number) {
                    return Err(Undecided::BadHost);
                }
                let parameters = target.parameters().filter(|_| looks_at_paths);
                if parameters.is_some_and(|path| !self.names_parameters(number, path)) {
                    return Err(Undecided::BadPath);
                }
                return self.rules.get(number).copied().map(Some).ok_or(Undecided::Lost);
            }
        }
        Ok(None)
    }

    /// Whether the pattern of this number has each segment of the path that has parameters.
    fn names_parameters(&self, number: usize, path: &RequestPath<'_>) -> bool {
        let mut positions = self.segments.iter();
        path.segments().into_iter().flatten().all(|segment| {
            let position = positions.next();
            !segment.contains(';') || position.is_some_and(|p| !p.texts.others.has(number))
        })
    }

    /// Adds the places of rules that may fit, and says whether the last surely does.
    fn add_candidates(
        &self,
        host: &str,
        path: Option<&RequestPath<'_>>,
        candidates: &mut Vec<usize>,
    ) -> bool {
        let mut fitting = self.hosts.fitting(host);
        if path.is_some() {
            fitting.keep(&self.on_path(path));
        }
        for (number, rule) in self.rules.iter().enumerate().filter(|(n, _)| fitting.has(*n)) {
            candidates.push(*rule);
            let path_fits = path.is_some() || self.pathless.has(number);
            if path_fits && self.methods.others.has(number) {
                return true;
            }
        }
        false
    }

    /// What fits a path.
    fn on_path(&self, path: Option<&RequestPath<'_>>) -> Set {
        let Some(segments) = path.and_then(RequestPath::segments) else { return self.pathless };
        let mut fitting = self.all;
        let mut last = &self.longer;
        let mut positions = self.segments.iter();
        for segment in segments {
            let Some(position) = positions.next() else {
                last = &self.longer;
                break;
            };
            fitting.keep(position.texts.fitting(segment));
            last = &position.last;
        }
        fitting.keep(last);
        fitting
    }
}

/// What fits which value.
#[derive(Debug)]
struct Table {
    /// What fits the values that are named.
    named: FnvHashMap<Box<str>, Set>,
    /// What fits any other.
    others: Set,
}

impl Table {
    /// No value is named yet.
    fn new(others: Set) -> Self {
        Self { named: FnvHashMap::default(), others }
    }

    /// `number` fits `value`.
    fn insert(&mut self, value: &str, number: usize) {
        self.named.entry(value.into()).or_insert(self.others).insert(number);
    }

    /// What fits `value`.
    fn fitting(&self, value: &str) -> &Set {
        self.named.get(value).unwrap_or(&self.others)
    }
}

/// What fits which host.
#[derive(Debug)]
struct Hosts {
    /// What names a host itself.
    exact: FnvHashMap<Box<str>, Set>,
    /// What names all below one, by the end of their names, which begins with a dot.
    below: FnvHashMap<Box<str>, Set>,
    /// The length of the longest such end.
    longest: usize,
    /// What fits every host.
    others: Set,
}

impl Hosts {
    /// No host is named yet.
    fn new(others: Set) -> Self {
        Self { exact: FnvHashMap::default(), below: FnvHashMap::default(), longest: 0, others }
    }

    /// `number` fits `host`.
    fn insert(&mut self, host: &HostPattern, number: usize) {
        let set = match host {
            HostPattern::Exact(exact) => self.exact.entry(exact.clone()),
            HostPattern::Below(end) => {
                self.longest = self.longest.max(end.len());
                self.below.entry(end.clone())
            }
        };
        set.or_default().insert(number);
    }

    /// What fits `host`.
    fn fitting(&self, host: &str) -> Set {
        let mut fitting = self.others;
        if let Some(set) = self.exact.get(host) {
            fitting = fitting.or(set);
        }
        // Anybody can send a host of thousands of labels.
        let is_looked_for = |end: &&str| end.len() <= self.longest;
        let ends = host.rmatch_indices('.').filter_map(|(dot, _)| host.get(dot..));
        for end in ends.take_while(is_looked_for).filter(|end| end.len() < host.len()) {
            if let Some(set) = self.below.get(end) {
                fitting = fitting.or(set);
            }
        }
        fitting
    }
}

/// Numbers of a block.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Set([u64; BLOCK / 64]);

impl Set {
    /// Adds one.
    fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether it is in here.
    fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The first.
    fn first(&self) -> Option<usize> {
        let (at, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(at << 6 | word.trailing_zeros() as usize)
    }

    /// Drops all that `other` does not have.
    fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// All of both.
    fn or(mut self, other: &Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
        self
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::http::head::Fields;

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

    const METHODS: [&str; 4] = ["GET", "PUT", "POST", "OPTIONS"];

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
        }
    }

    /// A request: method, host and path, where there is one.
    type Request<'a> = (&'a str, &'a str, Option<String>);

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
        (dice.pick(&METHODS), dice.pick(&HOSTS), path)
    }

    fn head((method, host, path): &Request<'_>) -> Fields {
        let path = path.as_deref().map(|path| (":path", path));
        [(":method", *method), (":authority", *host)].into_iter().chain(path).collect()
    }

    /// What a look at one rule after the other finds, with the path read before or when it is asked
    /// for.
    fn scan(
        rules: &[Matcher],
        (method, host, path): &Request<'_>,
        path_first: bool,
    ) -> Result<Option<usize>, Undecided> {
        let path = path.as_deref().map(|path| RequestPath::parse(path.as_bytes()));
        let has_parameters = matches!(&path, Some(Ok(path)) if path.has_parameters());
        let host = Authority::parse(host.as_bytes()).map(|authority| authority.host);
        let mut asked = path_first && rules.iter().any(|rule| rule.paths.is_some());
        for (number, Matcher { hosts, methods, paths }) in rules.iter().enumerate() {
            let host_fits = match (hosts, &host) {
                (Some(list), Ok(host)) => list.iter().any(|pattern| pattern.matches(host)),
                _ => true,
            };
            let method_fits =
                methods.as_ref().is_none_or(|list| list.iter().any(|one| **one == **method));
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
            if hosts.is_some() && host.is_err() {
                return Err(Undecided::BadHost);
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
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        let (mut found, mut missed, mut bad) = (0, 0, 0);
        for round in 0..600 {
            // Many small sets, a few that need several blocks.
            let many = if round % 100 == 0 { 1500 } else { 24 };
            let count = dice.roll(many);
            // With few segments many patterns fit one path, with more most do not.
            let segments: &[&str] =
                if round % 2 == 0 { &["a", "*", "c;x"] } else { &["a", "b", "c", "*", "d"] };
            let build = |seed: u64| {
                let mut dice = Dice(seed);
                (0..count).map(|_| matcher(&mut dice, segments)).collect::<Vec<_>>()
            };
            let seed = dice.0;
            let (rules, index) = (build(seed), index(build(seed)));
            for _ in 0..60 {
                let request = request(&mut dice, &["a", "b", "c", "d", "a", "*", "c;x"]);
                let expected = scan(&rules, &request, false);
                let head = head(&request);
                let got = index.find(&Target::new(&head)).map(Option::<&usize>::copied);
                assert_eq!(got, expected, "round {round}: {request:?} by {rules:#?}");
                match expected {
                    Ok(Some(_)) => found += 1,
                    Ok(None) => missed += 1,
                    Err(_) => bad += 1,
                }
                // Inbound, the path is read first, whatever the rules ask for.
                let target = Target::new(&head);
                if target.path().is_ok() {
                    let expected = scan(&rules, &request, true);
                    let got = index.find(&target).map(Option::<&usize>::copied);
                    assert_eq!(
                        got, expected,
                        "round {round}, path first: {request:?} by {rules:#?}"
                    );
                }
            }
        }
        // The requests are of all kinds.
        assert!(found > 5_000 && missed > 5_000 && bad > 500, "{found} {missed} {bad}");
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
        let mut patterns = all_paths(3, &["a", "*"]);
        patterns.extend(patterns.iter().map(|path| format!("{path}/")).collect::<Vec<_>>());
        patterns.push("/".to_owned());
        let below = |path: &String| format!("{}/**", path.trim_end_matches('/'));
        patterns.extend(patterns.iter().map(below).collect::<Vec<_>>());
        for pattern in patterns {
            let pattern = PathPattern::parse(&pattern).unwrap();
            let paths = Some(vec![pattern.clone()]);
            let index = index(vec![Matcher { paths, ..Matcher::default() }]);
            let paths = all_paths(4, &["a", "b"]);
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
                (0..count).map(|_| matcher(&mut dice, &["a", "*", "b"])).collect::<Vec<_>>()
            };
            let seed = dice.0;
            let (rules, index) = (build(seed), index(build(seed)));
            for _ in 0..20 {
                let (_, host, path) = request(&mut dice, &["a", "b", "c"]);
                let Ok(Authority { host, .. }) = Authority::parse(host.as_bytes()) else {
                    continue;
                };
                let path = path.and_then(|path| RequestPath::parse(path.into_bytes()).ok());
                let mut expected = Vec::new();
                for (number, Matcher { hosts, methods, paths }) in rules.iter().enumerate() {
                    let path_fits = match (paths, &path) {
                        (Some(list), Some(path)) => list.iter().any(|one| one.matches(path)),
                        (None, _) | (_, None) => true,
                    };
                    let host_fits =
                        |list: &Vec<HostPattern>| list.iter().any(|one| one.matches(&host));
                    if path_fits && hosts.as_ref().is_none_or(host_fits) {
                        expected.push(number);
                        if methods.is_none() && (paths.is_none() || path.is_some()) {
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
            self.0.fields()
        }

        fn peer_certificate(&self) -> Option<[u8; 32]> {
            None
        }
    }

    #[test]
    fn only_what_the_rules_ask_for_is_read_and_only_once() {
        let rule = |host: Option<&str>, method: Option<&str>, path: Option<&str>| Matcher {
            hosts: host.map(|host| vec![HostPattern::parse(host).unwrap()]),
            methods: method.map(|method| vec![method.into()]),
            paths: path.map(|path| vec![PathPattern::parse(path).unwrap()]),
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
        let by_host =
            || index(vec![rule(Some("b.test"), None, Some("/x")), rule(None, None, None)]);
        is(read(&by_host(), "GET", "/%2f", false), Ok(Some(1)), &[":authority"]);
        is(read(&rules(), "PUT", "/%2f", false), Err(Undecided::BadPath), &[":method", ":path"]);
    }

    #[test]
    fn a_rule_that_is_lost_refuses_the_request() {
        let any = || Matcher { hosts: None, methods: None, paths: None };
        let head = Fields::from_iter([(":path", "/")]);
        let mut lost = index(vec![any()]);
        lost.rules.clear();
        assert_eq!(lost.find(&Target::new(&head)), Err(Undecided::Lost));
        let mut lost = index(vec![any()]);
        lost.blocks[0].rules.clear();
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
}
