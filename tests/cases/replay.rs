//! Stages that are run again on their record: without a network, a workspace or a server.

use std::path::Path;
use std::time::{Duration, Instant};

use end_to_end::runs::{file, output, print, sleep, stage};
use end_to_end::{Project, confined, guest};

use crate::RUNNER;

const READ: &str = "grants.files = [{ path = \".\", access = \"read\" }]";

/// Every stage of the pipeline that ships, with nothing left of it but the record.
#[test]
fn quickstart_is_replayed_from_its_record_alone() {
    if !confined(RUNNER, "quickstart_is_replayed_from_its_record_alone") {
        return;
    }
    let project = Project::copy_of(RUNNER, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/quickstart"));
    let told = project.exec_json().expect(0).told();
    project.strip(&[]);
    for stage in ["lint", "test", "audit", "build", "smoke"] {
        let replayed = project.replayed(stage);
        let records = replayed.same("same");
        assert!(records > 0, "{stage}: nothing is recorded");
        assert!(replayed.verdict()["outcome"].as_str().expect("text").contains(&told.ended(stage).message), "{stage}");
    }
    assert!(!project.path().join("shop").exists(), "a replay made files");
    let whole = project.run(&["replay", "--format", "plain", &project.the_run()]).expect(0);
    whole.says("REPLAYED the whole run: 5 attempts in ").says("REPLAYED lint attempt 1: ").never_says("[lint]");
    project.run(&["replay", &project.the_run(), "--attempt", "1"]).expect(2).says("<STAGE>");
    let plain = project.run(&["replay", "--format", "plain", &project.the_run(), "audit"]).expect(0);
    plain.says("REPLAYED").says("same log, outputs and outcome: passed");
}

/// A stage that came to a bad end comes to the same one again, and soon.
#[test]
fn bad_ends_are_replayed() {
    let exhaust = |what: &str| format!("{{ do = \"exhaust\", what = {what} }}");
    let before = [print("before"), file("read", "a.txt", ""), "{ do = \"random\" }".to_owned()];
    for (lines, last, result, outcome) in [
        ("timeout = \"1s\"", sleep(60_000), "same-so-far", "its timeout of 1s passed"),
        ("timeout = \"1s\"", exhaust("\"time\""), "same-so-far", "its timeout of 1s passed"),
        ("limits = { memory = \"32MiB\" }", exhaust("\"memory\", mib = 64"), "same", "raise `limits.memory`"),
        ("limits = { log = \"64KiB\" }", exhaust("\"stdout\", mib = 2"), "same", "raise `limits.log`"),
        ("limits = { handles = 100 }", exhaust("\"pollables\", count = 1000"), "same", "`limits.handles`"),
        ("", exhaust("\"stack\""), "same", "stack"),
        ("", "{ do = \"panic\" }".to_owned(), "same", "crashed"),
        ("", "{ do = \"exit\", code = 3 }".to_owned(), "same", "exit code 1"),
        ("", "{ do = \"http\", url = \"http://169.254.169.254/\", needed = true }".to_owned(), "same", "was denied"),
        ("", "{ do = \"answer\", as = \"failed\", message = \"3 of 214\" }".to_owned(), "same", "3 of 214"),
    ] {
        let tries: Vec<&str> = before.iter().chain([&last]).map(String::as_str).collect();
        let project = Project::new(RUNNER).staged(&[stage("s", &format!("{lines}\n{READ}"), &tries)]).file("a.txt", "a\n");
        project.exec_json();
        project.strip(&["hostile.wasm"]);
        let began = Instant::now();
        let replayed = project.replayed("s");
        assert!(began.elapsed() < Duration::from_secs(20), "{lines} {last}: it took {:?}", began.elapsed());
        replayed.same(result);
        let told = replayed.verdict()["outcome"].as_str().expect("text").to_owned();
        assert!(told.contains(outcome), "{lines} {last}: {told}");
    }
}

#[test]
fn an_interrupted_attempt_is_replayed_as_far_as_it_came() {
    let tries = [print("before"), file("read", "a.txt", ""), sleep(60_000)];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    for (signal, code, outcome) in [("INT", 130, "cancelled"), ("KILL", 137, "cut off")] {
        let project = Project::new(RUNNER).staged(&[stage("s", READ, &tries)]).file("a.txt", "a\n");
        let running = project.begin();
        running.wait_until("RESULT 1");
        running.signal(signal);
        running.finish().expect(code);
        project.strip(&["hostile.wasm"]);
        let replayed = project.replayed("s");
        replayed.same("same-so-far");
        let told = replayed.verdict()["outcome"].as_str().expect("text").to_owned();
        assert!(told.contains(outcome), "{signal}: {told}");
    }
}

/// Each attempt has its own record.
#[test]
fn each_attempt_is_replayed() {
    let project = Project::new(RUNNER).staged(&[stage(
        "s",
        "retries = { count = 1, delay = \"1ms\" }",
        &["{ do = \"random\" }", "{ do = \"fail-before\", attempt = 2 }"],
    )]);
    project.exec_json().expect(0);
    for (attempt, outcome) in [("1", "failed (attempt 1 is too early)"), ("2", "passed (tried everything)")] {
        let finished = project.replay("s", &["--attempt", attempt]).expect(0);
        let verdict = finished.events().pop().expect("a last line");
        assert_eq!((&verdict["result"], &verdict["outcome"]), (&"same".into(), &outcome.into()));
    }
    project.replay("s", &["--attempt", "3"]).expect(2).says("has no attempt 3").says("attempts: 1, 2");
    project.replay("t", &[]).expect(2).says("`t`").says("stages that ran: s");
}

/// What was too much to keep is said, with the key that raises it; a resumed run reads it again.
#[test]
fn what_was_not_kept_is_named() {
    let tries = [file("read", "large.txt", ""), print("it has read"), sleep(1500)];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let lines = format!("limits = {{ record = \"1KiB\" }}\n{READ}");
    let project = Project::new(RUNNER).staged(&[stage("s", &lines, &tries)]).file("large.txt", "x".repeat(4000));
    project.killed_when("it has read");
    project.resume(&[]).expect(0);
    let finished = project.replay("s", &[]).expect(1);
    let verdict = finished.events().pop().expect("a last line");
    assert_eq!(verdict["result"], "incomplete");
    let detail = verdict["detail"].as_str().expect("text");
    assert!(detail.starts_with("`files.read` large.txt: its 4000 bytes were more than `limits.record`"), "{detail}");
    // and one whose large file has changed can't go on
    let project = Project::new(RUNNER).staged(&[stage("s", &lines, &tries)]).file("large.txt", "x".repeat(4000));
    project.killed_when("it has read");
    project.write("large.txt", "y".repeat(4000));
    let told = project.resume(&[]).expect(1).told();
    assert!(told.ended("s").kind == "diverged" && told.ended("s").message.contains("large.txt"), "{}", told.ended("s").message);
}

/// A component with some of its text replaced, and nothing repaired.
fn patched(component: &Path, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(component).expect("a component");
    let found: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from).map(|(at, _)| at).collect();
    assert_eq!(found.len(), 1, "{:?} is there {} times", String::from_utf8_lossy(from), found.len());
    bytes[found[0]..found[0] + from.len()].copy_from_slice(to);
    bytes
}

#[test]
fn another_build_is_compared_with_the_record() {
    let tries = [print("before"), output("x", "1"), file("read", "a.txt", "")];
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    let project = Project::new(RUNNER).staged(&[stage("s", READ, &tries)]).file("a.txt", "a\n");
    project.exec_json().expect(0);
    let hostile = guest("hostile");
    let against = |bytes: Vec<u8>| {
        project.write("other.wasm", bytes);
        let finished = project.replay("s", &["--against", "other.wasm"]);
        let verdict = finished.events().pop().unwrap_or_else(|| panic!("nothing was said: {}", finished.stderr));
        (finished.code, verdict["result"].as_str().expect("text").to_owned(), verdict["detail"].as_str().unwrap_or_default().to_owned())
    };
    // one that does the same, though it is another file
    let mut same = std::fs::read(&hostile).expect("the guest is built");
    same.extend_from_slice(b"\0\x02\x01x");
    assert_eq!(against(same), (0, "same".into(), String::new()));
    let (code, result, detail) = against(patched(&hostile, b"tried everything", b"tried everythinG"));
    assert_eq!((code, result.as_str()), (1, "differs"));
    assert_eq!(detail, "its outcome was passed (tried everything), now passed (tried everythinG)");
    let (code, result, detail) = against(patched(&hostile, b"RESULT ", b"RESULt "));
    assert_eq!((code, result.as_str()), (1, "differs"));
    assert!(detail.contains("its output differs from the recorded one after 12 of "), "{detail}");
    let (code, result, detail) = against(std::fs::read(guest("noop")).expect("the guest is built"));
    assert_eq!((code, result.as_str()), (1, "differs"));
    assert!(detail.contains("outcome was passed (tried everything)"), "{detail}");
    project.replay("s", &["--against", "missing.wasm"]).expect(2).says("missing.wasm");
}

/// The first effect that another build does otherwise, with what is different about it.
#[test]
fn the_first_effect_that_differs_is_named() {
    if !confined(RUNNER, "the_first_effect_that_differs_is_named") {
        return;
    }
    let project = Project::new(RUNNER).file(
        "pipeline.toml",
        "format = 1\nname = \"other\"\n\n[stage.s]\nuses = \"command\"\nwith.script = 'echo hello'\n\
         grants.commands = { in = \"process\", programs = [\"sh\"] }\n",
    );
    project.exec_json().expect(0);
    // the bundled plugins are built beside the guests
    let plugin = guest("hostile").with_file_name("plugin_command.wasm");
    project.write("other.wasm", patched(&plugin, b"\0-eu", b"\0-ex"));
    let finished = project.replay("s", &["--against", "other.wasm"]).expect(1);
    let detail = finished.events().pop().expect("a last line")["detail"].as_str().expect("text").to_owned();
    assert_eq!(
        detail,
        "the stage does not repeat what it did: effect 0 was `commands.start` sh -eu -c 'echo hello', now it is `commands.start` sh -ex -c \
         'echo hello'"
    );
    // the plugin that ran is part of the runner
    project.replay("s", &[]).expect(0);
}
