//! The rollout stage: brings a version to a Deployment, and says why if it does not get there.
//!
//! [`settings`] says what is wanted; [`rolling`], [`blue_green`] and [`migration`] do it, by the changes and the waits of [`work`], which can take back what was done. All
//! of it knows the outside as ports (the cluster of `runner-workloads`, the network of `runner-analysis`); only this file knows that there is a host.
//!
//! Deliberately absent: making Deployments and Services, and manifests in general. A stage that changes an image, a number and a selector needs a far narrower
//! grant than one that applies whatever a file says.

pub mod blue_green;
pub mod migration;
pub mod rolling;
pub mod settings;
pub mod work;

use runner_analysis::Network;
use runner_sdk::kubernetes::pods::{self, Destination};
use runner_sdk::report::add_tests;
use runner_sdk::{Context, Failure, Outcome, Stage, outputs};
use runner_workloads::Granted;

use crate::settings::Settings;
use crate::work::Work;

/// The stage.
pub struct Rollout;

runner_sdk::export!(Rollout);

impl Stage for Rollout {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let (mut cluster, mut network) = (Granted::new(), Network);
        // they are open for as long as they are here
        let mut ways = Vec::new();
        let mut forward = |service: &str, port: u16| -> Result<String, Failure> {
            let way = pods::forward(None, &Destination::Service(service.to_owned()), port, &format!("preview-{port}"))?;
            let url = way.url();
            ways.push(way);
            Ok(url)
        };
        let mark = mark(&context.run, context.attempt);
        let mut work = Work::new(&mut cluster, &mut network, &mut forward, &settings, &mark);
        let ended = work.run();
        let (cases, named) = (std::mem::take(&mut work.cases), std::mem::take(&mut work.outputs));
        add_tests(cases);
        let summary = ended?;
        for (name, value) in named {
            outputs::set(name, &value)?;
        }
        Ok(Outcome::new(summary))
    }
}

/// The end of the run's id, and the attempt: no two attempts have the same.
fn mark(run: &str, attempt: u32) -> String {
    let end: Vec<char> = run.chars().filter(char::is_ascii_alphanumeric).collect();
    let end: String = end[end.len().saturating_sub(12)..].iter().collect();
    format!("{}-{attempt}", end.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mark_can_be_a_part_of_a_name() {
        assert_eq!(super::mark("20261121-214501-9F3A1C", 2), "2145019f3a1c-2");
        assert_eq!(super::mark("", 1), "-1");
    }
}
