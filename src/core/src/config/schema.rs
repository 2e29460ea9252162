//! The JSON Schema of the document, generated from the reader and the documentation of keys.
//!
//! The reader reads small documents, one after the other, and reports for each place the valid keys
//! and the expected kinds of value. So there is no second list of keys: a new key is in the schema
//! as soon as it is read.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::key_table::KeyTable;
use super::load::config;
use super::notes::{Noted, Shape};
use super::reader::Reader;
use super::values::sources;
use crate::environment::Environment;
use crate::oauth::client_assertion::{Sign, SignError};
use crate::oauth::secret::SecretPlace;

/// What a duration looks like, as a regular expression.
const DURATION: &str = r"^([0-9]+(\.[0-9]{1,9})?h)?([0-9]+(\.[0-9]{1,9})?m)?([0-9]+(\.[0-9]{1,9})?s)?([0-9]+(\.[0-9]{1,9})?ms)?$";

/// The placeholder for arbitrary keys.
const NAME: &str = "a";

/// The JSON Schema (draft 2020-12) of the document.
pub fn schema() -> Value {
    let root = Place { path: String::new(), wrap: &|value| value };
    let mut schema = root.look().schema();
    if let Value::Object(members) = &mut schema {
        members.insert("minProperties".to_owned(), 1.into());
    }
    schema
}

/// A place in the document, with the document around it.
struct Place<'a> {
    /// Its path, as in errors.
    path: String,
    /// The document around a value.
    wrap: &'a dyn Fn(Value) -> Value,
}

/// What is valid at a place.
#[derive(Debug, Default)]
struct ProbedShape {
    /// All expected kinds of value.
    forms: Vec<Shape>,
    /// The elements of a list.
    element: Option<Box<Self>>,
    /// The members of an object with arbitrary keys.
    member: Option<Box<Self>>,
    /// The kinds of object with defined keys.
    objects: Vec<Members>,
}

/// The keys of an object, in the order in which they are read.
#[derive(Debug, Default)]
struct Members {
    /// The key that determines the kind of the object, with its value.
    kind: Option<(&'static str, &'static str)>,
    keys: Vec<(&'static str, ProbedShape)>,
    /// The required keys.
    required: BTreeSet<&'static str>,
    /// The keys that may have a language tag.
    languages: &'static [&'static str],
    /// Whether there is exactly one of the keys.
    is_one: bool,
    /// The documentation of the keys: the first table with the key counts.
    tables: Vec<&'static KeyTable>,
}

impl Place<'_> {
    /// What the reader reports for a document with this value here.
    fn read(&self, value: Value) -> Noted {
        let variable = |_: &str| Some("secret".to_owned());
        let sign: Sign = |_, _, _| Err(SignError::BadKey);
        let environment = Environment { sign, ..Environment::pretended(&variable) };
        let open = |_: SecretPlace<'_>| Err(String::new());
        let reader = Reader::new(&environment).with_sources(Some(sources(&open)));
        let document = (self.wrap)(value);
        config(&reader.document(&document));
        reader.into_parts().2
    }

    /// What the reader expects here, given this value.
    fn forms(&self, value: Value) -> Vec<Shape> {
        let here = |(place, form)| (place == self.path).then_some(form);
        self.read(value).forms.into_iter().filter_map(here).collect()
    }

    /// Everything that is valid here.
    fn look(&self) -> ProbedShape {
        let mut shape = ProbedShape::default();
        for value in [
            Value::Null,
            json!(false),
            json!(true),
            json!(0),
            json!("a"),
            json!([]),
            json!(["a"]),
            json!({}),
            json!({NAME: "a"}),
        ] {
            for form in self.forms(value) {
                if !shape.forms.contains(&form) {
                    shape.forms.push(form);
                }
            }
        }
        let has = |wanted: fn(&Shape) -> bool| shape.forms.iter().any(wanted);
        if has(|form| matches!(form, Shape::List { .. })) {
            let path = format!("{}[0]", self.path);
            let wrap = |value| (self.wrap)(json!([value]));
            shape.element = Some(Box::new(Place { path, wrap: &wrap }.look()));
        }
        let has_keys = has(|form| matches!(form, Shape::Keys(_)));
        if has(|form| matches!(form, Shape::Members)) && !has_keys {
            let wrap = |value| (self.wrap)(json!({NAME: value}));
            shape.member = Some(Box::new(Place { path: self.join(NAME), wrap: &wrap }.look()));
        } else if has(|form| matches!(form, Shape::Object)) {
            shape.objects = self.look_at_objects();
        }
        shape
    }

    /// The place of a key in the object here.
    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The kinds of object that are valid here.
    fn look_at_objects(&self) -> Vec<Members> {
        let noted = self.read(json!({}));
        let is_keys =
            |(place, form): &(String, Shape)| *place == self.path && matches!(form, Shape::Keys(_));
        if noted.keys.iter().any(|(place, _)| *place == self.path)
            || noted.forms.iter().any(is_keys)
        {
            return vec![self.look_at_members(None, &Map::new(), None)];
        }
        // One key determines which others are valid.
        let needed = noted.needs.iter().filter(|(place, _)| *place == self.path);
        let kinds = needed.flat_map(|(_, key)| {
            let key = *key;
            let wrap = move |value| (self.wrap)(json!({key: value}));
            let kinds = Place { path: self.join(key), wrap: &wrap }.forms(json!("a"));
            kinds.into_iter().flat_map(move |form| match form {
                Shape::Kind(kinds) => kinds.into_iter().map(|kind| (key, kind)).collect(),
                _ => Vec::new(),
            })
        });
        let kinds: Vec<(&'static str, &'static str)> = kinds.collect();
        kinds.into_iter().flat_map(|kind| self.look_at_kind(kind)).collect()
    }

    /// Objects of this kind: of one form, or of one with a key and one without it.
    fn look_at_kind(&self, kind: (&'static str, &'static str)) -> Vec<Members> {
        let least = Map::from_iter([(kind.0.to_owned(), kind.1.into())]);
        let mut members = vec![self.look_at_members(Some(kind), &least, None)];
        let divided = self.read(Value::Object(least.clone())).divided;
        for (_, key) in divided.into_iter().filter(|(place, _)| *place == self.path) {
            let found = self.look_at_key(key, &least);
            for example in found.iter().flat_map(ProbedShape::examples) {
                let mut least = least.clone();
                least.insert(key.to_owned(), example);
                members.push(self.look_at_members(Some(kind), &least, Some(key)));
            }
        }
        members
    }

    /// The keys of the object here, of which `least` is the least that shows them; `divider` says
    /// that it is of this form.
    fn look_at_members(
        &self,
        kind: Option<(&'static str, &'static str)>,
        least: &Map<String, Value>,
        divider: Option<&'static str>,
    ) -> Members {
        let noted = self.read(Value::Object(least.clone()));
        let at_here = |place: &String| *place == self.path;
        let needs = noted.needs.iter().filter(|(place, _)| at_here(place)).map(|(_, key)| *key);
        let required: BTreeSet<&'static str> = needs.chain(divider).collect();
        let mut known: Vec<&'static str> = Vec::new();
        let mut languages: &'static [&'static str] = &[];
        let keys = noted.keys.iter().filter(|(place, _)| at_here(place)).map(|(_, keys)| keys);
        let told = noted.forms.iter().filter(|(place, _)| at_here(place)).map(|(_, form)| form);
        let mut is_one = false;
        let mut add = |keys: &[&'static str]| {
            for key in keys {
                if !known.contains(key) {
                    known.push(key);
                }
            }
        };
        keys.for_each(|keys| add(keys));
        for form in told {
            match form {
                Shape::Keys(keys) => add(keys),
                Shape::Languages(keys) => languages = keys,
                Shape::OneOf => is_one = true,
                _ => {}
            }
        }
        // Some keys are only read if others are present, so others are set until they are read.
        let mut filled = least.clone();
        let mut contexts = vec![filled.clone()];
        let mut keys: Vec<(&'static str, Option<ProbedShape>)> =
            known.into_iter().map(|key| (key, None)).collect();
        let mut next = 0;
        while let Some(context) = contexts.get(next).cloned() {
            next = next.saturating_add(1);
            let mut examples = Vec::new();
            for (key, shape) in &mut keys {
                if shape.is_none() {
                    *shape = self.look_at_key(key, &context);
                    let found = shape.iter().flat_map(ProbedShape::examples);
                    examples.extend(found.map(|example| (*key, example)));
                }
            }
            for (key, example) in &examples {
                if required.contains(key) && !filled.contains_key(*key) {
                    filled.insert((*key).to_owned(), example.clone());
                }
            }
            for (key, example) in examples {
                let mut context = filled.clone();
                context.insert(key.to_owned(), example);
                contexts.push(context);
            }
            if keys.iter().all(|(_, shape)| shape.is_some()) {
                break;
            }
        }
        let keys = keys.into_iter().map(|(key, shape)| (key, shape.unwrap_or_default())).collect();
        let tables = noted.tables.into_iter().filter(|(place, _)| at_here(place));
        let tables = tables.map(|(_, table)| table).collect();
        Members { kind, keys, required, languages, is_one, tables }
    }

    /// What is valid for a key of the object here, if the reader reads it beside these.
    fn look_at_key(&self, key: &str, context: &Map<String, Value>) -> Option<ProbedShape> {
        let wrap = |value| {
            let mut object = context.clone();
            object.insert(key.to_owned(), value);
            (self.wrap)(Value::Object(object))
        };
        let place = Place { path: self.join(key), wrap: &wrap };
        let is_read = !place.forms(json!("a")).is_empty() || !place.forms(json!({})).is_empty();
        is_read.then(|| place.look())
    }
}

impl ProbedShape {
    /// Valid values that may change what else is read.
    fn examples(&self) -> Vec<Value> {
        let of_form = |form: &Shape| match form {
            Shape::Url => vec![json!("https://as.example.com/")],
            Shape::Choice(words) => words.iter().map(|word| json!(word)).collect(),
            Shape::Text(_) => vec![json!("a")],
            _ => Vec::new(),
        };
        self.forms.iter().flat_map(of_form).collect()
    }

    fn schema(&self) -> Value {
        let mut kinds: Vec<Value> = Vec::new();
        let has = |wanted: fn(&Shape) -> bool| self.forms.iter().any(wanted);
        // A specific kind of string replaces the general ones.
        let is_special = has(|form| {
            matches!(form, Shape::Choice(_) | Shape::Kind(_) | Shape::Duration | Shape::Url)
        });
        let is_text = has(|form| matches!(form, Shape::Text(_)));
        let least = self.forms.iter().filter_map(|form| match form {
            Shape::List { least } => Some(*least),
            _ => None,
        });
        let least = least.min();
        for form in &self.forms {
            let kind = match form {
                Shape::Null => json!({"type": "null"}),
                Shape::Only(value) => json!({"const": value}),
                Shape::Boolean => json!({"type": "boolean"}),
                Shape::Whole(least, most) => {
                    json!({"type": "integer", "minimum": least, "maximum": most})
                }
                Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
                Shape::Choice(words) | Shape::Kind(words) => json!({"enum": words}),
                Shape::Duration => json!({"type": "string", "pattern": DURATION, "minLength": 2}),
                Shape::Url => {
                    json!({"type": "string", "format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://[^/]"})
                }
                Shape::Foreign => json!({"type": "object"}),
                Shape::Text(what) if !is_special => {
                    json!({"type": "string", "minLength": 1, "description": what})
                }
                Shape::String(what) if !is_special && !is_text => {
                    json!({"type": "string", "description": what})
                }
                Shape::List { .. } => {
                    let items = self.element.as_ref().map_or(json!(true), |shape| shape.schema());
                    json!({"type": "array", "items": items, "minItems": least})
                }
                _ => continue,
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if let Some(member) = &self.member {
            kinds.push(json!({"type": "object", "additionalProperties": member.schema()}));
        }
        kinds.extend(self.objects.iter().map(Members::schema));
        match <[Value; 1]>::try_from(kinds) {
            Ok([kind]) => kind,
            Err(kinds) => json!({ "anyOf": kinds }),
        }
    }
}

impl Members {
    /// The schema of an object of this kind.
    fn schema(&self) -> Value {
        let property = |(key, shape): &(&'static str, ProbedShape)| {
            let mut schema = match self.kind {
                Some((known, kind)) if known == *key => json!({ "const": kind }),
                _ => shape.schema(),
            };
            let row = self.tables.iter().find_map(|table| table.row(key));
            if let (Value::Object(members), Some(row)) = (&mut schema, row) {
                members.insert("description".to_owned(), row.meaning.into());
                members.extend(row.default_value().map(|value| ("default".to_owned(), value)));
            }
            ((*key).to_owned(), schema)
        };
        let properties: Map<String, Value> = self.keys.iter().map(property).collect();
        let required: BTreeSet<_> =
            self.required.iter().chain(self.kind.as_ref().map(|(key, _)| key)).collect();
        let mut schema = json!({
            "type": "object", "properties": properties, "additionalProperties": false,
        });
        if let Value::Object(members) = &mut schema {
            if !required.is_empty() {
                members.insert("required".to_owned(), json!(required));
            }
            if self.is_one {
                members
                    .extend(["minProperties", "maxProperties"].map(|key| (key.into(), 1.into())));
            }
            if !self.languages.is_empty() {
                let pattern = format!("^({})#", self.languages.join("|"));
                let texts = json!({pattern: {"type": "string", "minLength": 1}});
                members.insert("patternProperties".to_owned(), texts);
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_table::DefaultValue;
    use crate::config::tables::KEY_TABLES;

    /// Every place without a kind of value.
    fn unknown(schema: &Value, at: &str, found: &mut Vec<String>) {
        if schema.get("anyOf").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            found.push(at.to_owned());
        }
        match schema {
            Value::Object(members) => {
                members
                    .iter()
                    .for_each(|(key, value)| unknown(value, &format!("{at}/{key}"), found));
            }
            Value::Array(list) => list.iter().for_each(|value| unknown(value, at, found)),
            _ => {}
        }
    }

    #[test]
    fn the_reader_tells_of_every_key_what_it_looks_for() {
        let mut found = Vec::new();
        unknown(&schema(), "", &mut found);
        assert!(found.is_empty(), "no kind of value is told at {found:#?}");
    }
    /// The properties without a description of their own.
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        let members = schema.as_object().into_iter().flatten();
        for (key, value) in members {
            let properties = value.as_object().filter(|_| key == "properties");
            for (key, property) in properties.into_iter().flatten() {
                if property.get("description").is_none() {
                    found.push(format!("{at}.{key}"));
                }
                undescribed(property, &format!("{at}.{key}"), found);
            }
            if properties.is_none() {
                undescribed(value, at, found);
            }
        }
        schema.as_array().into_iter().flatten().for_each(|value| undescribed(value, at, found));
    }

    #[test]
    fn people_are_told_of_every_key_what_it_is_for() {
        let mut found = Vec::new();
        undescribed(&schema(), "", &mut found);
        // Both have a chapter, and no table.
        assert_eq!(found, [".inbound", ".outbound"]);
    }

    /// The objects with defined keys, with the documentation of these.
    fn objects(shape: &ProbedShape) -> Vec<&Members> {
        let inner = shape.element.iter().chain(&shape.member).map(|inner| &**inner);
        let members = shape.objects.iter().flat_map(|object| object.keys.iter().map(|(_, it)| it));
        let below = inner.chain(members).flat_map(objects);
        shape.objects.iter().chain(below).collect()
    }

    #[test]
    fn people_are_told_what_must_be_there_and_of_no_key_that_is_not_read() {
        let root = Place { path: String::new(), wrap: &|value| value }.look();
        let mut read = BTreeSet::new();
        for object in objects(&root) {
            for (key, _) in &object.keys {
                let table = object.tables.iter().find(|table| table.row(key).is_some());
                let Some(table) = table else { continue };
                read.insert((table.heading, *key));
                let row = table.row(key).unwrap();
                let is_required = matches!(row.default, DefaultValue::Required);
                // A key that every other form of the object requires is documented as required too.
                let is_kind = object.kind.is_some_and(|(kind, _)| kind == *key);
                let may_be_left_out = ["### Endpoint blocks", "#### `refresh`"];
                if !may_be_left_out.contains(&table.heading) {
                    assert_eq!(
                        is_required,
                        is_kind || object.required.contains(key),
                        "{}: {key}",
                        table.heading
                    );
                }
            }
        }
        let told = KEY_TABLES.iter().flat_map(|table| {
            table.rows().flat_map(|row| row.keys.iter().map(|key| (table.heading, *key)))
        });
        assert_eq!(read, told.collect());
    }
}
