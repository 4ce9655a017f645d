//! The canary stage: a new version gets a growing part of the traffic, for as long as nothing speaks against it.
//!
//! [`settings`] says what is wanted. [`steps`] decides: a state machine without a clock, a network or a cluster. [`ops`] puts what it decides into an order in which
//! no request is lost, [`traffic`] into patches of routes; [`health`] judges what Pods say of themselves. [`work`] and `carry` drive it all through two ports: the
//! cluster (`runner-workloads`), and the network that metrics come from (`runner-analysis`, which knows what they say). Only this file knows that there is a host.
//!
//! The one rule above all others: **it never fails open**. No data, a NaN, a source that does not answer, a condition that can't be told are never a pass; they
//! hold the canary where it is, and send it back at a limit.
//!
//! Deliberately absent: making the canary's Deployment, its Service or its routes. They are part of what is deployed, and a stage that only changes numbers and an
//! image needs a far narrower grant.

mod carry;
pub mod health;
pub mod ops;
pub mod report;
pub mod settings;
pub mod steps;
pub mod traffic;
pub mod work;

use std::time::UNIX_EPOCH;

use runner_analysis::Network;
use runner_sdk::report::measure;
use runner_sdk::{Context, Failure, Outcome, Stage, log, outputs};
use runner_workloads::Granted;

use crate::settings::Settings;
use crate::steps::Outcome as Ended;
use crate::work::{Told, Work};

/// The stage.
pub struct CanaryStage;

runner_sdk::export!(CanaryStage);

impl Stage for CanaryStage {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let (_, steps) = settings.plan().map_err(Failure::Misconfigured)?;
        // they are open for as long as these live
        let _ways = settings.forward.iter().map(|forward| forward.open()).collect::<Result<Vec<_>, Failure>>()?;
        let started = runner_sdk::run::about().started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (mut cluster, mut network) = (Granted::new(), Network);
        let (work, plan) = Work::begin(&mut cluster, &mut network, &settings, started)?;
        let told = work.run(plan);
        for (name, value) in last_values(&told) {
            measure(&format!("canary.{name}"), value, "");
        }
        let summary = report::summary(&told, &settings, &steps);
        let cases = report::cases(&told, &steps);
        for case in cases.iter().filter(|case| !case.message.is_empty()) {
            log::info(format_args!("{} › {}\n{}", case.suite, case.name, case.message));
        }
        runner_sdk::report::add_tests(cases);
        outputs::set("image", &settings.image)?;
        match told.outcome {
            Ended::Promoted => Ok(Outcome::new(summary)),
            Ended::RolledBack(_) => Err(told.denial.map_or_else(|| Failure::Failed(summary), Failure::Denied)),
            Ended::Stayed => Err(Failure::Failed(summary)),
            Ended::Stranded { .. } => Err(Failure::Errored(summary)),
        }
    }
}

fn last_values(told: &Told) -> Vec<(String, f64)> {
    let last = |(at, probe): (usize, &runner_analysis::Probe)| {
        let value = told.canary.tallies(at).iter().flat_map(|tally| tally.points()).filter_map(|point| point.value).next_back()?;
        Some((probe.name.clone(), value))
    };
    told.probes.iter().enumerate().filter_map(last).collect()
}
