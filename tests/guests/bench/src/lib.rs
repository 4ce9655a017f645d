//! A stage that does one thing often, to be measured from outside.

use std::io::Write;
use std::time::Duration;

use runner_sdk::{Context, Failure, Outcome, Stage};

struct Bench;

#[derive(serde::Deserialize)]
struct Settings {
    r#do: What,
    amount: u64,
    #[serde(default)]
    path: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// `amount` milliseconds.
    Sleep,
    /// `amount` bytes, in lines of 128.
    Print,
    /// `path`, `amount` times; whether it opens does not matter.
    Open,
}

impl Stage for Bench {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        match settings.r#do {
            What::Sleep => std::thread::sleep(Duration::from_millis(settings.amount)),
            What::Print => print(settings.amount)?,
            What::Open => {
                for _ in 0..settings.amount {
                    let _ = std::fs::File::open(&settings.path);
                }
            }
        }
        Ok(Outcome::default())
    }
}

fn print(amount: u64) -> std::io::Result<()> {
    let mut chunk = [b'x'; 4096];
    chunk.iter_mut().skip(127).step_by(128).for_each(|byte| *byte = b'\n');
    let mut stdout = std::io::stdout().lock();
    for _ in 0..amount / chunk.len() as u64 {
        stdout.write_all(&chunk)?;
    }
    stdout.flush()
}

runner_sdk::export!(Bench);
