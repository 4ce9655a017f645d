//! The `test` stage: runs test suites side by side, reads what they report, runs again only what failed, and checks coverage.
//!
//! The shell: it starts the suites, opens what they wrote and hands the result to the report. What an output means, how failures
//! are run again and what the stage answers is decided in the modules beside it, which touch nothing outside and are tested
//! without a host.
//!
//! Deliberately absent: finding tests, splitting them over machines, and measuring coverage. The suites' own runners do that.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};

use runner_programs::left::Before;
use runner_programs::{Paths, Source, tail, together};
use runner_sdk::commands::{self, Captured, Command, Exit, Output};
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
use coverage::{Coverage, What};
use format::{Format, ReadError};
use settings::{Settings, Suite};
use verdict::{Counts, Ran, Wrong};

/// Lines of a broken suite's standard error that are shown again at the end.
const TAIL: usize = 15;

/// Files with the least coverage that are listed where a threshold is missed.
const LEAST_COVERED: usize = 10;

/// The stage.
pub struct Test;

impl Stage for Test {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        settings.check()?;
        let has_workspace = context.workspace().is_some();
        let labels = settings.labels();
        let tracefiles = match &settings.coverage {
            Some(coverage) => Some(Before::of(Path::new(files::WORKSPACE), &coverage.lcov)?),
            None => None,
        };
        let mut runs = first_runs(&settings, &labels)?;
        // before anything runs again: a re-run of one test would leave the coverage of one test
        let coverage = tracefiles.map(|before| read_coverage(&before)).transpose()?;
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
            wrong.extend(run.judged(label, suite.min_tests));
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
            (Some(thresholds), Some(Ok(coverage))) => judge_coverage(thresholds, &coverage),
            (Some(_), Some(Err(text))) => {
                // a suite that failed may well have left no tracefile
                if wrong.is_empty() {
                    wrong.push(Wrong::Errored(format!("coverage: {text}")));
                } else {
                    log::warn(format_args!("coverage: {text}"));
                }
                (None, Vec::new())
            }
            _ => (None, Vec::new()),
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

    fn judged(&self, label: &str, min_tests: u32) -> Option<Wrong> {
        if let Some(text) = &self.not_started {
            return Some(Wrong::Errored(format!("{label}: {text}")));
        }
        let exit = self.exit.as_ref()?;
        let (output, reading, last, again) = (&self.output, &self.reading, &self.last, self.again.as_ref());
        verdict::judge(&Ran { label, exit, output, reading, last, again, min_tests })
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

/// Where a suite runs, as the stage sees it.
fn folder(suite: &Suite) -> PathBuf {
    suite.directory.as_ref().map_or_else(|| PathBuf::from(files::WORKSPACE), files::resolve)
}

fn before_run(suite: &Suite) -> Result<Option<Before>, Failure> {
    match &suite.from {
        Source::File(pattern) => Ok(Some(Before::of(&folder(suite), pattern)?)),
        Source::Stdout | Source::Stderr => Ok(None),
    }
}

fn command(suite: &Suite, argv: &[String]) -> Command {
    // what people can read goes to the log as it comes; XML is kept from it
    let results = if suite.format == Format::Junit { Output::Capture } else { Output::Both };
    let (stdout, stderr) = match suite.from {
        Source::Stdout => (results, Output::Both),
        Source::Stderr => (Output::Both, results),
        Source::File(_) => (Output::Both, Output::Both),
    };
    let mut command = Command::new(argv[0].clone()).args(argv[1..].to_vec()).envs(suite.env.clone()).stdout(stdout).stderr(stderr);
    if let Some(directory) = &suite.directory {
        command = command.dir(directory.clone());
    }
    if let Some(timeout) = suite.timeout {
        command = command.timeout(timeout.0);
    }
    command
}

fn finished(suite: &Suite, label: &str, exit: Exit, before: Option<&Before>) -> Result<Run, Failure> {
    let (output, reading) = match (&suite.from, before) {
        (Source::File(pattern), Some(before)) => read_files(suite.format, pattern, before)?,
        (Source::Stderr, _) => {
            ("stderr".to_owned(), format::read(suite.format, opened(exit.stderr.as_ref())?, opened(exit.stdout.as_ref())?))
        }
        _ => ("stdout".to_owned(), format::read(suite.format, opened(exit.stdout.as_ref())?, opened(exit.stderr.as_ref())?)),
    };
    let mut last = String::new();
    if !exit.success() {
        let lines = last_lines(&exit)?;
        let telling = reading.as_ref().is_ok_and(|reading| reading.trouble.is_empty() && reading.cases.iter().any(Case::failed));
        if !telling && !lines.is_empty() {
            log::error(format_args!("{label}: {exit}; its last lines were\n{}", lines.join("\n")));
        }
        last = lines.last().cloned().unwrap_or_default();
    }
    Ok(Run { exit: Some(exit), output, reading, last, again: None, not_started: None })
}

fn opened(captured: Option<&Captured>) -> Result<Box<dyn BufRead>, Failure> {
    Ok(match captured {
        Some(captured) => Box::new(BufReader::with_capacity(64 * 1024, captured.open()?)),
        None => Box::new(Cursor::new(Vec::new())),
    })
}

/// One reading of all the reports that the suite left.
fn read_files(format: Format, pattern: &str, before: &Before) -> Result<(String, Result<Reading, ReadError>), Failure> {
    let left = before.left()?;
    if left.fresh.is_empty() {
        let reason = match left.stale.first() {
            Some(stale) if shown(stale) == pattern => "was there before and has not changed: the suite wrote no report".to_owned(),
            Some(stale) => format!("matches {} alone, which was there before and has not changed: the suite wrote no report", shown(stale)),
            None => "is not there: the suite wrote no report".to_owned(),
        };
        return Ok((pattern.to_owned(), Err(ReadError::Missing(reason))));
    }
    let mut all = Reading::default();
    for path in &left.fresh {
        let file = BufReader::with_capacity(64 * 1024, files::open(path)?);
        match format::read(format, file, Cursor::new(Vec::new())) {
            Ok(reading) => all.join(reading),
            Err(error) => return Ok((shown(path), Err(error))),
        }
    }
    Ok((pattern.to_owned(), Ok(all)))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(files::WORKSPACE).unwrap_or(path).display().to_string()
}

/// What the suite said last: on standard error, or where that is silent on standard output.
fn last_lines(exit: &Exit) -> Result<Vec<String>, Failure> {
    for captured in [exit.stderr.as_ref(), exit.stdout.as_ref()].into_iter().flatten() {
        let lines = tail::last_lines_of(captured.open()?, TAIL)?;
        if !lines.is_empty() {
            return Ok(lines.into_iter().map(|line| line.chars().take(400).collect()).collect());
        }
    }
    Ok(Vec::new())
}

/// Where a failing test stands: the first place in its words that is a file of the workspace, or else where its report says.
fn locate(case: &mut Case, paths: &mut Paths<'_>) {
    let mapped = |mut location: report::Location, paths: &mut Paths<'_>| {
        location.path = paths.existing(&location.path)?;
        Some(location)
    };
    let said = case.failed().then(|| place::places(&case.message).find_map(|place| mapped(place, paths))).flatten();
    case.location = said.or_else(|| case.location.take().and_then(|location| mapped(location, paths)));
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

fn read_coverage(before: &Before) -> Result<Result<Coverage, String>, Failure> {
    let left = before.left()?;
    let mut coverage = Coverage::default();
    for path in &left.fresh {
        let file = BufReader::with_capacity(64 * 1024, files::open(path)?);
        if let Err(error) = coverage.add(file) {
            return Ok(Err(format!("{} {error}", shown(path))));
        }
    }
    Ok(match left.stale.first() {
        _ if !coverage.is_empty() => Ok(coverage),
        Some(stale) => Err(format!("{} was there before and has not changed: no suite wrote a tracefile", shown(stale))),
        None => Err("no suite wrote the tracefile that `coverage.lcov` names, or there is nothing in it".to_owned()),
    })
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
