//! What a person says to a run that waits for them. It comes from another process than the one that works on the run, which may have
//! ended long ago.

use std::path::Path;

use rusqlite::params;

use crate::error::{At, Result};
use crate::model::Approval;
use crate::open::{self, DATABASE};

/// Returns when it would survive a power loss. Whether the stage waits at all is for the caller to see.
pub fn approve(folder: &Path, approval: &Approval) -> Result<()> {
    let path = folder.join(DATABASE);
    let connection = open::writing(folder)?;
    connection.pragma_update(None, "synchronous", "FULL").at(&path)?;
    // First what was there, so that nothing was said if this fails.
    open::write_back(&connection, &path)?;
    open::sync_names(folder)?;
    connection.execute_batch("BEGIN IMMEDIATE").at(&path)?;
    connection
        .execute(
            "INSERT INTO approval (stage, approved, person, note, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![approval.stage.as_str(), approval.approved, approval.by, approval.note, approval.at as i64],
        )
        .at(&path)?;
    connection.execute("UPDATE session SET durable = 1 WHERE number = (SELECT max(number) FROM session)", []).at(&path)?;
    connection.execute_batch("COMMIT").at(&path)?;
    connection.close().map_err(|(_, error)| error).at(&path)
}
