//! `cargo nextest run --message-format libtest-json-plus`: events of libtest's unstable JSON, one a line, as nextest writes them behind
//! `NEXTEST_EXPERIMENTAL_LIBTEST_JSON=1` (its book, "Machine-readable output"). Known liberties: a test binary starts and ends several
//! times when tests of it are run again; ignored tests may start and never end; `name#2` is the second try.
//!
//! nextest's JUnit report says the same and is stable, but is written only where the project's `nextest.toml` asks for it.

use std::collections::HashMap;
use std::io::BufRead;

use runner_programs::lines::Lines;
use runner_programs::{ReadError, ansi, json};
use runner_sdk::report::TestStatus;
use serde::Deserialize;

use super::not_too_many;
use crate::case::{Case, Reading, seconds};

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    event: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    exec_time: f64,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    ignored: usize,
    #[serde(default)]
    nextest: Option<Binary>,
}

#[derive(Deserialize)]
struct Binary {
    #[serde(rename = "crate")]
    package: String,
    test_binary: String,
}

/// What is known of one test binary.
#[derive(Default)]
struct Group {
    /// Tests that started and have not ended.
    running: Vec<String>,
    /// The most tests that it said were ignored, and how many were shown to be.
    ignored: usize,
    shown_ignored: usize,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut reading = Reading::default();
    let mut groups: HashMap<String, Group> = HashMap::new();
    let (mut open, mut events) = (0_i64, 0_u64);
    while let Some(line) = lines.next_line()? {
        if line.first() != Some(&b'{') {
            continue;
        }
        let line: Line = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(error) => return Err(json::explain(&error, lines.number() as usize - 1)),
        };
        events += 1;
        not_too_many(reading.cases.len(), || format!("line {}", lines.number()))?;
        match (line.kind.as_str(), line.event.as_str()) {
            ("suite", "started") => open += 1,
            ("suite", _) => {
                open -= 1;
                if let Some(Binary { package, test_binary }) = line.nextest {
                    let group = groups.entry(format!("{package}::{test_binary}")).or_default();
                    group.ignored = group.ignored.max(line.ignored);
                }
            }
            ("test", event) => {
                let (group, name) = line.name.split_once('$').unwrap_or(("", &line.name));
                let state = groups.entry(group.to_owned()).or_default();
                match event {
                    "started" => state.running.push(name.to_owned()),
                    event => {
                        let ended = case(group, name, event, &line);
                        state.shown_ignored += usize::from(ended.status == TestStatus::Skipped);
                        state.running.retain(|running| *running != ended.parts[0]);
                        reading.cases.push(ended);
                    }
                }
            }
            _ => {}
        }
    }
    let place = format!("line {}", lines.number());
    if events == 0 {
        return Err(ReadError::cut_off(place, "there is no event in it; does `run` say `--message-format libtest-json-plus`?"));
    }
    if open > 0 {
        return Err(ReadError::cut_off(place, "the end of a test binary is missing"));
    }
    let mut groups: Vec<(String, Group)> = groups.into_iter().collect();
    groups.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, group) in groups {
        if group.running.len() > group.ignored.saturating_sub(group.shown_ignored) {
            return Err(ReadError::cut_off(place, format!("`{}` of {name} started and never ended", group.running[0])));
        }
        reading.cases.extend(group.running.iter().map(|running| Case::new(&name, running, TestStatus::Skipped)));
    }
    Ok(reading)
}

fn case(group: &str, name: &str, event: &str, line: &Line) -> Case {
    let (name, attempt) = match name.rsplit_once('#') {
        Some((name, attempt)) => (name, attempt.parse().unwrap_or(1)),
        None => (name, 1_u32),
    };
    let (status, message) = match event {
        "ok" if attempt > 1 => (TestStatus::Flaky, format!("passed on try {attempt}")),
        "ok" => (TestStatus::Passed, String::new()),
        "ignored" => (TestStatus::Skipped, String::new()),
        // it ran into nextest's own time limit
        "timeout" => (TestStatus::Errored, "timed out".to_owned()),
        "failed" => match &line.reason {
            Some(reason) => (TestStatus::Errored, format!("{reason}\n{}", line.stdout)),
            None if line.stdout.trim().is_empty() => (TestStatus::Failed, "it failed without a word: its process may have died".to_owned()),
            None => (TestStatus::Failed, line.stdout.clone()),
        },
        other => (TestStatus::Errored, format!("it ended with `{other}`, which is none that is known")),
    };
    let mut case = Case::new(group, name, status).with_message(ansi::strip(&message));
    case.took = seconds(&line.exec_time.to_string());
    case
}
