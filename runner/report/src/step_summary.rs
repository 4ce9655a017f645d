//! GitHub's step summary: the end of a run as Markdown, appended to the file that `GITHUB_STEP_SUMMARY` names.
//!
//! Words of stages never become Markdown: in tables and lists every character that could mean something is escaped, and what a failure
//! looks like stands in a code block whose fence is longer than any in it. GitHub refuses a summary of more than 1 MiB as a whole,
//! so what does not fit is left out, and that is said.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use event::{Event, EventSink, Kind, Outcome};

use crate::model::{Run, Stage, State};
use crate::style::{Line, UNICODE};
use crate::{complain, detail, duration, onward, sanitize, summary};

/// What GitHub takes of one step.
const LIMIT: u64 = 1 << 20;
/// Stages in the table; those that did not pass come first.
const ROWS: usize = 200;
/// Lines of the log of a stage that did not pass.
const LOG_LINES: usize = 20;

pub struct StepSummary {
    path: PathBuf,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    run: Run,
    /// What went wrong, a block a stage, made when the stage ended.
    failures: Vec<String>,
}

impl StepSummary {
    pub fn new(path: PathBuf) -> Self {
        StepSummary { path, state: Mutex::default() }
    }

    fn append(&self, known: &Known) -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.path)?;
        let room = LIMIT.saturating_sub(file.metadata()?.len());
        file.write_all(known.markdown(usize::try_from(room).unwrap_or(usize::MAX)).as_bytes())
    }
}

impl EventSink for StepSummary {
    fn emit(&self, event: &Event) {
        let mut known = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.apply(event);
        if matches!(event.kind, Kind::RunFinished { .. })
            && let Err(error) = self.append(&known)
        {
            complain(&format!("the step summary {} cannot be written", self.path.display()), &error);
        }
    }
}

impl Known {
    fn apply(&mut self, event: &Event) {
        self.run.apply(event);
        if let Kind::StageFinished { stage: id, outcome, .. } = &event.kind {
            let stage = self.run.stage_mut(id);
            if matches!(outcome, Outcome::Failed { .. }) {
                self.failures.push(failure(stage, outcome));
            }
            stage.forget_shown();
        }
    }

    /// At most `room` bytes.
    fn markdown(&self, room: usize) -> String {
        let run = &self.run;
        let mut text = format!("### {}\n\n", escaped(&plain(&summary::verdict(run))));
        text.push_str(&self.table());
        for line in summary::totals(run, &UNICODE) {
            let words: Vec<String> = plain(&line).split_whitespace().map(escaped).collect();
            text.push_str(&format!("- {}\n", words.join(" ")));
        }
        let onward: Vec<String> = onward::onward(run).iter().map(plain).collect();
        if !onward.is_empty() {
            text.push_str(&format!("\n{}", fenced(&onward.join("\n"))));
        }
        text.push('\n');
        const REST: &str = "\n_What else went wrong does not fit into this summary; it is in the log._\n";
        if text.len() + REST.len() > room {
            return if REST.len() > room { String::new() } else { REST.to_owned() };
        }
        for failure in &self.failures {
            if text.len() + failure.len() + REST.len() > room {
                text.push_str(REST);
                break;
            }
            text.push_str(failure);
        }
        text
    }

    fn table(&self) -> String {
        let mut shown: Vec<&Stage> = self.run.stages.iter().filter(|stage| !summary::left_out(stage)).collect();
        let all = shown.len();
        if all > ROWS {
            // the sort is stable: otherwise they stay in the order of the plan
            shown.sort_by_key(|stage| stage.outcome().is_some_and(|outcome| !matters(outcome)));
            shown.truncate(ROWS);
        }
        let mut text = "| | stage | result | time |\n|---|---|---|---|\n".to_owned();
        for stage in &shown {
            let Some((_, sign, word)) = detail::standing(stage, &UNICODE) else { continue };
            let told = match &stage.state {
                State::Ended(outcome) => detail::tell(stage, outcome),
                State::Asking(asking) => detail::asking(asking),
                _ => String::new(),
            };
            // the outcome's own words begin with its kind unless it passed
            let result = match told.as_str() {
                "" => word.to_owned(),
                told if stage.outcome().is_some_and(Outcome::passed) => format!("{word}: {told}"),
                told => told.to_owned(),
            };
            let time = if stage.attempt > 0 { duration::human(stage.nanos) } else { String::new() };
            text.push_str(&format!("| {sign} | {} | {} | {time} |\n", escaped(stage.id.as_str()), escaped(&result)));
        }
        if shown.len() < all {
            text.push_str(&format!("\nand {} more\n", detail::plural(all - shown.len(), "stage")));
        }
        text.push('\n');
        text
    }
}

fn matters(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { .. } | Outcome::Cancelled { .. } | Outcome::Blocked { .. })
}

fn failure(stage: &Stage, outcome: &Outcome) -> String {
    let lines: Vec<String> = detail::block(stage, LOG_LINES).iter().map(plain).collect();
    if lines.is_empty() {
        return String::new();
    }
    let title = format!("{} {}", stage.id, detail::tell_attempt(outcome));
    format!("\n<details><summary>{}</summary>\n\n{}\n</details>\n", html(&title), fenced(&lines.join("\n")))
}

fn plain(line: &Line) -> String {
    line.render(false, true)
}

/// A code block that nothing in it ends.
fn fenced(text: &str) -> String {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}text\n{text}\n{fence}\n")
}

/// Text in Markdown. CommonMark lets every ASCII punctuation character be escaped; a name behind `@` or a number behind `#` becomes a
/// link all the same, so a comment stands between them.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for c in sanitize::clean(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '@' | '#' => {
                safe.push(c);
                safe.push_str("<!-- -->");
            }
            c if c.is_ascii_punctuation() && !harmless(c) => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Text in HTML, where Markdown should not be read: nothing in it could be.
fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for c in sanitize::clean(text).chars() {
        match c {
            '@' | '#' => safe.push_str(&format!("{c}<!-- -->")),
            c if c.is_ascii_punctuation() && !harmless(c) => safe.push_str(&format!("&#{};", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// Punctuation that means nothing in the middle of a line.
fn harmless(c: char) -> bool {
    matches!(c, '.' | ',' | '/' | '\'' | '"' | '%' | '(' | ')' | '=' | ';' | '?' | ':' | '-')
}

#[cfg(test)]
mod tests;
