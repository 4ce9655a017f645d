//! Approvals, and effects in doubt.

use super::*;
use crate::Approval;

fn guarded(name: &str, needs: &[StageIndex]) -> Node {
    Node { approval: Some(Approval { count: 1, timeout: None }), ..node(name, needs) }
}

fn no_wait(jobs: usize) -> Options {
    Options { wait: false, ..options(jobs, false) }
}

#[test]
fn a_stage_asks_when_it_would_start_and_holds_no_job_meanwhile() {
    let mut run = Run::new(vec![node("test", &[]), guarded("deploy", &[0]), node("docs", &[0])], 1);
    run.start();
    assert_eq!(run.pass("test", 1.0), "settle test#1 passed 1s, ask deploy, start docs#1");
    assert_eq!(run.approve("deploy", 2.0), "", "the one job is taken");
    assert_eq!(run.pass("docs", 3.0), "settle docs#1 passed 2s, start deploy#1");
    assert_eq!(run.pass("deploy", 5.0), "settle deploy#1 passed 2s, done Passed");
}

#[test]
fn a_rejected_stage_fails_without_a_retry_and_blocks_what_needs_it() {
    let nodes = || vec![Node { retries: fixed(3, 1), ..guarded("deploy", &[]) }, node("smoke", &[0])];
    let mut run = Run::new(nodes(), 1);
    assert_eq!(run.start(), "ask deploy");
    assert_eq!(run.reject("deploy", 60.0), "settle deploy#0 Rejected 0ns, settle smoke#0 blocked(Need(\"deploy\")) 0ns, done Failed");
    assert_eq!(run.approve("deploy", 61.0), "", "too late");

    let mut run = Run::new(vec![Node { soft_fail: true, ..guarded("deploy", &[]) }, node("smoke", &[0])], 1);
    run.start();
    assert_eq!(run.reject("deploy", 1.0), "settle deploy#0 soft Rejected 0ns, start smoke#1");
}

#[test]
fn the_condition_comes_before_the_question_and_a_retry_asks_no_more() {
    let deploy = Node { condition: Some("true".into()), retries: fixed(1, 5), ..guarded("deploy", &[]) };
    let mut run = Run::new(vec![deploy.clone()], 1);
    assert_eq!(run.start(), "evaluate deploy");
    assert_eq!(run.approve("deploy", 0.5), "", "it has not asked");
    assert_eq!(run.answer("deploy", ConditionResult::True, 1.0), "ask deploy");
    assert_eq!(run.approve("deploy", 2.0), "start deploy#1");
    assert_eq!(run.approve("deploy", 2.5), "", "twice is once");
    assert_eq!(run.fail("deploy", 3.0), "retry deploy#1 Failed in 5s");
    assert_eq!(run.tick(8.0), "start deploy#2");

    let mut run = Run::new(vec![deploy], 1);
    run.start();
    assert_eq!(run.answer("deploy", ConditionResult::False, 1.0), "settle deploy#0 skipped(When(\"true\")) 0ns, done Passed");
}

#[test]
fn a_blocked_stage_is_not_asked_for() {
    let mut run = Run::new(vec![node("test", &[]), guarded("deploy", &[0])], 1);
    run.start();
    assert_eq!(run.fail("test", 1.0), "settle test#1 Failed 1s, settle deploy#0 blocked(Need(\"test\")) 0ns, done Failed");
}

#[test]
fn without_waiting_the_run_ends_when_only_approvals_are_left() {
    let notify = Node { run_on: RunOn::Always, ..node("notify", &[1]) };
    let nodes = || vec![node("test", &[]), guarded("deploy", &[]), notify.clone(), Node { retries: fixed(1, 5), ..node("lint", &[]) }];
    let mut run = Run::with(nodes(), None, no_wait(4));
    assert_eq!(run.start(), "ask deploy, start test#1, start lint#1");
    assert_eq!(run.fail("test", 1.0), "settle test#1 Failed 1s");
    assert_eq!(run.fail("lint", 2.0), "retry lint#1 Failed in 5s", "a delay is something left to do");
    assert_eq!(run.tick(7.0), "start lint#2");
    assert_eq!(run.pass("lint", 8.0), "settle lint#2 passed 8s, done Waiting", "whatever else failed");
    assert_eq!(run.0.unsettled(), 2);
    assert_eq!(run.wake(), None);
    assert_eq!(run.approve("deploy", 9.0), "", "the run is over; the next session is told");

    let mut run = Run::with(vec![guarded("deploy", &[])], None, no_wait(1));
    assert_eq!(run.start(), "ask deploy, done Waiting");
}

#[test]
fn an_approval_that_comes_in_time_keeps_the_run_going_without_waiting() {
    let mut run = Run::with(vec![node("test", &[]), guarded("deploy", &[])], None, no_wait(4));
    assert_eq!(run.start(), "ask deploy, start test#1");
    assert_eq!(run.approve("deploy", 1.0), "start deploy#1");
    run.pass("test", 2.0);
    assert_eq!(run.pass("deploy", 3.0), "settle deploy#1 passed 2s, done Passed");
}

#[test]
fn signals_and_fail_fast_block_what_waits_for_its_approval() {
    let mut run = Run::new(vec![guarded("deploy", &[]), node("smoke", &[0])], 1);
    run.start();
    assert_eq!(
        run.send(Input::Signal(Signal::Interrupt), 1.0),
        "stopping: interrupted, settle deploy#0 blocked(Stopping) 0ns, settle smoke#0 blocked(Stopping) 0ns, done Interrupted"
    );

    let rollback = Node { run_on: RunOn::Failure, ..guarded("rollback", &[1]) };
    let mut run = Run::with(vec![guarded("deploy", &[]), node("test", &[]), rollback], None, options(2, true));
    run.start();
    assert_eq!(
        run.fail("test", 1.0),
        "settle test#1 Failed 1s, ask rollback, \
         stopping: stage `test` failed and the run is to fail fast, settle deploy#0 blocked(Stopping) 0ns"
    );
    assert_eq!(run.approve("rollback", 2.0), "start rollback#1");
}

#[test]
fn waiting_for_nothing_but_approvals_does_not_use_up_the_runs_time() {
    let nodes = vec![node("test", &[]), guarded("deploy", &[0])];
    let mut run = Run::with(nodes, Some(Duration::from_secs(100)), options(1, false));
    run.start();
    assert_eq!(run.wake(), Some(100.0));
    assert_eq!(run.pass("test", 40.0), "settle test#1 passed 40s, ask deploy");
    assert_eq!(run.wake(), None, "it may take for ever");
    assert_eq!(run.tick(5_000.0), "");
    assert_eq!(run.0.used(Duration::from_secs(6_000)), Duration::from_secs(40));
    assert_eq!(run.approve("deploy", 10_040.0), "start deploy#1");
    assert_eq!(run.wake(), Some(10_100.0), "60 seconds are left");
    assert_eq!(run.0.used(Duration::from_secs(10_050)), Duration::from_secs(50));
    assert_eq!(run.tick(10_100.0), "stopping: the run's timeout of 1m 40s passed, stop deploy#1");
}

#[test]
fn while_other_stages_run_the_runs_time_goes_on_and_ends_the_wait() {
    let nodes = vec![node("test", &[]), guarded("deploy", &[])];
    let mut run = Run::with(nodes, Some(Duration::from_secs(100)), options(1, false));
    assert_eq!(run.start(), "ask deploy, start test#1");
    let stopped = "stopping: the run's timeout of 1m 40s passed, stop test#1, settle deploy#0 blocked(Stopping) 0ns";
    assert_eq!(run.tick(100.0), stopped);
}

#[test]
fn a_suspended_stage_lets_the_others_end_and_starts_nothing() {
    let nodes = vec![
        node("deploy", &[]),
        node("lint", &[]),
        Node { retries: fixed(1, 1), ..node("test", &[]) },
        node("image", &[1]),
        Node { run_on: RunOn::Always, ..node("notify", &[0]) },
        node("docs", &[]),
    ];
    let mut run = Run::new(nodes, 3);
    assert_eq!(run.start(), "start deploy#1, start lint#1, start test#1");
    assert_eq!(run.suspend("deploy", 1.0), "");
    assert_eq!(run.pass("lint", 2.0), "settle lint#1 passed 2s");
    assert_eq!(run.fail("test", 3.0), "retry test#1 Failed in 1s, done Waiting", "its retry is for the next session");
    assert_eq!(run.0.unsettled(), 5);
    assert_eq!(run.wake(), None);
}

#[test]
fn a_signal_does_not_settle_what_is_suspended() {
    let mut run = Run::new(vec![node("deploy", &[]), node("lint", &[]), node("smoke", &[0])], 2);
    run.start();
    run.suspend("deploy", 1.0);
    assert_eq!(run.send(Input::Signal(Signal::Interrupt), 2.0), "stopping: interrupted, stop lint#1, settle smoke#0 blocked(Stopping) 0ns");
    assert_eq!(run.fail("lint", 3.0), "settle lint#1 cancelled(interrupted; it did) 3s, done Waiting");
}

#[test]
fn an_exclusive_stage_that_is_suspended_is_alone_no_more() {
    let mut run = Run::new(vec![Node { exclusive: true, ..node("format", &[]) }], 2);
    run.start();
    assert_eq!(run.suspend("format", 1.0), "done Waiting");
}
