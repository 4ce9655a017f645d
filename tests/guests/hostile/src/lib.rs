//! A stage that tries what it must not.

use runner_sdk::{Context, Failure, Outcome, Stage};

struct Hostile;

#[derive(serde::Deserialize)]
struct Settings {}

impl Stage for Hostile {
    type Settings = Settings;

    fn run(_: &Context, _: Settings) -> Result<Outcome, Failure> {
        Ok(Outcome::default())
    }
}

runner_sdk::export!(Hostile);
