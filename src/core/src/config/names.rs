//! The names of the outbound clients, by which other parts of the document refer to them.

use serde_json::Value;

use super::reader::Field;
use crate::oauth::json::escaped;

/// The names of the clients, before any of them is read.
pub(super) struct Names(Vec<String>);

impl Names {
    /// The names in `outbound.clients`.
    pub(super) fn of(outbound: Option<&Field<'_>>) -> Self {
        let clients = outbound.and_then(|field| field.value.get("clients"));
        let names = clients.and_then(Value::as_object).map(|clients| clients.keys().cloned());
        Self(names.into_iter().flatten().collect())
    }

    /// The number of the client that a field names.
    pub(super) fn number(&self, field: &Field<'_>) -> Option<usize> {
        let name = field.string("the name of a client")?;
        let number = self.0.iter().position(|known| known == name);
        number.or_else(|| {
            let known = self.0.join(", ");
            if known.is_empty() {
                field.mistake("names an outbound client, and there are none: see outbound.clients")
            } else {
                field.mistake(format_args!(
                    "no client has this name; there are: {}",
                    escaped(&known)
                ))
            }
        })
    }
}
