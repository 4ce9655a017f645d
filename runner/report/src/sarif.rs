//! What stages found and what they were denied as SARIF 2.1.0 (OASIS, 2020), for whatever shows the findings of code scanners.
//!
//! There is one `run`, the runner's own, with the tools in the names of the rules. A run for each tool would read better, but a tool that
//! finds nothing any more would then be missing, and a server that compares uploads would keep its last alerts open for ever.
//! Findings that a baseline or an ignore rule holds are there as suppressed. A denial is a result too, on the line of the pipeline file that
//! would have to allow it. The same writer serves `exec --sarif` and the ledger of a past run.

use std::collections::HashMap;
use std::io::Write;

use event::{DenialRecord, Event, FileLine, Finding, Location, Severity};
use serde_json::{Map, Value, json};

use crate::detail;
use crate::file::Document;
use crate::found::{Fingerprints, Found, rule};
use crate::sanitize;
use crate::source::Sources;

/// The run that a log is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub run: &'a str,
    pub pipeline: &'a str,
    /// The pipeline file, as it was named on the command line.
    pub file: &'a str,
    pub runner: &'a str,
    pub sources: &'a Sources,
}

/// A denial, and where it belongs.
#[derive(Debug)]
pub struct Denied {
    pub stage: String,
    pub attempt: u32,
    /// Counts from 0 within the attempt; none where it is not at hand.
    pub position: Option<u64>,
    pub denial: DenialRecord,
    /// What would have to allow it.
    pub at: Option<FileLine>,
}

/// The log of a run, as it goes on.
pub struct Sarif {
    found: Found,
    sources: Sources,
}

impl Sarif {
    pub fn new(sources: Sources) -> Self {
        Sarif { found: Found::default(), sources }
    }
}

impl Document for Sarif {
    const NAME: &'static str = "the SARIF report";

    fn apply(&mut self, event: &Event) {
        self.found.apply(event);
    }

    fn begun(&self) -> bool {
        !self.found.run.is_empty()
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Found { run, pipeline, file, runner, stages, .. } = &self.found;
        let about = About { run, pipeline, file, runner, sources: &self.sources };
        let findings = stages.iter().flat_map(|stage| stage.findings.iter().map(|finding| (stage.id.as_str(), finding)));
        let denials: Vec<Denied> = stages
            .iter()
            .flat_map(|stage| {
                stage.denials.iter().map(|denial| Denied {
                    stage: stage.id.to_string(),
                    attempt: stage.attempt,
                    position: None,
                    denial: denial.clone(),
                    at: stage.line_of(denial).cloned(),
                })
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &log(&about, findings, &denials))?;
        out.write_all(b"\n")
    }
}

/// The whole log. Findings come with the stage that reported them.
pub fn log<'a>(about: &About<'_>, findings: impl Iterator<Item = (&'a str, &'a Finding)>, denials: &[Denied]) -> Value {
    let mut rules = Rules::default();
    let mut prints = Fingerprints::default();
    let denied = denials.iter().map(|denied| of_denial(denied, about, &mut rules)).collect::<Vec<Value>>();
    let found = findings.map(|(stage, finding)| of_finding(stage, finding, about, &mut rules, &mut prints));
    let results: Vec<Value> = found.collect::<Vec<Value>>().into_iter().chain(denied).collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "runner", "semanticVersion": about.runner, "rules": rules.list } },
            "automationDetails": { "id": format!("{}/{}", about.pipeline, about.run) },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

#[derive(Default)]
struct Rules {
    list: Vec<Value>,
    index: HashMap<String, usize>,
}

impl Rules {
    /// The rule's place in the list; `make` describes one that is not there yet.
    fn index(&mut self, id: &str, make: impl FnOnce() -> Value) -> usize {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        let mut rule = json!({ "id": id });
        if let (Some(rule), Value::Object(rest)) = (rule.as_object_mut(), make()) {
            rule.extend(rest);
        }
        self.list.push(rule);
        self.index.insert(id.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

fn of_denial(denied: &Denied, about: &About<'_>, rules: &mut Rules) -> Value {
    let Denied { stage, attempt, position, denial, at } = denied;
    let DenialRecord { effect, subject, reason, remedy, .. } = denial;
    let code = sanitize::clean(&denial.code);
    let index = rules.index(&code, || {
        let such = remedy.as_deref().map(|toml| format!(", such as\n{}", sanitize::lines(toml))).unwrap_or_default();
        json!({
            "shortDescription": { "text": format!("A stage was denied an effect: {code}") },
            "fullDescription": { "text": sanitize::lines(&format!("A stage asked for something that its grants do not allow, such as: {reason}")) },
            "help": { "text": format!("Change the stage so that it does not need it, or add to the pipeline file what the result names{such}") },
            "defaultConfiguration": { "level": "error" },
        })
    });
    let mut text = format!("stage `{stage}` was denied {effect} {subject}: {reason}");
    if let Some(remedy) = remedy {
        text.push_str(&format!("\nTo allow it, the pipeline file needs:\n{}", remedy.trim_end()));
    }
    let line = at.as_ref().and_then(|at| about.sources.line(at, about.file));
    let (file, region) = match line {
        Some((file, line)) => (file, Some(json!({ "startLine": line }))),
        None => (about.sources.pipeline(about.file), None),
    };
    json!({
        "ruleId": code,
        "ruleIndex": index,
        "level": "error",
        "message": { "text": sanitize::lines(&text) },
        "locations": [place(stage, Some(&file), region)],
        "partialFingerprints": { "denial/v1": sanitize::clean(&format!("{stage}:{effect}:{code}:{subject}")) },
        "properties": without_null(json!({
            "effect": effect, "subject": subject, "attempt": attempt, "position": position, "remedy": remedy,
        })),
    })
}

fn of_finding(stage: &str, finding: &Finding, about: &About<'_>, rules: &mut Rules, prints: &mut Fingerprints) -> Value {
    let id = rule(finding);
    let level = level(finding.severity);
    let index = rules.index(&id, || {
        let Finding { tool, help, url, message, .. } = finding;
        let help = if help.is_empty() { format!("What it means is said by {tool}") } else { help.clone() };
        let mut rule = json!({
            "shortDescription": { "text": sanitize::clean(&format!("{}: {}", tool, finding.rule)) },
            "fullDescription": { "text": sanitize::lines(&format!("{tool} reports this rule, such as: {message}")) },
            "help": { "text": sanitize::lines(&help) },
            "defaultConfiguration": { "level": level },
            "properties": { "tags": [sanitize::clean(tool)] },
        });
        if let Some(url) = link(url) {
            rule["helpUri"] = url.into();
        }
        rule
    });
    let path = finding.location.as_ref().map(|location| location.path.as_str()).unwrap_or_default();
    let file = about.sources.path(path);
    let mut text = if finding.message.trim().is_empty() { id.clone() } else { finding.message.clone() };
    if let (None, Some(location)) = (&file, &finding.location) {
        // no viewer could find the file
        text.push_str(&format!("\n{}", detail::place(location)));
    }
    let region = finding.location.as_ref().and_then(region);
    let print = prints.of(&[stage, &finding.tool, &finding.rule, path, &finding.message]);
    let mut result = json!({
        "ruleId": id,
        "ruleIndex": index,
        "level": level,
        "message": { "text": sanitize::lines(&text) },
        "locations": [place(stage, file.as_deref(), region)],
        "partialFingerprints": { "finding/v1": print },
        "properties": { "severity": detail::severity(finding.severity).1, "tool": sanitize::clean(&finding.tool) },
    });
    if !finding.counted {
        result["suppressions"] = json!([{ "kind": "external", "justification": "held by a baseline or an ignore rule" }]);
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

fn place(stage: &str, file: Option<&str>, region: Option<Value>) -> Value {
    let mut place = json!({ "logicalLocations": [{ "name": sanitize::clean(stage), "kind": "module" }] });
    if let Some(file) = file {
        place["physicalLocation"] = json!({ "artifactLocation": { "uri": uri(file), "uriBaseId": "%SRCROOT%" } });
        if let Some(region) = region {
            place["physicalLocation"]["region"] = region;
        }
    }
    place
}

/// What is known of a place, with nothing that contradicts the rest: tools are not always right about the end.
fn region(location: &Location) -> Option<Value> {
    let Location { line, column, end_line, end_column, .. } = *location;
    if line == 0 {
        return None;
    }
    let mut region = Map::from_iter([("startLine".to_owned(), line.into())]);
    if column > 0 {
        region.insert("startColumn".to_owned(), column.into());
    }
    if end_line > line {
        region.insert("endLine".to_owned(), end_line.into());
    }
    if column > 0 && (end_line > line && end_column > 0 || end_line <= line && end_column > column) {
        region.insert("endColumn".to_owned(), end_column.into());
    }
    Some(Value::Object(region))
}

/// A link that a viewer may show: HTTP, and nothing in it that is not RFC 3986.
fn link(url: &str) -> Option<&str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    (!rest.is_empty() && !rest.contains(['[', ']']) && rest.bytes().all(allowed)).then_some(url)
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(entries) => Value::Object(entries.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

/// RFC 3986: what can't stand in a path is percent-encoded.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests;
