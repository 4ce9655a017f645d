//! The run so far: where it came from, how the stages ended that this stage needs, and how the run before it did.
//!
//! Nothing is ambient: only stages that `needs` or `needs-any` name are shown; `needs = ["*"]` shows all. Everything is fixed when the attempt
//! starts, and is the same in a resumed run and in a replay.
//!
//! ```no_run
//! # use runner_sdk::{log, run};
//! for stage in run::stages().iter().filter(|stage| stage.fails_run) {
//!     log::info(format_args!("{} {:?}: {}", stage.id, stage.outcome, stage.message));
//! }
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::runner::stage::run as wit;

/// Where the run came from, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// When the run began.
    pub started: SystemTime,
    /// `push`, `pull-request`, `schedule` or `manual`.
    pub event: Option<String>,
    /// `local`, `branch`, `tag`, `pull-request` or `fork`.
    pub trust: Option<String>,
    /// The branch; of a pull request, the one that it wants to be merged from. None on a detached head and outside of a repository.
    pub branch: Option<String>,
    /// The tag that set the run off.
    pub tag: Option<String>,
    /// The branch that a pull request wants to be merged into.
    pub base: Option<String>,
    /// The number of the pull request, as the forge tells it.
    pub pull_request: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// Whether files differ from the commit.
    pub dirty: Option<bool>,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// As it should.
    Passed,
    /// It did not pass.
    Failed,
    /// It failed, and the run goes on as if it had passed.
    SoftFailed,
    /// It was not to run.
    Skipped,
    /// A need of it was not met.
    Blocked,
    /// It was stopped.
    Cancelled,
}

/// How many test cases ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Tests {
    pub passed: u32,
    pub failed: u32,
    pub errored: u32,
    pub skipped: u32,
    pub flaky: u32,
}

/// A stage that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// As `plan` prints it, with its matrix values.
    pub id: String,
    /// How it ended.
    pub outcome: End,
    /// Whether the run can't pass because of it.
    pub fails_run: bool,
    /// The summary of a pass, the reason of everything else. It is the stage's own text.
    pub message: String,
    /// From its first attempt's start to its end.
    pub duration: Duration,
    /// 0 if it never started.
    pub attempts: u32,
    /// Findings that count.
    pub findings: u32,
    /// Test cases.
    pub tests: Tests,
}

/// The run before this one that came to its end, of the same pipeline and branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its id.
    pub run: String,
    /// Whether it passed; it failed otherwise.
    pub passed: bool,
    /// The commit that it was for.
    pub sha: Option<String>,
    /// When it ended.
    pub ended: SystemTime,
}

/// Where the run came from.
pub fn about() -> Origin {
    crate::inside("run");
    let wit::Origin { started, event, trust, branch, tag, base, pull_request, sha, dirty } = wit::about();
    Origin { started: UNIX_EPOCH + Duration::from_nanos(started), event, trust, branch, tag, base, pull_request, sha, dirty }
}

/// The stages that this stage needs, in the order of the pipeline file.
pub fn stages() -> Vec<Stage> {
    crate::inside("run");
    wit::stages().into_iter().map(Stage::from).collect()
}

/// The run before this one.
pub fn previous() -> Option<Finished> {
    crate::inside("run");
    wit::previous().map(|wit::Finished { run, verdict, sha, ended }| Finished {
        run,
        passed: verdict == wit::Verdict::Passed,
        sha,
        ended: UNIX_EPOCH + Duration::from_nanos(ended),
    })
}

impl From<wit::Stage> for Stage {
    fn from(stage: wit::Stage) -> Stage {
        let wit::TestCounts { passed, failed, errored, skipped, flaky } = stage.tests;
        Stage {
            id: stage.id,
            outcome: match stage.outcome {
                wit::Outcome::Passed => End::Passed,
                wit::Outcome::Failed => End::Failed,
                wit::Outcome::SoftFailed => End::SoftFailed,
                wit::Outcome::Skipped => End::Skipped,
                wit::Outcome::Blocked => End::Blocked,
                wit::Outcome::Cancelled => End::Cancelled,
            },
            fails_run: stage.fails_run,
            message: stage.message,
            duration: Duration::from_nanos(stage.duration),
            attempts: stage.attempts,
            findings: stage.findings,
            tests: Tests { passed, failed, errored, skipped, flaky },
        }
    }
}
