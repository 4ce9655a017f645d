//! For a plugin's own native tests: does `plugin.toml` say what the settings type says, and does the README show what can be meant?
//!
//! Absent from components, with everything it needs.

use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

/// Panics unless the schema in the manifest (the text of `plugin.toml`) is the one of the settings type, and prints the right one.
///
/// The type derives `schemars::JsonSchema` in tests only:
///
/// ```ignore
/// #[derive(serde::Deserialize)]
/// #[cfg_attr(test, derive(schemars::JsonSchema))]
/// #[serde(rename_all = "kebab-case", deny_unknown_fields)]
/// struct Settings { … }
///
/// #[test]
/// fn the_manifest_describes_the_settings() {
///     runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
/// }
/// ```
///
/// With the environment variable `UPDATE_SCHEMA=1` it writes the right schema into the `plugin.toml` of the crate under test,
/// where `schema = '''` … `'''` stands.
///
/// # Panics
/// If the manifest cannot be read, or its schema differs from the type's, or lets unknown settings pass.
#[track_caller]
pub fn schema_matches<Settings: JsonSchema>(manifest: &str) {
    let wanted = schema_of::<Settings>();
    assert_eq!(
        wanted.get("additionalProperties"),
        Some(&Value::Bool(false)),
        "the settings type lets unknown settings pass: add #[serde(deny_unknown_fields)]"
    );
    let wanted_text = serde_json::to_string_pretty(&wanted).expect("a schema is JSON");
    if std::env::var_os("UPDATE_SCHEMA").is_some_and(|value| value == "1") {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("UPDATE_SCHEMA works under `cargo test`");
        let path = Path::new(&folder).join("plugin.toml");
        let updated = with_schema(manifest, &wanted_text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        std::fs::write(&path, updated).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let found = schema_in(manifest).unwrap_or_else(|why| panic!("plugin.toml: {why}"));
    assert!(
        found == wanted,
        "the schema in plugin.toml is not the one of the settings type. Run this test with UPDATE_SCHEMA=1, or put this in:\n\n[settings]\nschema = '''\n{wanted_text}\n'''\n"
    );
}

/// The JSON Schema (draft 2020-12) of a settings type, as it should stand in `plugin.toml`.
pub fn schema_of<Settings: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Settings>().to_value()
}

/// The `n`-th block of TOML in a README (from 0), for a test that what it shows can be meant.
///
/// # Panics
/// If the README has no so many, or that one is no TOML.
#[track_caller]
pub fn example(readme: &str, n: usize) -> Value {
    let blocks = readme.split("\n```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let block = blocks.clone().nth(n).unwrap_or_else(|| panic!("the README has {} blocks of TOML", blocks.count()));
    let table: toml::Table = block.parse().unwrap_or_else(|error| panic!("{error}\n{block}"));
    serde_json::to_value(table).expect("TOML has its like in JSON")
}

fn schema_in(manifest: &str) -> Result<Value, String> {
    let manifest: toml::Table = manifest.parse().map_err(|error| format!("not TOML: {error}"))?;
    let text = manifest
        .get("settings")
        .and_then(|settings| settings.get("schema"))
        .and_then(toml::Value::as_str)
        .ok_or("no [settings] schema = '''…'''")?;
    serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))
}

fn with_schema(manifest: &str, schema: &str) -> Result<String, &'static str> {
    const OPENING: &str = "\nschema = '''";
    let start = manifest.find(OPENING).ok_or("no line `schema = '''` to put the schema in")? + OPENING.len();
    let length = manifest[start..].find("'''").ok_or("`schema = '''` is not closed")?;
    if schema.contains("'''") {
        return Err("the schema holds ''', which a literal string cannot");
    }
    Ok(format!("{}\n{schema}\n{}", &manifest[..start], &manifest[start + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is set to.
    #[derive(schemars::JsonSchema, serde::Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    #[allow(dead_code)]
    struct Settings {
        /// How many at once.
        max_jobs: Option<u32>,
    }

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Loose {
        name: String,
    }

    fn manifest() -> String {
        with_schema("manifest = 1\n[settings]\nschema = ''''''\n", &schema_of::<Settings>().to_string()).unwrap()
    }

    #[test]
    fn the_right_schema_passes() {
        assert!(manifest().contains("How many at once.") && manifest().contains("max-jobs"));
        schema_matches::<Settings>(&manifest());
    }

    #[test]
    #[should_panic(expected = "is not the one of the settings type")]
    fn another_schema_does_not() {
        schema_matches::<Settings>(&manifest().replace("max-jobs", "max-job"));
    }

    #[test]
    #[should_panic(expected = "add #[serde(deny_unknown_fields)]")]
    fn a_type_that_takes_anything_does_not() {
        schema_matches::<Loose>(&manifest());
    }

    #[test]
    fn examples_of_a_readme_are_told_apart() {
        let readme = "# x\n\n```toml\n[stage.a]\nuses = \"a\"\n```\n\n```text\nno\n```\n\n```toml\nb = [1]\n```\n";
        assert_eq!(example(readme, 0)["stage"]["a"]["uses"], "a");
        assert_eq!(example(readme, 1), serde_json::json!({ "b": [1] }));
        let none = std::panic::catch_unwind(|| example(readme, 2)).unwrap_err();
        assert!(none.downcast_ref::<String>().is_some_and(|why| why.contains("2 blocks")));
    }

    #[test]
    fn a_manifest_without_a_schema_says_so() {
        assert_eq!(schema_in("manifest = 1").unwrap_err(), "no [settings] schema = '''…'''");
    }
}
