//! The configuration: one JSON document becomes a value that can hold no mistake.

mod document;
mod endpoint;
mod forward;
mod inbound;
mod metadata;
mod policy;
mod reader;
mod servers;
mod sources;
mod values;

pub use reader::{Mistake, Mistakes};

use crate::guard::Guard;
use reader::{Field, Reader};

/// What the operator wants, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The proxy guards a resource.
    pub(crate) inbound: Guard,
}

/// Reads the configuration as the host hands it over: JSON text, or the bytes of a
/// `google.protobuf.Struct`. `environment` is that of the VM. Beside the configuration come
/// warnings: what is accepted but should be known.
///
/// # Errors
/// Every mistake with its place.
pub(crate) fn load(
    bytes: &[u8],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Mistake>), Mistakes> {
    let document = document::read(bytes)?;
    let reader = Reader::new(environment);
    let config = config(&reader.document(document));
    reader.close(config)
}

/// The document itself.
fn config(field: &Field<'_>) -> Option<Config> {
    let mut object = field.object("an object with inbound")?;
    let inbound = object.need("inbound", "what the proxy guards, and how", inbound::inbound);
    object.check_keys();
    Some(Config { inbound: inbound? })
}
