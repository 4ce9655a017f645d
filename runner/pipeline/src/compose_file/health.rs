//! `healthcheck`, as the health gate that a service has here.
//!
//! Compose looks at a service as long as it runs and counts failures; a gate is passed once. So the gate looks at least once a second, and
//! gives up when compose would have: after the start period and all retries, each with its full interval and time-out.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::node::{Key, Node, Value as Toml};

use super::reader::{Map, scalar, wrong};
use super::yaml::{Value, Yaml};
use super::{key, string, table};

/// Compose's own.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
/// Nobody wants to wait longer for the next look.
const SOON: Duration = Duration::from_secs(1);
/// A service that others wait for until it has ended.
const JOB: Duration = Duration::from_secs(600);

/// `ready`. None if there is no check, or it is turned off.
pub(super) fn read(at: &Key, node: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<(Key, Node)> {
    let mut map = Map::new(node, what, diagnostics)?;
    let disabled = map.boolean("disable").is_some_and(|(_, flag)| flag.value);
    let test = map.take("test");
    let mut time = |name| map.text(name).and_then(|(_, text)| duration(&text.value, &text.span, &map.path(name), map.diagnostics));
    let (interval, timeout) = (time("interval").unwrap_or(INTERVAL), time("timeout").unwrap_or(TIMEOUT));
    let (start_period, start_interval) = (time("start_period").unwrap_or_default(), time("start_interval").unwrap_or(interval));
    let retries = match map.text("retries") {
        None => RETRIES,
        Some((_, text)) => text.value.parse().unwrap_or_else(|_| {
            map.diagnostics.push(Diagnostic::error("wrong-type", text.span, format!("`{}` is a number", map.path("retries"))));
            RETRIES
        }),
    };
    map.finish();
    if disabled {
        return None;
    }
    let Some((of_test, test)) = test else {
        let message = format!("`{what}` has no `test`");
        let hint = "write `test: [\"CMD\", \"pg_isready\"]`; an image's own check is not used";
        diagnostics.push(Diagnostic::error("missing-key", at.span.clone(), message).hint(hint));
        return None;
    };
    let command = command(test, &format!("{what}.test"), diagnostics)?;
    let most = start_period.saturating_add((interval.saturating_add(timeout)).saturating_mul(retries.max(1)));
    let span = &at.span;
    let entries = vec![
        (key("command", &of_test.span), Node { value: Toml::Array(command), span: test.span.clone() }),
        (key("timeout", span), written(most, span)),
        (key("interval", span), written(interval.min(start_interval).clamp(Duration::from_millis(1), SOON), span)),
        (key("try-timeout", span), written(timeout.max(Duration::from_millis(1)), span)),
    ];
    Some((key("ready", span), table(entries, &node.span)))
}

/// `ready` of a service that has to end: `service_completed_successfully`.
pub(super) fn job(at: &Key) -> (Key, Node) {
    let span = &at.span;
    let entries =
        vec![(key("exit", span), Node { value: Toml::Integer(0), span: span.clone() }), (key("timeout", span), written(JOB, span))];
    (key("ready", span), table(entries, span))
}

/// None for what says that there is no check, and for mistakes.
fn command(test: &Yaml, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<Node>> {
    let shell = |text: &str| Some(["/bin/sh", "-c", text].iter().map(|word| string(*word, &test.span)).collect());
    let forms = "write a text, [\"CMD\", …], [\"CMD-SHELL\", …] or [\"NONE\"]";
    match &test.value {
        Value::Scalar { text, .. } if text == "NONE" => None,
        Value::Scalar { text, .. } => shell(text),
        Value::List(items) => {
            let words: Vec<_> = items.iter().filter_map(|item| scalar(item, what, diagnostics)).collect();
            let texts: Vec<&str> = words.iter().map(|word| word.value.as_str()).collect();
            match texts.as_slice() {
                ["NONE"] => None,
                ["CMD-SHELL", text] => shell(text),
                ["CMD", _, ..] => Some(words[1..].iter().map(|word| string(word.value.clone(), &word.span)).collect()),
                _ => {
                    diagnostics.push(Diagnostic::error("bad-value", test.span.clone(), format!("`{what}` is no check")).hint(forms));
                    None
                }
            }
        }
        _ => {
            diagnostics.push(wrong(test, what, "a text or a list").hint(forms));
            None
        }
    }
}

pub(super) fn written(time: Duration, span: &crate::diagnostic::Span) -> Node {
    string(humantime::format_duration(time).to_string(), span)
}

/// `1m30s`, `1.5s`, `500ms`: a number needs its unit.
pub(super) fn duration(text: &str, span: &crate::diagnostic::Span, what: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<Duration> {
    let found = parse(text);
    if found.is_none() {
        diagnostics
            .push(Diagnostic::error("bad-duration", span.clone(), format!("`{what}` is not a duration")).hint("such as 500ms, 10s, 1m30s"));
    }
    found
}

fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text.trim(), Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = after;
    }
    Some(Duration::from_micros(u64::try_from(total.as_nanos().div_ceil(1000)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("1m30s", 90_000), ("500ms", 500), ("1.5s", 1_500), ("1h", 3_600_000), ("0", 0), ("0s", 0), ("1d", 86_400_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1.2.3s", "1x", "-1s", "99999999999999999999w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
