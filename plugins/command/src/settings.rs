//! The `with` table of a `command` stage.

use std::collections::BTreeMap;

use runner_sdk::Span;
use runner_sdk::service::Service;
use serde::{Deserialize, Deserializer};

/// What to run, and what to make of it
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [{ "required": ["run"] }, { "required": ["script"] }])))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// A program and its arguments, or an array of those, which are run in order until one fails
    #[serde(default)]
    pub run: Option<Run>,
    /// Text for a shell instead of `run`; the grant must allow the shell. Values from outside belong in `env`
    #[serde(default)]
    pub script: Option<String>,
    /// The shell for `script`, which gets `-c` and the script behind these
    #[serde(default = "default_shell")]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub shell: Vec<String>,
    /// Variables on top of the stage's `env`
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where the commands run, relative to the workspace
    #[serde(default)]
    pub directory: Option<String>,
    /// How long each command may take; without it, only the stage's own `timeout` counts
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Programs that serve while the commands run; started before them, in order
    #[serde(default)]
    pub background: Vec<Service>,
    /// Exit codes that count as success
    #[serde(default = "default_expect_exit")]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub expect_exit: Vec<u32>,
    /// Outputs for later stages, by name
    #[serde(default)]
    pub outputs: BTreeMap<String, Output>,
}

fn default_shell() -> Vec<String> {
    vec!["sh".into(), "-eu".into()]
}

fn default_expect_exit() -> Vec<u32> {
    vec![0]
}

/// One command, or several in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run(pub Vec<Vec<String>>);

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Run, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Run;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`run = [\"program\", \"argument\"]` or an array of such arrays")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Run, A::Error> {
                let (mut words, mut commands) = (Vec::new(), Vec::new());
                while let Some(item) = items.next_element::<Item>()? {
                    match item {
                        Item::Word(word) => words.push(word),
                        Item::Command(command) => commands.push(command),
                    }
                }
                match (words.is_empty(), commands.is_empty()) {
                    (true, _) => Ok(Run(commands)),
                    (false, true) => Ok(Run(vec![words])),
                    (false, false) => Err(serde::de::Error::custom("`run` mixes words and commands: put each command into its own array")),
                }
            }
        }

        deserializer.deserialize_seq(Visitor)
    }
}

/// An element of `run`.
enum Item {
    Word(String),
    Command(Vec<String>),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Item;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, or an array of strings")
            }

            fn visit_str<E>(self, word: &str) -> Result<Item, E> {
                Ok(Item::Word(word.to_owned()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, items: A) -> Result<Item, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(items)).map(Item::Command)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Run {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Run".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                { "type": "array", "items": { "type": "array", "items": { "type": "string" }, "minItems": 1 }, "minItems": 1 },
            ],
        })
    }
}

/// Where an output comes from: what the last command printed, or a file
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Output {
    /// A stream of the last command
    #[serde(default)]
    pub from: Option<Stream>,
    /// A file instead of a stream, relative to the workspace; needs a grant for `files`
    #[serde(default)]
    pub file: Option<String>,
    /// A regular expression: the output is its first group where it first matches, or all that it matches if it has no group.
    /// Without it, the output is the whole text without white space at both ends
    #[serde(default)]
    pub pattern: Option<String>,
}

/// What a command prints to
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    #[default]
    Stdout,
    Stderr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    fn run(json: &str) -> Result<Run, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn run_is_one_command_or_several() {
        let command = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        assert_eq!(run(r#"["cargo","build"]"#), Ok(Run(vec![command(&["cargo", "build"])])));
        assert_eq!(run(r#"[["a","b"],["c"]]"#), Ok(Run(vec![command(&["a", "b"]), command(&["c"])])));
        assert!(run(r#"["a",["b"]]"#).unwrap_err().contains("mixes words and commands"));
        assert!(run(r#"[1]"#).unwrap_err().contains("a string, or an array of strings"));
        assert!(run(r#""cargo build""#).unwrap_err().contains("`run = ["));
    }
}
