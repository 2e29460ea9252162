//! Reviews a document: the errors and warnings of loading it, and further advice.

use super::document;
use super::error::ConfigError;
use super::load::config;
use super::notes::Noted;
use super::reader::Reader;
use super::values::sources;
use crate::environment::Environment;
use crate::oauth::secret::OpenSecret;

/// The review of a document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Review {
    /// The errors for which loading rejects it, in the same words.
    pub mistakes: Vec<ConfigError>,
    /// The warnings of loading it, and further advice.
    pub warnings: Vec<ConfigError>,
    /// What depends on something that the document does not say.
    pub notes: Vec<ConfigError>,
    /// The endpoint blocks with the Envoy cluster that each calls.
    pub clusters: Vec<(String, String)>,
    /// The paths of secrets in plain text.
    pub secrets: Vec<String>,
}

/// Reviews a document as received from the host, which opens secrets that may change with `open`, if
/// it has any.
pub fn review(bytes: &[u8], host: &Environment<'_>, open: Option<OpenSecret<'_>>) -> Review {
    let document = match document::read(bytes) {
        Ok(document) => document,
        Err(mistakes) => {
            return Review { mistakes: mistakes.iter().cloned().collect(), ..Review::default() };
        }
    };
    let reader = Reader::new(host).with_sources(open.map(sources));
    config(&reader.document(&document));
    let (mistakes, mut warnings, noted) = reader.into_parts();
    // An invalid value was read as absent, so a warning about its absence would be wrong.
    warnings.retain(|warning| mistakes.iter().all(|mistake| mistake.place != warning.place));
    warnings.extend(noted.secrets.iter().map(|place| {
        ConfigError {
            place: place.clone(),
            text: "secret in plain text; use {\"env\": \"NAME\"} and pass the variable to the VM"
                .to_owned(),
        }
    }));
    warnings.extend(noted.advice);
    let Noted { notes, clusters, secrets, .. } = noted;
    Review { mistakes, warnings, notes, clusters, secrets }
}
