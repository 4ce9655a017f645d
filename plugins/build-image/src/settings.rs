//! The stage's `with` table, and what can't be meant by it in a way that no schema tells.

use std::collections::BTreeMap;
use std::fmt;

use runner_sdk::Span;
use serde::{Deserialize, Deserializer, de};

/// An image from a Dockerfile, or from files alone
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Names of the image: `ghcr.io/acme/shop:sha-${git.short}`, with `{sha}`, `{branch}`, `{date}`, `{semver}`, `{major}`, `{minor}`
    #[serde(default)]
    pub tags: Vec<String>,
    /// Make nothing; attach and sign this image, which is in a registry: `${stage.image.outputs.ref}`
    pub existing: Option<String>,
    /// The folder that the build sees
    #[serde(default = "here")]
    pub context: String,
    /// The Dockerfile, relative to the context; without it, `Dockerfile`
    pub dockerfile: Option<String>,
    /// The stage of the Dockerfile to build; without it, the last
    pub target: Option<String>,
    /// Values of the Dockerfile's `ARG`s
    #[serde(default)]
    pub build_args: BTreeMap<String, String>,
    /// Labels, beside those of the OCI that say where the image is from
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Such as `linux/amd64` and `linux/arm64`; without it, the engine's own
    #[serde(default)]
    pub platforms: Vec<Platform>,
    /// The platforms that are enough if another one can't be built: the image is then for these alone, with a warning
    #[serde(default)]
    pub fallback: Vec<Platform>,
    /// Let `RUN` steps use the network, where the grant says `build-network = "full"`
    #[serde(default)]
    pub network: bool,
    /// Ask registries for newer base images
    #[serde(default)]
    pub pull: bool,
    /// Build every step anew
    #[serde(default)]
    pub no_cache: bool,
    /// References to take cached layers from
    #[serde(default)]
    pub cache_from: Vec<String>,
    /// References to keep cached layers at; this is a push
    #[serde(default)]
    pub cache_to: Vec<String>,
    /// How long the build of one platform may take
    pub timeout: Option<Span>,

    /// Make the image of these files, without Docker; a layer for each
    #[serde(default)]
    #[cfg_attr(test, schemars(length(max = 100)))]
    pub from_files: Vec<FromFiles>,
    /// What lies under the files; without it, nothing
    pub base: Option<Base>,
    /// What is started
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments
    pub cmd: Option<Vec<String>>,
    /// The environment of what is started, added to the base's
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Who runs it: `65532:65532`
    pub user: Option<String>,
    /// Where it is started
    pub workdir: Option<String>,
    /// Ports: `8080`, `53/udp`
    #[serde(default)]
    pub expose: Vec<String>,

    /// Push the image under all its names
    #[serde(default = "yes")]
    pub push: bool,
    /// How often a push is tried again, with growing waits
    #[serde(default = "four")]
    #[cfg_attr(test, schemars(range(max = 20)))]
    pub push_retries: u32,
    /// The first wait; each is about twice as long as the one before
    #[serde(default = "second")]
    pub push_delay: Span,
    /// Where the image goes if its own registry can't be pushed to: `mirror.example/copies`
    pub fallback_registry: Option<String>,
    /// Logins of registries, by host, for what goes over HTTP; Docker's own are in its grant
    #[serde(default)]
    pub login: BTreeMap<String, Login>,
    /// Write the image into this file too: an archive in the workspace
    pub archive: Option<String>,
    /// Attach a bill of materials (CycloneDX): this file of the workspace
    pub sbom: Option<String>,
    /// Sign the image as cosign does
    pub sign: Option<Sign>,

    /// When the image was made (RFC 3339), instead of SOURCE_DATE_EPOCH
    pub created: Option<String>,
    /// Where its source is: a URL
    pub source: Option<String>,
    /// Its version; without it, that of the run's tag
    pub version: Option<String>,
    /// Its name for people; without it, the last part of the repository
    pub title: Option<String>,
}

fn here() -> String {
    ".".into()
}

fn yes() -> bool {
    true
}

fn four() -> u32 {
    4
}

fn second() -> Span {
    Span::from_secs(1)
}

/// A file or folder of the workspace, and where it is in the image
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FromFiles {
    /// A file or a folder of the workspace
    pub path: String,
    /// An absolute path in the image; with a `/` at its end, the folder that takes it
    pub to: String,
    /// Of files, in octal digits: `0755`; without it, `0644`. Folders get what is needed to enter them
    pub mode: Option<String>,
    /// `uid:gid`; without it, `0:0`
    pub owner: Option<String>,
    /// Only in the image of this platform
    pub platform: Option<Platform>,
}

/// What lies under the files
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Base {
    /// An OCI layout of the workspace: a folder, or a tar of one
    Layout(String),
    /// A reference in a registry
    Image(String),
}

/// The login of a registry
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Login {
    /// Who
    pub username: String,
    /// `${secret.registry}`
    pub password: String,
}

/// A key that signs
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sign {
    /// The name of the secret with the private key, which `secrets = { sign = [..] }` grants
    pub key: String,
    /// The name of the secret with the key's password, if it has one
    pub password: Option<String>,
}

/// An operating system and an architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

impl Platform {
    pub fn parse(text: &str) -> Result<Platform, String> {
        let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] if part(os) && part(architecture) => {
                Ok(Platform { os: os.into(), architecture: architecture.into(), variant: None })
            }
            [os, architecture, variant] if part(os) && part(architecture) && part(variant) => {
                Ok(Platform { os: os.into(), architecture: architecture.into(), variant: Some(variant.into()) })
            }
            _ => Err(format!("`{text}` is no platform such as `linux/amd64` or `linux/arm/v7`")),
        }
    }

    /// As a part of a tag: `linux-arm-v7`.
    pub fn slug(&self) -> String {
        self.to_string().replace('/', "-")
    }

    /// What a component that knows no machine takes an image to be for.
    pub fn usual() -> Platform {
        Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
        Platform::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Platform {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[a-z0-9_]+/[a-z0-9_]+(/[a-z0-9_]+)?$", "description": "Such as `linux/amd64`" })
    }
}

impl Settings {
    /// Whether the image is made here, without an engine.
    pub fn is_assembled(&self) -> bool {
        !self.from_files.is_empty() || self.base.is_some()
    }

    /// What can't be meant.
    ///
    /// # Errors
    /// Which setting, and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        if self.existing.is_some() {
            return self.check_existing();
        }
        if self.tags.is_empty() {
            return Err("tags: the image needs a name, such as `ghcr.io/acme/shop:{sha}`".into());
        }
        if let Some(stray) = self.fallback.iter().find(|one| !self.platforms.contains(one)) {
            return Err(format!("fallback: `{stray}` is not among `platforms`; add it there, or take it out here"));
        }
        if !self.fallback.is_empty() && self.fallback.len() == self.platforms.len() {
            return Err("fallback: it names all of `platforms`, so there is nothing to fall back from; leave the setting out".into());
        }
        if let Some(twice) = self.platforms.iter().enumerate().find(|(at, one)| self.platforms[..*at].contains(one)) {
            return Err(format!("platforms: `{}` stands there twice", twice.1));
        }
        let unpushed =
            [("sbom", self.sbom.is_some()), ("sign", self.sign.is_some()), ("fallback-registry", self.fallback_registry.is_some())];
        if let Some((name, _)) = unpushed.iter().find(|(_, set)| *set && !self.push) {
            return Err(format!(
                "{name}: it is about an image in a registry, and `push = false` keeps it out of one; leave one of the two out"
            ));
        }
        if self.is_assembled() { self.check_assembled() } else { self.check_built() }
    }

    fn check_existing(&self) -> Result<(), String> {
        let made = [
            ("tags", !self.tags.is_empty()),
            ("from-files", !self.from_files.is_empty()),
            ("base", self.base.is_some()),
            ("dockerfile", self.dockerfile.is_some()),
            ("platforms", !self.platforms.is_empty()),
            ("archive", self.archive.is_some()),
            ("fallback-registry", self.fallback_registry.is_some()),
        ];
        if let Some((name, _)) = made.iter().find(|(_, set)| *set) {
            return Err(format!(
                "{name}: it is about an image that is made, and `existing` names one that is there; leave one of the two out"
            ));
        }
        match (self.sbom.is_some() || self.sign.is_some(), self.push) {
            (false, _) => Err("existing: there is nothing to do with it; say `sbom` or `sign`".into()),
            (_, false) => Err("push: what is attached goes to the registry; leave `push = false` out".into()),
            _ => Ok(()),
        }
    }

    fn check_assembled(&self) -> Result<(), String> {
        let of_docker = [
            ("context", self.context != here()),
            ("dockerfile", self.dockerfile.is_some()),
            ("target", self.target.is_some()),
            ("build-args", !self.build_args.is_empty()),
            ("fallback", !self.fallback.is_empty()),
            ("network", self.network),
            ("pull", self.pull),
            ("no-cache", self.no_cache),
            ("cache-from", !self.cache_from.is_empty()),
            ("cache-to", !self.cache_to.is_empty()),
            ("timeout", self.timeout.is_some()),
        ];
        if let Some((name, _)) = of_docker.iter().find(|(_, set)| *set) {
            return Err(format!(
                "{name}: it is for a build from a Dockerfile, and `from-files` and `base` make the image without one; leave it out"
            ));
        }
        if !self.push && self.archive.is_none() {
            return Err("push: with `push = false` the image would be gone at the end of the stage; name a file in `archive`".into());
        }
        Ok(())
    }

    fn check_built(&self) -> Result<(), String> {
        let of_files = [
            ("entrypoint", self.entrypoint.is_some()),
            ("cmd", self.cmd.is_some()),
            ("env", !self.env.is_empty()),
            ("user", self.user.is_some()),
            ("workdir", self.workdir.is_some()),
            ("expose", !self.expose.is_empty()),
        ];
        if let Some((name, _)) = of_files.iter().find(|(_, set)| *set) {
            return Err(format!("{name}: it is for an image of `from-files`; a Dockerfile says it itself"));
        }
        if self.platforms.len() > 1 && !self.push {
            return Err(
                "platforms: an engine keeps an image of one platform under a name; several need `push = true`, or a stage for each".into(),
            );
        }
        if self.platforms.len() > 1 && self.archive.is_some() {
            return Err("archive: an engine writes images of one platform; leave it out, or build one platform".into());
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Settings as they come from a pipeline file, with a tag if none is there.
    pub fn settings(mut value: Value) -> Settings {
        let fields = value.as_object_mut().unwrap();
        if !fields.contains_key("existing") {
            fields.entry("tags").or_insert(json!(["ghcr.io/acme/shop:1"]));
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (value, part) in [
            (json!({ "platforms": ["linux/amd64"], "fallback": ["linux/arm64"] }), "fallback: `linux/arm64` is not among"),
            (json!({ "platforms": ["linux/amd64"], "fallback": ["linux/amd64"] }), "nothing to fall back from"),
            (json!({ "platforms": ["linux/amd64", "linux/amd64"] }), "stands there twice"),
            (json!({ "platforms": ["linux/amd64", "linux/arm64"], "push": false }), "several need `push = true`"),
            (json!({ "push": false, "sign": { "key": "cosign" } }), "sign: it is about an image in a registry"),
            (json!({ "push": false, "sbom": "sbom.json" }), "sbom: it is about"),
            (json!({ "tags": [] }), "tags: the image needs a name"),
            (json!({ "existing": "ghcr.io/acme/shop:1" }), "there is nothing to do with it"),
            (json!({ "existing": "ghcr.io/acme/shop:1", "sbom": "s", "archive": "x" }), "archive: it is about an image that is made"),
            (json!({ "existing": "ghcr.io/acme/shop:1", "sbom": "s", "push": false }), "push: what is attached"),
            (json!({ "user": "1" }), "user: it is for an image of `from-files`"),
            (json!({ "from-files": [{ "path": "a", "to": "/a" }], "target": "x" }), "target: it is for a build from a Dockerfile"),
            (json!({ "from-files": [{ "path": "a", "to": "/a" }], "push": false }), "name a file in `archive`"),
        ] {
            let error = settings(value).check().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        for value in
            [json!({}), json!({ "push": false }), json!({ "base": { "image": "node:20" } }), json!({ "platforms": ["linux/arm/v7"] })]
        {
            settings(value).check().unwrap();
        }
    }

    #[test]
    fn platforms_are_what_docker_takes_them_for() {
        assert_eq!(Platform::parse("linux/arm/v7").unwrap().slug(), "linux-arm-v7");
        for text in ["", "linux", "linux/", "linux/amd64/v1/x", "Linux/amd64", "linux/../x"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
