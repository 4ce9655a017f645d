//! Copying a checkout: by sharing blocks where the file system can, by two threads, with modes and modification times (so that build
//! tools find that nothing changed). Symbolic links are copied as they are; hard links become files of their own, since a write through
//! one must not reach the checkout.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, copy_file_range, fchmod, fstat, futimens, ioctl_ficlone,
    mkdirat, openat, readlinkat, symlinkat, utimensat,
};
use rustix::io::{Errno, read, write};

use crate::beneath::{open, open_root};
use crate::error::{At, Result, WorkspaceError};
use crate::listing::{Leaf, Listing};

const DOING: &str = "copying it";
const THREADS: usize = 2;
/// Below this, a buffer is quicker than the calls that avoid it.
const SMALL: u64 = 64 << 10;

/// How much was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub bytes: u64,
}

/// Copies what is listed from `from` to `to`, which is empty.
pub fn copy(from: &Path, to: &Path, listing: &Listing) -> Result<Copied> {
    let job = Job {
        from: open_root(from).at(DOING, from)?,
        to: open_root(to).at(DOING, to)?,
        from_path: from,
        to_path: to,
        cloning: Cloning::default(),
        bytes: AtomicU64::new(0),
        files: AtomicU64::new(0),
    };
    for directory in &listing.directories {
        mkdirat(&job.to, directory, Mode::from_raw_mode(0o700)).at(DOING, to.join(directory))?;
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            // a few at a time: the counter is shared
            let start = next.fetch_add(16, Ordering::Relaxed);
            let Some(some) = listing.leaves.get(start..listing.leaves.len().min(start + 16)).filter(|some| !some.is_empty()) else { break };
            for (path, leaf) in some {
                if let Err(error) = job.leaf(path, *leaf) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().map(|other| other.join().expect("copying does not panic")).fold(mine, Result::and)
    })?;
    // inner directories first: what is done in a directory changes its time
    for directory in listing.directories.iter().rev() {
        job.directory(directory)?;
    }
    Ok(Copied { files: job.files.into_inner(), bytes: job.bytes.into_inner() })
}

struct Job<'a> {
    from: OwnedFd,
    to: OwnedFd,
    from_path: &'a Path,
    to_path: &'a Path,
    cloning: Cloning,
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Job<'_> {
    fn leaf(&self, path: &Path, leaf: Leaf) -> Result<()> {
        match leaf {
            Leaf::File => self.file(path),
            Leaf::Symlink => self.symlink(path),
        }
    }

    fn file(&self, path: &Path) -> Result<()> {
        let source = match open(&self.from, path, OFlags::RDONLY, Mode::empty()) {
            Ok(source) => source,
            Err(errno) if changed(errno) => return Ok(()),
            Err(errno) => return Err(errno).at(DOING, self.from_path.join(path)),
        };
        let status = fstat(&source).at(DOING, self.from_path.join(path))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(&self.to, path, flags, Mode::from_raw_mode(0o600)).at(DOING, self.to_path.join(path))?;
        let copied = self.cloning.copy(&source, &target, status.st_size as u64);
        let bytes = copied.map_err(|(side, errno)| {
            let root = if side == Side::Source { self.from_path } else { self.to_path };
            WorkspaceError::io(DOING, root.join(path), errno)
        })?;
        fchmod(&target, Mode::from_raw_mode(status.st_mode & 0o777)).at(DOING, self.to_path.join(path))?;
        futimens(&target, &modified(&status)).at(DOING, self.to_path.join(path))?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn symlink(&self, path: &Path) -> Result<()> {
        let source = match open(&self.from, path, OFlags::PATH, Mode::empty()) {
            Ok(source) => source,
            Err(errno) if changed(errno) => return Ok(()),
            Err(errno) => return Err(errno).at(DOING, self.from_path.join(path)),
        };
        let target = match readlinkat(&source, "", Vec::new()) {
            Ok(target) => target,
            // it is no link any more
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).at(DOING, self.from_path.join(path)),
        };
        symlinkat(&target, &self.to, path).at(DOING, self.to_path.join(path))?;
        if let Ok(status) = fstat(&source) {
            // a link's time is no more than decoration
            let _ = utimensat(&self.to, path, &modified(&status), AtFlags::SYMLINK_NOFOLLOW);
        }
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn directory(&self, path: &Path) -> Result<()> {
        let status = match open(&self.from, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).and_then(fstat) {
            Ok(status) => status,
            Err(errno) if changed(errno) => return Ok(()),
            Err(errno) => return Err(errno).at(DOING, self.from_path.join(path)),
        };
        let target = open(&self.to, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).at(DOING, self.to_path.join(path))?;
        futimens(&target, &modified(&status)).at(DOING, self.to_path.join(path))?;
        fchmod(&target, Mode::from_raw_mode(status.st_mode & 0o777)).at(DOING, self.to_path.join(path))
    }
}

/// It was there when it was listed. Editors make and remove files all the time.
fn changed(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO)
}

fn modified(status: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: status.st_mtime, tv_nsec: status.st_mtime_nsec as _ },
    }
}

/// On which side copying failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

/// Copies bytes in the cheapest way that the file systems offer, and remembers what they don't.
#[derive(Debug, Default)]
pub struct Cloning {
    no_clone: AtomicBool,
    no_range: AtomicBool,
}

impl Cloning {
    /// Shares the blocks, if the file system can.
    pub fn share(&self, source: &OwnedFd, target: &OwnedFd) -> bool {
        if self.no_clone.load(Ordering::Relaxed) {
            return false;
        }
        let shared = ioctl_ficlone(target, source).is_ok();
        if !shared {
            self.no_clone.store(true, Ordering::Relaxed);
        }
        shared
    }

    fn copy(&self, source: &OwnedFd, target: &OwnedFd, size: u64) -> std::result::Result<u64, (Side, Errno)> {
        if size > 0 && self.share(source, target) {
            return Ok(size);
        }
        let mut done = 0;
        if size > SMALL && !self.no_range.load(Ordering::Relaxed) {
            loop {
                match copy_file_range(source, None, target, None, 1 << 30) {
                    Ok(0) => break,
                    Ok(n) => done += n as u64,
                    Err(Errno::INTR) => {}
                    Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)) => return Err((Side::Target, errno)),
                    // not between these two: go on where it stopped, with a buffer
                    Err(_) => {
                        self.no_range.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }
        // what has grown meanwhile, what other calls could not copy, and files that claim to be empty
        let mut buffer = vec![0; if size > SMALL { 1 << 20 } else { SMALL as usize }];
        loop {
            match read(source, &mut buffer) {
                Ok(0) => return Ok(done),
                Ok(n) => {
                    write_all(target, &buffer[..n]).map_err(|errno| (Side::Target, errno))?;
                    done += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err((Side::Source, errno)),
            }
        }
    }
}

pub fn write_all(target: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match write(target, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
