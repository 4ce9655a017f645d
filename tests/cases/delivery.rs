//! What comes after a deployment, on a real cluster: `smoke` walks through a Service by way of the API server, and `metrics` compares what was deployed with the
//! time before.

use std::time::{Duration, Instant};

use end_to_end::{Cluster, Finished, Namespace, Project, Prometheus, Visitors, cluster};

use crate::RUNNER;

fn run(cluster: &Cluster, pipeline: &str) -> Finished {
    Project::with_pipeline(RUNNER, pipeline).env("KUBECONFIG", cluster.kubeconfig()).run(&["exec", "--format", "plain", "--verbose"])
}

/// A stage that reaches a Service, and is granted `api` alone.
fn smoke(cluster: &Cluster, namespace: &Namespace<'_>, service: &str, with: &str) -> Finished {
    let namespace = namespace.name();
    run(
        cluster,
        &format!(
            r#"format = 1
name = "deliver"

[stage.smoke]
uses = "smoke"
timeout = "2m"
[stage.smoke.with]
base = "http://shop.stage:80"
forward = [{{ name = "shop", service = "{service}", port = 80 }}]
{with}
[stage.smoke.grants]
http = [{{ url = "http://shop.stage:80/**" }}]
[stage.smoke.grants.kubernetes]
namespace = "{namespace}"
rules = [{{ resources = ["services/portforward"], names = ["api", "closed"], verbs = ["create"] }}]
"#
        ),
    )
}

/// A Service that leads to nobody.
const CLOSED: &str = "apiVersion: v1
kind: Service
metadata: { name: closed }
spec: { selector: { app: nobody }, ports: [{ name: http, port: 80, targetPort: 8080, protocol: TCP }] }
";

#[test]
fn a_service_is_walked_through_by_way_of_the_api_server() {
    let Some(cluster) = cluster("a_service_is_walked_through_by_way_of_the_api_server") else { return };
    let namespace = cluster.namespace("smoke");
    namespace.serve("api", "stable", "1", 2);
    namespace.apply(CLOSED);
    let check = |version: &str, timeout: &str| {
        format!(
            "checks = [{{ name = \"version\", url = \"/health\", timeout = \"{timeout}\", interval = \"200ms\", \
             expect = {{ json = [{{ at = \"/version\", equals = \"{version}\" }}] }} }}]"
        )
    };
    let journey = r#"
[[stage.smoke.with.journeys]]
name = "look around"
[[stage.smoke.with.journeys.steps]]
name = "list"
url = "/products"
expect = { headers = { content-type = { matches = "^application/json" } }, json = [{ at = "", length = 4 }] }
capture = { id = { json = "/0/id" } }
[[stage.smoke.with.journeys.steps]]
name = "one of them"
url = "/products/{{id}}"
expect = { json = [{ at = "/id", equals = "{{id}}" }] }
"#;
    let good = smoke(&cluster, &namespace, "api", &format!("{}{journey}", check("1", "30s"))).expect(0);
    for passed in ["version", "list", "one of them"] {
        assert!(good.stdout.contains(passed), "{passed}: {}", good.stdout);
    }
    // by no other way than through the cluster's own door
    if let Some(asked) = cluster.audited(namespace.name()) {
        let entered = asked.iter().filter(|line| line["objectRef"]["subresource"] == "portforward").count();
        assert!(entered > 0, "{asked:#?}");
    }

    let bad = smoke(&cluster, &namespace, "api", &format!("{}{journey}", check("2", "2s"))).expect(1);
    assert!(bad.stdout.contains("expected JSON /version equal to \"2\", got \"1\""), "{}", bad.stdout);

    // nobody is there to answer, and another Service is not the stage's
    smoke(&cluster, &namespace, "closed", &check("1", "2s")).expect(1).says("selects no Pods");
    smoke(&cluster, &namespace, "other", &check("1", "2s")).expect(5).says("services/portforward").says("names = [\"other\"]");
}

fn query(namespace: &Namespace<'_>, of: &str) -> String {
    of.replace("{}", &format!("{{namespace=\"{}\",path=\"/products\"}}", namespace.name()))
}

const P95: &str = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{}[10s])))";
const VISITS: &str = "sum(increase(http_requests_total{}[10s]))";

/// Beside the time before. On a machine that is busy with other things, what is quick is quick enough.
fn p95(namespace: &Namespace<'_>, more: &str) -> String {
    format!(
        "[[stage.metrics.with.metrics]]\nname = \"p95\"\nquery = '{}'\nobservations = '{}'\nminimum = 20\ncompare = {{ with = \"before\" }}\n\
         success = \"ratio <= 3.0 || result <= 1.0\"\n{more}",
        query(namespace, P95),
        query(namespace, VISITS)
    )
}

/// `metrics` is what it measures. `deploy`: lines of a stage that comes first.
fn measured(namespace: &Namespace<'_>, prometheus: &str, deploy: &str, needs: &str, metrics: &str) -> String {
    let namespace = namespace.name();
    format!(
        r#"format = 1
name = "deliver"
{deploy}
[stage.metrics]
uses = "metrics"
{needs}
timeout = "2m"
[stage.metrics.with]
prometheus = "{prometheus}"
forward = [{{ name = "shop", service = "api", port = 80 }}]
{metrics}
[stage.metrics.grants]
http = [{{ url = "{prometheus}/api/v1/**", private = true }}, {{ url = "http://shop.stage:80/**" }}]
[stage.metrics.grants.kubernetes]
namespace = "{namespace}"
rules = [{{ resources = ["services/portforward"], names = ["api"], verbs = ["create"] }}]
"#
    )
}

fn deploy(namespace: &Namespace<'_>, image: &str) -> String {
    let namespace = namespace.name();
    format!(
        r#"
[stage.deploy]
uses = "rollout"
timeout = "2m"
[stage.deploy.with]
deployment = "api-stable"
image = "runner-test/service:{image}"
[stage.deploy.grants.kubernetes]
namespace = "{namespace}"
rules = [
  {{ resources = ["deployments"], names = ["api-stable"], verbs = ["get", "watch", "patch"], fields = {{ "spec.template.spec.containers[name=api].image" = {{ like = "runner-test/service:*" }} }} }},
  {{ resources = ["pods"], verbs = ["get", "list", "watch"] }},
]
"#
    )
}

/// What a Service of the cluster says of itself in JSON, instead of a query.
const CATALOGUE: &str = r#"
[[stage.metrics.with.metrics]]
name = "catalogue"
url = "http://shop.stage:80/products"
value = "/0/stock"
success = "result >= 1.0"
"#;

#[test]
fn what_was_deployed_is_compared_with_the_time_before() {
    let test = "what_was_deployed_is_compared_with_the_time_before";
    let (Some(cluster), Some(mut prometheus)) = (cluster(test), Prometheus::start(test)) else { return };
    let delivered = |image: &str, code: i32| {
        let namespace = cluster.namespace("measured");
        namespace.serve("api", "stable", "1", 2);
        // as many as Pods can bear that need 1.5 s for each
        let visitors = Visitors::each(Duration::from_millis(100), &namespace, "api", "/products");
        let visits = query(&namespace, VISITS);
        let began = Instant::now();
        // there is a time before to compare with
        while !prometheus
            .query(&visits)
            .iter()
            .any(|one| one["value"][1].as_str().and_then(|n| n.parse().ok()).is_some_and(|n: f64| n > 60.0))
        {
            assert!(began.elapsed() < Duration::from_secs(90), "{image}: nobody is counted");
            std::thread::sleep(Duration::from_millis(200));
        }
        // the old Pods have no part in what is measured
        let often = "initial-delay = \"14s\"\ncount = 3\ninterval = \"1s\"\ninconclusive = 30\n";
        let metrics = format!("{}{CATALOGUE}", p95(&namespace, often));
        let pipeline = measured(&namespace, &prometheus.url(), &deploy(&namespace, image), "needs = [\"deploy\"]", &metrics);
        let finished = run(&cluster, &pipeline).expect(code);
        visitors.done();
        (namespace, finished)
    };
    let namespace = std::thread::scope(|scope| {
        let worse = scope.spawn(|| delivered("slow", 1));
        let (namespace, good) = delivered("2", 0);
        assert!(good.stdout.contains("2 metrics are well"), "{}", good.stdout);
        let (_, worse) = worse.join().expect("it is told above");
        // the report says what, by which query, and beside what
        for words in ["p95", "histogram_quantile", "ratio <= 3.0", " beside 0."] {
            assert!(worse.stdout.contains(words), "nothing says {words:?}: {}", worse.stdout);
        }
        assert!(worse.stdout.contains("✓ catalogue"), "{}", worse.stdout);
        namespace
    });

    // without data, or nobody to ask, nothing has passed
    let soon = "interval = \"200ms\"\ninconclusive = 2\nerrors = 2\n";
    let metric = |namespace: &Namespace<'_>| measured(namespace, &prometheus.url(), "", "", &p95(namespace, soon));
    let nobody = cluster.namespace("unmeasured");
    nobody.apply(CLOSED);
    nobody.apply(&CLOSED.replace("closed", "api"));
    run(&cluster, &metric(&nobody)).expect(1).says("3 measurements said nothing");
    let pipeline = metric(&namespace);
    prometheus.stop();
    run(&cluster, &pipeline).expect(1).says("3 measurements in a row broke");
}
