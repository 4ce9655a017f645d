//! The smallest stage: it greets. `tests/component.rs` builds it and looks at what it imports.

use runner_sdk::{Context, Failure, Outcome, Stage, log};

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    name: String,
}

struct Greet;

impl Stage for Greet {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        if settings.name.is_empty() {
            return Err(Failure::misconfigured("`name` is empty: say whom to greet"));
        }
        log::info(format_args!("Hello, {}!", settings.name));
        Ok(Outcome::new(format_args!("greeted {}", settings.name)))
    }
}

runner_sdk::export!(Greet, manifest = "examples/greet.toml");
