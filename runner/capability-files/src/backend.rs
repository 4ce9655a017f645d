//! Carries out what was decided: the only file that changes anything on the disk.
//!
//! Everything is done through descriptors that were pinned when the path was looked at. What is open is known to the rest of the capability
//! by a number, which is what is recorded. File operations block the worker for as long as the disk takes, which for regular files is
//! short; nothing else is ever opened.

mod lost;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capability::{Backend, Nothing, Permitted, Recovery, Setting};
use rustix::buffer::spare_capacity;
use rustix::fs::{
    Advice, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fadvise, fdatasync,
    fstat, fsync, ftruncate, linkat, mkdirat, openat, openat2, readlinkat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, pread, pwrite};

use crate::disk::{Disk, ENTRY};
use crate::effect::*;
use crate::errno::error_code;
use crate::host::ErrorCode;
use crate::path::{ROOT, join};
use crate::policy::FilePolicy;
use crate::resolve::{kind, kind_of, pin, resolve};

pub use lost::Lost;
use lost::Witness;

/// Nobody reads more than this at once, whatever a guest asks for.
pub const READ_MAX: usize = 1 << 20;
/// A listing longer than this fails.
const ENTRIES_MAX: usize = 1_000_000;

pub struct FileSystem {
    setting: Arc<Setting>,
    policy: Arc<FilePolicy>,
    open: Mutex<HashMap<u64, Slot>>,
    next: AtomicU64,
    disk: Disk,
    /// Whether the log has been told that the disk is full.
    told: AtomicBool,
    /// What an earlier process read of what the stage can't change.
    witnessed: Mutex<Vec<Witness>>,
}

/// What a number stands for.
enum Slot {
    Open(Arc<OpenObject>),
    /// Opened by an earlier process, which was killed: opened again when it is first needed.
    Lost(Lost),
    /// Removed while it was open by an earlier process: its bytes went with that process.
    Gone,
}

/// Something open. Directories are held with `O_PATH`.
struct OpenObject {
    fd: OwnedFd,
    mount: Mount,
    path: String,
    identity: (u64, u64),
    /// The last name of the file is gone: its bytes are given back when it is closed.
    orphan: AtomicBool,
}

/// Why the attempt has no files to work with.
#[derive(Debug)]
pub struct MountError(String);

impl MountError {
    fn new(folder: &Path, errno: Errno) -> Self {
        let folder = folder.display();
        MountError(match errno {
            Errno::NOSYS => {
                "this kernel has no openat2, which keeps files inside of the workspace: Linux 5.6 or newer is needed".to_owned()
            }
            Errno::PERM => format!(
                "{folder} can't be opened: openat2 is not permitted here; container engines older than Docker 20.10 don't let it through, and \
                 newer ones do"
            ),
            errno => format!("{folder} can't be opened: {errno}"),
        })
    }
}

impl std::fmt::Display for MountError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MountError {}

/// Keeps a number open; whoever holds the last one closes it.
pub struct Held {
    pub handle: u64,
    pub files: Arc<FileSystem>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.files.close(self.handle);
    }
}

impl FileSystem {
    /// Opens nothing yet: most stages never look at a file.
    pub fn new(setting: &Arc<Setting>, policy: Arc<FilePolicy>) -> Self {
        FileSystem {
            setting: setting.clone(),
            policy,
            open: Mutex::default(),
            next: AtomicU64::new(1),
            disk: Disk::new(setting.limits.disk),
            told: AtomicBool::new(false),
            witnessed: Mutex::default(),
        }
    }

    /// Opens a mount; `None` if nothing of it is granted. The error says what to do. `later`: only when it is first needed.
    pub fn mount(&self, mount: Mount, later: bool) -> Result<Option<u64>, MountError> {
        if mount == Mount::Workspace && (self.setting.workspace.is_none() || self.setting.mounts.is_empty()) {
            return Ok(None);
        }
        if later {
            let handle = self.next.fetch_add(1, Ordering::Relaxed);
            self.lock().insert(handle, Slot::Lost(Lost { mount, path: ROOT.to_owned(), open: None }));
            return Ok(Some(handle));
        }
        let (fd, folder) = self.mount_folder(mount)?;
        let handle = self.insert(fd, mount, ROOT.to_owned());
        handle.map(Some).map_err(|code| MountError(format!("{} can't be opened: {code}", folder.display())))
    }

    fn mount_folder(&self, mount: Mount) -> Result<(OwnedFd, &Path), MountError> {
        let folder = match (mount, &self.setting.workspace) {
            (Mount::Workspace, Some(folder)) => folder.as_path(),
            (Mount::Workspace, None) => return Err(MountError("the stage has no workspace".to_owned())),
            (Mount::Scratch, _) => {
                self.setting.scratch.path().map_err(|error| MountError(format!("the scratch folder can't be made: {error}")))?
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // the path is the runner's own, links and all; what is below it is only ever reached from this descriptor
        let opened = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
        let fd = opened.map_err(|errno| MountError::new(folder, errno))?;
        Ok((fd, folder))
    }

    fn insert(&self, fd: OwnedFd, mount: Mount, path: String) -> Reply<u64> {
        let status = fstat(&fd).map_err(error_code)?;
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let open = OpenObject { fd, mount, path, identity: (status.st_dev, status.st_ino), orphan: AtomicBool::new(false) };
        self.lock().insert(handle, Slot::Open(Arc::new(open)));
        Ok(handle)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, handle: u64) -> Reply<Arc<OpenObject>> {
        let mut open = self.lock();
        let slot = open.get_mut(&handle).ok_or(ErrorCode::BadDescriptor)?;
        match slot {
            Slot::Open(object) => Ok(object.clone()),
            Slot::Gone => Err(ErrorCode::NoEntry),
            Slot::Lost(lost) => {
                let object = Arc::new(self.attach(lost)?);
                *slot = Slot::Open(object.clone());
                Ok(object)
            }
        }
    }

    fn close(&self, handle: u64) {
        let mut open = self.lock();
        let Some(Slot::Open(closed)) = open.remove(&handle) else { return };
        if closed.orphan.load(Ordering::Relaxed) {
            match opened(&open).find(|other| other.identity == closed.identity) {
                Some(other) => other.orphan.store(true, Ordering::Relaxed),
                None => self.disk.give_back(fstat(&closed.fd).map_or(0, |status| status.st_size as u64)),
            }
        }
    }

    /// Reads at a place of an open file. A read that comes back short is the end of the file.
    pub fn read(&self, handle: u64, length: u64, offset: u64) -> Reply<Vec<u8>> {
        read_at(&self.get(handle)?.fd, length, offset)
    }

    /// What `stat` says of something open.
    pub fn status(&self, handle: u64) -> Reply<Status> {
        status(&self.get(handle)?.fd)
    }

    pub fn fingerprint(&self, handle: u64) -> Reply<(u64, u64)> {
        fingerprint(&self.get(handle)?.fd)
    }

    pub fn same(&self, one: u64, other: u64) -> bool {
        matches!((self.get(one), self.get(other)), (Ok(one), Ok(other)) if one.identity == other.identity)
    }

    /// Tells the kernel how the file will be read. Nothing that a guest can see depends on it, so it is no effect.
    pub fn advise(&self, handle: u64, offset: u64, length: u64, advice: Advice) -> Reply<()> {
        fadvise(&self.get(handle)?.fd, offset, std::num::NonZeroU64::new(length), advice).map_err(error_code)
    }

    fn look(&self, look: &Look) -> Resolved {
        match self.get(look.handle) {
            Ok(base) => resolve(base.fd.as_fd(), &look.base, &look.path, look.follow, look.entry),
            Err(code) => Resolved { path: look.base.clone(), passed: Vec::new(), found: Found::Failed(code), pins: Pins::default() },
        }
    }

    /// Takes from `limits.disk`.
    fn take(&self, bytes: u64) -> Reply<()> {
        if self.disk.take(bytes) {
            return Ok(());
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            self.setting.log.note(&format!(
                "the stage's files reached their limit of {} bytes; raise `limits.disk` in the pipeline file or write less",
                self.disk.limit()
            ));
        }
        Err(ErrorCode::InsufficientSpace)
    }

    /// Gives back what an object held whose name is about to go. Answers what to do when it is gone.
    fn forget(&self, object: Option<&Arc<OwnedFd>>) -> impl FnOnce() {
        let status = object.and_then(|fd| fstat(fd).ok());
        move || {
            let Some(status) = status else { return };
            self.disk.give_back(ENTRY);
            if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || status.st_nlink > 1 {
                return;
            }
            let open = self.lock();
            match opened(&open).find(|open| open.identity == (status.st_dev, status.st_ino)) {
                Some(open) => open.orphan.store(true, Ordering::Relaxed),
                None => self.disk.give_back(status.st_size as u64),
            }
        }
    }

    fn open_at(&self, mount: Mount, resolved: Resolved, open: Open) -> Reply<Opened> {
        let Resolved { path, found, pins, .. } = resolved;
        match found {
            Found::Failed(code) => Err(code),
            Found::Outside => Err(ErrorCode::NotPermitted),
            Found::Missing => self.create(mount, path, pins, open),
            Found::Object(kind) => {
                if open.create && open.exclusive && !pins.own {
                    return Err(ErrorCode::Exist);
                }
                let object = pins.object.ok_or(ErrorCode::Io)?;
                self.open_object(mount, path, kind, object, open)
            }
        }
    }

    fn open_object(&self, mount: Mount, path: String, kind: Kind, object: Arc<OwnedFd>, open: Open) -> Reply<Opened> {
        match kind {
            Kind::Directory if open.write || open.truncate || open.create => Err(ErrorCode::IsDirectory),
            Kind::Directory => {
                let fd = openat(&*object, ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(error_code)?;
                Ok(Opened { handle: self.insert(fd, mount, path.clone())?, kind, path })
            }
            // `mutate` says nothing about files: wasi-libc asks for it whenever it opens anything for writing
            _ if open.directory => Err(ErrorCode::NotDirectory),
            Kind::Symlink => Err(ErrorCode::Loop),
            Kind::File => {
                let before = if open.truncate { fstat(&*object).map_err(error_code)?.st_size as u64 } else { 0 };
                let fd = openat(CWD, by_descriptor(&object), open.flags(), Mode::empty()).map_err(error_code)?;
                self.disk.give_back(before);
                Ok(Opened { handle: self.insert(fd, mount, path.clone())?, kind, path })
            }
            _ => Err(ErrorCode::NotPermitted),
        }
    }

    fn create(&self, mount: Mount, path: String, pins: Pins, open: Open) -> Reply<Opened> {
        if !open.create {
            return Err(ErrorCode::NoEntry);
        }
        if open.directory {
            return Err(ErrorCode::Invalid);
        }
        let (parent, name) = pins.entry.ok_or(ErrorCode::NoEntry)?;
        if pins.slash {
            return Err(ErrorCode::IsDirectory);
        }
        self.take(ENTRY)?;
        let flags = open.flags() | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let made = match openat(&*parent, name.as_str(), flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => return Ok(Opened { handle: self.insert(fd, mount, path.clone())?, kind: Kind::File, path }),
            // a command of the stage was faster; what it made is at the very path that was decided
            Err(Errno::EXIST) if !open.exclusive => pin(parent.as_fd(), &name, OFlags::NOFOLLOW).map_err(error_code).and_then(|fd| {
                let kind = kind_of(&fd).map_err(error_code)?;
                self.open_object(mount, path, kind, Arc::new(fd), open)
            }),
            Err(errno) => Err(error_code(errno)),
        };
        self.disk.give_back(ENTRY);
        made
    }

    /// Makes a name. `make` gets the directory and the name.
    fn make(&self, resolved: &Resolved, make: impl FnOnce(&OwnedFd, &str) -> rustix::io::Result<()>) -> Reply<()> {
        match resolved.found {
            Found::Failed(code) => return Err(code),
            Found::Outside => return Err(ErrorCode::NotPermitted),
            Found::Object(_) => return Err(ErrorCode::Exist),
            Found::Missing => {}
        }
        let (parent, name) = resolved.pins.entry.as_ref().ok_or(ErrorCode::NoEntry)?;
        self.take(ENTRY)?;
        make(parent, name).map_err(|errno| {
            self.disk.give_back(ENTRY);
            error_code(errno)
        })
    }

    /// Removes a name.
    fn remove(&self, resolved: &Resolved, directory: bool) -> Reply<()> {
        let kind = object_kind(resolved)?;
        match (kind, directory) {
            (Kind::Directory, false) => return Err(ErrorCode::IsDirectory),
            (Kind::Directory, true) | (_, false) => {}
            (_, true) => return Err(ErrorCode::NotDirectory),
        }
        // `.` and `..` have no name to remove
        let (parent, name) = resolved.pins.entry.as_ref().ok_or(ErrorCode::Invalid)?;
        let forgotten = self.forget(resolved.pins.object.as_ref());
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&**parent, name.as_str(), flags).map_err(error_code)?;
        forgotten();
        Ok(())
    }

    fn rename(&self, from: &Resolved, to: &Resolved) -> Reply<()> {
        let moved = object_kind(from)?;
        if let Found::Failed(code) = to.found {
            return Err(code);
        }
        let ((from_parent, from_name), (to_parent, to_name)) = match (&from.pins.entry, &to.pins.entry) {
            (Some(from), Some(to)) => (from, to),
            _ => return Err(ErrorCode::Invalid),
        };
        if to.pins.slash && moved != Kind::Directory {
            return Err(ErrorCode::NotDirectory);
        }
        // two names of one file: POSIX leaves both
        let same = |a: &Pins, b: &Pins| matches!((identity(a), identity(b)), (Some(a), Some(b)) if a == b);
        let replaced = to.pins.object.as_ref().filter(|_| !same(&from.pins, &to.pins));
        let forgotten = self.forget(replaced);
        renameat(&**from_parent, from_name.as_str(), &**to_parent, to_name.as_str()).map_err(error_code)?;
        forgotten();
        Ok(())
    }

    fn link(&self, from: &Resolved, to: &Resolved) -> Reply<()> {
        if object_kind(from)? != Kind::File {
            return Err(ErrorCode::NotPermitted);
        }
        let object = from.pins.object.as_ref().ok_or(ErrorCode::Io)?;
        self.make(to, |parent, name| linkat(CWD, by_descriptor(object), parent, name, AtFlags::SYMLINK_FOLLOW))
    }

    fn write(&self, file: &OpenRef, offset: u64, bytes: &[u8]) -> Reply<u64> {
        let open = self.get(file.handle)?;
        let end = offset.checked_add(bytes.len() as u64).filter(|end| i64::try_from(*end).is_ok()).ok_or(ErrorCode::FileTooLarge)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let size = fstat(&open.fd).map_err(error_code)?.st_size as u64;
        self.take(end.saturating_sub(size))?;
        let mut done = 0;
        let result = loop {
            match pwrite(&open.fd, &bytes[done..], offset + done as u64) {
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => break Err(errno),
            }
            if done == bytes.len() {
                break Ok(());
            }
        };
        if let Err(errno) = result {
            let reached = (offset + done as u64).max(size);
            self.disk.give_back(end.saturating_sub(reached));
            if done == 0 {
                return Err(error_code(errno));
            }
        }
        Ok(done as u64)
    }

    fn set_size(&self, handle: u64, size: u64) -> Reply<()> {
        let open = self.get(handle)?;
        let before = fstat(&open.fd).map_err(error_code)?.st_size as u64;
        let grows = size.saturating_sub(before);
        self.take(grows)?;
        ftruncate(&open.fd, size).map_err(|errno| {
            self.disk.give_back(grows);
            error_code(errno)
        })?;
        self.disk.give_back(before.saturating_sub(size));
        Ok(())
    }

    fn list(&self, handle: u64) -> Reply<Vec<(String, Kind)>> {
        let open = self.get(handle)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&open.fd, ROOT, flags, Mode::empty()).map_err(error_code)?;
        let mut entries = Vec::new();
        let mut dir = Dir::new(fd).map_err(error_code)?;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(error_code)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let mut what = kind(entry.file_type());
            if what == Kind::Unknown {
                // some file systems don't say
                what = statat(&open.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_or(what, |s| kind(FileType::from_raw_mode(s.st_mode)));
            }
            if !self.policy.shows(open.mount, &join(&open.path, &[name]), what) {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                return Err(ErrorCode::InsufficientMemory);
            }
            entries.push((name.to_owned(), what));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }
}

/// Those that are open in this process.
fn opened(slots: &HashMap<u64, Slot>) -> impl Iterator<Item = &Arc<OpenObject>> {
    slots.values().filter_map(|slot| match slot {
        Slot::Open(object) => Some(object),
        Slot::Lost(_) | Slot::Gone => None,
    })
}

fn read_at(fd: &OwnedFd, length: u64, offset: u64) -> Reply<Vec<u8>> {
    let length = length.min(READ_MAX as u64) as usize;
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    while bytes.len() < length {
        let from = offset.checked_add(bytes.len() as u64).ok_or(ErrorCode::Invalid)?;
        match pread(fd, spare_capacity(&mut bytes), from) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) if bytes.is_empty() => return Err(error_code(errno)),
            Err(_) => break,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

impl Open {
    /// Never waits for the other end of anything, and never takes a terminal.
    fn flags(&self) -> OFlags {
        let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        flags |= match (self.read, self.write || self.truncate) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
        for (asked, flag) in [(self.truncate, OFlags::TRUNC), (self.sync, OFlags::SYNC), (self.data_sync, OFlags::DSYNC)] {
            if asked {
                flags |= flag;
            }
        }
        flags
    }
}

fn object_kind(resolved: &Resolved) -> Reply<Kind> {
    match resolved.found {
        Found::Object(kind) => Ok(kind),
        Found::Missing => Err(ErrorCode::NoEntry),
        Found::Outside => Err(ErrorCode::NotPermitted),
        Found::Failed(code) => Err(code),
    }
}

/// The descriptor of an object that was seen.
fn object(resolved: Resolved) -> Reply<Arc<OwnedFd>> {
    object_kind(&resolved)?;
    resolved.pins.object.ok_or(ErrorCode::Io)
}

fn identity(pins: &Pins) -> Option<(u64, u64)> {
    let status = fstat(pins.object.as_ref()?).ok()?;
    Some((status.st_dev, status.st_ino))
}

fn make_directory(parent: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    mkdirat(parent, name, Mode::from_raw_mode(0o777))
}

/// The way to the very object that a descriptor holds, for the calls that know only paths.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn status(fd: impl AsFd) -> Reply<Status> {
    let status = fstat(fd).map_err(error_code)?;
    let modified = match u64::try_from(status.st_mtime) {
        Ok(seconds) => (seconds, status.st_mtime_nsec as u32),
        // WASI knows no time before 1970
        Err(_) => (0, 0),
    };
    Ok(Status { kind: kind(FileType::from_raw_mode(status.st_mode)), links: status.st_nlink as u64, size: status.st_size as u64, modified })
}

fn fingerprint(fd: impl AsFd) -> Reply<(u64, u64)> {
    let status = fstat(fd).map_err(error_code)?;
    let mut hasher = blake3::Hasher::new_derive_key("runner wasi:filesystem metadata-hash");
    for part in [status.st_dev, status.st_ino, status.st_size as u64, status.st_mtime as u64, status.st_mtime_nsec as u64] {
        hasher.update(&part.to_le_bytes());
    }
    let hash = hasher.finalize();
    let half = |at: usize| u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"));
    Ok((half(0), half(8)))
}

fn set_times(fd: &OwnedFd, kind: Kind, times: SetTimes) -> Reply<()> {
    let time = |time| {
        Ok(match time {
            NewTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            NewTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            NewTime::At(seconds, nanos) if nanos < 1_000_000_000 => {
                Timespec { tv_sec: seconds.try_into().map_err(|_| ErrorCode::Overflow)?, tv_nsec: nanos.into() }
            }
            NewTime::At(..) => return Err(ErrorCode::Invalid),
        })
    };
    let times = Timestamps { last_access: time(times.accessed)?, last_modification: time(times.modified)? };
    match kind {
        // there is no other way to the link itself; needs Linux 5.8
        Kind::Symlink => utimensat(fd, "", &times, AtFlags::EMPTY_PATH),
        _ => utimensat(CWD, by_descriptor(fd), &times, AtFlags::empty()),
    }
    .map_err(error_code)
}

macro_rules! at {
    ($operation:ty, |$files:ident, $effect:ident, $resolved:ident| $act:expr) => {
        impl Backend<At<$operation>> for FileSystem {
            async fn observe(&self, look: Look, sight: &mut Sight) {
                sight.0 = Some(self.look(&look));
            }

            async fn act(&self, permitted: Permitted<At<$operation>>) -> <At<$operation> as capability::Effect>::Reply {
                let $files = self;
                let ($effect, sight) = permitted.into_parts();
                let $resolved = sight.0.ok_or(ErrorCode::Io)?;
                $act
            }

            async fn recover(
                &self,
                effect: &At<$operation>,
                recorded: &Sight,
                fresh: &mut Sight,
            ) -> Recovery<<At<$operation> as capability::Effect>::Reply> {
                let (Some(before), Some(now)) = (&recorded.0, &mut fresh.0) else { return Recovery::Repeat };
                let recovery = effect.operation.recover(before.found, now);
                if matches!(recovery, Recovery::Happened(Ok(_))) && effect.operation.demand().removes {
                    self.removed(effect.target.base.mount, &before.path);
                }
                recovery
            }

            fn recalled(
                &self,
                effect: &At<$operation>,
                seen: impl FnOnce() -> Option<Sight>,
                reply: &<At<$operation> as capability::Effect>::Reply,
            ) {
                if effect.operation.demand().removes
                    && reply.is_ok()
                    && let Some(Sight(Some(before))) = seen()
                {
                    self.removed(effect.target.base.mount, &before.path);
                }
            }
        }
    };
}

at!(Open, |files, effect, resolved| files.open_at(effect.target.base.mount, resolved, effect.operation));
at!(Stat, |_files, _effect, resolved| status(&*object(resolved)?));
at!(Fingerprint, |_files, _effect, resolved| fingerprint(&*object(resolved)?));
at!(ReadLink, |_files, _effect, resolved| {
    if object_kind(&resolved)? != Kind::Symlink {
        return Err(ErrorCode::Invalid);
    }
    let target = readlinkat(&*object(resolved)?, "", Vec::new()).map_err(error_code)?;
    let target = target.into_string().map_err(|_| ErrorCode::IllegalByteSequence)?;
    if target.starts_with('/') { Err(ErrorCode::NotPermitted) } else { Ok(target) }
});
at!(MakeDirectory, |files, _effect, resolved| files.make(&resolved, make_directory));
at!(MakeSymlink, |files, effect, resolved| {
    if resolved.pins.slash && resolved.found == Found::Missing {
        return Err(ErrorCode::NoEntry);
    }
    files.make(&resolved, |parent, name| symlinkat(effect.operation.to.as_str(), parent, name))
});
at!(RemoveFile, |files, _effect, resolved| files.remove(&resolved, false));
at!(RemoveDirectory, |files, _effect, resolved| files.remove(&resolved, true));
at!(SetTimes, |_files, effect, resolved| {
    let kind = object_kind(&resolved)?;
    set_times(&*object(resolved)?, kind, effect.operation)
});

macro_rules! between {
    ($pairing:ty, $act:ident) => {
        impl Backend<Between<$pairing>> for FileSystem {
            async fn observe(&self, question: LookAt, sights: &mut Sights) {
                match question {
                    LookAt::From(look) => sights.from.0 = Some(self.look(&look)),
                    LookAt::To(look) => sights.to.0 = Some(self.look(&look)),
                }
            }

            async fn act(&self, permitted: Permitted<Between<$pairing>>) -> Reply<()> {
                let sights = permitted.seen();
                match (&sights.from.0, &sights.to.0) {
                    (Some(from), Some(to)) => self.$act(from, to),
                    _ => Err(ErrorCode::Io),
                }
            }

            async fn recover(&self, effect: &Between<$pairing>, recorded: &Sights, fresh: &mut Sights) -> Recovery<Reply<()>> {
                match (&recorded.from.0, &recorded.to.0, &fresh.from.0, &fresh.to.0) {
                    (Some(a), Some(b), Some(c), Some(d)) => {
                        let recovery = <$pairing>::recover((a.found, b.found), (c.found, d.found));
                        if recovery == Recovery::Happened(Ok(())) && <$pairing>::demands().0.removes {
                            self.moved(effect.from.base.mount, &a.path, &b.path);
                        }
                        recovery
                    }
                    _ => Recovery::Repeat,
                }
            }

            fn recalled(&self, effect: &Between<$pairing>, seen: impl FnOnce() -> Option<Sights>, reply: &Reply<()>) {
                if <$pairing>::demands().0.removes
                    && reply.is_ok()
                    && let Some(Sights { from: Sight(Some(from)), to: Sight(Some(to)) }) = seen()
                {
                    self.moved(effect.from.base.mount, &from.path, &to.path);
                }
            }
        }
    };
}

between!(Rename, rename);
between!(Link, link);

impl Backend<Write> for FileSystem {
    async fn observe(&self, HowLong(handle): HowLong, end: &mut End) {
        end.0 = Some(self.status(handle).map(|status| status.size));
    }

    async fn act(&self, permitted: Permitted<Write>) -> Reply<u64> {
        let (write, end) = permitted.into_parts();
        let offset = match write.offset {
            Some(offset) => offset,
            None => end.0.ok_or(ErrorCode::Io)??,
        };
        self.write(&write.file, offset, &write.bytes)
    }

    /// An append goes where it went, so that it never happens twice.
    async fn recover(&self, _: &Write, recorded: &End, fresh: &mut End) -> Recovery<Reply<u64>> {
        if let Some(Ok(end)) = &recorded.0 {
            fresh.0 = Some(Ok(*end));
        }
        Recovery::Repeat
    }
}

macro_rules! on {
    ($handling:ty, |$files:ident, $file:ident, $operation:ident| $act:expr) => {
        impl Backend<On<$handling>> for FileSystem {
            async fn observe(&self, question: Nothing, (): &mut ()) {
                match question {}
            }

            async fn act(&self, permitted: Permitted<On<$handling>>) -> <On<$handling> as capability::Effect>::Reply {
                let $files = self;
                let (On { file: $file, operation: $operation }, ()) = permitted.into_parts();
                $act
            }
        }
    };
}

on!(SetSize, |files, file, size| files.set_size(file.handle, size.0));
on!(SetTimes, |files, file, times| set_times(&files.get(file.handle)?.fd, Kind::File, times));
on!(List, |files, file, _list| files.list(file.handle));
on!(Flush, |files, file, sync| {
    let open = files.get(file.handle)?;
    if sync.metadata { fsync(&open.fd) } else { fdatasync(&open.fd) }.map_err(error_code)
});
