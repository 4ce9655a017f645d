//! For GitHub Actions, and for servers that understand its workflow commands: the plain log, with the log of each stage folded into a group
//! below it, and at the end what people should look at as annotations.
//!
//! Its runner reads commands out of everything that is printed: a line that begins with `::`, after spaces, and the older form `##[` anywhere
//! in a line. A stage must not be able to give any. Its log stands between `stop-commands` and a token that is drawn anew for each
//! group; in the lines of the plain log, which begin with a time, what could be read as a command is taken apart ([`disarm`]).
//!
//! <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>

mod annotation;

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Mutex;

use event::{Event, EventSink, Kind};

use crate::held::{Held, Section};
use crate::out::Out;
use crate::plain::Text;
use crate::source::Sources;
use crate::{Options, Verbosity};
use annotation::Annotations;

pub struct Github {
    /// Whether stages' logs are shown when they end: not if they are shown as they come, or not at all.
    groups: bool,
    /// Ends a group's `stop-commands`; none if nothing random is to be had.
    token: fn() -> Option<String>,
    state: Mutex<State>,
}

struct State {
    out: Out,
    text: Text,
    held: Held,
    annotations: Annotations,
}

impl Github {
    pub fn new(out: impl Write + Send + 'static, options: Options, sources: Sources) -> Self {
        Github::with(out, options, sources, random)
    }

    fn with(out: impl Write + Send + 'static, options: Options, sources: Sources, token: fn() -> Option<String>) -> Self {
        let state = State {
            out: Out::new(out, "the report"),
            text: Text::new(options),
            held: Held::default(),
            annotations: Annotations::new(sources),
        };
        Github { groups: options.verbosity == Verbosity::Normal, token, state: Mutex::new(state) }
    }

    fn group(&self, section: &Section) -> String {
        let Some(token) = (self.token)() else { return String::new() };
        let mut text = format!("::group::{}\n::stop-commands::{token}\n", data(&section.title));
        for line in &section.lines {
            text.push_str(line);
            text.push('\n');
        }
        let _ = write!(text, "::{token}::\n::endgroup::\n");
        text
    }
}

impl EventSink for Github {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut text = String::new();
        if self.groups
            && let Some(section) = state.held.apply(event)
        {
            text.push_str(&self.group(&section));
        }
        state.annotations.apply(event);
        if matches!(event.kind, Kind::RunFinished { .. }) {
            text.push_str(&state.annotations.text());
        }
        text.push_str(&disarm(state.text.of(event)));
        state.out.write(text.as_bytes());
    }
}

/// 128 bits, so that no stage can guess it.
fn random() -> Option<String> {
    let mut bytes = [0; 16];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    (read == bytes.len()).then(|| bytes.iter().fold(String::with_capacity(32), |text, byte| text + &format!("{byte:02x}")))
}

/// Lines in which nothing is a command.
fn disarm(text: String) -> String {
    let command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
    if !text.lines().any(command) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for line in text.lines() {
        if line.trim_start().starts_with("::") {
            safe.push_str("| ");
        }
        safe.push_str(&line.replace("##[", "## ["));
        safe.push('\n');
    }
    safe
}

/// What stands behind a command's second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value among a command's properties.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests;
