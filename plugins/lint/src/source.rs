//! The lines of source that findings are about: a baseline knows a finding by them, and columns are counted in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;

use runner_programs::lines::Lines;

use crate::finding::Finding;

/// A longer line is generated code; its beginning tells it apart well enough.
const KEPT: usize = 400;

/// The text of the lines that findings are about.
#[derive(Debug, Default)]
pub struct Sources {
    lines: HashMap<String, HashMap<u32, String>>,
}

impl Sources {
    /// Reads each file once, as far as needed. `open` gives none for what is no readable file: its lines are then empty.
    pub fn read<R: BufRead>(findings: &[Finding], open: impl Fn(&str) -> Option<R>) -> Self {
        let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for location in findings.iter().filter_map(|finding| finding.location.as_ref()).filter(|location| location.line > 0) {
            wanted.entry(&location.path).or_default().insert(location.line);
        }
        let mut sources = Self::default();
        for (path, numbers) in wanted {
            let Some(file) = open(path) else { continue };
            let mut input = Lines::new(file);
            let mut found = HashMap::new();
            let last = numbers.last().copied().unwrap_or_default();
            let mut number = 0;
            // a file that turns out to be no text (one endless line) has no lines to show
            while let Ok(Some(line)) = input.next_line() {
                number += 1;
                if numbers.contains(&number) {
                    let text: String = String::from_utf8_lossy(line).chars().take(KEPT).collect();
                    found.insert(number, text);
                }
                if number >= last {
                    break;
                }
            }
            sources.lines.insert(path.to_owned(), found);
        }
        sources
    }

    /// The line that a finding is about; empty if it is about no line, or its file could not be read.
    pub fn line(&self, finding: &Finding) -> &str {
        self.lines.get(finding.path()).and_then(|lines| lines.get(&finding.line())).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner_sdk::report::{Location, Severity};

    #[test]
    fn the_lines_that_are_asked_for() {
        let at = |path: &str, line: u32| Finding::new(Severity::Low, "t", "", "m").at(Location::line(path, line));
        let findings = [at("a.rs", 2), at("a.rs", 9), at("gone.rs", 1), at("a.rs", 0)];
        let sources = Sources::read(&findings, |path| (path == "a.rs").then_some(&b"one\r\ntwo\r\nthree"[..]));
        let lines: Vec<&str> = findings.iter().map(|finding| sources.line(finding)).collect();
        assert_eq!(lines, ["two", "", "", ""]);
    }
}
