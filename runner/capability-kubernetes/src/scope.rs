//! Which namespace an object is in, where a stage does not say.
//!
//! Built-in kinds are known, so that the same request always means the same object, with or without a cluster. Of kinds that are not known it is taken
//! that they are in namespaces; a stage that means one that is in none writes an empty namespace.

use admission::Kind;

const CLUSTER_WIDE: [(&str, &[&str]); 13] = [
    ("", &["namespaces", "nodes", "persistentvolumes", "componentstatuses"]),
    ("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"]),
    ("storage.k8s.io", &["storageclasses", "volumeattachments", "csidrivers", "csinodes", "volumeattributesclasses"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    (
        "admissionregistration.k8s.io",
        &[
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
        ],
    ),
    ("scheduling.k8s.io", &["priorityclasses"]),
    ("networking.k8s.io", &["ingressclasses", "ipaddresses", "servicecidrs"]),
    ("node.k8s.io", &["runtimeclasses"]),
    ("certificates.k8s.io", &["certificatesigningrequests", "clustertrustbundles"]),
    ("flowcontrol.apiserver.k8s.io", &["flowschemas", "prioritylevelconfigurations"]),
    ("resource.k8s.io", &["deviceclasses", "resourceslices"]),
    ("gateway.networking.k8s.io", &["gatewayclasses"]),
];

/// `asked` is what the stage says, `own` the grant's.
pub fn namespace<'a>(kind: &Kind, asked: Option<&'a str>, own: &'a str) -> Option<&'a str> {
    if CLUSTER_WIDE.iter().any(|(group, plurals)| *group == kind.group() && plurals.contains(&kind.plural())) {
        return None;
    }
    Some(asked.unwrap_or(own)).filter(|namespace| !namespace.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_no_namespace_is_asked_for_in_none() {
        let kind = |group: &str, plural: &str| Kind::new(group, "v1", plural).unwrap();
        for (kind, asked, is) in [
            (kind("apps", "deployments"), None, Some("shop")),
            (kind("apps", "deployments"), Some("other"), Some("other")),
            (kind("", "namespaces"), Some("other"), None),
            (kind("rbac.authorization.k8s.io", "clusterrolebindings"), None, None),
            (kind("example.org", "clusterthings"), Some(""), None),
            // of another group than the built-in one
            (kind("example.org", "nodes"), None, Some("shop")),
        ] {
            assert_eq!(namespace(&kind, asked, "shop"), is, "{kind}");
        }
    }
}
