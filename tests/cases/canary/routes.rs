//! A canary whose traffic is parted by routes: the objects after each step, and everything that is written in its order. Nobody reads the routes here, so that
//! weights and Pods are what counts.

use std::time::{SystemTime, UNIX_EPOCH};

use end_to_end::{Cluster, Finished, Namespace, Project, Running, cluster};
use serde_json::Value;

use super::source::{Says, Source};
use super::{INTERVAL, delivery, deployments, moments, slow, spec, state, written};

/// One for those who ask for it by a header, and one for everybody.
const VIRTUAL_SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: api }
spec:
  hosts: [api]
  http:
    - name: asked
      match: [{ headers: { x-canary: { exact: \"yes\" } } }]
      route:
        - { destination: { host: api, subset: stable }, weight: 100 }
        - { destination: { host: api, subset: canary }, weight: 0 }
    - name: everybody
      route:
        - { destination: { host: api, subset: stable }, weight: 100 }
        - { destination: { host: api, subset: canary }, weight: 0 }
";

const HTTP_ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: api }
spec:
  hostnames: [shop.example]
  rules:
    - matches: [{ headers: [{ name: x-canary, value: \"yes\" }] }]
      backendRefs: [{ name: api-stable, port: 80, weight: 1 }, { name: api-canary, port: 80, weight: 0 }]
    - backendRefs: [{ name: api-stable, port: 80, weight: 1 }, { name: api-canary, port: 80, weight: 0 }]
";

/// A kind of routes.
struct Kind {
    manifest: &'static str,
    /// As `kubectl` calls it.
    name: &'static str,
    /// `with.traffic`.
    traffic: &'static str,
    /// The rule of the grant.
    rule: &'static str,
    weights: &'static str,
    /// Weights as they are at first.
    first: [&'static str; 2],
}

const KINDS: [Kind; 2] = [
    Kind {
        manifest: VIRTUAL_SERVICE,
        name: "virtualservice",
        traffic: r#"{ istio = { virtual-service = "api", headers = true } }"#,
        rule: r#"resources = ["virtualservices.networking.istio.io"], names = ["api"], verbs = ["get", "patch"], fields = { "spec.http[*].route[*].weight" = { max = 100 } }"#,
        weights: "jsonpath={.spec.http[*].route[*].weight}",
        first: ["100 0", "100 0"],
    },
    Kind {
        manifest: HTTP_ROUTE,
        name: "httproute",
        traffic: r#"{ gateway = { route = "api", stable = "api-stable", headers = true } }"#,
        rule: r#"resources = ["httproutes.gateway.networking.k8s.io"], names = ["api"], verbs = ["get", "patch"], fields = { "spec.rules[*].backendRefs[*].weight" = { max = 100 } }"#,
        weights: "jsonpath={.spec.rules[*].backendRefs[*].weight}",
        first: ["1 0", "1 0"],
    },
];

struct Shop<'c> {
    cluster: &'c Cluster,
    kind: &'static Kind,
    namespace: Namespace<'c>,
    source: Source,
    project: Project,
}

impl<'c> Shop<'c> {
    /// Two Pods of version 1, a canary without Pods, routes that lead to both, and a delivery of version 2 that asks after each step.
    fn open(cluster: &'c Cluster, kind: &'static Kind) -> Shop<'c> {
        let namespace = cluster.namespace("routes");
        namespace.serve("api", "canary", "1", 0);
        namespace.serve("api", "stable", "1", 2);
        namespace.apply(kind.manifest);
        let source = Source::start();
        let (url, interval, Kind { traffic, rule, .. }) = (source.url(), INTERVAL.as_secs(), kind);
        let with = format!(
            r#"traffic = {traffic}
steps = [{{ set-weight = 10 }}, {{ pause = "approved" }}, {{ set-weight = 50 }}, {{ pause = "approved" }}, {{ set-weight = 100 }}, {{ pause = "approved" }}, "promote"]
metrics = [{{ name = "always", url = "{url}/always", value = "/value", success = "result <= 0.01", interval = "{interval}s" }}]"#
        );
        let rules = format!("  {{ {rule} }},\n{}", deployments(&["api-stable", "api-canary"], 2));
        let project = delivery(cluster, &namespace, "2", &with, &format!("{url}/**"), &rules);
        Shop { cluster, kind, namespace, source, project }
    }

    fn start(&self) -> Running {
        self.project.start(&["exec", "--format", "plain", "--verbose"])
    }

    /// Of the routes as they are: those for a header, and those for everybody.
    fn weights(&self) -> String {
        self.namespace.run(&["get", self.kind.name, "api", "--output", self.kind.weights])
    }

    fn route(&self) -> Value {
        let object = self.namespace.run(&["get", self.kind.name, "api", "--output", "json"]);
        serde_json::from_str::<Value>(&object).expect("JSON")["spec"].clone()
    }

    /// Once it asks whether to go on from this weight: the routes have it, and the canary has these Pods, all of them ready.
    fn asks(&self, running: &Running, weight: u32, pods: &str) {
        running.wait_until(&format!("asks: runner-test/service:2 at {weight}% of the traffic: go on?"));
        assert_eq!(self.weights(), format!("0 100 {} {weight}", 100 - weight), "{}", self.kind.name);
        let ready =
            self.namespace.run(&["get", "deployment", "api-canary", "--output", "jsonpath={.spec.replicas} {.status.availableReplicas}"]);
        assert_eq!(ready, format!("{pods} {pods}"), "{} at {weight}%", self.kind.name);
        let stable = spec(&self.namespace, "api-stable");
        assert_eq!(stable["replicas"], 2, "{}: the others keep their Pods", self.kind.name);
    }

    fn approve(&self) {
        self.project.run(&["approve", "latest", "canary"]).expect(0);
    }

    /// What was written after the way back was tried.
    #[track_caller]
    fn wrote(&self, lines: &[&str], finished: &Finished) {
        let Some(written) = written(self.cluster, &self.namespace) else { return };
        let [header, all] = self.kind.first;
        let tried = [
            "api-stable 2 runner-test/service:1".to_owned(),
            "api-canary 0 runner-test/service:1".to_owned(),
            format!("api {header} {all}"),
        ];
        assert_eq!(written[..3], tried, "{}: {}", self.kind.name, finished.stdout);
        assert_eq!(written[3..], *lines, "{}: {}", self.kind.name, finished.stdout);
    }
}

/// 10, 50, 100: Pods before traffic. At the end all the traffic is with the Deployment again, which has the new version, and whoever asks by a header too.
#[test]
fn weights_of_routes_go_up_step_by_step() {
    let Some(cluster) = cluster("weights_of_routes_go_up_step_by_step") else { return };
    let each = |kind: &'static Kind| {
        let shop = Shop::open(&cluster, kind);
        let (before, route) = (spec(&shop.namespace, "api-stable"), shop.route());
        let running = shop.start();
        for (weight, pods) in [(10, "1"), (50, "1"), (100, "2")] {
            shop.asks(&running, weight, pods);
            shop.approve();
        }
        let finished = running.finish().expect(0);
        let [header, _] = kind.first;
        assert_eq!(shop.weights(), format!("{header} 100 0"), "{}: {}", kind.name, finished.stdout);
        let mut wanted = before;
        wanted["template"]["spec"]["containers"][0]["image"] = "runner-test/service:2".into();
        assert_eq!(spec(&shop.namespace, "api-stable"), wanted, "{}", finished.stdout);
        assert_eq!(spec(&shop.namespace, "api-canary")["replicas"], 0, "{}", finished.stdout);
        if kind.first == ["100 0", "100 0"] {
            assert_eq!(shop.route(), route, "nothing of the object has changed");
        }
        let lines = [
            "api-canary 1 runner-test/service:2",
            "api 0 100 90 10",
            "api 50 50",
            "api-canary 2",
            "api 0 100",
            "api-stable runner-test/service:2",
            &format!("api {header} 100 0"),
            "api-canary 0",
        ];
        shop.wrote(&lines, &finished);
    };
    std::thread::scope(|scope| KINDS.iter().for_each(|kind| drop(scope.spawn(|| each(kind)))));
}

/// A breach leads the traffic back first and takes the Pods afterwards; the object is what it was to the last field.
#[test]
fn a_breach_leads_routes_back_before_pods() {
    let Some(cluster) = cluster("a_breach_leads_routes_back_before_pods") else { return };
    let each = |kind: &'static Kind| {
        let shop = Shop::open(&cluster, kind);
        let (before, route) = (state(&shop.namespace), shop.route());
        let running = shop.start();
        for (weight, pods) in [(10, "1"), (50, "1")] {
            shop.asks(&running, weight, pods);
            if weight == 10 {
                shop.approve();
            }
        }
        let ill = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        shop.source.says("/always", Says::Ill);
        let finished = running.finish().expect(1);
        let back = moments::of(shop.project.journal().parent().expect("a folder")).wrote_after(ill).expect("a write") - ill;
        // it is measured within an interval, and acts within another
        assert!(back <= INTERVAL * 2, "{}: {back:?} after it had become bad: {}", kind.name, finished.stdout);
        assert_eq!(shop.route(), route, "{}: {}", kind.name, finished.stdout);
        assert_eq!(state(&shop.namespace), before, "{}: {}", kind.name, finished.stdout);
        assert!(finished.stdout.contains("was rolled back at 50% of the traffic, during `pause until approved`"), "{}", finished.stdout);
        let [header, all] = kind.first;
        let back = format!("api {header} {all}");
        let lines = ["api-canary 1 runner-test/service:2", "api 0 100 90 10", "api 50 50", &back, "api-canary 0 runner-test/service:1"];
        shop.wrote(&lines, &finished);
    };
    std::thread::scope(|scope| KINDS.iter().for_each(|kind| drop(scope.spawn(|| each(kind)))));
}

/// While it is promoted the Deployment has Pods of the new version too: traffic leaves the canary first, and then the Deployment gets its image back. Killed
/// while it waits for those Pods, it goes on.
#[test]
fn a_breach_while_it_is_promoted_leads_routes_back_first() {
    let Some(cluster) = cluster("a_breach_while_it_is_promoted_leads_routes_back_first") else { return };
    let shop = Shop::open(&cluster, &KINDS[0]);
    shop.project.replace("pipeline.toml", "{ set-weight = 10 }, { pause = \"approved\" }, ", "");
    shop.project.replace("pipeline.toml", "{ set-weight = 100 }, { pause = \"approved\" }, ", "");
    let (before, route) = (state(&shop.namespace), shop.route());
    let running = shop.start();
    shop.asks(&running, 50, "1");
    slow(&shop.namespace, "api-stable", true);
    shop.approve();
    let has = |image: &str| spec(&shop.namespace, "api-stable")["template"]["spec"]["containers"][0]["image"] == image;
    running.wait_for("nothing is promoted", || has("runner-test/service:2"));
    shop.source.says("/always", Says::Ill);
    running.wait_for("the Deployment does not get its image back", || has("runner-test/service:1"));
    assert_eq!(shop.route(), route, "the traffic is back before");
    assert_eq!(spec(&shop.namespace, "api-canary")["replicas"], 1, "and the canary's Pods go at last");
    running.kill().expect(137);
    slow(&shop.namespace, "api-stable", false);
    let finished = shop.project.run(&["resume", "--format", "plain", "--verbose"]).expect(1);
    assert_eq!((shop.route(), state(&shop.namespace)), (route, before), "{}", finished.stdout);
    assert!(finished.stdout.contains("was rolled back at 50% of the traffic, during `promote`"), "{}", finished.stdout);
    let lines = [
        "api-canary 1 runner-test/service:2",
        "api 0 100 50 50",
        "api-stable runner-test/service:2",
        "api 100 0 100 0",
        "api-stable runner-test/service:1",
        "api-canary 0 runner-test/service:1",
    ];
    shop.wrote(&lines, &finished);
}
