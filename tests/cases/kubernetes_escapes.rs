//! A stage with a canary's grant that tries all that a canary must not: nothing of it reaches the cluster but readings and dry runs.

use end_to_end::{Case, cluster};
use serde_json::Value;

use super::kubernetes::{grants, op, project};

const DEPLOYMENTS: &str = "resources = [\"deployments\"], names = [\"api-stable\", \"api-canary\"], verbs = [\"get\", \"list\", \"watch\", \"patch\"], \
     fields = { \"spec.replicas\" = { max = 3 } }, \
     shares = [{ part = [\"api-canary:spec.replicas\"], whole = [\"api-stable:spec.replicas\", \"api-canary:spec.replicas\"], max = 0.5 }]";
const ROUTES: &str = "resources = [\"virtualservices.networking.istio.io\"], names = [\"api\"], verbs = [\"get\", \"patch\"], \
     fields = { \"spec.http[*].route[destination.subset=canary].weight\" = { max = 10 }, \"spec.http[*].route[destination.subset=stable].weight\" = { min = 90 } }";

const ROUTE: &str = r#"apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: api }
spec:
  hosts: [api]
  http:
    - route:
        - { destination: { host: api, subset: stable }, weight: 100 }
        - { destination: { host: api, subset: canary }, weight: 0 }
"#;

fn patched(at: &str, kind: &str, patch: &str) -> String {
    op("patch", &format!("at = \"{at}\", kind = \"{kind}\", patch = '{patch}'"))
}

#[test]
fn a_hostile_canary_gets_nowhere() {
    let Some(cluster) = cluster("a_hostile_canary_gets_nowhere") else { return };
    let (namespace, other) = (cluster.namespace("hostile"), cluster.namespace("neighbour"));
    namespace.serve("api", "stable", "1", 2);
    namespace.serve("api", "canary", "1", 1);
    namespace.apply(ROUTE);
    other.serve("api", "stable", "1", 1);
    for one in [&namespace, &other] {
        one.run(&["create", "secret", "generic", "db", "--from-literal=password=hunter22"]);
    }
    let version = "networking.istio.io/v1/virtualservices api";
    let (stable, canary) = ("apps/v1/deployments api-stable", "apps/v1/deployments api-canary");
    let neighbour = other.name();
    let elsewhere = |of: &str, name: &str| format!("{of} {neighbour}/{name}");
    let pod = namespace.run(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"]);
    let route = |weights: [u32; 2]| {
        format!(
            r#"[{{"destination":{{"host":"api","subset":"stable"}},"weight":{}}},{{"destination":{{"host":"api","subset":"canary"}},"weight":{}}}]"#,
            weights[0], weights[1]
        )
    };
    let whole = |weights| {
        format!(
            r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{{"name":"api"}},"spec":{{"hosts":["api"],"http":[{{"route":{}}}]}}}}"#,
            route(weights)
        )
    };
    let image = r#"{"spec":{"template":{"spec":{"containers":[{"name":"api","image":"evil:1"}]}}}}"#;
    let binding = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"hostile"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"system:unauthenticated"}]}"#;
    let applied = format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"api-stable"}},{}}}"#,
        image.trim_start_matches('{').trim_end_matches('}').to_owned() + "}}}"
    );
    let tries: Vec<(String, &str)> = vec![
        // Secrets, and what else holds credentials
        (op("get", "at = \"v1/secrets db\""), "secret"),
        (op("list", "of = \"v1/secrets\""), "secret"),
        (op("get", "at = \"v1/serviceaccounts default\""), "not-granted"),
        (
            op(
                "create",
                "at = \"v1/serviceaccounts default\", object = '{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}'",
            ),
            "not-granted",
        ),
        // other namespaces and kinds
        (op("get", &format!("at = \"{}\"", elsewhere("apps/v1/deployments", "api-stable"))), "not-granted"),
        (op("list", &format!("of = \"apps/v1/deployments {neighbour}\"")), "not-granted"),
        (op("list", "of = \"apps/v1/deployments *\""), "not-granted"),
        (op("scale", &format!("at = \"{}\", replicas = 0", elsewhere("apps/v1/deployments", "api-stable"))), "not-granted"),
        (op("delete", &format!("at = \"{stable}\"")), "not-granted"),
        (op("get", "at = \"v1/nodes node0\""), "not-granted"),
        (op("delete", &format!("at = \"v1/namespaces {neighbour}\"")), "not-granted"),
        (op("create", &format!("at = \"rbac.authorization.k8s.io/v1/clusterrolebindings hostile\", object = '{binding}'")), "not-granted"),
        (op("apply", &format!("at = \"rbac.authorization.k8s.io/v1/clusterrolebindings hostile\", object = '{binding}'")), "not-granted"),
        // ways into Pods
        (op("exec", &format!("pod = \"{pod}\", run = [\"id\"]")), "not-granted"),
        (op("logs", &format!("pod = \"{pod}\"")), "not-granted"),
        (op("forward", "service = \"api\", port = 80, path = \"/\""), "not-granted"),
        (op("delete", &format!("at = \"v1/pods {pod}\"")), "not-granted"),
        // more Pods than the canary may have
        (op("scale", &format!("at = \"{canary}\", replicas = 4")), "bound"),
        (op("scale", &format!("at = \"{canary}\", replicas = 3")), "share"),
        (op("scale", &format!("at = \"{stable}\", replicas = 0")), "share"),
        (patched(canary, "merge", r#"{"spec":{"replicas":3}}"#), "share"),
        (patched(canary, "strategic", r#"{"spec":{"replicas":9}}"#), "bound"),
        (patched(canary, "json", r#"[{"op":"replace","path":"/spec/replicas","value":9}]"#), "bound"),
        (patched(stable, "merge", r#"{"spec":{"replicas":null}}"#), "field"),
        // another image, by every kind of patch
        (patched(stable, "strategic", image), "field"),
        (patched(stable, "merge", image), "field"),
        (patched(stable, "json", r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"evil:1"}]"#), "field"),
        (patched(stable, "json", r#"[{"op":"replace","path":"","value":{}}]"#), "bad-patch"),
        (patched(stable, "strategic", r#"{"spec":{"$patch":"replace","replicas":1}}"#), "*"),
        (
            patched(
                stable,
                "json",
                r#"[{"op":"copy","from":"/spec/template/spec/containers/0","path":"/spec/template/spec/containers/-"}]"#,
            ),
            "field",
        ),
        (op("apply", &format!("at = \"{stable}\", object = '{applied}', force = true")), "field"),
        (op("undo", &format!("at = \"{stable}\", revision = 7")), ""),
        (op("restart", &format!("at = \"{stable}\"")), "field"),
        (op("pause", &format!("at = \"{stable}\", paused = true")), "field"),
        (
            patched(stable, "merge", r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}}"#),
            "field",
        ),
        (patched(stable, "merge", r#"{"metadata":{"finalizers":["x/y"]}}"#), "field"),
        (patched(stable, "merge", r#"{"metadata":{"name":"api-canary"},"spec":{"replicas":1}}"#), "bad-object"),
        // more traffic than the canary may have, by every kind of patch
        (patched(version, "merge", &format!(r#"{{"spec":{{"http":[{{"route":{}}}]}}}}"#, route([89, 11]))), "bound"),
        (patched(version, "merge", &format!(r#"{{"spec":{{"http":[{{"route":{}}}]}}}}"#, route([0, 100]))), "bound"),
        (patched(version, "json", r#"[{"op":"replace","path":"/spec/http/0/route/1/weight","value":100}]"#), "bound"),
        (patched(version, "json", r#"[{"op":"copy","from":"/spec/http/0/route/0/weight","path":"/spec/http/0/route/1/weight"}]"#), "bound"),
        (patched(version, "json", r#"[{"op":"replace","path":"/spec/http/0/route/1/weight","value":"100"}]"#), "bound"),
        (patched(version, "json", r#"[{"op":"remove","path":"/spec/http/0/route/0"}]"#), "*"),
        (patched(version, "json", r#"[{"op":"replace","path":"/spec/http/0/route/0/destination/subset","value":"canary"}]"#), "*"),
        (
            patched(version, "json", r#"[{"op":"add","path":"/spec/http/0/route/-","value":{"destination":{"host":"evil"},"weight":5}}]"#),
            "*",
        ),
        (patched(version, "json", r#"[{"op":"add","path":"/spec/http/0/mirror","value":{"host":"evil"}}]"#), "field"),
        (patched(version, "merge", r#"{"spec":{"http":null}}"#), "*"),
        (patched(version, "merge", r#"{"spec":{"hosts":["*"]}}"#), "field"),
        (op("apply", &format!("at = \"{version}\", object = '{}', force = true", whole([0, 100]))), "bound"),
    ];
    let before = cluster.audited("").map(|all| all.len());
    let answers: Vec<String> = tries
        .iter()
        .map(|(_, code)| match *code {
            "" => "error".to_owned(),
            "*" => "refused".to_owned(),
            code => format!("refused {code}:"),
        })
        .collect();
    // a denial of the same effect on the same object is told once, so the answers count
    let cases: Vec<Case<'_>> = tries.iter().zip(&answers).map(|((what, _), answer)| (what.as_str(), answer.as_str(), "*")).collect();
    project(cluster.kubeconfig()).cases("timeout = \"5m\"", &grants(&namespace, &[DEPLOYMENTS, ROUTES], ""), &cases);
    let Some(all) = cluster.audited("") else { return };
    let mine = |line: &&Value| {
        let text = line.to_string();
        [namespace.name(), other.name(), "clusterrolebindings", "/nodes/"].iter().any(|word| text.contains(word))
            && line["user"]["groups"].to_string().contains("system:masters")
    };
    let harmless = |line: &&Value| {
        matches!(line["verb"].as_str(), Some("get" | "list" | "watch"))
            || line["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All"))
    };
    let asked: Vec<&Value> = all[before.unwrap_or_default()..].iter().filter(mine).collect();
    let written: Vec<String> =
        asked.iter().filter(|line| !harmless(line)).map(|line| format!("{} {}", line["verb"], line["requestURI"])).collect();
    assert!(written.is_empty(), "{written:#?}");
    assert!(
        asked.iter().any(|line| line["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All"))),
        "something was tried without effect"
    );
    assert!(!asked.iter().any(|line| line["objectRef"]["resource"] == "secrets"), "no Secret was asked for");
    let untouched = namespace.run(&["get", "virtualservice", "api", "--output", "jsonpath={.spec.http[0].route[*].weight}"]);
    assert_eq!(untouched, "100 0");
}
