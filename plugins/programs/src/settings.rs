//! The settings that every program has.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A length of time: `30s`, `5m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text)
            .map_err(|error| de::Error::custom(format!("`{text}` is not a length of time such as `30s` or `5m`: {error}")))?;
        if span.is_zero() {
            return Err(de::Error::custom(format!("`{text}` is no time at all: leave the setting out for no limit")));
        }
        Ok(Self(span))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A length of time such as `30s` or `5m`" })
    }
}

/// Where a program's results are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In what it writes to its standard output
    #[default]
    Stdout,
    /// In what it writes to its standard error
    Stderr,
    /// In files that it leaves: a path relative to the workspace, or a pattern with `*`, `?` and `**`
    File(String),
}

/// The name of a program without its folder and its file extension: what a tool or suite without a `name` is called.
pub fn program_name(program: &str) -> &str {
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    name.strip_suffix(".exe").or_else(|| name.strip_suffix(".cmd")).unwrap_or(name)
}

/// What a command line is called in logs and reports: its program, and what the program was told to do where it does many
/// things: `cargo clippy`, `npx eslint`, `npm run lint`.
pub fn label(run: &[String]) -> String {
    const MANY: [&str; 12] = ["cargo", "npx", "npm", "pnpm", "yarn", "bun", "node", "python", "python3", "go", "uv", "bundle"];
    let Some((program, arguments)) = run.split_first() else { return String::new() };
    let program = program_name(program);
    if !MANY.contains(&program) {
        return program.to_owned();
    }
    let mut words = arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with(['-', '+']));
    let mut label = program.to_owned();
    if let Some(first) = words.next() {
        label = format!("{label} {}", program_name(first));
        if matches!(first, "run" | "exec")
            && let Some(second) = words.next()
        {
            label = format!("{label} {}", program_name(second));
        }
    }
    label
}

/// Labels with a number behind those that were taken already: `npm test`, `npm test 2`.
pub fn unique(labels: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for label in labels {
        let mut candidate = label.clone();
        let mut number = 2;
        while unique.contains(&candidate) {
            candidate = format!("{label} {number}");
            number += 1;
        }
        unique.push(candidate);
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    fn span(text: &str) -> Result<Span, Error> {
        let deserializer: StrDeserializer<'_, Error> = text.into_deserializer();
        Span::deserialize(deserializer)
    }

    #[test]
    fn spans() {
        assert_eq!(span("5m").unwrap(), Span(Duration::from_secs(300)));
        assert_eq!(span("1h 30m").unwrap(), Span(Duration::from_secs(5400)));
        assert!(span("5").unwrap_err().to_string().contains("`5` is not a length of time"));
        assert!(span("0s").unwrap_err().to_string().contains("no time at all"));
    }

    #[test]
    fn labels() {
        let cases = [
            ("cargo +nightly clippy --all", "cargo clippy"),
            ("npx eslint . -f json", "npx eslint"),
            ("npm run lint", "npm run lint"),
            ("shellcheck -f gcc a.sh", "shellcheck"),
            ("node --test", "node"),
            ("python3 -m pytest", "python3 pytest"),
            ("./bin/check x", "check"),
        ];
        for (run, expected) in cases {
            let run: Vec<String> = run.split(' ').map(str::to_owned).collect();
            assert_eq!(label(&run), expected);
        }
        assert_eq!(unique(["a", "b", "a", "a"].map(str::to_owned)), ["a", "b", "a 2", "a 3"]);
    }

    #[test]
    fn names() {
        for (program, name) in [("cargo", "cargo"), ("./bin/lint.exe", "lint"), ("/usr/bin/gcc", "gcc")] {
            assert_eq!(program_name(program), name);
        }
    }
}
