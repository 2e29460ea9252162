//! Sets of numbers, and tables of what fits which value.

use fnv::FnvHashMap;

use crate::http::authority::HostPattern;

/// How many numbers a block has.
pub(super) const BLOCK: usize = 512;

/// What fits which value.
#[derive(Debug)]
pub(super) struct Table {
    /// What fits the values that are named.
    pub(super) named: FnvHashMap<Box<str>, Set>,
    /// What fits any other.
    pub(super) others: Set,
}

impl Table {
    /// No value is named yet.
    pub(super) fn new(others: Set) -> Self {
        Self { named: FnvHashMap::default(), others }
    }

    /// `number` fits `value`.
    pub(super) fn insert(&mut self, value: &str, number: usize) {
        self.named.entry(value.into()).or_insert(self.others).insert(number);
    }

    /// What fits `value`.
    pub(super) fn fitting(&self, value: &str) -> &Set {
        self.named.get(value).unwrap_or(&self.others)
    }
}

/// What fits which host.
#[derive(Debug)]
pub(super) struct Hosts {
    /// What names a host itself.
    pub(super) exact: FnvHashMap<Box<str>, Set>,
    /// What names all below one, by the end of their names, which begins with a dot.
    pub(super) below: FnvHashMap<Box<str>, Set>,
    /// The length of the longest such end.
    pub(super) longest: usize,
    /// What fits every host.
    pub(super) others: Set,
}

impl Hosts {
    /// No host is named yet.
    pub(super) fn new(others: Set) -> Self {
        Self { exact: FnvHashMap::default(), below: FnvHashMap::default(), longest: 0, others }
    }

    /// `number` fits `host`.
    pub(super) fn insert(&mut self, host: &HostPattern, number: usize) {
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
    pub(super) fn fitting(&self, host: &str) -> Set {
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
pub(super) struct Set([u64; BLOCK / 64]);

impl Set {
    /// Adds one.
    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether it is in here.
    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The first.
    pub(super) fn first(&self) -> Option<usize> {
        let (at, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(at << 6 | word.trailing_zeros() as usize)
    }

    /// Drops all that `other` does not have.
    pub(super) fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// All of both.
    pub(super) fn or(mut self, other: &Self) -> Self {
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
