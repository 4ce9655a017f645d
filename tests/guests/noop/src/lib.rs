//! A stage that does nothing: what a stage costs when it costs nothing.

use runner_sdk::{Context, Failure, Outcome, Stage};

struct Noop;

#[derive(serde::Deserialize)]
struct Settings {}

impl Stage for Noop {
    type Settings = Settings;

    fn run(_: &Context, _: Settings) -> Result<Outcome, Failure> {
        Ok(Outcome::default())
    }
}

runner_sdk::export!(Noop);
