//! From a metric's settings to what is asked, and from the answers to readings.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runner_sdk::Failure;

use crate::compare::Margins;
use crate::condition::Condition;
use crate::metric::{Conditions, Limits};
use crate::reading::{Reading, at_pointer, prometheus};
use crate::settings::{Metric, With};

/// What is left as it is in a query of a URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a source has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// It may the next time.
    Passing(String),
    /// It never will: the grant does not allow it, or it is no URL.
    Lasting(Failure),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Passing(why) => f.write_str(why),
            Failed::Lasting(failure) => failure.fmt(f),
        }
    }
}

/// Whoever has a network.
pub trait Web {
    /// Status and body of a `GET`.
    fn get(&mut self, url: &str, headers: &BTreeMap<String, String>, timeout: Duration) -> Result<(u16, Vec<u8>), Failed>;
}

/// Who is measured, and when.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// What stands for `{{deployment}}` and the others.
    pub names: BTreeMap<&'static str, String>,
    /// The moment that is asked about, in seconds since 1970; none for now.
    pub at: Option<f64>,
}

impl Side {
    #[must_use]
    pub fn naming(mut self, name: &'static str, value: impl Into<String>) -> Side {
        self.names.insert(name, value.into());
        self
    }
}

/// What can stand between braces.
const NAMES: [&str; 4] = ["deployment", "pods", "namespace", "interval"];

#[derive(Debug, Clone)]
enum Source {
    Prometheus { base: String, query: String, observations: Option<String> },
    Json { url: String, value: String, observations: Option<String> },
}

/// A metric whose settings can be meant.
#[derive(Debug, Clone)]
pub struct Probe {
    pub name: String,
    pub conditions: Conditions,
    pub limits: Limits,
    pub with: Option<With>,
    source: Source,
    headers: BTreeMap<String, String>,
    timeout: Duration,
}

impl Probe {
    /// `default`: where Prometheus is if the metric does not say.
    ///
    /// # Errors
    /// Which setting can't be meant, and how to mend it.
    pub fn new(metric: &Metric, default: Option<&str>) -> Result<Probe, String> {
        let told = |what: &str| Err(format!("metric `{}`: {what}", metric.name));
        let condition = |setting: &str, source: &Option<String>| {
            let parsed = source.as_deref().map(Condition::parse).transpose();
            parsed.map_err(|why| format!("metric `{}`: {setting}: {why}", metric.name))
        };
        let conditions = Conditions {
            success: condition("success", &metric.success)?,
            failure: condition("failure", &metric.failure)?,
            ranks: metric.compare.as_ref().and_then(|compare| compare.mann_whitney).map(|test| Margins {
                direction: test.worse,
                confidence: test.confidence,
                fraction: test.tolerance,
                allowed: test.ratio,
                minimum: test.minimum as usize,
            }),
        };
        if conditions.success.is_none() && conditions.failure.is_none() && conditions.ranks.is_none() {
            return told("nothing says what is good; give it `success`, `failure`, or `compare` with `mann-whitney`");
        }
        let source = match (&metric.query, &metric.url) {
            (Some(_), Some(_)) => return told("`query` and `url` are two sources; leave one out"),
            (None, None) => return told("it has no source; give it a PromQL `query`, or a `url` and the pointer `value`"),
            (Some(query), None) => {
                let Some(base) = metric.prometheus.as_deref().or(default) else {
                    return told("nobody says where Prometheus is; set `prometheus`, here or for all metrics");
                };
                if metric.value.is_some() {
                    return told("`value` is for a `url`; a query gives the number itself");
                }
                let base = base.trim_end_matches('/').to_owned();
                Source::Prometheus { base, query: query.clone(), observations: metric.observations.clone() }
            }
            (None, Some(url)) => {
                let Some(value) = &metric.value else { return told("`value` is missing: the JSON pointer of the number") };
                let pointers = [Some(value), metric.observations.as_ref()];
                if pointers.into_iter().flatten().any(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
                    return told("a JSON pointer begins with `/`");
                }
                if metric.compare.as_ref().is_some_and(|compare| compare.with == With::Before) {
                    return told("only Prometheus knows what was before; compare with `stable` or `baseline`, or measure with a `query`");
                }
                Source::Json { url: url.clone(), value: value.clone(), observations: metric.observations.clone() }
            }
        };
        let texts = [metric.query.as_ref(), metric.url.as_ref(), metric.observations.as_ref()];
        for text in texts.into_iter().flatten() {
            if let Some(name) = placeholders(text).into_iter().find(|name| !NAMES.contains(name)) {
                return told(&format!(
                    "`{{{{{name}}}}}` stands for nothing; there are {}",
                    NAMES.map(|n| format!("`{{{{{n}}}}}`")).join(", ")
                ));
            }
        }
        if metric.minimum > 0 && metric.observations.is_none() {
            return told("with `minimum` it has to be known how many observations there are; give it `observations`");
        }
        let limits = Limits {
            interval: metric.interval.0,
            initial_delay: metric.initial_delay.map(|delay| delay.0).unwrap_or_default(),
            count: metric.count,
            failures: metric.failures,
            errors: metric.errors,
            inconclusive: metric.inconclusive,
            minimum: metric.minimum,
        };
        let (name, headers, timeout) = (metric.name.clone(), metric.headers.clone(), metric.timeout.0);
        let with = metric.compare.as_ref().map(|compare| compare.with);
        Ok(Probe { name, conditions, limits, with, source, headers, timeout })
    }

    /// What is asked, for people.
    pub fn query(&self, side: &Side) -> String {
        match &self.source {
            Source::Prometheus { query, .. } => self.filled(query, side, str::to_owned),
            Source::Json { url, value, .. } => format!("{} {value}", self.filled(url, side, encoded)),
        }
    }

    /// What makes a number good or bad, for people.
    pub fn threshold(&self) -> String {
        self.conditions.to_string()
    }

    /// Asks once. What never will be answered is broken too: whoever measures before anything is changed should look at [`Failed`] by itself.
    pub fn read(&self, web: &mut dyn Web, side: &Side) -> Reading {
        self.try_read(web, side).unwrap_or_else(|failed| Reading::Broken(failed.to_string()))
    }

    /// # Errors
    /// If the source has not answered at all.
    pub fn try_read(&self, web: &mut dyn Web, side: &Side) -> Result<Reading, Failed> {
        match &self.source {
            Source::Prometheus { base, query, observations } => {
                let mut ask = |query: &str| {
                    let time = side.at.map(|at| format!("&time={at:.3}")).unwrap_or_default();
                    let url = format!("{base}/api/v1/query?query={}{time}", encoded(&self.filled(query, side, str::to_owned)));
                    web.get(&url, &self.headers, self.timeout).map(|(status, body)| prometheus(status, &body))
                };
                let reading = ask(query)?;
                let Some(observations) = observations else { return Ok(reading) };
                if !matches!(reading, Reading::Number { .. }) {
                    return Ok(reading);
                }
                Ok(counted(reading, ask(observations)?))
            }
            Source::Json { url, value, observations } => {
                let url = self.filled(url, side, encoded);
                let (status, body) = web.get(&url, &self.headers, self.timeout)?;
                let reading = at_pointer(status, &body, value);
                Ok(match observations {
                    Some(pointer) => counted(reading, at_pointer(status, &body, pointer)),
                    None => reading,
                })
            }
        }
    }

    fn filled(&self, text: &str, side: &Side, write: impl Fn(&str) -> String) -> String {
        let mut filled = text.to_owned();
        for name in NAMES {
            let value = match name {
                "interval" => format!("{}s", self.limits.interval.as_secs().max(1)),
                name => side.names.get(name).cloned().unwrap_or_default(),
            };
            filled = filled.replace(&format!("{{{{{name}}}}}"), &write(&value));
        }
        filled
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A number with what was counted; a count that is none is why the number says nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was compared with 0, and a float is clamped")]
fn counted(reading: Reading, count: Reading) -> Reading {
    match (reading, count) {
        (reading @ Reading::Number { .. }, Reading::Number { value, .. }) if value >= 0.0 => reading.of(value as u64),
        (Reading::Number { .. }, Reading::Number { value, .. }) => Reading::Broken(format!("{value} is no count of observations")),
        // nothing was counted where nothing was seen
        (reading @ Reading::Number { .. }, Reading::Nothing(_)) => reading.of(0),
        (Reading::Number { .. }, Reading::Broken(why)) => Reading::Broken(format!("its observations: {why}")),
        (reading, _) => reading,
    }
}

fn placeholders(text: &str) -> Vec<&str> {
    let inside = |part: &'_ str| part.split_once("}}").map(|(name, _)| name.len());
    text.split("{{").skip(1).filter_map(|part| inside(part).map(|end| &part[..end])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Answers(Vec<(u16, String)>, Vec<String>);

    impl Web for Answers {
        fn get(&mut self, url: &str, _: &BTreeMap<String, String>, _: Duration) -> Result<(u16, Vec<u8>), Failed> {
            self.1.push(url.to_owned());
            if self.0.is_empty() {
                return Err(Failed::Passing("no connection".into()));
            }
            let (status, body) = self.0.remove(0);
            Ok((status, body.into_bytes()))
        }
    }

    fn probe(more: Value) -> Result<Probe, String> {
        let mut value = json!({ "name": "errors", "query": "rate(e{d=\"{{deployment}}\"}[{{interval}}])", "success": "result < 1.0" });
        for (key, part) in more.as_object().unwrap() {
            value[key] = part.clone();
        }
        value.as_object_mut().unwrap().retain(|_, part| !part.is_null());
        Probe::new(&serde_json::from_value(value).unwrap(), Some("http://prometheus:9090/"))
    }

    fn sample(value: &str) -> (u16, String) {
        (200, json!({ "status": "success", "data": { "resultType": "vector", "result": [{ "value": [1, value] }] } }).to_string())
    }

    #[test]
    fn a_query_names_who_is_measured() {
        let side = Side::default().naming("deployment", "api-canary");
        let mut web = Answers(vec![sample("0.5")], Vec::new());
        assert_eq!(probe(json!({})).unwrap().read(&mut web, &side), Reading::number(0.5));
        assert_eq!(web.1, ["http://prometheus:9090/api/v1/query?query=rate%28e%7Bd%3D%22api-canary%22%7D%5B30s%5D%29"]);
        let before = Side { at: Some(1_700_000_000.0), ..side };
        probe(json!({})).unwrap().read(&mut web, &before);
        assert!(web.1[1].ends_with("&time=1700000000.000"), "{:?}", web.1);
        assert_eq!(probe(json!({})).unwrap().query(&before), "rate(e{d=\"api-canary\"}[30s])");
    }

    #[test]
    fn observations_are_counted_beside_it() {
        let counting = probe(json!({ "observations": "sum(n)", "minimum": 10 })).unwrap();
        for (wanted, answers) in [
            (Reading::number(0.5).of(12), vec![sample("0.5"), sample("12.9")]),
            (Reading::number(0.5).of(0), vec![sample("0.5"), sample("NaN")]),
            (Reading::Broken("-1 is no count of observations".into()), vec![sample("0.5"), sample("-1")]),
            (Reading::Broken("no connection".into()), vec![sample("0.5")]),
            (Reading::Nothing("the result is NaN".into()), vec![sample("NaN"), sample("5")]),
        ] {
            assert_eq!(counting.read(&mut Answers(answers, Vec::new()), &Side::default()), wanted);
        }
        let json = probe(json!({ "query": null, "url": "http://x/{{deployment}}", "value": "/a", "observations": "/n" })).unwrap();
        let mut web = Answers(vec![(200, r#"{"a":0.25,"n":7}"#.into())], Vec::new());
        assert_eq!(json.read(&mut web, &Side::default().naming("deployment", "a/b")), Reading::number(0.25).of(7));
        assert_eq!(web.1, ["http://x/a%2Fb"]);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (part, more) in [
            ("nothing says what is good", json!({ "success": null })),
            ("success: `result <`", json!({ "success": "result <" })),
            ("two sources", json!({ "url": "http://x" })),
            ("it has no source", json!({ "query": null })),
            ("`value` is missing", json!({ "query": null, "url": "http://x" })),
            ("begins with `/`", json!({ "query": null, "url": "http://x", "value": "a" })),
            ("`value` is for a `url`", json!({ "value": "/a" })),
            ("`{{pod}}` stands for nothing", json!({ "query": "x{p=\"{{pod}}\"}" })),
            ("give it `observations`", json!({ "minimum": 5 })),
            ("only Prometheus knows", json!({ "query": null, "url": "http://x", "value": "/a", "compare": { "with": "before" } })),
        ] {
            let told = probe(more).unwrap_err();
            assert!(told.contains(part) && told.starts_with("metric `errors`: "), "{told}");
        }
        let nowhere = serde_json::from_value(json!({ "name": "e", "query": "x", "success": "result < 1.0" })).unwrap();
        assert!(Probe::new(&nowhere, None).unwrap_err().contains("nobody says where Prometheus is"));
    }
}
