//! The plugin `rollout` on a real cluster: real Pods of the quickstart's service, and requests while they come and go.

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
    let running = stopped.start(&["exec", "--format", "plain", "--verbose", "--grace", "60s"]);
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
