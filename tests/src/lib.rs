//! What the end-to-end tests share: a folder with a pipeline in it, the runner started on it, and what it printed.
//!
//! The tests themselves are `tests/main.rs` and `tests/cases/`, one test binary of the package `cli` (only there does cargo say where
//! the binary is).

mod cluster;
mod daemon;
mod disk;
mod engines;
mod foreign;
mod guests;
mod hostile;
pub mod memory;
mod mirror;
mod needles;
mod offline;
pub mod processes;
mod prometheus;
pub mod receivers;
mod registry;
mod relay;
pub mod repository;
mod run;
pub mod runs;
mod server;
mod told;
mod visitors;
pub mod world;
pub mod xml;

pub use cluster::{Cluster, Namespace, Outage};
pub use daemon::Daemon;
pub use disk::Disk;
pub use engines::{Docker, ImageRegistry, cluster, cluster_alone, docker, image_registry, prometheus};
pub use foreign::foreign;
pub use guests::guest;
pub use hostile::Case;
pub use mirror::Mirror;
pub use needles::Needles;
pub use offline::Replayed;
pub use prometheus::Prometheus;
pub use registry::Registry;
pub use relay::{Fate, Relay, Upstream};
pub use run::{Finished, Project, Running, confined, has, skipped};
pub use server::{Asked, Reply, Server};
pub use told::{Attempt, Denial, Ended, Told};
pub use visitors::Visitors;
