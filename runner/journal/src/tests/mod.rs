mod crash;
mod errors;
mod fixture;
mod order;
mod readers;
mod records;
mod resume;
mod sample;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A run's folder in a folder that goes away.
pub struct Bench {
    _keep: TempDir,
    pub folder: PathBuf,
}

pub fn bench() -> Bench {
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    Bench { _keep: keep, folder }
}

/// What is in a folder, as sorted names.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
