//! The plugins that ship inside the runner: built from `plugins/` by this crate's build script, embedded as they are.

include!(concat!(env!("OUT_DIR"), "/plugins.rs"));
