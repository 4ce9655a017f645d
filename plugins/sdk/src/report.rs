//! Results as data, for the summary, JUnit, JSON and SARIF.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bindings::runner::stage::report as wit;

/// How grave a finding is, least first: `Severity::High >= Severity::Medium`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[allow(missing_docs)]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

/// A place in a file of the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Relative to the workspace, with `/`.
    pub path: String,
    /// 1-based; 0 if the finding is about the file.
    pub line: u32,
    /// 1-based, counted in Unicode scalar values; 0 if the finding is about the line.
    pub column: u32,
    /// Inclusive last line; 0 if it is the same line.
    pub end_line: u32,
    /// Exclusive last column; 0 if not known.
    pub end_column: u32,
}

impl Location {
    /// A whole file.
    pub fn file(path: impl Into<String>) -> Location {
        Location { path: path.into(), ..Location::default() }
    }

    /// A line of a file, 1-based.
    pub fn line(path: impl Into<String>, line: u32) -> Location {
        Location { path: path.into(), line, ..Location::default() }
    }
}

/// Something that a tool found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// The tool that found it: `eslint`, `clippy`, `osv`.
    pub tool: String,
    /// The tool's name for what it found: `no-unused-vars`, `GHSA-….`; empty if it has none.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// Where, if it is about a file.
    pub location: Option<Location>,
    /// How to mend it, where the tool says; empty if it does not.
    pub help: String,
    /// A page about the rule; empty if there is none.
    pub url: String,
    /// Whether it counts against the stage. A baseline or an ignore rule makes it false; it is then shown, not counted.
    pub counted: bool,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TestStatus {
    /// As it should.
    Passed,
    /// The answer is no.
    Failed,
    /// Could not be run to its end: a crash, a time-out, a broken suite.
    Errored,
    /// Not run on purpose.
    Skipped,
    /// Failed at first and passed when it was run again.
    Flaky,
}

/// One test and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// The suite, as the report groups them.
    pub suite: String,
    /// The test's name, unique within its suite.
    pub name: String,
    /// How it ended.
    pub status: TestStatus,
    /// How long it took; zero if the tool does not say.
    pub duration: Duration,
    /// Why it failed or was skipped, and its output; empty if there is nothing to say.
    pub message: String,
    /// Where it stands, if the tool says.
    pub location: Option<Location>,
}

/// Adds findings, in the order in which they should be shown.
pub fn add_findings(findings: impl IntoIterator<Item = Finding>) {
    crate::inside("report");
    in_batches(findings.into_iter().map(wit::Finding::from), |finding| finding.message.len() + finding.help.len(), wit::add_findings);
}

/// Adds test cases.
pub fn add_tests(tests: impl IntoIterator<Item = TestCase>) {
    crate::inside("report");
    in_batches(tests.into_iter().map(wit::TestCase::from), |test| test.message.len(), wit::add_tests);
}

/// One number that describes the run, such as `coverage.lines` 87.5 `%`. The last value given for a name stands.
pub fn measure(name: &str, value: f64, unit: &str) {
    crate::inside("report");
    wit::measure(name, value, unit);
}

/// The host bounds what one call may carry, so that long reports go over in several: 200 items or about 512 KiB of text each.
fn in_batches<T>(items: impl IntoIterator<Item = T>, text: impl Fn(&T) -> usize, send: impl Fn(&[T])) {
    let mut batch = Vec::new();
    let mut size = 0;
    for item in items {
        size += text(&item);
        batch.push(item);
        if batch.len() == 200 || size > 512 * 1024 {
            send(&batch);
            batch.clear();
            size = 0;
        }
    }
    if !batch.is_empty() {
        send(&batch);
    }
}

/// A call's text is bounded too: a test's output of megabytes belongs in the log, its end in the report.
const LONGEST_MESSAGE: usize = 64 * 1024;

fn shortened(text: String) -> String {
    if text.len() <= LONGEST_MESSAGE {
        return text;
    }
    let start = (text.len() - LONGEST_MESSAGE..).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    format!("[… {start} bytes left out]\n{}", &text[start..])
}

impl From<Location> for wit::Location {
    fn from(Location { path, line, column, end_line, end_column }: Location) -> wit::Location {
        wit::Location { path, line, column, end_line, end_column }
    }
}

impl From<Finding> for wit::Finding {
    fn from(finding: Finding) -> wit::Finding {
        wit::Finding {
            severity: match finding.severity {
                Severity::Info => wit::Severity::Info,
                Severity::Low => wit::Severity::Low,
                Severity::Medium => wit::Severity::Medium,
                Severity::High => wit::Severity::High,
                Severity::Critical => wit::Severity::Critical,
            },
            tool: finding.tool,
            rule: finding.rule,
            message: shortened(finding.message),
            location: finding.location.map(Into::into),
            help: shortened(finding.help),
            url: finding.url,
            counted: finding.counted,
        }
    }
}

impl From<TestCase> for wit::TestCase {
    fn from(test: TestCase) -> wit::TestCase {
        wit::TestCase {
            suite: test.suite,
            name: test.name,
            status: match test.status {
                TestStatus::Passed => wit::TestStatus::Passed,
                TestStatus::Failed => wit::TestStatus::Failed,
                TestStatus::Errored => wit::TestStatus::Errored,
                TestStatus::Skipped => wit::TestStatus::Skipped,
                TestStatus::Flaky => wit::TestStatus::Flaky,
            },
            duration: u64::try_from(test.duration.as_nanos()).unwrap_or(u64::MAX),
            message: shortened(test.message),
            location: test.location.map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn every_item_goes_over_once_and_in_order() {
        let batches = |items: Vec<usize>| {
            let sent: RefCell<Vec<Vec<usize>>> = RefCell::default();
            in_batches(items.clone(), |size| *size, |batch| sent.borrow_mut().push(batch.to_vec()));
            let sent = sent.into_inner();
            assert_eq!(sent.concat(), items);
            sent.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(batches((0..450).collect()), [200, 200, 50]);
        assert_eq!(batches(vec![300 * 1024; 5]), [2, 2, 1], "long messages fill a call sooner");
        assert_eq!(batches(vec![]), [0; 0]);
    }

    #[test]
    fn a_long_message_keeps_its_end_and_whole_characters() {
        let text = format!("{}end", "ü".repeat(LONGEST_MESSAGE));
        let short = shortened(text.clone());
        assert!(short.starts_with("[… ") && short.ends_with("üend"), "{}…", &short[..40]);
        assert!(short.len() <= LONGEST_MESSAGE + 40);
        assert_eq!(shortened("as it is".into()), "as it is");
    }

    #[test]
    fn severities_are_ordered_by_gravity() {
        assert!(Severity::Critical > Severity::High && Severity::Low > Severity::Info);
        assert_eq!(serde_json::from_str::<Severity>("\"medium\"").unwrap(), Severity::Medium);
    }
}
