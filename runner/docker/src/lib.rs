//! A Docker engine, as the house uses one.
//!
//! Everything that a run makes in an engine bears the labels of its [`Owner`], so that it can be found and removed, and nothing else.
//!
//! Deliberately absent: who may do what (the policies of `capability-docker` and `capability-commands`), and everything that a stage could ask for
//! and never gets: there is no way to say `privileged`, a host namespace, a device or one more capability here.

mod build;
mod container;
mod digest;
mod endpoint;
mod engine;
mod error;
mod exec;
mod harden;
mod holder;
mod image;
mod launcher;
mod owner;
mod pod;
mod pour;
mod process;
mod spec;
mod stage_pod;
mod sweep;
mod tls;
mod transfer;
mod turn;

pub use build::{BuildSpec, Built, Told};
pub use container::{Container, Ended, Output, Printed, State};
pub use engine::{About, Engine};
pub use error::EngineError;
pub use exec::Exec;
pub use image::Image;
pub use launcher::{ImageLauncher, Serving};
pub use owner::Owner;
pub use pod::{PROXY, Pod, PodSpec};
pub use pour::{PourError, pour};
pub use spec::{Ceilings, ContainerSpec, ExecSpec, Kept, Mount, NetworkMode};
pub use stage_pod::StagePod;
pub use sweep::{Swept, sweep};
pub use transfer::{Login, OnProgress, Progress, Pushed};

#[cfg(test)]
mod tests;
