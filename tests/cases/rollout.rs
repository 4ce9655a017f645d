//! The plugin `rollout` on a real cluster: real Pods of the quickstart's service, and requests while they come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use end_to_end::{Cluster, Namespace, Project, Visitors, cluster};

use crate::RUNNER;

const PODS: &str = r#"  { resources = ["pods"], verbs = ["get", "list", "watch"] },
  { resources = ["pods/log"], verbs = ["get"] },"#;

/// A stage of `rollout`. `with`: its settings. `rules`: besides those for Pods.
fn project(cluster: &Cluster, namespace: &Namespace<'_>, with: &str, rules: &str) -> Project {
    let pipeline = format!(
        "format = 1\nname = \"deliver\"\n\n[stage.deploy]\nuses = \"rollout\"\ntimeout = \"3m\"\n[stage.deploy.with]\n{with}\n\
         [stage.deploy.grants]\nhttp = [{{ url = \"http://preview-80.stage:80/**\" }}]\n[stage.deploy.grants.kubernetes]\n\
         namespace = \"{}\"\nrules = [\n{PODS}\n{rules}\n]\n",
        namespace.name()
    );
    Project::with_pipeline(RUNNER, &pipeline).env("KUBECONFIG", cluster.kubeconfig())
}

fn deployments(names: &str) -> String {
    format!(
        "  {{ resources = [\"deployments\"], names = [{names}], verbs = [\"get\", \"watch\", \"patch\"], fields = {{ \"spec.replicas\" = {{ max = 4 }}, \
         \"spec.strategy\" = {{}}, \"spec.template.metadata.annotations\" = {{}}, \
         \"spec.template.spec.containers[name=api].image\" = {{ like = \"runner-test/service:*\" }} }} }},"
    )
}

fn image(namespace: &Namespace<'_>, deployment: &str) -> String {
    namespace.run(&["get", "deployment", deployment, "--output", "jsonpath={.spec.template.spec.containers[0].image} {.spec.replicas}"])
}

#[test]
fn a_version_is_rolled_out_undone_and_restarted() {
    let test = "a_version_is_rolled_out_undone_and_restarted";
    let Some(cluster) = cluster(test) else { return };
    let namespace = cluster.namespace("rollout");
    namespace.serve("api", "stable", "1", 2);
    let visitors = Visitors::of(&namespace, "api");
    let rules = format!(
        "{}\n  {{ resources = [\"jobs\"], names = [\"api-stable-*\"], verbs = [\"get\", \"create\", \"watch\"], fields = {{ \"spec\" = {{}} }} }},",
        deployments("\"api-stable\"")
    );
    let deploy = |with: &str| {
        project(&cluster, &namespace, &format!("deployment = \"api-stable\"\n{with}"), &rules).run(&[
            "exec",
            "--format",
            "plain",
            "--verbose",
        ])
    };
    deploy(
        "container = \"api\"\nimage = \"runner-test/service:2\"\nstrategy = { rolling = { surge = 1, unavailable = 0 } }\n\
         before = [{ name = \"migrate\", run = [\"/bin/sh\", \"-c\", \"echo migrated $VERSION\"] }]",
    )
    .expect(0);
    assert_eq!(image(&namespace, "api-stable"), "runner-test/service:2 2");
    let jobs = namespace.run(&["get", "jobs", "--output", "jsonpath={.items[*].status.succeeded}"]);
    assert_eq!(jobs, "1", "the migration ran");

    // one that there is no image of: it says so, and all is as it was
    deploy("container = \"api\"\nimage = \"runner-test/service:missing\"\ndeadline = \"60s\"").expect(1).says("service:missing");
    assert_eq!(image(&namespace, "api-stable"), "runner-test/service:2 2");

    // a migration that fails ends it before anything has changed
    let broken =
        "image = \"runner-test/service:1\"\nbefore = [{ name = \"broken\", run = [\"/bin/sh\", \"-c\", \"echo no such table; exit 3\"] }]";
    deploy(&format!("container = \"api\"\n{broken}")).expect(1).says("no such table");
    assert_eq!(image(&namespace, "api-stable"), "runner-test/service:2 2");

    deploy("strategy = { undo = { revision = 1 } }").expect(0);
    assert_eq!(image(&namespace, "api-stable"), "runner-test/service:1 2");
    let pods = || namespace.run(&["get", "pods", "--selector", "app=api", "--field-selector", "status.phase=Running", "--output", "name"]);
    let before = pods();
    deploy("strategy = \"restart\"").expect(0);
    assert!(pods().lines().any(|pod| !before.contains(pod)), "{before}");
    deploy("strategy = \"history\"").expect(0).says("runner-test/service:2");
    let (asked, bad) = visitors.done();
    assert!(asked > 200 && bad.is_empty(), "{bad:#?}");
}

/// One Pod on each node, so that on a cluster of one node a second finds no place.
const LONELY: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: api-stable }
spec:
  replicas: 1
  selector: { matchLabels: { app: lonely } }
  strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }
  template:
    metadata: { labels: { app: lonely } }
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - { labelSelector: { matchLabels: { app: lonely } }, topologyKey: kubernetes.io/hostname }
      containers: [{ name: api, image: \"runner-test/service:1\" }]
";

/// What keeps new Pods from coming, in the words of the cluster; and all is as it was.
#[test]
fn what_a_rollout_is_stuck_at_is_said() {
    let Some(cluster) = cluster("what_a_rollout_is_stuck_at_is_said") else { return };
    let nodes = cluster.run(&["get", "nodes", "--output", "name"]).lines().count();
    type Prepared = fn(&Namespace<'_>);
    let cases: [(&str, Prepared, &[&str]); 3] = [
        (
            "2",
            |namespace| {
                namespace.serve("api", "stable", "1", 2);
                namespace.run(&["create", "quota", "few", "--hard=pods=2"]);
            },
            &["exceeded quota: few"],
        ),
        (
            "2",
            |namespace| {
                namespace.apply(LONELY);
                namespace.run(&["rollout", "status", "deployment/api-stable", "--timeout=120s"]);
            },
            &["nodes are available", "anti-affinity"],
        ),
        ("never-ready", |namespace| namespace.serve("api", "stable", "1", 1), &["Readiness probe failed"]),
    ];
    std::thread::scope(|scope| {
        for (image, prepare, says) in cases {
            if says[0].contains("nodes") && nodes > 1 {
                end_to_end::skipped("a Pod without a place is looked for on a cluster of one node");
                continue;
            }
            let cluster = &cluster;
            scope.spawn(move || {
                let namespace = cluster.namespace("stuck");
                prepare(&namespace);
                let spec = || namespace.run(&["get", "deployment", "api-stable", "--output", "jsonpath={.spec}"]);
                let before = spec();
                let with = format!(
                    "deployment = \"api-stable\"\ncontainer = \"api\"\nimage = \"runner-test/service:{image}\"\ndeadline = \"20s\""
                );
                let rules = format!("{}\n  {{ resources = [\"events\"], verbs = [\"list\"] }},", deployments("\"api-stable\""));
                let finished = project(cluster, &namespace, &with, &rules).run(&["exec", "--format", "plain", "--verbose"]).expect(1);
                for words in says {
                    assert!(finished.stdout.contains(words), "nothing says {words:?}: {}", finished.stdout);
                }
                assert!(finished.stdout.contains("rolled back"), "{}", finished.stdout);
                assert_eq!(spec(), before, "{}", finished.stdout);
            });
        }
    });
}

/// All old Pods go before the first new one comes, and where none comes the old ones are back.
#[test]
fn pods_are_recreated_and_brought_back() {
    let Some(cluster) = cluster("pods_are_recreated_and_brought_back") else { return };
    let namespace = cluster.namespace("recreate");
    namespace.serve("api", "stable", "1", 2);
    let spec = || namespace.run(&["get", "deployment", "api-stable", "--output", "jsonpath={.spec}"]);
    let deploy = |image: &str| {
        let with = format!(
            "deployment = \"api-stable\"\ncontainer = \"api\"\nimage = \"runner-test/service:{image}\"\nstrategy = \"recreate\"\ndeadline = \"60s\""
        );
        project(&cluster, &namespace, &with, &deployments("\"api-stable\"")).run(&["exec", "--format", "plain", "--verbose"])
    };
    let before = spec();
    deploy("missing").expect(1).says("service:missing").says("rolled back");
    assert_eq!(spec(), before);

    // what was never pulled takes a moment to end
    let pods = || namespace.run(&["get", "pods", "--output", "name"]);
    let began = Instant::now();
    while pods().lines().count() > 2 {
        assert!(began.elapsed() < Duration::from_secs(90), "{}", pods());
        std::thread::sleep(Duration::from_millis(200));
    }
    // the images of all Pods that there are, also of those that are ending
    let images = "jsonpath={range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}";
    let seen = std::thread::scope(|scope| {
        let deployed = scope.spawn(|| deploy("2").expect(0));
        let mut seen = Vec::new();
        while !deployed.is_finished() {
            let now: BTreeSet<String> = namespace.run(&["get", "pods", "--output", images]).lines().map(str::to_owned).collect();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        deployed.join().expect("it is told above");
        seen
    });
    assert_eq!(image(&namespace, "api-stable"), "runner-test/service:2 2");
    assert!(seen.iter().all(|images| images.len() < 2), "old Pods beside new ones: {seen:#?}");
    assert!(seen.len() > 1, "{seen:#?}");
}

const SERVICES: &str = "apiVersion: v1
kind: Service
metadata: { name: api }
spec: { selector: { app: api, track: blue }, ports: [{ name: http, port: 80, targetPort: http, protocol: TCP }] }
---
apiVersion: v1
kind: Service
metadata: { name: api-preview }
spec: { selector: { app: api, track: blue }, ports: [{ name: http, port: 80, targetPort: http, protocol: TCP }] }
";

/// Not one request is lost at the switch and at the switch back.
#[test]
fn blue_and_green_are_switched_and_switched_back() {
    let test = "blue_and_green_are_switched_and_switched_back";
    let Some(cluster) = cluster(test) else { return };
    let namespace = cluster.namespace("blue-green");
    namespace.serve("api", "blue", "1", 2);
    namespace.serve("api", "green", "1", 0);
    namespace.apply(SERVICES);
    let rules = format!(
        "{}\n  {{ resources = [\"services\"], names = [\"api\", \"api-preview\"], verbs = [\"get\", \"patch\"], fields = {{ \"spec.selector\" = {{}} }} }},\n\
         \x20 {{ resources = [\"services/portforward\"], names = [\"api-preview\"], verbs = [\"create\"] }},",
        deployments("\"api-blue\", \"api-green\"")
    );
    let deploy = |image: &str, contains: &str| {
        let with = format!(
            "container = \"api\"\nimage = \"runner-test/service:{image}\"\ndeadline = \"60s\"\n\
             strategy = {{ blue-green = {{ deployments = [\"api-blue\", \"api-green\"], service = \"api\", preview = \"api-preview\", keep = \"4s\", \
             checks = [{{ path = \"/health\", contains = \"{contains}\" }}] }} }}"
        );
        project(&cluster, &namespace, &with, &rules)
    };
    let serving = || namespace.run(&["get", "service", "api", "--output", "jsonpath={.spec.selector.track}"]);
    let visitors = Visitors::of(&namespace, "api");
    deploy("2", "\\\"version\\\":\\\"2\\\"").run(&["exec", "--format", "plain", "--verbose"]).expect(0);
    assert_eq!((serving().as_str(), image(&namespace, "api-green").as_str()), ("green", "runner-test/service:2 2"));
    assert_eq!(image(&namespace, "api-blue"), "runner-test/service:1 0");

    // what the preview answers is not what it should: nobody was ever sent there
    deploy("1", "something else").run(&["exec", "--format", "plain", "--verbose"]).expect(1).says("something else");
    assert_eq!((serving().as_str(), image(&namespace, "api-green").as_str()), ("green", "runner-test/service:2 2"));

    // somebody stops it after the switch: back, and nobody notices that either
    let stopped = deploy("1", "ok");
    stopped.replace("pipeline.toml", "keep = \"4s\"", "keep = \"2m\"");
    let running = stopped.start(&["exec", "--format", "plain", "--verbose", "--grace", "60"]);
    let began = Instant::now();
    while serving() != "blue" {
        assert!(began.elapsed() < Duration::from_secs(90), "it was never switched");
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(2));
    running.signal("INT");
    running.finish().expect(130);
    assert_eq!((serving().as_str(), image(&namespace, "api-green").as_str()), ("green", "runner-test/service:2 2"));
    let (asked, bad) = visitors.done();
    assert!(asked > 400 && bad.is_empty(), "{} of {asked}: {bad:#?}", bad.len());

    // it crashes a while after it was switched to: back at once
    let crash = deploy("crash", "ok");
    crash.replace("pipeline.toml", "keep = \"4s\"", "keep = \"60s\"");
    crash.run(&["exec", "--format", "plain", "--verbose"]).expect(1);
    assert_eq!((serving().as_str(), image(&namespace, "api-green").as_str()), ("green", "runner-test/service:2 2"));
}

/// Pods that crash before they have been ready for as long as the Deployment asks: nobody is ever sent to them.
#[test]
fn a_green_version_that_crashes_gets_no_request() {
    let Some(cluster) = cluster("a_green_version_that_crashes_gets_no_request") else { return };
    let namespace = cluster.namespace("blue-crash");
    namespace.serve("api", "blue", "1", 2);
    namespace.serve("api", "green", "1", 0);
    namespace.apply(SERVICES);
    // the version crashes four seconds after it began
    namespace.run(&["patch", "deployment", "api-green", "--patch", r#"{"spec":{"minReadySeconds":20}}"#]);
    let state = || {
        let all = ["deployment/api-blue", "deployment/api-green", "service/api", "service/api-preview"];
        all.map(|name| namespace.run(&["get", name, "--output", "jsonpath={.spec}"]))
    };
    let rules = format!(
        "{}\n  {{ resources = [\"services\"], names = [\"api\", \"api-preview\"], verbs = [\"get\", \"patch\"], fields = {{ \"spec.selector\" = {{}} }} }},",
        deployments("\"api-blue\", \"api-green\"")
    );
    let with = "container = \"api\"\nimage = \"runner-test/service:crash\"\ndeadline = \"90s\"\n\
                strategy = { blue-green = { deployments = [\"api-blue\", \"api-green\"], service = \"api\", preview = \"api-preview\" } }";
    let before = state();
    let visitors = Visitors::of(&namespace, "api");
    let project = project(&cluster, &namespace, with, &rules);
    let finished =
        project.run(&["exec", "--format", "plain", "--verbose"]).expect(1).says("crashes, and 2 are the limit").says("rolled back");
    let (asked, bad) = visitors.done();
    assert!(asked > 200 && bad.is_empty(), "{} of {asked}: {bad:#?}\n{}", bad.len(), finished.stdout);
    assert_eq!(state(), before, "{}", finished.stdout);
    assert!(!finished.stdout.contains("switch api"), "{}", finished.stdout);
}
