//! `show`: one run from close by, or one stage of it with its effects.

use std::io::Write;

use journal::Line;
use report::history::{Ledger, Pick, RunState, Story, View, line_json};

use crate::args::{Global, Show};
use crate::error::{CliError, Ending};
use crate::history::{self, Recorded};

pub fn run(args: &Show, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let recorded = history::open(&args.run)?;
    let stages = args.stage.as_deref().map(|stage| recorded.pick(stage)).transpose()?;
    let story = story(&recorded)?;
    let view = history::view(global);
    // a stage alone is shown with its effects
    let effects = args.effects || stages.is_some();
    let wanted = |line: &Line| history::counts(line) && stages.as_ref().is_none_or(|stages| stages.contains(&line.stage));
    if history::json(global) {
        let mut json = story.json(args.stage.as_deref().map(Pick), view.now);
        if effects {
            let mut lines = Vec::new();
            history::lines(&recorded.reader, None, |line| {
                if wanted(&line) {
                    lines.push(line_json(&line));
                }
                Ok(())
            })?;
            json["effects"] = lines.into();
        }
        writeln!(out, "{json}").map_err(anyhow::Error::from)?;
        return Ok(Ending::Ok);
    }
    let written = match &args.stage {
        None => story.write(&view, out),
        Some(stage) => story.write_stage(Pick(stage), &view, out),
    };
    written.map_err(anyhow::Error::from)?;
    if effects {
        write_effects(&recorded, wanted, &view, out)?;
    }
    Ok(Ending::Ok)
}

fn story(recorded: &Recorded) -> Result<Story, CliError> {
    let Recorded { reader, .. } = recorded;
    let running = recorded.running();
    let read = || {
        let overview = reader.overview()?;
        let state = RunState::of(&overview, running);
        Ok(Story::new(state, overview, reader.sessions()?, reader.attempts()?, reader.approvals()?, &reader.events()?))
    };
    read().map_err(|error: journal::JournalError| anyhow::Error::from(error).into())
}

fn write_effects(recorded: &Recorded, wanted: impl Fn(&Line) -> bool, view: &View, out: &mut dyn Write) -> Result<(), CliError> {
    let mut ledger = Ledger::new(view);
    history::lines(&recorded.reader, None, |line| {
        if !wanted(&line) {
            return Ok(());
        }
        if ledger.lines() == 0 {
            writeln!(out)?;
        }
        ledger.line(&line, out)
    })
}
