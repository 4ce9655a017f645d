use event::Kind;

use super::*;
use crate::script;

fn report(events: &[Event], below: &str) -> Value {
    serde_json::from_str(&script::written(events, |path| Box::new(crate::sarif(path, Sources::below(below))))).unwrap()
}

fn denied(line: Option<u32>) -> Denied {
    let at = line.map(|line| FileLine { line, file: None });
    Denied { stage: "notify".to_owned(), attempt: 1, position: Some(3), denial: script::denial(), at }
}

/// What the standard requires of a log, a run, a driver, a rule, a result and a region, and what GitHub requires beyond it.
fn validate(log: &Value) {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "runner");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for rule in rules {
        assert!(text(&rule["id"]), "{rule:#}");
        for name in ["shortDescription", "fullDescription", "help"] {
            assert!(text(&rule[name]["text"]), "{name}: {rule:#}");
        }
    }
    for result in run["results"].as_array().unwrap() {
        assert_eq!(result["ruleId"], rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"]);
        assert!(text(&result["message"]["text"]), "{result:#}");
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        for location in result["locations"].as_array().unwrap() {
            let Some(place) = location.get("physicalLocation") else { continue };
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.starts_with('/') && uri.bytes().all(|byte| byte.is_ascii_graphic()), "{uri}");
            let number = |name: &str| place["region"][name].as_u64();
            if let Some(line) = number("startLine") {
                assert!(line >= 1 && number("endLine").is_none_or(|end| end >= line), "{place:#}");
                let one_line = number("endLine").is_none_or(|end| end == line);
                let ordered = number("endColumn").is_none_or(|end| number("startColumn").is_some_and(|start| end >= start));
                assert!(!one_line || ordered, "{place:#}");
            }
        }
    }
}

#[test]
fn a_whole_run() {
    let log = report(&script::whole(), "services/shop");
    validate(&log);
    insta::assert_snapshot!(format!("{log:#}"));
}

#[test]
fn no_word_of_a_stage_leaves_its_place() {
    let log = report(&script::hostile(), "");
    validate(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(results[1]["locations"][0].get("physicalLocation").is_none(), "a path that leaves the workspace is none");
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule.get("helpUri").is_none()), "no link but HTTP");
    let acts = |c: char| c != '\n' && sanitize::acts(c);
    assert!(results.iter().all(|result| !result["message"]["text"].as_str().unwrap().contains(acts)));
}

#[test]
fn denials_stand_on_the_line_that_would_allow_them() {
    let sources = Sources::default();
    let about = About { run: "x", pipeline: "shop", file: "ci/pipe line.toml", runner: "0.1.0", sources: &sources };
    let mut included = denied(Some(4));
    included.at = Some(FileLine { line: 4, file: Some("common.toml".to_owned()) });
    let log = log(&about, std::iter::empty(), &[denied(Some(12)), denied(None), included]);
    validate(&log);
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
    let results = run["results"].as_array().unwrap();
    for (result, file) in results.iter().zip(["pipe%20line.toml", "pipe%20line.toml", "common.toml"]) {
        assert!(result["message"]["text"].as_str().unwrap().contains("[[stage.notify.grants.http]]"));
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], file);
    }
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["region"], json!({ "startLine": 12 }));
    assert!(results[1]["locations"][0]["physicalLocation"].get("region").is_none());
}

#[test]
fn a_run_that_found_nothing_says_so_and_one_that_broke_off_says_what_it_found() {
    let passed = [script::started(&["a"]), script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Passed, nanos: script::SECOND })];
    assert_eq!(report(&passed, "")["runs"][0]["results"], json!([]));
    let whole = script::hostile();
    let end = whole.iter().position(|event| matches!(event.kind, Kind::StageFinished { .. })).unwrap();
    assert_eq!(report(&whole[..end], "")["runs"][0]["results"].as_array().map(Vec::len), Some(4));
}

#[test]
fn places_that_contradict_themselves_lose_what_contradicts() {
    let region = |line, column, end_line, end_column| {
        super::region(&Location { path: "a".to_owned(), line, column, end_line, end_column }).map(|region| region.to_string())
    };
    for (numbers, wanted) in [
        ((0, 5, 0, 0), None),
        ((3, 0, 0, 0), Some(r#"{"startLine":3}"#)),
        ((3, 5, 3, 9), Some(r#"{"startLine":3,"startColumn":5,"endColumn":9}"#)),
        ((3, 5, 3, 5), Some(r#"{"startLine":3,"startColumn":5}"#)),
        ((3, 5, 2, 1), Some(r#"{"startLine":3,"startColumn":5}"#)),
        ((3, 5, 4, 1), Some(r#"{"startLine":3,"startColumn":5,"endLine":4,"endColumn":1}"#)),
        ((3, 0, 4, 7), Some(r#"{"startLine":3,"endLine":4}"#)),
    ] {
        let (line, column, end_line, end_column) = numbers;
        assert_eq!(region(line, column, end_line, end_column).as_deref(), wanted, "{numbers:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_does_not_stop_the_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    script::play(&crate::sarif(file.path().join("below/a.sarif"), Sources::default()), &script::whole());
}
