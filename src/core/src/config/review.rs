//! A reviewer's look at a document: what loading it says, and what else its author should know.

use super::document;
use super::error::ConfigError;
use super::load::config;
use super::notes::Noted;
use super::reader::Reader;
use crate::environment::Environment;

/// What is to be said of a document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Review {
    /// What a load refuses it for, in the same words.
    pub mistakes: Vec<ConfigError>,
    /// What a load warns of, and what else should be known.
    pub warnings: Vec<ConfigError>,
    /// What depends on something that the document does not say.
    pub notes: Vec<ConfigError>,
    /// The endpoint blocks, each with the Envoy cluster that it calls.
    pub clusters: Vec<(String, String)>,
    /// The places of secrets that stand in the document in clear text.
    pub secrets: Vec<String>,
}

/// Reviews a document as the host would hand it over.
pub fn review(bytes: &[u8], host: &Environment<'_>) -> Review {
    let document = match document::read(bytes) {
        Ok(document) => document,
        Err(mistakes) => {
            return Review { mistakes: mistakes.iter().cloned().collect(), ..Review::default() };
        }
    };
    let reader = Reader::new(host);
    config(&reader.document(&document));
    let (mistakes, mut warnings, noted) = reader.into_parts();
    // What is there, but wrong, was read as if it were not there.
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
