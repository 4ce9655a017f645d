//! Stages that wait for people: approved, rejected, too late, and across the end of the runner.

use std::time::{Duration, Instant};

use end_to_end::runs::{print, stage};
use end_to_end::{Finished, Project};

use crate::RUNNER;

/// `test`, and `deploy` into an environment that asks for this approval.
fn project(approval: &str) -> Project {
    let project = Project::new(RUNNER).staged(&[
        stage("test", "", &[&print("tested")]),
        stage("deploy", "needs = [\"test\"]\nenvironment = \"production\"", &[&print("deployed")]),
    ]);
    let text = project.read("pipeline.toml");
    project.write("pipeline.toml", format!("{text}\n[environment.production]\napproval = {approval}\n"));
    project
}

fn say(project: &Project, verb: &str, arguments: &[&str]) -> Finished {
    project.run(&[&[verb, &*project.the_run(), "deploy"], arguments].concat())
}

#[test]
fn two_people_are_two() {
    let project = project("{ count = 2, timeout = \"1h\" }");
    let running = project.begin();
    running.wait_until("approval-waiting");
    let first = say(&project, "approve", &["--as", "anna"]).expect(0);
    assert!(first.stdout.starts_with("approved: `deploy` of run ") && first.stdout.contains("by anna"), "{}", first.stdout);
    running.wait_until("\"given\":1");
    say(&project, "approve", &["--as", "anna", "--note", "really"]).expect(0);
    running.wait_until("really");
    // time enough to go on by mistake
    std::thread::sleep(Duration::from_millis(700));
    say(&project, "approve", &["--as", "ben", "--note", "go ahead"]).expect(0);
    let told = running.finish().expect(0).told();
    assert!(told.log("deploy").contains("deployed"));
    let given: Vec<(String, String)> =
        told.all("approval-given").map(|event| (event["by"].to_string(), event["note"].to_string())).collect();
    let wanted = [("anna", ""), ("anna", "really"), ("ben", "go ahead")];
    assert_eq!(given, wanted.map(|(by, note)| (format!("{by:?}"), format!("{note:?}"))));
    let counts: Vec<u64> = told.all("approval-waiting").filter_map(|event| event["given"].as_u64()).collect();
    assert_eq!(counts.iter().max(), Some(&1), "the same name counts once: {counts:?}");
    assert!(told.at("stage-started", "deploy") > told.all("approval-given").last().and_then(|event| event["at"].as_u64()));
}

#[test]
fn a_rejection_fails_the_stage_with_its_note_and_can_be_asked_about_again() {
    let project = project("true");
    let running = project.begin();
    running.wait_until("approval-waiting");
    say(&project, "reject", &["--as", "carla", "--note", "not on a Friday"]).expect(0).says("rejected: `deploy`");
    let told = running.finish().expect(1).told();
    let ended = told.ended("deploy");
    assert_eq!((ended.kind.as_str(), ended.message.as_str()), ("rejected", "rejected by carla: not on a Friday"));
    assert_eq!(told.started("deploy"), [] as [u64; 0]);
    assert_eq!(told.verdict(), "failed");

    // what was said about it before counts no more
    let running = project.start(&["resume", "--failed", "--format", "json"]);
    running.wait_until("approval-waiting");
    std::thread::sleep(Duration::from_millis(700));
    say(&project, "approve", &["--as", "carla"]).expect(0);
    let told = running.finish().expect(0).told();
    assert_eq!((told.started("test"), told.started("deploy")), (vec![], vec![1]));
}

#[test]
fn its_time_passes() {
    let project = project("{ count = 2, timeout = \"1500ms\" }");
    let running = project.begin();
    running.wait_until("approval-waiting");
    say(&project, "approve", &["--as", "anna"]).expect(0);
    let told = running.finish().expect(1).told();
    let ended = told.ended("deploy");
    assert_eq!(ended.kind, "rejected");
    assert_eq!(ended.message, "its approval was not given within 1s 500ms: 1 of 2");
}

#[test]
fn its_time_passes_while_no_runner_runs() {
    let project = project("{ timeout = \"1s\" }");
    project.run(&["exec", "--no-wait"]).expect(8);
    std::thread::sleep(Duration::from_millis(1200));
    let told = project.resume(&[]).expect(1).told();
    assert_eq!(told.ended("deploy").message, "its approval was not given within 1s: 0 of 1");
    assert_eq!(told.started("deploy"), [] as [u64; 0]);
}

/// What comes after the time has passed is too late, whether or not a runner was there to notice.
#[test]
fn a_late_approval_is_none() {
    let project = project("{ timeout = \"1s\" }");
    project.run(&["exec", "--no-wait"]).expect(8);
    std::thread::sleep(Duration::from_millis(1200));
    say(&project, "approve", &["--as", "anna"]).expect(2).says("the time for it has passed").says("runner resume");
    let told = project.resume(&[]).expect(1).told();
    assert_eq!(told.ended("deploy").kind, "rejected");
    assert_eq!(told.started("deploy"), [] as [u64; 0]);
}

#[test]
fn without_waiting_it_ends_and_is_resumed() {
    let project = project("{ count = 2 }");
    let waiting = project.run(&["exec", "--no-wait", "--format", "plain"]).expect(8);
    waiting.says("waiting for approval: production (0 of 2)").says(&format!("runner approve {} deploy", project.the_run()));
    // still too few: it ends again, and says how far it is
    say(&project, "approve", &["--as", "anna"]).expect(0).says(&format!("go on with `runner resume {}`", project.the_run()));
    project.run(&["resume", "--no-wait", "--format", "plain"]).expect(8).says("(1 of 2)");
    say(&project, "approve", &["--as", "ben"]).expect(0);
    let told = project.resume(&[]).expect(0).told();
    assert_eq!((told.started("test"), told.started("deploy")), (vec![], vec![1]));
}

/// A run that is killed while it waits still waits when it is resumed, until the time that was set at first.
#[test]
fn a_killed_run_waits_on_until_the_same_time() {
    let project = project("{ timeout = \"4s\" }");
    let running = project.begin();
    running.wait_until("approval-waiting");
    let began = Instant::now();
    running.kill().expect(137);
    std::thread::sleep(Duration::from_millis(1500));
    let resumed = project.start(&["resume", "--format", "json"]);
    resumed.wait_until("approval-waiting");
    let told = resumed.finish().expect(1).told();
    let waited = began.elapsed();
    assert!((Duration::from_millis(3800)..Duration::from_secs(5)).contains(&waited), "it waited {waited:?} in all");
    assert_eq!(told.ended("deploy").kind, "rejected");
}

#[test]
fn a_killed_run_takes_what_was_said_meanwhile() {
    let project = project("{ timeout = \"1h\" }");
    project.killed_when("approval-waiting");
    say(&project, "approve", &["--as", "anna"]).expect(0);
    let told = project.resume(&[]).expect(0).told();
    assert_eq!(told.started("deploy"), [1]);
}

#[test]
fn an_interrupt_ends_the_wait() {
    let project = project("true");
    let running = project.begin();
    running.wait_until("approval-waiting");
    running.signal("INT");
    let told = running.finish().expect(130).told();
    assert_eq!(told.ended("deploy").outcome, "blocked");
    // it asks once more
    let running = project.start(&["resume", "--format", "json"]);
    running.wait_until("approval-waiting");
    say(&project, "approve", &[]).expect(0);
    let told = running.finish().expect(0).told();
    assert_eq!((told.started("test"), told.started("deploy")), (vec![], vec![1]));
}

#[test]
fn only_what_waits_can_be_approved() {
    let project = project("true");
    project.run(&["approve", "latest", "deploy"]).expect(2).says("there are no runs");
    let running = project.begin();
    running.wait_until("approval-waiting");
    let run = project.the_run();
    project.run(&["approve", &run, "test"]).expect(2).says("`test`").says("does not wait for approval").says("waiting: deploy");
    project.run(&["approve", &run, "nonsense"]).expect(2).says("waiting: deploy");
    project.run(&["approve", "2020", "deploy"]).expect(2).says("there is no run `2020`");
    say(&project, "approve", &["--as", "  "]).expect(2).says("`--as` is empty");
    say(&project, "approve", &["--as", "anna"]).expect(0);
    running.finish().expect(0);
    say(&project, "approve", &["--as", "ben"]).expect(2).says("does not wait for approval").says("nothing waits in this run");
}

/// Other stages go on while one waits, and its wait takes no job.
#[test]
fn the_rest_goes_on() {
    let project = Project::new(RUNNER).staged(&[
        stage("deploy", "environment = \"production\"", &[]),
        stage("other", "", &[]),
        stage("after", "needs = [\"other\"]", &[&print("all the rest is done")]),
    ]);
    let text = project.read("pipeline.toml");
    project.write("pipeline.toml", format!("{text}\n[environment.production]\napproval = true\n"));
    let running = project.start(&["exec", "--format", "json", "--jobs", "1"]);
    running.wait_until("all the rest is done");
    say(&project, "approve", &[]).expect(0);
    running.finish().expect(0);
}
