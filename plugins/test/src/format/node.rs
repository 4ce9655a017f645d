//! What `node --test` prints, whichever reporter it chose: up to Node 22 it is TAP when it is not a terminal that reads, later
//! the `spec` reporter. Told apart by the first line.

use std::io::BufRead;

use runner_programs::ReadError;
use runner_programs::lines::Lines;

use super::{node_spec, tap};
use crate::case::Reading;

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut first = None;
    while let Some(line) = lines.next_text()? {
        // the banner of a script runner
        if !(line.trim().is_empty() || line.starts_with("> ") || line.starts_with("$ ")) {
            first = Some(line);
            break;
        }
    }
    match first {
        None => Err(ReadError::CutOff { place: "its beginning".into(), reason: "the suite printed nothing".into() }),
        Some(line) if tap::starts(&line) => tap::read_from(&line, &mut lines),
        Some(line) => node_spec::read(&line, &mut lines),
    }
}

/// Whether a test's name is its file's: what node prints for a file in which no test is, or which could not be loaded.
pub(super) fn is_file(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(extension, "js" | "mjs" | "cjs" | "ts" | "mts" | "cts" | "jsx" | "tsx") && !name.contains(' ')
}
