//! Whole rollouts, in a cluster in which Pods behave as their images say.

use runner_analysis::Failed;
use runner_sdk::report::TestStatus;
use runner_workloads::simulation::{Behaviour, Simulation};
use serde_json::json;

use super::*;
use crate::settings::tests::{blue_green, settings};

/// What the preview answers, by the time in the cluster.
struct Preview(Vec<u16>);

impl Web for Preview {
    fn get(&mut self, url: &str, _: &BTreeMap<String, String>, _: Duration) -> Result<(u16, Vec<u8>), Failed> {
        assert!(url.starts_with("http://preview.stage:80/"), "{url}");
        let status = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] };
        if status == 0 { Err(Failed::Passing("no connection".into())) } else { Ok((status, b"it is well".to_vec())) }
    }
}

struct Ended {
    told: Result<String, Failure>,
    cases: Vec<TestCase>,
    outputs: Vec<(&'static str, String)>,
}

fn run_with(cluster: &mut Simulation, statuses: &[u16], settings: &Settings) -> Ended {
    let mut web = Preview(statuses.to_vec());
    let mut forward = |service: &str, port: u16| {
        assert_eq!(service, "api-preview");
        Ok(format!("http://preview.stage:{port}"))
    };
    let mut work = Work::new(cluster, &mut web, &mut forward, settings, "abc-1");
    let told = work.run();
    Ended { told, cases: std::mem::take(&mut work.cases), outputs: std::mem::take(&mut work.outputs) }
}

fn run(cluster: &mut Simulation, more: Value) -> Ended {
    run_with(cluster, &[200], &settings(more))
}

fn api() -> Simulation {
    Simulation::new().with("api", "api", 4, "shop:1")
}

#[test]
fn a_rolling_update_ends_with_the_new_version_and_never_has_too_few() {
    let mut cluster = api();
    let ended = run(&mut cluster, json!({}));
    assert_eq!(ended.told.unwrap(), "api has shop:2, and had shop:1");
    assert_eq!(ended.outputs, [("image", "shop:2".to_owned())]);
    assert_eq!((cluster.state().as_str(), cluster.fewest_ready(&["api"])), ("api=4@shop:2", 4));
    assert_eq!(run(&mut cluster, json!({})).told.unwrap(), "api has shop:2 already");
    // with what the settings say
    let mut cluster = api();
    run(&mut cluster, json!({ "strategy": { "rolling": { "surge": 0, "unavailable": "50%" } } })).told.unwrap();
    assert_eq!(
        cluster.spec("deployments.apps", "api")["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "50%" } })
    );
    assert_eq!(cluster.fewest_ready(&["api"]), 2);
}

#[test]
fn what_is_stuck_says_why_and_goes_back() {
    for (behaviour, why, cause) in [
        (Behaviour::NoImage, "ImagePullBackOff", "Failed to pull image"),
        (Behaviour::Crashes, "crashes, and 2 are the limit", "| the last words"),
        (Behaviour::NeverReady, "not ready after 30s", "Readiness probe failed"),
        (Behaviour::Unschedulable, "not ready after 30s", "3 Insufficient cpu"),
        (Behaviour::OverQuota, "exceeded quota", "exceeded quota"),
    ] {
        let mut cluster = api().behaving("shop:2", behaviour);
        let before = cluster.spec("deployments.apps", "api");
        let ended = run(&mut cluster, json!({ "deadline": "30s", "strategy": { "rolling": { "surge": 2 } } }));
        let told = ended.told.unwrap_err();
        assert!(
            matches!(&told, Failure::Failed(text) if text.contains(why) && text.ends_with("rolled back to what was before")),
            "{behaviour:?}: {told}"
        );
        let case = ended.cases.iter().find(|case| case.status == TestStatus::Failed).unwrap();
        assert!(case.message.contains(cause), "{behaviour:?}: {}", case.message);
        let mut after = cluster.spec("deployments.apps", "api");
        // Kubernetes fills in what nobody says; the simulation leaves an empty table
        after.as_object_mut().unwrap().remove("strategy");
        assert_eq!((after, cluster.fewest_ready(&["api"])), (before, 4), "{behaviour:?}");
        assert!(ended.outputs.is_empty());
    }
}

#[test]
fn what_happens_otherwise_is_the_settings_choice() {
    let stuck = || api().behaving("shop:2", Behaviour::NoImage);
    let mut cluster = stuck();
    let told = run(&mut cluster, json!({ "on-failure": "stay" })).told.unwrap_err();
    assert!(told.to_string().ends_with("what was done stays as it is"), "{told}");
    assert_eq!(cluster.state(), "api=4@shop:2");
    for (cancelling, state, end) in [
        ("roll-back", "api=4@shop:1", "stopped; rolled back to what was before"),
        ("stay", "api=4@shop:2", "stopped; what was done stays as it is"),
    ] {
        let mut cluster = api();
        cluster.stop_at = Some(Duration::from_secs(3));
        let told = run(&mut cluster, json!({ "on-cancel": cancelling })).told.unwrap_err();
        assert_eq!((told.to_string().as_str(), cluster.state().as_str()), (end, state));
        assert!(cluster.now < Duration::from_secs(12), "within the grace");
    }
}

#[test]
fn recreated_pods_never_run_beside_old_ones() {
    let mut cluster = api();
    run(&mut cluster, json!({ "strategy": "recreate" })).told.unwrap();
    assert_eq!((cluster.state().as_str(), cluster.fewest_ready(&["api"])), ("api=4@shop:2", 0));
    let mut cluster = api().behaving("shop:2", Behaviour::Crashes);
    let told = run(&mut cluster, json!({ "strategy": "recreate" })).told.unwrap_err();
    assert!(told.to_string().contains("rolled back"), "{told}");
    assert_eq!(cluster.state(), "api=4@shop:1");
}

#[test]
fn restart_undo_and_history() {
    let mut cluster = api();
    run(&mut cluster, json!({})).told.unwrap();
    let told = run(&mut cluster, json!({ "image": null, "strategy": "history" }));
    assert_eq!(told.told.unwrap(), "2 revisions of api, the current is 2: shop:2");
    assert!(cluster.said.iter().any(|line| line == "2 shop:2 ← current"), "{:?}", cluster.said);
    let written = cluster.written.len();
    let ended = run(&mut cluster, json!({ "image": null, "strategy": { "undo": {} } }));
    assert_eq!((ended.told.unwrap().as_str(), cluster.state().as_str()), ("api is at revision 1 again: shop:1", "api=4@shop:1"));
    assert_eq!((ended.outputs, cluster.written.len()), (vec![("revision", "1".to_owned()), ("image", "shop:1".to_owned())], written + 1));
    let told = run(&mut cluster, json!({ "image": null, "strategy": { "undo": { "revision": 9 } } })).told.unwrap_err();
    assert!(told.to_string().contains("has no revision 9"), "{told}");
    run(&mut cluster, json!({ "image": null, "strategy": "restart" })).told.unwrap();
    let annotations = &cluster.spec("deployments.apps", "api")["template"]["metadata"]["annotations"];
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string());
    assert_eq!(cluster.fewest_ready(&["api"]), 4);
}

fn colours() -> Simulation {
    let service = |track: &str| json!({ "spec": { "selector": { "app": "api", "track": track } } });
    Simulation::new()
        .with("api-blue", "api", 3, "shop:1")
        .with("api-green", "api", 0, "shop:0")
        .having("services", "api", service("api-blue"))
        .having("services", "api-preview", service("api-blue"))
}

fn serving(cluster: &Simulation) -> String {
    let track = |name: &str| cluster.spec("services", name)["selector"]["track"].as_str().unwrap_or_default().to_owned();
    format!("{} {}", track("api"), track("api-preview"))
}

fn with_checks() -> Value {
    blue_green(json!({ "preview": "api-preview", "checks": [{ "path": "/health", "contains": "well" }], "keep": "20s" }))
}

#[test]
fn blue_green_switches_when_the_preview_is_well() {
    let mut cluster = colours();
    let ended = run_with(&mut cluster, &[0, 503, 200], &settings(with_checks()));
    assert_eq!(ended.told.unwrap(), "api-green serves shop:2");
    assert_eq!((cluster.state().as_str(), serving(&cluster).as_str()), ("api-blue=0@shop:1 api-green=3@shop:2", "api-green api-green"));
    let written: Vec<&str> = cluster.written.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        written,
        ["patch deployments.apps/api-green", "patch services/api-preview", "patch services/api", "patch deployments.apps/api-blue"]
    );
    let at = |number: usize| cluster.written[number].split_once(' ').unwrap().0.parse::<u64>().unwrap();
    assert!(at(3) >= at(2) + 20, "the old Pods are kept: {:?}", cluster.written);
    assert_eq!(ended.outputs, [("image", "shop:2".to_owned()), ("deployment", "api-green".to_owned())]);
    // and the other way round
    let back = settings({
        let mut more = with_checks();
        more["image"] = json!("shop:3");
        more
    });
    assert_eq!(run_with(&mut cluster, &[200], &back).told.unwrap(), "api-blue serves shop:3");
    assert_eq!(serving(&cluster), "api-blue api-blue");
}

#[test]
fn blue_green_goes_back_as_if_nothing_had_been() {
    const BEFORE: &str = "api-blue=3@shop:1 api-green=0@shop:0";
    // a preview that is not well never gets the traffic
    let mut cluster = colours();
    let told = run_with(&mut cluster, &[500], &settings(with_checks())).told.unwrap_err();
    assert!(told.to_string().contains("/health at the preview, for 30s: the status is 500"), "{told}");
    assert_eq!((cluster.state().as_str(), serving(&cluster).as_str()), (BEFORE, "api-blue api-blue"));
    assert!(!cluster.written.iter().any(|line| line.ends_with("services/api")));
    // neither does one whose Pods are not
    let mut cluster = colours().behaving("shop:2", Behaviour::Crashes);
    run_with(&mut cluster, &[200], &settings(with_checks())).told.unwrap_err();
    assert_eq!((cluster.state().as_str(), serving(&cluster).as_str()), (BEFORE, "api-blue api-blue"));
    // after the switch, by checks, by Pods, and by people: the Service first
    for what in ["checks", "pods", "people"] {
        let mut cluster = colours();
        match what {
            "pods" => cluster = cluster.later(10, |cluster| cluster.behave("shop:2", Behaviour::NeverReady)),
            "people" => cluster.stop_at = Some(Duration::from_secs(12)),
            _ => {}
        }
        let statuses: &[u16] = if what == "checks" { &[200, 200, 500] } else { &[200] };
        let ended = run_with(&mut cluster, statuses, &settings(with_checks()));
        let told = ended.told.unwrap_err();
        assert!(told.to_string().contains("rolled back to what was before"), "{what}: {told}");
        let looked = ended.cases.iter().any(|case| case.message.contains("Readiness probe failed"));
        assert_eq!(looked, what == "pods", "{what}: {:?}", ended.cases);
        assert_eq!((cluster.state().as_str(), serving(&cluster).as_str()), (BEFORE, "api-blue api-blue"), "{what}");
        let written: Vec<&str> = cluster.written.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            written[2..],
            ["patch services/api", "patch services/api", "patch services/api-preview", "patch deployments.apps/api-green"],
            "{what}"
        );
        assert_eq!(cluster.fewest_ready(&["api-blue"]), 3, "{what}: the old Pods were there all the time");
    }
}

#[test]
fn a_service_that_does_not_tell_the_colours_apart_is_told() {
    for (selector, part) in [
        (json!({ "app": "api" }), "selects the Pods of both"),
        (json!({ "app": "web" }), "selects the Pods of neither"),
        (json!({}), "selects the Pods of neither"),
    ] {
        let mut cluster = colours();
        cluster.edit("services", "api", |service| service["spec"]["selector"] = selector);
        let told = run_with(&mut cluster, &[200], &settings(with_checks())).told.unwrap_err();
        assert!(matches!(&told, Failure::Misconfigured(text) if text.contains(part)), "{told}");
        assert!(cluster.written.is_empty());
    }
}

#[test]
fn migrations_come_before_and_after() {
    let migrations = |image: &str| json!({ "before": [{ "name": "up", "run": ["migrate", "up"] }], "after": [{ "name": "tidy", "run": ["migrate", "tidy"], "image": image }] });
    let mut cluster = api();
    assert_eq!(run(&mut cluster, migrations("shop:2")).told.unwrap(), "api has shop:2, and had shop:1");
    let written: Vec<&str> = cluster.written.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(written, ["create jobs.batch/api-up-abc-1", "patch deployments.apps/api", "create jobs.batch/api-tidy-abc-1"]);
    // one that fails before leaves all as it was, one after leaves the new version
    let mut cluster = api().behaving("shop:2", Behaviour::Crashes);
    let told = run(&mut cluster, migrations("shop:2")).told.unwrap_err();
    assert!(told.to_string().starts_with("migration `up` failed: BackoffLimitExceeded"), "{told}");
    assert_eq!(cluster.state(), "api=4@shop:1");
    let mut cluster = api().behaving("tools:1", Behaviour::Crashes);
    let told = run(&mut cluster, migrations("tools:1")).told.unwrap_err();
    assert!(told.to_string().starts_with("api has shop:2, and had shop:1; but migration `tidy` failed"), "{told}");
    assert_eq!(cluster.state(), "api=4@shop:2");
}

#[test]
fn a_cluster_that_is_away_for_a_while_is_waited_for() {
    let mut cluster = api();
    cluster.fault = Box::new(|_, now| (now.as_secs() < 20).then(|| Error::Unreachable("connection refused".into())));
    run(&mut cluster, json!({})).told.unwrap();
    assert_eq!(cluster.state(), "api=4@shop:2");
    let mut cluster = api();
    cluster.fault = Box::new(|_, _| Some(Error::Unreachable("connection refused".into())));
    let told = run(&mut cluster, json!({})).told.unwrap_err();
    assert_eq!(told.to_string(), "connection refused; nothing has been changed");
}

#[test]
fn a_denial_is_a_denial() {
    let denial = runner_sdk::Denial {
        effect: "kubernetes.patch".into(),
        subject: "api".into(),
        code: "bound".into(),
        reason: "no".into(),
        remedy: None,
    };
    let mut cluster = api();
    let told = denial.clone();
    cluster.fault = Box::new(move |line, _| line.starts_with("patch").then(|| Error::Denied(told.clone())));
    let ended = run(&mut cluster, json!({}));
    assert!(ended.told.unwrap_err().to_string().contains("denied: kubernetes.patch api: no (bound)"));
}
