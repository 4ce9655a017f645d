//! Runs that are cut off in every way there is, and go on.

use std::time::{Duration, Instant};

use end_to_end::runs::{file, output, print, sleep, stage};
use end_to_end::{Disk, Project, Running, xml};

use crate::RUNNER;

const WRITE: &str = "grants.files = [{ path = \".\", access = \"write\" }]";
const READ: &str = "grants.files = [{ path = \".\", access = \"read\" }]";

/// Three stages in a row: the second can be cut off while it sleeps, the third needs what the first left.
fn chain() -> Project {
    Project::new(RUNNER).staged(&[
        stage(
            "first",
            &format!("{WRITE}\nartifacts.app = {{ paths = [\"app.txt\"] }}"),
            &[&print("in the first"), &file("write", "app.txt", "built"), &output("version", "1.2.3")],
        ),
        stage("second", "needs = [\"first\"]", &[&print("in the second"), &sleep(4000)]),
        stage(
            "third",
            &format!("{READ}\nneeds = [\"second\"]\nconsumes = [\"first.app\"]"),
            &[&file("read", "app.txt", ""), &print("version ${stage.first.outputs.version}")],
        ),
    ])
}

fn interrupted(running: &Running, signals: &[&str]) {
    for (index, signal) in signals.iter().enumerate() {
        if index > 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        running.signal(signal);
    }
}

#[test]
fn what_is_finished_stays_finished() {
    // a stage that was asked to stop is done again from its start, one whose runner was killed goes on where it was
    for (signals, code, attempt) in
        [(&["INT"] as &[&str], 130, 2), (&["INT", "INT"], 130, 2), (&["TERM"], 143, 2), (&["HUP"], 143, 2), (&["KILL"], 137, 1)]
    {
        let project = chain();
        let running = project.begin();
        running.wait_until("in the second");
        interrupted(&running, signals);
        running.finish().expect(code);
        let told = project.resume(&["--junit", "junit.xml"]).expect(0).told();
        let resumed = told.all("run-resumed").next().expect("it says that it goes on");
        assert_eq!((&resumed["session"], &resumed["settled"]), (&2.into(), &1.into()), "{signals:?}");
        assert_eq!(told.started("first"), [] as [u64; 0], "{signals:?}: what was finished ran again");
        assert_eq!(told.started("second"), [attempt], "{signals:?}");
        assert_eq!(told.started("third"), [1], "{signals:?}");
        let third: Vec<String> = told.attempts("third").into_iter().map(|attempt| attempt.answer).collect();
        assert_eq!(third[0], "ok built", "{signals:?}: the artifact of the first");
        assert!(told.log("third").contains("version 1.2.3\n"), "{signals:?}: the output of the first");
        assert_eq!(told.verdict(), "passed");

        // reports are of the whole run
        for stage in ["first", "second", "third"] {
            assert_eq!(told.ended(stage).outcome, "passed", "{signals:?}");
        }
        let suites = xml::elements(&project.read("junit.xml")).into_iter().filter(|element| element.name == "testsuite");
        let names: Vec<String> = suites.map(|suite| suite.attributes["name"].clone()).collect();
        assert_eq!(names, ["first", "second", "third"], "{signals:?}");
        // a log that was cut off goes on, and nothing is in it twice
        let log = std::fs::read_dir(project.path().join(".runner/runs").join(project.the_run()).join("logs")).expect("logs");
        let second: Vec<_> = log.flatten().filter(|entry| entry.file_name() == *format!("second.{attempt}.log")).collect();
        let text = std::fs::read_to_string(second[0].path()).expect("a log");
        assert_eq!(text.matches("in the second").count(), 1, "{signals:?}: {text}");

        let over = project.run(&["resume"]).expect(2).says("no run waits to be gone on with");
        assert_eq!(over.stdout, "");
        project.run(&["resume", &project.the_run()]).expect(2).says("is over: nothing is left to do").says("runner exec");
    }
}

/// Also when it is killed again and again.
#[test]
fn a_run_survives_several_kills() {
    let project = Project::new(RUNNER).staged(&[stage(
        "s",
        "",
        &[&print("one"), &sleep(700), &print("two"), &sleep(700), &print("three"), &sleep(700), &output("said", "all")],
    )]);
    let running = project.begin();
    running.wait_until("RESULT 0");
    running.kill().expect(137);
    for says in ["RESULT 2", "RESULT 4"] {
        let running = project.start(&["resume", "--format", "json"]);
        running.wait_until(says);
        running.kill().expect(137);
    }
    let told = project.resume(&[]).expect(0).told();
    assert_eq!(told.started("s"), [1]);
    assert_eq!(told.ended("s").outputs, [("said".to_owned(), "all".to_owned())]);
    let log = project.read(&format!(".runner/runs/{}/logs/s.1.log", project.the_run()));
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("RESULT")).collect();
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(told.all("run-resumed").next().expect("one")["session"], 4);
}

#[test]
fn without_a_name_it_is_the_latest_run_that_is_not_over() {
    let project = chain();
    project.killed_when("in the second");
    let cut = project.the_run();
    let pass = Project::new(RUNNER).staged(&[stage("only", "", &[])]).read("pipeline.toml");
    project.write("other.toml", pass);
    project.run(&["exec", "other.toml"]).expect(0);
    assert_eq!(project.runs().len(), 2);
    let told = project.resume(&[]).expect(0).told();
    assert_eq!(told.all("run-resumed").next().expect("one")["run"], cut);
}

#[test]
fn runs_that_can_not_be_gone_on_with_are_named() {
    let project = Project::new(RUNNER).staged(&[stage("s", "", &[&print("it runs"), &sleep(250_000)])]);
    project.run(&["resume"]).expect(2).says("there are no runs").never_says("panicked");
    let running = project.begin();
    running.wait_until("it runs");
    let run = project.the_run();
    for name in [&[][..], &["latest"], &[&*run], &[&run[..10]]] {
        project.run(&[&["resume"], name].concat()).expect(2).says(&format!("run {run} is running"));
    }
    running.kill().expect(137);
    project.run(&["resume", "20200101"]).expect(2).says("there is no run `20200101`").says("runner runs");
    project.run(&["resume", "../../etc"]).expect(2).says("there is no run");
    let running = project.start(&["exec", "--format", "json"]);
    running.wait_until("it runs");
    running.kill().expect(137);
    project.run(&["resume", "20"]).expect(2).says("2 runs begin with `20`").says(&run);
}

#[test]
fn of_two_that_resume_the_same_run_one_does() {
    let project = chain();
    project.killed_when("in the second");
    let both = [project.start(&["resume", "--format", "json"]), project.start(&["resume", "--format", "json"])];
    let mut codes: Vec<i32> = both
        .into_iter()
        .map(|running| {
            let finished = running.finish();
            if finished.code == 2 { finished.says("is running").code } else { finished.code }
        })
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 2]);
}

#[test]
fn failed_runs_what_failed_and_what_depends_on_it() {
    let need = "{ do = \"need\", path = \"fixed.txt\" }";
    let project = Project::new(RUNNER).staged(&[
        stage("ok", "", &[&output("x", "1")]),
        stage("bad", READ, &[need]),
        stage("after-ok", "needs = [\"ok\"]", &[]),
        stage("after-bad", "needs = [\"ok\", \"bad\"]", &[&print("x is ${stage.ok.outputs.x}")]),
        stage("on-failure", "needs = [\"bad\"]\nrun-on = \"failure\"", &[]),
        stage("always", "needs = [\"*\"]\nrun-on = \"always\"", &[]),
        stage("left-out", "", &[]),
    ]);
    let first = project.run(&["exec", "--format", "json", "--skip", "left-out"]).expect(1).told();
    assert_eq!((first.ended("bad").outcome, first.ended("after-bad").outcome), ("failed".into(), "blocked".into()));
    // it is over; what there is to do is said
    project.run(&["resume", "latest"]).expect(2).says("is over").says(&format!("runner resume {} --failed", project.the_run()));
    let again = project.resume(&["--failed"]).expect(1).told();
    assert_eq!(again.started("bad"), [2]);
    project.write("fixed.txt", "");
    let told = project.resume(&["--failed", "--junit", "junit.xml"]).expect(0).told();
    let started = |stage: &str| told.started(stage);
    assert_eq!((started("ok"), started("after-ok"), started("left-out")), (vec![], vec![], vec![]));
    assert_eq!((started("bad"), started("after-bad")), (vec![3], vec![1]), "attempts are numbered on");
    assert_eq!((started("on-failure"), started("always")), (vec![], vec![3]));
    assert_eq!(told.ended("on-failure").outcome, "skipped");
    assert_eq!(told.ended("left-out").outcome, "skipped");
    assert!(told.log("after-bad").contains("x is 1\n"));
    let junit = project.read("junit.xml");
    assert!(!junit.contains("<failure"), "the last word counts: {junit}");
    project.run(&["resume", "latest", "--failed"]).expect(2).says("is over");
}

#[test]
fn retries_go_on_where_they_were() {
    let early = |attempt: u32| format!("{{ do = \"fail-before\", attempt = {attempt} }}");
    let sleeps = sleep(1500);
    // killed in the second attempt: it goes on, and the retries that are left are those that were left
    for (code, tries, attempt) in [
        (0, [early(2), print("in the second"), sleeps.clone(), print("through")], 2),
        (0, [early(2), print("in the second"), sleeps.clone(), early(3)], 3),
        (1, [early(2), print("in the second"), sleeps, early(4)], 3),
    ] {
        let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
        let project = Project::new(RUNNER).staged(&[stage("s", "retries = { count = 2, delay = \"1ms\" }", &tries)]);
        project.killed_when("in the second");
        let told = project.resume(&[]).expect(code).told();
        assert_eq!(told.started("s").first(), Some(&2), "{}", told.printed());
        assert_eq!(told.ended("s").attempt, attempt, "{}", told.printed());
    }
}

#[test]
fn killed_before_a_retry_it_tries_again() {
    let early = "{ do = \"fail-before\", attempt = 2 }";
    let project = Project::new(RUNNER).staged(&[stage("s", "retries = { count = 1, delay = \"250s\" }", &[early])]);
    project.killed_when("stage-retrying");
    let began = Instant::now();
    let told = project.resume(&[]).expect(0).told();
    assert_eq!(told.started("s"), [2], "{}", told.printed());
    assert!(began.elapsed() < Duration::from_secs(60), "the delay is not waited for a second time");
}

#[test]
fn a_run_goes_on_with_the_text_that_it_was_started_with() {
    let project = chain();
    project.killed_when("in the second");
    project.replace("pipeline.toml", "version ${stage.first.outputs.version}", "something else");
    project.replace("pipeline.toml", "[stage.third]", "[stage.new]\nuses = \"./hostile.wasm\"\nwith.tries = []\n[stage.third]");
    let changed = project.resume(&[]).expect(0).says("warning: pipeline.toml has changed since");
    let told = changed.told();
    assert!(told.log("third").contains("version 1.2.3\n"), "{}", told.printed());
    assert_eq!(told.all("stage-finished").filter(|event| event["stage"] == "new").count(), 0);

    let project = chain();
    project.killed_when("in the second");
    std::fs::remove_file(project.path().join("pipeline.toml")).expect("it was there");
    project.resume(&[]).expect(0).says("warning: pipeline.toml is gone since");
}

/// From below the folder of the pipeline file, and with `-C` from elsewhere.
#[test]
fn runs_are_found_from_other_folders() {
    let project = chain().file("deep/down/file", "");
    project.killed_when("in the second");
    project.run(&["-C", "deep/down", "resume"]).expect(0);
    project.run(&["-C", "/", "resume"]).expect(2).says("there are no runs in / or above");
}

/// Overwrites bytes of a file.
fn overwrite(path: &std::path::Path, at: usize, with: &[u8]) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[at..at + with.len()].copy_from_slice(with);
    std::fs::write(path, bytes).expect("a file");
}

#[test]
fn a_journal_that_can_not_be_read_is_said_and_left_alone() {
    let rubbish = [0x5a; 600];
    // SQLite's header holds the version that the journal gives itself
    for (at, with, says) in [
        (0, &rubbish[..100], "is damaged"),
        (4096, &rubbish, "is damaged"),
        (60, &99u32.to_be_bytes()[..], "was written by a newer runner (format 99, this runner knows up to 1)"),
    ] {
        let project = chain();
        let running = project.begin();
        running.wait_until("in the second");
        running.signal("INT");
        running.finish().expect(130);
        let (run, journal) = (project.the_run(), project.journal());
        let whole = std::fs::read(&journal).expect("a journal");
        overwrite(&journal, at, with);
        let broken = std::fs::read(&journal).expect("a journal");
        for arguments in [&["resume", &*run] as &[&str], &["replay", &run, "first"], &["approve", &run, "third"]] {
            let finished = project.run(arguments).expect(1).says(says).says("journal.sqlite3").never_says("panicked");
            assert_eq!(finished.stdout, "", "{arguments:?}");
        }
        assert_eq!(std::fs::read(&journal).expect("a journal"), broken, "nobody mends what they can't read");
        // nothing else was touched either: with the journal brought back, the run goes on
        std::fs::write(&journal, whole).expect("a file");
        project.resume(&[&run]).expect(0);
    }
}

/// A stage that pauses and then does much that has to be recorded.
fn busy(disk: &Disk) -> Project {
    let reads = vec![file("read", "a.txt", ""); 300];
    let tries: Vec<String> = [print("pausing"), sleep(1500)].into_iter().chain(reads).chain([output("all", "done")]).collect();
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    Project::at(RUNNER, disk.path())
        .staged(&[stage("before", "", &[&output("x", "1")]), stage("s", &format!("{READ}\nneeds = [\"before\"]"), &tries)])
        .file("a.txt", "a")
}

#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let Some(disk) = Disk::mount("a_full_disk_stops_the_run_and_loses_nothing", 16 << 10) else { return };
    let project = busy(&disk);
    let running = project.begin();
    running.wait_until("RESULT 0");
    disk.fill();
    let finished = running.finish().expect(1);
    assert!(finished.stderr.contains("no space is left on the disk of "), "{}", finished.stderr);
    assert!(finished.stderr.contains("journal.sqlite3") && finished.stderr.contains("resume"), "{}", finished.stderr);
    // it can't be gone on with either, and that is no worse than before
    project.run(&["resume"]).expect(1).says("no space is left").never_says("panicked");
    disk.free();
    let told = project.resume(&[]).expect(0).told();
    assert_eq!((told.started("before"), told.started("s")), (vec![], vec![1]), "{}", told.printed());
    assert_eq!(told.ended("s").outputs, [("all".to_owned(), "done".to_owned())]);
}

#[test]
fn a_folder_that_can_not_be_written_is_said() {
    let Some(disk) = Disk::mount("a_folder_that_can_not_be_written_is_said", 16 << 10) else { return };
    let project = busy(&disk);
    project.killed_when("RESULT 0");
    disk.read_only(true);
    project.run(&["resume"]).expect(1).says("read-only").says(".runner").never_says("panicked");
    project.run(&["approve", "latest", "s"]).expect(2).says("does not wait");
    project.run(&["exec"]).expect(1).says("ead-only");
    // what is there can be read
    project.run(&["replay", "latest", "before"]).expect(0);
    disk.read_only(false);
    project.resume(&[]).expect(0);
}
