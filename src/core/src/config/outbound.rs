//! The `outbound` object: which requests get the token of which client.

use std::sync::Arc;

use serde_json::Value;

use super::client::client;
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Required, Words},
    KeyRow, KeyTable,
};
use super::names::Names;
use super::notes::Shape;
use super::policy::matcher;
use super::reader::{Field, Object};
use super::values::text;
use crate::cache::identity::Identity;
use crate::ids::ClientId;
use crate::oauth::token_source::TokenSource;
use crate::oauth::token_sources::TokenSources;
use crate::outbound::ClientConfig;
use crate::outbound::client::Client;
use crate::rules::index::RuleIndex;
use crate::rules::matcher::Matcher;
use crate::store::ClientKey;

/// Which requests get the token of which client; `None` for no token.
type Rule = (Matcher, Option<ClientId>);

/// The keys of `outbound`.
#[cfg(feature = "review")]
pub(super) const OUTBOUND_TABLE: KeyTable = KeyTable {
    heading: "### `outbound`",
    parts: &[&[
        KeyRow::new(
            &["clients"],
            "object",
            Required,
            "the OAuth clients by name: below. Statistics and logs contain the names",
        )
        .link("below", "outboundclients"),
        KeyRow::new(
            &["rules"],
            "list",
            Words("see below"),
            "which requests get which client's token",
        )
        .see("outboundrules"),
    ]],
};

/// Reads `outbound`. `used` are the clients that authenticate introspection calls, if known.
pub(super) fn outbound(
    field: &Field<'_>,
    names: Names<'_>,
    used: Option<&[ClientId]>,
    token_sources: Option<TokenSources>,
) -> Option<ClientConfig> {
    let mut object = field.object("an object with clients and rules")?;
    #[cfg(feature = "review")]
    object.described(&[&OUTBOUND_TABLE]);
    let clients = object.need("clients", "an object of clients by name", |field| {
        let clients = field
            .members_of("an object of clients by name", |name, field| client(name, field, names))?;
        if clients.is_empty() {
            return field.mistake("must define at least one client");
        }
        Some(clients)
    });
    let has_rules = object.has("rules");
    let rules =
        object.read("rules", |field| field.list_of("a list of rules", |field| rule(field, names)));
    object.check_keys();
    let mut clients = clients?;
    let rules = match used {
        _ if has_rules => rules?,
        Some(used) => for_every_request(&object, &clients, used)?,
        None => return None,
    };
    let used = used.unwrap_or_default();
    let everywhere = |(matcher, client): &Rule| client.is_some() && matcher.hosts.is_none();
    if rules.iter().any(everywhere) {
        object.at("rules").warn(
            "a rule without hosts sends its token to every host that is called through this filter \
             (RFC 9700 section 2.3); set hosts",
        );
    }
    let guarded = token_sources.is_some();
    let token_sources = token_sources.unwrap_or_default();
    #[cfg(feature = "review")]
    {
        super::advice::advise_on_order(&object.at("rules"), &rules, |_| true);
        super::advice::advise_on_use(&object, &clients, &rules, used);
        super::advice::advise_on_names(&object, &clients);
    }
    join_actors(&object, &mut clients)?;
    for Client { name, placement, .. } in clients.iter().filter(|client| client.is_exchange()) {
        let is_read = |source: &TokenSource| source.header() == Some(&*placement.header);
        if !placement.overwrite && token_sources.places.iter().any(is_read) {
            return object
                .at(&format!("clients.{name}.overwrite"))
                .mistake("must be true; the caller's token in this header is to be exchanged");
        }
    }
    for client in used.iter().filter_map(|id| clients.get(id.index())) {
        if client.is_exchange() {
            return object.at(&format!("clients.{}.grant_type", client.name)).mistake(
                "a client that authenticates introspection calls must not use token exchange",
            );
        }
    }
    let rules = RuleIndex::new(rules);
    Some(ClientConfig { clients, rules, token_sources, guarded, resource: Arc::default() })
}

/// The default rules: the only client is for every request.
fn for_every_request(
    object: &Object<'_>,
    clients: &[Client],
    used: &[ClientId],
) -> Option<Vec<Rule>> {
    let is_actor = |id| clients.iter().any(|client| client.grant.actor() == Some(id));
    // A token for calls of the filter itself is not for other requests.
    let all = (0..clients.len()).map(ClientId);
    let mut free = all.filter(|id| !used.contains(id) && !is_actor(*id));
    let rule = |client| (Matcher::default(), Some(client));
    match (free.next(), free.next()) {
        (None, _) => Some(Vec::new()),
        (Some(client), None) => Some(vec![rule(client)]),
        (Some(_), Some(_)) => object.at("rules").mistake(
            "required with several clients; expected rules such as [{\"hosts\": \
             [\"api.example.com\"], \"client\": \"NAME\"}]",
        ),
    }
}

/// An exchanged token depends on the actor's token. An actor cannot use token exchange itself,
/// which would require a caller.
fn join_actors(object: &Object<'_>, clients: &mut [Client]) -> Option<()> {
    for number in 0..clients.len() {
        let Some(Client { grant, key, name, .. }) = clients.get(number) else { continue };
        let Some(actor) = grant.actor().and_then(|id| clients.get(id.index())) else { continue };
        if actor.is_exchange() {
            return object
                .at(&format!("clients.{name}.actor"))
                .mistake("must be a client that does not use token exchange");
        }
        let joined = Identity::joined(&key.identity, &actor.key.identity);
        if let Some(client) = clients.get_mut(number) {
            client.key = ClientKey::new(joined);
        }
    }
    Some(())
}

/// The keys of a rule.
#[cfg(feature = "review")]
pub(super) const RULE_TABLE: KeyTable = KeyTable {
    heading: "### `outbound.rules`",
    parts: &[&[
        KeyRow::new(&["name"], "string", Words("none"), "a name for the reader"),
        KeyRow::new(
            &["hosts", "methods", "paths"],
            "list",
            Words("all"),
            "as in `inbound.rules`. Set `hosts`: a rule without it sends its token to every host \
             called through this proxy",
        )
        .link("`inbound.rules`", "inboundrules")
        .strong("Set `hosts`"),
        KeyRow::new(
            &["client"],
            "string or null",
            Required,
            "the client whose token the request gets; `null` for none",
        ),
    ]],
};

/// One of `rules`.
fn rule(field: &Field<'_>, names: Names<'_>) -> Option<Rule> {
    let mut object = field.object("an object with hosts, methods, paths, client")?;
    #[cfg(feature = "review")]
    object.described(&[&RULE_TABLE]);
    object.read("name", |f| text(f, "a rule name"));
    let matcher = matcher(&mut object);
    let client = object.need("client", "a client name, or null", |field| {
        field.looks_for(|| Shape::Null);
        match field.value {
            Value::Null => Some(None),
            _ => names.client(field).map(Some),
        }
    });
    object.check_keys();
    Some((matcher, client?))
}
