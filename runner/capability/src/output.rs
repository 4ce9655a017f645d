//! What becomes of what a program prints that runs elsewhere: line by line into the stage's log, into a file of its scratch folder, or both.
//!
//! Secrets are masked on the way, across the borders of pieces. Nothing is lost silently: what can't be kept is an error, and whoever runs the program
//! ends it. Deliberately absent: the programs of `commands`, which meet their files inside a jail.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use event::Stream;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat2, unlinkat};
use rustix::io::Errno;
use secret::mask;
use serde::{Deserialize, Serialize};

use crate::state::{SCRATCH, Setting};

/// What happens to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    Log,
    Capture,
    Both,
    Discard,
}

/// A file that holds what was printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// `/scratch/docker/1.stdout`
    pub path: String,
    pub size: u64,
}

/// Why output is not kept.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("the stage's log is full; raise `limits.log`")]
    Log,
    #[error("`limits.disk` of {0} bytes is reached")]
    Disk(u64),
    #[error("{path}: {error}")]
    File { path: String, error: io::Error },
}

/// One output of one program.
pub struct Sink<'a> {
    setting: &'a Setting,
    stream: Stream,
    logged: bool,
    file: Option<File>,
    path: String,
    size: u64,
    masked: mask::Stream,
}

impl<'a> Sink<'a> {
    /// `folder` is the capability's own below the scratch folder, `name` the file's in it. What an earlier process left there goes.
    ///
    /// # Errors
    /// If the file can't be made.
    pub fn open(setting: &'a Setting, stream: Stream, folder: &str, name: &str, to: Output) -> Result<Sink<'a>, OutputError> {
        let path = format!("{SCRATCH}/{folder}/{name}");
        let file = match to {
            Output::Capture | Output::Both => Some(create(setting, folder, name)),
            Output::Log | Output::Discard => None,
        };
        let file = file.transpose().map_err(|error| OutputError::File { path: path.clone(), error })?;
        let logged = matches!(to, Output::Log | Output::Both);
        Ok(Sink { setting, stream, logged, file, path, size: 0, masked: mask::Stream::default() })
    }

    /// # Errors
    /// If it can't be kept.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let shown = self.masked.push(self.setting.secrets.mask(), bytes).into_owned();
        self.keep(&shown)
    }

    /// What is left, and where it is.
    ///
    /// # Errors
    /// If it can't be kept.
    pub fn finish(mut self) -> Result<Option<Captured>, OutputError> {
        let rest = std::mem::take(&mut self.masked).finish();
        self.keep(&rest)?;
        Ok(self.file.is_some().then_some(Captured { path: self.path, size: self.size }))
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        if self.logged && self.setting.log.write(self.stream, bytes).is_err() {
            return Err(OutputError::Log);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        self.size += bytes.len() as u64;
        if self.size > self.setting.limits.disk {
            return Err(OutputError::Disk(self.setting.limits.disk));
        }
        file.write_all(bytes).map_err(|error| OutputError::File { path: self.path.clone(), error })
    }
}

/// A new file, made where the stage can't have planted a link: the scratch folder is its to write.
fn create(setting: &Setting, folder: &str, name: &str) -> io::Result<File> {
    let open = |root: &OwnedFd, path: &str, flags: OFlags, mode: Mode| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, resolve)
    };
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let scratch = rustix::fs::open(setting.scratch.path()?.canonicalize()?, place, Mode::empty())?;
    match mkdirat(&scratch, folder, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let folder = open(&scratch, folder, place, Mode::empty())?;
    let _ = unlinkat(&folder, name, AtFlags::empty());
    Ok(open(&folder, name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, Mode::from_raw_mode(0o600))?.into())
}
