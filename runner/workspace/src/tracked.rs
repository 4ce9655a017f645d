//! The names that a git index holds: files that a fresh clone has, whatever the ignore rules say.
//!
//! Reads versions 2 to 4 of the format (git's `Documentation/gitformat-index.txt`) and nothing but the names. An index that can't be read
//! answers no names: then the ignore rules alone decide.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A submodule's entry: a directory, which is found in its own right.
const GITLINK: u32 = 0o160_000;

/// The tracked files below `checkout`, relative to it, if it lies in a git repository.
pub fn tracked(checkout: &Path) -> Vec<PathBuf> {
    let Some((root, git)) = checkout.ancestors().find_map(|folder| Some((folder, git_folder(folder)?))) else { return Vec::new() };
    let Ok(index) = std::fs::read(git.join("index")) else { return Vec::new() };
    let sha256 = std::fs::read_to_string(git.join("config")).is_ok_and(|config| config.to_lowercase().contains("objectformat = sha256"));
    let Ok(below) = checkout.strip_prefix(root) else { return Vec::new() };
    let names = names(&index, if sha256 { 32 } else { 20 }).unwrap_or_default();
    names.into_iter().filter_map(|name| name.strip_prefix(below).ok().map(Path::to_owned)).collect()
}

/// `.git` of a repository's root; where it is a file (a worktree, a submodule), what that leads to.
fn git_folder(folder: &Path) -> Option<PathBuf> {
    let git = folder.join(".git");
    let found = std::fs::metadata(&git).ok()?;
    if found.is_dir() {
        return Some(git);
    }
    let text = std::fs::read_to_string(&git).ok()?;
    Some(folder.join(text.strip_prefix("gitdir:")?.trim()))
}

fn names(index: &[u8], hash: usize) -> Option<Vec<PathBuf>> {
    let number = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?));
    if index.get(..4)? != b"DIRC" {
        return None;
    }
    let (version, count) = (number(4)?, number(8)?);
    if !(2..=4).contains(&version) {
        return None;
    }
    let mut names = Vec::new();
    let mut name: Vec<u8> = Vec::new();
    let mut at = 12;
    for _ in 0..count {
        let start = at;
        let mode = number(start + 24)?;
        let flags_at = start + 40 + hash;
        let flags = u16::from_be_bytes(index.get(flags_at..flags_at + 2)?.try_into().ok()?);
        let extended = version >= 3 && flags & 0x4000 != 0;
        at = flags_at + if extended { 4 } else { 2 };
        if version == 4 {
            let (dropped, after) = offset(index, at)?;
            name.truncate(name.len().checked_sub(dropped)?);
            at = after;
        } else {
            name.clear();
        }
        let length = index.get(at..)?.iter().position(|byte| *byte == 0)?;
        name.extend_from_slice(&index[at..at + length]);
        at += length + 1;
        if version < 4 {
            // padded with zeros to a multiple of eight, counted from the entry's start
            at = start + (at - start).next_multiple_of(8);
        }
        if mode & 0o170_000 != GITLINK {
            names.push(PathBuf::from(OsString::from_vec(name.clone())));
        }
    }
    Some(names)
}

/// git's "offset encoding" of a number, and where it ends.
fn offset(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut byte = *bytes.get(at)?;
    let mut value = usize::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        at += 1;
        byte = *bytes.get(at)?;
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
    }
    Some((value, at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // made by git 2.47, see fixtures/README.md
    const V2: &[u8] = include_bytes!("../fixtures/index-v2");
    const V4: &[u8] = include_bytes!("../fixtures/index-v4");

    #[test]
    fn both_layouts_hold_the_same_names() {
        let expected: Vec<PathBuf> =
            ["Cargo.toml", "bin/tool", "docs/a.md", "docs/ab.md", "docs/deeper/still/deeper.md", "src/main.rs"].map(PathBuf::from).into();
        assert_eq!(names(V2, 20).unwrap(), expected);
        assert_eq!(names(V4, 20).unwrap(), expected);
    }

    #[test]
    fn a_damaged_index_is_no_panic() {
        for index in [V2, V4] {
            for end in 0..index.len() {
                let _ = names(&index[..end], 20);
            }
            for at in 0..index.len() {
                let mut damaged = index.to_vec();
                damaged[at] = 0xff;
                let _ = names(&damaged, 20);
                let _ = names(&damaged, 32);
            }
        }
        assert_eq!(names(b"", 20), None);
    }
}
