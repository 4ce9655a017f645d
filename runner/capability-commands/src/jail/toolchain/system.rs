//! The operating system's own programs: shell, C compiler, libraries, certificates. What any program needs to start at all.
//!
//! Of /etc only what tools read to find libraries, certificates and the time of day; never users, hosts, or anything of this machine's.

use std::path::{Component, Path, PathBuf};

use super::{Bind, Toolchain};

/// Shown at the same place, as what they are: on a merged-/usr system most of these are symbolic links into it.
const FOLDERS: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

const SETTINGS: [&str; 15] = [
    // `cc` is a link there on Debian
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    // certificates, by distribution
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
];

/// Everything below these is there already.
const COVERED: [&str; 2] = ["/usr", "/nix/store"];

pub(super) fn toolchain() -> Toolchain {
    let mut binds = Vec::new();
    for path in FOLDERS.iter().chain(&SETTINGS) {
        show(Path::new(path), &mut binds, 8);
    }
    let mut path = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from).to_vec();
    // On a merged-/usr system the short ones are the long ones again.
    path.retain(|folder| folder.is_dir() && !folder.is_symlink());
    Toolchain { binds, env: Vec::new(), path }
}

/// True if the system's binds show a canonical path.
pub(super) fn shows(path: &Path) -> bool {
    FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// Adds a path and, if it is a symbolic link, what it leads to, link by link.
fn show(path: &Path, binds: &mut Vec<Bind>, links_left: usize) {
    let covered = COVERED.iter().any(|folder| path.starts_with(folder) && path != Path::new(folder));
    if covered || binds.iter().any(|bind| bind.inside == path) {
        return;
    }
    // Missing, or of a kind that is nobody's setting.
    let Ok(bind) = Bind::same(path) else { return };
    let target = bind.host.clone();
    let link = bind.kind == crate::jail::BindKind::Symlink;
    binds.push(bind);
    if link && links_left > 0 {
        let target = path.parent().unwrap_or(Path::new("/")).join(target);
        show(&plain(&target), binds, links_left - 1);
    }
}

/// Without `.` and `..`, as text: the folders that links of the system go through are real ones.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut so_far, part| {
        match part {
            Component::ParentDir => drop(so_far.pop()),
            Component::CurDir => {}
            other => so_far.push(other),
        }
        so_far
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_dots_are_resolved() {
        assert_eq!(plain(Path::new("/etc/ssl/../pki/./tls")), Path::new("/etc/pki/tls"));
        let shown = toolchain();
        assert!(shown.binds.iter().all(|bind| !bind.writable && bind.inside.is_absolute()));
        assert!(shown.binds.iter().any(|bind| bind.inside == Path::new("/usr")));
        for never in ["/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc", "/home", "/var", "/run"] {
            assert!(shown.binds.iter().all(|bind| bind.inside != Path::new(never)), "{never}");
        }
    }
}
