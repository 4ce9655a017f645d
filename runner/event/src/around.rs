//! What stands around a stage: its caches and its services.

use serde::{Deserialize, Serialize};

/// What a cache had for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheResult {
    /// The whole key was found.
    Hit,
    /// The beginning of the key was found: older content, to be brought up to date.
    Restored,
    Missed,
    /// What the attempt left was saved under the whole key.
    Saved,
}

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    Started,
    Ready,
    /// It could not be started, was not ready in time, or ended while the stage ran.
    Failed,
}
