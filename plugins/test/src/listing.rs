//! What people read in the log at the end: a line a suite, what failed and why, what was flaky, and what was slow.

use std::time::Duration;

use runner_sdk::report::TestStatus;

use crate::case::Case;
use crate::verdict::Counts;

/// Failing tests that are explained in the log; all of them are in the reports.
const EXPLAINED: usize = 50;

/// Lines of one test's message.
const LINES: usize = 20;

/// One suite, for the list.
pub struct Suite<'a> {
    pub label: &'a str,
    pub took: Duration,
    pub cases: &'a [Case],
}

/// `cargo test  211 passed, 3 skipped  12.3 s`, in columns.
pub fn counts(suites: &[Suite<'_>]) -> Vec<String> {
    let rows: Vec<(&str, String, String)> =
        suites.iter().map(|suite| (suite.label, Counts::of(suite.cases).words(), seconds(suite.took))).collect();
    let width = |column: &dyn Fn(&(&str, String, String)) -> usize| rows.iter().map(column).max().unwrap_or(0);
    let (labels, words) = (width(&|row| row.0.chars().count()), width(&|row| row.1.chars().count()));
    rows.iter().map(|(label, counts, took)| format!("{label:<labels$}  {counts:<words$}  {took:>9}")).collect()
}

/// What failed, each with its place and the beginning of its message.
pub fn failures(suites: &[Suite<'_>]) -> Vec<String> {
    let failed: Vec<(&str, &Case)> = of_all(suites).filter(|(_, case)| case.failed()).collect();
    let mut entries: Vec<String> = failed.iter().take(EXPLAINED).map(|(label, case)| failure(label, case)).collect();
    if failed.len() > EXPLAINED {
        entries.push(format!("… and {} more, all of them in the reports", failed.len() - EXPLAINED));
    }
    entries
}

fn failure(label: &str, case: &Case) -> String {
    let word = if case.status == TestStatus::Errored { "ERRORED" } else { "FAILED" };
    let place = match &case.location {
        Some(location) if location.line > 0 => format!("  {}:{}", location.path, location.line),
        Some(location) => format!("  {}", location.path),
        None => String::new(),
    };
    let mut text = format!("{word}  {label}: {}{place}", case.full_name());
    let lines: Vec<&str> = case.message.lines().filter(|line| !line.trim().is_empty()).collect();
    for line in lines.iter().take(LINES) {
        text.push_str(&format!("\n    {}", line.trim_end()));
    }
    if lines.len() > LINES {
        text.push_str(&format!("\n    … {} more", lines.len() - LINES));
    }
    text
}

/// What failed at first and passed then.
pub fn flaky(suites: &[Suite<'_>]) -> Vec<String> {
    let flaky = of_all(suites).filter(|(_, case)| case.status == TestStatus::Flaky);
    flaky.map(|(label, case)| format!("FLAKY   {label}: {}", case.full_name())).collect()
}

/// The slowest tests of all suites, where the suites say how long each took.
pub fn slowest(suites: &[Suite<'_>], most: usize) -> Vec<String> {
    let mut cases: Vec<(&str, &Case)> = of_all(suites).filter(|(_, case)| case.took >= Duration::from_millis(1)).collect();
    cases.sort_by(|(_, a), (_, b)| b.took.cmp(&a.took).then_with(|| a.parts.cmp(&b.parts)));
    cases.truncate(most);
    cases.iter().map(|(label, case)| format!("{:>9}  {label}: {}", seconds(case.took), case.full_name())).collect()
}

fn of_all<'a>(suites: &'a [Suite<'a>]) -> impl Iterator<Item = (&'a str, &'a Case)> {
    suites.iter().flat_map(|suite| suite.cases.iter().map(|case| (suite.label, case)))
}

fn seconds(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds >= 100.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} ms", seconds * 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner_sdk::report::Location;

    fn case(name: &str, status: TestStatus, millis: u64) -> Case {
        let mut case = Case::new("", name, status);
        case.took = Duration::from_millis(millis);
        case
    }

    #[test]
    fn the_end_of_a_log() {
        let mut failed = case("wrong sum", TestStatus::Failed, 12).with_message("the sum is off\n\n  left: 6\n right: 7\n");
        failed.location = Some(Location::line("src/lib.rs", 45));
        let backend = [case("adds", TestStatus::Passed, 1250), failed, case("waits", TestStatus::Flaky, 150_000)];
        let web = [case("shows", TestStatus::Passed, 0), case("later", TestStatus::Skipped, 0)];
        let suites = [
            Suite { label: "backend", took: Duration::from_millis(12_340), cases: &backend },
            Suite { label: "web", took: Duration::from_millis(340), cases: &web },
        ];
        assert_eq!(counts(&suites), ["backend  1 passed, 1 failed, 1 flaky     12.3 s", "web      1 passed, 1 skipped             340 ms"]);
        assert_eq!(failures(&suites), ["FAILED  backend: wrong sum  src/lib.rs:45\n    the sum is off\n      left: 6\n     right: 7"]);
        assert_eq!(flaky(&suites), ["FLAKY   backend: waits"]);
        assert_eq!(slowest(&suites, 2), ["    150 s  backend: waits", "    1.2 s  backend: adds"]);
    }
}
