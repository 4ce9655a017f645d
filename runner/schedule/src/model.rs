//! The machine against a naive model of the same rules: random graphs, outcomes, conditions and orders of events.
//!
//! The model decides a stage recursively from the outcomes of its needs, with no queue, no counter and no clock, so that the two
//! share nothing but the text of the rules.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use event::{Blocked, FailureKind, Outcome, Verdict};
use proptest::prelude::*;

use crate::{Action, Backoff, ConditionResult, Graph, Input, Node, Options, Retries, RunOn, Schedule, Signal, StageIndex};

/// What a stage will do when it is run.
#[derive(Debug, Clone)]
struct Script {
    node: Node,
    /// How many attempts fail before one passes; more than its retries means that it fails.
    failures: u32,
    denied: bool,
    condition: Option<bool>,
}

fn script(index: usize) -> impl Strategy<Value = Script> {
    let needs = proptest::collection::vec(any::<proptest::sample::Index>(), 0..4);
    let run_on = prop_oneof![4 => Just(RunOn::Success), 1 => Just(RunOn::Failure), 1 => Just(RunOn::Always)];
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (needs, prop::bool::weighted(0.2), run_on, flags, 0u32..3, 0u32..3, prop::option::weighted(0.2, any::<bool>())).prop_map(
        move |(needs, any_of, run_on, (passes, soft_fail, exclusive, denied), failures, count, condition)| {
            let mut needs: Vec<StageIndex> = if index == 0 { vec![] } else { needs.iter().map(|need| need.index(index)).collect() };
            needs.sort_unstable();
            needs.dedup();
            let split = if any_of { needs.len() / 2 } else { needs.len() };
            let node = Node {
                needs_any: needs.split_off(split),
                needs,
                condition: condition.map(|_| "asked".into()),
                run_on,
                soft_fail,
                exclusive,
                retries: Retries {
                    count,
                    backoff: Backoff::Exponential,
                    delay: Duration::from_secs(1),
                    max_delay: Duration::from_secs(4),
                    jitter: true,
                },
                ..Node::new(&format!("s{index}"))
            };
            Script { node, failures: if passes { 0 } else { failures }, denied, condition }
        },
    )
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    (1usize..24).prop_flat_map(|stages| (0..stages).map(script).collect::<Vec<_>>())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Soft,
    Failed,
    Skipped,
    Blocked,
}

/// The rules as DESIGN's sentences, for a run that nothing stops.
fn expected(scripts: &[Script], stage: StageIndex, known: &mut HashMap<StageIndex, End>) -> End {
    if let Some(end) = known.get(&stage) {
        return *end;
    }
    let Script { node, failures, denied, condition } = &scripts[stage];
    let needs: Vec<End> = node.needs.iter().map(|&need| expected(scripts, need, known)).collect();
    let any: Vec<End> = node.needs_any.iter().map(|&need| expected(scripts, need, known)).collect();
    let all_met = needs.iter().all(|end| matches!(end, End::Passed | End::Soft | End::Skipped));
    let any_met = any.is_empty() || any.contains(&End::Passed);
    let failed = needs.contains(&End::Failed) || any.contains(&End::Failed);
    let runs = match node.run_on {
        RunOn::Success => all_met && any_met,
        RunOn::Failure => failed,
        RunOn::Always => true,
    };
    let end = if !runs {
        if node.run_on == RunOn::Failure && all_met && any_met { End::Skipped } else { End::Blocked }
    } else if *condition == Some(false) {
        End::Skipped
    } else if *failures == 0 || (!denied && *failures <= node.retries.count) {
        End::Passed
    } else if node.soft_fail {
        End::Soft
    } else {
        End::Failed
    };
    known.insert(stage, end);
    end
}

/// Drives the machine over the scripts, answering in an order that `picks` decides, and checks what must always hold.
struct Driver {
    scripts: Vec<Script>,
    schedule: Schedule,
    jobs: usize,
    now: Duration,
    running: Vec<(StageIndex, u32)>,
    asked: VecDeque<StageIndex>,
    settled: HashMap<StageIndex, Outcome>,
    done: Option<Verdict>,
    stopping: bool,
}

impl Driver {
    fn new(scripts: Vec<Script>, jobs: usize, fail_fast: bool) -> Driver {
        let graph = Graph::new(scripts.iter().map(|script| script.node.clone()).collect(), None).expect("needs point backwards");
        let options = Options { fail_fast, seed: 11, ..Options::new(NonZeroUsize::new(jobs).expect("jobs")) };
        Driver {
            schedule: Schedule::new(graph, options),
            scripts,
            jobs,
            now: Duration::ZERO,
            running: vec![],
            asked: VecDeque::new(),
            settled: HashMap::new(),
            done: None,
            stopping: false,
        }
    }

    fn send(&mut self, input: Input) {
        for action in self.schedule.handle(input, self.now) {
            assert_eq!(self.done, None, "nothing comes after Done");
            match action {
                Action::Evaluate { stage } => {
                    self.check_needs(stage);
                    assert!(self.scripts[stage].condition.is_some());
                    self.asked.push_back(stage);
                }
                Action::Start { stage, attempt } => {
                    self.check_needs(stage);
                    assert!(!self.settled.contains_key(&stage) && !self.running.iter().any(|(other, _)| *other == stage));
                    assert!(attempt <= self.scripts[stage].node.retries.count + 1);
                    self.running.push((stage, attempt));
                    assert!(self.running.len() <= self.jobs, "{} run", self.running.len());
                    let exclusive = self.running.iter().any(|(stage, _)| self.scripts[*stage].node.exclusive);
                    assert!(!exclusive || self.running.len() == 1, "an exclusive stage runs alone");
                }
                Action::Stop { stage, attempt, .. } => assert!(self.stopping && self.running.contains(&(stage, attempt))),
                Action::Retry { delay, .. } => assert!(delay < Duration::from_secs(4)),
                Action::Settle { stage, outcome, .. } => {
                    assert!(self.settled.insert(stage, outcome).is_none(), "stage {stage} settles once");
                }
                Action::Stopping(_) => self.stopping = true,
                Action::Done(verdict) => self.done = Some(verdict),
            }
        }
    }

    fn check_needs(&self, stage: StageIndex) {
        let node = &self.scripts[stage].node;
        let open = node.needs.iter().chain(&node.needs_any).find(|need| !self.settled.contains_key(need));
        assert_eq!(open, None, "stage {stage} came before its needs were settled");
    }

    /// One step: some running stage ends, some condition is answered, or time passes. False if there is nothing left to do.
    fn step(&mut self, pick: usize) -> bool {
        self.now += Duration::from_millis(100);
        if let Some(stage) = self.asked.pop_front() {
            let result = if self.scripts[stage].condition == Some(true) { ConditionResult::True } else { ConditionResult::False };
            self.send(Input::Condition { stage, result });
        } else if !self.running.is_empty() {
            let (stage, attempt) = self.running.swap_remove(pick % self.running.len());
            let script = &self.scripts[stage];
            let outcome = if attempt > script.failures {
                Outcome::Passed { summary: String::new() }
            } else {
                let kind = if script.denied { FailureKind::Denied } else { FailureKind::Errored };
                Outcome::Failed { kind, message: String::new(), soft: false, denial: None }
            };
            self.send(Input::Finished { stage, attempt, outcome });
        } else if let Some(at) = self.schedule.wake_at() {
            self.now = self.now.max(at);
            self.send(Input::Tick);
        } else {
            return false;
        }
        true
    }

    fn run(&mut self, picks: &[usize], mut signal_after: Option<usize>) -> Verdict {
        self.send(Input::Start);
        for step in 0..10_000 {
            if signal_after == Some(step) && self.done.is_none() {
                signal_after = None;
                self.send(Input::Signal(Signal::Interrupt));
            }
            let pick = picks.get(step % picks.len().max(1)).copied().unwrap_or(0);
            if self.done.is_some() || !self.step(pick) {
                break;
            }
        }
        assert_eq!(self.settled.len(), self.scripts.len(), "deadlock: not every stage settled");
        assert!(self.running.is_empty());
        self.done.expect("a verdict")
    }
}

fn end(outcome: &Outcome) -> Option<End> {
    Some(match outcome {
        Outcome::Passed { .. } => End::Passed,
        Outcome::Failed { soft: true, .. } => End::Soft,
        Outcome::Failed { soft: false, .. } => End::Failed,
        Outcome::Skipped { .. } => End::Skipped,
        Outcome::Blocked { .. } => End::Blocked,
        Outcome::Cancelled { .. } => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_stage_ends_as_the_rules_say_whatever_the_order(
        scripts in scripts(),
        jobs in 1usize..6,
        picks in proptest::collection::vec(any::<usize>(), 1..50),
    ) {
        let mut known = HashMap::new();
        let wanted: Vec<End> = (0..scripts.len()).map(|stage| expected(&scripts, stage, &mut known)).collect();
        let denied = scripts.iter().zip(&wanted).any(|(script, end)| *end == End::Failed && script.denied);
        let mut driver = Driver::new(scripts, jobs, false);
        let verdict = driver.run(&picks, None);
        for (stage, wanted) in wanted.iter().enumerate() {
            prop_assert_eq!(end(&driver.settled[&stage]), Some(*wanted), "stage {}: {:?}", stage, driver.settled[&stage]);
        }
        let failed = wanted.contains(&End::Failed);
        prop_assert_eq!(verdict, if denied { Verdict::Denied } else if failed { Verdict::Failed } else { Verdict::Passed });
    }

    #[test]
    fn a_run_that_is_stopped_settles_everything_and_starts_nothing_more(
        scripts in scripts(),
        jobs in 1usize..6,
        fail_fast in any::<bool>(),
        picks in proptest::collection::vec(any::<usize>(), 1..50),
        signal_after in prop::option::of(0usize..30),
    ) {
        let mut known = HashMap::new();
        let unstopped: Vec<End> = (0..scripts.len()).map(|stage| expected(&scripts, stage, &mut known)).collect();
        let mut driver = Driver::new(scripts, jobs, fail_fast);
        let verdict = driver.run(&picks, signal_after);
        if driver.stopping {
            prop_assert!(verdict >= Verdict::Failed);
        }
        for (stage, outcome) in &driver.settled {
            // Stopping may take away that a stage ran, never invent a pass.
            if outcome.passed() && driver.scripts[*stage].node.run_on == RunOn::Success {
                prop_assert_eq!(unstopped[*stage], End::Passed);
            }
            if matches!(outcome, Outcome::Blocked { why: Blocked::Stopping }) {
                prop_assert!(driver.stopping);
            }
        }
    }
}
