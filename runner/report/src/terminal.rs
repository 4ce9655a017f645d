//! The live view: what has ended scrolls up as lines that stay, what runs is redrawn below them.
//!
//! `emit` only notes what happened; a thread of its own draws at most [`FRAMES`] times a second, so that a stage that writes
//! gigabytes costs the same as one that is silent, and a run that ends before the first frame never flickers. A frame is one write.
//! The cursor is never hidden and the terminal's modes are never changed: a runner that is killed leaves nothing to repair.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event::{Event, EventSink, Kind, Outcome, StageRef};

use crate::around::{self, Weight};
use crate::frame::{Size, frame};
use crate::model::Run;
use crate::style::{ASCII, Line, Role, Symbols, UNICODE, width};
use crate::tail::Lines;
use crate::{Options, Verbosity, complain, detail, duration, onward, sanitize, summary};

/// A second.
const FRAMES: u32 = 15;
/// Lines of the log under a failure.
const LOG_LINES: usize = 20;
/// Bytes that may wait to be written before `emit` writes them itself.
const BACKLOG: usize = 256 * 1024;

pub struct Terminal {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    options: Options,
    symbols: &'static Symbols,
    size: Box<dyn Fn() -> Size + Send + Sync>,
    /// Nanoseconds since 1970, as events have them.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
    ended: Condvar,
    /// Locked before `state`, never after it.
    screen: Mutex<Screen>,
}

struct State {
    run: Run,
    /// Lines that stay and are not on the screen yet.
    pending: String,
    /// Open lines of the stages whose output is shown as it comes.
    open: HashMap<StageRef, Lines>,
    over: bool,
}

struct Screen {
    out: Box<dyn Write + Send>,
    /// Columns of each line of the frame that is on the screen.
    drawn: Vec<usize>,
    broken: bool,
}

impl Terminal {
    pub fn new(out: impl Write + Send + 'static, options: Options) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Terminal::with(out, options, window, clock)
    }

    fn with(
        out: impl Write + Send + 'static,
        options: Options,
        size: impl Fn() -> Size + Send + Sync + 'static,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            options,
            symbols: if options.unicode { &UNICODE } else { &ASCII },
            size: Box::new(size),
            clock: Box::new(clock),
            state: Mutex::new(State { run: Run::default(), pending: String::new(), open: HashMap::new(), over: false }),
            ended: Condvar::new(),
            screen: Mutex::new(Screen { out: Box::new(out), drawn: Vec::new(), broken: false }),
        });
        let ticking = shared.clone();
        let ticker = std::thread::Builder::new().name("terminal".to_owned()).spawn(move || ticking.tick());
        // Without a thread there are no frames; what stays is still written when the run ends.
        Terminal { shared, ticker: ticker.ok() }
    }
}

impl EventSink for Terminal {
    fn emit(&self, event: &Event) {
        let shared = &self.shared;
        let mut state = shared.state();
        state.run.apply(event);
        shared.note(&mut state, event);
        let over = matches!(event.kind, Kind::RunFinished { .. });
        state.over |= over;
        let full = state.pending.len() > BACKLOG;
        drop(state);
        if over {
            shared.ended.notify_all();
        }
        if over || full {
            shared.draw();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.ended.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        self.shared.draw();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn size(&self) -> Size {
        let size = (self.size)();
        Size { columns: self.options.width.unwrap_or(size.columns).max(10), rows: size.rows.max(2) }
    }

    fn tick(&self) {
        let pause = Duration::from_secs(1) / FRAMES;
        let mut state = self.state();
        while !state.over {
            (state, _) = self.ended.wait_timeout(state, pause).unwrap_or_else(|poisoned| poisoned.into_inner());
            drop(state);
            self.draw();
            state = self.state();
        }
    }

    /// Writes what waits and the frame below it; no frame once the run is over.
    fn draw(&self) {
        let mut screen = self.screen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let size = self.size();
        let (pending, lines) = {
            let mut state = self.state();
            let quiet = self.options.verbosity == Verbosity::Quiet;
            let live = !state.over && !quiet && state.run.started > 0;
            // The last column stays free: not every terminal agrees on what a full line does.
            let inner = Size { columns: size.columns - 1, ..size };
            let lines = if live { frame(&state.run, inner, (self.clock)(), self.symbols) } else { Vec::new() };
            (std::mem::take(&mut state.pending), lines)
        };
        if screen.broken || (pending.is_empty() && lines.is_empty() && screen.drawn.is_empty()) {
            return;
        }
        let rendered: Vec<String> = lines.iter().map(|line| line.render(self.options.color, self.options.unicode)).collect();
        let bytes = paint(&screen.drawn, size.columns, &pending, &rendered);
        screen.drawn = lines.iter().map(Line::width).collect();
        if let Err(error) = screen.out.write_all(bytes.as_bytes()).and_then(|()| screen.out.flush()) {
            screen.broken = true;
            complain("the terminal cannot be written to", &error);
        }
    }

    /// Adds the lines that stay.
    fn note(&self, state: &mut State, event: &Event) {
        let verbosity = self.options.verbosity;
        let columns = self.size().columns;
        let told = match &event.kind {
            Kind::StageFinished { stage, outcome, .. } => {
                let mut lines = self.rest(state, stage);
                if verbosity > Verbosity::Quiet || outcome.fails_run() {
                    lines.extend(ended(&state.run, stage, outcome, columns, verbosity, self.symbols));
                }
                state.run.stage_mut(stage).forget_shown();
                lines
            }
            Kind::RunFinished { .. } if verbosity == Verbosity::Quiet => {
                summary::brief(&state.run).into_iter().flat_map(|line| line.wrap(columns, 4)).collect()
            }
            Kind::RunFinished { .. } => {
                let lines = summary::summary(&state.run, columns, self.symbols);
                lines.into_iter().flat_map(|line| line.wrap(columns, summary::LABEL)).collect()
            }
            Kind::ApprovalWaiting { stage, question, expires, .. } => {
                asks(&state.run, stage, question.as_deref(), expires.map(|end| end.saturating_sub(event.at)), columns, self.symbols)
            }
            Kind::StageSuspended { stage, effect, subject, message, .. } => {
                let mut lines = self.rest(state, stage);
                let lead = Line::of(Role::Warn, self.symbols.person).and(Role::Text, " ").and(Role::Strong, stage.as_str());
                lines.extend(lead.and(Role::Warn, &format!("  in doubt: {effect} {subject}")).wrap(columns, 4));
                lines.extend(Line::of(Role::Text, "    ").and(Role::Text, message).wrap(columns, 4));
                lines.push(Line::of(Role::Faint, "    decide with: ").and(Role::Text, &onward::decide(&state.run.run)).whole());
                lines
            }
            _ if verbosity == Verbosity::Quiet => return,
            Kind::ApprovalGiven { stage, approved, by, note } => {
                let (role, sign) = if *approved { (Role::Good, self.symbols.passed) } else { (Role::Bad, self.symbols.failed) };
                let line = Line::of(role, sign).and(Role::Text, " ").and(Role::Strong, stage.as_str());
                line.and(Role::Text, &format!("  {}", detail::answer(*approved, by, note))).wrap(columns, 4)
            }
            Kind::RunResumed { run, pipeline, stages, jobs, settled, .. } => {
                let mut line = Line::of(Role::Accent, "RESUMED ").and(Role::Strong, pipeline);
                line.push(Role::Text, &format!(", {settled} of {} done before", detail::plural(stages.len(), "stage")));
                for part in [format!("{jobs} at once"), format!("run {run}")] {
                    line.push(Role::Faint, &format!(" {} {part}", self.symbols.dot));
                }
                line.wrap(columns, 2)
            }
            Kind::GroupWaiting { stage, group, holder, holder_stage } => {
                let mut line = Line::of(Role::Warn, self.symbols.again);
                if let Some(stage) = stage {
                    line.push(Role::Text, " ");
                    line.push(Role::Strong, stage.as_str());
                }
                let waiting = detail::queued(group, holder.as_deref(), holder_stage.as_deref());
                line.and(Role::Warn, &format!("  {waiting}")).wrap(columns, 4)
            }
            Kind::Output { stage, stream, bytes } if verbosity == Verbosity::Verbose => {
                let mut lines = Vec::new();
                let symbols = self.symbols;
                state.open.entry(stage.clone()).or_default().feed(*stream, bytes, |line| lines.push(log_line(stage, line, symbols)));
                lines
            }
            Kind::RunStarted { run, pipeline, stages, jobs, git, trigger, .. } => {
                let mut line = Line::of(Role::Strong, pipeline);
                if let Some(checkout) = git.as_ref().and_then(detail::checkout) {
                    line.push(Role::Faint, &format!(" {} ", self.symbols.dot));
                    line.append(checkout);
                }
                let known = [detail::plural(stages.len(), "stage"), format!("{jobs} at once"), format!("run {run}")];
                for part in known.into_iter().chain(trigger.as_ref().map(detail::trigger).unwrap_or_default()) {
                    line.push(Role::Faint, &format!(" {} {part}", self.symbols.dot));
                }
                line.wrap(columns, 2)
            }
            Kind::Cache { stage, .. } | Kind::Service { stage, .. } => {
                let Some((line, weight)) = around::line(&event.kind) else { return };
                // what is said of a cache stands in the stage's log too
                let cache = matches!(event.kind, Kind::Cache { .. });
                let verbose = verbosity == Verbosity::Verbose;
                if verbose && cache || !verbose && weight == Weight::Detail {
                    return;
                }
                let mut lead = Line::of(Role::Faint, stage.as_str()).and(Role::Text, "  ");
                lead.append(line);
                lead.wrap(columns, 4)
            }
            Kind::StageRetrying { stage, attempt, outcome, delay } => {
                let mut lines = self.rest(state, stage);
                lines.extend(again(stage, *attempt, outcome, *delay, columns, self.symbols));
                lines
            }
            Kind::Stopping { reason } => {
                Line::of(Role::Warn, self.symbols.cancelled).and(Role::Warn, &format!(" stopping: {reason}")).wrap(columns, 2)
            }
            Kind::Warning { message } => message
                .lines()
                .flat_map(|text| Line::of(Role::Warn, self.symbols.warning).and(Role::Text, " ").and(Role::Text, text).wrap(columns, 2))
                .collect(),
            _ => return,
        };
        for line in told {
            state.pending.push_str(&line.render(self.options.color, self.options.unicode));
            state.pending.push('\n');
        }
    }

    /// Lines of a stage that had not ended when the stage did.
    fn rest(&self, state: &mut State, stage: &StageRef) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(mut open) = state.open.remove(stage) {
            open.finish(|line| lines.push(log_line(stage, line, self.symbols)));
        }
        lines
    }
}

fn log_line(stage: &StageRef, line: &[u8], symbols: &Symbols) -> Line {
    let lead = Line::of(Role::Faint, stage.as_str()).and(Role::Faint, &format!(" {} ", symbols.gutter));
    lead.and(Role::Text, &sanitize::log_line(line)).whole()
}

/// `✓ lint    1.2s  42 files, 0 findings`, and below a failure what went wrong.
fn ended(run: &Run, id: &StageRef, outcome: &Outcome, columns: usize, verbosity: Verbosity, symbols: &Symbols) -> Vec<Line> {
    let Some(stage) = run.stage(id) else { return Vec::new() };
    if matches!(outcome, Outcome::Skipped { why: event::Blocked::NotSelected }) && verbosity < Verbosity::Verbose {
        return Vec::new();
    }
    let (role, sign) = detail::mark(outcome, symbols);
    let names = run.longest_id.min(columns * 2 / 5).min(36);
    let mut line = Line::of(role, sign).and(Role::Text, " ");
    let faint = matches!(role, Role::Faint);
    line.push(if faint { Role::Faint } else { Role::Strong }, id.as_str());
    let time = if stage.attempt > 0 { duration::human(stage.nanos) } else { String::new() };
    line.pad(2 + names + 2 + 7usize.saturating_sub(width(&time)));
    if width(id.as_str()) > names {
        line.push(Role::Text, "  ");
    }
    line.push(Role::Faint, &time);
    line.push(Role::Text, "  ");
    let column = line.width();
    line.push(if role == Role::Good { Role::Text } else { role }, &detail::tell(stage, outcome));
    let mut lines = line.wrap(columns, if column * 2 < columns { column } else { 4 });
    let failed = matches!(outcome, Outcome::Failed { .. });
    if failed || (verbosity == Verbosity::Verbose && outcome.passed()) {
        // When every line is shown as it comes, the end of the log is on the screen already.
        let log_lines = if failed && verbosity < Verbosity::Verbose { LOG_LINES } else { 0 };
        let block = detail::block(stage, log_lines);
        let ended = !block.is_empty();
        for detail in block {
            let mut indented = Line::of(Role::Text, "    ");
            indented.append(detail);
            lines.extend(indented.wrap(columns, 8));
        }
        if ended {
            lines.push(Line::new());
        }
    }
    lines
}

/// Who has to agree, for how long it is asked, and with which command.
fn asks(run: &Run, id: &StageRef, question: Option<&str>, left: Option<u64>, columns: usize, symbols: &Symbols) -> Vec<Line> {
    let Some(what) = detail::question(run, id, question) else { return Vec::new() };
    let mut line = Line::of(Role::Warn, symbols.person).and(Role::Text, " ").and(Role::Strong, id.as_str());
    line.push(Role::Warn, &format!("  {what}"));
    if let Some(left) = left {
        line.push(Role::Faint, &format!(", for {}", duration::human(left)));
    }
    let mut lines = line.wrap(columns, 4);
    lines.push(Line::of(Role::Faint, "    approve with: ").and(Role::Text, &onward::approve(&run.run, id)).whole());
    lines
}

fn again(id: &StageRef, attempt: u32, outcome: &Outcome, delay: u64, columns: usize, symbols: &Symbols) -> Vec<Line> {
    let told = detail::tell_attempt(outcome);
    let mut line = Line::of(Role::Warn, symbols.again).and(Role::Text, " ").and(Role::Strong, id.as_str());
    line.push(Role::Warn, &format!("  attempt {attempt} {told}"));
    line.push(Role::Faint, &format!("; the next in {}", duration::human(delay)));
    line.wrap(columns, 4)
}

/// The bytes that turn a screen whose last lines have the widths `drawn` into one that ends with `pending` and `frame`.
fn paint(drawn: &[usize], columns: usize, pending: &str, frame: &[String]) -> String {
    use std::fmt::Write;
    // Begin and end of a synchronised update, which terminals without it ignore.
    let mut bytes = String::from("\x1b[?2026h");
    // In a window that has become narrower, lines that were drawn have become several.
    let rows: usize = drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    if rows > 0 {
        let _ = write!(bytes, "\r\x1b[{rows}A");
    }
    if !pending.is_empty() {
        bytes.push_str("\x1b[J");
        bytes.push_str(pending);
    }
    for line in frame {
        let _ = writeln!(bytes, "\x1b[2K{line}");
    }
    bytes.push_str("\x1b[J\x1b[?2026l");
    bytes
}

/// The size of the window: of the terminal on stderr or stdout, or 80 × 24.
fn window() -> Size {
    let of = |size: rustix::io::Result<rustix::termios::Winsize>| size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    match of(rustix::termios::tcgetwinsize(std::io::stderr())).or_else(|| of(rustix::termios::tcgetwinsize(std::io::stdout()))) {
        Some(size) => Size { columns: size.ws_col.into(), rows: size.ws_row.into() },
        None => Size { columns: 80, rows: 24 },
    }
}

#[cfg(test)]
mod tests;
