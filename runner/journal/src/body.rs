//! Where bodies are kept: small ones stand in their row, larger ones once for all by their digest, in a table or, beyond 64 KiB, as
//! files in `bodies/`. What is read back by its digest is verified.
//!
//! A body file is there before the row that names it is written. It is not synced: a power loss may leave a row without its body, which
//! is then found and said, never used.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use crate::error::{At, JournalError, Result};
use crate::model::Payload;
use crate::open::DATABASE;

/// Bytes up to this length stand in the row.
pub const IN_ROW: usize = 4 << 10;
/// Bytes up to this length stand in the table, JSON up to this length in the row.
pub const IN_DATABASE: usize = 64 << 10;

pub type Digest = [u8; 32];

/// JSON as a row has it.
#[derive(Debug)]
pub enum Text {
    Here(String),
    File(Digest),
}

/// Raw bytes as a row has them.
#[derive(Debug)]
pub enum Raw {
    Here(Bytes),
    /// In the table or in a file.
    Kept {
        length: u64,
        digest: Digest,
    },
    Counted {
        length: u64,
        digest: Digest,
    },
}

impl Raw {
    pub fn length(&self) -> u64 {
        match self {
            Raw::Here(bytes) => bytes.len() as u64,
            Raw::Kept { length, .. } | Raw::Counted { length, .. } => *length,
        }
    }
}

pub fn digest(bytes: &[u8]) -> Digest {
    *blake3::hash(bytes).as_bytes()
}

/// Writes what belongs into a file, and says what the row has. What belongs into the table comes back as the second value.
pub fn keep_bytes(folder: &Path, bytes: &Bytes, within_limit: bool) -> Result<(Raw, Option<(Digest, Bytes)>)> {
    let length = bytes.len() as u64;
    if bytes.is_empty() || (within_limit && bytes.len() <= IN_ROW) {
        return Ok((Raw::Here(bytes.clone()), None));
    }
    let digest = digest(bytes);
    if !within_limit {
        return Ok((Raw::Counted { length, digest }, None));
    }
    if bytes.len() <= IN_DATABASE {
        return Ok((Raw::Kept { length, digest }, Some((digest, bytes.clone()))));
    }
    write_file(folder, &digest, bytes)?;
    Ok((Raw::Kept { length, digest }, None))
}

pub fn keep_text(folder: &Path, text: &str) -> Result<Text> {
    if text.len() <= IN_DATABASE {
        return Ok(Text::Here(text.to_owned()));
    }
    let digest = digest(text.as_bytes());
    write_file(folder, &digest, text.as_bytes())?;
    Ok(Text::File(digest))
}

pub fn read_bytes(connection: &Connection, folder: &Path, raw: Raw) -> Result<Payload> {
    match raw {
        Raw::Here(bytes) => Ok(Payload::Here(bytes)),
        Raw::Counted { length, digest } => Ok(Payload::Digest { length, digest }),
        Raw::Kept { length, digest } if length > IN_DATABASE as u64 => Ok(Payload::Here(read_file(folder, &digest)?.into())),
        Raw::Kept { digest, .. } => {
            let path = folder.join(DATABASE);
            let bytes: Option<Vec<u8>> = connection
                .prepare_cached("SELECT bytes FROM body WHERE digest = ?1")
                .at(&path)?
                .query_row([&digest[..]], |row| row.get(0))
                .optional()
                .at(&path)?;
            let bytes = bytes.ok_or_else(|| JournalError::corrupt(&path, format!("the body {} is gone", hex(&digest))))?;
            verify(&path, &digest, &bytes)?;
            Ok(Payload::Here(bytes.into()))
        }
    }
}

pub fn read_text(folder: &Path, text: Text) -> Result<String> {
    match text {
        Text::Here(text) => Ok(text),
        Text::File(digest) => String::from_utf8(read_file(folder, &digest)?)
            .map_err(|_| JournalError::corrupt(&file(folder, &digest), "a body that should be text is not UTF-8")),
    }
}

pub fn verify(path: &Path, digest: &Digest, bytes: &[u8]) -> Result<()> {
    if blake3::hash(bytes) == *digest {
        return Ok(());
    }
    Err(JournalError::corrupt(path, format!("the body {} holds other bytes than its name says", hex(digest))))
}

pub fn hex(digest: &Digest) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

/// `bodies/<first two digits>/<the rest>`, below the run's folder.
pub fn relative(digest: &Digest) -> PathBuf {
    let hex = hex(digest);
    let (first, rest) = hex.split_at(2);
    Path::new("bodies").join(first).join(rest)
}

pub fn file(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(relative(digest))
}

pub fn read_file(folder: &Path, digest: &Digest) -> Result<Vec<u8>> {
    let path = file(folder, digest);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::corrupt(&path, "the body is gone")),
        other => other.at(&path)?,
    };
    verify(&path, digest, &bytes)?;
    Ok(bytes)
}

fn write_file(folder: &Path, digest: &Digest, bytes: &[u8]) -> Result<()> {
    let path = file(folder, digest);
    // A power loss may have left one that is too short.
    if fs::metadata(&path).is_ok_and(|there| there.len() == bytes.len() as u64) {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(folder);
    DirBuilder::new().recursive(true).mode(0o700).create(parent).at(parent)?;
    // Stages that read the same thing at once write it at once.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unborn = parent.join(format!(".{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unborn).at(&unborn)?;
    let written = to.write_all(bytes).and_then(|()| fs::rename(&unborn, &path));
    if written.is_err() {
        // Its own error would hide the one that matters.
        let _ = fs::remove_file(&unborn);
    }
    written.at(&path)
}
