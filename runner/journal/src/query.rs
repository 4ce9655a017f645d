//! What is read from the tables, for the writer and for readers alike.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use event::{Event, Kind, StageRef};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::body::{self, Digest, Raw, Text};
use crate::error::{At, JournalError, Result};
use crate::format;
use crate::model::{Answer, Approval, AttemptRow, Begin, Class, End, Header, Line, LineVerdict, Record, RecordKind, Session};
use crate::replayed::CONNECTION;

pub const READ: &str = "read";
pub const IDEMPOTENT: &str = "idempotent";
pub const ONCE: &str = "once";
pub const DENIED: &str = "denied";
pub const DELIVERED: &str = "delivered";
pub const WAITING: &str = "waiting";

pub fn kind(class: Class) -> &'static str {
    match class {
        Class::Read => READ,
        Class::Idempotent => IDEMPOTENT,
        Class::Once => ONCE,
    }
}

fn class(kind: &str) -> Option<Class> {
    match kind {
        READ => Some(Class::Read),
        IDEMPOTENT => Some(Class::Idempotent),
        ONCE => Some(Class::Once),
        _ => None,
    }
}

/// A connection, the file that it has open, and the version of what stands there.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub connection: &'a Connection,
    /// The run's.
    pub folder: &'a Path,
    pub path: &'a Path,
    pub version: u32,
}

/// SQLite's integers have a sign; ours never do, and survive the way there and back.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

fn optional_number(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column).map(|number| number.map(|number| number as u64))
}

fn stage(row: &Row<'_>, column: usize) -> rusqlite::Result<StageRef> {
    Ok(StageRef::new(row.get_ref(column)?.as_str()?))
}

fn wrong<T>(column: usize, what: &str) -> rusqlite::Result<T> {
    Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into()))
}

impl Source<'_> {
    fn all<T>(&self, sql: &str, of: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql).at(self.path)?;
        let rows = statement.query_map([], of).at(self.path)?;
        rows.collect::<rusqlite::Result<_>>().at(self.path)
    }

    pub fn header(&self) -> Result<Header> {
        let json: String = self.connection.query_row("SELECT json FROM header WHERE id = 1", [], |row| row.get(0)).at(self.path)?;
        format::read_header(self.version, &json, self.path)
    }

    /// The number that the next record or event gets.
    pub fn next_seq(&self) -> Result<u64> {
        let sql = "SELECT 1 + max(coalesce((SELECT max(seq) FROM record), 0), coalesce((SELECT max(seq) FROM event), 0))";
        self.connection.query_row(sql, [], |row| number(row, 0)).at(self.path)
    }

    pub fn sessions(&self) -> Result<Vec<Session>> {
        self.all(
            "SELECT number, started, pid, runner,
                 (SELECT at FROM record WHERE seq >= first AND seq < next ORDER BY seq DESC LIMIT 1),
                 (SELECT at FROM event WHERE seq >= first AND seq < next ORDER BY seq DESC LIMIT 1)
             FROM (SELECT *, lead(first, 1, 9223372036854775807) OVER (ORDER BY number) AS next FROM session) ORDER BY number",
            |row| {
                let started = number(row, 1)?;
                let last = started.max(optional_number(row, 4)?.unwrap_or(0)).max(optional_number(row, 5)?.unwrap_or(0));
                Ok(Session { number: row.get(0)?, started, last, pid: row.get(2)?, runner: row.get(3)? })
            },
        )
    }

    /// Which attempts there are.
    pub fn begun(&self) -> Result<Vec<(StageRef, u32)>> {
        self.all("SELECT stage, attempt FROM attempt", |row| Ok((stage(row, 0)?, row.get(1)?)))
    }

    pub fn attempts(&self) -> Result<Vec<AttemptRow>> {
        let rows = self.all(
            "SELECT begin, end, coalesce((SELECT max(position) + 1 FROM record WHERE record.attempt = attempt.id), 0)
             FROM attempt ORDER BY id",
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, number(row, 2)?)),
        )?;
        rows.into_iter().map(|(begin, end, records)| Ok(AttemptRow { begin: self.begin(&begin)?, end: self.end(end)?, records })).collect()
    }

    fn begin(&self, json: &str) -> Result<Begin> {
        format::read_begin(self.version, json, self.path)
    }

    fn end(&self, json: Option<String>) -> Result<Option<End>> {
        json.map(|json| format::read_end(self.version, &json, self.path)).transpose()
    }

    /// An attempt's number in the tables, and how it began and ended.
    pub fn attempt(&self, stage: &StageRef, attempt: u32) -> Result<Option<(i64, Begin, Option<End>)>> {
        let found = self
            .connection
            .prepare_cached("SELECT id, begin, end FROM attempt WHERE stage = ?1 AND attempt = ?2")
            .at(self.path)?
            .query_row(params![stage.as_str(), attempt], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))
            .optional()
            .at(self.path)?;
        found.map(|(id, begin, end)| Ok((id, self.begin(&begin)?, self.end(end)?))).transpose()
    }

    /// How many positions of an attempt are recorded, and how many raw bytes were delivered to it.
    pub fn extent(&self, attempt: i64) -> Result<(u64, u64)> {
        self.connection
            .prepare_cached("SELECT coalesce(max(position) + 1, 0), coalesce(sum(length), 0) FROM record WHERE attempt = ?1")
            .at(self.path)?
            .query_row([attempt], |row| Ok((number(row, 0)?, number(row, 1)?)))
            .at(self.path)
    }

    fn events_of(&self, sql: &str) -> Result<Vec<Event>> {
        let rows = self.all(sql, |row| row.get::<_, String>(0))?;
        rows.iter().map(|json| serde_json::from_str(json).at(self.path)).collect()
    }

    pub fn events(&self) -> Result<Vec<Event>> {
        self.events_of("SELECT json FROM event ORDER BY seq")
    }

    pub fn last_event(&self) -> Result<Option<Event>> {
        Ok(self.events_of("SELECT json FROM event ORDER BY seq DESC LIMIT 1")?.pop())
    }

    pub fn last_finished(&self) -> Result<Option<Event>> {
        Ok(self.events_of("SELECT json FROM event WHERE kind = 'run-finished' ORDER BY seq DESC LIMIT 1")?.pop())
    }

    /// How many events of the kinds that a replayed guest makes again are recorded, by stage, attempt and kind.
    pub fn repeatable_events(&self) -> Result<Vec<(StageRef, u32, String, u64)>> {
        self.all("SELECT stage, attempt, kind, count(*) FROM event WHERE stage IS NOT NULL GROUP BY stage, attempt, kind", |row| {
            Ok((stage(row, 0)?, row.get(1)?, row.get(2)?, number(row, 3)?))
        })
    }

    pub fn approvals(&self) -> Result<Vec<Approval>> {
        self.all("SELECT stage, approved, person, note, at FROM approval ORDER BY number", |row| {
            Ok(Approval { stage: stage(row, 0)?, approved: row.get(1)?, by: row.get(2)?, note: row.get(3)?, at: number(row, 4)? })
        })
    }

    pub fn approval_asked(&self) -> Result<Vec<(StageRef, u64)>> {
        self.all("SELECT stage, at FROM approval_asked ORDER BY at, stage", |row| Ok((stage(row, 0)?, number(row, 1)?)))
    }

    /// Lines after `seq`, `count` at most, with their numbers.
    pub fn lines(&self, after: u64, count: u32, of: Option<&str>) -> Result<Vec<(u64, Line)>> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT seq, stage, attempt.attempt, position, at, took, kind, what, subject, request, denial, length
                 FROM record JOIN attempt ON attempt.id = record.attempt
                 WHERE seq > ?1 AND (?3 IS NULL OR stage = ?3 OR name = ?3)
                 UNION ALL
                 SELECT seq, event.stage, event.attempt, NULL, at, NULL, kind, NULL, NULL, json, NULL, 0
                 FROM event JOIN attempt ON attempt.stage = event.stage AND attempt.attempt = event.attempt
                 WHERE kind = 'connection' AND seq > ?1 AND (?3 IS NULL OR event.stage = ?3 OR name = ?3)
                 ORDER BY seq LIMIT ?2",
            )
            .at(self.path)?;
        let rows = statement.query_map(params![after as i64, count, of], line).at(self.path)?;
        rows.collect::<rusqlite::Result<_>>().at(self.path)
    }

    /// Records of an attempt from a position on, until there are enough for a while.
    pub fn window(&self, attempt: i64, from: u64) -> Result<Vec<Stored>> {
        const ROWS: u32 = 2048;
        const BYTES: usize = 4 << 20;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT position, kind, what, subject, asked, request, seen, clock, body, body_digest, bytes, length, digest, kept, denial
                 FROM record WHERE attempt = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
            )
            .at(self.path)?;
        let mut rows = statement.query(params![attempt, from as i64, ROWS]).at(self.path)?;
        let (mut window, mut size) = (Vec::new(), 0);
        while let Some(row) = rows.next().at(self.path)? {
            let stored = Stored::read(row).at(self.path)?;
            size += stored.size();
            window.push(stored);
            if size > BYTES {
                break;
            }
        }
        Ok(window)
    }

    /// Bodies of the table, by windows of their digests.
    pub fn table_bodies(&self, after: &[u8]) -> Result<Vec<(Digest, Vec<u8>)>> {
        let mut statement =
            self.connection.prepare_cached("SELECT digest, bytes FROM body WHERE digest > ?1 ORDER BY digest LIMIT 100").at(self.path)?;
        let rows = statement.query_map([after], |row| Ok((row.get(0)?, row.get(1)?))).at(self.path)?;
        rows.collect::<rusqlite::Result<_>>().at(self.path)
    }

    /// The bodies that records name, and whether each is a file.
    pub fn body_digests(&self) -> Result<Vec<(Digest, bool)>> {
        let sql = format!(
            "SELECT digest, length > {limit} FROM record WHERE digest IS NOT NULL AND kept
             UNION SELECT body_digest, 1 FROM record WHERE body_digest IS NOT NULL ORDER BY 1",
            limit = body::IN_DATABASE
        );
        self.all(&sql, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    pub fn resolve(&self, stored: Stored) -> Result<Record> {
        let Stored { position, kind, what, subject, asked, request, seen, clock, body, bytes, denial } = stored;
        let missing = |what: &str| JournalError::corrupt(self.path, format!("position {position} has no {what}"));
        let answer = match (clock, body) {
            (Some(clock), Some(body)) => {
                let body = body::read_text(self.folder, body)?;
                Some(Answer { clock, body, bytes: body::read_bytes(self.connection, self.folder, bytes)? })
            }
            _ => None,
        };
        let kind = match (&*kind, class(&kind)) {
            (_, Some(class)) => {
                let request = request.ok_or_else(|| missing("request"))?;
                RecordKind::Crossed { class, request, seen: seen.ok_or_else(|| missing("observation"))?, answer }
            }
            (DENIED, _) => {
                let denial = serde_json::from_str(&denial.ok_or_else(|| missing("denial"))?).at(self.path)?;
                RecordKind::Denied { clock: clock.ok_or_else(|| missing("clock"))?, denial }
            }
            (DELIVERED, _) => RecordKind::Delivered(answer.ok_or_else(|| missing("answer"))?),
            (WAITING, _) => RecordKind::Waiting,
            (other, _) => {
                return Err(JournalError::corrupt(self.path, format!("position {position} is a `{other}`, which does not exist")));
            }
        };
        Ok(Record { position, what, subject, asked, kind })
    }
}

fn line(row: &Row<'_>) -> rusqlite::Result<(u64, Line)> {
    let kind: String = row.get(6)?;
    if kind == CONNECTION {
        return match serde_json::from_str(row.get_ref(9)?.as_str()?) {
            Ok(event) => connection(row, event),
            Err(error) => wrong(9, &error.to_string()),
        };
    }
    let verdict = match (&*kind, class(&kind)) {
        (_, Some(class)) => LineVerdict::Granted { class, request: row.get(9)? },
        (DENIED, _) => match serde_json::from_str(row.get_ref(10)?.as_str()?) {
            Ok(denial) => LineVerdict::Denied(denial),
            Err(error) => return wrong(10, &error.to_string()),
        },
        (DELIVERED, _) => LineVerdict::Delivered,
        (WAITING, _) => LineVerdict::Waiting,
        _ => return wrong(6, "an unknown kind of record"),
    };
    let line = Line {
        stage: stage(row, 1)?,
        attempt: row.get(2)?,
        position: Some(number(row, 3)?),
        at: number(row, 4)?,
        took: optional_number(row, 5)?.map(Duration::from_nanos),
        what: row.get(7)?,
        subject: row.get(8)?,
        verdict,
        bytes: number(row, 11)?,
    };
    Ok((number(row, 0)?, line))
}

fn connection(row: &Row<'_>, event: Event) -> rusqlite::Result<(u64, Line)> {
    let Kind::Connection { stage, command, host, port, allowed, reason, bytes_in, bytes_out, nanos } = event.kind else {
        return wrong(9, "no connection");
    };
    let line = Line {
        stage,
        attempt: row.get(2)?,
        position: None,
        // told when it had ended
        at: event.at.saturating_sub(nanos),
        took: Some(Duration::from_nanos(nanos)),
        what: event::CONNECT.to_owned(),
        subject: format!("{host}:{port}"),
        verdict: LineVerdict::Connection { command, allowed, reason, bytes_in, bytes_out },
        bytes: bytes_in + bytes_out,
    };
    Ok((number(row, 0)?, line))
}

/// A record whose bodies are not fetched yet.
#[derive(Debug)]
pub struct Stored {
    pub position: u64,
    kind: String,
    what: String,
    subject: String,
    asked: Digest,
    request: Option<String>,
    seen: Option<String>,
    clock: Option<u64>,
    body: Option<Text>,
    bytes: Raw,
    denial: Option<String>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let body = match (row.get::<_, Option<String>>(8)?, row.get::<_, Option<Digest>>(9)?) {
            (Some(text), _) => Some(Text::Here(text)),
            (None, digest) => digest.map(Text::File),
        };
        let (length, kept) = (number(row, 11)?, row.get::<_, bool>(13)?);
        let bytes = match row.get::<_, Option<Digest>>(12)? {
            None => Raw::Here(row.get::<_, Option<Vec<u8>>>(10)?.map_or_else(Bytes::new, Bytes::from)),
            Some(digest) if kept => Raw::Kept { length, digest },
            Some(digest) => Raw::Counted { length, digest },
        };
        if bytes.length() != length {
            return wrong(11, "fewer bytes than there were");
        }
        Ok(Stored {
            position: number(row, 0)?,
            kind: row.get(1)?,
            what: row.get(2)?,
            subject: row.get(3)?,
            asked: row.get(4)?,
            request: row.get(5)?,
            seen: row.get(6)?,
            clock: optional_number(row, 7)?,
            body,
            bytes,
            denial: row.get(14)?,
        })
    }

    fn size(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let body = if let Some(Text::Here(text)) = &self.body { text.len() } else { 0 };
        let bytes = if let Raw::Here(bytes) = &self.bytes { bytes.len() } else { 0 };
        size_of::<Stored>() + optional(&self.request) + optional(&self.seen) + optional(&self.denial) + body + bytes
    }
}
