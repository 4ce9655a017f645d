//! What `tsc` prints where no terminal reads it: `src/cart.ts(7,9): error TS2322: …`, with what led to it below, two spaces further in
//! each time; and `error TS18003: …` where it is about no file. `flattenDiagnosticMessageText` and `formatDiagnostic` in TypeScript's
//! `src/compiler/program.ts` write it.
//!
//! There is no closing line, so that only the exit code tells a run that found nothing from one that never looked; output in which
//! no line is tsc's is not taken for one that found nothing.

use std::io::BufRead;

use runner_programs::ReadError;
use runner_programs::lines::Lines;
use runner_sdk::report::{Location, Severity};

use super::Reading;
use crate::finding::{Columns, Finding, severity_of_word};

/// Bytes of one message: an explanation of nested types can go on for pages.
const KEPT: usize = 8 * 1024;

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut reading = Reading::default();
    // the first line that is none of tsc's
    let mut foreign: Option<(u64, String)> = None;
    let mut goes_on = false;
    while let Some(line) = lines.next_text()? {
        if let Some(found) = finding(&line) {
            reading.findings.push(found);
            goes_on = true;
        } else if line.starts_with("  ") && goes_on {
            if let Some(found) = reading.findings.last_mut().filter(|found| found.message.len() < KEPT) {
                found.message.push('\n');
                found.message.push_str(line.trim_end());
            }
        } else {
            goes_on = false;
            if !(line.trim().is_empty() || line.starts_with("> ") || line.starts_with("$ ") || is_progress(&line)) {
                foreign.get_or_insert((lines.number(), line));
            }
        }
    }
    if !lines.ended() {
        return Err(ReadError::cut_off(format_args!("line {}", lines.number()), "the line has no end"));
    }
    match foreign {
        Some((number, line)) if reading.findings.is_empty() => {
            let line: String = line.chars().take(80).collect();
            let reason =
                format!("`{line}` is no line of tsc's, and no other one is; leave out what prints more (`--listFiles`, `--diagnostics`)");
            Err(ReadError::malformed(format_args!("line {number}"), reason))
        }
        _ => Ok(reading),
    }
}

fn finding(line: &str) -> Option<Finding> {
    let ((severity, rule, message), location) = match complaint(line) {
        Some(complaint) => (complaint, Location::default()),
        None => {
            let (place, rest) = line.split_once("): ")?;
            let (path, position) = place.rsplit_once('(')?;
            let (line, column) = position.split_once(',')?;
            let location =
                Location { path: path.to_owned(), line: line.parse().ok()?, column: column.parse().ok()?, ..Location::default() };
            (complaint(rest)?, location)
        }
    };
    let mut finding = Finding::new(severity, "tsc", rule, message).at(location);
    finding.columns = Columns::Utf16;
    Some(finding)
}

/// `error TS2322: Type 'number' is …`
fn complaint(text: &str) -> Option<(Severity, &str, &str)> {
    let (category, rest) = text.split_once(' ')?;
    let (code, message) = rest.split_once(": ")?;
    let number = code.strip_prefix("TS")?;
    let severity = match category {
        "message" => Severity::Info,
        category => severity_of_word(category)?,
    };
    let is_code = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then_some((severity, code, message.trim_end()))
}

/// What `tsc --build --verbose` and `tsc --watch` say about their work: `03:36:55 AM - Building project …`, and the projects below it.
fn is_progress(line: &str) -> bool {
    let starts_with_time = line.as_bytes().first().is_some_and(u8::is_ascii_digit) && line.contains(" - ");
    starts_with_time || line.starts_with("    * ") || line.starts_with("TSFILE: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tsc() {
        // line, path, line number, column, severity, rule, message
        type Case = (&'static str, &'static str, u32, u32, Severity, &'static str, &'static str);
        let cases: [Case; 5] = [
            ("src/a.ts(7,9): error TS2322: Type: no.", "src/a.ts", 7, 9, Severity::High, "TS2322", "Type: no."),
            ("src/(app)/a b.ts(1,2): warning TS1: x", "src/(app)/a b.ts", 1, 2, Severity::Medium, "TS1", "x"),
            ("error TS5058: gone: 'x'.", "", 0, 0, Severity::High, "TS5058", "gone: 'x'."),
            ("a.ts(1,1): message TS6: m (x): y", "a.ts", 1, 1, Severity::Info, "TS6", "m (x): y"),
            ("error TS18003: 'a(1,2): error TS1: b'", "", 0, 0, Severity::High, "TS18003", "'a(1,2): error TS1: b'"),
        ];
        for (line, path, number, column, severity, rule, message) in cases {
            let found = finding(line).unwrap_or_else(|| panic!("{line}"));
            let place = found.location.clone().unwrap_or_default();
            assert_eq!((place.path.as_str(), place.line, place.column), (path, number, column), "{line}");
            assert_eq!((found.severity, found.rule.as_str(), found.message.as_str()), (severity, rule, message), "{line}");
        }
        for line in
            ["", "Found 1 error.", "src/a.ts:7:9 - error TS2322: pretty", "a(1): error TS1: x", "error TSX: y", "a.ts(1,2): oops TS1: x"]
        {
            assert_eq!(finding(line), None, "{line}");
        }
    }
}
