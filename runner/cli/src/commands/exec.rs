//! `exec`: runs a pipeline.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use journal::{Header, Journal};
use pipeline::diagnostic::render;
use schedule::Graph;
use serde_json::json;

use crate::args::{Exec, Format, Global};
use crate::error::{CliError, Ending};
use crate::learn::Learner;
use crate::load::{self, Loaded};
use crate::now;
use crate::running::{self, Running};

pub fn run(args: &Exec, global: &Global) -> Result<Ending, CliError> {
    let run = run_id();
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(|e| anyhow::anyhow!("no random seed: {e}"))?;
    let learner = args.learning.learn.then(|| Learner::new(&args.learning, &args.source)).transpose()?;
    let loaded = match &learner {
        Some(learner) => load::load_as(&args.source, global, &run, seed, true, &|opened| learner.widen(opened, global).map(Some))?,
        None => load::load(&args.source, global, &run, seed, true)?,
    };
    let plan = &loaded.plan;
    if let Some(subject) = &plan.nothing_to_do {
        return nothing_to_do(subject, global);
    }
    let header = Header {
        run: run.clone(),
        pipeline: plan.name.clone(),
        file: plan.file.display().to_string(),
        root: plan.root.clone(),
        text: plan.sources.main_text().to_owned(),
        inputs: args.source.inputs.clone(),
        git_branch: loaded.facts.git_branch.clone(),
        git_sha: loaded.facts.git_sha.clone(),
        facts: serde_json::to_string(&loaded.facts).map_err(anyhow::Error::from)?,
        included: load::included(&loaded),
        unconfined: args.source.unconfined,
        jobs: args.jobs.unwrap_or_else(default_jobs).get(),
        fail_fast: args.fail_fast,
        grace: Duration::from_secs(args.grace),
        only: args.only.clone(),
        skip: args.skip.clone(),
        seed,
        runner: env!("CARGO_PKG_VERSION").to_owned(),
        engine: host::CONFIGURATION.to_owned(),
        started: now(),
    };
    let options = running::options(&header, &Graph::of(plan), !args.no_wait)
        .map_err(|e| CliError::usage(e.to_string(), format!("stages: {}", names(&loaded))))?;
    if !loaded.warnings.is_empty() && !global.quiet {
        let color = load::color(global, &std::io::stderr());
        write_stderr(&render(&loaded.warnings, &loaded.plan.sources, color));
    }
    let state = workspace::State::open(&plan.root).map_err(anyhow::Error::from)?;
    let folder = state.begin(&run).map_err(anyhow::Error::from)?;
    // what runs that nobody took up again left behind; what can't be removed is no reason not to run
    let _ = state.sweep();
    let journal = Journal::create(folder.path(), &header).map_err(anyhow::Error::from)?;
    let notices = load::notices(&loaded);
    let watch = learner.as_ref().map(Learner::watch);
    let recorded = folder.path().to_owned();
    let running = Running { loaded, state, folder, journal, options, past: None, in_doubt: None, notices, watch };
    let ending = running::run(running, &args.reports, global)?;
    if let Some(learner) = learner {
        learner.conclude(&recorded, global, &mut std::io::stdout().lock())?;
    }
    Ok(ending)
}

/// `[on]` does not name the event: no run is made.
fn nothing_to_do(subject: &str, global: &Global) -> Result<Ending, CliError> {
    let mut out = std::io::stdout().lock();
    let said = match global.format {
        Format::Json => writeln!(
            out,
            "{}\n{}",
            json!({ "event": "schema", "schema": event::SCHEMA }),
            json!({ "at": now(), "event": "nothing-to-do", "subject": subject })
        ),
        _ => writeln!(out, "nothing to do: {subject}"),
    };
    said.map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// One stage per processor; two at least, because most stages wait for programs.
fn default_jobs() -> NonZeroUsize {
    NonZeroUsize::new(running::processors()).unwrap_or(NonZeroUsize::MIN)
}

fn names(loaded: &Loaded) -> String {
    let mut names: Vec<&str> = loaded.plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// Sortable by time, unique on this machine: `20261121-214501-9f3a1c`. The last part is the microsecond and a random digit: of two runs in one
/// second, the later one is the latest.
fn run_id() -> String {
    let mut random = [0; 1];
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let now = jiff::Timestamp::now();
    format!("{}-{:05x}{:x}", now.strftime("%Y%m%d-%H%M%S"), now.subsec_nanosecond() / 1_000, random[0] & 15)
}

#[allow(clippy::print_stderr)] // warnings of the pipeline file, before any report exists
fn write_stderr(text: &str) {
    eprint!("{text}");
}

#[cfg(test)]
mod tests {
    use super::run_id;

    #[test]
    fn the_ids_of_runs_sort_by_time() {
        let ids: Vec<String> = (0..50)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_micros(10));
                run_id()
            })
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == "20261121-214501-9f3a1c".len()), "{ids:?}");
    }
}
