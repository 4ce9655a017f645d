//! What a component was given, as it stands in the record of its attempt: enough to give it the same once more, with no pipeline file and
//! no workspace at hand.

use std::path::PathBuf;

use capability::{RunSoFar, Scratch, Setting, StageLog};
use host::Given;
use journal::Begin;
use pipeline::grant::MountRule;
use pipeline::plan::Limits;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The version of what is written here.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Context {
    format: u32,
    pipeline: String,
    settings: String,
    granted: Vec<String>,
    env: Vec<(String, String)>,
    /// Only of components that can ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    so_far: Option<Arc<RunSoFar>>,
    /// Whether there is a workspace, and what of it is granted: paths, and whether they may be written.
    workspace: bool,
    mounts: Vec<(String, bool)>,
    hidden: Vec<String>,
    protected: Vec<String>,
    limits: Bounds,
}

/// The limits that a component can run into by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Bounds {
    memory: u64,
    log: u64,
    handles: u32,
    hostcall: u64,
    outputs: u64,
    disk: u64,
}

/// A context that this runner can't read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("the record was written by a newer runner (context format {0}); update the runner")]
    Newer(u32),
    #[error("what the attempt was given can't be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl Context {
    pub fn of(setting: &Setting, given: &Given) -> Self {
        let Limits { memory, log, handles, hostcall, outputs, disk, .. } = setting.limits;
        Context {
            format: FORMAT,
            pipeline: setting.pipeline.clone(),
            settings: given.settings.clone(),
            granted: given.granted.clone(),
            env: setting.env.clone(),
            so_far: setting.so_far.clone(),
            workspace: setting.workspace.is_some(),
            mounts: setting.mounts.iter().map(|mount| (mount.path.clone(), mount.writable)).collect(),
            hidden: setting.hidden.clone(),
            protected: setting.protected.clone(),
            limits: Bounds { memory, log, handles, hostcall, outputs, disk },
        }
    }

    /// How much the stage may print.
    pub fn log_limit(&self) -> u64 {
        self.limits.log
    }

    /// What the component is told of the run.
    pub fn so_far(&self) -> Option<Arc<RunSoFar>> {
        self.so_far.clone()
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn parse(text: &str) -> Result<Self, ContextError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        match serde_json::from_str::<Version>(text)?.format {
            FORMAT => Ok(serde_json::from_str(text)?),
            newer => Err(ContextError::Newer(newer)),
        }
    }

    /// What of it differs from how the attempt was begun, for people.
    pub fn difference(&self, begun: &Context) -> Option<String> {
        let changed = |what: &str, then: &dyn std::fmt::Debug, now: &dyn std::fmt::Debug| Some(format!("{what} {then:?}, now {now:?}"));
        if self.settings != begun.settings {
            return Some(format!("its settings were {}, now {}", begun.settings, self.settings));
        }
        if self.env != begun.env {
            return changed("its variables were", &begun.env, &self.env);
        }
        if self.granted != begun.granted {
            return changed("it was granted", &begun.granted, &self.granted);
        }
        if (self.workspace, &self.mounts) != (begun.workspace, &begun.mounts) {
            return changed("its files were", &begun.mounts, &self.mounts);
        }
        if self.limits != begun.limits {
            return changed("its limits were", &begun.limits, &self.limits);
        }
        (self != begun).then(|| "the pipeline's name or its protected paths have changed".to_owned())
    }

    /// The component's surroundings in an offline replay: names as they were, and nothing behind them.
    pub fn offline(self, run: &str, begin: &Begin, log: Arc<StageLog>) -> (Setting, Given) {
        let Bounds { memory, log: log_limit, handles, hostcall, outputs, disk } = self.limits;
        let nowhere = || PathBuf::from("/nonexistent");
        let setting = Setting {
            run: run.to_owned(),
            pipeline: self.pipeline,
            stage: begin.stage.clone(),
            name: begin.name.clone(),
            attempt: begin.attempt,
            workspace: self.workspace.then(nowhere),
            scratch: Scratch::new(nowhere()),
            mounts: self.mounts.into_iter().map(|(path, writable)| MountRule { path, writable }).collect(),
            hidden: self.hidden,
            protected: self.protected,
            env: self.env,
            // a replay has placeholders and needs nothing behind them
            secrets: Arc::default(),
            so_far: self.so_far,
            limits: Limits { memory, log: log_limit, handles, hostcall, outputs, disk, ..Limits::default() },
            endpoints: capability::Endpoints::default(),
            services: Vec::new(),
            caches: Vec::new(),
            prepared: capability::Prepared::default(),
            log,
        };
        (setting, Given { settings: self.settings, granted: self.granted, grants: Vec::new() })
    }
}
