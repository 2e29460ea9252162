//! An index of rules, which finds the first rule that matches a request without checking each rule.
//!
//! Rules are numbered in the order of the document. For each property (host, method, each segment
//! of the path, and the end of the path), a table maps values to the set of rules that match. The
//! rules that match a request are the intersection of a few sets, and the first of them decides.
//! The literature calls this bit vectors (Lakshman and Stiliadis, SIGCOMM 1998).
//!
//! So one look-up in each table covers [`BLOCK`] rules, regardless of their content: wildcards do
//! not branch, and similar rules cost no more than others. Only parts of segments (`*.pdf`) and
//! conditions on headers are compared rule by rule, for rules that otherwise match. More rules form
//! several blocks, which are searched in order. Memory grows with the text of the rules.
//!
//! A rule with several paths has a number for each, because all segments must match the same path.
//! Nothing is read from a request until a rule that may be the first requires it.

use std::sync::Arc;

use crate::http::authority::BadHost;
use crate::http::header_name::BadHeader;
use crate::http::header_name::Spelling;
use crate::http::path::{Affixes, PathPattern, RequestPath, Segment};
use crate::rules::header::HeaderTest;
use crate::rules::matcher::Matcher;
use crate::rules::set::{BLOCK, Hosts, Set, Table};
use crate::rules::target::{Target, Undecided};

/// Rules in the order of the document, each with its content.
#[derive(Debug)]
pub(crate) struct RuleIndex<T> {
    /// The content of the rules.
    rules: Vec<T>,
    /// The requests that they match.
    matches: MatchIndex,
    /// The same, for explanations.
    #[cfg(feature = "review")]
    pub(crate) matchers: Vec<Matcher>,
}

/// The requests that rules match.
#[derive(Debug)]
struct MatchIndex {
    blocks: Vec<Block>,
    /// Whether any of them has paths.
    looks_at_paths: bool,
    /// Whether they require headers, or more than one of host, method and path.
    looks_at_several: bool,
}

impl<T> RuleIndex<T> {
    pub(crate) fn new(rules: impl IntoIterator<Item = (Matcher, T)>) -> Self {
        let (matchers, rules): (Vec<Matcher>, Vec<T>) = rules.into_iter().unzip();
        Self {
            rules,
            matches: MatchIndex::new(&matchers),
            #[cfg(feature = "review")]
            matchers,
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The content of all rules.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rules.iter()
    }

    /// Whether they require more than one property, so that reading all headers costs less than
    /// single ones.
    pub(crate) fn looks_at_several(&self) -> bool {
        self.matches.looks_at_several
    }

    /// Whether any of them has paths.
    pub(crate) fn looks_at_paths(&self) -> bool {
        self.matches.looks_at_paths
    }

    /// Whether any of them tests the header with this name or another spelling of it.
    pub(crate) fn tests_header(&self, name: &[u8]) -> bool {
        self.matches.tests_header(name)
    }

    /// The first rule that matches.
    ///
    /// # Errors
    /// A rule that otherwise matches requires a path, host or header that is ambiguous, or a path
    /// whose parameters are not in the pattern that decides: some services ignore them. Or the path
    /// keeps escaped slashes, and another rule decides if they are slashes.
    pub(crate) fn find(&self, target: &Target<'_>) -> Result<Option<&T>, Undecided> {
        self.find_where(target, |_| true)
    }

    /// The first rule that matches and fulfils a condition that is not in the index.
    ///
    /// # Errors
    /// As of [`find`](Self::find).
    pub(crate) fn find_where(
        &self,
        target: &Target<'_>,
        mut is_met: impl FnMut(&T) -> bool,
    ) -> Result<Option<&T>, Undecided> {
        let is_met = &mut |rule| self.rules.get(rule).is_none_or(&mut is_met);
        let rule = target.in_both_readings(|target| self.matches.position(target, is_met))?;
        rule.map(|rule| self.rules.get(rule).ok_or(Undecided::Lost)).transpose()
    }

    /// The content of a rule.
    #[cfg(feature = "review")]
    pub(crate) fn get(&self, rule: usize) -> Option<&T> {
        self.rules.get(rule)
    }

    /// The rules of which one is the first that fits a request to this host, in order: its method
    /// is not known, nor is its path if that is `None`.
    pub(crate) fn candidates(&self, host: &str, path: Option<&RequestPath<'_>>) -> Vec<&T> {
        let candidates = self.matches.candidates(host, path);
        candidates.into_iter().filter_map(|rule| self.rules.get(rule)).collect()
    }
}

impl MatchIndex {
    fn new(matchers: &[Matcher]) -> Self {
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
        let looks_at_several = parts.into_iter().filter(|asked| *asked).count() > 1
            || asked(|matcher| !matcher.headers.is_empty());
        Self { blocks, looks_at_paths, looks_at_several }
    }

    /// Whether any of them tests the header with this name or another spelling of it.
    fn tests_header(&self, name: &[u8]) -> bool {
        let tests = |test: &HeaderTest| Spelling::of(&test.name).matches(name);
        self.blocks
            .iter()
            .any(|block| block.entries.iter().any(|one| one.headers.iter().any(tests)))
    }

    /// The index of the first rule that matches and fulfils the condition.
    fn position(
        &self,
        target: &Target<'_>,
        is_met: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<usize>, Undecided> {
        for block in &self.blocks {
            if let Some(rule) = block.find(target, self.looks_at_paths, is_met)? {
                return Ok(Some(rule));
            }
        }
        match target.parameters() {
            Some(_) if self.looks_at_paths => Err(Undecided::BadPath),
            _ => Ok(None),
        }
    }

    /// The indexes of the rules of which one is the first that fits a request.
    fn candidates(&self, host: &str, path: Option<&RequestPath<'_>>) -> Vec<usize> {
        let mut candidates = Vec::new();
        for block in &self.blocks {
            if block.add_candidates(host, path, &mut candidates) {
                break;
            }
        }
        candidates.dedup();
        candidates
    }
}

/// What a number denotes.
struct Numbered<'a> {
    /// The index of the rule.
    rule: usize,
    /// The requests that it matches.
    matcher: &'a Matcher,
    /// The index of one of its paths, if it has any.
    path: Option<&'a PathPattern>,
}

impl Numbered<'_> {
    /// The condition of its path on a segment.
    fn segment(&self, at: usize) -> Option<&Segment> {
        self.path.and_then(|path| path.segments.get(at))
    }

    /// The number of segments with a condition.
    fn length(&self) -> usize {
        self.path.map_or(0, |path| path.segments.len())
    }
}

/// The tables for up to [`BLOCK`] numbers.
#[derive(Debug)]
struct Block {
    /// What each number denotes.
    entries: Vec<Entry>,
    all: Set,
    /// By the host.
    hosts: Hosts,
    /// By the method.
    methods: Table,
    /// By each segment of the path, up to the length of the longest pattern.
    segments: Vec<Position>,
    /// The rules that match longer paths.
    longer: Set,
    /// The rules without a path, which match a request without one.
    pathless: Set,
}

/// A rule with one of its paths, and those conditions of both that are in no table.
#[derive(Debug)]
struct Entry {
    /// The index of the rule.
    rule: usize,
    headers: Arc<Vec<HeaderTest>>,
    /// The segments of which a part is given, each with its place.
    partial: Vec<(usize, Arc<Affixes>)>,
}

/// A segment of the path.
#[derive(Debug)]
struct Position {
    /// By its text.
    texts: Table,
    /// The rules that match a path that ends here.
    last: Set,
}

impl Entry {
    fn new(one: &Numbered<'_>) -> Self {
        let mut partial = Vec::new();
        for (at, segment) in one.path.map_or(&[][..], |path| &path.segments).iter().enumerate() {
            if let Segment::Partial(affixes) = segment {
                partial.push((at, Arc::clone(affixes)));
            }
        }
        Self { rule: one.rule, headers: Arc::clone(&one.matcher.headers), partial }
    }

    /// Whether the path has what is given of its segments.
    fn fits_path(&self, path: Option<&RequestPath<'_>>) -> bool {
        self.partial.iter().all(|(at, affixes)| {
            let segment = path.and_then(|path| path.segment(*at));
            segment.is_some_and(|segment| affixes.match_segment(segment))
        })
    }

    /// Whether the headers meet all conditions on them. An ambiguous header only matters if all
    /// other conditions are met.
    fn fits_headers(&self, target: &Target<'_>) -> Result<bool, BadHeader> {
        let mut fits = Ok(true);
        for test in self.headers.iter() {
            match test.is_met(target.fields()) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(BadHeader) => fits = Err(BadHeader),
            }
        }
        fits
    }
}

impl Block {
    /// Builds the tables.
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
                if &**method == "GET" {
                    // HEAD is GET without the content of the response (RFC 9110, section 9.3.2).
                    methods.insert("HEAD", number);
                }
            }
        }
        let position = |at: usize| {
            let anything = set(&|one| one.segment(at).is_none());
            let star =
                set(&|one| matches!(one.segment(at), Some(Segment::Any | Segment::Partial(_))));
            let mut texts = Table::new(anything.or(&star));
            // `*` does not match an empty segment, nor does a part of one.
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
            entries: numbered.iter().map(Entry::new).collect(),
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

    /// The index of the first rule that matches and meets the condition.
    fn find(
        &self,
        target: &Target<'_>,
        looks_at_paths: bool,
        is_met: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<usize>, Undecided> {
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
                // After the others, because an ambiguous path only matters for rules that otherwise
                // match.
                fitting.keep(&self.on_path(target.path()?));
                path = true;
            } else {
                let entry = self.entries.get(number).ok_or(Undecided::Lost)?;
                let fits_path = entry.partial.is_empty() || entry.fits_path(target.path()?);
                let headers = if fits_path { entry.fits_headers(target) } else { Ok(false) };
                if headers == Ok(false) || !is_met(entry.rule) {
                    fitting.remove(number);
                    continue;
                }
                // Last, because an ambiguous host or header only matters for rules that otherwise
                // match.
                if bad_host && !self.hosts.others.has(number) {
                    return Err(Undecided::BadHost);
                }
                headers.map_err(|BadHeader| Undecided::BadHeader)?;
                let parameters = target.parameters().filter(|_| looks_at_paths);
                if parameters.is_some_and(|path| !self.names_parameters(number, path)) {
                    return Err(Undecided::BadPath);
                }
                return Ok(Some(entry.rule));
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

    /// Adds the indexes of rules that may match; returns whether the last one certainly does.
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
        for (number, entry) in self.entries.iter().enumerate().filter(|(n, _)| fitting.has(*n)) {
            if path.is_some() && !entry.fits_path(path) {
                continue;
            }
            candidates.push(entry.rule);
            let path_fits = path.is_some() || self.pathless.has(number);
            if path_fits && self.methods.others.has(number) && entry.headers.is_empty() {
                return true;
            }
        }
        false
    }

    /// The rules that match a path.
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

#[cfg(test)]
mod tests;
