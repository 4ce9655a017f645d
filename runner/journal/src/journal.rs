//! The journal of a run, for the one process that works on it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use event::{Event, EventSink, Kind, StageRef};
use rusqlite::params;

use crate::attempt::AttemptRecord;
use crate::buffer::{Buffer, Row};
use crate::error::{At, JournalError, Result};
use crate::model::{Approval, AttemptRow, Begin, Header};
use crate::open::{self, DATABASE};
use crate::query::Source;
use crate::replayed::Replayed;
use crate::writer::Writer;
use crate::{format, lock, now};

/// What was told and not asked for at once is written after so long.
const LINGER: Duration = Duration::from_millis(50);

/// Writes the record of a run. Cheap to clone; all clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

/// Ends the thread with the last of the clones.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    path: PathBuf,
    version: u32,
    header: Header,
    session: u32,
    /// Taken before `front` by those who need both, so that batches are written in the order in which they are taken.
    writer: Mutex<Writer>,
    front: Mutex<Front>,
    wake: Condvar,
    broken: AtomicBool,
    error: Mutex<Option<JournalError>>,
}

/// What recording something touches.
struct Front {
    buffer: Buffer,
    replayed: Replayed,
    begun: HashSet<(StageRef, u32)>,
    next_attempt: i64,
    /// Whether the thread sleeps until somebody wakes it.
    asleep: bool,
    stopping: bool,
}

impl Journal {
    /// Makes the journal of a new run in a folder that is there.
    pub fn create(folder: &Path, header: &Header) -> Result<Journal> {
        let connection = open::create(folder, header)?;
        Journal::start(folder, connection, header.started, &header.runner, false)
    }

    /// Takes a run up again that was cut off or closed.
    pub fn resume(folder: &Path) -> Result<Journal> {
        Journal::start(folder, open::writing(folder)?, now(), env!("CARGO_PKG_VERSION"), true)
    }

    fn start(folder: &Path, connection: rusqlite::Connection, started: u64, runner: &str, again: bool) -> Result<Journal> {
        let path = folder.join(DATABASE);
        let version = format::version(&connection, &path)?;
        let source = Source { connection: &connection, folder, path: &path, version };
        let header = source.header()?;
        let next = if again { source.next_seq()? } else { 1 };
        let session = connection
            .query_row(
                "INSERT INTO session (number, started, pid, runner, first)
                 VALUES ((SELECT coalesce(max(number), 0) + 1 FROM session), ?1, ?2, ?3, ?4) RETURNING number",
                params![started as i64, std::process::id(), runner, next as i64],
                |row| row.get(0),
            )
            .at(&path)?;
        open::normal(&connection, &path)?;
        let (mut replayed, mut begun, mut next_attempt, mut durable) = (Replayed::nothing(), HashSet::new(), 1, false);
        if again {
            replayed = Replayed::of(source)?;
            begun.extend(source.begun()?);
            let sql = "SELECT coalesce((SELECT max(id) FROM attempt), 0) + 1, (SELECT max(durable) FROM session)";
            (next_attempt, durable) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).at(&path)?;
        }
        let front = Front { buffer: Buffer::new(next), replayed, begun, next_attempt, asleep: false, stopping: false };
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            version,
            header,
            session,
            writer: Mutex::new(Writer::new(folder, connection, session, durable)),
            front: Mutex::new(front),
            wake: Condvar::new(),
            broken: AtomicBool::new(false),
            error: Mutex::new(None),
            path,
        });
        let written = Arc::clone(&shared);
        thread::Builder::new().name("journal".to_owned()).spawn(move || written.write_behind()).at(&shared.path)?;
        Ok(Journal { handle: Arc::new(Handle { shared }) })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    pub fn folder(&self) -> &Path {
        &self.shared().folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.shared().path
    }

    pub fn header(&self) -> &Header {
        &self.shared().header
    }

    /// 1 is the process that started the run.
    pub fn session(&self) -> u32 {
        self.shared().session
    }

    /// Opens the record of an attempt. If it has records already (it was cut off), they are there to be replayed, and it keeps what it was
    /// begun with at first. Of the raw bytes that are delivered to it, `record_limit` are kept.
    pub fn begin(&self, begin: &Begin, record_limit: u64) -> Result<Arc<AttemptRecord>> {
        let shared = self.shared();
        shared.sound()?;
        let json = format::write_begin(begin, &shared.path)?;
        let key = (begin.stage.clone(), begin.attempt);
        let fresh = {
            let mut front = lock(&shared.front);
            front.replayed.begun(&begin.stage, begin.attempt);
            front.begun.insert(key).then(|| {
                let id = front.next_attempt;
                front.next_attempt += 1;
                let row = Row::Attempt { id, stage: begin.stage.clone(), attempt: begin.attempt, name: begin.name.clone(), begin: json };
                front.buffer.push(row);
                (id, shared.pushed(front))
            })
        };
        if let Some((id, full)) = fresh {
            if full {
                shared.flush()?;
            }
            return Ok(Arc::new(AttemptRecord::writing(self.clone(), id, begin.clone(), None, (0, 0), record_limit)));
        }
        let (id, first, end, extent) = self.look(|source| {
            let Some((id, first, end)) = source.attempt(&begin.stage, begin.attempt)? else {
                return Err(JournalError::corrupt(source.path, format!("attempt {} of stage {} is gone", begin.attempt, begin.stage)));
            };
            Ok((id, first, end, source.extent(id)?))
        })?;
        Ok(Arc::new(AttemptRecord::writing(self.clone(), id, first, end, extent, record_limit)))
    }

    /// Looks at everything that was recorded, with what is still in the buffer.
    fn look<T>(&self, at: impl FnOnce(Source<'_>) -> Result<T>) -> Result<T> {
        self.flush()?;
        self.read(at)
    }

    /// Looks at what is on the disk.
    pub(crate) fn read<T>(&self, at: impl FnOnce(Source<'_>) -> Result<T>) -> Result<T> {
        let shared = self.shared();
        let writer = lock(&shared.writer);
        at(Source { connection: writer.connection()?, folder: &shared.folder, path: &shared.path, version: shared.version })
    }

    pub fn attempts(&self) -> Result<Vec<AttemptRow>> {
        self.look(|source| source.attempts())
    }

    pub fn events(&self) -> Result<Vec<Event>> {
        self.look(|source| source.events())
    }

    /// Also what other processes wrote in the meantime.
    pub fn approvals(&self) -> Result<Vec<Approval>> {
        self.read(|source| source.approvals())
    }

    /// Since when stages wait for approval, or waited.
    pub fn approvals_asked(&self) -> Result<Vec<(StageRef, u64)>> {
        self.read(|source| source.approval_asked())
    }

    /// Records when a stage first began to wait for approval, and answers the first time that is recorded.
    pub fn approval_asked(&self, stage: &StageRef, at: u64) -> Result<u64> {
        self.look(|source| {
            let connection = source.connection;
            let insert = "INSERT OR IGNORE INTO approval_asked (stage, at) VALUES (?1, ?2)";
            connection.prepare_cached(insert).at(source.path)?.execute(params![stage.as_str(), at as i64]).at(source.path)?;
            let select = "SELECT at FROM approval_asked WHERE stage = ?1";
            let first: i64 = connection.query_row(select, [stage.as_str()], |row| row.get(0)).at(source.path)?;
            Ok(first as u64)
        })
        .inspect_err(|error| self.shared().fail(error))
    }

    pub(crate) fn push(&self, row: impl FnOnce(u64) -> Row) -> Result<()> {
        let shared = self.shared();
        shared.sound()?;
        let mut front = lock(&shared.front);
        // The time is taken where the order is made.
        front.buffer.push(row(now()));
        if shared.pushed(front) { shared.flush() } else { Ok(()) }
    }

    /// Writes these rows and everything before them now.
    pub(crate) fn commit(&self, rows: impl FnOnce(u64, &mut Buffer), durable: bool) -> Result<()> {
        let shared = self.shared();
        shared.sound()?;
        {
            let mut front = lock(&shared.front);
            rows(now(), &mut front.buffer);
            if durable {
                front.buffer.make_durable();
            }
        }
        shared.flush()
    }

    pub(crate) fn sound(&self) -> Result<()> {
        self.shared().sound()
    }

    /// What could not be kept breaks the journal like what could not be written.
    pub(crate) fn broken<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.shared().fail(error))
    }

    /// Writes everything that was told so far.
    pub fn flush(&self) -> Result<()> {
        self.shared().flush()
    }

    /// Has the file of the journal survive a power loss. The first effect of [`Class::Once`](crate::Class::Once) waits for that; who knows that one will come has it done
    /// beside other work.
    pub fn settle(&self) -> Result<()> {
        let shared = self.shared();
        let mut writer = lock(&shared.writer);
        shared.sound()?;
        writer.settle().inspect_err(|error| shared.fail(error))
    }

    /// A journal that could not write once never answers `Ok` again: a run must stop before its next effect.
    pub fn failed(&self) -> Option<JournalError> {
        self.shared().sound().err()
    }

    /// Writes everything, and leaves the database file alone in the folder. What other clones record afterwards is refused.
    pub fn close(self) -> Result<()> {
        let shared = self.shared();
        self.handle.stop();
        shared.flush()?;
        let closed = lock(&shared.writer).close();
        shared.fail(&closed.as_ref().err().cloned().unwrap_or_else(|| JournalError::Closed { path: shared.path.clone() }));
        closed
    }

    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        self.read(|source| source.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).at(source.path)).unwrap();
    }
}

impl EventSink for Journal {
    /// Output is in the logs and progress is for the moment; everything else is recorded.
    fn emit(&self, event: &Event) {
        let skipped = match &event.kind {
            Kind::Output { .. } | Kind::Progress { .. } => true,
            // JSON has no such numbers, and what can't be read back must not be written.
            Kind::Measured { value, .. } => !value.is_finite(),
            _ => false,
        };
        let shared = self.shared();
        if skipped || shared.sound().is_err() {
            return;
        }
        let json = match serde_json::to_string(event).at(&shared.path) {
            Ok(json) => json,
            Err(error) => return shared.fail(&error),
        };
        let mut front = lock(&shared.front);
        let Some(filed) = front.replayed.file(&event.kind) else { return };
        front.buffer.push(Row::Event { at: event.at, kind: filed.kind, of: filed.of, json });
        // What a person is told to act on must be there for the command that they are told to type.
        let awaited = matches!(event.kind, Kind::ApprovalWaiting { .. } | Kind::StageSuspended { .. } | Kind::StageRetrying { .. });
        if shared.pushed(front) || awaited {
            // The error stays: whoever is next to ask gets it.
            let _ = shared.flush();
        }
    }
}

impl Shared {
    fn sound(&self) -> Result<()> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        lock(&self.error).clone().map_or(Ok(()), Err)
    }

    fn fail(&self, error: &JournalError) {
        lock(&self.error).get_or_insert_with(|| error.clone());
        self.broken.store(true, Ordering::Release);
    }

    /// Sees to it that what was pushed gets written in time; says whether it has to be now.
    fn pushed(&self, mut front: std::sync::MutexGuard<'_, Front>) -> bool {
        if std::mem::take(&mut front.asleep) {
            self.wake.notify_one();
        }
        front.buffer.full()
    }

    /// When this returns, everything that was pushed before is written, by this thread or by the one that it waited for.
    fn flush(&self) -> Result<()> {
        let mut writer = lock(&self.writer);
        self.sound()?;
        let batch = lock(&self.front).buffer.take();
        writer.write(&batch).inspect_err(|error| self.fail(error))
    }

    /// The thread: writes what nobody asked for.
    fn write_behind(&self) {
        let mut front = lock(&self.front);
        while !front.stopping {
            let due = front.buffer.since().map(|since| LINGER.saturating_sub(since.elapsed()));
            front = match due {
                None => {
                    front.asleep = true;
                    self.wake.wait(front).unwrap_or_else(PoisonError::into_inner)
                }
                Some(Duration::ZERO) => {
                    drop(front);
                    if self.flush().is_err() {
                        return;
                    }
                    lock(&self.front)
                }
                Some(rest) => self.wake.wait_timeout(front, rest).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Handle {
    /// Nobody waits for the thread: what it could still do is done by whoever comes first.
    fn stop(&self) {
        lock(&self.shared.front).stopping = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Handle {
    /// A journal that nobody closed keeps what it was told, like that of a killed run.
    fn drop(&mut self) {
        self.stop();
        let _ = self.shared.flush();
        lock(&self.shared.writer).let_go();
    }
}
