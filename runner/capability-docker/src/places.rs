//! Which of the stage's files a container or a build may have: what `files` grants, and nothing that leads out of it.
//!
//! An engine opens a mount's source by its path, links and all, some time after anybody looked. So a source has to stand firm: no folder above
//! it may be one in which the stage, or a container of it, can put a link in its place. That holds for `/workspace`, `/scratch`, each granted
//! path (which is a mount point wherever the stage's programs run), and all that lies below what the stage can only read.

use capability::Setting;
use capability::state::{SCRATCH, WORKSPACE};
use pipeline::grant::MountRule;
use serde::{Deserialize, Serialize};

/// A file or folder of the stage, as it is called inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub root: Root,
    /// Relative to the root, without `.`, `..` and double slashes; `.` for the root itself.
    pub path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    Workspace,
    Scratch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    None,
    Read,
    Write,
}

impl Place {
    /// None if the path is none of the stage's: it starts elsewhere, or leaves by `..`.
    pub fn parse(path: &str) -> Option<Place> {
        if path.contains('\0') || path.contains('\\') {
            return None;
        }
        let (root, rest) = [(Root::Workspace, WORKSPACE), (Root::Scratch, SCRATCH)].into_iter().find_map(|(root, name)| {
            let rest = path.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((root, rest))
        })?;
        let mut parts: Vec<&str> = Vec::new();
        for part in rest.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()?),
                part => parts.push(part),
            }
        }
        let path = if parts.is_empty() { ".".to_owned() } else { parts.join("/") };
        Some(Place { root, path })
    }

    /// A path below this one.
    pub fn join(&self, below: &str) -> Place {
        let path = if self.path == "." { below.to_owned() } else { format!("{}/{below}", self.path) };
        Place { root: self.root, path }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = match self.root {
            Root::Workspace => WORKSPACE,
            Root::Scratch => SCRATCH,
        };
        if self.path == "." { f.write_str(root) } else { write!(f, "{root}/{}", self.path) }
    }
}

/// What the stage may have of its files.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub mounts: &'a [MountRule],
    pub hidden: &'a [String],
    pub protected: &'a [String],
}

impl<'a> View<'a> {
    pub fn of(setting: &'a Setting) -> View<'a> {
        let mounts = if setting.workspace.is_some() { setting.mounts.as_slice() } else { &[] };
        View { mounts, hidden: &setting.hidden, protected: &setting.protected }
    }

    /// The longest granted path decides; what is hidden or protected is so whatever is granted.
    pub fn access(&self, place: &Place) -> Access {
        if place.root == Root::Scratch {
            return Access::Write;
        }
        let path = place.path.as_str();
        if self.hidden.iter().any(|hidden| lies_in(path, hidden)) {
            return Access::None;
        }
        let rule = self.mounts.iter().filter(|rule| rule.path == "." || lies_in(path, &rule.path)).max_by_key(|rule| depth(&rule.path));
        match rule {
            None => Access::None,
            Some(rule) if !rule.writable || self.protected.iter().any(|protected| lies_in(path, protected)) => Access::Read,
            Some(_) => Access::Write,
        }
    }

    /// Whether nobody of the stage can put a link in its place.
    pub fn stands_firm(&self, place: &Place) -> bool {
        if place.path == "." {
            return true;
        }
        if place.root == Root::Scratch {
            return false;
        }
        if self.mounts.iter().any(|rule| rule.path == place.path) {
            return true;
        }
        let above = match place.path.rsplit_once('/') {
            Some((above, _)) => above.to_owned(),
            None => ".".to_owned(),
        };
        // upwards until a mount point: nobody can replace that
        let above = Place { root: place.root, path: above };
        self.access(&above) != Access::Write && self.stands_firm(&above)
    }

    /// What lies below a writable place and is only to be read there; and what lies below any place and is not to be seen.
    pub fn exceptions(&self, place: &Place, writable: bool) -> (Vec<String>, Vec<String>) {
        if place.root == Root::Scratch {
            return (Vec::new(), Vec::new());
        }
        let below = |path: &str| path != "." && (place.path == "." || (lies_in(path, &place.path) && path != place.path));
        let kept = self.mounts.iter().filter(|rule| !rule.writable).map(|rule| &rule.path).chain(self.protected);
        let mut read_only: Vec<String> = kept.filter(|path| writable && below(path)).cloned().collect();
        read_only.sort();
        read_only.dedup();
        (read_only, self.hidden.iter().filter(|path| below(path)).cloned().collect())
    }
}

fn depth(path: &str) -> usize {
    if path == "." { 0 } else { path.split('/').count() }
}

/// Whether a path is another or lies below it, with letters of either case taken for the same: some file systems do.
fn lies_in(path: &str, folder: &str) -> bool {
    let (path, folder) = (path.to_lowercase(), folder.to_lowercase());
    path.strip_prefix(&folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (path, place) in [
            ("/workspace", Some("/workspace")),
            ("/workspace/", Some("/workspace")),
            ("/workspace/a//b/./c", Some("/workspace/a/b/c")),
            ("/workspace/a/../b", Some("/workspace/b")),
            ("/scratch/x", Some("/scratch/x")),
            ("/workspace/..", None),
            ("/workspace/../etc", None),
            ("/workspace/../workspace", None),
            ("/workspaces", None),
            ("workspace", None),
            ("/", None),
            ("", None),
            (".", None),
            ("/var/run/docker.sock", None),
            ("//workspace", None),
            ("/proc/self/cwd", None),
            ("\\workspace", None),
            ("/workspace\0/etc", None),
        ] {
            assert_eq!(Place::parse(path).map(|place| place.to_string()).as_deref(), place, "{path:?}");
        }
    }

    fn rule(path: &str, writable: bool) -> MountRule {
        MountRule { path: path.into(), writable }
    }

    #[test]
    fn access_and_firmness() {
        let mounts = [rule(".", false), rule("web", true), rule("web/keys", false), rule("web/keys/out", true)];
        let (hidden, protected) = ([".runner".to_owned()], [".git".to_owned(), "web/pipeline.toml".to_owned()]);
        let view = View { mounts: &mounts, hidden: &hidden, protected: &protected };
        for (path, access, firm) in [
            ("/workspace", Access::Read, true),
            ("/workspace/api", Access::Read, true),
            ("/workspace/api/deep/er", Access::Read, true),
            ("/workspace/web", Access::Write, true),
            ("/workspace/WEB", Access::Write, true),
            ("/workspace/web/src", Access::Write, false),
            ("/workspace/web/src/a", Access::Write, false),
            ("/workspace/web/keys", Access::Read, true),
            ("/workspace/web/keys/a", Access::Read, true),
            ("/workspace/web/keys/out", Access::Write, true),
            ("/workspace/web/keys/out/a", Access::Write, false),
            ("/workspace/web/pipeline.toml", Access::Read, false),
            ("/workspace/.git/hooks", Access::Read, true),
            ("/workspace/.runner", Access::None, true),
            ("/workspace/.Runner/runs", Access::None, true),
            ("/scratch", Access::Write, true),
            ("/scratch/a", Access::Write, false),
        ] {
            let place = Place::parse(path).unwrap();
            assert_eq!((view.access(&place), view.stands_firm(&place)), (access, firm), "{path}");
        }
        let exceptions = |path: &str, writable| view.exceptions(&Place::parse(path).unwrap(), writable);
        let all = |read_only: &[&str], hidden: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
            (own(read_only), own(hidden))
        };
        assert_eq!(exceptions("/workspace", false), all(&[], &[".runner"]));
        assert_eq!(exceptions("/workspace/web", true), all(&["web/keys", "web/pipeline.toml"], &[]));
        assert_eq!(exceptions("/scratch", true), all(&[], &[]));
        let nothing = View { mounts: &[], hidden: &[], protected: &[] };
        assert_eq!(nothing.access(&Place::parse("/workspace").unwrap()), Access::None);
    }
}
