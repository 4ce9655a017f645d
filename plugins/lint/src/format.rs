//! The formats that tools write their findings in. Each reads a stream once, holds only what it reports, and says where it
//! stopped understanding: a cut-off file is never "no findings".

use std::io::BufRead;

use runner_programs::ReadError;
use serde::Deserialize;

use crate::finding::Finding;

pub mod cargo;
pub mod checkstyle;
pub mod eslint;
pub mod formatter;
pub mod hadolint;
pub mod lines;
pub mod ruff;
pub mod sarif;
pub mod tsc;

/// How a tool writes its findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// SARIF 2.1.0, as `ruff`, `semgrep`, `eslint` with a formatter, and most security scanners write it
    Sarif,
    /// `eslint -f json`
    Eslint,
    /// `cargo clippy --message-format=json`, also `cargo check` and `cargo build`
    Cargo,
    /// `ruff check --output-format json`
    Ruff,
    /// What `tsc` prints: `src/cart.ts(7,9): error TS2322: …`
    Tsc,
    /// `hadolint -f json`
    Hadolint,
    /// Checkstyle's XML, as `checkstyle -f xml`, `shellcheck -f checkstyle`, `eslint` with a formatter, phpcs, ktlint, detekt and many others write it
    Checkstyle,
    /// `path:line[:column]: [severity:] message [rule]`, as gcc, flake8, mypy, shellcheck -f gcc and many others write it
    Lines,
    /// A diff of what a formatter would change: `cargo fmt --check`, `ruff format --diff`, `gofmt -d`
    Diff,
    /// A check whose exit code is its answer: files that its output lists are named: `prettier --check`, `black --check`, `gofmt -l`
    Exit,
}

impl Format {
    /// The exit codes after which the tool is taken to have done its work.
    pub fn ok_exit(self) -> &'static [u32] {
        match self {
            // cargo ends with 101 when the code does not compile or a lint is denied
            Self::Cargo => &[0, 1, 101],
            // 2: there are errors, and files were written all the same
            Self::Tsc => &[0, 1, 2],
            _ => &[0, 1],
        }
    }

    /// Whether an exit code that is the number of errors says that the tool did its work, as Checkstyle's own does.
    pub fn exits_with_errors(self) -> bool {
        self == Self::Checkstyle
    }

    /// What it reads, for an output that turned out to be something else.
    pub fn reads(self) -> &'static str {
        match self {
            Self::Sarif => "format `sarif` reads SARIF 2.1.0 in JSON",
            Self::Eslint => "format `eslint` reads what `eslint -f json` writes",
            Self::Cargo => "format `cargo` reads what `cargo clippy --message-format=json` writes",
            Self::Ruff => "format `ruff` reads what `ruff check --output-format json` writes",
            Self::Tsc => "format `tsc` reads what `tsc --pretty false` writes",
            Self::Hadolint => "format `hadolint` reads what `hadolint -f json` writes",
            Self::Checkstyle => "format `checkstyle` reads Checkstyle's XML, as `checkstyle -f xml` writes it",
            Self::Lines => "format `lines` reads `path:line:column: message`",
            Self::Diff => "format `diff` reads a formatter's diff",
            Self::Exit => "format `exit` reads a formatter check's list of files",
        }
    }
}

/// What was read of one tool's output.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the tool's order, with paths as printed.
    pub findings: Vec<Finding>,
    /// The output says itself that the tool did not do its work.
    pub broken: Option<String>,
}

/// Reads `input`. `tool` names the findings of tools that do not name themselves; `exited_well` says whether the tool ended
/// with 0, which is what a formatter check answers with.
pub fn read(format: Format, input: impl BufRead, tool: &str, exited_well: bool) -> Result<Reading, ReadError> {
    match format {
        Format::Sarif => sarif::read(input),
        Format::Eslint => eslint::read(input),
        Format::Cargo => cargo::read(input),
        Format::Ruff => ruff::read(input),
        Format::Tsc => tsc::read(input),
        Format::Hadolint => hadolint::read(input),
        Format::Checkstyle => checkstyle::read(input, tool),
        Format::Lines => lines::read(input, tool),
        Format::Diff | Format::Exit => formatter::read(input, tool, exited_well),
    }
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
