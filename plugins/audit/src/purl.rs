//! Package URLs (<https://github.com/package-url/purl-spec>), which name a package in a bill of materials.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::inventory::{Ecosystem, Origin, Package};

/// What the specification leaves as it is in a component: letters, digits and `.-_~`. The colon stays too.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b':');
/// A qualifier's value keeps the slashes of the address it mostly is.
const QUALIFIER: &AsciiSet = &COMPONENT.remove(b'/');

/// The package URL of one package.
pub fn of(ecosystem: Ecosystem, package: &Package) -> String {
    let mut purl = format!("pkg:{}/", ecosystem.purl_type());
    // What stands before the last `/` (a scope, a vendor, a module's host) is the namespace. The types' definitions say whose
    // names are written in lower case.
    let name = match ecosystem {
        Ecosystem::Npm | Ecosystem::Go => package.name.to_lowercase(),
        Ecosystem::PyPi | Ecosystem::Packagist => ecosystem.canonical(&package.name).into_owned(),
        Ecosystem::CratesIo | Ecosystem::RubyGems => package.name.clone(),
        Ecosystem::Distribution(distribution) => match distribution.purl_names() {
            Some((namespace, _)) => format!("{namespace}/{}", package.name),
            None => package.name.clone(),
        },
    };
    // Of rpm's versions the epoch is a qualifier.
    let (epoch, version) = match (ecosystem.purl_type(), package.version.split_once(':')) {
        ("rpm", Some((epoch, version))) => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    let parts: Vec<String> = name.split('/').map(|part| utf8_percent_encode(part, COMPONENT).to_string()).collect();
    purl.push_str(&parts.join("/"));
    if !version.is_empty() {
        purl.push('@');
        purl.extend(utf8_percent_encode(version, COMPONENT));
    }
    let distro = match ecosystem {
        Ecosystem::Distribution(distribution) => distribution.purl_names().map(|(_, distro)| ("distro", distro)),
        _ => None,
    };
    let qualifier = match &package.origin {
        Origin::Local | Origin::Registry => distro,
        Origin::OtherRegistry(source) => Some(("repository_url", source.clone())),
        Origin::Git { repository, commit } if commit.is_empty() => Some(("vcs_url", repository.clone())),
        Origin::Git { repository, commit } => Some(("vcs_url", format!("{repository}@{commit}"))),
        Origin::Archive(address) => Some(("download_url", address.clone())),
    };
    let epoch = epoch.map(|epoch| ("epoch", epoch.to_owned()));
    for ((key, value), mark) in qualifier.into_iter().chain(epoch).zip(['?', '&']) {
        purl.push(mark);
        purl.push_str(key);
        purl.push('=');
        purl.extend(utf8_percent_encode(&value, QUALIFIER));
    }
    purl
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::{Format, OsRelease};

    #[test]
    fn packages_of_a_distribution_name_it() {
        for (text, format, name, version, expected) in [
            (
                "ID=debian\nVERSION_ID=12",
                Format::Dpkg,
                "libssl3",
                "1:3.0.11-1~deb12u1",
                "pkg:deb/debian/libssl3@1:3.0.11-1~deb12u1?distro=debian-12",
            ),
            ("ID=alpine\nVERSION_ID=3.19.1", Format::Apk, "g++", "13.2-r0", "pkg:apk/alpine/g%2B%2B@13.2-r0?distro=alpine-3.19"),
            (
                "ID=rocky\nVERSION_ID=9.3",
                Format::Rpm,
                "vim",
                "2:8.2-1.el9",
                "pkg:rpm/rocky-linux/vim@8.2-1.el9?distro=rocky-linux-9&epoch=2",
            ),
            ("ID=fedora\nVERSION_ID=39", Format::Rpm, "vim", "2:9.0-1", "pkg:rpm/vim@9.0-1?epoch=2"),
        ] {
            let ecosystem = Ecosystem::Distribution(OsRelease::parse(text).distribution(format));
            assert_eq!(of(ecosystem, &Package::new(name, version, Origin::Registry, 0)), expected);
        }
    }

    #[test]
    fn urls_are_written_as_the_specification_writes_them() {
        let package = |name: &str, version: &str, origin| Package::new(name, version, origin, 1);
        let git = Origin::Git { repository: "https://example.com/a b.git".into(), commit: "abc1234".into() };
        for (ecosystem, package, expected) in [
            (Ecosystem::Npm, package("@Angular/core", "1.0.0", Origin::Registry), "pkg:npm/%40angular/core@1.0.0"),
            (Ecosystem::Npm, package("lodash", "4.17.21", Origin::Registry), "pkg:npm/lodash@4.17.21"),
            (Ecosystem::CratesIo, package("zstd-sys", "2.0.8+zstd.1.5.5", Origin::Registry), "pkg:cargo/zstd-sys@2.0.8%2Bzstd.1.5.5"),
            (Ecosystem::CratesIo, package("x", "1.0.0", git), "pkg:cargo/x@1.0.0?vcs_url=https://example.com/a%20b.git%40abc1234"),
            (Ecosystem::Npm, package("x", "", Origin::Local), "pkg:npm/x"),
            (Ecosystem::PyPi, package("jinja2", "2.11.2", Origin::Registry), "pkg:pypi/jinja2@2.11.2"),
            (
                Ecosystem::Go,
                package("github.com/BurntSushi/toml", "v1.0.0", Origin::Registry),
                "pkg:golang/github.com/burntsushi/toml@v1.0.0",
            ),
            (Ecosystem::RubyGems, package("RedCloth", "4.3.2", Origin::Registry), "pkg:gem/RedCloth@4.3.2"),
            (Ecosystem::Packagist, package("twig/twig", "v2.14.0", Origin::Registry), "pkg:composer/twig/twig@v2.14.0"),
        ] {
            assert_eq!(of(ecosystem, &package), expected);
        }
    }
}
