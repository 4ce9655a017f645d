//! The stage's log: everything that the component and its commands print, whole, in one file, in the order of arrival.
//!
//! Lines of different streams never mix: a line that is not finished waits in its stream's buffer (up to 64 KiB, then it is
//! written as it is). Finished lines are written and shown in batches: a stage that prints much would otherwise cost a system call and
//! an event for every 4 KiB; whoever runs the stage calls [`StageLog::pass_on`] now and then, so that nobody waits for a line. At the
//! limit nothing more is taken, the stage fails, and the file says why.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event::{Event, EventSink, Kind, StageRef, Stream};
use tokio::sync::Notify;

/// The longest unfinished line that is held back.
const LINE: usize = 64 << 10;
/// How much is written and shown at once.
const BATCH: usize = 64 << 10;
/// How often [`StageLog::pass_on`] should be called while a stage runs.
pub const PASS_ON: Duration = Duration::from_millis(50);

pub struct StageLog {
    stage: StageRef,
    path: PathBuf,
    limit: u64,
    sink: Arc<dyn EventSink>,
    inner: Mutex<Inner>,
    /// Told once, when the limit is reached.
    full: Notify,
}

struct LazyFile {
    path: PathBuf,
    open: Option<File>,
}

impl LazyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.open {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                }
                self.open.insert(File::options().create(true).append(true).open(&self.path)?)
            }
        };
        file.write_all(bytes)
    }
}

struct Inner {
    file: LazyFile,
    written: u64,
    /// Why nothing more is taken: the limit, or a disk that failed.
    closed: Option<Closed>,
    partial: BTreeMap<u32, Vec<u8>>,
    /// Finished lines of one stream that are not written yet.
    batch: Vec<u8>,
    batch_of: u32,
}

/// Why the log takes nothing more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("the stage's log reached its limit of {0} bytes; raise `limits.log` or print less")]
    Limit(u64),
    #[error("the stage's log can't be written: {0}")]
    Disk(String),
}

impl StageLog {
    /// The file is made, or appended to, when the first byte comes: most stages of a large run print nothing.
    pub fn new(path: &Path, stage: StageRef, limit: u64, sink: Arc<dyn EventSink>) -> Self {
        let file = LazyFile { path: path.to_owned(), open: None };
        let inner = Inner { file, written: 0, closed: None, partial: BTreeMap::new(), batch: Vec::new(), batch_of: 0 };
        StageLog { stage, path: path.to_owned(), limit, sink, inner: Mutex::new(inner), full: Notify::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes bytes of a stream. Fails once the log is closed; the caller stops the writer.
    pub fn write(&self, stream: Stream, bytes: &[u8]) -> Result<(), Closed> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closed) = &inner.closed {
            return Err(closed.clone());
        }
        let room = self.limit.saturating_sub(inner.written);
        let taken = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        inner.written += taken.len() as u64;
        let result = inner.take(key(stream), taken, |stream, chunk| self.show(stream, chunk));
        let closed = match result {
            Err(error) => Closed::Disk(error.to_string()),
            Ok(()) if taken.len() < bytes.len() => {
                let closed = Closed::Limit(self.limit);
                let line = format!("{closed}\n");
                // the note itself does not count: without it nobody would know why the log ends here
                let _ = inner.flush_all(|stream, chunk| self.show(stream, chunk)).and_then(|()| inner.file.write_all(line.as_bytes()));
                self.show(Stream::Runner, line.as_bytes());
                closed
            }
            Ok(()) => return Ok(()),
        };
        inner.closed = Some(closed.clone());
        drop(inner);
        self.full.notify_waiters();
        self.full.notify_one();
        Err(closed)
    }

    /// A line of the runner's own, such as a denial. Never refused for the limit.
    pub fn note(&self, text: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{}\n", text.trim_end());
        let _ = inner.write_batch(|stream, chunk| self.show(stream, chunk));
        let _ = inner.file.write_all(line.as_bytes());
        self.show(Stream::Runner, line.as_bytes());
    }

    /// Writes what waits for the end of its line: at the end of a command, and of the stage.
    pub fn flush(&self, stream: Option<Stream>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match stream {
            Some(stream) => inner.flush_one(key(stream), |stream, chunk| self.show(stream, chunk)),
            None => inner.flush_all(|stream, chunk| self.show(stream, chunk)),
        };
        inner.close_on(result);
    }

    /// Writes and shows the finished lines that wait for company.
    pub fn pass_on(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = inner.write_batch(|stream, chunk| self.show(stream, chunk));
        inner.close_on(result);
    }

    /// Why the log is closed, if it is.
    pub fn closed(&self) -> Option<Closed> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed.clone()
    }

    /// Resolves when the log closes early.
    pub async fn closing(&self) -> Closed {
        loop {
            let told = self.full.notified();
            if let Some(closed) = self.closed() {
                return closed;
            }
            told.await;
        }
    }

    fn show(&self, stream: Stream, chunk: &[u8]) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64;
        self.sink.emit(&Event { at, kind: Kind::Output { stage: self.stage.clone(), stream, bytes: Arc::from(chunk) } });
    }
}

impl Inner {
    fn take(&mut self, stream: u32, bytes: &[u8], mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        let whole = after_last_line(bytes);
        let (lines, rest) = bytes.split_at(whole);
        if !lines.is_empty() {
            let held = self.partial.get_mut(&stream).map(std::mem::take).unwrap_or_default();
            self.add(stream, &held, &mut show)?;
            self.add(stream, lines, &mut show)?;
        }
        if !rest.is_empty() {
            let held = self.partial.entry(stream).or_default();
            held.extend_from_slice(rest);
            if held.len() >= LINE {
                let held = std::mem::take(held);
                self.add(stream, &held, &mut show)?;
            }
        }
        Ok(())
    }

    /// Adds to the batch, which is written when it is full or belongs to another stream.
    fn add(&mut self, stream: u32, bytes: &[u8], mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.batch_of != stream {
            self.write_batch(&mut show)?;
            self.batch_of = stream;
        }
        self.batch.extend_from_slice(bytes);
        if self.batch.len() >= BATCH { self.write_batch(show) } else { Ok(()) }
    }

    fn write_batch(&mut self, mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.file.write_all(&self.batch)?;
        show(unkey(self.batch_of), &self.batch);
        self.batch.clear();
        Ok(())
    }

    fn flush_one(&mut self, stream: u32, mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        if let Some(mut held) = self.partial.remove(&stream).filter(|held| !held.is_empty()) {
            held.push(b'\n');
            self.add(stream, &held, &mut show)?;
        }
        self.write_batch(show)
    }

    fn flush_all(&mut self, mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        for stream in self.partial.keys().copied().collect::<Vec<_>>() {
            self.flush_one(stream, &mut show)?;
        }
        self.write_batch(show)
    }

    fn close_on(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.closed.is_none()
        {
            self.closed = Some(Closed::Disk(error.to_string()));
        }
    }
}

/// Streams as small numbers: the component is 0, its commands count from 1.
fn key(stream: Stream) -> u32 {
    match stream {
        Stream::Stage => 0,
        Stream::Command(number) => number.saturating_add(1),
        Stream::Runner => u32::MAX,
    }
}

fn unkey(key: u32) -> Stream {
    match key {
        0 => Stream::Stage,
        u32::MAX => Stream::Runner,
        number => Stream::Command(number - 1),
    }
}

/// Where the unfinished line begins.
fn after_last_line(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(Stream, String)>>);
    impl EventSink for Kept {
        fn emit(&self, event: &Event) {
            if let Kind::Output { stream, bytes, .. } = &event.kind {
                self.0.lock().unwrap().push((*stream, String::from_utf8_lossy(bytes).into_owned()));
            }
        }
    }

    fn log(limit: u64) -> (tempfile::TempDir, Arc<Kept>, StageLog) {
        let folder = tempfile::tempdir().unwrap();
        let kept = Arc::new(Kept::default());
        let log = StageLog::new(&folder.path().join("log"), StageRef::new("lint"), limit, kept.clone());
        (folder, kept, log)
    }

    #[test]
    fn lines_of_two_streams_do_not_mix() {
        let (_folder, kept, log) = log(1 << 20);
        log.write(Stream::Command(1), b"one ").unwrap();
        log.write(Stream::Stage, b"stage\n").unwrap();
        log.write(Stream::Command(1), b"line\ntwo").unwrap();
        log.flush(None);
        assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "stage\none line\ntwo\n");
        assert_eq!(kept.0.lock().unwrap().last().unwrap(), &(Stream::Command(1), "one line\ntwo\n".to_owned()));
    }

    #[test]
    fn the_limit_keeps_what_fits_and_says_why() {
        let (_folder, _kept, log) = log(10);
        log.write(Stream::Stage, b"12345\n").unwrap();
        log.pass_on();
        assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "12345\n");
        assert_eq!(log.write(Stream::Stage, b"abcdefgh\n"), Err(Closed::Limit(10)));
        assert_eq!(log.write(Stream::Stage, b"more\n"), Err(Closed::Limit(10)));
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(text.starts_with("12345\nabcd\n"), "{text}");
        assert!(text.contains("limit of 10 bytes"), "{text}");
    }
}
