//! Every key of the configuration: its table in the reference is made of what the code says of it, and
//! it takes the type that the table says. That defaults are what the tables say is tested where they are read
//! (`src/core/src/config/documented.rs`).

use std::collections::BTreeSet;
use std::fs;

use oauth2_filter_core::{DefaultValue, KEY_TABLES, KeyRow, schema};
use serde_json::{Map, Value, json};

use crate::pages::{REFERENCE, listed};
use crate::{generated, load, root};

/// A table of keys.
struct Table {
    /// The heading above it.
    heading: &'static str,
    /// The place of the object that has these keys, as mistakes name it.
    place: &'static str,
    /// What stands in that object anyway.
    base: Value,
}

/// All tables, but for keys that go with a grant.
fn tables() -> Vec<Table> {
    let table = |heading, place, base| Table { heading, place, base };
    let client = || json!({"grant_type": "client_credentials", "endpoint": "https://as.test/"});
    vec![
        table("### Endpoint blocks", "inbound.introspection", json!({})),
        table("### Endpoint blocks", "outbound.clients.a", client()),
        table("### `inbound`", "inbound", json!({})),
        table("### `inbound.introspection`", "inbound.introspection", json!({})),
        table("#### `inbound.introspection.when`", "inbound.introspection.when", json!({})),
        table("### `inbound.jwt`", "inbound.jwt", json!({"issuer": "https://as.test"})),
        table("### `inbound.token_sources`", "inbound.token_sources[0]", json!({})),
        table("### `inbound.claims`", "inbound.claims.a", json!({})),
        table("### `inbound.cache`", "inbound.cache", json!({})),
        table("### `inbound.rules`", "inbound.rules[0]", json!({})),
        table("### `inbound.forward`", "inbound.forward", json!({})),
        table("#### `inbound.forward.claims`", "inbound.forward.claims.x-a", json!({"claim": "a"})),
        table("### `inbound.resource_metadata`", "inbound.resource_metadata", json!({})),
        table("### `inbound.cors`", "inbound.cors", json!({})),
        table("### `inbound.sender_constraint`", "inbound.sender_constraint", json!({})),
        table("### `outbound`", "outbound", json!({})),
        table("### `outbound.clients`", "outbound.clients.a", client()),
        table("### `outbound.rules`", "outbound.rules[0]", json!({})),
    ]
}

impl Table {
    /// The keys in it, with what the table says of the type of each.
    fn keys(&self) -> Vec<(&'static str, &'static str)> {
        keys_in_table(self.heading)
    }

    /// A document with one more key in the object.
    fn with(&self, key: &str, value: Value) -> Value {
        at(self.place, object_with(&self.base, key, value))
    }
}

/// The object with one more key, and what that key needs beside it.
fn object_with(base: &Value, key: &str, value: Value) -> Value {
    let mut object = base.as_object().expect("an object").clone();
    match key {
        "private_key" | "aud" | "alg" | "kid" | "typ" | "lifetime"
            if base.get("issuer").is_none() =>
        {
            object.insert("auth_method".into(), json!("private_key_jwt"));
            object.insert("client_id".into(), json!("a"));
            if key != "private_key" {
                object.insert("private_key".into(), json!("a"));
            }
        }
        "scheme" if base.as_object().is_some_and(Map::is_empty) => {
            object.insert("header".into(), json!("x-token"));
        }
        _ => {}
    }
    object.insert(key.to_owned(), value);
    Value::Object(object)
}

/// A document with a value at a place such as `inbound.rules[0]`.
fn at(place: &str, value: Value) -> Value {
    let mut value = value;
    for step in place.rsplit('.') {
        let name = step.strip_suffix("[0]");
        if name.is_some() {
            value = json!([value]);
        }
        value = json!({name.unwrap_or(step): value});
    }
    value
}

/// Keys and types in the first table of keys below a heading.
fn keys_in_table(heading: &str) -> Vec<(&'static str, &'static str)> {
    let rows = REFERENCE.rows(heading, "| key | type | default | meaning |");
    assert!(!rows.is_empty(), "{heading}");
    let rows = rows.into_iter().inspect(|cells| assert_eq!(cells.len(), 4, "{cells:?}"));
    rows.flat_map(|cells| listed(cells[0]).map(move |key| (key, cells[1]))).collect()
}

/// The names alone.
fn names(keys: &[(&'static str, &'static str)]) -> BTreeSet<&'static str> {
    keys.iter().map(|(key, _)| *key).collect()
}

/// The keys that the filter itself names when it meets an unknown one.
fn known_keys(document: &Value) -> BTreeSet<String> {
    let mistakes = load(document.to_string().as_bytes()).expect_err("`~` is no key").to_string();
    let advice = mistakes
        .split("unknown key; expected one of: ")
        .nth(1)
        .unwrap_or_else(|| panic!("{mistakes}"));
    let keys = advice.split("; ").next().expect("the list");
    keys.split(", ").map(str::to_owned).collect()
}

/// A set of names, to be compared with those that were told.
fn owned(names: &BTreeSet<&str>) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The head of a table of keys.
const HEAD: &str = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n";

#[test]
fn the_tables_of_the_reference_are_what_the_code_says_of_keys() {
    let file = root().join(REFERENCE.path);
    let page = fs::read_to_string(&file).expect("the reference");
    let mut made = page.clone();
    for table in KEY_TABLES {
        let (before, below) =
            made.split_once(&format!("\n{}\n", table.heading)).expect("a heading");
        let at = before.len() + below.find(HEAD).expect("a table") + table.heading.len() + 2;
        let rest = made[at..].find("\n\n").map_or(made.len(), |length| at + length + 1);
        let rows: String = table.rows().map(row).collect();
        made.replace_range(at..rest, &format!("{HEAD}{rows}"));
    }
    generated::check(&file, &made, "documentation");
    // The page has no other such tables.
    assert_eq!(made.matches(HEAD).count(), KEY_TABLES.len());
}

/// A row, in Markdown.
fn row(row: &KeyRow) -> String {
    let keys: Vec<_> = row.keys.iter().map(|key| format!("`{key}`")).collect();
    let json = |text: &str| match text.as_bytes() {
        [b'"' | b'[', ..] => format!("`{text}`"),
        _ => text.to_owned(),
    };
    let default = match row.default {
        DefaultValue::Required => "required".to_owned(),
        DefaultValue::Json(text) => json(text),
        DefaultValue::JsonIf(text, words) => format!("{} if {words}", json(text)),
        DefaultValue::Words(words) => words.to_owned(),
    };
    let mut meaning = row.meaning.to_owned();
    for (words, marked) in [
        row.link.map(|(words, anchor)| (words, format!("[{words}](#{anchor})"))),
        row.strong.map(|words| (words, format!("**{words}**"))),
    ]
    .into_iter()
    .flatten()
    {
        assert!(meaning.contains(words), "{words}: {meaning}");
        meaning = meaning.replacen(words, &marked, 1);
    }
    if let Some(anchor) = row.section {
        meaning = format!("{meaning}: [below](#{anchor})");
    }
    let cells = [keys.join(", "), row.kind.to_owned(), default, meaning];
    let cells = cells.map(|cell| match cell.replace('|', "\\|") {
        empty if empty.is_empty() => String::new(),
        cell => format!(" {cell}"),
    });
    format!("|{} |\n", cells.join(" |"))
}

#[test]
fn every_key_stands_in_its_table_of_the_reference_and_no_other() {
    let block = names(&keys_in_table("### Endpoint blocks"));
    for table in tables() {
        let told = names(&table.keys());
        let told = match table.heading {
            // Its rows are those of grants, which have a test of their own.
            "### Endpoint blocks" | "### `outbound.clients`" => continue,
            "### `inbound.introspection`" => &block | &told,
            // The filter does not list its keys: they are those of the standard.
            "### `inbound.resource_metadata`" => {
                assert_eq!(owned(&told), members_of_metadata());
                continue;
            }
            _ => told,
        };
        assert_eq!(owned(&told), known_keys(&table.with("~", json!(1))), "{}", table.heading);
    }
}

/// The members of RFC 9728 that the filter knows.
fn members_of_metadata() -> BTreeSet<String> {
    let schema = schema();
    let forms = &schema["properties"]["inbound"]["properties"]["resource_metadata"]["anyOf"];
    let forms = forms.as_array().expect("a list, or one of them");
    let members = forms.iter().find_map(|form| form["properties"].as_object());
    members.expect("its members").keys().cloned().collect()
}

/// A client with one more key.
fn client(grant: &str, key: &str, value: Value) -> Value {
    let base = json!({
        "grant_type": grant, "endpoint": "https://as.test/", "client_id": "a", "client_secret": "s",
    });
    json!({"outbound": {"clients": {"a": object_with(&base, key, value)}}})
}

#[test]
fn every_key_of_every_grant_stands_in_the_reference_and_no_other() {
    let of_all: BTreeSet<_> = &names(&keys_in_table("### Endpoint blocks"))
        | &names(&keys_in_table("### `outbound.clients`"));
    let mut of_grants = BTreeSet::new();
    let grants = REFERENCE.rows("### Grants", "| `grant_type`");
    assert_eq!(grants.len(), 6);
    for row in grants {
        let grant = listed(row[0]).next().expect("a grant");
        let keys: BTreeSet<&str> = listed(row[1]).collect();
        of_grants.extend(&keys);
        let known = known_keys(&client(grant, "~", json!(1)));
        assert_eq!(owned(&(&of_all | &keys)), known, "{grant}");
        if keys.contains("refresh") {
            let mut own = names(&keys_in_table("#### `refresh`"));
            if grant == "password" {
                // Its refresh token comes with its token.
                own.remove("refresh_token");
            }
            let block = names(&keys_in_table("### Endpoint blocks"));
            let known = known_keys(&client(grant, "refresh", json!({"~": 1})));
            assert_eq!(owned(&(&block | &own)), known, "{grant}");
        }
    }
    assert_eq!(names(&keys_in_table("#### Keys of grants")), of_grants);
}

/// A value of each kind, and what mistakes call that kind.
fn samples() -> [(Value, &'static str, &'static str); 7] {
    [
        (json!(null), "null", "null"),
        (json!(false), "false", "a boolean"),
        (json!(true), "true", "a boolean"),
        (json!(7), "number", "a number"),
        (json!("x"), "string", "a string"),
        (json!(["x"]), "list", "a list"),
        (json!({"x": "x"}), "object", "an object"),
    ]
}

/// The kinds of value that a type of the reference has.
fn kinds(kind: &str) -> BTreeSet<&str> {
    let parts = kind.split(", ").flat_map(|part| part.split(" or "));
    parts
        .flat_map(|part| match part.trim_matches('`') {
            "string" | "duration" | "URL" => vec!["string"],
            "secret" => vec!["string", "object"],
            "scope" => vec!["string", "list"],
            "boolean" => vec!["true", "false"],
            "object of strings" => vec!["object"],
            known @ ("number" | "list" | "object" | "null" | "true" | "false") => vec![known],
            other => panic!("no type of the reference: {other}"),
        })
        .collect()
}

/// Holds the type of a key against what the filter takes.
fn check_type(key: &str, kind: &str, document: &Value, place: &str, sample: &(Value, &str, &str)) {
    let (value, name, called) = sample;
    let mistakes = match load(document.to_string().as_bytes()) {
        Ok(()) => Vec::new(),
        Err(mistakes) => mistakes.iter().cloned().collect(),
    };
    let here: Vec<_> = mistakes.iter().filter(|mistake| mistake.place == place).collect();
    if kinds(kind).contains(name) {
        let found = format!("found {called}");
        let refused = here.iter().find(|mistake| mistake.text.ends_with(&found));
        assert!(refused.is_none(), "{key} is {kind}, but {value} is refused: {refused:?}");
    } else {
        assert!(!here.is_empty(), "{key} is {kind}, but {value} is taken: {mistakes:?}");
    }
}

#[test]
fn every_key_takes_values_of_the_type_that_the_reference_says_and_of_no_other() {
    for table in tables() {
        for (key, kind) in table.keys() {
            for sample in samples() {
                let place = format!("{}.{key}", table.place);
                check_type(key, kind, &table.with(key, sample.0.clone()), &place, &sample);
            }
        }
    }
    let types = keys_in_table("#### Keys of grants");
    for row in REFERENCE.rows("### Grants", "| `grant_type`") {
        let grant = listed(row[0]).next().expect("a grant");
        for key in listed(row[1]) {
            let (_, kind) = types.iter().find(|(known, _)| *known == key).expect("its row");
            for sample in samples() {
                let place = format!("outbound.clients.a.{key}");
                check_type(key, kind, &client(grant, key, sample.0.clone()), &place, &sample);
            }
        }
    }
    for (key, kind) in keys_in_table("#### `refresh`") {
        for sample in samples() {
            let refresh = json!({key: sample.0, "endpoint": "https://as.test/"});
            let place = format!("outbound.clients.a.refresh.{key}");
            check_type(key, kind, &client("direct_token", "refresh", refresh), &place, &sample);
        }
    }
}
