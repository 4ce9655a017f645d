//! What a stage is told, and its answer when all went well.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::bindings::Context as WitContext;

/// Everything that a stage is told without asking. Nothing but this and [`run`](crate::run) distinguishes one run from another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The pipeline's `name`.
    pub pipeline: String,
    /// The run's id: sortable by time, unique.
    pub run: String,
    /// The stage's id as `plan` prints it, with its matrix values: `test (app=backend)`.
    pub stage: String,
    /// 1 for the first attempt, one more for each retry.
    pub attempt: u32,
    /// The stage's `with` table as a JSON object; [`Stage::run`](crate::Stage::run) gets it decoded.
    pub settings: String,
    /// The stage's `env` table, the same pairs as `std::env::vars`.
    pub env: Vec<(String, String)>,
    /// The directories that the stage can open: `/workspace` with a `files` grant, and always `/scratch`, which is empty at the start.
    pub mounts: Vec<Mount>,
    /// Names of the granted capabilities, such as `http`. What an optional request did not get is missing here.
    pub grants: Vec<String>,
}

/// A directory that the stage can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Such as `/workspace`.
    pub path: PathBuf,
    /// Whether the stage's grants let it write anywhere below it.
    pub writable: bool,
}

impl Context {
    /// Whether the pipeline file grants this capability (`files`, `http`, `commands`) at all. What exactly it grants is answered
    /// by trying: a denied effect is an ordinary error.
    pub fn granted(&self, capability: &str) -> bool {
        self.grants.iter().any(|grant| grant == capability)
    }

    /// The workspace, if the stage has a `files` grant.
    pub fn workspace(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.path == Path::new("/workspace"))
    }
}

impl From<WitContext> for Context {
    fn from(wit: WitContext) -> Context {
        Context {
            pipeline: wit.pipeline,
            run: wit.run,
            stage: wit.stage,
            attempt: wit.attempt,
            settings: wit.settings,
            env: wit.env,
            mounts: wit.mounts.into_iter().map(|mount| Mount { path: mount.path.into(), writable: mount.writable }).collect(),
            grants: wit.grants,
        }
    }
}

/// The stage did what it is for, and the answer is yes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One line for the summary, such as `214 tests, 3 skipped`; empty for none.
    pub summary: String,
}

impl Outcome {
    /// An outcome with a line for the summary. `Outcome::default()` has none.
    pub fn new(summary: impl Display) -> Outcome {
        Outcome { summary: summary.to_string() }
    }
}
