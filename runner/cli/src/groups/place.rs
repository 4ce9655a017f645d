//! The folder of a group: its lock, its queue, and the requests to make way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::{git, now};

/// Where the groups of the repository are that holds `root`.
///
/// # Errors
/// The user has no folder for it.
pub fn folder(root: &Path) -> Result<PathBuf, CliError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state"))).ok_or_else(|| {
        CliError::usage("there is no folder in which runs could see each other's groups", "set HOME or XDG_STATE_HOME to an absolute path")
    })?;
    let place = || git::common(root).unwrap_or_else(|| root.to_owned());
    let repository = git::remote(root)
        .map_or_else(|| place().canonicalize().unwrap_or_else(|_| place()).display().to_string(), |url| git::repository_name(&url));
    Ok(state.join("runner/groups").join(&blake3::hash(repository.as_bytes()).to_hex()[..32]))
}

#[derive(Debug, thiserror::Error)]
#[error("the group's folder {path}: {error}; make it writable, or set XDG_STATE_HOME to a folder that is")]
pub struct GroupError {
    path: PathBuf,
    error: io::Error,
}

/// Somebody else who looks holds the lock for an instant: it is tried again so often, and after so long.
const TRIES: usize = 20;
const MOMENT: Duration = Duration::from_millis(2);

/// Who has a group, or waits for it before one. The run is empty where nobody can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub run: String,
    pub stage: Option<String>,
    pub pid: u32,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.stage {
            Some(stage) => write!(f, "stage `{stage}` of run {} (process {})", self.run, self.pid),
            None => write!(f, "run {} (process {})", self.run, self.pid),
        }
    }
}

/// A group of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    name: String,
    path: PathBuf,
}

/// A place in the queue, for as long as it lives.
#[derive(Debug)]
pub struct Ticket {
    path: PathBuf,
    holder: Holder,
    _lock: File,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // the lock is still held, so nobody takes it for a dead one meanwhile
        let _ = fs::remove_file(&self.path);
    }
}

/// Whose turn it is, for as long as it lives.
#[derive(Debug)]
pub struct Turn {
    lock: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.lock.set_len(0);
    }
}

/// What somebody who waits sees.
pub enum Look {
    Turn(Turn),
    /// Those before it, the first one last: it has the lock, if anybody has.
    Busy(Vec<Holder>),
}

impl Group {
    /// `folder`: of the repository.
    pub fn new(folder: &Path, name: &str) -> Group {
        let kept: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).take(60).collect();
        let digest = blake3::hash(name.as_bytes()).to_hex();
        Group { name: name.to_owned(), path: folder.join(format!("{kept}-{}", &digest[..12])) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn at<T>(&self, result: io::Result<T>) -> Result<T, GroupError> {
        result.map_err(|error| GroupError { path: self.path.clone(), error })
    }

    /// Takes a place at the end of the queue.
    pub fn queue(&self, run: &str, stage: Option<&str>) -> Result<Ticket, GroupError> {
        let holder = Holder { run: run.to_owned(), stage: stage.map(str::to_owned), pid: std::process::id() };
        self.at(self.write_ticket(holder))
    }

    fn write_ticket(&self, holder: Holder) -> io::Result<Ticket> {
        for folder in ["queue", "stop"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path.join(folder))?;
        }
        let random = &mut [0; 4];
        let _ = rustix::rand::getrandom(&mut *random, rustix::rand::GetRandomFlags::empty());
        let name = format!("{:020}-{}-{:08x}", now(), holder.run, u32::from_le_bytes(*random));
        // it appears locked: one that is not is taken for dead
        let (unfinished, path) = (self.path.join("queue").join(format!(".{name}")), self.path.join("queue").join(name));
        let mut lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        lock.write_all(&serde_json::to_vec(&holder)?)?;
        fs::rename(&unfinished, &path)?;
        Ok(Ticket { path, holder, _lock: lock })
    }

    /// Takes the turn if nobody is before the ticket.
    pub fn look(&self, ticket: &mut Ticket) -> Result<Look, GroupError> {
        let ahead = self.at(self.ahead(ticket))?;
        let path = self.path.join("lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut lock = self.at(opened)?;
        let mut holder = held(&mut lock);
        for _ in 0..if ahead.is_empty() { TRIES } else { 0 } {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let said = serde_json::to_vec(&ticket.holder).map_err(io::Error::from);
                    self.at(said.and_then(|said| lock.set_len(0).and_then(|()| lock.write_all(&said))))?;
                    // nobody waits for what has come
                    let _ = fs::remove_file(&ticket.path);
                    let _ = fs::remove_file(self.path.join("stop").join(&ticket.holder.run));
                    return Ok(Look::Turn(Turn { lock }));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return self.at(Err(errno.into())),
            }
            holder = held(&mut lock);
            if holder.as_ref().is_some_and(|holder| !holder.run.is_empty()) {
                break;
            }
            // somebody looked at it just now, or is about to say who they are
            std::thread::sleep(MOMENT);
        }
        let mut before = ahead;
        before.extend(holder);
        if before.is_empty() {
            before.push(Holder::default());
        }
        Ok(Look::Busy(before))
    }

    /// Those that wait before a ticket, the last one first. What dead ones left is removed.
    fn ahead(&self, ticket: &Ticket) -> io::Result<Vec<Holder>> {
        let own = ticket.path.file_name().unwrap_or_default().to_owned();
        let mut ahead = Vec::new();
        for entry in fs::read_dir(self.path.join("queue"))? {
            let name = entry?.file_name();
            if name >= own || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = self.path.join("queue").join(&name);
            let Ok(mut other) = File::open(&path) else { continue };
            if flock(&other, FlockOperation::NonBlockingLockShared).is_ok() {
                let _ = fs::remove_file(&path);
            } else {
                ahead.push((name, said(&mut other).unwrap_or_default()));
            }
        }
        ahead.sort_by(|one, other| other.0.cmp(&one.0));
        Ok(ahead.into_iter().map(|(_, holder)| holder).collect())
    }

    /// Asks a run to make way. What can't be written is tried again at the next look.
    pub fn ask_to_stop(&self, run: &str, by: &str) {
        let path = self.path.join("stop").join(run);
        if path.exists() || Path::new(run).components().count() != 1 {
            return;
        }
        let unfinished = path.with_file_name(format!(".{run}-{by}"));
        if fs::write(&unfinished, by).is_ok() {
            let _ = fs::rename(&unfinished, &path);
        }
    }

    /// Which run asks this one to make way.
    pub fn stop_asked(&self, run: &str) -> Option<String> {
        let path = self.path.join("stop").join(run);
        let by = fs::read_to_string(&path).ok()?;
        let _ = fs::remove_file(path);
        Some(by.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()).filter(|by: &String| !by.is_empty())
    }
}

/// Who has the lock, if anybody has.
fn held(lock: &mut File) -> Option<Holder> {
    // shared, so that two who look at once do not take each other for a holder
    if flock(&*lock, FlockOperation::NonBlockingLockShared).is_ok() {
        let _ = flock(&*lock, FlockOperation::Unlock);
        return None;
    }
    Some(said(lock).unwrap_or_default())
}

fn said(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
