//! What git's files say of the checkout: branch and commit, and where a folder is in it. Read, never asked of `git`: `check` and `plan` execute nothing, and a
//! repository's configuration can make `git` run programs.

use std::fs;
use std::path::{Path, PathBuf};

use report::Sources;

/// The head of a checkout.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Head {
    pub branch: Option<String>,
    pub sha: Option<String>,
}

/// The folder of the repository that holds `folder`.
pub fn top(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| git_folder(&folder.join(".git")).is_some()).map(Path::to_owned)
}

/// The head of the repository that holds `folder`; empty outside of one.
pub fn head(folder: &Path) -> Head {
    let Some(git) = folder.ancestors().find_map(|folder| git_folder(&folder.join(".git"))) else { return Head::default() };
    let Ok(text) = fs::read_to_string(git.join("HEAD")) else { return Head::default() };
    let text = text.trim();
    let Some(reference) = text.strip_prefix("ref: ") else {
        return Head { branch: None, sha: is_sha(text).then(|| text.to_owned()) };
    };
    // a worktree keeps its HEAD to itself and its branches with the others
    let common = fs::read_to_string(git.join("commondir")).map_or_else(|_| git.clone(), |path| git.join(path.trim()));
    let loose = fs::read_to_string(common.join(reference)).ok().map(|sha| sha.trim().to_owned());
    let sha = loose.or_else(|| packed(&common, reference)).filter(|sha| is_sha(sha));
    Head { branch: reference.strip_prefix("refs/heads/").map(str::to_owned), sha }
}

/// Where `folder` is inside its repository, for reports that count paths from there.
pub fn sources(folder: &Path) -> Sources {
    let top = top(folder);
    let below = top.as_ref().and_then(|top| folder.strip_prefix(top).ok());
    below.map(|below| Sources::below(&below.to_string_lossy())).unwrap_or_default()
}

/// `.git` is a folder, or in worktrees and submodules a file that names one.
fn git_folder(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let text = fs::read_to_string(path).ok()?;
    let named = text.trim().strip_prefix("gitdir: ")?;
    Some(path.parent()?.join(named))
}

fn packed(git: &Path, reference: &str) -> Option<String> {
    let text = fs::read_to_string(git.join("packed-refs")).ok()?;
    text.lines().find_map(|line| line.strip_suffix(reference)?.strip_suffix(' ').map(str::to_owned))
}

fn is_sha(text: &str) -> bool {
    (text.len() == 40 || text.len() == 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_folder_is_counted_from_the_root_of_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let shop = folder.path().join("services/shop");
        fs::create_dir_all(&shop).unwrap();
        assert_eq!(sources(&shop), Sources::default());
        fs::write(folder.path().join(".git"), "gitdir: elsewhere\n").unwrap();
        assert_eq!(sources(&shop), Sources::below("services/shop"));
        assert_eq!(sources(folder.path()), Sources::default());
    }

    #[test]
    fn heads() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        fs::create_dir_all(git.join("refs/heads/feature")).unwrap();
        assert_eq!(head(folder.path()), Head::default(), "no HEAD");
        fs::write(git.join("HEAD"), "ref: refs/heads/feature/x\n").unwrap();
        assert_eq!(head(folder.path()), Head { branch: Some("feature/x".into()), sha: None }, "no commit yet");
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{SHA} refs/heads/feature/x\n")).unwrap();
        assert_eq!(head(folder.path()).sha.as_deref(), Some(SHA), "packed");
        let other = SHA.replace('0', "f");
        fs::write(git.join("refs/heads/feature/x"), format!("{other}\n")).unwrap();
        assert_eq!(head(folder.path()).sha, Some(other.clone()), "loose wins");
        fs::write(git.join("HEAD"), format!("{other}\n")).unwrap();
        assert_eq!(head(folder.path()), Head { branch: None, sha: Some(other) }, "detached");
    }
}
