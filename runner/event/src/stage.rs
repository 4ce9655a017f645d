//! How stages and runs end.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A stage's id as `plan` prints it: `lint`, `test (app=backend)`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageRef(pub Arc<str>);

impl StageRef {
    pub fn new(id: &str) -> Self {
        StageRef(Arc::from(id))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A refused effect, in the shape of `runner:boundary/types.denial`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DenialRecord {
    pub effect: String,
    pub subject: String,
    pub code: String,
    pub reason: String,
    pub remedy: Option<String>,
}

/// Why an attempt did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The stage's own verdict: tests failed, findings above the limit.
    Failed,
    /// Settings that the plugin refused.
    Misconfigured,
    /// A denied effect without which the stage could not do its work.
    Denied,
    /// The stage could not do its work.
    Errored,
    /// Its `timeout`, or the run's, passed.
    TimedOut,
    /// A limit was reached: memory, log, handles, ….
    Limit,
    /// The component trapped or exited by itself.
    Crashed,
    /// The host could not run the stage: its plugin does not compile, its workspace could not be made.
    Host,
    /// Its approval was rejected, or was not given in time.
    Rejected,
    /// Another run had its group, and it was not to wait.
    Busy,
    /// A replay asked the world for something else than what is recorded.
    Diverged,
}

/// Why a stage did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocked {
    /// Its own `when` was false; the text is the condition.
    When(String),
    /// A need failed, was cancelled or was itself blocked.
    Need(StageRef),
    /// `run-on = "failure"`, and no direct need failed.
    NothingFailed,
    /// `needs-any`, and none of them passed.
    NoneOf,
    /// Left out on the command line.
    NotSelected,
    /// The run was stopping.
    Stopping,
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Outcome {
    Passed {
        summary: String,
    },
    Failed {
        kind: FailureKind,
        message: String,
        soft: bool,
        denial: Option<DenialRecord>,
    },
    /// Skipped by its own `when`, by `run-on` or by selection: a need on it is met where DESIGN's rules say so.
    Skipped {
        why: Blocked,
    },
    /// A need was not met.
    Blocked {
        why: Blocked,
    },
    Cancelled {
        message: String,
    },
}

impl Outcome {
    pub fn passed(&self) -> bool {
        matches!(self, Outcome::Passed { .. })
    }

    /// Failed in a way that fails the run.
    pub fn fails_run(&self) -> bool {
        matches!(self, Outcome::Failed { soft: false, .. } | Outcome::Cancelled { .. })
    }
}

/// A named set of files that a stage left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    pub name: String,
    pub files: u64,
    pub bytes: u64,
    /// BLAKE3 of the artifact's manifest (paths, modes, digests), hex.
    pub digest: String,
}

/// How the run ended, gravest last. The command line's `error.rs` turns it into an exit code.
///
/// `Waiting` is last because it outdoes all others: whatever failed or was interrupted before, a run that waits is not over, and what
/// it waits for may still change how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Passed,
    Failed,
    Denied,
    TimedOut,
    Interrupted,
    Terminated,
    /// Not over: an approval, or the decision about an effect in doubt, is a person's. `runner resume` goes on.
    Waiting,
}
