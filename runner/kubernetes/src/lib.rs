//! A Kubernetes cluster, as the house uses one. The only crate that knows kube.
//!
//! What is asked is an [`admission::Target`] or an [`admission::Request`]: a path that could mean something else can't be made, and there is no way to give a
//! header. Objects are JSON in the version that was asked for; nothing is read into types of one release of Kubernetes.
//!
//! Requests wait for a cluster that throttles, or that was started again, as long as their [`Patience`] lasts. One that may have been carried out is never
//! sent twice: it ends as [`ClusterError::Lost`], and whoever asked looks what became of it.
//!
//! Deliberately absent: who may do what (`admission`, and the boundary around it), acting as somebody else, and kube's own retries, which would send a write
//! again that a gateway timed out on.

mod answer;
mod ask;
mod cluster;
mod config;
mod error;
mod events;
mod exec;
mod forward;
mod logs;
mod objects;
mod rollout;
mod watch;

pub use ask::Patience;
pub use cluster::Cluster;
pub use config::contexts;
pub use error::ClusterError;
pub use events::{Occurrence, occurrences};
pub use exec::{Exec, Output};
pub use forward::{Tunnel, choose};
pub use logs::{Log, LogOptions, Place};
pub use objects::{Page, Propagation, Selection, Writing};
pub use rollout::{Progress, Revision, State, history, progress, return_to};
pub use watch::{Change, Event, Known, Watch};

#[cfg(test)]
mod tests;
