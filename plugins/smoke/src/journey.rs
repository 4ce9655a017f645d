//! Walks through checks and journeys. What sends, waits and knows the time is handed in, so that this is tested without a network.

use std::time::Duration;

use runner_sdk::Failure;
use runner_sdk::report::{TestCase, TestStatus};

use crate::answer::Answer;
use crate::assertion::{Verdict, verdicts};
use crate::capture;
use crate::settings::{Check, Journey, Retry, Settings, Step};
use crate::template::{Template, Values, fill_json};

/// The suite under which the report shows checks.
pub const CHECKS: &str = "checks";

/// A request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// For the whole exchange.
    pub timeout: Duration,
    /// How many to follow.
    pub redirects: u32,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It may be better another time: refused, timed out, cut off.
    Transport(String),
    /// It will never work: denied, or no request at all. Ends the stage.
    Hopeless(Failure),
}

/// The world outside.
pub trait World {
    /// Sends a request and takes the whole answer.
    fn send(&mut self, request: &Request) -> Result<Answer, Trouble>;
    /// Waits; says why there is no use in waiting any longer, if there is none.
    fn pause(&mut self, duration: Duration) -> Result<(), String>;
    /// Time since some moment before.
    fn elapsed(&self) -> Duration;
    /// Seconds since 1970.
    fn unix_time(&self) -> i64;
    /// Tells people what happens.
    fn tell(&mut self, line: &str);
}

/// How a step ended. What a failure says first is what reports show where they have one line.
enum Ending {
    Passed(Values),
    Failed(TestStatus, String),
}

/// Runs the checks in order, until one fails.
///
/// # Errors
/// `Trouble::Hopeless`'s failure; the cases until then are in `cases`.
pub fn run_checks(settings: &Settings, world: &mut dyn World, cases: &mut Vec<TestCase>) -> Result<bool, Failure> {
    let steps: Vec<Step> = settings.checks.iter().map(step_of).collect();
    run(settings, CHECKS, &steps, world, cases)
}

/// Runs one journey, until a step fails.
///
/// # Errors
/// As [`run_checks`].
pub fn run_journey(settings: &Settings, journey: &Journey, world: &mut dyn World, cases: &mut Vec<TestCase>) -> Result<bool, Failure> {
    run(settings, &journey.name, &journey.steps, world, cases)
}

/// The cases of steps that were never begun.
pub fn skipped<'a>(suite: &str, steps: impl IntoIterator<Item = &'a Step>, why: &str) -> Vec<TestCase> {
    steps.into_iter().map(|step| case(suite, step, TestStatus::Skipped, Duration::ZERO, why.to_owned())).collect()
}

/// A check is a step that is repeated.
fn step_of(check: &Check) -> Step {
    Step {
        name: check.name.clone(),
        url: check.url.clone(),
        headers: check.headers.clone(),
        retry: Some(Retry { timeout: check.timeout, interval: check.interval }),
        expect: check.expect.clone(),
        ..Step::default()
    }
}

fn run(settings: &Settings, suite: &str, steps: &[Step], world: &mut dyn World, cases: &mut Vec<TestCase>) -> Result<bool, Failure> {
    let mut values: Values = settings.variables.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    for (index, step) in steps.iter().enumerate() {
        let started = world.elapsed();
        let ending = run_step(settings, step, &values, world);
        let duration = world.elapsed().saturating_sub(started);
        match ending {
            Ok(Ending::Passed(captured)) => {
                world.tell(&format!("✓ {suite} › {} ({duration:.1?})", title(step)));
                cases.push(case(suite, step, TestStatus::Passed, duration, String::new()));
                values.extend(captured);
            }
            Ok(Ending::Failed(status, message)) => {
                world.tell(&format!("✗ {suite} › {}\n{}", title(step), indented(&message)));
                cases.push(case(suite, step, status, duration, message));
                cases.extend(skipped(suite, &steps[index + 1..], &format!("`{}` did not pass", title(step))));
                return Ok(false);
            }
            Err(failure) => {
                world.tell(&format!("✗ {suite} › {}\n{}", title(step), indented(&failure.to_string())));
                cases.push(case(suite, step, TestStatus::Errored, duration, failure.to_string()));
                cases.extend(skipped(suite, &steps[index + 1..], &format!("`{}` did not pass", title(step))));
                return Err(failure);
            }
        }
    }
    Ok(true)
}

/// Sends a step's request, again and again if it may be repeated.
fn run_step(settings: &Settings, step: &Step, values: &Values, world: &mut dyn World) -> Result<Ending, Failure> {
    let request = match request(settings, step, values) {
        Ok(request) => request,
        Err(why) => return Ok(Ending::Failed(TestStatus::Errored, why)),
    };
    let line = format!("{} {}", request.method, request.url);
    let started = world.elapsed();
    let limit = step.retry.as_ref().map(|retry| retry.timeout.0);
    let left = |world: &dyn World| limit.map(|limit| limit.saturating_sub(world.elapsed().saturating_sub(started)));
    let mut attempts = 0;
    loop {
        let mut request = request.clone();
        if let Some(left) = left(world) {
            request.timeout = request.timeout.min(left.max(Duration::from_millis(1)));
        }
        attempts += 1;
        let (status, message) = match attempt(step, &request, values, world)? {
            Ending::Passed(captured) => return Ok(Ending::Passed(captured)),
            Ending::Failed(status, message) => (status, message),
        };
        let Some(retry) = &step.retry else { return Ok(Ending::Failed(status, format!("{message}\n{line}"))) };
        let left = left(world).unwrap_or_default();
        if left <= retry.interval.0 {
            return Ok(Ending::Failed(status, format!("{message}\n{line}, asked {attempts} times in {}", retry.timeout)));
        }
        if let Err(why) = world.pause(retry.interval.0) {
            return Ok(Ending::Failed(status, format!("{message}\n{line}, asked {attempts} times until {why}")));
        }
    }
}

/// Sends a request once.
fn attempt(step: &Step, request: &Request, values: &Values, world: &mut dyn World) -> Result<Ending, Failure> {
    let answer = match world.send(request) {
        Ok(answer) => answer,
        Err(Trouble::Transport(why)) => return Ok(Ending::Failed(TestStatus::Errored, why)),
        Err(Trouble::Hopeless(failure)) => return Err(failure),
    };
    let verdicts = match verdicts(&step.expect, &answer, values, world.unix_time()) {
        Ok(verdicts) => verdicts,
        Err(why) => return Ok(Ending::Failed(TestStatus::Errored, why)),
    };
    let mut broken: Vec<String> =
        verdicts.into_iter().filter_map(|Verdict { expected, got }| Some(format!("expected {expected}, got {}", got?))).collect();
    let mut captured = Values::new();
    // An answer that is not what was expected has nothing to capture, and a second message would only hide the first.
    if broken.is_empty() {
        for (name, capture) in &step.capture {
            match capture::value(capture, &answer) {
                Ok(value) => drop(captured.insert(name.clone(), value)),
                Err(why) => broken.push(format!("expected a value for {{{{{name}}}}}, got {why}")),
            }
        }
    }
    Ok(if broken.is_empty() { Ending::Passed(captured) } else { Ending::Failed(TestStatus::Failed, broken.join("\n")) })
}

fn request(settings: &Settings, step: &Step, values: &Values) -> Result<Request, String> {
    let url = Template::parse(&step.url)?.url(values)?;
    let url = match &settings.base {
        Some(base) if url.starts_with('/') => format!("{}{url}", base.trim_end_matches('/')),
        _ => url,
    };
    let mut headers = Vec::new();
    for (name, value) in &settings.headers {
        if !step.headers.keys().any(|own| own.eq_ignore_ascii_case(name)) {
            headers.push((name.clone(), Template::parse(value)?.header(values)?));
        }
    }
    for (name, value) in &step.headers {
        headers.push((name.clone(), Template::parse(value)?.header(values)?));
    }
    let mut body = Vec::new();
    if let Some(text) = &step.body {
        body = Template::parse(text)?.text(values)?.into_bytes();
    } else if let Some(json) = &step.json {
        body = fill_json(json, values)?.to_string().into_bytes();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.push(("content-type".into(), "application/json".into()));
        }
    }
    Ok(Request {
        method: method(step).into(),
        url,
        headers,
        body,
        timeout: step.timeout.unwrap_or(settings.timeout).0,
        redirects: step.redirects,
    })
}

fn method(step: &Step) -> &str {
    step.method.as_deref().unwrap_or("GET")
}

/// What reports and messages call a step.
pub fn title(step: &Step) -> String {
    step.name.clone().unwrap_or_else(|| format!("{} {}", method(step), step.url))
}

fn case(suite: &str, step: &Step, status: TestStatus, duration: Duration, message: String) -> TestCase {
    TestCase { suite: suite.to_owned(), name: title(step), status, duration, message, location: None }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[path = "journey_tests.rs"]
mod tests;
