//! For CI logs and pipes: lines that only ever follow each other, each with the time since the run began and the stage that it is about.
//! No cursor movement; colour only where it was asked for, since some CI servers show it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;

use event::{Event, EventSink, Kind, Outcome, StageRef};

use crate::around::{self, Weight};
use crate::model::{Run, State as StageState};
use crate::style::{ASCII, Line, Role, Symbols, UNICODE};
use crate::tail::Lines;
use crate::{Options, Verbosity, complain, detail, duration, onward, sanitize, summary};

/// Lines of the log under a failure.
const LOG_LINES: usize = 50;
/// Columns of the summary where none are given.
const COLUMNS: usize = 100;

pub struct Plain {
    options: Options,
    symbols: &'static Symbols,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    broken: bool,
    run: Run,
    open: HashMap<StageRef, Lines>,
}

impl Plain {
    pub fn new(out: impl Write + Send + 'static, options: Options) -> Self {
        Plain {
            options,
            symbols: if options.unicode { &UNICODE } else { &ASCII },
            state: Mutex::new(State { out: Box::new(out), broken: false, run: Run::default(), open: HashMap::new() }),
        }
    }

    fn lines(&self, state: &mut State, event: &Event) -> Vec<Line> {
        let verbosity = self.options.verbosity;
        let verbose = verbosity == Verbosity::Verbose;
        match &event.kind {
            Kind::StageFinished { stage, outcome, .. } => {
                let mut lines = rest(state, stage);
                if verbosity > Verbosity::Quiet || outcome.fails_run() {
                    lines.extend(self.ended(&state.run, stage, outcome));
                }
                state.run.stage_mut(stage).forget_shown();
                lines.into_iter().map(|line| about(stage, line)).collect()
            }
            Kind::RunFinished { .. } if verbosity == Verbosity::Quiet => summary::brief(&state.run),
            Kind::RunFinished { .. } => summary::summary(&state.run, self.options.width.unwrap_or(COLUMNS), self.symbols),
            Kind::ApprovalWaiting { stage, expires, .. } => asking(&state.run, stage, expires.map(|end| end.saturating_sub(event.at))),
            Kind::StageSuspended { stage, effect, subject, message, .. } => {
                let mut lines = rest(state, stage);
                let told = Line::of(Role::Warn, &format!("in doubt: {effect} {subject}")).and(Role::Text, &format!(": {message}"));
                lines.extend([told, Line::of(Role::Faint, "decide with: ").and(Role::Text, &onward::decide(&state.run.run))]);
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
            Kind::RunStarted { runner, run, pipeline, file, jobs, stages, .. } => {
                let stages = detail::plural(stages.len(), "stage");
                vec![
                    Line::of(Role::Strong, pipeline)
                        .and(Role::Text, &format!(": {stages}, {jobs} at once ({file}, run {run}, runner {runner})")),
                ]
            }
            Kind::Compiling { plugin, .. } => vec![Line::of(Role::Faint, &format!("compiling plugin {plugin}"))],
            Kind::StageStarted { stage, attempt, plugin, .. } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                vec![about(stage, Line::of(Role::Text, &format!("started: {plugin}{again}")))]
            }
            Kind::Output { stage, stream, bytes } if verbose => {
                let mut lines = Vec::new();
                state.open.entry(stage.clone()).or_default().feed(*stream, bytes, |line| lines.push(about(stage, log_line(line))));
                lines
            }
            Kind::CommandStarted { stage, line, place, .. } if verbose => {
                vec![about(stage, Line::of(Role::Accent, "$ ").and(Role::Text, line).and(Role::Faint, &format!("  ({place})")))]
            }
            Kind::CommandEnded { stage, result, nanos, .. } if verbose => {
                vec![about(stage, Line::of(Role::Faint, &format!("command ended: {result}, {}", duration::human(*nanos))))]
            }
            Kind::Denied { stage, denial } => {
                vec![about(
                    stage,
                    Line::of(Role::Warn, "denied: ").and(Role::Text, &format!("{} {}: {}", denial.effect, denial.subject, denial.reason)),
                )]
            }
            Kind::Cache { stage, .. } | Kind::Service { stage, .. } => {
                let told = around::line(&event.kind)
                    .filter(|(_, weight)| verbose || *weight > Weight::Detail || matches!(event.kind, Kind::Cache { .. }));
                told.into_iter().map(|(line, _)| about(stage, line)).collect()
            }
            Kind::StageRetrying { stage, attempt, outcome, delay } => {
                let mut lines = rest(state, stage);
                let told = detail::tell_attempt(outcome);
                lines.push(Line::of(Role::Warn, &format!("attempt {attempt} {told}; the next in {}", duration::human(*delay))));
                lines.into_iter().map(|line| about(stage, line)).collect()
            }
            Kind::Stopping { reason } => vec![Line::of(Role::Warn, &format!("stopping: {reason}"))],
            Kind::Warning { message } => message.lines().map(|text| Line::of(Role::Warn, "warning: ").and(Role::Text, text)).collect(),
            _ => vec![],
        }
    }

    fn ended(&self, run: &Run, id: &StageRef, outcome: &Outcome) -> Vec<Line> {
        let Some(stage) = run.stage(id) else { return vec![] };
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
}

fn asking(run: &Run, id: &StageRef, left: Option<u64>) -> Vec<Line> {
    let Some(StageState::Asking(asking)) = run.stage(id).map(|stage| &stage.state) else { return vec![] };
    let mut line = Line::of(Role::Warn, &detail::asking(asking));
    if let Some(left) = left {
        line.push(Role::Text, &format!(", for {}", duration::human(left)));
    }
    let how = Line::of(Role::Faint, "approve with: ").and(Role::Text, &onward::approve(&run.run, id));
    [line, how].into_iter().map(|line| about(id, line)).collect()
}

fn rest(state: &mut State, stage: &StageRef) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(mut open) = state.open.remove(stage) {
        open.finish(|line| lines.push(log_line(line)));
    }
    lines
}

fn log_line(line: &[u8]) -> Line {
    Line::of(Role::Faint, "| ").and(Role::Text, &sanitize::log_line(line))
}

fn about(stage: &StageRef, line: Line) -> Line {
    let mut lead = Line::of(Role::Accent, &format!("[{stage}]")).and(Role::Text, " ");
    lead.append(line);
    lead
}

impl EventSink for Plain {
    fn emit(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.run.apply(event);
        let lines = self.lines(&mut state, event);
        if lines.is_empty() || state.broken {
            return;
        }
        // The summary and a quiet report stand by themselves.
        let timed = self.options.verbosity > Verbosity::Quiet && !matches!(event.kind, Kind::RunFinished { .. });
        let time = duration::elapsed(event.at.saturating_sub(if state.run.started > 0 { state.run.started } else { event.at }));
        let mut text = String::new();
        for line in lines {
            let mut whole = if timed { Line::of(Role::Faint, &format!("{time:>7}")).and(Role::Text, "  ") } else { Line::new() };
            whole.append(line);
            text.push_str(&whole.render(self.options.color, self.options.unicode));
            text.push('\n');
        }
        if let Err(error) = state.out.write_all(text.as_bytes()).and_then(|()| state.out.flush()) {
            state.broken = true;
            complain("the report cannot be written", &error);
        }
    }
}

#[cfg(test)]
mod tests;
