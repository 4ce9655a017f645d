use event::FailureKind;

use super::*;
use crate::script::{self, play};

fn report(events: &[Event], before: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("summary.md");
    std::fs::write(&path, before).unwrap();
    play(&StepSummary::new(path.clone()), events);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_whole_run_below_what_is_there() {
    let text = report(&script::whole(), "# of another tool\n");
    assert!(text.starts_with("# of another tool\n### "));
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_that_waits() {
    insta::assert_snapshot!(report(&script::waiting(), ""));
}

/// The text without its code blocks; each of them ends.
fn outside_of_code(text: &str) -> String {
    let mut outside = String::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match fence {
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => outside.push_str(&format!("{line}\n")),
            Some(open) if ticks.len() >= open.len() && line.len() == ticks.len() => fence = None,
            Some(_) => {}
        }
    }
    assert_eq!(fence, None, "{text}");
    outside
}

#[test]
fn no_word_of_a_stage_is_markdown() {
    let text = report(&script::hostile(), "");
    assert!(!text.contains(|c: char| c != '\n' && sanitize::acts(c)), "{text}");
    let mut outside = outside_of_code(&text);
    // what is escaped is only text
    for c in "\\!$*+[]^_`{|}~".chars() {
        outside = outside.replace(&format!("\\{c}"), "");
    }
    for evil in ["<script", "](", "@all", " #1", " *b*", " _c_", "$x$ ", "||"] {
        assert!(!outside.contains(evil), "{evil}: {outside}");
    }
    // the table has the rows that it should have, and each of them four cells
    for row in outside.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(row.matches('|').count(), 5, "{row}");
    }
    assert_eq!(outside.matches('<').count(), outside.matches("<!-- -->").count() + 4, "but for the one block of details: {outside}");
}

#[test]
fn what_does_not_fit_is_left_out_and_that_is_said() {
    let long = "x".repeat(200_000);
    let stages: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = stages.iter().map(String::as_str).collect();
    let mut events = vec![script::started(&names)];
    for name in &names {
        let outcome = script::failed(FailureKind::Failed, &format!("no\n{long}"));
        events.extend([script::begin(0.0, name, 1, "command"), script::ended(1.0, name, 1, 1.0, outcome)]);
    }
    events.push(script::at(1.0, Kind::RunFinished { verdict: event::Verdict::Failed, nanos: script::SECOND }));
    let text = report(&events, "");
    assert!(text.len() <= LIMIT as usize && text.len() > 700_000, "{}", text.len());
    assert!(text.ends_with("it is in the log._\n"));
    let full = "y".repeat(LIMIT as usize - 10);
    assert_eq!(report(&events, &full), full);
}

#[test]
fn a_file_that_cannot_be_written_does_not_stop_the_run() {
    play(&StepSummary::new("/nowhere/at/all".into()), &script::whole());
}
