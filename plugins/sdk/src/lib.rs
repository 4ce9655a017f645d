//! Write a stage for `runner` in Rust.
//!
//! A stage is a type that implements [`Stage`] in a crate of type `cdylib`, with a manifest `plugin.toml` beside its `Cargo.toml`:
//!
//! ```no_run
//! use runner_sdk::{Context, Failure, Outcome, Stage, commands::Command, log};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields)]
//! struct Settings {
//!     package: String,
//! }
//!
//! struct Bench;
//!
//! impl Stage for Bench {
//!     type Settings = Settings;
//!
//!     fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
//!         log::info(format_args!("{}: benchmarks of {}", context.stage, settings.package));
//!         let exit = Command::new("cargo").args(["bench", "-p", &settings.package]).run()?;
//!         if exit.success() { Ok(Outcome::new("benchmarks ran")) } else { Err(Failure::failed(format_args!("cargo bench: {exit}"))) }
//!     }
//! }
//!
//! runner_sdk::export!(Bench, manifest = "examples/greet.toml"); // or export!(Bench), which takes plugin.toml
//! # fn main() {}
//! ```
//!
//! One module per interface of the WIT package `runner:stage` and its capabilities. A component imports only what its code
//! calls: a stage that never touches [`http`] does not ask for it. Everything compiles for the developer's own machine too, so
//! that a stage's logic is tested by plain `cargo test`; there, calling into the host panics.
//!
//! Deliberately absent: an async runtime (WASI 0.2 has no threads; [`commands::wait_any`] waits for several things at once), and
//! every effect that needs no capability of ours: clocks, randomness and files are `std`'s.

// The generated export macro names this crate's bindings by the path that authors use.
#[allow(unused_extern_crates)] // rustc does not count uses in a macro's output
extern crate self as runner_sdk;

#[doc(hidden)]
pub mod bindings;
pub mod commands;
mod context;
pub mod control;
pub mod docker;
mod export;
mod failure;
pub mod files;
pub mod http;
pub mod kubernetes;
pub mod log;
pub mod outputs;
pub mod progress;
pub mod report;
pub mod run;
pub mod secrets;
pub mod service;
mod span;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use context::{Context, Mount, Outcome};
pub use failure::{Denial, Failure};
pub use serde;
pub use serde_json;
pub use span::Span;

#[doc(hidden)]
pub use export::{HostContext, HostFailure, HostOutcome, run_stage};

/// A stage: what a plugin is for.
pub trait Stage {
    /// The stage's `with` table, which the host has checked against the schema in `plugin.toml`.
    ///
    /// Use `#[serde(rename_all = "kebab-case", deny_unknown_fields)]`; [`testing::schema_matches`](crate::testing) keeps schema and type in step.
    type Settings: serde::de::DeserializeOwned;

    /// Runs the stage once. Each attempt is a new instance: nothing is left of an earlier one, in memory or in `/scratch`.
    fn run(context: &Context, settings: Self::Settings) -> Result<Outcome, Failure>;
}

/// Every function that calls the host starts here: outside a component there is no host to call.
fn inside(call: &str) {
    if cfg!(not(target_arch = "wasm32")) {
        panic!(
            "runner_sdk::{call} was called outside a stage. Only a component that `runner` runs can call it: keep it out of code under native tests"
        );
    }
}
