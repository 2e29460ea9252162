//! Reviews documents in the environment that the configuration around them gives the filter.

use std::cell::RefCell;
use std::collections::BTreeSet;

use oauth2_filter_core::{Environment, Review, review};

use crate::keys;
use crate::uses::Use;

/// The review of the document of a use.
pub(crate) fn reviewed(found: &Use, real: bool) -> Review {
    with_environment(found, real, |environment| review(&found.bytes, environment, None))
}

/// Calls `load` with the environment in which the filter would load the document.
pub(crate) fn with_environment<T>(
    found: &Use,
    real: bool,
    load: impl FnOnce(&Environment<'_>) -> T,
) -> T {
    let variable = |name: &str| found.variables.value(name, real);
    load(&Environment { variable: &variable, seed: [0; 16], sign: keys::sign_in_module })
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
    let environment =
        Environment { variable: &variable, seed: [0; 16], sign: keys::sign_in_module };
    review(&found.bytes, &environment, None);
    lacking.into_inner()
}
