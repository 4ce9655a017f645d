//! The run so far, as a stage that asks is told of it (`runner:stage/run`).
//!
//! Plain data, fixed when an attempt starts: nothing here can change between a run, its resumption and its replay. It is written to the
//! attempt's record in this very shape, so fields are only added, with a default. Deliberately absent: outputs, logs, and stages that the
//! asking stage does not need.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RunSoFar {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub started: u64,
    pub event: Option<String>,
    pub trust: Option<String>,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub base: Option<String>,
    pub pull_request: Option<String>,
    pub sha: Option<String>,
    pub dirty: Option<bool>,
    /// Those that the stage needs, in the order of the plan.
    pub stages: Vec<StageEnd>,
    pub previous: Option<FinishedRun>,
}

/// A stage that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageEnd {
    pub id: String,
    pub outcome: OutcomeWord,
    /// Whether the run can't pass because of it.
    pub fails_run: bool,
    pub message: String,
    pub nanos: u64,
    pub attempts: u32,
    #[serde(default)]
    pub counts: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeWord {
    Passed,
    Failed,
    SoftFailed,
    Skipped,
    Blocked,
    Cancelled,
}

/// What an attempt reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Counts {
    /// Those that count.
    pub findings: u32,
    pub tests_passed: u32,
    pub tests_failed: u32,
    pub tests_errored: u32,
    pub tests_skipped: u32,
    pub tests_flaky: u32,
}

/// An earlier run that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FinishedRun {
    pub run: String,
    pub passed: bool,
    pub sha: Option<String>,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub ended: u64,
}
