//! `resume`: goes on with a run that was cut off, interrupted, or waits for a person.

use event::{Event, EventSink, Kind, Outcome};
use journal::{Journal, JournalError, Reader};
use schedule::{Graph, to_run_again};

use crate::args::{Global, Resume};
use crate::error::{CliError, Ending};
use crate::past::Recorded;
use crate::running::{self, Running};
use crate::{load, now, runs};

pub fn run(args: &Resume, global: &Global) -> Result<Ending, CliError> {
    let state = runs::state()?;
    let wanted = if args.failed { runs::Wanted::NotPassed } else { runs::Wanted::Unfinished };
    let run = runs::find(&state, args.run.as_deref(), wanted)?;
    let folder = state.begin(&run).map_err(|error| match error {
        workspace::WorkspaceError::RunBusy { .. } => {
            CliError::usage(format!("run {run} is running"), format!("follow it with `runner logs {run} --follow`"))
        }
        error => anyhow::Error::from(error).into(),
    })?;
    let reader = Reader::open(folder.path()).map_err(unreadable)?;
    let header = reader.header().clone();
    if header.engine != host::CONFIGURATION {
        let message = format!("run {run} was started with the engine {}, this runner has {}", header.engine, host::CONFIGURATION);
        return Err(CliError::usage(message, "go on with the runner that started it, or start a new run with `runner exec`"));
    }
    let root = runs::root(&state);
    let loaded = load::load_recorded(&header, &root, global)?;
    // what the checkout holds was never meant to count where the pipeline is of another revision
    if loaded.facts.pipeline_from.is_none() {
        runs::warn_of_changes(&header, &root, global);
    }
    let graph = Graph::of(&loaded.plan);
    let options = running::options(&header, &graph, !args.no_wait)
        .map_err(|error| CliError::usage(error.to_string(), "start a new run with `runner exec`"))?;
    let (events, attempts) = (reader.events().map_err(unreadable)?, reader.attempts().map_err(unreadable)?);
    let mut recorded = Recorded::read(&loaded.plan, events, attempts);
    let outcomes = recorded.outcomes();
    let again = to_run_again(&graph, &outcomes, args.failed);
    if outcomes.iter().all(Option::is_some) && !again.contains(&true) {
        let failed = outcomes.iter().flatten().any(|outcome| !outcome.passed());
        let hint = match failed {
            false => format!("start a new one with `runner exec {}`", header.file),
            true => {
                format!("run again what failed with `runner resume {run} --failed`, or start a new run with `runner exec {}`", header.file)
            }
        };
        return Err(CliError::usage(format!("run {run} is over: nothing is left to do"), hint));
    }
    let timed_out = matches!(reader.finished().map_err(unreadable)?, Some((event::Verdict::TimedOut, _)));
    if timed_out && !args.failed {
        let message = format!("run {run} has used up the `timeout` of its pipeline");
        return Err(CliError::usage(
            message,
            format!("run again what did not come to its end, with the whole time: `runner resume {run} --failed`"),
        ));
    }
    let fails_fast = header.fail_fast && outcomes.iter().flatten().any(Outcome::fails_run);
    if fails_fast && !args.failed {
        let message = format!("run {run} stopped at its first failure, as `--fail-fast` says");
        return Err(CliError::usage(message, format!("run again what failed, and go on: `runner resume {run} --failed`")));
    }
    if args.failed {
        recorded.forget_time();
    }
    drop(reader);
    let journal = Journal::resume(folder.path()).map_err(unreadable)?;
    for (stage, _) in again.iter().enumerate().filter(|(_, again)| **again) {
        let at = now();
        recorded.reset(stage, at);
        journal.emit(&Event { at, kind: Kind::StageReset { stage: loaded.plan.stages[stage].id.clone() } });
    }
    let running = Running {
        loaded,
        state,
        folder,
        journal,
        options,
        past: Some(recorded),
        in_doubt: args.in_doubt.map(Into::into),
        notices: Vec::new(),
        watch: None,
    };
    running::run(running, &args.reports, global)
}

/// What is wrong with a journal is said by itself.
fn unreadable(error: JournalError) -> CliError {
    CliError::Environment(error.into())
}
