//! What people are told at the end: one line, and a test case for each step and each metric.

use std::time::Duration;

use runner_analysis::{describe, time};
use runner_sdk::report::{TestCase, TestStatus};

use crate::settings::Settings;
use crate::steps::{Breach, Outcome, Step};
use crate::work::Told;

/// One line: how it ended, and why.
pub fn summary(told: &Told, settings: &Settings, steps: &[Step]) -> String {
    let image = &settings.image;
    let step = |number: usize| steps.get(number).map_or_else(|| "the end".to_owned(), Step::to_string);
    let back = |breach: &Breach| {
        let step = step(breach.step);
        format!("at {}, during `{step}`, after {}: {}: {}", told.part, time(breach.at), breach.what, breach.why)
    };
    match &told.outcome {
        Outcome::Promoted => format!("{} has {image} after {}", settings.deployment, time(told.took)),
        Outcome::RolledBack(breach) => format!("{image} was rolled back {}; all is as it was before", back(breach)),
        Outcome::Stranded { breach, part, why } => {
            format!("{image} had to be rolled back {}; BUT ITS {} COULD NOT BE RESTORED: {why}", back(breach), part.to_uppercase())
        }
        Outcome::Stayed => {
            let step = step(told.canary.step());
            format!("stopped after {}, during `{step}`, and left as it is: {image} has {}", time(told.took), told.part)
        }
    }
}

/// A line for each metric that was measured, and where it was what spoke against the canary, all about it.
pub fn cases(told: &Told, steps: &[Step]) -> Vec<TestCase> {
    let case = |suite: &str, name: &str, status: TestStatus, duration: Duration, message: String| TestCase {
        suite: suite.to_owned(),
        name: name.to_owned(),
        status,
        duration,
        message,
        location: None,
    };
    let number = |at: usize, step: &str| format!("{} {step}", at + 1);
    let mut cases: Vec<TestCase> = told
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| case("steps", &number(at, &step.name), TestStatus::Passed, step.took, String::new()))
        .collect();
    let breach = match &told.outcome {
        Outcome::RolledBack(breach) | Outcome::Stranded { breach, .. } => Some(breach),
        _ => None,
    };
    for (at, step) in steps.iter().enumerate().skip(told.steps.len()) {
        let this = breach.filter(|breach| breach.step == at);
        let message = this.map_or_else(|| "not reached".to_owned(), |breach| lines(breach, told));
        let status = if this.is_some() { TestStatus::Failed } else { TestStatus::Skipped };
        cases.push(case("steps", &number(at, &step.to_string()), status, Duration::ZERO, message));
    }
    for (at, probe) in told.probes.iter().enumerate() {
        let breached = breach.is_some_and(|breach| breach.what == probe.name);
        let tallies = told.canary.tallies(at);
        let status = match (breached, tallies.iter().any(|tally| !tally.points().is_empty())) {
            (true, _) => TestStatus::Failed,
            (false, true) => TestStatus::Passed,
            (false, false) => TestStatus::Skipped,
        };
        cases.push(case("metrics", &probe.name, status, told.took, describe(probe, &told.sides[at], &tallies).join("\n")));
    }
    cases
}

fn lines(breach: &Breach, told: &Told) -> String {
    let mut lines = vec![format!("{}: {}", breach.what, breach.why)];
    lines.extend(told.causes.iter().cloned());
    lines.join("\n")
}
