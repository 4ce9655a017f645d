//! The `lint` stage: runs linters and formatter checks side by side and makes one list of what they found.
//!
//! The shell: it starts the tools, opens what they wrote and hands the result to the report. What an output means, which
//! findings are known and what the stage answers is decided in the modules beside it, which touch nothing outside and are tested
//! without a host.
//!
//! Deliberately absent: any linter of its own, and mending. A stage that changes files is the `command` stage's work.

use std::io::BufReader;

use runner_programs::left::Before;
use runner_programs::settings::labels;
use runner_programs::{Paths, ReadError, Source, output, together};
use runner_sdk::commands::{self, Command, Exit, Output};
use runner_sdk::{Context, Failure, Outcome, Stage, files, log, progress, report};

pub mod baseline;
pub mod finding;
pub mod format;
pub mod listing;
pub mod settings;
pub mod source;
pub mod verdict;

use baseline::Baseline;
use finding::{Columns, Finding};
use format::{Format, Reading};
use settings::{Settings, Tool};
use source::Sources;
use verdict::{Answer, Tally};

/// Findings shown in the log; all of them are in the reports.
const SHOWN: usize = 200;

/// The stage.
pub struct Lint;

impl Stage for Lint {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        settings.check()?;
        let has_workspace = context.workspace().is_some();
        let known = known(&settings)?;
        let answers = answers(&settings, has_workspace)?;

        let mut findings = Vec::new();
        let (mut errors, mut doubts) = (Vec::new(), Vec::new());
        for answer in answers {
            findings.extend(answer.findings);
            errors.extend(answer.error);
            doubts.extend(answer.doubt);
        }
        finding::sort_and_deduplicate(&mut findings);
        let wanted = settings.baseline.is_some() || findings.iter().any(|finding| finding.columns == Columns::Utf16);
        let sources = match wanted && has_workspace {
            true => Sources::read(&findings, |path| files::open(path).ok().map(BufReader::new)),
            false => Sources::default(),
        };
        for finding in &mut findings {
            let line = sources.line(finding).to_owned();
            finding.count_scalars(&line);
        }

        let comparison = known.compare(&findings, |finding| sources.line(finding));
        let file = settings.baseline.as_deref();
        let mut known = comparison.known;
        if let Some(file) = file.filter(|_| settings.update_baseline && errors.is_empty() && doubts.is_empty()) {
            files::write(file, baseline::write(&findings, |finding| sources.line(finding)))?;
            log::info(format_args!("{file}: written with {}", verdict::count(findings.len(), "finding")));
            known = vec![true; findings.len()];
        } else if let Some(file) = file.filter(|_| settings.update_baseline) {
            log::warn(format_args!("{file}: not written, because not every tool ended as it should: see below"));
        } else if let Some(file) = file.filter(|_| comparison.gone > 0 && errors.is_empty()) {
            let gone = verdict::count(comparison.gone as usize, "entry").replace("entrys", "entries");
            log::info(format_args!("{file}: {gone} found no more; `update-baseline = true` takes them out"));
        }

        show(&findings, &known, &settings);
        let tally = Tally::of(&findings, &known, settings.fail_on, file);
        report::measure("findings.total", tally.total() as f64, "");
        report::measure("findings.new", tally.new_ones() as f64, "");
        let fail_on = settings.fail_on;
        report::add_findings(findings.into_iter().zip(known).map(|(finding, known)| {
            let counted = !known && finding.severity >= fail_on;
            finding.into_reported(counted)
        }));
        for text in errors.iter().chain(&doubts) {
            log::error(text);
        }
        verdict::decide(&tally, &errors, &doubts)
    }
}

/// The baseline, read before the tools run: a mistake in it is told at once.
fn known(settings: &Settings) -> Result<Baseline, Failure> {
    let Some(file) = settings.baseline.as_deref().filter(|_| !settings.update_baseline) else { return Ok(Baseline::default()) };
    match files::read_optional(file)? {
        Some(text) => Baseline::read(&text, file).map_err(Failure::misconfigured),
        None => Err(Failure::misconfigured(format_args!(
            "`baseline`: there is no {file}: make one with `update-baseline = true`, keep it as an artifact and commit it"
        ))),
    }
}

fn answers(settings: &Settings, has_workspace: bool) -> Result<Vec<Answer>, Failure> {
    let labels = labels(settings.programs());
    let commands: Vec<Command> = settings.tools.iter().map(command).collect();
    let mut before = Vec::new();
    for tool in &settings.tools {
        before.push(match &tool.from {
            Some(Source::File(pattern)) => Some(Before::of(&tool.program().folder(), pattern)?),
            _ => None,
        });
    }
    let total = commands.len() as u64;
    progress::update(0, total, labels.join(", "));
    let mut answers: Vec<Answer> = commands.iter().map(|_| Answer::default()).collect();
    let mut done = 0;
    together::run(&commands, settings.parallel(), |index, ended| {
        let (tool, label) = (&settings.tools[index], labels[index].as_str());
        answers[index] = match ended {
            Ok(exit) => answer(tool, label, &exit, before[index].as_ref(), has_workspace)?,
            Err(commands::Error::Denied(denial)) => return Err(Failure::from(denial)),
            Err(error) => Answer { error: Some(format!("{label}: {error}")), ..Answer::default() },
        };
        done += 1;
        let found = answers[index].findings.len();
        progress::update(done, total, format_args!("{label}: {}", verdict::count(found, "finding")));
        Ok(())
    })?;
    Ok(answers)
}

fn command(tool: &Tool) -> Command {
    // what is read is kept from the log: it comes back there as a list
    let (stdout, stderr) = match (&tool.from, tool.format) {
        (None, Format::Exit) => (Output::Capture, Output::Capture),
        (None | Some(Source::Stdout), _) => (Output::Capture, Output::Both),
        (Some(Source::Stderr), _) => (Output::Both, Output::Capture),
        (Some(Source::File(_)), _) => (Output::Both, Output::Both),
    };
    tool.program().command(&tool.run, stdout, stderr)
}

fn answer(tool: &Tool, label: &str, exit: &Exit, before: Option<&Before>, has_workspace: bool) -> Result<Answer, Failure> {
    let (name, reading) = match before {
        Some(before) => read_files(tool, label, exit, before)?,
        None => {
            let (name, streams) = match (&tool.from, tool.format) {
                (None, Format::Exit) => ("its output".to_owned(), [exit.stdout.as_ref(), exit.stderr.as_ref()]),
                (Some(Source::Stderr), _) => ("stderr".to_owned(), [exit.stderr.as_ref(), None]),
                _ => ("stdout".to_owned(), [exit.stdout.as_ref(), None]),
            };
            (name, format::read(tool.format, output::streams(streams)?, label, exit.success()))
        }
    };
    let tail = match exit.success() {
        true => Vec::new(),
        false => output::last_lines(exit)?,
    };
    let ended = verdict::Ended {
        label,
        format: tool.format,
        exit,
        ok_exit: tool.ok_exit(),
        output: &name,
        last: tail.last().map_or("", String::as_str),
    };
    let mut answer = verdict::judge(&ended, reading);
    if answer.error.is_some() && !tail.is_empty() {
        log::error(format_args!("{label}: its last lines were\n{}", tail.join("\n")));
    }
    let mut paths = Paths::new(tool.directory.as_deref(), |path| has_workspace && files::resolve(path).is_file());
    for finding in &mut answer.findings {
        if let Some(location) = &mut finding.location {
            location.path = paths.relative(&location.path);
        }
    }
    Ok(answer)
}

/// One reading of all the files that the tool left.
fn read_files(tool: &Tool, label: &str, exit: &Exit, before: &Before) -> Result<(String, Result<Reading, ReadError>), Failure> {
    let pattern = match &tool.from {
        Some(Source::File(pattern)) => pattern.as_str(),
        _ => "",
    };
    let mut all = Reading::default();
    let (name, read) = output::files(pattern, before, "the tool wrote no report", |file| {
        let reading = format::read(tool.format, file, label, exit.success())?;
        all.findings.extend(reading.findings);
        all.broken = all.broken.take().or(reading.broken);
        Ok(())
    })?;
    Ok((name, read.map(|()| all)))
}

fn show(findings: &[Finding], known: &[bool], settings: &Settings) {
    let entries = listing::entries(findings, known, settings.fail_on, SHOWN);
    for entry in &entries {
        match entry.counted {
            true => log::error(&entry.text),
            false => log::info(&entry.text),
        }
    }
    if findings.len() > entries.len() {
        log::info(format_args!("… and {} more, all of them in the reports", findings.len() - entries.len()));
    }
}

runner_sdk::export!(Lint);
