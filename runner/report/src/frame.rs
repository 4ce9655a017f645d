//! The live part of the terminal: a pure function of the run, the size of the terminal and the time. Every line fits.

use crate::detail::{self, plural};
use crate::duration;
use crate::model::{Live, Run, Stage, State};
use crate::sanitize;
use crate::style::{Line, Role, Symbols, width};

/// The terminal's columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

const BAR: usize = 10;
const SPINNER_NANOS: u64 = 100_000_000;

/// What runs, oldest first, and a footer: one line a stage, under it what it said last. Where the rows do not suffice, first the second
/// lines go, then the stages that started last.
pub fn frame(run: &Run, size: Size, now: u64, symbols: &Symbols) -> Vec<Line> {
    let columns = size.columns.max(1);
    let rows = size.rows.saturating_sub(1).max(1);
    let items = run.compiling.len() + run.active.len();
    let room = rows.saturating_sub(1);
    let shown = if items > room { room.saturating_sub(1) } else { items };
    let more = items > shown && room > shown;
    let mut tails = room - shown - usize::from(more);
    let mut lines = Vec::new();
    let mut left = shown;
    let compiling: Vec<(String, u64)> = run.compiling.iter().map(|(plugin, _, since)| (format!("compiling {plugin}"), *since)).collect();
    let names = run.active.iter().take(shown).map(|&index| width(run.stages[index].id.as_str()));
    let names = names.chain(compiling.iter().map(|(text, _)| width(text)));
    let names = names.max().unwrap_or(0).min(columns * 2 / 5).max(8);
    for (text, since) in compiling.iter().take(left) {
        let mut line = head(*since, now, symbols, text, names);
        line.push(Role::Faint, &duration::elapsed(now.saturating_sub(*since)));
        lines.push(line.fit(columns, symbols.cut));
    }
    left -= run.compiling.len().min(left);
    for &index in run.active.iter().take(left) {
        let stage = &run.stages[index];
        lines.push(stage_line(stage, names, columns, now, symbols));
        let newest = stage.live.as_ref().and_then(|live| live.tail.newest());
        if let Some(newest) = newest.map(sanitize::log_line).filter(|line| !line.trim().is_empty())
            && tails > 0
        {
            tails -= 1;
            let line = Line::of(Role::Faint, "    ").and(Role::Faint, symbols.gutter).and(Role::Faint, " ").and(Role::Faint, &newest);
            lines.push(line.fit(columns, symbols.cut));
        }
    }
    if more {
        lines.push(Line::of(Role::Faint, &format!("    and {} more", plural(items - shown, "stage"))).fit(columns, symbols.cut));
    }
    lines.push(footer(run, now, symbols).fit(columns, symbols.cut));
    lines
}

/// Spinner and name, and spaces up to the column of the times.
fn head(since: u64, now: u64, symbols: &Symbols, name: &str, names: usize) -> Line {
    // From the stage's own start, so that spinners do not turn in step.
    let turn = now.saturating_sub(since) / SPINNER_NANOS;
    let spinner = symbols.spinner[turn as usize % symbols.spinner.len()];
    let mut line = Line::of(Role::Text, "  ").and(Role::Accent, spinner).and(Role::Text, " ");
    line.append(Line::of(Role::Strong, name).fit(names, symbols.cut));
    line.pad(4 + names + 2);
    line
}

fn stage_line(stage: &Stage, names: usize, columns: usize, now: u64, symbols: &Symbols) -> Line {
    let since = match &stage.state {
        State::Running(since) => *since,
        State::Asking(asking) => asking.since,
        State::Queued(queued) => queued.since,
        _ => stage.began,
    };
    let mut line = head(since, now, symbols, stage.id.as_str(), names);
    let time = duration::elapsed(now.saturating_sub(since));
    line.pad(4 + names + 2 + 7usize.saturating_sub(width(&time)));
    line.push(Role::Text, &time);
    if let State::Waiting(until) = stage.state {
        let left = duration::elapsed(until.saturating_sub(now));
        line.push(Role::Warn, &format!("  {} attempt {} in {left}", symbols.again, stage.attempt + 1));
    } else if let State::Asking(asking) = &stage.state {
        line.push(Role::Warn, &format!("  {} {}", symbols.person, detail::asking(asking)));
    } else if let State::Queued(queued) = &stage.state {
        line.push(Role::Warn, &format!("  {} {}", symbols.again, detail::queueing(queued)));
    } else if let Some(live) = &stage.live {
        if stage.attempt > 1 {
            line.push(Role::Warn, &format!("  {} attempt {}", symbols.again, stage.attempt));
        }
        if let Some(doing) = doing(live, columns, symbols) {
            line.push(Role::Text, "  ");
            line.append(doing);
        }
    }
    line.fit(columns, symbols.cut)
}

/// The stage's own progress, or else the command that it runs.
fn doing(live: &Live, columns: usize, symbols: &Symbols) -> Option<Line> {
    if let Some(progress) = &live.progress {
        let mut line = Line::new();
        if progress.total > 0 {
            let done = progress.done.min(progress.total);
            if columns >= 60 {
                let cells = (u128::from(done) * BAR as u128 / u128::from(progress.total)) as usize;
                line.push(Role::Accent, &symbols.full.repeat(cells));
                line.push(Role::Faint, &symbols.empty.repeat(BAR - cells));
                line.push(Role::Text, " ");
            }
            line.push(Role::Text, &format!("{}/{} ", progress.done, progress.total));
        } else if progress.done > 0 {
            line.push(Role::Text, &format!("{} ", progress.done));
        }
        line.push(Role::Text, &progress.message);
        return Some(line);
    }
    let (_, command) = live.commands.last()?;
    Some(Line::of(Role::Faint, "$ ").and(Role::Faint, command))
}

fn footer(run: &Run, now: u64, symbols: &Symbols) -> Line {
    let all = run.stages.len();
    let ended = run.counts.ended();
    let mut line = Line::of(Role::Text, "  ");
    line.push(Role::Strong, &format!("{ended}/{all} stages"));
    let mut part = |role, text: String| {
        line.push(Role::Faint, &format!(" {} ", symbols.dot));
        line.push(role, &text);
    };
    let running = run.active.iter().filter(|&&index| matches!(run.stages[index].state, State::Running(_))).count();
    if running > 0 {
        part(Role::Text, format!("{running} running"));
    }
    let asking = run.active.iter().filter(|&&index| matches!(run.stages[index].state, State::Asking(_))).count();
    if asking > 0 {
        part(Role::Warn, format!("{asking} waiting for approval"));
    }
    let queued = run.active.iter().filter(|&&index| matches!(run.stages[index].state, State::Queued(_))).count();
    if queued > 0 {
        part(Role::Warn, format!("{queued} waiting for a group"));
    }
    if run.counts.failed > 0 {
        part(Role::Bad, format!("{} failed", run.counts.failed));
    }
    if run.counts.soft_failed > 0 {
        part(Role::Warn, format!("{} soft-failed", run.counts.soft_failed));
    }
    part(Role::Text, duration::elapsed(now.saturating_sub(run.started)));
    if let Some(reason) = &run.stopping {
        part(Role::Warn, format!("stopping: {reason} (Ctrl-C stops at once)"));
    }
    line
}
