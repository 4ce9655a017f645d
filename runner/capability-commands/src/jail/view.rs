//! What of the jail's files one command sees.
//!
//! A stage's commands and its services share one root. In the command's own mount namespace, while mounting is still possible, a service gets
//! its own folder as its home and a `/tmp` of its own, loses the right to write what is the stage's, and everybody loses sight of the folders
//! of the services.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, mount};

use super::mounts::{Tree, restrict_late};
use super::spec::{HOME, SERVICES, View};
use super::sys;

/// What each service has for itself.
pub(super) const TMP: &str = "/tmp";

/// To be called where there are services. None: of the stage's own command.
pub(super) fn enter(view: Option<&View>, tmp_bytes: u64) -> io::Result<()> {
    if let Some(view) = view {
        for path in &view.read_only {
            let place = open(path)?;
            match sys::mount_setattr(rustix::fd::AsFd::as_fd(&place), MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), true) {
                Err(Errno::NOSYS) => restrict_late(&[(path.clone(), MountFlags::RDONLY)])?,
                other => other?,
            }
        }
        let size = std::ffi::CString::new(format!("size={tmp_bytes},mode=1777"))?;
        mount("tmpfs", TMP, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, size.as_c_str())?;
        Tree::of_descriptor(open(&view.home)?)?.attach(open(Path::new(HOME))?)?;
    }
    let nothing = |path: &Path| mount("tmpfs", path, "tmpfs", MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV, c"size=4k");
    view.iter().flat_map(|view| &view.hidden).try_for_each(|path| nothing(path))?;
    Ok(nothing(Path::new(SERVICES))?)
}

fn open(path: &Path) -> rustix::io::Result<rustix::fd::OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
