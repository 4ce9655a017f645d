//! For GitLab CI: the plain log, with the log of each stage in a section that is folded until somebody opens it.
//!
//! A section's marks are made of escape sequences and carriage returns. Nothing that a stage writes holds either when it gets here, so no
//! stage can open or close one.
//!
//! <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Mutex;

use event::{Event, EventSink};

use crate::held::{Held, Section};
use crate::out::Out;
use crate::plain::Text;
use crate::{Options, Verbosity};

const SECOND: u64 = 1_000_000_000;

pub struct Gitlab {
    /// Whether stages' logs are shown when they end: not if they are shown as they come, or not at all.
    sections: bool,
    state: Mutex<State>,
}

struct State {
    out: Out,
    text: Text,
    held: Held,
    /// Sections so far: their names must differ.
    count: u64,
}

impl Gitlab {
    pub fn new(out: impl Write + Send + 'static, options: Options) -> Self {
        let state = State { out: Out::new(out, "the report"), text: Text::new(options), held: Held::default(), count: 0 };
        Gitlab { sections: options.verbosity == Verbosity::Normal, state: Mutex::new(state) }
    }
}

impl EventSink for Gitlab {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut text = String::new();
        if self.sections
            && let Some(section) = state.held.apply(event)
        {
            state.count += 1;
            text.push_str(&folded(&section, state.count, event.at));
        }
        text.push_str(&state.text.of(event));
        state.out.write(text.as_bytes());
    }
}

fn folded(section: &Section, number: u64, ended: u64) -> String {
    let Section { title, began, lines } = section;
    let name = format!("runner_log_{number}");
    let mut text = format!("\u{1b}[0Ksection_start:{}:{name}[collapsed=true]\r\u{1b}[0K{title}\n", began / SECOND);
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let _ = writeln!(text, "\u{1b}[0Ksection_end:{}:{name}\r\u{1b}[0K", ended / SECOND);
    text
}

#[cfg(test)]
mod tests;
