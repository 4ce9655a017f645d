//! The stage's log: everything that the component and its commands print, whole, in one file, in the order of arrival.
//!
//! Lines of different streams never mix: a line that is not finished waits in its stream's buffer (up to 64 KiB, then it is
//! written as it is). Finished lines are written and shown in batches: a stage that prints much would otherwise cost a system call and
//! an event for every 4 KiB; whoever runs the stage calls [`StageLog::pass_on`] now and then, so that nobody waits for a line. At the
//! limit nothing more is taken, the stage fails, and the file says why.
//!
//! What a component prints is made of what it was told, so the record of that goes to the disk before the log does
//! ([`StageLog::behind`]): a log that knows more than the record could not be made again.
//!
//! An index beside the file says which stream each piece came from (`file`): when a component is run again, what it printed is compared
//! with what it prints, and what its commands printed, which are not run again, is taken from the file.

mod file;

pub use file::{Recorded, index_path};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event::{Event, EventSink, Kind, StageRef, Stream};
use secret::{Mask, mask};
use tokio::sync::Notify;

use file::Target;

use crate::clock::wall_now;

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

/// Writes what must be on the disk before the log is.
type Ahead = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

struct Inner {
    target: Target,
    ahead: Option<Ahead>,
    written: u64,
    /// Why nothing more is taken: the limit, or a disk that failed.
    closed: Option<Closed>,
    mask: Arc<Mask>,
    /// What of a stream may be the beginning of a secret.
    masked: BTreeMap<u32, mask::Stream>,
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
    #[error("the stage does not print what it printed: its output differs from the recorded one after {after} of {of} bytes")]
    Diverged { after: u64, of: u64 },
}

impl StageLog {
    /// The file is made when the first byte comes: most stages of a large run print nothing. One that is there is written anew.
    pub fn new(path: &Path, stage: StageRef, limit: u64, sink: Arc<dyn EventSink>) -> Self {
        StageLog::onto(path, Target::fresh(path), 0, stage, limit, sink)
    }

    /// The log of an attempt that was cut off and is run again: what the component has printed already is compared and not written
    /// twice, what is new is added.
    ///
    /// # Errors
    /// If what is there can't be read.
    pub fn taken_up(path: &Path, stage: StageRef, limit: u64, sink: Arc<dyn EventSink>) -> io::Result<Self> {
        let (target, of_commands) = Target::taken_up(path)?;
        Ok(StageLog::onto(path, target, of_commands, stage, limit, sink))
    }

    /// The log of an attempt that is replayed: the recorded one is made again, from what the component prints now and what its commands
    /// printed then, and written to `copy` if there is one. One that was full is full at the same byte.
    ///
    /// # Errors
    /// If the recorded log can't be read, or the copy not be made.
    pub fn replayed(recorded: &Path, copy: Option<&Path>, stage: StageRef, limit: u64, sink: Arc<dyn EventSink>) -> io::Result<Self> {
        let (target, of_commands) = Target::replayed(recorded, copy)?;
        Ok(StageLog::onto(recorded, target, of_commands, stage, limit, sink))
    }

    fn onto(path: &Path, target: Target, written: u64, stage: StageRef, limit: u64, sink: Arc<dyn EventSink>) -> Self {
        let inner = Inner {
            target,
            ahead: None,
            written,
            closed: None,
            mask: Arc::default(),
            masked: BTreeMap::new(),
            partial: BTreeMap::new(),
            batch: Vec::new(),
            batch_of: 0,
        };
        StageLog { stage, path: path.to_owned(), limit, sink, inner: Mutex::new(inner), full: Notify::new() }
    }

    /// Nothing that the component prints is written or shown before `ahead` has written what it was told.
    #[must_use]
    pub fn behind(self, ahead: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).ahead = Some(Box::new(ahead));
        self
    }

    /// Nothing that is to be hidden is written or shown, whatever pieces it comes in.
    #[must_use]
    pub fn hiding(self, mask: Arc<Mask>) -> Self {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).mask = mask;
        self
    }

    /// Of a replay: how many recorded bytes of the component it has not printed (again) yet.
    pub fn missing(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).target.missing()
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
        let result = inner.hide_and_take(key(stream), taken, |stream, chunk| self.show(stream, chunk));
        let closed = match result {
            Err(error) => closed_by(&error),
            Ok(()) if taken.len() < bytes.len() => {
                let closed = Closed::Limit(self.limit);
                let line = format!("{closed}\n");
                // the note itself does not count: without it nobody would know why the log ends here
                let mut show = |stream: Stream, chunk: &[u8]| self.show(stream, chunk);
                let _ = inner.flush_all(&mut show).and_then(|()| inner.target.put(RUNNER, line.as_bytes(), &mut show));
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
        let line = format!("{}\n", inner.mask.text(text.trim_end()));
        let mut show = |stream: Stream, chunk: &[u8]| self.show(stream, chunk);
        let _ = inner.write_batch(&mut show).and_then(|()| inner.target.put(RUNNER, line.as_bytes(), &mut show));
    }

    /// Writes what waits for the end of its line: at the end of a command, and of the stage.
    pub fn flush(&self, stream: Option<Stream>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut show = |stream: Stream, chunk: &[u8]| self.show(stream, chunk);
        let result = match stream {
            Some(stream) => inner.flush_one(key(stream), &mut show),
            None => inner.flush_all(&mut show).and_then(|()| inner.target.end(&mut show)),
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
        let at = wall_now();
        self.sink.emit(&Event { at, kind: Kind::Output { stage: self.stage.clone(), stream, bytes: Arc::from(chunk) } });
    }
}

impl Inner {
    fn hide_and_take(&mut self, stream: u32, bytes: &[u8], show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        if self.mask.is_empty() {
            return self.take(stream, bytes, show);
        }
        let mask = self.mask.clone();
        let bytes = self.masked.entry(stream).or_default().push(&mask, bytes);
        self.take(stream, &bytes, show)
    }

    /// The stream has ended: what may have been the beginning of a secret was not.
    fn unmask(&mut self, stream: u32, show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        let held = self.masked.remove(&stream).map(|mut held| held.finish()).unwrap_or_default();
        self.take(stream, &held, show)
    }

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
        let ahead = self.ahead.as_ref().filter(|_| self.batch_of == STAGE).map_or(Ok(()), |ahead| ahead());
        let result = ahead.and_then(|()| self.target.put(self.batch_of, &self.batch, &mut show));
        self.batch.clear();
        result
    }

    fn flush_one(&mut self, stream: u32, mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        self.unmask(stream, &mut show)?;
        if let Some(mut held) = self.partial.remove(&stream).filter(|held| !held.is_empty()) {
            held.push(b'\n');
            self.add(stream, &held, &mut show)?;
        }
        self.write_batch(show)
    }

    fn flush_all(&mut self, mut show: impl FnMut(Stream, &[u8])) -> io::Result<()> {
        for stream in self.partial.keys().chain(self.masked.keys()).copied().collect::<BTreeSet<_>>() {
            self.flush_one(stream, &mut show)?;
        }
        self.write_batch(show)
    }

    fn close_on(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.closed.is_none()
        {
            self.closed = Some(closed_by(&error));
        }
    }
}

fn closed_by(error: &io::Error) -> Closed {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<file::Differs>()) {
        Some(&file::Differs { after, of }) => Closed::Diverged { after, of },
        None => Closed::Disk(error.to_string()),
    }
}

/// Streams as small numbers: the component is 0, its commands count from 1.
fn key(stream: Stream) -> u32 {
    match stream {
        Stream::Stage => STAGE,
        Stream::Command(number) => number.saturating_add(1),
        Stream::Runner => RUNNER,
    }
}

const STAGE: u32 = 0;
const RUNNER: u32 = u32::MAX;

fn unkey(key: u32) -> Stream {
    match key {
        STAGE => Stream::Stage,
        RUNNER => Stream::Runner,
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

    fn with_commands(log: &StageLog) {
        log.write(Stream::Stage, b"before\nhalf").unwrap();
        log.write(Stream::Command(1), b"of the command\n").unwrap();
        log.flush(Some(Stream::Command(1)));
        log.write(Stream::Stage, b" a line\n").unwrap();
        log.note("of the runner");
    }

    #[test]
    fn a_log_that_is_taken_up_is_not_written_twice() {
        let (_folder, kept, first) = log(1 << 20);
        with_commands(&first);
        drop(first);
        let path = _folder.path().join("log");
        let before = std::fs::read_to_string(&path).unwrap();
        // the last piece did not reach the index before the runner was killed
        std::fs::write(&path, format!("{before}torn")).unwrap();
        let again = StageLog::taken_up(&path, StageRef::new("lint"), 1 << 20, kept.clone()).unwrap();
        again.write(Stream::Stage, b"before\nhalf a line\n").unwrap();
        again.pass_on();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        again.write(Stream::Stage, b"new\n").unwrap();
        again.write(Stream::Command(2), b"another\n").unwrap();
        again.flush(None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{before}new\nanother\n"));
        // and what was added can be taken up again
        let third = StageLog::taken_up(&path, StageRef::new("lint"), 1 << 20, kept).unwrap();
        third.write(Stream::Stage, b"before\nhalf a line\nnew\nlast").unwrap();
        third.flush(None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{before}new\nanother\nlast\n"));
    }

    #[test]
    fn secrets_are_hidden_in_pieces_and_a_log_with_them_can_be_taken_up() {
        let mask = Arc::new(Mask::default());
        mask.learn(&secret::Value::new(b"s3cr3t-value".to_vec()).unwrap());
        let (folder, kept, first) = log(1 << 20);
        let first = first.hiding(mask.clone());
        first.write(Stream::Stage, b"a s3cr3t-").unwrap();
        first.write(Stream::Command(1), b"s3cr3t-").unwrap();
        first.write(Stream::Stage, b"value\nnot s3cr3t-\n").unwrap();
        first.write(Stream::Command(1), b"value of a command").unwrap();
        first.note("the runner knows s3cr3t-value");
        first.flush(None);
        let expected = "a ************\nnot s3cr3t-\n************ of a command\nthe runner knows ************\n";
        let mut lines: Vec<String> = std::fs::read_to_string(first.path()).unwrap().lines().map(str::to_owned).collect();
        let mut wanted: Vec<&str> = expected.lines().collect();
        lines.sort();
        wanted.sort_unstable();
        assert_eq!(lines, wanted);
        assert!(kept.0.lock().unwrap().iter().all(|(_, text)| !text.contains("s3cr3t-value")));
        // with the secret known and without
        for mask in [mask, Arc::default()] {
            let path = folder.path().join("log");
            let again = StageLog::replayed(&path, None, StageRef::new("lint"), 1 << 20, kept.clone()).unwrap().hiding(mask);
            again.write(Stream::Stage, b"a s3cr3t-value\nnot s3cr3t-\n").unwrap();
            again.flush(None);
            assert_eq!((again.missing(), again.closed()), (0, None));
        }
    }

    #[test]
    fn a_stage_that_prints_something_else_is_found_out() {
        let (folder, kept, first) = log(1 << 20);
        with_commands(&first);
        drop(first);
        let path = folder.path().join("log");
        let again = StageLog::taken_up(&path, StageRef::new("lint"), 1 << 20, kept.clone()).unwrap();
        let _ = again.write(Stream::Stage, b"before\nhalf b line\n");
        again.pass_on();
        assert_eq!(again.closed(), Some(Closed::Diverged { after: 12, of: 19 }));
        let replay = StageLog::replayed(&path, None, StageRef::new("lint"), u64::MAX, kept).unwrap();
        let _ = replay.write(Stream::Stage, b"behind\n");
        replay.flush(None);
        assert_eq!(replay.closed(), Some(Closed::Diverged { after: 2, of: 19 }));
    }

    #[test]
    fn a_replay_makes_the_log_again_with_what_commands_printed() {
        let (folder, _, first) = log(1 << 20);
        with_commands(&first);
        first.write(Stream::Stage, b"no end of line").unwrap();
        first.flush(None);
        drop(first);
        let (path, copy) = (folder.path().join("log"), folder.path().join("copy"));
        let kept = Arc::new(Kept::default());
        let replay = StageLog::replayed(&path, Some(&copy), StageRef::new("lint"), u64::MAX, kept.clone()).unwrap();
        assert_eq!(replay.missing(), 34);
        replay.write(Stream::Stage, b"before\nhalf a line\nno end").unwrap();
        replay.note("a note of the replay is not the record's");
        replay.write(Stream::Stage, b" of line").unwrap();
        replay.flush(None);
        assert_eq!((replay.missing(), replay.closed()), (0, None));
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
        let shown: String = kept.0.lock().unwrap().iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(shown, std::fs::read_to_string(&path).unwrap());
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

    /// A log that is ahead of the record could not be made again.
    #[test]
    fn nothing_is_written_before_the_record_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let kept = Arc::new(Kept::default());
        let sound = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let asked = sound.clone();
        let log = StageLog::new(&path, StageRef::new("lint"), 1 << 20, kept.clone()).behind(move || {
            if asked.load(std::sync::atomic::Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("no room for the record")) }
        });
        log.write(Stream::Stage, b"recorded\n").unwrap();
        log.pass_on();
        sound.store(false, std::sync::atomic::Ordering::SeqCst);
        log.write(Stream::Stage, b"not recorded\n").unwrap();
        log.flush(None);
        assert_eq!(log.closed(), Some(Closed::Disk("no room for the record".to_owned())));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "recorded\n");
        assert_eq!(kept.0.lock().unwrap().len(), 1, "it was shown");
    }
}
