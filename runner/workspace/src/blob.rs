//! Bytes by their BLAKE3: `blobs/ab/cdef…`, for this user alone.
//!
//! A blob is written under a name of its own and renamed when it is complete, so several runners can store at once and none sees half a
//! blob. Blobs are not synced: after a power cut one may be short or empty, which reading finds out, because whatever is read is verified.

use std::fmt;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_NOW, fstat, openat, seek, utimensat};
use rustix::io::{Errno, read};
use serde::{Deserialize, Serialize};

use crate::copy::{Cloning, write_all};
use crate::error::{At, Result, WorkspaceError};
use crate::state::private_folder;

const STORING: &str = "storing a blob";
const READING: &str = "reading a blob";
const BUFFER: usize = 1 << 20;

/// A BLAKE3, 64 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Digest(*hash.as_bytes())
    }
}

impl FromStr for Digest {
    type Err = WorkspaceError;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match blake3::Hash::from_hex(text) {
            Ok(hash) if lower => Ok(hash.into()),
            _ => Err(WorkspaceError::BadDigest(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = WorkspaceError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The blobs of one state folder. Clones share what they know of the file system.
#[derive(Debug, Clone)]
pub struct BlobStore {
    folder: PathBuf,
    cloning: Arc<Cloning>,
}

impl BlobStore {
    /// The store in `folder`, which is made when the first blob is stored.
    pub fn at(folder: PathBuf) -> Self {
        BlobStore { folder, cloning: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Where a blob is, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let text = digest.to_string();
        self.folder.join(&text[..2]).join(&text[2..])
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = blake3::hash(bytes).into();
        if self.has(&digest, bytes.len() as u64) {
            return Ok(digest);
        }
        let temporary = self.temporary()?;
        write_all(&temporary.file, bytes).at(STORING, &temporary.path)?;
        self.keep(temporary, &digest)?;
        Ok(digest)
    }

    /// Stores what is in an open file, from its start, and answers digest and size. No digest, and nothing stored, where it is longer than
    /// `limit`: it may be growing.
    pub(crate) fn put_file(&self, file: &OwnedFd, from: &Path, limit: u64) -> Result<(Option<Digest>, u64)> {
        let temporary = self.temporary()?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER.min(fstat(file).map_or(0, |status| status.st_size as usize).max(4096))];
        // what is shared is hashed as it was shared: whoever still writes to the file changes only the file
        let shared = self.cloning.share(file, &temporary.file);
        let source = if shared { &temporary.file } else { file };
        let mut size = 0;
        loop {
            match read(source, &mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    size += n as u64;
                    if size > limit {
                        return Ok((None, size));
                    }
                    hasher.update(&buffer[..n]);
                    if !shared {
                        write_all(&temporary.file, &buffer[..n]).at(STORING, &temporary.path)?;
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).at("collecting artifacts", from),
            }
        }
        let digest = hasher.finalize().into();
        if !self.has(&digest, size) {
            self.keep(temporary, &digest)?;
        }
        Ok((Some(digest), size))
    }

    /// A blob's bytes, verified.
    ///
    /// # Errors
    /// If it is gone or holds other bytes than its name says.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        std::fs::File::from(self.open(digest)?).read_to_end(&mut bytes).at(READING, &path)?;
        if Digest::from(blake3::hash(&bytes)) != *digest {
            return Err(WorkspaceError::CorruptBlob { digest: digest.to_string(), path });
        }
        Ok(bytes)
    }

    /// Writes a blob's bytes into an empty file that is open for reading and writing. On an error the file's content is worth nothing.
    pub(crate) fn write_to(&self, digest: &Digest, target: &OwnedFd, at: &Path) -> Result<u64> {
        let path = self.blob_path(digest);
        let blob = self.open(digest)?;
        let shared = self.cloning.share(&blob, target);
        let source = if shared { target } else { &blob };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER.min(fstat(&blob).map_or(0, |status| status.st_size as usize).max(4096))];
        let mut size = 0;
        if shared {
            seek(target, SeekFrom::Start(0)).at(READING, &path)?;
        }
        loop {
            match read(source, &mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    size += n as u64;
                    hasher.update(&buffer[..n]);
                    if !shared {
                        write_all(target, &buffer[..n]).at("restoring an artifact", at)?;
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).at(READING, &path),
            }
        }
        if Digest::from(hasher.finalize()) != *digest {
            return Err(WorkspaceError::CorruptBlob { digest: digest.to_string(), path });
        }
        Ok(size)
    }

    fn open(&self, digest: &Digest) -> Result<OwnedFd> {
        let path = self.blob_path(digest);
        let aside = self.aside(digest);
        // one that was moved aside to be looked at may be on its way back
        for place in [&path, &aside, &path, &aside, &path] {
            match openat(CWD, place, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(blob) => return Ok(blob),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at(READING, place),
            }
        }
        Err(WorkspaceError::MissingBlob { digest: digest.to_string() })
    }

    /// Where a blob is while it is decided whether it is still needed (`garbage`).
    pub(crate) fn aside(&self, digest: &Digest) -> PathBuf {
        self.folder.join("tmp").join(format!("removed-{digest}"))
    }

    /// A blob of another length is a broken one, and is replaced. One that is there is touched, so that it is not taken for an old one
    /// that nobody needs (`garbage`); if that fails it may be gone by now, and is written anew.
    fn has(&self, digest: &Digest, size: u64) -> bool {
        let path = self.blob_path(digest);
        let there = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == size);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        there && utimensat(CWD, &path, &Timestamps { last_access: now, last_modification: now }, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn temporary(&self) -> Result<Temporary> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = self.folder.join("tmp");
        loop {
            let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = folder.join(name);
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(CWD, &path, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok(Temporary { file, path, kept: false }),
                Err(Errno::NOENT) => private_folder(&folder)?,
                // a process of the same number died here once
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).at(STORING, path),
            }
        }
    }

    fn keep(&self, mut temporary: Temporary, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        let result = match std::fs::rename(&temporary.path, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                private_folder(path.parent().expect("a blob is in a folder"))?;
                std::fs::rename(&temporary.path, &path)
            }
            other => other,
        };
        result.at(STORING, &path)?;
        temporary.kept = true;
        Ok(())
    }
}

/// A blob that is being written; gone if it is not kept.
struct Temporary {
    file: OwnedFd,
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
