//! Which files of an image say what is installed in it.

use crate::lockfile::Format;
use crate::search;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Which distribution it is.
    OsRelease,
    Apk,
    /// Debian's list of packages, and distroless images' file for each.
    Dpkg,
    /// The files of a Debian package.
    DpkgFiles,
    Rpm(Database),
    /// Changes that are not in the database yet.
    RpmJournal,
    /// An installed package's `package.json`.
    Node,
    /// An installed distribution's metadata.
    Python,
    Gem,
    /// Composer's list of what it installed.
    Composer,
    Lockfile(Format),
    /// What some lockfiles are read with.
    Companion,
}

/// How an rpm database is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Fedora 33, Enterprise Linux 9 and later.
    Sqlite,
    /// SUSE's.
    Ndb,
    /// A hash of Berkeley DB: Enterprise Linux 8 and before.
    Hash,
}

/// Folders of an image that hold other projects' lockfiles: what package managers unpacked, toolchains, documentation.
const FOREIGN: [&str; 7] = ["usr/lib/", "usr/lib64/", "usr/local/lib/", "usr/share/", "usr/local/go/", "usr/local/share/", "var/lib/"];
const FOREIGN_FOLDERS: [&str; 4] = ["site-packages", "dist-packages", "gems", "vendor"];

/// What the file at a path, relative to the image's root, is for; `None` if nothing is to be learned from it.
pub fn of(path: &str) -> Option<Wanted> {
    match path {
        "etc/os-release" | "usr/lib/os-release" => return Some(Wanted::OsRelease),
        "lib/apk/db/installed" | "usr/lib/apk/db/installed" => return Some(Wanted::Apk),
        "var/lib/dpkg/status" => return Some(Wanted::Dpkg),
        _ => {}
    }
    if let Some(name) = path.strip_prefix("var/lib/dpkg/") {
        return match name.split_once('/') {
            // Distroless images keep the list of a package's files beside it.
            Some(("status.d", name)) if name.ends_with(".md5sums") => Some(Wanted::DpkgFiles),
            Some(("status.d", _)) => Some(Wanted::Dpkg),
            Some(("info", name)) if name.ends_with(".list") => Some(Wanted::DpkgFiles),
            _ => None,
        };
    }
    let rpm = ["var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"].iter().find_map(|folder| path.strip_prefix(folder));
    if let Some(name) = rpm {
        return match name {
            "rpmdb.sqlite" => Some(Wanted::Rpm(Database::Sqlite)),
            "rpmdb.sqlite-wal" => Some(Wanted::RpmJournal),
            "Packages.db" => Some(Wanted::Rpm(Database::Ndb)),
            "Packages" => Some(Wanted::Rpm(Database::Hash)),
            _ => None,
        };
    }
    installed(path).or_else(|| in_project(path))
}

/// Whether it tells of one package or more of a programming language.
pub fn is_of_language(path: &str) -> bool {
    installed(path).is_some()
}

fn installed(path: &str) -> Option<Wanted> {
    let mut parts = path.rsplit('/');
    let (name, folder, above, higher) = (parts.next()?, parts.next()?, parts.next(), parts.next());
    match name {
        "package.json" if folder != "node_modules" => {
            let scoped = above.is_some_and(|scope| scope.starts_with('@')) && higher == Some("node_modules");
            (above == Some("node_modules") || scoped).then_some(Wanted::Node)
        }
        "METADATA" => folder.ends_with(".dist-info").then_some(Wanted::Python),
        "PKG-INFO" => folder.ends_with(".egg-info").then_some(Wanted::Python),
        "installed.json" => (folder == "composer" && above == Some("vendor")).then_some(Wanted::Composer),
        _ if name.ends_with(".egg-info") => matches!(folder, "site-packages" | "dist-packages").then_some(Wanted::Python),
        _ if name.ends_with(".gemspec") => {
            (folder == "specifications" || (folder == "default" && above == Some("specifications"))).then_some(Wanted::Gem)
        }
        _ => None,
    }
}

/// Lockfiles of what was built or put there, and the manifests beside them.
fn in_project(path: &str) -> Option<Wanted> {
    let wanted = match (Format::of(path), path.rsplit('/').next()?) {
        // What was installed from them stands in `*.dist-info`; a list of wishes adds nothing to it.
        (Some(Format::Requirements), _) => return None,
        (Some(format), _) => Wanted::Lockfile(format),
        (None, "package.json" | "pyproject.toml" | "composer.json") => Wanted::Companion,
        (None, _) => return None,
    };
    let (folders, _) = path.rsplit_once('/').unwrap_or(("", path));
    let foreign = FOREIGN.iter().any(|folder| path.starts_with(folder))
        || folders.split('/').any(|folder| search::skips(folder) || FOREIGN_FOLDERS.contains(&folder))
        || ["pkg/mod/", "registry/src/"].iter().any(|cache| path.contains(cache));
    (!foreign).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_place() {
        for (path, wanted) in [
            ("etc/os-release", Wanted::OsRelease),
            ("lib/apk/db/installed", Wanted::Apk),
            ("var/lib/dpkg/status", Wanted::Dpkg),
            ("var/lib/dpkg/status.d/base-files", Wanted::Dpkg),
            ("var/lib/dpkg/status.d/base-files.md5sums", Wanted::DpkgFiles),
            ("var/lib/dpkg/info/python3-yaml.list", Wanted::DpkgFiles),
            ("var/lib/rpm/rpmdb.sqlite", Wanted::Rpm(Database::Sqlite)),
            ("usr/lib/sysimage/rpm/Packages.db", Wanted::Rpm(Database::Ndb)),
            ("var/lib/rpm/Packages", Wanted::Rpm(Database::Hash)),
            ("app/node_modules/lodash/package.json", Wanted::Node),
            ("app/node_modules/a/node_modules/@s/b/package.json", Wanted::Node),
            ("app/node_modules/.pnpm/a@1.0.0/node_modules/a/package.json", Wanted::Node),
            ("usr/local/lib/python3.12/site-packages/jinja2-2.11.2.dist-info/METADATA", Wanted::Python),
            ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", Wanted::Python),
            ("usr/local/lib/ruby/gems/3.2.0/specifications/default/json-2.6.3.gemspec", Wanted::Gem),
            ("app/vendor/composer/installed.json", Wanted::Composer),
            ("usr/src/app/package-lock.json", Wanted::Lockfile(Format::Npm)),
            ("app/Cargo.lock", Wanted::Lockfile(Format::Cargo)),
            ("app/package.json", Wanted::Companion),
        ] {
            assert_eq!(of(path), Some(wanted), "{path}");
        }
        for path in [
            "app/src/main.js",
            "app/node_modules/a/lib/package.json",
            "app/node_modules/package.json",
            "app/node_modules/a/package-lock.json",
            "usr/local/go/src/go.mod",
            "root/go/pkg/mod/example.com/a@v1.0.0/go.sum",
            "usr/local/cargo/registry/src/index/a-1.0.0/Cargo.lock",
            "app/requirements.txt",
            "app/.git/package.json",
            "var/lib/dpkg/info/a.md5sums",
            "var/lib/rpm/Basenames",
            "gems/rack-2.2.3/rack.gemspec",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
