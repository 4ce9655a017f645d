//! What the formats make of outputs of the real tools (`fixtures/README.md` says how each was made), and of anything else.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::finding;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A finding a line, as a person would compare it with the tool's own words.
fn shown(reading: &Reading) -> String {
    let mut text = String::new();
    for finding in &reading.findings {
        let place = finding.location.clone().unwrap_or_default();
        let finding::Finding { tool, rule, message, help, url, .. } = finding;
        let end = if place.end_line + place.end_column > 0 { format!("-{}:{}", place.end_line, place.end_column) } else { String::new() };
        let severity = finding::word(finding.severity);
        text.push_str(&format!("{}:{}:{}{end} {severity} [{tool} {rule}] {message}\n", place.path, place.line, place.column));
        if !help.is_empty() {
            text.push_str(&format!("    help: {help}\n"));
        }
        if !url.is_empty() {
            text.push_str(&format!("    {url}\n"));
        }
    }
    if let Some(broken) = &reading.broken {
        text.push_str(&format!("broken: {broken}\n"));
    }
    text
}

const FIXTURES: [(Format, &str, bool); 32] = [
    (Format::Cargo, "clippy.jsonl", true),
    (Format::Cargo, "cargo-error.jsonl", false),
    (Format::Cargo, "cargo-build-script.jsonl", false),
    (Format::Eslint, "eslint.json", false),
    (Format::Eslint, "npm-run-eslint.txt", false),
    (Format::Sarif, "eslint.sarif", false),
    (Format::Sarif, "ruff.sarif", false),
    (Format::Ruff, "ruff.json", false),
    (Format::Ruff, "ruff-0.9.json", false),
    (Format::Tsc, "tsc.txt", false),
    (Format::Tsc, "tsc-config.txt", false),
    (Format::Hadolint, "hadolint.json", false),
    (Format::Checkstyle, "checkstyle.xml", false),
    (Format::Checkstyle, "eslint-checkstyle.xml", false),
    (Format::Checkstyle, "hadolint-checkstyle.xml", false),
    (Format::Checkstyle, "shellcheck-checkstyle.xml", false),
    (Format::Lines, "eslint-unix.txt", false),
    (Format::Lines, "flake8.txt", false),
    (Format::Lines, "gcc.txt", false),
    (Format::Lines, "mypy.txt", false),
    (Format::Lines, "pylint.txt", false),
    (Format::Lines, "ruff-concise.txt", false),
    (Format::Lines, "shellcheck-gcc.txt", false),
    (Format::Lines, "yamllint.txt", false),
    (Format::Diff, "rustfmt.diff.txt", false),
    (Format::Diff, "ruff-format.diff", false),
    (Format::Diff, "gofmt.diff", true),
    (Format::Exit, "gofmt-list.txt", false),
    (Format::Exit, "prettier-check.txt", false),
    (Format::Exit, "prettier-list.txt", false),
    (Format::Exit, "black-check.txt", false),
    (Format::Exit, "ruff-format-check.txt", false),
];

const ALL: [Format; 10] = [
    Format::Sarif,
    Format::Eslint,
    Format::Cargo,
    Format::Ruff,
    Format::Tsc,
    Format::Hadolint,
    Format::Checkstyle,
    Format::Lines,
    Format::Diff,
    Format::Exit,
];

/// What is said about an output in another format names the format.
#[test]
fn every_format_says_what_it_reads() {
    for format in ALL {
        let name = format!("{format:?}").to_lowercase();
        assert!(format.reads().starts_with(&format!("format `{name}` reads ")), "{name}: {}", format.reads());
    }
}

#[test]
fn outputs_of_the_real_tools() {
    for (format, name, exited_well) in FIXTURES {
        let reading = read(format, &fixture(name)[..], "tool", exited_well).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!reading.findings.is_empty() || reading.broken.is_some(), "{name}: nothing was found");
        insta::assert_snapshot!(name, shown(&reading));
    }
}

#[test]
fn no_fixture_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || FIXTURES.iter().any(|(_, known, _)| *known == name), "{name} is in no test");
    }
}

#[test]
fn findings_of_a_check_that_passed() {
    for (format, text) in [
        (Format::Exit, "Checking formatting...\nAll matched files use Prettier code style!\n"),
        (Format::Exit, "src/looked-at.js\n"),
        (Format::Diff, ""),
        (Format::Lines, "All checks passed!\n"),
        (Format::Ruff, "[]"),
        (Format::Hadolint, "[]"),
        (Format::Tsc, ""),
        (Format::Tsc, "\n> shop@1.0.0 types\n> tsc\n\n"),
        (Format::Tsc, "03:36:55 AM - Projects in this build: \n    * tsconfig.json\n\n"),
        (Format::Checkstyle, "<?xml version='1.0'?>\n<checkstyle version='4.3'>\n<file name='fine.sh' >\n</file>\n</checkstyle>\n"),
    ] {
        assert_eq!(read(format, text.as_bytes(), "tool", true).unwrap(), Reading::default(), "{text}");
    }
}

#[test]
fn a_check_that_names_no_file_is_one_finding_with_its_words() {
    let reading = read(Format::Exit, &b"\nThe layout is not right.\n"[..], "layout", false).unwrap();
    assert_eq!(reading.findings.len(), 1);
    assert_eq!(reading.findings[0].message, "the formatter wants changes\nThe layout is not right.");
    assert_eq!(reading.findings[0].location, None);
}

#[test]
fn a_cut_off_document_is_never_read_as_a_whole_one() {
    for (format, name, exited_well) in FIXTURES {
        if matches!(format, Format::Lines | Format::Diff | Format::Exit) {
            continue;
        }
        let whole = fixture(name);
        let whole = whole.trim_ascii_end();
        let step = if whole.len() > 8000 { 7 } else { 1 };
        for end in (0..whole.len()).step_by(step) {
            // tsc's lines stand for themselves: a cut between two of them is seen by no reader, and an empty one is a clean run
            if format == Format::Tsc && (end == 0 || whole[end - 1] == b'\n') {
                continue;
            }
            let error = read(format, &whole[..end], "tool", exited_well);
            assert!(error.is_err(), "{name} cut off at byte {end} of {} was read as complete", whole.len());
        }
    }
}

#[test]
fn errors_say_where() {
    let cases: [(Format, &str, &str); 17] = [
        (Format::Eslint, "", "is cut off at line 1, column 0: EOF while parsing a value"),
        (Format::Eslint, "\n> shop@1.0.0 lint\n> eslint\n\n[{\"filePath\": 3}]", "cannot be understood at line 5, column 16: invalid type"),
        (Format::Eslint, "Oops! Something went wrong! :(", "cannot be understood at line 1, column 1: expected value"),
        (Format::Sarif, "{\"version\": \"2.1.0\"}", "cannot be understood at the top: there is no `runs`"),
        (Format::Sarif, "{\"runs\": [{\"tool\": {}}]}", "missing field `driver`"),
        (Format::Ruff, "", "is cut off at line 1, column 0: EOF while parsing a value"),
        (Format::Ruff, "[{\"filePath\":\"a.js\",\"messages\":[]}]", "cannot be understood at line 1, column 34: missing field `message`"),
        (Format::Ruff, "All checks passed!\n", "cannot be understood at line 1, column 1: expected value"),
        (Format::Hadolint, "[{\"code\":\"F401\",\"message\":\"x\"}]", "missing field `file`"),
        (Format::Hadolint, "Dockerfile:1 DL3006 warning: x\n", "cannot be understood at line 1, column 1: expected value"),
        (Format::Tsc, "src/a.ts:7:9 - error TS2322: pretty\n", "at line 1: `src/a.ts:7:9 - error TS2322: pretty` is no line of tsc's"),
        (Format::Tsc, "src/a.ts(7,9): error TS2322: Ty", "is cut off at line 1: the line has no end"),
        (Format::Checkstyle, "", "is cut off at byte 0: there is no `checkstyle`"),
        (Format::Checkstyle, "<testsuites/>", "the root is `testsuites`, not `checkstyle`"),
        (Format::Checkstyle, "<checkstyle><file name='a'>", "2 XML elements are still open"),
        (Format::Cargo, "    Checking shop v0.1.0\n", "is cut off at line 1: cargo's closing `build-finished` message is missing"),
        (Format::Cargo, "x\n{\"reason\":\"compiler-mes", "is cut off at line 2, column 23: EOF while parsing a string"),
    ];
    for (format, text, expected) in cases {
        let error = read(format, text.as_bytes(), "tool", false).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn sarif_as_the_standard_has_it_and_few_tools_write_it() {
    let log = br#"{
        "version": "2.1.0",
        "runs": [{
            "results": [
                { "ruleId": "R1", "message": { "id": "default", "arguments": ["x", "y"] },
                  "locations": [{ "physicalLocation": { "artifactLocation": { "index": 0 }, "region": { "startLine": 4 } } }] },
                { "rule": { "index": 0, "toolComponent": { "index": 0 } }, "message": { "text": "from an extension" } },
                { "ruleId": "R2/sub", "message": { "text": "scored" }, "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": "a%20b.c", "uriBaseId": "SRC" }, "region": { "startLine": 1, "startColumn": 2 } } }] },
                { "ruleId": "R3", "kind": "informational", "message": { "text": "for the record" } },
                { "ruleId": "R3", "kind": "pass", "message": { "text": "is fine" } },
                { "ruleId": "R3", "suppressions": [{ "kind": "inSource" }], "message": { "text": "was accepted" } },
                { "ruleId": "R3", "suppressions": [{ "kind": "external", "status": "rejected" }], "message": { "text": "was not accepted" } },
                { "ruleId": "R3", "baselineState": "absent", "message": { "text": "is gone" } }
            ],
            "originalUriBaseIds": { "SRC": { "uri": "file:///home/dev/shop/" } },
            "artifacts": [{ "location": { "uri": "lib/x.c" } }],
            "columnKind": "unicodeCodePoints",
            "tool": {
                "driver": { "name": "scan", "rules": [
                    { "id": "R1", "defaultConfiguration": { "level": "note" }, "messageStrings": { "default": { "text": "{0} is not {1}" } } },
                    { "id": "R2", "helpUri": "https://example.test/R2", "properties": { "security-severity": "9.8" } }
                ] },
                "extensions": [{ "name": "scan-more", "rules": [{ "id": "M1", "defaultConfiguration": { "level": "error" } }] }]
            }
        }, {
            "tool": { "driver": { "name": "other" } },
            "results": [],
            "invocations": [{ "executionSuccessful": false, "toolExecutionNotifications": [
                { "level": "error", "message": { "text": "out of memory" } } ] }]
        }]
    }"#;
    insta::assert_snapshot!(shown(&read(Format::Sarif, &log[..], "tool", false).unwrap()), @r"
    lib/x.c:4:0 low [scan R1] x is not y
    :0:0 high [scan-more M1] from an extension
    file:///home/dev/shop/a%20b.c:1:2 critical [scan R2/sub] scored
        https://example.test/R2
    :0:0 info [scan R3] for the record
    :0:0 medium [scan R3] was not accepted
    broken: it reports that it failed: out of memory
    ");
}

#[test]
fn a_sarif_run_that_did_not_look_is_broken() {
    let log = br#"{ "runs": [{ "tool": { "driver": { "name": "scan" } } }] }"#;
    let reading = read(Format::Sarif, &log[..], "tool", true).unwrap();
    assert!(reading.broken.unwrap().contains("no `results`"));
}

#[test]
fn cargo_points_at_the_call_of_a_foreign_macro() {
    let line = br#"{"reason":"compiler-message","message":{"message":"unused","code":{"code":"unused_must_use","explanation":null},"level":"warning","spans":[{"file_name":"/home/dev/.cargo/registry/src/m/src/lib.rs","line_start":9,"line_end":9,"column_start":1,"column_end":2,"is_primary":true,"expansion":{"span":{"file_name":"src/main.rs","line_start":3,"line_end":3,"column_start":5,"column_end":12,"is_primary":false,"expansion":null}}}],"children":[]}}
{"reason":"build-finished","success":true}"#;
    let reading = read(Format::Cargo, &line[..], "tool", true).unwrap();
    assert_eq!((reading.findings[0].path(), reading.findings[0].line()), ("src/main.rs", 3));
}

proptest! {
    #[test]
    fn no_input_breaks_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400), exited_well: bool) {
        for format in ALL {
            let _ = read(format, &bytes[..], "tool", exited_well);
        }
    }

    #[test]
    fn no_damaged_output_breaks_a_reader(index in 0..FIXTURES.len(), at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
        let (format, name, exited_well) = FIXTURES[index];
        let mut bytes = fixture(name);
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = read(format, &bytes[..cut.index(bytes.len())], "tool", exited_well);
        let _ = read(format, &bytes[..], "tool", exited_well);
    }
}
