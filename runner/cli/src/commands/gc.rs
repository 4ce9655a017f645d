//! `gc`: removes old runs, and what no remaining run names.
//!
//! Safe beside runners that work: a run whose lock is held stays, and so does a blob that was stored since the oldest of the running runs
//! began, or in the last hour.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use journal::{DATABASE, Reader};
use report::history::{Row, RunState};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use workspace::{CACHE_LIMIT, CacheListed, CacheRemoved, Digest, Entry, Removed, State};

use crate::args::{Gc, Global};
use crate::error::{CliError, Ending};
use crate::{caches, commands, engines, history, now, runs};

/// A run that may be gone on with is kept so long.
const UNFINISHED: Duration = Duration::from_secs(7 * 24 * 3600);
/// What was stored just now may belong to a run that is about to begin, or is being imported.
const YOUNG: Duration = Duration::from_secs(3600);

pub fn run(args: &Gc, global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let state = runs::state()?;
    let path = state.path().join("gc.lock");
    let lock = File::options().write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    // one at a time; who comes second finds less to do
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let collected = collect(&state, args, global)?;
    collected.write(args.dry_run, global, out).map_err(anyhow::Error::from)?;
    Ok(Ending::Ok)
}

/// What is gone, or would be.
#[derive(Default)]
struct Collected {
    runs: Vec<(String, Removed)>,
    blobs: Removed,
    other: Removed,
    caches: CacheRemoved,
    /// Caches that stay.
    kept: Vec<CacheListed>,
    /// Containers, networks, volumes and images that killed runs left in Docker.
    docker: usize,
}

/// What a run is, as far as keeping it goes.
struct Known {
    run: String,
    /// Nanoseconds since 1970.
    last: u64,
    state: Option<RunState>,
}

fn collect(state: &State, args: &Gc, global: &Global) -> Result<Collected, CliError> {
    let all = state.runs().map_err(anyhow::Error::from)?;
    let known: Vec<Known> = all.into_iter().map(|run| look(state, run)).collect();
    // before anything goes: what is stored from now on is younger than this
    let oldest = known.iter().filter(|known| known.state == Some(RunState::Running)).map(|known| began(state, &known.run)).min();
    let young = SystemTime::now().checked_sub(YOUNG).unwrap_or(UNIX_EPOCH);
    let before = oldest.map_or(young, |oldest| oldest.min(young));
    let mut collected = Collected::default();
    let mut remaining = Vec::new();
    let count = known.len();
    for (index, known) in known.into_iter().enumerate() {
        if !(goes(&known, count - index, args)) {
            remaining.push(known.run);
            continue;
        }
        match state.remove_run(&known.run, args.dry_run).map_err(anyhow::Error::from)? {
            Some(removed) => collected.runs.push((known.run, removed)),
            // somebody took it up in the meantime
            None => remaining.push(known.run),
        }
    }
    let (mut blobs, mut plugins) = (HashSet::new(), HashSet::new());
    for run in &remaining {
        // without a journal it names nothing: it is just beginning, and what it stores is young
        if !state.run_folder(run).join(DATABASE).exists() {
            continue;
        }
        if let Err(error) = named(state, run, &mut blobs, &mut plugins) {
            history::warn(&format!("blobs and plugins stay, because a run can't be read that may name them: {error}"), global);
            return Ok(collected);
        }
    }
    collected.blobs = state.blobs().remove_unnamed(&blobs, before, args.dry_run).map_err(anyhow::Error::from)?;
    let wanted = |name: &str| name.strip_suffix(".wasm").is_some_and(|digest| plugins.contains(digest));
    let (limit, unused) = if args.caches { (0, SystemTime::now()) } else { (CACHE_LIMIT, caches::idle()) };
    collected.caches = state.caches().shrink(limit, unused, args.dry_run).map_err(anyhow::Error::from)?;
    collected.kept = state.caches().list().map_err(anyhow::Error::from)?;
    collected.kept.retain(|entry| !collected.caches.entries.contains(entry));
    collected.other = state.remove_unnamed("plugins", wanted, before, args.dry_run).map_err(anyhow::Error::from)?;
    if !args.dry_run {
        let left = state.remove_leftovers().map_err(anyhow::Error::from)?;
        collected.other.files += left.files;
        collected.other.bytes += left.bytes;
        state.sweep().map_err(anyhow::Error::from)?;
        let (docker, stuck) = engines::collect(state).map_err(anyhow::Error::from)?;
        collected.docker = docker;
        stuck.iter().for_each(|why| history::warn(&format!("something is left in Docker: {why}"), global));
    }
    Ok(collected)
}

fn look(state: &State, run: String) -> Known {
    let Row { run, told } = commands::runs::row(state, run);
    match told {
        Ok((stands, overview)) => Known { run, last: overview.last, state: Some(stands) },
        Err(_) => {
            let last = std::fs::metadata(state.run_folder(&run)).and_then(|found| found.modified()).ok();
            let last = last.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |at| at.as_nanos() as u64);
            let running = state.is_running(&run).then_some(RunState::Running);
            Known { run, last, state: running }
        }
    }
}

/// When a running run was begun, or taken up: its lock tells the first, which is the safe side.
fn began(state: &State, run: &str) -> SystemTime {
    let header = Reader::open(&state.run_folder(run)).ok().map(|reader| reader.header().started);
    let started = header.map(|nanos| UNIX_EPOCH + Duration::from_nanos(nanos));
    let made = || std::fs::metadata(state.run_folder(run).join("lock")).and_then(|lock| lock.modified()).ok();
    started.or_else(made).unwrap_or(UNIX_EPOCH)
}

/// Whether a run goes; `from_end`: 1 is the newest.
fn goes(known: &Known, from_end: usize, args: &Gc) -> bool {
    let age = now().saturating_sub(known.last);
    let unfinished =
        matches!(known.state, Some(RunState::Waiting | RunState::CutOff | RunState::Interrupted | RunState::Terminated) | None);
    if known.state == Some(RunState::Running) || (unfinished && u128::from(age) < UNFINISHED.as_nanos()) {
        return false;
    }
    match args.keep_days {
        Some(days) => u128::from(age) > u128::from(days) * 24 * 3600 * 1_000_000_000,
        None => from_end > args.keep,
    }
}

/// What a run needs of what all runs share.
fn named(state: &State, run: &str, blobs: &mut HashSet<Digest>, plugins: &mut HashSet<String>) -> anyhow::Result<()> {
    let attempts = Reader::open(&state.run_folder(run))?.attempts()?;
    for attempt in attempts {
        plugins.insert(attempt.begin.plugin);
        for artifact in attempt.end.into_iter().flat_map(|end| end.artifacts) {
            let Ok(digest) = artifact.digest.parse::<Digest>() else { continue };
            if !blobs.insert(digest) {
                continue;
            }
            // one that is gone or broken names nothing any more
            let manifest = state.blobs().manifest(&artifact.digest);
            for entry in manifest.into_iter().flat_map(|manifest| manifest.entries) {
                if let Entry::File { digest, .. } = entry {
                    blobs.insert(digest);
                }
            }
        }
    }
    Ok(())
}

impl Collected {
    fn write(&self, dry: bool, global: &Global, out: &mut dyn Write) -> std::io::Result<()> {
        let runs = self.runs.iter().map(|(_, removed)| removed.bytes).sum::<u64>();
        let bytes = runs + self.blobs.bytes + self.other.bytes + self.caches.bytes;
        if history::json(global) {
            let list: Vec<_> = self.runs.iter().map(|(run, removed)| json!({ "run": run, "bytes": removed.bytes })).collect();
            let object = json!({
                "dry-run": dry, "runs": list, "blobs": self.blobs.files, "blob-bytes": self.blobs.bytes, "other-files": self.other.files,
                "other-bytes": self.other.bytes, "bytes": bytes,
                "caches": self.caches.entries.iter().map(cache_json).collect::<Vec<_>>(),
                "caches-kept": self.kept.iter().map(cache_json).collect::<Vec<_>>(),
                "docker": self.docker,
            });
            return writeln!(out, "{object}");
        }
        let word = if dry { "would remove" } else { "removed" };
        if !global.quiet {
            for (run, removed) in &self.runs {
                writeln!(out, "{word} run {run}, {}", history::size(removed.bytes))?;
            }
            for entry in &self.caches.entries {
                writeln!(out, "{word} {}", cache_text(entry))?;
            }
            for entry in self.kept.iter().filter(|_| dry) {
                writeln!(out, "would keep {}", cache_text(entry))?;
            }
        }
        let count = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut parts = vec![count(self.runs.len() as u64, "run"), count(self.blobs.files, "blob"), count(self.other.files, "other file")];
        if !self.caches.entries.is_empty() {
            parts.insert(1, count(self.caches.entries.len() as u64, "cache"));
        }
        if self.docker > 0 {
            parts.push(format!("{} left in Docker", count(self.docker as u64, "thing")));
        }
        writeln!(out, "{word} {}: {}", parts.join(", "), history::size(bytes))
    }
}

/// `cache npm (branch-main), 12.3 MB, used 3 days ago: "node20", the files "package-lock.json"`.
fn cache_text(entry: &CacheListed) -> String {
    let days = SystemTime::now().duration_since(entry.used).unwrap_or_default().as_secs() / (24 * 3600);
    let used = match days {
        0 => "used today".to_owned(),
        1 => "used yesterday".to_owned(),
        days => format!("used {days} days ago"),
    };
    format!("cache {} ({}), {}, {used}: {}", entry.name, entry.scope, history::size(entry.bytes), entry.parts.join(", "))
}

fn cache_json(entry: &CacheListed) -> serde_json::Value {
    let used = entry.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    json!({
        "scope": entry.scope, "name": entry.name, "key": entry.parts, "files": entry.files, "bytes": entry.bytes, "used": used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(state: Option<RunState>, days: u64) -> Known {
        Known { run: "x".to_owned(), last: now() - days * 24 * 3600 * 1_000_000_000, state }
    }

    #[test]
    fn what_may_still_be_gone_on_with_stays_for_a_week() {
        let keep = |keep, keep_days| Gc { keep, keep_days, caches: false, dry_run: false };
        for (state, days, from_end, args, wanted) in [
            (Some(RunState::Passed), 1, 51, keep(50, None), true),
            (Some(RunState::Passed), 100, 50, keep(50, None), false),
            (Some(RunState::Failed), 0, 1, keep(0, None), true),
            (Some(RunState::Running), 100, 99, keep(0, None), false),
            (Some(RunState::Waiting), 6, 99, keep(0, None), false),
            (Some(RunState::Waiting), 8, 99, keep(0, None), true),
            (Some(RunState::CutOff), 6, 99, keep(0, Some(1)), false),
            (Some(RunState::CutOff), 8, 99, keep(0, Some(1)), true),
            (Some(RunState::Passed), 3, 1, keep(50, Some(2)), true),
            (Some(RunState::Passed), 1, 99, keep(50, Some(2)), false),
            (None, 1, 99, keep(0, None), false),
            (None, 8, 99, keep(0, None), true),
        ] {
            assert_eq!(goes(&known(state, days), from_end, &args), wanted, "{state:?} {days} days, {from_end} from the end, {args:?}");
        }
    }
}
