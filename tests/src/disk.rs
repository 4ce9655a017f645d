//! A small file system of its own, for what happens when it is full or can't be written.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Unmounted when dropped.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// None, with a word on why, where this user may not mount one. With root's rights it must work.
    pub fn mount(test: &str, kib: u32) -> Option<Disk> {
        let folder = tempfile::Builder::new().prefix("disk-").tempdir().expect("a temporary folder");
        let size = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Disk { folder });
        }
        crate::skipped(&format!("{test} mounts a small file system, which takes root"));
        None
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves no room at all.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        for size in [64 << 10, 4 << 10, 512, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    pub fn read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", how]).arg(self.path()).status().expect("mount");
        assert!(status.success(), "mount -o {how}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
