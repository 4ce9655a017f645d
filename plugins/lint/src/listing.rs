//! The list of findings as people read it in the log: `path:line:column  severity  message (tool rule)`, in columns.

use runner_sdk::report::Severity;

use crate::finding::{Finding, word};

/// Places longer than this do not push the others aside.
const WIDEST: usize = 48;

/// One entry: its lines, and whether it counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub counted: bool,
    pub text: String,
}

/// The first `most` of the findings, those that count first.
pub fn entries(findings: &[Finding], known: &[bool], fail_on: Severity, most: usize) -> Vec<Entry> {
    let counted = |(finding, known): &(&Finding, &bool)| !**known && finding.severity >= fail_on;
    let (counting, rest): (Vec<_>, Vec<_>) = findings.iter().zip(known).partition(counted);
    let shown: Vec<_> =
        counting.into_iter().map(|shown| (true, shown)).chain(rest.into_iter().map(|shown| (false, shown))).take(most).collect();
    let width = shown.iter().map(|(_, (finding, _))| place(finding).chars().count()).filter(|width| *width <= WIDEST).max().unwrap_or(0);
    shown.into_iter().map(|(counted, (finding, known))| Entry { counted, text: entry(finding, *known, width) }).collect()
}

fn entry(finding: &Finding, known: bool, width: usize) -> String {
    let place = place(finding);
    let indent = " ".repeat(width + 2 + 10);
    let mut message = finding.message.lines();
    let source = match finding.rule.as_str() {
        "" => finding.tool.clone(),
        rule => format!("{} {rule}", finding.tool),
    };
    let mark = if known { ", known" } else { "" };
    let first = message.next().unwrap_or_default();
    let mut text = format!("{place:<width$}  {:<8}  {first} ({source}{mark})", word(finding.severity));
    for line in message {
        text.push_str(&format!("\n{indent}{}", line.trim_end()));
    }
    for help in finding.help.lines() {
        text.push_str(&format!("\n{indent}help: {help}"));
    }
    text
}

fn place(finding: &Finding) -> String {
    match &finding.location {
        None => "-".to_owned(),
        Some(location) => match (location.line, location.column) {
            (0, _) => location.path.clone(),
            (line, 0) => format!("{}:{line}", location.path),
            (line, column) => format!("{}:{line}:{column}", location.path),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner_sdk::report::Location;

    #[test]
    fn columns_stand_under_each_other() {
        let at = |path: &str, line, column| Location { path: path.into(), line, column, ..Location::default() };
        let mut helped = Finding::new(Severity::High, "clippy", "clippy::x", "bad").at(at("src/größe.rs", 12, 5));
        helped.help = "write it well".into();
        let findings = [
            Finding::new(Severity::Low, "rustc", "", "meh").at(at("a.rs", 1, 0)),
            helped,
            Finding::new(Severity::Medium, "fmt", "format", "wants changes\n  in two lines"),
        ];
        let entries = entries(&findings, &[false, false, true], Severity::Medium, 10);
        let text: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(
            text.join("\n"),
            "\
src/größe.rs:12:5  high      bad (clippy clippy::x)
                             help: write it well
a.rs:1             low       meh (rustc)
-                  medium    wants changes (fmt format, known)
                               in two lines"
        );
        assert_eq!(entries.iter().map(|entry| entry.counted).collect::<Vec<_>>(), [true, false, false]);
    }
}
