//! What a lockfile says is installed: packages, where each comes from, and who depends on whom.
//!
//! Every format is read into this one shape, so that matching, licences and the bill of materials know nothing of
//! the tools. Deliberately absent: version requirements (a lockfile has already decided) and platforms (a lockfile serves all).

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use crate::distribution::{Distribution, Format};

/// The package ecosystem of a lockfile, under the names of the OSV schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    Npm,
    CratesIo,
    PyPi,
    Go,
    RubyGems,
    Packagist,
    /// The packages of a container image's operating system.
    Distribution(Distribution),
}

impl Ecosystem {
    /// Those of programming languages, each of which has one registry and no releases.
    pub const LANGUAGES: [Self; 6] = [Self::Npm, Self::CratesIo, Self::PyPi, Self::Go, Self::RubyGems, Self::Packagist];

    /// The value of `affected[].package.ecosystem` in OSV records; `None` for a distribution that OSV knows nothing of.
    pub fn osv_name(self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Npm => "npm",
            Self::CratesIo => "crates.io",
            Self::PyPi => "PyPI",
            Self::Go => "Go",
            Self::RubyGems => "RubyGems",
            Self::Packagist => "Packagist",
            Self::Distribution(distribution) => return distribution.osv_name().map(Cow::Owned),
        }))
    }

    /// Whether a record's `ecosystem` is this one. A suffix names a release of a distribution (`Debian:12`) or another registry,
    /// where the name means something else.
    pub fn is_named(self, name: &str) -> bool {
        self.osv_name().is_some_and(|own| own == name)
    }

    /// The type of its package URLs (`pkg:npm/…`, `pkg:cargo/…`).
    pub fn purl_type(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::CratesIo => "cargo",
            Self::PyPi => "pypi",
            Self::Go => "golang",
            Self::RubyGems => "gem",
            Self::Packagist => "composer",
            Self::Distribution(distribution) => match distribution.format() {
                Format::Dpkg => "deb",
                Format::Apk => "apk",
                Format::Rpm => "rpm",
            },
        }
    }

    /// The one spelling of a name for which the registry takes several: PyPI's `Foo_Bar` is `foo-bar` (PEP 503), and
    /// Packagist does not tell capitals apart.
    pub fn canonical(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::PyPi => {
                let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
                Cow::Owned(parts.collect::<Vec<_>>().join("-").to_ascii_lowercase())
            }
            Self::Packagist => Cow::Owned(name.to_ascii_lowercase()),
            Self::Npm | Self::CratesIo | Self::Go | Self::RubyGems | Self::Distribution(_) => Cow::Borrowed(name),
        }
    }
}

/// Where a package's code comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A folder of the project itself: the root, a workspace member, a `file:` or `path` dependency. Not third-party.
    Local,
    /// The ecosystem's public registry, or any mirror of it: but for Cargo's, lockfiles do not tell them apart.
    Registry,
    /// Another registry, where a name can mean another package.
    OtherRegistry(String),
    /// A git repository at a commit (empty if the lockfile names none).
    Git { repository: String, commit: String },
    /// An archive, from a file or a web address.
    Archive(String),
}

/// What a package says about its licence, before it is understood. Empty text never occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatedLicense {
    /// The lockfile (or `cargo metadata`) has no licence for it.
    Unknown,
    /// As it stands there: mostly an SPDX expression, sometimes `SEE LICENSE IN …`.
    Text(String),
}

/// A digest of the package's archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum {
    /// As CycloneDX names it: `SHA-512`.
    pub algorithm: &'static str,
    /// Lower-case hexadecimal.
    pub hex: String,
}

/// The source package that a distribution built a package from, under which its advisories stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePackage {
    pub name: String,
    pub version: String,
}

/// Where in a container image a package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InImage {
    /// The image as the settings name it.
    pub image: Rc<str>,
    /// The file inside of it that says so, relative to its root.
    pub file: String,
    pub layer: Rc<Layer>,
}

/// A layer of a container image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// 1 is the lowest.
    pub number: usize,
    /// How many the image has.
    pub of: usize,
    /// `sha256:…`
    pub digest: String,
    /// The instruction that made it, as the image's history has it; empty if it does not say.
    pub created_by: String,
}

/// One entry of a lockfile.
#[derive(Clone, Debug)]
pub struct Package {
    /// The name under which it was published; for an alias, the name of what it stands for.
    pub name: String,
    /// The name it is installed under, if that is another one (`"foo": "npm:bar@1"`).
    pub alias: Option<String>,
    /// As written; empty if the lockfile has none.
    pub version: String,
    pub origin: Origin,
    /// Needed for development only.
    pub dev: bool,
    /// May be missing where it cannot be installed.
    pub optional: bool,
    /// Shipped inside the package that needs it.
    pub bundled: bool,
    pub license: StatedLicense,
    pub checksums: Vec<Checksum>,
    /// 1-based line of its entry.
    pub line: u32,
    /// Indices of what it needs, in the order of the lockfile, without repetitions.
    pub dependencies: Vec<usize>,
    /// What advisories are looked up for in its place, if that is something else.
    pub source: Option<SourcePackage>,
    /// For a package of a container image: where it is there.
    pub in_image: Option<Rc<InImage>>,
}

impl Package {
    /// A package about which nothing but its name is known yet.
    pub fn new(name: impl Into<String>, version: impl Into<String>, origin: Origin, line: u32) -> Self {
        Self {
            name: name.into(),
            alias: None,
            version: version.into(),
            origin,
            dev: false,
            optional: false,
            bundled: false,
            license: StatedLicense::Unknown,
            checksums: Vec::new(),
            line,
            dependencies: Vec::new(),
            source: None,
            in_image: None,
        }
    }

    /// The name and the version that advisories are looked up for.
    pub fn sought(&self) -> (&str, &str) {
        self.source.as_ref().map_or((&self.name, &self.version), |source| (&source.name, &source.version))
    }

    /// Adds an edge once.
    pub fn needs(&mut self, package: usize) {
        if !self.dependencies.contains(&package) {
            self.dependencies.push(package);
        }
    }

    /// `name version`, or the name alone.
    pub fn label(&self) -> String {
        if self.version.is_empty() { self.name.clone() } else { format!("{} {}", self.name, self.version) }
    }

    pub fn is_third_party(&self) -> bool {
        self.origin != Origin::Local
    }
}

/// A lockfile, read; or the packages of one ecosystem that are installed in a container image.
#[derive(Clone, Debug)]
pub struct Lockfile {
    /// Relative to the workspace, with `/`. In a container image: the image, `: `, and what is in there.
    pub path: String,
    pub ecosystem: Ecosystem,
    pub packages: Vec<Package>,
}

impl Lockfile {
    /// For each package the one before it on a shortest path from the project's own packages; `None` for those and for what
    /// nothing leads to.
    pub fn shortest_paths(&self) -> ShortestPaths<'_> {
        let mut before = vec![None; self.packages.len()];
        let mut seen: Vec<bool> = self.packages.iter().map(|package| package.origin == Origin::Local).collect();
        let mut queue: VecDeque<usize> = (0..self.packages.len()).filter(|&index| seen[index]).collect();
        while let Some(index) = queue.pop_front() {
            for &next in &self.packages[index].dependencies {
                if !seen[next] {
                    seen[next] = true;
                    before[next] = Some(index);
                    queue.push_back(next);
                }
            }
        }
        ShortestPaths { lockfile: self, before }
    }
}

/// Marks what the project needs for development only: what its own packages reach, but not without one of the edges `dev`.
pub fn mark_development(packages: &mut [Package], dev: &BTreeSet<(usize, usize)>) {
    let reach = |counts: &dyn Fn(usize, usize) -> bool| {
        let mut reached: Vec<bool> = packages.iter().map(|package| package.origin == Origin::Local).collect();
        let mut open: Vec<usize> = (0..packages.len()).filter(|&index| reached[index]).collect();
        while let Some(index) = open.pop() {
            for &next in &packages[index].dependencies {
                if !reached[next] && counts(index, next) {
                    reached[next] = true;
                    open.push(next);
                }
            }
        }
        reached
    };
    let (all, without) = (reach(&|_, _| true), reach(&|from, to| !dev.contains(&(from, to))));
    for (package, (all, without)) in packages.iter_mut().zip(all.into_iter().zip(without)) {
        package.dev = package.dev || (all && !without);
    }
}

/// Who brings a package in.
pub struct ShortestPaths<'a> {
    lockfile: &'a Lockfile,
    before: Vec<Option<usize>>,
}

impl ShortestPaths<'_> {
    /// From a package of the project to `package`, both included.
    pub fn to(&self, package: usize) -> Vec<usize> {
        let mut path = vec![package];
        let mut at = package;
        while let Some(before) = self.before[at] {
            path.push(before);
            at = before;
        }
        path.reverse();
        path
    }

    /// The same for people: `shop → chrono 0.4.19 → time 0.1.43`. Local packages are named without their version.
    pub fn describe(&self, package: usize) -> String {
        let names: Vec<String> = self
            .to(package)
            .into_iter()
            .map(|index| &self.lockfile.packages[index])
            .map(|package| match (&package.origin, &package.alias) {
                (Origin::Local, _) => package.name.clone(),
                (_, Some(alias)) => format!("{alias} ({})", package.label()),
                (_, None) => package.label(),
            })
            .collect();
        names.join(" → ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockfile(edges: &[(&str, bool, &[usize])]) -> Lockfile {
        let packages = edges
            .iter()
            .map(|(name, local, needs)| {
                let origin = if *local { Origin::Local } else { Origin::Registry };
                let mut package = Package::new(*name, "1.0.0", origin, 1);
                needs.iter().for_each(|&need| package.needs(need));
                package
            })
            .collect();
        Lockfile { path: "x".into(), ecosystem: Ecosystem::Npm, packages }
    }

    #[test]
    fn the_shortest_path_wins_over_the_first_one() {
        let lockfile = lockfile(&[("app", true, &[1, 3]), ("a", false, &[2]), ("b", false, &[4]), ("c", false, &[4]), ("d", false, &[])]);
        assert_eq!(lockfile.shortest_paths().describe(4), "app → c 1.0.0 → d 1.0.0");
    }

    #[test]
    fn a_workspace_member_is_where_a_path_starts() {
        let lockfile = lockfile(&[("app", true, &[1]), ("member", true, &[2]), ("x", false, &[])]);
        assert_eq!(lockfile.shortest_paths().describe(2), "member → x 1.0.0");
    }

    #[test]
    fn names_that_a_registry_takes_for_the_same_are_one() {
        for (ecosystem, name, canonical) in [
            (Ecosystem::PyPi, "Zope.Interface__x", "zope-interface-x"),
            (Ecosystem::Packagist, "Twig/Twig", "twig/twig"),
            (Ecosystem::RubyGems, "RedCloth", "RedCloth"),
            (Ecosystem::Go, "github.com/BurntSushi/toml", "github.com/BurntSushi/toml"),
        ] {
            assert_eq!(ecosystem.canonical(name), canonical);
        }
    }

    #[test]
    fn development_is_what_nothing_else_needs() {
        let mut lockfile = lockfile(&[
            ("app", true, &[1, 2]),
            ("a", false, &[3]),
            ("b", false, &[3, 4]),
            ("c", false, &[]),
            ("d", false, &[]),
            ("e", false, &[]),
        ]);
        mark_development(&mut lockfile.packages, &BTreeSet::from([(0, 2)]));
        let dev: Vec<&str> = lockfile.packages.iter().filter(|package| package.dev).map(|package| package.name.as_str()).collect();
        assert_eq!(dev, ["b", "d"]);
    }

    #[test]
    fn what_nothing_leads_to_stands_alone_and_cycles_end() {
        let lockfile = lockfile(&[("a", false, &[1]), ("b", false, &[0])]);
        assert_eq!(lockfile.shortest_paths().describe(1), "b 1.0.0");
    }
}
