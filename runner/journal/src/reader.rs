//! Reads a run: one that is finished, one that runs in another process, one that came from another machine. A reader changes nothing and
//! keeps nobody from writing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use event::{Event, Kind, StageRef, Verdict};
use rusqlite::Connection;

use crate::attempt::AttemptRecord;
use crate::body;
use crate::error::{At, Result};
use crate::model::{Approval, AttemptRow, Begin, End, Header, Line, Session};
use crate::open::{self, DATABASE};
use crate::query::Source;
use crate::{format, lock};

/// How an attempt began, how it ended, and what lies between.
pub type Recorded = (Begin, Option<End>, Arc<AttemptRecord>);

pub struct Reader {
    shelf: Arc<Shelf>,
    header: Header,
}

/// A connection for reading.
pub(crate) struct Shelf {
    folder: PathBuf,
    path: PathBuf,
    version: u32,
    open: Mutex<Open>,
}

struct Open {
    connection: Connection,
    /// Whether it was opened as a file that nobody writes.
    alone: bool,
}

impl Shelf {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read<T>(&self, at: impl FnOnce(Source<'_>) -> Result<T>) -> Result<T> {
        let mut open = lock(&self.open);
        // Somebody took the run up again.
        if open.alone && open::has_log(&self.path) {
            let (connection, alone) = open::reading(&self.folder)?;
            *open = Open { connection, alone };
        }
        at(Source { connection: &open.connection, folder: &self.folder, path: &self.path, version: self.version })
    }
}

impl Reader {
    pub fn open(folder: &Path) -> Result<Reader> {
        let (connection, alone) = open::reading(folder)?;
        let path = folder.join(DATABASE);
        let version = format::version(&connection, &path)?;
        let header = Source { connection: &connection, folder, path: &path, version }.header()?;
        let open = Mutex::new(Open { connection, alone });
        Ok(Reader { shelf: Arc::new(Shelf { folder: folder.to_owned(), path, version, open }), header })
    }

    /// The run's.
    pub fn folder(&self) -> &Path {
        &self.shelf.folder
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn sessions(&self) -> Result<Vec<Session>> {
        self.shelf.read(|source| source.sessions())
    }

    /// In the order in which they began.
    pub fn attempts(&self) -> Result<Vec<AttemptRow>> {
        self.shelf.read(|source| source.attempts())
    }

    pub fn events(&self) -> Result<Vec<Event>> {
        self.shelf.read(|source| source.events())
    }

    pub fn last_event(&self) -> Result<Option<Event>> {
        self.shelf.read(|source| source.last_event())
    }

    /// How the run ended at last, and when. A run that was taken up again afterwards and goes on has events after this one.
    pub fn finished(&self) -> Result<Option<(Verdict, u64)>> {
        Ok(match self.shelf.read(|source| source.last_finished())? {
            Some(Event { at, kind: Kind::RunFinished { verdict, .. } }) => Some((verdict, at)),
            _ => None,
        })
    }

    pub fn approvals(&self) -> Result<Vec<Approval>> {
        self.shelf.read(|source| source.approvals())
    }

    /// Which stages began to wait for approval, and when.
    pub fn approval_asked(&self) -> Result<Vec<(StageRef, u64)>> {
        self.shelf.read(|source| source.approval_asked())
    }

    /// The ledger, line by line in the order of time: of the whole run, or of one stage by its id or its name in the pipeline file.
    pub fn lines(&self, stage: Option<&str>, f: &mut dyn FnMut(Line)) -> Result<()> {
        const AT_ONCE: u32 = 1000;
        let mut after = 0;
        loop {
            let lines = self.shelf.read(|source| source.lines(after, AT_ONCE, stage))?;
            let Some((last, _)) = lines.last() else { return Ok(()) };
            after = *last;
            lines.into_iter().for_each(|(_, line)| f(line));
        }
    }

    /// How an attempt began and ended, and its record, which can't be written.
    pub fn record(&self, stage: &StageRef, attempt: u32) -> Result<Option<Recorded>> {
        let found = self.shelf.read(|source| {
            let Some((id, begin, end)) = source.attempt(stage, attempt)? else { return Ok(None) };
            Ok(Some((id, begin, end, source.extent(id)?)))
        })?;
        Ok(found.map(|(id, begin, end, extent)| {
            let record = AttemptRecord::reading(Arc::clone(&self.shelf), id, begin.clone(), end.clone(), extent);
            (begin, end, Arc::new(record))
        }))
    }

    /// The files of the bodies that records name, below the run's folder.
    pub fn bodies(&self) -> Result<Vec<PathBuf>> {
        let digests = self.shelf.read(|source| source.body_digests())?;
        Ok(digests.iter().filter(|(_, file)| *file).map(|(digest, _)| body::relative(digest)).collect())
    }

    /// Writes the database as it is at one moment into a new file: the way to carry a run away while somebody works on it.
    pub fn copy(&self, to: &Path) -> Result<()> {
        let name = to.to_string_lossy();
        self.shelf.read(|source| source.connection.execute("VACUUM INTO ?1", [&*name]).at(to).map(|_| ()))
    }

    pub(crate) fn read<T>(&self, at: impl FnOnce(Source<'_>) -> Result<T>) -> Result<T> {
        self.shelf.read(at)
    }
}
