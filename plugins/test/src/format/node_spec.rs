//! Node's `spec` reporter, which people read: `✔ adds up (1.2ms)`, `▶ cart` around its tests, totals behind `ℹ`, and at the end
//! `✖ failing tests:` with a place and the reason of each. Failures are explained there in every version of node, and below
//! the line itself only in some; so they are read there.

use std::io::BufRead;
use std::time::Duration;

use runner_programs::ReadError;
use runner_programs::lines::Lines;
use runner_sdk::report::{Location, TestStatus};

use super::node::is_file;
use super::not_too_many;
use crate::case::{Case, Reading, shortened};

/// Bytes of one failure's text that are kept while it is read.
const TEXT_KEPT: usize = 32 * 1024;

pub fn read<R: BufRead>(first: &str, lines: &mut Lines<R>) -> Result<Reading, ReadError> {
    let mut parser = Parser::default();
    parser.line(first);
    while let Some(line) = lines.next_text()? {
        parser.line(&line);
        not_too_many(parser.reading.cases.len(), || format!("line {}", lines.number()))?;
    }
    parser.finish(lines.number())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Passed,
    Failed,
    Skipped,
    Todo,
    Group,
}

/// `  ✖ has a price (30.9ms) # reason`: depth, mark, name, time, reason.
struct Line<'a> {
    depth: usize,
    mark: Mark,
    name: &'a str,
    took: Duration,
    reason: &'a str,
}

fn result(line: &str) -> Option<Line<'_>> {
    let indentation = line.len() - line.trim_start_matches(' ').len();
    let text = &line[indentation..];
    let first = text.chars().next()?;
    let mark = match first {
        '✔' => Mark::Passed,
        '✖' => Mark::Failed,
        '﹣' => Mark::Skipped,
        '⚠' => Mark::Todo,
        '▶' => Mark::Group,
        _ => return None,
    };
    let text = text[first.len_utf8()..].strip_prefix(' ')?;
    if !indentation.is_multiple_of(2) || text.is_empty() {
        return None;
    }
    // the last `(…ms)` is the time; what follows it is a directive
    let timed = text.match_indices(" (").filter_map(|(at, _)| {
        let (time, after) = text[at + 2..].split_once("ms)")?;
        let millis: f64 = time.parse().ok()?;
        (after.is_empty() || after.starts_with(" #")).then_some((at, millis, after))
    });
    let (name, millis, after) = match timed.last() {
        Some((at, millis, after)) => (&text[..at], millis, after),
        None => (text, 0.0, ""),
    };
    let took =
        if millis.is_finite() && millis > 0.0 { Duration::from_secs_f64((millis / 1000.0).min(31_536_000.0)) } else { Duration::ZERO };
    Some(Line { depth: indentation / 2, mark, name, took, reason: after.trim_start_matches([' ', '#']).trim() })
}

#[derive(Default)]
struct Parser {
    /// The groups that are open, from the outermost.
    groups: Vec<String>,
    reading: Reading,
    /// Groups that failed, with the number of cases when they ended: whether for a reason of their own, the end tells.
    failed_groups: Vec<(Vec<String>, Duration)>,
    totals: Totals,
    /// In the part that explains the failures.
    explaining: bool,
    explained: Vec<Explained>,
    place: Option<Location>,
}

#[derive(Default)]
struct Totals {
    tests: Option<u64>,
    failed: u64,
    cancelled: u64,
}

struct Explained {
    name: String,
    place: Option<Location>,
    text: String,
}

impl Parser {
    fn line(&mut self, line: &str) {
        if line == "✖ failing tests:" {
            self.explaining = true;
            return;
        }
        if self.explaining {
            self.explanation(line);
            return;
        }
        if let Some(rest) = line.strip_prefix("ℹ ") {
            self.total(rest);
            return;
        }
        let Some(Line { depth, mark, name, took, reason }) = result(line) else { return };
        // deeper than any open group: a test's output that looks like a result
        if depth > self.groups.len() {
            return;
        }
        // a group's last line stands where its first did, and has its name
        let ends_group = mark != Mark::Group && self.groups.get(depth).is_some_and(|group| group == name);
        self.groups.truncate(depth);
        let mut parts = self.groups.clone();
        parts.push(name.to_owned());
        if ends_group {
            if mark == Mark::Failed {
                self.failed_groups.push((parts, took));
            }
            return;
        }
        let status = match mark {
            Mark::Group => {
                self.groups.push(name.to_owned());
                return;
            }
            Mark::Skipped | Mark::Todo => TestStatus::Skipped,
            // older versions mark a "todo" by its result
            Mark::Failed if reason == "TODO" || reason.starts_with("TODO ") => TestStatus::Skipped,
            Mark::Failed => TestStatus::Failed,
            Mark::Passed => TestStatus::Passed,
        };
        if depth == 0 && status == TestStatus::Passed && is_file(name) {
            return;
        }
        let reason = if matches!(reason, "SKIP" | "TODO") { "" } else { reason };
        let mut case = Case::new("", "", status).with_message(reason);
        case.parts = parts;
        case.took = took;
        self.reading.cases.push(case);
    }

    fn total(&mut self, text: &str) {
        let Some((word, number)) = text.split_once(' ') else { return };
        let Ok(number) = number.parse() else { return };
        match word {
            "tests" => self.totals.tests = Some(number),
            "fail" => self.totals.failed = number,
            "cancelled" => self.totals.cancelled = number,
            _ => {}
        }
    }

    /// `test at test/cart.test.mjs:6:1`, the result's line once more, and below it the reason, indented.
    fn explanation(&mut self, line: &str) {
        if let Some(place) = line.strip_prefix("test at ") {
            self.place = crate::place::places(place).next();
        } else if let Some(Line { depth: 0, name, .. }) = result(line) {
            self.explained.push(Explained { name: name.to_owned(), place: self.place.take(), text: String::new() });
        } else if let Some(explained) = self.explained.last_mut()
            && explained.text.len() < TEXT_KEPT
        {
            explained.text.push_str(line.strip_prefix("  ").unwrap_or(line));
            explained.text.push('\n');
        }
    }

    fn finish(mut self, number: u64) -> Result<Reading, ReadError> {
        if self.totals.tests.is_none() {
            let reason = "node's closing totals (`ℹ tests …`) are missing, so that tests may be missing too";
            return Err(ReadError::CutOff { place: format!("line {number}"), reason: reason.into() });
        }
        for Explained { name, place, text } in self.explained {
            let cases = &mut self.reading.cases;
            let unexplained = |case: &&mut Case| case.status == TestStatus::Failed && case.message.is_empty() && case.location.is_none();
            let known = cases.iter_mut().filter(unexplained).find(|case| case.parts.last() == Some(&name));
            let case = match known {
                Some(case) => case,
                // a group that failed for a reason of its own, such as a hook
                None => {
                    let Some(at) = self.failed_groups.iter().position(|(parts, _)| parts.last() == Some(&name)) else { continue };
                    let (parts, took) = self.failed_groups.remove(at);
                    let mut case = Case::new("", "", TestStatus::Failed);
                    (case.parts, case.took) = (parts, took);
                    cases.push(case);
                    cases.last_mut().expect("it was put there just now")
                }
            };
            case.message = shortened(&text);
            case.file = place.as_ref().map(|place| place.path.clone()).unwrap_or_default();
            case.location = place;
            if ["'test timed out after", "'test did not finish before its parent", "'test failed'"]
                .iter()
                .any(|words| text.starts_with(words))
            {
                case.status = TestStatus::Errored;
            }
        }
        let failed = self.totals.failed + self.totals.cancelled;
        if failed > 0 && !self.reading.cases.iter().any(Case::failed) {
            self.reading.trouble.push(format!("node counts {failed} failures that none of its lines shows"));
        }
        Ok(self.reading)
    }
}
