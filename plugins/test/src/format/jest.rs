//! `jest --json`: one document with a result for each test file, written when all have run. The format is `FormattedTestResults` in
//! `packages/jest-test-result/src/types.ts` of Jest's repository; Vitest's `json` reporter writes the same.

use std::io::BufRead;
use std::time::Duration;

use runner_programs::{ReadError, ansi, json};
use runner_sdk::report::{Location, TestStatus};
use serde::Deserialize;

use super::not_too_many;
use crate::case::{Case, Reading, shortened};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    num_total_tests: u64,
    test_results: Vec<File>,
    #[serde(default)]
    was_interrupted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: String,
    status: String,
    #[serde(default)]
    message: String,
    assertion_results: Vec<Assertion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    ancestor_titles: Vec<String>,
    title: String,
    status: String,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    failure_messages: Option<Vec<String>>,
    /// How often it was run, `jest.retryTimes` included.
    #[serde(default)]
    invocations: Option<u32>,
    /// Why it was run again.
    #[serde(default)]
    retry_reasons: Option<Vec<String>>,
    #[serde(default)]
    location: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    line: u32,
    #[serde(default)]
    column: u32,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let report: Report = json::document(input)?;
    let mut reading = Reading::default();
    let mut seen = 0;
    for file in report.test_results {
        seen += file.assertion_results.len() as u64;
        not_too_many(reading.cases.len(), || file.name.clone())?;
        read_file(file, &mut reading.cases);
    }
    if report.was_interrupted {
        reading.trouble.push("it was interrupted".into());
    }
    if seen != report.num_total_tests {
        reading.trouble.push(format!("the total is of {} tests, and {seen} were reported", report.num_total_tests));
    }
    Ok(reading)
}

fn read_file(file: File, cases: &mut Vec<Case>) {
    let group = file.name.rsplit(['/', '\\']).next().unwrap_or(&file.name).to_owned();
    let failed = file.assertion_results.iter().any(|assertion| assertion.status == "failed");
    for assertion in file.assertion_results {
        let mut case = case(assertion, &group, &file.name);
        case.file = file.name.clone();
        cases.push(case);
    }
    // a file that cannot be loaded, or whose last hook failed, has failed though no test of it has
    if file.status == "failed" && !failed {
        let mut case = Case::new("", group, TestStatus::Errored).with_message(ansi::strip(&file.message));
        case.location = Some(Location::line(file.name.clone(), 0));
        case.file = file.name;
        cases.push(case);
    }
}

fn case(assertion: Assertion, group: &str, path: &str) -> Case {
    let again = assertion.invocations.is_some_and(|times| times > 1);
    let status = match assertion.status.as_str() {
        "passed" | "focused" if again => TestStatus::Flaky,
        "passed" | "focused" => TestStatus::Passed,
        "failed" => TestStatus::Failed,
        // `pending` is Jest's word for what it skipped
        "pending" | "skipped" | "disabled" | "todo" => TestStatus::Skipped,
        _ => TestStatus::Errored,
    };
    let words = match status {
        TestStatus::Flaky => assertion.retry_reasons,
        TestStatus::Errored => Some(vec![format!("its status is `{}`, which is none that is known", assertion.status)]),
        _ if assertion.status == "todo" => Some(vec!["todo".into()]),
        _ => assertion.failure_messages,
    };
    let mut case = Case::new(group, "", status);
    case.parts = assertion.ancestor_titles;
    case.parts.push(assertion.title);
    case.message = shortened(&ansi::strip(&words.unwrap_or_default().join("\n\n")));
    if let Some(millis) = assertion.duration.filter(|millis| millis.is_finite() && *millis > 0.0) {
        case.took = Duration::from_secs_f64((millis / 1000.0).min(31_536_000.0));
    }
    let position = assertion.location.unwrap_or(Position { line: 0, column: 0 });
    case.location = Some(Location { path: path.to_owned(), line: position.line, column: position.column, ..Location::default() });
    case
}
