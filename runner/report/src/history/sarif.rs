//! Denials as SARIF 2.1.0 (OASIS, 2020), for whatever shows the findings of code scanners: a result a denial, at the lines of the pipeline
//! file that would have to allow it.

use event::DenialRecord;
use serde_json::{Value, json};

/// A denial, and where it belongs.
#[derive(Debug)]
pub struct Denied {
    pub stage: String,
    pub attempt: u32,
    /// Counts from 0 within the attempt; none of a program's connection.
    pub position: Option<u64>,
    pub denial: DenialRecord,
    pub place: Option<Place>,
}

/// Lines and columns from 1; the end is behind the last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

/// The whole log. `file` is the pipeline file, relative to the root of the sources.
pub fn sarif(run: &str, pipeline: &str, file: &str, runner: &str, denials: &[Denied]) -> Value {
    let mut codes: Vec<&str> = Vec::new();
    for denied in denials {
        if !codes.contains(&denied.denial.code.as_str()) {
            codes.push(&denied.denial.code);
        }
    }
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| {
            let first = denials.iter().find(|denied| denied.denial.code == *code);
            let reason = first.map_or("", |denied| denied.denial.reason.as_str());
            let remedy = first.and_then(|denied| denied.denial.remedy.as_deref()).map(|toml| format!(", such as\n{}", toml.trim_end()));
            json!({
                "id": code,
                "shortDescription": { "text": format!("A stage was denied an effect: {code}") },
                "fullDescription": { "text": format!("A stage asked for something that its grants do not allow, such as: {reason}") },
                "help": { "text": format!("Change the stage so that it does not need it, or add to the pipeline file what the result names{}", remedy.unwrap_or_default()) },
                "defaultConfiguration": { "level": "error" },
            })
        })
        .collect();
    let results: Vec<Value> = denials.iter().map(|denied| result(denied, &codes, file)).collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "runner", "semanticVersion": runner, "rules": rules } },
            "automationDetails": { "id": format!("{pipeline}/{run}") },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(denied: &Denied, codes: &[&str], file: &str) -> Value {
    let Denied { stage, attempt, position, denial, place } = denied;
    let DenialRecord { effect, subject, code, reason, remedy } = denial;
    let mut text = format!("stage `{stage}` was denied {effect} {subject}: {reason}");
    if let Some(remedy) = remedy {
        text.push_str(&format!("\nTo allow it, the pipeline file needs:\n{}", remedy.trim_end()));
    }
    let mut location = json!({ "artifactLocation": { "uri": uri(file), "uriBaseId": "%SRCROOT%" } });
    if let Some(Place { line, column, end_line, end_column }) = place {
        location["region"] = json!({ "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column });
    }
    json!({
        "ruleId": code,
        "ruleIndex": codes.iter().position(|known| known == code),
        "level": "error",
        "message": { "text": text },
        "locations": [{ "physicalLocation": location, "logicalLocations": [{ "name": stage, "kind": "module" }] }],
        "partialFingerprints": { "denial/v1": format!("{stage}:{effect}:{code}:{subject}") },
        "properties": { "effect": effect, "subject": subject, "attempt": attempt, "position": position, "remedy": remedy },
    })
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
