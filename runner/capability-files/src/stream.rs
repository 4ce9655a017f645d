//! Files as streams: complete at once, so that no guest learns from them how fast the disk is.
//!
//! Reads go straight to the file and are recorded after the fact. Writes are staged and carried out as one effect at the next barrier: a
//! flush, the end of the stream, any other effect, or [`STAGE_MAX`] bytes.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use capability::io::{Input, IoError, Output, StreamError};
use capability::{Ask, Boundary, LedgerError, Refusal, Staged};

use crate::backend::{Held, READ_MAX};
use crate::effect::{OpenRef, Reply, Write, named};
use crate::host::{ErrorCode, code_of};
use crate::policy::FilePolicy;

/// As much as is held back.
const STAGE_MAX: usize = 1 << 20;

pub struct FileInput {
    pub held: Arc<Held>,
    pub file: OpenRef,
    pub boundary: Boundary,
    pub offset: u64,
}

impl Input for FileInput {
    fn read(&mut self, max: usize) -> Result<Bytes, StreamError> {
        let read = read(&self.boundary, &self.held, &self.file, max as u64, self.offset);
        let bytes = read.map_err(|error| StreamError::Trap(wasmtime::Error::new(error)))?.map_err(failed)?;
        if bytes.is_empty() {
            return Err(StreamError::Closed);
        }
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }
}

/// Reads at a place of an open file. What was read is recorded, and read again from the record.
pub fn read(boundary: &Boundary, held: &Held, file: &OpenRef, length: u64, offset: u64) -> Result<Reply<Bytes>, LedgerError> {
    let length = length.min(READ_MAX as u64);
    let subject = named(file.mount, &file.path);
    let ask = Ask::new("files.read", &(held.handle, offset, length))?.of(subject).again();
    let again = boundary.replays();
    let (result, bytes): (Reply<()>, Bytes) = boundary.deliver_now(&ask, || match held.files.read(held.handle, length, offset) {
        Ok(bytes) => (Ok(()), bytes.into()),
        Err(code) => (Err(code), Bytes::new()),
    })?;
    if again && result.is_ok() {
        held.files.witness(file, offset, length, &bytes);
    }
    Ok(result.map(|()| bytes))
}

/// A file's error as a stream's.
fn failed(code: ErrorCode) -> StreamError {
    StreamError::Failed(IoError { message: code.message().to_owned(), cause: Some(Box::new(code)) })
}

pub struct FileOutput(Arc<Stage>);

struct Stage {
    held: Arc<Held>,
    file: OpenRef,
    boundary: Boundary,
    policy: Arc<FilePolicy>,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    /// Where the waiting bytes go; `None`: at the end of the file.
    offset: Option<u64>,
    bytes: Vec<u8>,
    /// What went wrong when nobody was there to be told.
    failure: Option<StreamError>,
}

impl FileOutput {
    /// `offset`: where the first byte goes, the others after it; `None`: at the end of the file, wherever that is by then.
    pub fn new(held: Arc<Held>, file: OpenRef, boundary: Boundary, policy: Arc<FilePolicy>, offset: Option<u64>) -> Self {
        let waiting = Mutex::new(Waiting { offset, bytes: Vec::new(), failure: None });
        FileOutput(Arc::new(Stage { held, file, boundary, policy, waiting }))
    }
}

impl Output for FileOutput {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let stage = &self.0;
        let mut waiting = stage.waiting();
        if let Some(failure) = waiting.failure.take() {
            return Err(failure);
        }
        if waiting.bytes.is_empty() && !bytes.is_empty() {
            let staged: Arc<dyn Staged> = stage.clone();
            stage.boundary.stage_effect(Arc::downgrade(&staged));
        }
        waiting.bytes.extend_from_slice(bytes);
        let full = waiting.bytes.len() >= STAGE_MAX;
        drop(waiting);
        if full { stage.carry_out() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        self.0.carry_out()
    }
}

impl Drop for FileOutput {
    fn drop(&mut self) {
        self.0.settle();
    }
}

impl Staged for Stage {
    fn settle(&self) {
        if let Err(failure) = self.carry_out() {
            self.waiting().failure = Some(failure);
        }
    }
}

impl Stage {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self) -> Result<(), StreamError> {
        let (offset, bytes) = {
            let mut waiting = self.waiting();
            if let Some(failure) = waiting.failure.take() {
                return Err(failure);
            }
            if waiting.bytes.is_empty() {
                return Ok(());
            }
            let bytes = Bytes::from(std::mem::take(&mut waiting.bytes));
            let offset = waiting.offset;
            waiting.offset = offset.map(|offset| offset.saturating_add(bytes.len() as u64));
            (offset, bytes)
        };
        let length = bytes.len() as u64;
        let write = Write { file: self.file.clone(), offset, bytes };
        match at_once(self.boundary.cross_staged(&*self.policy, write, &*self.held.files)) {
            Ok(Ok(written)) if written == length => Ok(()),
            Ok(Ok(_)) => Err(failed(ErrorCode::Io)),
            Ok(Err(code)) => Err(failed(code)),
            Err(Refusal::Denied(denial)) => Err(failed(code_of(&denial))),
            Err(Refusal::Ledger(error)) => Err(StreamError::Trap(wasmtime::Error::new(error))),
        }
    }
}

/// Crossings of files never wait, since nothing about a regular file does; this says so where a stream has no room for waiting.
fn at_once<T>(crossing: impl Future<Output = T>) -> T {
    match pin!(crossing).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the files backend awaits nothing"),
    }
}
