//! What there is to tell: how the run stands, and what that is the moment for.

use std::time::Duration;

use runner_sdk::run::{End, Finished, Origin, Stage};
use serde::{Deserialize, Serialize};

/// What a receiver can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The run passes
    Success,
    /// It does not
    Failure,
    /// It passes, and the run before it of the same pipeline and branch failed
    Recovery,
}

/// A run as far as this stage can see it.
#[derive(Debug, Clone)]
pub struct Run {
    pub pipeline: String,
    pub id: String,
    /// This stage's own.
    pub stage: String,
    pub origin: Origin,
    pub stages: Vec<Stage>,
    pub previous: Option<Finished>,
}

impl Run {
    /// Whether the run can't pass any more.
    pub fn failed(&self) -> bool {
        self.stages.iter().any(|stage| stage.fails_run)
    }

    /// Whether it passes and the one before it did not.
    pub fn recovered(&self) -> bool {
        !self.failed() && self.previous.as_ref().is_some_and(|previous| !previous.passed)
    }

    /// Whether a receiver that wants these moments is told.
    pub fn is_for(&self, on: &[Moment]) -> bool {
        on.iter().any(|moment| match moment {
            Moment::Success => !self.failed(),
            Moment::Failure => self.failed(),
            Moment::Recovery => self.recovered(),
        })
    }

    /// One word.
    pub fn status(&self) -> &'static str {
        match (self.failed(), self.recovered()) {
            (true, _) => "failed",
            (false, true) => "recovered",
            (false, false) => "passed",
        }
    }

    /// The branch, or nothing.
    pub fn branch(&self) -> &str {
        self.origin.branch.as_deref().unwrap_or_default()
    }

    /// What is the same in every run of this pipeline on this branch or for this pull request, and in no other's: a fork may call its branch
    /// like one of ours.
    pub fn key(&self) -> String {
        let (pipeline, branch) = (&self.pipeline, self.branch());
        match (&self.origin.pull_request, self.origin.trust.as_deref()) {
            (Some(number), _) => format!("{pipeline}/pull-request/{number}"),
            (None, Some(trust @ ("pull-request" | "fork"))) => format!("{pipeline}/{trust}/{branch}"),
            _ => format!("{pipeline}/{branch}"),
        }
    }
}

/// The word for how a stage ended.
pub fn word(end: End) -> &'static str {
    match end {
        End::Passed => "passed",
        End::Failed => "failed",
        End::SoftFailed => "soft-failed",
        End::Skipped => "skipped",
        End::Blocked => "blocked",
        End::Cancelled => "cancelled",
    }
}

/// `1m 3s`, `12s`, `340ms`: no finer than anybody wants to read it.
pub fn length(duration: Duration) -> String {
    let rounded = match duration.as_secs() {
        0 => Duration::from_millis(u64::from(duration.subsec_millis())),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
pub mod tests {
    use std::time::UNIX_EPOCH;

    use runner_sdk::run::Tests;

    use super::*;

    /// A stage as the host tells of it.
    pub fn stage(id: &str, outcome: End, message: &str) -> Stage {
        Stage {
            id: id.into(),
            outcome,
            fails_run: matches!(outcome, End::Failed | End::Cancelled | End::Blocked),
            message: message.into(),
            duration: Duration::from_millis(63_200),
            attempts: u32::from(outcome != End::Blocked),
            findings: 0,
            tests: Tests::default(),
        }
    }

    /// A run with hostile names whose `test` failed, or not. `before`: how the one before it ended.
    pub fn run(failed: bool, before: Option<bool>) -> Run {
        let origin = Origin {
            started: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            event: None,
            trust: None,
            branch: Some("feature/<@U1>@org".into()),
            tag: None,
            base: None,
            pull_request: None,
            sha: Some("0123456789abcdef0123456789abcdef01234567".into()),
            dirty: None,
        };
        let test = if failed {
            stage("test (app=api)", End::Failed, "3 of 214 tests failed: a < b & c\nmore")
        } else {
            stage("test (app=api)", End::Passed, "214 tests")
        };
        let deploy = if failed {
            stage("deploy", End::Blocked, "it needs `test (app=api)`, which did not pass")
        } else {
            stage("deploy", End::Passed, "")
        };
        Run {
            pipeline: "shop".into(),
            id: "20261121-214501-9f3a1c".into(),
            stage: "notify".into(),
            origin,
            stages: vec![stage("lint", End::Passed, "no findings"), test, deploy],
            previous: before.map(|passed| Finished { run: "20261120-100000-000001".into(), passed, sha: None, ended: UNIX_EPOCH }),
        }
    }

    #[test]
    fn each_moment_has_its_receivers() {
        use Moment::{Failure, Recovery, Success};
        for (failed, before, status, told) in [
            (true, None, "failed", vec![Failure]),
            (true, Some(false), "failed", vec![Failure]),
            (false, None, "passed", vec![Success]),
            (false, Some(true), "passed", vec![Success]),
            (false, Some(false), "recovered", vec![Success, Recovery]),
        ] {
            let run = run(failed, before);
            assert_eq!(run.status(), status);
            for moment in [Success, Failure, Recovery] {
                assert_eq!(run.is_for(&[moment]), told.contains(&moment), "{status}: {moment:?}");
            }
        }
    }

    #[test]
    fn a_fork_does_not_answer_for_a_branch_of_ours() {
        let mut run = run(true, None);
        run.origin.branch = Some("main".into());
        for (number, trust, key) in [
            (None, Some("branch"), "shop/main"),
            (None, None, "shop/main"),
            (None, Some("fork"), "shop/fork/main"),
            (Some("7"), Some("fork"), "shop/pull-request/7"),
        ] {
            (run.origin.pull_request, run.origin.trust) = (number.map(str::to_owned), trust.map(str::to_owned));
            assert_eq!(run.key(), key);
        }
    }

    #[test]
    fn lengths_are_short() {
        for (millis, shown) in [(340, "340ms"), (12_900, "12s"), (63_200, "1m 3s")] {
            assert_eq!(length(Duration::from_millis(millis)), shown);
        }
    }
}
