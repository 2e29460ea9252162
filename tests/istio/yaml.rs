//! YAML as JSON.

use saphyr::{LoadableYamlNode, Scalar, ScanError, Yaml};
use serde_json::Value;

/// The documents of a text.
pub fn documents(text: &str) -> Result<Vec<Value>, ScanError> {
    Ok(Yaml::load_from_str(text)?.iter().map(json).collect())
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
