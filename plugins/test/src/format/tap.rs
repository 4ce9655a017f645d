//! TAP, the Test Anything Protocol, versions 13 and 14 (testanything.org): results, nested subtests, directives and the YAML
//! below a result, as far as node's reporter and the common producers write them.

use std::io::BufRead;
use std::time::Duration;

use runner_programs::lines::Lines;
use runner_sdk::report::{Location, TestStatus};

use super::node::is_file;
use super::{ReadError, not_too_many};
use crate::case::{Case, Reading, shortened};

/// Bytes of one YAML value that are kept.
const VALUE_KEPT: usize = 32 * 1024;

/// Whether an output that starts with `line` is TAP.
pub fn starts(line: &str) -> bool {
    line.starts_with("TAP version ") || result(line).is_some() || plan(line).is_some()
}

pub fn read<R: BufRead>(first: &str, lines: &mut Lines<R>) -> Result<Reading, ReadError> {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Skip,
    Todo,
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
    exit_code: String,
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
    reading: Reading,
}

/// Whether it is ok, its name, and its directive with the reason.
type TestLine = (bool, String, Option<(Directive, String)>);

/// `ok 1 - name # SKIP reason`
fn result(line: &str) -> Option<TestLine> {
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    // the number may be missing; a word right after `ok` that is none is no result of a test runner
    let rest = match digits {
        0 if !rest.is_empty() && !rest.starts_with("- ") => return None,
        digits => rest[digits..].trim_start(),
    };
    let rest = rest.strip_prefix("- ").unwrap_or(if rest == "-" { "" } else { rest });
    let (name, directive) = split_directive(rest);
    Some((ok, unescaped(name), directive))
}

fn split_directive(text: &str) -> (&str, Option<(Directive, String)>) {
    for (at, _) in text.match_indices('#') {
        let escaped = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        if escaped || !(at == 0 || text[..at].ends_with(' ')) {
            continue;
        }
        let after = text[at + 1..].trim_start();
        let word: String = after.chars().take_while(char::is_ascii_alphabetic).collect();
        let directive = match word.to_ascii_lowercase().as_str() {
            "skip" | "skipped" => Directive::Skip,
            "todo" => Directive::Todo,
            _ => continue,
        };
        let reason = unescaped(after[word.len()..].trim_start_matches([':', ' ']));
        return (text[..at].trim_end(), Some((directive, reason)));
    }
    (text.trim_end(), None)
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => plain.extend(rest.next()),
            c => plain.push(c),
        }
    }
    plain
}

/// `1..9`, `1..0 # SKIP no database`
fn plan(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("1..")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let rest = &rest[digits.len()..];
    (rest.is_empty() || rest.starts_with(' ')).then(|| digits.parse().ok())?
}

impl Parser {
    fn line(&mut self, line: &str) {
        if self.yaml.is_some() {
            self.yaml_line(line);
            return;
        }
        let indentation = line.len() - line.trim_start_matches(' ').len();
        let text = &line[indentation..];
        if text == "---" && self.last.is_some_and(|depth| indentation == depth * 4 + 2) {
            self.yaml = Some((indentation, None));
            return;
        }
        if text.starts_with('#') || !indentation.is_multiple_of(4) {
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
            self.levels[depth].push(Node { name, ok, directive, details: Details::default(), children });
            self.last = Some(depth);
        } else if let Some(number) = plan(text).filter(|_| depth == 0) {
            self.plan = Some(number);
        } else if let Some(reason) = text.strip_prefix("Bail out!").filter(|_| depth == 0) {
            self.reading.trouble.push(format!("the suite bailed out: {}", reason.trim()).trim_end_matches([':', ' ']).to_owned());
        }
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

impl Details {
    fn value(&mut self, key: &str) -> Option<&mut String> {
        Some(match key {
            "type" => &mut self.kind,
            "failureType" => &mut self.failure,
            "location" => &mut self.location,
            "error" | "message" => &mut self.error,
            "stack" => &mut self.stack,
            "exitCode" => &mut self.exit_code,
            _ => return None,
        })
    }
}

/// A scalar without its quotes: `'it''s'`, `"say \"no\"\n"`.
fn scalar(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')) {
        return inner.replace("''", "'");
    }
    let Some(inner) = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) else { return value.to_owned() };
    let mut plain = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some(escaped)) => plain.push(escaped),
            (c, _) => plain.push(c),
        }
    }
    plain
}

/// A test with tests in it is a group: they count, and it counts only if it failed for a reason of its own.
fn flatten(node: Node, above: &mut Vec<String>, cases: &mut Vec<Case>) {
    let Node { name, ok, directive, details, children } = node;
    let is_group = !children.is_empty() || details.kind == "suite";
    let own_failure =
        !ok && details.failure != "subtestsFailed" && (details.kind == "suite" || !details.failure.is_empty() || children.is_empty());
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
                format!("\nits process ended with exit code {}", details.exit_code)
            };
            shortened(&format!("{}{exit}\n{}", details.error.trim_end(), details.stack))
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
    fn results() {
        let skip = |reason: &str| Some((Directive::Skip, reason.to_owned()));
        let todo = |reason: &str| Some((Directive::Todo, reason.to_owned()));
        let cases = [
            ("ok 1 - adds up", Some((true, "adds up", None))),
            ("not ok 2 - adds up", Some((false, "adds up", None))),
            ("ok", Some((true, "", None))),
            ("ok 3", Some((true, "", None))),
            ("ok 3 named without a dash", Some((true, "named without a dash", None))),
            ("ok 4 - a \\# b \\\\ c", Some((true, "a # b \\ c", None))),
            ("ok 5 - x # SKIP no db", Some((true, "x", skip("no db")))),
            ("ok 5 - x # skipped: no db", Some((true, "x", skip("no db")))),
            ("not ok 6 - x # TODO", Some((false, "x", todo("")))),
            ("ok 7 - issue #12 # 3", Some((true, "issue #12 # 3", None))),
            ("okay then", None),
            ("ok then", None),
            ("not okay", None),
        ];
        for (line, expected) in cases {
            assert_eq!(result(line), expected.map(|(ok, name, directive)| (ok, name.to_owned(), directive)), "{line}");
        }
    }

    #[test]
    fn scalars() {
        for (text, plain) in [("'it''s'", "it's"), ("\"say \\\"no\\\"\\n\"", "say \"no\"\n"), ("plain", "plain"), ("'", "'"), ("\"", "\"")]
        {
            assert_eq!(scalar(text), plain, "{text}");
        }
    }
}
