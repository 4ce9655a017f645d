//! What came of an attempt.

use std::fmt;
use std::io;

use runner_sdk::{Outcome, http};

pub enum Attempted {
    Ok(String),
    Refused(String),
    Error(String),
    /// The stage is over, and passed.
    Over(Outcome),
}

pub fn refused(why: impl fmt::Display) -> Attempted {
    Attempted::Refused(why.to_string())
}

/// On one line, and not longer than a line.
impl fmt::Display for Attempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Attempted::Ok(text) => ("ok", text.as_str()),
            Attempted::Refused(text) => ("refused", text.as_str()),
            Attempted::Error(text) => ("error", text.as_str()),
            Attempted::Over(outcome) => ("over", outcome.summary.as_str()),
        };
        let text: String = text.chars().take(2_000).collect();
        write!(f, "{word} {}", text.escape_debug())
    }
}

/// What an attempt can get.
pub trait Got {
    fn shown(self) -> String;
}

impl Got for () {
    fn shown(self) -> String {
        String::new()
    }
}

impl Got for String {
    fn shown(self) -> String {
        self
    }
}

impl Got for Vec<u8> {
    fn shown(self) -> String {
        String::from_utf8_lossy(&self).into_owned()
    }
}

/// Why an attempt got nothing.
pub trait Why {
    fn told(self) -> Attempted;
}

impl Why for () {
    fn told(self) -> Attempted {
        Attempted::Error(String::new())
    }
}

impl Why for io::Error {
    fn told(self) -> Attempted {
        match self.kind() {
            kind @ (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => refused(format_args!("{kind:?}")),
            kind => Attempted::Error(format!("{kind:?}: {self}")),
        }
    }
}

impl Why for http::Error {
    fn told(self) -> Attempted {
        match self {
            http::Error::Denied(denial) => refused(format_args!("{}: {}", denial.code, denial.reason)),
            error => Attempted::Error(error.to_string()),
        }
    }
}

impl<T: Got, E: Why> From<Result<T, E>> for Attempted {
    fn from(result: Result<T, E>) -> Attempted {
        match result {
            Ok(got) => Attempted::Ok(got.shown()),
            Err(why) => why.told(),
        }
    }
}
