//! The skip rules: whether a stage runs, once every stage that it needs is settled.
//!
//! A need is met if it passed, soft-failed, or was skipped by its own `when`. It is blocked if it failed, was cancelled or was
//! itself blocked; `success` stages then are blocked too. `failure` runs when a direct need ran and failed. `always` runs in
//! either case. `needs-any`: at least one ran and passed.
//!
//! Three cases that those sentences leave open are decided here, each so that nobody is surprised:
//! - A `failure` stage that had nothing to do is a met need, like one that its own `when` skipped. One that had nothing to do
//!   only because its needs never came to run is blocked, so that what follows it does not run either.
//! - A soft failure is no failure: it starts no `failure` stage (as `allow_failure` in GitLab CI).
//! - A need that the command line left out counts as met; the user answers for it. If all of `needs-any` was left out, that too.
//!
//! `needs-any` waits for all its stages, so that what runs never depends on which of two was faster.

use pipeline::plan::{RunOn, StageIndex};

/// How a settled stage looks to those that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    Passed,
    SoftFailed,
    /// By its own `when`, or a `failure` stage with nothing to do.
    Skipped,
    /// Left out on the command line.
    NotSelected,
    Failed,
    Cancelled,
    Blocked,
}

impl Standing {
    /// Whether a need on it is met.
    pub fn met(self) -> bool {
        match self {
            Standing::Passed | Standing::SoftFailed | Standing::Skipped | Standing::NotSelected => true,
            Standing::Failed | Standing::Cancelled | Standing::Blocked => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Its own `when`, if it has one, has the last word.
    Run,
    /// There is nothing for it to do; a need on it is met.
    Skip(Reason),
    /// A need on it is not met.
    Block(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The first need that is not met.
    Need(StageIndex),
    /// `run-on = "failure"`, and no direct need failed.
    NothingFailed,
    /// `needs-any`, and none of them passed.
    NoneOf,
}

/// Decides over the direct needs, in the order in which the file lists them.
pub fn decide(run_on: RunOn, needs: &[StageIndex], needs_any: &[StageIndex], standing: impl Fn(StageIndex) -> Standing) -> Decision {
    if run_on == RunOn::Always {
        return Decision::Run;
    }
    if run_on == RunOn::Failure && needs.iter().chain(needs_any).any(|&need| standing(need) == Standing::Failed) {
        return Decision::Run;
    }
    if let Some(&need) = needs.iter().find(|&&need| !standing(need).met()) {
        return Decision::Block(Reason::Need(need));
    }
    let left_out = needs_any.iter().all(|&need| standing(need) == Standing::NotSelected);
    if !left_out && !needs_any.iter().any(|&need| standing(need) == Standing::Passed) {
        return Decision::Block(Reason::NoneOf);
    }
    match run_on {
        RunOn::Failure => Decision::Skip(Reason::NothingFailed),
        RunOn::Success | RunOn::Always => Decision::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{Block, Run, Skip};
    use super::Reason::{Need, NoneOf, NothingFailed};
    use super::Standing::{Blocked, Cancelled, Failed, NotSelected, Passed, Skipped, SoftFailed};
    use super::*;

    /// `needs` come first in the list of standings, `needs-any` after them.
    fn table(run_on: RunOn, cases: &[(&[Standing], &[Standing], Decision)]) {
        for (needs, any, wanted) in cases {
            let all: Vec<Standing> = needs.iter().chain(*any).copied().collect();
            let indices: Vec<StageIndex> = (0..all.len()).collect();
            let (left, right) = indices.split_at(needs.len());
            let got = decide(run_on, left, right, |index| all[index]);
            assert_eq!(got, *wanted, "{run_on:?}: needs {needs:?}, needs-any {any:?}");
        }
    }

    #[test]
    fn success_runs_when_all_needs_are_met_and_is_blocked_otherwise() {
        table(
            RunOn::Success,
            &[
                (&[], &[], Run),
                (&[Passed], &[], Run),
                (&[SoftFailed], &[], Run),
                (&[Skipped], &[], Run),
                (&[NotSelected], &[], Run),
                (&[Failed], &[], Block(Need(0))),
                (&[Cancelled], &[], Block(Need(0))),
                (&[Blocked], &[], Block(Need(0))),
                (&[Passed, Blocked, Failed], &[], Block(Need(1))),
                (&[Passed, SoftFailed, Skipped, NotSelected], &[], Run),
            ],
        );
    }

    #[test]
    fn failure_runs_only_when_a_direct_need_ran_and_failed() {
        table(
            RunOn::Failure,
            &[
                (&[], &[], Skip(NothingFailed)),
                (&[Passed], &[], Skip(NothingFailed)),
                (&[SoftFailed], &[], Skip(NothingFailed)),
                (&[Skipped], &[], Skip(NothingFailed)),
                (&[Failed], &[], Run),
                (&[Passed, Failed], &[], Run),
                (&[Blocked, Failed], &[], Run),
                (&[Blocked], &[], Block(Need(0))),
                (&[Cancelled], &[], Block(Need(0))),
                (&[Passed], &[Failed], Run),
                (&[Blocked], &[Failed, Passed], Run),
                (&[Passed], &[Skipped], Block(NoneOf)),
            ],
        );
    }

    #[test]
    fn always_runs_in_either_case() {
        table(
            RunOn::Always,
            &[
                (&[], &[], Run),
                (&[Failed], &[], Run),
                (&[Blocked], &[], Run),
                (&[Cancelled], &[], Run),
                (&[Passed], &[Failed], Run),
                (&[Skipped], &[Skipped], Run),
            ],
        );
    }

    #[test]
    fn needs_any_wants_one_that_ran_and_passed() {
        table(
            RunOn::Success,
            &[
                (&[], &[Passed, Failed], Run),
                (&[], &[Failed, Blocked, Passed], Run),
                (&[], &[Failed, Cancelled], Block(NoneOf)),
                (&[], &[SoftFailed], Block(NoneOf)),
                (&[], &[Skipped, Skipped], Block(NoneOf)),
                (&[], &[NotSelected, Failed], Block(NoneOf)),
                (&[], &[NotSelected, Passed], Run),
                (&[], &[NotSelected, NotSelected], Run),
                (&[Failed], &[Passed], Block(Need(0))),
                (&[Passed], &[Failed], Block(NoneOf)),
            ],
        );
    }
}
