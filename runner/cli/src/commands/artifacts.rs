//! `artifacts`: what the stages of a run left, and taking it out.

use std::io::Write;
use std::path::{Path, PathBuf};

use event::{Artifact, StageRef};
use serde_json::json;

use crate::args::{Artifacts, Global};
use crate::error::{CliError, Ending};
use crate::history::{self, Recorded};
use crate::load;
use crate::style::Style;

pub fn run(args: &Artifacts, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let recorded = history::open(&args.run)?;
    let mut artifacts = artifacts(&recorded)?;
    if let Some(name) = &args.name {
        artifacts = named(artifacts, name, &recorded.run)?;
    }
    if let Some(folder) = &args.output {
        return restore(&recorded, &artifacts, folder, global, out);
    }
    list(&artifacts, global, out).map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// What the last attempt of each stage left.
pub fn artifacts(recorded: &Recorded) -> Result<Vec<(StageRef, Artifact)>, CliError> {
    let mut artifacts: Vec<(StageRef, Artifact)> = Vec::new();
    for attempt in recorded.attempts()? {
        let stage = attempt.begin.stage;
        artifacts.retain(|(earlier, _)| *earlier != stage);
        artifacts.extend(attempt.end.into_iter().flat_map(|end| end.artifacts).map(|artifact| (stage.clone(), artifact)));
    }
    Ok(artifacts)
}

fn full(stage: &StageRef, artifact: &Artifact) -> String {
    format!("{stage}.{}", artifact.name)
}

/// An artifact by its name, with its stage where several stages left one of that name.
fn named(artifacts: Vec<(StageRef, Artifact)>, name: &str, run: &str) -> Result<Vec<(StageRef, Artifact)>, CliError> {
    let all: Vec<String> = artifacts.iter().map(|(stage, artifact)| full(stage, artifact)).collect();
    let found: Vec<_> = artifacts.into_iter().filter(|(stage, artifact)| artifact.name == name || full(stage, artifact) == name).collect();
    if found.is_empty() {
        let hint = if all.is_empty() { "it left none".to_owned() } else { format!("artifacts: {}", all.join(", ")) };
        return Err(CliError::usage(format!("run {run} left no artifact `{name}`"), hint));
    }
    Ok(found)
}

fn list(artifacts: &[(StageRef, Artifact)], global: &Global, out: &mut dyn Write) -> std::io::Result<()> {
    if history::json(global) {
        let list: Vec<_> = artifacts
            .iter()
            .map(|(stage, Artifact { name, files, bytes, digest })| {
                json!({ "stage": stage, "name": name, "files": files, "bytes": bytes, "digest": digest })
            })
            .collect();
        return writeln!(out, "{}", json!(list));
    }
    if artifacts.is_empty() {
        return writeln!(out, "no artifacts");
    }
    let style = Style::new(load::color(global, &std::io::stdout()));
    let names: Vec<String> = artifacts.iter().map(|(stage, artifact)| report::clean(&full(stage, artifact))).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(40);
    for (name, (_, artifact)) in names.iter().zip(artifacts) {
        let files = if artifact.files == 1 { "1 file".to_owned() } else { format!("{} files", artifact.files) };
        let digest = style.faint(&artifact.digest[..artifact.digest.len().min(12)]);
        writeln!(out, "{name:width$}  {files:>11}  {:>9}  {digest}", history::size(artifact.bytes))?;
    }
    Ok(())
}

fn restore(
    recorded: &Recorded,
    artifacts: &[(StageRef, Artifact)],
    folder: &Path,
    global: &Global,
    out: &mut dyn Write,
) -> Result<Ending, CliError> {
    let (stage, artifact) = match artifacts {
        [one] => one,
        [] => return Err(CliError::usage(format!("run {} left no artifacts", recorded.run), "there is nothing to take out")),
        several => {
            let names: Vec<String> = several.iter().map(|(stage, artifact)| full(stage, artifact)).collect();
            return Err(CliError::usage("`-o` takes one artifact", format!("name one: {}", names.join(", "))));
        }
    };
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(false) => {
            return Err(CliError::usage(format!("{} is not empty", folder.display()), "name a folder that is empty or not there"));
        }
        Ok(true) => std::fs::remove_dir(folder).map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(CliError::usage(format!("{}: {error}", folder.display()), "name a folder that is empty or not there")),
    }
    // aside first, so that a folder of that name is always whole
    let aside = aside(folder)?;
    let restored = take(recorded, artifact, &aside).and_then(|restored| {
        std::fs::rename(&aside, folder).map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?;
        Ok(restored)
    });
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => {
            let _ = workspace::remove_tree(&aside);
            return Err(error.into());
        }
    };
    if !global.quiet {
        let what = format!("{} into {}", full(stage, artifact), folder.display());
        let size = history::size(restored.bytes);
        writeln!(out, "{}: {} files, {size}", report::clean(&what), restored.files).map_err(anyhow::Error::from)?;
    }
    Ok(Ending::Ok)
}

fn aside(folder: &Path) -> Result<PathBuf, CliError> {
    let name =
        folder.file_name().ok_or_else(|| CliError::usage(format!("{} is no name for a new folder", folder.display()), "name another"))?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}", std::process::id()));
    Ok(folder.with_file_name(aside))
}

fn take(recorded: &Recorded, artifact: &Artifact, folder: &Path) -> anyhow::Result<workspace::Restored> {
    std::fs::create_dir_all(folder).map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?;
    Ok(recorded.state.blobs().restore(&artifact.name, &artifact.digest, folder, &[])?)
}
