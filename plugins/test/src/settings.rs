//! The stage's `with` table.

use std::collections::BTreeMap;

use runner_programs::Source;
use runner_programs::settings::{self, Program, program_name};
use runner_sdk::{Failure, Span};
use serde::Deserialize;

use crate::coverage;
use crate::format::Format;
use crate::rerun;

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The suites, run side by side
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub suites: Vec<Suite>,
    /// How many suites may run at once; without it all of them, 4 at most
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub parallel: Option<u32>,
    /// How many of the slowest tests are listed
    #[serde(default = "five")]
    #[cfg_attr(test, schemars(range(max = 1000)))]
    pub slowest: u32,
    /// What the suites must have covered
    #[serde(default)]
    pub coverage: Option<coverage::Settings>,
}

fn five() -> u32 {
    5
}

fn one() -> u32 {
    1
}

/// One suite: a program that runs tests.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Suite {
    /// What it is called in logs and reports; without it the program and its subcommand, such as `cargo test`
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub name: Option<String>,
    /// The program and its arguments; there is no shell in between
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub run: Vec<String>,
    /// How it writes its results
    pub format: Format,
    /// Where it writes its results
    #[serde(default)]
    pub from: Source,
    /// Where it runs, relative to the workspace
    #[serde(default)]
    pub directory: Option<String>,
    /// Variables on top of the stage's `env`
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long one run of it may take, such as `5m`
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How often tests that failed are run again; one that passes then is flaky
    #[serde(default)]
    #[cfg_attr(test, schemars(range(max = 10)))]
    pub rerun: u32,
    /// How to run only what failed: `{names}` is one regular expression for all names; an argument with `{name}`, `{class}` or `{file}` is repeated for each test
    #[serde(default)]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub rerun_with: Option<Vec<String>>,
    /// How many tests must have run, not counting skipped ones
    #[serde(default = "one")]
    pub min_tests: u32,
}

/// Options that make a runner stop at a failure, so that what comes after it never has its turn.
const STOPPING: [&str; 7] = ["--bail", "--maxfail", "--exitfirst", "--fail-fast", "--failfast", "-failfast", "--stop-on-failure"];

impl Settings {
    pub fn programs(&self) -> impl Iterator<Item = Program<'_>> {
        self.suites.iter().map(Suite::program)
    }

    pub fn parallel(&self) -> usize {
        settings::parallel(self.parallel, self.suites.len())
    }

    /// What the schema cannot say.
    pub fn check(&self) -> Result<(), Failure> {
        if self.suites.is_empty() {
            return Err(Failure::misconfigured("`suites` is empty: name at least one suite"));
        }
        for (index, suite) in self.suites.iter().enumerate() {
            let at = format!("suites[{index}]");
            suite.check().map_err(|(setting, reason)| Failure::misconfigured(format_args!("`{at}.{setting}` {reason}")))?;
        }
        if let Some(name) = settings::named_twice(self.programs()) {
            return Err(Failure::misconfigured(format_args!("two suites are named `{name}`: their tests could not be told apart")));
        }
        if self.coverage.as_ref().is_some_and(|coverage| coverage.reports().next().is_none()) {
            return Err(Failure::misconfigured("`coverage` names no report: say `lcov`, `cobertura` or `istanbul`"));
        }
        for what in coverage::What::ALL {
            let threshold = self.coverage.as_ref().and_then(|coverage| what.threshold(coverage));
            if threshold.is_some_and(|threshold| !(0.0..=100.0).contains(&threshold)) {
                return Err(Failure::misconfigured(format_args!("`coverage.{}` is a percentage, from 0 to 100", what.word())));
            }
        }
        Ok(())
    }
}

impl Suite {
    pub fn program(&self) -> Program<'_> {
        Program {
            name: self.name.as_deref(),
            run: &self.run,
            from: Some(&self.from),
            directory: self.directory.as_deref(),
            env: &self.env,
            timeout: self.timeout,
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        self.program().check()?;
        match (&self.rerun_with, self.rerun) {
            (Some(template), _) if template.first().is_none_or(|program| program.is_empty()) => {
                return Err(("rerun-with", "names no program".into()));
            }
            (Some(_), 0) => return Err(("rerun-with", "says how to run tests again, but `rerun` is 0: say how often".into())),
            _ => {}
        }
        if self.rerun == 0 {
            return Ok(());
        }
        if self.rerun_with.is_none() && !rerun::has_rule(self) {
            let reason = "needs `rerun-with`: how to run only some tests is known for `cargo test` with format `libtest`, `node` with \
                          `node`, jest and vitest with `jest`, and `go test` with `go`";
            return Err(("rerun", reason.into()));
        }
        let program = self.run.first().map(|program| program_name(program)).unwrap_or_default();
        let stops = |argument: &&String| {
            let option = argument.split('=').next().unwrap_or(argument);
            STOPPING.contains(&option) || (program == "pytest" && option == "-x")
        };
        if let Some(option) = self.run.iter().find(stops) {
            return Err((
                "run",
                format!("stops at the first failure (`{option}`), so that `rerun` could pass a suite of which most never ran"),
            ));
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
                "suites": [
                    { "run": ["cargo", "test"], "format": "libtest", "rerun": 2 },
                    { "name": "web", "run": ["npx", "jest"], "format": "junit", "from": { "file": "junit.xml" }, "directory": "web",
                      "env": { "CI": "1" }, "timeout": "5m", "rerun": 1, "rerun-with": ["npx", "jest", "-t", "{names}"], "min-tests": 10 }
                ],
                "parallel": 1, "slowest": 10, "coverage": { "lcov": "coverage/lcov.info", "lines": 80, "functions": 70.5, "branches": 60 }
            }"#,
        )
        .unwrap();
        assert_eq!(labels(settings.programs()), ["cargo test", "web"]);
        assert_eq!((settings.suites[0].min_tests, settings.suites[1].min_tests), (1, 10));
        assert_eq!(settings.suites[0].from, Source::Stdout);
    }

    #[test]
    fn what_cannot_be_used() {
        let cases = [
            (r#"{"suites":[]}"#, "`suites` is empty"),
            (r#"{"suites":[{"run":[],"format":"node"}]}"#, "`suites[0].run` names no program"),
            (r#"{"suites":[{"run":["npm","test"],"format":"node","rerun":1}]}"#, "`suites[0].rerun` needs `rerun-with`"),
            (r#"{"suites":[{"run":["npx","jest"],"format":"junit","rerun":1}]}"#, "`suites[0].rerun` needs `rerun-with`"),
            (r#"{"suites":[{"run":["x"],"format":"junit","rerun-with":["x"]}]}"#, "but `rerun` is 0"),
            (
                r#"{"suites":[{"run":["pytest","-x"],"format":"junit","rerun":1,"rerun-with":["pytest","--lf"]}]}"#,
                "`suites[0].run` stops at the first failure (`-x`)",
            ),
            (
                r#"{"suites":[{"run":["npx","jest","--bail=1"],"format":"junit","rerun":1,"rerun-with":["x"]}]}"#,
                "stops at the first failure (`--bail=1`)",
            ),
            (r#"{"suites":[{"run":["go","test","-run","X"],"format":"go","rerun":1}]}"#, "`suites[0].rerun` needs `rerun-with`"),
            (r#"{"suites":[{"run":["x"],"format":"node"}],"coverage":{"lines":80}}"#, "`coverage` names no report"),
            (r#"{"suites":[{"run":["x"],"format":"node"}],"coverage":{"istanbul":"x","statements":-1}}"#, "`coverage.statements` is a"),
            (r#"{"suites":[{"run":["x"],"format":"node"}],"coverage":{"lcov":"x","lines":101}}"#, "`coverage.lines` is a percentage"),
            (
                r#"{"suites":[{"name":"a","run":["x"],"format":"node"},{"name":"a","run":["y"],"format":"node"}]}"#,
                "two suites are named `a`",
            ),
            (r#"{"suites":[{"run":["x"],"format":"node","retries":1}]}"#, "unknown field `retries`"),
        ];
        for (json, expected) in cases {
            let error = settings(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
