//! Resources as a rule names them: `deployments`, `deployments/scale`, `virtualservices.networking.istio.io`, `*`.

use std::fmt::{self, Display};

use crate::target::{Kind, Subresource, Target, is_label, is_subdomain};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error("`{}` is no resource: it is the plural in lower case, with its group and its part where it has them: deployments, deployments/scale, httproutes.gateway.networking.k8s.io", .0.escape_debug())]
    Malformed(String),
    #[error("`{0}` is not one of Kubernetes' own resources: write its group too, as in `{0}.example.org`")]
    Unknown(String),
    #[error("`{0}` can't be granted: no stage may use it")]
    Never(String),
}

/// The groups of the built-in resources that may be written without theirs.
const BUILT_IN: [(&str, &[&str]); 7] = [
    (
        "",
        &[
            "pods",
            "services",
            "configmaps",
            "secrets",
            "events",
            "endpoints",
            "namespaces",
            "nodes",
            "persistentvolumes",
            "persistentvolumeclaims",
            "podtemplates",
            "replicationcontrollers",
            "resourcequotas",
            "limitranges",
            "serviceaccounts",
        ],
    ),
    ("apps", &["deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"]),
    ("batch", &["jobs", "cronjobs"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "ingressclasses", "networkpolicies"]),
    ("discovery.k8s.io", &["endpointslices"]),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourcePattern {
    /// What may be read without being named.
    All,
    One {
        group: String,
        plural: String,
        subresource: Option<Subresource>,
    },
}

impl ResourcePattern {
    /// # Errors
    /// If it is none, or none that a stage can be granted.
    pub fn parse(text: &str) -> Result<ResourcePattern, ResourceError> {
        if text == "*" {
            return Ok(ResourcePattern::All);
        }
        let malformed = || ResourceError::Malformed(text.to_owned());
        let (resource, part) = match text.split_once('/') {
            Some((resource, part)) => (resource, Some(part)),
            None => (text, None),
        };
        let (plural, group) = match resource.split_once('.') {
            Some((plural, group)) => (plural, Some(group)),
            None => (resource, None),
        };
        if !is_label(plural) || plural.contains('-') || group.is_some_and(|group| !is_subdomain(group)) {
            return Err(malformed());
        }
        let group = match group {
            Some(group) => group.to_owned(),
            None => match BUILT_IN.iter().find(|(_, plurals)| plurals.contains(&plural)) {
                Some((group, _)) => (*group).to_owned(),
                None => return Err(ResourceError::Unknown(plural.to_owned())),
            },
        };
        let subresource = match part {
            None => None,
            Some(part) => Some(Subresource::ALL.into_iter().find(|one| one.word() == part).ok_or_else(|| match part {
                "*" | "" => malformed(),
                _ => ResourceError::Never(text.to_owned()),
            })?),
        };
        let kind = Kind::new(&group, "v1", plural).map_err(|_| malformed())?;
        if let Some(subresource) = subresource {
            let fits = Target::one(kind, None, "x").and_then(|target| target.part(subresource));
            fits.map_err(|_| ResourceError::Never(text.to_owned()))?;
        }
        Ok(ResourcePattern::One { group, plural: plural.to_owned(), subresource })
    }

    pub(crate) fn fits(&self, target: &Target, reads: bool) -> bool {
        match self {
            ResourcePattern::All => reads && !to_be_named(target),
            ResourcePattern::One { group, plural, subresource } => {
                group == target.kind().group() && plural == target.kind().plural() && *subresource == target.subresource()
            }
        }
    }
}

impl Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourcePattern::All => f.write_str("*"),
            ResourcePattern::One { group, plural, subresource } => {
                f.write_str(plural)?;
                let short = BUILT_IN.iter().any(|(known, plurals)| known == group && plurals.contains(&plural.as_str()));
                if !short && !group.is_empty() {
                    write!(f, ".{group}")?;
                }
                subresource.map_or(Ok(()), |subresource| write!(f, "/{subresource}"))
            }
        }
    }
}

/// How a rule would name what a request is about.
pub(crate) fn named(target: &Target) -> ResourcePattern {
    ResourcePattern::One {
        group: target.kind().group().to_owned(),
        plural: target.kind().plural().to_owned(),
        subresource: target.subresource(),
    }
}

/// What no `*` opens: credentials, what gives rights, and ways into a Pod.
fn to_be_named(target: &Target) -> bool {
    let core = target.kind().group().is_empty();
    let grave = matches!(
        target.kind().group(),
        "rbac.authorization.k8s.io"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "certificates.k8s.io"
            | "authentication.k8s.io"
            | "authorization.k8s.io"
    );
    grave || (core && matches!(target.kind().plural(), "secrets" | "serviceaccounts" | "nodes")) || target.subresource().is_some()
}
