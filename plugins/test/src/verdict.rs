//! What the stage answers: which suites are believed, and in one line why it passed or not.

use runner_programs::ReadError;
use runner_sdk::commands::Exit;
use runner_sdk::report::TestStatus;
use runner_sdk::{Failure, Outcome};

use crate::case::{Case, Reading};
use crate::format::Format;

/// Failing tests that the one line names.
const NAMED: usize = 3;

/// How many tests ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub errored: usize,
    pub skipped: usize,
    pub flaky: usize,
}

impl Counts {
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Self {
        let mut counts = Self::default();
        for case in cases {
            *match case.status {
                TestStatus::Passed => &mut counts.passed,
                TestStatus::Failed => &mut counts.failed,
                TestStatus::Errored => &mut counts.errored,
                TestStatus::Skipped => &mut counts.skipped,
                TestStatus::Flaky => &mut counts.flaky,
            } += 1;
        }
        counts
    }

    /// Those that did run.
    pub fn ran(self) -> usize {
        self.passed + self.failed + self.errored + self.flaky
    }

    pub fn failing(self) -> usize {
        self.failed + self.errored
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            errored: self.errored + other.errored,
            skipped: self.skipped + other.skipped,
            flaky: self.flaky + other.flaky,
        }
    }

    /// `211 passed, 1 failed, 3 skipped`: what there is none of is left out, but for the passed.
    pub fn words(self) -> String {
        let rest = [(self.failed, "failed"), (self.errored, "errored"), (self.skipped, "skipped"), (self.flaky, "flaky")];
        let rest = rest.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}"));
        format!("{} passed{}", self.passed, rest.collect::<String>())
    }
}

/// All that a suite's verdict hangs on.
pub struct Ran<'a> {
    pub label: &'a str,
    pub format: Format,
    pub exit: &'a Exit,
    /// What was read: `stdout`, `target/junit.xml`.
    pub output: &'a str,
    pub reading: &'a Result<Reading, ReadError>,
    /// The last line of its standard error, or empty.
    pub last: &'a str,
    /// How the last re-run of what failed ended; none if there was none.
    pub again: Option<&'a Exit>,
    pub min_tests: u32,
}

/// What is wrong with a suite.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It could not be run to its end.
    Errored(String),
    /// The answer is no.
    Failed(String),
}

/// None if the suite passed.
pub fn judge(ran: &Ran<'_>) -> Option<Wrong> {
    let Ran { label, exit, .. } = ran;
    let last = if ran.last.is_empty() { String::new() } else { format!(": {}", ran.last) };
    let errored = |text: String| Some(Wrong::Errored(text));
    if exit.timed_out {
        return errored(format!("{label}: {exit}"));
    }
    let reading = match ran.reading {
        Ok(reading) => reading,
        Err(error) => {
            let reads = if error.is_about_the_format() { format!("; {}", ran.format.reads()) } else { String::new() };
            let crashed = exit.code.is_none_or(|code| !ran.format.fails_with().contains(&code)) && !matches!(error, ReadError::Io(_));
            return errored(match exit.success() {
                true => format!("{label}: {} {error}{reads}", ran.output),
                // the crash is the reason, the unreadable output only its trace
                false if crashed => format!("{label}: {exit}{last}"),
                false => format!("{label}: {exit}, and {} {error}{reads}{last}", ran.output),
            });
        }
    };
    let counts = Counts::of(&reading.cases);
    if !reading.trouble.is_empty() {
        return errored(format!("{label}: {}", reading.trouble.join("; ")));
    }
    if exit.code.is_none() {
        return errored(format!("{label}: {exit} after {}{last}", counts.words()));
    }
    if counts.failing() > 0 {
        let names: Vec<String> = reading.cases.iter().filter(|case| case.failed()).take(NAMED).map(Case::full_name).collect();
        let more = if counts.failing() > NAMED { ", …" } else { "" };
        return Some(Wrong::Failed(format!("{label}: {} of {} failed: {}{more}", counts.failing(), tests(counts.ran()), names.join(", "))));
    }
    if !exit.success() {
        // a suite whose failures all passed when they were run again is excused, if nothing but them was wrong
        match ran.again {
            Some(_) if reading.partial => {
                return Some(Wrong::Failed(format!(
                    "{label}: stopped at the first failing binary, and the others never ran: add --no-fail-fast"
                )));
            }
            Some(again) if again.success() => {}
            Some(again) => return errored(format!("{label}: {again} when what failed was run again, though no test failed then")),
            None if reading.cases.is_empty() => return errored(format!("{label}: {exit}, and no test ran{last}")),
            None => return errored(format!("{label}: {exit}, though no test failed ({}){last}", counts.words())),
        }
    }
    if counts.ran() < ran.min_tests as usize {
        let skipped = if counts.skipped > 0 { format!(" ({} skipped)", counts.skipped) } else { String::new() };
        let least = ran.min_tests;
        return Some(Wrong::Failed(format!("{label}: {} ran{skipped}, fewer than `min-tests` = {least}", tests(counts.ran()))));
    }
    None
}

/// The stage's answer. `total` is of all suites; `coverage` is what it says about coverage, and what thresholds are missed.
pub fn decide(total: Counts, suites: usize, wrong: Vec<Wrong>, coverage: Option<&str>, missed: &[String]) -> Result<Outcome, Failure> {
    let (mut errored, mut failed) = (Vec::new(), Vec::new());
    // the answer is one line, and a test's name may not be
    let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for wrong in wrong {
        match wrong {
            Wrong::Errored(text) => errored.push(line(text)),
            Wrong::Failed(text) => failed.push(line(text)),
        }
    }
    if !missed.is_empty() {
        failed.push(format!("coverage: {}", missed.join(", ")));
    }
    if !errored.is_empty() {
        errored.extend(failed);
        return Err(Failure::errored(errored.join("; ")));
    }
    if !failed.is_empty() {
        return Err(Failure::failed(failed.join("; ")));
    }
    let of = if suites > 1 { format!(" in {suites} suites") } else { String::new() };
    let covered = coverage.map(|coverage| format!("; coverage: {coverage}")).unwrap_or_default();
    Ok(Outcome::new(format!("{}{of}{covered}", total.words())))
}

fn tests(number: usize) -> String {
    format!("{number} test{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn exit(code: u32) -> Exit {
        Exit { code: Some(code), signal: None, timed_out: false, duration: Duration::from_secs(1), stdout: None, stderr: None }
    }

    fn cases(statuses: &[TestStatus]) -> Result<Reading, ReadError> {
        let cases = statuses.iter().map(|status| Case::new("", "t", *status)).collect();
        Ok(Reading { cases, ..Reading::default() })
    }

    fn judged(exit: &Exit, reading: &Result<Reading, ReadError>, again: Option<&Exit>) -> Option<Wrong> {
        judge(&Ran { label: "unit", format: Format::Junit, exit, output: "stdout", reading, last: "Oops", again, min_tests: 1 })
    }

    #[test]
    fn every_way_in_which_a_suite_can_end() {
        use TestStatus::{Errored, Failed, Flaky, Passed, Skipped};
        let cut_off = || Err(ReadError::CutOff { place: "line 3".into(), reason: "EOF".into() });
        let trouble = || Ok(Reading { trouble: vec!["`shop`: its process died".into()], ..cases(&[Passed]).unwrap() });
        let partial = || Ok(Reading { partial: true, ..cases(&[Flaky]).unwrap() });
        let timed_out = Exit { timed_out: true, code: None, signal: Some(15), duration: Duration::from_secs(30), ..exit(0) };
        let killed = Exit { code: None, signal: Some(9), ..exit(0) };
        let errored = |text: &str| Some(Wrong::Errored(text.to_owned()));
        let failed = |text: &str| Some(Wrong::Failed(text.to_owned()));
        let (ok, bad) = (exit(0), exit(1));
        let table = [
            (exit(0), cases(&[Passed, Skipped]), None, None),
            (exit(1), cases(&[Passed, Failed, Errored]), None, failed("unit: 2 of 3 tests failed: t, t")),
            // a script that swallows the exit code
            (exit(0), cases(&[Passed, Failed]), None, failed("unit: 1 of 2 tests failed: t")),
            (exit(101), cases(&[Passed]), None, errored("unit: exit code 101, though no test failed (1 passed): Oops")),
            (exit(1), cases(&[Failed; 4]), None, failed("unit: 4 of 4 tests failed: t, t, t, …")),
            (exit(101), cases(&[]), None, errored("unit: exit code 101, and no test ran: Oops")),
            (exit(0), cases(&[]), None, failed("unit: 0 tests ran, fewer than `min-tests` = 1")),
            (exit(0), cases(&[Skipped]), None, failed("unit: 0 tests ran (1 skipped), fewer than `min-tests` = 1")),
            (exit(0), cut_off(), None, errored("unit: stdout is cut off at line 3: EOF; format `junit` reads JUnit's XML")),
            (
                exit(1),
                cut_off(),
                None,
                errored("unit: exit code 1, and stdout is cut off at line 3: EOF; format `junit` reads JUnit's XML: Oops"),
            ),
            (exit(2), cut_off(), None, errored("unit: exit code 2: Oops")),
            (exit(0), trouble(), None, errored("unit: `shop`: its process died")),
            (timed_out, cases(&[Passed]), None, errored("unit: timed out after 30s")),
            (killed, cases(&[Passed]), None, errored("unit: killed by SIGKILL after 1 passed: Oops")),
            (exit(1), cases(&[Passed, Flaky]), Some(&ok), None),
            (
                exit(1),
                cases(&[Passed, Flaky]),
                Some(&bad),
                errored("unit: exit code 1 when what failed was run again, though no test failed then"),
            ),
            (
                exit(1),
                partial(),
                Some(&ok),
                failed("unit: stopped at the first failing binary, and the others never ran: add --no-fail-fast"),
            ),
            // the runner's own re-runs
            (exit(0), cases(&[Flaky]), None, None),
        ];
        for (exit, reading, again, expected) in table {
            assert_eq!(judged(&exit, &reading, again), expected);
        }
    }

    #[test]
    fn one_line_says_why() {
        let total = Counts { passed: 211, skipped: 3, flaky: 1, ..Counts::default() };
        let answer =
            |suites, wrong, coverage, missed: &[String]| decide(total, suites, wrong, coverage, missed).map(|outcome| outcome.summary);
        assert_eq!(answer(1, vec![Wrong::Failed("a: multi\nline".into())], None, &[]), Err(Failure::failed("a: multi line")));
        assert_eq!(answer(1, vec![], None, &[]), Ok("211 passed, 3 skipped, 1 flaky".into()));
        assert_eq!(
            answer(2, vec![], Some("lines 81.2 %"), &[]),
            Ok("211 passed, 3 skipped, 1 flaky in 2 suites; coverage: lines 81.2 %".into())
        );
        assert_eq!(
            answer(2, vec![Wrong::Failed("a: 1 of 2 tests failed".into())], None, &["lines 70 %, below 80 %".into()]),
            Err(Failure::failed("a: 1 of 2 tests failed; coverage: lines 70 %, below 80 %"))
        );
        assert_eq!(
            answer(2, vec![Wrong::Failed("a: 1 of 2 tests failed".into()), Wrong::Errored("b: exit code 2".into())], None, &[]),
            Err(Failure::errored("b: exit code 2; a: 1 of 2 tests failed"))
        );
    }
}
