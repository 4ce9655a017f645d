//! `ruff check --output-format json`: a list of what was found. The format is described on ruff's page "Settings", `output-format`,
//! and in `crates/ruff_db/src/diagnostic/render/json.rs` of its repository.

use std::io::BufRead;

use runner_programs::{ReadError, json};
use runner_sdk::report::{Location, Severity};
use serde::Deserialize;

use super::Reading;
use crate::finding::{Finding, severity_of_word};

#[derive(Deserialize)]
struct Diagnostic {
    // null for a file that cannot be parsed, in older versions
    code: Option<String>,
    message: String,
    filename: String,
    location: Option<Place>,
    #[serde(default)]
    end_location: Option<Place>,
    /// The cell of a notebook, in which lines are counted.
    #[serde(default)]
    cell: Option<u32>,
    #[serde(default)]
    fix: Option<Fix>,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

#[derive(Default, Deserialize)]
struct Place {
    row: u32,
    column: u32,
}

#[derive(Deserialize)]
struct Fix {
    #[serde(default)]
    message: Option<String>,
    applicability: String,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let diagnostics: Vec<Diagnostic> = json::document(input)?;
    Ok(Reading { findings: diagnostics.into_iter().map(finding).collect(), broken: None })
}

fn finding(diagnostic: Diagnostic) -> Finding {
    // ruff calls all that it finds errors, and versions that do not say so mean it as well
    let severity = diagnostic.severity.as_deref().and_then(severity_of_word).unwrap_or(Severity::High);
    let start = diagnostic.location.unwrap_or_default();
    let end = diagnostic.end_location.unwrap_or_default();
    let (message, location) = match diagnostic.cell {
        // a line of a cell is no line of the notebook's file
        Some(cell) => (format!("{} (cell {cell}, line {})", diagnostic.message, start.row), Location::line(diagnostic.filename, 0)),
        None => {
            let (line, column, end_line, end_column) = (start.row, start.column, end.row, end.column);
            (diagnostic.message, Location { path: diagnostic.filename, line, column, end_line, end_column })
        }
    };
    let rule = diagnostic.code.unwrap_or_else(|| "invalid-syntax".into());
    let mut finding = Finding::new(severity, "ruff", rule, message).at(location);
    finding.url = diagnostic.url.unwrap_or_default();
    finding.help = match diagnostic.fix {
        Some(fix) if fix.applicability == "safe" => fix.message.unwrap_or_else(|| "ruff check --fix can mend it".into()),
        Some(fix) => fix.message.map(|message| format!("{message} ({} fix)", fix.applicability)).unwrap_or_default(),
        None => String::new(),
    };
    finding
}
