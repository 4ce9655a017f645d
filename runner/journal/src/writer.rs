//! The one connection that writes: a batch of rows is one transaction.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use crate::body::{Raw, Text};
use crate::buffer::{Batch, RecordRow, Row};
use crate::error::{At, JournalError, Result};
use crate::open::{self, DATABASE};

pub struct Writer {
    folder: PathBuf,
    path: PathBuf,
    connection: Option<Connection>,
    session: u32,
    /// Whether the file itself survives a power loss, as it was at some time of this session.
    synced: bool,
    /// Whether this journal holds such a thing at all.
    durable: bool,
}

impl Writer {
    pub fn new(folder: &Path, connection: Connection, session: u32, durable: bool) -> Self {
        Writer { folder: folder.to_owned(), path: folder.join(DATABASE), connection: Some(connection), session, synced: false, durable }
    }

    pub fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| JournalError::Closed { path: self.path.clone() })
    }

    pub fn write(&mut self, batch: &Batch) -> Result<()> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        if !batch.durable {
            return self.transaction(batch);
        }
        self.synchronous("FULL")?;
        self.transaction(batch)?;
        self.durable = true;
        self.settle()?;
        self.synchronous("NORMAL")
    }

    /// Once in a session: the file that commits are added to, and its name, survive a power loss.
    pub fn settle(&mut self) -> Result<()> {
        if self.synced {
            return Ok(());
        }
        open::write_back(self.connection()?, &self.path)?;
        open::sync_names(&self.folder)?;
        self.synced = true;
        Ok(())
    }

    fn synchronous(&self, how: &str) -> Result<()> {
        self.connection()?.pragma_update(None, "synchronous", how).at(&self.path)
    }

    fn transaction(&self, batch: &Batch) -> Result<()> {
        let connection = self.connection()?;
        let run = |statement: &str| connection.prepare_cached(statement).at(&self.path)?.execute([]).at(&self.path);
        run("BEGIN IMMEDIATE")?;
        let written = self.rows(connection, batch).and_then(|()| run("COMMIT"));
        if written.is_err() && !connection.is_autocommit() {
            // The first error is the one that matters.
            let _ = run("ROLLBACK");
        }
        written.map(|_| ())
    }

    fn rows(&self, connection: &Connection, batch: &Batch) -> Result<()> {
        for (seq, row) in &batch.rows {
            self.row(connection, *seq, row)?;
        }
        if batch.durable && !self.durable {
            connection.execute("UPDATE session SET durable = 1 WHERE number = ?1", [self.session]).at(&self.path)?;
        }
        Ok(())
    }

    fn row(&self, connection: &Connection, seq: u64, row: &Row) -> Result<()> {
        let statement = |text: &str| connection.prepare_cached(text).at(&self.path);
        match row {
            Row::Record(record) => return self.record(connection, seq, record),
            Row::Reply { attempt, position, at, clock, body } => {
                let (text, digest) = body_columns(Some(body));
                let changed = statement(
                    "UPDATE record SET took = max(?3 - at, 0), clock = ?4, body = ?5, body_digest = ?6
                     WHERE attempt = ?1 AND position = ?2 AND clock IS NULL AND kind IN ('read', 'idempotent', 'once')",
                )?
                .execute(params![attempt, *position as i64, *at as i64, *clock as i64, text, digest])
                .at(&self.path)?;
                return self.one(changed, || format!("a reply at position {position}, where no effect waits for one"));
            }
            Row::Attempt { id, stage, attempt, name, begin } => {
                statement("INSERT INTO attempt (id, stage, attempt, name, begin) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                    id,
                    stage.as_str(),
                    attempt,
                    name,
                    begin
                ])
            }
            Row::End { id, end } => statement("UPDATE attempt SET end = ?2 WHERE id = ?1")?.execute(params![id, end]),
            Row::Body { digest, bytes } => {
                statement("INSERT OR IGNORE INTO body (digest, bytes) VALUES (?1, ?2)")?.execute(params![&digest[..], &bytes[..]])
            }
            Row::Event { at, kind, of, json } => {
                let (stage, attempt) = of.as_ref().map(|(stage, attempt)| (stage.as_str(), *attempt)).unzip();
                statement("INSERT INTO event (seq, at, kind, stage, attempt, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute(params![seq as i64, *at as i64, kind, stage, attempt, json])
            }
        }
        .at(&self.path)?;
        Ok(())
    }

    /// A position is written once. What has no answer yet may be replaced: a wait by its end, an effect that was cut off by its
    /// repetition, and a read that was cut off by anything, for it changed nothing.
    fn record(&self, connection: &Connection, seq: u64, record: &RecordRow) -> Result<()> {
        let (text, text_digest) = body_columns(record.body.as_ref());
        let (bytes, digest, kept) = match &record.bytes {
            Raw::Here(bytes) if bytes.is_empty() => (None, None, true),
            Raw::Here(bytes) => (Some(&bytes[..]), None, true),
            Raw::Kept { digest, .. } => (None, Some(&digest[..]), true),
            Raw::Counted { digest, .. } => (None, Some(&digest[..]), false),
        };
        let changed = connection
            .prepare_cached(
                "INSERT INTO record (seq, attempt, position, at, kind, what, subject, asked, request, seen, clock, until,
                     body, body_digest, bytes, length, digest, kept, denial)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
                 ON CONFLICT (attempt, position) DO UPDATE SET
                     at = CASE record.kind WHEN 'waiting' THEN record.at ELSE excluded.at END,
                     took = CASE WHEN record.kind = 'waiting' AND excluded.kind = 'delivered' THEN max(excluded.at - record.at, 0) END,
                     kind = excluded.kind, what = excluded.what, subject = excluded.subject, asked = excluded.asked,
                     request = excluded.request, seen = excluded.seen, clock = excluded.clock, until = excluded.until,
                     body = excluded.body, body_digest = excluded.body_digest, bytes = excluded.bytes, length = excluded.length,
                     digest = excluded.digest, kept = excluded.kept, denial = excluded.denial
                 WHERE record.clock IS NULL AND (record.kind IN ('waiting', 'read') OR record.kind = excluded.kind)",
            )
            .at(&self.path)?
            .execute(params![
                seq as i64,
                record.attempt,
                record.position as i64,
                record.at as i64,
                record.kind,
                record.what,
                record.subject,
                &record.asked[..],
                record.request,
                record.seen,
                record.clock.map(|clock| clock as i64),
                record.until.map(|until| until as i64),
                text,
                text_digest,
                bytes,
                record.bytes.length() as i64,
                digest,
                kept,
                record.denial,
            ])
            .at(&self.path)?;
        self.one(changed, || format!("position {} of `{}` was recorded already", record.position, record.what))
    }

    fn one(&self, changed: usize, what: impl FnOnce() -> String) -> Result<()> {
        if changed == 1 {
            return Ok(());
        }
        Err(JournalError::Sql { path: self.path.clone(), message: what() })
    }

    /// Closes the files without a word.
    pub fn let_go(&mut self) {
        self.connection = None;
    }

    /// Writes the log back, so that only the database file is left. Syncs cost more than a short run does: they are made where something
    /// must survive a power loss.
    pub fn close(&mut self) -> Result<()> {
        let Some(connection) = self.connection.take() else { return Err(JournalError::Closed { path: self.path.clone() }) };
        // Another process may have had something to say that must survive.
        let said: bool = connection.query_row("SELECT max(durable) FROM session", [], |row| row.get(0)).at(&self.path)?;
        if self.durable || said {
            open::normal(&connection, &self.path)?;
        } else {
            connection.pragma_update(None, "synchronous", "OFF").at(&self.path)?;
        }
        // A reader in the middle of something keeps the log a while longer, which does no harm.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).at(&self.path)?;
        connection.close().map_err(|(_, error)| error).at(&self.path)
    }
}

fn body_columns(body: Option<&Text>) -> (Option<&str>, Option<&[u8]>) {
    match body {
        None => (None, None),
        Some(Text::Here(text)) => (Some(text), None),
        Some(Text::File(digest)) => (None, Some(&digest[..])),
    }
}
