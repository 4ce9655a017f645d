//! The `test` stage: runs test suites side by side, reads what they report, runs again only what failed, and checks coverage.
//!
//! The shell: it starts the suites, opens what they wrote and hands the result to the report. What an output means, how failures
//! are run again and what the stage answers is decided in the modules beside it, which touch nothing outside and are tested
//! without a host.
//!
//! Deliberately absent: finding tests, splitting them over machines, and measuring coverage. The suites' own runners do that.

use std::collections::{HashMap, HashSet};
use std::io::empty;
use std::path::Path;

use runner_programs::left::Before;
use runner_programs::settings::labels;
use runner_programs::{Paths, ReadError, Source, output, together};
use runner_sdk::commands::{self, Command, Exit, Output};
use runner_sdk::report::{self, TestCase};
use runner_sdk::{Context, Failure, Outcome, Stage, files, log, progress};

pub mod case;
pub mod coverage;
pub mod format;
pub mod listing;
pub mod place;
pub mod rerun;
pub mod settings;
pub mod verdict;

use case::{Case, Reading};
use coverage::{Coverage, Report, What};
use format::Format;
use settings::{Settings, Suite};
use verdict::{Counts, Ran, Wrong};

/// What nextest needs to be set for its JSON.
const NEXTEST_JSON: &str = "NEXTEST_EXPERIMENTAL_LIBTEST_JSON";

/// Files with the least coverage that are listed where a threshold is missed.
const LEAST_COVERED: usize = 10;

/// The stage.
pub struct Test;

impl Stage for Test {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        settings.check()?;
        let has_workspace = context.workspace().is_some();
        let labels = labels(settings.programs());
        let mut covered_before = Vec::new();
        for (report, pattern) in settings.coverage.iter().flat_map(|coverage| coverage.reports()) {
            covered_before.push((report, pattern, Before::of(Path::new(files::WORKSPACE), pattern)?));
        }
        let mut runs = first_runs(&settings, &labels)?;
        // before anything runs again: a re-run of one test would leave the coverage of one test
        let coverage = read_coverage(&covered_before)?;
        run_again(&settings, &labels, &mut runs)?;

        let mut wrong = Vec::new();
        for ((suite, label), run) in settings.suites.iter().zip(&labels).zip(&mut runs) {
            let mut paths = Paths::new(suite.directory.as_deref(), |path| has_workspace && files::resolve(path).is_file());
            if let Ok(reading) = &mut run.reading {
                reading.cases.iter_mut().for_each(|case| locate(case, &mut paths));
                reading.notes.iter().for_each(|note| log::warn(format_args!("{label}: {note}")));
                if reading.partial && reading.cases.iter().any(Case::failed) {
                    log::warn(format_args!(
                        "{label}: stopped at the first failing binary, others never ran: `--no-fail-fast` runs them all"
                    ));
                }
            }
            wrong.extend(run.judged(label, suite));
        }
        show(&settings, &labels, &runs);
        let total = runs.iter().map(|run| Counts::of(run.cases())).fold(Counts::default(), Counts::and);
        measure(total);
        for (label, run) in labels.iter().zip(runs) {
            if let Ok(reading) = run.reading {
                report::add_tests(reported(label, reading.cases));
            }
        }
        let (covered, missed) = match (&settings.coverage, coverage) {
            (Some(thresholds), Ok(coverage)) => judge_coverage(thresholds, &coverage),
            (Some(_), Err(text)) => {
                // a suite that failed may well have left no report
                if wrong.is_empty() {
                    wrong.push(Wrong::Errored(format!("coverage: {text}")));
                } else {
                    log::warn(format_args!("coverage: {text}"));
                }
                (None, Vec::new())
            }
            (None, _) => (None, Vec::new()),
        };
        verdict::decide(total, settings.suites.len(), wrong, covered.as_deref(), &missed)
    }
}

/// One suite's run, and what came of running its failures again.
struct Run {
    /// None where the program could not be started.
    exit: Option<Exit>,
    output: String,
    reading: Result<Reading, ReadError>,
    last: String,
    again: Option<Exit>,
    /// Why it was not started.
    not_started: Option<String>,
}

impl Run {
    fn cases(&self) -> &[Case] {
        self.reading.as_ref().map_or(&[], |reading| &reading.cases)
    }

    fn judged(&self, label: &str, suite: &Suite) -> Option<Wrong> {
        if let Some(text) = &self.not_started {
            return Some(Wrong::Errored(format!("{label}: {text}")));
        }
        let exit = self.exit.as_ref()?;
        let (output, reading, last, again) = (&self.output, &self.reading, &self.last, self.again.as_ref());
        verdict::judge(&Ran { label, format: suite.format, exit, output, reading, last, again, min_tests: suite.min_tests })
    }

    /// Whether running its failures again can change anything.
    fn can_recover(&self) -> bool {
        let ended = self.exit.as_ref().is_some_and(|exit| exit.code.is_some() && !exit.timed_out);
        let whole = self.reading.as_ref().is_ok_and(|reading| reading.trouble.is_empty());
        ended && whole && self.cases().iter().any(Case::failed)
    }
}

fn first_runs(settings: &Settings, labels: &[String]) -> Result<Vec<Run>, Failure> {
    let commands: Vec<Command> = settings.suites.iter().map(|suite| command(suite, &rerun::first_run(suite))).collect();
    let mut before = Vec::new();
    for suite in &settings.suites {
        before.push(before_run(suite)?);
    }
    let total = commands.len() as u64;
    progress::update(0, total, labels.join(", "));
    let mut runs: Vec<Option<Run>> = commands.iter().map(|_| None).collect();
    let mut done = 0;
    together::run(&commands, settings.parallel(), |index, ended| {
        let (suite, label) = (&settings.suites[index], &labels[index]);
        let run = match ended {
            Ok(exit) => finished(suite, label, exit, before[index].as_ref())?,
            Err(error) => not_started(error)?,
        };
        done += 1;
        progress::update(done, total, format_args!("{label}: {}", Counts::of(run.cases()).words()));
        runs[index] = Some(run);
        Ok::<_, Failure>(())
    })?;
    Ok(runs.into_iter().flatten().collect())
}

/// Runs what failed again, all suites side by side, as often as each allows.
fn run_again(settings: &Settings, labels: &[String], runs: &mut [Run]) -> Result<(), Failure> {
    let rounds = settings.suites.iter().map(|suite| suite.rerun).max().unwrap_or(0);
    for round in 1..=rounds {
        let mut jobs: Vec<(usize, Command)> = Vec::new();
        for (index, suite) in settings.suites.iter().enumerate().filter(|(_, suite)| suite.rerun >= round) {
            if !runs[index].can_recover() {
                continue;
            }
            let failed: Vec<&Case> = runs[index].cases().iter().filter(|case| case.failed()).collect();
            match rerun::commands(suite, &failed) {
                Ok(commands) => {
                    log::info(format_args!("{}: running {} again that failed ({round} of {})", labels[index], failed.len(), suite.rerun));
                    jobs.extend(commands.iter().map(|argv| (index, command(suite, argv))));
                }
                Err(reason) => log::warn(format_args!("{}: {reason}", labels[index])),
            }
        }
        if jobs.is_empty() {
            return Ok(());
        }
        // two runs of one suite write the same report: those of one suite go one after the other
        while !jobs.is_empty() {
            let mut taken = HashSet::new();
            let (now, later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|(index, _)| taken.insert(*index));
            jobs = later;
            one_round(settings, labels, runs, &now, round)?;
        }
    }
    Ok(())
}

fn one_round(settings: &Settings, labels: &[String], runs: &mut [Run], jobs: &[(usize, Command)], round: u32) -> Result<(), Failure> {
    let commands: Vec<Command> = jobs.iter().map(|(_, command)| command.clone()).collect();
    let mut before = Vec::new();
    for (index, _) in jobs {
        before.push(before_run(&settings.suites[*index])?);
    }
    together::run(&commands, settings.parallel(), |job, ended| {
        let index = jobs[job].0;
        let (suite, label) = (&settings.suites[index], &labels[index]);
        let again = match ended {
            Ok(exit) => finished(suite, label, exit, before[job].as_ref())?,
            Err(error) => not_started(error)?,
        };
        if let Some(text) = &again.not_started {
            log::warn(format_args!("{label}: could not be run again: {text}"));
        }
        if let (Ok(reading), Ok(first)) = (&again.reading, &mut runs[index].reading) {
            rerun::merge(&mut first.cases, reading, round);
        }
        // of several runs of one round, one that did not go well is remembered
        let earlier = runs[index].again.take().filter(|earlier| !earlier.success() && runs[index].can_recover());
        runs[index].again = earlier.or(again.exit);
        Ok(())
    })
}

fn not_started(error: commands::Error) -> Result<Run, Failure> {
    match error {
        commands::Error::Denied(denial) => Err(denial.into()),
        error => Ok(Run {
            exit: None,
            output: String::new(),
            reading: Ok(Reading::default()),
            last: String::new(),
            again: None,
            not_started: Some(error.to_string()),
        }),
    }
}

fn before_run(suite: &Suite) -> Result<Option<Before>, Failure> {
    match &suite.from {
        Source::File(pattern) => Ok(Some(Before::of(&suite.program().folder(), pattern)?)),
        Source::Stdout | Source::Stderr => Ok(None),
    }
}

fn command(suite: &Suite, argv: &[String]) -> Command {
    // what people can read goes to the log as it comes; XML and JSON are kept from it
    let results = if suite.format.is_for_people() { Output::Both } else { Output::Capture };
    let (stdout, stderr) = match suite.from {
        Source::Stdout => (results, Output::Both),
        Source::Stderr => (Output::Both, results),
        Source::File(_) => (Output::Both, Output::Both),
    };
    let command = suite.program().command(argv, stdout, stderr);
    // nextest wants to be told that its JSON may still change
    match suite.format == Format::Nextest && !suite.env.contains_key(NEXTEST_JSON) {
        true => command.env(NEXTEST_JSON, "1"),
        false => command,
    }
}

fn finished(suite: &Suite, label: &str, exit: Exit, before: Option<&Before>) -> Result<Run, Failure> {
    let (stdout, stderr) = (exit.stdout.as_ref(), exit.stderr.as_ref());
    let (output, reading) = match (&suite.from, before) {
        (Source::File(pattern), Some(before)) => read_files(suite.format, pattern, before)?,
        (Source::Stderr, _) => ("stderr".to_owned(), format::read(suite.format, output::streams([stderr])?, output::streams([stdout])?)),
        _ => ("stdout".to_owned(), format::read(suite.format, output::streams([stdout])?, output::streams([stderr])?)),
    };
    let mut last = String::new();
    if !exit.success() {
        let lines = output::last_lines(&exit)?;
        let telling = reading.as_ref().is_ok_and(|reading| reading.trouble.is_empty() && reading.cases.iter().any(Case::failed));
        if !telling && !lines.is_empty() {
            log::error(format_args!("{label}: {exit}; its last lines were\n{}", lines.join("\n")));
        }
        last = lines.last().cloned().unwrap_or_default();
    }
    Ok(Run { exit: Some(exit), output, reading, last, again: None, not_started: None })
}

/// One reading of all the reports that the suite left.
fn read_files(format: Format, pattern: &str, before: &Before) -> Result<(String, Result<Reading, ReadError>), Failure> {
    let mut all = Reading::default();
    let (name, read) = output::files(pattern, before, "the suite wrote no report", |file| {
        all.join(format::read(format, file, empty())?);
        Ok(())
    })?;
    Ok((name, read.map(|()| all)))
}

/// Where a failing test stands: where its report says that it failed, or the first place in its words that is a file of the workspace,
/// or else where its report says that it is.
fn locate(case: &mut Case, paths: &mut Paths<'_>) {
    let mapped = |mut location: report::Location, paths: &mut Paths<'_>| {
        location.path = paths.existing(&location.path)?;
        Some(location)
    };
    let mut found = case.failed_at.take().and_then(|location| mapped(location, paths));
    if case.failed() && found.is_none() {
        found = place::places(&case.message).find_map(|place| mapped(place, paths));
    }
    case.location = found.or_else(|| case.location.take().and_then(|location| mapped(location, paths)));
}

/// As the report takes them: each name once within the suite.
fn reported(label: &str, cases: Vec<Case>) -> impl Iterator<Item = TestCase> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let suite = label.to_owned();
    cases.into_iter().map(move |case| {
        let mut name = case.full_name();
        let times = seen.entry(name.clone()).and_modify(|times| *times += 1).or_insert(1);
        if *times > 1 {
            name = format!("{name} ({times})");
        }
        let Case { status, took, message, location, .. } = case;
        TestCase { suite: suite.clone(), name, status, duration: took, message, location }
    })
}

fn show(settings: &Settings, labels: &[String], runs: &[Run]) {
    let suites: Vec<listing::Suite<'_>> = labels
        .iter()
        .zip(runs)
        .map(|(label, run)| listing::Suite {
            label,
            took: run.exit.as_ref().map(|exit| exit.duration).unwrap_or_default(),
            cases: run.cases(),
        })
        .collect();
    listing::failures(&suites).iter().for_each(log::error);
    listing::flaky(&suites).iter().for_each(log::warn);
    let slowest = listing::slowest(&suites, settings.slowest as usize);
    if !slowest.is_empty() {
        log::info(format_args!("slowest:\n{}", slowest.join("\n")));
    }
    listing::counts(&suites).iter().for_each(log::info);
}

fn measure(total: Counts) {
    for (name, number) in
        [("tests.passed", total.passed), ("tests.failed", total.failing()), ("tests.skipped", total.skipped), ("tests.flaky", total.flaky)]
    {
        report::measure(name, number as f64, "");
    }
}

/// What all reports say together, or why one of them cannot be read.
fn read_coverage(reports: &[(Report, &str, Before)]) -> Result<Result<Coverage, String>, Failure> {
    let mut coverage = Coverage::default();
    for (report, pattern, before) in reports {
        let (name, read) = output::files(pattern, before, "no suite wrote it", |file| coverage.add(*report, file))?;
        match read {
            Ok(()) if coverage.is_empty() => return Ok(Err(format!("{name} names no source file"))),
            Ok(()) => {}
            Err(error) if error.is_about_the_format() => return Ok(Err(format!("{name} {error}; {}", report.reads()))),
            Err(error) => return Ok(Err(format!("{name} {error}"))),
        }
    }
    Ok(Ok(coverage))
}

/// Reports coverage, and answers with its one line and the thresholds that are missed.
fn judge_coverage(thresholds: &coverage::Settings, coverage: &Coverage) -> (Option<String>, Vec<String>) {
    let mut words = Vec::new();
    for what in What::ALL {
        if let Some(percent) = coverage.share(what).percent() {
            report::measure(&format!("coverage.{}", what.word()), percent, "%");
            words.push(format!("{} {percent} %", what.word()));
        }
    }
    let missed = coverage.missed(thresholds);
    for (what, text) in &missed {
        log::error(format_args!("coverage: {text}; the least covered files:"));
        for (path, share) in coverage.least(*what, LEAST_COVERED) {
            let percent = share.percent().unwrap_or_default();
            log::error(format_args!("{percent:>8.2} %  {} of {} {}  {path}", share.hit, share.total, what.word()));
        }
    }
    let missed = missed.into_iter().map(|(_, text)| text).collect();
    (Some(words.join(", ")).filter(|words| !words.is_empty()), missed)
}

runner_sdk::export!(Test);
