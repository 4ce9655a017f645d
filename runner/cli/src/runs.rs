//! The runs of a checkout, as the command line names them.

use std::path::{Path, PathBuf};

use journal::{Header, Reader};
use workspace::{STATE_FOLDER, State};

use crate::args::Global;
use crate::error::CliError;
use crate::history;

/// Which run is meant where none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The latest.
    Any,
    /// The latest that has not come to its end.
    Unfinished,
    /// The latest that has not passed.
    NotPassed,
}

/// The runner's folder: here or in a folder above.
pub fn state() -> Result<State, CliError> {
    let here = std::env::current_dir().map_err(anyhow::Error::from)?;
    let Some(root) = here.ancestors().find(|folder| folder.join(STATE_FOLDER).is_dir()) else {
        return Err(CliError::usage(
            format!("there are no runs in {} or above: no folder `{STATE_FOLDER}`", here.display()),
            "go to the folder of the pipeline file, or name it with `-C FOLDER`",
        ));
    };
    Ok(State::open(root).map_err(anyhow::Error::from)?)
}

/// The folder of the pipeline file.
pub fn root(state: &State) -> PathBuf {
    let root = state.path().parent().unwrap_or(Path::new("."));
    root.canonicalize().unwrap_or_else(|_| root.to_owned())
}

/// The run that is meant: an id, the beginning of one, or `latest`.
pub fn find(state: &State, name: Option<&str>, wanted: Wanted) -> Result<String, CliError> {
    let runs = state.runs().map_err(anyhow::Error::from)?;
    let wanted = if name == Some("latest") { Wanted::Any } else { wanted };
    let Some(name) = name.filter(|name| *name != "latest") else {
        let fits = |run: &&String| match wanted {
            Wanted::Any => true,
            Wanted::Unfinished => stands(&state.run_folder(run)) == Stands::Unfinished,
            Wanted::NotPassed => matches!(stands(&state.run_folder(run)), Stands::Unfinished | Stands::Failed),
        };
        return runs.iter().rev().find(fits).cloned().ok_or_else(|| match wanted {
            _ if runs.is_empty() => CliError::usage("there are no runs yet", "start one with `runner exec`"),
            Wanted::Any | Wanted::Unfinished => {
                CliError::usage("no run waits to be gone on with", "list them with `runner runs`, or name one")
            }
            Wanted::NotPassed => CliError::usage("no run has failed", "list them with `runner runs`, or name one"),
        });
    };
    let matching: Vec<&String> = runs.iter().filter(|run| run.starts_with(name)).collect();
    match matching.as_slice() {
        [run] => Ok((*run).clone()),
        [] => Err(CliError::usage(format!("there is no run `{name}`"), "list them with `runner runs`")),
        several if several.iter().any(|run| *run == name) => Ok(name.to_owned()),
        several => {
            let shown: Vec<&str> = several.iter().take(5).map(|run| run.as_str()).collect();
            Err(CliError::usage(format!("{} runs begin with `{name}`", several.len()), format!("{}; name more of it", shown.join(", "))))
        }
    }
}

/// How a run stands, as far as it can be read.
#[derive(PartialEq, Eq)]
enum Stands {
    Passed,
    Failed,
    /// It was cut off, was stopped, or waits for a person.
    Unfinished,
    Unreadable,
}

fn stands(folder: &Path) -> Stands {
    use event::Verdict;
    match Reader::open(folder).and_then(|reader| reader.finished()) {
        Ok(Some((Verdict::Passed, _))) => Stands::Passed,
        Ok(Some((Verdict::Failed | Verdict::Denied | Verdict::TimedOut, _))) => Stands::Failed,
        Ok(_) => Stands::Unfinished,
        Err(_) => Stands::Unreadable,
    }
}

/// A run goes on with what it was started with; that the file says something else by now is worth knowing.
pub fn warn_of_changes(header: &Header, root: &Path, global: &Global) {
    let name = Path::new(&header.file).file_name().map_or_else(|| "pipeline.toml".into(), PathBuf::from);
    let now = std::fs::read_to_string(root.join(&name)).ok();
    if !global.quiet && now.as_deref() != Some(&*header.text) {
        let what = if now.is_some() { "has changed" } else { "is gone" };
        history::warn(&format!("{} {what} since; the run goes on with the text that it was started with", name.display()), global);
    }
}
