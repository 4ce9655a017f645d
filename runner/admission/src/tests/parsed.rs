//! What is read from text: paths, patterns, targets, JSON.

use crate::{Field, FieldError, FieldPath, Glob, Kind, ResourcePattern, Subresource, Target, Verb};

#[test]
fn field_paths() {
    for text in [
        "spec.replicas",
        "spec.template.spec.containers[*].image",
        "spec.template.spec.containers[name=api].image",
        "spec.http[*].route[destination.subset=canary].weight",
        "metadata.annotations[\"example.org/build\"]",
        "metadata.labels.*",
        "data",
    ] {
        assert_eq!(FieldPath::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        ".",
        "spec.",
        ".spec",
        "spec..x",
        "spec[0]",
        "spec[]",
        "spec[=a]",
        "spec[a=]",
        "spec[a",
        "spec[*]x",
        "a/b",
        "spec[\"\"]",
        "spec[\"a\"b\"]",
        "späc",
        "[*]",
        "a b",
    ] {
        assert!(FieldPath::parse(text).is_err(), "{text}");
    }
}

#[test]
fn fields_that_nobody_writes() {
    let field = |text: &str| Field::new(FieldPath::parse(text).unwrap(), crate::Bound::Any);
    for text in [
        "metadata",
        "metadata.name",
        "metadata.uid",
        "metadata.managedFields[*]",
        "metadata.*",
        "kind",
        "apiVersion",
        "*",
        "*.replicas",
        "metadata.generateName",
    ] {
        assert!(matches!(field(text), Err(FieldError::Fixed(_))), "{text}");
    }
    for text in ["metadata.labels", "metadata.finalizers", "spec", "spec.*", "status"] {
        assert!(field(text).is_ok(), "{text}");
    }
    let share = |text: &str| Field::new(FieldPath::parse(text).unwrap(), crate::Bound::Number { min: None, max: None, share: Some(0.1) });
    assert!(share("spec.rules[*].backendRefs[name=canary].weight").is_ok());
    assert!(share("spec.rules[*].backendRefs[*].weight").is_err());
    assert!(share("spec.replicas").is_err());
}

#[test]
fn globs() {
    for (pattern, text, fits) in [
        ("api", "api", true),
        ("api", "api-canary", false),
        ("api-*", "api-canary", true),
        ("api-*", "api-", true),
        ("api-*", "api", false),
        ("*", "anything", true),
        ("*", "a/b", false),
        ("**", "a/b", true),
        ("ghcr.io/*/shop@sha256:*", "ghcr.io/acme/shop@sha256:aa", true),
        ("ghcr.io/*/shop@sha256:*", "ghcr.io/acme/x/shop@sha256:aa", false),
        ("ghcr.io/**/shop", "ghcr.io/a/b/shop", true),
        ("ghcr.io/**:*", "ghcr.io/a/b:c", true),
        ("a*b*c", "aXbXbXc", true),
        ("a*b*c", "aXbXbX", false),
        ("**", "a b", false),
        ("**", "a\nb", false),
        ("a b", "a b", true),
        ("*", "\u{440}", true),
        ("ap*", "\u{430}pi", false),
    ] {
        assert_eq!(Glob::parse(pattern).unwrap().fits(text), fits, "{pattern} {text:?}");
    }
    assert!(Glob::parse("").is_err() && Glob::parse("a\n").is_err());
    // many stars take no time
    assert!(!Glob::parse(&"*a".repeat(40)).unwrap().fits(&"a".repeat(4000).replace("aaaa", "aab")));
}

#[test]
fn targets() {
    let deployments = || Kind::new("apps", "v1", "deployments").unwrap();
    let one = Target::one(deployments(), Some("shop"), "api").unwrap();
    assert_eq!(one.path(), "/apis/apps/v1/namespaces/shop/deployments/api");
    assert_eq!(one.clone().part(Subresource::Scale).unwrap().path(), "/apis/apps/v1/namespaces/shop/deployments/api/scale");
    assert_eq!(one.to_string(), "deployments.apps shop/api");
    assert_eq!(Target::all(Kind::new("", "v1", "pods").unwrap(), Some("shop")).unwrap().path(), "/api/v1/namespaces/shop/pods");
    assert_eq!(Target::all(Kind::new("", "v1", "pods").unwrap(), None).unwrap().path(), "/api/v1/pods");
    for name in ["", ".", "..", "a/b", "a%2fb", "../x", "a?b", "a#b", "a b", "a\0", "\u{440}", "a;b", "a\\b"] {
        assert!(Target::one(deployments(), Some("shop"), name).is_err(), "{name:?}");
    }
    for namespace in ["", "Shop", "a/b", "..", "a.b", "-a", "kube-system/pods", &"a".repeat(64)] {
        assert!(Target::one(deployments(), Some(namespace), "x").is_err(), "{namespace:?}");
    }
    for (group, version, plural) in [
        ("Apps", "v1", "x"),
        ("a/b", "v1", "x"),
        ("apps", "1", "x"),
        ("apps", "v1/..", "x"),
        ("apps", "v1gamma1", "x"),
        ("apps", "v", "x"),
        ("apps", "v1beta", "x"),
        ("apps", "v1", "Deployments"),
        ("apps", "v1", "a/b"),
        ("apps", "v1", ""),
    ] {
        assert!(Kind::new(group, version, plural).is_err(), "{group} {version} {plural}");
    }
    // this would be the path of all Pods of a namespace, or of what lets act as somebody
    let part =
        |group: &str, plural: &str, part| Target::one(Kind::new(group, "v1", plural).unwrap(), Some("shop"), "x").unwrap().part(part);
    assert!(part("", "namespaces", Subresource::Scale).is_err());
    assert!(part("", "secrets", Subresource::Log).is_err());
    assert!(part("apps", "deployments", Subresource::Exec).is_err());
    assert!(part("", "pods", Subresource::Exec).is_ok());
    assert!(part("", "services", Subresource::PortForward).is_ok());
    assert!(Target::all(Kind::new("", "v1", "pods").unwrap(), Some("shop")).unwrap().part(Subresource::Exec).is_err());
}

#[test]
fn verbs_and_resources() {
    for word in ["*", "impersonate", "escalate", "bind", "deletecollection", "update", "use", "approve", "Get", ""] {
        assert!(Verb::parse(word).is_err(), "{word}");
    }
    for text in [
        "deployments",
        "deployments/scale",
        "pods/exec",
        "services/portforward",
        "virtualservices.networking.istio.io",
        "*",
        "secrets",
        "configmaps",
    ] {
        assert_eq!(ResourcePattern::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "Deployments",
        "virtualservices",
        "pods/*",
        "*/*",
        "*.*",
        "pods/attach",
        "pods/ephemeralcontainers",
        "pods/proxy",
        "serviceaccounts/token",
        "namespaces/scale",
        "nodes/proxy",
        "deployments/exec",
        "pods/",
        "pods/exec/x",
        "certificatesigningrequests.certificates.k8s.io/approval",
    ] {
        assert!(ResourcePattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn json_has_one_meaning() {
    for text in [
        r#"{"spec":{"replicas":1,"replicas":100}}"#,
        r#"{"a":[{"b":1,"b":1}]}"#,
        r#"{"spec":1,"sp\u0065c":2}"#,
        "{} {}",
        "{",
        "",
        "NaN",
        "1e999",
        "{\"a\":1,}",
        "[1] // no",
    ] {
        assert!(crate::parse(text).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(crate::parse(&deep).is_err());
    assert_eq!(crate::parse(r#"{"b":[1,-2,2.5,"x",null,true],"a":{}}"#).unwrap().to_string(), r#"{"b":[1,-2,2.5,"x",null,true],"a":{}}"#);
}
