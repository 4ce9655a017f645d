//! Findings that are known: a file in the repository, so that a team can turn a linter on and fail on new findings only.
//!
//! A finding is known by what it says, not by where it stands: tool, rule, path, the message without numbers, and the text of
//! the line it is about. Code that moves down a file keeps its entry; a line that changes loses it. The same finding on two
//! equal lines is one entry with a count of two, and a third is new.

use std::collections::BTreeMap;

use runner_sdk::report::Severity;
use serde::{Deserialize, Serialize};

use crate::finding::Finding;

/// The version of the file's format.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    findings: Vec<Entry>,
}

/// Only `fingerprint` and `count` decide; the rest is for the people who read the file and its diffs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    tool: String,
    rule: String,
    message: String,
    severity: Severity,
    count: u32,
    fingerprint: String,
}

/// How often each fingerprint is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    known: BTreeMap<String, u32>,
}

/// What a baseline says about the findings of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Comparison {
    /// For each finding, in order: whether it is known.
    pub known: Vec<bool>,
    /// Entries, with their counts, that nothing was found for: they were mended.
    pub gone: u32,
}

impl Baseline {
    /// Reads a baseline file; `name` is its path, for the error.
    pub fn read(text: &[u8], name: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let remedy = "write it anew with `update-baseline = true`";
        let version: Version =
            serde_json::from_slice(text).map_err(|error| format!("`baseline`: {name} is no baseline file: {error}; {remedy}"))?;
        if version.format != FORMAT {
            let theirs = version.format;
            return Err(format!("`baseline`: {name} has format {theirs}, this version of lint reads format {FORMAT}; {remedy}"));
        }
        let file: File =
            serde_json::from_slice(text).map_err(|error| format!("`baseline`: {name} is no baseline file: {error}; {remedy}"))?;
        let mut baseline = Self::default();
        for entry in file.findings {
            *baseline.known.entry(entry.fingerprint).or_default() += entry.count;
        }
        Ok(baseline)
    }

    /// Compares `findings`; `line` is the text of the line that a finding is about, empty where it is not at hand.
    pub fn compare<'a>(&self, findings: &[Finding], line: impl Fn(&Finding) -> &'a str) -> Comparison {
        let mut left = self.known.clone();
        let known = findings
            .iter()
            .map(|finding| match left.get_mut(&fingerprint(finding, line(finding))) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    true
                }
                _ => false,
            })
            .collect();
        Comparison { known, gone: left.values().sum() }
    }
}

/// The text of a baseline file in which all `findings` are known.
pub fn write<'a>(findings: &[Finding], line: impl Fn(&Finding) -> &'a str) -> String {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for finding in findings {
        let fingerprint = fingerprint(finding, line(finding));
        let entry = entries.entry(fingerprint.clone()).or_insert_with(|| Entry {
            path: finding.path().to_owned(),
            tool: finding.tool.clone(),
            rule: finding.rule.clone(),
            message: finding.message.lines().next().unwrap_or_default().to_owned(),
            severity: finding.severity,
            count: 0,
            fingerprint,
        });
        entry.count += 1;
    }
    let mut entries: Vec<Entry> = entries.into_values().collect();
    entries.sort();
    let mut text = serde_json::to_string_pretty(&File { format: FORMAT, findings: entries }).expect("strings and numbers are JSON");
    text.push('\n');
    text
}

/// 16 bytes of BLAKE3 in hexadecimal over the parts that stay when code moves.
pub fn fingerprint(finding: &Finding, line: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    let message = without_numbers(&finding.message);
    let line = words(line);
    for part in ["lint finding 1", &finding.tool, &finding.rule, finding.path(), &message, &line] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// White space collapsed: reindented code is the same code.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `112/100 lines` and `113/100 lines` are the same finding.
fn without_numbers(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for c in words(text).chars() {
        if !c.is_ascii_digit() {
            kept.push(c);
        } else if !kept.ends_with('0') {
            kept.push('0');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner_sdk::report::Location;

    fn finding(path: &str, line: u32, message: &str) -> Finding {
        Finding::new(Severity::Medium, "clippy", "r", message).at(Location::line(path, line))
    }

    /// The lines of a file that the findings are about.
    fn lines<'a>(text: &'a [&'a str]) -> impl Fn(&Finding) -> &'a str {
        move |finding| text.get(finding.line() as usize - 1).copied().unwrap_or_default()
    }

    #[test]
    fn moved_and_reindented_code_is_known_changed_code_is_not() {
        let before = ["let a = 1;", "let b = 2;"];
        let written = write(&[finding("a.rs", 1, "unused, 12 lines"), finding("a.rs", 2, "unused")], lines(&before));
        let baseline = Baseline::read(written.as_bytes(), "b.json").unwrap();

        let moved = ["", "", "    let a  = 1;", "let b = 3;"];
        let now = [finding("a.rs", 3, "unused, 13 lines"), finding("a.rs", 4, "unused"), finding("b.rs", 3, "unused, 13 lines")];
        assert_eq!(baseline.compare(&now, lines(&moved)), Comparison { known: vec![true, false, false], gone: 1 });
    }

    #[test]
    fn equal_findings_are_counted() {
        let text = ["x();", "x();", "x();"];
        let two = [finding("a.rs", 1, "m"), finding("a.rs", 2, "m")];
        let written = write(&two, lines(&text));
        assert_eq!(written.matches("fingerprint").count(), 1);
        let baseline = Baseline::read(written.as_bytes(), "b.json").unwrap();
        let three = [finding("a.rs", 1, "m"), finding("a.rs", 2, "m"), finding("a.rs", 3, "m")];
        assert_eq!(baseline.compare(&three, lines(&text)).known, [true, true, false]);
        assert_eq!(baseline.compare(&two[..1], lines(&text)), Comparison { known: vec![true], gone: 1 });
    }

    #[test]
    fn the_file_is_stable_and_sorted() {
        let text = ["x();", "y();"];
        let findings = [finding("b.rs", 1, "m"), finding("a.rs", 2, "m")];
        let reversed = [findings[1].clone(), findings[0].clone()];
        let written = write(&findings, lines(&text));
        assert_eq!(written, write(&reversed, lines(&text)));
        assert!(written.find("a.rs") < written.find("b.rs"));
        assert!(written.ends_with("}\n"));
    }

    #[test]
    fn what_is_no_baseline_says_how_to_mend_it() {
        for (text, expected) in [
            ("", "b.json is no baseline file: EOF"),
            ("{\"format\":2,\"findings\":[]}", "has format 2, this version of lint reads format 1"),
            ("{\"format\":1}", "missing field `findings`"),
        ] {
            let error = Baseline::read(text.as_bytes(), "b.json").unwrap_err();
            assert!(error.contains(expected) && error.contains("update-baseline = true"), "{error}");
        }
    }
}
