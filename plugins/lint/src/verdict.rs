//! What the stage answers: which tools are believed, which findings count, and in one line why.

use runner_programs::ReadError;
use runner_sdk::commands::Exit;
use runner_sdk::report::Severity;
use runner_sdk::{Failure, Outcome};

use crate::finding::{Finding, SEVERITIES, word};
use crate::format::{Format, Reading};

/// One tool's answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub findings: Vec<Finding>,
    /// The tool did not do its work: the stage is errored, whatever else was found.
    pub error: Option<String>,
    /// The tool ended in an unexpected way, but what it found is readable: the stage may fail because of the findings, but not
    /// pass without a word.
    pub doubt: Option<String>,
}

/// How a tool ended, next to what was read of its output. `output` names what was read: `stdout`, `out.sarif`. `last` is the
/// last line that the tool wrote to its standard error, or empty.
pub struct Ended<'a> {
    pub label: &'a str,
    pub format: Format,
    pub exit: &'a Exit,
    pub ok_exit: &'a [u32],
    pub output: &'a str,
    pub last: &'a str,
}

/// Decides whether a tool did its work.
pub fn judge(ended: &Ended<'_>, reading: Result<Reading, ReadError>) -> Answer {
    let Ended { label, exit, .. } = ended;
    let last = if ended.last.is_empty() { String::new() } else { format!(": {}", ended.last) };
    let mut code_ok = !exit.timed_out && exit.code.is_some_and(|code| ended.ok_exit.contains(&code));
    let reading = match reading {
        Ok(reading) => reading,
        Err(error) => {
            let reads = if error.is_about_the_format() { format!("; {}", ended.format.reads()) } else { String::new() };
            let text = match exit.success() {
                true => format!("{label}: {} {error}{reads}", ended.output),
                // the crash is the reason, the unreadable output only its trace
                false if !code_ok => format!("{label}: {exit}{last}"),
                false => format!("{label}: {exit}, and {} {error}{reads}{last}", ended.output),
            };
            return Answer { error: Some(text), ..Answer::default() };
        }
    };
    if ended.format.exits_with_errors() && reading.broken.is_none() {
        let errors = reading.findings.iter().filter(|finding| finding.severity >= Severity::High).count();
        // a process has one byte for it
        code_ok |= !exit.timed_out && exit.code.is_some_and(|code| errors > 0 && code as usize == errors % 256);
    }
    let mut answer = Answer { findings: reading.findings, ..Answer::default() };
    if exit.timed_out || exit.code.is_none() {
        answer.error = Some(format!("{label}: {exit}, so that its findings may not be all{last}"));
    } else if let Some(broken) = reading.broken {
        answer.error = Some(format!("{label}: {broken}{last}"));
    } else if !code_ok {
        let codes = ended.ok_exit.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let text = format!("{label}: {exit}, which is not among the expected ones ({codes}; see `ok-exit`){last}");
        // with only a formatter's word that something is wrong there is nothing that tells a crash from a complaint
        if answer.findings.is_empty() || answer.findings.iter().all(|finding| finding.location.is_none()) {
            answer.findings.clear();
            answer.error = Some(text);
        } else {
            answer.doubt = Some(text);
        }
    } else if !exit.success() && answer.findings.is_empty() {
        answer.error = Some(format!("{label}: {exit}, but nothing that it found can be read in {}{last}", ended.output));
    }
    answer
}

/// All that the one line at the end hangs on.
#[derive(Debug)]
pub struct Tally<'a> {
    /// New findings by severity, in the order of [`SEVERITIES`].
    pub new: [usize; 5],
    pub known: usize,
    pub fail_on: Severity,
    /// The baseline file, where there is one.
    pub baseline: Option<&'a str>,
}

impl<'a> Tally<'a> {
    pub fn of(findings: &[Finding], known: &[bool], fail_on: Severity, baseline: Option<&'a str>) -> Self {
        let mut tally = Tally { new: [0; 5], known: 0, fail_on, baseline };
        for (finding, known) in findings.iter().zip(known) {
            match known {
                true => tally.known += 1,
                false => tally.new[finding.severity as usize] += 1,
            }
        }
        tally
    }

    pub fn total(&self) -> usize {
        self.new_ones() + self.known
    }

    pub fn new_ones(&self) -> usize {
        self.new.iter().sum()
    }

    fn failing(&self) -> usize {
        self.new[self.fail_on as usize..].iter().sum()
    }

    /// `2 high, 1 medium`: the gravest first.
    fn by_severity(&self, from: Severity) -> String {
        let counts = SEVERITIES.iter().rev().filter(|severity| **severity >= from);
        let words = counts.map(|severity| (self.new[*severity as usize], word(*severity))).filter(|(count, _)| *count > 0);
        words.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }

    fn known_ones(&self) -> String {
        match (self.known, self.baseline) {
            (0, _) | (_, None) => String::new(),
            (known, Some(file)) => format!("{known} known from {file}"),
        }
    }
}

/// The stage's answer. `errors` and `doubts` are the tools' own.
pub fn decide(tally: &Tally<'_>, errors: &[String], doubts: &[String]) -> Result<Outcome, Failure> {
    let fail_on = word(tally.fail_on);
    let known = tally.known_ones();
    if !errors.is_empty() {
        let found = if tally.total() > 0 { format!(" ({} found by what did run)", count(tally.total(), "finding")) } else { String::new() };
        return Err(Failure::errored(format_args!("{}{found}", errors.join("; "))));
    }
    let failing = tally.failing();
    if failing > 0 {
        let new = if tally.baseline.is_some() { "new " } else { "" };
        let below = tally.new_ones() - failing;
        let mut rest = Vec::new();
        if below > 0 {
            rest.push(format!("{below} below {fail_on}"));
        }
        if !known.is_empty() {
            rest.push(known);
        }
        let rest = if rest.is_empty() { String::new() } else { format!("; besides {}", rest.join(", ")) };
        let failing = count(failing, &format!("{new}finding"));
        return Err(Failure::failed(format_args!("{failing}: {}{rest}", tally.by_severity(tally.fail_on))));
    }
    if !doubts.is_empty() {
        return Err(Failure::errored(doubts.join("; ")));
    }
    let summary = match (tally.new_ones(), known.is_empty()) {
        (0, true) => "no findings".to_owned(),
        (0, false) => format!("no new findings, {known}"),
        (new, true) => format!("{} below {fail_on}: {}", count(new, "finding"), tally.by_severity(Severity::Info)),
        (new, false) => format!("{} below {fail_on}: {}; {known}", count(new, "new finding"), tally.by_severity(Severity::Info)),
    };
    Ok(Outcome::new(summary))
}

pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner_sdk::report::Location;
    use std::time::Duration;

    fn exit(code: u32) -> Exit {
        Exit { code: Some(code), signal: None, timed_out: false, duration: Duration::from_secs(1), stdout: None, stderr: None }
    }

    fn finding(severity: Severity) -> Finding {
        Finding::new(severity, "t", "r", "m").at(Location::line("a.rs", 1))
    }

    fn reading(findings: &[Finding]) -> Result<Reading, ReadError> {
        Ok(Reading { findings: findings.to_vec(), broken: None })
    }

    fn cut_off() -> Result<Reading, ReadError> {
        Err(ReadError::CutOff { place: "line 3".into(), reason: "EOF".into() })
    }

    fn judged(exit: &Exit, reading: Result<Reading, ReadError>) -> Answer {
        let ended = Ended { label: "eslint", format: Format::Eslint, exit, ok_exit: &[0, 1], output: "stdout", last: "Oops" };
        judge(&ended, reading)
    }

    #[test]
    fn a_tool_that_did_not_do_its_work_is_an_error() {
        let timed_out = Exit { timed_out: true, code: None, signal: Some(15), duration: Duration::from_secs(30), ..exit(0) };
        let crashed = Exit { code: None, signal: Some(11), ..exit(0) };
        let broken = Ok(Reading { findings: Vec::new(), broken: Some("the build failed".into()) });
        let one = [finding(Severity::Medium)];
        let cases = [
            (exit(0), cut_off(), "eslint: stdout is cut off at line 3: EOF; format `eslint` reads what `eslint -f json` writes"),
            (
                exit(1),
                cut_off(),
                "eslint: exit code 1, and stdout is cut off at line 3: EOF; format `eslint` reads what `eslint -f json` writes: Oops",
            ),
            (exit(0), Err(ReadError::Missing("is not there".into())), "eslint: stdout is not there"),
            (exit(2), cut_off(), "eslint: exit code 2: Oops"),
            (exit(2), reading(&[]), "eslint: exit code 2, which is not among the expected ones (0, 1; see `ok-exit`): Oops"),
            (exit(1), reading(&[]), "eslint: exit code 1, but nothing that it found can be read in stdout: Oops"),
            (timed_out, reading(&one), "eslint: timed out after 30s, so that its findings may not be all: Oops"),
            (crashed, reading(&one), "eslint: killed by SIGSEGV, so that its findings may not be all: Oops"),
            (exit(0), broken, "eslint: the build failed: Oops"),
        ];
        for (exit, reading, expected) in cases {
            assert_eq!(judged(&exit, reading).error.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_readable_answer_is_believed_and_an_odd_exit_doubted() {
        let one = [finding(Severity::Medium)];
        for code in [0, 1] {
            let answer = judged(&exit(code), reading(&one));
            assert_eq!((answer.findings.len(), answer.error, answer.doubt), (1, None, None));
        }
        assert!(judged(&exit(0), reading(&[])).error.is_none());
        let answer = judged(&exit(2), reading(&one));
        assert!(answer.error.is_none() && answer.doubt.is_some_and(|doubt| doubt.starts_with("eslint: exit code 2")));
    }

    #[test]
    fn checkstyle_ends_with_the_number_of_its_errors() {
        let errors = |number| reading(&vec![finding(Severity::High); number]);
        for (code, found, believed) in [(3, 3, true), (44, 300, true), (2, 3, false), (1, 3, true), (254, 0, false)] {
            let exit = exit(code);
            let ended = Ended { label: "c", format: Format::Checkstyle, exit: &exit, ok_exit: &[0, 1], output: "stdout", last: "" };
            let answer = judge(&ended, errors(found));
            assert_eq!(answer.error.is_none() && answer.doubt.is_none(), believed, "{code} {found}");
        }
    }

    #[test]
    fn one_line_says_why() {
        let tally = |new, known, baseline| Tally { new, known, fail_on: Severity::Medium, baseline };
        let file = Some("lint-baseline.json");
        let none: &[String] = &[];
        let doubt = &["prettier: exit code 2".to_owned()][..];
        let failed = |text: &str| Err(Failure::failed(text));
        let errored = |text: &str| Err(Failure::errored(text));
        let cases = [
            (tally([0; 5], 0, None), none, none, Ok("no findings")),
            (tally([1, 1, 0, 0, 0], 0, None), none, none, Ok("2 findings below medium: 1 low, 1 info")),
            (tally([0; 5], 5, file), none, none, Ok("no new findings, 5 known from lint-baseline.json")),
            (tally([0, 1, 0, 0, 0], 5, file), none, none, Ok("1 new finding below medium: 1 low; 5 known from lint-baseline.json")),
            (tally([0, 0, 1, 2, 0], 0, None), none, none, failed("3 findings: 2 high, 1 medium")),
            (tally([0, 0, 1, 2, 0], 0, None), none, doubt, failed("3 findings: 2 high, 1 medium")),
            (
                tally([0, 4, 1, 0, 0], 5, file),
                none,
                none,
                failed("1 new finding: 1 medium; besides 4 below medium, 5 known from lint-baseline.json"),
            ),
            (tally([0; 5], 5, file), none, doubt, errored("prettier: exit code 2")),
            (tally([0, 0, 1, 0, 0], 0, None), doubt, none, errored("prettier: exit code 2 (1 finding found by what did run)")),
        ];
        for (tally, errors, doubts, expected) in cases {
            let answer = decide(&tally, errors, doubts);
            assert_eq!(answer.map(|outcome| outcome.summary), expected.map(str::to_owned));
        }
    }
}
