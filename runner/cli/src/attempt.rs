//! One attempt around the component: its workspace, its log, its scratch folder before; its artifacts after.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use capability::{Endpoints, Scratch, Setting, StageLog};
use event::{Artifact, EventSink, FailureKind, Outcome};
use host::{Attempt, Finished, Host, PluginFiles, Stop};
use pipeline::grant::MountRule;
use pipeline::plan::{ArtifactRule, Bound, Plan, RunOn, Stage, StageIndex, WorkspaceMode};
use tokio::sync::watch;
use workspace::{ArtifactLimits, AttemptFolders, BlobStore, Collect, Consumed, Mode, Request, Run, StageWorkspace, WorkspaceError};

/// What every attempt of a run shares.
pub struct Attempts {
    pub plan: Arc<Plan>,
    pub host: Host,
    pub plugins: Arc<PluginFiles>,
    pub sink: Arc<dyn EventSink>,
    pub run: Run,
    pub blobs: BlobStore,
    /// Paths below the workspace that nobody writes: the pipeline file, `.git`, the plugins that it names.
    pub protected: Vec<String>,
}

/// What an attempt left.
pub struct Left {
    pub outcome: Outcome,
    pub outputs: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
    /// The log's path; empty if nothing was printed.
    pub log: String,
}

impl Default for Left {
    fn default() -> Self {
        let outcome = Outcome::Cancelled { message: String::new() };
        Left { outcome, outputs: Vec::new(), artifacts: Vec::new(), log: String::new() }
    }
}

/// The folder that a stage never sees.
pub const HIDDEN: &str = ".runner";

impl Attempts {
    /// Runs one attempt to its end; nothing of it is left but what [`Left`] names.
    pub async fn run(
        self: Arc<Self>,
        index: StageIndex,
        attempt: u32,
        bound: Bound,
        consumed: Vec<(String, Artifact)>,
        stop: watch::Receiver<Stop>,
    ) -> Left {
        let stage = &self.plan.stages[index];
        let folders = self.run.attempt(stage.id.as_str(), attempt);
        let log = Arc::new(StageLog::new(&folders.log, stage.id.clone(), stage.limits.log, self.sink.clone()));
        let (finished, artifacts) = self.run_in_workspace(stage, attempt, bound, consumed, stop, &folders, &log).await;
        log.flush(None);
        let log = if folders.log.exists() { shown(&folders.log) } else { String::new() };
        Left { outcome: finished.outcome, outputs: finished.outputs, artifacts, log }
    }

    #[allow(clippy::too_many_arguments)] // one call, one attempt
    async fn run_in_workspace(
        &self,
        stage: &Stage,
        attempt: u32,
        bound: Bound,
        consumed: Vec<(String, Artifact)>,
        stop: watch::Receiver<Stop>,
        folders: &AttemptFolders,
        log: &Arc<StageLog>,
    ) -> (Finished, Vec<Artifact>) {
        let host_failure = |message: String| (Finished::failed(FailureKind::Host, message), Vec::new());
        let plugin = match self.plugins.get(&stage.plugin.uses) {
            Ok(plugin) => plugin,
            Err(error) => return host_failure(error.message),
        };
        let workspace = match self.workspace(stage, folders, consumed).await {
            Ok(workspace) => workspace,
            Err(error) => return host_failure(format!("the workspace: {error}")),
        };
        let setting = Arc::new(Setting {
            run: self.run.id().to_owned(),
            pipeline: self.plan.name.clone(),
            stage: stage.id.clone(),
            name: stage.name.clone(),
            attempt,
            workspace: workspace.as_ref().map(|w| w.folder.clone()),
            scratch: Scratch::new(folders.scratch.clone()),
            mounts: mounts(&bound),
            hidden: vec![HIDDEN.to_owned()],
            protected: self.protected.clone(),
            env: bound.env.clone(),
            limits: stage.limits,
            endpoints: Endpoints::default(),
            log: log.clone(),
        });
        let mut finished = self.host.run(Attempt { plugin: &plugin, bound, setting: setting.clone(), stop }).await;
        let (passed, failed) = (finished.outcome.passed(), matches!(finished.outcome, Outcome::Failed { .. }));
        let wanted = stage.artifacts.iter().filter(|rule| match rule.on {
            RunOn::Always => true,
            RunOn::Success => passed,
            RunOn::Failure => failed,
        });
        let mut artifacts = Vec::new();
        for rule in wanted {
            match self.collect(workspace.as_ref(), rule).await {
                Ok(artifact) => artifacts.push(artifact),
                // a stage that failed is already failed; its missing artifact is only said
                Err(error) if !passed => log.note(&error),
                Err(error) => finished = Finished::failed(FailureKind::Failed, error),
            }
        }
        if workspace.as_ref().is_some_and(|w| w.copied.is_some()) || setting.scratch.made() {
            let work = folders.work.clone();
            if let Err(error) = blocking(move || workspace::remove_tree(&work)).await {
                log.note(&format!("the stage's folder could not be removed: {error}"));
            }
        }
        (finished, artifacts)
    }

    /// The folder that is `/workspace`; none if nothing of it is granted.
    async fn workspace(
        &self,
        stage: &Stage,
        folders: &AttemptFolders,
        consumed: Vec<(String, Artifact)>,
    ) -> Result<Option<StageWorkspace>, WorkspaceError> {
        let mode = match stage.workspace {
            WorkspaceMode::None => return Ok(None),
            WorkspaceMode::ReadOnly => Mode::ReadOnly,
            WorkspaceMode::Private => Mode::Private,
            WorkspaceMode::Shared => Mode::Shared,
        };
        let (checkout, folder, store) = (self.plan.root.clone(), folders.workspace.clone(), self.blobs.clone());
        let mut protected = self.protected.clone();
        protected.push(HIDDEN.to_owned());
        blocking(move || {
            let consumed: Vec<Consumed<'_>> = consumed.iter().map(|(name, artifact)| Consumed { name, digest: &artifact.digest }).collect();
            let request = Request { mode, checkout: &checkout, folder: &folder, consumed: &consumed, store: &store, protected: &protected };
            workspace::prepare(&request).map(Some)
        })
        .await
    }

    /// Takes an artifact out of what the stage left.
    async fn collect(&self, workspace: Option<&StageWorkspace>, rule: &ArtifactRule) -> Result<Artifact, String> {
        let Some(workspace) = workspace else {
            return Err(format!("artifact `{}`: the stage has no workspace; grant it `files` to write to", rule.name));
        };
        let (folder, store, rule) = (workspace.folder.clone(), self.blobs.clone(), rule.clone());
        blocking(move || {
            let exclude = [HIDDEN.to_owned(), ".git".to_owned()];
            let limits = ArtifactLimits::default();
            store.collect(&Collect { name: &rule.name, folder: &folder, globs: &rule.paths, exclude: &exclude, limits })
        })
        .await
        .map_err(|error| error.to_string())
    }
}

/// Work on files, away from the threads that run stages.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A path as a person would type it: relative to where they are, if it is below.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    relative.unwrap_or(path).display().to_string()
}

fn mounts(bound: &Bound) -> Vec<MountRule> {
    bound.grants.iter().flat_map(|grant| grant.grant.mounts()).collect()
}

/// The protected paths of a plan, relative to its root.
pub fn protected(plan: &Plan) -> Vec<String> {
    let mut paths = vec![PathBuf::from(".git")];
    let root = &plan.root;
    let relative = |path: &Path| path.canonicalize().ok().and_then(|path| path.strip_prefix(root).ok().map(Path::to_owned));
    paths.extend(relative(&plan.file));
    for stage in &plan.stages {
        if let pipeline::manifest::Provenance::Local(path) = &stage.plugin.provenance {
            paths.extend(relative(path));
        }
    }
    let mut names: Vec<String> = paths.into_iter().filter_map(|path| path.into_os_string().into_string().ok()).collect();
    names.sort();
    names.dedup();
    names
}
