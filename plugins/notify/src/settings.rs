//! The `with` table of a `notify` stage.
//!
//! A secret is only a text in here: it is put where it belongs and never looked at. That includes URLs that are secret as a whole.

use std::collections::BTreeMap;
use std::fmt;

use runner_sdk::Span;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::run::Moment;

/// Whom to tell, when, and what
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The receivers, in order; one that can't be told does not stop the next
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub to: Vec<Receiver>,
    /// When to tell them; without it, on failure and recovery
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the title, one line
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the text
    #[serde(default)]
    pub text: Option<String>,
    /// Links to show, such as to the log of the run
    #[serde(default)]
    pub links: Vec<Link>,
    /// How long one request may take
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

/// A link
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Link {
    /// What it is called
    pub title: String,
    /// The template of its address; values are percent-encoded
    pub url: String,
}

/// Somebody to tell: a table with one key
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Receiver {
    /// An incoming webhook of Slack: its URL, or a table
    Slack(Hook),
    /// A webhook of a workflow of Microsoft Teams: its URL, or a table
    Teams(Hook),
    /// An integration of PagerDuty (Events API v2): a failure triggers, a recovery resolves
    Pagerduty(Pagerduty),
    /// Any other HTTP endpoint
    Webhook(Webhook),
    /// A comment on an issue or a pull request of GitHub, the same one each time
    GithubComment(GithubComment),
    /// The status of a commit on GitHub
    GithubStatus(GithubStatus),
    /// An issue of Jira: made once, commented while it is open
    Jira(Jira),
    /// A mail, sent by a service
    Email(Email),
}

/// A webhook whose URL is all that it takes
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HookTable {
    /// Its URL
    pub url: String,
    /// When to tell it, instead of the stage's `on`
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the title, instead of the stage's
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the text, instead of the stage's
    #[serde(default)]
    pub text: Option<String>,
}

/// A webhook as its URL, or as a table
#[derive(Debug, Clone)]
pub struct Hook(pub HookTable);

impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hook, D::Error> {
        struct UrlOrTable;

        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = Hook;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the URL of a webhook, or a table with `url`")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<Hook, E> {
                Ok(Hook(HookTable { url: url.to_owned(), on: None, title: None, text: None }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hook, A::Error> {
                HookTable::deserialize(MapAccessDeserializer::new(map)).map(Hook)
            }
        }

        deserializer.deserialize_any(UrlOrTable)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Hook {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hook".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let table = generator.subschema_for::<HookTable>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// An integration of PagerDuty
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pagerduty {
    /// The integration's key
    pub routing_key: String,
    /// How grave a failure is
    #[serde(default)]
    pub severity: Severity,
    /// The template of the key that alerts are recognised by; without it, the pipeline and the branch
    #[serde(default)]
    pub dedup_key: Option<String>,
    /// Where events are sent to
    #[serde(default = "pagerduty")]
    pub url: String,
    /// When to tell it, instead of the stage's `on`; a run that passes resolves
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the summary, instead of the stage's title
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the details, instead of the stage's
    #[serde(default)]
    pub text: Option<String>,
}

fn pagerduty() -> String {
    "https://events.pagerduty.com/v2/enqueue".into()
}

/// PagerDuty's severities
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Severity {
    Critical,
    #[default]
    Error,
    Warning,
    Info,
}

/// Any HTTP endpoint
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Webhook {
    /// Its URL
    pub url: String,
    /// The method
    #[serde(default = "post")]
    pub method: String,
    /// Headers; their values are templates. With an `idempotency-key` the request may be repeated
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent as `authorization: Bearer …`
    #[serde(default)]
    pub bearer: Option<String>,
    /// The body as JSON, whose texts are templates; without it, all that is known of the run
    #[serde(default)]
    pub json: Option<Value>,
    /// The template of the body as text, instead of JSON
    #[serde(default)]
    pub body: Option<String>,
    /// When to tell it, instead of the stage's `on`
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the title, instead of the stage's
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the text, instead of the stage's
    #[serde(default)]
    pub text: Option<String>,
}

fn post() -> String {
    "POST".into()
}

/// A comment on an issue or a pull request
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GithubComment {
    /// `owner/name`
    pub repository: String,
    /// The number of the issue or pull request; without it, the pull request that the run is for, if it is for one
    #[serde(default)]
    pub number: Option<Number>,
    /// A token that may write comments
    pub token: String,
    /// Tells this comment from others of this pipeline on the same issue
    #[serde(default)]
    pub marker: Option<String>,
    /// Where the API is, for GitHub Enterprise
    #[serde(default = "github")]
    pub api: String,
    /// When to tell it, instead of the stage's `on`
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the title, instead of the stage's
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the text, instead of the stage's
    #[serde(default)]
    pub text: Option<String>,
}

fn github() -> String {
    "https://api.github.com".into()
}

/// A number, also as text: `${input.number}` is one
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(pub String);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        struct Digits;

        impl Visitor<'_> for Digits {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of an issue or a pull request")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                good.then(|| Number(text.to_owned())).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Digits)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+$" }] })
    }
}

/// The status of a commit
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GithubStatus {
    /// `owner/name`
    pub repository: String,
    /// A token that may write statuses
    pub token: String,
    /// The commit; without it, the run's
    #[serde(default)]
    pub sha: Option<String>,
    /// The status's name; without it, the pipeline's
    #[serde(default)]
    pub context: Option<String>,
    /// Where the API is, for GitHub Enterprise
    #[serde(default = "github")]
    pub api: String,
    /// When to tell it, instead of the stage's `on`; without either, on success and failure
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the description, instead of the stage's title
    #[serde(default)]
    pub title: Option<String>,
}

/// An issue of Jira
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Jira {
    /// Where Jira is, such as `https://acme.atlassian.net`
    pub url: String,
    /// The key of the project
    pub project: String,
    /// Whose token it is; without it, the token is sent as a bearer token
    #[serde(default)]
    pub user: Option<String>,
    /// An API token
    pub token: String,
    /// The type of the issue
    #[serde(default = "bug", rename = "type")]
    pub kind: String,
    /// The template of the label that the issue is found by; without it, the pipeline and the branch
    #[serde(default)]
    pub label: Option<String>,
    /// Which API it has
    #[serde(default)]
    pub api: JiraApi,
    /// When to tell it, instead of the stage's `on`; a run that passes is only commented
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the summary, instead of the stage's title
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the description and of comments, instead of the stage's text
    #[serde(default)]
    pub text: Option<String>,
}

fn bug() -> String {
    "Bug".into()
}

/// The kinds of Jira
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JiraApi {
    /// Jira Cloud, version 3 of the API
    #[default]
    Cloud,
    /// Data Center, version 2 of the API
    DataCenter,
}

/// A mail
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Email {
    /// Whose API it is
    pub api: EmailApi,
    /// The key or token of the service
    pub key: String,
    /// The sender: `ci@example.com` or `CI <ci@example.com>`
    pub from: String,
    /// The recipients, in the same form
    #[cfg_attr(test, schemars(length(min = 1, max = 50)))]
    pub to: Vec<String>,
    /// For Mailgun: the sending domain
    #[serde(default)]
    pub domain: Option<String>,
    /// Where the API is, such as `https://api.eu.mailgun.net`; without it, the service's own place
    #[serde(default)]
    pub url: Option<String>,
    /// When to send it, instead of the stage's `on`
    #[serde(default)]
    pub on: Option<Vec<Moment>>,
    /// The template of the subject, instead of the stage's title
    #[serde(default)]
    pub title: Option<String>,
    /// The template of the text, instead of the stage's
    #[serde(default)]
    pub text: Option<String>,
}

/// The shapes of APIs that send mail
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EmailApi {
    /// `POST /v3/mail/send`
    Sendgrid,
    /// `POST /v3/<domain>/messages`
    Mailgun,
    /// `POST /email`
    Postmark,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_describes_the_settings() {
        runner_sdk::testing::schema_matches::<Settings>(include_str!("../plugin.toml"));
    }

    #[test]
    fn a_hook_is_its_url_or_a_table() {
        let hook = |json: Value| match serde_json::from_value(json) {
            Ok(Receiver::Slack(hook)) => Ok((hook.0.url, hook.0.on)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(hook(serde_json::json!({ "slack": "__secret-x__" })), Ok(("__secret-x__".into(), None)));
        let table = serde_json::json!({ "slack": { "url": "u", "on": ["success"] } });
        assert_eq!(hook(table), Ok(("u".into(), Some(vec![Moment::Success]))));
        assert!(hook(serde_json::json!({ "slack": { "uri": "u" } })).unwrap_err().contains("unknown field `uri`"));
        assert!(hook(serde_json::json!({ "slack": 1 })).unwrap_err().contains("the URL of a webhook"));
    }

    #[test]
    fn numbers_come_as_texts_too() {
        let number = |json: &str| serde_json::from_str::<Number>(json);
        assert_eq!(number("12").unwrap(), number("\"12\"").unwrap());
        assert!(number("\"12/../13\"").is_err() && number("\"\"").is_err());
    }
}
