//! For CI servers: one JUnit file.
//!
//! A stage is a `testsuite`. Its tests are its cases; counted findings of a stage that did not pass are failed cases; a stage
//! without either, or one that did not pass for a reason that none of them shows, is a case itself. The vocabulary is
//! what Jenkins' xunit plugin (`junit-10.xsd`) accepts and GitLab reads: no attributes beyond it, `flakyFailure` as Maven Surefire
//! has it. Characters that XML 1.0 cannot hold become U+FFFD.
//!
//! Stages left out on the command line are left out here too. A soft failure of a stage is a skipped case: the run passed.

use std::collections::HashMap;
use std::io::Write;

use event::{Blocked, Event, FailureKind, Finding, Kind, Outcome, StageRef, TestCase, TestStatus, Verdict};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event as Xml};

use crate::file::Document;
use crate::tail::Tail;
use crate::{detail, sanitize};

/// Lines of the log of a stage that did not pass.
const LOG_LINES: usize = 50;

/// What the file is made of.
#[derive(Default)]
pub struct Suites {
    run: String,
    pipeline: String,
    nanos: u64,
    /// The run ended, and goes on in another session.
    waits: bool,
    suites: Vec<Suite>,
    index: HashMap<StageRef, usize>,
}

#[derive(Default)]
struct Suite {
    id: String,
    plugin: String,
    began: u64,
    attempt: u32,
    nanos: u64,
    tests: Vec<TestCase>,
    findings: Vec<Finding>,
    measures: Vec<(String, f64, String)>,
    tail: Option<Box<Tail>>,
    log: String,
    outcome: Option<Outcome>,
    person: Option<Person>,
}

/// What a stage waits for.
enum Person {
    Approval(String),
    Decision(String),
}

impl Suites {
    fn suite(&mut self, stage: &StageRef) -> &mut Suite {
        let index = *self.index.entry(stage.clone()).or_insert_with(|| {
            self.suites.push(Suite { id: stage.to_string(), ..Suite::default() });
            self.suites.len() - 1
        });
        &mut self.suites[index]
    }
}

impl Document for Suites {
    const NAME: &'static str = "the JUnit report";

    fn apply(&mut self, event: &Event) {
        match &event.kind {
            Kind::RunStarted { run, pipeline, stages, .. } | Kind::RunResumed { run, pipeline, stages, .. } => {
                (self.run, self.pipeline) = (run.clone(), pipeline.clone());
                for stage in stages {
                    self.suite(&stage.id);
                }
            }
            Kind::StageStarted { stage, attempt, plugin, .. } => {
                let suite = self.suite(stage);
                // What an earlier attempt reported is superseded.
                let began = if *attempt > 1 && suite.began > 0 { suite.began } else { event.at };
                *suite = Suite { id: std::mem::take(&mut suite.id), plugin: plugin.clone(), began, ..Suite::default() };
            }
            Kind::Output { stage, stream, bytes } => self.suite(stage).tail.get_or_insert_default().push(*stream, bytes),
            Kind::Findings { stage, findings } => {
                self.suite(stage).findings.extend(findings.iter().filter(|finding| finding.counted).cloned());
            }
            Kind::Tests { stage, tests } => self.suite(stage).tests.extend_from_slice(tests),
            Kind::Measured { stage, name, value, unit } => {
                let measures = &mut self.suite(stage).measures;
                measures.retain(|(known, _, _)| known != name);
                measures.push((name.clone(), *value, unit.clone()));
            }
            Kind::StageFinished { stage, attempt, outcome, nanos, log, .. } => {
                let suite = self.suite(stage);
                (suite.attempt, suite.nanos, suite.log) = (*attempt, *nanos, log.clone());
                if outcome.passed() {
                    (suite.tail, suite.findings) = (None, Vec::new());
                }
                suite.outcome = Some(outcome.clone());
            }
            Kind::ApprovalWaiting { stage, environment, question, .. } => {
                let what = question.as_ref().unwrap_or(environment);
                self.suite(stage).person = Some(Person::Approval(format!("waiting for approval: {what}")));
            }
            Kind::StageSuspended { stage, attempt, effect, subject, message } => {
                let suite = self.suite(stage);
                (suite.attempt, suite.nanos) = (*attempt, event.at.saturating_sub(suite.began));
                suite.person = Some(Person::Decision(format!("in doubt: {effect} {subject}\n{message}")));
            }
            Kind::RunFinished { nanos, verdict } => (self.nanos, self.waits) = (*nanos, *verdict == Verdict::Waiting),
            _ => {}
        }
    }

    fn begun(&self) -> bool {
        !self.suites.is_empty()
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        write(self, out)
    }
}

struct Case {
    class: String,
    name: String,
    nanos: u64,
    end: End,
}

/// A kind, a line and the whole text.
enum End {
    Passed,
    Failure(String, String),
    Error(String, String),
    Skipped(String),
    Flaky(String),
}

impl Suite {
    fn cases(&self, pipeline: &str, waits: bool) -> Vec<Case> {
        let tests = self.tests.iter().map(|test| Case {
            class: if test.suite.is_empty() { self.id.clone() } else { test.suite.clone() },
            name: test.name.clone(),
            nanos: test.nanos,
            end: match test.status {
                TestStatus::Passed => End::Passed,
                TestStatus::Failed => End::Failure("failed".to_owned(), located(test)),
                TestStatus::Errored => End::Error("errored".to_owned(), located(test)),
                TestStatus::Skipped => End::Skipped(test.message.clone()),
                TestStatus::Flaky => End::Flaky(test.message.clone()),
            },
        });
        let findings = self.findings.iter().map(|finding| {
            let place = finding.location.as_ref().map(detail::place).unwrap_or_default();
            let rule = if finding.rule.is_empty() { "finding" } else { &finding.rule };
            let lines = [finding.message.as_str(), place.as_str(), finding.help.as_str(), finding.url.as_str()];
            let text: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            Case {
                class: finding.tool.clone(),
                name: format!("{rule} {place}").trim_end().to_owned(),
                nanos: 0,
                end: End::Failure(detail::severity(finding.severity).1.to_owned(), text.join("\n")),
            }
        });
        let mut cases: Vec<Case> = tests.chain(findings).collect();
        let shown = cases.iter().any(|case| matches!(case.end, End::Failure(..) | End::Error(..)));
        let unexplained = !shown && !self.outcome.as_ref().is_some_and(Outcome::passed);
        if cases.is_empty() || unexplained {
            cases.push(Case { class: pipeline.to_owned(), name: self.id.clone(), nanos: self.nanos, end: self.end(waits) });
        }
        cases
    }

    /// How the stage itself ended.
    fn end(&self, waits: bool) -> End {
        match &self.outcome {
            None if waits => match &self.person {
                Some(Person::Approval(text)) => End::Skipped(text.clone()),
                Some(Person::Decision(text)) => End::Error("in doubt".to_owned(), text.clone()),
                None => End::Skipped("the run waits, and this stage is still to run".to_owned()),
            },
            None => End::Error("unfinished".to_owned(), "the run ended before the stage did".to_owned()),
            Some(Outcome::Passed { .. }) => End::Passed,
            Some(outcome @ Outcome::Failed { kind, message, denial, soft }) => {
                let mut text = detail::tell_attempt(outcome);
                for line in message.trim().lines().skip(1) {
                    text += &format!("\n{line}");
                }
                if let Some(denial) = denial {
                    text += &format!("\n{} {}: {}", denial.effect, denial.subject, denial.reason);
                    if let Some(remedy) = &denial.remedy {
                        text += &format!("\nto allow it, the pipeline file needs:\n{remedy}");
                    }
                }
                match kind {
                    _ if *soft => End::Skipped(text),
                    FailureKind::Failed | FailureKind::Rejected | FailureKind::Busy => End::Failure(detail::word(outcome).to_owned(), text),
                    _ => End::Error(detail::word(outcome).to_owned(), text),
                }
            }
            Some(outcome @ Outcome::Cancelled { .. }) => End::Error("cancelled".to_owned(), detail::tell_attempt(outcome)),
            Some(outcome) => End::Skipped(detail::tell_attempt(outcome)),
        }
    }
}

fn located(test: &TestCase) -> String {
    match &test.location {
        Some(location) => format!("{}\n{}", test.message.trim_end(), detail::place(location)),
        None => test.message.clone(),
    }
}

/// Sums of a suite, or of all.
#[derive(Default, Clone, Copy)]
struct Sums {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

fn sums(cases: &[Case]) -> Sums {
    let count = |wanted: fn(&End) -> bool| cases.iter().filter(|case| wanted(&case.end)).count();
    Sums {
        tests: cases.len(),
        failures: count(|end| matches!(end, End::Failure(..))),
        errors: count(|end| matches!(end, End::Error(..))),
        skipped: count(|end| matches!(end, End::Skipped(_))),
    }
}

fn write(state: &Suites, out: &mut dyn Write) -> std::io::Result<()> {
    let reported = state.suites.iter().filter(|suite| !matches!(suite.outcome, Some(Outcome::Skipped { why: Blocked::NotSelected })));
    let suites: Vec<(&Suite, Vec<Case>)> = reported.map(|suite| (suite, suite.cases(&state.pipeline, state.waits))).collect();
    let all = suites.iter().map(|(_, cases)| sums(cases)).fold(Sums::default(), |all, sums| Sums {
        tests: all.tests + sums.tests,
        failures: all.failures + sums.failures,
        errors: all.errors + sums.errors,
        skipped: all.skipped + sums.skipped,
    });
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 2);
    xml.write_event(Xml::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites")
        .with_attribute(("name", valid(&state.pipeline).as_str()))
        .with_attribute(("time", seconds(state.nanos).as_str()))
        .with_attribute(("tests", all.tests.to_string().as_str()))
        .with_attribute(("failures", all.failures.to_string().as_str()))
        .with_attribute(("errors", all.errors.to_string().as_str()))
        .write_inner_content(|xml| suites.iter().try_for_each(|(suite, cases)| write_suite(&state.run, suite, cases, xml)))?;
    out.write_all(b"\n")
}

type Out<'a, 'b> = Writer<&'a mut (dyn Write + 'b)>;

fn write_suite(run: &str, suite: &Suite, cases: &[Case], xml: &mut Out<'_, '_>) -> std::io::Result<()> {
    let sums = sums(cases);
    let (tests, failures, errors, skipped) =
        (sums.tests.to_string(), sums.failures.to_string(), sums.errors.to_string(), sums.skipped.to_string());
    let (id, time, timestamp) = (valid(&suite.id), seconds(suite.nanos), timestamp(suite.began));
    let mut element = xml.create_element("testsuite").with_attributes([
        ("name", id.as_str()),
        ("tests", tests.as_str()),
        ("failures", failures.as_str()),
        ("errors", errors.as_str()),
        ("skipped", skipped.as_str()),
        ("time", time.as_str()),
    ]);
    if suite.began > 0 {
        element = element.with_attribute(("timestamp", timestamp.as_str()));
    }
    element.write_inner_content(|xml| {
        let mut properties = vec![("run".to_owned(), run.to_owned())];
        if !suite.plugin.is_empty() {
            properties.push(("plugin".to_owned(), suite.plugin.clone()));
        }
        if suite.attempt > 1 {
            properties.push(("attempts".to_owned(), suite.attempt.to_string()));
        }
        properties.extend(suite.measures.iter().map(|(name, value, unit)| (name.clone(), format!("{value} {unit}").trim_end().to_owned())));
        if !suite.log.is_empty() {
            properties.push(("log".to_owned(), suite.log.clone()));
        }
        xml.create_element("properties").write_inner_content(|xml| {
            properties.iter().try_for_each(|(name, value)| {
                let property = xml.create_element("property").with_attribute(("name", valid(name).as_str()));
                property.with_attribute(("value", valid(value).as_str())).write_empty().map(drop)
            })
        })?;
        cases.iter().try_for_each(|case| write_case(case, xml))?;
        let tail = suite.tail.as_ref().map(|tail| tail.last(LOG_LINES)).unwrap_or_default();
        if !tail.is_empty() {
            let text: Vec<String> = tail.into_iter().map(sanitize::log_line).collect();
            xml.create_element("system-out").write_text_content(BytesText::new(&valid(&text.join("\n"))))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_case(case: &Case, xml: &mut Out<'_, '_>) -> std::io::Result<()> {
    let (class, name, time) = (valid(&case.class), valid(&case.name), seconds(case.nanos));
    let element =
        xml.create_element("testcase").with_attributes([("classname", class.as_str()), ("name", name.as_str()), ("time", time.as_str())]);
    let (tag, kind, text) = match &case.end {
        End::Passed => return element.write_empty().map(drop),
        End::Failure(kind, text) => ("failure", Some(kind.as_str()), text),
        End::Error(kind, text) => ("error", Some(kind.as_str()), text),
        End::Skipped(text) => ("skipped", None, text),
        End::Flaky(text) => ("flakyFailure", Some("flaky"), text),
    };
    element.write_inner_content(|xml| {
        let text = valid(&sanitize::lines(text));
        let mut lines = text.lines();
        let mut element = xml.create_element(tag);
        let message = lines.next().unwrap_or_default().to_owned();
        if !message.is_empty() {
            element = element.with_attribute(("message", message.as_str()));
        }
        if let Some(kind) = kind {
            element = element.with_attribute(("type", kind));
        }
        // One line is in the attribute already.
        if lines.next().is_none() { element.write_empty() } else { element.write_text_content(BytesText::new(&text)) }.map(drop)
    })?;
    Ok(())
}

/// Text with nothing that XML 1.0 forbids (section 2.2, `Char`).
fn valid(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// `12.345`: the form that Surefire's schema has for times.
fn seconds(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// `2026-01-31T12:00:00Z`.
fn timestamp(nanos: u64) -> String {
    let second = i64::try_from(nanos / 1_000_000_000).unwrap_or_default();
    jiff::Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
