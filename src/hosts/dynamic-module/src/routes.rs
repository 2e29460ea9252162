//! Documents for routes, which decide on the requests of a route instead of the filter's document.
//!
//! Envoy creates a document without saying for which filter. So a document has a configuration in
//! each filter that a request of its route passes through: with deciders and a fetcher of its own,
//! and with the calls and metrics of that filter. The first such request makes it.

use std::num::NonZeroUsize;
use std::sync::{Arc, RwLock, Weak};

use fnv::FnvHashMap;
use oauth2_filter_core::Configuration;

use super::filter::{self, FilterConfig, PROCESS};
use super::locked::{lock, read, write};
use super::request::RouteAddress;

/// The documents that Envoy has, by their addresses, so that one of another module is not taken for
/// one of these.
#[derive(Default)]
pub(crate) struct Documents(RwLock<FnvHashMap<RouteAddress, Arc<Configuration>>>);

/// The configurations of documents in one filter.
#[derive(Default)]
pub(crate) struct Routes(RwLock<FnvHashMap<RouteAddress, Arc<FilterConfig>>>);

/// Why a document for a route has no secret of Envoy's.
const NO_SDS: &str = "not in a document for a route, to which Envoy gives no secrets; use `file`, or \
                      the document of the filter";

/// Loads a document. The reason for `None` is in the log.
pub(crate) fn load(name: &[u8], document: &[u8]) -> Option<RouteAddress> {
    let configuration = filter::load(name, document, &|_, _| Err(NO_SDS.to_owned()))?;
    let configuration = Arc::new(configuration);
    let address = NonZeroUsize::new(Arc::as_ptr(&configuration).addr())?;
    write(&PROCESS.documents.0).insert(address, configuration);
    Some(address)
}

/// Envoy destroys a document, in any thread.
pub(crate) fn destroyed(address: RouteAddress) {
    // From now on, no filter makes a configuration of it.
    let document = write(&PROCESS.documents.0).remove(&address);
    let filters: Vec<_> = lock(&PROCESS.filters).iter().filter_map(Weak::upgrade).collect();
    for filter in filters {
        let config = write(&filter.routes.0).remove(&address);
        config.iter().for_each(FilterConfig::leave);
    }
    // Only now may another document get this address.
    drop(document);
}

impl Routes {
    /// Removes all of them.
    pub(crate) fn take(&self) -> Vec<Arc<FilterConfig>> {
        std::mem::take(&mut *write(&self.0)).into_values().collect()
    }
}

impl FilterConfig {
    /// The configuration of a document in this filter; `None` if it is not one of this module.
    pub(crate) fn of_route(&self, address: RouteAddress) -> Option<Arc<Self>> {
        if let Some(config) = read(&self.routes.0).get(&address) {
            return Some(Arc::clone(config));
        }
        let documents = read(&PROCESS.documents.0);
        let document = documents.get(&address)?;
        let mut routes = write(&self.routes.0);
        let config = routes.entry(address);
        let config = config.or_insert_with(|| self.with_document(Configuration::clone(document)));
        Some(Arc::clone(config))
    }

    /// The filter itself, and the configurations in it for which the main thread has something to do.
    pub(crate) fn with_work(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut configs = vec![Arc::clone(self)];
        let routes = read(&self.routes.0);
        configs.extend(routes.values().filter(|config| config.has_work()).cloned());
        configs
    }
}
