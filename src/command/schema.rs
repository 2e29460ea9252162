//! `schema`: what editors know of the document. Its structure is what the filter's own reader looks
//! for; the words for people and the defaults are those of `docs/reference.md`.

use std::process::ExitCode;

use lexopt::Parser;
use serde_json::{Map, Value, json};

use crate::{Failure, print};

/// Where the reference stands.
const REFERENCE: &str = include_str!("../../docs/reference.md");

/// The tables of the reference for the keys of each object: the place of the object, and the
/// headings below which the keys are found, the first that has a key.
const TABLES: [(&str, &[&str]); 10] = [
    ("", &["### `inbound`", "### `outbound`"]),
    ("inbound", &["### `inbound`"]),
    ("inbound.introspection", &["### `inbound.introspection`", "### Endpoint blocks"]),
    ("inbound.cache", &["### `inbound.cache`"]),
    ("inbound.rules", &["### `inbound.rules`", "### `inbound`"]),
    ("inbound.forward", &["### `inbound.forward`"]),
    ("outbound", &["### `outbound`"]),
    ("outbound.clients", &["### `outbound.clients`", "### Endpoint blocks"]),
    ("outbound.clients.refresh", &["### Grants", "### Endpoint blocks"]),
    ("outbound.rules", &["### `outbound.rules`", "### `inbound.rules`"]),
];

/// Words for keys that stand in no table.
const WORDS: [(&str, &str); 6] = [
    ("inbound.claims.all", "a list that holds each of these"),
    ("inbound.claims.not", "there, and none of these"),
    ("inbound.rules.claims.all", "a list that holds each of these"),
    ("inbound.rules.claims.not", "there, and none of these"),
    ("inbound.sender_constraint.mtls", "tokens bound to the caller's TLS certificate (RFC 8705)"),
    ("outbound.clients.expires_in", "how long the token lives; without, it never ends"),
];

/// Runs the command.
pub(crate) fn run(mut arguments: Parser) -> Result<ExitCode, Failure> {
    match arguments.next()? {
        Some(other) => Err(other.unexpected().into()),
        None => print(&format!("{:#}\n", schema())),
    }
}

/// The schema, with its words.
fn schema() -> Value {
    let mut schema = oauth2_filter_core::schema();
    describe(&mut schema, "");
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

/// Adds words and defaults to the properties of the objects that may stand at a place.
fn describe(schema: &mut Value, place: &str) {
    let tables = TABLES.iter().find(|(known, _)| *known == place).map_or(&[][..], |(_, t)| *t);
    let Value::Object(members) = schema else { return };
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (key, property) in properties {
            let row = tables.iter().find_map(|heading| row(heading, key));
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            describe(property, &place);
            let Value::Object(property) = property else { continue };
            let words = WORDS.iter().find(|(known, _)| *known == place).map(|(_, words)| *words);
            let (words, default) = match (row, words) {
                (Some(row), _) => (row.meaning, row.default),
                (None, Some(words)) => (words.to_owned(), None),
                (None, None) if place.starts_with("inbound.resource_metadata.") => {
                    (format!("`{key}` of RFC 9728 section 2"), None)
                }
                (None, None) => continue,
            };
            property.insert("description".to_owned(), words.into());
            property.extend(default.map(|default| ("default".to_owned(), default)));
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(key) {
            describe(inner, place);
        }
    }
    if let Some(Value::Array(kinds)) = members.get_mut("anyOf") {
        for kind in kinds {
            describe(kind, place);
        }
    }
}

/// A row of a table of keys.
struct Row {
    /// The default, where it is a value.
    default: Option<Value>,
    /// What the key is for.
    meaning: String,
}

/// The row of a key in the tables below a heading.
fn row(heading: &str, key: &str) -> Option<Row> {
    let (_, below) = REFERENCE.split_once(&format!("\n{heading}\n"))?;
    let section = below.split("\n## ").next()?.split("\n### ").next()?;
    let quoted = format!("`{key}`");
    let mut columns = Vec::new();
    for line in section.lines() {
        let cells = cells(line);
        if cells.first().is_some_and(|first| first == "key") {
            columns = cells;
        } else if cells.first().is_some_and(|keys| keys.split(", ").any(|known| known == quoted)) {
            let column = |name: &str| {
                let cells = columns.iter().zip(&cells);
                cells.into_iter().find_map(|(column, cell)| (column == name).then_some(cell))
            };
            let default = column("default").map(|text| text.trim_matches('`'));
            return Some(Row {
                default: default.and_then(|text| serde_json::from_str(text).ok()),
                meaning: plain(column("meaning")?),
            });
        }
    }
    None
}

/// The cells of a row of a table. `\|` is a bar in one.
fn cells(row: &str) -> Vec<String> {
    let bar = "\u{0}";
    let row = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')).unwrap_or_default();
    row.replace("\\|", bar).split('|').map(|cell| cell.trim().replace(bar, "|")).collect()
}

/// Markdown without links and emphasis; a list of keys ends with what follows below.
fn plain(markdown: &str) -> String {
    let mut text = markdown.replace("**", "");
    while let Some((before, rest)) = text.split_once('[')
        && let Some((label, rest)) = rest.split_once("](")
        && let Some((_, after)) = rest.split_once(')')
    {
        text = format!("{before}{label}{after}");
    }
    text.trim_end_matches(": below").to_owned()
}

/// What stands at several places, by name.
#[derive(Default)]
struct Definitions {
    /// How often each schema stands there.
    counts: Vec<(Value, usize)>,
    /// Those that stand by themselves.
    taken: Map<String, Value>,
}

impl Definitions {
    /// How long a schema is that is worth a definition.
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

    /// Puts references in the place of what stands there several times.
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

    /// The name of a definition, which is there from now on.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The properties without words.
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (key, property) in properties {
                let texts = property.to_string();
                if !texts.contains("\"description\"") && property.get("const").is_none() {
                    found.push(format!("{at}.{key}"));
                }
                undescribed(property, &format!("{at}.{key}"), found);
            }
        }
        match schema {
            Value::Object(members) => {
                for (key, value) in members.iter().filter(|(key, _)| *key != "properties") {
                    let _ = key;
                    undescribed(value, at, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| undescribed(value, at, found)),
            _ => {}
        }
    }

    #[test]
    fn every_key_has_words() {
        let mut schema = oauth2_filter_core::schema();
        describe(&mut schema, "");
        let mut found = Vec::new();
        undescribed(&schema, "", &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn a_row_gives_default_and_meaning() {
        let of = |heading, key| row(heading, key).map(|row| (row.default, row.meaning));
        let (default, meaning) = of("### Endpoint blocks", "timeout").unwrap();
        assert_eq!(default, Some(json!("5s")));
        assert_eq!(meaning, "for the whole exchange, retries included");
        assert_eq!(of("### Endpoint blocks", "cluster").unwrap().0, None);
        assert!(of("### `inbound`", "introspection").unwrap().1.ends_with("is asked about tokens"));
        assert!(of("### `inbound`", "nothing").is_none());
    }
}
