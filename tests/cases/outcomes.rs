//! How stages end, what that does to others, and what the reports and the exit code make of it.

use std::time::{Duration, Instant};

use end_to_end::{Project, Told, confined, processes, xml};

use crate::RUNNER;

/// A stage that is the guest `hostile`.
fn stage(name: &str, lines: &str, tries: &str) -> String {
    format!("[stage.{name}]\nuses = \"./hostile.wasm\"\n{lines}\nwith.tries = [{tries}]\n")
}

/// A project with these stages.
fn project(stages: &[String]) -> Project {
    let project = Project::hostile(RUNNER);
    project.write("pipeline.toml", format!("format = 1\nname = \"outcomes\"\n\n{}", stages.join("\n")));
    project
}

fn run(code: i32, stages: &[String]) -> Told {
    project(stages).exec_json().expect(code).told()
}

const PASS: &str = "{ do = \"answer\", as = \"passed\", message = \"all well\" }";
const FAIL: &str = "{ do = \"answer\", as = \"failed\", message = \"3 of 214 tests failed\" }";

/// `outcome kind message` of a stage.
fn ended(told: &Told, stage: &str) -> String {
    let ended = told.ended(stage);
    [ended.outcome, ended.kind, ended.message].join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_way_to_end_is_told_apart() {
    for (code, tries, wanted) in [
        (0, PASS, "passed all well"),
        (0, "", "passed tried everything"),
        (1, FAIL, "failed failed 3 of 214 tests failed"),
        (1, "{ do = \"answer\", as = \"errored\", message = \"no server\" }", "failed errored no server"),
        (1, "{ do = \"answer\", as = \"misconfigured\", message = \"`x` is odd\" }", "failed misconfigured `x` is odd"),
        (1, "{ do = \"no-such-attempt\" }", "failed misconfigured `with`: unknown variant `no-such-attempt`"),
        (1, "{ do = \"exit\", code = 3 }", "failed crashed the component ended itself with exit code 1 "),
        (1, "{ do = \"exit\", code = 0 }", "failed crashed the component ended itself with exit code 0"),
        (1, "{ do = \"panic\" }", "failed crashed the component crashed: "),
        (5, "{ do = \"need\", path = \"secret.txt\" }", "failed denied files.open"),
        (
            5,
            "{ do = \"http\", url = \"http://169.254.169.254/\", needed = true }",
            "failed denied http.request GET http://169.254.169.254/ was denied",
        ),
        (5, "{ do = \"command\", run = [\"sh\"], needed = true }", "failed denied commands.start sh was denied"),
    ] {
        let told = run(code, &[stage("s", "grants.files = [{ path = \"src\", access = \"read\" }]", tries)]);
        let got = ended(&told, "s");
        assert!(got.starts_with(wanted), "{tries}\n  wanted {wanted:?}\n  got    {got:?}");
        let verdict = ["passed", "failed", "", "", "", "denied"][usize::try_from(code).expect("small")];
        assert_eq!(told.verdict(), verdict, "{tries}");
    }
}

#[test]
fn a_panic_is_in_the_log() {
    let told = run(1, &[stage("s", "", "{ do = \"panic\" }")]);
    assert!(told.log("s").contains("it was asked to"), "{}", told.printed());
    assert!(told.log("s").contains("src/lib.rs"), "it says where: {}", told.printed());
}

/// A component without a `files` grant has no workspace, so the host is never asked; the missing line is named all the same.
#[test]
fn a_stage_without_a_workspace_is_told_what_to_grant() {
    let project = project(&[stage("blind", "", "{ do = \"need\", path = \"src/a.txt\" }")]).file("src/a.txt", "hi");
    let lines = "files = [{ path = \"src/a.txt\", access = \"read\" }]";
    project.exec().expect(5).says("[stage.blind.grants]").says(lines);
    project.replace("pipeline.toml", "with.tries", &format!("grants.{lines}\nwith.tries"));
    project.exec().expect(0);
}

/// The denial is worth more than a failure: it says that the pipeline file has to change.
#[test]
fn a_denial_that_fails_the_run_names_the_missing_line() {
    let project =
        project(&[stage("plain", "", FAIL), stage("needy", "", "{ do = \"http\", url = \"https://example.com/a\", needed = true }")]);
    let finished = project.exec().expect(5);
    finished.says("[stage.needy.grants]").says("http = [{ url = \"https://example.com/a\", methods = [\"GET\"] }]").says("DENIED");
}

#[test]
fn a_soft_failure_fails_nobody() {
    let told = run(
        0,
        &[
            stage("soft", "soft-fail = true", FAIL),
            stage("soft-crash", "soft-fail = true", "{ do = \"panic\" }"),
            stage("after", "needs = [\"soft\", \"soft-crash\"]", PASS),
            stage("cleanup", "needs = [\"soft\"]\nrun-on = \"failure\"", PASS),
        ],
    );
    assert!(told.ended("soft").soft && told.ended("soft-crash").soft);
    assert_eq!(ended(&told, "after"), "passed all well");
    assert_eq!(told.ended("cleanup").outcome, "skipped");
    assert_eq!(told.verdict(), "passed");
}

#[test]
fn what_fails_is_tried_again() {
    let retries = "retries = { count = 2, delay = \"1ms\" }";
    let told = run(
        1,
        &[
            stage("flaky", retries, "{ do = \"fail-before\", attempt = 2 }, { do = \"print\", text = \"through\" }"),
            stage("hopeless", retries, FAIL),
            stage("crashing", retries, "{ do = \"panic\" }"),
            stage("misconfigured", retries, "{ do = \"answer\", as = \"misconfigured\", message = \"x\" }"),
            stage("slow", "retries = { count = 1, delay = \"1ms\" }\ntimeout = \"300ms\"", "{ do = \"sleep\", millis = 60000 }"),
        ],
    );
    let attempts = |stage: &str| (told.ended(stage).outcome, told.ended(stage).attempt);
    assert_eq!(attempts("flaky"), ("passed".into(), 2));
    assert_eq!(attempts("hopeless"), ("failed".into(), 3));
    assert_eq!(attempts("crashing"), ("failed".into(), 3));
    assert_eq!(attempts("misconfigured"), ("failed".into(), 1));
    assert_eq!(attempts("slow"), ("failed".into(), 2));
    let again = told.all("stage-retrying").filter(|event| event["stage"] == "flaky").count();
    assert_eq!(again, 1);
    assert!(told.log("flaky").contains("through"));
}

#[test]
fn a_denial_is_not_tried_again() {
    let told = run(
        5,
        &[stage("s", "retries = { count = 3, delay = \"1ms\" }", "{ do = \"http\", url = \"http://example.com/\", needed = true }")],
    );
    assert_eq!(told.ended("s").attempt, 1);
}

#[test]
fn stages_run_on_what_happened_before() {
    let told = run(
        1,
        &[
            stage("good", "", PASS),
            stage("bad", "", FAIL),
            stage("after-good", "needs = [\"good\"]", PASS),
            stage("after-bad", "needs = [\"good\", \"bad\"]", PASS),
            stage("after-blocked", "needs = [\"after-bad\"]", PASS),
            stage("on-failure", "needs = [\"good\", \"bad\"]\nrun-on = \"failure\"", PASS),
            stage("on-no-failure", "needs = [\"good\"]\nrun-on = \"failure\"", PASS),
            stage("always", "needs = [\"*\"]\nrun-on = \"always\"", PASS),
            stage("any", "needs-any = [\"good\", \"bad\"]", PASS),
            stage("none", "needs-any = [\"bad\", \"after-bad\"]", PASS),
        ],
    );
    let got: Vec<(&str, String)> =
        ["good", "bad", "after-good", "after-bad", "after-blocked", "on-failure", "on-no-failure", "always", "any", "none"]
            .into_iter()
            .map(|name| (name, told.ended(name).outcome))
            .collect();
    let wanted = [
        ("good", "passed"),
        ("bad", "failed"),
        ("after-good", "passed"),
        ("after-bad", "blocked"),
        ("after-blocked", "blocked"),
        ("on-failure", "passed"),
        ("on-no-failure", "skipped"),
        ("always", "passed"),
        ("any", "passed"),
        ("none", "blocked"),
    ];
    assert_eq!(got, wanted.map(|(name, outcome)| (name, outcome.to_owned())));
    let at = |kind: &str, stage: &str| told.at(kind, stage).expect("it happened");
    for need in ["good", "bad", "on-failure", "any"] {
        assert!(at("stage-finished", need) <= at("stage-started", "always"), "`always` came before `{need}` was over");
    }
}

#[test]
fn a_condition_decides() {
    let project = Project::hostile(RUNNER);
    let stages = [
        stage("deploy", "when = 'input.level == \"high\"'", PASS),
        stage("after", "needs = [\"deploy\"]", PASS),
        stage("other", "when = 'input.level != \"high\"'", PASS),
    ];
    let head = "format = 1\nname = \"when\"\n\n[input.level]\ntype = \"choice\"\noptions = [\"low\", \"high\"]\ndefault = \"low\"\n";
    project.write("pipeline.toml", format!("{head}\n{}", stages.join("\n")));
    for (input, wanted) in [("low", ["skipped", "passed", "passed"]), ("high", ["passed", "passed", "skipped"])] {
        let told = project.run(&["exec", "--format", "json", "--input", &format!("level={input}")]).expect(0).told();
        assert_eq!(["deploy", "after", "other"].map(|name| told.ended(name).outcome), wanted, "level={input}");
    }
    project.run(&["exec", "--input", "level=middle"]).expect(3);
}

#[test]
fn outputs_reach_later_stages_as_data() {
    let output = |name: &str, value: &str| format!("{{ do = \"output\", name = \"{name}\", value = \"{value}\" }}");
    let print = |text: &str| format!("{{ do = \"print\", text = \"{text}\" }}");
    let told = run(
        1,
        &[
            stage("build", "", &format!("{}, {}", output("version", "1.2.3"), output("odd", "a b $${git.sha} $(id) \\\"x\\\"\\n'y'"))),
            stage("failing", "", &format!("{}, {FAIL}", output("version", "9"))),
            stage("skipped", "when = 'false'", &output("version", "9")),
            stage(
                "later",
                "needs = [\"build\"]\nenv = { V = \"v${stage.build.outputs.version}\" }",
                &format!(
                    "{}, {}, {{ do = \"ambient\" }}",
                    print("got ${stage.build.outputs.version} and ${stage.build.outputs.odd}"),
                    print("or ${default(stage.skipped.outputs.version, \\\"none\\\")}"),
                ),
            )
            .replace("needs = [\"build\"]", "needs = [\"build\", \"skipped\"]"),
        ],
    );
    let log = told.log("later");
    assert!(log.contains("got 1.2.3 and a b ${git.sha} $(id) \"x\"\n'y'\n"), "{log}");
    assert!(log.contains("or none\n"), "{log}");
    assert!(log.contains("V=v1.2.3"), "{log}");
    assert_eq!(told.ended("build").outputs[0].1, "a b ${git.sha} $(id) \"x\"\n'y'");
    assert_eq!(told.ended("failing").outputs, [], "the outputs of a stage that failed are dropped");
}

#[test]
fn an_output_that_may_be_missing_needs_a_default() {
    let output = "{ do = \"print\", text = \"${stage.maybe.outputs.x}\" }";
    let project = project(&[stage("maybe", "when = 'false'", PASS), stage("s", "needs = [\"maybe\"]", output)]);
    project.run(&["check"]).expect(3).says("default(");
}

#[test]
fn artifacts_reach_only_those_that_consume_them() {
    let file = |op: &str, path: &str, to: &str| format!("{{ do = \"files\", op = \"{op}\", path = \"{path}\", to = \"{to}\" }}");
    let write = "grants.files = [{ path = \".\", access = \"write\" }]";
    let read = "grants.files = [{ path = \".\", access = \"read\" }]";
    let made = [file("mkdir", "out", ""), file("write", "out/app.txt", "built"), file("write", "out/secret.txt", "not meant")].join(", ");
    let told = run(
        0,
        &[
            stage("build", &format!("{write}\nartifacts.app = {{ paths = [\"out/app.*\"] }}"), &made),
            stage(
                "takes",
                &format!("{read}\nconsumes = [\"build.app\"]"),
                &[file("read", "out/app.txt", ""), file("read", "out/secret.txt", "")].join(", "),
            ),
            stage("does-not", &format!("{read}\nneeds = [\"build\"]"), &file("read", "out/app.txt", "")),
            stage("changes", &format!("{write}\nconsumes = [\"build.app\"]"), &file("write", "out/app.txt", "changed")),
            stage("takes-again", &format!("{read}\nconsumes = [\"build.app\"]\nneeds = [\"changes\"]"), &file("read", "out/app.txt", "")),
        ],
    );
    let answers = |stage: &str| told.attempts(stage).into_iter().map(|attempt| attempt.answer).collect::<Vec<_>>();
    assert_eq!(answers("takes"), ["ok built", "error no-entry"]);
    assert_eq!(answers("does-not"), ["error no-entry"]);
    assert_eq!(answers("takes-again"), ["ok built"]);
}

#[test]
fn an_artifact_that_is_not_there_fails_the_stage() {
    let write = "grants.files = [{ path = \".\", access = \"write\" }]";
    let told = run(
        1,
        &[
            stage("empty", &format!("{write}\nartifacts.app = {{ paths = [\"out/app.*\"] }}"), PASS),
            stage("after", "consumes = [\"empty.app\"]\ngrants.files = [{ path = \".\", access = \"read\" }]", PASS),
        ],
    );
    let message = ended(&told, "empty");
    assert!(message.starts_with("failed failed artifact `app`") && message.contains("out/app.*"), "{message}");
    assert_eq!(told.ended("after").outcome, "blocked");
}

/// A link that leads out is in no artifact, and nothing of what it leads to.
#[test]
fn an_artifact_holds_nothing_from_outside() {
    if !confined(RUNNER, "an_artifact_holds_nothing_from_outside") {
        return;
    }
    let outside = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(outside.path().join("secret.txt"), "the secret").expect("a file");
    let project = Project::new(RUNNER).file("src/a.txt", "hi");
    for link in [outside.path().join("secret.txt").display().to_string(), "../../../../../../../../../etc/hostname".to_owned()] {
        for (make, paths) in [
            (format!("ln -s {link} src/x"), "src/x"),
            (format!("ln -s {link} src/x"), "src/**"),
            (format!("rm -r src; ln -s {} src", outside.path().display()), "src/*"),
        ] {
            project.write(
                "pipeline.toml",
                format!(
                    "format = 1\nname = \"links\"\n[stage.make]\nuses = \"command\"\nwith.script = '{make}'\n\
                 artifacts.a = {{ paths = [\"{paths}\"] }}\n[stage.make.grants]\nfiles = [{{ path = \".\", access = \"write\" }}]\n\
                 commands = {{ in = \"process\", programs = [\"sh\"] }}\n"
                ),
            );
            let told = project.exec_json().told();
            let blobs = walk(&project.path().join(".runner"));
            assert!(
                !blobs.iter().any(|file| std::fs::read(file).is_ok_and(|text| text == b"the secret")),
                "{make}: it was taken\n{}",
                told.printed()
            );
            assert_eq!(told.ended("make").outcome, "failed", "{make}\n{}", told.printed());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) { found.extend(walk(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[test]
fn a_matrix_is_several_stages() {
    let told = run(
        1,
        &[
            stage("m", "matrix = { app = [\"web\", \"api\"], n = [1, 2] }", "{ do = \"print\", text = \"is ${matrix.app} ${matrix.n}\" }"),
            stage("half", "matrix.way = [\"passed\", \"failed\"]", "{ do = \"answer\", as = \"${matrix.way}\" }"),
            stage("after", "needs = [\"m\"]", PASS),
            stage("after-half", "needs = [\"half\"]", PASS),
        ],
    );
    for (app, n) in [("web", 1), ("web", 2), ("api", 1), ("api", 2)] {
        let id = format!("m (app={app}, n={n})");
        assert!(told.log(&id).contains(&format!("is {app} {n}\n")), "{id}\n{}", told.printed());
    }
    let outcomes = ["half (way=passed)", "half (way=failed)", "after", "after-half"].map(|stage| told.ended(stage).outcome);
    assert_eq!(outcomes, ["passed", "failed", "passed", "blocked"]);
}

#[test]
fn the_command_line_selects() {
    let project = project(&[
        stage("a", "", PASS),
        stage("b", "needs = [\"a\"]", FAIL),
        stage("c", "needs = [\"b\"]", PASS),
        stage("d", "", "{ do = \"sleep\", millis = 100 }"),
    ]);
    let outcomes = |arguments: &[&str], code: i32| {
        let told = project.run(&[&["exec", "--format", "json"], arguments].concat()).expect(code).told();
        ["a", "b", "c", "d"].map(|name| told.ended(name).outcome).join(" ")
    };
    assert_eq!(outcomes(&["--only", "a,d"], 0), "passed skipped skipped passed");
    assert_eq!(outcomes(&["--only", "c"], 1), "passed failed blocked skipped");
    assert_eq!(outcomes(&["--only", "c", "--skip", "b"], 0).split(' ').nth(2), Some("passed"));
    assert_eq!(outcomes(&["--skip", "b"], 0), "passed skipped passed passed");
    assert_eq!(outcomes(&["--keep-going", "--jobs", "1"], 1), "passed failed blocked passed");
    project.run(&["exec", "--only", "e"]).expect(2).says("stages: a, b, c, d");
}

#[test]
fn fail_fast_stops_the_others() {
    let project = project(&[
        stage("bad", "", FAIL),
        stage("long", "", "{ do = \"sleep\", millis = 250000 }"),
        stage("later", "needs = [\"long\"]", PASS),
    ]);
    let began = Instant::now();
    let told = project.run(&["exec", "--format", "json", "--fail-fast", "--jobs", "2"]).expect(1).told();
    assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
    assert_eq!(["bad", "long", "later"].map(|name| told.ended(name).outcome), ["failed", "cancelled", "blocked"]);
}

#[test]
fn reports_show_the_stage_that_failed() {
    let project = project(&[
        stage("good", "", PASS),
        stage("bad", "", &format!("{{ do = \"print\", text = \"<&> \\u0007 ]]> line\" }}, {FAIL}")),
        stage("after", "needs = [\"bad\"]", PASS),
    ]);
    let finished = project.run(&["exec", "--format", "json", "--junit", "out/junit.xml"]).expect(1);
    let events = finished.events();
    assert_eq!((&events[0]["event"], &events[0]["schema"]), (&"schema".into(), &1.into()));
    assert_eq!(events[1]["event"], "run-started");
    assert_eq!(events[events.len() - 1]["event"], "run-finished");
    assert!(events[1..].iter().all(|event| event["at"].is_u64()), "every event says when");
    let told = finished.told();
    for name in ["good", "bad"] {
        assert!(told.at("stage-started", name) <= told.at("stage-finished", name));
    }
    let log =
        told.all("stage-finished").find(|event| event["stage"] == "bad").and_then(|event| event["log"].as_str()).expect("a log").to_owned();
    assert!(project.read(&log).contains("<&> \u{7} ]]> line"), "the log is whole");

    let elements = xml::elements(&project.read("out/junit.xml"));
    assert_eq!(elements[0].name, "testsuites");
    let number = |element: &xml::Element, name: &str| element.attributes.get(name).and_then(|value| value.parse::<u32>().ok());
    let suites: Vec<&xml::Element> = elements.iter().filter(|element| element.name == "testsuite").collect();
    let suite =
        |name: &str| suites.iter().find(|suite| suite.attributes["name"] == name).unwrap_or_else(|| panic!("no suite {name}: {suites:?}"));
    assert_eq!(number(suite("good"), "failures"), Some(0));
    assert_eq!((number(suite("bad"), "tests"), number(suite("bad"), "failures")), (Some(1), Some(1)));
    assert_eq!(number(suite("after"), "skipped"), Some(1));
    let failures: Vec<&xml::Element> = elements.iter().filter(|element| element.name == "failure").collect();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].attributes["message"].contains("3 of 214 tests failed"), "{failures:?}");

    let plain = project.exec().expect(1);
    plain.says("[bad] failed: 3 of 214 tests failed").says("<&>").never_says("\u{7}").says("FAILED").says("blocked");
}

/// A report that can't be written is said, and fails nobody.
#[test]
fn a_broken_report_fails_no_run() {
    let project = project(&[stage("a", "", PASS)]).file("file", "");
    project.run(&["exec", "--format", "plain", "--junit", "file/junit.xml"]).expect(0).says("junit.xml");
}

#[test]
fn what_a_run_leaves_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let project = project(&[stage("a", "", &format!("{{ do = \"print\", text = \"x\" }}, {PASS}"))]);
    project.exec().expect(0);
    let folder = project.path().join(".runner");
    assert_eq!(std::fs::metadata(&folder).expect("it is there").permissions().mode() & 0o777, 0o700);
    assert_eq!(project.read(".runner/.gitignore").trim(), "*");
}

/// A run that is being waited for: a command that ignores what it can, and a component.
fn waiting(marker: &str, ignore: &str) -> Project {
    let script = format!("{ignore} sleep {marker} & sleep {marker} & wait; wait; sleep {marker}");
    let command = format!(
        "[stage.command]\nuses = \"command\"\nwith = {{ shell = [\"sh\"], script = \"{script}\" }}\n\
         grants.commands = {{ in = \"process\", programs = [\"sh\"] }}\n"
    );
    project(&[command, stage("component", "", "{ do = \"exhaust\", what = \"time\" }"), stage("after", "needs = [\"component\"]", PASS)])
}

#[test]
fn signals_end_the_run_in_order() {
    if !confined(RUNNER, "signals_end_the_run_in_order") {
        return;
    }
    for (signal, code, verdict) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated"), ("HUP", 143, "terminated")] {
        let marker = processes::marker();
        let project = waiting(&marker, "");
        let running = project.start(&["exec", "--format", "json", "--jobs", "2"]);
        processes::wait_for(&marker, 2);
        let began = Instant::now();
        running.signal(signal);
        let told = running.finish().expect(code).told();
        assert!(began.elapsed() < Duration::from_secs(20), "SIG{signal}: it took {:?}", began.elapsed());
        assert_eq!(told.verdict(), verdict);
        assert_eq!(processes::with(&marker), Vec::<u32>::new(), "SIG{signal} left processes");
        for stage in ["command", "component"] {
            assert_eq!(told.ended(stage).outcome, "cancelled", "SIG{signal}\n{}", told.printed());
        }
        assert_eq!(told.ended("after").outcome, "blocked");
        assert_eq!(told.all("stopping").count(), 1);
    }
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    if !confined(RUNNER, "a_second_interrupt_ends_it_at_once") {
        return;
    }
    let marker = processes::marker();
    let project = waiting(&marker, "trap '' TERM INT HUP;");
    let running = project.start(&["exec", "--format", "json", "--jobs", "2", "--grace", "120"]);
    processes::wait_for(&marker, 2);
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    running.signal("INT");
    let finished = running.finish().expect(130);
    assert!(began.elapsed() < Duration::from_millis(2500), "it took {:?}", began.elapsed());
    assert_eq!(finished.told().verdict(), "interrupted");
    processes::wait_for(&marker, 0);
}
