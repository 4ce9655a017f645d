//! `init`: writes a commented pipeline for a repository. Executes nothing.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::args::{Global, Init};
use crate::error::{CliError, Ending};
use crate::init::detect::{Listing, detect};
use crate::init::text;

/// Manifests are small.
const LARGEST: u64 = 4 << 20;

pub fn run(args: &Init, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let folder = args.folder.canonicalize().map_err(|e| {
        CliError::usage(format!("{}: {e}", args.folder.display()), "name the folder of the repository: `runner init path/to/it`")
    })?;
    let found = detect(&Folder(folder.clone()));
    let name = folder.file_name().map_or_else(|| "pipeline".into(), |name| name.to_string_lossy());
    let host_env = |name: &str| std::env::var(name).ok();
    let here = |toolchain: &str, program: &str| capability_commands::provided(toolchain, program, &folder, &host_env);
    let text = text::text(&name, &found, &here);
    if args.stdout {
        write!(out, "{text}").map_err(anyhow::Error::from)?;
        return Ok(Ending::Ok);
    }
    let file = folder.join("pipeline.toml");
    write(&file, &text, args.force)?;
    if global.quiet {
        return Ok(Ending::Ok);
    }
    let say = |out: &mut dyn Write| {
        for line in text::summary(&found) {
            writeln!(out, "found {}", report::clean(&line))?;
        }
        if found.projects.is_empty() {
            writeln!(out, "found no project that it knows: package.json, Cargo.toml, pyproject.toml, requirements.txt, go.mod")?;
        }
        let shown = args.folder.join("pipeline.toml");
        let shown = shown.strip_prefix(".").unwrap_or(&shown);
        let argument = if shown == Path::new("pipeline.toml") { String::new() } else { format!(" {}", shown.display()) };
        writeln!(out, "wrote {}", shown.display())?;
        writeln!(out, "next: `runner plan{argument}` shows what each stage may do, `runner exec{argument}` runs them")
    };
    say(out).map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// Never over a file that somebody wrote, unless they say so.
fn write(file: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    match options.open(file).and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(CliError::usage(
            format!("{} is there already", file.display()),
            "`--stdout` prints what would be written, `--force` writes over it",
        )),
        Err(error) => Err(anyhow::anyhow!("{}: {error}", file.display()).into()),
    }
}

struct Folder(PathBuf);

impl Listing for Folder {
    fn entries(&self, folder: &str) -> Vec<(String, bool)> {
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        // a link is not followed: it may lead out of the repository
        let entries = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?)));
        entries.filter(|(_, kind)| kind.is_dir() || kind.is_file()).map(|(name, kind)| (name, kind.is_dir())).collect()
    }

    fn read(&self, path: &str) -> Option<String> {
        let mut text = String::new();
        fs::File::open(self.0.join(path)).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
        Some(text)
    }
}
