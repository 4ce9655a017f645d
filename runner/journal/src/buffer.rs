//! Rows that wait to be written, of all attempts and the events alike, in the order in which they came.
//!
//! There is one buffer and it is written from its front, so that what a crash takes away is always the end of what was recorded.

use std::time::Instant;

use bytes::Bytes;
use event::StageRef;

use crate::body::{Digest, Raw, Text};
use crate::model::Asked;

/// The buffer is written when it holds so much, or so many rows.
const BYTES: usize = 512 << 10;
const ROWS: usize = 1000;

#[derive(Debug)]
pub enum Row {
    Attempt { id: i64, stage: StageRef, attempt: u32, name: String, begin: String },
    End { id: i64, end: String },
    Record(Box<RecordRow>),
    Reply { attempt: i64, position: u64, at: u64, clock: u64, body: Text },
    Body { digest: Digest, bytes: Bytes },
    Event { at: u64, kind: Option<&'static str>, of: Option<(StageRef, u32)>, json: String },
}

/// A position of an attempt, as the table has it.
#[derive(Debug)]
pub struct RecordRow {
    pub attempt: i64,
    pub position: u64,
    pub at: u64,
    pub kind: &'static str,
    pub what: String,
    pub subject: String,
    pub asked: Asked,
    pub request: Option<String>,
    pub seen: Option<String>,
    pub clock: Option<u64>,
    pub until: Option<u64>,
    pub body: Option<Text>,
    pub bytes: Raw,
    pub denial: Option<String>,
}

impl Row {
    fn size(&self) -> usize {
        let size = match self {
            Row::Attempt { begin, .. } => begin.len(),
            Row::End { end, .. } => end.len(),
            Row::Record(record) => {
                let raw = if let Raw::Here(bytes) = &record.bytes { bytes.len() } else { 0 };
                let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                record.what.len()
                    + record.subject.len()
                    + optional(&record.request)
                    + optional(&record.seen)
                    + optional(&record.denial)
                    + record.body.as_ref().map_or(0, text)
                    + raw
            }
            Row::Reply { body, .. } => text(body),
            Row::Body { bytes, .. } => bytes.len(),
            Row::Event { json, .. } => json.len(),
        };
        size + size_of::<Row>()
    }
}

fn text(text: &Text) -> usize {
    match text {
        Text::Here(text) => text.len(),
        Text::File(_) => 32,
    }
}

/// Rows, with the numbers that give records and events their order.
pub struct Batch {
    pub rows: Vec<(u64, Row)>,
    /// Whether a power loss must not take them away.
    pub durable: bool,
}

pub struct Buffer {
    batch: Batch,
    bytes: usize,
    next: u64,
    /// When the first of the rows came.
    since: Option<Instant>,
}

impl Buffer {
    pub fn new(next: u64) -> Self {
        Buffer { batch: Batch { rows: Vec::new(), durable: false }, bytes: 0, next, since: None }
    }

    pub fn push(&mut self, row: Row) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += row.size();
        let counted = matches!(row, Row::Record(_) | Row::Event { .. });
        self.batch.rows.push((self.next, row));
        self.next += u64::from(counted);
    }

    /// What stands here now must survive a power loss as soon as it is written.
    pub fn make_durable(&mut self) {
        self.batch.durable = true;
    }

    pub fn full(&self) -> bool {
        self.bytes >= BYTES || self.batch.rows.len() >= ROWS
    }

    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    pub fn take(&mut self) -> Batch {
        self.bytes = 0;
        self.since = None;
        // The next rows will be about as many.
        let rows = Vec::with_capacity(self.batch.rows.len().min(ROWS));
        std::mem::replace(&mut self.batch, Batch { rows, durable: false })
    }
}
