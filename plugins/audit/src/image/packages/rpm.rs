//! rpm's database: a header for each installed package, in one of three kinds of file.
//!
//! A header is an index of tags and a store of their values (rpm's "Package File Format", section "Header"). The files that hold
//! them are read here too, as far as walking them from front to back needs it, because no crate in Rust alone does: [`sqlite`],
//! [`ndb`] and [`hash`]. Deliberately absent: modules (`MODULARITYLABEL`), whose advisories state ranges like all others.

mod hash;
mod ndb;
mod sqlite;

use super::{Installed, owned, package};
use crate::image::wanted::Database;
use crate::inventory::{Package, SourcePackage};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const SOURCE_RPM: u32 = 1044;
const DIRECTORY_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIRECTORY_NAMES: u32 = 1118;

pub fn read(database: Database, bytes: &[u8]) -> Result<Installed, String> {
    let mut installed = Installed::default();
    let mut add = |blob: &[u8]| {
        let header = Header::parse(blob)?;
        installed.packages.extend(header.package()?);
        header.files(&mut installed.owns);
        Ok(())
    };
    match database {
        Database::Sqlite => sqlite::blobs(bytes, &mut add)?,
        Database::Ndb => ndb::blobs(bytes, &mut add)?,
        Database::Hash => hash::blobs(bytes, &mut add)?,
    }
    Ok(installed)
}

/// What SQLite wrote ahead and has not put into the database yet.
pub fn journal(bytes: &[u8]) -> Result<(), String> {
    // The file's own header is 32 bytes; frames follow it.
    match bytes.len() {
        0..=32 => Ok(()),
        _ => Err(
            "it holds changes that are not in the database yet, and would go unseen; `rpm -qa` as the image's last step puts them there"
                .into(),
        ),
    }
}

struct Header<'a> {
    index: Vec<[u32; 4]>,
    store: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Result<Self, String> {
        let broken = || "a package's header in it is cut off".to_owned();
        let count = usize::try_from(big_endian(blob, 0).ok_or_else(broken)?).map_err(|_| broken())?;
        let start = count.checked_mul(16).and_then(|index| index.checked_add(8)).ok_or_else(broken)?;
        let store = blob.get(start..).ok_or_else(broken)?;
        let index = blob[8..start].chunks_exact(16).map(|entry| [0, 4, 8, 12].map(|at| big_endian(entry, at).unwrap_or_default()));
        Ok(Self { index: index.collect(), store })
    }

    /// The values of a tag: where they start, and how many there are.
    fn tag(&self, tag: u32) -> Option<(&'a [u8], usize)> {
        let [_, _, offset, count] = self.index.iter().find(|[known, ..]| *known == tag)?;
        Some((self.store.get(usize::try_from(*offset).ok()?..)?, usize::try_from(*count).ok()?))
    }

    /// Its texts; each ends with a zero.
    fn texts(&self, tag: u32) -> Vec<String> {
        let Some((values, count)) = self.tag(tag) else { return Vec::new() };
        values.split(|byte| *byte == 0).take(count).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn text(&self, tag: u32) -> String {
        self.texts(tag).into_iter().next().unwrap_or_default()
    }

    fn number(&self, tag: u32, at: usize) -> Option<u32> {
        let (values, count) = self.tag(tag)?;
        if at < count { big_endian(values, at.checked_mul(4)?) } else { None }
    }

    /// `None` for a key that signs packages, which rpm keeps among them.
    fn package(&self) -> Result<Option<Package>, String> {
        let (name, version, release) = (self.text(NAME), self.text(VERSION), self.text(RELEASE));
        if name.is_empty() || version.is_empty() {
            return Err("a package in it has no name or no version".into());
        }
        if name == "gpg-pubkey" {
            return Ok(None);
        }
        let epoch = self.number(EPOCH, 0).filter(|epoch| *epoch > 0).map_or_else(String::new, |epoch| format!("{epoch}:"));
        let mut package = package(&name, &format!("{epoch}{version}-{release}"), &self.text(LICENSE));
        let source = self.text(SOURCE_RPM);
        // `openssl-3.0.7-25.el9.src.rpm`; the epoch is not in there.
        let source = source.strip_suffix(".src.rpm").or_else(|| source.strip_suffix(".nosrc.rpm")).unwrap_or_default();
        if let [release, version, source_name] = source.rsplitn(3, '-').collect::<Vec<_>>()[..] {
            let source = SourcePackage { name: source_name.into(), version: format!("{epoch}{version}-{release}") };
            if (&source.name, &source.version) != (&package.name, &package.version) {
                package.source = Some(source);
            }
        }
        Ok(Some(package))
    }

    fn files(&self, owns: &mut Vec<String>) {
        let folders = self.texts(DIRECTORY_NAMES);
        for (at, name) in self.texts(BASE_NAMES).into_iter().enumerate() {
            let folder = self.number(DIRECTORY_INDEXES, at).and_then(|index| folders.get(usize::try_from(index).ok()?));
            owns.extend(folder.and_then(|folder| owned(&format!("{folder}{name}"))));
        }
    }
}

fn big_endian(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn little_endian(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    const SQLITE: &[u8] = include_bytes!("../../../fixtures/image/rpmdb.sqlite.gz");
    const NDB: &[u8] = include_bytes!("../../../fixtures/image/Packages.db.gz");
    const HASH: &[u8] = include_bytes!("../../../fixtures/image/Packages.gz");

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut unpacked).unwrap();
        unpacked
    }

    #[test]
    fn each_kind_of_database_says_the_same() {
        for (database, bytes) in [(Database::Sqlite, SQLITE), (Database::Ndb, NDB), (Database::Hash, HASH)] {
            let mut installed = read(database, &unpacked(bytes)).unwrap();
            installed.packages.sort_by(|one, other| one.name.cmp(&other.name));
            let seen: Vec<_> = installed.packages.iter().map(|package| (package.label(), package.sought())).collect();
            let expected = [
                ("openssl-libs 1:3.0.7-25.el9".to_owned(), ("openssl", "1:3.0.7-25.el9")),
                ("python3-six 1.15.0-9.el9".to_owned(), ("python-six", "1.15.0-9.el9")),
                ("tzdata 2024a-1.el9".to_owned(), ("tzdata", "2024a-1.el9")),
            ];
            assert_eq!(seen, expected, "{database:?}");
            assert_eq!(installed.owns, ["usr/lib/python3.9/site-packages/six-1.15.0.dist-info/METADATA"], "{database:?}");
        }
    }

    #[test]
    fn what_is_no_database_is_an_error() {
        for database in [Database::Sqlite, Database::Ndb, Database::Hash] {
            for bytes in [&b""[..], b"SQLite format 3\0", &[0; 5000]] {
                assert!(read(database, bytes).is_err(), "{database:?}");
            }
        }
        assert!(journal(&[0; 32]).is_ok() && journal(&[0; 5000]).unwrap_err().contains("not in the database yet"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0..200_000usize, with in prop::collection::vec(any::<u8>(), 1..8), cut in 0..400_000usize) {
            for (database, bytes) in [(Database::Sqlite, SQLITE), (Database::Ndb, NDB), (Database::Hash, HASH)] {
                let mut bytes = unpacked(bytes);
                let length = bytes.len();
                for (offset, byte) in with.iter().enumerate() {
                    bytes[(at + offset) % length] = *byte;
                }
                bytes.truncate(cut.max(1));
                let _ = read(database, &bytes);
            }
        }
    }
}
