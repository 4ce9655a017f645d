//! The plugin `canary` on a real cluster: real Pods of the quickstart's service, requests all the while, and what a real Prometheus saw of them.

use end_to_end::{Cluster, Finished, Namespace, Project, Prometheus, Visitors, cluster, cluster_alone, prometheus};
use serde_json::Value;

use crate::RUNNER;

/// Four Pods of version 1 that take visits, and a canary without Pods.
fn shop(cluster: &Cluster) -> Namespace<'_> {
    let namespace = cluster.namespace("canary");
    namespace.serve("api", "stable", "1", 4);
    namespace.serve("api", "canary", "1", 0);
    namespace
}

/// What a rollback leads back to.
fn state(namespace: &Namespace<'_>) -> Vec<String> {
    ["api-stable", "api-canary"]
        .map(|name| {
            let deployment: Value = serde_json::from_str(&namespace.run(&["get", "deployment", name, "--output", "json"])).expect("JSON");
            format!("{name}: {}", deployment["spec"])
        })
        .into()
}

const STEPS: &str = r#"[{ set-weight = 10 }, { pause = "12s" }, { set-weight = 50 }, { pause = "8s" }, "promote"]"#;

fn pipeline(namespace: &str, prometheus: &str, image: &str, steps: &str, more: &str) -> String {
    format!(
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
steps = {steps}
prometheus = "{prometheus}"
deadline = "40s"
{more}
[[stage.canary.with.metrics]]
name = "error-rate"
query = 'sum(rate(http_requests_total{{namespace="{namespace}",pod=~"{{{{pods}}}}",path="/products",code="500"}}[10s]) or vector(0)) / sum(rate(http_requests_total{{namespace="{namespace}",pod=~"{{{{pods}}}}",path="/products"}}[10s]))'
observations = 'sum(increase(http_requests_total{{namespace="{namespace}",pod=~"{{{{pods}}}}",path="/products"}}[10s]))'
minimum = 20
success = "result <= 0.01"
interval = "1s"
initial-delay = "8s"
inconclusive = 30
[[stage.canary.with.metrics]]
name = "p95"
query = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{namespace="{namespace}",pod=~"{{{{pods}}}}",path="/products"}}[10s])))'
success = "result <= 1.0"
interval = "1s"
initial-delay = "8s"
inconclusive = 30
[stage.canary.with.signals]
crashes = 1
[stage.canary.grants]
http = [{{ url = "{prometheus}/api/v1/**", private = true }}]
[stage.canary.grants.kubernetes]
namespace = "{namespace}"
rules = [
  {{ resources = ["deployments"], names = ["api-stable", "api-canary"], verbs = ["get", "watch", "patch"], fields = {{ "spec.replicas" = {{ max = 5 }}, "spec.template.spec.containers[name=api].image" = {{ like = "runner-test/service:*" }} }} }},
  {{ resources = ["pods"], verbs = ["get", "list", "watch"] }},
  {{ resources = ["pods/log", "events"], verbs = ["get", "list"] }},
]
"#
    )
}

fn project(cluster: &Cluster, namespace: &Namespace<'_>, prometheus: &str, image: &str, steps: &str, more: &str) -> Project {
    Project::with_pipeline(RUNNER, &pipeline(namespace.name(), prometheus, image, steps, more)).env("KUBECONFIG", cluster.kubeconfig())
}

fn deliver(cluster: &Cluster, namespace: &Namespace<'_>, prometheus: &str, image: &str) -> Finished {
    project(cluster, namespace, prometheus, image, STEPS, "").run(&["exec", "--format", "plain", "--verbose"])
}

#[test]
fn a_good_version_is_promoted_and_nobody_notices() {
    let test = "a_good_version_is_promoted_and_nobody_notices";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let namespace = shop(&cluster);
    let visitors = Visitors::of(&namespace, "api");
    let finished = deliver(&cluster, &namespace, &prometheus, "2").expect(0);
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

#[test]
fn a_bad_version_is_rolled_back_and_the_report_says_why() {
    let test = "a_bad_version_is_rolled_back_and_the_report_says_why";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let bad: [(&str, &[&str]); 5] = [
        ("bad-errors", &["error-rate", "result <= 0.01", "query"]),
        ("slow", &["p95", "result <= 1.0", "histogram_quantile"]),
        ("crash", &["crash"]),
        ("never-ready", &["ready"]),
        ("missing", &["image"]),
    ];
    std::thread::scope(|scope| {
        for (image, says) in bad {
            let (cluster, prometheus) = (&cluster, &prometheus);
            scope.spawn(move || {
                let namespace = shop(cluster);
                let before = state(&namespace);
                let visitors = Visitors::of(&namespace, "api");
                let finished = deliver(cluster, &namespace, prometheus, image).expect(1);
                visitors.done();
                assert_eq!(state(&namespace), before, "{}", finished.stdout);
                assert!(finished.stdout.contains("rolled back"), "{image}: {}", finished.stdout);
                for words in says {
                    assert!(finished.stdout.contains(words), "{image} says nothing of {words:?}: {}", finished.stdout);
                }
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
    let project = project(&cluster, &namespace, &prometheus.url(), "2", STEPS, "");
    let running = project.start(&["exec", "--format", "plain", "--verbose"]);
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
    let project = project(&cluster, &namespace, &prometheus, "2", STEPS, "");
    let running = project.start(&["exec", "--format", "plain", "--verbose"]);
    // Prometheus has found the new Pods, for which it needs the API server
    running.wait_until("error-rate: 0");
    let Some(outage) = cluster.without("apiserver") else {
        return end_to_end::skipped(&format!("{test} restarts the API server of a cluster that tests/engines/kubernetes started"));
    };
    std::thread::sleep(std::time::Duration::from_secs(3));
    drop(outage);
    let finished = running.finish().expect(0);
    let (_, bad) = visitors.done();
    assert!(bad.is_empty(), "{bad:#?}\n{}", finished.stdout);
}

/// Ctrl-C leads back, or leaves everything as it is, as the setting says; and the message says which.
#[test]
fn a_cancelled_canary_goes_back_or_stays() {
    let test = "a_cancelled_canary_goes_back_or_stays";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let steps = r#"[{ set-weight = 10 }, { pause = "2m" }, "promote"]"#;
    for (setting, says) in [("roll-back", "rolled back"), ("stay", "left as it is")] {
        let namespace = shop(&cluster);
        let before = state(&namespace);
        let visitors = Visitors::of(&namespace, "api");
        let more = format!("on-cancel = \"{setting}\"\n");
        let project = project(&cluster, &namespace, &prometheus, "2", steps, &more);
        let running = project.start(&["exec", "--format", "plain", "--verbose", "--grace", "60s"]);
        running.wait_until("✓ set-weight 10%");
        running.signal("INT");
        let finished = running.finish().expect(130);
        visitors.done();
        assert!(finished.stdout.contains(says), "{setting}: {}", finished.stdout);
        assert_eq!(state(&namespace) == before, setting == "roll-back", "{}", finished.stdout);
    }
}

/// Killed in any phase, it goes on where it was.
#[test]
fn a_killed_canary_goes_on() {
    let test = "a_killed_canary_goes_on";
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    let steps = r#"[{ set-weight = 10 }, { pause = "4s" }, { set-weight = 50 }, { pause = "approved" }, "promote"]"#;
    let namespace = shop(&cluster);
    let visitors = Visitors::of(&namespace, "api");
    let project = project(&cluster, &namespace, &prometheus, "2", steps, "");
    let running = project.start(&["exec", "--format", "plain", "--verbose"]);
    running.wait_until("✓ set-weight 10%");
    running.kill().expect(137);
    for words in ["→ set-weight 50%", "asks: "] {
        let running = project.start(&["resume", "--format", "plain", "--verbose"]);
        running.wait_until(words);
        running.kill().expect(137);
    }
    let running = project.start(&["resume", "--format", "plain", "--verbose"]);
    running.wait_until("asks: ");
    project.run(&["approve", "latest", "canary"]).expect(0);
    let finished = running.finish().expect(0);
    let (_, bad) = visitors.done();
    assert!(bad.is_empty(), "{bad:#?}\n{}", finished.stdout);
    let image = namespace.run(&["get", "deployment", "api-stable", "--output", "jsonpath={.spec.template.spec.containers[0].image}"]);
    assert_eq!(image, "runner-test/service:2");
}
