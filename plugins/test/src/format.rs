//! The formats that test runners write. Each reads a stream once and holds the cases, not the text; a stream that ends too
//! early is an error or trouble, never "all passed".

use std::io::BufRead;

use runner_programs::ReadError;
use serde::Deserialize;

use crate::case::Reading;

pub mod go;
pub mod jest;
pub mod junit;
pub mod libtest;
pub mod nextest;
pub mod node;
mod node_spec;
pub mod tap;
mod tap_line;

/// How a suite writes its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// JUnit's XML, as Surefire, Gradle, pytest, jest-junit, gotestsum, nextest and many others write it
    Junit,
    /// What `cargo test` prints
    Libtest,
    /// What `node --test` prints: TAP or the `spec` reporter
    Node,
    /// `cargo nextest run --message-format libtest-json-plus`
    Nextest,
    /// `jest --json`, also `vitest run --reporter=json`
    Jest,
    /// `go test -json`
    Go,
    /// TAP 13 and 14: what one producer prints, or what `prove -v` prints of several
    Tap,
}

impl Format {
    /// The exit codes with which a runner says that tests failed; any other but 0 says that it did not do its work.
    pub fn fails_with(self) -> &'static [u32] {
        match self {
            Self::Libtest => &[1, 101],
            Self::Nextest => &[1, 100],
            _ => &[1],
        }
    }

    /// Whether people can read it, so that it goes to the log as it comes.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Libtest | Self::Node | Self::Tap)
    }

    /// What it reads, for an output that turned out to be something else.
    pub fn reads(self) -> &'static str {
        match self {
            Self::Junit => "format `junit` reads JUnit's XML",
            Self::Libtest => "format `libtest` reads what `cargo test` prints",
            Self::Node => "format `node` reads what `node --test` prints",
            Self::Nextest => "format `nextest` reads what `cargo nextest run --message-format libtest-json-plus` writes",
            Self::Jest => "format `jest` reads what `jest --json` or `vitest run --reporter=json` writes",
            Self::Go => "format `go` reads what `go test -json` writes",
            Self::Tap => "format `tap` reads TAP, as `prove -v` prints it",
        }
    }
}

/// More tests than this in one output do not fit into a stage's memory.
const MOST: usize = 250_000;

/// An error if there are too many.
fn not_too_many(cases: usize, place: impl FnOnce() -> String) -> Result<(), ReadError> {
    match cases <= MOST {
        true => Ok(()),
        false => Err(ReadError::Malformed { place: place(), reason: format!("more than {MOST} tests: split the suite") }),
    }
}

/// Reads `results`. `beside` is what the program wrote to the other stream; `cargo test` says there which binary it runs.
pub fn read(format: Format, results: impl BufRead, beside: impl BufRead) -> Result<Reading, ReadError> {
    match format {
        Format::Junit => junit::read(results),
        Format::Libtest => libtest::read(results, beside),
        Format::Node => node::read(results),
        Format::Nextest => nextest::read(results),
        Format::Jest => jest::read(results),
        Format::Go => go::read(results),
        Format::Tap => tap::read(results),
    }
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
