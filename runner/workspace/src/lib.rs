//! What a stage sees of the checkout, and what it leaves behind.
//!
//! - [`State`] is the runner's own folder, `.runner` beside the pipeline file: runs, their locks, blobs. [`Run`] is one run's part of it.
//! - [`prepare`] makes the folder that a stage works in: the checkout itself, or a private copy of it with the artifacts that the stage
//!   consumes. A stage's writes are gone with its copy, so that no stage changes what another runs.
//! - [`BlobStore`] keeps artifacts by content: [`BlobStore::collect`] takes files out of a stage's folder, [`BlobStore::restore`] puts
//!   them into another's. What is read is verified.
//! - [`CacheStore`] keeps folders that a later attempt may have again, by a key.
//! - [`Marked`] finds out what happened to a private copy: what was read, listed, changed, made and removed.
//!
//! Stages are not trusted: by the time the runner looks at a folder that a stage wrote to, it may be full of symbolic links. Everything
//! here opens paths from a directory descriptor, beneath it and through no link.
//!
//! All functions block; none prints. Deliberately absent: who sees which part of the folder (`capability-files`, `capability-commands`),
//! when stages run (`schedule`; `workspace = "shared"` runs alone).

mod artifact;
mod beneath;
mod blob;
mod cache;
mod copy;
mod error;
mod garbage;
mod listing;
mod part;
mod pattern;
mod prepare;
mod remove;
mod restore;
mod state;
mod touched;
mod tracked;

pub use artifact::{ArtifactLimits, Collect, Entry, MANIFEST_FORMAT, Manifest};
pub use blob::{BlobStore, Digest};
pub use cache::{
    CACHE_LIMIT, CacheEntry, CacheFound, CacheKey, CacheListed, CacheRemoved, CacheSaved, CacheStore, Content as CacheContent, KeySource,
    Scopes,
};
pub use copy::Copied;
pub use error::WorkspaceError;
pub use garbage::Removed;
pub use part::copy_parts;
pub use prepare::{Consumed, Mode, Request, StageWorkspace, prepare, taken_up};
pub use remove::remove_tree;
pub use restore::Restored;
pub use state::{AttemptFolders, Run, STATE_FOLDER, State, attempt_name};
pub use touched::{Marked, Touched};

#[cfg(test)]
mod tests;
