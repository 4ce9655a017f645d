//! What the JSON formats share: finding the document in an output, and saying where it breaks off.

use std::io::{self, BufRead, Read};

use serde::de::DeserializeOwned;

use crate::ReadError;

/// A larger document does not fit into a stage's memory beside what is made of it.
pub const LARGEST: u64 = 64 * 1024 * 1024;

/// Reads one JSON document. Lines before it that a script runner prints (`> shop@1.0.0 lint`) are passed over, and so is what
/// follows the document; a document that is not complete, or larger than [`LARGEST`], is an error.
pub fn document<T: DeserializeOwned>(mut input: impl BufRead) -> Result<T, ReadError> {
    let skipped = skip_banner(&mut input)?;
    let mut values = serde_json::Deserializer::from_reader(Bounded { input, left: LARGEST });
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

/// An input that is an error where it goes on for too long, rather than an end.
struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.input.fill_buf()?.is_empty() {
            let reason = format!("it is larger than {} MiB; let each run look at a part", LARGEST / 1024 / 1024);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let taken = self.input.read(&mut out[..most])?;
        self.left -= taken as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_are_passed_over_and_counted() {
        for text in ["[1]", "\n\n> shop@1.0.0 lint\n> x\n\n[1]\ndone", "yarn run v1.22\n$ x\n[1]", "\u{feff}[1]"] {
            assert_eq!(document::<Vec<u8>>(text.as_bytes()).unwrap(), [1], "{text}");
        }
        let error = document::<Vec<u8>>(&b"> x\n[1,"[..]).unwrap_err().to_string();
        assert_eq!(error, "is cut off at line 2, column 3: EOF while parsing a value");
    }

    #[test]
    fn an_endless_document_is_an_error() {
        let endless = io::BufReader::new(Read::chain(&b"[\"a\", \""[..], io::repeat(b'x')));
        let error = document::<Vec<serde::de::IgnoredAny>>(endless).unwrap_err().to_string();
        assert!(error.contains("it is larger than 64 MiB"), "{error}");
    }
}
