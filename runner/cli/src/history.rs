//! What the commands that look back share: opening a run, how things are shown, effects that count as such.

use std::io::{IsTerminal, Write};

use event::{Kind, PlannedStage, StageRef};
use journal::{AttemptRow, Line, LineVerdict, Reader};
use report::history::{Pick, RunState, View};
use workspace::State;

use crate::args::{Format, Global};
use crate::error::CliError;
use crate::style::Style;
use crate::{load, now, runs};

/// A run of the past, or of now.
pub struct Recorded {
    pub state: State,
    pub run: String,
    pub reader: Reader,
}

/// Opens the run that is meant.
pub fn open(name: &str) -> Result<Recorded, CliError> {
    let state = runs::state()?;
    let run = runs::find(&state, Some(name), runs::Wanted::Any)?;
    let reader = Reader::open(&state.run_folder(&run)).map_err(anyhow::Error::from)?;
    Ok(Recorded { state, run, reader })
}

impl Recorded {
    pub fn running(&self) -> bool {
        self.state.is_running(&self.run)
    }

    pub fn stands(&self) -> Result<RunState, CliError> {
        let overview = self.reader.overview().map_err(anyhow::Error::from)?;
        Ok(RunState::of(&overview, self.running()))
    }

    pub fn attempts(&self) -> Result<Vec<AttemptRow>, CliError> {
        Ok(self.reader.attempts().map_err(anyhow::Error::from)?)
    }

    /// The stages as the run was planned; none if it ended before that was recorded.
    pub fn planned(&self) -> Result<Vec<PlannedStage>, CliError> {
        let events = self.reader.events().map_err(anyhow::Error::from)?;
        let planned = events.into_iter().find_map(|event| match event.kind {
            Kind::RunStarted { stages, .. } => Some(stages),
            _ => None,
        });
        Ok(planned.unwrap_or_default())
    }

    /// The ids of the planned stages that are meant. A name that is none is a mistake, also if nothing of it ran.
    pub fn pick(&self, name: &str) -> Result<Vec<StageRef>, CliError> {
        let known: Vec<StageRef> = self.planned()?.into_iter().map(|stage| stage.id).collect();
        let attempts = self.attempts()?;
        let instance = |id: &str| id == name || id.strip_prefix(name).is_some_and(|rest| rest.starts_with(" ("));
        let began = |id: &StageRef| attempts.iter().any(|attempt| attempt.begin.stage == *id && Pick(name).fits(attempt));
        let meant: Vec<StageRef> = known.iter().filter(|id| instance(id.as_str()) || began(id)).cloned().collect();
        if meant.is_empty() {
            let names: Vec<&str> = known.iter().map(StageRef::as_str).collect();
            let hint =
                if names.is_empty() { "the run ended before any stage began".to_owned() } else { format!("stages: {}", names.join(", ")) };
            return Err(CliError::usage(format!("run {} has no stage `{name}`", self.run), hint));
        }
        Ok(meant)
    }
}

/// How history is shown on standard output.
pub fn view(global: &Global) -> View {
    let stdout = std::io::stdout();
    let env = |name: &str| std::env::var(name).ok();
    let columns = rustix::termios::tcgetwinsize(&stdout).map(|size| usize::from(size.ws_col)).unwrap_or(0);
    let options = report::Options {
        color: load::color(global, &stdout),
        unicode: report::detect::unicode(stdout.is_terminal(), &env),
        width: Some(if columns >= 40 { columns } else { 80 }),
        ..report::Options::default()
    };
    View::here(options, now())
}

pub fn json(global: &Global) -> bool {
    global.format == Format::Json
}

/// Whether a line of the ledger is shown without `--all`: what a stage asked for, what it read, and how its programs ended; not how
/// often it looked whether something had happened.
pub fn counts(line: &Line) -> bool {
    match line.verdict {
        LineVerdict::Granted { .. } | LineVerdict::Denied(_) | LineVerdict::Connection { .. } => true,
        LineVerdict::Delivered | LineVerdict::Waiting => matches!(&*line.what, "files.read" | "commands.exit"),
    }
}

/// Hands every line of the ledger on until one can't be written.
pub fn lines(reader: &Reader, stage: Option<&str>, mut each: impl FnMut(Line) -> std::io::Result<()>) -> Result<(), CliError> {
    let mut failed = None;
    let mut until_it_fails = |line: Line| {
        if failed.is_none() {
            failed = each(line).err();
        }
    };
    reader.lines(stage, &mut until_it_fails).map_err(anyhow::Error::from)?;
    failed.map_or(Ok(()), |error| Err(anyhow::Error::from(error).into()))
}

/// Something that is worth knowing and stops nothing.
pub fn warn(text: &str, global: &Global) {
    let style = Style::new(load::color(global, &std::io::stderr()));
    // if stderr is gone there is nobody to tell
    let _ = writeln!(std::io::stderr(), "{}: {text}", style.note("warning"));
}

/// `1.2 MB`.
pub fn size(bytes: u64) -> String {
    report::human_bytes(bytes)
}
