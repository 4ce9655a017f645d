//! What is said about one stage: the line with which it ends, and what a failure looks like from close by. Shared by the terminal and
//! the plain log, which differ in where they put it.

use event::{Blocked, DenialRecord, FailureKind, Finding, GitFacts, Location, Outcome, Severity, StageRef, TestCase, TestStatus, Trigger};

use crate::duration;
use crate::model::{Asking, Queued, Results, Run, SHOWN, Stage, State};
use crate::sanitize;
use crate::style::{Line, Role, Symbols};

/// Columns of one line of a log; the rest is in the file.
const LOG_COLUMNS: usize = 400;
/// Lines of one test's message.
const MESSAGE_LINES: usize = 20;

/// The sign and the role of an outcome.
pub fn mark(outcome: &Outcome, symbols: &Symbols) -> (Role, &'static str) {
    match outcome {
        Outcome::Passed { .. } => (Role::Good, symbols.passed),
        Outcome::Failed { soft: true, .. } => (Role::Warn, symbols.warning),
        Outcome::Failed { soft: false, .. } => (Role::Bad, symbols.failed),
        Outcome::Skipped { .. } => (Role::Faint, symbols.skipped),
        Outcome::Blocked { .. } => (Role::Faint, symbols.blocked),
        Outcome::Cancelled { .. } => (Role::Warn, symbols.cancelled),
    }
}

/// The sign, the role and the word of a stage that ended, or that waits for a person. None for the others.
pub fn standing(stage: &Stage, symbols: &Symbols) -> Option<(Role, &'static str, &'static str)> {
    match &stage.state {
        State::Ended(outcome) => {
            let (role, sign) = mark(outcome, symbols);
            Some((role, sign, word(outcome)))
        }
        State::Asking(_) => Some((Role::Warn, symbols.person, "waiting")),
        State::Suspended => Some((Role::Warn, symbols.person, "in doubt")),
        State::Planned | State::Running(_) | State::Waiting(_) | State::Queued(_) => None,
    }
}

/// `waiting for approval: production (1 of 2)`.
pub fn asking(asking: &Asking) -> String {
    let Asking { environment, count, given, .. } = asking;
    let progress = if *count > 1 { format!(" ({given} of {count})") } else { String::new() };
    format!("waiting for approval: {environment}{progress}")
}

/// What people are asked: by the stage itself, while it runs, or before it begins.
pub fn question(run: &Run, id: &StageRef, question: Option<&str>) -> Option<String> {
    match (question, run.stage(id).map(|stage| &stage.state)) {
        (Some(question), _) => Some(format!("asks: {}", sanitize::clean(question))),
        (None, Some(State::Asking(waiting))) => Some(asking(waiting)),
        (None, _) => None,
    }
}

/// `waiting for group deploy, held by stage canary of run 20261121-214501-9f3a1c`.
pub fn queued(group: &str, holder: Option<&str>, holder_stage: Option<&str>) -> String {
    let holder = match (holder, holder_stage) {
        (Some(run), Some(stage)) => format!(", held by stage {stage} of run {run}"),
        (Some(run), None) => format!(", held by run {run}"),
        (None, _) => String::new(),
    };
    format!("waiting for group {group}{holder}")
}

/// The same of a stage.
pub fn queueing(queued: &Queued) -> String {
    let holder = queued.holder.as_ref();
    self::queued(&queued.group, holder.map(|(run, _)| run.as_str()), holder.and_then(|(_, stage)| stage.as_deref()))
}

/// What set a run off: `push of main (trust: branch)`, `pipeline from stable (0123456789ab)`. Nothing where a person started it.
pub fn trigger(trigger: &Trigger) -> Vec<String> {
    let Trigger { event, trust, subject, pipeline_from } = trigger;
    let set_off = (trust != "local").then(|| format!("{event} of {subject} (trust: {trust})"));
    set_off.into_iter().chain(pipeline_from.as_ref().map(|from| format!("pipeline from {from}"))).collect()
}

/// What a person said: `approved by ana: go ahead`.
pub fn answer(approved: bool, by: &str, note: &str) -> String {
    let word = if approved { "approved" } else { "rejected" };
    let note = first_line(note);
    if note.is_empty() { format!("{word} by {by}") } else { format!("{word} by {by}: {note}") }
}

/// One word for tables.
pub fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed { .. } => "passed",
        Outcome::Failed { soft: true, .. } => "soft-failed",
        Outcome::Failed { kind, soft: false, .. } => kind_word(*kind),
        Outcome::Skipped { why: Blocked::NotSelected } => "left out",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Blocked { .. } => "blocked",
        Outcome::Cancelled { .. } => "cancelled",
    }
}

fn kind_word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Failed => "failed",
        FailureKind::Misconfigured => "misconfigured",
        FailureKind::Denied => "denied",
        FailureKind::Errored => "errored",
        FailureKind::TimedOut => "timed out",
        FailureKind::Limit => "over a limit",
        FailureKind::Crashed => "crashed",
        FailureKind::Host => "not runnable",
        FailureKind::Rejected => "rejected",
        FailureKind::Busy => "busy",
        FailureKind::Diverged => "diverged",
    }
}

/// What follows the name and the time: the stage's own summary, or why it has none.
pub fn tell(stage: &Stage, outcome: &Outcome) -> String {
    let told = match outcome {
        Outcome::Passed { summary } if summary.is_empty() => stage.results.as_deref().map(counts).unwrap_or_default(),
        outcome => tell_attempt(outcome),
    };
    let attempts = if stage.attempt > 1 { format!("attempt {}", stage.attempt) } else { String::new() };
    let denied = match (&stage.results, outcome) {
        (Some(results), Outcome::Passed { .. }) if results.denials > 0 => plural(results.denials, "denied effect"),
        _ => String::new(),
    };
    [told, attempts, denied].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// How one attempt ended, in one line. What else its message says is in [`block`].
pub fn tell_attempt(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed { summary } => first_line(summary).to_owned(),
        Outcome::Failed { kind, message, soft, .. } => {
            let soft = if *soft { " (soft)" } else { "" };
            let message = first_line(message);
            if message.is_empty() { format!("{}{soft}", kind_word(*kind)) } else { format!("{}{soft}: {message}", kind_word(*kind)) }
        }
        Outcome::Skipped { why } => format!("skipped: {}", reason(why)),
        Outcome::Blocked { why } => format!("blocked: {}", reason(why)),
        Outcome::Cancelled { message } => format!("cancelled: {}", first_line(message)),
    }
}

pub fn first_line(text: &str) -> &str {
    text.trim_start().lines().next().unwrap_or_default()
}

/// Why a stage did not run.
pub fn reason(why: &Blocked) -> String {
    match why {
        Blocked::When(condition) => format!("its `when` is false: {condition}"),
        Blocked::Need(need) => format!("it needs `{need}`, which did not pass"),
        Blocked::NothingFailed => "none of its needs failed".to_owned(),
        Blocked::NoneOf => "none of its `needs-any` passed".to_owned(),
        Blocked::NotSelected => "left out on the command line".to_owned(),
        Blocked::Stopping => "the run was stopping".to_owned(),
    }
}

/// `main 0123456, with uncommitted changes`; none if nothing is known.
pub fn checkout(git: &GitFacts) -> Option<Line> {
    let short = git.sha.as_ref().map(|sha| sha.chars().take(7).collect::<String>());
    let names: Vec<&str> = git.branch.as_deref().into_iter().chain(short.as_deref()).collect();
    if names.is_empty() {
        return None;
    }
    let line = Line::of(Role::Text, &names.join(" "));
    Some(if git.dirty == Some(true) { line.and(Role::Warn, ", with uncommitted changes") } else { line })
}

/// `3 tests`, `1 test`.
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn counts(results: &Results) -> String {
    let findings: usize = results.findings.iter().sum();
    let mut parts = Vec::new();
    if results.tests.total() > 0 {
        parts.push(plural(results.tests.total(), "test"));
    }
    if findings > 0 {
        parts.push(plural(findings, "finding"));
    }
    parts.join(", ")
}

pub fn severity(severity: Severity) -> (Role, &'static str) {
    match severity {
        Severity::Critical => (Role::Bad, "critical"),
        Severity::High => (Role::Bad, "high"),
        Severity::Medium => (Role::Warn, "medium"),
        Severity::Low => (Role::Text, "low"),
        Severity::Info => (Role::Faint, "info"),
    }
}

/// Failing tests, findings, denials, the end of the log and where the whole log is. Empty for a stage that passed and has nothing to
/// show.
pub fn block(stage: &Stage, log_lines: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(Outcome::Failed { message, .. }) = stage.outcome() {
        // Such as a drawing of the place in the pipeline file: as it is.
        lines.extend(message.trim().lines().skip(1).map(|text| Line::of(Role::Text, text).whole()));
    }
    if let Some(results) = &stage.results {
        for test in &results.failing_tests {
            failing_test(test, &mut lines);
        }
        more(results.tests.failed + results.tests.errored, results.failing_tests.len(), "failing test", &mut lines);
        for found in &results.shown_findings {
            finding(found, &mut lines);
        }
        more(results.findings.iter().sum(), results.shown_findings.len(), "finding", &mut lines);
        for denial in &results.shown_denials {
            denied(denial, &mut lines);
        }
        if results.shown_denials.len() == SHOWN {
            more(results.denials, SHOWN, "denied effect", &mut lines);
        }
    }
    let tail = stage.live.as_ref().map(|live| live.tail.last(log_lines)).unwrap_or_default();
    if !tail.is_empty() {
        lines.push(Line::of(Role::Faint, &format!("the last {} of its log:", plural(tail.len(), "line"))));
        lines.extend(tail.into_iter().map(log_line));
    }
    if let Some(results) = stage.results.as_ref().filter(|results| !results.log.is_empty() && !lines.is_empty()) {
        lines.push(Line::of(Role::Faint, "whole log: ").and(Role::Text, &results.log).whole());
    }
    lines
}

fn log_line(bytes: &[u8]) -> Line {
    Line::of(Role::Text, "  ").and(Role::Text, &sanitize::log_line(bytes)).fit(LOG_COLUMNS, "…").whole()
}

fn more(all: usize, shown: usize, what: &str, lines: &mut Vec<Line>) {
    if all > shown {
        lines.push(Line::of(Role::Faint, &format!("and {} more", plural(all - shown, what))));
    }
}

pub fn place(location: &Location) -> String {
    let mut place = location.path.clone();
    if location.line > 0 {
        place += &format!(":{}", location.line);
        if location.column > 0 {
            place += &format!(":{}", location.column);
        }
    }
    place
}

fn failing_test(test: &TestCase, lines: &mut Vec<Line>) {
    let word = if test.status == TestStatus::Errored { "error" } else { "fail" };
    let mut line = Line::of(Role::Bad, word).and(Role::Text, "  ");
    if !test.suite.is_empty() {
        line.push(Role::Text, &test.suite);
        line.push(Role::Faint, " > ");
    }
    line.push(Role::Strong, &test.name);
    if test.nanos > 0 {
        line.push(Role::Faint, &format!("  {}", duration::human(test.nanos)));
    }
    if let Some(location) = &test.location {
        line.push(Role::Accent, &format!("  {}", place(location)));
    }
    lines.push(line);
    let message: Vec<&str> = test.message.trim_end().lines().collect();
    lines.extend(message.iter().take(MESSAGE_LINES).map(|text| log_line(text.as_bytes())));
    more(message.len(), MESSAGE_LINES, "line", lines);
}

fn finding(finding: &Finding, lines: &mut Vec<Line>) {
    let (role, word) = severity(finding.severity);
    let mut line = Line::of(role, word).and(Role::Text, "  ");
    if let Some(location) = &finding.location {
        line.push(Role::Accent, &place(location));
        line.push(Role::Text, "  ");
    }
    line.push(Role::Faint, &finding.tool);
    if !finding.rule.is_empty() {
        line.push(Role::Faint, &format!(" {}", finding.rule));
    }
    lines.push(line);
    let told = finding.message.trim_end().lines().map(|text| ("  ", text));
    let help = finding.help.trim_end().lines().enumerate().map(|(index, text)| (if index == 0 { "  help: " } else { "  " }, text));
    for (lead, text) in told.chain(help) {
        lines.push(Line::of(Role::Faint, lead).and(Role::Text, text));
    }
    if !finding.url.is_empty() {
        lines.push(Line::of(Role::Faint, "  see ").and(Role::Text, &finding.url).whole());
    }
}

pub fn denied(denial: &DenialRecord, lines: &mut Vec<Line>) {
    lines.push(
        Line::of(Role::Bad, "denied")
            .and(Role::Text, "  ")
            .and(Role::Strong, &denial.effect)
            .and(Role::Text, " ")
            .and(Role::Text, &denial.subject),
    );
    lines.push(Line::of(Role::Text, "  ").and(Role::Text, &denial.reason).and(Role::Faint, &format!(" ({})", denial.code)));
    if let Some(remedy) = &denial.remedy {
        lines.push(Line::of(Role::Faint, "  to allow it, the pipeline file needs:"));
        lines.extend(remedy.trim_end().lines().map(|toml| Line::of(Role::Text, "    ").and(Role::Good, toml).whole()));
    }
}
