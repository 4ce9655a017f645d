//! Files of the workspace, by path, for reading or writing: `wasi:filesystem` through our own descriptors.
//!
//! ```toml
//! [stage.docs.grants]
//! files = [
//!     { path = "src", access = "read" },        # a directory with everything below it, or one file
//!     { path = "docs", access = "write" },      # write includes read
//!     { path = "docs/style.md", access = "read" },   # the longest matching path decides
//! ]
//! ```
//!
//! What is checked for every path, by [`policy`], on the path that was asked for *and* on the one that symbolic links really lead to:
//!
//! - it stays below the directory that it is resolved from (`..`, absolute paths, links that lead out: `outside-workspace`);
//! - it is granted (`not-granted`), for writing if it is to be written (`read-only`);
//! - `.runner` does not exist (`hidden-path`); `.git`, the pipeline file and plugins are never written, nor is a directory that holds one of them
//!   moved away (`protected-path`);
//! - only regular files and directories are opened: a FIFO would block a worker (`special-file`).
//!
//! A hard link is made only from a file that may itself be written. Directory listings show what is granted and the directories
//! that lead there, sorted by name. The scratch folder is always there and has no rules but the first and the last.
//!
//! What guests see of the machine: sizes, link counts and modification times. Access and status-change times are not shown. Names
//! that are not UTF-8 do not exist for guests.
//!
//! Deliberately absent: chmod and owners (WASI has none), file locks, and a check of mount points: a file system that is mounted inside
//! the checkout was put there by its owner, and guests can't mount.

mod backend;
mod disk;
mod effect;
mod errno;
mod grant;
mod host;
mod learned;
mod path;
pub mod policy;
mod resolve;
mod stream;
mod used;
mod view;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use capability::registry::EnterError;
use capability::{Capability, Room, Setting, StageState};
use pipeline::grant::{Grant, GrantSchema};
use wasmtime::component::{HasSelf, Linker};

pub use grant::{Access, FileRule, FilesGrant, FilesSchema};

use backend::FileSystem;
use policy::FilePolicy;

/// The capability `files`.
pub struct Files;

impl Capability for Files {
    fn schema(&self) -> Arc<dyn GrantSchema> {
        Arc::new(FilesSchema)
    }

    fn link_standard(&self, linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
        host::bindings::wasi::filesystem::types::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        host::bindings::wasi::filesystem::preopens::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
        Ok(())
    }

    /// The rules are those of the setting (`mounts`, `hidden`, `protected`), which come from the grant.
    fn enter(&self, _: Option<&Arc<dyn Grant>>, setting: &Arc<Setting>) -> Result<Box<dyn Room>, EnterError> {
        let policy = Arc::new(FilePolicy::new(setting));
        let files = Arc::new(FileSystem::new(setting, policy.clone()));
        Ok(Box::new(FilesRoom { policy, files }))
    }
}

/// The live state of one attempt.
pub(crate) struct FilesRoom {
    pub policy: Arc<FilePolicy>,
    pub files: Arc<FileSystem>,
}

impl Room for FilesRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // files close with their handles; nothing runs on
        Box::pin(std::future::ready(()))
    }
}
