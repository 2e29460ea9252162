//! Loads the whole document: both directions, and what they share.

use std::sync::Arc;

use super::error::{ConfigError, ConfigErrors};
use super::names::Names;
use super::reader::{Field, Reader};
use super::values::sources;
use super::{document, inbound, outbound};
use crate::cache::identity::Identity;
use crate::environment::Environment;
use crate::ids::ClientId;
use crate::inbound::guard::Guard;
use crate::oauth::secret::OpenSecret;
use crate::oauth::token_sources::TokenSources;
use crate::outbound::ClientConfig;

/// A valid configuration of one direction or both.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) inbound: Option<Guard>,
    pub(crate) outbound: Option<ClientConfig>,
}

/// Reads the configuration as the host hands it over: JSON text, or the bytes of a
/// `google.protobuf.Struct`. Beside the configuration come warnings: what is accepted but should be
/// known.
///
/// # Errors
/// All errors with their paths.
pub(crate) fn load(
    bytes: &[u8],
    host: &Environment<'_>,
) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
    read(bytes, Reader::new(host))
}

/// The same for a host with secrets that may change.
pub(crate) fn load_with_sources(
    bytes: &[u8],
    host: &Environment<'_>,
    open: OpenSecret<'_>,
) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
    read(bytes, Reader::new(host).with_sources(Some(sources(open))))
}

fn read(bytes: &[u8], reader: Reader<'_>) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
    let document = document::read(bytes)?;
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
    // Unknown if `inbound` has errors.
    let used: Option<Vec<ClientId>> = match &inbound {
        None => Some(Vec::new()),
        Some(guard) => guard.as_ref().map(|guard| {
            guard.servers.iter().filter_map(|server| server.introspection.client).collect()
        }),
    };
    let sources = inbound.as_ref().map(|guard| match guard {
        Some(guard) => guard.token_sources.clone(),
        None => TokenSources { places: Vec::new(), ..TokenSources::default() },
    });
    let outbound =
        outbound.map(|field| outbound::outbound(&field, names, used.as_deref(), sources));
    object.check_keys();
    if inbound.is_none() && outbound.is_none() {
        // There are only unknown keys.
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
        clients.resource = Arc::clone(guard.resources.of_unknown());
        if guard.forward.sets_authorization() && clients.sets("authorization") {
            return object.at("inbound.forward.bearer").mistake(
                "conflicts with an outbound client that sets `authorization`; give the client \
                 another `header`, or remove `bearer`",
            );
        }
    }
    Some(config)
}

impl Config {
    /// An introspection response may depend on the client: the client whose token authenticates the
    /// call is part of the identity of cached responses.
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
