//! TAP, the Test Anything Protocol, versions 13 and 14 (testanything.org): results, nested subtests, directives, the YAML below a
//! result or the comments behind it, as far as node's reporter and the common producers write them.
//!
//! `prove -v` prints the TAP of several files, each below its name (`t/cart.t ..`) and with a verdict behind it, and ends with a
//! summary. Everything in it that is not TAP is read too: a file that died after its last result is seen nowhere else.

use std::io::BufRead;
use std::time::Duration;

use runner_programs::ReadError;
use runner_programs::lines::Lines;
use runner_sdk::report::{Location, TestStatus};

use super::node::is_file;
use super::not_too_many;
use super::tap_line::{Directive, plan, result, scalar};
use crate::case::{Case, Reading, shortened};

/// Bytes of one YAML value that are kept.
const VALUE_KEPT: usize = 32 * 1024;

/// Whether an output that starts with `line` is TAP.
pub fn starts(line: &str) -> bool {
    line.starts_with("TAP version ") || result(line).is_some() || plan(line).is_some()
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    read_from("", &mut Lines::new(input))
}

/// Reads on where the first line was read already.
pub(super) fn read_from<R: BufRead>(first: &str, lines: &mut Lines<R>) -> Result<Reading, ReadError> {
    let mut parser = Parser::default();
    parser.line(first);
    while let Some(line) = lines.next_text()? {
        parser.line(&line);
        not_too_many(parser.reading.cases.len(), || format!("line {}", lines.number()))?;
    }
    parser.finish(lines.number())
}

/// A result with what is below it.
#[derive(Debug, Default)]
struct Node {
    name: String,
    ok: bool,
    directive: Option<(Directive, String)>,
    details: Details,
    children: Vec<Node>,
}

/// What the YAML below a result says.
#[derive(Debug, Default)]
struct Details {
    millis: f64,
    kind: String,
    failure: String,
    location: String,
    error: String,
    stack: String,
    diff: String,
    exit_code: String,
    /// Comments behind the result, which stand for the YAML where there is none.
    comments: String,
}

#[derive(Default)]
struct Parser {
    /// Finished results by depth, waiting for their parent.
    levels: Vec<Vec<Node>>,
    /// The YAML that is being read: its indentation, and the key whose block it is in.
    yaml: Option<(usize, Option<String>)>,
    /// Where the last result stands, which a YAML below it belongs to.
    last: Option<usize>,
    plan: Option<u64>,
    top_results: u64,
    prove: Option<Prove>,
    reading: Reading,
}

/// What `prove` says around the TAP.
#[derive(Default)]
struct Prove {
    /// The file whose TAP is being read; empty behind it.
    file: String,
    /// Cases that were there before the file.
    before: usize,
    /// What it says about how the file's process ended.
    dubious: String,
    in_summary: bool,
    /// `PASS` or `FAIL`, from its last line.
    result: Option<String>,
}

/// What stands behind a file's name.
enum Behind<'a> {
    /// Its TAP follows.
    Tap,
    /// It passed; without `-v` its TAP is not shown.
    Ok,
    /// Why nothing of it ran.
    Skipped(&'a str),
}

/// `t/cart.t ..`, `t/cart.t .. ok`, `t/cart.t .. skipped: no network`
fn file_header(line: &str) -> Option<(&str, Behind<'_>)> {
    let (header, behind) = match line.split_once(". skipped: ") {
        Some((_, reason)) => (&line[..line.len() - reason.len() - " skipped: ".len()], Behind::Skipped(reason)),
        None => match line.strip_suffix(". ok") {
            Some(_) => (&line[..line.len() - " ok".len()], Behind::Ok),
            None => (line.trim_end(), Behind::Tap),
        },
    };
    let file = header.trim_end_matches('.').strip_suffix(' ')?.trim_end();
    let dots = header.len() - header.trim_end_matches('.').len();
    (dots >= 2 && !file.is_empty() && !file.starts_with([' ', '#']) && result(header).is_none()).then_some((file, behind))
}

impl Parser {
    fn line(&mut self, line: &str) {
        if self.yaml.is_some() {
            self.yaml_line(line);
            return;
        }
        if self.prove_line(line) {
            return;
        }
        let indentation = line.len() - line.trim_start_matches(' ').len();
        let text = &line[indentation..];
        if text == "---" && self.last.is_some_and(|depth| indentation == depth * 4 + 2) {
            self.yaml = Some((indentation, None));
            return;
        }
        if let Some(comment) = text.strip_prefix('#') {
            self.comment(indentation, comment);
            return;
        }
        if !indentation.is_multiple_of(4) {
            return;
        }
        let depth = indentation / 4;
        if let Some((ok, name, directive)) = result(text) {
            // deeper than what is open: output that looks like a result
            if depth > 64 {
                return;
            }
            while self.levels.len() <= depth + 1 {
                self.levels.push(Vec::new());
            }
            let children = std::mem::take(&mut self.levels[depth + 1]);
            if depth == 0 {
                self.flush();
                self.top_results += 1;
            }
            let (name, details) = timed(name);
            self.levels[depth].push(Node { name, ok, directive, details, children });
            self.last = Some(depth);
        } else if let Some(number) = plan(text).filter(|_| depth == 0) {
            self.plan = Some(number);
        } else if let Some(reason) = text.strip_prefix("Bail out!").filter(|_| depth == 0) {
            self.reading.trouble.push(format!("the suite bailed out: {}", reason.trim()).trim_end_matches([':', ' ']).to_owned());
        }
    }

    /// A comment behind a result that is not ok says why, where no YAML does. One above a subtest is its name.
    fn comment(&mut self, indentation: usize, comment: &str) {
        let Some(depth) = self.last.filter(|depth| indentation == depth * 4) else { return };
        let Some(node) = self.levels[depth].last_mut().filter(|node| !node.ok && node.details.is_bare()) else { return };
        let comments = &mut node.details.comments;
        if !comment.trim_start().starts_with("Subtest: ") && comments.len() < VALUE_KEPT {
            comments.push_str(comment.strip_prefix(' ').unwrap_or(comment).trim_end());
            comments.push('\n');
        }
    }

    /// Takes up a line that `prove` says itself, and answers whether it is one.
    fn prove_line(&mut self, line: &str) -> bool {
        if let Some(reason) = line.strip_prefix("Bailout called.  Further testing stopped:") {
            self.reading.trouble.push(format!("the suite bailed out: {}", reason.trim()));
            return true;
        }
        // the header of a file comes first, and what looks like one later is one as well
        let header = file_header(line).filter(|_| !self.prove.as_ref().is_some_and(|prove| prove.in_summary));
        if let Some((file, behind)) = header {
            self.end_file();
            let before = self.reading.cases.len();
            if let Behind::Skipped(reason) = behind {
                let mut case = Case::new("", file, TestStatus::Skipped).with_message(reason);
                case.file = file.to_owned();
                self.reading.cases.push(case);
            }
            let prove = self.prove.get_or_insert_default();
            prove.before = before;
            prove.file = if matches!(behind, Behind::Tap) { file.to_owned() } else { String::new() };
            return true;
        }
        let Some(prove) = &mut self.prove else { return false };
        if let Some(result) = line.strip_prefix("Result: ") {
            prove.result = Some(result.trim().to_owned());
        } else if line == "Test Summary Report" || line == "All tests successful." || line.starts_with("Files=") {
            prove.in_summary = true;
            self.end_file();
            return true;
        } else if line.starts_with("Dubious, ") {
            prove.dubious = line.to_owned();
        } else if line != "ok" && !prove.in_summary && !is_verdict(line) {
            return false;
        }
        true
    }

    /// Holds a file against its plan and against what `prove` says about it.
    fn end_file(&mut self) {
        let Some(prove) = &mut self.prove else { return };
        let (file, dubious, before) = (std::mem::take(&mut prove.file), std::mem::take(&mut prove.dubious), prove.before);
        if file.is_empty() {
            return;
        }
        self.flush();
        let (plan, seen) = (self.plan.take(), std::mem::take(&mut self.top_results));
        self.levels.clear();
        self.last = None;
        let cases = &mut self.reading.cases[before..];
        for case in &mut *cases {
            case.group = file.clone();
            case.file = file.clone();
        }
        let failed = cases.iter().any(Case::failed);
        let trouble = match plan {
            Some(plan) if plan != seen => Some(format!("its plan is of {plan} tests, and {seen} were reported")),
            // the exit code of a file whose tests failed is their number
            _ if !dubious.is_empty() && !failed => Some(dubious),
            None => Some("its plan is missing, so that tests may be missing too".to_owned()),
            Some(_) => None,
        };
        self.reading.trouble.extend(trouble.map(|trouble| format!("{file}: {trouble}")));
    }

    fn yaml_line(&mut self, line: &str) {
        let Some((indentation, key)) = &mut self.yaml else { return };
        let Some(inside) = line.get(*indentation..).filter(|_| line[..*indentation].trim().is_empty()) else {
            // an empty line of a block
            if !line.trim().is_empty() {
                self.yaml = None;
                self.line(line);
            }
            return;
        };
        if inside == "..." {
            self.yaml = None;
            return;
        }
        let details = self.last.and_then(|depth| self.levels[depth].last_mut()).map(|node| &mut node.details);
        let Some(details) = details else { return };
        if let Some(block) = inside.strip_prefix("  ") {
            if let Some(value) = key.as_deref().and_then(|key| details.value(key))
                && value.len() < VALUE_KEPT
            {
                value.push_str(block);
                value.push('\n');
            }
            return;
        }
        let Some((name, value)) = inside.split_once(':') else { return };
        let value = value.trim();
        *key = matches!(value, "|-" | "|" | ">-" | ">" | "|+").then(|| name.to_owned());
        if key.is_some() {
            return;
        }
        if name == "duration_ms" {
            details.millis = value.parse().unwrap_or(0.0);
        } else if let Some(kept) = details.value(name) {
            *kept = scalar(value);
        }
    }

    /// Turns the finished results at the top into cases, so that only one tree is held.
    fn flush(&mut self) {
        if let Some(top) = self.levels.first_mut() {
            for node in std::mem::take(top) {
                flatten(node, &mut Vec::new(), &mut self.reading.cases);
            }
        }
    }

    fn finish(mut self, number: u64) -> Result<Reading, ReadError> {
        let open = self.yaml.is_some() || self.levels.iter().skip(1).any(|level| !level.is_empty());
        self.flush();
        let place = format!("line {number}");
        if let Some(prove) = &self.prove {
            return match &prove.result {
                None => Err(ReadError::cut_off(place, "prove's closing `Result: …` is missing")),
                Some(_) if self.reading.cases.is_empty() && self.reading.trouble.is_empty() => {
                    Err(ReadError::malformed(place, "prove ran and printed no results; does `run` say `-v`?"))
                }
                Some(_) => Ok(self.reading),
            };
        }
        match self.plan {
            None if !self.reading.trouble.is_empty() => {}
            None => {
                let reason = format!("TAP's plan (`1..{}` or more) is missing, so that tests may be missing too", self.top_results);
                return Err(ReadError::CutOff { place, reason });
            }
            Some(plan) if plan != self.top_results || open => {
                let seen = self.top_results;
                return Err(ReadError::CutOff { place, reason: format!("the plan is of {plan} tests, and {seen} were reported") });
            }
            Some(_) => {}
        }
        Ok(self.reading)
    }
}

/// `ok`, `Failed 2/6 subtests`, … behind a file's TAP.
fn is_verdict(line: &str) -> bool {
    let subtests = line.trim_end().ends_with(" subtests") || line.trim_end().ends_with(" subtests passed");
    (subtests && (line.starts_with("Failed ") || line.starts_with("All ")))
        || line.starts_with("No subtests run")
        || line.starts_with("\t(less ")
}

/// node-tap writes how long a test took behind its name: `cart # time=25.98ms`.
fn timed(name: String) -> (String, Details) {
    let mut details = Details::default();
    let Some((before, time)) = name.rsplit_once(" # time=") else { return (name, details) };
    let Some(millis) = time.strip_suffix("ms").and_then(|millis| millis.parse().ok()) else { return (name, details) };
    details.millis = millis;
    (before.to_owned(), details)
}

impl Node {
    /// Whether it stands for a failure.
    fn fails(&self) -> bool {
        !self.ok && self.directive.is_none()
    }
}

impl Details {
    /// Whether there was no YAML.
    fn is_bare(&self) -> bool {
        self.error.is_empty() && self.stack.is_empty() && self.failure.is_empty() && self.location.is_empty() && self.kind.is_empty()
    }

    fn value(&mut self, key: &str) -> Option<&mut String> {
        Some(match key {
            "type" => &mut self.kind,
            "failureType" => &mut self.failure,
            "location" => &mut self.location,
            "error" | "message" => &mut self.error,
            "stack" => &mut self.stack,
            "diff" => &mut self.diff,
            "exitCode" => &mut self.exit_code,
            _ => return None,
        })
    }
}

/// A test with tests in it is a group: they count, and it counts only if it failed for a reason of its own.
fn flatten(node: Node, above: &mut Vec<String>, cases: &mut Vec<Case>) {
    let Node { name, ok, directive, details, children } = node;
    let is_group = !children.is_empty() || details.kind == "suite";
    let explained =
        details.failure == "subtestsFailed" || (details.failure.is_empty() && details.kind != "suite" && children.iter().any(Node::fails));
    let own_failure = !ok && !explained;
    // node reports a file without tests, and one that could not be loaded, as a test
    let file = above.is_empty() && children.is_empty() && is_file(&name);
    above.push(name);
    for child in children {
        flatten(child, above, cases);
    }
    let counts = if is_group { own_failure } else { !(file && ok) };
    if counts {
        cases.push(case(above.clone(), ok, directive, details));
    }
    above.pop();
}

fn case(parts: Vec<String>, ok: bool, directive: Option<(Directive, String)>, details: Details) -> Case {
    let crashed = matches!(
        details.failure.as_str(),
        "testTimeoutFailure"
            | "cancelledByParent"
            | "parentAlreadyFinished"
            | "hookFailed"
            | "testAborted"
            | "uncaughtException"
            | "unhandledRejection"
    ) || !details.exit_code.is_empty();
    let status = match (ok, &directive) {
        (_, Some((Directive::Skip, _))) | (false, Some((Directive::Todo, _))) => TestStatus::Skipped,
        (true, _) => TestStatus::Passed,
        (false, None) if crashed => TestStatus::Errored,
        (false, None) => TestStatus::Failed,
    };
    let message = match (status, directive) {
        (TestStatus::Passed, _) => String::new(),
        (_, Some((_, reason))) => reason,
        _ => {
            let exit = if details.exit_code.is_empty() {
                String::new()
            } else {
                format!("its process ended with exit code {}", details.exit_code)
            };
            let parts = [&details.error, &exit, &details.diff, &details.stack, &details.comments];
            let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
            shortened(&parts.join("\n"))
        }
    };
    let mut case = Case::new("", "", status).with_message(message);
    case.parts = parts;
    if details.millis.is_finite() && details.millis > 0.0 {
        case.took = Duration::from_secs_f64((details.millis / 1000.0).min(31_536_000.0));
    }
    case.location = crate::place::places(&details.location).next();
    case.file = case.location.as_ref().map(|location: &Location| location.path.clone()).unwrap_or_default();
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_prove() {
        let cases = [
            ("t/basic.t .. ", Some("t/basic.t: tap")),
            ("t/pass.t ... ok", Some("t/pass.t: ok")),
            ("t/skip.t ... skipped: no network", Some("t/skip.t: no network")),
            ("t/a b.t ....", Some("t/a b.t: tap")),
            ("ok 1 - waits ..", None),
            ("# and so on ...", None),
            ("    nested ...", None),
            ("wait...", None),
            ("a .", None),
        ];
        for (line, expected) in cases {
            let header = file_header(line).map(|(file, behind)| match behind {
                Behind::Tap => format!("{file}: tap"),
                Behind::Ok => format!("{file}: ok"),
                Behind::Skipped(reason) => format!("{file}: {reason}"),
            });
            assert_eq!(header.as_deref(), expected, "{line}");
        }
    }
}
