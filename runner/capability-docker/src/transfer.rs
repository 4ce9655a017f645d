//! Files between a stage and the engine, as tar archives.
//!
//! What goes in is read beneath the stage's folder: files, folders, and links as links. What comes out was made by whoever wrote in the
//! container, so each entry is opened beneath the folder that is to hold it; links, devices and set-user-id bits are left out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use capability::Setting;
use docker::{Container, Engine};
use futures::{Stream, StreamExt, stream};
use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, readlinkat};
use rustix::io::Errno;
use tar::{Archive, Builder, EntryType, Header};
use tokio::sync::mpsc;

use crate::beneath;
use crate::effect::{Answer, Fault};
use crate::places::{Access, Place, View};

const CHUNK: usize = 64 << 10;
/// Chunks between the engine and a file.
const AHEAD: usize = 16;

fn fault(what: &str) -> impl Fn(io::Error) -> Fault {
    move |error| Fault::Engine(format!("{what}: {error}"))
}

/// A writer whose bytes are a stream somewhere else.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = &bytes[..bytes.len().min(CHUNK)];
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(taken)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine does not read on"))?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive that is written by `write` in a thread of its own.
pub fn archive<W>(write: W) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    W: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (to, from) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe(to.clone());
        if let Err(error) = write(&mut io::BufWriter::with_capacity(CHUNK, &mut pipe)) {
            let _ = to.blocking_send(Err(error));
        }
    });
    stream::unfold(from, |mut from| async move { from.recv().await.map(|piece| (piece, from)) })
}

/// Whose files are in an archive.
#[derive(Clone, Copy)]
pub struct Ids {
    pub uid: u64,
    pub gid: u64,
}

pub fn header(kind: EntryType, size: u64, mode: u32, time: u64, ids: Ids) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode & 0o777);
    header.set_mtime(time);
    header.set_uid(ids.uid);
    header.set_gid(ids.gid);
    header
}

/// Ends with an error where there is more than there may be.
pub struct Bounded<'a> {
    pub to: &'a mut dyn Write,
    pub left: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        let left = self.left.checked_sub(written as u64);
        self.left = left.ok_or_else(|| io::Error::other("it is larger than `limits.disk`; leave things out with `.dockerignore`"))?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

type Choice<'a> = &'a dyn Fn(&Path) -> bool;

/// Adds what is open to an archive, and what is below it. Sockets and devices are left out. `skip`: what is left out with all below it; `kept`: what
/// is added by itself.
pub fn add(to: &mut Builder<&mut dyn Write>, from: OwnedFd, name: &Path, skip: Choice<'_>, kept: Choice<'_>, ids: Ids) -> io::Result<()> {
    let status = fstat(&from)?;
    let (mode, time) = (status.st_mode, u64::try_from(status.st_mtime).unwrap_or_default());
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => {
            let mut file = File::from(from);
            let size = file.metadata()?.len();
            let mut header = header(EntryType::Regular, size, mode, time, ids);
            // a file that shrinks while it is read ends in zeros, one that grows where it was
            let whole = (&mut file).take(size).chain(io::repeat(0)).take(size);
            to.append_data(&mut header, name, whole)
        }
        FileType::Directory => {
            if name != Path::new("") && kept(name) {
                to.append_data(&mut header(EntryType::Directory, 0, mode, time, ids), name, io::empty())?;
            }
            for entry in beneath::entries(&from)? {
                let path = name.join(&entry.name);
                if skip(&path) || (!kept(&path) && entry.kind != FileType::Directory) {
                    continue;
                }
                match entry.kind {
                    FileType::Symlink => {
                        let target = readlinkat(&from, &entry.name, Vec::new())?;
                        let mut header = header(EntryType::Symlink, 0, 0o777, time, ids);
                        to.append_link(&mut header, &path, std::ffi::OsStr::new(&*String::from_utf8_lossy(target.to_bytes())))?;
                    }
                    FileType::RegularFile | FileType::Directory => match beneath::open(&from, &entry.name, OFlags::RDONLY, Mode::empty()) {
                        Ok(inner) => add(to, inner, &path, skip, kept, ids)?,
                        // gone, or another thing by now
                        Err(Errno::NOENT | Errno::LOOP) => {}
                        Err(error) => return Err(io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display()))),
                    },
                    _ => {}
                }
            }
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is neither a file nor a folder", name.display()))),
    }
}

/// Whether something below a place is hidden from the stage.
pub fn hidden_below(setting: &Setting, place: &Place) -> impl Fn(&Path) -> bool + Send + 'static + use<> {
    let (_, hidden) = View::of(setting).exceptions(place, false);
    let at = place.path.clone();
    let hidden: Vec<PathBuf> = hidden.into_iter().map(|path| path.strip_prefix(&format!("{at}/")).unwrap_or(&path).into()).collect();
    move |path| hidden.iter().any(|hidden| hidden.to_string_lossy().eq_ignore_ascii_case(&path.to_string_lossy()))
}

fn place(text: &str) -> Answer<Place> {
    Place::parse(text).ok_or_else(|| Fault::Invalid(format!("`{text}` is no place of the stage")))
}

/// Copies a file or folder of the stage into a folder of a container.
pub async fn copy_in(setting: &Setting, container: &Container, here: &str, there: &str) -> Answer<()> {
    let place = place(here)?;
    let broken = fault(here);
    let root = beneath::root(setting, place.root).map_err(&broken)?;
    let from = beneath::open(&root, &place.path, OFlags::RDONLY, Mode::empty()).map_err(|error| broken(error.into()))?;
    let name = PathBuf::from(match place.path.rsplit('/').next() {
        Some(".") | None => "",
        Some(name) => name,
    });
    let inner = hidden_below(setting, &place);
    let own = name.clone();
    let skip = move |path: &Path| path.strip_prefix(&own).is_ok_and(&inner);
    let ids = Ids { uid: rustix::process::getuid().as_raw().into(), gid: rustix::process::getgid().as_raw().into() };
    let tar = archive(move |to| {
        let mut builder = Builder::new(to);
        add(&mut builder, from, &name, &skip, &|_| true, ids)?;
        builder.into_inner()?.flush()
    });
    Ok(container.copy_in(there, tar).await?)
}

/// A stream as something to read from, in a thread that may wait.
struct Source {
    from: mpsc::Receiver<Result<Bytes, docker::EngineError>>,
    rest: Bytes,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.from.blocking_recv() {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// Reads a stream in a thread of its own.
async fn reading<T, S>(stream: S, read: impl FnOnce(&mut dyn Read) -> Answer<T> + Send + 'static) -> Answer<T>
where
    T: Send + 'static,
    S: Stream<Item = Result<Bytes, docker::EngineError>>,
{
    let (to, from) = mpsc::channel(AHEAD);
    let reader = tokio::task::spawn_blocking(move || read(&mut Source { from, rest: Bytes::new() }));
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        if to.send(piece).await.is_err() {
            break;
        }
    }
    drop(to);
    reader.await.unwrap_or_else(|error| Err(Fault::Engine(format!("reading what the engine sends: {error}"))))
}

/// What an error of a read was, if the engine said it.
fn unwrapped(error: io::Error) -> Fault {
    match error.downcast::<docker::EngineError>() {
        Ok(error) => error.into(),
        Err(error) => Fault::Engine(format!("what the engine sends can't be read: {error}")),
    }
}

/// Copies a file or folder of a container into a folder of the stage.
pub async fn copy_out(setting: &Setting, container: &Container, there: &str, here: &str) -> Answer<()> {
    let place = place(here)?;
    let broken = fault(here);
    let root = beneath::root(setting, place.root).map_err(&broken)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let folder = beneath::open(&root, &place.path, flags, Mode::empty()).map_err(|error| broken(error.into()))?;
    let (mounts, hidden, protected) = (setting.mounts.clone(), setting.hidden.clone(), setting.protected.clone());
    let (at, limit) = (place, setting.limits.disk);
    let writable =
        move |path: &str| View { mounts: &mounts, hidden: &hidden, protected: &protected }.access(&at.join(path)) == Access::Write;
    reading(container.copy_out(there), move |from| unpack(from, &folder, &writable, limit)).await
}

/// Unpacks an archive beneath a folder. Only what may be written there is; `limit`: of all files together.
fn unpack(from: &mut dyn Read, folder: &OwnedFd, writable: &dyn Fn(&str) -> bool, limit: u64) -> Answer<()> {
    let mut left = limit;
    let mut archive = Archive::new(from);
    for entry in archive.entries().map_err(unwrapped)? {
        let mut entry = entry.map_err(unwrapped)?;
        let path = entry.path().map_err(unwrapped)?.into_owned();
        let shown = path.display().to_string();
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::CurDir => {}
                _ => return Err(Fault::Invalid(format!("the container's `{shown}` leads out of the folder"))),
            }
        }
        let Some((name, above)) = names.split_last() else { continue };
        let kind = entry.header().entry_type();
        if !matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Directory) {
            continue;
        }
        let text = names.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/");
        if !writable(&text) {
            return Err(Fault::Invalid(format!("`{text}` is not the stage's to write")));
        }
        let broken = |error: io::Error| Fault::Engine(format!("{shown}: {error}"));
        let above: PathBuf = above.iter().collect();
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { &above };
        let parent =
            beneath::open(folder, above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(|error| broken(error.into()))?;
        let mode = entry.header().mode().unwrap_or(0o600) & 0o777;
        if kind == EntryType::Directory {
            match mkdirat(&parent, name, Mode::from_raw_mode(mode | 0o700)) {
                Ok(()) | Err(Errno::EXIST) => continue,
                Err(error) => return Err(broken(error.into())),
            }
        }
        let size = entry.size();
        left = left.checked_sub(size).ok_or_else(|| Fault::Limit(format!("`limits.disk` of {limit} bytes is reached")))?;
        // never through what is there: a new file in its place
        match rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(broken(error.into())),
        }
        let mut file = beneath::create(&parent, name, mode | 0o600).map_err(broken)?;
        io::copy(&mut entry, &mut file).map_err(|error| match error.get_ref().is_some_and(|inner| inner.is::<docker::EngineError>()) {
            true => unwrapped(error),
            false => broken(error),
        })?;
    }
    Ok(())
}

/// Writes images into a file of the stage; one that is there is replaced.
pub async fn save(setting: &Setting, engine: &Engine, names: &[String], path: &str) -> Answer<u64> {
    let place = place(path)?;
    let broken = fault(path);
    let root = beneath::root(setting, place.root).map_err(&broken)?;
    let (above, name) = place.path.rsplit_once('/').unwrap_or((".", &place.path));
    let folder = beneath::open(&root, above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    let folder = folder.map_err(|error| broken(error.into()))?;
    match rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(broken(error.into())),
    }
    let mut file = beneath::create(&folder, name, 0o644).map_err(&broken)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let limit = setting.limits.disk;
    let saved = reading(engine.save(&names)?, move |from| {
        let size = io::copy(&mut from.take(limit + 1), &mut file).map_err(unwrapped)?;
        if size > limit { Err(Fault::Limit(format!("`limits.disk` of {limit} bytes is reached"))) } else { Ok(size) }
    });
    let saved = saved.await;
    if saved.is_err() {
        let _ = rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty());
    }
    saved
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
