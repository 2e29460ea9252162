//! Observes how a document is read, for the JSON Schema and for reviews. It is not compiled into
//! the module.

#[cfg(feature = "review")]
use super::error::ConfigError;
#[cfg(feature = "review")]
use super::key_table::KeyTable;

/// The kind of value that a reader expects. It may accept several kinds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    Null,
    /// This boolean only.
    Only(bool),
    Boolean,
    /// A whole number from the first to the second.
    Whole(u32, u32),
    /// A string, number, true or false.
    Scalar,
    /// A string with this description.
    String(String),
    /// A non-empty string with this description.
    Text(String),
    /// One of these strings.
    Choice(Vec<&'static str>),
    /// One of these strings, which determines the other keys of the object.
    Kind(Vec<&'static str>),
    Duration,
    Url,
    List {
        /// Its least length.
        least: u8,
    },
    /// An object with defined keys.
    Object,
    /// An object with arbitrary keys.
    Members,
    /// The only valid keys of such an object.
    Keys(Vec<&'static str>),
    /// An object with exactly one of its keys.
    OneOf,
    /// An object that others define.
    Foreign,
    /// Keys that may have a language tag after a `#`.
    Languages(&'static [&'static str]),
}

/// Ignores everything.
#[cfg(not(feature = "review"))]
#[derive(Default)]
pub(super) struct Observer;

#[cfg(not(feature = "review"))]
#[expect(clippy::unused_self, reason = "elsewhere it is used")]
impl Observer {
    /// The kind of value expected at a place.
    pub(super) fn looks_for(&self, _: impl FnOnce() -> (String, Shape)) {}

    /// A required key of an object.
    pub(super) fn needs(&self, _: impl FnOnce() -> (String, &'static str)) {}

    /// A key whose absence changes the valid keys of an object.
    pub(super) fn divides(&self, _: impl FnOnce() -> (String, &'static str)) {}

    /// An object and all its keys.
    pub(super) fn knows(&self, _: impl FnOnce() -> (String, Vec<&'static str>)) {}

    /// The cluster that an endpoint block calls.
    pub(super) fn calls(&self, _: impl FnOnce() -> (String, Option<String>)) {}

    /// A secret in plain text.
    pub(super) fn reveals(&self, _: impl FnOnce() -> String) {}
}

/// Records everything.
#[cfg(feature = "review")]
#[derive(Debug, Default)]
pub(super) struct Observer(std::cell::RefCell<Noted>);

/// What was observed, in order.
#[cfg(feature = "review")]
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// The expected kinds of value, by place.
    pub(super) forms: Vec<(String, Shape)>,
    /// Objects with a required key.
    pub(super) needs: Vec<(String, &'static str)>,
    /// Objects with a key whose absence changes the valid keys.
    pub(super) divided: Vec<(String, &'static str)>,
    /// Objects, and all keys of each.
    pub(super) keys: Vec<(String, Vec<&'static str>)>,
    /// Objects with the documentation of their keys.
    pub(super) tables: Vec<(String, &'static KeyTable)>,
    /// Endpoint blocks with their clusters.
    pub(super) clusters: Vec<(String, String)>,
    /// Places of secrets in plain text.
    pub(super) secrets: Vec<String>,
    /// Advice for reviewers.
    pub(super) advice: Vec<ConfigError>,
    /// Notes on what depends on information outside the document.
    pub(super) notes: Vec<ConfigError>,
}

#[cfg(feature = "review")]
impl Observer {
    /// The kind of value expected at a place.
    pub(super) fn looks_for(&self, told: impl FnOnce() -> (String, Shape)) {
        let told = told();
        self.0.borrow_mut().forms.push(told);
    }

    /// A required key of an object.
    pub(super) fn needs(&self, told: impl FnOnce() -> (String, &'static str)) {
        let told = told();
        self.0.borrow_mut().needs.push(told);
    }

    /// A key whose absence changes the valid keys of an object.
    pub(super) fn divides(&self, told: impl FnOnce() -> (String, &'static str)) {
        let told = told();
        self.0.borrow_mut().divided.push(told);
    }

    /// An object and all its keys.
    pub(super) fn knows(&self, told: impl FnOnce() -> (String, Vec<&'static str>)) {
        let told = told();
        self.0.borrow_mut().keys.push(told);
    }

    /// The documentation of the keys of an object.
    pub(super) fn describes(&self, place: &str, tables: &[&'static KeyTable]) {
        let tables = tables.iter().map(|table| (place.to_owned(), *table));
        self.0.borrow_mut().tables.extend(tables);
    }

    /// The cluster that an endpoint block calls.
    pub(super) fn calls(&self, told: impl FnOnce() -> (String, Option<String>)) {
        if let (place, Some(cluster)) = told() {
            self.0.borrow_mut().clusters.push((place, cluster));
        }
    }

    /// A secret in plain text.
    pub(super) fn reveals(&self, told: impl FnOnce() -> String) {
        let told = told();
        self.0.borrow_mut().secrets.push(told);
    }

    /// Advice for reviewers.
    pub(super) fn advise(&self, told: impl FnOnce() -> ConfigError) {
        let told = told();
        self.0.borrow_mut().advice.push(told);
    }

    /// Notes on what depends on information outside the document.
    pub(super) fn note(&self, told: impl FnOnce() -> ConfigError) {
        let told = told();
        self.0.borrow_mut().notes.push(told);
    }

    /// All of it.
    pub(super) fn into_inner(self) -> Noted {
        self.0.into_inner()
    }
}
