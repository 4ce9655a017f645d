//! The stage's `with` table.

use std::collections::BTreeMap;

use runner_programs::Source;
use runner_programs::settings::{self, Program};
use runner_sdk::report::Severity;
use runner_sdk::{Failure, Span};
use serde::Deserialize;

use crate::format::Format;

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The tools, run side by side
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub tools: Vec<Tool>,
    /// How many tools may run at once; without it all of them, 4 at most
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub parallel: Option<u32>,
    /// The least severity of a new finding that fails the stage
    #[serde(default = "medium")]
    pub fail_on: Severity,
    /// A file of the workspace with findings that are known and do not fail the stage
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub baseline: Option<String>,
    /// Writes everything that is found now to the baseline file instead of failing; needs write access to it
    #[serde(default)]
    pub update_baseline: bool,
}

fn medium() -> Severity {
    Severity::Medium
}

/// One linter or formatter check.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tool {
    /// What it is called in logs and reports; without it the program and its subcommand, such as `cargo clippy`
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub name: Option<String>,
    /// The program and its arguments; there is no shell in between
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub run: Vec<String>,
    /// How it writes what it found
    pub format: Format,
    /// Where it writes what it found; without it `stdout`, and with the format `exit` both streams
    #[serde(default)]
    pub from: Option<Source>,
    /// Where it runs, relative to the workspace
    #[serde(default)]
    pub directory: Option<String>,
    /// Variables on top of the stage's `env`
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long it may run, such as `5m`
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Exit codes after which its answer is believed; without it 0 and 1, with the format `cargo` 101 as well, with `tsc` 2, and with `checkstyle` the number of errors
    #[serde(default)]
    pub ok_exit: Option<Vec<u32>>,
}

impl Tool {
    pub fn program(&self) -> Program<'_> {
        Program {
            name: self.name.as_deref(),
            run: &self.run,
            from: self.from.as_ref(),
            directory: self.directory.as_deref(),
            env: &self.env,
            timeout: self.timeout,
        }
    }

    pub fn ok_exit(&self) -> &[u32] {
        self.ok_exit.as_deref().unwrap_or_else(|| self.format.ok_exit())
    }
}

impl Settings {
    pub fn programs(&self) -> impl Iterator<Item = Program<'_>> {
        self.tools.iter().map(Tool::program)
    }

    pub fn parallel(&self) -> usize {
        settings::parallel(self.parallel, self.tools.len())
    }

    /// What the schema cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        if self.tools.is_empty() {
            return Err(Failure::misconfigured("`tools` is empty: name at least one tool"));
        }
        for (index, tool) in self.tools.iter().enumerate() {
            let misconfigured = |(setting, reason)| Failure::misconfigured(format_args!("`tools[{index}].{setting}` {reason}"));
            tool.program().check().map_err(misconfigured)?;
            if tool.ok_exit.as_ref().is_some_and(Vec::is_empty) {
                return Err(misconfigured(("ok-exit", "is empty: no answer would be believed".into())));
            }
        }
        if let Some(name) = settings::named_twice(self.programs()) {
            return Err(Failure::misconfigured(format_args!("two tools are named `{name}`: findings could not be told apart")));
        }
        if self.update_baseline && self.baseline.is_none() {
            return Err(Failure::misconfigured("`update-baseline` needs `baseline`: the file to write"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner_programs::settings::labels;

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    fn settings(json: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.check().map_err(|failure| failure.to_string())?;
        Ok(settings)
    }

    #[test]
    fn every_setting() {
        let settings = settings(
            r#"{
                "tools": [
                    { "run": ["cargo", "clippy"], "format": "cargo" },
                    { "run": ["cargo", "clippy"], "format": "cargo", "directory": "sub" },
                    { "name": "c", "run": ["make"], "format": "lines", "from": "stderr", "env": {"A": "b"}, "timeout": "5m", "ok-exit": [0, 2] },
                    { "run": ["x"], "format": "sarif", "from": { "file": "out/*.sarif" } }
                ],
                "parallel": 2, "fail-on": "high", "baseline": "lint-baseline.json", "update-baseline": true
            }"#,
        )
        .unwrap();
        assert_eq!(labels(settings.programs()), ["cargo clippy", "cargo clippy 2", "c", "x"]);
        assert_eq!(settings.tools[0].ok_exit(), [0, 1, 101]);
        assert_eq!(settings.tools[2].ok_exit(), [0, 2]);
        assert_eq!(settings.parallel(), 2);
    }

    #[test]
    fn what_cannot_be_used() {
        let cases = [
            (r#"{"tools":[]}"#, "`tools` is empty"),
            (r#"{"tools":[{"run":[],"format":"lines"}]}"#, "`tools[0].run` names no program"),
            (
                r#"{"tools":[{"name":"a","run":["x"],"format":"lines"},{"name":"a","run":["y"],"format":"lines"}]}"#,
                "two tools are named `a`",
            ),
            (r#"{"tools":[{"run":["x"],"format":"lines","ok-exit":[]}]}"#, "`tools[0].ok-exit` is empty"),
            (r#"{"tools":[{"run":["x"],"format":"lines"}],"update-baseline":true}"#, "`update-baseline` needs `baseline`"),
            (r#"{"tools":[{"run":["x"],"format":"xml"}]}"#, "unknown variant `xml`"),
            (r#"{"tools":[{"run":["x"],"format":"lines","timeout":"5"}]}"#, "`5` is not a length of time"),
            (r#"{"tools":[{"run":["x"],"format":"lines"}],"fail_on":"low"}"#, "unknown field `fail_on`"),
        ];
        for (json, expected) in cases {
            let error = settings(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
