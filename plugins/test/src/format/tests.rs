//! What the formats make of outputs of the real tools (`fixtures/README.md` says how each was made), and of anything else.

use std::path::Path;

use proptest::prelude::*;
use runner_sdk::report::TestStatus;

use super::*;
use crate::case::Case;
use crate::verdict::Counts;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A case a line with the beginning of its message, as a person would compare it with the tool's own words.
fn shown(reading: &Reading) -> String {
    let mut text = format!("{}\n", Counts::of(&reading.cases).words());
    for case in &reading.cases {
        let place = crate::place::places(&case.message).next().map(|place| format!("  {}:{}:{}", place.path, place.line, place.column));
        let said = case.location.as_ref().map(|location| format!("  said to be at {}:{}", location.path, location.line));
        text.push_str(&format!(
            "{:?}  {} {}ms{}{}\n",
            case.status,
            case.full_name(),
            case.took.as_millis(),
            place.unwrap_or_default(),
            said.unwrap_or_default()
        ));
        for line in case.message.lines().take(6) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    for (word, lines) in [("trouble", &reading.trouble), ("note", &reading.notes)] {
        for line in lines {
            text.push_str(&format!("{word}: {line}\n"));
        }
    }
    if reading.partial {
        text.push_str("partial\n");
    }
    text
}

/// Format, results, and the other stream where it matters.
const FIXTURES: [(Format, &str, &str); 47] = [
    (Format::Go, "go.jsonl", ""),
    (Format::Go, "go-1.19.jsonl", ""),
    (Format::Go, "go-pass.jsonl", ""),
    (Format::Jest, "jest.json", ""),
    (Format::Jest, "jest-pass.json", ""),
    (Format::Jest, "vitest.json", ""),
    (Format::Nextest, "nextest.jsonl", ""),
    (Format::Nextest, "nextest-pass.jsonl", ""),
    (Format::Tap, "node-tap.tap", ""),
    (Format::Tap, "perl-basic.tap", ""),
    (Format::Tap, "prove.txt", ""),
    (Format::Tap, "prove-pass.txt", ""),
    (Format::Junit, "gotestsum.xml", ""),
    (Format::Junit, "gotestsum-build-error.xml", ""),
    (Format::Junit, "jest-junit.xml", ""),
    (Format::Junit, "jest-junit-pass.xml", ""),
    (Format::Junit, "jest-junit-suite-errors.xml", ""),
    (Format::Junit, "nextest.xml", ""),
    (Format::Junit, "node20-junit.xml", ""),
    (Format::Junit, "pytest.xml", ""),
    (Format::Junit, "pytest-collection-error.xml", ""),
    (Format::Junit, "pytest-xunit1.xml", ""),
    (Format::Libtest, "libtest-abort.stdout.txt", "libtest-abort.stderr.txt"),
    (Format::Libtest, "libtest-backtrace.stdout.txt", ""),
    (Format::Libtest, "libtest-compile-error.stdout.txt", "libtest-compile-error.stderr.txt"),
    (Format::Libtest, "libtest-fail-fast.stdout.txt", "libtest-fail-fast.stderr.txt"),
    (Format::Libtest, "libtest-joined.txt", ""),
    (Format::Libtest, "libtest-joined-color.txt", ""),
    (Format::Libtest, "libtest-mixed.stdout.txt", "libtest-mixed.stderr.txt"),
    (Format::Libtest, "libtest-nocapture.stdout.txt", "libtest-nocapture.stderr.txt"),
    (Format::Libtest, "libtest-pass.stdout.txt", "libtest-pass.stderr.txt"),
    (Format::Libtest, "libtest-quiet.stdout.txt", "libtest-quiet.stderr.txt"),
    (Format::Libtest, "libtest-rerun-1.stdout.txt", "libtest-rerun-1.stderr.txt"),
    (Format::Libtest, "libtest-rerun-2.stdout.txt", "libtest-rerun-2.stderr.txt"),
    (Format::Libtest, "libtest-serial.stdout.txt", "libtest-serial.stderr.txt"),
    (Format::Libtest, "libtest-show-output.stdout.txt", "libtest-pass.stderr.txt"),
    (Format::Node, "node20.tap", ""),
    (Format::Node, "node20-broken.tap", ""),
    (Format::Node, "node20-hooks.tap", ""),
    (Format::Node, "node20-pass.tap", ""),
    (Format::Node, "node20-rerun.tap", ""),
    (Format::Node, "node20-spec.txt", ""),
    (Format::Node, "node24.tap", ""),
    (Format::Node, "node24-broken-spec.txt", ""),
    (Format::Node, "node24-hooks-spec.txt", ""),
    (Format::Node, "node24-pass-spec.txt", ""),
    (Format::Node, "node24-spec.txt", ""),
];

/// What the tests of `coverage` read.
const COVERAGE: [&str; 6] =
    ["coverage-py.xml", "nyc-cobertura.xml", "nyc-summary.json", "nyc-nothing-summary.json", "c8-summary.json", "jest-summary.json"];

const ALL: [Format; 7] = [Format::Junit, Format::Libtest, Format::Node, Format::Nextest, Format::Jest, Format::Go, Format::Tap];

/// What is said about an output in another format names the format.
#[test]
fn every_format_says_what_it_reads() {
    for format in ALL {
        let name = format!("{format:?}").to_lowercase();
        assert!(format.reads().starts_with(&format!("format `{name}` reads ")), "{name}: {}", format.reads());
    }
}

fn beside(name: &str) -> Vec<u8> {
    if name.is_empty() { Vec::new() } else { fixture(name) }
}

fn reading(format: Format, name: &str, other: &str) -> Reading {
    read(format, &fixture(name)[..], &beside(other)[..]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn outputs_of_the_real_tools() {
    for (format, name, other) in FIXTURES {
        insta::assert_snapshot!(name, shown(&reading(format, name, other)));
    }
}

#[test]
fn no_fixture_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = FIXTURES.iter().any(|(_, results, beside)| *results == name || *beside == name);
        assert!(known || name == "README.md" || name.ends_with(".lcov") || COVERAGE.contains(&&*name), "{name} is in no test");
    }
}

/// The same run in the reporters of two versions of node is the same result.
#[test]
fn node_says_the_same_in_every_reporter() {
    let summary = |name: &str| {
        let mut cases: Vec<(String, TestStatus)> =
            reading(Format::Node, name, "").cases.into_iter().map(|case| (case.name(), case.status)).collect();
        cases.sort();
        cases
    };
    let tap = summary("node20.tap");
    for other in ["node20-spec.txt", "node24.tap", "node24-spec.txt"] {
        assert_eq!(summary(other), tap, "{other}");
    }
    assert_eq!(tap.len(), 12);
}

fn all_passed(reading: &Result<Reading, ReadError>) -> bool {
    reading.as_ref().is_ok_and(|reading| {
        let counts = Counts::of(&reading.cases);
        reading.trouble.is_empty() && counts.failing() == 0 && counts.ran() > 0
    })
}

/// A cut may fall where the format cannot know it (between two of cargo's binaries, or behind the last result). Then nothing may
/// be lost without a word: it is a note, or it is all there.
#[test]
fn a_cut_off_output_is_never_read_as_all_passed() {
    for (format, name, other) in FIXTURES {
        let (bytes, beside) = (fixture(name), beside(other));
        let whole = read(format, &bytes[..], &beside[..]).unwrap();
        if !all_passed(&Ok(read(format, &bytes[..], &beside[..]).unwrap())) {
            continue;
        }
        for end in 0..bytes.len() {
            let cut = read(format, &bytes[..end], &beside[..]);
            let Ok(reading) = &cut else { continue };
            let lost = Counts::of(&reading.cases).ran() < Counts::of(&whole.cases).ran();
            let said = reading.notes.len() > whole.notes.len() || reading.notes != whole.notes || !reading.trouble.is_empty();
            // where cargo names no binaries beside, its exit code is the only word of what should have come
            let unnamed = beside.is_empty() && format == Format::Libtest;
            // where nothing ran, `min-tests` says so
            let nothing = Counts::of(&reading.cases).ran() == 0;
            assert!(!lost || said || unnamed || nothing, "{name} cut off at {end} of {}", bytes.len());
        }
    }
}

/// A failure that is cut off is an error or still fails.
#[test]
fn a_failing_output_that_is_cut_off_does_not_pass() {
    for (format, name, other) in FIXTURES {
        let (bytes, beside) = (fixture(name), beside(other));
        let whole = read(format, &bytes[..], &beside[..]).unwrap();
        if format == Format::Libtest || Counts::of(&whole.cases).failing() == 0 {
            continue;
        }
        let step = if bytes.len() > 3000 { 3 } else { 1 };
        for end in (0..bytes.trim_ascii_end().len()).step_by(step) {
            let cut = read(format, &bytes[..end], &beside[..]);
            assert!(!all_passed(&cut), "{name} cut off at {end} of {}", bytes.len());
        }
    }
}

#[test]
fn errors_say_where() {
    let cases: [(Format, &str, &str); 23] = [
        (Format::Junit, "", "is cut off at byte 0: there is no `testsuites`"),
        (Format::Junit, "<html></html>", "the root is `html`, not `testsuites` or `testsuite`"),
        (Format::Junit, "<testsuite><testcase name=\"a\"/>", "is cut off at byte 31: 1 XML elements are still open"),
        (Format::Junit, "<testsuite></testcase>", "cannot be understood at byte"),
        (Format::Node, "", "is cut off at its beginning: the suite printed nothing"),
        (Format::Node, "TAP version 13\nok 1 - a\n", "is cut off at line 2: TAP's plan (`1..1` or more) is missing"),
        (Format::Node, "TAP version 13\n1..3\nok 1 - a\n", "is cut off at line 3: the plan is of 3 tests, and 1 were reported"),
        (Format::Node, "✔ a (1ms)\n", "is cut off at line 1: node's closing totals (`ℹ tests …`) are missing"),
        (Format::Jest, "", "is cut off at line 1, column 0: EOF while parsing a value"),
        (Format::Jest, "No tests found, exiting with code 1\n", "cannot be understood at line 1, column 1: expected value"),
        (Format::Jest, "[{\"filePath\":\"a.js\"}]", "cannot be understood at line 1, column 2: invalid type"),
        (Format::Go, "", "is cut off at its beginning: go printed nothing"),
        (Format::Go, "ok  \tshop\t0.1s\n", "at line 1: `ok  \tshop\t0.1s` is no event, and none follows; does `run` say `-json`?"),
        (Format::Go, "{\"Action\":\"start\",\"Package\":\"shop\"}\n", "is cut off at line 1: the package shop has no end"),
        (Format::Go, "{\"Action\":\"start\",\"Pack", "is cut off at line 1, column 23: EOF while parsing"),
        (Format::Nextest, "", "is cut off at line 0: there is no event in it; does `run` say"),
        (Format::Nextest, "{\"type\":\"suite\",\"event\":\"started\"}\n", "is cut off at line 1: the end of a test binary is missing"),
        (Format::Nextest, "{\"Action\":\"start\"}\n", "cannot be understood at line 1, column 18: missing field `type`"),
        (Format::Tap, "", "is cut off at line 0: TAP's plan (`1..0` or more) is missing"),
        (Format::Tap, "Hello\n", "is cut off at line 1: TAP's plan"),
        (Format::Tap, "t/a.t .. \n1..1\nok 1\nok\n", "is cut off at line 4: prove's closing `Result: …` is missing"),
        (Format::Tap, "t/a.t .. ok\nAll tests successful.\nResult: PASS\n", "does `run` say `-v`?"),
        (Format::Node, "Error: no such script\n", "node's closing totals (`ℹ tests …`) are missing"),
    ];
    for (format, text, expected) in cases {
        let error = read(format, text.as_bytes(), &b""[..]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn liberties_of_junit_writers() {
    let text = r#"<?xml version="1.0"?>
<!DOCTYPE testsuite>
<testsuite name="com.acme.CartTest" time="1,234.5" tests="6" failures="1" errors="0">
  <properties><property name="x" value="y"/></properties>
  <testcase name="slow" classname="com.acme.CartTest" time="1,234.567"/>
  <testcase name="cdata" classname="com.acme.CartTest"><failure message="a &lt; b"><![CDATA[at com.acme.CartTest.cdata(CartTest.java:42) <here>]]></failure><system-out><![CDATA[<failure>not one</failure>]]></system-out></testcase>
  <testcase name="flaky" classname="com.acme.CartTest"><flakyFailure message="once" type="x"><stackTrace>at x</stackTrace><system-out>noise</system-out></flakyFailure></testcase>
  <testcase name="entities" classname="com.acme.CartTest"><error type="java.lang.Error">&amp;#&#65;&unknown;&#xE9;</error></testcase>
  <testcase name="gtest" status="notrun" result="suppressed"/>
  <testcase name="no class"/>
</testsuite>"#;
    insta::assert_snapshot!(shown(&read(Format::Junit, text.as_bytes(), &b""[..]).unwrap()), @r"
    2 passed, 1 failed, 1 errored, 1 skipped, 1 flaky
    Passed  com.acme.CartTest slow 1234567ms
    Failed  com.acme.CartTest cdata 0ms  CartTest.java:42:0
        a < b
        at com.acme.CartTest.cdata(CartTest.java:42) <here>
    Flaky  com.acme.CartTest flaky 0ms
        once
    Errored  com.acme.CartTest entities 0ms
        java.lang.Error
        &#Aé
    Skipped  com.acme.CartTest gtest 0ms
    Passed  com.acme.CartTest no class 0ms
    ");
}

#[test]
fn a_suite_that_failed_outside_its_tests() {
    let text = r#"<testsuites><testsuite name="setup" errors="1"><error message="no database">at setup.js:3</error><testcase name="a"/></testsuite></testsuites>"#;
    let reading = read(Format::Junit, text.as_bytes(), &b""[..]).unwrap();
    let errored: Vec<&Case> = reading.cases.iter().filter(|case| case.status == TestStatus::Errored).collect();
    assert_eq!((errored.len(), errored[0].name(), errored[0].message.as_str()), (1, "setup".into(), "no database\nat setup.js:3"));
}

#[test]
fn what_a_test_prints_about_other_tests_is_its_own() {
    let text = "\nrunning 2 tests\ntest outer ... FAILED\ntest other ... ok\n\nfailures:\n\n---- outer stdout ----\n\nrunning 1 test\ntest inner ... FAILED\n\nfailures:\n\n---- inner stdout ----\nno\n\nfailures:\n    inner\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n\nfailures:\n    outer\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n";
    let reading = read(Format::Libtest, text.as_bytes(), &b""[..]).unwrap();
    let cases: Vec<(String, TestStatus)> = reading.cases.iter().map(|case| (case.name(), case.status)).collect();
    assert_eq!(cases, [("outer".into(), TestStatus::Failed), ("other".into(), TestStatus::Passed)]);
    assert_eq!(reading.trouble, Vec::<String>::new());
}

proptest! {
    #[test]
    fn no_input_breaks_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400), other in proptest::collection::vec(any::<u8>(), 0..100)) {
        for format in ALL {
            let _ = read(format, &bytes[..], &other[..]);
        }
    }

    #[test]
    fn no_lines_break_a_reader(text in "((    ){0,3}(ok|not ok|1\\.\\.|  ---|  \\.\\.\\.|✔ |✖ |▶ |ℹ tests |test a |running |test result: ok\\. |failures:|---- a stdout ----|<testsuite>|<testcase|/>|Bail out!)[0-9a-z .;:(]{0,20}\n){0,20}") {
        for format in ALL {
            let _ = read(format, text.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn no_damaged_output_breaks_a_reader(index in 0..FIXTURES.len(), at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
        let (format, name, other) = FIXTURES[index];
        let (mut bytes, beside) = (fixture(name), beside(other));
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = read(format, &bytes[..cut.index(bytes.len())], &beside[..]);
        let _ = read(format, &bytes[..], &beside[..]);
    }
}
