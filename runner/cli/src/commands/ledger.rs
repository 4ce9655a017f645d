//! `ledger`: every effect that the stages of a run asked for, granted and denied; as SARIF for the finders of code scanners; and which grants
//! were never used.

use std::collections::HashMap;
use std::io::Write;

use event::{DenialRecord, FailureKind, Kind, Outcome, Place, StageRef};
use journal::{Header, Line, LineVerdict};
use report::history::{Ledger as Table, RunState, line_json};
use report::sarif::{self, About, Denied};
use serde_json::json;

use crate::args::{Format, Global, Ledger};
use crate::error::{CliError, Ending};
use crate::history::{self, Recorded};
use crate::style::Style;
use crate::usage::{self, Usage};
use crate::{git, load, runs};

pub fn run(args: &Ledger, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let recorded = history::open(&args.run)?;
    let stages = args.stage.as_deref().map(|stage| recorded.pick(stage)).transpose()?;
    let meant = |line: &Line| stages.as_ref().is_none_or(|stages| stages.contains(&line.stage));
    if global.format == Format::Sarif {
        return write_sarif(&recorded, meant, out);
    }
    let wanted = |line: &Line| {
        let verdict = match line.verdict {
            LineVerdict::Denied(_) | LineVerdict::Connection { allowed: false, .. } => !args.granted,
            LineVerdict::Granted { .. } | LineVerdict::Connection { allowed: true, .. } => !args.denied,
            LineVerdict::Delivered | LineVerdict::Waiting => !args.denied && !args.granted,
        };
        verdict && meant(line) && (args.all || history::counts(line))
    };
    let view = history::view(global);
    let json = history::json(global);
    let mut table = Table::new(&view);
    let mut used = Usage::default();
    let names = usage::names(&recorded.reader)?;
    history::lines(&recorded.reader, None, |line| {
        if let Some(name) = names.get(&line.stage) {
            used.add(name, &line);
        }
        match (wanted(&line), json) {
            (false, _) => Ok(()),
            (true, true) => writeln!(out, "{}", line_json(&line)),
            (true, false) => table.line(&line, out),
        }
    })?;
    if !json && table.lines() == 0 {
        writeln!(out, "no effect is like that").map_err(anyhow::Error::from)?;
    }
    if !args.denied {
        write_removable(&recorded, stages.as_deref(), &used, global, out)?;
    }
    Ok(Ending::Ok)
}

fn write_sarif(recorded: &Recorded, meant: impl Fn(&Line) -> bool, out: &mut dyn Write) -> Result<Ending, CliError> {
    let Header { run, pipeline, file, runner, .. } = recorded.reader.header();
    let places: HashMap<StageRef, Place> = recorded.planned()?.into_iter().filter_map(|stage| Some((stage.id, stage.place?))).collect();
    let mut connections = refused_connections(recorded)?;
    let mut denials = Vec::new();
    history::lines(&recorded.reader, None, |line| {
        let denial = match &line.verdict {
            LineVerdict::Denied(denial) => Some(denial.clone()),
            LineVerdict::Connection { allowed: false, .. } => connections.remove(&(line.stage.clone(), line.subject.clone())),
            _ => None,
        };
        if let Some(denial) = denial.filter(|_| meant(&line)) {
            let at = places.get(&line.stage).map(|place| place.of(&denial.effect).clone());
            denials.push(Denied { stage: line.stage.to_string(), attempt: line.attempt, position: line.position, denial, at });
        }
        Ok(())
    })?;
    let sources = git::sources(&runs::root(&recorded.state));
    let log = sarif::log(&About { run, pipeline, file, runner, sources: &sources }, std::iter::empty(), &denials);
    writeln!(out, "{log:#}").map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// What was told of the hosts that programs were refused, by stage and host.
fn refused_connections(recorded: &Recorded) -> Result<HashMap<(StageRef, String), DenialRecord>, CliError> {
    let events = recorded.reader.events().map_err(anyhow::Error::from)?;
    let denials = events.into_iter().filter_map(|event| match event.kind {
        Kind::Denied { stage, denial } if denial.effect == event::CONNECT => Some(((stage, denial.subject.clone()), denial)),
        _ => None,
    });
    Ok(denials.collect())
}

/// A grant, or a part of one, that could go.
struct Removable {
    stage: String,
    capability: &'static str,
    text: String,
}

fn write_removable(
    recorded: &Recorded,
    stages: Option<&[StageRef]>,
    used: &Usage,
    global: &Global,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    // of a run that did not come to its end nobody knows what it would have used
    if !matches!(recorded.stands()?, RunState::Passed | RunState::Failed) {
        return Ok(());
    }
    let header = recorded.reader.header();
    let loaded = match load::load_recorded(header, &runs::root(&recorded.state), global) {
        Ok(loaded) => loaded,
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            history::warn(
                &format!("which grants were never used is not known: the pipeline can't be planned here ({})", report::clean(first)),
                global,
            );
            return Ok(());
        }
    };
    let overview = recorded.reader.overview().map_err(anyhow::Error::from)?;
    let did_its_work = |stage: &StageRef| {
        matches!(overview.outcomes.get(stage), Some(Outcome::Passed { .. } | Outcome::Failed { kind: FailureKind::Failed, .. }))
    };
    let mut removable: Vec<Removable> = Vec::new();
    let mut unknown: Vec<&str> = Vec::new();
    for instances in loaded.plan.stages.chunk_by(|a, b| a.name == b.name) {
        let name = &instances[0].name;
        let asked = stages.is_none_or(|stages| instances.iter().any(|stage| stages.contains(&stage.id)));
        if !asked || !instances.iter().all(|stage| did_its_work(&stage.id)) {
            continue;
        }
        let programs = used.started_programs(name);
        for grant in &instances[0].grants {
            if programs && !grant.grant.mounts().is_empty() {
                unknown.push(name);
                continue;
            }
            // what one instance leaves unused another may need: they share the lines of the file
            let unused = |stage: &pipeline::plan::Stage| -> Vec<String> {
                let of = stage.grants.iter().find(|other| other.capability == grant.capability);
                of.map(|planned| planned.grant.unused(&mut used.of(name))).unwrap_or_default()
            };
            let others: Vec<Vec<String>> = instances[1..].iter().map(unused).collect();
            for text in unused(&instances[0]) {
                if others.iter().all(|other| other.contains(&text)) {
                    removable.push(Removable { stage: name.clone(), capability: grant.capability, text });
                }
            }
        }
    }
    show_removable(&removable, &unknown, global, out).map_err(|error| anyhow::Error::from(error).into())
}

fn show_removable(removable: &[Removable], unknown: &[&str], global: &Global, out: &mut dyn Write) -> std::io::Result<()> {
    if history::json(global) {
        let list: Vec<_> = removable
            .iter()
            .map(|Removable { stage, capability, text }| json!({ "stage": stage, "capability": capability, "text": text }))
            .collect();
        return writeln!(out, "{}", json!({ "removable": list, "not-known": unknown }));
    }
    let style = Style::new(load::color(global, &std::io::stdout()));
    for Removable { stage, capability, text } in removable {
        writeln!(out, "{} [stage.{stage}.grants] {capability}: {}", style.note("removable:"), report::clean(text))?;
    }
    if !unknown.is_empty() {
        let text =
            format!("files of {}: not known; they started programs, and what programs read and write is not recorded", unknown.join(", "));
        writeln!(out, "{}", style.faint(&text))?;
    }
    Ok(())
}
