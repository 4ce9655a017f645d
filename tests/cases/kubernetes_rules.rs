//! Rules of the grant `kubernetes` that only a real cluster shows whole: Pod templates, copies of an object, Secrets.

use end_to_end::{Case, Needles, Project, cluster};
use serde_json::{Value, json};

use super::kubernetes::{grants, op, project};
use super::secrets::{SIMPLE, Vault};
use crate::RUNNER;

const STABLE: &str = "at = \"apps/v1/deployments api-stable\"";
const CANARY: &str = "at = \"apps/v1/deployments api-canary\"";

fn patch(at: &str, kind: &str, patch: &Value) -> String {
    op("patch", &format!("{at}, kind = \"{kind}\", patch = '{patch}'"))
}

#[test]
fn what_has_a_pod_template_is_written_field_by_field() {
    let Some(cluster) = cluster("what_has_a_pod_template_is_written_field_by_field") else { return };
    let namespace = cluster.namespace("template");
    namespace.serve("api", "stable", "1", 1);
    // all that a rule can say but which fields
    let rules = ["resources = [\"deployments\", \"deployments/scale\", \"jobs\"], verbs = [\"get\", \"create\", \"patch\"]"];
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "once" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "once", "image": "runner-test/busybox:1" }] } } } });
    let replicas = json!({ "spec": { "replicas": 2 } });
    let tries = [
        patch(STABLE, "merge", &replicas),
        patch(STABLE, "strategic", &replicas),
        patch(STABLE, "json", &json!([{ "op": "replace", "path": "/spec/replicas", "value": 2 }])),
        patch(STABLE, "merge", &json!({ "metadata": { "labels": { "a": "b" } } })),
        op("scale", &format!("{STABLE}, replicas = 2")),
        op("restart", STABLE),
        op("create", &format!("at = \"batch/v1/jobs once\", object = '{job}'")),
    ];
    let cases: Vec<Case<'_>> = tries.iter().map(|what| (what.as_str(), "refused needs-fields:", "*")).collect();
    project(cluster.kubeconfig()).cases("", &grants(&namespace, &rules, ""), &cases);
    assert_eq!(namespace.run(&["get", "deployment", "api-stable", "--output", "jsonpath={.spec.replicas}"]), "1");
    assert_eq!(namespace.run(&["get", "jobs", "--output", "name"]), "");
    let denied = project(cluster.kubeconfig()).attempts("", &grants(&namespace, &rules, ""), &[&tries[0]]);
    let remedy = denied[0].denials[0].remedy.clone();
    assert!(remedy.is_some_and(|remedy| remedy.contains("fields = {")), "{denied:#?}");
}

#[test]
fn what_is_made_is_like_another() {
    let Some(cluster) = cluster("what_is_made_is_like_another") else { return };
    let namespace = cluster.namespace("copies");
    namespace.serve("api", "stable", "1", 1);
    let rules = [
        "resources = [\"deployments\"], names = [\"api-canary\"], verbs = [\"get\", \"create\", \"patch\"], copy-of = \"api-stable\", fields = { \
         \"spec.replicas\" = { max = 1 }, \"spec.selector.matchLabels.track\" = { is = [\"canary\"] }, \
         \"spec.template.metadata.labels.track\" = { is = [\"canary\"] }, \
         \"spec.template.spec.containers[name=api].image\" = { like = \"runner-test/service:*\" } }",
    ];
    let stable: Value = serde_json::from_str(&namespace.run(&["get", "deployment", "api-stable", "--output", "json"])).expect("JSON");
    let mut canary = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api-canary" }, "spec": stable["spec"] });
    canary["spec"]["selector"]["matchLabels"]["track"] = json!("canary");
    canary["spec"]["template"]["metadata"]["labels"]["track"] = json!("canary");
    canary["spec"]["template"]["spec"]["containers"][0]["image"] = json!("runner-test/service:2");
    let differing = |pointer: &str, key: &str, value: Value| {
        let mut other = canary.clone();
        other.pointer_mut(pointer).expect("a place")[key] = value;
        format!("{CANARY}, object = '{other}'")
    };
    let pod = "/spec/template/spec";
    let container = "/spec/template/spec/containers/0";
    let volume = json!([{ "name": "root", "hostPath": { "path": "/" } }]);
    let sidecar = json!([stable["spec"]["template"]["spec"]["containers"][0], { "name": "evil", "image": "runner-test/service:2" }]);
    let tries: [(String, &str); 11] = [
        (op("create", &differing("/spec", "replicas", json!(2))), "refused bound:"),
        (op("create", &differing("/spec/template/metadata/labels", "track", json!("stable"))), "refused bound:"),
        (op("create", &differing(container, "image", json!("evil:1"))), "refused bound:"),
        (op("create", &differing(container, "securityContext", json!({ "privileged": true }))), "refused field:"),
        (op("create", &differing(pod, "hostNetwork", json!(true))), "refused field:"),
        (op("create", &differing(pod, "volumes", volume)), "refused field:"),
        (op("create", &differing(pod, "containers", sidecar)), "refused field:"),
        (op("apply", &differing(pod, "serviceAccountName", json!("admin"))), "refused field:"),
        (op("create", &format!("{CANARY}, object = '{canary}'")), "ok api-canary"),
        // there is nothing to copy any more: it is written field by field
        (patch(CANARY, "strategic", &json!({ "spec": { "template": { "spec": { "hostNetwork": true } } } })), "refused field:"),
        (patch(CANARY, "merge", &json!({ "spec": { "replicas": 0 } })), "ok api-canary"),
    ];
    let cases: Vec<Case<'_>> = tries.iter().map(|(what, answer)| (what.as_str(), *answer, "*")).collect();
    project(cluster.kubeconfig()).cases("", &grants(&namespace, &rules, ""), &cases);
    let made = "jsonpath={.spec.replicas} {.spec.template.spec.containers[*].image}";
    assert_eq!(namespace.run(&["get", "deployment", "api-canary", "--output", made]), "0 runner-test/service:2");
}

/// A Secret that is named is read; what of it is a secret of the runner's own stays hidden, and none of those is ever sent to a cluster.
#[test]
fn secrets_are_read_by_name_and_sent_by_nobody() {
    let Some(cluster) = cluster("secrets_are_read_by_name_and_sent_by_nobody") else { return };
    let namespace = cluster.namespace("secrets");
    let password = format!("--from-literal=password={SIMPLE}");
    namespace.run(&["create", "secret", "generic", "db", "--from-literal=user=shopkeeper", &password]);
    namespace.run(&["create", "secret", "generic", "other", "--from-literal=user=nobody"]);
    let rules = [
        "resources = [\"secrets\"], names = [\"db\"], verbs = [\"get\", \"list\", \"patch\"]",
        "resources = [\"configmaps\"], verbs = [\"get\", \"create\"]",
        "resources = [\"pods/exec\"], verbs = [\"create\"]",
    ];
    let map =
        "object = '{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"made\"},\"data\":{\"a\":\"${secret.token}\"}}'";
    let (db, made) = ("at = \"v1/secrets db\"", "at = \"v1/configmaps made\"");
    let tries: [(String, &str); 8] = [
        (op("get", &format!("{db}, pointer = \"/data/user\"")), "ok \"c2hvcGtlZXBlcg==\""),
        (op("get", &format!("{db}, pointer = \"/data/password\"")), "ok \"***"),
        (op("list", "of = \"v1/secrets\""), "ok db"),
        (op("get", "at = \"v1/secrets other\""), "refused secret:"),
        (op("create", &format!("{made}, {map}")), "refused secret-place:"),
        (op("patch", &format!("{db}, patch = '{{\"stringData\":{{\"password\":\"${{secret.token}}\"}}}}'")), "refused secret-place:"),
        (op("exec", "pod = \"any\", run = [\"cat\"], stdin = \"${secret.token}\""), "refused secret-place:"),
        (op("get", made), "error"),
    ];
    let vault = Vault::new().with("token", SIMPLE, &["https://registry.example/**"]);
    let project = Project::hostile(RUNNER).env("KUBECONFIG", cluster.kubeconfig());
    let texts: Vec<&str> = tries.iter().map(|(what, _)| what.as_str()).collect();
    vault.tries(&project, "", &grants(&namespace, &rules, ""), &texts);
    let finished = project.exec_json();
    let attempts = finished.told().attempts("try");
    assert_eq!(attempts.len(), tries.len(), "{}", finished.told().printed());
    for ((what, wanted), attempt) in tries.iter().zip(&attempts) {
        assert!(attempt.answer.replace('\\', "").starts_with(wanted), "{what}\nwanted {wanted}\n{attempt:#?}");
    }
    let needles = Needles::of(&[SIMPLE]);
    assert_eq!((needles.within(finished.stdout.as_bytes()), needles.within(finished.stderr.as_bytes())), (None, None));
    assert!(needles.nowhere_below(project.path()) > 1);
    project.replayed("try").same("same");
}
