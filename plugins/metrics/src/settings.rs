//! The stage's settings, and what of them can't be meant.

use runner_analysis::{Metric, Probe, With};
use runner_sdk::kubernetes::forward::Forward;
use serde::Deserialize;

/// What to measure, and what it has to be
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Where Prometheus is: `http://prometheus:9090`
    pub prometheus: Option<String>,
    /// What is measured, side by side. One without a `count` is measured once
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub metrics: Vec<Metric>,
    /// Services of the cluster that metrics are asked from: `http://<name>.stage:<port>`
    #[serde(default)]
    pub forward: Vec<Forward>,
}

impl Settings {
    /// # Errors
    /// Which setting can't be meant, and how to mend it.
    pub fn probes(&self) -> Result<Vec<Probe>, String> {
        let probe = |metric: &Metric| {
            let mut metric = metric.clone();
            metric.count.get_or_insert(1);
            let probe = Probe::new(&metric, self.prometheus.as_deref())?;
            let told = |what: &str| Err(format!("metric `{}`: {what}", metric.name));
            if !matches!(probe.with, None | Some(With::Before)) {
                return told("here is no canary to compare; compare with `before`, or measure in the canary stage");
            }
            let texts = [&metric.query, &metric.url, &metric.observations];
            if texts
                .into_iter()
                .flatten()
                .any(|text| ["deployment", "pods", "namespace"].iter().any(|name| text.contains(&format!("{{{{{name}}}}}"))))
            {
                return told("only `{{interval}}` stands for something here: name in the query what is measured");
            }
            Ok(probe)
        };
        if self.metrics.is_empty() {
            return Err("metrics: there is nothing to measure".into());
        }
        let probes: Vec<Probe> = self.metrics.iter().map(probe).collect::<Result<_, String>>()?;
        let twice = probes.iter().enumerate().find(|(at, one)| probes[..*at].iter().any(|other| other.name == one.name));
        match twice {
            Some((_, twice)) => Err(format!("metrics: two are called `{}`; reports could not tell them apart", twice.name)),
            None => Ok(probes),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub fn settings(metrics: Value) -> Settings {
        let mut list = metrics;
        for metric in list.as_array_mut().unwrap() {
            let metric = metric.as_object_mut().unwrap();
            metric.entry("name").or_insert(json!("errors"));
            metric.entry("query").or_insert(json!("errors"));
            metric.entry("success").or_insert(json!("result <= 0.01"));
        }
        serde_json::from_value(json!({ "prometheus": "http://p", "metrics": list })).unwrap()
    }

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    #[test]
    fn the_readme_shows_settings_that_can_be_meant() {
        let pipeline = runner_sdk::testing::example(include_str!("../README.md"), 0);
        let settings: Settings = serde_json::from_value(pipeline["stage"]["metrics"]["with"].clone()).unwrap();
        settings.probes().unwrap();
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (part, metrics) in [
            ("nothing to measure", json!([])),
            ("compare with `before`", json!([{ "compare": { "with": "stable" } }])),
            ("only `{{interval}}`", json!([{ "query": "x{p=~\"{{pods}}\"}" }])),
            ("two are called `errors`", json!([{}, {}])),
            ("success: ", json!([{ "success": "result <" }])),
        ] {
            let told = settings(metrics).probes().unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(settings(json!([{}])).probes().unwrap()[0].limits.count, Some(1));
    }
}
