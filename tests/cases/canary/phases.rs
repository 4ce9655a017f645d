//! A canary in each of its phases, which somebody stops, or whose runner dies.
//!
//! A phase lasts for as long as a test needs it, by what the world says: a source of metrics that does not answer or has no number, Pods that count as
//! available only after minutes, nobody who approves.

use end_to_end::{Cluster, Namespace, Project, Running, Visitors, cluster};

use super::source::{Says, Source};
use super::{LOGS, delivery, deployments, slow, spec, state, written};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The sources are asked, and nothing is written.
    Before,
    SetWeight,
    Pause,
    Analyse,
    Approval,
    Promote,
    /// The traffic is led back.
    Back,
}

const PHASES: [Phase; 7] = [Phase::Before, Phase::SetWeight, Phase::Pause, Phase::Analyse, Phase::Approval, Phase::Promote, Phase::Back];

/// Two Pods of version 1, a canary without Pods, and a delivery of version 2 that goes through all phases.
struct Shop<'c> {
    namespace: Namespace<'c>,
    source: Source,
    project: Project,
}

impl<'c> Shop<'c> {
    fn open(cluster: &'c Cluster, on_cancel: &str) -> Shop<'c> {
        let namespace = cluster.namespace("phases");
        let source = Source::start();
        let url = source.url();
        let with = format!(
            r#"steps = [{{ set-weight = 50 }}, {{ pause = "1s" }}, "analyse", {{ pause = "approved" }}, "promote"]
deadline = "2m"
on-cancel = "{on_cancel}"
metrics = [
  {{ name = "always", url = "{url}/always", value = "/value", success = "result <= 0.01", interval = "1s", inconclusive = 1000, timeout = "1m" }},
  {{ name = "enough", url = "{url}/enough", value = "/value", success = "result <= 0.01", interval = "1s", inconclusive = 1000, count = 2 }},
]"#
        );
        let rules = format!("{}\n{LOGS}", deployments(&["api-stable", "api-canary"], 3));
        let project = delivery(cluster, &namespace, "2", &with, &format!("{url}/**"), &rules);
        let shop = Shop { namespace, source, project };
        shop.reset();
        shop
    }

    /// As it was at first.
    fn reset(&self) {
        self.namespace.serve("api", "canary", "1", 0);
        self.namespace.serve("api", "stable", "1", 2);
    }

    fn start(&self, verb: &str) -> Running {
        // shorter than the minute for which a rollback would wait for Pods if nobody were in a hurry
        let grace: &[&str] = if verb == "exec" { &["--grace", "40"] } else { &[] };
        self.project.start(&[&[verb, "--format", "plain", "--verbose"], grace].concat())
    }

    fn has(&self, deployment: &str, field: &str, value: &str) -> bool {
        self.namespace.run(&["get", "deployment", deployment, "--output", &format!("jsonpath={{.spec.{field}}}")]) == value
    }

    /// The canary will get into this phase and not out of it.
    fn close(&self, phase: Phase) {
        match phase {
            Phase::Before => self.source.says("/always", Says::Nothing),
            Phase::SetWeight => slow(&self.namespace, "api-canary", true),
            Phase::Pause | Phase::Back => self.source.says("/always", Says::NoNumber),
            Phase::Analyse => self.source.says("/enough", Says::NoNumber),
            Phase::Approval | Phase::Promote => {}
        }
    }

    /// Waits until it is in this phase.
    fn reached(&self, phase: Phase, running: &Running) {
        match phase {
            Phase::Before => running.wait_for("nobody asks the source", || self.source.was_asked()),
            Phase::SetWeight => running.wait_for("the canary gets no Pods", || self.has("api-canary", "replicas", "1")),
            Phase::Pause => running.wait_until("always: there is nothing"),
            Phase::Analyse => running.wait_until("enough: there is nothing"),
            Phase::Approval => running.wait_until("asks: "),
            Phase::Promote => {
                running.wait_until("asks: ");
                slow(&self.namespace, "api-stable", true);
                self.project.run(&["approve", "latest", "canary"]).expect(0);
                let promoted = || self.has("api-stable", "template.spec.containers[0].image", "runner-test/service:2");
                running.wait_for("nothing is promoted", promoted);
            }
            Phase::Back => {
                running.wait_until("always: there is nothing");
                slow(&self.namespace, "api-stable", true);
                self.source.says("/always", Says::Ill);
                running.wait_for("nothing is rolled back", || self.has("api-stable", "replicas", "2"));
                running.wait_until("→ rolling back: the traffic");
            }
        }
    }

    /// Nothing keeps it there any longer.
    fn release(&self, phase: Phase) {
        match phase {
            Phase::Before | Phase::Pause => self.source.says("/always", Says::Well),
            Phase::SetWeight => slow(&self.namespace, "api-canary", false),
            Phase::Analyse => self.source.says("/enough", Says::Well),
            Phase::Approval => {}
            Phase::Promote | Phase::Back => slow(&self.namespace, "api-stable", false),
        }
    }

    /// Stopped in this phase: what it says at its end, and how things were when it was stopped.
    fn stopped(&self, phase: Phase) -> (String, Vec<String>) {
        self.close(phase);
        let running = self.start("exec");
        self.reached(phase, &running);
        let then = state(&self.namespace);
        running.signal("INT");
        running.wait_until("stopping: ");
        if phase == Phase::Before {
            // it looks up when the source has answered
            self.release(phase);
        }
        let finished = running.finish().expect(130);
        (finished.stdout, then)
    }
}

/// Ctrl-C leads back from every phase, and says so; a rollback that is under way goes on.
#[test]
fn a_canary_that_is_stopped_goes_back_from_each_phase() {
    let Some(cluster) = cluster("a_canary_that_is_stopped_goes_back_from_each_phase") else { return };
    let shop = Shop::open(&cluster, "roll-back");
    let before = state(&shop.namespace);
    for phase in PHASES {
        let (printed, _) = shop.stopped(phase);
        shop.release(phase);
        assert_eq!(state(&shop.namespace), before, "{phase:?}: {printed}");
        let (during, why) = match phase {
            Phase::Before | Phase::SetWeight => ("set-weight 50%", "cancelled: somebody stopped it"),
            Phase::Pause => ("pause 1s", "cancelled: somebody stopped it"),
            Phase::Analyse => ("analyse", "cancelled: somebody stopped it"),
            Phase::Approval => ("pause until approved", "cancelled: somebody stopped it"),
            Phase::Promote => ("promote", "cancelled: somebody stopped it"),
            Phase::Back => ("pause 1s", "always: 0.5 does not keep"),
        };
        let told = printed.lines().find(|line| line.contains("interrupted; ")).unwrap_or_else(|| panic!("{phase:?}: {printed}"));
        for part in ["runner-test/service:2 was rolled back at ", &format!(", during `{during}`, after "), why, "all is as it was before"] {
            assert!(told.contains(part), "{phase:?} says nothing of {part:?}: {told}\n{printed}");
        }
    }
}

/// Where the setting says so it stays as it is in every phase, and says how that is; a rollback that is under way goes on.
#[test]
fn a_canary_that_is_stopped_stays_in_each_phase() {
    let Some(cluster) = cluster("a_canary_that_is_stopped_stays_in_each_phase") else { return };
    let shop = Shop::open(&cluster, "stay");
    let before = state(&shop.namespace);
    for phase in PHASES {
        let (printed, then) = shop.stopped(phase);
        if phase == Phase::Back {
            shop.release(phase);
            assert_eq!(state(&shop.namespace), before, "{printed}");
            assert!(
                printed.contains("asked to stop; the rollback goes on: the traffic and the Pods are not yet as they were"),
                "{printed}"
            );
            assert!(printed.contains("all is as it was before"), "{printed}");
            continue;
        }
        assert_eq!(state(&shop.namespace), then, "{phase:?}: {printed}");
        assert_eq!(then == before, phase == Phase::Before, "{phase:?}");
        let (during, has) = match phase {
            Phase::Before => ("set-weight 50%", "0 of 2 Pods (0%)"),
            Phase::SetWeight => ("set-weight 50%", "1 of 3 Pods (33%)"),
            Phase::Pause => ("pause 1s", "1 of 2 Pods (50%)"),
            Phase::Analyse => ("analyse", "1 of 2 Pods (50%)"),
            Phase::Approval => ("pause until approved", "1 of 2 Pods (50%)"),
            Phase::Promote => ("promote", "1 of 3 Pods (33%), and api-stable is getting it"),
            Phase::Back => unreachable!("it has gone on"),
        };
        let left = format!(", during `{during}`, and left as it is: runner-test/service:2 has {has}");
        assert!(printed.contains(&left) && !printed.contains("rolled back"), "{phase:?} does not say {left:?}: {printed}");
        shop.release(phase);
        shop.reset();
        assert_eq!(state(&shop.namespace), before);
    }
}

/// Killed in every phase on its way, it comes to its end: nothing is written twice, and nobody notices.
#[test]
fn a_canary_that_is_killed_in_each_phase_goes_on() {
    let Some(cluster) = cluster("a_canary_that_is_killed_in_each_phase_goes_on") else { return };
    let shop = Shop::open(&cluster, "roll-back");
    let before = spec(&shop.namespace, "api-stable");
    let mut visitors = None;
    for phase in PHASES.into_iter().filter(|phase| *phase != Phase::Back) {
        shop.close(phase);
        let running = shop.start(if phase == Phase::Before { "exec" } else { "resume" });
        visitors.get_or_insert_with(|| Visitors::of(&shop.namespace, "api"));
        shop.reached(phase, &running);
        running.kill().expect(137);
        shop.release(phase);
    }
    let finished = shop.start("resume").finish().expect(0);
    let bad = visitors.map(|visitors| visitors.done().1);
    assert_eq!(bad, Some(Vec::new()), "{}", finished.stdout);
    let promoted = |replicas: u32| {
        let mut spec = before.clone();
        spec["replicas"] = replicas.into();
        spec["template"]["spec"]["containers"][0]["image"] = "runner-test/service:2".into();
        spec
    };
    assert_eq!(spec(&shop.namespace, "api-stable"), promoted(2), "{}", finished.stdout);
    let canary = spec(&shop.namespace, "api-canary");
    assert_eq!((&canary["replicas"], &canary["template"]["spec"]), (&0.into(), &promoted(0)["template"]["spec"]), "{}", finished.stdout);
    let Some(written) = written(&cluster, &shop.namespace) else { return };
    let way = [
        // the way back is tried, with nothing to change
        "api-stable 2 runner-test/service:1",
        "api-canary 0 runner-test/service:1",
        "api-canary 1 runner-test/service:2",
        "api-stable 1",
        "api-stable 2 runner-test/service:2",
        "api-canary 0",
    ];
    assert_eq!(written, way);
}

/// Killed on its way back, it goes the rest of it.
#[test]
fn a_canary_that_is_killed_on_its_way_back_gets_there() {
    let Some(cluster) = cluster("a_canary_that_is_killed_on_its_way_back_gets_there") else { return };
    let shop = Shop::open(&cluster, "stay");
    let before = state(&shop.namespace);
    shop.close(Phase::Back);
    let running = shop.start("exec");
    shop.reached(Phase::Back, &running);
    running.kill().expect(137);
    // who resumes it waits for the same Pods, and may be killed too
    let running = shop.start("resume");
    running.wait_until("RESUMED");
    running.kill().expect(137);
    shop.release(Phase::Back);
    let finished = shop.start("resume").finish().expect(1);
    assert_eq!(state(&shop.namespace), before, "{}", finished.stdout);
    for part in ["was rolled back at 1 of 2 Pods (50%), during `pause 1s`", "always: 0.5 does not keep", "all is as it was before"] {
        assert!(finished.stdout.contains(part), "{part:?}: {}", finished.stdout);
    }
    let Some(written) = written(&cluster, &shop.namespace) else { return };
    assert_eq!(written[2..], ["api-canary 1 runner-test/service:2", "api-stable 1", "api-stable 2", "api-canary 0 runner-test/service:1"]);
}
