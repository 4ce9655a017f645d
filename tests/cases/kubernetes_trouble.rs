//! `runner:kubernetes` where something comes between a stage and its cluster: other writers, connections that break, a server that is busy, and no kubeconfig at all.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use end_to_end::{Asked, Cluster, Fate, Finished, Namespace, Relay, Upstream, cluster, skipped};
use serde_json::{Value, json};

use super::kubernetes::{grants, op, project, tried};
use crate::RUNNER;

const MERGE: &str = "application/merge-patch+json";

fn at(name: &str) -> String {
    format!("at = \"v1/configmaps {name}\"")
}

fn patch(name: &str, kind: &str, patch: &Value) -> String {
    op("patch", &format!("{}, kind = \"{kind}\", patch = '{patch}'", at(name)))
}

/// Whether it is to be kept, and of the object of this name.
fn writes(asked: &Asked, name: &str) -> bool {
    let path = asked.path.split('?').next().unwrap_or_default();
    let named = path.ends_with(&format!("/{name}")) || (asked.method == "POST" && asked.body.contains(&format!("\"name\":\"{name}\"")));
    named && asked.method != "GET" && !asked.path.contains("dryRun")
}

/// The statuses of the stage's own requests for an object, as the audit log has them: of dry runs, and of writes.
fn told(cluster: &Cluster, namespace: &Namespace<'_>, name: &str) -> Option<(Vec<u64>, Vec<u64>)> {
    let all = cluster.audited(namespace.name())?;
    let mine = |line: &&Value| {
        let uri = line["requestURI"].as_str().unwrap_or_default();
        let own = uri.contains("fieldManager=runner") || (line["verb"] == "delete" && line["objectRef"]["resource"] == "configmaps");
        let about = line["objectRef"]["name"] == name || line["requestObject"]["metadata"]["name"] == name;
        own && about
    };
    let status = |line: &Value| line["responseStatus"]["code"].as_u64().unwrap_or_default();
    let (dry, real): (Vec<&Value>, Vec<&Value>) =
        all.iter().filter(mine).partition(|line| line["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All")));
    Some((dry.into_iter().map(status).collect(), real.into_iter().map(status).collect()))
}

fn map(namespace: &Namespace<'_>, name: &str) -> Value {
    serde_json::from_str(&namespace.run(&["get", "configmap", name, "--output", "jsonpath={.data}"])).expect("JSON")
}

/// Somebody else writes between what was judged and the write: it is judged again, five times at most.
#[test]
fn what_others_wrote_meanwhile_is_judged_anew() {
    let Some(cluster) = cluster("what_others_wrote_meanwhile_is_judged_anew") else { return };
    let namespace = cluster.namespace("outrun");
    for name in ["thrice", "always", "turned"] {
        namespace.run(&["create", "configmap", name, "--from-literal=word=one", "--from-literal=source=small"]);
    }
    let of = format!("/api/v1/namespaces/{}/configmaps", namespace.name());
    let seen = Mutex::new([0_u32; 3]);
    let relay = Relay::start(cluster.kubeconfig(), move |asked, server| {
        for (number, (name, most)) in [("thrice", 3), ("always", u32::MAX), ("turned", 1)].into_iter().enumerate() {
            if writes(asked, name) {
                let mut seen = seen.lock().expect("a list");
                let before = seen[number];
                seen[number] += 1;
                if before < most {
                    let other = if name == "turned" { json!({ "source": "huge" }) } else { json!({ "other": before.to_string() }) };
                    let written = server.ask("PATCH", &format!("{of}/{name}"), MERGE, &json!({ "data": other }).to_string());
                    assert!(written.starts_with("HTTP/1.1 200"), "{written}");
                }
            }
        }
        Fate::Passed
    });
    let rules = [
        "resources = [\"configmaps\"], verbs = [\"get\", \"patch\"], fields = { \"data.word\" = { like = [\"one\", \"two\", \"small\"] } }",
    ];
    let two = json!({ "data": { "word": "two" } });
    let copied = json!([{ "op": "copy", "from": "/data/source", "path": "/data/word" }]);
    let answers = tried(
        &project(&relay.kubeconfig()),
        &grants(&namespace, &rules, ""),
        &[patch("thrice", "merge", &two), patch("always", "merge", &two), patch("turned", "json", &copied)],
    );
    assert_eq!(answers[0], "ok thrice");
    assert_eq!(map(&namespace, "thrice"), json!({ "word": "two", "source": "small", "other": "2" }));
    assert!(answers[1].starts_with("error") && answers[1].contains("judged 6 times"), "{}", answers[1]);
    assert_eq!(map(&namespace, "always"), json!({ "word": "one", "source": "small", "other": "5" }));
    // what it would write has changed with the object, and may not be written any more
    assert!(answers[2].starts_with("refused bound"), "{}", answers[2]);
    assert_eq!(map(&namespace, "turned"), json!({ "word": "one", "source": "huge" }));
    for (name, dry, real) in
        [("thrice", vec![200; 4], vec![409, 409, 409, 200]), ("always", vec![200; 6], vec![409; 6]), ("turned", vec![200; 2], vec![409])]
    {
        let Some(told) = told(&cluster, &namespace, name) else { return };
        assert_eq!(told, (dry, real), "{name}");
    }
}

/// The connection breaks in mid-write: the object tells whether it was written, and nothing is written twice.
#[test]
fn a_connection_that_breaks_in_a_write_loses_and_doubles_nothing() {
    let Some(cluster) = cluster("a_connection_that_breaks_in_a_write_loses_and_doubles_nothing") else { return };
    let namespace = cluster.namespace("cut");
    for name in ["unheard", "unanswered", "leaving", "staying", "counted", "changed", "deaf"] {
        namespace.run(&["create", "configmap", name, "--from-literal=n=1"]);
    }
    let of = format!("/api/v1/namespaces/{}/configmaps", namespace.name());
    // cut before it has arrived, or after: once each
    let (before, after) = (["unheard", "staying", "made-late"], ["unanswered", "leaving", "counted", "made"]);
    let cut = Mutex::new(Vec::new());
    let relay = Relay::start(cluster.kubeconfig(), move |asked: &Asked, server: &Upstream| {
        let once = |name: &str| {
            let mut cut = cut.lock().expect("a list");
            let first = writes(asked, name) && !cut.iter().any(|known| known == name);
            if first {
                cut.push(name.to_owned());
            }
            first
        };
        if writes(asked, "deaf") || before.iter().any(|name| once(name)) {
            return Fate::Cut;
        }
        if after.iter().any(|name| once(name)) {
            server.pass(asked);
            return Fate::Cut;
        }
        if once("changed") {
            server.pass(asked);
            // and then somebody else
            server.ask("PATCH", &format!("{of}/changed"), MERGE, &json!({ "data": { "other": "1" } }).to_string());
            return Fate::Cut;
        }
        Fate::Passed
    });
    let rules = ["resources = [\"configmaps\"], verbs = [\"get\", \"create\", \"patch\", \"delete\"], fields = { \"data\" = {} }"];
    let two = json!({ "data": { "n": "2" } });
    let appended = json!([{ "op": "test", "path": "/data/n", "value": "1" }, { "op": "replace", "path": "/data/n", "value": "2" }]);
    let create = |name: &str| {
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "n": "2" } });
        op("create", &format!("{}, object = '{object}'", at(name)))
    };
    let answers = tried(
        &project(&relay.kubeconfig()),
        &grants(&namespace, &rules, ""),
        &[
            patch("unheard", "merge", &two),
            patch("unanswered", "merge", &two),
            patch("counted", "json", &appended),
            create("made-late"),
            create("made"),
            op("delete", &at("staying")),
            op("delete", &at("leaving")),
            patch("changed", "json", &appended),
            patch("deaf", "merge", &two),
        ],
    );
    let expected = ["ok unheard", "ok unanswered", "ok counted", "ok made-late", "ok made", "ok ", "ok ", "error", "error"];
    for (answer, expected) in answers.iter().zip(expected) {
        assert!(answer.starts_with(expected), "wanted {expected:?}\n{answers:#?}");
    }
    for answer in &answers[7..] {
        assert!(answer.contains("nobody can tell whether it was carried out"), "{answer}");
    }
    for (name, is) in [
        ("unheard", json!({ "n": "2" })),
        ("unanswered", json!({ "n": "2" })),
        ("counted", json!({ "n": "2" })),
        ("changed", json!({ "n": "2", "other": "1" })),
        ("deaf", json!({ "n": "1" })),
    ] {
        assert_eq!(map(&namespace, name), is, "{name}");
    }
    let there = namespace.run(&["get", "configmaps", "--output", "jsonpath={.items[*].metadata.name}"]);
    let there: Vec<&str> = there.split(' ').filter(|name| *name != "kube-root-ca.crt").collect();
    assert_eq!(there, ["changed", "counted", "deaf", "made", "made-late", "unanswered", "unheard"]);
    // one write each arrived
    for (name, arrived) in [
        ("unheard", vec![200]),
        ("unanswered", vec![200]),
        ("counted", vec![200]),
        ("made-late", vec![201]),
        ("made", vec![201]),
        ("staying", vec![200]),
        ("leaving", vec![200]),
        ("changed", vec![200]),
        ("deaf", vec![]),
    ] {
        let Some((_, real)) = told(&cluster, &namespace, name) else { return };
        assert_eq!(real, arrived, "{name}");
    }
}

/// An account of the cluster's own, which may do this with ConfigMaps; and the Secret with its token.
fn account(namespace: &Namespace<'_>) -> String {
    namespace.run(&["create", "serviceaccount", "limited"]);
    namespace.run(&["create", "role", "limited", "--verb=get,list,create,patch", "--resource=configmaps"]);
    namespace.run(&["create", "rolebinding", "limited", "--role=limited", &format!("--serviceaccount={}:limited", namespace.name())]);
    let began = Instant::now();
    loop {
        // a controller makes it in its own time, and without it no Pod is admitted
        let token = namespace.run(&["get", "serviceaccount", "limited", "--output", "jsonpath={.secrets[0].name}"]);
        if !token.is_empty() {
            return token;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{} has no token for its account", namespace.name());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What is asked of the cluster by that account.
fn by_account(cluster: &Cluster, namespace: &Namespace<'_>) -> Option<Vec<Value>> {
    let user = format!("system:serviceaccount:{}:limited", namespace.name());
    Some(cluster.audited(&user)?.into_iter().filter(|line| line["user"]["username"] == *user).collect())
}

/// The limits that the server has for an account; gone when it is dropped.
struct Flow<'c>(&'c Cluster, String);

impl<'c> Flow<'c> {
    /// So few requests at the same time that a handful is too many, and none of them waits its turn.
    fn narrow(cluster: &'c Cluster, namespace: &Namespace<'_>) -> Flow<'c> {
        let name = namespace.name();
        namespace.apply(&format!(
            "apiVersion: flowcontrol.apiserver.k8s.io/v1beta1
kind: PriorityLevelConfiguration
metadata: {{ name: {name} }}
spec: {{ type: Limited, limited: {{ assuredConcurrencyShares: 1, limitResponse: {{ type: Reject }} }} }}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1beta1
kind: FlowSchema
metadata: {{ name: {name} }}
spec:
  priorityLevelConfiguration: {{ name: {name} }}
  matchingPrecedence: 300
  rules:
    - subjects: [{{ kind: ServiceAccount, serviceAccount: {{ namespace: {name}, name: limited }} }}]
      resourceRules: [{{ apiGroups: [\"*\"], resources: [\"*\"], verbs: [\"*\"], namespaces: [\"*\"], clusterScope: true }}]
"
        ));
        Flow(cluster, name.to_owned())
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        for kind in ["flowschema", "prioritylevelconfiguration"] {
            self.0.output(&["delete", kind, &self.1]);
        }
    }
}

/// The server's own priority and fairness turns a stage away, for as long as others of the same account keep it busy.
#[test]
fn a_server_that_is_busy_is_waited_for() {
    let test = "a_server_that_is_busy_is_waited_for";
    let Some(cluster) = cluster(test) else { return };
    if cluster.audited("").is_none() {
        return skipped(&format!("{test} limits an account of a cluster that tests/engines/kubernetes started"));
    }
    let namespace = cluster.namespace("busy");
    let token = account(&namespace);
    namespace.run(&["create", "configmap", "known", "--from-literal=word=one"]);
    let token = namespace.run(&["get", "secret", &token, "--output", "go-template={{.data.token | base64decode}}"]);
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::copy(cluster.kubeconfig(), &kubeconfig).expect("a copy");
    let kubeconfig = kubeconfig.display().to_string();
    let kubectl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("kubectl");
        assert!(command.args(["config", "--kubeconfig", &kubeconfig]).args(arguments).output().expect("kubectl").status.success());
    };
    let context = cluster.run(&["config", "current-context"]);
    kubectl(&["set-credentials", "limited", &format!("--token={token}")]);
    kubectl(&["set-context", &context, "--user=limited"]);

    let _flow = Flow::narrow(&cluster, &namespace);
    let server = Upstream::start(&kubeconfig);
    let of = format!("/api/v1/namespaces/{}/configmaps", namespace.name());
    // requests whose bodies do not come to an end keep the server busy
    let mut held = Vec::new();
    let began = Instant::now();
    while !server.ask("GET", &format!("{of}/known"), MERGE, "").contains(" 429 ") {
        assert!(began.elapsed() < Duration::from_secs(40), "{} requests at the same time are not too many", held.len());
        let mut stream = server.connect();
        let head = format!("POST {of} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&[b' '; 9000])).expect("it reads");
        held.push(stream);
        std::thread::sleep(Duration::from_millis(200));
    }
    let turned_away =
        || by_account(&cluster, &namespace).unwrap_or_default().iter().filter(|line| line["responseStatus"]["code"] == 429).count();
    let before = turned_away();
    let project = project(&kubeconfig);
    let rules = ["resources = [\"configmaps\"], verbs = [\"get\", \"patch\"], fields = { \"data.word\" = {} }"];
    let tries =
        [op("get", &format!("{}, pointer = \"/data/word\"", at("known"))), patch("known", "merge", &json!({ "data": { "word": "two" } }))];
    let texts: Vec<&str> = tries.iter().map(String::as_str).collect();
    project.tries("timeout = \"5m\"", &grants(&namespace, &rules, ""), &texts);
    let running = project.start(&["exec", "--format", "json"]);
    let began = Instant::now();
    while turned_away() < before + 2 {
        assert!(began.elapsed() < Duration::from_secs(40), "the stage is not turned away");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(held);
    let answers: Vec<String> =
        running.finish().expect(0).told().attempts("try").into_iter().map(|attempt| attempt.answer.replace('\\', "")).collect();
    assert_eq!(answers, ["ok \"one\"", "ok known"]);
}

/// Without a kubeconfig a stage finds the cluster that its runner is in a Pod of, and is who the Pod is.
#[test]
fn a_runner_in_a_pod_finds_its_cluster() {
    let test = "a_runner_in_a_pod_finds_its_cluster";
    let Some(cluster) = cluster(test) else { return };
    if cluster.audited("").is_none() {
        return skipped(&format!("{test} needs a node that sees this machine's files, as tests/engines/kubernetes starts one"));
    }
    let namespace = cluster.namespace("inside");
    account(&namespace);
    namespace.run(&["create", "configmap", "known", "--from-literal=word=one"]);
    let project = project("");
    let rules =
        ["resources = [\"configmaps\"], verbs = [\"get\", \"patch\"]", "resources = [\"secrets\"], names = [\"known\"], verbs = [\"get\"]"];
    let tries = [
        op("get", &format!("{}, pointer = \"/data/word\"", at("known"))),
        patch("known", "merge", &json!({ "data": { "word": "two" } })),
        op("get", "at = \"v1/secrets known\""),
    ];
    let texts: Vec<&str> = tries.iter().map(String::as_str).collect();
    project.tries("", &grants(&namespace, &rules, ""), &texts);
    // the program, what it is linked with, and the project
    let folder = project.path().display().to_string();
    let program = Path::new(RUNNER).parent().expect("a folder").display().to_string();
    let mounts = [("/usr/lib", "/lib", true), ("/usr/lib64", "/lib64", true), (&*program, &*program, true), (&*folder, &*folder, false)];
    let mounts = mounts.iter().filter(|(from, ..)| Path::new(from).exists()).enumerate();
    let list = |text: fn(usize, &str, &str, bool) -> String| {
        mounts.clone().map(|(number, (from, to, fixed))| text(number, from, to, *fixed)).collect::<Vec<_>>().join(", ")
    };
    let volumes = list(|number, from, _, _| format!("{{ name: v{number}, hostPath: {{ path: \"{from}\" }} }}"));
    let places = list(|number, _, to, fixed| format!("{{ name: v{number}, mountPath: \"{to}\", readOnly: {fixed} }}"));
    namespace.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{ name: runner }}
spec:
  serviceAccountName: limited
  restartPolicy: Never
  volumes: [{volumes}]
  containers:
    - name: runner
      image: runner-test/busybox:1
      workingDir: {folder}
      env: [{{ name: HOME, value: /tmp }}]
      command: [sh, -c, \"exec {RUNNER} exec --format json 2> stderr\"]
      volumeMounts: [{places}]
"
    ));
    let phase = || namespace.run(&["get", "pod", "runner", "--output", "jsonpath={.status.phase}"]);
    let began = Instant::now();
    while !matches!(phase().as_str(), "Succeeded" | "Failed") {
        assert!(began.elapsed() < Duration::from_secs(150), "{}", namespace.run(&["describe", "pod", "runner"]));
        std::thread::sleep(Duration::from_millis(300));
    }
    let code = namespace.run(&["get", "pod", "runner", "--output", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"]);
    let stderr = if project.path().join("stderr").exists() { project.read("stderr") } else { String::new() };
    let finished = Finished { code: code.parse().unwrap_or(-1), stdout: namespace.run(&["logs", "runner"]), stderr };
    let answers: Vec<String> =
        finished.expect(0).told().attempts("try").into_iter().map(|attempt| attempt.answer.replace('\\', "")).collect();
    assert_eq!((answers[0].as_str(), answers[1].as_str()), ("ok \"one\"", "ok known"), "{answers:#?}");
    assert!(answers[2].starts_with("error") && answers[2].contains("forbidden") && answers[2].contains(":limited"), "{answers:#?}");
    assert_eq!(map(&namespace, "known"), json!({ "word": "two" }));
    assert!(by_account(&cluster, &namespace).is_some_and(|all| all.iter().any(|line| line["verb"] == "patch")));
}
