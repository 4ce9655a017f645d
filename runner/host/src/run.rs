//! One attempt of a stage, from its plugin to its outcome.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use capability::log::PASS_ON;
use capability::{Boundary, Clock, Ledger, Mode, Registry, Room, Setting, StageLog, StageState};
use event::{Event, EventSink, FailureKind, Kind, Outcome};
use pipeline::plan::{Bound, PlannedGrant};
use tokio::sync::watch;
use wasmtime::Store;

use crate::ended::{self, Suspended};
use crate::engine::Engines;
use crate::limits::MemoryLimit;
use crate::link::{self, Links, Prepared, Reach};
use crate::plugin::PluginFile;
use crate::stage::bindings::Context;
use crate::stage::{CONTROL, ControlRoom, People, ResultsRoom};
use crate::store::{CodeStore, StoreError};
use crate::wasi::{RandomRoom, StdioRoom};

/// What a host is made of.
pub struct Options {
    /// Where compiled code is kept.
    pub code: PathBuf,
    /// The runner, re-executed to compile.
    pub exe: PathBuf,
    pub registry: Registry,
    pub sink: Arc<dyn EventSink>,
    /// Of the stages' random source.
    pub seed: [u8; 32],
    /// So many attempts run at the same time.
    pub at_once: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the WebAssembly engine can't be set up: {0:#}")]
    Engine(wasmtime::Error),
}

/// Runs stages. One per run; shared by all of them.
pub struct Host {
    engines: Engines,
    links: Links,
    store: CodeStore,
    options: Options,
}

/// How far a stage was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    No,
    /// The component ends now, unless it asks itself whether it should (`runner:stage/control`); its commands are asked to end and get their grace.
    Soft,
    /// Everything ends now.
    Hard,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Finished {
    pub outcome: Outcome,
    /// Empty unless it passed.
    pub outputs: Vec<(String, String)>,
    /// The host ended the component from outside, at a moment that nothing inside determines.
    pub cut_off: bool,
    /// How many effects and deliveries it took part in.
    pub crossed: u64,
    /// It has not ended: an effect is in doubt, and a person has to choose.
    pub suspended: Option<Suspended>,
}

/// What the component is given, apart from the setting.
#[derive(Debug, Clone)]
pub struct Given {
    /// The `with` table as JSON.
    pub settings: String,
    /// The capabilities that are granted to it, by name.
    pub granted: Vec<String>,
    /// Decoded; none in an offline replay, where nothing is decided.
    pub grants: Vec<PlannedGrant>,
}

impl From<Bound> for Given {
    fn from(bound: Bound) -> Self {
        let granted = bound.grants.iter().map(|g| g.capability.to_owned()).collect();
        Given { settings: bound.settings.to_string(), granted, grants: bound.grants }
    }
}

/// The attempt's record: what was recorded of it, and where it goes on.
pub struct Track {
    pub ledger: Arc<dyn Ledger>,
    pub clock: Clock,
    pub mode: Mode,
    /// In an offline replay of an attempt that was cut off: how many positions are recorded. It ends when they are over.
    pub ends_after: Option<u64>,
}

/// One attempt.
pub struct Attempt<'a> {
    pub plugin: &'a PluginFile,
    pub given: Given,
    pub setting: Arc<Setting>,
    pub track: Track,
    /// Asks it to stop early.
    pub stop: watch::Receiver<Stop>,
    /// Whom it can ask; none in a replay.
    pub people: Option<Arc<dyn People>>,
}

impl Host {
    pub fn new(options: Options) -> Result<Self, HostError> {
        let store = CodeStore::open(&options.code, &options.exe)?;
        let engines = Engines::new(options.at_once).map_err(HostError::Engine)?;
        Ok(Host { engines, links: Links::default(), store, options })
    }

    /// Runs an attempt to its end. Whatever it started is gone when this returns; dropping the future ends it hard.
    pub async fn run(&self, mut attempt: Attempt<'_>) -> Finished {
        let setting = attempt.setting.clone();
        let prepared = match self.prepare(&attempt).await {
            Ok(prepared) => prepared,
            Err((kind, message)) => return Finished::failed(kind, message),
        };
        let mut store = match self.store_for(&prepared, &attempt) {
            Ok(store) => store,
            Err(message) => return Finished::failed(FailureKind::Host, message),
        };
        let context = context(&setting, &attempt.given);
        let boundary = store.data().boundary.clone();
        let ends_after = attempt.track.ends_after;
        let log = setting.log.clone();
        let asks = attempt.plugin.info.imports.iter().any(|import| import.starts_with(CONTROL));
        let ended = {
            let call = async {
                let plugin = prepared.pre.instantiate_async(&mut store).await?;
                plugin.call_run(&mut store, &context).await
            };
            tokio::select! {
                biased;
                () = stopped(&mut attempt.stop, if asks { Stop::Hard } else { Stop::Soft }) => None,
                // commands write to the log too: a full one ends the stage even while the component waits
                closed = log.closing() => Some(Err(wasmtime::Error::new(closed))),
                result = call => Some(result),
                () = pass_on(&log) => None,
                () = over(&boundary, &log, ends_after) => None,
            }
        };
        if ended.as_ref().is_none_or(|ended| ended.as_ref().is_err_and(ended::is_cut_off)) {
            boundary.abandon();
        }
        let memory_refused = store.data_mut().room::<MemoryLimit>().refused;
        let outputs = std::mem::take(&mut store.data_mut().room::<ResultsRoom>().outputs);
        let rooms = store.data_mut().leave();
        // the instance goes first: it holds handles on what the rooms own
        drop(store);
        tokio::select! {
            biased;
            () = leave(rooms) => {}
            () = stopped(&mut attempt.stop, Stop::Hard) => {}
        }
        let finished = match ended {
            None => Finished::stopped(),
            Some(Ok(Ok(outcome))) => Finished::passed(outcome.summary, outputs.into_iter().collect()),
            Some(Ok(Err(failure))) => Finished::from_failure(failure, &setting.name),
            Some(Err(trap)) => Finished::from_trap(&trap, memory_refused, &setting.limits),
        };
        Finished { crossed: boundary.crossed(), ..finished }
    }

    async fn prepare(&self, attempt: &Attempt<'_>) -> Result<Arc<Prepared>, (FailureKind, String)> {
        let limits = &attempt.setting.limits;
        let (plugin, info) = (attempt.plugin, &attempt.plugin.info);
        let size = plugin.bytes.len() as u64;
        if size > limits.component {
            let message = format!("the component has {size} bytes, its limit is {}; raise `limits.component`", limits.component);
            return Err((FailureKind::Limit, message));
        }
        let reach = Reach::of(&self.options.registry, info, &attempt.given.grants);
        let suits = self.engines.pool_suits(limits);
        let slot = self.links.slot(&info.digest, &reach, suits);
        slot.get_or_try_init(|| self.compile_and_link(attempt, &reach, suits)).await.cloned()
    }

    async fn compile_and_link(&self, attempt: &Attempt<'_>, reach: &Reach, suits: bool) -> Result<Arc<Prepared>, (FailureKind, String)> {
        let (plugin, info) = (attempt.plugin, &attempt.plugin.info);
        let registry = &self.options.registry;
        if let Some(import) = link::unknown_import(registry, info) {
            return Err((FailureKind::Host, format!("{} imports `{import}`, which this runner does not provide", info.uses)));
        }
        let mut told = false;
        let compiling = || {
            told = true;
            self.emit(Kind::Compiling { plugin: info.uses.clone(), digest: info.digest.clone() });
        };
        let limit = attempt.setting.limits.compile;
        let code = self.store.code(&info.digest, &plugin.bytes, limit, compiling).await;
        if told {
            self.emit(Kind::Compiled { plugin: info.uses.clone(), digest: info.digest.clone() });
        }
        let code = code.map_err(|error| {
            let kind = match &error {
                StoreError::Compile(crate::CompileError::Timeout(_)) => FailureKind::Limit,
                _ => FailureKind::Host,
            };
            (kind, format!("{}: {error}", info.uses))
        })?;
        if suits {
            // a component with more memories or tables than a slot of the pool has is no mistake: it runs on demand
            if let Ok(prepared) = link::prepare(&self.engines, registry, reach, true, &code.path) {
                return Ok(prepared);
            }
        }
        link::prepare(&self.engines, registry, reach, false, &code.path)
            .map_err(|error| (FailureKind::Host, format!("{} can't be linked: {error:#}", info.uses)))
    }

    fn store_for(&self, prepared: &Prepared, attempt: &Attempt<'_>) -> Result<Store<StageState>, String> {
        let setting = &attempt.setting;
        let options = &self.options;
        let Track { ledger, clock, mode, .. } = &attempt.track;
        let boundary = Boundary::new(setting.stage.clone(), setting.attempt, ledger.clone(), options.sink.clone(), clock.clone())
            .in_mode(*mode)
            .in_order_with(setting.log.clone())
            .hiding(setting.secrets.mask().clone());
        let mut state = StageState::new(setting.clone(), boundary);
        state.enter(Box::new(ResultsRoom::default()));
        state.enter(Box::new(ControlRoom::new(attempt.stop.clone(), attempt.people.clone())));
        state.enter(Box::new(StdioRoom(setting.log.clone())));
        state.enter(Box::new(RandomRoom::new(&options.seed, setting.stage.as_str(), setting.attempt)));
        let limit = usize::try_from(setting.limits.memory).unwrap_or(usize::MAX);
        state.enter(Box::new(MemoryLimit { limit, refused: false }));
        for (index, (schema, capability)) in options.registry.iter().enumerate() {
            if prepared.rooms.contains(&index) {
                let grant = attempt.given.grants.iter().find(|g| g.capability == schema.name()).map(|g| &g.grant);
                state.enter(capability.enter(grant, setting).map_err(|e| format!("{}: {e}", schema.name()))?);
            }
        }
        let engine = if prepared.pooled { &self.engines.pooled } else { &self.engines.on_demand };
        let mut store = Store::new(engine, state);
        store.limiter(|state| state.room::<MemoryLimit>());
        store.set_hostcall_fuel(usize::try_from(setting.limits.hostcall).unwrap_or(usize::MAX));
        store.set_max_component_handles(setting.limits.handles as usize);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }

    fn emit(&self, kind: Kind) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.options.sink.emit(&Event { at: now.as_nanos() as u64, kind });
    }

    /// Where compiled code is kept.
    pub fn code_folder(&self) -> &Path {
        self.store.folder()
    }
}

/// Resolves once the attempt is asked to stop at least this hard.
async fn stopped(stop: &mut watch::Receiver<Stop>, least: Stop) {
    let reached = |stop: &Stop| match least {
        Stop::No => true,
        Stop::Soft => *stop != Stop::No,
        Stop::Hard => *stop == Stop::Hard,
    };
    if stop.wait_for(reached).await.is_err() {
        // nobody is left who could ask
        std::future::pending::<()>().await;
    }
}

/// Lets people see what the stage prints while it runs. Never ends.
async fn pass_on(log: &StageLog) {
    loop {
        tokio::time::sleep(PASS_ON).await;
        log.pass_on();
    }
}

/// Resolves when a replayed attempt that was cut off has done all that is recorded of it: from there on nobody knows what it did, and it may
/// well do nothing but compute.
async fn over(boundary: &Boundary, log: &StageLog, ends_after: Option<u64>) {
    let Some(records) = ends_after else { return std::future::pending().await };
    while boundary.crossed() < records || log.missing() > 0 {
        tokio::time::sleep(PASS_ON).await;
        log.pass_on();
    }
}

async fn leave(rooms: Vec<Box<dyn Room>>) {
    for room in rooms {
        room.leave().await;
    }
}

fn context(setting: &Setting, given: &Given) -> Context {
    use crate::stage::bindings::runner::stage::types::Mount;
    let mut mounts = Vec::new();
    if setting.workspace.is_some() && !setting.mounts.is_empty() {
        let writable = setting.mounts.iter().any(|m| m.writable);
        mounts.push(Mount { path: capability::state::WORKSPACE.into(), writable });
    }
    mounts.push(Mount { path: capability::state::SCRATCH.into(), writable: true });
    Context {
        pipeline: setting.pipeline.clone(),
        run: setting.run.clone(),
        stage: setting.stage.to_string(),
        attempt: setting.attempt,
        settings: given.settings.clone(),
        env: setting.env.clone(),
        mounts,
        grants: given.granted.clone(),
    }
}
