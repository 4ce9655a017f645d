//! The stage `notify` against receivers that check what they are sent: on failure, on success and on recovery, and told the same in a resumed
//! run and in a replay.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use end_to_end::receivers::Receivers;
use end_to_end::{Finished, Needles, Project, Reply, Server, memory, skipped};
use serde_json::{Value, json};

use crate::RUNNER;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A checkout on a branch with a hostile name, whose stage `test` passes while `/state` says 200. `with`: more settings of `notify`.
fn project(receivers: &Receivers, with: &str) -> Project {
    let base = receivers.url("");
    let pipeline = format!(
        r#"
format = 1
name = "shop"

[stage.lint]
uses = "smoke"
with.checks = [{{ name = "lint", url = "{base}/hook", expect = {{ status = 204 }} }}]
grants.http = [{{ url = "{base}/hook" }}]

[stage.test]
uses = "smoke"
with.journeys = [{{ name = "shop", steps = [{{ name = "it works", url = "{base}/state" }}] }}]
grants.http = [{{ url = "{base}/state" }}]

[stage.deploy]
uses = "smoke"
needs = ["test"]
with.checks = [{{ url = "{base}/hook", expect = {{ status = 204 }} }}]
grants.http = [{{ url = "{base}/hook" }}]

[stage.notify]
uses = "notify"
needs = ["*"]
run-on = "always"
soft-fail = true
{with}
grants.http = [{{ url = "{base}/**", methods = ["GET", "POST", "PATCH", "PUT"] }}]
"#
    );
    let branch = "feature/@org&<b>";
    Project::with_pipeline(RUNNER, &pipeline)
        .file(".git/HEAD", format!("ref: refs/heads/{branch}\n"))
        .file(format!(".git/refs/heads/{branch}").as_str(), format!("{SHA}\n"))
}

/// Every kind of receiver.
fn everybody(receivers: &Receivers) -> String {
    let base = receivers.url("");
    format!(
        r#"
[stage.notify.with]
links = [{{ title = "Run", url = "https://ci.example/{{{{ branch }}}}/{{{{ run }}}}" }}]
to = [
  {{ slack = "{base}/slack/services/T0/B0/x" }},
  {{ teams = "{base}/teams" }},
  {{ pagerduty = {{ routing-key = "{ROUTING_KEY}", url = "{base}/pagerduty/v2/enqueue" }} }},
  {{ webhook = {{ url = "{base}/hook", bearer = "token", on = ["success", "failure"] }} }},
  {{ github-comment = {{ repository = "acme/shop", number = 7, token = "token", api = "{base}/github" }} }},
  {{ github-status = {{ repository = "acme/shop", token = "token", api = "{base}/github" }} }},
  {{ jira = {{ url = "{base}/jira", project = "OPS", user = "ci@acme.example", token = "token" }} }},
  {{ email = {{ api = "sendgrid", key = "key", from = "CI <ci@acme.example>", to = ["ops@acme.example"], url = "{base}/sendgrid" }} }},
  {{ email = {{ api = "mailgun", key = "key", domain = "mg.acme.example", from = "ci@acme.example", to = ["ops@acme.example"], url = "{base}/mailgun" }} }},
  {{ email = {{ api = "postmark", key = "key", from = "ci@acme.example", to = ["ops@acme.example"], url = "{base}/postmark" }} }},
]"#
    )
}

fn exec(project: &Project) -> Finished {
    project.run(&["exec", "--format", "json"])
}

/// What `notify` said at its end.
#[track_caller]
fn said(finished: &Finished) -> String {
    let ended = finished.told().ended("notify");
    assert_eq!(ended.outcome, "passed", "{}", ended.message);
    ended.message
}

#[test]
fn everybody_is_told_of_a_failure_and_of_the_recovery() {
    let receivers = Receivers::start();
    let project = project(&receivers, "");
    let text = project.read("pipeline.toml");
    project.write("pipeline.toml", format!("{text}\n{}", everybody(&receivers)));

    receivers.break_down(true);
    let failed = exec(&project).expect(1);
    assert_eq!(
        said(&failed),
        "failed: told slack, teams, pagerduty (trigger shop/feature/@org&<b>), webhook, github-comment (wrote a comment), \
         github-status (failure), jira (made OPS-1), email, email, email"
    );
    let known = receivers.known();
    assert_eq!((known.count("slack"), known.limited_once()), (1, true), "429 is waited for, and then it is told once");
    assert!(known.last("slack")["text"].as_str().expect("text").contains("feature/@org&amp;&lt;b&gt;"), "{}", known.last("slack"));
    assert_eq!(known.alerts, ["shop/feature/@org&<b>"]);
    assert!(known.comments[0].1.contains("feature/@\u{200b}org&amp;&lt;b&gt;"), "nobody is mentioned by a branch: {:?}", known.comments);
    assert!(known.comments[0].1.contains("[Run](<https://ci.example/feature%2F%40org%26%3Cb%3E/"), "{:?}", known.comments);
    assert_eq!(known.last("github")["state"], "failure");
    assert_eq!(known.issues.len(), 1);
    let told = known.last("hook");
    assert_eq!((&told["status"], &told["branch"], &told["sha"]), (&json!("failed"), &json!("feature/@org&<b>"), &json!(SHA)));
    assert_eq!(told["previous"], Value::Null);
    let stage = |index: usize| &told["stages"][index];
    assert_eq!((&stage(0)["id"], &stage(0)["outcome"], &stage(0)["fails-run"]), (&json!("lint"), &json!("passed"), &json!(false)));
    assert_eq!((&stage(1)["id"], &stage(1)["outcome"], &stage(1)["attempts"]), (&json!("test"), &json!("failed"), &json!(1)));
    assert_eq!(stage(1)["tests"], json!({ "passed": 0, "failed": 1, "errored": 0, "skipped": 0, "flaky": 0 }));
    assert!(stage(1)["message"].as_str().expect("text").starts_with("shop › it works: "), "{told}");
    assert_eq!((&stage(2)["outcome"], &stage(2)["fails-run"]), (&json!("blocked"), &json!(true)));

    receivers.break_down(false);
    let recovered = exec(&project).expect(0);
    assert_eq!(
        said(&recovered),
        "recovered: told slack, teams, pagerduty (resolve shop/feature/@org&<b>), webhook, github-comment (rewrote the comment), \
         github-status (success), jira (commented OPS-1), email, email, email"
    );
    let known = receivers.known();
    assert!(known.alerts.is_empty());
    assert_eq!((known.comments.len(), known.issues.len(), known.issues[0].2), (1, 1, 1));
    assert!(known.comments[0].1.contains("**shop recovered on"), "{:?}", known.comments);
    let before = project.runs().remove(0);
    assert_eq!(known.last("hook")["previous"], json!({ "run": before, "status": "failed", "sha": SHA }));

    let passed = exec(&project).expect(0);
    assert_eq!(said(&passed), "passed: told webhook, github-status (success)");
    assert_eq!(receivers.known().last("hook")["previous"]["status"], "passed");
}

#[test]
fn one_that_is_gone_does_not_stop_the_others() {
    let receivers = Receivers::start();
    receivers.break_down(true);
    let to = |first: &str| {
        format!(
            "with.to = [{{ slack = \"{first}\" }}, {{ teams = \"{}\" }}]\nwith.text = \"{{{{ stages.failed }}}}\"",
            receivers.url("/teams")
        )
    };
    let finished = exec(&project(&receivers, &to(&receivers.url("/gone")))).expect(1);
    let ended = finished.told().ended("notify");
    assert_eq!((ended.kind.as_str(), ended.soft), ("errored", true));
    assert_eq!(ended.message, "1 of 2 receivers was not told: slack: it answered 404: no_service");
    assert_eq!(receivers.known().count("teams"), 1);
    assert_eq!(receivers.known().last("teams")["attachments"][0]["content"]["body"][1]["text"], "test");

    // what is not granted is refused, and what is granted is done
    let other = Receivers::start();
    let finished = exec(&project(&receivers, &to(&other.url("/slack")))).expect(1);
    let ended = finished.told().ended("notify");
    assert_eq!(ended.kind, "denied", "{}", ended.message);
    assert!(ended.message.contains("/slack"), "{}", ended.message);
    assert_eq!((receivers.known().count("teams"), other.asked().len()), (2, 0));
}

#[test]
fn a_mistake_is_found_before_anybody_is_told() {
    let receivers = Receivers::start();
    let with = format!(
        "with.to = [{{ teams = \"{}\" }}, {{ slack = {{ url = \"x\", on = [\"failure\"], text = \"{{{{ brnch }}}}\" }} }}]\nwith.on = [\"success\"]",
        receivers.url("/teams")
    );
    let ended = exec(&project(&receivers, &with)).expect(0).told().ended("notify");
    assert_eq!(ended.kind, "misconfigured");
    assert!(ended.message.starts_with("to[1] (slack): `text` is no template that can be filled in: undefined value"), "{}", ended.message);
    assert_eq!(receivers.known().count("teams"), 0);

    let lonely = project(&receivers, &with);
    lonely.replace("pipeline.toml", "needs = [\"*\"]", "");
    assert!(exec(&lonely).told().ended("notify").message.contains("add `needs = [\"*\"]`"));
}

/// Nothing is ambient: a stage is shown what it needs, and nothing else.
#[test]
fn only_needed_stages_are_shown() {
    let receivers = Receivers::start();
    receivers.break_down(true);
    let with = format!("with.to = [{{ webhook = {{ url = \"{}\", on = [\"success\", \"failure\"] }} }}]", receivers.url("/hook"));
    let project = project(&receivers, &with);
    project.replace("pipeline.toml", "needs = [\"*\"]", "needs = [\"lint\"]");
    assert_eq!(said(&exec(&project).expect(1)), "passed: told webhook");
    let told = receivers.known().last("hook").clone();
    assert_eq!(told["stages"].as_array().expect("a list").len(), 1, "{told}");
    assert_eq!(told["stages"][0]["id"], "lint");
}

/// A run that goes on tells what it told before, although another run has ended meanwhile; and a replay asks nobody.
#[test]
fn a_resumed_run_and_a_replay_tell_the_same() {
    let receivers = Receivers::start();
    let with = format!(
        "with.to = [{{ pagerduty = {{ routing-key = \"{ROUTING_KEY}\", url = \"{}\", text = \"{{{{ (previous and previous.status) or 'first' }}}} {{{{ stages }}}}\" }} }}]",
        receivers.url("/pagerduty/v2/enqueue")
    );
    let project = project(&receivers, &with);
    receivers.break_down(true);
    receivers.slow_down(Duration::from_secs(20));
    let running = project.begin();
    let asked = || receivers.asked().iter().filter(|line| line.starts_with("POST /pagerduty")).count();
    for _ in 0..6_000 {
        if asked() == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill().expect(137);
    let first = project.the_run();

    receivers.break_down(false);
    exec(&project).expect(0);
    let finished = project.run(&["resume", "--format", "json", &first]).expect(1);
    assert_eq!(said(&finished), "failed: told pagerduty (trigger shop/feature/@org&<b>)");
    assert_eq!(finished.told().started("notify"), [1], "the attempt goes on");
    let told = receivers.known().last("pagerduty")["payload"]["custom_details"]["text"].clone();
    assert_eq!(told, "first lint, test, deploy");

    // what failed runs again, and passes: that is a recovery too
    let finished = project.run(&["resume", "--failed", "--format", "json", &first]).expect(0);
    assert_eq!(said(&finished), "recovered: told pagerduty (resolve shop/feature/@org&<b>)");
    assert!(receivers.known().alerts.is_empty());

    let before = asked();
    let replayed = project.run(&["replay", "--format", "json", &first, "notify"]).expect(0);
    assert_eq!(replayed.events().pop().expect("a verdict")["result"], "same");
    assert_eq!(asked(), before, "a replay asks nobody");
}

/// Slack's URL is the secret, whole. The receivers take an image of all the memory that the guest has while it waits for their answers, and send the
/// secret back in every way that it has come.
#[test]
fn the_secret_url_is_a_handle_and_nothing_else_to_the_stage() {
    let path = "/services/T0000/B1111/hook-that-nobody-knows";
    let runner = Arc::new(AtomicU32::new(0));
    let images = Arc::new(Mutex::new(Vec::new()));
    let (watched, taken) = (runner.clone(), images.clone());
    let server = Server::answering(move |_, asked| {
        let status = match asked.path.as_str() {
            "/state" => return Reply { status: 200, headers: Vec::new(), body: "well".into() },
            known if known == path && asked.body.contains("gone") => 404,
            _ => 200,
        };
        taken.lock().expect("a list").push(memory::of_guests(watched.load(Ordering::SeqCst)));
        let url = format!("http://{}{path}", asked.header("host"));
        Reply { status, headers: vec![("x-asked", url.clone()), ("x-path", path.to_owned())], body: format!("ok {url}") }
    });
    let hook = server.url(path);
    let vault = tempfile::tempdir().expect("a folder");
    let file = vault.path().join("slack");
    std::fs::write(&file, format!("{hook}\n")).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    let pipeline = |text: &str| {
        format!(
            "format = 1\nname = \"shop\"\n\n[secret.slack]\nfrom = \"file:{}\"\nto = [\"{}\"]\n\n\
             [stage.test]\nuses = \"smoke\"\nwith.checks = [{{ url = \"{}\", expect = {{ status = 200 }} }}]\ngrants.http = [{{ url = \"{}\" }}]\n\n\
             [stage.notify]\nuses = \"notify\"\nneeds = [\"*\"]\nrun-on = \"always\"\nsoft-fail = true\n[stage.notify.with]\non = [\"success\"]\ntext = \"{text}\"\n\
             to = [{{ slack = \"${{secret.slack}}\" }}, {{ webhook = {{ url = \"{}\" }} }}]\n\
             [stage.notify.grants]\nhttp = [{{ url = \"${{secret.slack}}\", methods = [\"POST\"] }}, {{ url = \"{}\", methods = [\"POST\"] }}]\n",
            file.display(),
            server.url("/services/**"),
            server.url("/state"),
            server.url("/state"),
            server.url("/other"),
            server.url("/other"),
        )
    };
    // everything that a run may write is below the project
    let mut project = Project::new(RUNNER);
    for name in ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "TMPDIR", "HOME"] {
        let folder = project.path().join(format!("of-{}", name.to_lowercase()));
        std::fs::create_dir(&folder).expect("a folder");
        project = project.env(name, &folder.display().to_string());
    }
    let needles = Needles::of(&[&hook, path, "hook-that-nobody-knows"]);
    for (text, told) in [("well", "passed: told slack, webhook"), ("gone", "1 of 2 receivers was not told: slack: it answered 404: ok ")] {
        project.write("pipeline.toml", pipeline(text));
        let running =
            project.start(&["exec", "--format", "json", "--junit", "junit.xml", "--sarif", "run.sarif", "--code-quality", "quality.json"]);
        runner.store(running.id(), Ordering::SeqCst);
        let finished = running.finish().expect(0);
        let ended = finished.told().ended("notify");
        assert!(ended.message.starts_with(told), "{ended:?}");
        let asked = server.asked();
        assert!(asked.iter().any(|line| line.starts_with(&format!("POST {path} "))), "the receiver has it: {asked:?}");

        // while Slack was asked, and while the next one was, when Slack's answer had been read
        let images: Vec<_> = std::mem::take(&mut *images.lock().expect("a list"));
        assert_eq!(images.len(), 2);
        for image in images {
            match image {
                Ok(memories) => {
                    let handle = Needles::of(&["__secret-slack-"]);
                    assert!(
                        memories.iter().any(|memory| handle.within(memory).is_some()),
                        "{} memories, none is the guest's",
                        memories.len()
                    );
                    assert!(memories.iter().all(|memory| needles.within(memory).is_none()), "the guest has the secret");
                }
                Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => {
                    skipped(&format!("an image of the guest's memory: {why}"))
                }
                Err(why) => panic!("{why}"),
            }
        }
        for printed in [&finished.stdout, &finished.stderr] {
            assert_eq!(needles.within(printed.as_bytes()), None, "{printed}");
        }
    }
    assert!(needles.nowhere_below(project.path()) > 20);
    for run in project.runs() {
        for arguments in [vec!["show", &run, "--format", "json"], vec!["ledger", &run], vec!["logs", &run]] {
            let shown = project.run(&arguments).expect(0);
            assert_eq!(needles.within(shown.stdout.as_bytes()), None, "{}", shown.stdout);
        }
    }
}
