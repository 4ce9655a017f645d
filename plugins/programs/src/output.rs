//! What programs wrote, opened to be read: streams that were captured, and files that were left.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use runner_sdk::commands::{Captured, Exit};
use runner_sdk::{Failure, files};

use crate::left::{Before, Left};
use crate::{ReadError, tail};

/// Lines of a broken program's output that are shown again at the end.
const TAIL: usize = 15;

/// Captured streams one after the other; what was not captured is empty.
pub fn streams<'a>(streams: impl IntoIterator<Item = Option<&'a Captured>>) -> Result<Box<dyn BufRead>, Failure> {
    let mut input: Box<dyn Read> = Box::new(std::io::empty());
    for stream in streams.into_iter().flatten() {
        input = Box::new(input.chain(stream.open()?));
    }
    Ok(Box::new(BufReader::with_capacity(64 * 1024, input)))
}

/// Gives the files of `pattern` that a run left to `read`, one after the other. Answers with what was read: the pattern, or the file
/// that stopped it. `none` is what it means that there is none: `the tool wrote no report`.
pub fn files(
    pattern: &str,
    before: &Before,
    none: &str,
    mut read: impl FnMut(BufReader<File>) -> Result<(), ReadError>,
) -> Result<(String, Result<(), ReadError>), Failure> {
    let left = before.left()?;
    if left.fresh.is_empty() {
        return Ok((pattern.to_owned(), Err(ReadError::Missing(missing(pattern, &left, none)))));
    }
    for path in &left.fresh {
        if let Err(error) = read(BufReader::with_capacity(64 * 1024, files::open(path)?)) {
            return Ok((shown(path), Err(error)));
        }
    }
    Ok((pattern.to_owned(), Ok(())))
}

fn missing(pattern: &str, left: &Left, none: &str) -> String {
    match left.stale.first() {
        Some(stale) if shown(stale) == pattern => format!("was there before and has not changed: {none}"),
        Some(stale) => format!("matches {} alone, which was there before and has not changed: {none}", shown(stale)),
        None => format!("is not there: {none}"),
    }
}

/// A path as people know it: without the folder where a stage sees its workspace.
fn shown(path: &Path) -> String {
    path.strip_prefix(files::WORKSPACE).unwrap_or(path).display().to_string()
}

/// What a program said last: on standard error, or where that is silent on standard output.
pub fn last_lines(exit: &Exit) -> Result<Vec<String>, Failure> {
    for captured in [exit.stderr.as_ref(), exit.stdout.as_ref()].into_iter().flatten() {
        let lines = tail::last_lines_of(captured.open()?, TAIL)?;
        if !lines.is_empty() {
            // a line of JSON is no message
            return Ok(lines.into_iter().map(|line| line.chars().take(400).collect()).collect());
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn why_there_is_no_report() {
        let stale = |stale: &[&str]| Left { fresh: Vec::new(), stale: stale.iter().map(PathBuf::from).collect() };
        for (pattern, left, expected) in [
            ("a.xml", stale(&[]), "is not there: the tool wrote no report"),
            ("a.xml", stale(&["/workspace/a.xml"]), "was there before and has not changed: the tool wrote no report"),
            (
                "*.xml",
                stale(&["/workspace/a.xml"]),
                "matches a.xml alone, which was there before and has not changed: the tool wrote no report",
            ),
        ] {
            assert_eq!(missing(pattern, &left, "the tool wrote no report"), expected);
        }
    }
}
