//! SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), the parts that say what was found. Section numbers below
//! are that document's. Severities follow GitHub's reading of it: the property `security-severity` of a rule is a CVSS score.

use std::collections::HashMap;
use std::io::BufRead;

use runner_programs::{ReadError, json};
use runner_sdk::report::{Location as Place, Severity};
use serde::Deserialize;

use super::Reading;
use crate::finding::{Columns, Finding};

#[derive(Deserialize)]
struct Log {
    runs: Option<Vec<Run>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    // null where the tool could not look (3.14.23)
    #[serde(default)]
    results: Option<Vec<RunResult>>,
    #[serde(default)]
    artifacts: Vec<Artifact>,
    #[serde(default)]
    invocations: Vec<Invocation>,
    #[serde(default)]
    original_uri_base_ids: HashMap<String, ArtifactLocation>,
    #[serde(default)]
    column_kind: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    driver: Component,
    #[serde(default)]
    extensions: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    short_description: Option<Message>,
    #[serde(default)]
    help_uri: Option<String>,
    #[serde(default)]
    message_strings: HashMap<String, Message>,
    #[serde(default)]
    default_configuration: Option<Configuration>,
    #[serde(default)]
    properties: Properties,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    level: Option<String>,
}

#[derive(Default, Deserialize)]
struct Properties {
    // a number by GitHub's words, a string in what tools write
    #[serde(rename = "security-severity", default)]
    security_severity: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunResult {
    #[serde(default)]
    rule_id: Option<String>,
    #[serde(default)]
    rule_index: Option<i64>,
    #[serde(default)]
    rule: Option<Reference>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    level: Option<String>,
    #[serde(default)]
    message: Message,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    suppressions: Option<Vec<Suppression>>,
    #[serde(default)]
    baseline_state: Option<String>,
    #[serde(default)]
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    index: Option<i64>,
    #[serde(default)]
    tool_component: Option<ComponentReference>,
}

#[derive(Deserialize)]
struct ComponentReference {
    #[serde(default)]
    index: Option<i64>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    markdown: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(default)]
    physical_location: Option<PhysicalLocation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    #[serde(default)]
    artifact_location: Option<ArtifactLocation>,
    #[serde(default)]
    region: Option<Region>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    uri_base_id: Option<String>,
    #[serde(default)]
    index: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(default)]
    start_line: u32,
    #[serde(default)]
    start_column: u32,
    #[serde(default)]
    end_line: u32,
    #[serde(default)]
    end_column: u32,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    location: Option<ArtifactLocation>,
}

#[derive(Deserialize)]
struct Suppression {
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    #[serde(default)]
    tool_execution_notifications: Vec<Notification>,
    #[serde(default)]
    tool_configuration_notifications: Vec<Notification>,
}

#[derive(Deserialize)]
struct Notification {
    #[serde(default)]
    message: Message,
    #[serde(default)]
    level: Option<String>,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    descriptor: Option<Reference>,
}

pub fn read(input: impl BufRead) -> Result<Reading, ReadError> {
    let log: Log = json::document(input)?;
    let Some(runs) = log.runs else {
        return Err(ReadError::Malformed { place: "the top".into(), reason: "there is no `runs`: this is no SARIF log".into() });
    };
    let mut reading = Reading::default();
    for run in runs {
        read_run(run, &mut reading);
    }
    Ok(reading)
}

fn read_run(mut run: Run, reading: &mut Reading) {
    let results = run.results.take();
    let invocations = std::mem::take(&mut run.invocations);
    let nothing_looked_at = results.is_none();
    for result in results.unwrap_or_default() {
        reading.findings.extend(finding(&run, result));
    }
    for invocation in invocations {
        let mut said = 0;
        let notifications = invocation.tool_execution_notifications.into_iter().chain(invocation.tool_configuration_notifications);
        for notification in notifications.filter(|notification| notification.level.as_deref() == Some("error")) {
            // ESLint reports a file that it cannot parse here, and nowhere else
            let rule = notification.descriptor.as_ref().and_then(|descriptor| descriptor.id.clone()).unwrap_or_default();
            let text = text(&notification.message, None);
            let found = Finding::new(Severity::High, &run.tool.driver.name, rule, text).at(place(&run, &notification.locations));
            if found.location.is_some() {
                reading.findings.push(with_columns(&run, found));
                said += 1;
            } else if reading.broken.is_none() {
                reading.broken = Some(format!("it reports that it failed: {}", found.message));
            }
        }
        if !invocation.execution_successful && said == 0 && reading.broken.is_none() {
            reading.broken = Some("it reports that it did not run to its end (`executionSuccessful` is false)".into());
        }
    }
    if nothing_looked_at && reading.broken.is_none() {
        reading.broken = Some("its report has no `results`: it did not look".into());
    }
}

fn finding(run: &Run, result: RunResult) -> Option<Finding> {
    let suppressed = result.suppressions.iter().flatten().any(|s| s.status.as_deref().is_none_or(|status| status == "accepted"));
    let gone = result.baseline_state.as_deref() == Some("absent");
    let no_fault = matches!(result.kind.as_deref(), Some("pass" | "notApplicable"));
    if suppressed || gone || no_fault {
        return None;
    }
    let component = component(run, result.rule.as_ref());
    let index = result.rule_index.or(result.rule.as_ref().and_then(|rule| rule.index));
    let id = result.rule_id.clone().or_else(|| result.rule.as_ref().and_then(|rule| rule.id.clone()));
    // the index is exact; an id may be a rule's with a further part, `CA1000/1` (3.27.5)
    let rule = index.and_then(|index| usize::try_from(index).ok()).and_then(|index| component.rules.get(index)).or_else(|| {
        let id = id.as_deref()?;
        let parent = id.rsplit_once('/').map(|(parent, _)| parent);
        component.rules.iter().find(|rule| rule.id == id).or_else(|| component.rules.iter().find(|rule| Some(rule.id.as_str()) == parent))
    });
    let level = match (result.level.as_deref(), result.kind.as_deref()) {
        (Some(level), _) => level,
        // a level goes with the kind `fail` alone (3.27.10)
        (None, Some(kind)) if kind != "fail" => "none",
        (None, _) => rule.and_then(|rule| rule.default_configuration.as_ref()).and_then(|c| c.level.as_deref()).unwrap_or("warning"),
    };
    let score = score(&result.properties).or_else(|| rule.and_then(|rule| score(&rule.properties)));
    let severity = match (score, level) {
        // the levels of CVSS v3.1, section 5
        (Some(9.0..), _) => Severity::Critical,
        (Some(7.0..), _) => Severity::High,
        (Some(4.0..), _) => Severity::Medium,
        (Some(0.1..), _) => Severity::Low,
        (Some(_), _) => Severity::Info,
        (None, "error") => Severity::High,
        (None, "warning") => Severity::Medium,
        (None, "note") => Severity::Low,
        (None, _) => Severity::Info,
    };
    let mut message = text(&result.message, rule);
    if message.is_empty() {
        message = rule.map(described).unwrap_or_default();
    }
    let rule_id = id.or_else(|| rule.map(|rule| rule.id.clone())).unwrap_or_default();
    let mut finding = Finding::new(severity, &component.name, rule_id, message).at(place(run, &result.locations));
    finding.url = rule.and_then(|rule| rule.help_uri.clone()).unwrap_or_default();
    Some(with_columns(run, finding))
}

fn described(rule: &Rule) -> String {
    let description = rule.short_description.as_ref().and_then(|description| description.text.clone());
    description.or_else(|| rule.name.clone()).unwrap_or_else(|| rule.id.clone())
}

fn with_columns(run: &Run, mut finding: Finding) -> Finding {
    // the default is for tools that count UTF-16 units (3.14.17)
    if run.column_kind.as_deref() != Some("unicodeCodePoints") {
        finding.columns = Columns::Utf16;
    }
    finding
}

/// The driver, or the extension that the rule belongs to (3.52.3, 3.54).
fn component<'a>(run: &'a Run, rule: Option<&Reference>) -> &'a Component {
    let reference = rule.and_then(|rule| rule.tool_component.as_ref());
    let by_index = reference.and_then(|r| r.index).and_then(|index| usize::try_from(index).ok()).and_then(|i| run.tool.extensions.get(i));
    let by_name = || {
        let name = reference?.name.as_deref()?;
        run.tool.extensions.iter().find(|extension| extension.name == name)
    };
    by_index.or_else(by_name).unwrap_or(&run.tool.driver)
}

fn score(properties: &Properties) -> Option<f64> {
    match properties.security_severity.as_ref()? {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    }
}

/// The message's own text, or the rule's text of that id with its placeholders filled (3.11.5, 3.11.7).
fn text(message: &Message, rule: Option<&Rule>) -> String {
    let own = message.text.as_deref().or(message.markdown.as_deref());
    let of_rule = || {
        let strings = &rule?.message_strings;
        let string = strings.get(message.id.as_deref()?)?;
        string.text.as_deref().or(string.markdown.as_deref())
    };
    let mut text = own.or_else(of_rule).unwrap_or_default().to_owned();
    for (index, argument) in message.arguments.iter().enumerate() {
        text = text.replace(&format!("{{{index}}}"), argument);
    }
    text.trim().to_owned()
}

fn place(run: &Run, locations: &[Location]) -> Place {
    let Some(physical) = locations.iter().find_map(|location| location.physical_location.as_ref()) else {
        return Place::default();
    };
    let Some(path) = physical.artifact_location.as_ref().and_then(|location| path(run, location)) else {
        return Place::default();
    };
    let region = physical.region.as_ref();
    Place {
        path,
        line: region.map_or(0, |region| region.start_line),
        column: region.map_or(0, |region| region.start_column),
        end_line: region.map_or(0, |region| region.end_line),
        end_column: region.map_or(0, |region| region.end_column),
    }
}

/// The file's own URI, or that of the artifact with its index, with its base in front (3.4).
fn path(run: &Run, location: &ArtifactLocation) -> Option<String> {
    let artifact = location.index.and_then(|index| usize::try_from(index).ok()).and_then(|index| run.artifacts.get(index));
    let location = if location.uri.is_some() { location } else { artifact?.location.as_ref()? };
    let uri = location.uri.as_deref()?;
    let absolute = uri.starts_with('/') || uri.contains("://");
    let base = location.uri_base_id.as_ref().filter(|_| !absolute).and_then(|id| run.original_uri_base_ids.get(id));
    Some(match base.and_then(|base| base.uri.as_deref()) {
        Some(base) => format!("{}/{uri}", base.trim_end_matches('/')),
        // relative URIs are percent-encoded as well; Paths decodes what starts with file:
        None if uri.contains('%') && !absolute => format!("file:///workspace/{uri}"),
        None => uri.to_owned(),
    })
}
