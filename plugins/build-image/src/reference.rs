//! Names of images, as Docker reads them: `node:20` is `docker.io/library/node:20` (the grammar of the OCI distribution specification, and
//! `distribution/reference`).

use std::fmt;

/// What Docker means where no registry is named.
const HUB: &str = "docker.io";
/// Where that one's API is.
const HUB_API: &str = "registry-1.docker.io";

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// Host, with a port if it has one.
    pub registry: String,
    /// `acme/shop`.
    pub name: String,
}

impl Repository {
    /// Where its API begins. In the open only on this machine, where nobody listens in.
    pub fn api(&self) -> String {
        let host = if self.registry == HUB { HUB_API } else { &self.registry };
        let scheme = if is_loopback(host) { "http" } else { "https" };
        format!("{scheme}://{host}/v2/{}", self.name)
    }

    /// The same name at another place, which may have folders of its own: `mirror.example/acme`.
    pub fn moved_to(&self, place: &str) -> Repository {
        let (registry, folder) = place.trim_end_matches('/').split_once('/').unwrap_or((place.trim_end_matches('/'), ""));
        let name = if folder.is_empty() { self.name.clone() } else { format!("{folder}/{}", self.name) };
        Repository { registry: registry.to_owned(), name }
    }

    /// The last part of the name.
    pub fn title(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

/// An image: a tag of a repository, or a digest, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

impl Reference {
    /// # Errors
    /// What is wrong with the text, and what would be right.
    pub fn parse(text: &str) -> Result<Reference, String> {
        let wrong = |why: &str| Err(format!("`{text}` is no image reference: {why}; write it like ghcr.io/acme/shop:1.2"));
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) if is_digest(digest) => (named, Some(digest.to_owned())),
            Some(_) => return wrong("what follows `@` is no `sha256:` digest"),
            None => (text, None),
        };
        let slash = named.rfind('/').map_or(0, |at| at + 1);
        let (named, tag) = match named[slash..].find(':') {
            Some(colon) => (&named[..slash + colon], Some(named[slash + colon + 1..].to_owned())),
            None => (named, None),
        };
        if let Some(tag) = &tag
            && !is_tag(tag)
        {
            return wrong(&format!(
                "`{tag}` is no tag (letters, digits, `_`, `.` and `-`, 128 at most, and it begins with none of the last two)"
            ));
        }
        let (registry, name) = match named.split_once('/') {
            Some((host, name)) if host.contains(['.', ':']) || host == "localhost" => (host, name.to_owned()),
            Some(_) => (HUB, named.to_owned()),
            None => (HUB, format!("library/{named}")),
        };
        let registry = if registry == "index.docker.io" { HUB } else { registry };
        if !name.split('/').all(is_component) || name.len() > 255 {
            return wrong("a repository is made of lower-case letters, digits, and single `.`, `_`, `-` between them");
        }
        if !is_host(registry) {
            return wrong(&format!("`{registry}` is no host"));
        }
        Ok(Reference { repository: Repository { registry: registry.to_owned(), name }, tag, digest })
    }

    /// What a registry is asked for.
    pub fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

pub fn is_tag(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128 && text.bytes().next().is_some_and(plain) && text.bytes().all(|b| plain(b) || b == b'.' || b == b'-')
}

pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.split(plain).all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("ip", port.strip_prefix(':')),
        Some(_) => return false,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, shown, api) in [
            ("node", "docker.io/library/node", "https://registry-1.docker.io/v2/library/node"),
            ("node:20", "docker.io/library/node:20", "https://registry-1.docker.io/v2/library/node"),
            ("acme/shop", "docker.io/acme/shop", "https://registry-1.docker.io/v2/acme/shop"),
            ("index.docker.io/acme/shop", "docker.io/acme/shop", "https://registry-1.docker.io/v2/acme/shop"),
            ("ghcr.io/acme/shop:sha-1", "ghcr.io/acme/shop:sha-1", "https://ghcr.io/v2/acme/shop"),
            ("localhost:5000/a/b__c", "localhost:5000/a/b__c", "http://localhost:5000/v2/a/b__c"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b", "http://[::1]:5000/v2/a"),
            (&format!("ghcr.io/a/b:c@{digest}"), &format!("ghcr.io/a/b:c@{digest}"), "https://ghcr.io/v2/a/b"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!((reference.to_string().as_str(), reference.repository.api().as_str()), (shown, api), "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for (text, part) in [
            ("", "lower-case"),
            ("Shop", "lower-case"),
            ("ghcr.io/acme/shop:", "is no tag"),
            ("ghcr.io/acme/shop:-a", "is no tag"),
            ("ghcr.io/acme/shop:feature/x", "lower-case"),
            ("ghcr.io/acme/a..b", "lower-case"),
            ("ghcr.io/acme/../b", "lower-case"),
            ("ghcr.io/acme/shop@sha256:1", "no `sha256:` digest"),
            ("ghcr.io:port/acme/shop", "no host"),
            ("[::z]:1/acme/shop", "no host"),
            ("https://ghcr.io/acme", "lower-case"),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_repository_moves_to_another_registry() {
        let repository = Reference::parse("ghcr.io/acme/shop").unwrap().repository;
        assert_eq!(repository.moved_to("mirror.example:5000").to_string(), "mirror.example:5000/acme/shop");
        assert_eq!(repository.moved_to("mirror.example/copies/").to_string(), "mirror.example/copies/acme/shop");
    }
}
