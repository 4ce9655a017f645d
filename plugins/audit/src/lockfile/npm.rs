//! `package-lock.json` and `npm-shrinkwrap.json`, lockfile versions 2 and 3; version 1 is handed on.
//!
//! In these versions `packages` maps a location (`node_modules/a/node_modules/@s/b`) to what is installed there
//! (docs.npmjs.com, "package-lock.json"). A location without `node_modules` in it is a folder of the project; an entry with
//! `link` only points to one. Who gets which copy follows Node's lookup: the own `node_modules`, then each parent folder's.
//! The map is read entry by entry as raw text, because an entry's position in the file is where its findings are shown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Companions, Format, LockfileError, beside, folder_name, line_of, npm_v1};
use crate::inventory::{Checksum, Ecosystem, Lockfile, Origin, Package, StatedLicense};

const NEWEST: u64 = 3;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    name: Option<String>,
    lockfile_version: Option<Value>,
    #[serde(borrow, default)]
    packages: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow, default)]
    dependencies: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

type Names = BTreeMap<String, IgnoredAny>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Value,
    integrity: Value,
    link: bool,
    dev: bool,
    optional: bool,
    dev_optional: bool,
    in_bundle: bool,
    license: Value,
    dependencies: Names,
    optional_dependencies: Names,
    dev_dependencies: Names,
    peer_dependencies: Names,
}

/// One lockfile's text, for the errors and line numbers of everything read from it.
pub(super) struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    pub fn error(&self, line: u32, what: impl Into<String>) -> LockfileError {
        Format::Npm.error(self.path, line, what)
    }

    /// The line on which `part`, a slice of this text, starts.
    pub fn line(&self, part: &str) -> u32 {
        line_of(self.text.as_bytes(), (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize))
    }

    /// Reads `part`, a slice of this text, with errors that name the line in the file.
    pub fn parse<T: Deserialize<'a>>(&self, part: &'a str, what: &str) -> Result<T, LockfileError> {
        serde_json::from_slice(part.as_bytes()).map_err(|invalid| {
            let line = self.line(part) + u32::try_from(invalid.line()).unwrap_or(1).saturating_sub(1);
            self.error(line, format!("{what} cannot be read: {}", without_position(&invalid)))
        })
    }
}

/// Whether a lockfile is of version 1. What cannot be read is of none.
pub fn is_version_1(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        lockfile_version: Option<u64>,
    }
    serde_json::from_slice::<Version>(bytes).is_ok_and(|file| file.lockfile_version.unwrap_or(1) == 1)
}

/// Reads the text of a lockfile.
pub fn read(path: &str, text: &str, companions: &Companions) -> Result<Lockfile, LockfileError> {
    let source = Source { path, text };
    let file: File<'_> = source.parse(text, "it")?;
    let version = match &file.lockfile_version {
        // npm before 5 wrote shrinkwraps without a version, in the shape of version 1.
        None | Some(Value::Null) => 1,
        Some(version) => version.as_u64().ok_or_else(|| source.error(0, format!("lockfileVersion {version} is no number")))?,
    };
    if version == 0 || version > NEWEST {
        return Err(LockfileError {
            mend: format!("Write it with `npm install --package-lock-only --lockfile-version {NEWEST}`, or update the runner"),
            ..source.error(0, format!("lockfileVersion {version} is not supported, 1 to {NEWEST} are"))
        });
    }
    let root = file.name.unwrap_or_else(|| folder_name(path));
    let packages = match (version, file.packages) {
        (1, _) => npm_v1::read(&source, root, file.dependencies.unwrap_or_default(), companions.get(&beside(path, "package.json")))?,
        (_, Some(packages)) => read_packages(&source, root, packages)?,
        (version, None) => return Err(source.error(0, format!("it says lockfileVersion {version} but has no `packages`"))),
    };
    Ok(Lockfile { path: path.into(), ecosystem: Ecosystem::Npm, packages })
}

fn read_packages(source: &Source<'_>, root: String, raw: BTreeMap<Cow<'_, str>, &RawValue>) -> Result<Vec<Package>, LockfileError> {
    let mut packages = Vec::new();
    let mut locations: BTreeMap<String, usize> = BTreeMap::new();
    let mut links: Vec<(String, String, u32)> = Vec::new();
    let mut needs: Vec<(usize, String, Entry)> = Vec::new();

    for (location, raw) in raw {
        let line = source.line(raw.get());
        let mut entry: Entry = source.parse(raw.get(), &format!("the entry `{location}`"))?;
        let installed_as = installed_name(&location);
        if entry.link {
            let target = entry.resolved.as_str().map(|target| target.strip_prefix("file:").unwrap_or(target));
            let target = target.ok_or_else(|| source.error(line, format!("the link `{location}` does not say where it leads")))?;
            links.push((location.into_owned(), target.trim_start_matches("./").trim_end_matches('/').into(), line));
            continue;
        }
        let name = entry.name.take().or_else(|| installed_as.map(str::to_owned)).unwrap_or_else(|| match location.as_ref() {
            "" => root.clone(),
            folder => folder.rsplit('/').next().unwrap_or(folder).to_owned(),
        });
        let version = entry.version.take().unwrap_or_default();
        let origin = if installed_as.is_none() { Origin::Local } else { origin(entry.resolved.as_str()) };
        let mut package = Package::new(name, version, origin, line);
        package.alias = installed_as.filter(|installed| *installed != package.name).map(str::to_owned);
        // `devOptional`: needed by a development dependency and optionally by another, so not for development only.
        (package.dev, package.optional, package.bundled) = (entry.dev, entry.optional || entry.dev_optional, entry.in_bundle);
        package.license = license(&entry.license);
        package.checksums = entry.integrity.as_str().map(integrity).unwrap_or_default();
        locations.insert(location.clone().into_owned(), packages.len());
        needs.push((packages.len(), location.into_owned(), entry));
        packages.push(package);
    }

    for (location, target, line) in links {
        let index = *locations.entry(target.clone()).or_insert_with(|| {
            let name = installed_name(&location).unwrap_or(&target).to_owned();
            packages.push(Package::new(name, "", Origin::Local, line));
            packages.len() - 1
        });
        locations.insert(location, index);
    }

    for (index, location, entry) in needs {
        let wanted = [entry.dependencies, entry.optional_dependencies, entry.dev_dependencies, entry.peer_dependencies];
        for name in wanted.iter().flat_map(BTreeMap::keys) {
            if let Some(found) = lookup(&locations, &location, name).filter(|&found| found != index) {
                packages[index].needs(found);
            }
        }
    }
    Ok(packages)
}

/// The name under which a location is installed, or `None` for a folder of the project.
fn installed_name(location: &str) -> Option<&str> {
    if let Some(name) = location.strip_prefix("node_modules/").filter(|rest| !rest.contains("/node_modules/")) {
        return Some(name);
    }
    location.rsplit_once("/node_modules/").map(|(_, name)| name)
}

/// Which copy of `name` the package at `location` gets.
fn lookup(locations: &BTreeMap<String, usize>, location: &str, name: &str) -> Option<usize> {
    let mut folder = location;
    loop {
        let candidate = if folder.is_empty() { format!("node_modules/{name}") } else { format!("{folder}/node_modules/{name}") };
        if let Some(&found) = locations.get(&candidate) {
            return Some(found);
        }
        if folder.is_empty() {
            return None;
        }
        folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

/// Where npm got a package from; an absent `resolved` (npm's `omit-lockfile-registry-resolved`) means the registry.
pub(super) fn origin(resolved: Option<&str>) -> Origin {
    let Some(resolved) = resolved.filter(|resolved| !resolved.is_empty()) else { return Origin::Registry };
    if let Some(git) = git(resolved) {
        return git;
    }
    if resolved.starts_with("file:") {
        return Origin::Archive(resolved.into());
    }
    // A registry's tarballs stand at `…/-/name-version.tgz`, on the registry itself and on its mirrors.
    let archive = (resolved.starts_with("https://") || resolved.starts_with("http://")) && !resolved.contains("/-/");
    if archive { Origin::Archive(resolved.into()) } else { Origin::Registry }
}

/// `git+ssh://…#commit`, and the short forms of hosted repositories.
pub(super) fn git(specifier: &str) -> Option<Origin> {
    const SCHEMES: [&str; 6] = ["git+", "git:", "github:", "gitlab:", "bitbucket:", "gist:"];
    SCHEMES.iter().any(|scheme| specifier.starts_with(scheme)).then(|| {
        let (repository, commit) = specifier.split_once('#').unwrap_or((specifier, ""));
        let repository = repository.strip_prefix("git+").unwrap_or(repository);
        let commit = if commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) { commit } else { "" };
        Origin::Git { repository: repository.into(), commit: commit.into() }
    })
}

/// The `license` of an entry: npm writes a string, older tools copied `{ "type": …, "url": … }` or a list of those as they were.
fn license(stated: &Value) -> StatedLicense {
    let text = match stated {
        Value::String(text) => text.trim().to_owned(),
        Value::Object(old) => old.get("type").and_then(Value::as_str).unwrap_or_default().trim().to_owned(),
        Value::Array(list) => {
            let each: Vec<String> = list
                .iter()
                .filter_map(|one| match license(one) {
                    StatedLicense::Text(text) => Some(text),
                    StatedLicense::Unknown => None,
                })
                .collect();
            if each.len() > 1 { format!("({})", each.join(" OR ")) } else { each.concat() }
        }
        _ => String::new(),
    };
    if text.is_empty() { StatedLicense::Unknown } else { StatedLicense::Text(text) }
}

/// Subresource integrity: digests in base64, separated by spaces (W3C SRI). What cannot be read is left out.
pub(super) fn integrity(text: &str) -> Vec<Checksum> {
    let known = [("sha1-", "SHA-1", 20), ("sha256-", "SHA-256", 32), ("sha384-", "SHA-384", 48), ("sha512-", "SHA-512", 64)];
    let each = text.split_ascii_whitespace().filter_map(|one| {
        let (digest, algorithm, length) =
            known.iter().find_map(|(prefix, algorithm, length)| Some((one.strip_prefix(prefix)?, *algorithm, *length)))?;
        let digest = digest.split_once('?').map_or(digest, |(digest, _)| digest);
        let bytes = base64::engine::general_purpose::STANDARD.decode(digest).ok().filter(|bytes| bytes.len() == length)?;
        Some(Checksum { algorithm, hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() })
    });
    each.collect()
}

/// serde_json ends its messages with ` at line 1 column 2`, which would name the wrong line.
fn without_position(invalid: &serde_json::Error) -> String {
    let text = invalid.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}
