//! The record of one attempt of a stage: what is recorded of it, and the way to record more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::body::{self, Raw};
use crate::buffer::{RecordRow, Row};
use crate::error::{At, JournalError, Result};
use crate::journal::Journal;
use crate::model::{Begin, Class, Delivery, Denied, End, Intent, Record, Reply, Waiting};
use crate::query::{self, Source, Stored};
use crate::reader::Shelf;
use crate::{format, lock};

/// Positions are recorded in their order, each once.
pub struct AttemptRecord {
    access: Access,
    id: i64,
    begin: Begin,
    end: Option<End>,
    len: u64,
    window: Mutex<Window>,
    record_limit: u64,
    /// Raw bytes that were delivered so far.
    delivered: AtomicU64,
}

enum Access {
    Writing(Journal),
    Reading(Arc<Shelf>),
}

/// A piece of the record that is in memory: what is asked for comes in order.
#[derive(Default)]
struct Window {
    rows: std::collections::VecDeque<Stored>,
}

impl AttemptRecord {
    pub(crate) fn writing(journal: Journal, id: i64, begin: Begin, end: Option<End>, extent: (u64, u64), record_limit: u64) -> Self {
        AttemptRecord::new(Access::Writing(journal), id, begin, end, extent, record_limit)
    }

    pub(crate) fn reading(shelf: Arc<Shelf>, id: i64, begin: Begin, end: Option<End>, extent: (u64, u64)) -> Self {
        AttemptRecord::new(Access::Reading(shelf), id, begin, end, extent, 0)
    }

    fn new(access: Access, id: i64, begin: Begin, end: Option<End>, (len, delivered): (u64, u64), record_limit: u64) -> Self {
        let (window, delivered) = (Mutex::default(), AtomicU64::new(delivered));
        AttemptRecord { access, id, begin, end, len, window, record_limit, delivered }
    }

    /// What the attempt was begun with at first.
    pub fn begun(&self) -> &Begin {
        &self.begin
    }

    /// How it had ended when its record was opened.
    pub fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// How many positions were recorded when it was opened; 0 if it is fresh.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was recorded at a position when the record was opened. Ask in order: the record comes from the disk in pieces.
    pub fn at(&self, position: u64) -> Result<Option<Record>> {
        if position >= self.len {
            return Ok(None);
        }
        let mut window = lock(&self.window);
        while window.rows.front().is_some_and(|first| first.position < position) {
            window.rows.pop_front();
        }
        if window.rows.front().is_none_or(|first| first.position > position) {
            window.rows = self.read(|source| source.window(self.id, position))?.into();
        }
        match window.rows.pop_front_if(|first| first.position == position) {
            None => Ok(None),
            Some(stored) => self.read(|source| source.resolve(stored)).map(Some),
        }
    }

    fn read<T>(&self, at: impl FnOnce(Source<'_>) -> Result<T>) -> Result<T> {
        match &self.access {
            Access::Writing(journal) => journal.read(at),
            Access::Reading(shelf) => shelf.read(at),
        }
    }

    fn journal(&self) -> Result<&Journal> {
        match &self.access {
            Access::Writing(journal) => journal.sound().map(|()| journal),
            Access::Reading(shelf) => Err(JournalError::ForReading { path: shelf.path().to_owned() }),
        }
    }

    /// Before the act. A read is written with what follows it; for everything else this returns when it is on the disk.
    pub fn intent(&self, intent: &Intent<'_>) -> Result<()> {
        let journal = self.journal()?;
        let row = RecordRow {
            request: Some(intent.request.to_owned()),
            seen: Some(intent.seen.to_owned()),
            ..self.row(intent.position, query::kind(intent.class), intent.effect, intent.subject, intent.asked)
        };
        match intent.class {
            Class::Read => journal.push(|at| record(row, at)),
            Class::Idempotent => journal.commit(|at, to| to.push(record(row, at)), false),
            Class::Once => journal.commit(|at, to| to.push(record(row, at)), true),
        }
    }

    /// After the act.
    pub fn reply(&self, reply: &Reply<'_>) -> Result<()> {
        let journal = self.journal()?;
        let body = journal.broken(body::keep_text(journal.folder(), reply.body))?;
        let row = |at| Row::Reply { attempt: self.id, position: reply.position, at, clock: reply.clock, body };
        if reply.promptly { journal.commit(|at, to| to.push(row(at)), false) } else { journal.push(row) }
    }

    pub fn denied(&self, denied: &Denied<'_>) -> Result<()> {
        let journal = self.journal()?;
        let row = RecordRow {
            clock: Some(denied.clock),
            denial: Some(serde_json::to_string(denied.denial).at(journal.path())?),
            ..self.row(denied.position, query::DENIED, &denied.denial.effect, &denied.denial.subject, denied.asked)
        };
        journal.push(|at| record(row, at))
    }

    /// What the guest got to see. It takes the place of a wait at the same position.
    pub fn delivered(&self, delivery: &Delivery<'_>, promptly: bool) -> Result<()> {
        let journal = self.journal()?;
        let length = delivery.bytes.len() as u64;
        let total = self.delivered.fetch_add(length, Ordering::Relaxed) + length;
        let kept = journal.broken(body::keep_bytes(journal.folder(), delivery.bytes, total <= self.record_limit && !delivery.secret))?;
        let (bytes, table) = kept;
        let row = RecordRow {
            clock: Some(delivery.clock),
            body: Some(journal.broken(body::keep_text(journal.folder(), delivery.body))?),
            bytes,
            ..self.row(delivery.position, query::DELIVERED, delivery.what, delivery.subject, delivery.asked)
        };
        let table = table.map(|(digest, bytes)| Row::Body { digest, bytes });
        if promptly {
            return journal.commit(
                |at, to| {
                    table.into_iter().for_each(|body| to.push(body));
                    to.push(record(row, at));
                },
                false,
            );
        }
        if let Some(body) = table {
            journal.push(|_| body)?;
        }
        journal.push(|at| record(row, at))
    }

    /// Before a wait.
    pub fn waiting(&self, waiting: &Waiting<'_>) -> Result<()> {
        let row = RecordRow { until: waiting.until, ..self.row(waiting.position, query::WAITING, waiting.what, "", waiting.asked) };
        self.journal()?.commit(|at, to| to.push(record(row, at)), false)
    }

    /// The attempt is over. `promptly`: this returns when that is on the disk, so that its folders may be removed; otherwise an attempt whose
    /// end is lost is run again.
    pub fn end(&self, end: &End, promptly: bool) -> Result<()> {
        let journal = self.journal()?;
        let end = format::write_end(end, journal.path())?;
        let row = Row::End { id: self.id, end };
        if promptly { journal.commit(|_, to| to.push(row), false) } else { journal.push(|_| row) }
    }

    fn row(&self, position: u64, kind: &'static str, what: &str, subject: &str, asked: [u8; 32]) -> RecordRow {
        RecordRow {
            attempt: self.id,
            position,
            at: 0,
            kind,
            what: what.to_owned(),
            subject: subject.to_owned(),
            asked,
            request: None,
            seen: None,
            clock: None,
            until: None,
            body: None,
            bytes: Raw::Here(Bytes::new()),
            denial: None,
        }
    }
}

fn record(row: RecordRow, at: u64) -> Row {
    Row::Record(Box::new(RecordRow { at, ..row }))
}
