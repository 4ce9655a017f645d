//! The formats that test runners write. Each reads a stream once and holds the cases, not the text; a stream that ends too
//! early is an error or trouble, never "all passed".

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;

use crate::case::Reading;

pub mod junit;
pub mod libtest;
pub mod node;
mod node_spec;
mod short_text;
mod tap;

/// How a suite writes its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// JUnit's XML, as Surefire, Gradle, pytest, jest-junit, gotestsum, nextest and many others write it
    Junit,
    /// What `cargo test` prints
    Libtest,
    /// What `node --test` prints: TAP or the `spec` reporter; TAP of other tools as well
    Node,
}

/// Why results could not be read to their end.
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
    }
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
