//! `lib/apk/db/installed`: records of `LETTER:value` lines, with an empty line between two (apk-tools, `doc/apk-installed.5`).

use super::{Installed, owned, package};
use crate::inventory::SourcePackage;

pub fn read(text: &str) -> Result<Installed, String> {
    let mut installed = Installed::default();
    let mut line = 1;
    for record in text.split("\n\n") {
        let (mut name, mut version, mut origin, mut license, mut folder) = ("", "", "", "", "");
        for (key, value) in record.lines().filter_map(|line| line.split_once(':')) {
            match key {
                "P" => name = value,
                "V" => version = value,
                "o" => origin = value,
                "L" => license = value,
                "F" => folder = value,
                "R" => installed.owns.extend(owned(&format!("{folder}/{value}"))),
                _ => {}
            }
        }
        if !record.trim().is_empty() {
            if name.is_empty() || version.is_empty() {
                return Err(format!("the record at line {line} has no name or no version"));
            }
            let mut package = package(name, version, license);
            if !origin.is_empty() && origin != name {
                package.source = Some(SourcePackage { name: origin.into(), version: version.into() });
            }
            installed.packages.push(package);
        }
        line += record.lines().count() + 1;
    }
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_packages_with_their_origin() {
        let installed = read(
            "C:Q1abc=\nP:libcrypto3\nV:3.1.4-r5\nA:x86_64\nL:Apache-2.0\no:openssl\nF:usr/lib\nR:libcrypto.so.3\n\nP:py3-six\nV:1.16.0-r6\no:py3-six\n\
             F:usr/lib/python3.11/site-packages/six-1.16.0.dist-info\nR:METADATA\n\n",
        )
        .unwrap();
        let seen: Vec<_> = installed.packages.iter().map(|package| (package.label(), package.sought())).collect();
        assert_eq!(seen, [("libcrypto3 3.1.4-r5".into(), ("openssl", "3.1.4-r5")), ("py3-six 1.16.0-r6".into(), ("py3-six", "1.16.0-r6"))]);
        assert_eq!(installed.owns, ["usr/lib/python3.11/site-packages/six-1.16.0.dist-info/METADATA"]);
        assert_eq!(read("P:a\nV:1\n\nC:Q1\n").unwrap_err(), "the record at line 4 has no name or no version");
        assert!(read("").unwrap().packages.is_empty());
    }
}
