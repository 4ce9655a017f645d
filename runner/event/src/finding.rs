//! What stages report as data: the same shapes as `runner:stage/report`.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

/// 1-based lines and columns; 0 where not known. `end_line` is inclusive, `end_column` exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Location {
    pub path: String,
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    pub end_column: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    pub severity: Severity,
    pub tool: String,
    pub rule: String,
    pub message: String,
    pub location: Option<Location>,
    pub help: String,
    pub url: String,
    /// False for what a baseline or an ignore rule holds: shown, not counted.
    pub counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestStatus {
    Passed,
    Failed,
    Errored,
    Skipped,
    Flaky,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestCase {
    pub suite: String,
    pub name: String,
    pub status: TestStatus,
    pub nanos: u64,
    pub message: String,
    pub location: Option<Location>,
}
