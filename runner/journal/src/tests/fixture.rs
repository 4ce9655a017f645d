//! A journal of every format that ever was, written by the runner of its time.

use std::path::{Path, PathBuf};

use super::bench;
use super::sample::*;
use crate::*;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("v{version}"))
}

#[test]
fn format_1_is_read() {
    // A copy, for the sources need not be writable by whoever tests them.
    let bench = bench();
    let status = std::process::Command::new("cp").arg("-r").arg(fixture(1).join(".")).arg(&bench.folder).status();
    assert!(status.unwrap().success());
    assert_all(&Reader::open(&bench.folder).unwrap());
    check(&bench.folder).unwrap();
    let journal = Journal::resume(&bench.folder).unwrap();
    assert_eq!((journal.session(), journal.attempts().unwrap().len()), (2, 1));
}

/// Only for a new format: those that are there stay as they are.
#[test]
#[ignore = "writes the fixture of the newest format"]
fn write() {
    let folder = fixture(1);
    std::fs::create_dir_all(&folder).unwrap();
    let journal = Journal::create(&folder, &header()).unwrap();
    record_all(&journal);
    approve(&folder, &approval()).unwrap();
    journal.close().unwrap();
}
