//! Opens the database file, for the writer and for readers.
//!
//! A run that was closed is one file, without a write-ahead log beside it. Such a file is read as it is (`immutable`), so that readers
//! leave nothing behind and read-only folders work. Where there is a log, someone is writing or was killed, and SQLite's own rules for
//! sharing apply.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{At, JournalError, Result};
use crate::format;
use crate::model::Header;

/// The journal's file in a run's folder.
pub const DATABASE: &str = "journal.sqlite3";

/// How long one process waits for another.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pages of 4 KiB: the log is written back when it has so many. A write-back costs a sync or two of the disk, a long log costs time when
/// a killed run is opened again.
const WRITE_BACK: u32 = 4096;

/// Statements that a connection keeps compiled.
const STATEMENTS: usize = 64;

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(suffix);
    PathBuf::from(name)
}

pub fn has_log(database: &Path) -> bool {
    beside(database, "-wal").exists()
}

/// Makes a journal with its header and its first session. It is made under another name, so that nobody ever sees half of one.
pub fn create(folder: &Path, header: &Header) -> Result<Connection> {
    let path = folder.join(DATABASE);
    if path.exists() {
        return Err(JournalError::Exists { path });
    }
    let mode = fs::metadata(folder).at(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(mode & 0o7700)).at(folder)?;
    }
    let unborn = beside(&path, ".new");
    match fs::remove_file(&unborn) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&unborn),
        _ => {}
    }
    // SQLite gives its other files the mode of this one.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unborn).at(&unborn)?;
    let connection = Connection::open_with_flags(&unborn, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).at(&path)?;
    // What is not there yet can't be lost: no syncs and no rollback.
    connection.pragma_update(None, "synchronous", "OFF").at(&path)?;
    connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(())).at(&path)?;
    connection.execute_batch("BEGIN").at(&path)?;
    format::stamp(&connection, &path)?;
    connection.execute_batch(format::SCHEMA).at(&path)?;
    connection.execute("INSERT INTO header VALUES (1, ?1)", [format::write_header(header, &path)?]).at(&path)?;
    connection.execute_batch("COMMIT").at(&path)?;
    connection.close().map_err(|(_, error)| error).at(&path)?;
    fs::rename(&unborn, &path).at(&path)?;
    writing(folder)
}

/// Opens what is there for writing; what a killed process left in the log is taken in. Syncs are off: the caller's first commit makes the
/// log's head, which is not worth one, and then calls [`normal`].
pub fn writing(folder: &Path) -> Result<Connection> {
    let path = folder.join(DATABASE);
    fs::metadata(&path).map_or_else(|error| missing(&path, error), |_| Ok(()))?;
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).at(&path)?;
    connection.busy_timeout(PATIENCE).at(&path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    format::version(&connection, &path)?;
    connection.pragma_update(None, "synchronous", "OFF").at(&path)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).at(&path)?;
    if mode != "wal" {
        return Err(JournalError::ReadOnly { path });
    }
    connection.pragma_update_and_check(None, "wal_autocheckpoint", WRITE_BACK, |_| Ok(())).at(&path)?;
    Ok(connection)
}

/// Commits survive the end of the process; those that must survive a power loss ask for it.
pub fn normal(connection: &Connection, path: &Path) -> Result<()> {
    connection.pragma_update(None, "synchronous", "NORMAL").at(path)
}

/// Writes the log back into the database file, which is the way to sync that file: it was made without, SQLite throws away the log of a
/// database that a power loss emptied, and nobody but SQLite may open it (see the head of this crate).
pub fn write_back(connection: &Connection, path: &Path) -> Result<()> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0)).at(path)?;
    if busy { Err(JournalError::Busy { path: path.to_owned() }) } else { Ok(()) }
}

/// Syncs the names of the files in a run's folder, and that folder's own.
pub fn sync_names(folder: &Path) -> Result<()> {
    for folder in [Some(folder), folder.parent()].into_iter().flatten() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|open| open.sync_all()).at(folder)?;
    }
    Ok(())
}

/// A connection that can't write, and whether it takes for granted that nobody else does.
pub fn reading(folder: &Path) -> Result<(Connection, bool)> {
    let path = folder.join(DATABASE);
    fs::metadata(&path).map_or_else(|error| missing(&path, error), |_| Ok(()))?;
    let log = fs::metadata(beside(&path, "-wal")).map(|log| log.len()).ok();
    let (connection, alone) = match log {
        None => (alone(&path)?, true),
        Some(length) => match shared(&path) {
            Err(JournalError::ReadOnly { .. } | JournalError::Io { .. }) if length == 0 => (alone(&path)?, true),
            // A killed run in a folder that can't be written: the log's index is made in memory.
            Err(JournalError::ReadOnly { .. } | JournalError::Io { .. }) => (unlocked(&path)?, false),
            other => (other?, false),
        },
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok((connection, alone))
}

fn missing(path: &Path, error: io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Err(JournalError::Missing { path: path.to_owned() }),
        _ => Err(error).at(path),
    }
}

const READ: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn shared(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, READ).at(path)?;
    connection.busy_timeout(PATIENCE).at(path)?;
    // Nothing is opened before something is read.
    format::version(&connection, path)?;
    Ok(connection)
}

fn alone(path: &Path) -> Result<Connection> {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(byte as char),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let connection = Connection::open_with_flags(uri, READ.union(OpenFlags::SQLITE_OPEN_URI)).at(path)?;
    format::version(&connection, path)?;
    Ok(connection)
}

fn unlocked(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags_and_vfs(path, READ, "unix-none").at(path)?;
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(())).at(path)?;
    format::version(&connection, path)?;
    Ok(connection)
}
