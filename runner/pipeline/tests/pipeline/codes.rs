//! Each code, shown: what a person sees for it, and that the list of codes is neither short nor long.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pipeline::diagnostic::{Severity, render};
use pipeline::manifest::Manifest;
use pipeline::plan::Limits;
use pipeline::reference::CODES;
use pipeline::source::Sources;
use pipeline::{model, raw};

use crate::fakes::{World, codes, plan, shown, stage};

/// A code and a file that gets it.
pub fn fixtures() -> Vec<(&'static str, String)> {
    let long_when = format!("when = '{}true'", "true || ".repeat(600));
    let deep = format!("format = 1\nname = \"p\"\nx = {}{}\n", "[".repeat(70), "]".repeat(70));
    let values: String = (0..1000).map(|i| format!("{i},")).collect();
    let large = format!("matrix = {{ a = [{values}], b = [{values}] }}");
    let many = (0..4000).map(|i| format!("{i},")).collect::<String>();
    let needs = format!(
        "format = 1\nname = \"p\"\n[stage.a]\nuses = \"test\"\nmatrix.i = [{many}]\n[stage.b]\nuses = \"test\"\nneeds = [\"a\"]\nmatrix.i = [{many}]\n"
    );
    let two = |first: &str, second: &str| {
        format!("format = 1\nname = \"p\"\n[stage.build]\nuses = \"test\"\n{first}\n[stage.s]\nuses = \"test\"\n{second}\n")
    };
    let top = |lines: &str| format!("format = 1\nname = \"p\"\n{lines}\n[stage.s]\nuses = \"test\"\n");
    let commands = "grants.commands = { in = \"process\", programs = [\"echo\"] }";
    vec![
        ("ambiguous-output", two("matrix.os = [\"a\", \"b\"]\nwith.tags = [\"${matrix.os}\"]", "needs = [\"build\"]\nwith.tags = [\"${stage.build.outputs.v}\"]")),
        ("artifact-unwritable", stage("grants.files = [{ path = \".\" }]\nartifacts.dist = { paths = [\"dist/**\"] }")),
        (
            "artifact-never",
            two(
                "grants.files = [{ path = \".\", access = \"write\" }]\nartifacts.dump = { paths = [\"dump\"], on = \"failure\" }",
                "consumes = [\"build.dump\"]\ngrants.files = [{ path = \".\" }]",
            ),
        ),
        ("bad-cron", top("[on]\nschedule = { cron = \"*/15 24 * *\", timezone = \"../etc\" }\npush = { branches = [\"\"] }")),
        ("bad-duration", stage("timeout = \"soon\"")),
        ("bad-include", top("include = [\"ci/gone.toml\", \"https://example.com/ci.toml\", \"/etc/ci.toml\"]")),
        ("bad-name", top("[input.Tool]\ntype = \"string\"")),
        ("bad-path", stage("artifacts.a = { paths = [\"/etc/passwd\", \"a/../../b\", \"~/x\", \"[\", \"\"] }")),
        ("bad-plugin", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"./gone.wasm\"\n".into()),
        ("bad-reference", stage("with.tags = [\"v-${git.shrot}\", \"${HOME}\", \"${\"]")),
        ("bad-secret", top("[secret.token]\nfrom = \"environment:TOKEN\"")),
        ("bad-setting", stage("with.on = \"pusch\"\nwith.suites = [{ run = \"npm test\", retries = \"two\" }]\nwith.tags = [\"a\", \"a\"]")),
        ("bad-size", stage("limits.memory = \"lots\"")),
        ("bad-value", stage("consumes = [\"dist\"]\nwith.level = nan")),
        ("consume-unreadable", two("grants.files = [{ path = \".\", access = \"write\" }]\nartifacts.dist.paths = [\"dist\"]", "consumes = [\"build.dist\"]")),
        ("contradiction", top("[input.x]\ntype = \"string\"\nrequired = true\ndefault = \"a\"\n[input.y]\ntype = \"string\"\noptions = [\"a\"]")),
        ("cycle", "format = 1\nname = \"p\"\n[stage.a]\nuses = \"test\"\nneeds = [\"b\"]\n[stage.b]\nuses = \"test\"\nneeds = [\"c\"]\n[stage.c]\nuses = \"test\"\nneeds-any = [\"a\"]\n".into()),
        ("duplicate", two("", "needs = [\"build\", \"build\"]\nmatrix.os = [\"a\", \"b\", \"a\"]")),
        ("format", "name = \"p\"\n[stage.s]\nuses = \"test\"\n".into()),
        ("format-first", "name = \"p\"\nformat = 1\n[stage.s]\nuses = \"test\"\n".into()),
        ("grant-missing", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"command\"\nwith.run = [\"true\"]\n".into()),
        ("grant-unused", stage(commands)),
        ("import-denied", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"silent\"\n".into()),
        ("matrix-empty", stage("matrix = { os = [\"a\"], exclude = [{ os = \"a\" }] }")),
        ("matrix-include", stage("matrix = { os = [\"a\"], v = [1], include = [{ os = \"b\" }] }")),
        ("matrix-size", stage(&large)),
        ("missing-input", top("[input.version]\ntype = \"string\"")),
        ("missing-key", "format = 1\n[stage.s]\nwith = {}\n".into()),
        ("missing-setting", stage("with.suites = [{ format = \"node\" }]")),
        ("needs-default", two("when = 'git.branch == \"main\"'", "needs = [\"build\"]\nwith.tags = [\"${stage.build.outputs.v}\"]")),
        ("needs-twice", two("", "needs = [\"build\"]\nneeds-any = [\"build\"]")),
        ("newer-format", "format = 2\nname = 3\n[stage.s]\nuses = \"test\"\nunknown = true\nbroken = [\n".into()),
        ("no-stages", "format = 1\nname = \"p\"\n".into()),
        ("not-needed", two("", "with.tags = [\"${stage.build.outputs.v}\"]")),
        (
            "out-of-range",
            format!("{}[environment.production]\napproval = {{ count = 21, timeout = \"0s\" }}\n", stage("retries = 1000\ntimeout = \"0s\"\nenvironment = \"production\"")),
        ),
        ("outside-program", stage("with.suites = [{ run = [\"${git.branch}\", \"test\"] }]")),
        ("outside-script", stage("with.script = \"echo ${git.branch}\"\nwith.suites = [{ run = [\"sh\", \"-c\", \"echo ${git.branch}\"] }]")),
        ("outside-value", stage("grants.http = [{ url = \"https://${git.branch}.example/x\" }, { url = \"https://a.example/v-${git.short}\" }]")),
        ("reference-here", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"./${git.branch}.wasm\"\nwhen = '${git.branch} == \"main\"'\n".into()),
        (
            "secret-use",
            format!(
                "{}[secret.token]\nfrom = \"env:TOKEN\"\n",
                stage(
                    "with.suites = [{ run = [\"curl\", \"-u\", \"${secret.token}\"] }]\nwith.tags = [\"${default(secret.token, 'x')}\"]\ngrants.http = [{ url = \"https://a.example/${secret.token}\" }]\nconcurrency = \"${secret.token}\""
                )
            ),
        ),
        ("self-need", stage("needs = [\"s\"]")),
        ("shared-consumes", two("grants.files = [{ path = \".\", access = \"write\" }]\nartifacts.dist.paths = [\"dist\"]", "consumes = [\"build.dist\"]\nworkspace = \"shared\"\ngrants.files = [{ path = \".\", access = \"write\" }]")),
        ("shared-unwritable", stage("workspace = \"shared\"\ngrants.files = [{ path = \".\" }]")),
        ("syntax", "format = 1\nname = p\n[stage.s\nuses = \"test\nformat = 1\n[stage.s]\n[stage.s]\n".into()),
        ("too-deep", deep),
        ("too-many-needs", needs),
        ("unknown-artifact", two("grants.files = [{ path = \".\", access = \"write\" }]\nartifacts.dist.paths = [\"dist\"]", "grants.files = [{ path = \".\" }]\nconsumes = [\"build.dits\"]")),
        (
            "unknown-environment",
            format!("{}[environment.production]\n", two("environment = \"prodution\"", "environment = \"${git.branch}\"")),
        ),
        ("unknown-cache", stage("caches = [\"npm\"]")),
        ("unknown-service", format!("{}[service.mysql]\ncommand = [\"mysqld\"]\nneeds = [\"disk\"]\n", stage("services = [\"mysq\"]"))),
        ("unknown-template", format!("{}[template.node]\ntimeout = \"1m\"\nextends = [\"base\"]\n", stage("extends = [\"nod\"]"))),
        ("unknown-grant", stage("grants.htpt = []")),
        ("unknown-import", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"strange\"\n".into()),
        ("unknown-capability", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"strange\"\n".into()),
        ("unknown-key", format!("{}need = []\n[on]\npush = {{}}\npsh = true\n[caches.x]\n", stage(""))),
        ("unknown-plugin", "format = 1\nname = \"p\"\n[stage.s]\nuses = \"lnit\"\n".into()),
        ("unknown-reference", stage("with.tags = [\"${input.versoin}\", \"${matrix.app}\"]")),
        ("unknown-setting", stage("with.suite = []\nwith.suites = [{ run = [\"a\"], formt = \"node\" }]")),
        ("unknown-stage", two("", "needs = [\"biuld\"]\nneeds-any = [\"deploy\"]")),
        ("unknown-word", stage("run-on = \"failed\"")),
        ("unused", top("[input.x]\ntype = \"boolean\"\ndefault = true\n[secret.token]\nfrom = \"env:TOKEN\"\n[environment.staging]")),
        ("when-name", stage("when = 'branch == \"main\" || input.x || git.brunch == \"\" || sise(git.sha) > 3'")),
        ("when-result", stage("when = 'git.branch'")),
        ("when-size", stage(&long_when)),
        ("when-syntax", stage("when = 'git.branch = \"main\"'")),
        ("wrong-type", stage("soft-fail = \"yes\"\nneeds = \"build\"\nwith = 3\nenv = { A = [] }\nmatrix = { a = 1 }")),
    ]
}

#[test]
fn every_code_is_shown() {
    for (code, text) in fixtures() {
        let (plan, warnings) = match plan(&text) {
            Ok((plan, warnings)) => (Some(plan), warnings),
            Err(diagnostics) => (None, diagnostics),
        };
        assert!(warnings.iter().any(|d| d.code == code), "{code} is not among\n{}", shown(&text));
        let errors = warnings.iter().any(|d| d.severity == Severity::Error);
        assert_eq!(errors, plan.is_none(), "{code}");
        // Files that are large only to be large say nothing to a reader.
        if text.len() < 1000 {
            insta::assert_snapshot!(code, shown(&text), &text);
        }
    }
}

#[test]
fn the_list_of_codes_is_complete() {
    let listed: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert!(listed.is_sorted(), "in the order of the alphabet");
    let listed: BTreeSet<&str> = listed.into_iter().collect();
    assert_eq!(listed.len(), CODES.len());
    let pushed = pushed_codes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(pushed.len() > 40, "the sources were read");
    for code in &pushed {
        assert!(listed.contains(code.as_str()), "`{code}` is pushed and not listed");
    }
    // Shown by other tests: they have no file, or no plugin that could get them exists yet.
    let elsewhere = [
        "not-utf8",
        "too-large",
        "bad-schema",
        "bad-input",
        "unknown-input",
        "no-value",
        "outside-option",
        "shared-untrusted",
        "compose-ignored",
        "compose-unsupported",
    ];
    let shown: BTreeSet<&str> = fixtures().into_iter().map(|(code, _)| code).chain(elsewhere).collect();
    assert_eq!(listed, shown);
}

/// The first string after each place where the sources make a diagnostic.
fn pushed_codes(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pushed_codes(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for maker in ["Diagnostic::error(", "Diagnostic::warning(", "self.refuse(", "code: "] {
            for (at, _) in text.match_indices(maker) {
                let rest = text[at + maker.len()..].trim_start();
                if let Some(code) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    found.insert(code.to_owned());
                }
            }
        }
    }
    found
}

const TEN: &str = r#"format = 1
name = "shop"
timeout = "40 minuts"
secrets = 3

[input.environment]
type = "choise"

[stage.Build]
uses = "command"
with = { runn = ["cargo", "build"], count = "many" }
grants.commands = { in = "process", programs = ["${git.branch}"] }

[stage.test]
uses = "tets"
needs = ["Biuld", "lint"]
when = 'git.brunch == "main" && foo(1)'

[stage.lint]
uses = "test"
needs = ["test"]
with.suites = [{ run = ["${input.tool}", "-x"], format = "nod" }, {}]
artifacts.report = { paths = ["../x"] }
with.to = [{ kind = "mail", room = 3 }]
with.level = "x"
"#;

#[test]
fn all_mistakes_of_a_file_in_one_go_and_each_once() {
    insta::assert_snapshot!("all-mistakes", shown(TEN), TEN);
    let expected = [
        "bad-duration",
        "unknown-key",
        "unknown-word",
        "bad-name",
        "unknown-setting",
        "bad-setting",
        "outside-value",
        "unknown-plugin",
        "unknown-stage",
        "cycle",
        "when-name",
        "when-name",
        "unknown-reference",
        "bad-setting",
        "missing-setting",
        "bad-path",
        "missing-setting",
        "unknown-setting",
        "bad-setting",
    ];
    assert_eq!(codes(TEN), expected);
}

#[test]
fn nothing_is_wider_than_80_columns_but_words_that_can_not_be_broken() {
    let mut texts: Vec<String> = fixtures().into_iter().map(|(_, text)| text).collect();
    texts.push(TEN.into());
    texts.push(format!("format = 1\nname = \"{}\"\n", "word ".repeat(100)));
    for text in texts {
        // TOML is there to be copied, and stays on its line
        for line in shown(&text).lines().filter(|line| !line.contains(" = {") && !line.contains(" = [")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn colour_only_when_asked_for() {
    let diagnostics = plan(TEN).unwrap_err();
    assert!(!render(&diagnostics, &Sources::new("p.toml", TEN), false).contains('\u{1b}'));
    assert!(render(&diagnostics, &Sources::new("p.toml", TEN), true).contains("\u{1b}["));
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    let text = stage("needs = [\"\\u001b[31mred\", \"\\u0007\"]\n\"\\u001b]0;x\\u0007\" = 1");
    let shown = shown(&text);
    assert!(shown.contains("unknown-stage") && shown.contains("unknown-key"));
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
}

#[test]
fn inputs_from_the_command_line() {
    let text = "format = 1\nname = \"p\"\n[input.environment]\ntype = \"choice\"\noptions = [\"staging\", \"production\"]\n\
                [input.dry-run]\ntype = \"boolean\"\ndefault = false\n[input.count]\ntype = \"number\"\ndefault = 3\n[stage.s]\nuses = \"test\"\n\
                with.tags = [\"${input.environment}\", \"${input.dry-run}\", \"${input.count}\"]\n";
    let world = |inputs: &[(&str, &str)]| World {
        inputs: inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..World::default()
    };
    let diagnostics = world(&[("environment", "producton"), ("dryrun", "yes"), ("dry-run", "yes"), ("count", "many"), ("count", "2")])
        .plan(text)
        .unwrap_err();
    insta::assert_snapshot!("inputs", render(&diagnostics, &Sources::new("pipeline.toml", text), false), text);
    let (plan, _) = world(&[("environment", "production"), ("count", "2.5")]).plan(text).unwrap();
    let inputs: Vec<(&str, &str)> = plan.inputs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(inputs, [("environment", "production"), ("dry-run", "false"), ("count", "2.5")]);
}

#[test]
fn manifests_are_checked_too() {
    let text = "manifest = 1\nname = \"\"\nsumary = \"x\"\n[request.files]\nrequired = \"yes\"\n[settings]\nschema = '{ \"type\": 3 }'\n";
    insta::assert_snapshot!("manifest", render(&Manifest::parse(text).unwrap_err(), &Sources::new("plugin.toml", text), false), text);
    let newer = Manifest::parse("manifest = 2\nfuture = true\n").unwrap_err();
    assert_eq!(newer.iter().map(|d| d.code).collect::<Vec<_>>(), ["newer-format"]);
    let remote = "manifest = 1\nname = \"a\"\nversion = \"1\"\nsummary = \"x\"\n[settings]\nschema = '{ \"$ref\": \"http://localhost:1/schema\" }'\n";
    assert_eq!(Manifest::parse(remote).unwrap_err()[0].code, "bad-schema");
}

#[test]
fn a_stand_in_for_a_broken_matrix_is_not_complained_about() {
    let text = stage("matrix = { n = 3 }\nwith.suites = [{ run = [\"a\"], retries = \"${matrix.n}\", format = \"${matrix.x}\" }]");
    assert_eq!(codes(&text), ["wrong-type"]);
}

/// Alternatives of a schema, told as one mistake each.
#[test]
fn settings_with_alternatives() {
    let lines = [
        "lines = \"cargo build\"",
        "lines = [\"cargo\", 3]",
        "lines = [[\"cargo\"], [3]]",
        "lines = []",
        "source = {}",
        "source = { flie = \"x\" }",
        "source = { file = \"x\", text = \"y\" }",
        "to = [{ kind = \"chat\", room = \"x\" }]",
        "to = [{ kind = \"fax\" }]",
        "to = [{}]",
        "to = [3]",
    ];
    let all: String = lines.iter().map(|line| shown(&stage(&format!("with.{line}")))).collect();
    insta::assert_snapshot!("alternatives", all);
    for line in lines {
        assert_eq!(codes(&stage(&format!("with.{line}"))).len(), 1, "{line}");
    }
}

#[test]
fn the_model_stands_without_plugins() {
    let text = stage(
        "retries = { count = 2, backoff = \"linear\", delay = \"90s\" }\nlimits = { memory = \"64MiB\", handles = 32, record = \"1GiB\" }",
    );
    let (root, mut diagnostics) = raw::read(&text).unwrap();
    let pipeline = model::Pipeline::read(&root, &mut diagnostics);
    assert!(diagnostics.is_empty());
    let stage = &pipeline.stages[0];
    assert_eq!((stage.retries.count, stage.retries.max_delay.as_secs()), (2, 90));
    assert_eq!((stage.limits.memory, stage.limits.handles, stage.limits.record), (64 << 20, 32, 1 << 30));
    assert_eq!(stage.limits.disk, Limits::default().disk);
}
