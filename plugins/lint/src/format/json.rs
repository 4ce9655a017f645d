//! What the JSON formats share: finding the document in an output, and saying where it breaks off.

use std::io::{self, BufRead};

use serde::de::DeserializeOwned;

use super::ReadError;

/// Reads one JSON document. Lines before it that a script runner prints (`> shop@1.0.0 lint`) are passed over, and so is what
/// follows the document; a document that is not complete is an error.
pub fn document<T: DeserializeOwned>(mut input: impl BufRead) -> Result<T, ReadError> {
    let skipped = skip_banner(&mut input)?;
    let mut values = serde_json::Deserializer::from_reader(input);
    match T::deserialize(&mut values) {
        Ok(value) => Ok(value),
        Err(error) => Err(explain(&error, skipped)),
    }
}

/// A `serde_json` error with its place, `skipped` lines further down.
pub fn explain(error: &serde_json::Error, skipped: usize) -> ReadError {
    if let Some(kind) = error.io_error_kind() {
        return ReadError::Io(io::Error::new(kind, error.to_string()));
    }
    let place = format!("line {}, column {}", error.line().max(1) + skipped, error.column());
    let text = error.to_string();
    // serde_json ends its messages with the place
    let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
    if error.is_eof() { ReadError::CutOff { place, reason } } else { ReadError::Malformed { place, reason } }
}

/// Passes over blank lines and the banners of npm, pnpm (`> …`), yarn (`$ …`, `yarn run …`) and answers how many.
fn skip_banner(input: &mut impl BufRead) -> Result<usize, ReadError> {
    let mut skipped = 0;
    loop {
        let start = input.fill_buf()?;
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        let first = start.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
        let banner = match first {
            Some(b'\n' | b'>' | b'$') => true,
            Some(b'y') => start.starts_with(b"yarn "),
            _ => false,
        };
        if !banner {
            let mark = usize::from(input.fill_buf()?.starts_with(b"\xef\xbb\xbf")) * 3;
            input.consume(mark);
            return Ok(skipped);
        }
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        skipped += 1;
    }
}
