//! A service's output: into its file as it comes, with what is secret hidden, and its last lines kept for a failure.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use secret::Mask;
use secret::mask::Stream;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Lines that are told of a service that failed.
const LAST: usize = 20;
/// Of a line, so many bytes are looked at and told.
const LINE: usize = 1_000;

/// The log of one service.
pub struct Log {
    path: PathBuf,
    limit: u64,
    mask: Arc<Mask>,
    inner: Mutex<Inner>,
    /// Counts what has come, for those who wait for a line.
    news: watch::Sender<u64>,
}

struct Inner {
    file: File,
    written: u64,
    last: VecDeque<String>,
    partial: Vec<u8>,
    /// A line with this text has been seen.
    wanted: Option<String>,
    seen: bool,
}

impl Log {
    /// Begins it anew. `wanted`: a text that a line is waited for.
    pub fn create(path: &Path, limit: u64, mask: Arc<Mask>, wanted: Option<&str>) -> io::Result<Arc<Log>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::create(path)?;
        let inner = Inner { file, written: 0, last: VecDeque::new(), partial: Vec::new(), wanted: wanted.map(str::to_owned), seen: false };
        Ok(Arc::new(Log { path: path.to_owned(), limit, mask, inner: Mutex::new(inner), news: watch::Sender::new(0) }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Both ends of an output: the service's, and a task that takes in what it prints, to its end.
    pub fn stream(self: &Arc<Log>) -> io::Result<(OwnedFd, tokio::task::JoinHandle<()>)> {
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut ours = pipe::Receiver::from_owned_fd(ours)?;
        let log = self.clone();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 16 << 10];
            let mut masked = Stream::default();
            while let Ok(count @ 1..) = ours.read(&mut buffer).await {
                log.take(&masked.push(&log.mask, &buffer[..count]));
            }
            log.take(&masked.finish());
        });
        Ok((theirs, task))
    }

    fn take(&self, bytes: &[u8]) {
        {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let room = usize::try_from(self.limit.saturating_sub(inner.written)).unwrap_or(usize::MAX);
            let kept = &bytes[..bytes.len().min(room)];
            inner.written += kept.len() as u64;
            // a disk that is full takes nothing from the service's work
            let _ = inner.file.write_all(kept);
            if kept.len() < bytes.len() && room > 0 {
                let _ = inner.file.write_all(b"\n(the rest is left out: the stage's `limits.log` is reached)\n");
            }
            inner.lines(bytes);
        }
        self.news.send_modify(|count| *count += 1);
    }

    /// Whether the wanted line has come.
    pub fn seen(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).seen
    }

    /// Resolves when the wanted line has come.
    pub async fn line(&self) {
        let mut news = self.news.subscribe();
        while !self.seen() {
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The last lines, also one that is not finished.
    pub fn last(&self) -> Vec<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let open = (!inner.partial.is_empty()).then(|| plain(&inner.partial));
        inner.last.iter().cloned().chain(open).collect()
    }
}

impl Inner {
    fn lines(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end]);
            let line = std::mem::take(&mut self.partial);
            self.look(&line);
            self.last.push_back(plain(&line));
            if self.last.len() > LAST {
                self.last.pop_front();
            }
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
        let open = std::mem::take(&mut self.partial);
        self.look(&open);
        self.partial = open;
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn look(&mut self, line: &[u8]) {
        if let Some(wanted) = &self.wanted {
            self.seen |= String::from_utf8_lossy(line).contains(wanted);
        }
    }
}

/// Without what would move a terminal's cursor.
fn plain(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
