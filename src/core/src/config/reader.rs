//! Reads the document and tracks paths, so that every error states where it is and what is
//! expected.

use std::cell::RefCell;
use std::fmt;
use std::slice;

use serde_json::{Map, Value};

use super::error::{ConfigError, ConfigErrors};
#[cfg(feature = "review")]
use super::key_table::KeyTable;
#[cfg(feature = "review")]
use super::notes::Noted;
use super::notes::{Observer, Shape};
use crate::environment::Environment;
use crate::oauth::json;
use crate::oauth::json::escaped;
use crate::oauth::secret::{Credential, OpenSecret};

/// Collects errors and warnings, and provides access to the host.
pub(super) struct Reader<'a> {
    /// The paths of all values read, by number.
    places: RefCell<Vec<String>>,
    /// The errors found so far.
    mistakes: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
    /// Receives observations.
    pub(super) notes: Observer,
    pub(super) host: &'a Environment<'a>,
    /// `None` if the host has no secrets that may change.
    pub(super) sources: Option<Sources<'a>>,
}

/// Reads secrets that may change. A host that has none has no code for it, either.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) read: fn(&Field<'_>, OpenSecret<'_>) -> Option<Credential>,
    pub(super) open: OpenSecret<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(host: &'a Environment<'a>) -> Self {
        let (places, mistakes, warnings, notes) = Default::default();
        Self { places, mistakes, warnings, notes, host, sources: None }
    }

    /// The same for a host with secrets that may change.
    pub(super) fn with_sources(self, sources: Option<Sources<'a>>) -> Self {
        Self { sources, ..self }
    }

    /// The value of an environment variable of the VM.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.host.variable)(name)
    }

    /// The document as the root field.
    pub(super) fn document<'r>(&'r self, value: &'r Value) -> Field<'r> {
        self.field(String::new(), value)
    }

    /// Finishes: returns `value` and the warnings if there is no error.
    pub(super) fn close<T>(self, value: Option<T>) -> Result<(T, Vec<ConfigError>), ConfigErrors> {
        let mistakes = self.mistakes.into_inner();
        match value {
            Some(value) if mistakes.is_empty() => Ok((value, self.warnings.into_inner())),
            _ => Err(ConfigErrors(mistakes)),
        }
    }

    /// The errors, the warnings, and the observations.
    #[cfg(feature = "review")]
    pub(super) fn into_parts(self) -> (Vec<ConfigError>, Vec<ConfigError>, Noted) {
        (self.mistakes.into_inner(), self.warnings.into_inner(), self.notes.into_inner())
    }

    /// A value with its path.
    fn field<'r>(&'r self, place: String, value: &'r Value) -> Field<'r> {
        let mut places = self.places.borrow_mut();
        let number = places.len();
        places.push(place);
        Field { reader: self, place: number, value }
    }

    /// The path of a number.
    fn place(&self, number: usize) -> String {
        self.places.borrow().get(number).cloned().unwrap_or_default()
    }
}

/// A value of the document, with its path. It is passed by value in hundreds of places, so it owns
/// nothing: drop code would add considerably to the module.
#[derive(Clone, Copy)]
pub(super) struct Field<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// The number of its path.
    place: usize,
    pub(super) value: &'r Value,
}

impl<'r> Field<'r> {
    /// The path to this value.
    pub(super) fn place(&self) -> String {
        self.reader.place(self.place)
    }

    /// Records an error; returns `None`, so that a reading function can end with it.
    pub(super) fn mistake<T>(&self, text: impl fmt::Display) -> Option<T> {
        self.record(&self.reader.mistakes, &text);
        None
    }

    /// Records that the value has the wrong type.
    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        self.mistake(format_args!("expected {what}, found {}", json::kind(self.value)))
    }

    /// Records a warning.
    pub(super) fn warn(&self, text: &str) {
        self.record(&self.reader.warnings, &text);
    }

    /// Notes the expected kind of value.
    pub(super) fn looks_for(&self, form: impl FnOnce() -> Shape) {
        self.reader.notes.looks_for(|| (self.place(), form()));
    }

    /// Notes a secret in plain text.
    pub(super) fn is_secret(&self) {
        self.reader.notes.reveals(|| self.place());
    }

    /// Records advice for reviewers, which the filter itself does not log.
    #[cfg(feature = "review")]
    pub(super) fn advise(&self, text: impl FnOnce() -> String) {
        self.reader.notes.advise(|| ConfigError { place: self.place(), text: text() });
    }

    /// Records a note on what depends on information outside the document.
    #[cfg(feature = "review")]
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        self.reader.notes.note(|| ConfigError { place: self.place(), text: text() });
    }

    /// Records a message with this path.
    fn record(&self, records: &RefCell<Vec<ConfigError>>, text: &dyn fmt::Display) {
        records.borrow_mut().push(ConfigError { place: self.place(), text: text.to_string() });
    }

    /// The value as an object, whose keys are then read one by one.
    pub(super) fn object(&self, what: &str) -> Option<Object<'r>> {
        self.looks_for(|| Shape::Object);
        let members = self.members(what)?;
        Some(Object { reader: self.reader, place: self.place, members, known: Vec::new() })
    }

    /// The members of the value, if it is an object.
    fn members(&self, what: &str) -> Option<&'r Map<String, Value>> {
        match self.value {
            Value::Object(members) => Some(members),
            _ => self.expected(what),
        }
    }

    /// The value as a string.
    pub(super) fn string(&self, what: &str) -> Option<&'r str> {
        self.looks_for(|| Shape::String(what.to_owned()));
        match self.value {
            Value::String(text) => Some(text),
            _ => self.expected(what),
        }
    }

    /// A member of the object, whether it has it or not.
    #[cfg(feature = "review")]
    pub(super) fn member(&self, name: &str) -> Self {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        self.reader.field(join(&self.place(), name), value)
    }

    /// The value as one of these words.
    pub(super) fn choice(&self, words: &[&'static str]) -> Option<&'static str> {
        self.looks_for(|| Shape::Choice(words.to_vec()));
        let what = alternatives(words);
        let word = self.string(&what)?;
        let chosen = words.iter().find(|known| **known == word);
        chosen.copied().or_else(|| self.mistake(format_args!("expected {what}")))
    }

    /// One of the list's elements.
    pub(super) fn element(&self, n: usize) -> Self {
        let value = self.value.get(n).unwrap_or(&Value::Null);
        self.reader.field(format!("{}[{n}]", self.place()), value)
    }

    /// The value as a list with at least one element, each read by `read`.
    ///
    /// Every element is read, so that all errors are reported.
    pub(super) fn list_of<T>(
        &self,
        what: &str,
        mut read: impl FnMut(&Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        read_all(self.elements(what)?.iter(), |field| read(field))
    }

    /// The elements of the value, if it is a list with at least one. Not generic, so the module has
    /// it once.
    fn elements(&self, what: &str) -> Option<Vec<Self>> {
        self.looks_for(|| Shape::List { least: 1 });
        let Value::Array(elements) = self.value else { return self.expected(what) };
        if elements.is_empty() {
            return self.mistake(format_args!("must not be empty; expected {what}"));
        }
        let mut fields = Vec::new();
        for n in 0..elements.len() {
            fields.push(self.element(n));
        }
        Some(fields)
    }

    /// The value as an object with arbitrary keys, each member read by `read`.
    ///
    /// Every member is read, so that all errors are reported.
    pub(super) fn members_of<T>(
        &self,
        what: &str,
        mut read: impl FnMut(&'r str, &Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.looks_for(|| Shape::Members);
        read_all(self.member_fields(what)?.iter(), |(key, field)| read(key, field))
    }

    /// The members of the value with their keys. Not generic, so the module has it once.
    fn member_fields(&self, what: &str) -> Option<Vec<(&'r str, Self)>> {
        let mut fields = Vec::new();
        for (key, value) in self.members(what)? {
            fields.push((key.as_str(), self.reader.field(join(&self.place(), key), value)));
        }
        Some(fields)
    }
}

/// Reads each of these; the result is `None` after an error.
fn read_all<F, T>(
    fields: slice::Iter<'_, F>,
    mut read: impl FnMut(&F) -> Option<T>,
) -> Option<Vec<T>> {
    let mut values = Vec::new();
    let mut is_complete = true;
    for field in fields {
        match read(field) {
            Some(value) => values.push(value),
            None => is_complete = false,
        }
    }
    is_complete.then_some(values)
}

/// A key of an object, as a table lists it.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The error if it is missing, for a required key.
    required: Option<&'static str>,
}

impl Key {
    /// A required key, with the error if it is missing.
    pub(super) const fn required(name: &'static str, missing: &'static str) -> Self {
        Self { name, required: Some(missing) }
    }

    /// An optional key.
    pub(super) const fn optional(name: &'static str) -> Self {
        Self { name, required: None }
    }

    /// Whether it is required.
    #[cfg(all(test, feature = "review"))]
    pub(super) fn is_required(&self) -> bool {
        self.required.is_some()
    }
}

/// An object of the document. [`Object::check_keys`] rejects the keys that were not read.
pub(super) struct Object<'r> {
    reader: &'r Reader<'r>,
    /// The number of this object's path.
    place: usize,
    /// All its members.
    members: &'r Map<String, Value>,
    /// The valid keys: those read so far.
    known: Vec<&'static str>,
}

impl<'r> Object<'r> {
    /// Notes the cluster that this endpoint block calls.
    pub(super) fn calls(&self, cluster: impl FnOnce() -> Option<String>) {
        self.reader.notes.calls(|| (self.reader.place(self.place), cluster()));
    }

    /// Notes that this key determines which other keys are valid.
    pub(super) fn divides(&self, key: &'static str) {
        self.reader.notes.divides(|| (self.reader.place(self.place), key));
    }

    /// Notes the documentation of the keys: of several tables, the first with the key counts.
    #[cfg(feature = "review")]
    pub(super) fn described(&self, tables: &[&'static KeyTable]) {
        let place = self.reader.place(self.place);
        self.reader.notes.describes(&place, tables);
    }

    /// Whether the document has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// One of the keys, whether the document has it or not.
    pub(super) fn at(&self, key: &str) -> Field<'r> {
        let value = self.members.get(key).unwrap_or(&Value::Null);
        self.reader.field(join(&self.reader.place(self.place), key), value)
    }

    /// Whether the key is valid.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// Makes these keys valid, whether they are read or not.
    pub(super) fn know(&mut self, keys: &[&'static str]) {
        for key in keys {
            if !self.knows(key) {
                self.known.push(key);
            }
        }
    }

    /// Takes a key, if the document has it.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'r>> {
        self.know(&[key]);
        self.has(key).then(|| self.at(key))
    }

    /// Reads an optional key. An error in it is recorded, and the key counts as absent.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<T> {
        read(&self.take(key)?)
    }

    /// Reads a required key; `what` describes it.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<T> {
        read(&self.needed(key, what)?)
    }

    /// Reads a key of a table.
    pub(super) fn read_key<T>(
        &mut self,
        key: &Key,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<T> {
        read(&self.take_key(key)?)
    }

    /// Takes a key of a table.
    pub(super) fn take_key(&mut self, key: &Key) -> Option<Field<'r>> {
        match key.required {
            Some(missing) => self.needed_or(key.name, &missing),
            None => self.take(key.name),
        }
    }

    /// Takes a required key; `what` describes it.
    fn needed(&mut self, key: &'static str, what: &str) -> Option<Field<'r>> {
        self.needed_or(key, &format_args!("required: {what}"))
    }

    /// Takes a required key, or records that it is missing.
    fn needed_or(&mut self, key: &'static str, missing: &dyn fmt::Display) -> Option<Field<'r>> {
        let field = self.take(key);
        self.reader.notes.needs(|| (self.reader.place(self.place), key));
        field.or_else(|| self.at(key).mistake(missing))
    }

    /// Rejects unknown keys.
    pub(super) fn check_keys(&self) {
        self.reader.notes.knows(|| (self.reader.place(self.place), self.known.clone()));
        for key in self.members.keys().filter(|key| !self.knows(key)) {
            let distances =
                self.known.iter().map(|known| (strsim::osa_distance(key, known), known));
            let place = self.at(key);
            let _: Option<()> = if let Some((0..=2, known)) = distances.min() {
                place.mistake(format_args!("unknown key; did you mean `{known}`?"))
            } else {
                let known = self.known.join(", ");
                place.mistake(format_args!("unknown key; expected one of: {known}"))
            };
        }
    }
}

/// The words as a choice: `"a", "b" or "c"`.
fn alternatives(words: &[&str]) -> String {
    let mut text = String::new();
    for (n, word) in words.iter().enumerate() {
        let separator = match n {
            0 => "",
            _ if n.saturating_add(1) == words.len() => " or ",
            _ => ", ",
        };
        text.extend([separator, "\"", word, "\""]);
    }
    text
}

/// The path of `key` in the object at `place`, on one line whatever the key.
fn join(place: &str, key: &str) -> String {
    let key = escaped(key);
    if place.is_empty() { key } else { format!("{place}.{key}") }
}
