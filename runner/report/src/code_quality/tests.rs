use event::{Finding, Kind, Location};

use super::*;
use crate::script;

fn report(events: &[Event]) -> Vec<Value> {
    let text = script::written(events, |path| Box::new(crate::code_quality(path, Sources::below("services/shop"))));
    serde_json::from_str(&text).unwrap()
}

/// What GitLab requires of each entry.
fn validate(entries: &[Value]) {
    let mut prints = HashSet::new();
    for entry in entries {
        for name in ["description", "check_name", "fingerprint"] {
            let text = entry[name].as_str().unwrap();
            assert!(!text.is_empty() && !text.contains(sanitize::acts), "{name}: {entry:#}");
        }
        assert!(["info", "minor", "major", "critical", "blocker"].contains(&entry["severity"].as_str().unwrap()));
        let path = entry["location"]["path"].as_str().unwrap();
        assert!(!path.starts_with(['/', '.']), "{path}");
        assert!(entry["location"]["lines"]["begin"].as_u64().unwrap() >= 1);
        assert!(prints.insert(entry["fingerprint"].to_string()), "two of {entry:#}");
    }
}

#[test]
fn a_whole_run() {
    let entries = report(&script::whole());
    validate(&entries);
    insta::assert_snapshot!(format!("{:#}", Value::from(entries)));
}

#[test]
fn no_word_of_a_stage_leaves_its_place() {
    let entries = report(&script::hostile());
    validate(&entries);
    assert_eq!(entries.len(), 4);
}

fn finding(line: u32, message: &str) -> Finding {
    Finding {
        severity: Severity::Medium,
        tool: "eslint".to_owned(),
        rule: "no-var".to_owned(),
        message: message.to_owned(),
        location: Some(Location { path: "./a.js".to_owned(), line, column: 1, end_line: 0, end_column: 0 }),
        help: String::new(),
        url: String::new(),
        counted: true,
    }
}

fn prints(findings: &[Finding]) -> Vec<String> {
    let of = |stage| script::at(0.1, Kind::Findings { stage: script::stage(stage), findings: findings.to_vec() });
    // the second instance of a matrix finds the same
    let entries = report(&[script::started(&["a (x=1)", "a (x=2)"]), of("a (x=1)"), of("a (x=2)")]);
    validate(&entries);
    entries.iter().map(|entry| entry["fingerprint"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn fingerprints_stay_when_lines_move_and_equal_findings_are_one() {
    let before = prints(&[finding(3, "one"), finding(7, "one"), finding(9, "two")]);
    assert_eq!(before.len(), 3);
    assert_eq!(prints(&[finding(13, "one"), finding(17, "one"), finding(19, "two")]), before);
    assert_eq!(prints(&[finding(13, "one"), finding(19, "two")]), [before[0].clone(), before[2].clone()]);
}
