//! A Docker engine, as the house uses one.
//!
//! Everything that a run makes in an engine bears the labels of its [`Owner`], so that it can be found and removed, and nothing else.
//!
//! Deliberately absent: who may do what (the policies of `capability-docker` and `capability-commands`), and everything that a stage could ask for
//! and never gets: there is no way to say `privileged`, a host namespace, a device or one more capability here.

mod owner;

pub use owner::Owner;
