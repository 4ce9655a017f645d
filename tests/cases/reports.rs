//! Reports for other systems: the files that they read, and the logs that they make more of.

use std::path::Path;

use end_to_end::{Project, confined};
use serde_json::Value;

use crate::RUNNER;

const PIPELINE: &str = r#"format = 1
name = "shop"

[stage.lint]
uses = "lint"
soft-fail = true
[stage.lint.with]
tools = [{ run = ["sh", "lint.sh"], format = "lines", name = "odd" }]
[stage.lint.grants]
files = [{ path = ".", access = "read" }]
commands = { in = "host", programs = ["sh"] }

[stage.reach]
uses = "./hostile.wasm"
with.tries = [
  { do = "print", text = "::set-output name=a::b" },
  { do = "print", text = "and ##[error]more" },
  { do = "http", url = "http://api.example/v1" },
  { do = "command", run = ["make"] },
]
[stage.reach.grants]
files = [{ path = "src", access = "read" }]
http = [{ url = "http://other.example/" }]
"#;

/// The workspace is a folder of a repository.
fn project() -> Project {
    let hostile = Project::hostile(RUNNER);
    let component = std::fs::read(hostile.path().join("hostile.wasm")).expect("the guest");
    Project::new(RUNNER)
        .file(".git/HEAD", "")
        .file("shop/hostile.wasm", component)
        .file("shop/pipeline.toml", PIPELINE)
        .file("shop/src/main.rs", "fn main() {}\n")
        .file("shop/lint.sh", "echo 'src/main.rs:1:4: error: ::odd:: 100% of it'\nexit 1\n")
}

fn line(text: &str) -> usize {
    PIPELINE.lines().position(|line| line.starts_with(text)).expect("it is there") + 1
}

fn json(project: &Project, path: &str) -> Value {
    serde_json::from_str(&project.read(path)).expect("JSON")
}

#[test]
fn findings_and_denials_are_sarif_at_their_lines() {
    let project = project();
    project.run(&["exec", "shop", "--format", "plain", "--sarif", "out/shop.sarif"]).expect(0);
    let sarif = json(&project, "out/shop.sarif");
    let places = |sarif: &Value| -> Vec<(String, String, u64)> {
        let results = sarif["runs"][0]["results"].as_array().expect("results").iter();
        let mut places: Vec<_> = results
            .map(|result| {
                let place = &result["locations"][0]["physicalLocation"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let line = place["region"]["startLine"].as_u64().unwrap_or_default();
                (text(&result["ruleId"]), text(&place["artifactLocation"]["uri"]), line)
            })
            .collect();
        places.sort_by_key(|(_, _, line)| *line);
        places
    };
    let found = places(&sarif);
    let at = |index: usize| (found[index].1.as_str(), found[index].2 as usize);
    assert_eq!(found.len(), 3, "{sarif:#}");
    assert!(found[0].0.starts_with("odd/"), "{found:?}");
    assert_eq!(at(0), ("shop/src/main.rs", 1));
    // no grant for commands: where it would have to stand; a grant for HTTP that does not go so far: the grant
    assert_eq!(at(1), ("shop/pipeline.toml", line("[stage.reach.grants]")));
    assert_eq!(at(2), ("shop/pipeline.toml", line("http =")));
    // the ledger of the run says the same of the denials
    let ledger = project.run(&["ledger", "latest", "--format", "sarif", "-C", "shop"]).expect(0);
    assert_eq!(places(&serde_json::from_str(&ledger.stdout).expect("JSON")), found[1..]);
}

#[test]
fn findings_and_denials_are_code_quality() {
    let project = project();
    project.run(&["exec", "shop", "--format", "json", "--code-quality", "quality.json"]).expect(0);
    let entries = json(&project, "quality.json");
    let entries = entries.as_array().expect("a list");
    let places: Vec<(&str, usize)> = entries
        .iter()
        .map(|entry| {
            let line = entry["location"]["lines"]["begin"].as_u64().expect("a line");
            (entry["location"]["path"].as_str().expect("a path"), line as usize)
        })
        .collect();
    let (grants, http) = (line("[stage.reach.grants]"), line("http ="));
    assert_eq!(places, [("shop/src/main.rs", 1), ("shop/pipeline.toml", http), ("shop/pipeline.toml", grants)], "{entries:#?}");
}

#[test]
fn github_has_groups_annotations_and_a_summary_and_obeys_no_stage() {
    let project = project();
    let summary = project.path().join("summary.md");
    let project = project.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary.display().to_string());
    let finished = project.run(&["exec", "shop"]).expect(0).says("::error file=shop/src/main.rs,line=1,col=4,title=odd");
    let denied = format!("::warning file=shop/pipeline.toml,line={},title=stage reach%3A denied http.request::", line("http ="));
    finished.says(&denied).says("::group::log of reach\n::stop-commands::").says("::endgroup::\n").says("PASSED  shop");
    let summary = project.read("summary.md");
    assert!(summary.contains("\n| ✓ | reach | passed"), "{summary}");
    // who asks for plain lines, or for events, gets nothing else on standard output
    for format in ["plain", "json"] {
        let finished = project.run(&["exec", "shop", "--format", format]).expect(0);
        assert!(!finished.stdout.contains("::group::"), "{}", finished.stdout);
    }
}

#[test]
fn no_command_of_a_stage_reaches_github() {
    let project = project().env("GITHUB_ACTIONS", "true");
    for verbosity in ["--quiet", "--verbose", "--format=auto"] {
        let finished = project.run(&["exec", "shop", verbosity]).expect(0);
        let mut token: Option<String> = None;
        for line in finished.stdout.lines() {
            if let Some(wanted) = &token {
                if line == format!("::{wanted}::") {
                    token = None;
                }
                continue;
            }
            assert!(!line.contains("##["), "{line}");
            let Some(command) = line.trim_start().strip_prefix("::") else { continue };
            token = command.strip_prefix("stop-commands::").map(str::to_owned);
            let name = command.split([' ', ':']).next().unwrap_or_default();
            assert!(["group", "endgroup", "stop-commands", "error", "warning", "notice"].contains(&name), "{line}");
        }
        assert_eq!(token, None, "{}", finished.stdout);
    }
}

#[test]
fn gitlab_has_sections() {
    let project = project().env("GITLAB_CI", "true");
    let finished = project.run(&["exec", "shop"]).expect(0);
    let starts: Vec<&str> = finished.stdout.split("\u{1b}[0Ksection_start:").skip(1).collect();
    assert!(starts.iter().any(|section| section.contains("[collapsed=true]\r\u{1b}[0Klog of reach\n")), "{}", finished.stdout);
    assert_eq!(finished.stdout.matches("\u{1b}[0Ksection_end:").count(), starts.len());
}

/// Real outputs of the tools, as their programs would print them: program, plugin, report.
const TOOLS: &str = r#"format = 1
name = "shop"

[stage.lint]
uses = "lint"
[stage.lint.with]
tools = [
  { run = ["sh", "replay.sh", "hadolint.json", "1"], format = "hadolint" },
  { run = ["sh", "replay.sh", "checkstyle.xml", "2"], format = "checkstyle", name = "checkstyle" },
]
[stage.lint.grants]
files = [{ path = ".", access = "read" }]
commands = { in = "process", toolchain = "system", programs = ["sh"] }

[stage.test]
uses = "test"
[stage.test.with]
suites = [
  { run = ["sh", "replay.sh", "jest.json", "1"], format = "jest", name = "jest" },
  { run = ["sh", "replay.sh", "prove-pass.txt", "0"], format = "tap", name = "prove" },
]
coverage = { cobertura = "coverage/cobertura.xml", lines = 90 }
[stage.test.grants]
files = [{ path = ".", access = "write" }]
commands = { in = "process", toolchain = "system", programs = ["sh"] }
"#;

#[test]
fn what_the_tools_of_others_print_is_in_every_report() {
    if !confined(RUNNER, "what_the_tools_of_others_print_is_in_every_report") {
        return;
    }
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let fixture = |plugin: &str, name: &str| std::fs::read(plugins.join(plugin).join("fixtures").join(name)).expect("a fixture");
    let replay = "sed 's:/home/dev/shop:/workspace:g' \"fixtures/$1\"\nif [ \"$1\" = jest.json ]; then mkdir -p coverage && cp fixtures/nyc-cobertura.xml coverage/cobertura.xml; fi\nexit \"$2\"\n";
    let mut project = Project::with_pipeline(RUNNER, TOOLS)
        .file(".git/HEAD", "")
        .file("replay.sh", replay)
        .file("Dockerfile", "FROM debian\nMAINTAINER x\nRUN a\nRUN b | c\n\nCOPY a b\nCMD c\n")
        .file("src/Cart.java", "import java.util.*;\n\nclass Cart {\n    int Total() {\n        return 42;\n    }\n}\n");
    for (plugin, name) in [
        ("lint", "hadolint.json"),
        ("lint", "checkstyle.xml"),
        ("test", "jest.json"),
        ("test", "prove-pass.txt"),
        ("test", "nyc-cobertura.xml"),
    ] {
        project = project.file(&format!("fixtures/{name}"), fixture(plugin, name));
    }
    let finished =
        project.run(&["exec", "--format", "json", "--sarif", "run.sarif", "--code-quality", "quality.json", "--junit", "junit.xml"]);
    let told = finished.expect(1).told();

    let results = json(&project, "run.sarif")["runs"][0]["results"].as_array().expect("results").clone();
    let of_sarif = |result: &Value| {
        let place = &result["locations"][0]["physicalLocation"];
        format!("{} {}:{}", result["ruleId"], place["artifactLocation"]["uri"], place["region"]["startLine"]).replace('"', "")
    };
    let mut found: Vec<String> = results.iter().map(of_sarif).collect();
    found.sort();
    let java: Vec<&String> = found.iter().filter(|line| line.contains("Cart.java")).collect();
    assert_eq!(
        java,
        [
            "checkstyle/AvoidStarImport src/Cart.java:1",
            "checkstyle/MagicNumber src/Cart.java:6",
            "checkstyle/MethodName src/Cart.java:4",
            "checkstyle/NeedBraces src/Cart.java:5",
        ],
        "{found:#?}"
    );
    assert!(
        found.contains(&"hadolint/DL4000 Dockerfile:2".to_owned()) && found.contains(&"hadolint/SC2086 Dockerfile:4".to_owned()),
        "{found:#?}"
    );
    assert_eq!(found.len(), 16, "{found:#?}");
    let entries = json(&project, "quality.json");
    let mut quality: Vec<String> = entries
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| {
            format!("{} {}:{}", entry["check_name"], entry["location"]["path"], entry["location"]["lines"]["begin"]).replace('"', "")
        })
        .collect();
    quality.sort();
    // what does not count is suppressed, which GitLab does not know
    let counted = |line: &&String| !["DL3009", "DL3015", "SC2086", "MagicNumber"].iter().any(|rule| line.contains(rule));
    assert_eq!(quality.iter().collect::<Vec<_>>(), found.iter().filter(counted).collect::<Vec<_>>());

    let junit = project.read("junit.xml");
    for text in ["throws (on purpose)", "broken.test.js", "passes the second time", "adds up", "database &gt; reads"] {
        assert!(junit.contains(text), "{text}\n{junit}");
    }
    assert_eq!(told.ended("lint").message, "12 findings: 4 high, 8 medium; besides 4 below medium");
    assert_eq!(
        told.ended("test").message,
        "jest: 3 of 5 tests failed: cart.test.js cart > with one item > throws (on purpose), hooks.test.js database > reads, broken.test.js; \
         coverage: lines 83.33 %, below 90 %"
    );
}

/// Each report that can't be written is said once, and fails nobody.
#[test]
fn reports_that_can_not_be_written_fail_no_run() {
    let project = project().file("file", "").env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", "/nowhere/summary.md");
    let finished = project.run(&["exec", "shop", "--sarif", "file/a.sarif", "--code-quality", "file/b.json"]).expect(0);
    for report in ["the SARIF report file/a.sarif", "the code quality report file/b.json", "the step summary /nowhere/summary.md"] {
        assert_eq!(finished.stderr.matches(&format!("warning: {report} cannot be written")).count(), 1, "{}", finished.stderr);
    }
}
