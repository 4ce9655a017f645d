//! What stages found and were denied as GitLab's code quality report, which its merge requests show: a subset of Code Climate's JSON.
//! <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>
//!
//! GitLab knows neither suppressed findings nor findings without a place: the first are left out, the others stand at their stage in the pipeline
//! file. It shows one finding of each fingerprint, so what two stages found alike is there once.

use std::collections::HashSet;
use std::io::Write;

use event::{Event, FileLine, Severity};
use serde_json::{Value, json};

use crate::file::Document;
use crate::found::{Fingerprints, Found, rule};
use crate::source::Sources;
use crate::{detail, sanitize};

pub struct CodeQuality {
    found: Found,
    sources: Sources,
}

impl CodeQuality {
    pub fn new(sources: Sources) -> Self {
        CodeQuality { found: Found::default(), sources }
    }

    fn entries(&self) -> Vec<Value> {
        let pipeline = self.sources.pipeline(&self.found.file);
        let mut prints = Fingerprints::default();
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        for stage in &self.found.stages {
            let line = |at: Option<&FileLine>| at.and_then(|at| self.sources.line(at, &self.found.file)).unwrap_or((pipeline.clone(), 1));
            for finding in stage.findings.iter().filter(|finding| finding.counted) {
                let location = finding.location.as_ref();
                let (path, begin, end) = match location.and_then(|at| Some((self.sources.path(&at.path)?, at))) {
                    Some((path, at)) => (path, at.line.max(1), at.end_line),
                    None => {
                        let (path, begin) = line(stage.place.as_ref().map(|place| &place.at));
                        (path, begin, 0)
                    }
                };
                let (rule, column) = (rule(finding), location.map_or(0, |at| at.column));
                let mut text = finding.message.trim().to_owned();
                if let Some(at) = location.filter(|at| self.sources.path(&at.path).is_none()) {
                    text.push_str(&format!(" ({})", detail::place(at)));
                }
                if !seen.insert((path.clone(), begin, column, rule.clone(), text.clone())) {
                    continue;
                }
                let mut lines = json!({ "begin": begin });
                if end > begin {
                    lines["end"] = end.into();
                }
                let text = sanitize::clean(&text);
                entries.push(json!({
                    "description": if text.is_empty() { &rule } else { &text },
                    "check_name": rule,
                    "fingerprint": prints.of(&[&rule, &path, &finding.message]),
                    "severity": severity(finding.severity),
                    "location": { "path": path, "lines": lines },
                }));
            }
            for denial in &stage.denials {
                let (path, begin) = line(stage.line_of(denial));
                let text = format!("stage `{}` was denied {} {}: {}", stage.id, denial.effect, denial.subject, denial.reason);
                entries.push(json!({
                    "description": sanitize::clean(&text),
                    "check_name": format!("runner/{}", sanitize::clean(&denial.code)),
                    "fingerprint": prints.of(&["denial", stage.id.as_str(), &denial.effect, &denial.code, &denial.subject]),
                    "severity": "critical",
                    "location": { "path": path, "lines": { "begin": begin } },
                }));
            }
        }
        entries
    }
}

impl Document for CodeQuality {
    const NAME: &'static str = "the code quality report";

    fn apply(&mut self, event: &Event) {
        self.found.apply(event);
    }

    fn begun(&self) -> bool {
        !self.found.run.is_empty()
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, &self.entries())?;
        out.write_all(b"\n")
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "blocker",
        Severity::High => "critical",
        Severity::Medium => "major",
        Severity::Low => "minor",
        Severity::Info => "info",
    }
}

#[cfg(test)]
mod tests;
