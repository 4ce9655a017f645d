//! The end of a run on one screen: which stages took how long, what was counted, what is left behind, and the verdict.

use event::{Outcome, Severity, Verdict};

use crate::detail::{self, plural};
use crate::duration;
use crate::model::{Run, Stage, State, TestCounts};
use crate::onward::onward;
use crate::style::{Line, Role, Symbols, width};

/// Stages of a table; of more, those that did not pass and the slowest are shown.
const ROWS: usize = 20;
/// Stages named as the slowest.
const SLOWEST: usize = 3;
const BAR: usize = 20;
/// Where the text of the totals begins.
pub const LABEL: usize = 11;

/// The table, the totals, the verdict and how to go on. `columns` is the width that the table may take; totals are wrapped by the caller.
pub fn summary(run: &Run, columns: usize, symbols: &Symbols) -> Vec<Line> {
    let mut lines = Vec::new();
    let ran = ran(run);
    if run.stages.len() > 1 {
        lines.push(Line::of(Role::Faint, &symbols.dash.repeat(columns.min(80))));
        table(run, &ran, columns, symbols, &mut lines);
        lines.push(Line::new());
    }
    lines.extend(totals(run, symbols));
    lines.push(verdict(run));
    lines.extend(onward(run));
    lines
}

/// The verdict alone; of a run that waits also what it waits for, since nobody else will say so.
pub fn brief(run: &Run) -> Vec<Line> {
    let mut lines = vec![verdict(run)];
    if matches!(run.finished, Some((Verdict::Waiting, _))) {
        lines.extend(onward(run));
    }
    lines
}

fn table(run: &Run, ran: &[&Stage], columns: usize, symbols: &Symbols, lines: &mut Vec<Line>) {
    let mut shown: Vec<&Stage> = run.stages.iter().filter(|stage| !left_out(stage)).collect();
    let all = shown.len();
    if all > ROWS {
        let threshold = slowest(ran, ROWS / 2).last().map_or(0, |stage| stage.nanos);
        let (mut failed, mut slow) = (0, 0);
        shown.retain(|stage| {
            let matters = stage.outcome().is_none_or(Outcome::fails_run);
            if matters && failed < ROWS {
                failed += 1;
                return true;
            }
            let keep = stage.attempt > 0 && stage.nanos >= threshold && slow < ROWS / 2;
            slow += usize::from(keep);
            keep
        });
    }
    let longest = ran.iter().map(|stage| stage.nanos).max().unwrap_or(0);
    let times: Vec<String> =
        shown.iter().map(|stage| if stage.attempt > 0 { duration::human(stage.nanos) } else { String::new() }).collect();
    let time_columns = times.iter().map(|time| width(time)).max().unwrap_or(0);
    let word_columns = shown.iter().filter_map(|stage| detail::standing(stage, symbols)).map(|(_, _, word)| width(word)).max().unwrap_or(0);
    let fixed = 4 + 2 + word_columns + 2 + time_columns;
    let name_columns = shown.iter().map(|stage| width(stage.id.as_str())).max().unwrap_or(0).min(columns.saturating_sub(fixed).max(8));
    let bar = columns.saturating_sub(fixed + name_columns + 2).min(BAR);
    for (stage, time) in shown.iter().zip(times) {
        let Some((role, sign, word)) = detail::standing(stage, symbols) else { continue };
        let mut line = Line::of(Role::Text, "  ").and(role, sign).and(Role::Text, " ");
        line.append(Line::of(Role::Text, stage.id.as_str()).fit(name_columns, symbols.cut));
        line.pad(4 + name_columns + 2);
        line.push(if role == Role::Good { Role::Text } else { role }, word);
        line.pad(fixed + name_columns - width(&time));
        line.push(Role::Text, &time);
        if bar >= 4 && longest > 0 && stage.attempt > 0 {
            let cells = (u128::from(stage.nanos) * bar as u128).div_ceil(u128::from(longest)) as usize;
            line.push(Role::Text, "  ");
            line.push(Role::Accent, &symbols.full.repeat(cells.min(bar)));
        }
        lines.push(line.fit(columns, symbols.cut));
    }
    if shown.len() < all {
        lines.push(Line::of(Role::Faint, &format!("    and {} more", plural(all - shown.len(), "stage"))));
    }
}

pub fn left_out(stage: &Stage) -> bool {
    match &stage.state {
        State::Ended(outcome) => matches!(outcome, Outcome::Skipped { why: event::Blocked::NotSelected }),
        State::Asking(_) | State::Suspended => false,
        State::Planned | State::Running(_) | State::Waiting(_) | State::Queued(_) => true,
    }
}

/// The stages that took longest, longest first.
fn slowest<'a>(ran: &[&'a Stage], count: usize) -> Vec<&'a Stage> {
    let mut slowest = ran.to_vec();
    slowest.sort_by_key(|stage| std::cmp::Reverse(stage.nanos));
    slowest.truncate(count);
    slowest
}

fn ran(run: &Run) -> Vec<&Stage> {
    run.stages.iter().filter(|stage| stage.attempt > 0).collect()
}

/// What was counted, measured and left, and the checkout.
pub fn totals(run: &Run, symbols: &Symbols) -> Vec<Line> {
    let mut lines = Vec::new();
    let counts = run.counts;
    let of = |wanted: fn(&State) -> bool| run.stages.iter().filter(|stage| wanted(&stage.state)).count();
    let parts = [
        (counts.passed, "passed", Role::Good),
        (counts.failed, "failed", Role::Bad),
        (counts.soft_failed, "soft-failed", Role::Warn),
        (counts.cancelled, "cancelled", Role::Warn),
        (counts.blocked, "blocked", Role::Text),
        (counts.skipped, "skipped", Role::Text),
        (counts.not_selected, "left out", Role::Faint),
        (of(|state| matches!(state, State::Asking(_))), "waiting for approval", Role::Warn),
        (of(|state| matches!(state, State::Suspended)), "in doubt", Role::Warn),
        (
            of(|state| matches!(state, State::Planned | State::Running(_) | State::Waiting(_) | State::Queued(_))),
            "still to run",
            Role::Text,
        ),
    ];
    lines.extend(row("stages", &parts));

    let (mut tests, mut findings, mut held) = (TestCounts::default(), [0usize; 5], 0);
    for results in run.stages.iter().filter_map(|stage| stage.results.as_ref()) {
        tests.add(results.tests);
        held += results.held;
        for (sum, count) in findings.iter_mut().zip(results.findings) {
            *sum += count;
        }
    }
    let parts = [
        (tests.passed, "passed", Role::Good),
        (tests.failed, "failed", Role::Bad),
        (tests.errored, "errored", Role::Bad),
        (tests.flaky, "flaky", Role::Warn),
        (tests.skipped, "skipped", Role::Text),
    ];
    lines.extend(row("tests", &parts));
    let severities = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];
    let mut parts =
        severities.map(|severity| (findings[severity as usize], detail::severity(severity).1, detail::severity(severity).0)).to_vec();
    parts.push((held, "held by a baseline or ignored", Role::Faint));
    lines.extend(row("findings", &parts));

    let caches = run.caches;
    let parts = [
        (caches.hit, "hit", Role::Good),
        (caches.restored, "restored from older content", Role::Text),
        (caches.missed, "missed", Role::Warn),
        (caches.saved, "saved", Role::Faint),
    ];
    lines.extend(row("caches", &parts));

    for stage in &run.stages {
        let Some(results) = &stage.results else { continue };
        // a zero tells nothing here, and tests and findings are counted above; the JSON report has them all
        let told = |name: &str, value: f64| value != 0.0 && !name.starts_with("tests.") && !name.starts_with("findings.");
        let measures: Vec<String> = results
            .measures
            .iter()
            .filter(|(name, value, _)| told(name, *value))
            .map(|(name, value, unit)| format!("{name} {}{}{unit}", number(*value), if unit.is_empty() { "" } else { " " }))
            .collect();
        if !measures.is_empty() {
            let text = measures.join(&format!(" {} ", symbols.dot));
            lines.push(label("measured").and(Role::Text, &text).and(Role::Faint, &format!("  {}", stage.id)));
        }
    }
    for stage in &run.stages {
        for artifact in stage.results.iter().flat_map(|results| &results.artifacts) {
            let size = format!("{}, {}", plural(artifact.files as usize, "file"), bytes(artifact.bytes));
            lines
                .push(label("artifact").and(Role::Text, &format!("{}.{}", stage.id, artifact.name)).and(Role::Faint, &format!("  {size}")));
        }
    }
    let ran = ran(run);
    if ran.len() > 1 {
        let slowest: Vec<String> =
            slowest(&ran, SLOWEST).iter().map(|stage| format!("{} {}", stage.id, duration::human(stage.nanos))).collect();
        lines.push(label("slowest").and(Role::Text, &slowest.join(&format!(" {} ", symbols.dot))));
    }
    if let Some(checkout) = run.git.as_ref().and_then(detail::checkout) {
        let mut line = label("checkout");
        line.append(checkout);
        lines.push(line);
    }
    lines
}

/// Two decimals where there are any, and three digits that mean something where there would be less.
fn number(value: f64) -> String {
    let decimals = if value != 0.0 && value.abs() < 0.1 { (-value.abs().log10()).ceil().clamp(2.0, 12.0) as usize + 2 } else { 2 };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub fn label(text: &str) -> Line {
    let mut line = Line::of(Role::Faint, text);
    line.pad(LABEL);
    line
}

/// `tests      214 passed, 2 failed`; none if there is nothing to count.
fn row(name: &str, parts: &[(usize, &str, Role)]) -> Option<Line> {
    let mut line = label(name);
    let mut any = false;
    for (count, what, role) in parts.iter().filter(|(count, _, _)| *count > 0) {
        line.push(Role::Text, if any { ", " } else { "" });
        line.push(*role, &format!("{count} {what}"));
        any = true;
    }
    any.then_some(line)
}

/// `PASSED  shop in 1m 02s`, with the stages that decided it.
pub fn verdict(run: &Run) -> Line {
    let Some((verdict, nanos)) = run.finished else { return Line::of(Role::Bad, "UNFINISHED") };
    let (role, word) = match verdict {
        Verdict::Passed => (Role::Good, "PASSED"),
        Verdict::Failed => (Role::Bad, "FAILED"),
        Verdict::Denied => (Role::Bad, "DENIED"),
        Verdict::TimedOut => (Role::Bad, "TIMED OUT"),
        Verdict::Interrupted => (Role::Warn, "INTERRUPTED"),
        Verdict::Terminated => (Role::Warn, "TERMINATED"),
        Verdict::Waiting => (Role::Warn, "WAITING"),
    };
    let mut line = Line::of(role, word).and(Role::Text, "  ").and(Role::Strong, &run.pipeline);
    line.push(Role::Text, &format!(" in {}", duration::human(nanos)));
    let decided = |stage: &&Stage| match &stage.state {
        State::Asking(_) | State::Suspended => verdict == Verdict::Waiting,
        State::Ended(Outcome::Failed { soft: false, .. }) => verdict != Verdict::Waiting,
        _ => false,
    };
    let stages: Vec<&Stage> = run.stages.iter().filter(decided).collect();
    if !stages.is_empty() {
        let mut names: Vec<&str> = stages.iter().take(5).map(|stage| stage.id.as_str()).collect();
        let rest = format!("{} more", stages.len().saturating_sub(5));
        if stages.len() > 5 {
            names.push(&rest);
        }
        line.push(Role::Text, &format!(": {}", names.join(", ")));
    }
    line
}

/// `1.2 MB`: powers of a thousand, as file managers count.
pub fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1000.0;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_measures_are_told_too() {
        let told = [0.00475, 0.05, 0.098_76, 82.246, 3.0, -0.000_012_34, 12.5].map(number);
        assert_eq!(told, ["0.00475", "0.05", "0.0988", "82.25", "3", "-0.0000123", "12.5"]);
    }

    #[test]
    fn sizes_change_unit_where_they_would_show_a_thousand() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
