//! The formats that tools write their findings in. Each reads a stream once, holds only what it reports, and says where it
//! stopped understanding: a cut-off file is never "no findings".

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;

use crate::finding::Finding;

pub mod cargo;
pub mod eslint;
pub mod formatter;
pub mod json;
pub mod lines;
pub mod sarif;

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
            _ => &[0, 1],
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

/// Why an output could not be read to its end.
#[derive(Debug)]
pub enum ReadError {
    Io(io::Error),
    /// There is none of this run: says why.
    Missing(String),
    /// It is not in the format, from `place` on.
    Malformed {
        place: String,
        reason: String,
    },
    /// It ends too early.
    CutOff {
        place: String,
        reason: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Missing(reason) => f.write_str(reason),
            Self::Malformed { place, reason } => write!(f, "cannot be understood at {place}: {reason}"),
            Self::CutOff { place, reason } => write!(f, "is cut off at {place}: {reason}"),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads `input`. `tool` names the findings of tools that do not name themselves; `exited_well` says whether the tool ended
/// with 0, which is what a formatter check answers with.
pub fn read(format: Format, input: impl BufRead, tool: &str, exited_well: bool) -> Result<Reading, ReadError> {
    match format {
        Format::Sarif => sarif::read(input),
        Format::Eslint => eslint::read(input),
        Format::Cargo => cargo::read(input),
        Format::Lines => lines::read(input, tool),
        Format::Diff | Format::Exit => formatter::read(input, tool, exited_well),
    }
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
