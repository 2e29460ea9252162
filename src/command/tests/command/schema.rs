//! `schema`: what it takes and refuses, and that the one in the repository is what the filter reads.

use boon::{Compiler, SchemaIndex, Schemas};
use oauth2_filter_core::{Environment, review};
use serde_json::{Value, json};

use crate::{corpus, documents, run};

/// The schema in the repository.
const KEPT: &str = include_str!("../../../../envoy/schema.json");

/// It, compiled, which also validates it by the schema of schemas.
struct Schema(Schemas, SchemaIndex);

impl Schema {
    fn kept() -> Self {
        let schema: Value = serde_json::from_str(KEPT).expect("JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("oauth2-filter.json", schema).expect("a resource");
        let index = compiler.compile("oauth2-filter.json", &mut schemas).expect("a schema");
        Self(schemas, index)
    }

    /// Why it refuses a document.
    fn refusal(&self, document: &Value) -> Option<String> {
        self.0.validate(document, self.1).err().map(|error| error.to_string())
    }
}

/// What the filter refuses a document for, where every key is one that the host takes.
fn mistakes(document: &Value) -> Vec<String> {
    let variable = |name: &str| (!["UNSET", "EMPTY"].contains(&name)).then(|| "x".to_owned());
    let environment = Environment::pretended(&variable);
    let mistakes = review(document.to_string().as_bytes(), &environment, None).mistakes;
    mistakes.iter().map(ToString::to_string).collect()
}

/// Whether a mistake is one that a schema can tell.
fn is_of_form(mistake: &str) -> bool {
    let forms = ["unknown key", ", found a", ", found null", ", found true", ", found false"];
    forms.iter().any(|words| mistake.contains(words)) || mistake.contains("expected one of")
}

#[test]
fn the_schema_in_the_repository_is_what_the_command_prints() {
    let ran = run(["schema"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(
        ran.out == KEPT,
        "envoy/schema.json is not what the filter reads. To renew it:\n\
         cargo run --quiet --package oauth2-filter-command -- schema > envoy/schema.json"
    );
}

#[test]
fn documents_without_mistakes_are_as_the_schema_says() {
    let schema = Schema::kept();
    let good = corpus::good();
    assert!(good.len() >= 100, "{}", good.len());
    for document in &good {
        assert_eq!(schema.refusal(document), None, "{document:#}");
    }
}

#[test]
fn documents_with_unknown_keys_wrong_types_or_missing_keys_are_not() {
    let schema = Schema::kept();
    let bad = corpus::bad();
    let passing: Vec<_> = bad.iter().filter(|it| schema.refusal(it).is_none()).collect();
    let passing: Vec<_> = passing.into_iter().map(mistakes).collect();
    for mistakes in &passing {
        assert!(!mistakes.iter().any(|it| is_of_form(it)), "{mistakes:?}");
    }
    // The others are about what several keys say together, or about the text of a string.
    assert!(passing.len() * 2 < bad.len(), "{} of {}", passing.len(), bad.len());
}

#[test]
fn whatever_stands_in_the_place_of_a_value_filter_and_schema_judge_its_form_alike() {
    let schema = Schema::kept();
    let mut originals = vec![documents::every_inbound_key()];
    originals.extend(documents::good_clients().into_iter().map(documents::document));
    let others = [
        json!(null),
        json!(true),
        json!(7),
        json!(1.5),
        json!("a"),
        json!([]),
        json!(["a", {}]),
        json!({}),
        json!({"unknwon": 1}),
    ];
    let (mut judged, mut wrong) = (0, Vec::new());
    for original in &originals {
        for pointer in pointers(original) {
            for other in &others {
                let mut document = original.clone();
                let place = document.pointer_mut(&pointer).expect("a place");
                match (place, other) {
                    // Into an object one is added.
                    (Value::Object(members), Value::Object(other)) => {
                        members.extend(other.clone());
                    }
                    (place, other) => *place = other.clone(),
                }
                let mistakes = mistakes(&document);
                let refusal = schema.refusal(&document);
                let is_right = match &refusal {
                    None => !mistakes.iter().any(|it| is_of_form(it)),
                    Some(_) => !mistakes.is_empty(),
                };
                judged += 1;
                if !is_right {
                    wrong.push(format!("{pointer} {other}: {mistakes:?} {refusal:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {judged}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged > 1000, "{judged}");
}

/// All places in a value, as JSON pointers.
fn pointers(value: &Value) -> Vec<String> {
    let below = |name: String, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        pointers(value).into_iter().map(move |rest| format!("/{name}{rest}")).collect::<Vec<_>>()
    };
    let mut found = vec![String::new()];
    match value {
        Value::Object(members) => {
            found.extend(members.iter().flat_map(|(name, value)| below(name.clone(), value)));
        }
        Value::Array(list) => {
            found
                .extend(list.iter().enumerate().flat_map(|(n, value)| below(n.to_string(), value)));
        }
        _ => {}
    }
    found
}
