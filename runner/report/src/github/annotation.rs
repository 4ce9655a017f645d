//! What GitHub shows beside the lines of a change and above the log: what failed, what was denied and what was found.
//!
//! It shows ten errors, ten warnings and ten notices of a step and drops the rest without a word. So they are chosen when the run is over,
//! the gravest first, and how many there are more is said. A failed stage that has nothing else to show for it is an annotation itself.

use std::collections::HashMap;

use event::{DenialRecord, Event, FailureKind, Finding, Kind, Location, Outcome, Place, Severity, StageRef, TestCase, TestStatus};

use super::{data, property};
use crate::source::Sources;
use crate::{detail, sanitize};

/// What GitHub shows of each level.
const SHOWN: usize = 10;
/// Characters of a message.
const LONGEST: usize = 4_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Notice,
}

const LEVELS: [(Level, &str); 3] = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Notice, "notice")];

pub struct Annotations {
    sources: Sources,
    /// The pipeline file, as it was named.
    file: String,
    /// In the order of the plan; the first is the run itself.
    stages: Vec<Stage>,
    index: HashMap<StageRef, usize>,
}

#[derive(Default)]
struct Stage {
    place: Option<Place>,
    denials: Vec<DenialRecord>,
    denied: usize,
    levels: [Chosen; 3],
}

/// The gravest of a level, and how many there were.
#[derive(Default)]
struct Chosen {
    all: usize,
    notes: Vec<Note>,
}

struct Note {
    /// The lower, the graver.
    rank: u8,
    /// File, line, end of line, column, end of column; zeros are unknown.
    at: Option<(String, [u32; 4])>,
    title: String,
    message: String,
}

impl Chosen {
    fn add(&mut self, note: Note) {
        self.all += 1;
        if self.notes.len() < SHOWN {
            self.notes.push(note);
        } else if let Some(least) = self.notes.iter().rposition(|known| known.rank > note.rank) {
            self.notes.remove(least);
            self.notes.push(note);
        }
    }
}

impl Annotations {
    pub fn new(sources: Sources) -> Self {
        Annotations { sources, file: String::new(), stages: vec![Stage::default()], index: HashMap::new() }
    }

    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            Kind::RunStarted { file, stages, .. } | Kind::RunResumed { file, stages, .. } => {
                self.file.clone_from(file);
                for planned in stages {
                    self.stage(&planned.id).place.clone_from(&planned.place);
                }
            }
            Kind::StageStarted { stage, .. } | Kind::StageReset { stage } => {
                // what an earlier attempt reported is superseded
                let stage = self.stage(stage);
                *stage = Stage { place: stage.place.take(), ..Stage::default() };
            }
            Kind::Findings { stage, findings } => {
                for finding in findings.iter().filter(|finding| finding.counted) {
                    let (level, note) = of_finding(finding, &self.sources);
                    self.add(stage, level, note);
                }
            }
            Kind::Tests { stage, tests } => {
                for test in tests {
                    if let Some((level, note)) = of_test(test, &self.sources) {
                        self.add(stage, level, note);
                    }
                }
            }
            Kind::Denied { stage, denial } => {
                let stage = self.stage(stage);
                if !stage.denials.contains(denial) {
                    stage.denied += 1;
                    // which of them matter is known when the stage has ended
                    if stage.denials.len() < SHOWN {
                        stage.denials.push(denial.clone());
                    }
                }
            }
            Kind::StageFinished { stage, outcome, .. } => self.ended(stage, outcome),
            Kind::StageSuspended { stage, effect, subject, message, .. } => {
                let note = self.on_stage(stage, format!("stage {stage} is in doubt"), &format!("{effect} {subject}: {message}"));
                self.add(stage, Level::Warning, note);
            }
            Kind::Warning { message } => {
                self.stages[0].levels[Level::Warning as usize].add(Note::of(0, None, "warning".to_owned(), message));
            }
            _ => {}
        }
    }

    fn ended(&mut self, id: &StageRef, outcome: &Outcome) {
        let (sources, file) = (self.sources.clone(), self.file.clone());
        let stage = self.stage(id);
        let level = if outcome.fails_run() { Level::Error } else { Level::Warning };
        let unseen = stage.denied.saturating_sub(stage.denials.len());
        for denial in std::mem::take(&mut stage.denials) {
            let at = stage.place.as_ref().and_then(|place| sources.line(place.of(&denial.effect), &file));
            let title = format!("stage {id}: denied {}", denial.effect);
            let mut message = format!("{}: {}", denial.subject, denial.reason);
            if let Some(remedy) = &denial.remedy {
                message.push_str(&format!("\nTo allow it, the pipeline file needs:\n{remedy}"));
            }
            stage.levels[level as usize].add(Note::of(0, at.map(whole_line), title, &message));
        }
        stage.levels[level as usize].all += unseen;
        let Outcome::Failed { kind, message, .. } = outcome else { return };
        // a stage that judged is explained by what it judged, the others by themselves
        let explained = matches!(kind, FailureKind::Failed | FailureKind::Denied) && stage.levels[level as usize].all > 0;
        if !explained {
            let rest = message.trim().lines().skip(1).map(|line| format!("\n{line}")).collect::<String>();
            let note = self.on_stage(id, format!("stage {id} {}", detail::word(outcome)), &(detail::tell_attempt(outcome) + &rest));
            self.add(id, level, note);
        }
    }

    /// At its place in the pipeline file.
    fn on_stage(&mut self, id: &StageRef, title: String, message: &str) -> Note {
        let at = self.stage(id).place.as_ref().map(|place| place.at.clone());
        let at = at.and_then(|at| self.sources.line(&at, &self.file));
        Note::of(0, at.map(whole_line), title, message)
    }

    fn add(&mut self, stage: &StageRef, level: Level, note: Note) {
        self.stage(stage).levels[level as usize].add(note);
    }

    fn stage(&mut self, id: &StageRef) -> &mut Stage {
        let index = *self.index.entry(id.clone()).or_insert_with(|| {
            self.stages.push(Stage::default());
            self.stages.len() - 1
        });
        &mut self.stages[index]
    }

    /// The commands, and what GitHub would drop.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (level, name) in LEVELS {
            let all: usize = self.stages.iter().map(|stage| stage.levels[level as usize].all).sum();
            let mut notes: Vec<&Note> = self.stages.iter().flat_map(|stage| &stage.levels[level as usize].notes).collect();
            notes.sort_by_key(|note| note.rank);
            notes.truncate(SHOWN);
            for note in &notes {
                text.push_str(&note.command(name));
            }
            if all > notes.len() {
                let more = detail::plural(all - notes.len(), name);
                text.push_str(&format!("GitHub shows {SHOWN} {name}s of a step: {more} more are not annotated\n"));
            }
        }
        text
    }
}

impl Note {
    fn of(rank: u8, at: Option<(String, [u32; 4])>, title: String, message: &str) -> Note {
        let mut message = sanitize::lines(message);
        if let Some((end, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(end);
            message.push('…');
        }
        Note { rank, at, title: sanitize::clean(&title), message }
    }

    fn command(&self, level: &str) -> String {
        let mut properties: Vec<String> = Vec::new();
        if let Some((file, numbers)) = &self.at {
            properties.push(format!("file={}", property(file)));
            let known = ["line", "endLine", "col", "endColumn"].into_iter().zip(numbers).filter(|(_, number)| **number > 0);
            properties.extend(known.map(|(name, number)| format!("{name}={number}")));
        }
        properties.push(format!("title={}", property(&self.title)));
        let message = if self.message.is_empty() { &self.title } else { &self.message };
        format!("::{level} {}::{}\n", properties.join(","), data(message))
    }
}

fn whole_line((file, line): (String, u32)) -> (String, [u32; 4]) {
    (file, [line, 0, 0, 0])
}

/// None if no file of the repository is meant.
fn place(location: &Location, sources: &Sources) -> Option<(String, [u32; 4])> {
    let Location { line, column, end_line, end_column, .. } = *location;
    let file = sources.path(&location.path)?;
    // GitHub refuses columns of more than one line
    let one = end_line <= line;
    Some((
        file,
        [line, if one { 0 } else { end_line }, if one { column } else { 0 }, if one && end_column > column { end_column } else { 0 }],
    ))
}

fn of_finding(finding: &Finding, sources: &Sources) -> (Level, Note) {
    let (level, rank) = match finding.severity {
        Severity::Critical => (Level::Error, 2),
        Severity::High => (Level::Error, 3),
        Severity::Medium => (Level::Warning, 4),
        Severity::Low => (Level::Notice, 5),
        Severity::Info => (Level::Notice, 6),
    };
    let title = format!("{} {}", finding.tool, finding.rule).trim_end().to_owned();
    let mut message = finding.message.trim_end().to_owned();
    let at = finding.location.as_ref().and_then(|location| place(location, sources));
    if let (None, Some(location)) = (&at, &finding.location) {
        message.push_str(&format!("\n{}", detail::place(location)));
    }
    for (lead, text) in [("help: ", &finding.help), ("see ", &finding.url)] {
        if !text.is_empty() {
            message.push_str(&format!("\n{lead}{text}"));
        }
    }
    (level, Note::of(rank, at, title, &message))
}

fn of_test(test: &TestCase, sources: &Sources) -> Option<(Level, Note)> {
    let (level, word) = match test.status {
        TestStatus::Failed => (Level::Error, "failed"),
        TestStatus::Errored => (Level::Error, "errored"),
        TestStatus::Flaky => (Level::Warning, "is flaky"),
        TestStatus::Passed | TestStatus::Skipped => return None,
    };
    let suite = if test.suite.is_empty() { String::new() } else { format!("{} > ", test.suite) };
    let at = test.location.as_ref().and_then(|location| place(location, sources));
    Some((level, Note::of(1, at, format!("test {suite}{} {word}", test.name), &test.message)))
}
