//! Runs one stage: finds the plugin, reads its manifest and imports, compiles it once, gives it a sandbox with exactly the granted
//! capabilities, runs it within its limits, and says how it ended.
//!
//! Deliberately absent: any capability by name (they come in a `Registry`), order and retries (`schedule`), where workspaces and
//! logs lie (the caller's `Setting`).

mod compile;
mod ended;
mod engine;
mod limits;
mod link;
mod plugin;
mod run;
mod stage;
mod store;
mod wasi;

pub use compile::{ARGUMENT as COMPILE_ARGUMENT, CompileError, compile_main};
pub use ended::Suspended;
pub use engine::CONFIGURATION;
pub use plugin::{Found, PluginFile, PluginFiles, Reader, SECTION};
pub use run::{Attempt, Finished, Given, Host, HostError, Options, Stop, Track};
pub use stage::{People, Word};
pub use store::CodeStore;
pub use store::StoreError;
