//! The `notify` stage: tells people and services how the run ended.
//!
//! This file is the shell that asks for the run, sends and sums up. What is sent stands in [`receiver`], one file for each kind; it
//! knows no network. A secret is only a text here: it is put where it belongs and never looked at.
//!
//! Deliberately absent: receivers of its own making (a `webhook` is any of them), threads of conversation, and the outputs and logs of
//! other stages: what a message may show, they say in their one line.

mod delivery;
mod escape;
mod message;
mod receiver;
mod run;
mod settings;
mod template;

use std::time::Duration;

use runner_sdk::{Context, Failure, Outcome, Stage, http, log, progress};

use delivery::{Answer, Request, Trouble, Undelivered, World};
use message::Teller;
use run::Run;
use settings::Settings;

/// Answers say in a few words whether all went well; a list of a hundred long comments is the longest.
const LONGEST_ANSWER: u64 = 8 << 20;

/// The stage.
pub struct Notify;

runner_sdk::export!(Notify);

impl Stage for Notify {
    type Settings = Settings;

    fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let run = Run {
            pipeline: context.pipeline.clone(),
            id: context.run.clone(),
            stage: context.stage.clone(),
            origin: runner_sdk::run::about(),
            stages: runner_sdk::run::stages(),
            previous: runner_sdk::run::previous(),
        };
        if run.stages.is_empty() {
            return Err(Failure::misconfigured("the stage needs no other, so there is nothing that it could tell: add `needs = [\"*\"]`"));
        }
        let teller = Teller::new(&run, &settings);
        let mut due = Vec::new();
        for (index, to) in settings.to.iter().enumerate() {
            let name = to.name();
            let prepared = to.prepare(&teller).map_err(|why| Failure::misconfigured(format_args!("to[{index}] ({name}): {why}")))?;
            if run.is_for(to.on(&settings)) {
                due.push((name, prepared));
            }
        }
        let mut world = Outside { timeout: settings.timeout.0 };
        let (total, mut told, mut missed) = (due.len(), Vec::new(), Vec::new());
        for (name, prepared) in due {
            progress::update((told.len() + missed.len()) as u64, total as u64, name);
            match prepared(&mut world) {
                Ok(done) if done.is_empty() => told.push(name.to_owned()),
                Ok(done) => told.push(format!("{name} ({done})")),
                Err(undelivered) => {
                    log::error(format_args!("{name}: {}", undelivered.why));
                    missed.push((name, undelivered));
                }
            }
        }
        if missed.is_empty() {
            return Ok(Outcome::new(summary(run.status(), &told)));
        }
        told.iter().for_each(|name| log::info(format_args!("told {name}")));
        Err(failure(missed, total))
    }
}

fn summary(status: &str, told: &[String]) -> String {
    if told.is_empty() { format!("{status}: nobody wants to know") } else { format!("{status}: told {}", told.join(", ")) }
}

/// Which receivers were not told, and why. It is a denial only if nothing else went wrong: what was refused has been shown already.
fn failure(missed: Vec<(&'static str, Undelivered)>, total: usize) -> Failure {
    let why: Vec<String> = missed.iter().map(|(name, undelivered)| format!("{name}: {}", undelivered.why)).collect();
    let mut denials: Vec<_> = missed.into_iter().map(|(_, undelivered)| undelivered.denial).collect();
    if denials.iter().all(Option::is_some)
        && let Some(denial) = denials.swap_remove(0)
    {
        return Failure::Denied(*denial);
    }
    let (count, were) = (why.len(), if why.len() == 1 { "was" } else { "were" });
    Failure::errored(format_args!("{count} of {total} receivers {were} not told: {}", why.join("; ")))
}

/// The network and the clock of this stage.
struct Outside {
    timeout: Duration,
}

impl World for Outside {
    fn send(&mut self, request: &Request) -> Result<Answer, Trouble> {
        let mut prepared = http::Request::new(&request.method, &request.url).timeout(self.timeout).max_body(LONGEST_ANSWER);
        for (name, value) in &request.headers {
            prepared = prepared.header(name, value.as_bytes());
        }
        let response = prepared.body(request.body.clone()).send().map_err(trouble)?;
        let (status, retry_after) = (response.status(), response.header("retry-after").map(str::to_owned));
        Ok(Answer { status, retry_after, body: response.text().map_err(trouble)? })
    }

    fn pause(&mut self, duration: Duration) {
        log::info(format_args!("trying again in {}s", duration.as_secs()));
        std::thread::sleep(duration);
    }
}

fn trouble(error: http::Error) -> Trouble {
    match error {
        http::Error::Denied(denial) => Trouble::Denied(denial),
        http::Error::Invalid(why) => Trouble::Invalid(why),
        other => Trouble::Transport(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use runner_sdk::Denial;

    use super::*;

    fn missed(why: &str, denied: bool) -> Undelivered {
        let text = || String::from("x");
        let denial = denied.then(|| Box::new(Denial { effect: text(), subject: why.into(), code: text(), reason: text(), remedy: None }));
        Undelivered { why: why.into(), denial }
    }

    #[test]
    fn the_failure_names_everybody_who_was_not_told() {
        let one = failure(vec![("slack", missed("it answered 404", false))], 3);
        assert_eq!(one, Failure::errored("1 of 3 receivers was not told: slack: it answered 404"));
        let mixed = failure(vec![("slack", missed("denied", true)), ("jira", missed("no answer in time", false))], 2);
        assert_eq!(mixed, Failure::errored("2 of 2 receivers were not told: slack: denied; jira: no answer in time"));
        let denied = failure(vec![("slack", missed("a", true)), ("teams", missed("b", true))], 2);
        assert!(matches!(denied, Failure::Denied(denial) if denial.subject == "a"));
    }

    #[test]
    fn the_summary_says_who_was_told() {
        assert_eq!(summary("passed", &[]), "passed: nobody wants to know");
        assert_eq!(summary("failed", &["slack".into(), "jira (made OPS-1)".into()]), "failed: told slack, jira (made OPS-1)");
    }
}
