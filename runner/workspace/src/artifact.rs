//! Artifacts: named sets of files, taken out of a stage's folder by globs and kept by content.
//!
//! An artifact is its manifest: paths, modes and digests as JSON, sorted, with nothing that differs between two runs that made the same
//! files (no times, no owners). The BLAKE3 of that text is the artifact's digest, and the text is kept as a blob like any other.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use event::Artifact;
use rustix::fs::{FileType, Mode, OFlags, fstat, readlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::beneath::{entries, held_by, is_normal, kind_name, open, open_directory, open_root, stays_inside};
use crate::blob::{BlobStore, Digest};
use crate::error::{At, Result, WorkspaceError};
use crate::pattern::{Pattern, Places};

/// The newest manifest format that this version reads, and the one that it writes.
pub const MANIFEST_FORMAT: u32 = 1;

const DOING: &str = "collecting artifacts";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// Sorted by path, each path once.
    pub entries: Vec<Entry>,
}

/// Paths are relative to the workspace, with `/`; modes are the nine permission bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Entry {
    File { path: String, mode: u32, size: u64, digest: Digest },
    Symlink { path: String, target: String },
    Directory { path: String, mode: u32 },
}

impl Entry {
    pub fn path(&self) -> &str {
        match self {
            Entry::File { path, .. } | Entry::Symlink { path, .. } | Entry::Directory { path, .. } => path,
        }
    }
}

/// Ceilings of one artifact.
#[derive(Debug, Clone, Copy)]
pub struct ArtifactLimits {
    /// Files, links and directories.
    pub entries: u64,
    pub bytes: u64,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        ArtifactLimits { entries: 200_000, bytes: 10 << 30 }
    }
}

/// What to take from where.
#[derive(Debug, Clone, Copy)]
pub struct Collect<'a> {
    /// The artifact's name.
    pub name: &'a str,
    /// The stage's folder.
    pub folder: &'a Path,
    /// Relative to the folder; see `Pattern` for what they mean. Each must match something.
    pub globs: &'a [String],
    /// Paths of the folder that no artifact holds: `.runner`, `.git`.
    pub exclude: &'a [String],
    pub limits: ArtifactLimits,
}

impl BlobStore {
    /// Takes an artifact out of a stage's folder.
    ///
    /// Symbolic links are kept as links, and none is followed, neither to a file nor on the way to one.
    ///
    /// # Errors
    /// A glob that matches nothing, special files, links that lead out, names that are not UTF-8, limits, the disk.
    pub fn collect(&self, what: &Collect<'_>) -> Result<Artifact> {
        let globs = what.globs.iter().map(|glob| {
            Pattern::new(glob).map_err(|reason| WorkspaceError::BadGlob { artifact: what.name.into(), glob: glob.clone(), reason })
        });
        let globs = globs.collect::<Result<Vec<_>>>()?;
        let root = open_root(what.folder).at(DOING, what.folder)?;
        let mut collector =
            Collector { what, root, store: self, matched: vec![false; globs.len()], globs: &globs, found: BTreeMap::new(), bytes: 0 };
        let start = globs.iter().map(Pattern::start).collect();
        collector.walk(start)?;
        if let Some((glob, _)) = globs.iter().zip(&collector.matched).find(|(_, matched)| !**matched) {
            let near = nearest(&collector.root, glob);
            return Err(WorkspaceError::NothingMatches { artifact: what.name.into(), glob: glob.text.clone(), near });
        }
        let bytes = collector.bytes;
        let entries: Vec<Entry> = collector.found.into_values().collect();
        let files = entries.iter().filter(|entry| !matches!(entry, Entry::Directory { .. })).count() as u64;
        let manifest = Manifest { format: MANIFEST_FORMAT, entries };
        let text = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        let digest = self.put(&text)?;
        Ok(Artifact { name: what.name.to_owned(), files, bytes, digest: digest.to_string() })
    }

    /// The manifest of an artifact, by its digest.
    ///
    /// # Errors
    /// If it is gone, corrupt, newer than this version, or leads out of the folder that it is for.
    pub fn manifest(&self, digest: &str) -> Result<Manifest> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let bad = |reason: String| WorkspaceError::BadManifest { digest: digest.to_owned(), reason };
        let text = self.get(&digest.parse()?)?;
        let header: Header = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if header.format > MANIFEST_FORMAT {
            return Err(bad(format!("its format is {}, this runner reads up to {MANIFEST_FORMAT}; use a newer one", header.format)));
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let mut before = "";
        for entry in &manifest.entries {
            let path = entry.path();
            if !is_normal(Path::new(path)) || path <= before {
                return Err(bad(format!("`{path}` is not a path that it can hold there")));
            }
            if let Entry::Symlink { path, target } = entry
                && !stays_inside(Path::new(path), Path::new(target))
            {
                return Err(bad(format!("the symbolic link `{path}` leads out")));
            }
            before = path;
        }
        Ok(manifest)
    }
}

struct Collector<'a> {
    what: &'a Collect<'a>,
    root: OwnedFd,
    store: &'a BlobStore,
    globs: &'a [Pattern],
    matched: Vec<bool>,
    found: BTreeMap<String, Entry>,
    bytes: u64,
}

impl Collector<'_> {
    fn walk(&mut self, start: Vec<Places>) -> Result<()> {
        let mut open = vec![(String::new(), start)];
        while let Some((path, places)) = open.pop() {
            let directory = match open_directory(&self.root, &path) {
                Ok(directory) => directory,
                // swapped or removed while we looked: as if it had not been there
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(errno).at(DOING, self.what.folder.join(&path)),
            };
            for (name, kind) in entries(&directory).at(DOING, self.what.folder.join(&path))? {
                let Some(name) = name.to_str() else {
                    let lossy = name.to_string_lossy();
                    if self.globs.iter().zip(&places).any(|(glob, places)| glob.matches(glob.step(*places, &lossy))) {
                        let path = Path::new(&path).join(&name);
                        return Err(WorkspaceError::NotUtf8 { artifact: self.what.name.into(), path });
                    }
                    continue;
                };
                let inner = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                if held_by(&inner, self.what.exclude).is_some() {
                    continue;
                }
                let places: Vec<Places> = self.globs.iter().zip(&places).map(|(glob, places)| glob.step(*places, name)).collect();
                let mut taken = false;
                for (matched, (glob, places)) in self.matched.iter_mut().zip(self.globs.iter().zip(&places)) {
                    let matches = glob.matches(*places);
                    *matched |= matches;
                    taken |= matches;
                }
                if taken {
                    self.take(&directory, name, inner.clone(), kind)?;
                }
                if kind == FileType::Directory && places.iter().any(|places| !places.is_dead()) {
                    open.push((inner, places));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, directory: &OwnedFd, name: &str, path: String, kind: FileType) -> Result<()> {
        let doing = |errno: Errno| WorkspaceError::io(DOING, self.what.folder.join(&path), errno);
        let entry = match kind {
            FileType::RegularFile => {
                let file = open(directory, name, OFlags::RDONLY, Mode::empty()).map_err(doing)?;
                let status = fstat(&file).map_err(doing)?;
                if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                    return Err(self.special(path, FileType::from_raw_mode(status.st_mode)));
                }
                if self.bytes.saturating_add(status.st_size as u64) > self.what.limits.bytes {
                    return Err(self.too_much(format!("{} bytes", self.what.limits.bytes)));
                }
                let from: PathBuf = self.what.folder.join(&path);
                let (digest, size) = self.store.put_file(&file, &from, self.what.limits.bytes - self.bytes)?;
                let Some(digest) = digest else { return Err(self.too_much(format!("{} bytes", self.what.limits.bytes))) };
                self.bytes += size;
                Entry::File { path, mode: status.st_mode & 0o777, size, digest }
            }
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new()).map_err(doing)?;
                let target = target
                    .into_string()
                    .map_err(|_| WorkspaceError::NotUtf8 { artifact: self.what.name.into(), path: PathBuf::from(&path) })?;
                if !stays_inside(Path::new(&path), Path::new(&target)) {
                    return Err(WorkspaceError::LinkLeadsOut { artifact: self.what.name.into(), path, target });
                }
                Entry::Symlink { path, target }
            }
            FileType::Directory => {
                let inner = open(directory, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(doing)?;
                Entry::Directory { mode: fstat(inner).map_err(doing)?.st_mode & 0o777, path }
            }
            other => return Err(self.special(path, other)),
        };
        self.found.insert(entry.path().to_owned(), entry);
        if self.found.len() as u64 > self.what.limits.entries {
            return Err(self.too_much(format!("{} files", self.what.limits.entries)));
        }
        Ok(())
    }

    fn special(&self, path: String, kind: FileType) -> WorkspaceError {
        WorkspaceError::SpecialFile { artifact: self.what.name.into(), path, kind: kind_name(kind) }
    }

    fn too_much(&self, limit: String) -> WorkspaceError {
        WorkspaceError::TooMuch { artifact: self.what.name.into(), limit }
    }
}

/// Where a glob that matched nothing comes closest to what is there.
fn nearest(root: &OwnedFd, glob: &Pattern) -> Option<String> {
    let mut path = String::new();
    for wanted in glob.literal() {
        let directory = open_directory(root, &path).ok()?;
        let names: Vec<String> = entries(&directory).ok()?.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect();
        if !names.iter().any(|name| name == wanted) {
            let likeness = |name: &String| strsim::jaro_winkler(name, wanted);
            let near = names.iter().filter(|name| likeness(name) > 0.8).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let here = if path.is_empty() { String::new() } else { format!("{path}/") };
            return Some(match near {
                Some(near) => format!("did you mean `{here}{near}`?"),
                None if path.is_empty() => format!("there is no `{wanted}` in the workspace"),
                None => format!("there is `{path}`, but no `{wanted}` in it"),
            });
        }
        path = if path.is_empty() { wanted.to_owned() } else { format!("{path}/{wanted}") };
    }
    match path.as_str() {
        "" => None,
        path => Some(format!("there is `{path}`, but nothing in it matches")),
    }
}
