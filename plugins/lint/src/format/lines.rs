//! `path:line[:column]: [severity:] message [rule]`, the form that compilers made common (GNU Coding Standards, section 4.4
//! "Formatting Error Messages") and that most linters can write, with the variants seen in the wild:
//!
//! * `a.c:5:12: warning: format … [-Wformat=]` gcc, clang; `a.sh:2:6: note: … [SC2086]` shellcheck; `… error: …  [no-any]` mypy
//! * `a.py:1:1: F401 'os' imported but unused` flake8, ruff; `a.py:1:0: C0114: Missing … (missing-docstring)` pylint
//! * `a.js:1:7: … [Error/no-unused-vars]` eslint -f unix; `a.yml:1:1: [error] … (rule)` yamllint
//! * `a.go:5:2: message (govet)` golangci-lint; `a.ts(3,5): error TS2322: …` tsc; `Dockerfile:3 DL3006 warning: …` hadolint
//!
//! Lines in no such form (the source and its carets, totals, greetings) are passed over: a tool that printed nothing else and
//! ended with an error is caught by its exit code.

use std::io::BufRead;

use runner_programs::ReadError;
use runner_programs::lines::Lines;
use runner_sdk::report::{Location, Severity};

use super::Reading;
use crate::finding::{Finding, severity_of_word};

pub fn read(input: impl BufRead, tool: &str) -> Result<Reading, ReadError> {
    let mut lines = Lines::new(input);
    let mut reading = Reading::default();
    while let Some(line) = lines.next_text()? {
        reading.findings.extend(finding(&line, tool));
    }
    Ok(reading)
}

fn finding(line: &str, tool: &str) -> Option<Finding> {
    let (place, rest) = split_place(line)?;
    let mut text = rest.trim();
    let mut severity = None;
    let mut rule = String::new();
    // pylint gives the code first and the name last
    let mut rule_may_go_on = false;

    // `[error] …`, `error: …`, `fatal error: …`, `error TS2322: …`, `DL3006 warning: …`, `F401 …`, `C0114: …`
    if let Some((word, after)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']'))
        && let Some(found) = severity_of_word(word)
    {
        severity = Some(found);
        text = after.trim_start();
    }
    if let Some((head, after)) = text.split_once(':').filter(|(head, _)| head.len() <= 40) {
        let head = head.trim();
        if let Some(found) = severity_of_word(head) {
            severity = Some(found);
            text = after.trim_start();
        } else if is_code(head) {
            rule = head.to_owned();
            text = after.trim_start();
            severity = severity.or_else(|| pylint_severity(head));
            rule_may_go_on = true;
        } else if let Some((first, second)) = head.split_once(' ') {
            let (first_word, second_word) = (severity_of_word(first), severity_of_word(second.trim()));
            if let (Some(found), true) = (first_word, is_code(second.trim())) {
                (severity, rule, text) = (Some(found), second.trim().to_owned(), after.trim_start());
            } else if let (true, Some(found)) = (is_code(first), second_word) {
                (severity, rule, text) = (Some(found), first.to_owned(), after.trim_start());
            }
        }
    }
    if rule.is_empty()
        && let Some((head, after)) = text.split_once(' ')
        && is_code(head)
    {
        rule = head.to_owned();
        text = after.trim_start();
    }
    // ruff marks what it can mend
    let fixable = text.starts_with("[*] ");
    let mut text = text.strip_prefix("[*] ").unwrap_or(text);

    if let Some((before, inner)) = trailing(text, '[', ']') {
        match inner.split_once('/') {
            // eslint -f unix: `[Error/rule]`
            Some((word, name)) if severity_of_word(word).is_some() => {
                severity = severity.or_else(|| severity_of_word(word));
                rule = name.to_owned();
                text = before;
            }
            _ if severity_of_word(inner).is_some() => {
                severity = severity.or_else(|| severity_of_word(inner));
                text = before;
            }
            _ if is_rule(inner) => {
                rule = inner.to_owned();
                text = before;
            }
            _ => {}
        }
    } else if let Some((before, inner)) = trailing(text, '(', ')')
        && is_rule(inner)
        && (rule.is_empty() || rule_may_go_on)
    {
        rule = if rule.is_empty() { inner.to_owned() } else { format!("{rule} {inner}") };
        text = before;
    }
    if text.is_empty() {
        return None;
    }
    let mut finding = Finding::new(severity.unwrap_or(Severity::Medium), tool, rule, text).at(place);
    if fixable {
        finding.help = format!("{tool} can mend it");
    }
    Some(finding)
}

/// Splits `path:line[:column]:`, `path(line[,column]):` or `path:line CODE` off.
fn split_place(line: &str) -> Option<(Location, &str)> {
    if line.starts_with([' ', '\t', '|', '>', '#', '=', '-', '*', ':', '(']) {
        return None;
    }
    // a drive letter is no path of its own
    let drive = line.as_bytes().get(1) == Some(&b':') && matches!(line.as_bytes().get(2), Some(b'\\' | b'/'));
    let from = if drive { 2 } else { 0 };
    for (at, separator) in line.char_indices().filter(|(at, c)| *at > from && matches!(c, ':' | '(')) {
        let (path, rest) = (&line[..at], &line[at + 1..]);
        let Some((number, after)) = leading_number(rest) else { continue };
        let (column, message) = if separator == '(' {
            let (column, after) = match after.strip_prefix(',') {
                Some(after) => leading_number(after)?,
                None => (0, after),
            };
            // `(3,5,3,9)` and `(3,5-9)` give the end as well
            let after = &after[after.find(')')?..];
            (column, after.strip_prefix("):").or_else(|| after.strip_prefix(") :"))?)
        } else if let Some(after) = after.strip_prefix(':') {
            match leading_number(after) {
                Some((column, after)) if after.starts_with(':') => (column, &after[1..]),
                // `path:line:column message`, as some linters write it
                Some((column, after)) if after.starts_with(' ') => (column, after),
                // `path:line:column-end: message`
                Some((column, after)) if after.starts_with('-') => match leading_number(&after[1..]) {
                    Some((_, after)) if after.starts_with(':') => (column, &after[1..]),
                    _ => (0, after),
                },
                _ => (0, after),
            }
        } else {
            // `Dockerfile:3 DL3006 warning: …`: without a colon only where a code follows
            let after = after.strip_prefix(' ')?;
            if !is_code(after.split(' ').next()?) {
                return None;
            }
            (0, after)
        };
        let path = path.trim_end();
        if !is_path(path) {
            return None;
        }
        return Some((Location { path: path.to_owned(), line: number, column, ..Location::default() }, message));
    }
    None
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then_some(())?;
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// Not a time of day, not a URL, not a sentence.
fn is_path(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 1024
        && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        && !text.contains("://")
        && !text.contains(": ")
        && (!text.contains(' ') || text.contains(['/', '\\', '.']))
}

/// `F401`, `SC2086`, `C0114`, `TS2322`, `RUF100`: a few capitals, then digits.
fn is_code(word: &str) -> bool {
    let capitals = word.bytes().take_while(u8::is_ascii_uppercase).count();
    let digits = &word[capitals..];
    (1..=8).contains(&capitals) && (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The letter that starts each of pylint's codes is its kind: fatal, error, warning, refactor, convention, information.
fn pylint_severity(code: &str) -> Option<Severity> {
    let kind = code.strip_suffix(|c: char| c.is_ascii_digit()).filter(|_| code.len() == 5)?;
    Some(match kind.as_bytes()[0] {
        b'F' | b'E' => Severity::High,
        b'W' => Severity::Medium,
        b'R' | b'C' => Severity::Low,
        b'I' => Severity::Info,
        _ => return None,
    })
}

/// A rule's name as it stands in brackets: one word of letters, digits and the usual signs.
fn is_rule(text: &str) -> bool {
    text.len() <= 80
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.:=+#@,".contains(&byte))
}

/// `text` without a last `[…]`, and what is in it.
fn trailing(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let inner = text.trim_end().strip_suffix(close)?;
    let at = inner.rfind(open)?;
    // `list[int]` is not a rule
    (at == 0 || inner[..at].ends_with(' ')).then(|| (inner[..at].trim_end(), &inner[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants() {
        // line, path, line number, column, severity, rule, message
        type Case = (&'static str, &'static str, u32, u32, Severity, &'static str, &'static str);
        let cases: [Case; 18] = [
            ("a.c:5:12: warning: bad [-Wformat=]", "a.c", 5, 12, Severity::Medium, "-Wformat=", "bad"),
            ("a.c:7:10: fatal error: x.h: No such file", "a.c", 7, 10, Severity::High, "", "x.h: No such file"),
            ("a.c:7: error: no column", "a.c", 7, 0, Severity::High, "", "no column"),
            ("a.sh:2:6: note: Quote. [SC2086]", "a.sh", 2, 6, Severity::Low, "SC2086", "Quote."),
            ("a.py:1:1: F401 'os' unused", "a.py", 1, 1, Severity::Medium, "F401", "'os' unused"),
            ("a.py:1:8: F401 [*] `os` unused", "a.py", 1, 8, Severity::Medium, "F401", "`os` unused"),
            ("a.py:1:0: C0114: Missing doc (missing-doc)", "a.py", 1, 0, Severity::Low, "C0114 missing-doc", "Missing doc"),
            ("a.py:3:1: error: No type  [no-untyped-def]", "a.py", 3, 1, Severity::High, "no-untyped-def", "No type"),
            ("a.py:3: error: got list[int]", "a.py", 3, 0, Severity::High, "", "got list[int]"),
            ("/w/a.js:1:7: 'x' unused. [Error/no-unused]", "/w/a.js", 1, 7, Severity::High, "no-unused", "'x' unused."),
            ("a.yml:1:1: [error] too long (line-length)", "a.yml", 1, 1, Severity::High, "line-length", "too long"),
            ("main.go:5:2: result unused (govet)", "main.go", 5, 2, Severity::Medium, "govet", "result unused"),
            ("./main.go:5:2: undefined: x", "./main.go", 5, 2, Severity::Medium, "", "undefined: x"),
            ("src/x.ts(3,5): error TS2322: Type.", "src/x.ts", 3, 5, Severity::High, "TS2322", "Type."),
            ("Dockerfile:3 DL3006 warning: Tag it", "Dockerfile", 3, 0, Severity::Medium, "DL3006", "Tag it"),
            (r"C:\src\a.c:5:1: error: bad", r"C:\src\a.c", 5, 1, Severity::High, "", "bad"),
            ("a b/c.py:5:1: style: neat it", "a b/c.py", 5, 1, Severity::Info, "", "neat it"),
            ("a.c:1:2-8: warning: range", "a.c", 1, 2, Severity::Medium, "", "range"),
        ];
        for (line, path, number, column, severity, rule, message) in cases {
            let finding = finding(line, "t").unwrap_or_else(|| panic!("{line}"));
            let place = finding.location.clone().unwrap();
            assert_eq!((place.path.as_str(), place.line, place.column), (path, number, column), "{line}");
            assert_eq!((finding.severity, finding.rule.as_str(), finding.message.as_str()), (severity, rule, message), "{line}");
        }
    }

    #[test]
    fn what_is_no_finding() {
        for line in [
            "",
            "Found 14 errors.",
            "    5 |   printf(\"%s\\n\", x);",
            "stock.c: In function ‘main’:",
            "12:30:45: started",
            "2026-01-02 12:30:45: started",
            "see http://localhost:8080: it is there",
            "5 problems",
            "note: run with: 3",
            "a.c:5:1:",
            ":5:1: x",
        ] {
            assert_eq!(finding(line, "t"), None, "{line}");
        }
    }
}
