//! What a reading tells besides values and mistakes: for the schema, and for reviews of a document.
//! In the module nobody looks on, so that nothing of it is there.

#[cfg(feature = "review")]
use super::error::ConfigError;
#[cfg(feature = "review")]
use super::key_table::KeyTable;

/// What kind of value a reader looks for at a place. It may look for several, one after the other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// Null.
    Null,
    /// This truth value alone.
    Only(bool),
    /// True or false.
    Boolean,
    /// A whole number from the first to the second.
    Whole(u32, u32),
    /// A string, number, true or false.
    Scalar,
    /// A string; the text says what it holds.
    String(String),
    /// One that is not empty.
    Text(String),
    /// One of these strings.
    Choice(Vec<&'static str>),
    /// The same, and it says which other keys the object has.
    Kind(Vec<&'static str>),
    /// A duration.
    Duration,
    /// An absolute `http` or `https` URL.
    Url,
    /// A list.
    List {
        /// Its least length.
        least: u8,
    },
    /// An object whose keys are the reader's.
    Object,
    /// An object whose keys are the operator's.
    Members,
    /// Keys of such an object that the reader knows all the same, and no others.
    Keys(Vec<&'static str>),
    /// Keys that may stand there once for each language, after a `#`.
    Languages(&'static [&'static str]),
}

/// Takes nothing in.
#[cfg(not(feature = "review"))]
#[derive(Default)]
pub(super) struct Observer;

#[cfg(not(feature = "review"))]
#[expect(clippy::unused_self, reason = "elsewhere it is used")]
impl Observer {
    /// What is looked for at a place.
    pub(super) fn looks_for(&self, _: impl FnOnce() -> (String, Shape)) {}

    /// An object that needs a key.
    pub(super) fn needs(&self, _: impl FnOnce() -> (String, &'static str)) {}

    /// An object, and a key without which it has others.
    pub(super) fn divides(&self, _: impl FnOnce() -> (String, &'static str)) {}

    /// An object and all its keys.
    pub(super) fn knows(&self, _: impl FnOnce() -> (String, Vec<&'static str>)) {}

    /// The cluster that an endpoint block calls.
    pub(super) fn calls(&self, _: impl FnOnce() -> (String, Option<String>)) {}

    /// A secret in clear text.
    pub(super) fn reveals(&self, _: impl FnOnce() -> String) {}
}

/// Takes all of it in.
#[cfg(feature = "review")]
#[derive(Debug, Default)]
pub(super) struct Observer(std::cell::RefCell<Noted>);

/// What was told, in order.
#[cfg(feature = "review")]
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// What was looked for, by place.
    pub(super) forms: Vec<(String, Shape)>,
    /// Objects, and a key that each needs.
    pub(super) needs: Vec<(String, &'static str)>,
    /// Objects, and a key without which each has others.
    pub(super) divided: Vec<(String, &'static str)>,
    /// Objects, and all keys of each.
    pub(super) keys: Vec<(String, Vec<&'static str>)>,
    /// Objects, and what people are told of the keys of each.
    pub(super) tables: Vec<(String, &'static KeyTable)>,
    /// Endpoint blocks, and the cluster that each calls.
    pub(super) clusters: Vec<(String, String)>,
    /// Places that have a secret in clear text.
    pub(super) secrets: Vec<String>,
    /// What a reviewer should know.
    pub(super) advice: Vec<ConfigError>,
    /// What depends on something that the document does not say.
    pub(super) notes: Vec<ConfigError>,
}

#[cfg(feature = "review")]
impl Observer {
    /// What is looked for at a place.
    pub(super) fn looks_for(&self, told: impl FnOnce() -> (String, Shape)) {
        let told = told();
        self.0.borrow_mut().forms.push(told);
    }

    /// An object that needs a key.
    pub(super) fn needs(&self, told: impl FnOnce() -> (String, &'static str)) {
        let told = told();
        self.0.borrow_mut().needs.push(told);
    }

    /// An object, and a key without which it has others.
    pub(super) fn divides(&self, told: impl FnOnce() -> (String, &'static str)) {
        let told = told();
        self.0.borrow_mut().divided.push(told);
    }

    /// An object and all its keys.
    pub(super) fn knows(&self, told: impl FnOnce() -> (String, Vec<&'static str>)) {
        let told = told();
        self.0.borrow_mut().keys.push(told);
    }

    /// An object, and what people are told of its keys.
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

    /// A secret in clear text.
    pub(super) fn reveals(&self, told: impl FnOnce() -> String) {
        let told = told();
        self.0.borrow_mut().secrets.push(told);
    }

    /// What a reviewer should know.
    pub(super) fn advise(&self, told: impl FnOnce() -> ConfigError) {
        let told = told();
        self.0.borrow_mut().advice.push(told);
    }

    /// What depends on something that the document does not say.
    pub(super) fn note(&self, told: impl FnOnce() -> ConfigError) {
        let told = told();
        self.0.borrow_mut().notes.push(told);
    }

    /// All of it.
    pub(super) fn into_inner(self) -> Noted {
        self.0.into_inner()
    }
}
