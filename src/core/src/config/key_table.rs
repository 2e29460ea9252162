//! What people are told of keys: in the tables of `docs/reference.md`, which are made of this, and
//! in the JSON Schema. Each reader has it beside the keys that it reads, and the module has none.

use serde_json::Value;

/// The keys of a kind of object.
#[derive(Debug)]
pub struct KeyTable {
    /// The heading of the reference above it.
    pub heading: &'static str,
    /// Its rows, part by part.
    pub parts: &'static [&'static [KeyRow]],
}

/// A key, or several of which the same is said.
#[derive(Debug)]
pub struct KeyRow {
    /// The keys.
    pub keys: &'static [&'static str],
    /// The types of value that they take.
    pub kind: &'static str,
    /// What holds without them.
    pub default: DefaultValue,
    /// What they are for; code stands between backticks.
    pub meaning: &'static str,
    /// The anchor of the section that says more.
    pub section: Option<&'static str>,
    /// Words of the meaning, and the anchor that they link to.
    pub link: Option<(&'static str, &'static str)>,
    /// Words of the meaning that nobody should miss.
    pub strong: Option<&'static str>,
}

/// What holds without a key.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// There is no such thing: it must be there.
    Required,
    /// The same as with this value, which is JSON.
    Json(&'static str),
    /// The same, where this is the case.
    JsonIf(&'static str, &'static str),
    /// What these words say; code stands between backticks.
    Words(&'static str),
}

impl KeyTable {
    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = &'static KeyRow> {
        self.parts.iter().copied().flatten()
    }

    /// The row of a key.
    pub(super) fn row(&self, key: &str) -> Option<&'static KeyRow> {
        self.rows().find(|row| row.keys.contains(&key))
    }
}

impl KeyRow {
    /// A row without links.
    pub(super) const fn new(
        keys: &'static [&'static str],
        kind: &'static str,
        default: DefaultValue,
        meaning: &'static str,
    ) -> Self {
        Self { keys, kind, default, meaning, section: None, link: None, strong: None }
    }

    /// The row with the section that says more.
    pub(super) const fn see(self, anchor: &'static str) -> Self {
        Self { section: Some(anchor), ..self }
    }

    /// The row with a link behind words of its meaning.
    pub(super) const fn link(self, words: &'static str, anchor: &'static str) -> Self {
        Self { link: Some((words, anchor)), ..self }
    }

    /// The row with words of its meaning that nobody should miss.
    pub(super) const fn strong(self, words: &'static str) -> Self {
        Self { strong: Some(words), ..self }
    }

    /// The value that changes nothing, if there is one in any case.
    pub(super) fn default_value(&self) -> Option<Value> {
        match self.default {
            DefaultValue::Json(text) => serde_json::from_str(text).ok(),
            DefaultValue::Required | DefaultValue::JsonIf(..) | DefaultValue::Words(_) => None,
        }
    }
}
