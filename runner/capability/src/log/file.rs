//! The log on the disk: the bytes, and beside them an index of which stream each piece came from.
//!
//! The index holds eight bytes a piece: the stream and the length, as little-endian 32-bit numbers. It is written after the bytes that it
//! speaks of, so after a crash there may be bytes that it does not know, and they are cut off.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use event::Stream;
use secret::mask::MASK;

use super::{RUNNER, STAGE, unkey};

/// The component prints something else than it did, after so many of its bytes, of so many that are recorded.
#[derive(Debug, thiserror::Error)]
#[error("the output differs from the recorded one after {after} of {of} bytes")]
pub struct Differs {
    pub after: u64,
    pub of: u64,
}

/// Where the index of a log is.
pub fn index_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".index");
    PathBuf::from(name)
}

/// A recorded log, piece by piece.
pub struct Recorded {
    log: File,
    pieces: VecDeque<(u32, u32)>,
    at: u64,
    /// How many bytes the component printed, and how many of them have been printed again.
    printed: u64,
    compared: u64,
}

impl Recorded {
    /// # Errors
    /// If it can't be read. A log that was never written has no pieces.
    pub fn open(path: &Path) -> io::Result<Option<Recorded>> {
        let log = match File::open(path) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut index = Vec::new();
        match File::open(index_path(path)) {
            Ok(mut file) => drop(file.read_to_end(&mut index)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut left = log.metadata()?.len();
        let mut pieces = VecDeque::with_capacity(index.len() / 8);
        for entry in index.chunks_exact(8) {
            let number = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let (stream, length) = (number(0), number(4));
            // a machine that lost power may know of bytes that it does not have
            let Some(rest) = left.checked_sub(u64::from(length)) else { break };
            left = rest;
            pieces.push_back((stream, length));
        }
        let printed = pieces.iter().filter(|(stream, _)| *stream == STAGE).map(|(_, length)| u64::from(*length)).sum();
        Ok(Some(Recorded { log, pieces, at: 0, printed, compared: 0 }))
    }

    /// How many bytes of a kind of stream are left.
    fn left(&self, of: impl Fn(u32) -> bool) -> u64 {
        self.pieces.iter().filter(|(stream, _)| of(*stream)).map(|(_, length)| u64::from(*length)).sum()
    }

    fn of_commands(&self) -> u64 {
        self.left(|stream| stream != STAGE && stream != RUNNER)
    }

    fn read(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.log.read_exact_at(&mut bytes, self.at)?;
        self.at += length as u64;
        Ok(bytes)
    }

    /// The next piece, whole.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn next_piece(&mut self) -> io::Result<Option<(Stream, Vec<u8>)>> {
        match self.pieces.pop_front() {
            None => Ok(None),
            Some((stream, length)) => Ok(Some((unkey(stream), self.read(length as usize)?))),
        }
    }
}

/// Where a log goes.
pub enum Target {
    File(LogFile),
    /// The recorded log is made again.
    Replay(Replay),
}

pub struct LogFile {
    path: PathBuf,
    open: Option<(File, File)>,
    /// What the component printed before it was cut off, to be compared and not to be written.
    before: Option<Recorded>,
}

pub struct Replay {
    recorded: Option<Recorded>,
    copy: Option<File>,
    /// What the component has printed and no recorded piece was matched with yet.
    printed: Vec<u8>,
}

type Show<'a> = &'a mut dyn FnMut(Stream, &[u8]);

impl Target {
    pub fn fresh(path: &Path) -> Target {
        Target::File(LogFile { path: path.to_owned(), open: None, before: None })
    }

    /// With how much of what is there counts against the limit and will not be printed again.
    pub fn taken_up(path: &Path) -> io::Result<(Target, u64)> {
        let Some(recorded) = Recorded::open(path)? else { return Ok((Target::fresh(path), 0)) };
        let whole = recorded.left(|_| true);
        let log = File::options().append(true).open(path)?;
        log.set_len(whole)?;
        let index = File::options().append(true).create(true).open(index_path(path))?;
        index.set_len(recorded.pieces.len() as u64 * 8)?;
        let of_commands = recorded.of_commands();
        Ok((Target::File(LogFile { path: path.to_owned(), open: Some((log, index)), before: Some(recorded) }), of_commands))
    }

    /// With how much of what is there others printed.
    pub fn replayed(path: &Path, copy: Option<&Path>) -> io::Result<(Target, u64)> {
        let copy = copy.map(File::create).transpose()?;
        let recorded = Recorded::open(path)?;
        let of_commands = recorded.as_ref().map_or(0, Recorded::of_commands);
        Ok((Target::Replay(Replay { recorded, copy, printed: Vec::new() }), of_commands))
    }

    pub fn put(&mut self, stream: u32, bytes: &[u8], show: Show<'_>) -> io::Result<()> {
        match self {
            Target::File(file) => file.put(stream, bytes, show),
            Target::Replay(replay) if stream == STAGE => replay.print(bytes, show),
            // what others printed comes from the record
            Target::Replay(_) => Ok(()),
        }
    }

    pub fn end(&mut self, show: Show<'_>) -> io::Result<()> {
        match self {
            Target::File(_) => Ok(()),
            Target::Replay(replay) => replay.advance(show),
        }
    }

    pub fn missing(&self) -> u64 {
        match self {
            Target::File(file) => file.before.as_ref().map_or(0, |before| before.printed - before.compared),
            Target::Replay(replay) => {
                let left = replay.recorded.as_ref().map_or(0, |recorded| recorded.printed - recorded.compared);
                left.saturating_sub(replay.printed.len() as u64)
            }
        }
    }
}

impl LogFile {
    fn put(&mut self, stream: u32, mut bytes: &[u8], show: Show<'_>) -> io::Result<()> {
        if let Some(before) = &mut self.before {
            if stream == RUNNER {
                // said already
                return Ok(());
            }
            if stream == STAGE {
                let known = before.compare(bytes)?;
                bytes = &bytes[known..];
            }
            if before.compared == before.printed {
                self.before = None;
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let (log, index) = match &mut self.open {
            Some(open) => open,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                }
                let make = |path: &Path| {
                    let mut options = File::options();
                    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                    options.create(true).write(true).truncate(true).open(path)
                };
                self.open.insert((make(&self.path)?, make(&index_path(&self.path))?))
            }
        };
        log.write_all(bytes)?;
        for piece in bytes.chunks(u32::MAX as usize) {
            let mut entry = [0; 8];
            entry[..4].copy_from_slice(&stream.to_le_bytes());
            entry[4..].copy_from_slice(&(piece.len() as u32).to_le_bytes());
            index.write_all(&entry)?;
        }
        show(unkey(stream), bytes);
        Ok(())
    }
}

impl Recorded {
    /// Compares as many bytes as were printed before; answers how many.
    fn compare(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let Some((stream, length)) = self.pieces.front_mut() else { break };
            let now = (*length as usize).min(bytes.len() - done);
            if *stream != STAGE {
                self.at += u64::from(*length);
                self.pieces.pop_front();
                continue;
            }
            *length -= now as u32;
            if *length == 0 {
                self.pieces.pop_front();
            }
            let recorded = self.read(now)?;
            self.same(&recorded, &bytes[done..done + now])?;
            self.compared += now as u64;
            done += now;
        }
        Ok(done)
    }

    fn same(&self, recorded: &[u8], printed: &[u8]) -> io::Result<()> {
        // what was hidden can't be compared, and need not be known to be printed again
        match recorded.iter().zip(printed).position(|(recorded, printed)| recorded != printed && *recorded != MASK) {
            None => Ok(()),
            Some(at) => Err(io::Error::other(Differs { after: self.compared + at as u64, of: self.printed })),
        }
    }
}

impl Replay {
    fn print(&mut self, bytes: &[u8], show: Show<'_>) -> io::Result<()> {
        self.printed.extend_from_slice(bytes);
        self.advance(show)
    }

    /// Takes every recorded piece that is due.
    fn advance(&mut self, show: Show<'_>) -> io::Result<()> {
        let mut taken = 0;
        if let Some(recorded) = &mut self.recorded {
            while let Some(&(stream, length)) = recorded.pieces.front() {
                let length = length as usize;
                let waiting = &self.printed[taken..];
                if stream == STAGE && waiting.len() < length {
                    // a part that differs already is no reason to wait for the rest
                    let at = recorded.at;
                    let part = recorded.read(waiting.len())?;
                    recorded.at = at;
                    recorded.same(&part, waiting)?;
                    break;
                }
                recorded.pieces.pop_front();
                let piece = recorded.read(length)?;
                if stream == STAGE {
                    recorded.same(&piece, &waiting[..length])?;
                    taken += length;
                    recorded.compared += length as u64;
                }
                if let Some(copy) = &mut self.copy {
                    copy.write_all(&piece)?;
                }
                show(unkey(stream), &piece);
            }
        }
        self.printed.drain(..taken);
        let (of, over) = self.recorded.as_ref().map_or((0, true), |recorded| (recorded.printed, recorded.pieces.is_empty()));
        // more than the record has is another output
        if over && !self.printed.is_empty() { Err(io::Error::other(Differs { after: of, of })) } else { Ok(()) }
    }
}
