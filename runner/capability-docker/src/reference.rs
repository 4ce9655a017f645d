//! Image references, and the patterns of a grant that they are compared with.
//!
//! A reference is read as Docker reads it (distribution/reference): `node` is `docker.io/library/node:latest`. It is compared, recorded and given
//! to the engine in that full form alone: an engine takes a short one for the beginning of an image's id if it is one.

use std::fmt;

use serde::{Deserialize, Serialize};

const HUB: &str = "docker.io";

/// A reference in its full form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/node`
    pub path: String,
    pub version: Version,
}

/// Which of a repository's images. A reference that has both is about the digest: an engine does not ask for the tag then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    Tag(String),
    Digest(String),
}

/// Why a text is no reference or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no image: {why}")]
pub struct Mistake {
    text: String,
    why: &'static str,
}

/// Registry, path, and what stands behind `:` and `@`.
struct Parts<'a> {
    registry: String,
    path: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

fn parts(text: &str) -> Parts<'_> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    // what Docker takes for a host
    let host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if host(first) => (first, path.to_owned()),
        _ => (HUB, name.to_owned()),
    };
    let registry = if registry == "index.docker.io" { HUB } else { registry };
    let path = if registry == HUB && !path.contains('/') { format!("library/{path}") } else { path };
    Parts { registry: registry.to_owned(), path, tag, digest }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Lower-case letters and digits, parted by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let separated = text.split(['.', '_', '-']);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let doubled = ["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| text.contains(pair));
    separated.count() > 0 && text.bytes().all(plain) && ends(text.chars().next()) && ends(text.chars().last()) && !doubled
}

fn is_tag(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain) && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

const REGISTRY: &str = "what stands before the first `/` is no registry";
const PATH: &str = "a repository is written in lower case: letters and digits, with `.`, `_`, `-` and `/` between them";
const TAG: &str = "a tag is letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`";
const DIGEST: &str = "a digest is `sha256:` and 64 hexadecimal digits in lower case";

impl Reference {
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Reference, Mistake> {
        let mistake = |why| Err(Mistake { text: text.escape_debug().to_string(), why });
        let Parts { registry, path, tag, digest } = parts(text);
        if text.len() > 1024 {
            return mistake("it is too long");
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return mistake("it is an image's id; use a name");
        }
        if !is_registry(&registry) {
            return mistake(REGISTRY);
        }
        if !path.split('/').all(is_component) {
            return mistake(PATH);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return mistake(TAG);
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return mistake(DIGEST);
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest.to_owned()),
            None => Version::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Reference { registry, path, version })
    }

    /// Without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// As people write it: `node:20`.
    pub fn familiar(&self) -> String {
        let name = match self.registry.as_str() {
            HUB => self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned(),
            _ => self.repository(),
        };
        match &self.version {
            Version::Tag(tag) => format!("{name}:{tag}"),
            Version::Digest(digest) => format!("{name}@{digest}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}/{}:{tag}", self.registry, self.path),
            Version::Digest(digest) => write!(f, "{}/{}@{digest}", self.registry, self.path),
        }
    }
}

/// Images that a grant is about.
///
/// `*` stands for any text without `/`: in the path, and in the tag. The registry is written out. `node` is `node:latest`, as everywhere in Docker;
/// `node:*` is any tag, `node@*` any digest, and neither is the other, since nobody can tell from a digest which tag it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    written: String,
    registry: String,
    path: Vec<String>,
    tag: Option<String>,
    digest: Option<String>,
}

impl Pattern {
    /// # Errors
    /// If it could fit no image.
    pub fn parse(text: &str) -> Result<Pattern, Mistake> {
        let mistake = |why| Err(Mistake { text: text.escape_debug().to_string(), why });
        let Parts { registry, path, tag, digest } = parts(text);
        if registry.contains('*') {
            return mistake("the registry is written out, without `*`");
        }
        if !is_registry(&registry) {
            return mistake(REGISTRY);
        }
        if path.contains("**") {
            return mistake("`*` is any text without `/`; there is no `**`");
        }
        if !path.split('/').all(|part| is_component(&part.replace('*', "0"))) {
            return mistake(PATH);
        }
        if tag.is_some() && digest.is_some() {
            return mistake("a pattern is about tags or about digests");
        }
        if tag.is_some_and(|tag| !is_tag(&tag.replace('*', "0"))) {
            return mistake(TAG);
        }
        if digest.is_some_and(|digest| digest != "*" && !is_digest(digest)) {
            return mistake("a digest is `*`, or `sha256:` and 64 hexadecimal digits in lower case");
        }
        let tag = tag.or(digest.is_none().then_some("latest")).map(str::to_owned);
        let path = path.split('/').map(str::to_owned).collect();
        Ok(Pattern { written: text.to_owned(), registry, path, tag, digest: digest.map(str::to_owned) })
    }

    pub fn fits(&self, reference: &Reference) -> bool {
        let version = match (&reference.version, &self.tag, &self.digest) {
            (Version::Tag(tag), Some(pattern), _) => glob(pattern, tag),
            (Version::Digest(digest), _, Some(pattern)) => pattern == "*" || pattern == digest,
            _ => false,
        };
        let mut parts = reference.path.split('/');
        let path = self.path.iter().all(|pattern| parts.next().is_some_and(|part| glob(pattern, part))) && parts.next().is_none();
        version && path && self.registry == reference.registry
    }

    pub fn registry(&self) -> &str {
        &self.registry
    }
}

/// As it stands in the pipeline file.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// `*` is any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn references_are_read_as_docker_reads_them() {
        for (text, full) in [
            ("node", "docker.io/library/node:latest"),
            ("node:20-alpine", "docker.io/library/node:20-alpine"),
            ("acme/shop", "docker.io/acme/shop:latest"),
            ("index.docker.io/library/node", "docker.io/library/node:latest"),
            ("docker.io/node", "docker.io/library/node:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
            ("ghcr.io/acme/shop:sha-1", "ghcr.io/acme/shop:sha-1"),
            ("a__b/c--d", "docker.io/a__b/c--d:latest"),
            ("98e4e22b5908", "docker.io/library/98e4e22b5908:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), full);
        }
        let both = Reference::parse(&format!("ghcr.io/acme/shop:1@{DIGEST}")).unwrap();
        assert_eq!(both.to_string(), format!("ghcr.io/acme/shop@{DIGEST}"));
    }

    #[test]
    fn what_is_no_reference() {
        let id = "a".repeat(64);
        for text in [
            "",
            ":1",
            "Node",
            "node:",
            "node:.x",
            "node:a/b:c d",
            "../node",
            "a/../b",
            "/node",
            "node/",
            "a//b",
            "node@sha256:00",
            "node@*",
            "node:*",
            "no de",
            "http://ghcr.io/x",
            "ghcr.io:0/x",
            "node?x=1",
            "node#",
            "a._b",
            "-a",
            "_a",
            &id,
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns() {
        let by_digest = format!("ghcr.io/acme/shop@{DIGEST}");
        let tagged_digest = format!("ghcr.io/acme/shop:1@{DIGEST}");
        for (pattern, reference, wanted) in [
            ("node", "node", true),
            ("node", "docker.io/library/node:latest", true),
            ("node", "node:20", false),
            ("node:*", "node:20", true),
            ("node:20*", "node:20-alpine", true),
            ("node:20*", "node:18", false),
            ("node:*-alpine", "node:20-alpine", true),
            ("node:*-alpine", "node:20", false),
            ("node", "acme/node", false),
            ("node", "ghcr.io/library/node", false),
            ("*", "node", true),
            ("*", "acme/node", false),
            ("acme/*:*", "acme/shop:1", true),
            ("acme/*:*", "acme/shop/api:1", false),
            ("ghcr.io/acme/*/api:*", "ghcr.io/acme/shop/api:1", true),
            ("ghcr.io/acme/shop-*:*", "ghcr.io/acme/shop-api:1", true),
            ("ghcr.io/acme/shop-*:*", "ghcr.io/acme/shop:1", false),
            ("ghcr.io/acme/shop:*", by_digest.as_str(), false),
            ("ghcr.io/acme/shop:1", tagged_digest.as_str(), false),
            ("ghcr.io/acme/shop@*", by_digest.as_str(), true),
            ("ghcr.io/acme/shop@*", tagged_digest.as_str(), true),
            ("ghcr.io/acme/shop@*", "ghcr.io/acme/shop:1", false),
            (by_digest.as_str(), by_digest.as_str(), true),
            ("ghcr.io/acme/shop:*", "ghcr.io.evil.example/acme/shop:1", false),
        ] {
            let fits = Pattern::parse(pattern).unwrap().fits(&Reference::parse(reference).unwrap());
            assert_eq!(fits, wanted, "{pattern} and {reference}");
        }
        for text in ["*.io/x", "", "Node", "node@sha256:*", "node:1@*", "node:.*", "a//b", "a/**"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
