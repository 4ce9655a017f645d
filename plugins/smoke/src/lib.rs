//! The `smoke` stage: walks through a running service over HTTP and checks what it answers.
//!
//! This file is the shell that starts, sends, waits and reports. What is sent and what counts as an answer stands in [`journey`],
//! [`assertion`] and [`template`], which know no network.
//!
//! Deliberately absent: load (this is one client that does one thing at a time), browsers, and any clock but the passing of time, except
//! for certificates, which are about the date.

mod answer;
mod assertion;
mod capture;
mod journey;
mod mistakes;
mod settings;
mod status;
mod template;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use runner_sdk::report::{self, TestCase, TestStatus};
use runner_sdk::service::Running;
use runner_sdk::{Context, Failure, Outcome, Stage, http, log, progress};

use answer::Answer;
use journey::{Request, Trouble, World};
use settings::Settings;

/// The suite under which the report shows services that did not start.
const START: &str = "start";

/// How long a service may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The stage.
pub struct Smoke;

runner_sdk::export!(Smoke);

impl Stage for Smoke {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        mistakes::check(&settings)?;
        let started = Instant::now();
        let services = start(&settings)?;
        // they are open for as long as these live
        let _ways = settings.forward.iter().map(|forward| forward.open()).collect::<Result<Vec<_>, Failure>>()?;
        let mut outside = Outside { started, services: &services };
        let mut cases = Vec::new();
        let walked = walk(&settings, &mut outside, &mut cases);

        let died = died(&services);
        let count = |statuses: &[TestStatus]| cases.iter().filter(|case| statuses.contains(&case.status)).count();
        let (passed, broken) = (count(&[TestStatus::Passed]), count(&[TestStatus::Failed, TestStatus::Errored]));
        let first = cases.iter().find(|case| matches!(case.status, TestStatus::Failed | TestStatus::Errored)).map(first_line);
        if let Some(slowest) = slowest(&cases) {
            report::measure("smoke.slowest", (slowest.as_secs_f64() * 1e4).round() / 10.0, "ms");
        }
        report::add_tests(cases);

        walked?;
        if let Some(first) = first {
            let others = if broken > 1 { format!(" (and {} more)", broken - 1) } else { String::new() };
            let died = died.map(|text| format!("; {text}")).unwrap_or_default();
            return Err(Failure::failed(format_args!("{first}{others}{died}")));
        }
        if let Some(text) = died {
            return Err(Failure::failed(text));
        }
        for service in services {
            let (name, exit) = (service.name().to_owned(), service.stop(GRACE));
            log::info(format_args!("{name} has stopped: {exit}"));
        }
        Ok(Outcome::new(format_args!("{passed} steps in {:.1?}", started.elapsed())))
    }
}

fn start(settings: &Settings) -> Result<Vec<Running>, Failure> {
    let mut running = Vec::new();
    for service in &settings.start {
        progress::update(0, 0, format_args!("starting {}", service.name));
        let began = Instant::now();
        match service.start() {
            Ok(service) => running.push(service),
            Err(failure) => {
                let message = failure.to_string();
                let (suite, name, duration) = (START.to_owned(), service.name.clone(), began.elapsed());
                report::add_tests([TestCase { suite, name, status: TestStatus::Errored, duration, message, location: None }]);
                return Err(failure);
            }
        }
    }
    Ok(running)
}

fn walk(settings: &Settings, world: &mut dyn World, cases: &mut Vec<TestCase>) -> Result<(), Failure> {
    let total = settings.journeys.len() as u64 + 1;
    progress::update(0, total, "checks");
    let healthy = journey::run_checks(settings, world, cases)?;
    for (index, one) in settings.journeys.iter().enumerate() {
        if !healthy {
            cases.extend(journey::skipped(&one.name, &one.steps, "the checks did not pass"));
            continue;
        }
        progress::update(index as u64 + 1, total, &one.name);
        journey::run_journey(settings, one, world, cases)?;
    }
    Ok(())
}

/// The services that are gone though nobody asked them to.
fn died(services: &[Running]) -> Option<String> {
    let gone: Vec<String> =
        services.iter().filter_map(|service| Some(format!("`{}` has ended: {}", service.name(), service.ended()?))).collect();
    (!gone.is_empty()).then(|| gone.join(", "))
}

/// The time of the slowest step that passed. Checks say how long a service took to get ready, not how fast it is.
fn slowest(cases: &[TestCase]) -> Option<Duration> {
    let steps = cases.iter().filter(|case| case.suite != journey::CHECKS && case.status == TestStatus::Passed);
    steps.map(|case| case.duration).max()
}

/// What the summary says of a step: which it was, and what was wrong first.
fn first_line(case: &TestCase) -> String {
    format!("{} › {}: {}", case.suite, case.name, case.message.lines().next().unwrap_or_default())
}

/// The network, the clock and the services of this stage.
struct Outside<'a> {
    started: Instant,
    services: &'a [Running],
}

impl World for Outside<'_> {
    fn send(&mut self, request: &Request) -> Result<Answer, Trouble> {
        let mut prepared = http::Request::new(&request.method, &request.url).timeout(request.timeout).redirects(request.redirects);
        for (name, value) in &request.headers {
            prepared = prepared.header(name, value.as_bytes());
        }
        let began = Instant::now();
        let response = prepared.body(request.body.clone()).send().map_err(trouble)?;
        let text = |(name, value): &(String, Vec<u8>)| (name.clone(), String::from_utf8_lossy(value).into_owned());
        let (status, headers, certificate) = (response.status(), response.headers().iter().map(text).collect(), response.certificate());
        let body = response.text().map_err(trouble)?;
        let mut answer = Answer::new(status, headers, body, began.elapsed());
        answer.certificate = certificate;
        Ok(answer)
    }

    fn pause(&mut self, duration: Duration) -> Result<(), String> {
        std::thread::sleep(duration);
        died(self.services).map_or(Ok(()), Err)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn unix_time(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    fn tell(&mut self, line: &str) {
        log::info(line);
    }
}

fn trouble(error: http::Error) -> Trouble {
    match error {
        http::Error::Denied(_) | http::Error::Invalid(_) => Trouble::Hopeless(error.into()),
        other => Trouble::Transport(other.to_string()),
    }
}
