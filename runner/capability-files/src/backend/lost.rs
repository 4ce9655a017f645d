//! What an earlier process had open, and what it read: that process was killed, and the attempt goes on in this one.
//!
//! Numbers that it gave out are kept, and what they stand for is opened again by its path where the record ends. What it read of files that the
//! stage can't change must still be there: otherwise the stage would go on in another world than the one that it knows.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use capability::ledger::Divergence;
use capability::{LedgerError, Revive};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use super::{FileSystem, OpenObject, READ_MAX, Slot, by_descriptor, read_at};
use crate::effect::{Kind, Mount, Open, OpenRef, Reply};
use crate::errno::error_code;
use crate::host::ErrorCode;
use crate::path::ROOT;
use crate::resolve::{kind_of, pin};
use crate::view::Reach;

/// Opened by an earlier process, and not yet by this one.
#[derive(Debug, Clone)]
pub struct Lost {
    pub mount: Mount,
    pub path: String,
    /// How the file was opened; `None`: a directory.
    pub open: Option<Open>,
}

/// A range of a file, read by an earlier process.
pub(super) struct Witness {
    path: String,
    offset: u64,
    length: u64,
    digest: blake3::Hash,
    /// It was less than was asked for: there the file ended.
    ended: bool,
}

/// More ranges than this are not compared.
const WITNESSED_MAX: usize = 100_000;

impl FileSystem {
    /// Takes over a number that an earlier process gave out.
    pub fn adopt(&self, handle: u64, lost: Lost) {
        self.next.fetch_max(handle + 1, Ordering::Relaxed);
        self.lock().entry(handle).or_insert(Slot::Lost(lost));
    }

    /// Opens what an earlier process had open.
    pub(super) fn attach(&self, lost: &Lost) -> Reply<OpenObject> {
        let (root, _) = self.mount_folder(lost.mount).map_err(|_| ErrorCode::NoEntry)?;
        let fd = match &lost.open {
            None => pin(root.as_fd(), &lost.path, OFlags::DIRECTORY).map_err(error_code)?,
            Some(open) => {
                let object = pin(root.as_fd(), &lost.path, OFlags::NOFOLLOW).map_err(error_code)?;
                if kind_of(&object).map_err(error_code)? != Kind::File {
                    return Err(ErrorCode::NoEntry);
                }
                let again = Open { truncate: false, write: open.write || open.truncate, ..*open };
                openat(CWD, by_descriptor(&object), again.flags(), Mode::empty()).map_err(error_code)?
            }
        };
        let status = fstat(&fd).map_err(error_code)?;
        let identity = (status.st_dev, status.st_ino);
        Ok(OpenObject { fd, mount: lost.mount, path: lost.path.clone(), identity, orphan: AtomicBool::new(false) })
    }

    /// What an earlier process had open went elsewhere with its name, and what had that name before is gone.
    pub(super) fn moved(&self, mount: Mount, from: &str, to: &str) {
        if from == to {
            return;
        }
        self.removed(mount, to);
        for slot in self.lock().values_mut() {
            if let Slot::Lost(lost) = slot
                && lost.mount == mount
                && let Some(rest) = lost.path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            {
                lost.path = format!("{to}{rest}");
            }
        }
    }

    /// What an earlier process had open has lost its name.
    pub(super) fn removed(&self, mount: Mount, path: &str) {
        for slot in self.lock().values_mut() {
            if matches!(slot, Slot::Lost(lost) if lost.mount == mount && lost.path == path) {
                *slot = Slot::Gone;
            }
        }
    }

    /// Opens all that an earlier process had open and that is there, before anything more is moved or removed.
    pub(super) fn reattach(&self) {
        for slot in self.lock().values_mut() {
            // the roots are opened when they are needed: a stage that has no use for a scratch folder gets none
            if let Slot::Lost(lost) = slot
                && lost.path != ROOT
                && let Ok(object) = self.attach(lost)
            {
                *slot = Slot::Open(Arc::new(object));
            }
        }
    }

    /// What an earlier process read of a file, when it asked for so many bytes. Remembered if the stage can't have changed it: then it must
    /// still be the same.
    pub fn witness(&self, file: &OpenRef, offset: u64, asked: u64, bytes: &[u8]) {
        let view = self.policy.view(file.mount);
        let mut witnessed = self.witnessed.lock().unwrap_or_else(PoisonError::into_inner);
        if file.mount == Mount::Workspace && view.reach(&file.path) != Reach::Write && witnessed.len() < WITNESSED_MAX {
            let (path, length) = (file.path.clone(), bytes.len() as u64);
            witnessed.push(Witness { path, offset, length, digest: blake3::hash(bytes), ended: length < asked });
        }
    }

    /// The first range that is not what it was.
    fn changed(&self) -> Option<(Witness, String)> {
        let witnessed = std::mem::take(&mut *self.witnessed.lock().unwrap_or_else(PoisonError::into_inner));
        let mut open: Option<(String, OwnedFd)> = None;
        for witness in witnessed {
            if open.as_ref().is_none_or(|(path, _)| *path != witness.path) {
                let asked = Open { read: true, ..Open::default() };
                let lost = Lost { mount: Mount::Workspace, path: witness.path.clone(), open: Some(asked) };
                match self.attach(&lost) {
                    Ok(object) => open = Some((witness.path.clone(), object.fd)),
                    Err(code) => return Some((witness, format!("the file can't be opened any more: {}", code.message()))),
                }
            }
            let Some((_, fd)) = &open else { continue };
            // one byte more: a file that ended here must still end here
            match read_at(fd, (witness.length + 1).min(READ_MAX as u64), witness.offset) {
                Ok(mut bytes) => {
                    if !witness.ended {
                        bytes.truncate(witness.length as usize);
                    }
                    if blake3::hash(&bytes) != witness.digest {
                        return Some((witness, "the file has changed since".to_owned()));
                    }
                }
                Err(code) => return Some((witness, format!("the file can't be read any more: {}", code.message()))),
            }
        }
        None
    }
}

impl Revive for FileSystem {
    fn verify(&self) -> Result<(), LedgerError> {
        self.reattach();
        match self.changed() {
            None => Ok(()),
            Some((Witness { path, offset, length, .. }, detail)) => {
                let recorded = format!("`files.read` {path}, {length} bytes at {offset}");
                Err(LedgerError::Diverged(Box::new(Divergence { position: None, recorded, asked: "other bytes".to_owned(), detail })))
            }
        }
    }
}
