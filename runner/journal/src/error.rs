//! What can go wrong with a journal, in words that say where, what and how to mend it.
//!
//! Errors are cloned: a journal that could not write once gives the same answer to everybody who asks afterwards.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use rustix::fs::Access;

pub type Result<T, E = JournalError> = std::result::Result<T, E>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    #[error("another process writes to the journal {} and did not let go within 5 seconds; see which runner works on this run, and try again when it is done", path.display())]
    Busy { path: PathBuf },

    #[error("the journal {} is damaged: {what}; bring the run's folder back from a copy, or start the run anew", path.display())]
    Corrupt { path: PathBuf, what: String },

    #[error("the journal {} was written by a newer runner (format {found}, this runner knows up to {known}); use that runner for this run", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },

    #[error("no space is left on the disk of {}; free some there, for example by removing old runs, and resume the run", path.display())]
    Full { path: PathBuf },

    #[error("{} can't be written: its file system or its folder is read-only; make it writable, or work on a copy of the run's folder", path.display())]
    ReadOnly { path: PathBuf },

    #[error("there is no journal at {}; name the folder of a run", path.display())]
    Missing { path: PathBuf },

    #[error("there is a journal at {} already; resume that run, or start the new one in a folder of its own", path.display())]
    Exists { path: PathBuf },

    #[error("the journal {} was closed, nothing more can be recorded in it; resume the run to go on", path.display())]
    Closed { path: PathBuf },

    #[error("the journal {} was opened for reading; resume the run to record something", path.display())]
    ForReading { path: PathBuf },

    #[error("{}: {source}; see that this user may read and write there", path.display())]
    Io { path: PathBuf, source: Arc<io::Error> },

    #[error("the journal {}: {message}; this should not happen, please report it", path.display())]
    Sql { path: PathBuf, message: String },
}

impl JournalError {
    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        JournalError::Corrupt { path: path.to_owned(), what: what.into() }
    }
}

/// Says of which file an error is.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| {
            let path = path.to_owned();
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::Full { path },
                io::ErrorKind::ReadOnlyFilesystem => JournalError::ReadOnly { path },
                _ => JournalError::Io { path, source: Arc::new(error) },
            }
        })
    }
}

impl<T> At<T> for rusqlite::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| from_sql(path, error))
    }
}

impl<T> At<T> for serde_json::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| JournalError::corrupt(path, format!("what stands there does not read as it was written ({error})")))
    }
}

fn from_sql(path: &Path, error: rusqlite::Error) -> JournalError {
    let message = error.to_string();
    let owned = path.to_owned();
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => JournalError::Busy { path: owned },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => JournalError::Corrupt { path: owned, what: message },
            ErrorCode::DiskFull => JournalError::Full { path: owned },
            ErrorCode::ReadOnly => JournalError::ReadOnly { path: owned },
            ErrorCode::CannotOpen if !path.exists() => JournalError::Missing { path: owned },
            ErrorCode::CannotOpen if !writable(path) => JournalError::ReadOnly { path: owned },
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                JournalError::Io { path: owned, source: Arc::new(io::Error::new(io::ErrorKind::PermissionDenied, message)) }
            }
            ErrorCode::SystemIoFailure => match failure.extended_code {
                rusqlite::ffi::SQLITE_IOERR_SHORT_READ => JournalError::Corrupt { path: owned, what: message },
                // The index of the write-ahead log is made larger before anything is written.
                rusqlite::ffi::SQLITE_IOERR_SHMSIZE => JournalError::Full { path: owned },
                _ => JournalError::Io { path: owned, source: Arc::new(io::Error::other(message)) },
            },
            _ => JournalError::Sql { path: owned, message },
        },
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::QueryReturnedNoRows => JournalError::Corrupt { path: owned, what: message },
        _ => JournalError::Sql { path: owned, message },
    }
}

fn writable(database: &Path) -> bool {
    database.parent().is_none_or(|folder| rustix::fs::access(folder, Access::WRITE_OK).is_ok())
}
