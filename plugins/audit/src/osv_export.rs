//! An offline copy of OSV: a folder of records (`GHSA-….json`), or the `all.zip` that osv.dev publishes per ecosystem.
//!
//! Only records about packages at hand are kept, so that an export of a whole ecosystem fits in a component's memory. A record
//! that cannot be read is an error: leaving it out would make the audit say less than the export does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use serde::Deserialize;

use crate::advisory::Advisory;
use crate::inventory::Ecosystem;
use crate::matching::Subject;

/// No record comes near this size; a zip entry that claims to is an attack or an accident.
const LARGEST_RECORD: u64 = 16 << 20;

/// The advisories of an export that are about the packages at hand.
#[derive(Debug, Default)]
pub struct Export {
    wanted: BTreeMap<Ecosystem, BTreeSet<String>>,
    advisories: BTreeMap<String, Advisory>,
    by_package: BTreeMap<(Ecosystem, String), BTreeSet<String>>,
    read: usize,
    newest: String,
    ecosystems: BTreeSet<Ecosystem>,
}

/// Just enough of a record to see whether it matters. What has no `id` or `modified`, which the schema requires, is another
/// kind of file: a folder of those must not pass for an export that knows of nothing.
#[derive(Deserialize)]
struct Glance {
    id: String,
    modified: String,
    #[serde(default)]
    affected: Option<Vec<GlanceAffected>>,
}

#[derive(Deserialize)]
struct GlanceAffected {
    #[serde(default)]
    package: Option<GlancePackage>,
}

#[derive(Deserialize)]
struct GlancePackage {
    ecosystem: String,
    name: String,
}

impl Export {
    /// An empty export that will keep what is about `subjects`.
    pub fn about(subjects: &[Subject]) -> Self {
        let mut export = Self::default();
        for subject in subjects {
            export.wanted.entry(subject.ecosystem).or_default().insert(canonical(subject));
        }
        export
    }

    /// Reads one record; `name` is for the error.
    pub fn add(&mut self, name: &str, json: &[u8]) -> Result<(), String> {
        let wrong = |what: String| format!("{name} is no OSV record: {what}. Fetch the export anew, or take the file out of it");
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let glance: Glance = serde_json::from_slice(json).map_err(|invalid| wrong(invalid.to_string()))?;
        if glance.id.is_empty() {
            return Err(wrong("it has an empty `id`".into()));
        }
        self.read += 1;
        let modified = glance.modified;
        if modified > self.newest {
            self.newest.clone_from(&modified);
        }
        let packages: Vec<GlancePackage> = glance.affected.into_iter().flatten().filter_map(|affected| affected.package).collect();
        let mut about: Vec<(Ecosystem, String)> = Vec::new();
        for package in packages {
            let Some((&ecosystem, names)) = self.wanted.iter().find(|(ecosystem, _)| ecosystem.is_named(&package.ecosystem)) else {
                continue;
            };
            self.ecosystems.insert(ecosystem);
            let name = ecosystem.canonical(&package.name);
            if names.contains(name.as_ref()) {
                about.push((ecosystem, name.into_owned()));
            }
        }
        if about.is_empty() {
            return Ok(());
        }
        let advisory = Advisory::parse(json).map_err(wrong)?;
        // "Given two different entries claiming to describe the same id, the one with the later modification time is considered
        // authoritative" (OSV schema, modified).
        if self.advisories.get(&advisory.id).is_some_and(|known| known.modified >= modified) {
            return Ok(());
        }
        for package in about {
            self.by_package.entry(package).or_default().insert(advisory.id.clone());
        }
        self.advisories.insert(advisory.id.clone(), advisory);
        Ok(())
    }

    /// Reads every record of an export in a zip archive.
    pub fn add_zip(&mut self, name: &str, archive: impl Read + Seek) -> Result<(), String> {
        let wrong = |what: &dyn std::fmt::Display| format!("{name} is no zip archive that can be read: {what}. Fetch it anew");
        let mut archive = zip::ZipArchive::new(archive).map_err(|error| wrong(&error))?;
        for index in 0..archive.len() {
            let entry = archive.by_index(index).map_err(|error| wrong(&error))?;
            let entry_name = format!("{name}: {}", entry.name().map_err(|error| wrong(&error))?);
            if entry.is_dir() || !entry_name.ends_with(".json") {
                continue;
            }
            let mut json = Vec::new();
            entry.take(LARGEST_RECORD + 1).read_to_end(&mut json).map_err(|error| wrong(&error))?;
            if json.len() as u64 > LARGEST_RECORD {
                return Err(format!("{entry_name} is larger than {} MiB, which no OSV record is", LARGEST_RECORD >> 20));
            }
            self.add(&entry_name, &json)?;
        }
        Ok(())
    }

    /// The advisories about a subject's package, of any version.
    pub fn find<'a>(&'a self, subject: &Subject) -> impl Iterator<Item = &'a Advisory> {
        let ids = self.by_package.get(&(subject.ecosystem, canonical(subject)));
        ids.into_iter().flatten().filter_map(|id| self.advisories.get(id))
    }

    /// The ecosystems of the subjects about which the export holds nothing at all: their packages are as good as not audited.
    pub fn gaps(&self, subjects: &[Subject]) -> BTreeSet<Ecosystem> {
        subjects.iter().map(|subject| subject.ecosystem).filter(|ecosystem| !self.ecosystems.contains(ecosystem)).collect()
    }

    /// How many records were read.
    pub fn records(&self) -> usize {
        self.read
    }

    /// When the newest record was last changed (RFC 3339); empty if none says.
    pub fn newest(&self) -> &str {
        &self.newest
    }
}

/// Records and lockfiles may spell a name differently.
fn canonical(subject: &Subject) -> String {
    subject.ecosystem.canonical(&subject.name).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn subject(name: &str) -> Subject {
        Subject { ecosystem: Ecosystem::Npm, name: name.into(), version: "1.0.0".into(), commit: None, places: vec![(0, 0)] }
    }

    fn record(id: &str, package: &str, modified: &str) -> Vec<u8> {
        json!({ "id": id, "modified": modified, "affected": [{ "package": { "ecosystem": "npm", "name": package } }] })
            .to_string()
            .into_bytes()
    }

    fn ids(export: &Export, name: &str) -> Vec<String> {
        export.find(&subject(name)).map(|advisory| format!("{} {}", advisory.id, advisory.modified)).collect()
    }

    #[test]
    fn only_what_matters_is_kept_and_the_newer_record_wins() {
        let mut export = Export::about(&[subject("a"), subject("b")]);
        for (id, package, modified) in
            [("A", "a", "2024-01-01"), ("A", "a", "2025-01-01"), ("A", "a", "2023-01-01"), ("B", "c", "2026-01-01"), ("C", "b", "")]
        {
            export.add("x.json", &record(id, package, modified)).unwrap();
        }
        assert_eq!(ids(&export, "a"), ["A 2025-01-01"]);
        assert_eq!(ids(&export, "b"), ["C "]);
        assert!(ids(&export, "c").is_empty());
        assert_eq!((export.records(), export.newest()), (5, "2026-01-01"));
    }

    #[test]
    fn zip_archives_are_read_whole() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for (name, content) in
            [("GHSA-1.json", record("GHSA-1", "a", "")), ("sub/GHSA-2.json", record("GHSA-2", "a", "")), ("README", b"no".to_vec())]
        {
            writer.start_file(name, options).unwrap();
            writer.write_all(&content).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        let mut export = Export::about(&[subject("a")]);
        export.add_zip("all.zip", Cursor::new(&bytes)).unwrap();
        assert_eq!(ids(&export, "a"), ["GHSA-1 ", "GHSA-2 "]);
        let cut = export.add_zip("all.zip", Cursor::new(&bytes[..bytes.len() / 2])).unwrap_err();
        assert!(cut.starts_with("all.zip is no zip archive that can be read: "), "{cut}");
    }

    #[test]
    fn a_broken_record_is_an_error_that_names_it() {
        let mut export = Export::about(&[subject("a")]);
        let error = export.add("osv/GHSA-1.json", b"{").unwrap_err();
        assert!(error.starts_with("osv/GHSA-1.json is no OSV record: ") && error.contains("line 1"), "{error}");
        let error = export.add("package.json", br#"{"name": "a", "version": "1.0.0"}"#).unwrap_err();
        assert!(error.contains("missing field `id`"), "{error}");
        assert!(
            export
                .add("x", br#"{"id": "A", "modified": "", "affected": [{"package": {"ecosystem": "npm", "name": "a"}, "ranges": 1}]}"#)
                .is_err()
        );
        assert_eq!(export.gaps(&[subject("a")]).len(), 0);
    }

    #[test]
    fn an_export_of_another_ecosystem_has_a_gap() {
        let mut export = Export::about(&[subject("a")]);
        export.add("x", br#"{"id": "A", "modified": "", "affected": [{"package": {"ecosystem": "crates.io", "name": "a"}}]}"#).unwrap();
        assert_eq!(export.gaps(&[subject("a")]), BTreeSet::from([Ecosystem::Npm]));
        assert!(export.gaps(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut export = Export::about(&[subject("a")]);
            let _ = export.add("x", &bytes);
            let _ = export.add_zip("x", Cursor::new(&bytes));
        }
    }
}
