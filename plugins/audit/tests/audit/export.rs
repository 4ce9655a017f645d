//! The offline export under `fixtures/osv`, read for a set of lockfiles.

use std::path::PathBuf;

use plugin_audit::inventory::Lockfile;
use plugin_audit::matching::{Subjects, Vulnerability, decide, join_all, subjects};
use plugin_audit::osv_export::Export;

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/osv")
}

/// The subjects of some lockfiles and what the export says of each.
pub fn look_up(lockfiles: &[Lockfile]) -> (Subjects, Vec<Vec<Vulnerability>>) {
    let subjects = subjects(lockfiles, |_| true);
    let mut export = Export::about(&subjects.list);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        export.add(&path.display().to_string(), &std::fs::read(&path).unwrap()).unwrap();
    }
    let vulnerabilities = subjects.list.iter().map(|subject| join_all(subject, decide(subject, export.find(subject)))).collect();
    (subjects, vulnerabilities)
}

#[test]
fn every_record_is_named_after_its_id() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(path.file_stem().unwrap().to_str(), record["id"].as_str(), "{}", path.display());
    }
}
