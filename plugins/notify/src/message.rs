//! The message: title, text and links in the markup of one receiver, from the templates that the settings have or do not have.

use crate::escape::{Escape, one_line};
use crate::run::{Moment, Run};
use crate::settings::{Link, Receiver, Settings};
use crate::template::Templates;

/// What is told where no template says otherwise.
const TITLE: &str = "{{ pipeline }} {{ status }}{% if pull_request %} for pull request {{ pull_request }}{% elif branch or tag %} on {{ branch or tag }}{% endif %}";
const TEXT: &str = "\
{% for stage in stages.failed %}• {{ stage.id }} {{ stage.outcome }}{% if stage.message %}: {{ stage.message | line }}{% endif %}\n{% endfor %}\
{% for stage in stages.soft_failed %}• {{ stage.id }} failed softly{% if stage.message %}: {{ stage.message | line }}{% endif %}\n{% endfor %}\
{{ stages.passed | length }} of {{ stages | length }} stages passed{% if short %}, commit {{ short }}{% endif %}, run {{ run }}";

/// The run, the templates over it, and the settings of the stage: all that a receiver is told from.
pub struct Teller<'a> {
    pub run: &'a Run,
    pub templates: Templates,
    pub settings: &'a Settings,
}

/// A message in one markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// One line.
    pub title: String,
    pub text: String,
    /// Titles and addresses.
    pub links: Vec<(String, String)>,
}

impl<'a> Teller<'a> {
    pub fn new(run: &'a Run, settings: &'a Settings) -> Teller<'a> {
        Teller { run, templates: Templates::new(run), settings }
    }

    /// The message for a receiver.
    ///
    /// # Errors
    /// What is wrong with which template.
    pub fn message(&self, title: Option<&String>, text: Option<&String>, escape: Escape) -> Result<Message, String> {
        let title = self.title(title, escape)?;
        let text = text.or(self.settings.text.as_ref()).map_or(TEXT, String::as_str);
        Ok(Message { title, text: self.fill("text", text, escape)?, links: self.links(escape)? })
    }

    /// The title alone.
    ///
    /// # Errors
    /// What is wrong with its template.
    pub fn title(&self, title: Option<&String>, escape: Escape) -> Result<String, String> {
        let title = title.or(self.settings.title.as_ref()).map_or(TITLE, String::as_str);
        Ok(one_line(&self.fill("title", title, escape)?).into_owned())
    }

    /// # Errors
    /// What is wrong with the template of which link.
    pub fn links(&self, escape: Escape) -> Result<Vec<(String, String)>, String> {
        let link = |Link { title, url }: &Link| {
            Ok((one_line(&self.fill("links.title", title, escape)?).into_owned(), self.fill("links.url", url, Escape::Url)?))
        };
        self.settings.links.iter().map(link).collect()
    }

    /// For a request that may be repeated: the same whenever this very message is sent, and never again afterwards.
    pub fn key(&self, receiver: &str) -> String {
        format!("{}/{}/{}/{receiver}", self.run.id, self.run.stage, self.run.status())
    }

    /// Fills one template in; `name` is the setting that it stands in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn fill(&self, name: &str, template: &str, escape: Escape) -> Result<String, String> {
        self.templates.fill(template, escape).map_err(|error| format!("`{name}` is no template that can be filled in: {error}"))
    }
}

impl Receiver {
    /// What it is called in the log and in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Receiver::Slack(_) => "slack",
            Receiver::Teams(_) => "teams",
            Receiver::Pagerduty(_) => "pagerduty",
            Receiver::Webhook(_) => "webhook",
            Receiver::GithubComment(_) => "github-comment",
            Receiver::GithubStatus(_) => "github-status",
            Receiver::Jira(_) => "jira",
            Receiver::Email(_) => "email",
        }
    }

    /// When it is told.
    pub fn on<'a>(&'a self, settings: &'a Settings) -> &'a [Moment] {
        let own = match self {
            Receiver::Slack(hook) | Receiver::Teams(hook) => &hook.0.on,
            Receiver::Pagerduty(pagerduty) => &pagerduty.on,
            Receiver::Webhook(webhook) => &webhook.on,
            Receiver::GithubComment(comment) => &comment.on,
            Receiver::GithubStatus(status) => &status.on,
            Receiver::Jira(jira) => &jira.on,
            Receiver::Email(email) => &email.on,
        };
        // a commit without a green status never gets merged
        let default: &[Moment] = match self {
            Receiver::GithubStatus(_) => &[Moment::Success, Moment::Failure],
            _ => &[Moment::Failure, Moment::Recovery],
        };
        own.as_deref().or(settings.on.as_deref()).unwrap_or(default)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::run::tests::run;

    pub fn settings(json: serde_json::Value) -> Settings {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn there_is_a_message_without_any_template() {
        let settings =
            settings(serde_json::json!({ "to": [{ "slack": "u" }], "links": [{ "title": "Run", "url": "https://ci/{{ branch }}" }] }));
        let run = run(true, None);
        let message = Teller::new(&run, &settings).message(None, None, Escape::Slack).unwrap();
        assert_eq!(message.title, "shop failed on feature/&lt;@U1&gt;@org");
        assert_eq!(
            message.text,
            "• test (app=api) failed: 3 of 214 tests failed: a &lt; b &amp; c\n1 of 3 stages passed, commit 0123456, run 20261121-214501-9f3a1c"
        );
        assert_eq!(message.links, [("Run".into(), "https://ci/feature%2F%3C%40U1%3E%40org".into())]);
    }

    #[test]
    fn the_nearest_template_counts() {
        let settings = settings(serde_json::json!({ "to": [{ "slack": "u" }], "title": "all {{ status }}", "text": "{{ nothing }}" }));
        let run = run(false, None);
        let teller = Teller::new(&run, &settings);
        let own = "mine".to_owned();
        assert_eq!(teller.title(None, Escape::Plain).unwrap(), "all passed");
        assert_eq!(teller.title(Some(&own), Escape::Plain).unwrap(), "mine");
        let error = teller.message(None, None, Escape::Plain).unwrap_err();
        assert!(error.starts_with("`text` is no template that can be filled in: undefined value"), "{error}");
    }

    #[test]
    fn each_receiver_is_told_when_it_wants() {
        let settings = settings(serde_json::json!({
            "to": [
                { "slack": "u" },
                { "teams": { "url": "u", "on": ["success"] } },
                { "github-status": { "repository": "a/b", "token": "t" } },
            ],
        }));
        let told = |failed, before| -> Vec<&str> {
            let run = run(failed, before);
            settings.to.iter().filter(|to| run.is_for(to.on(&settings))).map(Receiver::name).collect()
        };
        assert_eq!(told(true, None), ["slack", "github-status"]);
        assert_eq!(told(false, None), ["teams", "github-status"]);
        assert_eq!(told(false, Some(false)), ["slack", "teams", "github-status"]);
    }
}
