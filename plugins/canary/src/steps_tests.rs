use super::*;
use runner_analysis::Condition;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn metric(name: &str, count: Option<u32>) -> Metric {
    let limits = Limits { interval: seconds(10), initial_delay: seconds(5), count, failures: 0, errors: 2, inconclusive: 2, minimum: 0 };
    Metric {
        name: name.to_owned(),
        conditions: Conditions { success: Some(Condition::parse("result < 0.01").unwrap()), ..Conditions::default() },
        limits,
    }
}

fn plan(steps: &[Step], metrics: Vec<Metric>) -> Plan {
    Plan { steps: steps.to_vec(), metrics, on_cancel: OnCancel::RollBack, tries: 3, again: seconds(2) }
}

/// Drives a canary in a world where every action but measurements succeeds, and time passes as it asks.
struct World<'w> {
    canary: Canary,
    now: Duration,
    read: &'w dyn Fn(usize, u64) -> Reading,
    done: Vec<String>,
}

impl World<'_> {
    fn of(plan: Plan, read: &dyn Fn(usize, u64) -> Reading) -> World<'_> {
        World { canary: Canary::new(plan), now: Duration::ZERO, read, done: Vec::new() }
    }

    /// Until it ends, or waits for somebody.
    fn run(&mut self, first: Input) -> Option<Outcome> {
        let mut input = first;
        for _ in 0..1000 {
            input = match self.canary.take(self.now, input) {
                Some(Action::Finish(outcome)) => return Some(outcome),
                Some(Action::Measure(metric)) => Input::Measured { metric, reading: (self.read)(metric, self.now.as_secs()), stable: None },
                Some(Action::AskApproval) => {
                    self.note("ask");
                    Input::Tick
                }
                Some(action) => {
                    self.note(&format!("{action:?}"));
                    Input::Done
                }
                None => {
                    let wake = self.canary.wake()?;
                    assert!(wake > self.now, "it wakes in the past: {:?}", self.canary.phase);
                    self.now = wake;
                    Input::Tick
                }
            };
        }
        panic!("it never ends: {:?}", self.done);
    }

    fn note(&mut self, what: &str) {
        self.done.push(format!("{} {what}", self.now.as_secs()));
    }
}

fn good(_: usize, _: u64) -> Reading {
    Reading::number(0.001)
}

const WHOLE: [Step; 7] = [
    Step::Scale(1),
    Step::SetWeight(10),
    Step::Pause(Duration::from_secs(60)),
    Step::SetWeight(50),
    Step::Analyse,
    Step::Pause(Duration::from_secs(30)),
    Step::Promote,
];

fn both() -> Vec<Metric> {
    vec![metric("background", None), metric("errors", Some(3))]
}

#[test]
fn a_good_version_goes_all_the_way() {
    let mut world = World::of(plan(&WHOLE, both()), &good);
    assert_eq!(world.run(Input::Tick), Some(Outcome::Promoted));
    assert_eq!(world.done, ["0 Scale(1)", "0 SetWeight(10)", "60 SetWeight(50)", "115 Promote"]);
    assert_eq!(world.canary.take(world.now, Input::Signal { what: "crashes".into(), why: String::new() }), None);
}

#[test]
fn a_breach_in_any_step_goes_back_at_once_and_weights_first() {
    for (from, steps) in [(0, 2), (20, 2), (61, 3), (70, 3), (90, 3)] {
        let bad = move |metric: usize, at: u64| Reading::number(if metric == 0 && at >= from { 0.05 } else { 0.0 });
        let mut world = World::of(plan(&WHOLE, both()), &bad);
        let Some(Outcome::RolledBack(breach)) = world.run(Input::Tick) else { panic!("{from}: {:?}", world.done) };
        assert!(breach.what == "background" && breach.why.contains("0.05 does not keep `result < 0.01`"), "{breach:?}");
        assert!(breach.at >= seconds(from) && breach.at <= seconds(from + 10), "{from}: {breach:?}");
        let at = breach.at.as_secs();
        assert_eq!(world.done[steps..], [format!("{at} RestoreWeights"), format!("{at} RestorePods")], "{from}");
    }
}

#[test]
fn it_never_fails_open() {
    for silent in [
        Reading::Nothing("no series".into()),
        Reading::Broken("refused".into()),
        Reading::number(f64::NAN),
        Reading::Number { value: f64::NAN, of: None },
    ] {
        let forever = silent.clone();
        let read = move |_: usize, at: u64| if at < 62 { Reading::number(0.0) } else { forever.clone() };
        let mut world = World::of(plan(&WHOLE, both()), &read);
        let Some(Outcome::RolledBack(breach)) = world.run(Input::Tick) else { panic!("{silent:?}: {:?}", world.done) };
        assert!(breach.at <= seconds(62 + 3 * 10), "{silent:?}: {breach:?}");
        assert!(!world.done.iter().any(|done| done.contains("Promote")), "{silent:?}");
    }
    // without a metric an analysis decides nothing, and neither does a plan without a promotion
    for steps in [&[Step::SetWeight(10), Step::Analyse, Step::Promote][..], &[Step::SetWeight(10)], &[]] {
        let outcome = World::of(plan(steps, Vec::new()), &good).run(Input::Tick);
        assert!(matches!(outcome, Some(Outcome::RolledBack(_))), "{steps:?}: {outcome:?}");
    }
}

#[test]
fn a_measurement_that_says_nothing_holds_it_where_it_is() {
    let read = |_: usize, at: u64| if (55..75).contains(&at) { Reading::Broken("restarting".into()) } else { Reading::number(0.0) };
    let mut world =
        World::of(plan(&WHOLE, vec![metric("background", None)].into_iter().chain([metric("errors", Some(1))]).collect()), &read);
    assert_eq!(world.run(Input::Tick), Some(Outcome::Promoted));
    // the pause of 60 s would be over at 60: it goes on at 75, when the source answers again
    assert!(world.done.contains(&"75 SetWeight(50)".to_owned()), "{:?}", world.done);
}

#[test]
fn an_action_that_takes_its_time_is_measured_and_dropped_by_a_breach() {
    let mut canary = Canary::new(plan(&WHOLE, both()));
    assert_eq!(canary.take(seconds(0), Input::Tick), Some(Action::Scale(1)));
    assert_eq!(canary.wake(), None, "there is nothing to measure yet");
    assert_eq!(canary.take(seconds(0), Input::Done), Some(Action::SetWeight(10)));
    assert_eq!(canary.wake(), None);
    canary.take(seconds(0), Input::Done);
    // in the pause, and in what comes after it
    assert_eq!((canary.wake(), canary.take(seconds(4), Input::Tick)), (Some(seconds(5)), None));
    assert_eq!(canary.take(seconds(5), Input::Tick), Some(Action::Measure(0)));
    let well = || Input::Measured { metric: 0, reading: Reading::number(0.0), stable: None };
    assert_eq!(canary.take(seconds(5), well()), None);
    assert_eq!(canary.take(seconds(60), Input::Tick), Some(Action::Measure(0)));
    assert_eq!(canary.take(seconds(60), well()), Some(Action::SetWeight(50)));
    assert_eq!((canary.wake(), canary.take(seconds(64), Input::Tick)), (Some(seconds(70)), None));
    assert_eq!(canary.take(seconds(70), Input::Tick), Some(Action::Measure(0)));
    assert_eq!(canary.take(seconds(70), well()), None, "it is still at it");
    assert_eq!(canary.take(seconds(80), Input::Tick), Some(Action::Measure(0)));
    let told = canary.take(seconds(80), Input::Measured { metric: 0, reading: Reading::number(0.5), stable: None });
    assert_eq!((told, canary.goes_back()), (Some(Action::RestoreWeights), true));
}

#[test]
fn people_are_waited_for() {
    let steps = [Step::SetWeight(10), Step::Approval, Step::Promote];
    let mut world = World::of(plan(&steps, Vec::new()), &good);
    assert_eq!(world.run(Input::Tick), None);
    assert_eq!(world.done, ["0 SetWeight(10)", "0 ask"]);
    assert_eq!(world.canary.take(seconds(9), Input::Done), None); // nobody approved
    assert_eq!(world.run(Input::Approved), Some(Outcome::Promoted));
    let mut world = World::of(plan(&steps, Vec::new()), &good);
    world.run(Input::Tick);
    assert!(
        matches!(world.run(Input::Rejected("not today".into())), Some(Outcome::RolledBack(breach)) if breach.what == "approval" && breach.why == "not today")
    );
    // an approval that comes too early approves nothing
    let mut world = World::of(plan(&steps, Vec::new()), &good);
    assert_eq!(world.canary.take(seconds(0), Input::Approved), Some(Action::SetWeight(10)));
    assert_eq!(world.canary.take(seconds(0), Input::Approved), None);
    assert_eq!(world.canary.take(seconds(0), Input::Done), Some(Action::AskApproval));
}

#[test]
fn cancelling_says_which() {
    for phase in 0..3 {
        for (on_cancel, stays) in [(OnCancel::RollBack, false), (OnCancel::Stay, true)] {
            let mut canary = Canary::new(Plan { on_cancel, ..plan(&WHOLE, both()) });
            canary.take(seconds(0), Input::Tick);
            for _ in 0..phase {
                canary.take(seconds(0), Input::Done);
            }
            let told = canary.take(seconds(1), Input::Cancel);
            assert_eq!(told == Some(Action::Finish(Outcome::Stayed)), stays);
            assert_eq!(told == Some(Action::RestoreWeights), !stays);
        }
    }
}

#[test]
fn going_back_is_tried_again_and_hears_nothing_else() {
    let mut canary = Canary::new(plan(&WHOLE, both()));
    canary.take(seconds(0), Input::Tick);
    assert_eq!(canary.take(seconds(0), Input::Failed("quota".into())), Some(Action::RestoreWeights));
    for other in [
        Input::Tick,
        Input::Approved,
        Input::Cancel,
        Input::Signal { what: "x".into(), why: String::new() },
        Input::Measured { metric: 0, reading: Reading::number(0.0), stable: None },
    ] {
        assert_eq!(canary.take(seconds(1), other), None);
    }
    assert_eq!(canary.take(seconds(1), Input::Failed("away".into())), None);
    assert_eq!(canary.wake(), Some(seconds(3)));
    assert_eq!(canary.take(seconds(2), Input::Tick), None);
    assert_eq!(canary.take(seconds(3), Input::Tick), Some(Action::RestoreWeights));
    assert_eq!(canary.take(seconds(3), Input::Done), Some(Action::RestorePods));
    assert_eq!(canary.take(seconds(4), Input::Failed("away".into())), None);
    assert_eq!(canary.take(seconds(6), Input::Tick), Some(Action::RestorePods));
    let Some(Action::Finish(Outcome::RolledBack(breach))) = canary.take(seconds(7), Input::Done) else { panic!() };
    assert_eq!((breach.what.as_str(), breach.why.as_str(), breach.step), ("scale", "quota", 0));
}

#[test]
fn what_cannot_be_restored_is_said_and_pods_stay_under_weights() {
    let mut canary = Canary::new(plan(&WHOLE, both()));
    canary.take(seconds(0), Input::Tick);
    assert_eq!(canary.take(seconds(0), Input::Signal { what: "crashes".into(), why: "3".into() }), Some(Action::RestoreWeights));
    let mut told = Vec::new();
    for at in 0..20 {
        let input = if at % 3 == 0 { Input::Failed("away".into()) } else { Input::Tick };
        told.extend(canary.take(seconds(at), input));
    }
    assert!(!told.contains(&Action::RestorePods), "{told:?}");
    assert!(matches!(told.last(), Some(Action::Finish(Outcome::Stranded { part: "weights", .. }))), "{told:?}");
    assert_eq!(told.iter().filter(|action| **action == Action::RestoreWeights).count(), 2, "{told:?}");
}
