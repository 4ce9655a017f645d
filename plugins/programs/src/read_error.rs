//! Why what a program wrote could not be read to its end.

use std::fmt;
use std::io;

/// Says what is wrong and where. Whose output it is and in which format, the one who shows it knows.
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

impl ReadError {
    pub fn malformed(place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::Malformed { place: place.to_string(), reason: reason.into() }
    }

    pub fn cut_off(place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::CutOff { place: place.to_string(), reason: reason.into() }
    }

    /// Whether something was there to be read and was not in its format, so that saying which format it is helps.
    pub fn is_about_the_format(&self) -> bool {
        matches!(self, Self::Malformed { .. } | Self::CutOff { .. })
    }
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

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
