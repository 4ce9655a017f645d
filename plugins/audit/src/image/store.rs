//! What an image's files are read from: an archive, or a folder.
//!
//! [`Store`] is all that the rest knows, so an image that an engine saves to a file is one more [`Archive`]. An archive is indexed once,
//! without reading what its files hold; each is then read in its own place.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Take};

use runner_sdk::files;

use super::ImageError;
use super::tar::{Entries, Error, Kind};

const BUFFER: usize = 128 << 10;
/// An image has a few files for each layer.
const MOST_FILES: usize = 10_000;
/// How many links may lead to one another.
const MOST_LINKS: usize = 8;

/// A file of an image: a manifest, a configuration, a layer.
pub struct Blob<'a> {
    pub size: u64,
    pub content: Box<dyn Read + 'a>,
}

/// The files of an image, by their path (`manifest.json`, `blobs/sha256/…`).
pub trait Store {
    /// Opens one; `None` if there is none.
    fn open(&mut self, path: &str) -> Result<Option<Blob<'_>>, ImageError>;

    /// All of a small one; `None` if there is none.
    fn read(&mut self, path: &str, most: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(blob) = self.open(path)? else { return Ok(None) };
        if blob.size > most {
            let what = format!("it has {} bytes, which no file of that kind has", blob.size);
            return Err(ImageError::new(path, what, "Save the image again"));
        }
        let mut bytes = Vec::new();
        blob.content
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| ImageError::new(path, format!("it cannot be read: {error}"), "Save the image again"))?;
        Ok(Some(bytes))
    }
}

/// A tar archive, as `docker save` and the tools around OCI write it.
pub struct Archive<R> {
    reader: BufReader<R>,
    files: BTreeMap<String, Place>,
}

#[derive(Clone)]
enum Place {
    At {
        offset: u64,
        size: u64,
    },
    /// Old engines write a layer that occurs twice as a link.
    Link(String),
}

impl<R: Read + Seek> Archive<R> {
    /// Finds out where which file is. `name` is the archive's own, for errors.
    pub fn index(name: &str, mut reader: R) -> Result<Self, ImageError> {
        let broken = |what: String| ImageError::new(name, format!("it is no tar archive that can be read: {what}"), mend_archive());
        let mut start = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut start).map_err(|error| broken(error.to_string()))?;
        if start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd] {
            let what = "it is compressed as a whole, and its files can only be found in a plain archive";
            return Err(ImageError::new(name, what, "Unpack it first, with `gunzip` or `unzstd`; its layers may stay compressed"));
        }
        let length = reader.seek(SeekFrom::End(0)).map_err(|error| broken(error.to_string()))?;
        reader.rewind().map_err(|error| broken(error.to_string()))?;
        let mut entries = Entries::new(BufReader::with_capacity(BUFFER, reader));
        let mut files = BTreeMap::new();
        let wrong = |error| match error {
            Error::Broken(what) => broken(what),
            Error::Io(error) => broken(error.to_string()),
        };
        while let Some(entry) = entries.next().map_err(wrong)? {
            if entry.offset.saturating_add(entry.size) > length {
                return Err(broken(format!("it ends in the middle of {}", entry.path)));
            }
            let path = entry.path.trim_start_matches("./").to_owned();
            let place = match entry.kind {
                Kind::File => Place::At { offset: entry.offset, size: entry.size },
                Kind::HardLink => Place::Link(entry.target.trim_start_matches("./").to_owned()),
                Kind::Symlink => match beneath(&path, &entry.target) {
                    Some(target) => Place::Link(target),
                    None => return Err(broken(format!("its link {path} leads out of it, to {}", entry.target))),
                },
                Kind::Folder | Kind::Other => continue,
            };
            files.insert(path, place);
            if files.len() > MOST_FILES {
                return Err(broken(format!("it has more than {MOST_FILES} files, which no image has")));
            }
        }
        if files.is_empty() {
            return Err(broken("there is no file in it".into()));
        }
        Ok(Self { reader: entries.into_inner(), files })
    }
}

fn mend_archive() -> &'static str {
    "Name what `docker save -o image.tar IMAGE` wrote, or an OCI layout (a folder, or a tar of it)"
}

/// Where a link in an archive leads, if it stays in there.
fn beneath(link: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        return None;
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl<R: Read + Seek> Store for Archive<R> {
    fn open(&mut self, path: &str) -> Result<Option<Blob<'_>>, ImageError> {
        let mut place = self.files.get(path);
        for _ in 0..MOST_LINKS {
            match place {
                Some(Place::Link(target)) => place = self.files.get(target),
                _ => break,
            }
        }
        let (offset, size) = match place {
            Some(Place::At { offset, size }) => (*offset, *size),
            Some(Place::Link(_)) => return Err(ImageError::new(path, "its links lead in a circle", "Save the image again")),
            None => return Ok(None),
        };
        self.reader
            .seek(SeekFrom::Start(offset))
            .map_err(|error| ImageError::new(path, format!("it cannot be read: {error}"), "Save the image again"))?;
        let content: Take<&mut BufReader<R>> = (&mut self.reader).take(size);
        Ok(Some(Blob { size, content: Box::new(content) }))
    }
}

/// An OCI layout that is a folder. The host sees to it that nothing outside of what was granted can be opened.
pub struct Folder {
    path: String,
}

impl Folder {
    pub fn new(path: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned() }
    }
}

impl Store for Folder {
    fn open(&mut self, path: &str) -> Result<Option<Blob<'_>>, ImageError> {
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ImageError::new(path, "this path leads out of the image", "Save the image again"));
        }
        let path = format!("{}/{path}", self.path);
        let file = match files::open(&path) {
            Ok(file) => file,
            Err(error) if error.source.kind() == ErrorKind::NotFound && error.denial().is_none() => return Ok(None),
            Err(error) => return Err(ImageError::File(error)),
        };
        let size = file.metadata().map_err(|source| ImageError::File(files::Error { operation: "read", path: path.into(), source }))?.len();
        Ok(Some(Blob { size, content: Box::new(BufReader::with_capacity(BUFFER, file)) }))
    }
}
