//! What an editor is told of a pipeline file is what `check` says of it, as far as it goes.

use jsonschema::Validator;
use pipeline::editor::schema;
use pipeline::manifest::Plugins;

use crate::codes::fixtures;
use crate::fakes::{FakePlugins, plan, schemas};

fn validator() -> Validator {
    let plugins: Vec<_> = ["command", "test"].iter().map(|uses| FakePlugins.find(uses).unwrap()).collect();
    let schema = schema(&schemas(), &plugins);
    assert!(jsonschema::meta::is_valid(&schema), "the schema is one");
    jsonschema::validator_for(&schema).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

/// What only the whole file, its plugins or its values can tell.
const BEYOND: &[&str] = &["unused", "format-first"];

#[test]
fn what_has_no_mistake_is_valid() {
    let validator = validator();
    let mut seen = 0;
    for (code, text) in fixtures() {
        if text.len() < 100_000 && plan(&text).is_ok() {
            let json = json(&text);
            let found: Vec<String> = validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(found.is_empty() || BEYOND.contains(&code), "{code}: {found:#?}\n{text}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} fixtures have no error");
    let shop = json(include_str!("shop.toml"));
    let open = jsonschema::validator_for(&schema(&[], &[])).unwrap();
    let found: Vec<String> = open.iter_errors(&shop).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(found.iter().all(|error| error.contains("/grants")), "{found:#?}");
}

#[test]
fn what_is_wrong_by_its_shape_is_invalid() {
    let validator = validator();
    let shape = [
        "unknown-key",
        "unknown-word",
        "wrong-type",
        "bad-duration",
        "bad-size",
        "bad-name",
        "unknown-grant",
        "unknown-setting",
        "missing-setting",
        "bad-secret",
    ];
    let mut seen = Vec::new();
    for (code, text) in fixtures() {
        if shape.contains(&code) {
            assert!(!validator.is_valid(&json(&text)), "{code} is not refused\n{text}");
            seen.push(code);
        }
    }
    seen.sort_unstable();
    let mut shape = shape.to_vec();
    shape.sort_unstable();
    assert_eq!(seen, shape);
}
