//! `hadolint -f json`: a list of what was found in all Dockerfiles; `src/Hadolint/Formatter/Json.hs` in its repository writes it.

use std::io::BufRead;

use runner_programs::{ReadError, json};
use runner_sdk::report::{Location, Severity};
use serde::Deserialize;

use super::Reading;
use crate::finding::{Finding, severity_of_word};

#[derive(Deserialize)]
struct Check {
    code: String,
    file: String,
    level: String,
    line: u32,
    column: u32,
    message: String,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let checks: Vec<Check> = json::document(input)?;
    Ok(Reading { findings: checks.into_iter().map(finding).collect(), broken: None })
}

fn finding(check: Check) -> Finding {
    let severity = severity_of_word(&check.level).unwrap_or(Severity::Medium);
    // hadolint knows the line of an instruction and calls every column 1, but for a file that it cannot parse
    let column = if check.column == 1 { 0 } else { check.column };
    let url = match check.code.as_str() {
        // the parser's own complaint has no page
        "DL1000" => String::new(),
        code if code.starts_with("DL") => format!("https://github.com/hadolint/hadolint/wiki/{code}"),
        code if code.starts_with("SC") => format!("https://www.shellcheck.net/wiki/{code}"),
        _ => String::new(),
    };
    let mut finding = Finding::new(severity, "hadolint", check.code, check.message).at(Location {
        path: check.file,
        line: check.line,
        column,
        ..Location::default()
    });
    finding.url = url;
    finding
}
