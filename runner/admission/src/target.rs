//! What a request is about, in the words of the API's paths.
//!
//! The fields are private: a target whose parts could change what its path means (`..`, a slash, a `%`) can't be made.

use std::fmt::{self, Display};

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("`{}` is no API group: it is a DNS name such as apps or networking.istio.io, and empty for the core group", .0.escape_debug())]
    Group(String),
    #[error("`{}` is no API version: it is v1, v1beta1, …", .0.escape_debug())]
    Version(String),
    #[error("`{}` is no resource: it is the plural in lower case, such as deployments", .0.escape_debug())]
    Plural(String),
    #[error("`{}` is no namespace: it is a DNS label of at most 63 characters", .0.escape_debug())]
    Namespace(String),
    #[error("`{}` is no name of an object: letters, digits and - . _ : and at most 253 of them", .0.escape_debug())]
    Name(String),
    #[error("{kind} has no {subresource}")]
    Subresource { kind: Kind, subresource: Subresource },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no verb of a rule: those are get, list, watch, create, patch and delete", .0.escape_debug())]
pub struct VerbError(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Patch,
    Delete,
}

impl Verb {
    pub const ALL: [Verb; 6] = [Verb::Get, Verb::List, Verb::Watch, Verb::Create, Verb::Patch, Verb::Delete];

    /// # Errors
    /// If it is none that a stage can be granted, such as `*`, `impersonate` or `deletecollection`.
    pub fn parse(text: &str) -> Result<Verb, VerbError> {
        Verb::ALL.into_iter().find(|verb| verb.word() == text).ok_or_else(|| VerbError(text.to_owned()))
    }

    pub fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    pub fn reads(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

/// Parts of an object that have a path of their own. Those that are not here can't be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subresource {
    Scale,
    Log,
    Exec,
    /// Of a Service it means: of the Pods that it selects.
    PortForward,
}

impl Subresource {
    pub const ALL: [Subresource; 4] = [Subresource::Scale, Subresource::Log, Subresource::Exec, Subresource::PortForward];

    pub fn word(self) -> &'static str {
        match self {
            Subresource::Scale => "scale",
            Subresource::Log => "log",
            Subresource::Exec => "exec",
            Subresource::PortForward => "portforward",
        }
    }
}

impl Display for Subresource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A kind of objects, as paths name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Kind {
    group: String,
    version: String,
    plural: String,
}

impl Kind {
    /// # Errors
    /// If a part is not what such a part can be.
    pub fn new(group: &str, version: &str, plural: &str) -> Result<Kind, TargetError> {
        if !(group.is_empty() || is_subdomain(group)) {
            return Err(TargetError::Group(group.to_owned()));
        }
        if !is_version(version) {
            return Err(TargetError::Version(version.to_owned()));
        }
        if !is_label(plural) || plural.contains('-') {
            return Err(TargetError::Plural(plural.to_owned()));
        }
        Ok(Kind { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() })
    }

    pub fn group(&self) -> &str {
        &self.group
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// As objects write it: `apps/v1`, and `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    fn root(&self) -> String {
        if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}/{}", self.group, self.version) }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// An object, or all objects of a kind in one namespace or in the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Target {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<Subresource>,
}

impl Target {
    /// All objects of a kind. Without a namespace: in all of them, or of what is in none.
    ///
    /// # Errors
    /// If the namespace can't be one.
    pub fn all(kind: Kind, namespace: Option<&str>) -> Result<Target, TargetError> {
        if let Some(namespace) = namespace.filter(|namespace| !is_label(namespace)) {
            return Err(TargetError::Namespace(namespace.to_owned()));
        }
        Ok(Target { kind, namespace: namespace.map(str::to_owned), name: None, subresource: None })
    }

    /// # Errors
    /// If the namespace or the name can't be one.
    pub fn one(kind: Kind, namespace: Option<&str>, name: &str) -> Result<Target, TargetError> {
        if !is_name(name) {
            return Err(TargetError::Name(name.to_owned()));
        }
        Ok(Target { name: Some(name.to_owned()), ..Target::all(kind, namespace)? })
    }

    /// A part of an object.
    ///
    /// # Errors
    /// If what it is about has no such part. `/api/v1/namespaces/x/pods` would be all Pods of a namespace, and not a part of it.
    pub fn part(self, subresource: Subresource) -> Result<Target, TargetError> {
        let core = |plural: &str| self.kind.group.is_empty() && self.kind.plural == plural;
        let fits = match subresource {
            Subresource::Scale => !core("namespaces") && !core("pods") && !core("services"),
            Subresource::Log | Subresource::Exec => core("pods"),
            Subresource::PortForward => core("pods") || core("services"),
        };
        if !fits || self.name.is_none() {
            return Err(TargetError::Subresource { kind: self.kind, subresource });
        }
        Ok(Target { subresource: Some(subresource), ..self })
    }

    /// The object that this is a part of, or this object.
    #[must_use]
    pub fn whole(&self) -> Target {
        Target { subresource: None, ..self.clone() }
    }

    /// Another object of the same kind and namespace.
    ///
    /// # Errors
    /// If the name can't be one.
    pub fn sibling(&self, name: &str) -> Result<Target, TargetError> {
        Target::one(self.kind.clone(), self.namespace.as_deref(), name)
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn subresource(&self) -> Option<Subresource> {
        self.subresource
    }

    /// `/apis/apps/v1/namespaces/shop/deployments/api/scale`
    pub fn path(&self) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let mut path = format!("{}{namespace}/{}", self.kind.root(), self.kind.plural);
        for part in self.name.as_deref().into_iter().chain(self.subresource.map(Subresource::word)) {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

/// `deployments.apps/scale shop/api`
impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}"),
            (None, Some(name)) => write!(f, " {name}"),
            (Some(namespace), None) => write!(f, " of {namespace}"),
            (None, None) => f.write_str(" of all namespaces"),
        }
    }
}

pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match rest.find(|c: char| !c.is_ascii_digit()) {
        None => digits(rest),
        Some(end) => digits(&rest[..end]) && ["alpha", "beta"].iter().any(|word| rest[end..].strip_prefix(word).is_some_and(digits)),
    }
}

/// Names of RBAC's own objects have colons; no name has what a path or a URL reads.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    (1..=253).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != ".."
}
