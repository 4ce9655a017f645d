//! The `with` table of a `smoke` stage.

use std::collections::BTreeMap;

use runner_sdk::Span;
use runner_sdk::kubernetes::forward::Forward;
use runner_sdk::service::Service;
use serde::Deserialize;
use serde_json::Value;

use crate::status::Statuses;

/// Which requests to send, and what to expect
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Stands before every URL that starts with `/`, such as `http://app.stage:8080`
    #[serde(default)]
    pub base: Option<String>,
    /// Services to start before anything else, in order; they end with the stage
    #[serde(default)]
    pub start: Vec<Service>,
    /// Services and Pods of the cluster that requests reach at `http://<name>.stage:<port>`
    #[serde(default)]
    pub forward: Vec<Forward>,
    /// Health checks, in order: each waits for the one before, and the journeys wait for all
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Journeys, in order; each has its own captured values, and one that fails does not stop the next
    #[serde(default)]
    pub journeys: Vec<Journey>,
    /// Values that stand in for `{{name}}` in every journey
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Headers of every request
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long a request may take where nothing else is said
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

/// A request that is repeated until its answer is as expected
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Check {
    /// What the report calls it; without it, `GET` and the URL
    #[serde(default)]
    pub name: Option<String>,
    /// Absolute, or a path behind `base`
    pub url: String,
    /// Headers of the request
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long to wait until the answer is as expected
    #[serde(default = "thirty_seconds")]
    pub timeout: Span,
    /// How long to wait between two requests
    #[serde(default = "one_second")]
    pub interval: Span,
    /// What to expect; without it, a 2xx status
    #[serde(default)]
    pub expect: Expect,
}

fn thirty_seconds() -> Span {
    Span::from_secs(30)
}

fn one_second() -> Span {
    Span::from_secs(1)
}

/// Steps that follow each other; the first that fails ends the journey
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Journey {
    /// What the report calls it
    pub name: String,
    /// The requests, in order
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub steps: Vec<Step>,
}

/// A request and what to expect of its answer. `{{name}}` stands for a captured value in `url`, `headers`, `body`, `json` and `expect`
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// What the report calls it; without it, the method and the URL
    #[serde(default)]
    pub name: Option<String>,
    /// The method; `GET` without it
    #[serde(default)]
    pub method: Option<String>,
    /// Absolute, or a path behind `base`. Values are percent-encoded, but for one that the URL begins with
    pub url: String,
    /// Headers of the request
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as text
    #[serde(default)]
    pub body: Option<String>,
    /// The body as JSON instead; a string that is one `{{name}}` becomes the value with its type
    #[serde(default)]
    pub json: Option<Value>,
    /// How many redirects to follow; without it, a redirect is itself the answer
    #[serde(default)]
    pub redirects: u32,
    /// How long the request may take
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Repeats the request until the answer is as expected
    #[serde(default)]
    pub retry: Option<Retry>,
    /// What to expect; without it, a 2xx status
    #[serde(default)]
    pub expect: Expect,
    /// Values for later steps of the journey, by name
    #[serde(default)]
    pub capture: BTreeMap<String, Capture>,
}

/// How to repeat a request
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// How long to go on
    #[serde(default = "thirty_seconds")]
    pub timeout: Span,
    /// How long to wait between two requests
    #[serde(default = "one_second")]
    pub interval: Span,
}

/// What to expect of an answer; all of it must hold
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Expect {
    /// A status such as `200`, a class such as `"2xx"`, or an array of them; without it, any 2xx
    #[serde(default)]
    pub status: Option<Statuses>,
    /// Headers, by name in any case
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// The body as text
    #[serde(default)]
    pub body: Option<Text>,
    /// Places in the body as JSON
    #[serde(default)]
    pub json: Vec<Json>,
    /// The longest time from the request to the end of the body
    #[serde(default)]
    pub within: Option<Span>,
    /// The server's TLS certificate
    #[serde(default)]
    pub certificate: Option<Certificate>,
}

/// What to expect of a text; all of it must hold
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Text {
    /// The whole text
    #[serde(default)]
    pub equals: Option<String>,
    /// A part of it
    #[serde(default)]
    pub contains: Option<String>,
    /// A regular expression that matches somewhere in it
    #[serde(default)]
    pub matches: Option<String>,
    /// Whether there is such a header at all
    #[serde(default)]
    pub exists: Option<bool>,
}

/// What to expect of a place in a JSON body; all of it must hold
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Json {
    /// A JSON pointer (RFC 6901) such as `/items/0/id`; empty for the whole body
    pub at: String,
    /// The value there; numbers are compared as numbers
    #[serde(default)]
    pub equals: Option<Value>,
    /// Whether there is anything there
    #[serde(default)]
    pub exists: Option<bool>,
    /// How many elements, members or characters there are
    #[serde(default)]
    pub length: Option<u64>,
    /// The least number
    #[serde(default)]
    pub min: Option<f64>,
    /// The greatest number
    #[serde(default)]
    pub max: Option<f64>,
    /// A regular expression that matches somewhere in the string, or in the value as JSON
    #[serde(default)]
    pub matches: Option<String>,
}

/// What to expect of a certificate
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Certificate {
    /// For how many days it must be valid still
    pub min_days: u32,
}

/// Where a value is taken from: the body as JSON, a header, or without both the body as text
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Capture {
    /// A JSON pointer (RFC 6901) into the body
    #[serde(default)]
    pub json: Option<String>,
    /// A header's name
    #[serde(default)]
    pub header: Option<String>,
    /// A regular expression: the value is its first group where it first matches, or the whole match if it has no group
    #[serde(default)]
    pub pattern: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }
}
