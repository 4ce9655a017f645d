//! What a run is for: events, trust, what changed, a pipeline from another revision, and runs that take turns.

use std::time::Duration;

use end_to_end::repository::{commit, git, pull_request};
use end_to_end::runs::{file, print, sleep, stage};
use end_to_end::{Finished, Project};
use serde_json::json;

use crate::RUNNER;

/// A repository on `main` with a pipeline of these stages, and more of its text.
fn repository(more: &str, stages: &[String]) -> Project {
    let project = Project::new(RUNNER).staged(stages);
    let text = project.read("pipeline.toml");
    project.write("pipeline.toml", text.replace("name = \"durable\"\n", &format!("name = \"durable\"\n{more}\n")));
    git(&project, &["init", "-q", "-b", "main"]);
    commit(&project, "first");
    project
}

#[test]
fn an_event_that_the_file_does_not_name_is_nothing_to_do() {
    let on = "[on]\npush = { branches = [\"main\"] }\npull-request = { into = [\"main\"] }";
    let project = repository(on, &[stage("a", "", &[])]);
    let nothing = |arguments: &[&str], said: &str| {
        let finished = project.run(&[&["exec", "--format", "plain"], arguments].concat()).expect(0);
        assert_eq!(finished.stdout, format!("nothing to do: {said}\n"));
    };
    nothing(&["--event", "push", "--ref", "feature/x"], "feature/x (push)");
    nothing(&["--event", "push", "--ref", "refs/tags/v1"], "tag v1 (push)");
    nothing(&["--event", "pull-request", "--base", "develop"], "pull request into develop (pull-request)");
    nothing(&["--event", "schedule"], "main (schedule)");
    let told = project.run(&["exec", "--format", "json", "--event", "manual"]).expect(0).events();
    assert_eq!((&told[1]["event"], &told[1]["subject"], told.len()), (&json!("nothing-to-do"), &json!("main (manual)"), 2));
    assert_eq!(project.runs(), [""; 0], "no run was made");
    project.run(&["plan", "--event", "push", "--ref", "feature/x"]).expect(0).says("nothing to do: feature/x (push)");
    // what fits runs, and so does what a person starts by hand
    project.run(&["exec", "--event", "push"]).expect(0);
    project.run(&["exec", "--event", "pull-request", "--base", "main"]).expect(0);
    project.exec().expect(0);
    project.run(&["exec", "--event", "merge"]).expect(2).says("possible values: push, pull-request, schedule, manual");
    project.run(&["exec", "--rev", "nowhere"]).expect(2).says("--rev nowhere: `nowhere` is no revision of this repository");
}

#[test]
fn conditions_know_the_event_and_its_trust() {
    let when = |name: &str, condition: &str| stage(name, &format!("when = '{condition}'"), &[]);
    let project = repository(
        "",
        &[
            when("push", "event == \"push\""),
            when("fork", "trust == \"fork\""),
            when("own", "trust == \"pull-request\""),
            when("local", "trust == \"local\""),
            when("into", "git.base == \"main\""),
        ],
    );
    let ran = |finished: Finished| {
        let told = finished.told();
        let passed = |name: &&str| told.ended(name).outcome == "passed";
        ["push", "fork", "own", "local", "into"].into_iter().filter(passed).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ran(project.begin().finish().expect(0)), "local");
    let push = project.run(&["exec", "--format", "json", "--event", "push"]).expect(0);
    assert_eq!(ran(push), "push");
    let project = pull_request(project, "acme/shop");
    assert_eq!(ran(project.begin().finish().expect(0)), "own into");
    let project = pull_request(project, "mallory/shop");
    assert_eq!(ran(project.begin().finish().expect(0)), "fork into");
    // the command line does not talk a server out of it
    let raised = project.run(&["exec", "--format", "json", "--event", "push", "--ref", "refs/heads/main"]).expect(0);
    assert_eq!(ran(raised), "push fork into");
    project.run(&["plan"]).expect(0).says("event   pull-request of pull request 7 into main, trust: fork");
}

#[test]
fn only_what_changed_is_looked_at_and_a_shallow_clone_says_why_it_looks_at_all() {
    let changed = |name: &str, glob: &str| stage(name, &format!("if-changed = [\"{glob}\"]"), &[]);
    let origin = repository("", &[changed("front", "frontend/**"), changed("back", "backend/**")]);
    git(&origin, &["checkout", "-q", "-b", "topic"]);
    origin.write("frontend/a.js", "1");
    commit(&origin, "change");
    let outcomes = |finished: Finished| {
        let told = finished.expect(0).told();
        let warnings: Vec<String> = told.all("warning").map(|warning| warning["message"].to_string()).collect();
        (format!("{} {}", told.ended("front").outcome, told.ended("back").outcome), warnings)
    };
    assert_eq!(outcomes(origin.begin().finish()), ("passed skipped".to_owned(), vec![]));
    let dirty = |finished: &Finished| finished.told().all("run-started").next().expect("it began")["git"]["dirty"].clone();
    assert_eq!(dirty(&origin.begin().finish()), json!(false));
    origin.write("backend/b.py", "2");
    let finished = origin.begin().finish();
    assert_eq!(dirty(&finished), json!(true));
    assert_eq!(outcomes(finished), ("passed passed".to_owned(), vec![]));
    origin.exec().expect(0).says("uncommitted changes");
    assert_eq!(outcomes(origin.run(&["exec", "--format", "json", "--base", "HEAD"])), ("skipped passed".to_owned(), vec![]));
    origin.write("list.txt", "frontend/x\n\n");
    assert_eq!(outcomes(origin.run(&["exec", "--format", "json", "--changed-from", "list.txt"])), ("passed skipped".to_owned(), vec![]));
    // nothing is asked for a plan, so everything counts there
    origin.run(&["plan", "--format", "json"]).expect(0).says("do not ask git");

    // a clone takes what is checked out there for the default branch
    git(&origin, &["checkout", "-q", "main"]);
    let clone = Project::new(RUNNER);
    let url = format!("file://{}", origin.path().display());
    git(&clone, &["clone", "-q", "--depth", "1", "--no-single-branch", "--branch", "topic", &url, "."]);
    let (outcome, warnings) = outcomes(clone.begin().finish());
    assert_eq!(outcome, "passed passed");
    assert_eq!(warnings.len(), 1, "once is enough: {warnings:?}");
    assert!(
        warnings[0].contains("every file counts as changed: the clone is shallow") && warnings[0].contains("fetch-depth: 0"),
        "{warnings:?}"
    );
}

/// What a pull request from a fork brings, with the pipeline of the base: its text, its includes, its plugins and its grants are those of the base.
#[test]
fn a_pull_request_from_a_fork_changes_nothing_of_what_may_happen() {
    let tries = [print("from the base"), file("write", "stolen.txt", ""), print("it ends")];
    let read = "grants.files = [{ path = \".\", access = \"read\" }]";
    let project = repository(
        "include = [\"ci/more.toml\"]",
        &[
            stage("check", read, &tries.each_ref().map(|one| one.as_str())),
            stage("deploy", "when = 'trust != \"fork\"'", &[&print("deployed")]),
        ],
    );
    project.write("ci/more.toml", format!("format = 1\n{}", stage("more", "", &[&print("more from the base")])));
    commit(&project, "included");
    let base = git(&project, &["rev-parse", "HEAD"]);

    git(&project, &["checkout", "-q", "-b", "evil"]);
    project.replace("pipeline.toml", "from the base", "from the fork");
    project.replace("pipeline.toml", "access = \"read\"", "access = \"write\"");
    project.replace("pipeline.toml", "trust != \"fork\"", "true");
    let text = project.read("pipeline.toml");
    project.write("pipeline.toml", format!("{text}\n{}", stage("extra", "workspace = \"shared\"", &[&print("extra from the fork")])));
    project.write("ci/more.toml", format!("format = 1\n{}", stage("more", "", &[&print("more from the fork")])));
    project.write("hostile.wasm", "not even a component");
    commit(&project, "evil");

    let project = pull_request(project, "mallory/shop");
    let plan = project.run(&["plan", "--pipeline-from", "main"]).expect(0);
    plan.says(&format!("from    main ({})", &base[..12])).says("trust: fork").never_says("extra").never_says("read and write");
    let finished = project.run(&["exec", "--format", "json", "--pipeline-from", "main"]);
    let told = finished.told();
    let trigger = &told.all("run-started").next().expect("it began")["trigger"];
    assert_eq!(trigger["trust"], "fork");
    assert_eq!(trigger["pipeline-from"], json!(format!("main ({})", &base[..12])));
    assert!(told.log("check").contains("from the base"), "{}", told.printed());
    assert!(told.log("more").starts_with("more from the base\n"), "{}", told.log("more"));
    assert!(!told.printed().contains("from the fork") && !told.printed().contains("\"extra\""), "{}", told.printed());
    assert!(!told.denials("check").is_empty(), "writing is still not granted: {}", told.printed());
    assert_eq!(told.ended("deploy").outcome, "skipped");
    assert!(!project.path().join("stolen.txt").exists());

    // without the flag its pipeline would count: that is what the flag is for
    project.run(&["check"]).expect(3).says("hostile.wasm");
    // and what is not there is refused, with where to look
    project
        .run(&["exec", "--pipeline-from", "nowhere"])
        .expect(2)
        .says("--pipeline-from nowhere: `nowhere` is no revision")
        .says("git fetch");
    project.run(&["check", "other.toml", "--pipeline-from", "main"]).expect(2).says("has no file `other.toml`").says("main (");
    let outside = Project::new(RUNNER);
    outside.run(&["check", "--pipeline-from", "main"]).expect(2).says("is in no git repository");
}

/// A run goes on with what it was started with: the same revision, the same event, the same changes.
#[test]
fn a_resumed_run_knows_what_it_is_for() {
    let project = repository(
        "",
        &[
            stage("slow", "", &[&print("it runs"), &sleep(1500)]),
            stage("push", "needs = [\"slow\"]\nwhen = 'event == \"push\" && git.tag == \"v1\"'", &[&print("released")]),
            stage("front", "needs = [\"slow\"]\nif-changed = [\"frontend/**\"]", &[]),
        ],
    );
    git(&project, &["checkout", "-q", "-b", "topic"]);
    project.write("hostile.wasm", "not even a component");
    commit(&project, "broken");
    let flags = ["--event", "push", "--ref", "refs/tags/v1", "--base", "main", "--pipeline-from", "main"];
    let running = project.start(&[&["exec", "--format", "json"], &flags[..]].concat());
    running.wait_until("it runs");
    running.kill().expect(137);
    git(&project, &["branch", "-m", "main", "elsewhere"]);
    project.write("frontend/a.js", "1");
    let told = project.resume(&[]).expect(0).told();
    assert!(told.log("push").starts_with("released\n"), "{}", told.log("push"));
    assert_eq!(told.ended("front").outcome, "skipped", "nothing of it had changed when the run began");
}

/// A project whose state is its own, and whose one stage takes turns.
fn takes_turns(on_busy: &str, millis: u64) -> Project {
    let lines = format!("concurrency = {{ group = \"deploy\", on-busy = \"{on_busy}\" }}");
    let project = Project::new(RUNNER).staged(&[stage("deploy", &lines, &[&print("it works"), &sleep(millis), &print("it is done")])]);
    let state = project.path().join("state").display().to_string();
    project.env("XDG_STATE_HOME", &state)
}

#[test]
fn two_runs_take_turns_and_a_killed_one_makes_way() {
    let project = takes_turns("queue", 1500);
    let one = project.begin();
    one.wait_until("it works");
    let two = project.begin();
    two.wait_until("group-waiting");
    std::thread::sleep(Duration::from_millis(400));
    let (one, two) = (one.finish().expect(0).told(), two.finish().expect(0).told());
    let ended = one.at("stage-finished", "deploy").expect("it ended");
    assert!(two.at("stage-started", "deploy").expect("it started") >= ended, "one after the other");
    let waiting = two.all("group-waiting").next().expect("it waited").clone();
    assert_eq!((&waiting["group"], &waiting["stage"], &waiting["holder-stage"]), (&json!("deploy"), &json!("deploy"), &json!("deploy")));
    assert_eq!(waiting["holder"], json!(project.runs()[0]));

    let project = takes_turns("queue", 60_000);
    let holder = project.start(&["exec", "--format", "json"]);
    holder.wait_until("it works");
    let waiter = project.start(&["exec", "--format", "plain"]);
    waiter.wait_until("waiting for group deploy, held by stage deploy of run");
    holder.kill().expect(137);
    waiter.wait_until("[deploy] started");
    waiter.signal("INT");
    waiter.finish().expect(130);
}

/// Two checkouts of one repository are one repository.
#[test]
fn checkouts_of_one_repository_share_its_groups() {
    let one = takes_turns("queue", 1500);
    let state = one.path().join("state").display().to_string();
    let two = takes_turns("fail", 0).without("XDG_STATE_HOME").env("XDG_STATE_HOME", &state);
    for (project, url) in [(&one, "git@git.example:acme/shop.git"), (&two, "https://git.example/acme/shop")] {
        git(project, &["init", "-q", "-b", "main"]);
        git(project, &["remote", "add", "origin", url]);
    }
    let running = one.begin();
    running.wait_until("it works");
    let refused = two.begin().finish().expect(1).told();
    let ended = refused.ended("deploy");
    assert_eq!(ended.kind, "busy");
    assert!(
        ended.message.starts_with(&format!("the group `deploy` is held by stage `deploy` of run {}", one.the_run())),
        "{}",
        ended.message
    );
    git(&two, &["remote", "set-url", "origin", "https://git.example/mallory/shop"]);
    two.begin().finish().expect(0);
    running.finish().expect(0);
}

#[test]
fn a_newer_run_has_the_older_one_stopped() {
    let project = takes_turns("cancel-older", 3_000);
    let older = project.begin();
    older.wait_until("it works");
    let newer = project.begin();
    let stopped = older.finish().expect(130).told();
    let run = project.runs().pop().expect("the newer");
    assert_eq!(stopped.all("stopping").next().expect("it says why")["reason"], json!(format!("superseded by run {run}")));
    assert_eq!(stopped.ended("deploy").outcome, "cancelled");
    let told = newer.finish().expect(0).told();
    assert_eq!(told.ended("deploy").outcome, "passed");
}

/// A group of the whole run: what waits has not begun, and an interrupt takes nothing from it.
#[test]
fn whole_runs_take_turns_too() {
    let project = takes_turns("queue", 1500);
    let text = project.read("pipeline.toml").replace("[stage.deploy]", "concurrency = \"all\"\n\n[stage.deploy]");
    project.write("pipeline.toml", &text);
    let one = project.begin();
    one.wait_until("it works");
    let two = project.begin();
    two.wait_until("group-waiting");
    two.signal("INT");
    let told = two.finish().expect(130).told();
    assert_eq!(told.started("deploy"), [] as [u64; 0]);
    one.finish().expect(0);
    let resumed = project.resume(&["latest"]).expect(0).told();
    assert_eq!(resumed.started("deploy"), [1]);

    project.write("pipeline.toml", text.replace("concurrency = \"all\"", "concurrency = { group = \"all\", on-busy = \"fail\" }"));
    let one = project.begin();
    one.wait_until("it works");
    project.exec().expect(1).says("stopping: the group `all` is held by run");
    one.finish().expect(0);
}
