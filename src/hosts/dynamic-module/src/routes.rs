//! Documents for routes, which decide on the requests of a route instead of the filter's document.
//!
//! Envoy creates a document without saying for which filter. So a document has a configuration in
//! each filter that a request of its route passes through: with deciders and a fetcher of its own,
//! and with the calls and metrics of that filter. The first such request makes it.

use std::sync::{Arc, RwLock};

use fnv::FnvHashMap;
use oauth2_filter_core::Configuration;

use super::locked::{read, write};
use super::request::RouteAddress;

/// The documents that Envoy has, by their addresses, so that one of another module is not taken for
/// one of these.
#[derive(Default)]
pub(crate) struct Documents(RwLock<FnvHashMap<RouteAddress, Arc<Configuration>>>);

impl Documents {
    /// Adds a document.
    pub(crate) fn insert(&self, address: RouteAddress, document: Arc<Configuration>) {
        write(&self.0).insert(address, document);
    }

    /// Removes a document, of which no filter makes a configuration from now on. Its address is
    /// taken until it is dropped.
    pub(crate) fn remove(&self, address: RouteAddress) -> Option<Arc<Configuration>> {
        write(&self.0).remove(&address)
    }
}

/// The configurations `F` of documents in one filter.
pub(crate) struct Routes<F>(RwLock<FnvHashMap<RouteAddress, Arc<F>>>);

impl<F> Default for Routes<F> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<F> Routes<F> {
    /// The configuration of a document, which `make` makes of it if there is none yet; `None` if it
    /// is not a document of this module.
    pub(crate) fn get(
        &self,
        address: RouteAddress,
        documents: &Documents,
        make: impl FnOnce(&Configuration) -> Arc<F>,
    ) -> Option<Arc<F>> {
        if let Some(config) = read(&self.0).get(&address) {
            return Some(Arc::clone(config));
        }
        let documents = read(&documents.0);
        let document = documents.get(&address)?;
        let mut routes = write(&self.0);
        Some(Arc::clone(routes.entry(address).or_insert_with(|| make(document))))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<F>> {
        read(&self.0).values().cloned().collect()
    }

    /// Removes that of a document.
    pub(crate) fn remove(&self, address: RouteAddress) -> Option<Arc<F>> {
        write(&self.0).remove(&address)
    }

    /// Removes all of them.
    pub(crate) fn take(&self) -> Vec<Arc<F>> {
        std::mem::take(&mut *write(&self.0)).into_values().collect()
    }
}
