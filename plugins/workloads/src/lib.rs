//! Deployments and their Pods, as stages that deploy see them: shared by `canary` and `rollout`.
//!
//! [`Cluster`] is the port to the outside: [`Granted`] is the cluster that the stage's grant leads to, and `simulation` one for tests, with Deployments
//! that behave as their images say. [`workload`] reads Deployments, [`signals`] Pods, and [`why_stuck`] tells what keeps one from getting ready.
//!
//! Deliberately absent: types of Kubernetes' objects. They are JSON, and what is not known is left as it is.

mod cluster;
mod granted;
mod pods;
#[cfg(not(target_arch = "wasm32"))]
pub mod simulation;
mod stuck;
pub mod workload;

pub use cluster::{Cluster, Revisions, WatchId};
pub use granted::Granted;
pub use pods::{Signals, signals};
pub use stuck::why_stuck;
