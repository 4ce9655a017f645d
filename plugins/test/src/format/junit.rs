//! JUnit's XML. There is no standard; this reads what the common writers have in common (the Jenkins schema `junit-10.xsd`,
//! Surefire's `surefire-test-report.xsd` with its `flakyFailure` and `rerunFailure`) and their known liberties: suites within
//! suites, cases outside suites (node), a root of either `testsuites` or `testsuite`, `skipped` beside `failure` (a failing
//! "todo" of node), and totals that count errors which no case shows (gotestsum, for a package that does not compile).

use std::io::BufRead;

use runner_programs::xml::{self, Event};
use runner_programs::{ReadError, ansi};
use runner_sdk::report::{Location, TestStatus};

use super::not_too_many;
use crate::case::{Case, Reading, seconds, shortened};

/// Bytes of one failure's text that are kept while it is read.
const TEXT_KEPT: usize = 64 * 1024;

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let mut report = Report::default();
    xml::read(input, &["testsuites", "testsuite"], |event, at| {
        match event {
            Event::Open(element) => report.open(&element),
            Event::Text(text) => report.text(text),
            Event::Close => report.close(),
        }
        not_too_many(report.reading.cases.len(), || format!("byte {at}"))
    })?;
    Ok(report.reading)
}

/// What an open element is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Suite,
    Case,
    /// A verdict on the case around it, whose text is its message.
    Verdict(Verdict),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Failure,
    Error,
    Skipped,
    /// The case failed before and passed then.
    Flaky,
    /// One more failure of a case that failed each time.
    Rerun,
}

#[derive(Default)]
struct Report {
    open: Vec<Element>,
    suites: Vec<Suite>,
    case: Option<Open>,
    /// A failure of a suite that is no case's.
    suite_failure: Option<(String, String)>,
    reading: Reading,
}

struct Suite {
    name: String,
    file: String,
    /// What its totals say failed.
    counted: u64,
    failed_before: usize,
}

/// A case that is being read.
struct Open {
    case: Case,
    failures: Vec<(Verdict, String, String)>,
}

impl Report {
    fn open(&mut self, element: &xml::Element<'_>) {
        let inside = self.open.last().copied();
        let kind = match element.name().as_str() {
            "testsuites" | "testsuite" => Element::Suite,
            "testcase" => Element::Case,
            "failure" => Element::Verdict(Verdict::Failure),
            "error" => Element::Verdict(Verdict::Error),
            "skipped" | "ignored" => Element::Verdict(Verdict::Skipped),
            "flakyFailure" | "flakyError" => Element::Verdict(Verdict::Flaky),
            "rerunFailure" | "rerunError" => Element::Verdict(Verdict::Rerun),
            _ => Element::Other,
        };
        match kind {
            Element::Suite => self.open_suite(element),
            Element::Case => self.open_case(element),
            Element::Verdict(verdict) => match (&mut self.case, inside) {
                (Some(case), Some(Element::Case)) => {
                    let text = element.attribute("message").or_else(|| element.attribute("type").filter(|_| verdict != Verdict::Skipped));
                    case.failures.push((verdict, text.unwrap_or_default(), String::new()));
                }
                (None, Some(Element::Suite)) if matches!(verdict, Verdict::Failure | Verdict::Error) => {
                    self.suite_failure = Some((element.attribute("message").unwrap_or_default(), String::new()));
                }
                _ => {}
            },
            Element::Other => {}
        }
        self.open.push(kind);
    }

    fn open_suite(&mut self, element: &xml::Element<'_>) {
        let number = |name| element.number::<u64>(name).unwrap_or(0);
        self.suites.push(Suite {
            name: element.attribute("name").unwrap_or_default(),
            file: element.attribute("file").or_else(|| element.attribute("filepath")).unwrap_or_default(),
            counted: number("failures").saturating_add(number("errors")),
            failed_before: self.failed(),
        });
    }

    fn open_case(&mut self, element: &xml::Element<'_>) {
        let suite = self.suites.last();
        let mut named = self.suites.iter().map(|suite| suite.name.as_str()).filter(|name| !name.is_empty());
        let group = match element.attribute("classname").unwrap_or_default().trim().to_owned() {
            // node gives every case this class, and says where it belongs by suites within suites
            class if class == "test" => named.collect::<Vec<_>>().join(" > "),
            class if class.is_empty() => named.next_back().unwrap_or_default().to_owned(),
            class => class,
        };
        let mut case = Case::new(group, element.attribute("name").unwrap_or_default().trim(), TestStatus::Passed);
        case.took = element.attribute("time").map(|text| seconds(&text)).unwrap_or_default();
        case.file = element
            .attribute("file")
            .or_else(|| element.attribute("filepath"))
            .or_else(|| suite.map(|suite| suite.file.clone()))
            .unwrap_or_default();
        let line = element.number("line").unwrap_or(0);
        if !case.file.is_empty() {
            case.location = Some(Location::line(case.file.clone(), line));
        }
        // googletest says it with attributes
        let result = [element.attribute("status"), element.attribute("result")];
        if result.iter().flatten().any(|word| matches!(word.as_str(), "notrun" | "disabled" | "skipped" | "suppressed" | "ignored")) {
            case.status = TestStatus::Skipped;
        }
        self.case = Some(Open { case, failures: Vec::new() });
    }

    fn text(&mut self, text: &str) {
        let Some(Element::Verdict(_)) = self.open.last() else { return };
        let kept = match (&mut self.case, &mut self.suite_failure) {
            (Some(case), _) => case.failures.last_mut().map(|(_, _, kept)| kept),
            (None, Some((_, kept))) => Some(kept),
            _ => None,
        };
        if let Some(kept) = kept
            && kept.len() < TEXT_KEPT
        {
            let end = (0..=text.len().min(TEXT_KEPT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            kept.push_str(&text[..end]);
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Element::Case) => {
                if let Some(open) = self.case.take() {
                    self.reading.cases.push(finished(open));
                }
            }
            Some(Element::Suite) => {
                let Some(suite) = self.suites.pop() else { return };
                if suite.counted > 0 && self.failed() == suite.failed_before && self.reading.trouble.is_empty() {
                    let name = if suite.name.is_empty() { String::new() } else { format!(" of `{}`", suite.name) };
                    let plural = if suite.counted == 1 { "failure" } else { "failures" };
                    self.reading.trouble.push(format!("the totals{name} count {} {plural} that no test case shows", suite.counted));
                }
            }
            Some(Element::Verdict(_)) if self.case.is_none() => {
                if let Some((message, text)) = self.suite_failure.take() {
                    let name = self.suites.last().map(|suite| suite.name.clone()).unwrap_or_default();
                    let message = if message.is_empty() { text } else { format!("{message}\n{text}") };
                    self.reading.cases.push(Case::new("", name, TestStatus::Errored).with_message(ansi::strip(&message)));
                }
            }
            _ => {}
        }
    }

    fn failed(&self) -> usize {
        // what failed first and passed then may stand in the totals too
        self.reading.cases.iter().filter(|case| case.failed() || case.status == TestStatus::Flaky).count()
    }
}

fn finished(open: Open) -> Case {
    let Open { mut case, failures } = open;
    let has = |verdict| failures.iter().any(|(v, ..)| *v == verdict);
    case.status = match () {
        () if has(Verdict::Skipped) => TestStatus::Skipped,
        () if has(Verdict::Error) => TestStatus::Errored,
        () if has(Verdict::Failure) => TestStatus::Failed,
        () if has(Verdict::Flaky) => TestStatus::Flaky,
        // only re-runs that failed and no first failure: it failed
        () if has(Verdict::Rerun) => TestStatus::Failed,
        () => case.status,
    };
    let telling = failures.iter().find(|(verdict, ..)| match case.status {
        TestStatus::Skipped => *verdict == Verdict::Skipped,
        _ => *verdict != Verdict::Rerun,
    });
    if let Some((_, message, text)) = telling.or(failures.first()) {
        let (message, text) = (message.trim(), text.trim_matches('\n'));
        let first_line = message.lines().next().unwrap_or_default();
        // most writers repeat the message at the head of the text, and node marks a skip without a reason with `true`
        let message = match (message, text.trim()) {
            ("true", "") => String::new(),
            (_, "") => message.to_owned(),
            (_, trimmed) if trimmed.contains(first_line) => text.to_owned(),
            _ => format!("{message}\n{text}"),
        };
        case.message = shortened(&ansi::strip(&message));
    }
    case
}
