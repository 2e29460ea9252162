//! The names of the outbound clients, by which other parts of the document refer to them.

use serde_json::{Map, Value};

use super::reader::Field;
use crate::ids::ClientId;
use crate::oauth::json::escaped;

/// The names of the clients, before any of them is read.
#[derive(Clone, Copy)]
pub(super) struct Names<'r>(Option<&'r Map<String, Value>>);

impl<'r> Names<'r> {
    /// The names in `outbound.clients`.
    pub(super) fn of(outbound: Option<&Field<'r>>) -> Self {
        let clients = outbound.and_then(|field| field.value.get("clients"));
        Self(clients.and_then(Value::as_object))
    }

    /// The client that a field names.
    pub(super) fn client(self, field: &Field<'_>) -> Option<ClientId> {
        let name = field.string("a client name")?;
        let mut known = String::new();
        for (number, other) in self.0.into_iter().flat_map(Map::keys).enumerate() {
            if other == name {
                return Some(ClientId(number));
            }
            known.push_str(if number == 0 { "" } else { ", " });
            known.push_str(other);
        }
        if known.is_empty() {
            field.mistake("unknown client; outbound.clients is empty")
        } else {
            field.mistake(format_args!("unknown client; known clients: {}", escaped(&known)))
        }
    }
}
