use event::FailureKind;

use super::*;
use crate::graph::Node;

fn graph(needs: &[(&str, &[StageIndex])]) -> Graph {
    let nodes = needs.iter().map(|(name, needs)| Node { needs: needs.to_vec(), ..Node::new(name) });
    Graph::new(nodes.collect(), None).unwrap()
}

fn passed() -> Option<Outcome> {
    Some(Outcome::Passed { summary: String::new() })
}

fn failed(soft: bool) -> Option<Outcome> {
    Some(Outcome::Failed { kind: FailureKind::TimedOut, message: String::new(), soft, denial: None })
}

fn blocked(why: Blocked) -> Option<Outcome> {
    Some(Outcome::Blocked { why })
}

fn skipped(why: Blocked) -> Option<Outcome> {
    Some(Outcome::Skipped { why })
}

fn cancelled() -> Option<Outcome> {
    Some(Outcome::Cancelled { message: String::new() })
}

/// The names of what is run again, without and with `--failed`.
fn again(graph: &Graph, outcomes: &[Option<Outcome>]) -> [String; 2] {
    [false, true].map(|failed| {
        let again = to_run_again(graph, outcomes, failed);
        let names = (0..graph.len()).filter(|&stage| again[stage]).map(|stage| graph.node(stage).name.to_string());
        names.collect::<Vec<_>>().join(" ")
    })
}

#[test]
fn nothing_of_a_run_that_passed() {
    let graph = graph(&[("lint", &[]), ("test", &[]), ("deploy", &[0, 1])]);
    let outcomes = [passed(), skipped(Blocked::When("false".to_owned())), passed()];
    assert_eq!(again(&graph, &outcomes), ["", ""]);
}

#[test]
fn what_failed_and_what_was_blocked_by_it_with_failed_only() {
    let graph = graph(&[("lint", &[]), ("test", &[]), ("image", &[1]), ("deploy", &[2]), ("docs", &[0])]);
    let need = |stage: &str| blocked(Blocked::Need(StageRef::new(stage)));
    let outcomes = [passed(), failed(false), need("test"), need("image"), passed()];
    assert_eq!(again(&graph, &outcomes), ["", "test image deploy"]);
}

#[test]
fn a_soft_failure_is_run_again_with_all_that_went_on_after_it() {
    let graph = graph(&[("audit", &[]), ("image", &[0]), ("deploy", &[1])]);
    assert_eq!(again(&graph, &[failed(true), passed(), passed()]), ["", "audit image deploy"]);
}

#[test]
fn rollbacks_and_notifications_follow_what_they_are_about() {
    let graph = graph(&[("deploy", &[]), ("rollback", &[0]), ("notify", &[0, 1])]);
    assert_eq!(again(&graph, &[failed(false), passed(), passed()]), ["", "deploy rollback notify"]);
    let calm = [passed(), skipped(Blocked::NothingFailed), failed(false)];
    assert_eq!(again(&graph, &calm), ["", "notify"]);
}

#[test]
fn what_was_stopped_in_any_case() {
    let graph = graph(&[("test", &[]), ("lint", &[]), ("image", &[0]), ("notify", &[0, 1]), ("docs", &[])]);
    let outcomes = [cancelled(), failed(false), blocked(Blocked::Stopping), passed(), passed()];
    assert_eq!(again(&graph, &outcomes), ["test image notify", "test lint image notify"]);
}

#[test]
fn needs_any_is_a_need_too() {
    let nodes = vec![Node::new("linux"), Node::new("mac"), Node { needs_any: vec![0, 1], ..Node::new("publish") }];
    let graph = Graph::new(nodes, None).unwrap();
    assert_eq!(again(&graph, &[passed(), failed(false), passed()]), ["", "mac publish"]);
    assert_eq!(again(&graph, &[failed(false), failed(false), blocked(Blocked::NoneOf)]), ["", "linux mac publish"]);
}

#[test]
fn what_was_left_out_stays_so_and_passes_nothing_on() {
    let graph = graph(&[("test", &[]), ("image", &[0]), ("deploy", &[1])]);
    assert_eq!(again(&graph, &[failed(false), skipped(Blocked::NotSelected), passed()]), ["", "test"]);
}

#[test]
fn what_is_not_settled_goes_on_by_itself() {
    let graph = graph(&[("test", &[]), ("deploy", &[0])]);
    assert_eq!(again(&graph, &[None, None]), ["", ""]);
    assert_eq!(again(&graph, &[failed(false), None]), ["", "test"]);
}
