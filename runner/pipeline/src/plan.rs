//! The plan: what will happen, with nothing left to decide but what only a running stage can say (its outcome and its outputs).
//!
//! `schedule` reads the graph, the command line prints it, `host` runs one `Stage` at a time.

mod around;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::expanded::Line;
pub use around::{
    CacheUse, Concurrency, ImageService, KeyPart, MountSource, OnBusy, Probe, Ready, Secret, SecretUse, Service, ServiceMount,
    ServiceSource,
};

use event::StageRef;

use crate::grant::Grant;
use crate::manifest::PluginInfo;
use crate::node::Node;
use crate::source::Sources;

/// An index into `Plan::stages`.
pub type StageIndex = usize;

#[derive(Debug)]
pub struct Plan {
    /// The pipeline file as it was named on the command line.
    pub file: PathBuf,
    /// The folder of the pipeline file: the workspace.
    pub root: PathBuf,
    pub name: String,
    /// The file and what it includes; spans of diagnostics (`Stage::bind`) point into their text.
    pub sources: Sources,
    /// BLAKE3 of the text of all of them, hex.
    pub digest: String,
    /// `[on]` and the event do not fit: why there is nothing to do.
    pub nothing_to_do: Option<String>,
    /// Of the whole run.
    pub concurrency: Option<Concurrency>,
    /// For the whole run.
    pub timeout: Option<Duration>,
    /// Resolved inputs in the order of the file; the value as text.
    pub inputs: Vec<(String, String)>,
    /// Declared secrets. Only names and where they come from: no value is ever here.
    pub secrets: Vec<Secret>,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// In the order of the file, a matrix stage's instances together. Needs point anywhere (there are no cycles).
    pub stages: Vec<Stage>,
    /// Everything as it stands, included and extended.
    pub(crate) tree: Node,
}

impl Plan {
    /// The file as a person could have written it without `include` and `extends`, with the origin of each line.
    pub fn expanded(&self) -> Vec<Line> {
        crate::expanded::lines(&self.tree, &self.sources)
    }

    /// The stages in waves: each wave's stages need only stages of the waves before it. Within a wave in the order of the file.
    pub fn order(&self) -> Vec<Vec<StageIndex>> {
        let mut waves: Vec<Vec<StageIndex>> = Vec::new();
        let mut wave: Vec<Option<usize>> = vec![None; self.stages.len()];
        // Depth first on an explicit stack: a chain of 100,000 stages must not use up the thread's.
        let mut stack: Vec<StageIndex> = Vec::new();
        for start in 0..self.stages.len() {
            stack.push(start);
            while let Some(&at) = stack.last() {
                if wave[at].is_some() {
                    stack.pop();
                    continue;
                }
                let stage = &self.stages[at];
                let before = || stage.needs.iter().chain(&stage.needs_any).copied();
                let open = stack.len();
                stack.extend(before().filter(|&need| wave[need].is_none()));
                if stack.len() == open {
                    wave[at] = Some(before().filter_map(|need| wave[need]).max().map_or(0, |last| last + 1));
                    stack.pop();
                }
            }
        }
        for (stage, wave) in wave.into_iter().enumerate() {
            let wave = wave.unwrap_or_default();
            if waves.len() <= wave {
                waves.resize_with(wave + 1, Vec::new);
            }
            waves[wave].push(stage);
        }
        waves
    }
}

#[derive(Debug)]
pub struct Stage {
    pub id: StageRef,
    /// The key in the file; several instances of a matrix share it.
    pub name: String,
    /// Where it stands in the file; instances of a matrix share that too.
    pub place: event::Place,
    /// This instance's values, in the order of the file.
    pub matrix: Vec<(String, String)>,
    pub plugin: Arc<PluginInfo>,
    pub needs: Vec<StageIndex>,
    pub needs_any: Vec<StageIndex>,
    /// CEL, checked when the plan was made; evaluated when the needs are settled (`Stage::condition`).
    pub when: Option<crate::when::Condition>,
    pub run_on: RunOn,
    pub soft_fail: bool,
    /// The `[environment.<name>]` that it works on.
    pub environment: Option<String>,
    /// What its environment asks for before its first attempt.
    pub approval: Option<Approval>,
    /// For one attempt.
    pub timeout: Option<Duration>,
    pub retries: Retries,
    pub limits: Limits,
    pub workspace: WorkspaceMode,
    pub artifacts: Vec<ArtifactRule>,
    pub consumes: Vec<Consume>,
    /// It is skipped where none of these globs changed; empty: it is not.
    pub if_changed: Vec<String>,
    /// What it may use; what its text refers to and what it may read.
    pub secrets: Vec<SecretUse>,
    /// Indexes into `Plan::services`, those that others need before them.
    pub services: Vec<usize>,
    pub caches: Vec<CacheUse>,
    pub concurrency: Option<Concurrency>,
    /// `env` and `with` as far as they are known; what is not yet stands as it is written, `${stage.build.outputs.version}`. For `plan`;
    /// to run the stage, `bind` it.
    pub env: Vec<(String, String)>,
    pub settings: serde_json::Value,
    /// Grants as decoded at planning time: complete for `plan`, `schedule` and the trust checks. A stage with values that are only known
    /// when its needs have run is decoded again by `bind`.
    pub grants: Vec<PlannedGrant>,
    /// Every reference in a grant and what stands in its place, for `plan`.
    pub expansions: Vec<Expansion>,
    /// What `bind` completes.
    pub(crate) unbound: crate::bind::Unbound,
}

/// A string of a grant that holds references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// `grants.http[0].url`.
    pub place: String,
    /// As written.
    pub template: String,
    /// What it stands for; none for what only a stage that has run can say.
    pub value: Option<String>,
}

#[derive(Debug, Clone)]
pub struct PlannedGrant {
    pub capability: &'static str,
    pub grant: Arc<dyn Grant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOn {
    Success,
    Failure,
    Always,
}

/// People have to agree before the stage starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// How many, at least one.
    pub count: u32,
    /// From when it is asked; then it counts as rejected. None: it waits for as long as it takes.
    pub timeout: Option<Duration>,
}

/// `count` further attempts after the first. Only `failed` and `errored` outcomes, crashes and time-outs are tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    pub count: u32,
    pub backoff: Backoff,
    pub delay: Duration,
    pub max_delay: Duration,
    /// Each delay is drawn evenly from zero to its full length ("full jitter").
    pub jitter: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    Constant,
    Linear,
    Exponential,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { count: 0, backoff: Backoff::Exponential, delay: Duration::from_secs(1), max_delay: Duration::from_secs(60), jitter: true }
    }
}

/// `[stage.<name>.limits]`. Reaching one ends the attempt with an error that names it, except for `record`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of the component. `memory`, 256 MiB.
    pub memory: u64,
    /// The stage's log, with its commands' output. `log`, 256 MiB.
    pub log: u64,
    /// Open handles (streams, processes, responses, descriptors). `handles`, 10,000.
    pub handles: u32,
    /// Bytes that cross in one call from the component to the host. `hostcall`, 16 MiB.
    pub hostcall: u64,
    /// The component's file. `component`, 64 MiB.
    pub component: u64,
    /// Compiling the component. `compile`, 120 s.
    pub compile: Duration,
    /// All outputs together, names and values. `outputs`, 1 MiB.
    pub outputs: u64,
    /// Files in the scratch folder and in the private workspace, beyond what was copied. `disk`, 10 GiB.
    pub disk: u64,
    /// Processes at once, with all that they start. `processes`, 4,096.
    pub processes: u32,
    /// What the stage read and received, kept so that it can be replayed; of what is beyond it only digests are kept, and the stage goes
    /// on. `record`, 64 MiB.
    pub record: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 256 << 20,
            log: 256 << 20,
            handles: 10_000,
            hostcall: 16 << 20,
            component: 64 << 20,
            compile: Duration::from_secs(120),
            outputs: 1 << 20,
            disk: 10 << 30,
            processes: 4_096,
            record: 64 << 20,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceMode {
    /// Nothing of the workspace is granted: none is made.
    None,
    /// Only reading is granted: the checkout itself, read-only.
    ReadOnly,
    /// A copy of the checkout and the consumed artifacts, gone at the end.
    Private,
    /// `workspace = "shared"`: writes reach the checkout. Runs alone.
    Shared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRule {
    pub name: String,
    /// Globs relative to the workspace.
    pub paths: Vec<String>,
    pub on: RunOn,
    /// How long it is worth keeping; none: until the run is removed.
    pub keep: Option<Duration>,
}

/// `consumes = ["build.dist"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consume {
    pub stage: StageIndex,
    pub artifact: String,
}

/// What a stage gets once its needs have run: `Stage::bind`.
#[derive(Debug, Clone)]
pub struct Bound {
    pub env: Vec<(String, String)>,
    /// The `with` table as JSON, checked against the plugin's schema.
    pub settings: serde_json::Value,
    pub grants: Vec<PlannedGrant>,
}
