//! Groups: stages that take turns with those of other runs.

use super::*;
use crate::{Approval, Past, Was};

fn grouped(name: &str, needs: &[StageIndex]) -> Node {
    Node { takes_turns: true, ..node(name, needs) }
}

fn busy() -> TurnResult {
    TurnResult::Refused("the group `deploy` is held by run 7".to_owned())
}

#[test]
fn a_stage_waits_for_its_turn_without_a_job_and_keeps_it_for_its_retries() {
    let deploy = Node { retries: fixed(1, 5), ..grouped("deploy", &[]) };
    let mut run = Run::new(vec![deploy, node("docs", &[])], 1);
    assert_eq!(run.start(), "queue deploy, start docs#1");
    assert_eq!(run.pass("docs", 1.0), "settle docs#1 passed 1s");
    assert_eq!(run.turn("deploy", TurnResult::Taken, 2.0), "start deploy#1");
    assert_eq!(run.turn("deploy", busy(), 2.5), "", "it has been answered");
    assert_eq!(run.fail("deploy", 3.0), "retry deploy#1 Failed in 5s");
    assert_eq!(run.tick(8.0), "start deploy#2", "nobody got in between");
    assert_eq!(run.pass("deploy", 9.0), "settle deploy#2 passed 7s, done Passed");
}

#[test]
fn the_approval_comes_first() {
    let deploy = Node { approval: Some(Approval { count: 1, timeout: None }), ..grouped("deploy", &[]) };
    let mut run = Run::new(vec![deploy], 1);
    assert_eq!(run.start(), "ask deploy");
    assert_eq!(run.turn("deploy", TurnResult::Taken, 0.5), "", "it has not asked");
    assert_eq!(run.approve("deploy", 1.0), "queue deploy");
    assert_eq!(run.turn("deploy", TurnResult::Taken, 2.0), "start deploy#1");
}

#[test]
fn a_stage_that_is_not_to_wait_fails_without_a_retry() {
    let nodes = vec![Node { retries: fixed(3, 1), ..grouped("deploy", &[]) }, node("smoke", &[0])];
    let mut run = Run::new(nodes, 1);
    run.start();
    assert_eq!(run.turn("deploy", busy(), 1.0), "settle deploy#0 Busy 0ns, settle smoke#0 blocked(Need(\"deploy\")) 0ns, done Failed");
}

#[test]
fn waiting_for_nothing_but_turns_does_not_use_up_the_runs_time_and_is_no_end() {
    let without = Options { wait: false, ..options(1, false) };
    let mut run = Run::with(vec![node("test", &[]), grouped("deploy", &[0])], Some(Duration::from_secs(100)), without);
    run.start();
    assert_eq!(run.pass("test", 40.0), "settle test#1 passed 40s, queue deploy", "another run makes way by itself: this is no end");
    assert_eq!(run.wake(), None);
    assert_eq!(run.turn("deploy", TurnResult::Taken, 10_040.0), "start deploy#1");
    assert_eq!(run.wake(), Some(10_100.0), "60 seconds are left");
}

#[test]
fn a_run_that_goes_on_takes_its_turns_anew() {
    let nodes = vec![grouped("deploy", &[])];
    let graph = Graph::new(nodes, None).unwrap();
    let mut run = Run(Schedule::resumed(graph, options(1, false), vec![Past::from(Was::Cut { attempt: 2 })], Duration::ZERO).unwrap());
    assert_eq!(run.start(), "queue deploy");
    assert_eq!(run.turn("deploy", TurnResult::Taken, 1.0), "start deploy#2");
}

#[test]
fn a_superseded_run_ends_like_an_interrupted_one() {
    let mut run = Run::new(vec![node("deploy", &[]), grouped("other", &[]), node("smoke", &[0])], 2);
    assert_eq!(run.start(), "queue other, start deploy#1");
    assert_eq!(
        run.send(Input::Superseded("9".to_owned()), 1.0),
        "stopping: superseded by run 9, stop deploy#1, settle other#0 blocked(Stopping) 0ns, settle smoke#0 blocked(Stopping) 0ns"
    );
    assert_eq!(run.send(Input::Superseded("10".to_owned()), 1.5), "", "once is enough");
    assert_eq!(run.send(Input::Signal(Signal::Interrupt), 2.0), "kill deploy#1");
    assert_eq!(run.fail("deploy", 3.0), "settle deploy#1 cancelled(superseded by run 9; it did) 3s, done Interrupted");
}
