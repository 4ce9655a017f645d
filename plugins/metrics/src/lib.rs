//! The metrics stage: measures what was deployed, and compares it with the time before.
//!
//! What is measured, and what that says, is `runner-analysis`, as in the canary stage. It is a stage of its own, and not a part of `smoke`, because CEL is larger than
//! all of `smoke`, which most use without metrics.

pub mod measure;
pub mod settings;

use std::time::{Duration, Instant, UNIX_EPOCH};

use runner_analysis::Network;
use runner_sdk::{Context, Failure, Outcome, Stage, log, report};

use crate::measure::{Clock, measure};
use crate::settings::Settings;

/// The stage.
pub struct Metrics;

runner_sdk::export!(Metrics);

impl Stage for Metrics {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let probes = settings.probes().map_err(Failure::Misconfigured)?;
        // they are open for as long as these live
        let _ways = settings.forward.iter().map(|forward| forward.open()).collect::<Result<Vec<_>, Failure>>()?;
        let began = runner_sdk::run::about().started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let measured = measure(&probes, began, &mut Network, &mut Time(Instant::now()));
        for (one, probe) in measured.iter().zip(&probes) {
            log::info(format_args!("{}\n{}", probe.name, one.case.message));
            if let Some(last) = one.last {
                report::measure(&format!("metrics.{}", probe.name), last, "");
            }
        }
        let bad: Vec<String> =
            measured.iter().filter_map(|one| one.breach.as_ref().map(|why| format!("{}: {why}", one.case.name))).collect();
        let all = measured.len();
        report::add_tests(measured.into_iter().map(|one| one.case));
        match bad.as_slice() {
            [] if all == 1 => Ok(Outcome::new("1 metric is well")),
            [] => Ok(Outcome::new(format_args!("{all} metrics are well"))),
            [first] => Err(Failure::failed(first)),
            [first, others @ ..] => Err(Failure::failed(format_args!("{first} (and {} more)", others.len()))),
        }
    }
}

struct Time(Instant);

impl Clock for Time {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn pause(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn tell(&mut self, line: &str) {
        log::info(line);
    }
}
