//! What a component is given to link against: standard WASI always, a capability's own interfaces only where it is granted, or where
//! the component imports it as something that it can do without.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use capability::{Registry, StageState};
use pipeline::manifest::PluginInfo;
use pipeline::plan::PlannedGrant;
use tokio::sync::OnceCell;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Result};

use crate::engine::Engines;
use crate::stage::bindings::PluginPre;
use crate::{stage, wasi};

/// Ready to be instantiated: code, linked.
pub struct Prepared {
    pub pre: PluginPre<StageState>,
    /// Capabilities that the component can reach, by their place in the registry: those need a room.
    pub rooms: Vec<usize>,
    /// On which engine.
    pub pooled: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    digest: String,
    linked: Vec<usize>,
    suits: bool,
}

/// A component that is, or is being, prepared. Stages that come meanwhile wait for it: a second copy would cost time and memory.
pub type Slot = Arc<OnceCell<Arc<Prepared>>>;

/// Linked components, once per digest and set of capabilities.
#[derive(Default)]
pub struct Links {
    prepared: Mutex<HashMap<Key, Slot>>,
}

/// Which capabilities a stage's component is linked against, and which of them need a room.
pub struct Reach {
    linked: Vec<usize>,
    rooms: Vec<usize>,
}

impl Reach {
    pub fn of(registry: &Registry, plugin: &PluginInfo, grants: &[PlannedGrant]) -> Self {
        let imports = |prefixes: &[&str]| plugin.imports.iter().any(|i| prefixes.iter().any(|p| i.starts_with(p)));
        let (mut linked, mut rooms) = (Vec::new(), Vec::new());
        for (index, (schema, _)) in registry.iter().enumerate() {
            let granted = grants.iter().any(|g| g.capability == schema.name());
            let imported = imports(schema.interfaces());
            if imported || (granted && !schema.interfaces().is_empty()) {
                linked.push(index);
            }
            if granted || imported || imports(schema.standard()) {
                rooms.push(index);
            }
        }
        Reach { linked, rooms }
    }
}

impl Links {
    /// The place of a component with this reach. `suits`: its stages' limits allow the pool.
    pub fn slot(&self, digest: &str, reach: &Reach, suits: bool) -> Slot {
        let key = Key { digest: digest.to_owned(), linked: reach.linked.clone(), suits };
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }
}

/// Maps verified code and links it.
pub fn prepare(engines: &Engines, registry: &Registry, reach: &Reach, pooled: bool, code: &Path) -> Result<Arc<Prepared>> {
    let engine = if pooled { &engines.pooled } else { &engines.on_demand };
    let linker = linker(engine, registry, &reach.linked)?;
    // SAFETY: the code store verified, with a key that only this user can read, that the file is what this user's runner
    // compiled, and only this user can write to its folder.
    let component = unsafe { Component::deserialize_file(engine, code)? };
    let pre = PluginPre::new(linker.instantiate_pre(&component)?)?;
    Ok(Arc::new(Prepared { pre, rooms: reach.rooms.clone(), pooled }))
}

fn linker(engine: &Engine, registry: &Registry, linked: &[usize]) -> Result<Linker<StageState>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    stage::link(&mut linker)?;
    for (index, (_, capability)) in registry.iter().enumerate() {
        capability.link_standard(&mut linker)?;
        if linked.contains(&index) {
            capability.link(&mut linker)?;
        }
    }
    Ok(linker)
}

/// The first import that nothing provides: neither WASI, nor `runner:stage`, nor a capability.
pub fn unknown_import<'a>(registry: &Registry, plugin: &'a PluginInfo) -> Option<&'a str> {
    let known = |import: &str| {
        let own = wasi::INTERFACES.iter().chain(stage::INTERFACES);
        let theirs = registry.iter().flat_map(|(schema, _)| schema.interfaces().iter().chain(schema.standard()));
        own.chain(theirs).any(|prefix| import.starts_with(prefix))
    };
    plugin.imports.iter().map(String::as_str).find(|import| !known(import))
}
