//! What `init` writes for a repository: found out from its files, without running anything.

pub mod detect;
pub mod text;
