//! The host functions of `runner:stage/run`: the run so far, as the attempt's setting has it.
//!
//! They read data that was fixed before the component started, so there is nothing to decide and nothing to record.

use capability::so_far::{Counts, OutcomeWord, RunSoFar, StageEnd};
use capability::{StageState, so_far};
use wasmtime::Result;

use super::bindings::runner::stage::run;

impl run::Host for StageState {
    fn about(&mut self) -> Result<run::Origin> {
        let so_far = known(self)?;
        Ok(run::Origin {
            started: so_far.started,
            event: so_far.event.clone(),
            trust: so_far.trust.clone(),
            branch: so_far.branch.clone(),
            tag: so_far.tag.clone(),
            base: so_far.base.clone(),
            pull_request: so_far.pull_request.clone(),
            sha: so_far.sha.clone(),
            dirty: so_far.dirty,
        })
    }

    fn stages(&mut self) -> Result<Vec<run::Stage>> {
        Ok(known(self)?.stages.iter().map(stage).collect())
    }

    fn previous(&mut self) -> Result<Option<run::Finished>> {
        Ok(known(self)?.previous.as_ref().map(finished))
    }
}

/// Missing only where a replay runs another component than the one that was recorded, with `--against`.
fn known(state: &StageState) -> Result<&RunSoFar> {
    let missing =
        || wasmtime::Error::msg("the component asks about the run, and the one that was recorded did not: the record holds no answer");
    state.setting.so_far.as_deref().ok_or_else(missing)
}

fn stage(end: &StageEnd) -> run::Stage {
    let Counts { findings, tests_passed, tests_failed, tests_errored, tests_skipped, tests_flaky } = end.counts;
    run::Stage {
        id: end.id.clone(),
        outcome: match end.outcome {
            OutcomeWord::Passed => run::Outcome::Passed,
            OutcomeWord::Failed => run::Outcome::Failed,
            OutcomeWord::SoftFailed => run::Outcome::SoftFailed,
            OutcomeWord::Skipped => run::Outcome::Skipped,
            OutcomeWord::Blocked => run::Outcome::Blocked,
            OutcomeWord::Cancelled => run::Outcome::Cancelled,
        },
        fails_run: end.fails_run,
        message: end.message.clone(),
        duration: end.nanos,
        attempts: end.attempts,
        findings,
        tests: run::TestCounts {
            passed: tests_passed,
            failed: tests_failed,
            errored: tests_errored,
            skipped: tests_skipped,
            flaky: tests_flaky,
        },
    }
}

fn finished(previous: &so_far::FinishedRun) -> run::Finished {
    run::Finished {
        run: previous.run.clone(),
        verdict: if previous.passed { run::Verdict::Passed } else { run::Verdict::Failed },
        sha: previous.sha.clone(),
        ended: previous.ended,
    }
}
