//! YAML as JSON.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

/// The documents in a text; panics if it is no YAML.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = Yaml::load_from_str(text);
    let documents = documents.unwrap_or_else(|error| panic!("{error}\n{text}"));
    documents.iter().map(json).collect()
}

/// The same value in JSON.
fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Value(Scalar::String(value)) => value.as_ref().into(),
        Yaml::Sequence(values) => values.iter().map(json).collect(),
        Yaml::Mapping(members) => {
            let member =
                |(name, value)| (Yaml::as_str(name).expect("a name").to_owned(), json(value));
            members.iter().map(member).collect()
        }
        other => panic!("no JSON: {other:?}"),
    }
}
