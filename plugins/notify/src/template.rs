//! Templates of titles and texts: the language of Jinja (minijinja), with the run in it and nothing else.
//!
//! A template has no files, no includes and no clock, and may do only so much work: it ends. Whatever a `{{ … }}` puts in is data in the
//! markup of the receiver; what the author of the template writes is markup.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{Environment, UndefinedBehavior, context, filters};
use runner_sdk::run::Stage;

use crate::escape::{Escape, cut};
use crate::run::{Run, length, word};

/// So many instructions may one template take.
const FUEL: u64 = 200_000;
/// The longest line that the filter `line` gives.
const LINE: usize = 300;

/// The run as templates see it.
#[derive(Clone)]
pub struct Templates {
    values: Value,
}

impl Templates {
    pub fn new(run: &Run) -> Templates {
        let origin = &run.origin;
        let short = origin.sha.as_ref().map(|sha| sha.chars().take(7).collect::<String>());
        let previous = run.previous.as_ref().map(|previous| {
            let status = if previous.passed { "passed" } else { "failed" };
            context! { run => previous.run, status => status, sha => previous.sha }
        });
        let values = context! {
            pipeline => run.pipeline,
            run => run.id,
            stage => run.stage,
            status => run.status(),
            branch => origin.branch,
            tag => origin.tag,
            base => origin.base,
            pull_request => origin.pull_request,
            sha => origin.sha,
            short => short,
            dirty => origin.dirty,
            event => origin.event,
            trust => origin.trust,
            started => humantime::format_rfc3339_seconds(origin.started).to_string(),
            stages => Value::from_object(Stages(run.stages.iter().map(StageValue::new).collect())),
            previous => previous,
        };
        Templates { values }
    }

    /// Fills a template in.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn fill(&self, template: &str, escape: Escape) -> Result<String, String> {
        // only these: what a template can't name need not be in the component
        let mut environment = Environment::empty();
        environment.add_filter("default", filters::default);
        environment.add_filter("first", filters::first);
        environment.add_filter("join", filters::join);
        environment.add_filter("last", filters::last);
        environment.add_filter("length", filters::length);
        environment.add_filter("lower", filters::lower);
        environment.add_filter("replace", filters::replace);
        environment.add_filter("trim", filters::trim);
        environment.add_filter("upper", filters::upper);
        environment.add_filter("line", |text: String| cut(text.trim().lines().next().unwrap_or_default(), LINE).into_owned());
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_formatter(move |out, _, value| {
            if value.is_none() {
                return Ok(());
            }
            let text = value.to_string();
            Ok(out.write_str(&escape.value(&text))?)
        });
        let filled = environment.render_str(template, &self.values).map_err(|error| explain(&error))?;
        Ok(filled.trim().to_owned())
    }
}

fn explain(error: &minijinja::Error) -> String {
    let place = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    match error.kind() {
        minijinja::ErrorKind::OutOfFuel => "it does too much: a notification is not the place for that".to_owned(),
        kind => format!("{kind}{place}{}", error.detail().map(|detail| format!(": {detail}")).unwrap_or_default()),
    }
}

/// Stages: a list, which has its parts by name, and is shown as the stages' names.
#[derive(Debug)]
struct Stages(Vec<Arc<StageValue>>);

impl Object for Stages {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if let Some(index) = key.as_usize() {
            return self.0.get(index).cloned().map(Value::from_dyn_object);
        }
        let part = |wanted: &dyn Fn(&StageValue) -> bool| {
            Some(Value::from_object(Stages(self.0.iter().filter(|stage| wanted(stage)).cloned().collect())))
        };
        match key.as_str()? {
            // what a stage that was cancelled leaves undone fails the run as well
            "failed" => part(&|stage| stage.fails_run && stage.outcome != "blocked"),
            "passed" => part(&|stage| stage.outcome == "passed"),
            "soft_failed" => part(&|stage| stage.outcome == "soft-failed"),
            "skipped" => part(&|stage| stage.outcome == "skipped"),
            "blocked" => part(&|stage| stage.outcome == "blocked"),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.0.iter().map(|stage| stage.id.as_str()).collect();
        f.write_str(&ids.join(", "))
    }
}

#[derive(Debug)]
struct StageValue {
    id: String,
    outcome: &'static str,
    fails_run: bool,
    values: Value,
}

impl StageValue {
    fn new(stage: &Stage) -> Arc<StageValue> {
        let tests = &stage.tests;
        let total = tests.passed + tests.failed + tests.errored + tests.skipped + tests.flaky;
        let outcome = word(stage.outcome);
        let values = context! {
            id => stage.id,
            outcome => outcome,
            message => stage.message,
            duration => length(stage.duration),
            attempts => stage.attempts,
            findings => stage.findings,
            tests => context! {
                total => total, passed => tests.passed, failed => tests.failed, errored => tests.errored,
                skipped => tests.skipped, flaky => tests.flaky,
            },
        };
        Arc::new(StageValue { id: stage.id.clone(), outcome, fails_run: stage.fails_run, values })
    }
}

impl Object for StageValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.values.get_item(key).ok().filter(|value| !value.is_undefined())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["id", "outcome", "message", "duration", "attempts", "findings", "tests"])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::run;

    fn filled(template: &str, escape: Escape) -> String {
        Templates::new(&run(true, Some(false))).fill(template, escape).unwrap_or_else(|error| panic!("{template}: {error}"))
    }

    #[test]
    fn the_run_is_there() {
        for (template, expected) in [
            ("{{ pipeline }} {{ status }} {{ run }} {{ short }}", "shop failed 20261121-214501-9f3a1c 0123456"),
            ("{{ stages.failed }} of {{ stages | length }}", "test (app=api) of 3"),
            ("{{ stages }}", "lint, test (app=api), deploy"),
            (
                "{% for s in stages %}{{ s.id }}={{ s.outcome }},{{ s.duration }};{% endfor %}",
                "lint=passed,1m 3s;test (app=api)=failed,1m 3s;deploy=blocked,1m 3s;",
            ),
            ("{% for s in stages.failed %}{{ s.message | line }}{% endfor %}", "3 of 214 tests failed: a < b & c"),
            ("{{ stages[0] }} {{ stages[0].tests.total }}", "lint 0"),
            ("{{ stages | join(' + ') | upper | replace('+', '&') }}", "LINT & TEST (APP=API) & DEPLOY"),
            ("{% if previous %}{{ previous.status }}{% endif %}{{ event }}", "failed"),
            ("{{ started }}", "2027-01-15T08:00:00Z"),
            ("{{ event or 'none' }}", "none"),
        ] {
            assert_eq!(filled(template, Escape::Plain), expected, "{template}");
        }
    }

    #[test]
    fn values_are_data_and_templates_are_markup() {
        assert_eq!(filled("*{{ branch }}* <!here>", Escape::Slack), "*feature/&lt;@U1&gt;@org* <!here>");
        assert_eq!(filled("**{{ branch }}** @me", Escape::Markdown), "**feature/&lt;@\u{200b}U1&gt;@\u{200b}org** @me");
        assert_eq!(filled("https://ci/{{ branch }}?x", Escape::Url), "https://ci/feature%2F%3C%40U1%3E%40org?x");
    }

    #[test]
    fn mistakes_are_named() {
        let fill = |template: &str| Templates::new(&run(false, None)).fill(template, Escape::Plain).unwrap_err();
        assert!(fill("{{ brnch }}").contains("undefined value in line 1"), "{}", fill("{{ brnch }}"));
        assert!(fill("{{ pipeline").contains("syntax error in line 1"));
        assert!(fill("{{ pipeline | shout }}").contains("unknown filter"));
        assert!(fill("{% include 'x' %}").contains("unknown"), "{}", fill("{% include 'x' %}"));
        let busy = "{% for a in stages %}{% for b in stages %}x{% endfor %}{% endfor %}";
        let nested = (0..12).fold(busy.to_owned(), |inner, _| format!("{{% for a in stages %}}{inner}{{% endfor %}}"));
        assert!(fill(&nested).contains("does too much"), "{}", fill(&nested));
    }
}
