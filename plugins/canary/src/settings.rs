//! The stage's settings, and what of them can't be meant.

use runner_analysis::{Metric, Probe, With};
use runner_sdk::Span;
use runner_sdk::kubernetes::forward::Forward;
use serde::{Deserialize, Deserializer, de};

use crate::steps::{self, OnCancel, Step};

/// A new version gets a growing part of the traffic, for as long as nothing speaks against it
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The Deployment that serves
    pub deployment: String,
    /// The Deployment of the new version; without it, the first with `-canary` behind it
    pub canary: Option<String>,
    /// A Deployment that gets the old version and as many Pods as the canary, to compare with
    pub baseline: Option<String>,
    /// The new version's image
    pub image: String,
    /// The container that has it; without it, the only one, or the one that is called as the Deployment
    pub container: Option<String>,
    /// How the traffic is parted; without it, by the numbers of Pods behind one Service
    pub traffic: Option<Traffic>,
    /// What is done, one after the other. Without it: 10 %, five minutes, 50 %, five minutes, promote
    #[serde(default = "usual")]
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub steps: Vec<StepSetting>,
    /// Where Prometheus is: `http://prometheus:9090`
    pub prometheus: Option<String>,
    /// What is measured. One with a `count` is measured by the step `analyse`, one without it from the first step to the last
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// What the canary's Pods may say of themselves
    #[serde(default)]
    pub signals: SignalLimits,
    /// How long the Pods of a step may take to get ready
    #[serde(default = "five_minutes")]
    pub deadline: Span,
    /// What becomes of the canary if the stage is stopped
    #[serde(default)]
    pub on_cancel: Cancelling,
    /// Services of the cluster that metrics are asked from: `http://<name>.stage:<port>`
    #[serde(default)]
    pub forward: Vec<Forward>,
}

/// How the traffic is parted
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Traffic {
    /// By the weights of an Istio VirtualService
    Istio(Istio),
    /// By the weights of a Gateway API HTTPRoute
    Gateway(Gateway),
}

/// A VirtualService whose routes lead to both versions
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Istio {
    /// Its name
    pub virtual_service: String,
    /// Only the route of this name; without it, all that lead to both versions
    pub route: Option<String>,
    /// The subset, or else the host, of the old version
    #[serde(default = "stable")]
    pub stable: String,
    /// The subset, or else the host, of the new version
    #[serde(default = "canary")]
    pub canary: String,
    /// The subset, or else the host, of the baseline
    pub baseline: Option<String>,
    /// Routes whose every match asks for a header lead wholly to the canary, from its first traffic on
    #[serde(default)]
    pub headers: bool,
    /// The version of Istio's API
    #[serde(default = "v1")]
    pub api_version: String,
}

/// An HTTPRoute whose rules lead to both versions
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gateway {
    /// Its name
    pub route: String,
    /// The Service of the old version; without it, called as the Deployment
    pub stable: Option<String>,
    /// The Service of the new version; without it, called as the canary's Deployment
    pub canary: Option<String>,
    /// The Service of the baseline
    pub baseline: Option<String>,
    /// Rules whose every match asks for a header lead wholly to the canary, from its first traffic on
    #[serde(default)]
    pub headers: bool,
    /// The version of the Gateway API
    #[serde(default = "v1")]
    pub api_version: String,
}

/// A step
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StepSetting {
    /// The part of the traffic that the canary gets, in percent
    SetWeight(#[cfg_attr(test, schemars(range(min = 0, max = 100)))] u32),
    /// The canary's Pods
    Scale(u32),
    /// `"5m"`, or `"approved"`: until somebody approves
    Pause(Pause),
    /// Measures all metrics with a `count`, until each has passed
    Analyse,
    /// The Deployment gets the new version, and all traffic
    Promote,
}

/// How long a pause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    For(Span),
    Approved,
}

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pause, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "approved" {
            return Ok(Pause::Approved);
        }
        let span = serde_json::from_value(serde_json::Value::from(text.as_str()));
        span.map(Pause::For).map_err(|error| de::Error::custom(format!("{error}; or `approved`")))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Pause {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pause".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A length of time such as `30s` or `5m`, or `approved`" })
    }
}

/// What the canary's Pods may say of themselves
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SignalLimits {
    /// So many crashes are let be; one more, and it rolls back
    pub crashes: u32,
    /// So many restarts are let be, for whatever reason; without it, any number
    pub restarts: Option<u32>,
    /// This part of the Pods may be unready
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub unready: f64,
    /// For so long more of them may be
    pub unready_for: Span,
}

impl Default for SignalLimits {
    fn default() -> SignalLimits {
        SignalLimits { crashes: 2, restarts: None, unready: 0.05, unready_for: Span::from_secs(30) }
    }
}

/// What becomes of the canary if the stage is stopped
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Cancelling {
    /// It goes back to what was before
    #[default]
    RollBack,
    /// It stays as it is
    Stay,
}

fn usual() -> Vec<StepSetting> {
    let pause = || StepSetting::Pause(Pause::For(five_minutes()));
    vec![StepSetting::SetWeight(10), pause(), StepSetting::SetWeight(50), pause(), StepSetting::Promote]
}

fn five_minutes() -> Span {
    Span::from_secs(300)
}

fn stable() -> String {
    "stable".into()
}

fn canary() -> String {
    "canary".into()
}

fn v1() -> String {
    "v1".into()
}

impl Settings {
    pub fn canary(&self) -> String {
        self.canary.clone().unwrap_or_else(|| format!("{}-canary", self.deployment))
    }

    /// The metrics, and the steps.
    ///
    /// # Errors
    /// Which setting can't be meant, and how to mend it.
    pub fn plan(&self) -> Result<(Vec<Probe>, Vec<Step>), String> {
        if self.canary() == self.deployment {
            return Err(format!("canary: `{}` is the Deployment that serves; the new version needs one of its own", self.deployment));
        }
        if self.baseline.as_ref().is_some_and(|baseline| *baseline == self.deployment || *baseline == self.canary()) {
            return Err("baseline: it needs a Deployment of its own".into());
        }
        let probes: Result<Vec<Probe>, String> = self.metrics.iter().map(|metric| Probe::new(metric, self.prometheus.as_deref())).collect();
        let probes = probes?;
        if let Some((_, twice)) = probes.iter().enumerate().find(|(at, one)| probes[..*at].iter().any(|other| other.name == one.name)) {
            return Err(format!("metrics: two are called `{}`; reports could not tell them apart", twice.name));
        }
        let compares_with_baseline = probes.iter().any(|probe| probe.with == Some(With::Baseline));
        if compares_with_baseline && self.baseline.is_none() {
            return Err("metrics: one is compared with a baseline, and there is none; name its Deployment in `baseline`".into());
        }
        self.check_routes()?;
        let step = |setting: &StepSetting| match setting {
            StepSetting::SetWeight(weight) => Step::SetWeight(*weight),
            StepSetting::Scale(pods) => Step::Scale(*pods),
            StepSetting::Pause(Pause::For(span)) => Step::Pause(span.0),
            StepSetting::Pause(Pause::Approved) => Step::Approval,
            StepSetting::Analyse => Step::Analyse,
            StepSetting::Promote => Step::Promote,
        };
        let steps: Vec<Step> = self.steps.iter().map(step).collect();
        check_steps(&steps, &probes)?;
        Ok((probes, steps))
    }

    fn check_routes(&self) -> Result<(), String> {
        let of_baseline = match &self.traffic {
            None => return Ok(()),
            Some(Traffic::Istio(istio)) => &istio.baseline,
            Some(Traffic::Gateway(gateway)) => &gateway.baseline,
        };
        match (&self.baseline, of_baseline) {
            (Some(_), None) => Err(
                "traffic: the baseline gets no traffic, and there would be nothing to compare with; name where it is reached in `baseline`"
                    .into(),
            ),
            (None, Some(_)) => {
                Err("traffic: `baseline` leads to a Deployment that is not named; name it in `baseline` of the stage".into())
            }
            _ => Ok(()),
        }
    }
}

fn check_steps(steps: &[Step], probes: &[Probe]) -> Result<(), String> {
    if let Some(Step::SetWeight(weight)) = steps.iter().find(|step| matches!(step, Step::SetWeight(weight) if *weight > 100)) {
        return Err(format!("steps: `set-weight = {weight}` is more than all; 100 is the most"));
    }
    match steps.iter().position(|step| *step == Step::Promote) {
        None => return Err("steps: the last one has to be `promote`; without it the canary would be taken back at the end".into()),
        Some(at) if at + 1 < steps.len() => return Err("steps: nothing can come after `promote`".into()),
        Some(_) => {}
    }
    let analysed = probes.iter().any(|probe| probe.limits.count.is_some());
    match (steps.contains(&Step::Analyse), analysed) {
        (true, false) => Err("steps: `analyse` has nothing to analyse; give a metric a `count`".into()),
        (false, true) => Err("metrics: one has a `count`, and no step `analyse` measures it; add the step, or leave the `count` out to measure it all the time".into()),
        _ => Ok(()),
    }
}

impl From<Cancelling> for OnCancel {
    fn from(cancelling: Cancelling) -> OnCancel {
        match cancelling {
            Cancelling::RollBack => steps::OnCancel::RollBack,
            Cancelling::Stay => steps::OnCancel::Stay,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub fn settings(more: Value) -> Settings {
        let mut value = json!({ "deployment": "api", "image": "shop:2" });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    #[test]
    fn what_is_not_said_is_usual() {
        let (probes, steps) = settings(json!({})).plan().unwrap();
        let pause = Step::Pause(std::time::Duration::from_secs(300));
        assert_eq!(steps, [Step::SetWeight(10), pause, Step::SetWeight(50), pause, Step::Promote]);
        assert!(probes.is_empty());
        let steps = json!([{ "scale": 2 }, { "set-weight": 5 }, { "pause": "approved" }, { "pause": "90s" }, "promote"]);
        let (_, steps) = settings(json!({ "steps": steps })).plan().unwrap();
        assert_eq!(steps[2..4], [Step::Approval, Step::Pause(std::time::Duration::from_secs(90))]);
        assert!(serde_json::from_value::<Pause>(json!("soon")).unwrap_err().to_string().ends_with("; or `approved`"));
    }

    #[test]
    fn the_readme_shows_settings_that_can_be_meant() {
        let pipeline = runner_sdk::testing::example(include_str!("../README.md"), 0);
        let settings: Settings = serde_json::from_value(pipeline["stage"]["canary"]["with"].clone()).unwrap();
        settings.plan().unwrap();
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let metric = |more: Value| {
            let mut metric = json!({ "name": "errors", "query": "x", "success": "result < 1.0", "prometheus": "http://p" });
            metric.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([metric])
        };
        for (part, more) in [
            ("canary: `api` is the Deployment", json!({ "canary": "api" })),
            ("baseline: it needs a Deployment", json!({ "baseline": "api-canary" })),
            ("there is none; name its Deployment", json!({ "metrics": metric(json!({ "compare": { "with": "baseline" } })) })),
            ("the last one has to be `promote`", json!({ "steps": [{ "set-weight": 10 }] })),
            ("nothing can come after `promote`", json!({ "steps": ["promote", { "pause": "1s" }] })),
            ("100 is the most", json!({ "steps": [{ "set-weight": 101 }, "promote"] })),
            ("nothing to analyse", json!({ "steps": ["analyse", "promote"] })),
            ("no step `analyse`", json!({ "metrics": metric(json!({ "count": 3 })) })),
            ("two are called `errors`", json!({ "metrics": [metric(json!({}))[0], metric(json!({}))[0]] })),
            ("nobody says where Prometheus is", json!({ "metrics": metric(json!({ "prometheus": null })) })),
            ("the baseline gets no traffic", json!({ "baseline": "b", "traffic": { "istio": { "virtual-service": "api" } } })),
            ("leads to a Deployment that is not named", json!({ "traffic": { "gateway": { "route": "api", "baseline": "b" } } })),
        ] {
            let told = settings(more).plan().unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
