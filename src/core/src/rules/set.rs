//! Sets of numbers, and tables from values to sets.

use fnv::FnvHashMap;

use crate::http::authority::HostPattern;

/// The size of a block.
pub(super) const BLOCK: usize = 512;

/// A table from values to the numbers that match.
#[derive(Debug)]
pub(super) struct Table {
    /// The numbers that match each listed value.
    pub(super) named: FnvHashMap<Box<str>, Set>,
    /// The numbers that match any other value.
    pub(super) others: Set,
}

impl Table {
    pub(super) fn new(others: Set) -> Self {
        Self { named: FnvHashMap::default(), others }
    }

    /// Adds `number` for `value`.
    pub(super) fn insert(&mut self, value: &str, number: usize) {
        self.named.entry(value.into()).or_insert(self.others).insert(number);
    }

    /// The numbers that match `value`.
    pub(super) fn fitting(&self, value: &str) -> &Set {
        self.named.get(value).unwrap_or(&self.others)
    }
}

/// A table from hosts to the numbers that match.
#[derive(Debug)]
pub(super) struct Hosts {
    /// The numbers that match each listed host.
    pub(super) exact: FnvHashMap<Box<str>, Set>,
    /// The numbers that match all hosts below one, by suffix with a leading dot.
    pub(super) below: FnvHashMap<Box<str>, Set>,
    /// The length of the longest suffix.
    pub(super) longest: usize,
    /// The numbers that match every host.
    pub(super) others: Set,
}

impl Hosts {
    pub(super) fn new(others: Set) -> Self {
        Self { exact: FnvHashMap::default(), below: FnvHashMap::default(), longest: 0, others }
    }

    /// Adds `number` for `host`.
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

    /// The numbers that match `host`.
    pub(super) fn fitting(&self, host: &str) -> Set {
        let mut fitting = self.others;
        if let Some(set) = self.exact.get(host) {
            fitting = fitting.or(set);
        }
        // A client can send a host of thousands of labels.
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
    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// Whether the number is in the set.
    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(super) fn first(&self) -> Option<usize> {
        let (at, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(at << 6 | word.trailing_zeros() as usize)
    }

    /// Removes the numbers that are not in `other`.
    pub(super) fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// The union of both.
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
