//! Runs that go on where another session ended.

use super::*;
use crate::{Approval, Past, PastError, Was};

fn passed() -> Outcome {
    Outcome::Passed { summary: String::new() }
}

fn settled(outcome: Outcome) -> Past {
    Was::Settled { outcome }.into()
}

fn resumed(nodes: Vec<Node>, timeout: Option<Duration>, options: Options, past: Vec<Past>, already: u64) -> Run {
    let graph = Graph::new(nodes, timeout).unwrap();
    Run(Schedule::resumed(graph, options, past, Duration::from_secs(already)).unwrap())
}

fn resume(nodes: Vec<Node>, past: Vec<Past>) -> Run {
    resumed(nodes, None, options(4, false), past, 0)
}

#[test]
fn what_is_settled_stays_so_and_the_rest_goes_on() {
    let nodes = vec![node("lint", &[]), node("test", &[]), node("image", &[0, 1]), node("deploy", &[2])];
    let past = vec![settled(passed()), Past::default(), Past::default(), Past::default()];
    let mut run = resume(nodes, past);
    assert_eq!(run.0.unsettled(), 3);
    assert_eq!(run.start(), "start test#1");
    assert_eq!(run.pass("test", 1.0), "settle test#1 passed 1s, start image#1");
    run.pass("image", 2.0);
    assert_eq!(run.pass("deploy", 3.0), "settle deploy#1 passed 1s, done Passed");
}

#[test]
fn a_run_that_was_over_is_over_with_the_same_verdict() {
    let nodes = || vec![node("lint", &[]), node("test", &[])];
    assert_eq!(resume(nodes(), vec![settled(passed()), settled(passed())]).start(), "done Passed");
    assert_eq!(resume(nodes(), vec![settled(passed()), settled(failed(FailureKind::Failed))]).start(), "done Failed");
    assert_eq!(resume(nodes(), vec![settled(failed(FailureKind::Denied)), settled(passed())]).start(), "done Denied");
}

#[test]
fn earlier_failures_block_and_call_for_what_they_would_have() {
    let nodes = vec![node("test", &[]), node("image", &[0]), Node { run_on: RunOn::Failure, ..node("rollback", &[0]) }];
    let mut run = resume(nodes, vec![settled(failed(FailureKind::Failed)), Past::default(), Past::default()]);
    assert_eq!(run.start(), "settle image#0 blocked(Need(\"test\")) 0ns, start rollback#1");
    assert_eq!(run.pass("rollback", 1.0), "settle rollback#1 passed 1s, done Failed");
}

#[test]
fn a_cut_attempt_is_started_again_under_its_number_unasked() {
    let deploy = Node {
        condition: Some("true".into()),
        approval: Some(Approval { count: 1, timeout: None }),
        retries: fixed(2, 5),
        timeout: Some(Duration::from_secs(60)),
        ..node("deploy", &[0])
    };
    let cut = Past { took: Duration::from_secs(30), ..Was::Cut { attempt: 2 }.into() };
    let mut run = resume(vec![node("test", &[]), deploy], vec![settled(passed()), cut]);
    assert_eq!(run.start(), "start deploy#2");
    assert_eq!(run.wake(), Some(60.0));
    assert_eq!(run.fail("deploy", 1.0), "retry deploy#2 Failed in 5s");
    assert_eq!(run.tick(6.0), "start deploy#3");
    assert_eq!(run.fail("deploy", 7.0), "settle deploy#3 Failed 37s, done Failed", "with what it took before");
}

#[test]
fn an_attempt_that_is_over_is_followed_by_the_next_or_judged() {
    let flaky = || Node { retries: fixed(1, 5), ..node("flaky", &[]) };
    let again = Was::Again { attempt: 1, outcome: failed(FailureKind::Failed) };
    let mut run = resume(vec![flaky()], vec![again.into()]);
    assert_eq!(run.start(), "start flaky#2");
    assert_eq!(run.fail("flaky", 1.0), "settle flaky#2 Failed 1s, done Failed");

    let ended = |attempt, outcome| vec![Was::Ended { attempt, outcome }.into()];
    assert_eq!(resume(vec![flaky()], ended(1, failed(FailureKind::Failed))).start(), "retry flaky#1 Failed in 5s");
    assert_eq!(resume(vec![flaky()], ended(2, failed(FailureKind::Failed))).start(), "settle flaky#2 Failed 0ns, done Failed");
    assert_eq!(resume(vec![flaky()], ended(1, passed())).start(), "settle flaky#1 passed 0ns, done Passed");
}

#[test]
fn what_was_said_about_a_stage_is_not_asked_again() {
    let guarded = || vec![Node { approval: Some(Approval { count: 1, timeout: None }), ..node("deploy", &[]) }];
    let said = |result| vec![Past { approval: Some(result), ..Past::default() }];
    let now = |past| resumed(guarded(), None, Options { wait: false, ..options(1, false) }, past, 0).start();
    assert_eq!(now(said(ApprovalResult::Approved)), "start deploy#1");
    assert_eq!(now(said(ApprovalResult::Rejected("no".to_owned()))), "settle deploy#0 Rejected 0ns, done Failed");
    assert_eq!(now(vec![Past::default()]), "ask deploy, done Waiting");
}

#[test]
fn a_reset_stage_is_numbered_on_and_has_all_its_retries_again() {
    let deploy = Node { retries: fixed(1, 5), ..node("deploy", &[0]) };
    let reset = Past { spent: 2, ..Past::default() };
    let mut run = resume(vec![node("test", &[]), deploy.clone()], vec![settled(passed()), reset.clone()]);
    assert_eq!(run.start(), "start deploy#3");
    assert_eq!(run.fail("deploy", 1.0), "retry deploy#3 Failed in 5s");
    assert_eq!(run.tick(6.0), "start deploy#4");
    assert_eq!(run.fail("deploy", 7.0), "settle deploy#4 Failed 7s, done Failed");

    // Cut off in its second life: that one's first attempt.
    let cut = Past { spent: 2, ..Was::Cut { attempt: 3 }.into() };
    let mut run = resume(vec![node("test", &[]), deploy.clone()], vec![settled(passed()), cut]);
    assert_eq!(run.start(), "start deploy#3");
    assert_eq!(run.fail("deploy", 1.0), "retry deploy#3 Failed in 5s");

    let mut run = resume(vec![node("test", &[]), deploy], vec![Past { spent: 1, ..Past::default() }, reset]);
    assert_eq!(run.start(), "start test#2");
    let blocked = "settle test#2 Failed 1s, settle deploy#0 blocked(Need(\"test\")) 0ns, done Failed";
    assert_eq!(run.fail("test", 1.0), blocked, "in this life it never started");
}

#[test]
fn the_time_that_earlier_sessions_used_counts_against_the_runs_timeout() {
    let nodes = || vec![node("test", &[]), node("lint", &[])];
    let past = || vec![Was::Cut { attempt: 1 }.into(), Past::default()];
    let mut run = resumed(nodes(), Some(Duration::from_secs(100)), options(1, false), past(), 70);
    assert_eq!(run.start(), "start test#1");
    assert_eq!(run.wake(), Some(30.0));
    assert_eq!(run.0.used(Duration::from_secs(5)), Duration::from_secs(75));
    let mut run = resumed(nodes(), Some(Duration::from_secs(100)), options(1, false), past(), 100);
    assert_eq!(
        run.start(),
        "stopping: the run's timeout of 1m 40s passed, settle test#1 TimedOut 0ns, settle lint#0 blocked(Stopping) 0ns, done TimedOut"
    );
}

#[test]
fn a_signal_before_a_cut_attempt_is_started_again_cancels_it() {
    let mut run = resumed(
        vec![node("a", &[]), node("b", &[]), node("c", &[1])],
        None,
        options(1, false),
        vec![Was::Cut { attempt: 1 }.into(), Was::Cut { attempt: 1 }.into(), Past::default()],
        0,
    );
    assert_eq!(run.start(), "start b#1");
    assert_eq!(
        run.send(Input::Signal(Signal::Interrupt), 1.0),
        "stopping: interrupted, settle a#1 cancelled(interrupted) 1s, stop b#1, settle c#0 blocked(Stopping) 0ns"
    );
}

#[test]
fn a_run_that_was_failing_fast_goes_on_doing_so() {
    let nodes = vec![node("lint", &[]), node("test", &[]), node("image", &[1]), Node { run_on: RunOn::Failure, ..node("rollback", &[0]) }];
    let past = vec![settled(failed(FailureKind::Failed)), Was::Cut { attempt: 1 }.into(), Past::default(), Past::default()];
    let mut run = resumed(nodes, None, options(2, true), past, 0);
    assert_eq!(
        run.start(),
        "stopping: stage `lint` failed and the run is to fail fast, \
         settle test#1 cancelled(stage `lint` failed and the run is to fail fast) 0ns, settle image#0 blocked(Stopping) 0ns, start rollback#1"
    );
}

#[test]
fn a_past_of_another_graph_is_refused() {
    let refused = |past: Vec<Past>| {
        let graph = Graph::new(vec![node("test", &[]), node("deploy", &[0])], None).unwrap();
        Schedule::resumed(graph, options(1, false), past, Duration::ZERO).unwrap_err()
    };
    assert_eq!(refused(vec![Past::default()]), PastError::Length { found: 1, wanted: 2 });
    let early = refused(vec![Past::default(), Was::Cut { attempt: 1 }.into()]);
    assert_eq!(early.to_string(), "the record says that stage `deploy` began before `test`, which it needs, had ended: start a new run");
    let zero = refused(vec![Was::Cut { attempt: 0 }.into(), Past::default()]);
    assert_eq!(zero.to_string(), "the record says that attempt 0 of stage `test` began, and attempts begin with 1: start a new run");
    let spent = refused(vec![Past { spent: 2, ..Was::Cut { attempt: 2 }.into() }, Past::default()]);
    assert!(matches!(spent, PastError::Attempt { attempt: 2, first: 3, .. }));
}
