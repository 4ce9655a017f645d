//! `cargo … --message-format=json`: one JSON object a line. The messages of the compiler are described in rustc's book, "JSON
//! Output", and those of cargo in its book, "External tools".

use std::io::BufRead;

use runner_programs::lines::Lines;
use runner_programs::{ReadError, json};
use runner_sdk::report::{Location, Severity};
use serde::Deserialize;

use super::Reading;
use crate::finding::{Finding, severity_of_word};

#[derive(Deserialize)]
struct Line {
    reason: String,
    #[serde(default)]
    message: Option<Diagnostic>,
    #[serde(default)]
    success: Option<bool>,
}

#[derive(Deserialize)]
struct Diagnostic {
    message: String,
    #[serde(default)]
    code: Option<Code>,
    level: String,
    #[serde(default)]
    spans: Vec<Span>,
    #[serde(default)]
    children: Vec<Child>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Child {
    message: String,
    level: String,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    line_end: u32,
    column_start: u32,
    column_end: u32,
    is_primary: bool,
    #[serde(default)]
    suggested_replacement: Option<String>,
    #[serde(default)]
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Span,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut reading = Reading::default();
    let mut finished = None;
    while let Some(line) = lines.next_line()? {
        // a build script or a wrapper may print lines of its own in between
        if line.first() != Some(&b'{') {
            continue;
        }
        let line: Line = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(error) => return Err(json::explain(&error, lines.number() as usize - 1)),
        };
        match (line.reason.as_str(), line.message) {
            ("compiler-message", Some(message)) => reading.findings.extend(finding(message)),
            // a workspace may be built in several goes; all of them must have gone well
            ("build-finished", _) => finished = Some(finished.unwrap_or(true) && line.success.unwrap_or(false)),
            _ => {}
        }
    }
    match finished {
        None => Err(ReadError::CutOff {
            place: format!("line {}", lines.number()),
            reason: "cargo's closing `build-finished` message is missing; does `run` say `--message-format=json`?".into(),
        }),
        Some(false) if !reading.findings.iter().any(|finding| finding.severity >= Severity::High) => {
            reading.broken = Some("the build failed, and not because of an error in the code: a build script or a dependency".into());
            Ok(reading)
        }
        Some(_) => Ok(reading),
    }
}

fn finding(diagnostic: Diagnostic) -> Option<Finding> {
    let level = diagnostic.level.strip_prefix("error: ").unwrap_or(&diagnostic.level);
    let severity = match level {
        "failure-note" => return None,
        level => severity_of_word(level).unwrap_or(Severity::Medium),
    };
    let rule = diagnostic.code.map(|code| code.code).unwrap_or_default();
    if rule.is_empty() && diagnostic.spans.is_empty() && sums_up(&diagnostic.message) {
        return None;
    }
    let tool = if rule.starts_with("clippy::") { "clippy" } else { "rustc" };
    let place = diagnostic.spans.iter().find(|span| span.is_primary).map(place).unwrap_or_default();
    let mut help = Vec::new();
    let mut url = String::new();
    for child in diagnostic.children.iter().filter(|child| child.level == "help") {
        if let Some(page) = child.message.strip_prefix("for further information visit ") {
            url = page.trim().to_owned();
            continue;
        }
        let mut parts = child.spans.iter().filter_map(|span| span.suggested_replacement.as_deref());
        match (parts.next(), parts.next()) {
            // several parts make sense only in their places
            (Some(replacement), None) if !replacement.trim().is_empty() && replacement.len() <= 120 && !replacement.contains('\n') => {
                help.push(format!("{}: `{}`", child.message, replacement.trim()));
            }
            _ => help.push(child.message.clone()),
        }
    }
    if url.is_empty() && rule.starts_with('E') && rule[1..].bytes().all(|byte| byte.is_ascii_digit()) {
        url = format!("https://doc.rust-lang.org/error_codes/{rule}.html");
    }
    let mut finding = Finding::new(severity, tool, rule, diagnostic.message).at(place);
    finding.help = help.join("; ");
    finding.url = url;
    Some(finding)
}

/// The closing words of rustc and cargo, which count what was said before.
fn sums_up(message: &str) -> bool {
    message.starts_with("aborting due to")
        || message.starts_with("For more information about")
        || message.starts_with("Some errors have detailed explanations")
        || message.ends_with("warning emitted")
        || message.ends_with("warnings emitted")
}

/// The place of a span, seen from the workspace: for code that a macro of another crate wrote, where the macro is called.
fn place(span: &Span) -> Location {
    let mut span = span;
    while let Some(expansion) = &span.expansion {
        let outside = span.file_name.starts_with(['/', '<']);
        if !outside {
            break;
        }
        span = &expansion.span;
    }
    Location {
        path: span.file_name.clone(),
        line: span.line_start,
        column: span.column_start,
        end_line: span.line_end,
        end_column: span.column_end,
    }
}
