//! Caches of stages: what a later run finds, what none can change, and who sees what.

use std::fs;
use std::path::PathBuf;

use end_to_end::{Finished, Project, Told, confined};
use serde_json::Value;

use crate::RUNNER;

/// A stage that says what it finds of `~/.deps`, brings it up to date, and tries to spoil what it found.
const USE: &str = r#"
if [ -f ~/.deps/of ]; then echo "FOUND $(cat ~/.deps/of)"; else echo "FOUND nothing"; fi
mkdir -p ~/.deps/sub && rm -rf ~/.deps/sub ~/.deps/old
mkdir ~/.deps/sub && echo "$WORD" > ~/.deps/of && echo "$WORD" > ~/.deps/sub/file
"#;

fn stage(name: &str, word: &str, script: &str, more: &str) -> String {
    format!(
        "[stage.{name}]\nuses = \"command\"\ncaches = [\"deps\"]\nenv.WORD = \"{word}\"\n{more}\n[stage.{name}.with]\nshell = [\"sh\", \"-eu\"]\n\
         script = '''\n{script}\n'''\n\
         [stage.{name}.grants]\nfiles = [{{ path = \".\", access = \"write\" }}]\n\
         commands = {{ in = \"process\", toolchain = \"system\", programs = [\"sh\"], repeatable = true }}\n"
    )
}

fn pipeline(paths: &str, stages: &[String]) -> String {
    let key = "key = [\"v1\", { files = [\"*.lock\"] }]";
    format!("format = 1\nname = \"cached\"\n\n[cache.deps]\npaths = [{paths}]\n{key}\n\n{}", stages.join("\n"))
}

fn project(word: &str) -> Project {
    let text = pipeline("\"~/.deps\"", &[stage("install", word, USE, "")]);
    Project::with_pipeline(RUNNER, &text).file("a.lock", "1")
}

/// What is said of caches: `hit`, `missed the files "*.lock"`.
fn cached(told: &Told) -> Vec<String> {
    let line = |event: &Value| {
        let part = event["part"].as_str().map(|part| format!(" {part}")).unwrap_or_default();
        format!("{}{part}", event["result"].as_str().unwrap_or_default())
    };
    told.all("cache").map(line).collect()
}

fn run(project: &Project) -> (Vec<String>, String) {
    let told = project.exec_json().expect(0).told();
    let found = told.log("install").lines().find_map(|line| line.strip_prefix("FOUND ").map(str::to_owned));
    (cached(&told), found.expect("it says what it found"))
}

/// The entries of `.runner/caches`, by scope and name.
fn entries(project: &Project, place: &str) -> Vec<PathBuf> {
    let folder = project.path().join(".runner/caches").join(place);
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn a_hit_is_mounted_and_nobody_can_change_it() {
    if !confined(RUNNER, "a_hit_is_mounted_and_nobody_can_change_it") {
        return;
    }
    let project = project("one");
    assert_eq!(run(&project), (vec!["missed".to_owned(), "saved".to_owned()], "nothing".to_owned()));
    for word in ["two", "three"] {
        project.write("pipeline.toml", pipeline("\"~/.deps\"", &[stage("install", word, USE, "")]));
        assert_eq!(run(&project), (vec!["hit".to_owned()], "one".to_owned()), "{word}");
    }
    let [entry] = entries(&project, "local/deps").try_into().expect("one entry");
    assert_eq!(fs::read_to_string(entry.join("content/0/sub/file")).expect("a file"), "one\n");
    let work = project.path().join(".runner/runs");
    let left =
        fs::read_dir(&work).expect("runs").flatten().filter(|run| run.path().join("work").read_dir().is_ok_and(|mut w| w.next().is_some()));
    assert_eq!(left.count(), 0, "nothing of an attempt is left");
}

#[test]
fn the_beginning_of_a_key_brings_older_content() {
    if !confined(RUNNER, "the_beginning_of_a_key_brings_older_content") {
        return;
    }
    let project = project("one");
    run(&project);
    project.write("a.lock", "2");
    project.replace("pipeline.toml", "\"one\"", "\"two\"");
    let (said, found) = run(&project);
    assert_eq!((said.as_slice(), found.as_str()), (["restored the files \"*.lock\"".to_owned(), "saved".to_owned()].as_slice(), "one"));
    assert_eq!(run(&project), (vec!["hit".to_owned()], "two".to_owned()));
    project.write("a.lock", "1");
    assert_eq!(run(&project), (vec!["hit".to_owned()], "one".to_owned()), "the older entry is as it was");
    project.replace("pipeline.toml", "\"v1\"", "\"v2\"");
    let (said, found) = run(&project);
    assert_eq!((said[0].as_str(), found.as_str()), ("missed \"v1\"".replace("v1", "v2").as_str(), "nothing"));
    let plain = project.run(&["exec", "--format", "plain"]).expect(0);
    plain.says("cache deps: hit").says("caches     1 hit");
}

#[test]
fn a_stage_that_fails_saves_nothing() {
    if !confined(RUNNER, "a_stage_that_fails_saves_nothing") {
        return;
    }
    let project = project("one");
    project.replace("pipeline.toml", "of && echo", "of && exit 1 && echo");
    project.exec().expect(1).says("cache deps: missed");
    assert_eq!(entries(&project, "local/deps"), [] as [PathBuf; 0]);
}

#[test]
fn stages_that_run_at_once_share_one_entry() {
    if !confined(RUNNER, "stages_that_run_at_once_share_one_entry") {
        return;
    }
    let both = |script: &str| [stage("install", "one", script, ""), stage("other", "other", script, "")];
    let project = Project::with_pipeline(RUNNER, &pipeline("\"~/.deps\"", &both(USE))).file("a.lock", "1");
    project.run(&["exec", "--only", "install"]).expect(0);
    let script = format!("{USE}\nsleep 1\ncat ~/.deps/of");
    project.write("pipeline.toml", pipeline("\"~/.deps\"", &both(&script)));
    let told = project.run(&["exec", "--format", "json", "--jobs", "2"]).expect(0).told();
    for (stage, word) in [("install", "one"), ("other", "other")] {
        let log = told.log(stage);
        assert!(log.contains("FOUND one") && log.trim_end().ends_with(word), "{stage}: {log}");
    }
}

#[test]
fn runs_that_save_at_once_leave_one_entry() {
    if !confined(RUNNER, "runs_that_save_at_once_leave_one_entry") {
        return;
    }
    let project = project("one");
    let running: Vec<_> = (0..3).map(|_| project.start(&["exec", "--format", "plain"])).collect();
    let finished: Vec<Finished> = running.into_iter().map(|running| running.finish().expect(0)).collect();
    assert_eq!(entries(&project, "local/deps").len(), 1, "{finished:?}");
    assert_eq!(entries(&project, "tmp"), [] as [PathBuf; 0]);
    assert_eq!(run(&project), (vec!["hit".to_owned()], "one".to_owned()));
}

/// It is where the component and the artifacts find it, and it is not in the checkout.
#[test]
fn a_folder_of_the_workspace_is_put_into_the_stages_own_copy() {
    if !confined(RUNNER, "a_folder_of_the_workspace_is_put_into_the_stages_own_copy") {
        return;
    }
    let script = "if [ -f build/out/of ]; then echo \"FOUND $(cat build/out/of)\"; else echo FOUND nothing; fi\nmkdir -p build/out && echo $WORD > build/out/of";
    let artifact = "artifacts.out = { paths = [\"build/out/of\"] }";
    let text = |word| pipeline("\"build/out\"", &[stage("install", word, script, artifact)]);
    let project = Project::with_pipeline(RUNNER, &text("one")).file("a.lock", "1").file("build/tracked", "x");
    assert_eq!(run(&project), (vec!["missed".to_owned(), "saved".to_owned()], "nothing".to_owned()));
    project.write("pipeline.toml", text("two"));
    for _ in 0..2 {
        assert_eq!(run(&project), (vec!["hit".to_owned()], "one".to_owned()));
    }
    assert!(!project.path().join("build/out").exists(), "the checkout is as it was");
    project.write("build/out/mine", "x");
    let told = project.exec_json().expect(0).told();
    assert!(told.log("install").contains("the checkout has `build/out` already"), "{}", told.printed());
}

/// What a stage puts in the way of its cache is not what the host moves away.
#[test]
fn a_planted_link_leads_nowhere() {
    if !confined(RUNNER, "a_planted_link_leads_nowhere") {
        return;
    }
    let outside = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(outside.path().join("out")).expect("a folder");
    fs::write(outside.path().join("out/secret"), "x").expect("a file");
    let script = format!("rm -rf build && ln -s {} build && echo FOUND nothing", outside.path().display());
    let text = pipeline("\"build/out\"", &[stage("install", "one", &script, "")]);
    let project = Project::with_pipeline(RUNNER, &text).file("a.lock", "1").file("build/tracked", "x");
    assert_eq!(run(&project).0, ["missed"]);
    assert!(outside.path().join("out/secret").exists());
    assert_eq!(entries(&project, "local/deps"), [] as [PathBuf; 0]);
}

#[test]
fn what_no_stage_could_use_is_a_mistake() {
    let check = |paths: &str, from: &str, to: &str| {
        let project = Project::with_pipeline(RUNNER, &pipeline(paths, &[stage("install", "one", USE, "")]));
        project.replace("pipeline.toml", from, to);
        project.run(&["check"]).expect(3).says("cache-place")
    };
    let host = "commands = { in = \"host\", programs = [\"sh\"] }";
    let process = "commands = { in = \"process\", toolchain = \"system\", programs = [\"sh\"], repeatable = true }";
    check("\"~/.deps\"", process, host).says("would be the user's own").says("caches = [\"deps\"]");
    check("\".venv\"", "access = \"write\"", "access = \"read\"").says("has no copy of");
}

#[test]
fn a_killed_run_leaves_no_half_and_goes_on_with_what_it_had() {
    if !confined(RUNNER, "a_killed_run_leaves_no_half_and_goes_on_with_what_it_had") {
        return;
    }
    let project = project("one");
    run(&project);
    let before = project.runs();
    let script = format!("{USE}\nif [ ! -f ran ]; then touch ran; echo WAITING; sleep 1000; fi\ncat ~/.deps/of");
    project.write("pipeline.toml", pipeline("\"~/.deps\"", &[stage("install", "two", &script, "")]));
    let running = project.start(&["exec", "--format", "plain", "-v"]);
    // not the line of the script that says so
    running.wait_until("| WAITING");
    running.kill().expect(137);
    assert_eq!(entries(&project, "tmp"), [] as [PathBuf; 0]);
    let run = project.runs().into_iter().find(|run| !before.contains(run)).expect("a second run");
    let told = project.run(&["resume", &run, "--format", "json"]).expect(0).told();
    // it was changed before the kill, and the change is still there
    assert!(told.log("install").contains("FOUND two"), "{}", told.printed());
    project.replace("pipeline.toml", "sleep 1000", "true");
    assert_eq!(self::run(&project), (vec!["hit".to_owned()], "one".to_owned()), "the entry is as it was");
}

#[test]
fn gc_shows_and_removes_caches() {
    if !confined(RUNNER, "gc_shows_and_removes_caches") {
        return;
    }
    let project = project("one");
    run(&project);
    project.run(&["gc", "--dry-run"]).expect(0).says("would keep cache deps (local)").says("used today: \"v1\", the files \"*.lock\"");
    project.run(&["gc"]).expect(0).never_says("cache");
    project.run(&["gc", "--caches", "--dry-run"]).expect(0).says("would remove cache deps (local)");
    assert_eq!(entries(&project, "local/deps").len(), 1);
    project.run(&["gc", "--caches"]).expect(0).says("removed cache deps (local)").says("1 cache");
    assert_eq!(entries(&project, "local/deps"), [] as [PathBuf; 0]);
}

/// As GitHub tells of a push to `main`, and of a pull request into it.
fn on_github(project: Project, fork: Option<u32>) -> Project {
    let project = project.env("GITHUB_ACTIONS", "true").env("CI", "true").without("GITHUB_EVENT_NAME").without("GITHUB_REF");
    let Some(number) = fork else {
        let event = serde_json::json!({ "repository": { "default_branch": "main" } });
        project.write("event.json", event.to_string());
        let path = project.path().join("event.json").display().to_string();
        return project.env("GITHUB_EVENT_NAME", "push").env("GITHUB_REF", "refs/heads/main").env("GITHUB_EVENT_PATH", &path);
    };
    let event = serde_json::json!({
        "number": number,
        "pull_request": {
            "number": number,
            "head": { "ref": "main", "sha": "0".repeat(40), "repo": { "full_name": "mallory/shop" } },
            "base": { "ref": "main", "sha": "1".repeat(40), "repo": { "full_name": "acme/shop" } },
        },
    });
    project.write("event.json", event.to_string());
    let path = project.path().join("event.json").display().to_string();
    let name = format!("refs/pull/{number}/merge");
    project.env("GITHUB_EVENT_NAME", "pull_request").env("GITHUB_REF", &name).env("GITHUB_EVENT_PATH", &path)
}

/// A pull request from a fork saves a cache under the very key that `main` looks for, before `main` has it and after; it calls its own branch
/// `main`, too.
#[test]
fn what_a_fork_saves_is_seen_by_that_pull_request_alone() {
    if !confined(RUNNER, "what_a_fork_saves_is_seen_by_that_pull_request_alone") {
        return;
    }
    let says = |project: &Project, word: &str| project.write("pipeline.toml", pipeline("\"~/.deps\"", &[stage("install", word, USE, "")]));
    let project = on_github(project("poison"), Some(7));
    assert_eq!(run(&project), (vec!["missed".to_owned(), "saved".to_owned()], "nothing".to_owned()));
    assert_eq!(run(&project), (vec!["hit".to_owned()], "poison".to_owned()));
    let project = on_github(project, None);
    says(&project, "good");
    assert_eq!(run(&project), (vec!["missed".to_owned(), "saved".to_owned()], "nothing".to_owned()), "main");
    assert_eq!(run(&project), (vec!["hit".to_owned()], "good".to_owned()));
    let project = on_github(project, Some(8));
    says(&project, "other poison");
    assert_eq!(run(&project), (vec!["hit".to_owned()], "good".to_owned()), "another one has what main has");
    project.write("a.lock", "2");
    assert_eq!(run(&project).0, ["restored the files \"*.lock\"", "saved"]);
    let project = on_github(project, None);
    says(&project, "good");
    assert_eq!(run(&project), (vec!["restored the files \"*.lock\"".to_owned(), "saved".to_owned()], "good".to_owned()), "main");
    assert_eq!(entries(&project, "branch-main/deps").len(), 2);
    assert_eq!((entries(&project, "fork-7/deps").len(), entries(&project, "fork-8/deps").len()), (1, 1));
}
