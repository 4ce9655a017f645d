//! What a stage was doing when its runner was killed: pausing, cleaning up, waiting for a program, reading a world that has changed since.

use std::time::{Duration, Instant};

use end_to_end::runs::{file, output, print, sleep, stage};
use end_to_end::{Finished, Project, confined, guest, processes};

use crate::RUNNER;

const READ: &str = "grants.files = [{ path = \".\", access = \"read\" }]";
const SHARED: &str = "workspace = \"shared\"\ngrants.files = [{ path = \".\", access = \"write\" }]";

/// A pause that was cut off ends when it would have ended.
#[test]
fn a_pause_ends_at_its_time() {
    let project = Project::new(RUNNER).staged(&[stage("s", "", &[&print("pausing"), &sleep(6000), &print("on time")])]);
    let running = project.begin();
    running.wait_until("RESULT 0");
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(1500));
    running.kill().expect(137);
    std::thread::sleep(Duration::from_millis(1500));
    let told = project.resume(&[]).expect(0).told();
    let took = began.elapsed();
    assert!((Duration::from_millis(5900)..Duration::from_millis(7200)).contains(&took), "it paused for {took:?}, not 6 s");
    let slept = told.attempts("s");
    let said = slept.iter().find(|attempt| attempt.answer.starts_with("ok 6.")).map(|attempt| attempt.answer.as_str());
    assert!(said.is_some(), "the stage's own clock: {slept:?}");
}

/// One whose time passed while no runner ran ends at once.
#[test]
fn a_pause_that_is_over_is_not_waited_for() {
    let project = Project::new(RUNNER).staged(&[stage("s", "", &[&print("pausing"), &sleep(2000), &print("late")])]);
    project.killed_when("RESULT 0");
    std::thread::sleep(Duration::from_millis(2500));
    let began = Instant::now();
    project.resume(&[]).expect(0);
    assert!(began.elapsed() < Duration::from_millis(1500), "it took {:?}", began.elapsed());
}

/// What a stage prints is made of what it was told: a log that is read must never know more than the record, whenever the runner was killed.
#[test]
fn a_log_is_never_ahead_of_the_record() {
    let tries = vec![sleep(40); 25];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    for result in [2, 5, 9, 14, 20] {
        let project = Project::new(RUNNER).staged(&[stage("s", "", &tries)]);
        project.killed_when(&format!("RESULT {result} "));
        let told = project.resume(&[]).expect(0).told();
        assert_eq!(told.started("s"), [1], "{}", told.printed());
        project.replayed("s").same("same");
    }
}

#[test]
fn a_clean_up_is_finished() {
    let tries: Vec<String> = vec![
        file("write", "lock.txt", "held"),
        file("write", "other.txt", "held"),
        "{ do = \"std-read\", path = \"/workspace/missing.txt\" }".to_owned(),
        print("it failed, cleaning up"),
        file("unlink", "lock.txt", ""),
        print("one is gone"),
        sleep(2500),
        file("unlink", "other.txt", ""),
        "{ do = \"answer\", as = \"failed\", message = \"it did not work\" }".to_owned(),
    ];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let project = Project::new(RUNNER).staged(&[stage("s", SHARED, &tries)]);
    project.killed_when("one is gone");
    assert!(!project.path().join("lock.txt").exists() && project.path().join("other.txt").exists());
    let told = project.resume(&[]).expect(1).told();
    assert!(!project.path().join("other.txt").exists(), "what was to be cleaned up is still there\n{}", told.printed());
    assert_eq!((told.ended("s").message.as_str(), told.ended("s").attempt), ("it did not work", 1));
}

/// A command that waits when it runs for the first time, and not any more after that. `more`: of its grant.
fn waits_once(marker: &str, more: &str) -> Project {
    let script = format!("echo ran >> runs.txt; if test $(wc -l < runs.txt) -lt 2; then sleep {marker}; fi; echo through");
    Project::new(RUNNER).file(
        "pipeline.toml",
        format!(
            "format = 1\nname = \"doubt\"\n\n[stage.s]\nuses = \"command\"\nworkspace = \"shared\"\nwith.script = '{script}'\n\
             grants.files = [{{ path = \".\", access = \"write\" }}]\n\
             grants.commands = {{ in = \"process\", programs = [\"sh\"]{more} }}\n"
        ),
    )
}

/// Killed while its command runs.
fn killed_in_command(marker: &str, more: &str) -> Project {
    let project = waits_once(marker, more);
    let running = project.begin();
    processes::wait_for(marker, 1);
    // until it is recorded that it was started
    std::thread::sleep(Duration::from_millis(200));
    running.kill().expect(137);
    processes::wait_for(marker, 0);
    assert_eq!(project.read("runs.txt"), "ran\n");
    project
}

#[test]
fn a_command_in_doubt_is_left_to_a_person() {
    if !confined(RUNNER, "a_command_in_doubt_is_left_to_a_person") {
        return;
    }
    let project = killed_in_command(&processes::marker(), "");
    let run = project.the_run();
    // however often: nothing is done without a word
    for _ in 0..2 {
        let asked = project.run(&["resume", "--format", "plain"]).expect(8);
        asked
            .says("in doubt: commands.start sh")
            .says("nothing can tell whether it happened")
            .says(&format!("runner resume {run} --in-doubt retry|skip|fail"));
    }
    assert_eq!(project.read("runs.txt"), "ran\n");
    let told = project.resume(&["--in-doubt", "retry"]).expect(0).told();
    assert_eq!(project.read("runs.txt"), "ran\nran\n");
    assert!(told.log("s").contains("through\n"), "{}", told.printed());
    assert_eq!(told.started("s"), [1]);

    // the stage is told that its command was cut off, and makes of it what it does with any that is
    let project = killed_in_command(&processes::marker(), "");
    let told = project.resume(&["--in-doubt", "skip"]).expect(1).told();
    assert_eq!(project.read("runs.txt"), "ran\n");
    let ended = told.ended("s");
    assert_eq!(ended.kind, "errored", "{}", told.printed());
    assert!(ended.message.contains("killed by SIGKILL"), "{}", ended.message);

    let project = killed_in_command(&processes::marker(), "");
    let told = project.resume(&["--in-doubt", "fail"]).expect(1).told();
    assert_eq!(project.read("runs.txt"), "ran\n");
    assert!(told.ended("s").message.contains("`--in-doubt fail` was chosen"), "{}", told.ended("s").message);
    // and then it can be run anew
    project.resume(&["--failed"]).expect(0);
    assert_eq!(project.read("runs.txt"), "ran\nran\n");
}

#[test]
fn a_repeatable_command_is_started_again() {
    if !confined(RUNNER, "a_repeatable_command_is_started_again") {
        return;
    }
    let project = killed_in_command(&processes::marker(), ", repeatable = true");
    let told = project.resume(&[]).expect(0).told();
    assert_eq!(project.read("runs.txt"), "ran\nran\n");
    assert!(told.log("s").contains("was cut off with the runner and is started again"), "{}", told.printed());
    assert!(told.log("s").contains("through\n"), "{}", told.printed());
}

/// A background program is there again under its name, for a stage that asks it.
#[test]
fn a_background_program_is_started_again() {
    if !confined(RUNNER, "a_background_program_is_started_again") {
        return;
    }
    // answers with its only argument's file, once that is there
    let server = "use Socket; $| = 1; socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in(8097, INADDR_LOOPBACK)) && listen($s, 9) \
        or die; while (accept(my $c, $s)) { my $line = <$c>; my $ok = $line =~ /alive/ || -e 'ready.txt'; \
        print $c 'HTTP/1.1 ', $ok ? '200 OK' : '404 Not Found', \"\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n\"; close $c }\n";
    let project = Project::new(RUNNER).file("serve.pl", server).file(
        "pipeline.toml",
        "format = 1\nname = \"background\"\n\n[stage.s]\nuses = \"smoke\"\n[stage.s.with]\nbase = \"http://app.stage:8097\"\n\
         start = [{ name = \"app\", run = [\"perl\", \"serve.pl\"] }]\n\
         checks = [\n  { name = \"alive\", url = \"/alive\", interval = \"50ms\" },\n  \
         { name = \"ready\", url = \"/ready\", timeout = \"120s\", interval = \"50ms\" },\n]\n\
         [stage.s.grants]\nfiles = [{ path = \".\", access = \"read\" }]\ncommands = { in = \"process\", programs = [\"perl\"] }\n\
         http = [{ url = \"http://app.stage:8097/**\" }]\n",
    );
    let running = project.start(&["exec", "--format", "json", "--verbose"]);
    running.wait_until("alive (");
    std::thread::sleep(Duration::from_millis(300));
    running.kill().expect(137);
    project.write("ready.txt", "");
    let told = project.resume(&[]).expect(0).told();
    assert!(told.log("s").contains("was cut off with the runner and is started again: perl serve.pl"), "{}", told.printed());
    assert_eq!(told.ended("s").outcome, "passed");
}

/// Kills a stage that has read this much of the world, changes the world, and expects that nobody goes on as if it had not.
#[track_caller]
fn diverges(project: &Project, change: impl FnOnce(&Project), says: &[&str]) -> Finished {
    project.killed_when("it has read");
    change(project);
    let diverged = project.resume(&[]).expect(1);
    let ended = diverged.told().ended("s");
    assert_eq!((ended.outcome.as_str(), ended.kind.as_str()), ("failed", "diverged"), "{}", diverged.told().printed());
    for text in says {
        assert!(ended.message.contains(text), "{text:?} is not in {:?}", ended.message);
    }
    // run anew it takes the world as it is
    let anew = project.resume(&["--failed"]).expect(0).told();
    assert_eq!(anew.started("s"), [2]);
    diverged
}

#[test]
fn a_file_that_was_read_and_changed_is_named() {
    let reads = |lines: &str| {
        let tries =
            [file("list", "src", ""), file("read", "src/a.txt", ""), print("it has read"), sleep(2000), file("read", "src/b.txt", "")];
        let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
        Project::new(RUNNER).staged(&[stage("s", lines, &tries)]).file("src/a.txt", "as it was\n").file("src/b.txt", "b")
    };
    let remove = |project: &Project| std::fs::remove_file(project.path().join("src/a.txt")).expect("it was there");
    diverges(&reads(READ), |project| project.write("src/a.txt", "otherwise\n"), &["src/a.txt", "the file has changed since"]);
    diverges(&reads(READ), |project| project.write("src/a.txt", "as it was\nand more\n"), &["src/a.txt"]);
    diverges(&reads(READ), remove, &["src/a.txt"]);

    // what it did not read is no concern of it, and a private copy is as it was
    for lines in [READ, "grants.files = [{ path = \".\", access = \"write\" }]"] {
        let project = reads(lines);
        project.killed_when("it has read");
        project.write("src/b.txt", "other b");
        let told = project.resume(&[]).expect(0).told();
        let read = told.attempts("s").last().expect("it read").answer.clone();
        assert_eq!(read, if lines == READ { "ok other b" } else { "ok b" }, "{lines}");
    }
    let project = reads("grants.files = [{ path = \".\", access = \"write\" }]");
    project.killed_when("it has read");
    project.write("src/a.txt", "otherwise\n");
    project.resume(&[]).expect(0);
}

#[test]
fn a_plugin_that_was_rebuilt_is_not_gone_on_with() {
    let tries = [print("it has read"), sleep(2000), output("x", "1")];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let project = Project::new(RUNNER).staged(&[stage("s", "", &tries)]);
    let rebuild = |project: &Project| {
        let mut component = std::fs::read(guest("hostile")).expect("the guest is built");
        // an empty custom section: another file that does the same
        component.extend_from_slice(b"\0\x02\x01x");
        project.write("hostile.wasm", component);
    };
    diverges(&project, rebuild, &["./hostile.wasm", "resume --failed"]);

    let project = Project::new(RUNNER).staged(&[stage("s", "", &tries)]);
    project.killed_when("it has read");
    rebuild(&project);
    project.write("hostile.wasm", std::fs::read(guest("hostile")).expect("the guest is built"));
    project.resume(&[]).expect(0);
}
