//! `approve` and `reject`: a person's word about a stage that waits for it. The run's own process sees it, if one waits; otherwise `resume`
//! goes on from it.

use std::io::Write;

use event::{Kind, StageRef};
use journal::{Approval, Reader};

use crate::args::{Approve, Global};
use crate::error::{CliError, Ending};
use crate::style::Style;
use crate::{history, load, now};

pub fn run(args: &Approve, approved: bool, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let recorded = history::open(&args.run)?;
    let (run, waiting) = (&recorded.run, waiting(&recorded.reader)?);
    let Some((stage, expires)) = waiting.iter().find(|(stage, _)| stage.as_str() == args.stage) else {
        let hint = match waiting.as_slice() {
            [] => format!("nothing waits in this run; see `runner show {run}`"),
            some => format!("waiting: {}", some.iter().map(|(stage, _)| stage.as_str()).collect::<Vec<_>>().join(", ")),
        };
        return Err(CliError::usage(format!("stage `{}` of run {run} does not wait for approval", args.stage), hint));
    };
    if expires.is_some_and(|at| now() >= at) {
        let message = format!("stage `{stage}` of run {run} waited for approval, and the time for it has passed");
        return Err(CliError::usage(
            message,
            format!("`runner resume {run}` fails the stage, and `runner resume {run} --failed` asks again"),
        ));
    }
    let by = match &args.by {
        Some(by) if by.trim().is_empty() => return Err(CliError::usage("`--as` is empty", "say in whose name")),
        Some(by) => by.trim().to_owned(),
        None => login_name(),
    };
    let approval = Approval { stage: stage.clone(), approved, by: by.clone(), note: args.note.clone(), at: now() };
    journal::approve(recorded.reader.folder(), &approval).map_err(anyhow::Error::from)?;
    let style = Style::new(load::color(global, &std::io::stdout()));
    let word = if approved { style.good("approved") } else { style.bad("rejected") };
    let next = if recorded.running() { String::new() } else { format!("; go on with `runner resume {run}`") };
    writeln!(out, "{word}: `{stage}` of run {run}, by {by}{next}").map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// The stages that wait for approval, and until when, in nanoseconds since 1970.
fn waiting(reader: &Reader) -> Result<Vec<(StageRef, Option<u64>)>, CliError> {
    let mut waiting: Vec<(StageRef, Option<u64>)> = Vec::new();
    // one word answers them
    let mut asks: Vec<StageRef> = Vec::new();
    for event in reader.events().map_err(anyhow::Error::from)? {
        match event.kind {
            Kind::ApprovalGiven { stage, .. } => asks.retain(|known| *known != stage),
            Kind::ApprovalWaiting { stage, question: Some(_), .. } => {
                asks.retain(|known| *known != stage);
                asks.push(stage);
            }
            Kind::ApprovalWaiting { stage, expires, .. } => {
                waiting.retain(|(known, _)| *known != stage);
                waiting.push((stage, expires));
            }
            Kind::StageStarted { stage, .. } | Kind::StageFinished { stage, .. } => {
                waiting.retain(|(known, _)| *known != stage);
                asks.retain(|known| *known != stage);
            }
            _ => {}
        }
    }
    waiting.extend(asks.into_iter().map(|stage| (stage, None)));
    Ok(waiting)
}

/// As the system calls the user; its number if it has no name.
fn login_name() -> String {
    let name = ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    name.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}
