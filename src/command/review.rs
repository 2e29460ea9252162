//! Reviews documents in the environment that the configuration around them gives the filter.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use oauth2_filter_core::{
    Configuration, Environment, Filter, OpenSecret, Review, SecretPlace, SecretSource, Sign,
    Verify, review,
};

use crate::keys::{self, ASSUMED};
use crate::uses::{Host, Use};

/// A secret that may change, whose value is unknown.
struct Unknown;

impl SecretSource for Unknown {
    fn current(&self) -> Option<String> {
        Some(ASSUMED.to_owned())
    }

    fn each_recent(&self, _: &mut dyn FnMut(&str)) {}
}

/// Opens a secret of the dynamic module, which is assumed to exist.
fn open(place: SecretPlace<'_>) -> Result<Arc<dyn SecretSource>, String> {
    match place {
        SecretPlace::File(path) if !Path::new(path).is_absolute() => {
            Err("expected an absolute path".to_owned())
        }
        SecretPlace::File(_) | SecretPlace::Sds { .. } => Ok(Arc::new(Unknown)),
    }
}

/// The same in a document for a route.
fn open_in_route(place: SecretPlace<'_>) -> Result<Arc<dyn SecretSource>, String> {
    match place {
        SecretPlace::File(_) => open(place),
        SecretPlace::Sds { .. } => Err("not in a document for a route, to which Envoy gives no \
                                        secrets; use `file`, or the document of the filter"
            .to_owned()),
    }
}

/// The secrets of a use that may change.
fn sources(found: &Use) -> Option<OpenSecret<'static>> {
    match found.host {
        Host::Module => None,
        Host::DynamicModule => Some(&open),
        Host::Route => Some(&open_in_route),
    }
}

/// The environment of a use, with these variables.
fn environment<'v>(found: &Use, variable: &'v dyn Fn(&str) -> Option<String>) -> Environment<'v> {
    let (sign, verify): (Sign, Verify) = match found.host {
        Host::Module => (keys::sign_in_module, keys::verify_in_module),
        Host::DynamicModule | Host::Route => (keys::sign, keys::verify),
    };
    let reads_jwt_authn = matches!(found.host, Host::Module);
    Environment { variable, seed: [0; 16], sign, verify, reads_jwt_authn }
}

/// The review of the document of a use.
pub(crate) fn reviewed(found: &Use, real: bool) -> Review {
    let variable = |name: &str| found.variables.value(name, real);
    review(&found.bytes, &environment(found, &variable), sources(found))
}

/// The filter with the document of a use, if it has no errors. It accepts every signature.
pub(crate) fn credulous_filter(found: &Use) -> Option<Filter> {
    let variable = |name: &str| found.variables.value(name, false);
    let environment = Environment { verify: keys::assume, ..environment(found, &variable) };
    let loaded = match sources(found) {
        None => Configuration::load(&found.bytes, &environment),
        Some(open) => Configuration::load_with_sources(&found.bytes, &environment, open),
    };
    loaded.ok().map(|(configuration, _)| configuration.filter())
}

/// The variables that the document of a use names and its VM lacks.
pub(crate) fn lacking_variables(found: &Use) -> BTreeSet<String> {
    let lacking = RefCell::new(BTreeSet::new());
    let variable = |name: &str| {
        let value = found.variables.value(name, false);
        if value.is_none() {
            lacking.borrow_mut().insert(name.to_owned());
        }
        value
    };
    review(&found.bytes, &environment(found, &variable), sources(found));
    lacking.into_inner()
}
