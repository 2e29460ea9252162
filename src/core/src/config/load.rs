//! The whole document: both directions, and what they have to know of each other.

use super::error::{ConfigError, ConfigErrors};
use super::names::Names;
use super::reader::{Field, Reader};
use super::{document, inbound, outbound};
use crate::cache::identity::Identity;
use crate::environment::Environment;
use crate::ids::ClientId;
use crate::inbound::guard::Guard;
use crate::outbound::ClientConfig;

/// What the operator wants, checked: one direction or both.
#[derive(Debug)]
pub(crate) struct Config {
    /// The proxy guards a resource.
    pub(crate) inbound: Option<Guard>,
    /// The proxy is a client.
    pub(crate) outbound: Option<ClientConfig>,
}

/// Reads the configuration as the host hands it over: JSON text, or the bytes of a
/// `google.protobuf.Struct`. Beside the configuration come warnings: what is accepted but should be
/// known.
///
/// # Errors
/// Every mistake with its place.
pub(crate) fn load(
    bytes: &[u8],
    host: &Environment<'_>,
) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
    let document = document::read(bytes)?;
    let reader = Reader::new(host);
    let config = config(&reader.document(&document));
    reader.close(config)
}

/// The document itself.
pub(super) fn config(field: &Field<'_>) -> Option<Config> {
    const WHAT: &str = "an object with inbound, outbound or both";
    let mut object = field.object(WHAT)?;
    let outbound = object.take("outbound");
    let names = Names::of(outbound.as_ref());
    let inbound = object.take("inbound").map(|field| inbound::inbound(&field, names));
    // Not known if there are mistakes in `inbound`.
    let used: Option<Vec<ClientId>> = match &inbound {
        None => Some(Vec::new()),
        Some(guard) => guard.as_ref().map(|guard| {
            guard.servers.iter().filter_map(|server| server.introspection.client).collect()
        }),
    };
    let sources = inbound
        .as_ref()
        .map(|guard| guard.as_ref().map(|guard| guard.token_sources.clone()).unwrap_or_default());
    let outbound =
        outbound.map(|field| outbound::outbound(&field, names, used.as_deref(), sources));
    object.check_keys();
    if inbound.is_none() && outbound.is_none() {
        // All keys are unknown ones.
        return None;
    }
    let mut config = Config {
        inbound: match inbound {
            Some(guard) => Some(guard?),
            None => None,
        },
        outbound: match outbound {
            Some(clients) => Some(clients?),
            None => None,
        },
    };
    config.tell_answers_apart();
    if let (Some(guard), Some(clients)) = (&config.inbound, &mut config.outbound) {
        clients.resource = guard.resource.clone();
    }
    Some(config)
}

impl Config {
    /// What a server says to one client is not what it says to another: the client whose token
    /// authenticates an introspection call is a part of what its answers depend on.
    fn tell_answers_apart(&mut self) {
        let (Some(guard), Some(outbound)) = (&mut self.inbound, &self.outbound) else { return };
        for server in &mut guard.servers {
            let client = server.introspection.client;
            if let Some(client) = client.and_then(|client| outbound.client(client)) {
                server.identity = Identity::joined(&server.identity, &client.key.identity);
            }
        }
    }
}
