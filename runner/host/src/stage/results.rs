//! The host functions of `runner:stage`: log messages, findings, test cases, measures, outputs, progress.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use capability::{Room, StageState, TrapLimit};
use event::{Finding, Kind, Location, Severity, TestCase, TestStatus};
use wasmtime::Result;

use super::bindings::runner::boundary::types as boundary_types;
use super::bindings::runner::stage::{log, outputs, progress, report, types};
use crate::wasi::write_log;

/// Findings and test cases of one attempt, in bytes of text: they live in memory until the run ends.
const REPORT_LIMIT: u64 = 64 << 20;
/// The longest output name.
const NAME: usize = 64;

/// What an attempt has said so far.
#[derive(Default)]
pub struct ResultsRoom {
    pub outputs: BTreeMap<String, String>,
    reported: u64,
}

impl Room for ResultsRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}

impl types::Host for StageState {}
impl boundary_types::Host for StageState {}

impl log::Host for StageState {
    fn log(&mut self, level: log::Level, message: String) -> Result<()> {
        let prefix = match level {
            log::Level::Debug => "debug: ",
            log::Level::Info => "",
            log::Level::Warn => "warning: ",
            log::Level::Error => "error: ",
        };
        let mut text = String::with_capacity(prefix.len() + message.len() + 1);
        text.push_str(prefix);
        text.push_str(message.trim_end_matches('\n'));
        text.push('\n');
        write_log(&self.setting.log, text.as_bytes())
    }
}

impl report::Host for StageState {
    fn add_findings(&mut self, findings: Vec<report::Finding>) -> Result<()> {
        let bytes = findings.iter().map(|f| f.message.len() + f.help.len() + f.rule.len() + f.url.len() + 64).sum::<usize>();
        count(self, bytes)?;
        let findings = findings.into_iter().map(finding).collect();
        self.boundary.emit(Kind::Findings { stage: self.setting.stage.clone(), findings });
        Ok(())
    }

    fn add_tests(&mut self, tests: Vec<report::TestCase>) -> Result<()> {
        let bytes = tests.iter().map(|t| t.message.len() + t.name.len() + t.suite.len() + 64).sum::<usize>();
        count(self, bytes)?;
        let tests = tests.into_iter().map(test_case).collect();
        self.boundary.emit(Kind::Tests { stage: self.setting.stage.clone(), tests });
        Ok(())
    }

    fn measure(&mut self, name: String, value: f64, unit: String) -> Result<()> {
        count(self, name.len() + unit.len() + 64)?;
        self.boundary.emit(Kind::Measured { stage: self.setting.stage.clone(), name, value, unit });
        Ok(())
    }
}

fn count(state: &mut StageState, bytes: usize) -> Result<()> {
    let room = state.room::<ResultsRoom>();
    room.reported += bytes as u64;
    if room.reported > REPORT_LIMIT {
        let limit = format!("{} MiB", REPORT_LIMIT >> 20);
        return Err(wasmtime::Error::new(TrapLimit {
            what: "the text of the stage's findings and test cases",
            limit,
            remedy: "report less",
        }));
    }
    Ok(())
}

fn finding(from: report::Finding) -> Finding {
    Finding {
        severity: match from.severity {
            report::Severity::Info => Severity::Info,
            report::Severity::Low => Severity::Low,
            report::Severity::Medium => Severity::Medium,
            report::Severity::High => Severity::High,
            report::Severity::Critical => Severity::Critical,
        },
        tool: from.tool,
        rule: from.rule,
        message: from.message,
        location: from.location.map(location),
        help: from.help,
        url: from.url,
        counted: from.counted,
    }
}

fn location(from: report::Location) -> Location {
    Location { path: from.path, line: from.line, column: from.column, end_line: from.end_line, end_column: from.end_column }
}

fn test_case(from: report::TestCase) -> TestCase {
    TestCase {
        suite: from.suite,
        name: from.name,
        status: match from.status {
            report::TestStatus::Passed => TestStatus::Passed,
            report::TestStatus::Failed => TestStatus::Failed,
            report::TestStatus::Errored => TestStatus::Errored,
            report::TestStatus::Skipped => TestStatus::Skipped,
            report::TestStatus::Flaky => TestStatus::Flaky,
        },
        nanos: from.duration,
        message: from.message,
        location: from.location.map(location),
    }
}

impl outputs::Host for StageState {
    fn set(&mut self, name: String, value: String) -> Result<std::result::Result<(), outputs::Error>> {
        let good = name.len() <= NAME
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !good {
            return Ok(Err(outputs::Error::BadName(name)));
        }
        let limit = self.setting.limits.outputs;
        let room = self.room::<ResultsRoom>();
        let others = room.outputs.iter().filter(|(k, _)| **k != name).map(|(k, v)| k.len() + v.len()).sum::<usize>();
        if (others + name.len() + value.len()) as u64 > limit {
            return Ok(Err(outputs::Error::TooLarge(limit)));
        }
        room.outputs.insert(name, value);
        Ok(Ok(()))
    }
}

impl progress::Host for StageState {
    fn update(&mut self, done: u64, total: u64, message: String) -> Result<()> {
        self.boundary.emit(Kind::Progress { stage: self.setting.stage.clone(), done, total, message });
        Ok(())
    }
}
