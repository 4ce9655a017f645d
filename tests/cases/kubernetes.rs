//! `runner:kubernetes` on a real cluster with real Pods: what a stage is granted works.

use end_to_end::{Namespace, Project, cluster};

use crate::RUNNER;

pub fn project(kubeconfig: &str) -> Project {
    Project::hostile(RUNNER).env("KUBECONFIG", kubeconfig)
}

pub fn op(op: &str, rest: &str) -> String {
    format!("{{ do = \"kubernetes\", op = \"{op}\", {rest} }}")
}

/// Grants of the stage, with these rules.
pub fn grants(namespace: &Namespace<'_>, rules: &[&str], more: &str) -> String {
    let rules = rules.iter().map(|rule| format!("  {{ {rule} }},\n")).collect::<String>();
    format!(
        "files = [{{ path = \".\", access = \"read\" }}]\n{more}\n[stage.try.grants.kubernetes]\nnamespace = \"{}\"\nrules = [\n{rules}]\n",
        namespace.name()
    )
}

#[track_caller]
pub fn tried(project: &Project, grants: &str, tries: &[String]) -> Vec<String> {
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    project.attempts("timeout = \"5m\"", grants, &tries).into_iter().map(|attempt| attempt.answer).collect()
}

const DEPLOYMENTS: &str = "resources = [\"deployments\"], names = [\"api-*\"], verbs = [\"get\", \"list\", \"watch\", \"patch\"], fields = { \
     \"spec.replicas\" = { max = 3 }, \"spec.template.spec.containers[name=api].image\" = { like = \"runner-test/service:*\" }, \"spec.paused\" = {}, \
     'spec.template.metadata.annotations[\"kubectl.kubernetes.io/restartedAt\"]' = {} }";

const AT: &str = "at = \"apps/v1/deployments api-stable\"";

#[test]
fn objects_are_read_watched_and_written() {
    let Some(cluster) = cluster("objects_are_read_watched_and_written") else { return };
    let namespace = cluster.namespace("objects");
    namespace.serve("api", "stable", "1", 1);
    namespace.run(&["create", "configmap", "hidden", "--from-literal=a=b"]);
    let maps = "resources = [\"configmaps\"], names = [\"made\"], verbs = [\"get\", \"list\", \"create\", \"patch\", \"delete\"]";
    let map = |data: &str| {
        format!("object = '{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"made\"}},\"data\":{data}}}'")
    };
    let made = "at = \"v1/configmaps made\"";
    let answers = tried(
        &project(cluster.kubeconfig()),
        &grants(&namespace, &[DEPLOYMENTS, maps], ""),
        &[
            op("get", &format!("{AT}, pointer = \"/spec/replicas\"")),
            op("list", "of = \"apps/v1/deployments\", labels = \"\""),
            op("watch", &format!("{AT}, scales = [2, 1]")),
            op("scale", &format!("{AT}, replicas = 2")),
            op("scale", &format!("{AT}, replicas = 1")),
            op("create", &format!("{made}, {}", map("{\"a\":\"1\"}"))),
            op("create", &format!("{made}, {}", map("{\"a\":\"1\"}"))),
            op("patch", &format!("{made}, patch = '{{\"data\":{{\"b\":\"2\"}}}}'")),
            op("patch", &format!("{made}, kind = \"strategic\", patch = '{{\"data\":{{\"c\":\"3\"}}}}'")),
            op(
                "patch",
                &format!(
                    "{made}, kind = \"json\", patch = '[{{\"op\":\"test\",\"path\":\"/data/c\",\"value\":\"3\"}},{{\"op\":\"remove\",\"path\":\"/data/c\"}}]'"
                ),
            ),
            op(
                "patch",
                &format!(
                    "{made}, kind = \"json\", patch = '[{{\"op\":\"test\",\"path\":\"/data/c\",\"value\":\"3\"}},{{\"op\":\"remove\",\"path\":\"/data/c\"}}]'"
                ),
            ),
            op("apply", &format!("{made}, {}", map("{\"d\":\"4\"}"))),
            op("apply", &format!("{made}, {}", map("{\"a\":\"9\"}"))),
            op("apply", &format!("{made}, {}, force = true", map("{\"a\":\"9\"}"))),
            op("get", &format!("{made}, pointer = \"/data\"")),
            op("list", "of = \"v1/configmaps\""),
            op("events", AT),
            op("delete", made),
            op("delete", made),
            op("get", made),
            op("patch", &format!("{AT}, patch = '{{\"spec\":{{\"replicas\":\"two\"}}}}'")),
            op("create", &format!("{made}, {}", map("{\"a\":\"1\"}"))),
            op("patch", &format!("{made}, patch = '{{\"data\":{{\"z\":\"1\"}}}}'")),
            op("get", &format!("{made}, pointer = \"/metadata/managedFields/0/manager\"")),
        ],
    );
    let expected = [
        "ok 1",
        "ok api-stable",
        "ok Added:1 Synced Modified:2 Modified:1",
        "ok 1",
        "ok 2",
        "ok made",
        "error conflict",
        "ok made",
        "ok made",
        "ok made",
        "error invalid",
        "ok made",
        // somebody else has it: the stage itself, by a patch
        "error conflict",
        "ok made",
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        assert!(answer.starts_with(expected) || (expected.starts_with("error") && answer.starts_with("error")), "{expected}: {answers:#?}");
    }
    assert_eq!(answers[14].replace('\\', ""), "ok {\"a\":\"9\",\"b\":\"2\"}", "an apply takes away what an earlier one set: {answers:#?}");
    assert_eq!(answers[15], "ok made", "what has another name is not shown");
    assert!(answers[16].contains("ScalingReplicaSet"), "{}", answers[16]);
    assert_eq!(answers[17], "ok ");
    assert!(answers[18].starts_with("error") && answers[19].starts_with("error"), "{answers:#?}");
    assert!(answers[20].starts_with("refused bound"), "{}", answers[20]);
    assert_eq!(answers[23].replace('\\', ""), "ok \"runner/tries/try\"", "each stage is a field manager of its own");
}

#[test]
fn pods_are_read_entered_and_reached() {
    let Some(cluster) = cluster("pods_are_read_entered_and_reached") else { return };
    let namespace = cluster.namespace("pods");
    namespace.serve("api", "stable", "1", 1);
    let pod = namespace.run(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"]);
    let rules = [
        "resources = [\"pods/log\"], verbs = [\"get\"]",
        "resources = [\"pods/exec\", \"pods/portforward\", \"services/portforward\"], verbs = [\"create\"]",
    ];
    let http = "http = [{ url = \"http://inside.stage:80/**\", methods = [\"GET\"] }, { url = \"http://inside.stage:8080/**\", methods = [\"GET\"] }]";
    let answers = tried(
        &project(cluster.kubeconfig()),
        &grants(&namespace, &rules, http),
        &[
            op("exec", &format!("pod = \"{pod}\", run = [\"sh\", \"-c\", \"echo out; exit 3\"]")),
            op("exec", &format!("pod = \"{pod}\", run = [\"sleep\", \"100\"], timeout-ms = 1500")),
            op("exec", &format!("pod = \"{pod}\", run = [\"no-such-program\"]")),
            op("exec", "pod = \"no-such-pod\", run = [\"true\"]"),
            op("exec", &format!("pod = \"{pod}\", run = [\"sh\", \"-c\", \"echo said inside > /proc/1/fd/1\"]")),
            op("logs", &format!("pod = \"{pod}\"")),
            op("logs", &format!("pod = \"{pod}\", follow-until = \"said inside\"")),
            op("forward", "service = \"api\", port = 80, path = \"/health\""),
            op("forward", &format!("service = \"{pod}\", pod = true, port = 8080, path = \"/health\"")),
            op("forward", "service = \"api\", port = 81, path = \"/health\""),
            op("forward", "service = \"none\", port = 80, path = \"/health\""),
        ],
    );
    assert_eq!(answers[0], "ok 3 false: out\\n");
    assert_eq!(answers[1], "ok -1 true: ");
    // some runtimes say it as a program would
    assert!(answers[2].contains("no-such-program"), "{}", answers[2]);
    assert!(answers[3].starts_with("error") && answers[3].contains("no-such-pod"), "{}", answers[3]);
    assert!(answers[5].contains("said inside") && answers[6].contains("said inside"), "{answers:#?}");
    assert!(answers[7].contains("200") && answers[8].contains("200"), "{answers:#?}");
    assert!(!answers[9].contains("200") && answers[10].starts_with("error"), "{answers:#?}");
}

#[test]
fn rollouts_go_on_and_back() {
    let Some(cluster) = cluster("rollouts_go_on_and_back") else { return };
    let namespace = cluster.namespace("rollouts");
    namespace.serve("api", "stable", "1", 1);
    let image = |tag: &str| {
        format!(
            "{AT}, kind = \"strategic\", patch = '{{\"spec\":{{\"template\":{{\"spec\":{{\"containers\":[{{\"name\":\"api\",\"image\":\"runner-test/service:{tag}\"}}]}}}}}}}}'"
        )
    };
    let wait = op("wait", &format!("{AT}, seconds = 60"));
    let answers = tried(
        &project(cluster.kubeconfig()),
        &grants(&namespace, &[DEPLOYMENTS], ""),
        &[
            op("status", AT),
            op("patch", &image("2")),
            wait.clone(),
            op("history", AT),
            op("undo", AT),
            wait.clone(),
            op("history", AT),
            op("undo", &format!("{AT}, revision = 2")),
            op("undo", &format!("{AT}, revision = 99")),
            op("restart", AT),
            wait.clone(),
            op("pause", &format!("{AT}, paused = true")),
            op("patch", &image("1")),
            op("wait", &format!("{AT}, seconds = 2")),
            op("pause", &format!("{AT}, paused = false")),
            wait,
        ],
    );
    let expected = [
        "ok Complete 1/1",
        "ok api-stable",
        "ok Complete 1/1",
        "ok 1=runner-test/service:1 2*=runner-test/service:2",
        "ok 1",
        "ok Complete 1/1",
        "ok 2=runner-test/service:2 3*=runner-test/service:1",
        "ok 2",
        "error",
        "ok ",
        "ok Complete 1/1",
        "ok ",
        "ok api-stable",
        "ok Paused",
        "ok ",
        "ok Complete 1/1",
    ];
    for (index, (answer, expected)) in answers.iter().zip(expected).enumerate() {
        assert!(answer.starts_with(expected), "{index}: wanted {expected:?}\n{answers:#?}");
    }
}

/// A stage's record holds all that it was told, so that it runs again with no cluster.
#[test]
fn a_stage_is_replayed_without_its_cluster() {
    let Some(cluster) = cluster("a_stage_is_replayed_without_its_cluster") else { return };
    let namespace = cluster.namespace("replayed");
    namespace.serve("api", "stable", "1", 1);
    let pod = namespace.run(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"]);
    let rules = [
        DEPLOYMENTS,
        "resources = [\"pods/log\"], verbs = [\"get\"]",
        "resources = [\"pods/exec\", \"services/portforward\"], verbs = [\"create\"]",
    ];
    let http = "http = [{ url = \"http://inside.stage:80/**\", methods = [\"GET\"] }]";
    let project = project(cluster.kubeconfig());
    let tries = [
        op("get", &format!("{AT}, pointer = \"/metadata/uid\"")),
        op("watch", &format!("{AT}, scales = [2, 1]")),
        op("logs", &format!("pod = \"{pod}\"")),
        op("exec", &format!("pod = \"{pod}\", run = [\"date\"]")),
        op("forward", "service = \"api\", port = 80, path = \"/health\""),
        op("restart", AT),
        op("wait", &format!("{AT}, seconds = 60")),
        op("get", "at = \"v1/secrets db\""),
    ];
    let answers = tried(&project, &grants(&namespace, &rules, http), &tries);
    assert!(answers[..7].iter().all(|answer| answer.starts_with("ok")), "{answers:#?}");
    drop(namespace);
    let project = project.env("KUBECONFIG", "/nowhere");
    project.replayed("try").same("same");
}
