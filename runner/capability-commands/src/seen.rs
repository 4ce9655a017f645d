//! What of this machine's files the programs of a stage see, wherever they run: the granted parts of the workspace, the scratch folder, the
//! caches; and what stays hidden or unwritten in them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use capability::Setting;
use capability::state::{SCRATCH, WORKSPACE};

use crate::jail::{Bind, HOME, Overlay};
use crate::policy::StartError;

/// Found out once for each attempt, before its first program starts.
pub struct Seen {
    pub binds: Vec<Bind>,
    pub overlays: Vec<Overlay>,
    /// Paths inside that are covered by something empty.
    pub hidden: Vec<PathBuf>,
    /// Paths inside, below a bind, that nobody writes.
    pub read_only: Vec<PathBuf>,
}

impl Seen {
    pub fn of(setting: &Setting, stand_ins: &StandIns) -> Result<Seen, StartError> {
        let system = |what: &str, error: io::Error| StartError::System(format!("{what}: {error}"));
        let mut seen = Seen { binds: Vec::new(), overlays: Vec::new(), hidden: Vec::new(), read_only: Vec::new() };
        let scratch = setting.scratch.path().map_err(|e| system("the scratch folder", e))?;
        seen.binds.push(Bind::directory(scratch, SCRATCH).writable());
        for cache in &setting.caches {
            let inside = Path::new(HOME).join(&cache.inside);
            match &cache.over {
                None => seen.binds.push(Bind::directory(&cache.folder, inside).writable()),
                Some((lower, work)) => {
                    seen.overlays.push(Overlay { lower: lower.clone(), upper: cache.folder.clone(), work: work.clone(), inside });
                }
            }
        }
        let Some(workspace) = &setting.workspace else { return Ok(seen) };
        let workspace = workspace.canonicalize().map_err(|e| system("the workspace", e))?;
        for mount in &setting.mounts {
            seen.binds.extend(workspace_bind(&workspace, &mount.path, mount.writable)?);
        }
        setting.protected.iter().for_each(|path| stand_ins.put(setting, &workspace, path));
        let visible = |path: &String| workspace.join(path).symlink_metadata().is_ok() && within_mounts(setting, path);
        let inside = |path: &String| Path::new(WORKSPACE).join(path);
        seen.hidden = setting.hidden.iter().filter(|p| visible(p)).map(inside).collect();
        seen.read_only = setting.protected.iter().filter(|p| visible(p)).map(inside).collect();
        Ok(seen)
    }
}

/// Empty folders that stand where a repository could be made up.
///
/// What a bind covers has to be there. A folder that could be written and has no `.git` yet gets an empty one, shown read-only like any other: the
/// next `git` in that folder would run the hooks of a repository that a stage made up. To `git` an empty `.git` is none.
#[derive(Default)]
pub struct StandIns(Mutex<Vec<PathBuf>>);

impl StandIns {
    fn put(&self, setting: &Setting, workspace: &Path, path: &str) {
        let place = workspace.join(path);
        let writable = setting.mounts.iter().any(|mount| mount.writable) && within_mounts(setting, path);
        if writable && place.file_name().is_some_and(|name| name == ".git") && std::fs::create_dir(&place).is_ok() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        }
    }

    pub fn remove(&self) {
        for place in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // nobody could write into it; what is not empty is not ours
            let _ = std::fs::remove_dir(place);
        }
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A granted part of the workspace as programs see it.
pub fn inside(path: &str) -> PathBuf {
    if path == "." { PathBuf::from(WORKSPACE) } else { Path::new(WORKSPACE).join(path) }
}

/// Where a granted part of the workspace is shown. Nothing if it does not exist; an error if it leads out.
fn workspace_bind(workspace: &Path, path: &str, writable: bool) -> Result<Option<Bind>, StartError> {
    let host = workspace.join(path);
    let Ok(real) = host.canonicalize() else { return Ok(None) };
    let inside = inside(path);
    let expected = if path == "." { workspace.to_owned() } else { workspace.join(path) };
    if real != expected {
        let message = format!("the granted path `{path}` is a symbolic link, or below one; grant `{}` instead", real.display());
        return Err(StartError::Invalid(message));
    }
    let bind = if real.is_dir() { Bind::directory(real, inside) } else { Bind::file(real, inside) };
    Ok(Some(if writable { bind.writable() } else { bind }))
}

/// Whether a path of the workspace is inside a granted part, so that there is something to hide or protect.
fn within_mounts(setting: &Setting, path: &str) -> bool {
    setting.mounts.iter().any(|mount| mount.path == "." || path == mount.path || path.starts_with(&format!("{}/", mount.path)))
}
