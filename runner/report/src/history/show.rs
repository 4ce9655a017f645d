//! One run from close by: what it was started with, its stages side by side in time, what they found and left, what they were denied, and
//! who approved what.

use std::collections::HashMap;
use std::io::{self, Write};

use event::{Event, Kind, Outcome, StageRef};
use journal::{Approval, AttemptRow, Header, Overview, Session};
use serde_json::{Value, json};

use super::runs::{stages_json, took};
use super::{RunState, View, rfc3339, seconds};
use crate::detail::{self, plural};
use crate::duration;
use crate::model::{Results, Run, Stage, State};
use crate::style::{Line, Role, width};
use crate::summary::{bytes, label};

/// Everything that is told of a run.
pub struct Story {
    state: RunState,
    overview: Overview,
    sessions: Vec<Session>,
    attempts: Vec<AttemptRow>,
    approvals: Vec<Approval>,
    run: Run,
    /// When each stage worked: from, until, in nanoseconds since 1970.
    spans: HashMap<StageRef, Vec<(u64, u64)>>,
    /// How attempts ended in the eyes of the run, which knows why they were stopped.
    judged: HashMap<(StageRef, u32), Outcome>,
    warnings: Vec<String>,
}

/// Which stages of a run are meant: all instances of a name in the pipeline file, or one by its id.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a>(pub &'a str);

impl Pick<'_> {
    pub fn fits(self, attempt: &AttemptRow) -> bool {
        attempt.begin.name == self.0 || attempt.begin.stage.as_str() == self.0
    }
}

impl Story {
    pub fn new(
        state: RunState,
        overview: Overview,
        sessions: Vec<Session>,
        attempts: Vec<AttemptRow>,
        approvals: Vec<Approval>,
        events: &[Event],
    ) -> Story {
        let mut run = Run::default();
        let mut spans: HashMap<StageRef, Vec<(u64, u64)>> = HashMap::new();
        let mut open: HashMap<StageRef, u64> = HashMap::new();
        let (mut judged, mut warnings) = (HashMap::new(), Vec::new());
        for event in events {
            run.apply(event);
            let over = match &event.kind {
                Kind::StageStarted { stage, .. } => {
                    open.entry(stage.clone()).or_insert(event.at);
                    None
                }
                Kind::StageReset { stage } => {
                    let stage = run.stage_mut(stage);
                    (stage.state, stage.results) = (State::Planned, None);
                    None
                }
                Kind::StageFinished { stage, attempt, outcome, .. } | Kind::StageRetrying { stage, attempt, outcome, .. } => {
                    judged.insert((stage.clone(), *attempt), outcome.clone());
                    Some(stage)
                }
                Kind::StageSuspended { stage, .. } => Some(stage),
                Kind::Warning { message } => {
                    warnings.push(message.clone());
                    None
                }
                _ => None,
            };
            let Some(stage) = over else { continue };
            let known = spans.entry(stage.clone()).or_default();
            // an attempt that was suspended goes on without another start
            let gone_on = match (&event.kind, known.last()) {
                (Kind::StageFinished { nanos, .. }, Some((_, until))) => Some(event.at.saturating_sub(*nanos).max(*until)),
                _ => None,
            };
            if let Some(from) = open.remove(stage).or(gone_on) {
                known.push((from, event.at));
            }
        }
        for (stage, from) in open {
            spans.entry(stage).or_default().push((from, overview.last));
        }
        Story { state, overview, sessions, attempts, approvals, run, spans, judged, warnings }
    }

    /// Ids of the stages, for those who named one that is not there.
    pub fn stages(&self) -> Vec<&str> {
        self.run.stages.iter().map(|stage| stage.id.as_str()).collect()
    }

    /// The run.
    ///
    /// # Errors
    /// What writing says.
    pub fn write(&self, view: &View, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = self.head(view);
        lines.push(Line::new());
        self.timeline(view, &mut lines);
        self.rest(view, &mut lines);
        lines.into_iter().try_for_each(|line| view.write(out, line))
    }

    fn head(&self, view: &View) -> Vec<Line> {
        let Header { run, pipeline, file, root, inputs, git_branch, git_sha, only, skip, unconfined, runner, .. } = &self.overview.header;
        let mut first = Line::of(Role::Strong, pipeline).and(Role::Text, "  ").and(self.state.role(), self.state.word());
        first.push(Role::Text, &format!("  {}", duration::human(took(self.state, &self.overview, view.now))));
        first.push(Role::Faint, &format!("  {}", view.since(self.overview.header.started)));
        let mut lines = vec![first];
        let mut row = |name: &str, text: &str| lines.push(label(name).and(Role::Text, text));
        row("run", run);
        row("file", &format!("{file} in {}", root.display()));
        let sha = git_sha.as_deref().map(|sha| &sha[..sha.len().min(12)]);
        match (git_branch.as_deref(), sha) {
            (None, None) => {}
            (branch, sha) => row("git", &[branch, sha].into_iter().flatten().collect::<Vec<_>>().join(" ")),
        }
        if !inputs.is_empty() {
            row("inputs", &inputs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", "));
        }
        for (name, stages) in [("only", only), ("skip", skip)] {
            if !stages.is_empty() {
                row(name, &stages.join(", "));
            }
        }
        if *unconfined {
            row("commands", "unconfined");
        }
        row("runner", runner);
        for session in &self.sessions {
            let until = session.last.saturating_sub(session.started);
            let what = if session.number == 1 { "started" } else { "resumed" };
            row("session", &format!("{what} {}, {}, process {}", view.moment(session.started), duration::human(until), session.pid));
        }
        lines
    }

    /// A line a stage, and a bar that says when it worked.
    fn timeline(&self, view: &View, lines: &mut Vec<Line>) {
        let symbols = view.symbols();
        let shown: Vec<(&Stage, (Role, &str, &str))> = self.run.stages.iter().map(|stage| (stage, self.standing(stage, view))).collect();
        let time = |stage: &Stage| if stage.attempt == 0 { String::new() } else { duration::human(self.worked(&stage.id)) };
        let names = shown.iter().map(|(stage, _)| width(stage.id.as_str())).max().unwrap_or(0).min(view.columns() * 2 / 5);
        let words = shown.iter().map(|(_, (_, _, word))| width(word)).max().unwrap_or(0);
        let times = shown.iter().map(|(stage, _)| width(&time(stage))).max().unwrap_or(0);
        let fixed = 4 + names + 2 + words + 2 + times + 2;
        let cells = view.columns().saturating_sub(fixed).min(24);
        for (stage, (role, sign, word)) in shown {
            let mut line = Line::of(Role::Text, "  ").and(role, sign).and(Role::Text, " ");
            line.append(Line::of(Role::Text, stage.id.as_str()).fit(names, symbols.cut));
            line.pad(4 + names + 2);
            line.push(role, word);
            let time = time(stage);
            line.pad(fixed - 2 - width(&time));
            line.push(Role::Text, &time);
            line.pad(fixed);
            if cells >= 8 && stage.attempt > 0 {
                line.append(self.bar(&stage.id, cells, view));
            }
            lines.push(line.fit(view.columns(), symbols.cut));
            let told = self.told(stage);
            if !told.is_empty() {
                let mut under = Line::new();
                under.pad(4);
                lines.push(under.and(Role::Faint, &told));
            }
        }
    }

    fn standing(&self, stage: &Stage, view: &View) -> (Role, &'static str, &'static str) {
        let symbols = view.symbols();
        let going = self.state == RunState::Running;
        match detail::standing(stage, symbols) {
            Some(standing) => standing,
            None if matches!(stage.state, State::Running(_)) && going => (Role::Accent, symbols.dot, "running"),
            None if matches!(stage.state, State::Waiting(_)) && going => (Role::Accent, symbols.again, "retrying"),
            None if matches!(stage.state, State::Queued(_)) && going => (Role::Warn, symbols.again, "queued"),
            None if matches!(stage.state, State::Running(_) | State::Waiting(_)) => (Role::Warn, symbols.cancelled, "cut off"),
            None => (Role::Faint, symbols.dot, "to run"),
        }
    }

    /// Summary, attempts, counts: what else there is to say in a line.
    fn told(&self, stage: &Stage) -> String {
        let mut told = match &stage.state {
            State::Ended(outcome) => detail::tell(stage, outcome),
            State::Asking(asking) => detail::asking(asking),
            State::Queued(queued) if self.state == RunState::Running => detail::queueing(queued),
            _ => String::new(),
        };
        if let Some(results) = stage.results.as_deref() {
            let findings: usize = results.findings.iter().sum();
            let mut add = |count: usize, what: &str| {
                let text = plural(count, what);
                if count > 0 && !told.contains(&text) {
                    told.push_str(if told.is_empty() { "" } else { ", " });
                    told.push_str(&text);
                }
            };
            add(results.tests.total(), "test");
            add(findings, "finding");
        }
        told
    }

    /// How long a stage worked, all attempts together.
    fn worked(&self, stage: &StageRef) -> u64 {
        self.spans.get(stage).map_or(0, |spans| spans.iter().map(|(from, until)| until.saturating_sub(*from)).sum())
    }

    /// A moment on the time that the run was worked on: between two sessions no time passes.
    fn active(&self, at: u64) -> u64 {
        self.sessions.iter().map(|session| at.min(session.last).saturating_sub(session.started)).sum()
    }

    fn bar(&self, stage: &StageRef, cells: usize, view: &View) -> Line {
        let symbols = view.symbols();
        let whole = self.sessions.iter().map(|session| session.last.saturating_sub(session.started)).sum::<u64>().max(1);
        let cell = |at: u64| (u128::from(self.active(at)) * cells as u128 / u128::from(whole)) as usize;
        let mut filled = vec![false; cells];
        for (from, until) in self.spans.get(stage).into_iter().flatten() {
            let from = cell(*from).min(cells - 1);
            let until = cell(*until).clamp(from + 1, cells);
            filled[from..until].fill(true);
        }
        let mut bar = Line::new();
        for filled in filled {
            if filled { bar.push(Role::Accent, symbols.full) } else { bar.push(Role::Faint, symbols.empty) }
        }
        bar
    }

    fn rest(&self, view: &View, lines: &mut Vec<Line>) {
        let before = lines.len();
        for (stage, results) in self.results() {
            for artifact in &results.artifacts {
                let size = format!("{}, {}", plural(artifact.files as usize, "file"), bytes(artifact.bytes));
                let name = format!("{stage}.{}", artifact.name);
                lines.push(label("artifact").and(Role::Text, &name).and(Role::Faint, &format!("  {size}")));
            }
        }
        for approval in &self.approvals {
            let said = detail::answer(approval.approved, &approval.by, &approval.note);
            let line = label("approval").and(Role::Text, &format!("{} {said}", approval.stage));
            lines.push(line.and(Role::Faint, &format!("  {}", view.since(approval.at))));
        }
        for warning in &self.warnings {
            lines.push(label("warning").and(Role::Warn, warning));
        }
        for doubt in &self.overview.in_doubt {
            let line = label("in doubt").and(Role::Warn, &format!("{} {}", doubt.effect, doubt.subject));
            lines.push(line.and(Role::Faint, &format!("  {} attempt {}", doubt.stage, doubt.attempt)));
        }
        for (stage, results) in self.results().filter(|(_, results)| results.denials > 0) {
            lines.push(label("denials").and(Role::Strong, stage.as_str()).and(Role::Faint, &format!("  {}", results.denials)));
            for denial in &results.shown_denials {
                detail::denied(denial, lines);
            }
        }
        if let Some(next) = self.next() {
            lines.push(label("next").and(Role::Good, &next).whole());
        }
        if lines.len() > before {
            lines.insert(before, Line::new());
        }
    }

    /// The command that goes on from here.
    fn next(&self) -> Option<String> {
        let run = &self.overview.header.run;
        match self.state {
            RunState::Waiting if !self.overview.in_doubt.is_empty() => Some(format!("runner resume {run} --in-doubt retry|skip|fail")),
            RunState::Waiting => {
                let waits = |stage: &&Stage| matches!(stage.state, State::Asking(_));
                let stage = self.run.stages.iter().find(waits)?;
                Some(format!("runner approve {run} '{}'", stage.id))
            }
            RunState::CutOff | RunState::Interrupted | RunState::Terminated => Some(format!("runner resume {run}")),
            _ => None,
        }
    }

    fn results(&self) -> impl Iterator<Item = (&StageRef, &Results)> {
        self.run.stages.iter().filter_map(|stage| Some((&stage.id, stage.results.as_deref()?)))
    }

    /// The attempts of a stage, and what the last one of each instance reported. The caller writes the effects.
    ///
    /// # Errors
    /// What writing says.
    pub fn write_stage(&self, pick: Pick<'_>, view: &View, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut shown: Option<&StageRef> = None;
        for attempt in self.attempts.iter().filter(|attempt| pick.fits(attempt)) {
            let begin = &attempt.begin;
            if shown != Some(&begin.stage) {
                let plugin = format!("  {} ({})", begin.uses, &begin.plugin[..begin.plugin.len().min(12)]);
                lines.push(Line::of(Role::Strong, begin.stage.as_str()).and(Role::Faint, &plugin));
                shown = Some(&begin.stage);
            }
            lines.push(self.attempt(attempt, view));
        }
        for stage in &self.run.stages {
            let its = self.attempts.iter().any(|attempt| attempt.begin.stage == stage.id && pick.fits(attempt));
            if its || stage.id.as_str() == pick.0 {
                if !its {
                    let (role, _, word) = self.standing(stage, view);
                    lines.push(
                        Line::of(Role::Strong, stage.id.as_str()).and(role, &format!("  {word}  ")).and(Role::Faint, &self.told(stage)),
                    );
                }
                lines.extend(detail::block(stage, 0));
            }
        }
        lines.into_iter().try_for_each(|line| view.write(out, line))
    }

    fn attempt(&self, attempt: &AttemptRow, view: &View) -> Line {
        let AttemptRow { begin, end, records } = attempt;
        let outcome = self.judged.get(&(begin.stage.clone(), begin.attempt)).or(end.as_ref().map(|end| &end.outcome));
        let mut line = label(&format!("attempt {}", begin.attempt));
        match outcome {
            Some(outcome) => {
                let (role, sign) = detail::mark(outcome, view.symbols());
                line.push(role, &format!("{sign} {}", detail::word(outcome)));
            }
            None if self.state == RunState::Running => line.push(Role::Accent, "running"),
            None => line.push(Role::Warn, "cut off"),
        }
        line.push(Role::Text, &format!("  {}", view.moment(begin.epoch)));
        if let Some(end) = end {
            line.push(Role::Text, &format!("  {}", duration::human(end.at.saturating_sub(begin.epoch))));
        }
        line.and(Role::Faint, &format!("  {} recorded", plural(usize::try_from(*records).unwrap_or(usize::MAX), "effect")))
    }

    /// All of it for programs; of one stage only if `pick` says so.
    pub fn json(&self, pick: Option<Pick<'_>>, now: u64) -> Value {
        let header = &self.overview.header;
        let its = |stage: &Stage| {
            let named = |pick: Pick<'_>| {
                stage.id.as_str() == pick.0 || self.attempts.iter().any(|attempt| attempt.begin.stage == stage.id && pick.fits(attempt))
            };
            pick.is_none_or(named)
        };
        json!({
            "run": header.run,
            "pipeline": header.pipeline,
            "state": self.state.name(),
            "file": header.file,
            "root": header.root,
            "branch": header.git_branch,
            "sha": header.git_sha,
            "inputs": header.inputs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "unconfined": header.unconfined,
            "runner": header.runner,
            "started": rfc3339(header.started),
            "last": rfc3339(self.overview.last),
            "took-seconds": seconds(took(self.state, &self.overview, now)),
            "counts": stages_json(&self.overview),
            "sessions": self.sessions.iter().map(|session| json!({
                "number": session.number, "started": rfc3339(session.started), "last": rfc3339(session.last), "pid": session.pid,
                "runner": session.runner,
            })).collect::<Vec<_>>(),
            "stages": self.run.stages.iter().filter(|stage| its(stage)).map(|stage| self.stage_json(stage)).collect::<Vec<_>>(),
            "approvals": self.approvals.iter().map(|approval| json!({
                "stage": approval.stage, "approved": approval.approved, "by": approval.by, "note": approval.note, "at": rfc3339(approval.at),
            })).collect::<Vec<_>>(),
            "in-doubt": self.overview.in_doubt.iter().map(|doubt| json!({
                "stage": doubt.stage, "attempt": doubt.attempt, "effect": doubt.effect, "subject": doubt.subject,
            })).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }

    fn stage_json(&self, stage: &Stage) -> Value {
        let state = match &stage.state {
            State::Planned => "planned",
            State::Running(_) if self.state == RunState::Running => "running",
            State::Waiting(_) if self.state == RunState::Running => "retrying",
            State::Running(_) | State::Waiting(_) => "cut-off",
            State::Asking(_) => "waiting",
            State::Queued(_) if self.state == RunState::Running => "queued",
            State::Queued(_) => "planned",
            State::Suspended => "in-doubt",
            State::Ended(_) => "ended",
        };
        let results = stage.results.as_deref();
        let attempts = self.attempts.iter().filter(|attempt| attempt.begin.stage == stage.id);
        json!({
            "id": stage.id,
            "state": state,
            "outcome": stage.outcome(),
            "took-seconds": seconds(self.worked(&stage.id)),
            "attempts": attempts.map(|AttemptRow { begin, end, records }| json!({
                "attempt": begin.attempt, "uses": begin.uses, "plugin": begin.plugin, "started": rfc3339(begin.epoch),
                "ended": end.as_ref().map(|end| rfc3339(end.at)), "records": records,
                "outcome": self.judged.get(&(begin.stage.clone(), begin.attempt)).or(end.as_ref().map(|end| &end.outcome)),
                "outputs": end.as_ref().map(|end| end.outputs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()),
            })).collect::<Vec<_>>(),
            "tests": results.map_or(0, |results| results.tests.total()),
            "failing-tests": results.map_or(0, |results| results.tests.failed + results.tests.errored),
            "findings": results.map_or(0, |results| results.findings.iter().sum::<usize>()),
            "denials": results.map_or(&[][..], |results| &results.shown_denials),
            "artifacts": results.map_or(&[][..], |results| &results.artifacts),
            "log": results.map(|results| &results.log).filter(|log| !log.is_empty()),
        })
    }
}
