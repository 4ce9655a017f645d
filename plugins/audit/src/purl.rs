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
    };
    let parts: Vec<String> = name.split('/').map(|part| utf8_percent_encode(part, COMPONENT).to_string()).collect();
    purl.push_str(&parts.join("/"));
    if !package.version.is_empty() {
        purl.push('@');
        purl.extend(utf8_percent_encode(&package.version, COMPONENT));
    }
    let qualifier = match &package.origin {
        Origin::Local | Origin::Registry => None,
        Origin::OtherRegistry(source) => Some(("repository_url", source.clone())),
        Origin::Git { repository, commit } if commit.is_empty() => Some(("vcs_url", repository.clone())),
        Origin::Git { repository, commit } => Some(("vcs_url", format!("{repository}@{commit}"))),
        Origin::Archive(address) => Some(("download_url", address.clone())),
    };
    if let Some((key, value)) = qualifier {
        purl.push('?');
        purl.push_str(key);
        purl.push('=');
        purl.extend(utf8_percent_encode(&value, QUALIFIER));
    }
    purl
}

#[cfg(test)]
mod tests {
    use super::*;

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
