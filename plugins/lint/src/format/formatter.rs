//! Formatter checks: programs that answer with their exit code, and show what they would change as a diff or as a list of files.
//!
//! A finding a file, at the first place that would change. Understood are unified diffs (`--- a`, `+++ b`, `@@ -1,7 +1,10 @@`),
//! rustfmt's own (`Diff in src/lib.rs:3:`), and lists of files: bare (`gofmt -l`, `prettier -l`), `[warn] src/a.js` (prettier),
//! `would reformat src/a.py` (black), `unformatted: …` with `--> src/a.py:3:1` below it (ruff), `[error] src/a.js: SyntaxError: … (2:10)` (prettier on a file that it cannot parse).
//! Where none of these is found, the check is one finding with the end of its output.

use std::collections::VecDeque;
use std::io::BufRead;

use runner_programs::ReadError;
use runner_programs::lines::Lines;
use runner_sdk::report::{Location, Severity};

use super::Reading;
use crate::finding::Finding;

/// Lines of output that are shown where no file is named.
const SHOWN: usize = 12;

/// A formatter's word is a warning: the code works as it is.
const SEVERITY: Severity = Severity::Medium;

pub fn read(input: impl BufRead, tool: &str, exited_well: bool) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut files = Files { tool, found: Vec::new(), hunk: None };
    let mut last: VecDeque<String> = VecDeque::new();
    let mut before = None;
    let mut in_diff = false;
    while let Some(line) = lines.next_text()? {
        let diff_starts = files.diff_line(&line, before.as_deref());
        in_diff |= diff_starts;
        if !in_diff {
            files.list_line(&line, before.as_deref());
        }
        if !line.trim().is_empty() {
            if last.len() == SHOWN {
                last.pop_front();
            }
            last.push_back(line.clone());
        }
        before = Some(line);
    }
    let mut findings = files.found;
    if exited_well {
        // a diff is an answer whatever the exit code (`gofmt -d` ends with 0); a list of files is not: it may be of files looked at
        findings.retain(|finding| finding.rule == "format" && in_diff);
    } else if findings.is_empty() {
        let shown: Vec<String> = last.into();
        let output = if shown.is_empty() { "it printed nothing".to_owned() } else { shown.join("\n") };
        findings.push(Finding::new(SEVERITY, tool, "format", format!("the formatter wants changes\n{output}")));
    }
    Ok(Reading { findings, broken: None })
}

struct Files<'a> {
    tool: &'a str,
    found: Vec<Finding>,
    /// The line that the next line of the hunk is about, while its first change has not been seen.
    hunk: Option<u32>,
}

impl Files<'_> {
    fn add(&mut self, path: &str, line: u32) {
        let known = self.found.iter_mut().find(|finding| finding.path() == path);
        match known.and_then(|finding| finding.location.as_mut()) {
            Some(location) if location.line == 0 => location.line = line,
            Some(_) => {}
            None => {
                let location = Location { path: path.to_owned(), line, ..Location::default() };
                self.found.push(Finding::new(SEVERITY, self.tool, "format", "is not formatted").at(location));
            }
        }
    }

    /// Takes a line of a diff up, and answers whether it is one that starts a file's part.
    fn diff_line(&mut self, line: &str, before: Option<&str>) -> bool {
        if let Some(place) = line.strip_prefix("Diff in ").and_then(|rest| rest.strip_suffix(':')) {
            // `path:line`, in older versions `path at line 3`
            let split = place.rsplit_once(':').or_else(|| place.rsplit_once(" at line "));
            if let Some((path, number)) = split
                && let Ok(number) = number.trim().parse::<u32>()
            {
                self.add(path, 0);
                self.begin_hunk(number);
                return true;
            }
        }
        let old = before.and_then(|before| before.strip_prefix("--- "));
        if let Some(new) = line.strip_prefix("+++ ")
            && let Some(old) = old
        {
            let path = diff_path(new).filter(|path| path != "/dev/null").or_else(|| diff_path(old));
            if let Some(path) = path {
                self.hunk = None;
                self.add(&path, 0);
                return true;
            }
        }
        if let Some(hunk) = line.strip_prefix("@@ -") {
            let digits: String = hunk.chars().take_while(char::is_ascii_digit).collect();
            self.begin_hunk(digits.parse().unwrap_or(1));
        } else if let Some(number) = self.hunk {
            if line.starts_with(['-', '+']) {
                self.hunk = None;
                if let Some(location) = self.found.last_mut().and_then(|finding| finding.location.as_mut()) {
                    location.line = number;
                }
            } else {
                self.hunk = Some(number.saturating_add(1));
            }
        }
        false
    }

    /// The context lines that a hunk begins with are as they should be; the first change is what is shown.
    fn begin_hunk(&mut self, line: u32) {
        let unplaced = self.found.last().and_then(|finding| finding.location.as_ref()).is_some_and(|location| location.line == 0);
        self.hunk = unplaced.then_some(line.max(1));
    }

    fn list_line(&mut self, line: &str, before: Option<&str>) {
        // ruff since 0.14: `unformatted: File would be reformatted`, then `  --> shop.py:3:1`
        if let Some(place) = line.trim_start().strip_prefix("--> ")
            && before.is_some_and(|before| before.starts_with("unformatted"))
        {
            let mut parts = place.rsplitn(3, ':');
            if let (Some(_column), Some(line), Some(path)) = (parts.next(), parts.next(), parts.next()) {
                self.add(path, line.parse().unwrap_or(0));
            }
            return;
        }
        if let Some(rest) = line.strip_prefix("[error] ") {
            // `path: SyntaxError: … (2:10)`; the lines after it show the source
            if let Some((path, reason)) = rest.split_once(": ").filter(|(path, _)| looks_like_file(path)) {
                let (line, column) = reason.rsplit_once('(').and_then(|(_, at)| parenthesised(at)).unwrap_or((0, 0));
                let location = Location { path: path.to_owned(), line, column, ..Location::default() };
                self.found.push(Finding::new(Severity::High, self.tool, "syntax", reason).at(location));
            }
            return;
        }
        let listed = line.strip_prefix("[warn] ").or_else(|| strip_prefix_ignoring_case(line, "would reformat"));
        match listed {
            Some(path) => {
                let path = path.trim_start_matches(':').trim();
                if looks_like_file(path) {
                    self.add(path, 0);
                }
            }
            None if looks_like_file(line) && !line.contains(' ') => self.add(line, 0),
            None => {}
        }
    }
}

fn parenthesised(text: &str) -> Option<(u32, u32)> {
    let (line, column) = text.strip_suffix(')')?.split_once(':')?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

fn strip_prefix_ignoring_case<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    let head = line.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &line[prefix.len()..])
}

/// The path of a `---` or `+++` line: without git's `a/` and `b/`, and without the time stamp after a tab.
fn diff_path(text: &str) -> Option<String> {
    let path = text.split('\t').next().unwrap_or(text).trim();
    let path = path.strip_prefix("a/").or_else(|| path.strip_prefix("b/")).unwrap_or(path);
    // `gofmt -d` writes `shop.go.orig` for the old side
    let path = path.strip_suffix(".orig").unwrap_or(path);
    (!path.is_empty()).then(|| path.to_owned())
}

/// A path to a file and nothing else: it has an extension and no sign of a sentence.
fn looks_like_file(text: &str) -> bool {
    let Some((stem, extension)) = text.rsplit('/').next().and_then(|name| name.rsplit_once('.')) else { return false };
    !text.starts_with(['[', '-', '+', '@', ' '])
        && !text.ends_with(['.', ':', '!'])
        && !text.contains(": ")
        && text.len() <= 1024
        && (!stem.is_empty() || !extension.is_empty())
        && (1..=12).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !text.contains("://")
}
