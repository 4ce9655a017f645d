//! The settings that every program has.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use runner_sdk::commands::{Command, Output};
use runner_sdk::{Span, files};
use serde::Deserialize;

/// Where a program's results are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
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

/// What every program's settings say, be it a tool of `lint` or a suite of `test`: each plugin has a type of its own, with keys of
/// its own, because a table that refuses unknown keys cannot be put together of two.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    pub name: Option<&'a str>,
    pub run: &'a [String],
    pub from: Option<&'a Source>,
    pub directory: Option<&'a str>,
    pub env: &'a BTreeMap<String, String>,
    pub timeout: Option<Span>,
}

impl Program<'_> {
    /// What the schema cannot say: the setting, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.run.first().is_none_or(|program| program.is_empty()) {
            return Err(("run", "names no program".into()));
        }
        if matches!(self.from, Some(Source::File(path)) if path.is_empty()) {
            return Err(("from.file", "is empty".into()));
        }
        Ok(())
    }

    /// Its name, or one made from what it runs.
    pub fn label(&self) -> String {
        self.name.map_or_else(|| label(self.run), str::to_owned)
    }

    /// The command that runs `argv` in its place.
    pub fn command(&self, argv: &[String], stdout: Output, stderr: Output) -> Command {
        let mut command = Command::new(argv[0].clone()).args(argv[1..].to_vec()).envs(self.env.clone()).stdout(stdout).stderr(stderr);
        if let Some(directory) = self.directory {
            command = command.dir(directory);
        }
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout.0);
        }
        command
    }

    /// Where it runs, as the stage sees it.
    pub fn folder(&self) -> PathBuf {
        self.directory.map_or_else(|| PathBuf::from(files::WORKSPACE), files::resolve)
    }
}

/// The name that two programs were given, if there is one.
pub fn named_twice<'a>(programs: impl IntoIterator<Item = Program<'a>>) -> Option<&'a str> {
    let mut names = HashSet::new();
    programs.into_iter().filter_map(|program| program.name).find(|name| !names.insert(*name))
}

/// The programs' labels; no two are the same.
pub fn labels<'a>(programs: impl IntoIterator<Item = Program<'a>>) -> Vec<String> {
    unique(programs.into_iter().map(|program| program.label()))
}

/// How many programs run at once: as many as `wanted`, or all of them, 4 at most.
pub fn parallel(wanted: Option<u32>, programs: usize) -> usize {
    wanted.map_or(programs.min(4), |wanted| wanted as usize).max(1)
}

/// The name of a program without its folder and its file extension: what a tool or suite without a `name` is called.
pub fn program_name(program: &str) -> &str {
    let name = program.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(program);
    name.strip_suffix(".exe").or_else(|| name.strip_suffix(".cmd")).unwrap_or(name)
}

/// What a command line is called in logs and reports: its program, and what the program was told to do where it does many
/// things: `cargo clippy`, `npx eslint`, `npm run lint`.
fn label(run: &[String]) -> String {
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
fn unique(labels: impl IntoIterator<Item = String>) -> Vec<String> {
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

    #[test]
    fn labels() {
        let cases = [
            ("cargo +nightly clippy --all", "cargo clippy"),
            ("npx eslint . -f json", "npx eslint"),
            ("npm run lint", "npm run lint"),
            ("shellcheck -f gcc a.sh", "shellcheck"),
            ("node --test", "node"),
            ("node --test test/", "node test"),
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
