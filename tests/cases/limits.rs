//! Limits that a component runs into: each ends the stage, says which it was, and names the key that raises it.

use std::time::{Duration, Instant};

use end_to_end::{Ended, Project, Told, confined, guest};

use crate::RUNNER;

fn exhaust(what: &str) -> String {
    format!("{{ do = \"exhaust\", what = {what} }}")
}

/// Runs a stage that tries one thing.
fn run(stage: &str, grants: &str, what: &str) -> Told {
    let project = Project::hostile(RUNNER);
    project.tries(stage, grants, &[what]);
    project.exec_json().told()
}

/// Runs a stage that tries one thing, and expects that a limit ends it.
#[track_caller]
fn limited(stage: &str, what: &str, says: &[&str]) -> Ended {
    let told = run(stage, "", &exhaust(what));
    let ended = told.ended("try");
    assert_eq!((ended.outcome.as_str(), ended.kind.as_str()), ("failed", "limit"), "{}", told.printed());
    for text in says {
        assert!(ended.message.contains(text), "{text:?} is not in {:?}", ended.message);
    }
    assert_eq!(told.verdict(), "failed");
    ended
}

#[test]
fn memory() {
    limited("limits = { memory = \"32MiB\" }", "\"memory\", mib = 64", &["memory", "32 MiB", "raise `limits.memory`"]);
    limited("", "\"memory\", mib = 300", &["256 MiB", "`limits.memory`"]);
    // as much as is allowed is no mistake, and neither is a program that takes no for an answer
    let fits = run("limits = { memory = \"400MiB\" }", "", &exhaust("\"memory\", mib = 300"));
    assert_eq!(fits.attempts("try")[0].answer, "ok 300 MiB", "{}", fits.printed());
    let polite = run("limits = { memory = \"32MiB\" }", "", &exhaust("\"memory-politely\", mib = 64"));
    assert!(polite.attempts("try")[0].answer.starts_with("refused"), "{}", polite.printed());
    assert_eq!(polite.ended("try").outcome, "passed");
}

#[test]
fn time() {
    for what in [exhaust("\"time\""), "{ do = \"sleep\", millis = 100000 }".to_owned()] {
        let project = Project::hostile(RUNNER);
        project.tries("timeout = \"1s\"", "", &[&what]);
        let began = Instant::now();
        let told = project.exec_json().expect(1).told();
        assert!(began.elapsed() < Duration::from_secs(30), "{what} took {:?}", began.elapsed());
        let ended = told.ended("try");
        assert_eq!(ended.kind, "timed-out", "{}", told.printed());
        assert!(ended.message.contains("timeout") && ended.message.contains("1s"), "{}", ended.message);
    }
}

#[test]
fn time_of_the_whole_run() {
    let project = Project::hostile(RUNNER);
    project.tries("", "", &[&exhaust("\"time\"")]);
    project.replace("pipeline.toml", "name = \"tries\"", "name = \"tries\"\ntimeout = \"1s\"");
    let told = project.exec_json().expect(7).told();
    assert_eq!(told.verdict(), "timed-out");
    assert!(told.all("stopping").any(|event| event["reason"].to_string().contains("timeout")), "{}", told.printed());
}

#[test]
fn stack() {
    limited("", "\"stack\"", &["stack"]);
}

#[test]
fn log() {
    for what in ["\"stdout\", mib = 2", "\"log\", mib = 2"] {
        let project = Project::hostile(RUNNER);
        project.tries("limits = { log = \"64KiB\" }", "", &[&exhaust(what)]);
        let finished = project.exec_json().expect(1);
        let told = finished.told();
        let ended = told.ended("try");
        assert_eq!(ended.kind, "limit", "{}", ended.message);
        assert!(ended.message.contains("65536 bytes") && ended.message.contains("`limits.log`"), "{}", ended.message);
        let log = project.read(told.all("stage-finished").next().and_then(|event| event["log"].as_str()).expect("a log"));
        assert!((65_000..70_000).contains(&log.len()), "the log has {} bytes", log.len());
        assert!(log.trim_end().lines().last().is_some_and(|line| line.contains("limits.log")), "the log's end says why it ends");
    }
}

#[test]
fn log_of_commands() {
    if !confined(RUNNER, "log_of_commands") {
        return;
    }
    let grants = "commands = { in = \"process\", programs = [\"sh\"] }";
    let told = run("limits = { log = \"64KiB\" }\ntimeout = \"60s\"", grants, "{ do = \"command\", run = [\"sh\", \"-c\", \"yes\"] }");
    let ended = told.ended("try");
    assert_eq!(ended.kind, "limit", "{}", ended.message);
    assert!(ended.message.contains("`limits.log`"), "{}", ended.message);
}

#[test]
fn handles() {
    limited("limits = { handles = 100 }", "\"pollables\", count = 1000", &["handles", "100", "`limits.handles`"]);
    limited("", "\"pollables\", count = 1000000", &["10000", "`limits.handles`"]);
    let files = format!("\"files\", path = \"/scratch/x\", count = {}", 500);
    let project = Project::hostile(RUNNER);
    let write = "{ do = \"files\", from = \"/scratch\", op = \"write\", path = \"x\" }";
    project.tries("limits = { handles = 100 }", "", &[write, &exhaust(&files)]);
    let ended = project.exec_json().expect(1).told().ended("try");
    assert_eq!(ended.kind, "limit", "{}", ended.message);
    assert!(ended.message.contains("`limits.handles`"), "{}", ended.message);
}

/// Handles of one stage are not taken from another, or from the runner.
#[test]
fn open_files_of_one_stage_leave_enough_for_others() {
    let project = Project::hostile(RUNNER);
    let write = "{ do = \"files\", from = \"/scratch\", op = \"write\", path = \"x\" }";
    let hold = exhaust("\"files\", path = \"/scratch/x\", count = 9000");
    let stage = |name: &str, tries: &str| format!("[stage.{name}]\nuses = \"./hostile.wasm\"\nwith = {{ tries = [{tries}] }}\n");
    let busy = stage("busy", &format!("{write}, {hold}, {{ do = \"sleep\", millis = 3000 }}"));
    let other = stage(
        "other",
        &format!("{{ do = \"sleep\", millis = 1500 }}, {write}, {{ do = \"files\", from = \"/scratch\", op = \"read\", path = \"x\" }}"),
    );
    project.write("pipeline.toml", format!("format = 1\nname = \"files\"\n\n{busy}\n{other}"));
    let told = project.run(&["exec", "--format", "json", "--jobs", "2"]).told();
    let other: Vec<String> = told.attempts("other").into_iter().map(|attempt| attempt.answer).collect();
    assert!(other.len() == 3 && other.iter().all(|answer| answer.starts_with("ok")), "{}", told.printed());
    assert_eq!(told.ended("other").outcome, "passed");
}

#[test]
fn bytes_of_a_call() {
    limited("", "\"call\", mib = 32", &["`limits.hostcall`", "16777216 bytes"]);
    limited("limits = { hostcall = \"64KiB\" }", "\"call\", mib = 1", &["`limits.hostcall`", "65536 bytes"]);
    let fits = run("limits = { hostcall = \"64MiB\" }", "", &exhaust("\"call\", mib = 32"));
    assert_eq!(fits.ended("try").outcome, "passed", "{}", fits.printed());
    // a list that the host would have to make
    let told = run("", "", &exhaust("\"random\", mib = 100"));
    assert_ne!(told.ended("try").outcome, "passed", "{}", told.printed());
}

#[test]
fn size_of_the_component() {
    let told = run("limits = { component = \"64KiB\" }", "", "{ do = \"print\", text = \"it ran\" }");
    let ended = told.ended("try");
    assert_eq!(ended.kind, "limit", "{}", told.printed());
    assert!(ended.message.contains("`limits.component`") && ended.message.contains("65536"), "{}", ended.message);
    assert!(!told.log("try").contains("it ran"));
}

#[test]
fn time_to_compile() {
    let project = Project::hostile(RUNNER);
    // the same component under another digest, so that it was never compiled before
    let mut component = std::fs::read(guest("hostile")).expect("the guest is built");
    let name = format!("{}-{:?}", std::process::id(), std::time::SystemTime::now());
    component.extend([0, u8::try_from(name.len() + 1).expect("short"), u8::try_from(name.len()).expect("short")]);
    component.extend(name.bytes());
    project.write("hostile.wasm", &component);
    project.tries("limits = { compile = \"1ms\" }", "", &["{ do = \"print\", text = \"it ran\" }"]);
    let ended = project.exec_json().expect(1).told().ended("try");
    assert_eq!(ended.kind, "limit", "{}", ended.message);
    assert!(ended.message.contains("`limits.compile`"), "{}", ended.message);
    project.replace("pipeline.toml", "limits = { compile = \"1ms\" }", "");
    project.exec_json().expect(0);
}

#[test]
fn outputs() {
    let project = Project::hostile(RUNNER);
    let output = |name: &str, value: &str| format!("{{ do = \"output\", name = \"{name}\", value = \"{value}\" }}");
    let long = "x".repeat(65);
    let many = exhaust("\"outputs\", count = 100, bytes = 100");
    let attempts = project.cases(
        "limits = { outputs = \"1KiB\" }",
        "",
        &[
            (&output("version", "1.2.3"), "ok", ""),
            (&output("version", "1.2.4"), "ok", ""),
            (&output("a-b_C9", "x"), "ok", ""),
            (&output("", "x"), "refused", ""),
            (&output("1a", "x"), "refused", ""),
            (&output("a b", "x"), "refused", ""),
            (&output("a.b", "x"), "refused", ""),
            (&output("ä", "x"), "refused", ""),
            (&output("a\\nb", "x"), "refused", ""),
            (&output(&long, "x"), "refused", ""),
            (&output("big", &"x".repeat(2000)), "refused", ""),
            (&many, "refused", ""),
        ],
    );
    let said = &attempts[11].answer;
    assert!(said.contains("1024 bytes") && said.contains("`limits.outputs`"), "{said}");
}

/// Findings live in memory until the run ends.
#[test]
fn findings() {
    let project = Project::hostile(RUNNER);
    project.tries("", "", &[&exhaust("\"findings\", count = 1200, bytes = 60000")]);
    let told = project.exec().expect(1);
    let line = told.stdout.lines().find(|line| line.contains("over a limit")).expect("the verdict");
    assert!(line.contains("findings") && line.contains("64 MiB"), "{line}");
    assert!(!line.contains("`limits."), "there is no key for it: {line}");
}

#[test]
fn a_busy_stage_starves_nobody() {
    let project = Project::hostile(RUNNER);
    let stage = |name: &str, more: &str, tries: &str| {
        format!("[stage.{name}]\nuses = \"./hostile.wasm\"\n{more}\nwith = {{ tries = [{tries}] }}\n")
    };
    let spin = exhaust("\"time\"");
    let quick = "{ do = \"sleep\", millis = 10 }, { do = \"ambient\" }";
    // compiled before anything is measured
    project.write("pipeline.toml", format!("format = 1\nname = \"warm\"\n\n{}", stage("warm", "", quick)));
    project.exec().expect(0);
    let busy: Vec<String> = (0..4).map(|n| stage(&format!("busy-{n}"), "timeout = \"5s\"", &spin)).collect();
    project.write("pipeline.toml", format!("format = 1\nname = \"busy\"\n\n{}\n{}", busy.join("\n"), stage("quick", "", quick)));
    let told = project.run(&["exec", "--format", "json", "--jobs", "5"]).expect(1).told();
    let quick = Duration::from_nanos(told.nanos("quick"));
    assert_eq!(told.ended("quick").outcome, "passed");
    assert!(quick < Duration::from_secs(3), "beside four busy stages it took {quick:?}");
    for n in 0..4 {
        let name = format!("busy-{n}");
        assert_eq!(told.ended(&name).kind, "timed-out");
        let took = Duration::from_nanos(told.nanos(&name));
        assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&took), "{name} had 5 s and took {took:?}");
    }
}
