//! A cache's key: a chain of digests, one for each beginning of its parts.
//!
//! The first link holds what makes content useless elsewhere: the machine's operating system and architecture, and the cache's paths. Each
//! further link holds the one before it and one part, so two keys that share a link share everything up to there.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::beneath::{entries, held_by, open, open_directory, open_root};
use crate::error::{At, Result, WorkspaceError};
use crate::pattern::{Pattern, Places};
use crate::state::STATE_FOLDER;

const DOING: &str = "making a cache's key";
const BUFFER: usize = 256 << 10;

/// One part, as the pipeline file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    Text(String),
    /// The paths and the content of the files that fit.
    Files(Vec<String>),
}

/// The whole key and its beginnings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheKey {
    /// Hex, shortest beginning first.
    links: Vec<String>,
    parts: Vec<String>,
    /// Globs that no file fits.
    empty: Vec<String>,
}

impl CacheKey {
    /// Makes the key of a cache with these paths, for what lies in `workspace`.
    ///
    /// # Errors
    /// A glob that is none, a file that can't be read, the disk.
    pub fn new(paths: &[String], sources: &[KeySource], workspace: &Path) -> Result<CacheKey> {
        let mut first = blake3::Hasher::new();
        for text in ["cache 1", std::env::consts::OS, std::env::consts::ARCH] {
            add(&mut first, text.as_bytes());
        }
        paths.iter().for_each(|path| add(&mut first, path.as_bytes()));
        let mut link = first.finalize();
        let mut key = CacheKey { links: Vec::new(), parts: Vec::new(), empty: Vec::new() };
        for source in sources {
            let mut next = blake3::Hasher::new();
            add(&mut next, link.as_bytes());
            match source {
                KeySource::Text(text) => {
                    add(&mut next, b"text");
                    add(&mut next, text.as_bytes());
                    key.parts.push(format!("{text:?}"));
                }
                KeySource::Files(globs) => {
                    add(&mut next, b"files");
                    key.empty.extend(files(globs, workspace, &mut next)?);
                    let globs = globs.iter().map(|glob| format!("{glob:?}")).collect::<Vec<_>>().join(", ");
                    key.parts.push(format!("the files {globs}"));
                }
            }
            link = next.finalize();
            key.links.push(link.to_hex().to_string());
        }
        Ok(key)
    }

    /// How many parts it has.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// A part as people read it.
    pub fn part(&self, index: usize) -> Option<&str> {
        self.parts.get(index).map(String::as_str)
    }

    /// Globs that no file fits: such a part is the same whatever changes.
    pub fn fits_nothing(&self) -> &[String] {
        &self.empty
    }

    pub(super) fn parts(&self) -> Vec<String> {
        self.parts.clone()
    }

    /// The digest of its first `parts` parts, of which there is at least one.
    pub(super) fn beginning(&self, parts: usize) -> String {
        self.links[parts - 1].clone()
    }

    pub(super) fn beginnings(&self) -> Vec<String> {
        self.links.clone()
    }

    /// What an entry with this key is called.
    pub(super) fn name(&self) -> String {
        self.links.last().cloned().unwrap_or_default()
    }
}

/// With its length in front, so that no two lists of texts are the same bytes.
fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Adds the files that fit, sorted by path; answers the globs that none fits.
fn files(globs: &[String], workspace: &Path, hasher: &mut blake3::Hasher) -> Result<Vec<String>> {
    let bad = |glob: &String, reason: String| WorkspaceError::BadKeyGlob { glob: glob.clone(), reason };
    let patterns: Vec<Pattern> = globs.iter().map(|glob| Pattern::new(glob).map_err(|reason| bad(glob, reason))).collect::<Result<_>>()?;
    let root = open_root(workspace).at(DOING, workspace)?;
    let mut matched = vec![false; patterns.len()];
    let mut found: BTreeMap<String, blake3::Hash> = BTreeMap::new();
    let start: Vec<Places> = patterns.iter().map(Pattern::start).collect();
    let mut folders = vec![(String::new(), start)];
    let excluded = [STATE_FOLDER.to_owned(), ".git".to_owned()];
    while let Some((path, places)) = folders.pop() {
        let directory = match open_directory(&root, &path) {
            Ok(directory) => directory,
            // swapped or removed while we looked
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(errno).at(DOING, workspace.join(&path)),
        };
        for (name, kind) in entries(&directory).at(DOING, workspace.join(&path))? {
            let Some(name) = name.to_str() else { continue };
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            if held_by(&inner, &excluded).is_some() {
                continue;
            }
            let places: Vec<Places> = patterns.iter().zip(&places).map(|(pattern, places)| pattern.step(*places, name)).collect();
            let fits = |(pattern, places): (&Pattern, &Places)| pattern.matches(*places);
            if kind == FileType::Directory {
                if places.iter().any(|places| !places.is_dead()) {
                    folders.push((inner, places));
                }
            } else if kind == FileType::RegularFile && patterns.iter().zip(&places).any(fits) {
                for (matched, both) in matched.iter_mut().zip(patterns.iter().zip(&places)) {
                    *matched |= fits(both);
                }
                if let Some(digest) = content(&directory, name).at(DOING, workspace.join(&inner))? {
                    found.insert(inner, digest);
                }
            }
        }
    }
    for (path, digest) in &found {
        add(hasher, path.as_bytes());
        hasher.update(digest.as_bytes());
    }
    Ok(globs.iter().zip(matched).filter(|(_, matched)| !matched).map(|(glob, _)| glob.clone()).collect())
}

/// The digest of a file's bytes; none if it is gone.
fn content(directory: &std::os::fd::OwnedFd, name: &str) -> rustix::io::Result<Option<blake3::Hash>> {
    let file = match open(directory, name, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match rustix::io::read(&file, &mut buffer) {
            Ok(0) => return Ok(Some(hasher.finalize())),
            Ok(count) => drop(hasher.update(&buffer[..count])),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
