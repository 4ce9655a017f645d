//! A tar archive as a stream of entries, in memory that does not grow with it.
//!
//! The `tar` crate decodes the headers. The loop around them is our own, because the crate's reads long names and extended headers
//! whole, whatever length they claim, and an image is anybody's file. What is read: ustar, the GNU extensions for long names and large
//! numbers, and POSIX extended headers (`path`, `linkpath`, `size`). Deliberately absent: sparse files, which no image has; their
//! content would be passed over anyway.

use std::io::{self, BufReader, Read, Seek};

use tar::{EntryType, Header, PaxExtensions};

/// No path that a system takes is near this long.
const LONGEST_NAME: u64 = 1 << 20;
const BLOCK: u64 = 512;

/// Something that can be read, and passed over, perhaps faster than by reading.
pub trait Skip: Read {
    fn skip(&mut self, count: u64) -> io::Result<()>;
}

/// What can only be read from front to back.
pub struct Stream<R>(pub R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Stream<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.0).take(count), &mut io::sink())? {
            read if read == count => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read + Seek> Skip for BufReader<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.seek_relative(i64::try_from(count).map_err(io::Error::other)?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    HardLink,
    Symlink,
    /// A device, a FIFO.
    Other,
}

/// One entry; its content is what the archive reads next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it stands there.
    pub path: String,
    pub kind: Kind,
    pub size: u64,
    /// Where a link leads; empty for everything else.
    pub target: String,
    /// Where its content starts.
    pub offset: u64,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub enum Error {
    /// What is wrong with it.
    Broken(String),
    /// The stream below it broke.
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Broken("it ends in the middle".into()),
            _ => Self::Io(error),
        }
    }
}

/// Reads entries one after the other. The content of the current one is read through [`Read`]; what is left of it is skipped.
pub struct Entries<R> {
    reader: R,
    offset: u64,
    left: u64,
    padding: u64,
}

/// What the entries before an entry say about it.
#[derive(Default)]
struct Ahead {
    path: Option<String>,
    target: Option<String>,
    size: Option<u64>,
}

impl<R: Skip> Entries<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, offset: 0, left: 0, padding: 0 }
    }

    /// The next entry; `None` at the end of the archive.
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut ahead = Ahead::default();
        loop {
            let rest = self.left + self.padding;
            self.reader.skip(rest)?;
            self.offset += rest;
            (self.left, self.padding) = (0, 0);
            let Some(block) = self.block()? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            let broken = |what: &str| Error::Broken(format!("{what} at byte {}", self.offset - BLOCK));
            let sum: u64 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
            if header.cksum().ok().map(u64::from) != Some(sum) {
                return Err(broken("there is no tar header"));
            }
            let size = header.entry_size().map_err(|_| broken("a size is no number"))?;
            let kind = header.entry_type();
            self.left = ahead.size.filter(|_| !is_extension(kind)).unwrap_or(size);
            self.padding = self.left.checked_next_multiple_of(BLOCK).ok_or_else(|| broken("a size is too large"))? - self.left;
            match kind {
                EntryType::GNULongName => ahead.path = Some(text(&self.extension()?)),
                EntryType::GNULongLink => ahead.target = Some(text(&self.extension()?)),
                EntryType::XHeader => ahead.read(&self.extension()?)?,
                EntryType::XGlobalHeader => {}
                _ => {
                    let path = ahead.path.unwrap_or_else(|| text(&header.path_bytes()));
                    let target = ahead.target.or_else(|| header.link_name_bytes().map(|target| text(&target)));
                    let kind = match kind {
                        // Old archives mark a folder by its name alone.
                        EntryType::Regular | EntryType::Continuous if path.ends_with('/') => Kind::Folder,
                        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
                        EntryType::Directory => Kind::Folder,
                        EntryType::Link => Kind::HardLink,
                        EntryType::Symlink => Kind::Symlink,
                        _ => Kind::Other,
                    };
                    let target = target.filter(|_| matches!(kind, Kind::HardLink | Kind::Symlink)).unwrap_or_default();
                    return Ok(Some(Entry { path, kind, size: self.left, target, offset: self.offset }));
                }
            }
        }
    }

    /// What is below, for reading what follows the archive.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next header; `None` where the archive ends. Some writers leave out the blocks of zeros that should end it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>, Error> {
        let mut block = [0; BLOCK as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += BLOCK;
        Ok(if block.iter().all(|byte| *byte == 0) { None } else { Some(block) })
    }

    fn extension(&mut self) -> Result<Vec<u8>, Error> {
        if self.left > LONGEST_NAME {
            return Err(Error::Broken(format!("a name of {} bytes at byte {} is longer than any path", self.left, self.offset)));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or_default()];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.reader.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.left -= count as u64;
                self.offset += count as u64;
                Ok(count)
            }
        }
    }
}

impl Ahead {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for record in PaxExtensions::new(bytes) {
            let record = record?;
            match record.key() {
                Ok("path") => self.path = Some(text(record.value_bytes())),
                Ok("linkpath") => self.target = Some(text(record.value_bytes())),
                Ok("size") => {
                    let size = record.value().ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or_else(|| Error::Broken("the size in an extended header is no number".into()))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_extension(kind: EntryType) -> bool {
    kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() || kind.is_pax_global_extensions()
}

/// A path, without the zero that ends GNU's long ones. What is no UTF-8 names nothing that is looked for.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<(String, Kind, String)>, Error> {
        let mut entries = Entries::new(Stream(bytes));
        let mut found = Vec::new();
        while let Some(entry) = entries.next()? {
            let mut content = String::new();
            entries.read_to_string(&mut content)?;
            let shown = if entry.target.is_empty() { content } else { entry.target };
            found.push((entry.path, entry.kind, shown));
        }
        Ok(found)
    }

    fn sample() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: EntryType, content: &str| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            if kind.is_file() || kind.is_dir() {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes()).unwrap();
            } else {
                header.set_size(0);
                builder.append_link(&mut header, path, content).unwrap();
            }
        };
        add("etc/", EntryType::Directory, "");
        add("etc/a", EntryType::Regular, "alpha");
        add(&format!("etc/{}/b", "long".repeat(60)), EntryType::Regular, "beta");
        add("etc/c", EntryType::Link, "etc/a");
        add("etc/d", EntryType::Symlink, &format!("../{}", "far/".repeat(60)));
        builder.into_inner().unwrap()
    }

    #[test]
    fn entries_come_with_their_content() {
        let found = list(&sample()).unwrap();
        let expected = [
            ("etc/".into(), Kind::Folder, String::new()),
            ("etc/a".into(), Kind::File, "alpha".into()),
            (format!("etc/{}/b", "long".repeat(60)), Kind::File, "beta".into()),
            ("etc/c".into(), Kind::HardLink, "etc/a".into()),
            ("etc/d".into(), Kind::Symlink, format!("../{}", "far/".repeat(60))),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_can_seek_finds_the_same() {
        let bytes = sample();
        let mut entries = Entries::new(BufReader::new(Cursor::new(&bytes)));
        let mut paths = Vec::new();
        while let Some(entry) = entries.next().unwrap() {
            if entry.path == "etc/a" {
                assert_eq!(&bytes[usize::try_from(entry.offset).unwrap()..][..5], b"alpha");
            }
            paths.push(entry.path);
        }
        assert_eq!(paths.len(), 5);
    }

    #[test]
    fn extended_headers_are_read() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", "ä/long".as_bytes()), ("size", b"3")]).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(3);
        header.set_cksum();
        builder.append(&header, b"abc".as_slice()).unwrap();
        assert_eq!(list(&builder.into_inner().unwrap()).unwrap(), [("ä/long".into(), Kind::File, "abc".into())]);
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let whole = sample();
        let cut = list(&whole[..600]).unwrap_err();
        assert!(
            matches!(&cut, Error::Broken(what) if what == "there is no tar header at byte 512" || what == "it ends in the middle"),
            "{cut:?}"
        );
        assert!(matches!(list(&[b'x'; 2000]).unwrap_err(), Error::Broken(what) if what == "there is no tar header at byte 0"));
        assert!(matches!(list(b"short").unwrap_err(), Error::Broken(what) if what == "it ends in the middle"));
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_path("././@LongLink").unwrap();
        header.set_size(10 << 30);
        header.set_cksum();
        let error = list(header.as_bytes()).unwrap_err();
        assert!(matches!(&error, Error::Broken(what) if what.contains("10737418240 bytes")), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0..3000usize, byte in any::<u8>(), cut in 0..4000usize) {
            let mut bytes = sample();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut.min(length));
            let _ = list(&bytes);
        }
    }
}
