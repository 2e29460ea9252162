//! Reading the document with its places: every mistake says where it is and what would be right.

use std::cell::RefCell;
use std::fmt;

use serde_json::{Map, Value};

use crate::filter::Environment;
use crate::json;

/// One mistake in the configuration: where it stands and what would be right.
///
/// The text never repeats a value of the document, since any of them may be a secret put in the
/// wrong place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// The path to the value, as in `inbound.rules[2].scope`; empty for the document itself.
    pub place: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(f, "configuration: {}", self.text)
        } else {
            write!(f, "{}: {}", self.place, self.text)
        }
    }
}

/// Every mistake of a refused configuration, in the order of the document's keys; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// One mistake about the document as a whole.
    pub(crate) fn of_document(text: impl Into<String>) -> Self {
        Self(vec![Mistake { place: String::new(), text: text.into() }])
    }

    /// The mistakes, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// What reading gathers besides the values, and what it may ask.
pub(super) struct Reader<'a> {
    /// The mistakes found so far.
    mistakes: RefCell<Vec<Mistake>>,
    /// What is accepted but should be known.
    warnings: RefCell<Vec<Mistake>>,
    /// What the host gives.
    pub(super) host: &'a Environment<'a>,
}

impl<'a> Reader<'a> {
    /// A reader that has found nothing yet.
    pub(super) fn new(host: &'a Environment<'a>) -> Self {
        Self { mistakes: RefCell::default(), warnings: RefCell::default(), host }
    }

    /// The value of an environment variable of the VM.
    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.host.variable)(name)
    }

    /// The document as the field at the root of all places.
    pub(super) fn document(&self, value: Value) -> Field<'_> {
        Field { reader: self, place: String::new(), value }
    }

    /// Closes the reading: `value` and the warnings if no mistake was found.
    pub(super) fn close<T>(self, value: Option<T>) -> Result<(T, Vec<Mistake>), Mistakes> {
        let mistakes = self.mistakes.into_inner();
        match value {
            Some(value) if mistakes.is_empty() => Ok((value, self.warnings.into_inner())),
            _ => Err(Mistakes(mistakes)),
        }
    }
}

/// A value of the document, with its place.
pub(super) struct Field<'r> {
    /// Where mistakes go.
    pub(super) reader: &'r Reader<'r>,
    /// The path to this value.
    pub(super) place: String,
    /// The value.
    pub(super) value: Value,
}

impl<'r> Field<'r> {
    /// Records a mistake at this place; `None`, so that a reading function can end with it.
    pub(super) fn mistake<T>(&self, text: impl Into<String>) -> Option<T> {
        let mistake = Mistake { place: self.place.clone(), text: text.into() };
        self.reader.mistakes.borrow_mut().push(mistake);
        None
    }

    /// Records that the value is of the wrong kind.
    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        self.mistake(format!("expected {what}, found {}", json::kind(&self.value)))
    }

    /// Records something that is accepted but should be known.
    pub(super) fn warn(&self, text: impl Into<String>) {
        let warning = Mistake { place: self.place.clone(), text: text.into() };
        self.reader.warnings.borrow_mut().push(warning);
    }

    /// The value as an object whose keys are then taken one by one.
    pub(super) fn object(&self, what: &str) -> Option<Object<'r>> {
        let Value::Object(members) = &self.value else { return self.expected(what) };
        let members = members.clone();
        Some(Object { reader: self.reader, place: self.place.clone(), members, known: Vec::new() })
    }

    /// The value as a string.
    pub(super) fn string(&self, what: &str) -> Option<String> {
        match &self.value {
            Value::String(text) => Some(text.clone()),
            _ => self.expected(what),
        }
    }

    /// The place of one of the list's elements.
    pub(super) fn element(&self, n: usize) -> Self {
        let place = format!("{}[{n}]", self.place);
        Self { reader: self.reader, place, value: Value::Null }
    }

    /// The value as a list with at least one element, each read by `read`.
    ///
    /// Every element is read, so that all their mistakes are told.
    pub(super) fn list_of<T>(
        &self,
        what: &str,
        read: impl Fn(&Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(elements) = &self.value else { return self.expected(what) };
        if elements.is_empty() {
            return self.mistake(format!("an empty list fits nothing: expected {what}"));
        }
        let element = |(n, value): (usize, &Value)| {
            let place = format!("{}[{n}]", self.place);
            read(&Self { reader: self.reader, place, value: value.clone() })
        };
        let read: Vec<Option<T>> = elements.iter().enumerate().map(element).collect();
        read.into_iter().collect()
    }

    /// The value as an object whose keys are the operator's, each member read by `read`.
    ///
    /// Every member is read, so that all their mistakes are told.
    pub(super) fn members_of<T>(
        &self,
        what: &str,
        mut read: impl FnMut(&str, &Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Object(members) = &self.value else { return self.expected(what) };
        let member = |(key, value): (&String, &Value)| {
            let place = join(&self.place, key);
            read(key, &Self { reader: self.reader, place, value: value.clone() })
        };
        let read: Vec<Option<T>> = members.iter().map(member).collect();
        read.into_iter().collect()
    }
}

/// An object of the document. [`Object::check_keys`] refuses the keys that nobody took.
pub(super) struct Object<'r> {
    /// Where mistakes go.
    reader: &'r Reader<'r>,
    /// The path to this object.
    place: String,
    /// All its members.
    members: Map<String, Value>,
    /// The keys that were asked for: all that this object may have.
    known: Vec<&'static str>,
}

impl<'r> Object<'r> {
    /// Whether the document has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// The place of one of the keys, whether the document has it or not.
    pub(super) fn at(&self, key: &str) -> Field<'r> {
        Field { reader: self.reader, place: join(&self.place, key), value: Value::Null }
    }

    /// Whether the key was asked for.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// Has these keys be known, whether they are taken or not.
    pub(super) fn know(&mut self, keys: &[&'static str]) {
        let new = keys.iter().filter(|key| !self.known.contains(key));
        let new: Vec<_> = new.copied().collect();
        self.known.extend(new);
    }

    /// Takes a key, if the document has it.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'r>> {
        self.know(&[key]);
        let value = self.members.get(key)?.clone();
        Some(Field { reader: self.reader, place: join(&self.place, key), value })
    }

    /// Reads an optional key. A mistake in it is recorded and counts as absent until the end.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<T> {
        self.take(key).and_then(|field| read(&field))
    }

    /// Reads a key that must be there; `what` says what it is for.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&Field<'r>) -> Option<T>,
    ) -> Option<T> {
        match self.take(key) {
            Some(field) => read(&field),
            None => self.at(key).mistake(format!("required: {what}")),
        }
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn check_keys(&self) {
        for key in self.members.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let near = self
                .known
                .iter()
                .map(|known| (strsim::osa_distance(key, known), known))
                .min()
                .filter(|(distance, _)| *distance <= 2);
            let advice = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let place = self.at(&key.escape_debug().to_string());
            let _: Option<()> = place.mistake(format!("unknown key; {advice}"));
        }
    }
}

/// The place of `key` in the object at `place`.
fn join(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}
