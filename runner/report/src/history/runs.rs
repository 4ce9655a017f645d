//! The list of runs, newest first, a line a run.

use std::io::{self, Write};

use event::{Blocked, Outcome};
use journal::Overview;
use serde_json::{Value, json};

use super::{RunState, View, rfc3339, seconds};
use crate::duration;
use crate::model::Counts;
use crate::style::{Line, Role, width};

/// A run of the list.
#[derive(Debug)]
pub struct Row {
    pub run: String,
    /// What is known of it, or why nothing is.
    pub told: Result<(RunState, Overview), String>,
}

/// How the stages of a run ended.
fn counts(overview: &Overview) -> Counts {
    let mut counts = Counts::default();
    for outcome in overview.outcomes.values() {
        *match outcome {
            Outcome::Passed { .. } => &mut counts.passed,
            Outcome::Failed { soft: true, .. } => &mut counts.soft_failed,
            Outcome::Failed { soft: false, .. } => &mut counts.failed,
            Outcome::Skipped { why: Blocked::NotSelected } => &mut counts.not_selected,
            Outcome::Skipped { .. } => &mut counts.skipped,
            Outcome::Blocked { .. } => &mut counts.blocked,
            Outcome::Cancelled { .. } => &mut counts.cancelled,
        } += 1;
    }
    counts
}

/// How long a run was worked on, or how long it has been going.
pub(super) fn took(state: RunState, overview: &Overview, now: u64) -> u64 {
    let until = if state == RunState::Running { now } else { overview.last };
    overview.took.map_or_else(|| until.saturating_sub(overview.header.started), |took| took.as_nanos() as u64)
}

const COLUMNS: usize = 7;
const HEADS: [&str; COLUMNS] = ["RUN", "PIPELINE", "STATE", "STARTED", "TOOK", "STAGES", "BRANCH"];
/// Columns that give way where the lines are too long, and how far.
const SHRINKING: [(usize, usize); 2] = [(6, 6), (1, 6)];
const GAP: usize = 2;

/// Writes the list.
///
/// # Errors
/// What writing says.
pub fn table(rows: &[Row], view: &View, out: &mut dyn Write) -> io::Result<()> {
    let cells: Vec<[Line; COLUMNS]> = rows.iter().map(|row| cells(row, view)).collect();
    let mut widths = HEADS.map(width);
    for (row, cells) in rows.iter().zip(&cells) {
        // What can't be read has one long cell.
        let shown = if row.told.is_ok() { COLUMNS } else { 1 };
        for (widest, cell) in widths.iter_mut().zip(cells).take(shown) {
            *widest = (*widest).max(cell.width());
        }
    }
    let columns = view.columns();
    for (column, least) in SHRINKING {
        let whole = widths.iter().sum::<usize>() + GAP * (COLUMNS - 1);
        widths[column] = widths[column].saturating_sub(whole.saturating_sub(columns)).max(least.min(widths[column]));
    }
    let heads = HEADS.map(|head| Line::of(Role::Faint, head));
    for (index, cells) in std::iter::once(heads).chain(cells).enumerate() {
        let problem = index > 0 && rows[index - 1].told.is_err();
        let mut line = Line::new();
        let mut at = 0;
        for (cell, width) in cells.into_iter().zip(widths) {
            line.append(if problem && at > 0 { cell } else { cell.fit(width, view.symbols().cut) });
            at += width + GAP;
            line.pad(at);
        }
        view.write(out, line.fit(columns, view.symbols().cut))?;
    }
    Ok(())
}

fn cells(row: &Row, view: &View) -> [Line; COLUMNS] {
    let text = |text: &str| Line::of(Role::Text, text);
    let mut cells = std::array::from_fn(|_| Line::new());
    cells[0] = Line::of(Role::Strong, &row.run);
    match &row.told {
        Err(problem) => cells[1] = Line::of(Role::Bad, "unreadable: ").and(Role::Text, problem),
        Ok((state, overview)) => {
            cells[1] = text(&overview.header.pipeline);
            cells[2] = Line::of(state.role(), state.word());
            cells[3] = text(&view.since(overview.header.started));
            cells[4] = text(&duration::human(took(*state, overview, view.now)));
            cells[5] = stages(overview, view);
            cells[6] = text(overview.header.git_branch.as_deref().unwrap_or_default());
        }
    }
    cells
}

/// `5✓ 1✗ 2○`, and how many are still to come.
fn stages(overview: &Overview, view: &View) -> Line {
    let counts = counts(overview);
    let symbols = view.symbols();
    let left = overview.stages.saturating_sub(counts.ended());
    let mut line = Line::new();
    for (count, sign, role) in [
        (counts.passed, symbols.passed, Role::Good),
        (counts.failed, symbols.failed, Role::Bad),
        (counts.soft_failed, symbols.warning, Role::Warn),
        (counts.cancelled, symbols.cancelled, Role::Warn),
        (counts.blocked, symbols.blocked, Role::Faint),
        (counts.skipped + counts.not_selected, symbols.skipped, Role::Faint),
        (left, symbols.dot, Role::Faint),
    ] {
        if count > 0 {
            line.push(Role::Text, if line.width() > 0 { " " } else { "" });
            line.push(role, &format!("{count}{sign}"));
        }
    }
    line
}

/// The list as an array.
pub fn json(rows: &[Row], now: u64) -> Value {
    rows.iter().map(|row| row_json(row, now)).collect()
}

fn row_json(row: &Row, now: u64) -> Value {
    let (state, overview) = match &row.told {
        Ok(told) => told,
        Err(problem) => return json!({ "run": row.run, "state": "unreadable", "problem": problem }),
    };
    let header = &overview.header;
    json!({
        "run": row.run,
        "pipeline": header.pipeline,
        "state": state.name(),
        "started": rfc3339(header.started),
        "last": rfc3339(overview.last),
        "took-seconds": seconds(took(*state, overview, now)),
        "stages": stages_json(overview),
        "branch": header.git_branch,
        "sha": header.git_sha,
    })
}

pub(super) fn stages_json(overview: &Overview) -> Value {
    let counts = counts(overview);
    json!({
        "planned": overview.stages,
        "passed": counts.passed,
        "failed": counts.failed,
        "soft-failed": counts.soft_failed,
        "skipped": counts.skipped,
        "left-out": counts.not_selected,
        "blocked": counts.blocked,
        "cancelled": counts.cancelled,
    })
}
