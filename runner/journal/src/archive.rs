//! A run as one file, to be carried to another machine: a gzipped tar whose first entry lists every other one with its size and BLAKE3.
//!
//! ```text
//! export.json                     what it is, and the list
//! run/journal.sqlite3             run/logs/…  run/bodies/ab/cdef…
//! blobs/ab/cdef…                  what the run's artifacts are made of
//! plugins/<digest>.wasm           the components of its stages
//! ```
//!
//! Whoever reads one trusts nothing in it: only these places exist, only plain files are taken, nothing is read that the list does not
//! announce, and everything is bounded before it is read. The same run makes the same bytes: sorted, no times, no owners.
//!
//! Deliberately absent: where things go afterwards, and whether the journal inside is sound ([`crate::check`]).

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

/// The newest version, the one that is written.
pub const FORMAT: u32 = 1;
const LIST: &str = "export.json";
/// Of the list itself.
const LIST_BYTES: u64 = 64 << 20;
/// A longer path has no business in a run.
const PATH_BYTES: u64 = 1024;
const BUFFER: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{}: {error}; see that this user may read and write there, and that there is space", path.display())]
    Io { path: PathBuf, error: io::Error },

    #[error("{} is not a run that `runner export` wrote, or only a part of one: {what}; copy it again", path.display())]
    Broken { path: PathBuf, what: String },

    #[error("{} holds what no export holds: {what}; do not trust where it came from", path.display())]
    Hostile { path: PathBuf, what: String },

    #[error("{} was exported by a newer runner (format {found}, this runner knows up to {FORMAT}); use that runner", path.display())]
    Newer { path: PathBuf, found: u32 },

    #[error("{} is more than is taken in: {what}; raise `--max-size` if you trust where it came from", path.display())]
    TooMuch { path: PathBuf, what: String },

    #[error("{} changed while it was exported; try again", path.display())]
    Changed { path: PathBuf },
}

type Result<T> = std::result::Result<T, ArchiveError>;

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| ArchiveError::Io { path: path.to_owned(), error })
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contents {
    pub format: u32,
    pub run: String,
    /// The version of the runner that exported it.
    pub runner: String,
    pub files: Vec<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    pub path: String,
    pub size: u64,
    /// BLAKE3, hex.
    pub digest: String,
}

/// What goes into an archive.
#[derive(Debug)]
pub enum Part {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Part {
    fn open(&self) -> Result<(Box<dyn Read + '_>, &Path)> {
        match self {
            Part::File(path) => Ok((Box::new(at(path, File::open(path))?), path)),
            Part::Bytes(bytes) => Ok((Box::new(&bytes[..]), Path::new("a component"))),
        }
    }

    /// Size and digest as they are now.
    fn measure(&self) -> Result<(u64, String)> {
        let (mut from, path) = self.open()?;
        let mut hasher = Hashing { hasher: blake3::Hasher::new(), size: 0 };
        at(path, io::copy(&mut from, &mut hasher))?;
        Ok((hasher.size, hasher.hasher.finalize().to_hex().to_string()))
    }
}

struct Hashing {
    hasher: blake3::Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the parts, by their places in the archive. What grows meanwhile (a log) is taken as long as it was at first. Answers the list.
///
/// # Errors
/// If something can't be read, or was changed and not only added to.
pub fn pack(run: &str, parts: &BTreeMap<String, Part>, out: impl Write, to: &Path) -> Result<Contents> {
    let mut files = Vec::with_capacity(parts.len());
    for (path, part) in parts {
        let (size, digest) = part.measure()?;
        files.push(Listed { path: path.clone(), size, digest });
    }
    let contents = Contents { format: FORMAT, run: run.to_owned(), runner: env!("CARGO_PKG_VERSION").to_owned(), files };
    let list = serde_json::to_vec(&contents).map_err(|error| ArchiveError::Io { path: to.to_owned(), error: error.into() })?;
    // No name and no time of its own.
    let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::default()));
    at(to, tar.append_data(&mut head(list.len() as u64), LIST, &list[..]))?;
    for (listed, part) in contents.files.iter().zip(parts.values()) {
        let (from, path) = part.open()?;
        let mut from = Checked { from: from.take(listed.size), hasher: blake3::Hasher::new(), size: 0 };
        at(path, tar.append_data(&mut head(listed.size), &listed.path, &mut from))?;
        if from.size != listed.size || *from.hasher.finalize().to_hex() != *listed.digest {
            return Err(ArchiveError::Changed { path: path.to_owned() });
        }
    }
    let gzip = at(to, tar.into_inner())?;
    at(to, gzip.finish().and_then(|mut out| out.flush()))?;
    Ok(contents)
}

fn head(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(size);
    header.set_mtime(0);
    header
}

struct Checked<R> {
    from: R,
    hasher: blake3::Hasher,
    size: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

/// How much is taken in at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub files: usize,
    /// Of all files together.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { files: 1_000_000, bytes: 16 << 30 }
    }
}

/// Reads an archive into an empty folder and answers what it holds: every file that it lists, whole and with the digest that it says.
///
/// # Errors
/// Anything that is not exactly as [`pack`] writes it. What was written until then stays in the folder.
pub fn unpack(archive: &Path, into: &Path, bounds: Bounds) -> Result<Contents> {
    let file = at(archive, File::open(archive))?;
    let mut gzip = GzDecoder::new(BufReader::with_capacity(BUFFER, file));
    let contents = Unpacking { archive, into, bounds }.entries(&mut gzip)?;
    // The end of the tar is followed by zeros up to its block; the checksum is behind them.
    let mut rest = Vec::new();
    let read = gzip.take(1 << 20).read_to_end(&mut rest);
    let broken = |what: String| ArchiveError::Broken { path: archive.to_owned(), what };
    read.map_err(|error| broken(error.to_string()))?;
    if rest.len() >= 1 << 20 || rest.iter().any(|byte| *byte != 0) {
        return Err(broken("something follows its end".to_owned()));
    }
    Ok(contents)
}

struct Unpacking<'a> {
    archive: &'a Path,
    into: &'a Path,
    bounds: Bounds,
}

impl Unpacking<'_> {
    fn broken(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Broken { path: self.archive.to_owned(), what: what.into() }
    }

    fn hostile(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Hostile { path: self.archive.to_owned(), what: what.into() }
    }

    fn entries(&self, from: impl Read) -> Result<Contents> {
        let mut tar = tar::Archive::new(from);
        // Raw: what the library would read into memory to interpret it (long names, extensions) is bounded here.
        let entries = tar.entries().map_err(|error| self.broken(error.to_string()))?.raw(true);
        let mut contents: Option<(Contents, BTreeMap<String, Listed>)> = None;
        let mut long = None;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.broken(error.to_string()))?;
            let size = entry.size();
            let kind = entry.header().entry_type();
            if kind == EntryType::GNULongName && long.is_none() {
                if size > PATH_BYTES {
                    return Err(self.hostile(format!("a path of {size} bytes")));
                }
                long = Some(self.small(&mut entry, size)?);
                continue;
            }
            let bytes = long.take().unwrap_or_else(|| entry.path_bytes().into_owned());
            let name = std::str::from_utf8(&bytes).map(|name| name.trim_end_matches('\0').to_owned());
            let name = name.map_err(|_| self.hostile("a path that is not UTF-8"))?;
            if kind != EntryType::Regular {
                return Err(self.hostile(format!("`{}`, which is no plain file ({kind:?})", name.escape_debug())));
            }
            match &mut contents {
                None if name == LIST => contents = Some(self.list(&mut entry, size)?),
                None => return Err(self.broken(format!("it does not begin with `{LIST}`"))),
                Some((_, missing)) => {
                    let Some(listed) = missing.remove(&name) else {
                        return Err(self.hostile(format!("`{}`, which its list does not announce", name.escape_debug())));
                    };
                    if size != listed.size {
                        return Err(self.hostile(format!("`{name}` of {size} bytes where its list says {}", listed.size)));
                    }
                    self.keep(&mut entry, &listed)?;
                }
            }
        }
        let (contents, missing) = contents.ok_or_else(|| self.broken("it is empty"))?;
        match missing.keys().next() {
            None => Ok(contents),
            Some(first) => Err(self.broken(format!("`{first}` is missing"))),
        }
    }

    fn small(&self, entry: &mut impl Read, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        entry.take(size).read_to_end(&mut bytes).map_err(|error| self.broken(error.to_string()))?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(self.broken("it ends too early")) }
    }

    fn list(&self, entry: &mut impl Read, size: u64) -> Result<(Contents, BTreeMap<String, Listed>)> {
        let much = |what: String| ArchiveError::TooMuch { path: self.archive.to_owned(), what };
        if size > LIST_BYTES {
            return Err(much(format!("a list of {size} bytes")));
        }
        let bytes = self.small(entry, size)?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| self.broken(format!("its list: {error}"));
        let Version { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if format > FORMAT {
            return Err(ArchiveError::Newer { path: self.archive.to_owned(), found: format });
        }
        let contents: Contents = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if contents.files.len() > self.bounds.files {
            return Err(much(format!("{} files, {} at most", contents.files.len(), self.bounds.files)));
        }
        let total = contents.files.iter().fold(0u64, |sum, listed| sum.saturating_add(listed.size));
        if total > self.bounds.bytes {
            return Err(much(format!("{total} bytes, {} at most", self.bounds.bytes)));
        }
        let mut missing = BTreeMap::new();
        for listed in &contents.files {
            if !belongs(listed) {
                return Err(self.hostile(format!("`{}` in its list", listed.path.escape_debug())));
            }
            if missing.insert(listed.path.clone(), listed.clone()).is_some() {
                return Err(self.hostile(format!("`{}` twice", listed.path)));
            }
        }
        Ok((contents, missing))
    }

    fn keep(&self, entry: &mut impl Read, listed: &Listed) -> Result<()> {
        let path = self.into.join(&listed.path);
        if let Some(folder) = path.parent() {
            at(folder, DirBuilder::new().recursive(true).mode(0o700).create(folder))?;
        }
        let mut to = at(&path, OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path))?;
        let mut from = Checked { from: entry.take(listed.size), hasher: blake3::Hasher::new(), size: 0 };
        let mut buffer = vec![0; BUFFER];
        loop {
            // Which side failed decides whom the message is about.
            let read = from.read(&mut buffer).map_err(|error| self.broken(error.to_string()))?;
            if read == 0 {
                break;
            }
            at(&path, to.write_all(&buffer[..read]))?;
        }
        if from.size != listed.size {
            return Err(self.broken("it ends too early"));
        }
        if *from.hasher.finalize().to_hex() != *listed.digest {
            return Err(self.broken(format!("`{}` has another digest than its list says", listed.path)));
        }
        Ok(())
    }
}

/// Whether an archive may hold this: the places that there are, and what is kept by content under its own digest.
fn belongs(listed: &Listed) -> bool {
    let by_content = |rest: &str| {
        let split = rest.split_once('/');
        split.is_some_and(|(first, rest)| first.len() == 2 && rest.len() == 62 && listed.digest == format!("{first}{rest}"))
    };
    let hex = listed.digest.len() == 64 && listed.digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let log = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(plain)
    };
    hex && match listed.path.as_str() {
        "run/journal.sqlite3" => true,
        path => {
            path.strip_prefix("run/logs/").is_some_and(log)
                || path.strip_prefix("run/bodies/").is_some_and(by_content)
                || path.strip_prefix("blobs/").is_some_and(by_content)
                || path.strip_prefix("plugins/").and_then(|name| name.strip_suffix(".wasm")).is_some_and(|name| name == listed.digest)
        }
    }
}

#[cfg(test)]
mod tests;
