//! The JSON Schema of a task's file, for editors.
//!
//! Owns: [`schema`], written from the tables of keys.

use super::fields::{Field, IGNORED, Kind, TASK};
use serde_json::{Map, Value, json};

/// The schema.
pub fn schema() -> Value {
    let mut root = object(TASK);
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        for name in IGNORED {
            properties.insert(
                (*name).to_owned(),
                json!({ "description": "Of SkyPilot's tasks; Pail does not act on it." }),
            );
        }
    }
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("A task of Pail"));
    if let Value::Object(root) = root {
        schema.extend(root);
    }
    // Other keys are of SkyPilot's later versions.
    schema.insert("type".to_owned(), json!(["object", "null"]));
    schema.insert("additionalProperties".to_owned(), json!(true));
    Value::Object(schema)
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// A key's value; every one may also be nothing.
fn property(field: &Field) -> Value {
    let mut alternatives = kinds(field.kind);
    alternatives.push(json!({ "type": "null" }));
    json!({ "description": field.about, "anyOf": alternatives })
}

/// What a value may be. `$NAME` stands for anything.
fn kinds(kind: Kind) -> Vec<Value> {
    let scalar = json!({ "type": ["string", "number", "boolean"] });
    let variable = json!({ "type": "string", "pattern": "\\$" });
    match kind {
        Kind::Text => vec![scalar],
        Kind::Command => vec![json!({ "type": "string" })],
        Kind::Bool => vec![json!({ "type": "boolean" }), variable],
        Kind::Count(min) => vec![json!({ "type": "integer", "minimum": min, "maximum": u32::MAX }), variable],
        Kind::Size => vec![
            json!({ "type": "integer", "minimum": 0 }),
            json!({ "type": "string", "pattern": "^[0-9]+[bkmgtpBKMGTP]?$" }),
            variable,
        ],
        Kind::Duration => vec![json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$" }), variable],
        Kind::Word(words) => {
            // The words as they are for completion, and in any case.
            let any_case: Vec<String> = words.iter().map(|word| in_any_case(word)).collect();
            let pattern = format!("^({})$", any_case.join("|"));
            vec![json!({ "enum": words }), json!({ "type": "string", "pattern": pattern }), variable]
        }
        Kind::Variables => vec![json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
        })],
        Kind::Object(fields) => vec![object(fields)],
        Kind::TextOrObject(fields) => vec![scalar, object(fields)],
        Kind::TextOrList => vec![scalar.clone(), json!({ "type": "array", "minItems": 1, "items": scalar })],
        Kind::Places(fields) => {
            let entry = json!({ "anyOf": [{ "type": "string" }, object(fields)] });
            vec![json!({ "type": "object", "additionalProperties": entry })]
        }
    }
}

fn in_any_case(word: &str) -> String {
    let both = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    word.chars().map(both).collect()
}
