//! What a plan holds.

use std::time::Duration;

use pipeline::diagnostic::Severity;
use pipeline::plan::{Approval, Backoff, RunOn, WorkspaceMode};

use crate::fakes::{World, codes, good, plan, shown, stage};

const WHOLE: &str = r#"format = 1
name = "shop"
timeout = "40m"

[input.environment]
type = "choice"
options = ["staging", "production"]
default = "staging"
description = "where to"

[secret.registry]
from = "env:REGISTRY_TOKEN"
to = ["registry:ghcr.io"]

[stage.lint]
uses = "test"
timeout = "10m"
with.tags = ["${input.environment}"]

[stage.test]
uses = "command"
matrix = { app = ["web", "api"], node = [20, 22], exclude = [{ app = "api", node = 20 }], include = [{ app = "cli", node = 24 }] }
retries = { count = 2, backoff = "exponential", delay = "5s", max-delay = "30s", jitter = true }
soft-fail = true
env = { APP = "${matrix.app}", PORT = 8080 }
limits = { memory = "512MiB", handles = 100, compile = "10s" }
[stage.test.with]
run = ["npm", "test", "-w", "${matrix.app}@${matrix.node}"]
[stage.test.grants]
files = [{ path = ".", access = "write" }]
commands = { in = "process", programs = ["npm"] }
[stage.test.artifacts]
coverage = { paths = ["coverage/${matrix.app}/**"], on = "always", keep = "14d" }

[stage.report]
uses = "./my.wasm"
consumes = ["test.coverage"]
needs-any = ["lint"]
grants.files = [{ path = "coverage", access = "read" }]

[stage.format]
uses = "test"
workspace = "shared"
grants.files = [{ path = "src", access = "write" }]

[stage.notify]
uses = "test"
needs = ["*"]
run-on = "always"
when = 'stage.lint.outcome != "skipped"'

[stage.audit]
uses = "test"
needs = ["*"]
"#;

#[test]
fn everything_is_there() {
    let (plan, warnings) = plan(WHOLE).unwrap();
    assert!(warnings.iter().all(|d| d.severity == Severity::Warning && d.code == "unused"));
    assert_eq!(warnings.len(), 1, "{}", shown(WHOLE));
    let ids: Vec<&str> = plan.stages.iter().map(|s| s.id.as_str()).collect();
    let tests = ["test (app=web, node=20)", "test (app=web, node=22)", "test (app=api, node=22)", "test (app=cli, node=24)"];
    assert_eq!(ids, ["lint", tests[0], tests[1], tests[2], tests[3], "report", "format", "notify", "audit"]);
    assert_eq!((plan.name.as_str(), plan.timeout), ("shop", Some(Duration::from_secs(2400))));
    assert_eq!(plan.digest, blake3::hash(WHOLE.as_bytes()).to_hex().as_str());
    assert_eq!(plan.inputs, [("environment".to_owned(), "staging".to_owned())]);
    assert_eq!((plan.secrets[0].name.as_str(), plan.secrets[0].from.as_str()), ("registry", "env:REGISTRY_TOKEN"));

    let test = &plan.stages[3];
    assert_eq!(test.matrix, [("app".to_owned(), "api".to_owned()), ("node".to_owned(), "22".to_owned())]);
    assert_eq!(test.settings["run"][3], "api@22");
    assert_eq!(test.env, [("APP".to_owned(), "api".to_owned()), ("PORT".to_owned(), "8080".to_owned())]);
    assert_eq!(
        (test.retries.count, test.retries.backoff, test.retries.delay.as_secs(), test.retries.max_delay.as_secs()),
        (2, Backoff::Exponential, 5, 30)
    );
    assert_eq!((test.limits.memory, test.limits.handles, test.limits.compile.as_secs()), (512 << 20, 100, 10));
    assert_eq!(test.limits.log, 256 << 20, "others keep their defaults");
    assert!(test.soft_fail && test.timeout.is_none());
    assert_eq!(test.artifacts[0].paths, ["coverage/api/**"]);
    assert_eq!((test.artifacts[0].on, test.artifacts[0].keep), (RunOn::Always, Some(Duration::from_secs(14 * 86_400))));

    let report = &plan.stages[5];
    assert_eq!((report.needs.as_slice(), report.needs_any.as_slice()), (&[1, 2, 3, 4][..], &[0][..]));
    assert_eq!(report.consumes.iter().map(|c| c.stage).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let modes: Vec<WorkspaceMode> = plan.stages.iter().map(|s| s.workspace).collect();
    assert_eq!(modes[0], WorkspaceMode::None);
    assert_eq!(modes[1], WorkspaceMode::Private);
    assert_eq!(modes[5], WorkspaceMode::Private, "a reader that consumes gets a copy with what it consumes");
    assert_eq!(modes[6], WorkspaceMode::Shared);
    assert_eq!(plan.stages[7].needs, [0, 1, 2, 3, 4, 5, 6], "all but those that also need all");
    assert_eq!(plan.stages[8].needs, plan.stages[7].needs);
    assert_eq!(plan.order(), [vec![0, 1, 2, 3, 4, 6], vec![5], vec![7, 8]]);
}

#[test]
fn a_plan_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&good(&stage("when = 'true'")));
}

#[test]
fn readers_share_the_checkout() {
    assert_eq!(good(&stage("grants.files = [{ path = 'src' }]")).stages[0].workspace, WorkspaceMode::ReadOnly);
}

#[test]
fn retries_are_a_number_or_a_table() {
    let retries = |text: &str| good(&stage(&format!("retries = {text}"))).stages[0].retries;
    let plain = retries("2");
    assert_eq!(
        (plain.count, plain.backoff, plain.delay.as_secs(), plain.max_delay.as_secs(), plain.jitter),
        (2, Backoff::Exponential, 1, 60, true)
    );
    let table = retries("{ count = 1, backoff = 'constant', delay = '2m', jitter = false }");
    assert_eq!((table.backoff, table.delay.as_secs(), table.max_delay.as_secs(), table.jitter), (Backoff::Constant, 120, 120, false));
    assert_eq!(codes(&stage("retries = { delay = '2m', max-delay = '1m' }")), ["missing-key", "contradiction"]);
}

#[test]
fn a_matrix_of_entries_alone() {
    let ids =
        |matrix: &str| -> Vec<String> { good(&stage(&format!("matrix = {matrix}"))).stages.iter().map(|s| s.id.to_string()).collect() };
    assert_eq!(ids("{ include = [{ a = 1, b = true }, { b = false, a = 2.5 }] }"), ["s (a=1, b=true)", "s (a=2.5, b=false)"]);
    assert_eq!(codes(&stage("matrix = { a = [1], include = [{ a = 1 }] }")), ["duplicate"]);
    assert_eq!(codes(&stage("matrix = { a = [1], include = [{ b = 1 }] }")), ["unknown-key"]);
    assert_eq!(codes(&stage("matrix = { a = [[1]] }")), ["wrong-type"]);
    assert_eq!(codes(&stage("matrix = {}")), ["matrix-empty"]);
}

#[test]
fn one_mistake_is_one_diagnostic() {
    for (text, expected) in [
        // A stage that is wrong in itself still exists.
        ("[stage.a]\nuses = \"nobody\"\ntimeout = 3\n[stage.b]\nuses = \"test\"\nneeds = [\"a\"]\n", vec!["unknown-plugin", "wrong-type"]),
        ("[stage.a]\n[stage.b]\nuses = \"test\"\nneeds = [\"a\"]\nwith.tags = [\"${stage.a.outputs.v}\"]\n", vec!["missing-key"]),
        ("[stage.A]\nuses = \"test\"\n[stage.b]\nuses = \"test\"\nneeds = [\"A\"]\n", vec!["bad-name"]),
        ("stage.a = 3\n[stage.b]\nuses = \"test\"\nneeds = [\"a\"]\n", vec!["wrong-type"]),
        // So does an input.
        (
            "[input.x]\ntype = \"strin\"\n[stage.b]\nuses = \"test\"\nwith.on = \"${input.x}\"\nwhen = 'input.x == \"a\"'\n",
            vec!["unknown-word"],
        ),
        (
            "[input.x]\ntype = \"choice\"\noptions = [\"a\"]\ndefault = \"b\"\n[stage.b]\nuses = \"test\"\nwith.tags = [\"${input.x}\"]\n",
            vec!["unknown-word"],
        ),
        // The same plugin twice is twice unknown.
        ("[stage.a]\nuses = \"nobody\"\n[stage.b]\nuses = \"nobody\"\n", vec!["unknown-plugin", "unknown-plugin"]),
        // A matrix that is wrong in three instances is wrong once.
        ("[stage.a]\nuses = \"test\"\nmatrix.i = [1, 2, 3]\nwith.on = \"${matrix.i}\"\n", vec!["bad-setting"]),
        // What a circle leads to is no further mistake.
        (
            "[stage.a]\nuses = \"test\"\nneeds = [\"b\"]\nwith.tags = [\"${stage.b.outputs.v}\"]\n[stage.b]\nuses = \"test\"\nneeds = [\"a\"]\n",
            vec!["cycle"],
        ),
    ] {
        let text = format!("format = 1\nname = \"p\"\n{text}");
        assert_eq!(codes(&text), expected, "{}", shown(&text));
    }
}

#[test]
fn circles_are_told_one_by_one() {
    let mut text = String::from("format = 1\nname = \"p\"\n");
    for (name, needs) in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c"), ("f", "a")] {
        text.push_str(&format!("[stage.{name}]\nuses = \"test\"\nneeds = [\"{name}0\", \"{needs}\"]\n[stage.{name}0]\nuses = \"test\"\n"));
    }
    let found = plan(&text).unwrap_err();
    let messages: Vec<&str> = found.iter().filter(|d| d.code == "cycle").map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["stages wait for each other in a circle: a → b → a", "stages wait for each other in a circle: c → d → e → c"]);
    let star =
        "format = 1\nname = \"p\"\n[stage.last]\nuses = \"test\"\nneeds = [\"*\"]\n[stage.after]\nuses = \"test\"\nneeds = [\"last\"]\n";
    assert_eq!(codes(star), ["cycle"]);
    let consumed = "format = 1\nname = \"p\"\n[stage.a]\nuses = \"test\"\nconsumes = [\"b.x\"]\ngrants.files = [{ path = \".\" }]\n[stage.b]\nuses = \"test\"\n\
                    needs = [\"a\"]\nartifacts.x.paths = [\"x\"]\ngrants.files = [{ path = \".\", access = \"write\" }]\n";
    assert_eq!(codes(consumed), ["cycle"]);
}

#[test]
fn a_stage_asks_for_the_approval_of_its_environment() {
    let of = |approval: &str| {
        let text = format!(
            "{}[environment.production]\n{approval}\n",
            stage("environment = \"production\"\nmatrix.region = [\"eu\", \"us\"]\nwith.tags = [\"${matrix.region}\"]")
        );
        let plan = good(&text);
        assert!(plan.stages.iter().all(|stage| stage.environment.as_deref() == Some("production")), "every instance of the matrix");
        assert_eq!(plan.stages[0].approval, plan.stages[1].approval);
        plan.stages[0].approval
    };
    let four = Some(Duration::from_secs(4 * 3600));
    assert_eq!(of(""), None);
    assert_eq!(of("approval = false"), None);
    assert_eq!(of("approval = true"), Some(Approval { count: 1, timeout: None }));
    assert_eq!(of("approval = {}"), Some(Approval { count: 1, timeout: None }));
    assert_eq!(of("approval = { count = 2, timeout = \"4h\" }"), Some(Approval { count: 2, timeout: four }));
    assert_eq!(of("approval.timeout = \"4h\""), Some(Approval { count: 1, timeout: four }));
    let without = good(&stage(""));
    assert_eq!((&without.stages[0].environment, without.stages[0].approval), (&None, None));
    for wrong in ["approval = 2", "approval = \"yes\"", "approval = { count = \"2\" }", "approval = { timeout = 4 }"] {
        assert_eq!(codes(&format!("{}[environment.e]\n{wrong}\n", stage("environment = \"e\""))), ["wrong-type"], "{wrong}");
    }
    assert_eq!(codes(&format!("{}[environment.e]\napproval = {{ cuont = 2 }}\n", stage("environment = \"e\""))), ["unknown-key"]);
    assert_eq!(codes(&stage("environment = \"production\"")), ["unknown-environment"]);
}

#[test]
fn stages_and_grants_know_their_lines() {
    let common = "format = 1\n\n[template.make.grants.commands]\nin = \"process\"\nprograms = [\"make\"]\n";
    let world = World { files: vec![("ci/common.toml", common)], ..World::default() };
    let text = "format = 1\r\nname = \"p\"\ninclude = [\"ci/common.toml\"]\n[stage.none]\nuses = \"test\"\n\n[stage.some]\nextends = [\"make\"]\n\
        uses = \"command\"\nwith = { run = [\"make ${matrix.a}\"] }\nmatrix = { a = [1, 2] }\n[stage.some.grants]\n\
        files = [{ path = \".\", access = \"read\" }]\n";
    let (plan, _) = world.plan(text).unwrap_or_else(|_| panic!("{}", world.shown(text)));
    let shown = |at: &event::FileLine| format!("{}:{}", at.file.as_deref().unwrap_or_default(), at.line);
    let none = &plan.stages[0].place;
    assert_eq!((shown(&none.at), &none.grants, none.grant.len()), (":4".to_owned(), &None, 0));
    let some = &plan.stages[1].place;
    assert_eq!((shown(&some.at), shown(some.of("smtp.send"))), (":7".to_owned(), ":12".to_owned()));
    assert_eq!([some.of("files.open"), some.of("commands.start")].map(shown), [":13", "ci/common.toml:3"]);
    assert_eq!(some, &plan.stages[2].place);
}
