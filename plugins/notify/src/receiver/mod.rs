//! The receivers: one file each, which says what its API is like and what it is sent.
//!
//! A receiver is prepared before anything is sent to anybody, so that a mistake in a template is found in a run that passes too.

mod email;
mod github;
mod jira;
mod pagerduty;
mod slack;
mod teams;
mod webhook;

use crate::delivery::{Undelivered, World};
use crate::message::Teller;
use crate::settings::Receiver;

/// All that is left to do is to send it. What it gives back says what was done, where that is not plain; empty otherwise.
pub type Prepared<'a> = Box<dyn FnOnce(&mut dyn World) -> Result<String, Undelivered> + 'a>;

impl Receiver {
    /// Makes what it is sent.
    ///
    /// # Errors
    /// Which setting can't be used, and why.
    pub fn prepare<'a>(&'a self, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
        match self {
            Receiver::Slack(hook) => slack::prepare(&hook.0, teller),
            Receiver::Teams(hook) => teams::prepare(&hook.0, teller),
            Receiver::Pagerduty(pagerduty) => pagerduty::prepare(pagerduty, teller),
            Receiver::Webhook(webhook) => webhook::prepare(webhook, teller),
            Receiver::GithubComment(comment) => github::prepare_comment(comment, teller),
            Receiver::GithubStatus(status) => github::prepare_status(status, teller),
            Receiver::Jira(jira) => jira::prepare(jira, teller),
            Receiver::Email(email) => email::prepare(email, teller),
        }
    }
}

/// An address from the settings with something behind it.
fn below(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use crate::delivery::tests::Scripted;
    use crate::delivery::{Answer, Trouble, Undelivered};
    use crate::message::Teller;
    use crate::message::tests::settings;
    use crate::run::tests::run;

    /// Tells one receiver of a run that failed, or recovered, and keeps what it was sent.
    pub fn tell(
        receiver: Value,
        failed: bool,
        answers: impl IntoIterator<Item = Result<Answer, Trouble>>,
    ) -> (Result<String, Undelivered>, Scripted) {
        let settings = settings(json!({ "to": [receiver], "links": [{ "title": "Run", "url": "https://ci.example/{{ run }}?a&b" }] }));
        let run = run(failed, Some(false));
        let teller = Teller::new(&run, &settings);
        let mut world = Scripted::new(answers);
        let told = settings.to[0].prepare(&teller).unwrap_or_else(|error| panic!("{error}"))(&mut world);
        assert!(world.answers.is_empty(), "every answer was asked for");
        (told, world)
    }

    /// Why a receiver can't be prepared.
    pub fn mistake(receiver: Value) -> String {
        let settings = settings(json!({ "to": [receiver] }));
        let run = run(false, None);
        let teller = Teller::new(&run, &settings);
        settings.to[0].prepare(&teller).err().expect("a mistake")
    }
}
