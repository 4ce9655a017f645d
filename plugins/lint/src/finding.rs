//! What a tool found, in the terms that all tools share.

use std::collections::HashMap;

use runner_sdk::report::{self, Location, Severity};

pub const SEVERITIES: [Severity; 5] = [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

pub fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// What the words of linters and compilers mean here: an error is high, a warning medium, a note low, the rest info.
/// None where the word is no severity.
pub fn severity_of_word(word: &str) -> Option<Severity> {
    Some(match word.to_ascii_lowercase().as_str() {
        "critical" | "blocker" => Severity::Critical,
        "error" | "fatal error" | "fatal" | "internal compiler error" | "failure" => Severity::High,
        "warning" | "warn" => Severity::Medium,
        "note" | "remark" | "minor" | "notice" => Severity::Low,
        "info" | "information" | "hint" | "help" | "style" | "suggestion" | "none" => Severity::Info,
        _ => return None,
    })
}

/// What a column of a place counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    #[default]
    Scalars,
    /// As JavaScript counts: a character outside the basic plane is two.
    Utf16,
}

/// What a tool found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub tool: String,
    /// The tool's name for it; empty if it has none.
    pub rule: String,
    pub message: String,
    /// With the path as printed, until it is mapped to the workspace.
    pub location: Option<Location>,
    /// How to mend it; empty if the tool does not say.
    pub help: String,
    /// A page about the rule; empty if there is none.
    pub url: String,
    pub columns: Columns,
}

impl Finding {
    pub fn new(severity: Severity, tool: &str, rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            tool: tool.to_owned(),
            rule: rule.into(),
            message: message.into(),
            location: None,
            help: String::new(),
            url: String::new(),
            columns: Columns::Scalars,
        }
    }

    pub fn at(mut self, location: Location) -> Self {
        self.location = (!location.path.is_empty()).then_some(location);
        self
    }

    pub fn path(&self) -> &str {
        self.location.as_ref().map_or("", |location| &location.path)
    }

    pub fn line(&self) -> u32 {
        self.location.as_ref().map_or(0, |location| location.line)
    }

    /// As the report takes it.
    pub fn into_reported(self, counted: bool) -> report::Finding {
        let Self { severity, tool, rule, message, location, help, url, columns: _ } = self;
        report::Finding { severity, tool, rule, message, location, help, url, counted }
    }

    /// Turns UTF-16 columns into counts of scalar values, given the text of the line.
    pub fn count_scalars(&mut self, line: &str) {
        if self.columns != Columns::Utf16 {
            return;
        }
        self.columns = Columns::Scalars;
        if let Some(location) = &mut self.location {
            location.column = scalar_column(line, location.column);
            // the text of an end on another line is not at hand; it is the same where no character is outside the basic plane
            if location.end_line == 0 || location.end_line == location.line {
                location.end_column = scalar_column(line, location.end_column);
            }
        }
    }
}

fn scalar_column(line: &str, utf16: u32) -> u32 {
    let mut left = utf16.saturating_sub(1) as usize;
    let mut column = u32::from(utf16 > 0);
    for c in line.chars() {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(c.len_utf16());
        column += 1;
    }
    // past the end of the line, such as a missing semicolon there
    column + left as u32
}

/// One of each, in the order in which people read: by file and place, the gravest first at one place.
///
/// A compiler reports the same thing for the library and for the library's tests; the first is kept. Two findings are the same
/// when tool, rule, message and place are.
pub fn sort_and_deduplicate(findings: &mut Vec<Finding>) {
    let mut seen: HashMap<(String, String, String, Option<Location>), usize> = HashMap::new();
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings.drain(..) {
        let key = (finding.tool.clone(), finding.rule.clone(), finding.message.clone(), finding.location.clone());
        match seen.get(&key) {
            Some(at) => kept[*at].severity = kept[*at].severity.max(finding.severity),
            None => {
                seen.insert(key, kept.len());
                kept.push(finding);
            }
        }
    }
    // stable: what one tool says about one place keeps its order
    kept.sort_by(|a, b| {
        let place = |finding: &Finding| finding.location.as_ref().map_or((0, 0), |location| (location.line, location.column));
        (a.path(), place(a)).cmp(&(b.path(), place(b))).then(b.severity.cmp(&a.severity)).then_with(|| a.tool.cmp(&b.tool))
    });
    *findings = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str, line: u32, message: &str) -> Finding {
        Finding::new(Severity::Medium, "t", "r", message).at(Location { path: path.into(), line, ..Location::default() })
    }

    #[test]
    fn one_of_each_in_reading_order() {
        let mut graver = finding("a.rs", 2, "same");
        graver.severity = Severity::High;
        let mut findings = vec![finding("b.rs", 1, "x"), finding("a.rs", 10, "y"), finding("a.rs", 2, "same"), graver];
        sort_and_deduplicate(&mut findings);
        let shown: Vec<_> = findings.iter().map(|f| (f.path(), f.line(), f.severity)).collect();
        assert_eq!(shown, [("a.rs", 2, Severity::High), ("a.rs", 10, Severity::Medium), ("b.rs", 1, Severity::Medium)]);
    }

    #[test]
    fn columns_of_javascript() {
        // 𝄞 is two units of UTF-16
        for (utf16, scalars) in [(0, 0), (1, 1), (2, 2), (4, 3), (5, 4), (9, 8)] {
            assert_eq!(scalar_column("a𝄞b", utf16), scalars, "{utf16}");
        }
    }
}
