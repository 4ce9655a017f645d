//! The one kind of error that reading an image ends with.

use std::fmt;

use runner_sdk::files;

/// Why an image could not be read. `Display` gives `place: what. How to mend it.`
#[derive(Debug)]
pub enum ImageError {
    /// The image is not what it should be.
    Unusable { place: String, what: String, mend: String },
    /// A file of it could not be opened; it may be a denial.
    File(files::Error),
}

impl ImageError {
    pub fn new(place: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Unusable { place: place.into(), what: what.into(), mend: mend.into() }
    }

    /// Says of which image a place is, unless it is the image itself.
    pub(super) fn of(self, image: &str) -> Self {
        match self {
            Self::Unusable { place, what, mend } if !place.starts_with(image) => {
                Self::Unusable { place: format!("{image}: {place}"), what, mend }
            }
            other => other,
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { place, what, mend } => write!(f, "{place}: {what}. {mend}"),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImageError {}
