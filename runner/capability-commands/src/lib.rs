//! Programs a stage may start, and the confinement they run in.
//!
//! ```toml
//! [stage.lint.grants]
//! commands = { in = "process", toolchain = "rust", programs = ["cargo"], repeatable = true }
//! ```
//!
//! ```toml
//! commands = { in = "container", image = "node:20", programs = ["npm", "npx"], memory = "2GiB" }
//! ```
//!
//! With `network = ["registry.example:443", { host = "npm.internal:4873", private = true }]` confined programs and
//! containers reach these hosts through a proxy that the host runs ([`egress`]), and no others; without it they have no network.
//!
//! A program that runs when the runner is killed is killed with it. When the run is resumed, one with a name is started again, and so is every
//! one where the grant says `repeatable = true`; of any other nobody can tell how far it came, and the user is asked.
//!
//! What is checked when a program is started: its name or path against `programs`; its variables (none that decide what is run); its working
//! directory (the workspace or the scratch folder). What it can do is bounded by where it runs: `in = "process"` confines it
//! ([`jail`]), `in = "container"` puts it into a container of its own (the crate `docker`), `in = "host"` does neither, and is only for bundled and local plugins. What a started program starts is bounded by the
//! confinement, not by `programs`.

pub mod jail;

mod backend;
mod bridge;
mod containers;
mod grant;
mod host;
mod launcher;
mod learned;
mod lost;
mod name;
mod network;
mod policy;
mod seen;
mod stage_jail;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use capability::registry::EnterError;
use capability::{Boundary, Capability, Revive, Setting, StageState};
use pipeline::grant::{Grant, GrantSchema};
use wasmtime::component::{HasSelf, Linker};

use backend::Programs;
pub use bridge::{Bridge, bridge};
pub use containers::StageContainers;
pub use grant::{CommandsGrant, Place, Within};
pub use launcher::{JailLauncher, ServiceRoom};
use lost::Revival;
pub use policy::command_line;
pub use stage_jail::StageJail;

pub use learned::provided;

/// The representation of `runner:commands/commands.process`: the program's number.
pub struct Handle(u32);

/// The capability.
pub struct Commands {
    warden: PathBuf,
    unconfined: bool,
}

impl Commands {
    /// `warden` is the runner's own executable, which is started again as process 1 of every jail.
    pub fn new(warden: PathBuf) -> Self {
        Commands { warden, unconfined: false }
    }

    /// Runs what is granted `in = "process"` on the host instead, for machines that can't confine. The user's choice, never the file's.
    #[must_use]
    pub fn unconfined(mut self, unconfined: bool) -> Self {
        self.unconfined = unconfined;
        self
    }
}

impl Capability for Commands {
    fn schema(&self) -> Arc<dyn GrantSchema> {
        Arc::new(grant::Schema { unconfined: self.unconfined })
    }

    fn link(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        host::bindings::runner::commands::commands::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)
    }

    fn enter(&self, grant: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn capability::Room>, EnterError> {
        let grant = grant.and_then(|grant| grant.as_any().downcast_ref::<CommandsGrant>()).cloned().map(Arc::new);
        Ok(Box::new(Room { programs: Arc::new(Programs::new(setting.clone(), grant, self.warden.clone())), revival: None }))
    }
}

/// The programs of one attempt.
struct Room {
    programs: Arc<Programs>,
    revival: Option<Arc<Revival>>,
}

impl Room {
    /// Has background programs started again where the record ends.
    fn revive_at(&mut self, boundary: &Boundary) {
        if self.revival.is_none() {
            let revival = Arc::new(Revival { programs: self.programs.clone(), boundary: boundary.clone() });
            let revive: Arc<dyn Revive> = revival.clone();
            boundary.on_live(Arc::downgrade(&revive));
            self.revival = Some(revival);
        }
    }
}

impl capability::Room for Room {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.programs.end().await })
    }
}
