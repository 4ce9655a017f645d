//! The settings of a metric, the same in every plugin.

use std::collections::BTreeMap;

use runner_sdk::Span;
use serde::Deserialize;

use crate::compare::Direction;

/// A number that is measured again and again, and what it has to be
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Metric {
    /// What reports call it
    pub name: String,
    /// A PromQL query with one number as its result. `{{deployment}}`, `{{pods}}`, `{{namespace}}` and `{{interval}}` stand for what is measured
    pub query: Option<String>,
    /// Where Prometheus is, if not where all metrics have it: `http://prometheus:9090`
    pub prometheus: Option<String>,
    /// A URL that answers with JSON, instead of a query
    pub url: Option<String>,
    /// Where the number is in that JSON: a JSON pointer such as `/errors/rate`
    pub value: Option<String>,
    /// Headers of the request
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of how many observations the number is made: a query, or a JSON pointer into the same answer
    pub observations: Option<String>,
    /// The least observations: with fewer the number says nothing
    #[serde(default)]
    pub minimum: u64,
    /// How long to wait between two measurements
    #[serde(default = "interval")]
    pub interval: Span,
    /// How long to wait before the first
    pub initial_delay: Option<Span>,
    /// How many measurements are enough to pass; without it, it is measured for as long as the stage goes on
    #[cfg_attr(not(target_arch = "wasm32"), schemars(range(min = 1)))]
    pub count: Option<u32>,
    /// A CEL expression that is true of a good number: `result <= 0.01`; with `compare` over `stable` and `ratio` too
    pub success: Option<String>,
    /// A CEL expression that is true of a bad one
    pub failure: Option<String>,
    /// How many measurements may be bad
    #[serde(default)]
    pub failures: u32,
    /// How many measurements in a row may break, because the source does not answer
    #[serde(default = "four")]
    pub errors: u32,
    /// How many measurements may say nothing, for want of data
    #[serde(default = "four")]
    pub inconclusive: u32,
    /// Measures something else beside it, to compare with
    pub compare: Option<Compare>,
    /// How long a source may take to answer
    #[serde(default = "patience")]
    pub timeout: Span,
}

/// What a metric is compared with, and how
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Compare {
    /// The same query, asked about this
    pub with: With,
    /// Judges the measurements by their ranks, beside or instead of conditions
    pub mann_whitney: Option<MannWhitney>,
}

/// What a metric is compared with
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum With {
    /// The stable version, as it is now
    Stable,
    /// The stable version in Pods that were started together with the canary's
    Baseline,
    /// The same at the moment when the run began: Prometheus only
    Before,
}

/// The Mann–Whitney U test, as Kayenta uses it
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MannWhitney {
    /// What is worse: more, less, or any change
    #[serde(default)]
    pub worse: Direction,
    /// The confidence of the interval of the shift
    #[serde(default = "confidence")]
    #[cfg_attr(not(target_arch = "wasm32"), schemars(range(min = 0.5, max = 0.999)))]
    pub confidence: f64,
    /// The part of the estimated shift that the interval has to lie beyond
    #[serde(default = "fraction")]
    #[cfg_attr(not(target_arch = "wasm32"), schemars(range(min = 0, max = 1)))]
    pub tolerance: f64,
    /// The ratio of the means that is let be, whatever the ranks say
    #[serde(default = "allowed")]
    #[cfg_attr(not(target_arch = "wasm32"), schemars(range(min = 1)))]
    pub ratio: f64,
    /// The least measurements before it says anything
    #[serde(default = "five")]
    #[cfg_attr(not(target_arch = "wasm32"), schemars(range(min = 3, max = 1000)))]
    pub minimum: u32,
}

fn interval() -> Span {
    Span::from_secs(30)
}

fn patience() -> Span {
    Span::from_secs(5)
}

fn four() -> u32 {
    4
}

fn five() -> u32 {
    5
}

fn confidence() -> f64 {
    0.98
}

fn fraction() -> f64 {
    0.25
}

fn allowed() -> f64 {
    1.1
}
