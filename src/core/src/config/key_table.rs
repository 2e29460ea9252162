//! Documentation of keys, from which the tables of `docs/reference.md` and the JSON Schema are
//! generated. Each reader defines it beside the keys that it reads. It is not compiled into the
//! module.

use serde_json::Value;

/// The keys of an object.
#[derive(Debug)]
pub struct KeyTable {
    /// The heading of the table in the reference.
    pub heading: &'static str,
    /// Its rows, part by part.
    pub parts: &'static [&'static [KeyRow]],
}

/// A key, or several with the same description.
#[derive(Debug)]
pub struct KeyRow {
    /// The keys.
    pub keys: &'static [&'static str],
    /// Their types.
    pub kind: &'static str,
    /// Their default.
    pub default: DefaultValue,
    /// Their meaning, with code in backticks.
    pub meaning: &'static str,
    /// The anchor of a section with details.
    pub section: Option<&'static str>,
    /// Words of the meaning, with the anchor that they link to.
    pub link: Option<(&'static str, &'static str)>,
    /// Words of the meaning to emphasize.
    pub strong: Option<&'static str>,
}

/// The default of a key.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// None: the key is required.
    Required,
    /// This JSON value.
    Json(&'static str),
    /// This JSON value, under a condition.
    JsonIf(&'static str, &'static str),
    /// A description, with code in backticks.
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

    /// Adds the anchor of a section with details.
    pub(super) const fn see(self, anchor: &'static str) -> Self {
        Self { section: Some(anchor), ..self }
    }

    /// Adds a link to words of the meaning.
    pub(super) const fn link(self, words: &'static str, anchor: &'static str) -> Self {
        Self { link: Some((words, anchor)), ..self }
    }

    /// Emphasizes words of the meaning.
    pub(super) const fn strong(self, words: &'static str) -> Self {
        Self { strong: Some(words), ..self }
    }

    /// The default value, if it is unconditional.
    pub(super) fn default_value(&self) -> Option<Value> {
        match self.default {
            DefaultValue::Json(text) => serde_json::from_str(text).ok(),
            DefaultValue::Required | DefaultValue::JsonIf(..) | DefaultValue::Words(_) => None,
        }
    }
}
