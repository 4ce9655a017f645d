use quick_xml::Reader;

use super::*;
use crate::junit;
use crate::script::{self, play};

fn report(events: &[Event]) -> String {
    script::written(events, |path| Box::new(junit(path)))
}

#[test]
fn a_whole_run() {
    insta::assert_snapshot!(report(&script::whole()));
}

/// What `junit-10.xsd` of Jenkins' xunit plugin allows: element, its attributes (`!` are required), its children.
const SCHEMA: &[(&str, &[&str], &[&str])] = &[
    ("testsuites", &["name", "time", "tests", "failures", "errors"], &["testsuite"]),
    (
        "testsuite",
        &[
            "!name",
            "!tests",
            "!failures",
            "!errors",
            "group",
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
            "log",
            "url",
        ],
        &["testsuite", "properties", "testcase", "system-out", "system-err"],
    ),
    ("properties", &[], &["property"]),
    ("property", &["!name", "!value"], &[]),
    (
        "testcase",
        &["!name", "time", "classname", "group"],
        &["skipped", "error", "failure", "rerunFailure", "rerunError", "flakyFailure", "flakyError", "system-out", "system-err"],
    ),
    ("failure", &["type", "message"], &[]),
    ("error", &["type", "message"], &[]),
    ("skipped", &["type", "message"], &[]),
    ("flakyFailure", &["message", "!type"], &["stackTrace", "system-out", "system-err"]),
    ("system-out", &[], &[]),
];

/// Reads the whole file strictly and holds it against the schema; the number of elements of each name.
fn validate(xml: &str) -> HashMap<String, usize> {
    let mut reader = Reader::from_str(xml);
    let mut above: Vec<&(&str, &[&str], &[&str])> = vec![];
    let mut seen = HashMap::new();
    loop {
        let event = reader.read_event().unwrap();
        match &event {
            Xml::Start(element) | Xml::Empty(element) => {
                let name = element.name();
                let name: &str = name.as_ref();
                *seen.entry(name.to_owned()).or_insert(0) += 1;
                if let Some((parent, _, children)) = above.last() {
                    assert!(children.contains(&name), "<{name}> in <{parent}>");
                }
                let rule = SCHEMA.iter().find(|(known, _, _)| *known == name).unwrap_or_else(|| panic!("<{name}>"));
                let attributes: Vec<String> = element
                    .attributes()
                    .map(|attribute| String::from_utf8_lossy(attribute.unwrap().key.as_ref().as_bytes()).into_owned())
                    .collect();
                for attribute in &attributes {
                    assert!(rule.1.iter().any(|known| known.trim_start_matches('!') == attribute), "{attribute} of <{name}>");
                }
                for required in rule.1.iter().filter_map(|known| known.strip_prefix('!')) {
                    assert!(attributes.iter().any(|attribute| attribute == required), "<{name}> without {required}");
                }
                if matches!(event, Xml::Start(_)) {
                    above.push(rule);
                }
            }
            Xml::End(_) => drop(above.pop()),
            Xml::Eof => break,
            _ => {}
        }
    }
    assert!(above.is_empty());
    assert!(xml.chars().all(|c| matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..)), "a character that XML forbids");
    seen
}

#[test]
fn the_file_keeps_to_jenkins_schema() {
    let seen = validate(&report(&script::whole()));
    let count = |name: &str| seen.get(name).copied().unwrap_or(0);
    // lint, build, two of test, audit, deploy, smoke, notify; `rollback` was left out.
    assert_eq!(count("testsuite"), 8);
    // a finding and a test; a test that could not run and a denied stage; a test, a soft failure, a blocked and a skipped stage.
    assert_eq!((count("failure"), count("error"), count("skipped"), count("flakyFailure")), (2, 2, 4, 1));
}

#[test]
fn no_word_of_a_stage_leaves_its_place() {
    let seen = validate(&report(&script::hostile()));
    assert_eq!(seen.get("testcase"), Some(&4));
}

#[test]
fn a_stage_that_errors_beside_passing_tests_is_a_case_itself() {
    let test = TestCase {
        suite: "s".to_owned(),
        name: "t".to_owned(),
        status: TestStatus::Passed,
        nanos: 0,
        message: String::new(),
        location: None,
    };
    let events = [
        script::started(&["test"]),
        script::begin(0.0, "test", 1, "test"),
        script::at(0.1, Kind::Tests { stage: script::stage("test"), tests: vec![test] }),
        script::ended(1.0, "test", 1, 1.0, script::failed(FailureKind::TimedOut, "its timeout of 1s passed")),
    ];
    // No RunFinished: what is known when the run breaks off is written all the same.
    let xml = report(&events);
    validate(&xml);
    assert!(xml.contains(r#"<testsuites name="shop" time="0.000" tests="2" failures="0" errors="1">"#), "{xml}");
    assert!(xml.contains(r#"<error message="timed out: its timeout of 1s passed" type="timed out"/>"#), "{xml}");
}

#[test]
fn what_an_attempt_reported_is_superseded_by_the_next() {
    let test = |status| TestCase { suite: "s".to_owned(), name: "t".to_owned(), status, nanos: 0, message: String::new(), location: None };
    let tests = |seconds, status| script::at(seconds, Kind::Tests { stage: script::stage("test"), tests: vec![test(status)] });
    let events = [
        script::started(&["test"]),
        script::begin(0.0, "test", 1, "test"),
        tests(0.1, TestStatus::Failed),
        script::begin(1.0, "test", 2, "test"),
        tests(1.1, TestStatus::Passed),
        script::ended(2.0, "test", 2, 2.0, script::passed("1 test")),
        script::at(2.0, Kind::RunFinished { verdict: event::Verdict::Passed, nanos: 2 * script::SECOND }),
    ];
    let xml = report(&events);
    assert_eq!(validate(&xml).get("failure"), None);
    assert!(xml.contains(r#"<property name="attempts" value="2"/>"#) && xml.contains(r#"timestamp="2026-01-31T12:00:00Z""#), "{xml}");
}

#[test]
fn what_waits_for_a_person_is_told_apart_from_what_broke_off() {
    let xml = report(&script::waiting());
    validate(&xml);
    assert!(xml.contains(r#"<testsuites name="shop" time="5.000" tests="5" failures="1" errors="0">"#), "{xml}");
    assert!(xml.contains(r#"<skipped message="waiting for approval: production"/>"#), "{xml}");
    assert!(xml.contains(r#"<skipped message="the run waits, and this stage is still to run"/>"#), "{xml}");
    let xml = report(&script::resumed());
    validate(&xml);
    insta::assert_snapshot!("resumed", xml);
}

#[test]
fn a_folder_that_cannot_be_made_does_not_stop_the_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    play(&junit(file.path().join("below/a/file.xml")), &script::whole());
}
