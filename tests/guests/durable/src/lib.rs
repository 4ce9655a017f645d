//! A stage that does everything there is, in a fixed order, and says what it saw: the stage that is killed at every effect.
//!
//! It is what a careful author writes: what may happen only once and was cut off is looked for in the world, and done again only if it is not
//! there. What it prints is the same in every run, but for the lines that begin with `random`; times are never printed.

#![allow(clippy::print_stdout)] // what it prints is what is compared

mod bindings;
mod chance;
mod commands;
mod docker;
mod files;
mod kubernetes;
mod network;

use runner_sdk::{Context, Failure, Outcome, Stage, outputs};
use serde::Deserialize;

struct Durable;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// `http://127.0.0.1:8080`
    server: String,
    /// `127.0.0.1:5000/killed/a`: where the part `docker` may push.
    #[serde(default)]
    repository: String,
    /// `namespace/name`: a Pod that the part `kubernetes` may enter.
    #[serde(default)]
    pod: String,
    parts: Vec<Part>,
}

/// Each is a sequence of effects.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Part {
    /// In `work/`, with `given/` to read.
    Files,
    Http,
    WasiHttp,
    /// Foreground commands that must not run twice.
    Once,
    /// Commands that may run twice, and a server in the background.
    Repeatable,
    Chance,
    /// An image and its containers.
    Docker,
    /// Objects of a cluster, and a Pod.
    Kubernetes,
    /// Writes `work/state.txt`: everything that is there.
    State,
    /// Looks at what an earlier stage left in `work/state.txt`.
    Handed,
}

impl Stage for Durable {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        // held open and written to all the while
        let mut diary = if context.workspace().is_some_and(|workspace| workspace.writable) { Some(files::Diary::begin()?) } else { None };
        let network = network::Network { server: &settings.server, stage: &context.stage };
        for part in settings.parts {
            match part {
                Part::Files => files::everything()?,
                Part::Http => network.everything(diary.as_mut())?,
                Part::WasiHttp => network.by_wasi()?,
                Part::Once => commands::once()?,
                Part::Repeatable => commands::repeatable(diary.as_mut())?,
                Part::Chance => chance::everything()?,
                Part::Docker => docker::everything(&settings.repository)?,
                Part::Kubernetes => kubernetes::everything(&settings.pod)?,
                Part::State => files::state()?,
                Part::Handed => files::handed()?,
            }
            if let Some(diary) = &mut diary {
                diary.note("a part is done")?;
            }
        }
        if let Some(diary) = diary {
            outputs::set("diary", &diary.end()?)?;
        }
        outputs::set("stage", &context.stage)?;
        Ok(Outcome::new("did everything"))
    }
}

runner_sdk::export!(Durable);
