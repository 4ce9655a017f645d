//! The plugin `canary` on a real cluster: real Pods of the quickstart's service, requests all the while, and what a real Prometheus saw of them.

mod comparison;
mod moments;
mod phases;
mod routes;
mod source;

use std::time::Duration;

use end_to_end::{Cluster, Namespace, Project, Prometheus, Visitors, cluster, cluster_alone, prometheus};
use serde_json::Value;

use crate::RUNNER;
use moments::History;

/// Four Pods of version 1 that take visits, and a canary without Pods.
fn shop(cluster: &Cluster) -> Namespace<'_> {
    let namespace = cluster.namespace("canary");
    namespace.serve("api", "stable", "1", 4);
    namespace.serve("api", "canary", "1", 0);
    namespace
}

fn spec(namespace: &Namespace<'_>, deployment: &str) -> Value {
    let object: Value = serde_json::from_str(&namespace.run(&["get", "deployment", deployment, "--output", "json"])).expect("JSON");
    object["spec"].clone()
}

/// What a rollback leads back to.
fn state(namespace: &Namespace<'_>) -> Vec<String> {
    ["api-stable", "api-canary"].map(|name| format!("{name}: {}", spec(namespace, name))).into()
}

/// Pods that are ready count after ten minutes, or at once again. No Pod is replaced for that.
fn slow(namespace: &Namespace<'_>, deployment: &str, slow: bool) {
    let (ready, progress) = if slow { (600, 900) } else { (0, 45) };
    let patch = format!(r#"{{"spec":{{"minReadySeconds":{ready},"progressDeadlineSeconds":{progress}}}}}"#);
    namespace.run(&["patch", "deployment", deployment, "--type", "merge", "--patch", &patch]);
}

/// What runners have written, by the cluster's own word and in its order: `api-canary 1 runner-test/service:2`, `api 90 10`. None if the cluster does not say.
fn written(cluster: &Cluster, namespace: &Namespace<'_>) -> Option<Vec<String>> {
    let writes = cluster.audited(namespace.name())?.into_iter().filter(|one| {
        let uri = one["requestURI"].as_str().unwrap_or_default();
        one["verb"] == "patch" && one["responseStatus"]["code"] == 200 && uri.contains("fieldManager=runner") && !uri.contains("dryRun")
    });
    let line = |one: Value| {
        let (patch, mut line) = (&one["requestObject"], one["objectRef"]["name"].as_str().unwrap_or_default().to_owned());
        let weight =
            |operation: &&Value| operation["op"] != "test" && operation["path"].as_str().is_some_and(|path| path.ends_with("/weight"));
        let weights = patch.as_array().into_iter().flatten().filter(weight).map(|operation| operation["value"].to_string());
        let replicas = patch["spec"]["replicas"].as_u64().map(|replicas| replicas.to_string());
        let image = patch["spec"]["template"]["spec"]["containers"][0]["image"].as_str().map(str::to_owned);
        for part in weights.chain(replicas).chain(image) {
            line = format!("{line} {part}");
        }
        line
    };
    Some(writes.map(line).collect())
}

/// A delivery of this version by `api-stable` and `api-canary`. `with`: the rest of its settings. `source`: what of the web it is granted. `rules`: those of its
/// Kubernetes grant but for the Pods.
fn delivery(cluster: &Cluster, namespace: &Namespace<'_>, image: &str, with: &str, source: &str, rules: &str) -> Project {
    let name = namespace.name();
    let pipeline = format!(
        r#"format = 1
name = "deliver"

[stage.canary]
uses = "canary"
timeout = "4m"
[stage.canary.with]
deployment = "api-stable"
canary = "api-canary"
container = "api"
image = "runner-test/service:{image}"
{with}
[stage.canary.grants]
http = [{{ url = "{source}", private = true }}]
[stage.canary.grants.kubernetes]
namespace = "{name}"
rules = [
{rules}
  {{ resources = ["pods"], verbs = ["get", "list", "watch"] }},
]
"#
    );
    Project::with_pipeline(RUNNER, &pipeline).env("KUBECONFIG", cluster.kubeconfig())
}

/// The rule for Deployments, each of which may have so many Pods.
fn deployments(names: &[&str], most: u32) -> String {
    format!(
        r#"  {{ resources = ["deployments"], names = {names:?}, verbs = ["get", "watch", "patch"], fields = {{ "spec.replicas" = {{ max = {most} }}, "spec.template.spec.containers[name=api].image" = {{ like = "runner-test/service:*" }} }} }},"#
    )
}

/// Why Pods do not get ready.
const LOGS: &str = r#"  { resources = ["pods/log", "events"], verbs = ["get", "list"] },"#;

fn project(cluster: &Cluster, namespace: &Namespace<'_>, prometheus: &str, image: &str) -> Project {
    let name = namespace.name();
    let with = format!(
        r#"steps = [{{ set-weight = 10 }}, {{ pause = "12s" }}, {{ set-weight = 50 }}, {{ pause = "8s" }}, "promote"]
prometheus = "{prometheus}"
deadline = "40s"
[[stage.canary.with.metrics]]
name = "error-rate"
query = 'sum(rate(http_requests_total{{namespace="{name}",pod=~"{{{{pods}}}}",path="/products",code="500"}}[10s]) or vector(0)) / sum(rate(http_requests_total{{namespace="{name}",pod=~"{{{{pods}}}}",path="/products"}}[10s]))'
observations = 'sum(increase(http_requests_total{{namespace="{name}",pod=~"{{{{pods}}}}",path="/products"}}[10s]))'
minimum = 20
success = "result <= 0.01"
interval = "1s"
initial-delay = "8s"
inconclusive = 30
[[stage.canary.with.metrics]]
name = "p95"
query = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{namespace="{name}",pod=~"{{{{pods}}}}",path="/products"}}[10s])))'
success = "result <= 1.0"
interval = "1s"
initial-delay = "8s"
inconclusive = 30
[stage.canary.with.signals]
crashes = 1"#
    );
    let rules = format!("{}\n{LOGS}", deployments(&["api-stable", "api-canary"], 5));
    delivery(cluster, namespace, image, &with, &format!("{prometheus}/api/v1/**"), &rules)
}

const EXEC: [&str; 4] = ["exec", "--format", "plain", "--verbose"];

#[test]
fn a_good_version_is_promoted_and_nobody_notices() {
    let test = "a_good_version_is_promoted_and_nobody_notices";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let namespace = shop(&cluster);
    let visitors = Visitors::of(&namespace, "api");
    let finished = project(&cluster, &namespace, &prometheus, "2").run(&EXEC).expect(0);
    let (asked, bad) = visitors.done();
    assert!(asked > 500 && bad.is_empty(), "{} of {asked}: {bad:#?}\n{}", bad.len(), finished.stdout);
    let now = namespace.run(&[
        "get",
        "deployments",
        "--output",
        "jsonpath={range .items[*]}{.metadata.name} {.spec.replicas} {.spec.template.spec.containers[0].image}{\"\\n\"}{end}",
    ]);
    assert!(now.contains("api-stable 4 runner-test/service:2"), "{now}");
    assert!(now.contains("api-canary 0 "), "{now}");
}

/// Of metrics, where it is measured how soon a canary is on its way back.
const INTERVAL: Duration = Duration::from_secs(3);

/// When the stage was told that the limit was passed.
type Passed = fn(&History) -> Option<Duration>;

#[test]
fn a_bad_version_is_rolled_back_and_the_report_says_why() {
    let test = "a_bad_version_is_rolled_back_and_the_report_says_why";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let bad: [(&str, &[&str], Passed); 5] = [
        ("bad-errors", &["error-rate", "result <= 0.01", "query"], |told| told.above("code%3D%22500", 0.01, Some(20.0))),
        ("slow", &["p95", "result <= 1.0", "histogram_quantile"], |told| told.above("histogram_quantile", 1.0, None)),
        ("crash", &["crash"], |told| told.crashes(1)),
        ("never-ready", &["ready"], |told| Some(told.asked_for_pods()? + Duration::from_secs(40))),
        ("missing", &["image"], History::no_image),
    ];
    std::thread::scope(|scope| {
        for (image, says, passed) in bad {
            let (cluster, prometheus) = (&cluster, &prometheus);
            scope.spawn(move || {
                let namespace = shop(cluster);
                let before = state(&namespace);
                let visitors = Visitors::of(&namespace, "api");
                let project = project(cluster, &namespace, prometheus, image);
                project.replace("pipeline.toml", "interval = \"1s\"", &format!("interval = \"{}s\"", INTERVAL.as_secs()));
                let finished = project.run(&EXEC).expect(1);
                visitors.done();
                assert_eq!(state(&namespace), before, "{}", finished.stdout);
                assert!(finished.stdout.contains("rolled back"), "{image}: {}", finished.stdout);
                for words in says {
                    assert!(finished.stdout.contains(words), "{image} says nothing of {words:?}: {}", finished.stdout);
                }
                let told = moments::of(project.journal().parent().expect("a folder"));
                let passed = passed(&told).unwrap_or_else(|| panic!("{image} passed no limit: {}", finished.stdout));
                let back = told.back(4).unwrap_or_else(|| panic!("{image}: nothing was written on the way back: {}", finished.stdout));
                let late = back.checked_sub(passed);
                assert!(late.is_some_and(|late| late <= INTERVAL), "{image}: passed at {passed:?}, back at {back:?}: {}", finished.stdout);
            });
        }
    });
}

/// A source that does not answer is no pass: the canary waits where it is, and then goes back.
#[test]
fn without_measurements_it_waits_and_goes_back() {
    let test = "without_measurements_it_waits_and_goes_back";
    let (Some(cluster), Some(mut prometheus)) = (cluster(test), Prometheus::start(test)) else { return };
    let namespace = shop(&cluster);
    let before = state(&namespace);
    let visitors = Visitors::of(&namespace, "api");
    let project = project(&cluster, &namespace, &prometheus.url(), "2");
    let running = project.start(&EXEC);
    running.wait_until("✓ set-weight 10%");
    prometheus.stop();
    let finished = running.finish().expect(1);
    visitors.done();
    assert!(finished.stdout.contains("rolled back"), "{}", finished.stdout);
    assert_eq!(state(&namespace), before, "{}", finished.stdout);
}

/// An API server that is away for a while is waited for.
#[test]
fn an_api_server_that_is_restarted_is_waited_for() {
    let test = "an_api_server_that_is_restarted_is_waited_for";
    let (Some(cluster), Some(prometheus)) = (cluster_alone(test), prometheus(test)) else { return };
    let namespace = shop(&cluster);
    let visitors = Visitors::of(&namespace, "api");
    let project = project(&cluster, &namespace, &prometheus, "2");
    let running = project.start(&EXEC);
    // Prometheus has found the new Pods, for which it needs the API server
    running.wait_until("error-rate: 0");
    let Some(outage) = cluster.without("apiserver") else {
        return end_to_end::skipped(&format!("{test} restarts the API server of a cluster that tests/engines/kubernetes started"));
    };
    std::thread::sleep(Duration::from_secs(3));
    drop(outage);
    let finished = running.finish().expect(0);
    let (_, bad) = visitors.done();
    assert!(bad.is_empty(), "{bad:#?}\n{}", finished.stdout);
}
