//! For CI logs and pipes: lines that only ever follow each other, each with the time since the run began and the stage that it is about.
//! No cursor movement; colour only where it was asked for, since some CI servers show it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;

use event::{Event, EventSink, Kind, Outcome, StageRef};

use crate::around::{self, Weight};
use crate::model::Run;
use crate::out::Out;
use crate::style::{ASCII, Line, Role, Symbols, UNICODE};
use crate::tail::Lines;
use crate::{Options, Verbosity, detail, duration, onward, sanitize, summary};

/// Lines of the log under a failure.
pub const LOG_LINES: usize = 50;
/// Columns of the summary where none are given.
const COLUMNS: usize = 100;

pub struct Plain {
    state: Mutex<State>,
}

struct State {
    out: Out,
    text: Text,
}

impl Plain {
    pub fn new(out: impl Write + Send + 'static, options: Options) -> Self {
        Plain { state: Mutex::new(State { out: Out::new(out, "the report"), text: Text::new(options) }) }
    }
}

impl EventSink for Plain {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let State { out, text } = &mut *state;
        out.write(text.of(event).as_bytes());
    }
}

/// The lines themselves, also for the reports that put something around them.
pub struct Text {
    options: Options,
    symbols: &'static Symbols,
    run: Run,
    open: HashMap<StageRef, Lines>,
}

impl Text {
    pub fn new(options: Options) -> Self {
        let symbols = if options.unicode { &UNICODE } else { &ASCII };
        Text { options, symbols, run: Run::default(), open: HashMap::new() }
    }

    /// What an event gives to write: whole lines, or nothing.
    pub fn of(&mut self, event: &Event) -> String {
        self.run.apply(event);
        let lines = self.lines(event);
        if lines.is_empty() {
            return String::new();
        }
        // The summary and a quiet report stand by themselves.
        let timed = self.options.verbosity > Verbosity::Quiet && !matches!(event.kind, Kind::RunFinished { .. });
        let time = duration::elapsed(event.at.saturating_sub(if self.run.started > 0 { self.run.started } else { event.at }));
        let mut text = String::new();
        for line in lines {
            let mut whole = if timed { Line::of(Role::Faint, &format!("{time:>7}")).and(Role::Text, "  ") } else { Line::new() };
            whole.append(line);
            text.push_str(&whole.render(self.options.color, self.options.unicode));
            text.push('\n');
        }
        text
    }

    fn lines(&mut self, event: &Event) -> Vec<Line> {
        let verbosity = self.options.verbosity;
        let verbose = verbosity == Verbosity::Verbose;
        match &event.kind {
            Kind::StageFinished { stage, outcome, .. } => {
                let mut lines = self.rest(stage);
                if verbosity > Verbosity::Quiet || outcome.fails_run() {
                    lines.extend(self.ended(stage, outcome));
                }
                self.run.stage_mut(stage).forget_shown();
                lines.into_iter().map(|line| about(stage, line)).collect()
            }
            Kind::RunFinished { .. } if verbosity == Verbosity::Quiet => summary::brief(&self.run),
            Kind::RunFinished { .. } => summary::summary(&self.run, self.options.width.unwrap_or(COLUMNS), self.symbols),
            Kind::ApprovalWaiting { stage, question, expires, .. } => {
                asking(&self.run, stage, question.as_deref(), expires.map(|end| end.saturating_sub(event.at)))
            }
            Kind::StageSuspended { stage, effect, subject, message, .. } => {
                let mut lines = self.rest(stage);
                let told = Line::of(Role::Warn, &format!("in doubt: {effect} {subject}")).and(Role::Text, &format!(": {message}"));
                lines.extend([told, Line::of(Role::Faint, "decide with: ").and(Role::Text, &onward::decide(&self.run.run))]);
                lines.into_iter().map(|line| about(stage, line)).collect()
            }
            _ if verbosity == Verbosity::Quiet => vec![],
            Kind::RunResumed { runner, run, pipeline, file, jobs, session, stages, settled, .. } => {
                let done = format!("{settled} of {} done before", detail::plural(stages.len(), "stage"));
                vec![
                    Line::of(Role::Accent, "RESUMED ")
                        .and(Role::Strong, pipeline)
                        .and(Role::Text, &format!(", {done}, {jobs} at once ({file}, run {run}, session {session}, runner {runner})")),
                ]
            }
            Kind::ApprovalGiven { stage, approved, by, note } => {
                let role = if *approved { Role::Good } else { Role::Bad };
                vec![about(stage, Line::of(role, &detail::answer(*approved, by, note)))]
            }
            Kind::RunStarted { runner, run, pipeline, file, jobs, stages, git, trigger, .. } => {
                let stages = detail::plural(stages.len(), "stage");
                let mut line = Line::of(Role::Strong, pipeline);
                if let Some(checkout) = git.as_ref().and_then(detail::checkout) {
                    line.push(Role::Text, " on ");
                    line.append(checkout);
                }
                let mut lines = vec![line.and(Role::Text, &format!(": {stages}, {jobs} at once ({file}, run {run}, runner {runner})"))];
                let origin = trigger.as_ref().map(detail::trigger).unwrap_or_default();
                if !origin.is_empty() {
                    lines.push(Line::of(Role::Text, &origin.join(", ")));
                }
                lines
            }
            Kind::GroupWaiting { stage, group, holder, holder_stage } => {
                let line = Line::of(Role::Warn, &detail::queued(group, holder.as_deref(), holder_stage.as_deref()));
                vec![match stage {
                    Some(stage) => about(stage, line),
                    None => line,
                }]
            }
            Kind::Compiling { plugin, .. } => vec![Line::of(Role::Faint, &format!("compiling plugin {plugin}"))],
            Kind::StageStarted { stage, attempt, plugin, .. } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                vec![about(stage, Line::of(Role::Text, &format!("started: {plugin}{again}")))]
            }
            Kind::Output { stage, stream, bytes } if verbose => {
                let mut lines = Vec::new();
                self.open.entry(stage.clone()).or_default().feed(*stream, bytes, |line| lines.push(about(stage, log_line(line))));
                lines
            }
            Kind::CommandStarted { stage, line, place, .. } if verbose => {
                vec![about(stage, Line::of(Role::Accent, "$ ").and(Role::Text, line).and(Role::Faint, &format!("  ({place})")))]
            }
            Kind::CommandEnded { stage, result, nanos, .. } if verbose => {
                vec![about(stage, Line::of(Role::Faint, &format!("command ended: {result}, {}", duration::human(*nanos))))]
            }
            Kind::Connection { stage, command, host, port, allowed, reason, bytes_in, bytes_out, nanos } if verbose => {
                let by = command.map(|command| format!("command {command}: ")).unwrap_or_default();
                let told = match (allowed, reason) {
                    (_, Some(reason)) => reason.clone(),
                    _ => format!("{} in, {} out", summary::bytes(*bytes_in), summary::bytes(*bytes_out)),
                };
                let sign = if *allowed { "connected: " } else { "refused: " };
                let line = Line::of(Role::Faint, &format!("{by}{sign}{host}:{port}, {told}, {}", duration::human(*nanos)));
                vec![about(stage, line)]
            }
            Kind::Denied { stage, denial } => {
                vec![about(
                    stage,
                    Line::of(Role::Warn, "denied: ").and(Role::Text, &format!("{} {}: {}", denial.effect, denial.subject, denial.reason)),
                )]
            }
            Kind::Cache { stage, .. } | Kind::Service { stage, .. } => {
                // what is said of a cache stands in the stage's log too
                let cache = matches!(event.kind, Kind::Cache { .. });
                let told = around::line(&event.kind).filter(|(_, weight)| if verbose { !cache } else { cache || *weight > Weight::Detail });
                told.into_iter().map(|(line, _)| about(stage, line)).collect()
            }
            Kind::StageRetrying { stage, attempt, outcome, delay } => {
                let mut lines = self.rest(stage);
                let told = detail::tell_attempt(outcome);
                lines.push(Line::of(Role::Warn, &format!("attempt {attempt} {told}; the next in {}", duration::human(*delay))));
                lines.into_iter().map(|line| about(stage, line)).collect()
            }
            Kind::Stopping { reason } => vec![Line::of(Role::Warn, &format!("stopping: {reason}"))],
            Kind::Warning { message } => message.lines().map(|text| Line::of(Role::Warn, "warning: ").and(Role::Text, text)).collect(),
            _ => vec![],
        }
    }

    fn ended(&self, id: &StageRef, outcome: &Outcome) -> Vec<Line> {
        let Some(stage) = self.run.stage(id) else { return vec![] };
        let verbose = self.options.verbosity == Verbosity::Verbose;
        if matches!(outcome, Outcome::Skipped { why: event::Blocked::NotSelected }) && !verbose {
            return vec![];
        }
        let (role, _) = detail::mark(outcome, self.symbols);
        let told = detail::tell(stage, outcome);
        let mut line = match outcome {
            Outcome::Passed { .. } if told.is_empty() => Line::of(role, "passed"),
            Outcome::Passed { .. } => Line::of(role, "passed").and(Role::Text, &format!(": {told}")),
            _ => Line::of(role, &told),
        };
        if stage.attempt > 0 {
            line.push(Role::Faint, &format!(" ({})", duration::human(stage.nanos)));
        }
        let mut lines = vec![line];
        let failed = matches!(outcome, Outcome::Failed { .. });
        if failed || (verbose && outcome.passed()) {
            // When every line is shown as it comes, the end of the log is above already.
            let block = detail::block(stage, if failed && !verbose { LOG_LINES } else { 0 });
            lines.extend(block.into_iter().map(|detail| {
                let mut line = Line::of(Role::Text, "  ");
                line.append(detail);
                line
            }));
        }
        lines
    }

    /// Lines of a stage that had not ended when the stage did.
    fn rest(&mut self, stage: &StageRef) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(mut open) = self.open.remove(stage) {
            open.finish(|line| lines.push(log_line(line)));
        }
        lines
    }
}

fn asking(run: &Run, id: &StageRef, question: Option<&str>, left: Option<u64>) -> Vec<Line> {
    let Some(what) = detail::question(run, id, question) else { return vec![] };
    let mut line = Line::of(Role::Warn, &what);
    if let Some(left) = left {
        line.push(Role::Text, &format!(", for {}", duration::human(left)));
    }
    let how = Line::of(Role::Faint, "approve with: ").and(Role::Text, &onward::approve(&run.run, id));
    [line, how].into_iter().map(|line| about(id, line)).collect()
}

fn log_line(line: &[u8]) -> Line {
    Line::of(Role::Faint, "| ").and(Role::Text, &sanitize::log_line(line))
}

fn about(stage: &StageRef, line: Line) -> Line {
    let mut lead = Line::of(Role::Accent, &format!("[{stage}]")).and(Role::Text, " ");
    lead.append(line);
    lead
}

#[cfg(test)]
mod tests;
