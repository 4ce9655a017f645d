//! On real trees: private copies, artifacts there and back, planted links, several stores at once, what dead runs left.

mod artifacts;
mod caches;
mod copies;
mod garbage;
mod state;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes files (`a/b` with content `a/b`) and directories (`a/`).
fn tree(root: &Path, paths: &[&str]) {
    for path in paths {
        let full = root.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(full).unwrap();
        } else {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, path).unwrap();
        }
    }
}

/// Every path below `root` with what it is, sorted: `a/`, `a/b=content`, `l->target`.
fn shape(root: &Path) -> Vec<String> {
    fn walk(root: &Path, path: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(root.join(path)).unwrap() {
            let entry = entry.unwrap();
            let path = path.join(entry.file_name());
            let name = path.display();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                found.push(format!("{name}/"));
                walk(root, &path, found);
            } else if kind.is_symlink() {
                found.push(format!("{name}->{}", std::fs::read_link(root.join(&path)).unwrap().display()));
            } else {
                found.push(format!("{name}={}", String::from_utf8_lossy(&std::fs::read(root.join(&path)).unwrap())));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, Path::new(""), &mut found);
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}
