//! `var/lib/dpkg/status`, and the files of `status.d` in images without dpkg: paragraphs of fields (`deb822(5)`).

use super::{Installed, owned, package};
use crate::inventory::SourcePackage;

pub fn read(text: &str) -> Result<Installed, String> {
    let mut installed = Installed::default();
    let mut line = 1;
    for paragraph in text.split("\n\n") {
        let (mut name, mut version, mut source, mut status) = ("", "", "", "");
        // What is indented goes on with the field before.
        for (key, value) in paragraph.lines().filter(|line| !line.starts_with([' ', '\t'])).filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key {
                "Package" => name = value,
                "Version" => version = value,
                "Source" => source = value,
                "Status" => status = value,
                _ => {}
            }
        }
        // Of what was removed, configuration may be left, but no code.
        let gone = matches!(status.rsplit(' ').next(), Some("not-installed" | "config-files"));
        if !paragraph.trim().is_empty() && !gone {
            if name.is_empty() || version.is_empty() {
                return Err(format!("the paragraph at line {line} has no name or no version"));
            }
            let mut package = package(name, version, "");
            // `Source: openssl (3.0.11-1)`; without a version, it is the package's.
            let (source, source_version) =
                source.split_once(" (").map_or((source, version), |(source, version)| (source, version.trim_end_matches(')')));
            if !source.is_empty() && (source, source_version) != (name, version) {
                package.source = Some(SourcePackage { name: source.into(), version: source_version.into() });
            }
            installed.packages.push(package);
        }
        line += paragraph.lines().count() + 1;
    }
    Ok(installed)
}

/// The files of a package: `info/*.list` has a path on each line, `status.d/*.md5sums` a digest before it.
pub fn files(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| owned(line.split_once("  ").map_or(line, |(_, path)| path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_packages_with_their_source() {
        let text = "Package: libssl3\nStatus: install ok installed\nSource: openssl (3.0.11-1~deb12u1)\nVersion: 3.0.11-1~deb12u1+b1\nDescription: SSL\n Package: no\n\n\
                    Package: curl\nStatus: install ok installed\nVersion: 7.88.1-10\n\nPackage: vim\nStatus: deinstall ok config-files\nVersion: 2:9.0\n\n\
                    Package: libc6\nSource: glibc\nVersion: 2.36-9\n";
        let installed = read(text).unwrap();
        let seen: Vec<_> = installed.packages.iter().map(|package| (package.label(), package.sought())).collect();
        assert_eq!(
            seen,
            [
                ("libssl3 3.0.11-1~deb12u1+b1".into(), ("openssl", "3.0.11-1~deb12u1")),
                ("curl 7.88.1-10".into(), ("curl", "7.88.1-10")),
                ("libc6 2.36-9".into(), ("glibc", "2.36-9")),
            ]
        );
        assert_eq!(
            read("Package: a\nVersion: 1\n\nStatus: install ok installed\n").unwrap_err(),
            "the paragraph at line 4 has no name or no version"
        );
    }

    #[test]
    fn lists_of_files_tell_what_the_distribution_installed() {
        let path = "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO";
        assert_eq!(files(&format!("/.\n/usr\n/{path}\n/usr/bin/six\n")), [path]);
        assert_eq!(files(&format!("d41d8cd98f00b204e9800998ecf8427e  {path}\n")), [path]);
    }
}
