//! Whole canaries, in a cluster in which Pods behave as their images say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use runner_sdk::report::TestStatus;
use runner_workloads::simulation::{Behaviour, Simulation};
use serde_json::json;

use super::*;
use crate::report;
use crate::settings::tests::settings;
use crate::traffic::tests::{http_route, virtual_service};

/// What Prometheus says, by who is asked about; it may be gone.
#[derive(Clone, Default)]
struct Prometheus(Rc<RefCell<BTreeMap<&'static str, Option<f64>>>>);

impl Prometheus {
    fn saying(values: &[(&'static str, Option<f64>)]) -> Prometheus {
        Prometheus(Rc::new(RefCell::new(values.iter().copied().collect())))
    }

    fn says(&self, who: &'static str, value: Option<f64>) {
        self.0.borrow_mut().insert(who, value);
    }
}

impl Web for Prometheus {
    fn get(&mut self, url: &str, _: &BTreeMap<String, String>, _: Duration) -> Result<(u16, Vec<u8>), Failed> {
        let values = self.0.borrow();
        // the longest name that the query has
        let who = values.keys().filter(|who| url.contains(*who)).max_by_key(|who| who.len());
        let Some(value) = who.and_then(|who| values[who]) else { return Err(Failed::Passing("no connection: refused".into())) };
        let result = json!([{ "value": [1, value.to_string()] }]);
        Ok((200, json!({ "status": "success", "data": { "resultType": "vector", "result": result } }).to_string().into_bytes()))
    }
}

fn cluster() -> Simulation {
    Simulation::new().with("api", "api", 10, "shop:1").with("api-canary", "api", 0, "shop:0")
}

fn usual(more: Value) -> Settings {
    let steps = json!([{ "set-weight": 10 }, { "pause": "60s" }, { "set-weight": 50 }, "analyse", "promote"]);
    let metric = |name: &str, count: Value| json!({ "name": name, "query": format!("{name} {{{{deployment}}}}"), "success": "result <= 0.01", "interval": "10s", "count": count });
    let metrics = json!([metric("errors", Value::Null), metric("slow", json!(3))]);
    let mut all = json!({ "steps": steps, "prometheus": "http://p", "metrics": metrics });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings(all)
}

/// Runs it, and answers with the summary too.
fn run(cluster: &mut Simulation, web: &Prometheus, settings: &Settings) -> (Told, String) {
    let mut web = web.clone();
    let (work, plan) = Work::begin(cluster, &mut web, settings, 1000.0).unwrap();
    let steps = plan.steps.clone();
    let told = work.run(plan);
    let summary = report::summary(&told, settings, &steps);
    (told, summary)
}

fn well() -> Prometheus {
    Prometheus::saying(&[("api", Some(0.0)), ("api-canary", Some(0.0))])
}

const BEFORE: &str = "api=10@shop:1 api-canary=0@shop:0";

#[test]
fn a_good_version_gets_all_and_nobody_is_sent_away() {
    let mut cluster = cluster();
    let (told, summary) = run(&mut cluster, &well(), &usual(json!({})));
    assert_eq!(told.outcome, Outcome::Promoted, "{:?}", cluster.said);
    assert_eq!(cluster.state(), "api=10@shop:2 api-canary=0@shop:2");
    assert!(cluster.fewest_ready(&["api", "api-canary"]) >= 10, "{:?}", cluster.moments);
    assert!(summary.starts_with("api has shop:2 after 1m "), "{summary}");
    let steps: Vec<&str> = told.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["set-weight 10%", "pause 1m", "set-weight 50%", "analyse", "promote"]);
    assert_eq!(cluster.shown, ["0/5 set-weight 10%", "1/5 pause 1m", "2/5 set-weight 50%", "3/5 analyse", "4/5 promote"]);
    assert!(told.steps[1].took >= Duration::from_secs(60) && told.steps[1].took < Duration::from_secs(63), "{:?}", told.steps);
}

#[test]
fn a_bad_version_is_rolled_back_to_exactly_what_was() {
    for (what, behaviour) in [
        ("pods", Behaviour::NoImage),
        ("crashes", Behaviour::Crashes),
        ("set-weight", Behaviour::NeverReady),
        ("set-weight", Behaviour::OverQuota),
    ] {
        let mut cluster = cluster().behaving("shop:2", behaviour);
        let (told, summary) = run(&mut cluster, &well(), &usual(json!({ "deadline": "30s" })));
        let Outcome::RolledBack(breach) = &told.outcome else { panic!("{what}: {:?}", told.outcome) };
        assert_eq!((breach.what.as_str(), breach.step), (what, 0), "{breach:?}");
        assert_eq!(cluster.state(), BEFORE, "{what}");
        assert!(cluster.fewest_ready(&["api"]) == 10, "{what}: the stable version had all its Pods all the time");
        assert!(!told.causes.is_empty() && summary.contains("all is as it was before"), "{what}: {summary} {:?}", told.causes);
    }
}

#[test]
fn a_metric_that_goes_bad_in_any_step_rolls_back_within_an_interval() {
    for at in [0, 30, 65, 80] {
        let web = well();
        let later = web.clone();
        let mut cluster = cluster().later(at, move |_| later.says("api-canary", Some(0.05)));
        let (told, summary) = run(&mut cluster, &web, &usual(json!({})));
        let Outcome::RolledBack(breach) = &told.outcome else { panic!("{at}: {:?}", told.outcome) };
        assert!(breach.at <= Duration::from_secs(at + 11), "{at}: {breach:?}");
        assert_eq!(cluster.state(), BEFORE);
        assert!(summary.contains("0.05 does not keep `result <= 0.01`"), "{summary}");
        let failed: Vec<_> = report::cases(&told, &usual(json!({})).plan().unwrap().1)
            .into_iter()
            .filter(|case| case.status == TestStatus::Failed)
            .collect();
        let metric = failed.iter().find(|case| case.suite == "metrics").unwrap();
        for part in ["query      ", "api-canary", "threshold  success `result <= 0.01`", "values     ", "last       0.05", "breached   "] {
            assert!(metric.message.contains(part), "{part}: {}", metric.message);
        }
    }
}

#[test]
fn a_source_that_goes_silent_holds_it_and_then_rolls_it_back() {
    let web = well();
    let later = web.clone();
    let mut cluster = cluster().later(20, move |_| later.says("api-canary", None));
    let (told, _) = run(&mut cluster, &web, &usual(json!({})));
    let Outcome::RolledBack(breach) = &told.outcome else { panic!("{:?}", told.outcome) };
    assert!(breach.why.contains("5 measurements in a row broke") && breach.why.contains("refused"), "{breach:?}");
    assert!(breach.at >= Duration::from_secs(60) && breach.at <= Duration::from_secs(80), "{breach:?}");
    assert_eq!((cluster.state().as_str(), breach.step), (BEFORE, 1), "it went no step on");
    assert!(cluster.shown.iter().any(|line| line.starts_with("1/5 held by errors: the canary: no connection")), "{:?}", cluster.shown);
    // one that is silent before anything has changed leaves everything as it is
    let mut cluster = self::cluster();
    let none = Prometheus::default();
    let (settings, mut web) = (usual(json!({})), none);
    let failure = Work::begin(&mut cluster, &mut web, &settings, 0.0).err().unwrap();
    assert!(failure.to_string().contains("before anything has changed: no connection"), "{failure}");
    assert!(cluster.written.is_empty());
}

#[test]
fn routes_are_led_back_before_pods_go() {
    for (kind, name, object, traffic) in [
        (
            "virtualservices.networking.istio.io",
            "api",
            virtual_service(),
            json!({ "istio": { "virtual-service": "api", "headers": true } }),
        ),
        ("httproutes.gateway.networking.k8s.io", "api", http_route(), json!({ "gateway": { "route": "api" } })),
    ] {
        let web = well();
        let later = web.clone();
        let mut cluster = cluster().having(kind, name, object.clone()).later(80, move |_| later.says("api-canary", Some(0.5)));
        let (told, summary) = run(&mut cluster, &web, &usual(json!({ "traffic": traffic })));
        assert!(matches!(told.outcome, Outcome::RolledBack(_)), "{:?}", cluster.said);
        assert!(summary.contains("at 50% of the traffic"), "{summary}");
        assert_eq!((cluster.state().as_str(), &cluster.spec(kind, name)), (BEFORE, &object["spec"]));
        let written: Vec<&str> = cluster.written.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        let route = format!("patch {kind}/{name}");
        let canary = "patch deployments.apps/api-canary";
        assert_eq!(written, [canary, &route, canary, &route, &route, canary], "Pods before traffic, and traffic before Pods");
        let mut good = self::cluster().having(kind, name, object.clone());
        let traffic = usual(
            json!({ "traffic": if kind.starts_with('v') { json!({ "istio": { "virtual-service": "api" } }) } else { json!({ "gateway": { "route": "api" } }) } }),
        );
        let (told, _) = run(&mut good, &well(), &traffic);
        assert_eq!((told.outcome, good.state().as_str()), (Outcome::Promoted, "api=10@shop:2 api-canary=0@shop:2"));
        let routes = Routes::of(&traffic).unwrap();
        assert_eq!(routes.weight(&good.get(&routes.target).unwrap()), Ok(0));
    }
}

#[test]
fn somebody_who_stops_it_is_heard_in_every_step() {
    for (at, during, has) in [
        (1, "set-weight 10%", "1 of 11 Pods (9%)"),
        (20, "pause 1m", "1 of 10 Pods (10%)"),
        (63, "set-weight 50%", "5 of "),
        (75, "analyse", "5 of 10 Pods (50%)"),
        (92, "promote", "Pods (33%), and api is getting it"),
    ] {
        for (cancelling, stays) in [("roll-back", false), ("stay", true)] {
            let mut cluster = cluster();
            cluster.stop_at = Some(Duration::from_secs(at));
            let (told, summary) = run(&mut cluster, &well(), &usual(json!({ "on-cancel": cancelling })));
            if stays {
                assert_eq!(told.outcome, Outcome::Stayed, "{at}");
                let left = format!("during `{during}`, and left as it is: shop:2 has ");
                assert!(summary.starts_with("stopped after") && summary.contains(&left) && summary.contains(has), "{summary}");
                assert_ne!(cluster.state(), BEFORE, "{at}");
            } else {
                assert!(matches!(&told.outcome, Outcome::RolledBack(breach) if breach.what == "cancelled"), "{at}: {:?}", told.outcome);
                assert_eq!(cluster.state(), BEFORE, "{at}");
            }
            assert!(told.took <= Duration::from_secs(at + 10), "{at}: within the grace, {:?}", told.took);
        }
    }
}

/// A source may take its time to answer: who stops the stage does not wait for it.
#[test]
fn nothing_is_measured_for_somebody_who_has_stopped_it() {
    for at in 20..32 {
        let mut cluster = cluster();
        cluster.stop_at = Some(Duration::from_secs(at));
        let (told, summary) = run(&mut cluster, &well(), &usual(json!({})));
        let begun = told.steps[0].took;
        let measured: Vec<Duration> =
            told.canary.tallies(0).iter().flat_map(|tally| tally.points()).map(|point| begun + point.at).collect();
        assert!(measured.len() >= 2 && measured.iter().all(|measured| *measured < Duration::from_secs(at)), "{at}: {measured:?} {summary}");
    }
}

/// Going back it waits for the old Pods, and for those who stop it not so long.
#[test]
fn somebody_who_stops_it_on_its_way_back_is_heard() {
    let web = well();
    let later = web.clone();
    let mut cluster = cluster().later(80, move |cluster| {
        cluster.behave("shop:1", Behaviour::NeverReady);
        later.says("api-canary", Some(0.5));
    });
    cluster.stop_at = Some(Duration::from_secs(95));
    let (told, summary) = run(&mut cluster, &web, &usual(json!({ "on-cancel": "stay" })));
    assert!(matches!(&told.outcome, Outcome::RolledBack(breach) if breach.what == "errors"), "{summary}");
    let said = "asked to stop; the rollback goes on: the traffic and the Pods are not yet as they were";
    assert!(cluster.said.iter().any(|line| line == said), "{:?}", cluster.said);
    assert!(told.took >= Duration::from_secs(95) && told.took < Duration::from_secs(98), "{:?}", told.took);
    assert_eq!(cluster.state(), BEFORE);
}

#[test]
fn people_are_asked() {
    let steps = json!([{ "set-weight": 10 }, { "pause": "approved" }, "promote"]);
    let settings = settings(json!({ "steps": steps }));
    for (decision, promoted) in [(Decision::Approved, true), (Decision::Rejected("rejected by ada".into()), false)] {
        let mut cluster = cluster();
        cluster.decision = Some((Duration::from_secs(500), decision));
        let (told, summary) = run(&mut cluster, &well(), &settings);
        assert_eq!(told.outcome == Outcome::Promoted, promoted, "{summary}");
        assert_eq!(cluster.asked, ["shop:2 at 1 of 10 Pods (10%): go on?"]);
        assert!(told.took >= Duration::from_secs(500));
        assert!(promoted || (summary.contains("rejected by ada") && cluster.state() == BEFORE), "{summary}");
    }
}

#[test]
fn a_crash_while_people_think_rolls_back_at_once() {
    let steps = json!([{ "set-weight": 10 }, { "pause": "approved" }, "promote"]);
    let mut cluster = cluster().later(100, |cluster| cluster.behave("shop:2", Behaviour::Crashes));
    let (told, summary) = run(&mut cluster, &well(), &settings(json!({ "steps": steps })));
    let Outcome::RolledBack(breach) = &told.outcome else { panic!("{:?}", told.outcome) };
    assert!(breach.what == "crashes" && breach.at < Duration::from_secs(112), "{breach:?}");
    assert!(
        summary.contains("3 crashes, and 2 are the limit") && told.causes.iter().any(|line| line.ends_with("| the last words")),
        "{summary} {:?}",
        told.causes
    );
    assert_eq!(cluster.state(), BEFORE);
}

#[test]
fn pods_that_lose_their_readiness_roll_it_back_after_a_while() {
    let steps = json!([{ "set-weight": 10 }, { "pause": "10m" }, "promote"]);
    let mut cluster = cluster().later(50, |cluster| cluster.behave("shop:2", Behaviour::NeverReady));
    let (told, _) = run(&mut cluster, &well(), &settings(json!({ "steps": steps })));
    let Outcome::RolledBack(breach) = &told.outcome else { panic!("{:?}", told.outcome) };
    assert_eq!((breach.what.as_str(), cluster.state().as_str()), ("readiness", BEFORE));
    assert!(breach.at >= Duration::from_secs(80) && breach.at < Duration::from_secs(83), "{breach:?}");
}

#[test]
fn a_stable_version_that_does_not_take_the_image_gets_its_own_back() {
    // good in the canary, and bad when it is promoted
    let mut cluster = cluster();
    let settings = settings(
        json!({ "steps": [{ "set-weight": 50 }, { "pause": "10s" }, "promote"], "signals": { "unready-for": "10m" }, "deadline": "40s" }),
    );
    cluster = cluster.later(17, |cluster| cluster.behave("shop:2", Behaviour::NeverReady));
    let (told, summary) = run(&mut cluster, &well(), &settings);
    let Outcome::RolledBack(breach) = &told.outcome else { panic!("{:?}", told.outcome) };
    assert_eq!((breach.what.as_str(), cluster.state().as_str()), ("promote", BEFORE), "{summary}");
}

#[test]
fn a_cluster_that_is_away_for_a_while_is_waited_for() {
    let mut cluster = cluster();
    cluster.fault = Box::new(|_, now| {
        let away = (60..80).contains(&now.as_secs());
        away.then(|| Error::Unreachable("connection refused".into()))
    });
    let (told, _) = run(&mut cluster, &well(), &usual(json!({})));
    assert_eq!((told.outcome, cluster.state().as_str()), (Outcome::Promoted, "api=10@shop:2 api-canary=0@shop:2"));
    // and while it rolls back
    let mut cluster = self::cluster().behaving("shop:2", Behaviour::NoImage);
    cluster.fault =
        Box::new(|line, now| (line.starts_with("patch") && (1..30).contains(&now.as_secs())).then(|| Error::Cluster("503".into())));
    let (told, _) = run(&mut cluster, &well(), &usual(json!({})));
    assert!(matches!(told.outcome, Outcome::RolledBack(_)));
    assert_eq!(cluster.state(), BEFORE);
}

#[test]
fn what_is_denied_is_rolled_back_and_told() {
    let denial =
        Denial { effect: "kubernetes.patch".into(), subject: "api".into(), code: "bound".into(), reason: "no".into(), remedy: None };
    let mut cluster = cluster();
    let told = denial.clone();
    cluster.fault = Box::new(move |line, now| {
        (line == "patch deployments.apps/api" && (1..30).contains(&now.as_secs())).then(|| Error::Denied(told.clone()))
    });
    let (told, _) = run(&mut cluster, &well(), &usual(json!({})));
    assert!(matches!(told.outcome, Outcome::RolledBack(_)));
    assert_eq!((told.denial, cluster.state().as_str()), (Some(denial.clone()), BEFORE));
    // a way back that is not allowed is told before there is need of it
    let (mut cluster, settings) = (self::cluster(), usual(json!({})));
    let told = denial.clone();
    cluster.fault = Box::new(move |line, _| (line == "patch deployments.apps/api-canary").then(|| Error::Denied(told.clone())));
    let failure = Work::begin(&mut cluster, &mut well(), &settings, 0.0).err().unwrap();
    assert_eq!((failure, cluster.written.len()), (Failure::Denied(denial), 0));
}

#[test]
fn a_comparison_with_stable_and_baseline() {
    for (with, who) in [("stable", "api"), ("baseline", "api-baseline")] {
        let metric = json!({ "name": "p95", "query": "p95 {{deployment}}", "success": "ratio <= 1.5", "interval": "5s", "compare": { "with": with } });
        let baseline = json!({ "baseline": "api-baseline", "metrics": [metric], "prometheus": "http://p", "steps": [{ "set-weight": 20 }, { "pause": "1m" }, "promote"] });
        for (value, promoted) in [(1.4, true), (1.6, false)] {
            let web = Prometheus::saying(&[("api", Some(1.0)), ("api-canary", Some(value)), ("api-baseline", Some(1.0))]);
            let mut cluster = cluster().with("api-baseline", "api", 0, "shop:0");
            let (told, summary) = run(&mut cluster, &web, &settings(baseline.clone()));
            assert_eq!(told.outcome == Outcome::Promoted, promoted, "{with} {value}: {summary}");
            assert!(cluster.state().contains("api-baseline=0@shop:0"), "{}", cluster.state());
            assert!(cluster.moments.iter().any(|moment| moment.ready["api-baseline"] == 2), "as many as the canary");
        }
        // what it is compared with has to answer too
        let web = Prometheus::saying(&[("api", Some(1.0)), ("api-canary", Some(1.0)), ("api-baseline", Some(1.0))]);
        let later = web.clone();
        let mut cluster = cluster().with("api-baseline", "api", 0, "shop:0").later(10, move |_| later.says(who, Some(f64::NAN)));
        let (told, _) = run(&mut cluster, &web, &settings(baseline));
        assert!(
            matches!(&told.outcome, Outcome::RolledBack(breach) if breach.why.contains("what it is compared with")),
            "{with}: {:?}",
            told.outcome
        );
    }
}

#[test]
fn weights_that_pods_cannot_have_are_said() {
    let mut cluster = Simulation::new().with("api", "api", 3, "shop:1").with("api-canary", "api", 0, "shop:0");
    run(&mut cluster, &well(), &usual(json!({})));
    assert!(
        cluster.said.iter().any(|line| line == "10% can't be had with 3 Pods: the canary is 1 of them, which is 33.3%"),
        "{:?}",
        cluster.said
    );
}

#[test]
fn what_is_not_there_is_told_before_anything_changes() {
    for (part, mut cluster, more) in [
        ("there is no Deployment api-canary: make one like api", Simulation::new().with("api", "api", 3, "shop:1"), json!({})),
        ("deployment: there is no Deployment api", Simulation::new(), json!({})),
        ("api has no Pods", Simulation::new().with("api", "api", 0, "shop:1").with("api-canary", "api", 0, "shop:1"), json!({})),
        ("has no container `web`", cluster(), json!({ "container": "web" })),
        (
            "virtualservices.networking.istio.io/api is not there",
            cluster(),
            json!({ "traffic": { "istio": { "virtual-service": "api" } } }),
        ),
    ] {
        let settings = settings(more);
        let failure = Work::begin(&mut cluster, &mut well(), &settings, 0.0).err().unwrap();
        assert!(failure.to_string().contains(part), "{failure}");
        assert!(cluster.written.is_empty());
    }
}

#[test]
fn steps_that_were_not_reached_are_skipped_in_the_report() {
    let mut cluster = cluster().behaving("shop:2", Behaviour::NoImage);
    let settings = usual(json!({}));
    let (told, _) = run(&mut cluster, &well(), &settings);
    let steps: Vec<Step> = settings.plan().unwrap().1;
    let told: Vec<(String, TestStatus)> =
        report::cases(&told, &steps).into_iter().filter(|case| case.suite == "steps").map(|case| (case.name, case.status)).collect();
    assert_eq!(told[0], ("1 set-weight 10%".to_owned(), TestStatus::Failed));
    assert!(told[1..].iter().all(|(_, status)| *status == TestStatus::Skipped) && told.len() == 5, "{told:?}");
}
