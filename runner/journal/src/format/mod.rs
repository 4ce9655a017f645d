//! What stands on the disk, by version. Its types are its own, so that the ones that the runner thinks with (`model`) may change and old
//! runs stay readable: a new version is a file beside `v1.rs`, and this one picks by the number in the database.
//!
//! Events, outcomes and denials are stored as the JSON of the crate `event`, which is a format with a version of its own
//! (`event::SCHEMA`) and compatible rules.

mod v1;

use std::path::Path;

use rusqlite::Connection;

use crate::error::{At, JournalError, Result};
use crate::model::{Begin, End, Header};

/// The newest version, the one that is written.
pub const FORMAT: u32 = 1;

/// "RunJ": tells `file` and us whose database this is.
const APPLICATION: i32 = 0x5275_6e4a;

pub use v1::SCHEMA;

/// Marks an empty database as a journal of the newest version.
pub fn stamp(connection: &Connection, path: &Path) -> Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION).at(path)?;
    connection.pragma_update(None, "user_version", FORMAT).at(path)
}

/// The version of what stands there, if this runner can read it.
pub fn version(connection: &Connection, path: &Path) -> Result<u32> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).at(path)?;
    if application != APPLICATION {
        return Err(JournalError::corrupt(path, "it is not a journal of this runner"));
    }
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).at(path)?;
    match found {
        1..=FORMAT => Ok(found),
        0 => Err(JournalError::corrupt(path, "it has no version")),
        _ => Err(JournalError::Newer { path: path.to_owned(), found, known: FORMAT }),
    }
}

pub fn write_header(header: &Header, path: &Path) -> Result<String> {
    serde_json::to_string(&v1::Header::from(header)).at(path)
}

pub fn write_begin(begin: &Begin, path: &Path) -> Result<String> {
    serde_json::to_string(&v1::Begin::from(begin)).at(path)
}

pub fn write_end(end: &End, path: &Path) -> Result<String> {
    serde_json::to_string(&v1::End::from(end)).at(path)
}

/// `version` is one that [`version`] let through.
pub fn read_header(version: u32, json: &str, path: &Path) -> Result<Header> {
    match version {
        1 => Header::try_from(serde_json::from_str::<v1::Header>(json).at(path)?).map_err(|what| JournalError::corrupt(path, what)),
        _ => Err(JournalError::Newer { path: path.to_owned(), found: version, known: FORMAT }),
    }
}

pub fn read_begin(version: u32, json: &str, path: &Path) -> Result<Begin> {
    match version {
        1 => Ok(serde_json::from_str::<v1::Begin>(json).at(path)?.into()),
        _ => Err(JournalError::Newer { path: path.to_owned(), found: version, known: FORMAT }),
    }
}

pub fn read_end(version: u32, json: &str, path: &Path) -> Result<End> {
    match version {
        1 => Ok(serde_json::from_str::<v1::End>(json).at(path)?.into()),
        _ => Err(JournalError::Newer { path: path.to_owned(), found: version, known: FORMAT }),
    }
}
