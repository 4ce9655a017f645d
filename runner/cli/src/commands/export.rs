//! `export`: a run as one file, with its journal, logs, artifacts and components, so that it can be looked at and replayed elsewhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use host::PluginFiles;
use journal::archive::{self, Part};
use workspace::Entry;

use crate::args::{Export, Global};
use crate::error::{CliError, Ending};
use crate::history::{self, Recorded};
use crate::{commands, runs};

pub fn run(args: &Export, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let recorded = history::open(&args.run)?;
    let target = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.tar.gz", recorded.run)));
    if target.exists() {
        return Err(CliError::usage(format!("{} is there already", target.display()), "name another file with `-o`, or remove it"));
    }
    let aside = |what: &str| {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{what}-{}", std::process::id()));
        target.with_file_name(name)
    };
    let (journal, unfinished) = (aside("journal"), aside("new"));
    let packed = pack(&recorded, &journal, &unfinished, global);
    let _ = std::fs::remove_file(&journal);
    let packed = packed.and_then(|contents| {
        std::fs::rename(&unfinished, &target).map_err(|error| anyhow::anyhow!("{}: {error}", target.display()))?;
        Ok(contents)
    });
    let contents = match packed {
        Ok(contents) => contents,
        Err(error) => {
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
    };
    if !global.quiet {
        let length = std::fs::metadata(&target).map_or(0, |found| found.len());
        let files = contents.files.len();
        writeln!(out, "{}: run {}, {files} files, {}", target.display(), recorded.run, history::size(length))
            .map_err(anyhow::Error::from)?;
    }
    Ok(Ending::Ok)
}

fn pack(recorded: &Recorded, journal: &Path, to: &Path, global: &Global) -> Result<archive::Contents, CliError> {
    let folder = recorded.state.run_folder(&recorded.run);
    // first the journal as it is now: all that it names is there, and stays
    recorded.reader.copy(journal).map_err(anyhow::Error::from)?;
    let mut parts = BTreeMap::from([("run/journal.sqlite3".to_owned(), Part::File(journal.to_owned()))]);
    for body in recorded.reader.bodies().map_err(anyhow::Error::from)? {
        parts.insert(format!("run/{}", body.display()), Part::File(folder.join(body)));
    }
    for log in std::fs::read_dir(folder.join("logs")).into_iter().flatten().flatten() {
        if let Some(name) = log.file_name().to_str() {
            parts.insert(format!("run/logs/{name}"), Part::File(log.path()));
        }
    }
    blobs(recorded, &mut parts, global)?;
    plugins(recorded, &mut parts, global)?;
    let file = File::options().write(true).create_new(true).open(to).map_err(|error| anyhow::anyhow!("{}: {error}", to.display()))?;
    archive::pack(&recorded.run, &parts, BufWriter::new(file), to).map_err(|error| anyhow::Error::from(error).into())
}

/// What the artifacts of the run are made of.
fn blobs(recorded: &Recorded, parts: &mut BTreeMap<String, Part>, global: &Global) -> Result<(), CliError> {
    let store = recorded.state.blobs();
    for (stage, artifact) in commands::artifacts::artifacts(recorded)? {
        let whole = || {
            let mut digests = vec![artifact.digest.parse()?];
            for entry in store.manifest(&artifact.digest)?.entries {
                if let Entry::File { digest, .. } = entry {
                    digests.push(digest);
                }
            }
            Ok::<_, workspace::WorkspaceError>(digests)
        };
        match whole() {
            Ok(digests) => {
                for digest in digests {
                    let (text, path) = (digest.to_string(), store.blob_path(&digest));
                    parts.insert(format!("blobs/{}/{}", &text[..2], &text[2..]), Part::File(path));
                }
            }
            Err(error) => history::warn(&format!("artifact `{stage}.{}` is left out: {error}", artifact.name), global),
        }
    }
    Ok(())
}

/// The very components that ran: bundled, by their paths, or as they were imported.
fn plugins(recorded: &Recorded, parts: &mut BTreeMap<String, Part>, global: &Global) -> Result<(), CliError> {
    let files = PluginFiles::new(bundled::PLUGINS.iter().copied(), &runs::root(&recorded.state));
    for attempt in recorded.attempts()? {
        let (uses, digest) = (attempt.begin.uses, attempt.begin.plugin);
        let name = format!("plugins/{digest}.wasm");
        if parts.contains_key(&name) {
            continue;
        }
        let imported = recorded.state.path().join(&name);
        if let Some(plugin) = files.get(&uses).ok().filter(|plugin| plugin.info.digest == digest) {
            parts.insert(name, Part::Bytes(plugin.bytes.to_vec()));
        } else if imported.is_file() {
            parts.insert(name, Part::File(imported));
        } else {
            let digest: String = digest.chars().take(12).collect();
            history::warn(
                &format!("the plugin `{uses}` ({digest}) is not here any more and is left out: its stages can't be replayed"),
                global,
            );
        }
    }
    Ok(())
}
