//! `schema`: the JSON Schema for editors. Structure, descriptions and defaults come from the
//! filter's own reader; this module names schemas that are used in several places.

use std::process::ExitCode;

use lexopt::Parser;
use serde_json::{Map, Value, json};

use crate::{Failure, print};

/// Runs the command.
pub(crate) fn run(mut arguments: Parser) -> Result<ExitCode, Failure> {
    match arguments.next()? {
        Some(other) => Err(other.unexpected().into()),
        None => print(&format!("{:#}\n", schema())),
    }
}

/// The schema as a complete document.
fn schema() -> Value {
    let mut schema = oauth2_filter_core::schema();
    let mut definitions = Definitions::default();
    definitions.count(&schema);
    definitions.take(&mut schema, "document");
    if let Value::Object(members) = &mut schema {
        for (key, value) in [
            ("$schema", "https://json-schema.org/draft/2020-12/schema"),
            ("title", "oauth2-filter"),
            ("description", "The configuration of oauth2-filter, OAuth 2.0 for Envoy and Istio."),
        ] {
            members.insert(key.to_owned(), value.into());
        }
        members.insert("$defs".to_owned(), Value::Object(definitions.taken));
    }
    schema
}

/// The schemas that are used in several places, by name.
#[derive(Default)]
struct Definitions {
    /// How often each schema is used.
    counts: Vec<(Value, usize)>,
    /// The definitions.
    taken: Map<String, Value>,
}

impl Definitions {
    /// The minimum length of a schema for a definition.
    const LEAST: usize = 300;

    /// Counts the schemas in here.
    fn count(&mut self, schema: &Value) {
        if is_large(schema) {
            match self.counts.iter_mut().find(|(known, _)| known == schema) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => self.counts.push((schema.clone(), 1)),
            }
        }
        match schema {
            Value::Object(members) => members.values().for_each(|value| self.count(value)),
            Value::Array(list) => list.iter().for_each(|value| self.count(value)),
            _ => {}
        }
    }

    /// Replaces repeated schemas with references.
    fn take(&mut self, schema: &mut Value, name: &str) {
        let is_repeated = self.counts.iter().any(|(known, count)| *count > 1 && known == schema);
        match schema {
            Value::Object(members) => {
                for (key, value) in members {
                    let name = match key.as_str() {
                        "properties" | "items" | "anyOf" | "additionalProperties" => name,
                        key => key,
                    };
                    self.take(value, name);
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.take(value, name)),
            _ => {}
        }
        if !is_repeated {
            return;
        }
        let name = self.name(name, schema);
        *schema = json!({ "$ref": format!("#/$defs/{name}") });
    }

    /// The name of a definition, which is added if necessary.
    fn name(&mut self, wanted: &str, schema: &Value) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1_u32;
        while self.taken.get(&name).is_some_and(|known| known != schema) {
            number = number.saturating_add(1);
            name = format!("{wanted}_{number}");
        }
        self.taken.insert(name.clone(), schema.clone());
        name
    }
}

/// Whether this is a schema, and worth a definition.
fn is_large(schema: &Value) -> bool {
    let is_schema = ["type", "anyOf", "enum"].iter().any(|key| schema.get(key).is_some());
    is_schema && schema.to_string().len() >= Definitions::LEAST
}
