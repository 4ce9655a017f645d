//! The machine against a naive model of the same rules: random graphs, outcomes, conditions, approvals and orders of events, and runs
//! that are cut off and resumed.
//!
//! The model decides a stage recursively from the outcomes of its needs, with no queue, no counter and no clock, so that the two
//! share nothing but the text of the rules.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use event::{Blocked, FailureKind, Outcome, Verdict};
use proptest::prelude::*;

use crate::{
    Action, Approval, ApprovalResult, Backoff, ConditionResult, Graph, Input, Node, Options, Past, Retries, RunOn, Schedule, Signal,
    StageIndex, TurnResult, Was,
};

/// What a stage will do when it is run.
#[derive(Debug, Clone)]
struct Script {
    node: Node,
    /// How many attempts fail before one passes; more than its retries means that it fails.
    failures: u32,
    denied: bool,
    condition: Option<bool>,
    /// What is said when it asks, if it does.
    approval: Option<bool>,
    /// Whether it gets its turn, if it takes turns.
    turn: Option<bool>,
}

impl Script {
    fn outcome(&self, attempt: u32) -> Outcome {
        if attempt > self.failures {
            return Outcome::Passed { summary: String::new() };
        }
        let kind = if self.denied { FailureKind::Denied } else { FailureKind::Errored };
        Outcome::Failed { kind, message: String::new(), soft: false, denial: None }
    }

    fn turn(&self) -> TurnResult {
        if self.turn == Some(true) { TurnResult::Taken } else { TurnResult::Refused("another run has it".to_owned()) }
    }

    fn said(&self) -> ApprovalResult {
        if self.approval == Some(true) { ApprovalResult::Approved } else { ApprovalResult::Rejected("no".to_owned()) }
    }
}

fn script(index: usize) -> impl Strategy<Value = Script> {
    let needs = proptest::collection::vec(any::<proptest::sample::Index>(), 0..4);
    let run_on = prop_oneof![4 => Just(RunOn::Success), 1 => Just(RunOn::Failure), 1 => Just(RunOn::Always)];
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    let likely = prop::bool::weighted(0.7);
    let asks = (prop::option::weighted(0.2, any::<bool>()), prop::option::weighted(0.3, likely), prop::option::weighted(0.2, likely));
    (needs, prop::bool::weighted(0.2), run_on, flags, 0u32..3, 0u32..3, asks).prop_map(
        move |(needs, any_of, run_on, (passes, soft_fail, exclusive, denied), failures, count, (condition, approval, turn))| {
            let mut needs: Vec<StageIndex> = if index == 0 { vec![] } else { needs.iter().map(|need| need.index(index)).collect() };
            needs.sort_unstable();
            needs.dedup();
            let split = if any_of { needs.len() / 2 } else { needs.len() };
            let node = Node {
                needs_any: needs.split_off(split),
                needs,
                condition: condition.map(|_| "asked".into()),
                approval: approval.map(|_| Approval { count: 1, timeout: None }),
                takes_turns: turn.is_some(),
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
            Script { node, failures: if passes { 0 } else { failures }, denied, condition, approval, turn }
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
    let Script { node, failures, denied, condition, approval, turn } = &scripts[stage];
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
    } else if *approval == Some(false) || *turn == Some(false) {
        if node.soft_fail { End::Soft } else { End::Failed }
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
    /// Stages that wait for their approval.
    questions: Vec<StageIndex>,
    /// Stages that wait for their turn, and those that have it.
    queue: VecDeque<StageIndex>,
    turns: HashSet<StageIndex>,
    approved: HashSet<StageIndex>,
    /// Attempts that are over and are to be followed by another.
    over: HashMap<StageIndex, (u32, Outcome)>,
    /// In an earlier session, and not started again since.
    cut: HashMap<StageIndex, u32>,
    suspended: bool,
    settled: HashMap<StageIndex, Outcome>,
    done: Option<Verdict>,
    stopping: bool,
}

impl Driver {
    fn new(scripts: Vec<Script>, jobs: usize, fail_fast: bool) -> Driver {
        let options = Options { fail_fast, seed: 11, ..Options::new(NonZeroUsize::new(jobs).expect("jobs")) };
        Driver {
            schedule: Schedule::new(graph(&scripts), options),
            scripts,
            jobs,
            now: Duration::ZERO,
            running: vec![],
            asked: VecDeque::new(),
            questions: vec![],
            queue: VecDeque::new(),
            turns: HashSet::new(),
            approved: HashSet::new(),
            over: HashMap::new(),
            cut: HashMap::new(),
            suspended: false,
            settled: HashMap::new(),
            done: None,
            stopping: false,
        }
    }

    /// The next session of a run that was killed, or ended waiting. `picks` says which of the attempts that ran were over already, and
    /// which approvals were given in between.
    fn resumed(mut self, wait: bool, picks: usize) -> Driver {
        let happened = |stage: StageIndex| picks >> (stage % 32) & 1 == 1;
        let mut past = vec![Past::default(); self.scripts.len()];
        for (stage, past) in past.iter_mut().enumerate() {
            if self.approved.contains(&stage) || (self.questions.contains(&stage) && happened(stage)) {
                past.approval = Some(self.scripts[stage].said());
            }
            let cut = self.running.iter().find(|(running, _)| *running == stage).map(|(_, attempt)| *attempt);
            past.was = if let Some(outcome) = self.settled.get(&stage) {
                Was::Settled { outcome: outcome.clone() }
            } else if let Some((attempt, outcome)) = self.over.get(&stage) {
                Was::Again { attempt: *attempt, outcome: outcome.clone() }
            } else if let Some(attempt) = cut.or(self.cut.get(&stage).copied()) {
                if cut.is_some() && happened(stage) {
                    Was::Ended { attempt, outcome: self.scripts[stage].outcome(attempt) }
                } else {
                    self.cut.insert(stage, attempt);
                    Was::Cut { attempt }
                }
            } else {
                Was::Fresh
            };
        }
        let options = Options { wait, seed: 11, ..Options::new(NonZeroUsize::new(self.jobs).expect("jobs")) };
        let schedule = Schedule::resumed(graph(&self.scripts), options, past, Duration::ZERO).expect("a past of this graph");
        let mut next = Driver {
            schedule,
            now: Duration::ZERO,
            running: vec![],
            asked: VecDeque::new(),
            questions: vec![],
            queue: VecDeque::new(),
            turns: HashSet::new(),
            suspended: false,
            done: None,
            ..self
        };
        next.send(Input::Start);
        next
    }

    /// Suspends a running stage and lets the others come to their end. False if none runs.
    fn suspend(&mut self, pick: usize) -> bool {
        if self.running.is_empty() {
            return false;
        }
        let (stage, attempt) = self.running.swap_remove(pick % self.running.len());
        self.suspended = true;
        self.cut.insert(stage, attempt);
        self.send(Input::Suspended { stage, attempt });
        while self.done.is_none() {
            assert!(self.step(pick), "a suspended run comes to its end");
        }
        assert_eq!(self.done, Some(Verdict::Waiting));
        true
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
                Action::AskApproval { stage } => {
                    self.check_needs(stage);
                    assert!(!self.approved.contains(&stage) && !self.over.contains_key(&stage) && !self.cut.contains_key(&stage));
                    assert!(self.scripts[stage].condition != Some(false) && self.scripts[stage].approval.is_some());
                    self.questions.push(stage);
                }
                Action::AskTurn { stage } => {
                    self.check_needs(stage);
                    assert!(self.scripts[stage].turn.is_some() && self.scripts[stage].approval != Some(false));
                    assert!(!self.turns.contains(&stage) && !self.queue.contains(&stage), "it is asked for once a session");
                    self.queue.push_back(stage);
                }
                Action::Start { stage, attempt } => {
                    self.check_needs(stage);
                    assert!(self.scripts[stage].turn.is_none() || self.turns.contains(&stage), "stage {stage} has its turn");
                    assert!(!self.suspended, "nothing starts while an effect is in doubt");
                    assert!(self.scripts[stage].approval != Some(false));
                    let before = self.over.remove(&stage).map_or(0, |(attempt, _)| attempt);
                    assert_eq!(attempt, self.cut.remove(&stage).unwrap_or(before + 1), "attempts are numbered one by one");
                    assert!(!self.settled.contains_key(&stage) && !self.running.iter().any(|(other, _)| *other == stage));
                    assert!(attempt <= self.scripts[stage].node.retries.count + 1);
                    self.running.push((stage, attempt));
                    assert!(self.running.len() <= self.jobs, "{} run", self.running.len());
                    let exclusive = self.running.iter().any(|(stage, _)| self.scripts[*stage].node.exclusive);
                    assert!(!exclusive || self.running.len() == 1, "an exclusive stage runs alone");
                }
                Action::Stop { stage, attempt, .. } => assert!(self.stopping && self.running.contains(&(stage, attempt))),
                Action::Retry { stage, attempt, outcome, delay } => {
                    assert!(delay < Duration::from_secs(4));
                    self.over.insert(stage, (attempt, outcome));
                }
                Action::Settle { stage, outcome, .. } => {
                    assert!(self.settled.insert(stage, outcome).is_none(), "stage {stage} settles once");
                    self.questions.retain(|asking| *asking != stage);
                    self.queue.retain(|queued| *queued != stage);
                    self.turns.remove(&stage);
                    self.over.remove(&stage);
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
        } else if (pick.is_multiple_of(3) || self.running.is_empty())
            && let Some(stage) = self.queue.pop_front()
        {
            let result = self.scripts[stage].turn();
            if result == TurnResult::Taken {
                self.turns.insert(stage);
            }
            self.send(Input::Turn { stage, result });
        } else if !self.running.is_empty() || !self.questions.is_empty() {
            let pick = pick % (self.running.len() + self.questions.len());
            if pick < self.running.len() {
                let (stage, attempt) = self.running.swap_remove(pick);
                self.send(Input::Finished { stage, attempt, outcome: self.scripts[stage].outcome(attempt) });
            } else {
                let stage = self.questions.swap_remove(pick - self.running.len());
                let result = self.scripts[stage].said();
                if result == ApprovalResult::Approved {
                    self.approved.insert(stage);
                }
                self.send(Input::Approval { stage, result });
            }
        } else if let Some(at) = self.schedule.wake_at() {
            self.now = self.now.max(at);
            self.send(Input::Tick);
        } else {
            return false;
        }
        true
    }

    fn run(&mut self, picks: &[usize], signal_after: Option<usize>) -> Verdict {
        self.send(Input::Start);
        self.go_on(picks, signal_after)
    }

    fn go_on(&mut self, picks: &[usize], mut signal_after: Option<usize>) -> Verdict {
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

fn graph(scripts: &[Script]) -> Graph {
    Graph::new(scripts.iter().map(|script| script.node.clone()).collect(), None).expect("needs point backwards")
}

/// How every stage and the run must end.
fn ends(scripts: &[Script]) -> (Vec<End>, Verdict) {
    let mut known = HashMap::new();
    let wanted: Vec<End> = (0..scripts.len()).map(|stage| expected(scripts, stage, &mut known)).collect();
    let denied = |(script, end): (&Script, &End)| {
        *end == End::Failed && script.denied && script.approval != Some(false) && script.turn != Some(false)
    };
    let verdict = if scripts.iter().zip(&wanted).any(denied) {
        Verdict::Denied
    } else if wanted.contains(&End::Failed) {
        Verdict::Failed
    } else {
        Verdict::Passed
    };
    (wanted, verdict)
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
        let (wanted, verdict) = ends(&scripts);
        let mut driver = Driver::new(scripts, jobs, false);
        prop_assert_eq!(driver.run(&picks, None), verdict);
        for (stage, wanted) in wanted.iter().enumerate() {
            prop_assert_eq!(end(&driver.settled[&stage]), Some(*wanted), "stage {}: {:?}", stage, driver.settled[&stage]);
        }
    }

    #[test]
    fn a_run_that_is_cut_off_and_resumed_ends_as_one_that_was_not(
        scripts in scripts(),
        jobs in 1usize..6,
        picks in proptest::collection::vec(any::<usize>(), 1..50),
        // After how many steps, whether by a suspended stage, and whether the next session waits for approvals.
        cuts in proptest::collection::vec((0usize..12, any::<bool>(), any::<bool>(), any::<usize>()), 1..5),
    ) {
        let (wanted, verdict) = ends(&scripts);
        let mut driver = Driver::new(scripts, jobs, false);
        driver.send(Input::Start);
        for (steps, suspend, wait, pick) in cuts {
            for step in 0..steps {
                if driver.done.is_some() || !driver.step(picks[step % picks.len()]) {
                    break;
                }
            }
            if driver.done.is_some_and(|verdict| verdict != Verdict::Waiting) {
                break;
            }
            if driver.done.is_none() && suspend {
                driver.suspend(pick);
            }
            driver = driver.resumed(wait, pick);
        }
        // The last one waits for everything that is left.
        let driver = {
            let mut last = driver.resumed(true, 0);
            prop_assert_eq!(last.go_on(&picks, None), verdict);
            last
        };
        for (stage, wanted) in wanted.iter().enumerate() {
            prop_assert_eq!(end(&driver.settled[&stage]), Some(*wanted), "stage {}: {:?}", stage, driver.settled[&stage]);
        }
    }

    #[test]
    fn a_run_that_does_not_wait_ends_when_only_approvals_are_left(
        scripts in scripts(),
        jobs in 1usize..6,
        picks in proptest::collection::vec(any::<usize>(), 1..50),
    ) {
        let fresh = Driver::new(scripts, jobs, false);
        let mut driver = fresh.resumed(false, 0);
        for step in 0..10_000 {
            // Nobody answers.
            let asking = std::mem::take(&mut driver.questions);
            let went_on = driver.done.is_none() && driver.step(picks[step % picks.len()]);
            driver.questions.extend(asking);
            if !went_on {
                break;
            }
        }
        let verdict = driver.done.expect("a verdict");
        prop_assert_eq!(verdict == Verdict::Waiting, !driver.questions.is_empty());
        for stage in 0..driver.scripts.len() {
            let node = &driver.scripts[stage].node;
            let waits = driver.questions.contains(&stage) || node.needs.iter().chain(&node.needs_any).any(|need| !driver.settled.contains_key(need));
            prop_assert_eq!(waits, !driver.settled.contains_key(&stage), "stage {}", stage);
        }
    }

    #[test]
    fn a_run_that_is_stopped_settles_everything_and_starts_nothing_more(
        scripts in scripts(),
        jobs in 1usize..6,
        fail_fast in any::<bool>(),
        picks in proptest::collection::vec(any::<usize>(), 1..50),
        signal_after in prop::option::of(0usize..30),
    ) {
        let (unstopped, _) = ends(&scripts);
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
