//! `eslint -f json`: a list of files, each with its messages. The format is described on ESLint's page "Formatters Reference"
//! and in `docs/src/integrate/nodejs-api.md` of its repository (`LintResult`, `LintMessage`).

use std::io::BufRead;

use runner_programs::{ReadError, json};
use runner_sdk::report::{Location, Severity};
use serde::Deserialize;

use super::Reading;
use crate::finding::{Columns, Finding};

// Messages that a comment in the source suppressed are in `suppressedMessages`: ESLint does not show them, nor does this.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LintResult {
    file_path: String,
    messages: Vec<LintMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LintMessage {
    rule_id: Option<String>,
    severity: u8,
    message: String,
    #[serde(default)]
    line: Option<f64>,
    #[serde(default)]
    column: Option<f64>,
    #[serde(default)]
    end_line: Option<f64>,
    #[serde(default)]
    end_column: Option<f64>,
    #[serde(default)]
    fix: Option<serde::de::IgnoredAny>,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let results: Vec<LintResult> = json::document(input)?;
    let findings = results
        .into_iter()
        .flat_map(|result| {
            let path = result.file_path;
            result.messages.into_iter().map(move |message| finding(&path, message))
        })
        .collect();
    Ok(Reading { findings, broken: None })
}

fn finding(path: &str, message: LintMessage) -> Finding {
    let severity = match message.severity {
        2.. => Severity::High,
        1 => Severity::Medium,
        0 => Severity::Info,
    };
    let rule = message.rule_id.unwrap_or_default();
    // a plugin's rule is `plugin/rule`, and only the plugin knows its page
    let url = match rule.as_str() {
        "" => String::new(),
        rule if rule.contains('/') => String::new(),
        rule => format!("https://eslint.org/docs/latest/rules/{rule}"),
    };
    // positions can be missing, and are null, NaN or negative in some plugins' messages
    let number = |position: Option<f64>| position.map_or(0, |position| position as u32);
    let mut finding = Finding::new(severity, "eslint", rule, message.message).at(Location {
        path: path.to_owned(),
        line: number(message.line),
        column: number(message.column),
        end_line: number(message.end_line),
        end_column: number(message.end_column),
    });
    finding.url = url;
    finding.columns = Columns::Utf16;
    if message.fix.is_some() {
        finding.help = "eslint --fix can mend it".into();
    }
    finding
}
