//! Checkstyle's XML: `checkstyle` with a `file` element a file and an `error` element a finding. Checkstyle's `XMLLogger` writes it, and
//! many tools imitate it; they differ in what `source` says and in whether the message names the rule again.

use std::io::BufRead;

use runner_programs::xml::{self, Element, Event};
use runner_programs::{ReadError, ansi};
use runner_sdk::report::{Location, Severity};

use super::Reading;
use crate::finding::{Finding, severity_of_word};

/// More findings than this in one report do not fit into a stage's memory.
const MOST: usize = 100_000;

/// Characters of an exception that are shown.
const SHOWN: usize = 300;

/// What tools put in front of a rule's own name.
const PREFIXES: [&str; 3] = ["eslint.rules.", "ShellCheck.", "detekt."];

pub fn read(input: impl BufRead, tool: &str) -> Result<Reading, ReadError> {
    let mut reading = Reading::default();
    let (mut file, mut exception) = (String::new(), None::<String>);
    xml::read(input, &["checkstyle"], |event, at| {
        match event {
            Event::Open(element) => match element.name().as_str() {
                "file" => file = element.attribute("name").unwrap_or_default(),
                "error" => reading.findings.extend(finding(&element, &file, tool)),
                "exception" => exception = Some(String::new()),
                _ => {}
            },
            Event::Text(text) => {
                if let Some(words) = exception.as_mut().filter(|words| words.len() < SHOWN) {
                    words.extend(text.chars().take(SHOWN));
                }
            }
            Event::Close => {
                // Checkstyle's own words for a file that it could not look at
                if let Some(words) = exception.take() {
                    let first = words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("an exception");
                    reading.broken.get_or_insert_with(|| format!("it could not look at {file}: {first}"));
                }
            }
        }
        match reading.findings.len() <= MOST {
            true => Ok(()),
            false => {
                Err(ReadError::malformed(format_args!("byte {at}"), format!("more than {MOST} findings: let each run look at a part")))
            }
        }
    })?;
    Ok(reading)
}

/// None for a finding that its configuration says to ignore.
fn finding(element: &Element<'_>, file: &str, tool: &str) -> Option<Finding> {
    let severity = match element.attribute("severity").unwrap_or_default().trim() {
        "ignore" => return None,
        word => severity_of_word(word).unwrap_or(Severity::Medium),
    };
    let source = element.attribute("source").unwrap_or_default();
    let rule = rule(source.trim()).to_owned();
    let message = ansi::strip(&element.attribute("message").unwrap_or_default()).trim().to_owned();
    // eslint's formatter ends the message with the rule
    let message = match message.strip_suffix(&format!(" ({rule})")) {
        Some(shorter) => shorter.to_owned(),
        None => message,
    };
    let location = Location {
        path: file.to_owned(),
        line: element.number("line").unwrap_or(0),
        column: element.number("column").unwrap_or(0),
        ..Location::default()
    };
    Some(Finding::new(severity, tool, rule, message).at(location))
}

/// A rule's name as people know it: of Checkstyle's own checks the class, of others what is behind the tool's name.
fn rule(source: &str) -> &str {
    if let Some(class) = source.strip_prefix("com.puppycrawl.tools.checkstyle.") {
        let name = class.rsplit('.').next().unwrap_or(class);
        return name.strip_suffix("Check").filter(|name| !name.is_empty()).unwrap_or(name);
    }
    PREFIXES.iter().find_map(|prefix| source.strip_prefix(prefix)).unwrap_or(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liberties_of_writers() {
        let text = br#"<checkstyle><file name="a.php">
            <error line="3" column="x" severity="Warning" message="a &lt; b" source="PSR2.Methods.Call"/>
            <error line="0" severity="ignore" message="is fine"/>
            <error severity="what" message=" two&#10;lines "/></file>
            <file name="B.java"><exception><![CDATA[
                com.acme.Crash: cannot parse
                    at x]]></exception></file></checkstyle>"#;
        let reading = read(&text[..], "phpcs").unwrap();
        let shown: Vec<_> =
            reading.findings.iter().map(|f| (f.path(), f.line(), f.severity, f.rule.as_str(), f.message.as_str())).collect();
        assert_eq!(shown, [("a.php", 3, Severity::Medium, "PSR2.Methods.Call", "a < b"), ("a.php", 0, Severity::Medium, "", "two\nlines")]);
        assert_eq!(reading.broken.as_deref(), Some("it could not look at B.java: com.acme.Crash: cannot parse"));
    }

    #[test]
    fn rules() {
        for (source, name) in [
            ("com.puppycrawl.tools.checkstyle.checks.naming.MethodNameCheck", "MethodName"),
            ("com.acme.checks.OwnCheck", "com.acme.checks.OwnCheck"),
            ("eslint.rules.react/jsx-key", "react/jsx-key"),
            ("ShellCheck.SC2086", "SC2086"),
            ("DL3006", "DL3006"),
            ("", ""),
        ] {
            assert_eq!(rule(source), name);
        }
    }
}
