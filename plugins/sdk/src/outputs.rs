//! Named values for later stages: `${stage.build.outputs.version}`.

use std::fmt;

use crate::Failure;
use crate::bindings::runner::stage::outputs as wit;

/// Why an output was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A name is a letter, then letters, digits, `-` and `_`, 64 at most.
    BadName(String),
    /// The value, or all values together, is over the limit in bytes.
    TooLarge(u64),
}

/// Sets an output; the last value given for a name stands. The outputs of a stage that fails are dropped.
pub fn set(name: &str, value: &str) -> Result<(), Error> {
    crate::inside("outputs");
    wit::set(name, value).map_err(|error| match error {
        wit::Error::BadName(name) => Error::BadName(name),
        wit::Error::TooLarge(limit) => Error::TooLarge(limit),
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadName(name) => {
                write!(f, "`{name}` cannot name an output: use a letter, then letters, digits, `-` and `_`, 64 at most")
            }
            Error::TooLarge(limit) => {
                write!(f, "the outputs are over the limit of {limit} bytes: pass long data on as an artifact, or raise `limits.outputs`")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::BadName(_) => Failure::misconfigured(error),
            Error::TooLarge(_) => Failure::errored(error),
        }
    }
}
