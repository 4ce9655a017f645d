//! `import`: takes in a run that another machine exported. Nothing of it is trusted: it is read into a folder of its own and checked as a
//! whole, and only then becomes a run.

use std::io::Write;
use std::path::Path;

use journal::Reader;
use journal::archive::{self, Bounds, Contents};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use workspace::{STATE_FOLDER, State};

use crate::args::{Global, Import};
use crate::error::{CliError, Ending};
use crate::runs;

pub fn run(args: &Import, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    if !args.file.is_file() {
        return Err(CliError::usage(format!("there is no file {}", args.file.display()), "name a file that `runner export` wrote"));
    }
    let here = std::env::current_dir().map_err(anyhow::Error::from)?;
    let state = match here.ancestors().any(|folder| folder.join(STATE_FOLDER).is_dir()) {
        true => runs::state()?,
        false => State::open(&here).map_err(anyhow::Error::from)?,
    };
    let folder = state.path().join("runs").join(format!(".import-{}", std::process::id()));
    let taken = take(args, &state, &folder);
    let _ = workspace::remove_tree(&folder);
    let run = taken?;
    if !global.quiet {
        writeln!(out, "run {run}: see it with `runner show {run}`").map_err(anyhow::Error::from)?;
    }
    Ok(Ending::Ok)
}

fn take(args: &Import, state: &State, folder: &Path) -> Result<String, CliError> {
    use std::os::unix::fs::DirBuilderExt;
    let at = |path: &Path, error: std::io::Error| anyhow::anyhow!("{}: {error}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| at(folder, error))?;
    let bounds = Bounds { bytes: args.max_size, ..Bounds::default() };
    let contents = archive::unpack(&args.file, folder, bounds).map_err(anyhow::Error::from)?;
    let from = folder.join("run");
    check(&contents, &from).map_err(|what| anyhow::anyhow!("{} is no run that can be taken in: {what}", args.file.display()))?;
    let to = state.run_folder(&contents.run);
    if to.exists() {
        return Err(there(&contents.run));
    }
    // what it needs first: a run that is there is whole
    for listed in contents.files.iter().filter(|listed| !listed.path.starts_with("run/")) {
        let (from, to) = (folder.join(&listed.path), state.path().join(&listed.path));
        if let Some(parent) = to.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|error| at(parent, error))?;
        }
        std::fs::rename(&from, &to).map_err(|error| at(&to, error))?;
    }
    match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(contents.run),
        Err(Errno::EXIST) => Err(there(&contents.run)),
        Err(error) => Err(at(&to, error.into()).into()),
    }
}

fn there(run: &str) -> CliError {
    CliError::usage(format!("run {run} is here already"), format!("look at it with `runner show {run}`; a run is taken in once"))
}

/// The run itself; that the rest is what it says was checked while it was read.
fn check(contents: &Contents, folder: &Path) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let run = &contents.run;
    if run.is_empty() || run.len() > 64 || !run.chars().all(fits) {
        return Err(format!("`{}` can't be a run's id", run.escape_debug()));
    }
    journal::check(folder).map_err(|error| error.to_string())?;
    let reader = Reader::open(folder).map_err(|error| error.to_string())?;
    let inside = &reader.header().run;
    if inside != run {
        return Err(format!("it says that it is run {run}, and its journal that it is `{}`", inside.escape_debug()));
    }
    Ok(())
}
