//! The `command` stage: runs what it is told to, in order, and stops at the first command that fails.
//!
//! The generic stage: what no other plugin knows is a command line here. This file is the shell that calls the host; what is to be
//! run stands in [`steps`], what becomes an output in [`outputs`].
//!
//! Deliberately absent: reading the formats of tools (`lint` and `test` do) and anything a shell does, unless `script` asks for one.

mod outputs;
mod settings;
mod steps;

use std::time::Instant;

use runner_sdk::commands::{Command, Exit, Output};
use runner_sdk::service::Running;
use runner_sdk::{Context, Failure, Outcome, Stage, files, log, progress};

use outputs::Texts;
use settings::Settings;
use steps::Step;

/// The stage.
pub struct CommandStage;

runner_sdk::export!(CommandStage);

impl Stage for CommandStage {
    type Settings = Settings;

    fn run(_: &Context, settings: Settings) -> Result<Outcome, Failure> {
        let steps = steps::of(&settings)?;
        outputs::check(&settings.outputs)?;
        let services = settings.background.iter().map(|service| service.start()).collect::<Result<Vec<_>, _>>()?;

        let started = Instant::now();
        let mut last = None;
        for (index, step) in steps.iter().enumerate() {
            progress::update(index as u64, steps.len() as u64, &step.title);
            for line in &step.shown {
                log::info(line);
            }
            let is_last = index + 1 == steps.len();
            let exit = with_captures(step.command.clone(), &settings, is_last).run()?;
            if let Some(failure) = step.failure(&exit, &settings.expect_exit) {
                return Err(blame_services(failure, &services));
            }
            last = Some(exit);
        }
        set_outputs(&settings, last.as_ref())?;
        Ok(Outcome::new(summary(&steps, started)))
    }
}

/// The last command's streams are captured where an output is taken from them; the log gets them all the same.
fn with_captures(command: Command, settings: &Settings, is_last: bool) -> Command {
    let wanted = |stream| if is_last && outputs::takes(&settings.outputs, stream) { Output::Both } else { Output::Log };
    command.stdout(wanted(settings::Stream::Stdout)).stderr(wanted(settings::Stream::Stderr))
}

/// A command that could not reach its service fails in ways that do not say so.
fn blame_services(failure: Failure, services: &[Running]) -> Failure {
    let ended: Vec<String> =
        services.iter().filter_map(|service| Some(format!("`{}` had ended ({})", service.name(), service.ended()?))).collect();
    if ended.is_empty() {
        return failure;
    }
    match failure {
        Failure::Failed(text) => Failure::Failed(format!("{text}; {}", ended.join(", "))),
        Failure::Errored(text) => Failure::Errored(format!("{text}; {}", ended.join(", "))),
        other => other,
    }
}

fn set_outputs(settings: &Settings, last: Option<&Exit>) -> Result<(), Failure> {
    let mut texts = Texts::default();
    if let Some(exit) = last {
        texts.stdout = exit.stdout.as_ref().map(outputs::read).transpose()?;
        texts.stderr = exit.stderr.as_ref().map(outputs::read).transpose()?;
    }
    for (name, output) in &settings.outputs {
        let file = output.file.as_ref().map(files::read_to_string).transpose()?;
        let value = outputs::value(name, output, &texts, file.as_deref())?;
        log::info(format_args!("{name} = {value}"));
        runner_sdk::outputs::set(name, &value)?;
    }
    Ok(())
}

fn summary(steps: &[Step], started: Instant) -> String {
    let elapsed = started.elapsed();
    match steps {
        [step] => format!("{} in {elapsed:.1?}", step.title),
        steps => format!("{} commands in {elapsed:.1?}", steps.len()),
    }
}
