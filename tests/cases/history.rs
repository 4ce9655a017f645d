//! Looking back: the list of runs, one run, its logs, ledger and artifacts; carrying a run elsewhere; clearing away.

use std::path::Path;
use std::time::{Duration, Instant};

use end_to_end::Project;
use serde_json::Value;

use crate::RUNNER;

const PIPELINE: &str = r#"format = 1
name = "shop"

[stage.build]
uses = "command"
with = { run = ["sh", "-c", "mkdir -p dist && echo built > dist/app && echo building"] }
[stage.build.grants]
files = [{ path = ".", access = "write" }]
commands = { in = "host", programs = ["sh", "make"] }
[stage.build.artifacts]
dist = { paths = ["dist/**"] }

[stage.reach]
uses = "./hostile.wasm"
needs = ["build"]
soft-fail = true
with.tries = [{ do = "http", url = "http://api.example/v1" }, { do = "std-read", path = "/workspace/src/main.rs" }]
[stage.reach.grants]
files = [{ path = "src", access = "read" }, { path = "docs", access = "read" }]
"#;

fn project() -> Project {
    let project = Project::hostile(RUNNER);
    project.write("pipeline.toml", PIPELINE);
    project.write("src/main.rs", "fn main() {}\n");
    project.write("docs/guide.md", "# Guide\n");
    project
}

/// The one run of a project that ran once.
fn ran() -> (Project, String) {
    let project = project();
    project.exec().expect(0);
    let run = only_run(&project);
    (project, run)
}

fn only_run(project: &Project) -> String {
    let runs = json(project, &["runs", "--format", "json"]);
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    runs[0]["run"].as_str().expect("an id").to_owned()
}

fn json(project: &Project, arguments: &[&str]) -> Value {
    let finished = project.run(arguments).expect(0);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

#[test]
fn runs_are_listed_newest_first_and_filtered() {
    let (project, first) = ran();
    project.replace("pipeline.toml", "echo building", "exit 3");
    project.exec().expect(1);
    let runs = json(&project, &["runs", "--format", "json"]);
    assert_eq!((&runs[0]["state"], &runs[1]["state"]), (&"failed".into(), &"passed".into()), "{runs}");
    assert_eq!(runs[1]["run"], first.as_str());
    assert_eq!(runs[1]["stages"]["passed"], 2, "{runs}");
    let count = |arguments: &[&str]| json(&project, &[&["runs", "--format", "json"], arguments].concat()).as_array().map(Vec::len);
    assert_eq!(count(&["--state", "passed"]), Some(1));
    assert_eq!(count(&["--state", "passed,failed", "--pipeline", "shop", "--since", "1h"]), Some(2));
    assert_eq!(count(&["--pipeline", "other"]), Some(0));
    assert_eq!(count(&["--limit", "1"]), Some(1));
    project.run(&["runs", "--state", "paused"]).expect(2).says("cut-off");
    let table = project.run(&["runs"]).expect(0).says("RUN").says("shop").never_says("\u{1b}");
    assert!(table.stdout.lines().all(|line| line.chars().count() <= 80), "{}", table.stdout);
    // also when the pipeline file is gone, and from a folder below
    std::fs::remove_file(project.path().join("pipeline.toml")).expect("it was there");
    project.run(&["runs", "-C", "src"]).expect(0).says(&first);
}

#[test]
fn a_run_is_named_by_its_id_a_part_of_it_or_as_the_latest() {
    let (project, run) = ran();
    for name in [run.as_str(), &run[..run.len() - 2], "latest"] {
        project.run(&["show", name]).expect(0).says(&run).says("build.dist").says("denied  http.request").says("GET http://api.example/v1");
    }
    project.run(&["show", "19990101"]).expect(2).says("there is no run `19990101`");
    project.run(&["show", "latest", "deploy"]).expect(2).says("has no stage `deploy`").says("build, reach");
    let shown = project.run(&["show", "latest", "reach"]).expect(0).says("files.open");
    assert!(shown.stdout.contains("attempt 1"), "{}", shown.stdout);
    let json = json(&project, &["show", "latest", "--effects", "--format", "json"]);
    assert_eq!((&json["state"], &json["stages"][0]["artifacts"][0]["name"]), (&"passed".into(), &"dist".into()), "{json}");
    assert!(json["effects"].as_array().is_some_and(|effects| effects.iter().any(|effect| effect["verdict"] == "denied")), "{json}");
}

#[test]
fn logs_are_the_bytes_that_were_written() {
    let (project, run) = ran();
    let file = project.read(&format!(".runner/runs/{run}/logs/build.1.log"));
    assert!(file.contains("building\n"), "{file}");
    assert_eq!(project.run(&["logs", "latest", "build"]).expect(0).stdout, file);
    project.run(&["logs", "latest"]).expect(0).says("==> build <==\n");
    let commands = project.run(&["logs", "latest", "build", "--stream", "command"]).expect(0).stdout;
    assert_eq!(commands, "building\n");
    project.run(&["logs", "latest", "build", "--attempt", "7"]).expect(2).says("attempts: 1");
    project.run(&["logs", "latest", "build", "--follow"]).expect(0).says("building");
}

#[test]
fn a_running_run_is_listed_and_followed_until_it_ends() {
    let project = project();
    project.replace("pipeline.toml", "echo building", "echo first; while ! test -e /GO; do sleep 0.05; done; echo last");
    let go = project.path().join("go");
    project.replace("pipeline.toml", "/GO", &go.display().to_string());
    let exec = project.start(&["exec", "--format", "plain"]);
    let began = Instant::now();
    let printed = |project: &Project| {
        let folder = std::fs::read_dir(project.path().join(".runner/runs")).into_iter().flatten().flatten().next();
        folder.is_some_and(|run| std::fs::read_to_string(run.path().join("logs/build.1.log")).is_ok_and(|log| log.contains("first")))
    };
    while !printed(&project) {
        assert!(began.elapsed() < Duration::from_secs(120), "the stage never printed");
        std::thread::sleep(Duration::from_millis(20));
    }
    project.run(&["runs"]).expect(0).says("running");
    project.run(&["show", "latest"]).expect(0).says("running");
    let follow = project.start(&["logs", "latest", "build", "--follow"]);
    project.run(&["gc", "--keep", "0"]).expect(0).says("removed 0 runs");
    std::fs::write(&go, "").expect("a file");
    exec.finish().expect(0);
    let followed = follow.finish().expect(0);
    assert!(followed.stdout.contains("first\n") && followed.stdout.contains("last\n"), "{}", followed.stdout);
}

#[test]
fn the_ledger_has_what_was_granted_and_denied_and_what_could_go() {
    let (project, _) = ran();
    project.run(&["ledger", "latest"]).expect(0).says("commands.start").says("http.request").says("not-granted");
    let denied = project.run(&["ledger", "latest", "--denied"]).expect(0).says("http.request");
    assert!(!denied.stdout.contains("commands.start"), "{}", denied.stdout);
    project
        .run(&["ledger", "latest", "--granted"])
        .expect(0)
        .says("removable: [stage.build.grants] commands: \"make\" in `programs`: never started")
        .says("removable: [stage.reach.grants] files: { path = \"docs\", access = \"read\" }: nothing there was used")
        .says("files of build: not known");
    let lines = project.run(&["ledger", "latest", "--format", "json"]).expect(0).events();
    let (last, effects) = lines.split_last().expect("lines");
    assert_eq!(last["removable"].as_array().map(Vec::len), Some(2), "{last}");
    assert!(effects.iter().all(|line| line["effect"].is_string() && line["time"].is_string()), "{effects:?}");
    let sarif = json(&project, &["ledger", "latest", "--format", "sarif"]);
    let result = &sarif["runs"][0]["results"][0];
    let line = PIPELINE.lines().position(|line| line == "[stage.reach.grants]").expect("it is there") + 1;
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], line, "{sarif:#}");
    project.run(&["runs", "--format", "sarif"]).expect(2).says("only `ledger`");
}

#[test]
fn artifacts_are_taken_out_whole_or_not_at_all() {
    let (project, _) = ran();
    project.run(&["artifacts", "latest"]).expect(0).says("build.dist").says("1 file");
    project.run(&["artifacts", "latest", "dist", "-o", "out"]).expect(0);
    assert_eq!(project.read("out/dist/app"), "built\n");
    project.run(&["artifacts", "latest", "dist", "-o", "out"]).expect(2).says("is not empty");
    project.run(&["artifacts", "latest", "nothing"]).expect(2).says("build.dist");
    for blob in blobs(project.path()) {
        std::fs::write(&blob, "something else").expect("a blob");
    }
    project.run(&["artifacts", "latest", "dist", "-o", "broken"]).expect(1);
    let left =
        std::fs::read_dir(project.path()).expect("a folder").flatten().filter(|e| e.file_name().to_string_lossy().contains("broken"));
    assert_eq!(left.count(), 0);
}

fn blobs(root: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(root.join(".runner/blobs")).into_iter().flatten().flatten();
    folders
        .filter(|f| f.file_name() != "tmp")
        .flat_map(|f| std::fs::read_dir(f.path()).into_iter().flatten().flatten().map(|b| b.path()))
        .collect()
}

#[test]
fn a_run_is_carried_elsewhere_and_replayed_there() {
    let (project, run) = ran();
    project.run(&["export", "latest", "-o", "run.tar.gz"]).expect(0).says(&run);
    project.run(&["export", "latest", "-o", "again.tar.gz"]).expect(0);
    let bytes = std::fs::read(project.path().join("run.tar.gz")).expect("an export");
    assert!(bytes == std::fs::read(project.path().join("again.tar.gz")).expect("an export"), "the same run makes the same bytes");
    project.run(&["export", "latest", "-o", "run.tar.gz"]).expect(2).says("is there already");

    let elsewhere = Project::new(RUNNER).file("run.tar.gz", &bytes);
    elsewhere.run(&["import", "run.tar.gz"]).expect(0).says(&run);
    elsewhere.run(&["import", "run.tar.gz"]).expect(2).says("is here already");
    assert_eq!(only_run(&elsewhere), run);
    let ledger = |project: &Project| project.run(&["ledger", "latest", "--granted", "--format", "json"]).expect(0).stdout;
    let effects = |text: String| text.lines().filter(|line| line.contains("\"effect\"")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(effects(ledger(&elsewhere)), effects(ledger(&project)));
    elsewhere.run(&["artifacts", "latest", "dist", "-o", "out"]).expect(0);
    assert_eq!(elsewhere.read("out/dist/app"), "built\n");
    // the plugin was a file of the other machine
    elsewhere.run(&["replay", "latest", "reach"]).expect(0).says("REPLAYED");

    let torn = Project::new(RUNNER).file("run.tar.gz", &bytes[..bytes.len() / 2]);
    torn.run(&["import", "run.tar.gz"]).expect(1).says("copy it again");
    torn.run(&["import", "nothing.tar.gz"]).expect(2);
    torn.run(&["import", "run.tar.gz", "--max-size", "10"]).expect(1).says("--max-size");
    let left: Vec<_> = std::fs::read_dir(torn.path().join(".runner/runs")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_damaged_journal_is_said_and_hides_no_other_run() {
    let (project, first) = ran();
    project.exec().expect(0);
    std::fs::write(project.path().join(format!(".runner/runs/{first}/journal.sqlite3")), "not a database").expect("written");
    project.run(&["runs"]).expect(0).says("unreadable").says("passed");
    project.run(&["show", &first]).expect(1).says("journal");
    project.run(&["show", "latest"]).expect(0);
    project.run(&["gc"]).expect(0).says("blobs and plugins stay");
}

#[test]
fn history_is_read_in_a_folder_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let (project, run) = ran();
    let folder = project.path().join(".runner/runs").join(&run);
    let before: Vec<_> = names(&folder);
    let mode = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("permissions");
    mode(0o500);
    for command in ["show", "logs", "ledger", "artifacts"] {
        project.run(&[command, "latest"]).expect(0);
    }
    project.run(&["runs"]).expect(0).says(&run);
    mode(0o700);
    assert_eq!(names(&folder), before, "reading leaves nothing behind");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn old_runs_and_what_only_they_named_are_removed() {
    let (project, first) = ran();
    project.replace("pipeline.toml", "echo built", "echo built differently");
    project.exec().expect(0);
    let two_hours_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    for blob in blobs(project.path()) {
        let file = std::fs::File::options().write(true).open(&blob).expect("a blob");
        file.set_modified(two_hours_ago).expect("its time");
    }
    let before = blobs(project.path()).len();
    project.run(&["gc", "--keep", "1", "--dry-run"]).expect(0).says("would remove run").says(&first);
    assert_eq!(blobs(project.path()).len(), before);
    project.run(&["gc", "--keep", "1"]).expect(0).says("removed 1 run").says(&first);
    // the manifest of the first artifact and its one file
    assert_eq!(blobs(project.path()).len(), before - 2);
    assert_ne!(only_run(&project), first);
    project.run(&["artifacts", "latest", "dist", "-o", "out"]).expect(0);
    assert_eq!(project.read("out/dist/app"), "built differently\n");
}

#[test]
fn a_hundred_runs_are_listed_at_once() {
    let (project, run) = ran();
    let runs = project.path().join(".runner/runs");
    for number in 0..100 {
        let copy = runs.join(format!("20200101-000000-{number:06}"));
        std::fs::create_dir(&copy).expect("a folder");
        std::fs::copy(runs.join(&run).join("journal.sqlite3"), copy.join("journal.sqlite3")).expect("a journal");
    }
    let began = Instant::now();
    let listed = json(&project, &["runs", "--limit", "200", "--format", "json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(101));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
