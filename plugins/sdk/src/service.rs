//! A program of the stage's own that serves in the background, with the wait until it answers.
//!
//! The settings of a service are part of this module, so that they are the same in every plugin:
//!
//! ```toml
//! start = [{ name = "app", run = ["./target/release/shop"], env = { PORT = "8080" }, ready = { http = "http://app.stage:8080/health" } }]
//! ```
//!
//! Waiting takes an `http` grant for the address; starting, a `commands` grant for the program.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::commands::{self, Command, Exit, Process};
use crate::{Failure, Span, http, log};

/// How long one question may take, so that a service that accepts and never answers does not use up the whole wait.
const ONE_QUESTION: Duration = Duration::from_secs(5);

/// A program that serves in the background until the stage ends
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Service {
    /// A DNS label; the program answers at `http://<name>.stage:<port>`, on whatever port it listens
    pub name: String,
    /// The program and its arguments
    #[cfg_attr(not(target_arch = "wasm32"), schemars(length(min = 1)))]
    pub run: Vec<String>,
    /// Variables on top of the stage's `env`
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs, relative to the workspace
    #[serde(default)]
    pub directory: Option<String>,
    /// When it is ready; without it, nothing is waited for
    #[serde(default)]
    pub ready: Option<Ready>,
}

/// When a service is ready
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ready {
    /// The URL that answers with a 2xx status once the service is ready; needs a grant for `http`
    pub http: String,
    /// How long to wait for that
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How long to wait between two questions
    #[serde(default = "default_interval")]
    pub interval: Span,
}

fn default_timeout() -> Span {
    Span::from_secs(30)
}

fn default_interval() -> Span {
    Span(Duration::from_millis(200))
}

/// A started service. Dropping it kills the program and all that it started.
#[derive(Debug)]
pub struct Running {
    name: String,
    process: Process,
}

impl Service {
    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// `Failed` if it ended or did not answer in time; the errors of [`Command::spawn`] and denials of the question.
    pub fn start(&self) -> Result<Running, Failure> {
        let command = self.command()?;
        log::info(format_args!("$ {command} &  # {}", self.name));
        let running = Running { name: self.name.clone(), process: command.spawn()? };
        if let Some(ready) = &self.ready {
            let started = Instant::now();
            let verdict = wait(
                ready,
                || started.elapsed(),
                |limit| ask(&ready.http, limit),
                |pause| commands::wait_any(&[&running.process], Some(pause)).is_some(),
            )?;
            match verdict {
                Verdict::Ready => log::info(format_args!("`{}` is ready after {:.1?}", self.name, started.elapsed())),
                Verdict::Ended => {
                    let exit = running.process.wait();
                    return Err(Failure::failed(format_args!(
                        "`{}` ended before it was ready: {exit}; its output is in the log",
                        self.name
                    )));
                }
                Verdict::TooLate(last) => {
                    return Err(Failure::failed(format_args!(
                        "`{}` was not ready within {}: GET {}: {last}",
                        self.name, ready.timeout, ready.http
                    )));
                }
            }
        }
        Ok(running)
    }

    fn command(&self) -> Result<Command, Failure> {
        let command = Command::from_argv(&self.run)
            .ok_or_else(|| Failure::misconfigured(format_args!("service `{}`: `run` is empty: name the program", self.name)))?;
        let command = command.envs(&self.env).name(&self.name);
        Ok(match &self.directory {
            Some(directory) => command.dir(directory),
            None => command,
        })
    }
}

impl Running {
    /// The name under which it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Exit> {
        commands::wait_any(&[&self.process], Some(Duration::ZERO)).map(|_| self.process.wait())
    }

    /// Asks it to end (SIGTERM), and kills what is left after `grace`.
    pub fn stop(self, grace: Duration) -> Exit {
        self.process.stop(grace)
    }
}

enum Verdict {
    Ready,
    Ended,
    TooLate(String),
}

/// Asks until the answer is yes, the program has ended or the time is up. The last question may be asked late, but not longer
/// than what is left of the time.
fn wait(
    ready: &Ready,
    elapsed: impl Fn() -> Duration,
    mut ask: impl FnMut(Duration) -> Result<Option<String>, Failure>,
    mut ended_within: impl FnMut(Duration) -> bool,
) -> Result<Verdict, Failure> {
    let mut last = String::from("no time to ask");
    loop {
        let left = ready.timeout.0.saturating_sub(elapsed());
        if left.is_zero() {
            return Ok(Verdict::TooLate(last));
        }
        match ask(left.min(ONE_QUESTION))? {
            None => return Ok(Verdict::Ready),
            Some(why) => last = why,
        }
        let left = ready.timeout.0.saturating_sub(elapsed());
        if ended_within(ready.interval.0.min(left).max(Duration::from_millis(1))) {
            return Ok(Verdict::Ended);
        }
    }
}

/// None if the answer is yes, otherwise what it was. What no waiting can mend is an error.
fn ask(url: &str, limit: Duration) -> Result<Option<String>, Failure> {
    match http::get(url).timeout(limit).send() {
        Ok(response) if (200..300).contains(&response.status()) => Ok(None),
        Ok(response) => Ok(Some(format!("status {}", response.status()))),
        Err(error @ (http::Error::Denied(_) | http::Error::Invalid(_))) => Err(error.into()),
        Err(error) => Ok(Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Waits for a service that answers yes at the `ready_at`-th question and ends at the `ends_at`-th pause; each question takes 100 ms.
    fn waited(ready_at: u32, ends_at: u32) -> (String, u32, Duration) {
        let ready = Ready { http: "http://app.stage:80/".into(), timeout: Span::from_secs(2), interval: default_interval() };
        let (clock, questions, pauses) = (Cell::new(Duration::ZERO), Cell::new(0), Cell::new(0));
        let verdict = wait(
            &ready,
            || clock.get(),
            |limit| {
                questions.set(questions.get() + 1);
                clock.set(clock.get() + limit.min(Duration::from_millis(100)));
                Ok((questions.get() < ready_at).then(|| format!("status 503 ({})", questions.get())))
            },
            |pause| {
                pauses.set(pauses.get() + 1);
                clock.set(clock.get() + pause);
                pauses.get() >= ends_at
            },
        );
        let verdict = match verdict.unwrap() {
            Verdict::Ready => "ready".to_owned(),
            Verdict::Ended => "ended".to_owned(),
            Verdict::TooLate(last) => last,
        };
        (verdict, questions.get(), clock.get())
    }

    #[test]
    fn a_service_is_asked_until_it_is_ready_has_ended_or_is_too_late() {
        assert_eq!(waited(1, u32::MAX), ("ready".into(), 1, Duration::from_millis(100)));
        assert_eq!(waited(4, u32::MAX), ("ready".into(), 4, Duration::from_millis(1000)));
        assert_eq!(waited(u32::MAX, 3), ("ended".into(), 3, Duration::from_millis(900)));
        assert_eq!(waited(u32::MAX, u32::MAX), ("status 503 (7)".into(), 7, Duration::from_secs(2)));
    }

    #[test]
    fn a_denied_question_ends_the_wait() {
        let ready: Ready = serde_json::from_str(r#"{"http":"http://app.stage:80/"}"#).unwrap();
        assert_eq!((ready.timeout, ready.interval), (Span::from_secs(30), Span(Duration::from_millis(200))));
        let failure = Failure::errored("denied");
        let verdict = wait(&ready, || Duration::ZERO, |_| Err(failure.clone()), |_| panic!("nothing to wait for"));
        assert_eq!(verdict.err(), Some(failure));
    }

    #[test]
    fn a_service_without_a_program_is_the_users_mistake() {
        let service: Service = serde_json::from_str(r#"{"name":"app","run":[]}"#).unwrap();
        assert!(matches!(service.command(), Err(Failure::Misconfigured(text)) if text.contains("service `app`: `run` is empty")));
    }
}
