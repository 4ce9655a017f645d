//! What git's files say of the checkout: branch, commit, remote, and where a folder is in it. Read, never asked of `git`: `check` and `plan`
//! execute nothing, and a repository's configuration can make `git` run programs. What only `git` can tell is asked in [`ask`], and only
//! where the user wants it.

pub mod ask;

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
    let common = shared(&git);
    let loose = fs::read_to_string(common.join(reference)).ok().map(|sha| sha.trim().to_owned());
    let sha = loose.or_else(|| packed(&common, reference)).filter(|sha| is_sha(sha));
    Head { branch: reference.strip_prefix("refs/heads/").map(str::to_owned), sha }
}

/// Where the repository that holds `folder` keeps what its worktrees share.
pub fn common(folder: &Path) -> Option<PathBuf> {
    let git = folder.ancestors().find_map(|folder| git_folder(&folder.join(".git")))?;
    Some(shared(&git))
}

/// A worktree keeps its HEAD to itself and its branches with the others.
fn shared(git: &Path) -> PathBuf {
    fs::read_to_string(git.join("commondir")).map_or_else(|_| git.to_owned(), |path| git.join(path.trim()))
}

/// Whether the repository has a name such as `refs/tags/v1`.
pub fn has(folder: &Path, reference: &str) -> bool {
    common(folder).is_some_and(|common| common.join(reference).is_file() || packed(&common, reference).is_some())
}

/// Whether the history was cut off when it was fetched.
pub fn is_shallow(folder: &Path) -> bool {
    common(folder).is_some_and(|common| common.join("shallow").is_file())
}

/// The branch that the remote's own HEAD names: the one that others are made from.
pub fn default_branch(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(common(folder)?.join("refs/remotes/origin/HEAD")).ok()?;
    text.trim().strip_prefix("ref: refs/remotes/origin/").map(str::to_owned)
}

/// The URL of the remote `origin`, as the repository's own configuration says it.
pub fn remote(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(common(folder)?.join("config")).ok()?;
    let mut of_origin = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            of_origin = line.split_whitespace().collect::<Vec<_>>() == ["[remote", "\"origin\"]"];
        } else if let Some((key, value)) = line.split_once('=').filter(|_| of_origin)
            && key.trim().eq_ignore_ascii_case("url")
        {
            return Some(value.trim().trim_matches('"').to_owned()).filter(|url| !url.is_empty());
        }
    }
    None
}

/// A remote's URL without what differs between those who use the same repository: scheme, user, password, port, `.git`.
pub fn repository_name(url: &str) -> String {
    let url = url.trim();
    let (authority, path) = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        // git@host:path, or a path
        None => url.split_once(':').filter(|(host, _)| !host.contains('/')).unwrap_or(("", url)),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    format!("{host}/{path}").to_ascii_lowercase()
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
        assert!(has(folder.path(), "refs/heads/feature/x") && !has(folder.path(), "refs/tags/v1"));
    }

    #[test]
    fn remotes() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        fs::create_dir_all(git.join("refs/remotes/origin")).unwrap();
        assert_eq!(remote(folder.path()), None, "no configuration");
        let config = "[core]\n\turl = wrong\n[remote \"fork\"]\n\turl = also\n[remote \"origin\"]\n\tfetch = x\n\turl = git@git.example:acme/Shop.git\n";
        fs::write(git.join("config"), config).unwrap();
        assert_eq!(remote(folder.path()).as_deref(), Some("git@git.example:acme/Shop.git"));
        fs::write(git.join("refs/remotes/origin/HEAD"), "ref: refs/remotes/origin/trunk\n").unwrap();
        assert_eq!(default_branch(folder.path()).as_deref(), Some("trunk"));
    }

    #[test]
    fn a_repository_has_one_name_however_it_is_reached() {
        for url in [
            "git@git.example:acme/Shop.git",
            "https://git.example/acme/shop",
            "https://user:token@git.example/acme/shop.git/",
            "ssh://git@git.example:2222/acme/shop.git",
            "git://git.example/acme/shop.git",
        ] {
            assert_eq!(repository_name(url), "git.example/acme/shop", "{url}");
        }
        assert_ne!(repository_name("https://git.example/mallory/shop"), repository_name("https://git.example/acme/shop"));
        assert_eq!(repository_name("/srv/git/shop.git"), "/srv/git/shop");
    }
}
