//! One attempt around the component: its workspace, its log, its scratch folder before; its artifacts after.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capability::so_far::StageEnd;
use capability::{Clock, Endpoints, InDoubt, Prepared, RunSoFar, Scratch, Setting, StageLog};
use event::{Artifact, DenialRecord, EventSink, FailureKind, Outcome, StageRef};
use host::{Attempt, Finished, Given, Host, People, PluginFiles, Stop, Suspended, Track};
use journal::{AttemptRecord, Begin, End, Journal};
use pipeline::grant::MountRule;
use pipeline::plan::{ArtifactRule, Bound, Plan, RunOn, Stage, StageIndex, WorkspaceMode};
use secret::{Mask, Secrets};
use tokio::sync::watch;
use workspace::{ArtifactLimits, AttemptFolders, BlobStore, Collect, Consumed, Marked, Mode, Request, Run, StageWorkspace, WorkspaceError};

use crate::approvals::Heard;
use crate::caches::{Caches, Site};
use crate::context::{Context, ContextError};
use crate::learn::Watch;
use crate::now;
use crate::services::Beside;
use crate::so_far::Origin;

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
    pub journal: Journal,
    /// Attempts that earlier sessions began and did not end.
    pub begun: HashMap<(StageRef, u32), Begin>,
    pub caches: Caches,
    /// What the pipeline declares, fetched when the first stage that uses it starts.
    pub secrets: Secrets,
    /// What the user said of effects in doubt.
    pub in_doubt: Option<InDoubt>,
    /// Of a learning run: where is told what happened to private copies.
    pub watch: Option<Arc<Watch>>,
    /// For stages that ask about the run.
    pub origin: Arc<Origin>,
}

/// What only the stages before it could say, bound when the attempt starts.
pub struct Told {
    pub bound: Bound,
    /// Artifacts by the name under which they are consumed.
    pub consumed: Vec<(String, Artifact)>,
    /// How the stages that it needs ended, if its component can ask.
    pub ends: Option<Vec<StageEnd>>,
}

/// What an attempt left.
pub struct Left {
    pub outcome: Outcome,
    pub outputs: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
    /// The log's path; empty if nothing was printed.
    pub log: String,
    /// It has not ended: a person has to choose.
    pub suspended: Option<Suspended>,
}

impl Default for Left {
    fn default() -> Self {
        let outcome = Outcome::Cancelled { message: String::new() };
        Left { outcome, outputs: Vec::new(), artifacts: Vec::new(), log: String::new(), suspended: None }
    }
}

/// An attempt on its way.
struct Begun<'a> {
    stage: &'a Stage,
    attempt: u32,
    /// How it was begun by an earlier session, which was cut off.
    cut: Option<Begin>,
    folders: &'a AttemptFolders,
    log: &'a Arc<StageLog>,
}

/// The folder that a stage never sees.
pub const HIDDEN: &str = ".runner";

impl Attempts {
    /// Runs one attempt to its end; nothing of it is left but what [`Left`] names.
    pub async fn run(self: Arc<Self>, index: StageIndex, attempt: u32, told: Told, stop: watch::Receiver<Stop>) -> Left {
        let stage = &self.plan.stages[index];
        let folders = self.run.attempt(stage.id.as_str(), attempt);
        let cut = self.begun.get(&(stage.id.clone(), attempt)).cloned();
        let log = match &cut {
            None => Ok(StageLog::new(&folders.log, stage.id.clone(), stage.limits.log, self.sink.clone())),
            Some(_) => StageLog::taken_up(&folders.log, stage.id.clone(), stage.limits.log, self.sink.clone()),
        };
        let log = match log {
            Ok(log) => {
                let journal = self.journal.clone();
                Arc::new(log.hiding(self.secrets.mask().clone()).behind(move || journal.flush().map_err(std::io::Error::other)))
            }
            Err(error) => {
                let message = format!("the log {} can't be read: {error}", folders.log.display());
                return Left { outcome: Finished::failed(FailureKind::Host, message).outcome, ..Left::default() };
            }
        };
        let begun = Begun { stage, attempt, cut, folders: &folders, log: &log };
        let (finished, artifacts) = self.run_in_workspace(&begun, told, stop).await;
        log.flush(None);
        let log = if folders.log.exists() { shown(&folders.log) } else { String::new() };
        Left { outcome: finished.outcome, outputs: finished.outputs, artifacts, log, suspended: finished.suspended }
    }

    async fn run_in_workspace(&self, begun: &Begun<'_>, told: Told, stop: watch::Receiver<Stop>) -> (Finished, Vec<Artifact>) {
        let &Begun { stage, attempt, folders, log, .. } = begun;
        let Told { bound, consumed, ends } = told;
        let host_failure = |message: String| (Finished::failed(FailureKind::Host, message), Vec::new());
        let plugin = match self.plugins.get(&stage.plugin.uses) {
            Ok(plugin) => plugin,
            Err(error) => return host_failure(error.message),
        };
        let held = match self.secrets.hold(&stage.secrets).await {
            Ok(held) => Arc::new(held),
            Err(error) => return host_failure(error.to_string()),
        };
        held.notes().iter().for_each(|note| log.note(note));
        let workspace = match self.workspace(begun, consumed).await {
            Ok(workspace) => workspace,
            Err(error) => return host_failure(format!("the workspace: {error}")),
        };
        let site = Site {
            stage,
            attempt,
            work: &folders.work,
            workspace: workspace.as_ref().filter(|w| w.copied.is_some()).map(|w| w.folder.as_path()),
            root: &self.plan.root,
            log,
            again: begun.cut.is_some(),
        };
        let caches = match self.caches.prepare(site, &bound).await {
            Ok(caches) => caches,
            Err(message) => return host_failure(message),
        };
        // what is there before the stage begins is nothing that it did
        let marked = match self.mark(workspace.as_ref()).await {
            Ok(marked) => marked,
            Err(error) => return host_failure(format!("the workspace: {error}")),
        };
        let so_far = match self.so_far(begun, ends).await {
            Ok(so_far) => so_far,
            Err(error) => return host_failure(error.to_string()),
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
            secrets: held.clone(),
            so_far,
            limits: stage.limits,
            endpoints: Endpoints::default(),
            services: stage.services.iter().map(|&index| self.plan.services[index].name.clone()).collect(),
            caches: caches.folders.clone(),
            prepared: Prepared::default(),
            log: log.clone(),
        });
        let mut beside = match Beside::prepare(&self.plan, stage, &bound, &setting, folders, begun.cut.is_some()) {
            Ok(beside) => beside,
            Err(message) => return host_failure(message),
        };
        if beside.starts_containers() {
            // an effect that happens once, which waits for this; meanwhile the component gets ready
            let journal = self.journal.clone();
            tokio::task::spawn_blocking(move || journal.settle());
        }
        let given = Given::from(bound);
        let (record, track) = match self.record(begun, &setting, &given) {
            Ok(opened) => opened,
            Err((kind, message)) => return (Finished::failed(kind, message), Vec::new()),
        };
        let mut stopped = stop.clone();
        let up = beside.start(&self.plan, stage, &setting, folders, self.sink.clone(), &mut stopped).await;
        let mut finished = match up {
            Ok(()) => {
                let people: Option<Arc<dyn People>> = Some(Arc::new(Heard(self.journal.clone())));
                self.host.run(Attempt { plugin: &plugin, given, setting: setting.clone(), track, stop, people }).await
            }
            Err(finished) => finished,
        };
        let leaves_files = beside.leaves_files();
        let leaving = beside.end(!finished.outcome.passed(), &mut stopped).await;
        // nothing of the stage runs any more: the engine tidies up beside what is left to be done here
        let conclude = async {
            hide(&mut finished, held.mask());
            if finished.suspended.is_some() {
                // it goes on from here, in this very folder, when somebody has chosen
                return (finished, Vec::new());
            }
            if let (Some(watch), Some(marked)) = (&self.watch, marked) {
                match blocking(move || marked.touched()).await {
                    Ok(touched) => watch.add(&stage.name, touched),
                    Err(error) => log.note(&format!("what happened to the stage's files can't be learned: {error}")),
                }
            }
            let artifacts = self.artifacts(stage, workspace.as_ref(), &mut finished, log).await;
            let beside = !stage.caches.is_empty() || leaves_files;
            let to_remove =
                workspace.as_ref().is_some_and(|w| w.copied.is_some()) || setting.scratch.made() || begun.cut.is_some() || beside;
            let end = End {
                at: now(),
                outcome: finished.outcome.clone(),
                outputs: finished.outputs.clone(),
                artifacts: artifacts.clone(),
                cut_off: finished.cut_off,
            };
            // an attempt that has ended has its whole log, but for what is said of its caches
            log.flush(None);
            // before the folders go: an attempt whose end is not recorded is run again in them
            if let Err(error) = record.end(&end, to_remove) {
                return host_failure(error.to_string());
            }
            if finished.outcome.passed() {
                self.caches.save(caches, site).await;
            }
            if to_remove {
                let work = folders.work.clone();
                if let Err(error) = blocking(move || workspace::remove_tree(&work)).await {
                    log.note(&format!("the stage's folder could not be removed: {error}"));
                }
            }
            (finished, artifacts)
        };
        tokio::join!(conclude, leaving.gone()).0
    }

    /// Opens the attempt's record: an empty one, or that of the attempt that was cut off, if it is given the same once more.
    fn record(&self, begun: &Begun<'_>, setting: &Setting, given: &Given) -> Result<(Arc<AttemptRecord>, Track), (FailureKind, String)> {
        let stage = begun.stage;
        let context = Context::of(setting, given);
        let clock = begun.cut.as_ref().map_or_else(Clock::start, |begin| Clock::since(begin.epoch));
        if let Some(begin) = &begun.cut {
            if begin.plugin != stage.plugin.digest {
                let message = format!(
                    "the stage can't go on where it was: its plugin `{}` was {:.12}, now it is {:.12}; run it anew with `runner resume --failed`",
                    begin.uses, begin.plugin, stage.plugin.digest
                );
                return Err((FailureKind::Diverged, message));
            }
            let before = Context::parse(&begin.context).map_err(|error| (FailureKind::Host, error.to_string()))?;
            if let Some(difference) = context.difference(&before) {
                let message = format!("the stage can't go on where it was: {difference}; run it anew with `runner resume --failed`");
                return Err((FailureKind::Diverged, message));
            }
        }
        let begin = Begin {
            stage: stage.id.clone(),
            attempt: begun.attempt,
            name: stage.name.clone(),
            uses: stage.plugin.uses.clone(),
            plugin: stage.plugin.digest.clone(),
            epoch: clock.epoch(),
            context: context.to_text(),
        };
        let record = self.journal.begin(&begin, stage.limits.record).map_err(|error| (FailureKind::Host, error.to_string()))?;
        let track =
            Track { ledger: crate::fault::wrap(record.clone()), clock, mode: capability::Mode::Live(self.in_doubt), ends_after: None };
        Ok((record, track))
    }

    /// What the component is told of the run, if it can ask: after a crash, what it was told before.
    async fn so_far(&self, begun: &Begun<'_>, ends: Option<Vec<StageEnd>>) -> Result<Option<Arc<RunSoFar>>, ContextError> {
        if let Some(cut) = &begun.cut {
            return Ok(Context::parse(&cut.context)?.so_far());
        }
        let Some(ends) = ends else { return Ok(None) };
        let origin = self.origin.clone();
        Ok(Some(Arc::new(blocking(move || origin.tell(ends)).await)))
    }

    /// Takes out what the attempt's end calls for.
    async fn artifacts(&self, stage: &Stage, workspace: Option<&StageWorkspace>, finished: &mut Finished, log: &StageLog) -> Vec<Artifact> {
        let (passed, failed) = (finished.outcome.passed(), matches!(finished.outcome, Outcome::Failed { .. }));
        let wanted = stage.artifacts.iter().filter(|rule| match rule.on {
            RunOn::Always => true,
            RunOn::Success => passed,
            RunOn::Failure => failed,
        });
        let mut artifacts = Vec::new();
        for rule in wanted {
            match self.collect(workspace, rule).await {
                Ok(artifact) => artifacts.push(artifact),
                // a stage that failed is already failed; its missing artifact is only said
                Err(error) if !passed => log.note(&error),
                Err(error) => *finished = Finished::failed(FailureKind::Failed, error),
            }
        }
        artifacts
    }

    /// The folder that is `/workspace`; none if nothing of it is granted.
    async fn workspace(&self, begun: &Begun<'_>, consumed: Vec<(String, Artifact)>) -> Result<Option<StageWorkspace>, WorkspaceError> {
        let &Begun { stage, folders, .. } = begun;
        let mode = match stage.workspace {
            WorkspaceMode::None => return Ok(None),
            WorkspaceMode::ReadOnly => Mode::ReadOnly,
            WorkspaceMode::Private if self.watch.is_some() => Mode::Learning,
            WorkspaceMode::Private => Mode::Private,
            WorkspaceMode::Shared => Mode::Shared,
        };
        let (checkout, folder, store) = (self.plan.root.clone(), folders.workspace.clone(), self.blobs.clone());
        let work = folders.work.clone();
        let again = begun.cut.is_some();
        let mut protected = self.protected.clone();
        protected.push(HIDDEN.to_owned());
        blocking(move || {
            let consumed: Vec<Consumed<'_>> = consumed.iter().map(|(name, artifact)| Consumed { name, digest: &artifact.digest }).collect();
            if again {
                let private = matches!(mode, Mode::Private | Mode::Learning) || (mode == Mode::ReadOnly && !consumed.is_empty());
                return workspace::taken_up(&checkout, &folder, private).map(Some);
            }
            // of an attempt that was cut off before anything of it was recorded
            workspace::remove_tree(&work)?;
            let request = Request { mode, checkout: &checkout, folder: &folder, consumed: &consumed, store: &store, protected: &protected };
            workspace::prepare(&request).map(Some)
        })
        .await
    }

    /// Marks a private copy, in a learning run.
    async fn mark(&self, workspace: Option<&StageWorkspace>) -> Result<Option<Marked>, WorkspaceError> {
        match workspace.filter(|workspace| workspace.copied.is_some() && self.watch.is_some()) {
            Some(workspace) => {
                let folder = workspace.folder.clone();
                blocking(move || Marked::new(&folder)).await.map(Some)
            }
            None => Ok(None),
        }
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

/// What a stage says of itself goes to the record, to people and to other stages.
fn hide(finished: &mut Finished, mask: &Mask) {
    if mask.is_empty() {
        return;
    }
    for (_, value) in &mut finished.outputs {
        *value = mask.text(value).into_owned();
    }
    match &mut finished.outcome {
        Outcome::Passed { summary } => *summary = mask.text(summary).into_owned(),
        Outcome::Failed { message, denial, .. } => {
            *message = mask.text(message).into_owned();
            if let Some(denial) = denial {
                let DenialRecord { subject, reason, remedy, .. } = denial;
                for text in [subject, reason].into_iter().chain(remedy) {
                    *text = mask.text(text).into_owned();
                }
            }
        }
        Outcome::Cancelled { message } => *message = mask.text(message).into_owned(),
        Outcome::Skipped { .. } | Outcome::Blocked { .. } => {}
    }
}

/// Work on files, away from the threads that run stages.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A path as a person would type it: relative to where they are, if it is below.
pub fn shown(path: &Path) -> String {
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
    // by its name, whatever folder the runner was started in; and what it leads to, if it is a link
    if let Some(name) = plan.file.file_name() {
        paths.push(name.into());
        paths.extend(relative(&root.join(name)));
    }
    for (file, _) in plan.sources.included() {
        paths.extend(relative(file));
    }
    let plugins: BTreeSet<&Path> = plan
        .stages
        .iter()
        .filter_map(|stage| match &stage.plugin.provenance {
            pipeline::manifest::Provenance::Local(path) => Some(path.as_path()),
            _ => None,
        })
        .collect();
    paths.extend(plugins.into_iter().filter_map(relative));
    let mut names: Vec<String> = paths.into_iter().filter_map(|path| path.into_os_string().into_string().ok()).collect();
    names.sort();
    names.dedup();
    names
}
