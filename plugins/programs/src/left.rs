//! Files that a program left, told from files that were there before.
//!
//! A report from last week in the checkout, read after a run that wrote none, would be last week's answer. So what matches a
//! pattern is looked at before the run, and only what is new or changed after it counts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::glob;

/// Folders that a pattern reaches only by naming them.
const PASSED_OVER: [&str; 3] = [".git", "node_modules", ".runner"];

/// Files deeper than this below a pattern's fixed part are not looked for.
const DEEPEST: usize = 32;

/// What matched a pattern before the run.
#[derive(Debug)]
pub struct Before {
    folder: PathBuf,
    pattern: String,
    seen: HashMap<String, (u64, Option<SystemTime>)>,
}

/// What a run left.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// New or changed, sorted.
    pub fresh: Vec<PathBuf>,
    /// There before and unchanged, sorted.
    pub stale: Vec<PathBuf>,
}

impl Before {
    /// Looks at what matches `pattern` below `folder`. An absolute pattern stands for itself.
    pub fn of(folder: &Path, pattern: &str) -> io::Result<Self> {
        let (folder, pattern) = match pattern.strip_prefix('/') {
            Some(pattern) => (PathBuf::from("/"), crate::paths::normalise(pattern)),
            None => (folder.to_owned(), crate::paths::normalise(pattern)),
        };
        let seen = matching(&folder, &pattern)?.into_iter().collect();
        Ok(Self { folder, pattern, seen })
    }

    /// Looks again, after the run.
    pub fn left(&self) -> io::Result<Left> {
        let mut left = Left { fresh: Vec::new(), stale: Vec::new() };
        for (path, state) in matching(&self.folder, &self.pattern)? {
            let unchanged = self.seen.get(&path) == Some(&state);
            // where times are not kept, a file of the same size may well be a new one
            let certain = state.1.is_some();
            let list = if unchanged && certain { &mut left.stale } else { &mut left.fresh };
            list.push(self.folder.join(path));
        }
        left.fresh.sort();
        left.stale.sort();
        Ok(left)
    }
}

type State = (u64, Option<SystemTime>);

fn matching(folder: &Path, pattern: &str) -> io::Result<Vec<(String, State)>> {
    let mut found = Vec::new();
    if glob::is_pattern(pattern) {
        let root = glob::root(pattern);
        walk(folder, &root, pattern, 0, &mut found)?;
    } else if let Some(state) = state(&folder.join(pattern))? {
        found.push((pattern.to_owned(), state));
    }
    Ok(found)
}

fn walk(folder: &Path, below: &str, pattern: &str, depth: usize, found: &mut Vec<(String, State)>) -> io::Result<()> {
    let entries = match fs::read_dir(if below.is_empty() { folder.to_owned() } else { folder.join(below) }) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        // a folder further down that is not granted has no report for this stage
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && depth > 0 => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        // not following links: they may lead in circles, and out
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let named = pattern.split('/').any(|segment| segment == name);
            if depth < DEEPEST && (named || !PASSED_OVER.contains(&name.as_str())) {
                walk(folder, &path, pattern, depth + 1, found)?;
            }
        } else if kind.is_file()
            && glob::matches(pattern, &path)
            && let Some(state) = state(&folder.join(&path))?
        {
            found.push((path, state));
        }
    }
    Ok(())
}

fn state(path: &Path) -> io::Result<Option<State>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            let changed = metadata.modified().ok().filter(|time| *time != UNIX_EPOCH);
            Ok(Some((metadata.len(), changed)))
        }
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_the_run_wrote_is_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("target/deep")).unwrap();
        fs::create_dir_all(at("node_modules/x")).unwrap();
        for name in ["target/old.xml", "target/again.xml", "node_modules/x/a.xml", "other.txt"] {
            fs::write(at(name), "<a/>").unwrap();
            fs::File::options().write(true).open(at(name)).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
        }
        let before = Before::of(folder.path(), "**/*.xml").unwrap();
        let single = Before::of(folder.path(), "./target/again.xml").unwrap();
        let missing = Before::of(folder.path(), "gone/x.xml").unwrap();
        fs::write(at("target/again.xml"), "<b/>").unwrap();
        fs::write(at("target/deep/new.xml"), "<c/>").unwrap();
        let left = before.left().unwrap();
        assert_eq!(left.fresh, [at("target/again.xml"), at("target/deep/new.xml")]);
        assert_eq!(left.stale, [at("target/old.xml")]);
        assert_eq!(single.left().unwrap().fresh, [at("target/again.xml")]);
        assert_eq!(missing.left().unwrap(), Left { fresh: Vec::new(), stale: Vec::new() });
    }
}
