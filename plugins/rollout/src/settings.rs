//! The stage's settings, and what of them can't be meant.

use std::collections::BTreeMap;

use runner_sdk::Span;
use serde::Deserialize;
use serde_json::{Value, json};

/// Brings a version to a Deployment
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The Deployment; for `blue-green` its two are named there
    pub deployment: Option<String>,
    /// The new version's image
    pub image: Option<String>,
    /// The container that has it; without it, the only one, or the one that is called as the Deployment
    pub container: Option<String>,
    /// How. Without it, a rolling update as the Deployment has it
    #[serde(default)]
    pub strategy: Strategy,
    /// Migrations before anything is changed, one after the other
    #[serde(default)]
    pub before: Vec<Migration>,
    /// Migrations after all is done, one after the other
    #[serde(default)]
    pub after: Vec<Migration>,
    /// How long the Pods may take to get ready
    #[serde(default = "ten_minutes")]
    pub deadline: Span,
    /// So many of the new Pods' containers may end badly
    #[serde(default = "two")]
    pub crashes: u32,
    /// What happens if it does not get ready
    #[serde(default)]
    pub on_failure: Otherwise,
    /// What happens if the stage is stopped
    #[serde(default)]
    pub on_cancel: Otherwise,
}

/// What happens to what was done
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// It goes back to what was before
    #[default]
    RollBack,
    /// It stays as it is
    Stay,
}

/// How
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Strategy {
    /// New Pods come while old ones go
    Rolling(Rolling),
    /// The other of two Deployments gets the version, and then all the traffic at once
    BlueGreen(BlueGreen),
    /// All old Pods go before the first new one comes
    Recreate,
    /// The same version, in new Pods
    Restart,
    /// An earlier version
    Undo(Undo),
    /// Changes nothing, and tells the versions that there were
    History,
}

impl Default for Strategy {
    fn default() -> Strategy {
        Strategy::Rolling(Rolling::default())
    }
}

/// A rolling update; what is not said stays as the Deployment has it
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rolling {
    /// How many Pods more than it should there may be: `1`, `"25%"`
    pub surge: Option<Amount>,
    /// How many Pods fewer than it should may be ready
    pub unavailable: Option<Amount>,
}

/// A number of Pods, or a part of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount(pub Value);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let part = |text: &str| text.strip_suffix('%').is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number <= 100));
        match &value {
            Value::Number(number) if number.as_u64().is_some_and(|number| number <= 10_000) => Ok(Amount(value)),
            Value::String(text) if part(text) => Ok(Amount(value)),
            other => Err(serde::de::Error::custom(format!("{other} is no number of Pods such as 1, and no part such as \"25%\""))),
        }
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+%$" }] })
    }
}

/// Two Deployments, of which a Service selects one
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BlueGreen {
    /// Both Deployments
    pub deployments: [String; 2],
    /// The Service that everybody uses; its selector tells which Deployment serves
    pub service: String,
    /// A Service that selects the Deployment that does not serve, for checks
    pub preview: Option<String>,
    /// What has to hold at the preview before the switch, and for as long as the old Pods are kept
    #[serde(default)]
    pub checks: Vec<Check>,
    /// For how long the old Pods are kept after the switch
    #[serde(default = "minute")]
    pub keep: Span,
}

/// A request to the preview
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Check {
    /// Such as `/health`
    pub path: String,
    /// The port of the preview Service
    #[serde(default = "eighty")]
    pub port: u16,
    /// The status that is expected
    #[serde(default = "ok")]
    pub status: u16,
    /// What the answer has to contain
    pub contains: Option<String>,
    /// How long to ask again before the switch, until it holds
    #[serde(default = "half_minute")]
    pub timeout: Span,
}

/// An earlier version
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Undo {
    /// Its revision, as `history` tells it; without it, the one before the current
    pub revision: Option<u64>,
}

/// A Job, in a Pod like those of the Deployment: its environment, volumes and service account
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Migration {
    /// A part of the Job's name
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z0-9]([-a-z0-9]{0,19}[a-z0-9])?$")))]
    pub name: String,
    /// The program and its arguments
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub run: Vec<String>,
    /// The image; without it, the new version's
    pub image: Option<String>,
    /// Variables, on top of the Deployment's
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How often it is tried again
    #[serde(default)]
    pub retries: u32,
    /// How long it may take
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
}

fn ten_minutes() -> Span {
    Span::from_secs(600)
}

fn minute() -> Span {
    Span::from_secs(60)
}

fn half_minute() -> Span {
    Span::from_secs(30)
}

fn two() -> u32 {
    2
}

fn eighty() -> u16 {
    80
}

fn ok() -> u16 {
    200
}

impl Rolling {
    /// What is said, as the Deployment has it.
    pub fn update(&self) -> Option<Value> {
        let mut update = json!({});
        if let Some(Amount(surge)) = &self.surge {
            update["maxSurge"] = surge.clone();
        }
        if let Some(Amount(unavailable)) = &self.unavailable {
            update["maxUnavailable"] = unavailable.clone();
        }
        update.as_object().is_some_and(|update| !update.is_empty()).then_some(update)
    }
}

impl Settings {
    /// What can't be meant.
    ///
    /// # Errors
    /// Which setting, and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        let changes = matches!(self.strategy, Strategy::Rolling(_) | Strategy::BlueGreen(_) | Strategy::Recreate);
        match (changes, &self.image) {
            (true, None) => return Err("image: nobody says which version it is to be".into()),
            (false, Some(_)) => return Err("image: `restart`, `undo` and `history` bring no new image; leave it out".into()),
            _ => {}
        }
        match (&self.strategy, &self.deployment) {
            (Strategy::BlueGreen(_), Some(_)) => return Err("deployment: `blue-green` names its two in `deployments`; leave it out".into()),
            (Strategy::BlueGreen(_), None) | (_, Some(_)) => {}
            (_, None) => return Err("deployment: nobody says which".into()),
        }
        if let Strategy::Rolling(Rolling { surge: Some(surge), unavailable: Some(unavailable) }) = &self.strategy {
            let none = |amount: &Amount| amount.0 == 0 || amount.0 == "0%";
            if none(surge) && none(unavailable) {
                return Err("strategy: with neither surge nor unavailable Pods no Pod can be replaced; let one of them be 1".into());
            }
        }
        if let Strategy::BlueGreen(blue_green) = &self.strategy {
            if blue_green.deployments[0] == blue_green.deployments[1] {
                return Err("strategy: `deployments` has to name two".into());
            }
            if !blue_green.checks.is_empty() && blue_green.preview.is_none() {
                return Err("strategy: `checks` are asked of the preview; name its Service in `preview`".into());
            }
            if let Some(check) = blue_green.checks.iter().find(|check| !check.path.starts_with('/')) {
                return Err(format!("strategy: the path `{}` of a check has to begin with `/`", check.path));
            }
        }
        let migrates = !self.before.is_empty() || !self.after.is_empty();
        if migrates && matches!(self.strategy, Strategy::History) {
            return Err("before, after: `history` changes nothing, so there is nothing to migrate".into());
        }
        let all: Vec<&str> = self.before.iter().chain(&self.after).map(|one| one.name.as_str()).collect();
        if let Some(twice) = all.iter().enumerate().find(|(at, name)| all[..*at].contains(name)) {
            return Err(format!("before, after: two migrations are called `{}`", twice.1));
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn settings(more: Value) -> Settings {
        let mut value = json!({ "deployment": "api", "image": "shop:2" });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value.as_object_mut().unwrap().retain(|_, part| !part.is_null());
        serde_json::from_value(value).unwrap()
    }

    pub fn blue_green(more: Value) -> Value {
        let mut value = json!({ "deployments": ["api-blue", "api-green"], "service": "api" });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "deployment": null, "strategy": { "blue-green": value } })
    }

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    #[test]
    fn the_readme_shows_settings_that_can_be_meant() {
        let readme = include_str!("../README.md");
        let pipeline = runner_sdk::testing::example(readme, 0);
        let settings: Settings = serde_json::from_value(pipeline["stage"]["deploy"]["with"].clone()).unwrap();
        settings.check().unwrap();
        let strategy = runner_sdk::testing::example(readme, 1);
        let strategy: Strategy = serde_json::from_value(strategy["strategy"].clone()).unwrap();
        assert!(matches!(strategy, Strategy::BlueGreen(blue_green) if blue_green.checks.len() == 1));
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let migration = json!({ "name": "up", "run": ["migrate"] });
        for (part, more) in [
            ("image: nobody says", json!({ "image": null })),
            ("bring no new image", json!({ "strategy": "restart" })),
            ("bring no new image", json!({ "strategy": { "undo": {} } })),
            ("deployment: nobody says", json!({ "deployment": null })),
            ("no Pod can be replaced", json!({ "strategy": { "rolling": { "surge": 0, "unavailable": "0%" } } })),
            ("names its two", {
                let mut more = blue_green(json!({}));
                more["deployment"] = json!("api");
                more
            }),
            ("has to name two", blue_green(json!({ "deployments": ["a", "a"] }))),
            ("name its Service in `preview`", blue_green(json!({ "checks": [{ "path": "/" }] }))),
            ("begin with `/`", blue_green(json!({ "preview": "p", "checks": [{ "path": "health" }] }))),
            ("nothing to migrate", json!({ "image": null, "strategy": "history", "before": [migration] })),
            ("two migrations are called `up`", json!({ "before": [migration], "after": [migration] })),
        ] {
            let told = settings(more).check().unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        settings(json!({ "strategy": { "rolling": { "surge": "25%", "unavailable": 0 } } })).check().unwrap();
        settings(blue_green(json!({}))).check().unwrap();
        assert!(serde_json::from_value::<Amount>(json!("25")).unwrap_err().to_string().contains("no part such as \"25%\""));
    }
}
