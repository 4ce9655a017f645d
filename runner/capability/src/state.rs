//! What one attempt of a stage is made of: the data of its wasmtime store.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use event::StageRef;
use pipeline::grant::MountRule;
use secret::Held;
use wasmtime::component::ResourceTable;

use crate::boundary::Boundary;
use crate::endpoint::Endpoints;
use crate::log::StageLog;
use crate::registry::Room;
use crate::so_far::RunSoFar;

/// Where `/workspace` is for guests and confined commands.
pub const WORKSPACE: &str = "/workspace";
/// Where the scratch folder is for guests and confined commands.
pub const SCRATCH: &str = "/scratch";

/// Who and where an attempt is. Fixed before the component starts.
pub struct Setting {
    pub run: String,
    pub pipeline: String,
    pub stage: StageRef,
    /// The stage's key in the pipeline file: `[stage.<name>]`, for remedies.
    pub name: String,
    pub attempt: u32,
    /// The folder that is `/workspace`: the checkout for readers, a private copy for writers. `None`: no files are granted.
    pub workspace: Option<PathBuf>,
    /// The folder that is `/scratch`: empty at the start, gone after the end, made when it is first asked for.
    pub scratch: Scratch,
    /// What of the workspace is granted. The longest matching path decides; without a match there is no access.
    pub mounts: Vec<MountRule>,
    /// Paths below the workspace that nobody sees: `.runner`.
    pub hidden: Vec<String>,
    /// Paths below the workspace that nobody writes, whatever is granted: `.git`, the pipeline file, plugins.
    pub protected: Vec<String>,
    /// `env` of the pipeline file.
    pub env: Vec<(String, String)>,
    /// What the stage's placeholders stand for.
    pub secrets: Arc<Held>,
    /// What `runner:stage/run` answers; only where the component imports it.
    pub so_far: Option<Arc<RunSoFar>>,
    pub limits: pipeline::plan::Limits,
    pub endpoints: Endpoints,
    /// The stage's services. As `<name>.stage` and by their bare names they are the stage's own (`endpoints`), whatever the network says.
    pub services: Vec<String>,
    /// What confined programs find in their home folder.
    pub caches: Vec<CacheFolder>,
    /// What capabilities were given before the component starts.
    pub prepared: Prepared,
    pub log: Arc<StageLog>,
}

/// A folder of the host's that confined programs find in their home folder, and may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolder {
    /// Relative to the home folder: `.npm`.
    pub inside: String,
    /// Where changes go.
    pub folder: PathBuf,
    /// The entry below, which stays as it is, and an empty folder for the kernel. None: the folder is all there is.
    pub over: Option<(PathBuf, PathBuf)>,
}

/// Things that live longer than a capability's room, found by type.
#[derive(Default)]
pub struct Prepared(Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Prepared {
    pub fn insert<T: Any + Send + Sync>(&self, thing: Arc<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), thing);
    }

    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let thing = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).cloned();
        thing.and_then(|thing| thing.downcast().ok())
    }
}

/// A folder of the stage's own. Most stages never look into it, and making one costs more than running them.
pub struct Scratch {
    path: PathBuf,
    made: OnceLock<()>,
}

impl Scratch {
    pub fn new(path: PathBuf) -> Self {
        Scratch { path, made: OnceLock::new() }
    }

    /// The folder's path; the folder exists from now on.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn path(&self) -> io::Result<&Path> {
        if self.made.get().is_none() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            let _ = self.made.set(());
        }
        Ok(&self.path)
    }

    /// Whether anybody asked for it, so that there is something to remove.
    pub fn made(&self) -> bool {
        self.made.get().is_some()
    }
}

/// A limit that the component ran into. Ends the attempt; found again in the trap's error chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} reached its limit of {limit}; {remedy}")]
pub struct TrapLimit {
    pub what: &'static str,
    pub limit: String,
    /// What to do about it, such as the key under `[stage.<name>.limits]` to raise.
    pub remedy: &'static str,
}

/// The store's data. Capabilities keep their live state in rooms, found by type.
pub struct StageState {
    pub table: ResourceTable,
    pub boundary: Boundary,
    pub setting: Arc<Setting>,
    rooms: BTreeMap<TypeId, Box<dyn Room>>,
}

impl StageState {
    pub fn new(setting: Arc<Setting>, boundary: Boundary) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(setting.limits.handles as usize);
        StageState { table, boundary, setting, rooms: BTreeMap::new() }
    }

    /// Moves a capability's live state in.
    pub fn enter(&mut self, room: Box<dyn Room>) {
        let id = (*room).type_id();
        self.rooms.insert(id, room);
    }

    /// A capability's live state.
    ///
    /// # Panics
    /// If the capability was never entered: its interfaces are linked only together with its room.
    pub fn room<R: Room>(&mut self) -> &mut R {
        let room = self.rooms.get_mut(&TypeId::of::<R>()).expect("a capability is linked together with its room");
        let room: &mut dyn Any = &mut **room;
        room.downcast_mut().expect("rooms are kept by their type")
    }

    /// The table and a room together, for host functions that need both.
    pub fn table_and_room<R: Room>(&mut self) -> (&mut ResourceTable, &mut R) {
        let room = self.rooms.get_mut(&TypeId::of::<R>()).expect("a capability is linked together with its room");
        let room: &mut dyn Any = &mut **room;
        (&mut self.table, room.downcast_mut().expect("rooms are kept by their type"))
    }

    /// Every room, for the end of the attempt.
    pub fn leave(&mut self) -> Vec<Box<dyn Room>> {
        std::mem::take(&mut self.rooms).into_values().collect()
    }
}
