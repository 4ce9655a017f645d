//! Reads a whole journal to see whether it is sound.

use std::path::Path;

use crate::body;
use crate::error::{At, JournalError, Result};
use crate::reader::Reader;

/// The database's structure, everything that stands in it as JSON, and every body.
pub fn check(folder: &Path) -> Result<()> {
    let reader = Reader::open(folder)?;
    reader.read(|source| {
        let verdict: String = source.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).at(source.path)?;
        if verdict == "ok" { Ok(()) } else { Err(JournalError::corrupt(source.path, verdict)) }
    })?;
    reader.sessions()?;
    reader.events()?;
    reader.approvals()?;
    reader.approval_asked()?;
    for row in reader.attempts()? {
        let Some((_, _, record)) = reader.record(&row.begin.stage, row.begin.attempt)? else { continue };
        for position in 0..record.len() {
            if record.at(position)?.is_none() {
                let what = format!("position {position} of stage {}, attempt {}, is not there", row.begin.stage, row.begin.attempt);
                return Err(JournalError::corrupt(&folder.join(crate::DATABASE), what));
            }
        }
    }
    // Bodies that no record names yet are of no harm, but are what their names say.
    let mut after = Vec::new();
    loop {
        let bodies = reader.read(|source| source.table_bodies(&after))?;
        let Some((last, _)) = bodies.last() else { return Ok(()) };
        after = last.to_vec();
        for (digest, bytes) in &bodies {
            body::verify(&folder.join(crate::DATABASE), digest, bytes)?;
        }
    }
}
