//! Mistakes in the settings that their schema cannot see, found before anything is sent, all at once.

use std::collections::BTreeSet;

use runner_sdk::Failure;

use crate::assertion::regex;
use crate::journey::title;
use crate::settings::{Expect, Settings, Step, Text};
use crate::template::{Template, in_json, is_name};

/// Looks for mistakes.
///
/// # Errors
/// `Misconfigured`, with all of them.
pub fn check(settings: &Settings) -> Result<(), Failure> {
    let mut mistakes = Vec::new();
    if settings.checks.is_empty() && settings.journeys.is_empty() {
        mistakes.push("nothing to do: set `checks`, `journeys` or both".to_owned());
    }
    if let Some(base) = &settings.base
        && !is_absolute(base)
    {
        mistakes.push(format!("`base` is `{base}`: it must start with http:// or https://"));
    }
    for name in settings.variables.keys() {
        if !is_name(name) {
            mistakes
                .push(format!("the variable `{name}` cannot be used as {{{{{name}}}}}: use a letter, then letters, digits, `-` and `_`"));
        }
    }
    for check in &settings.checks {
        let step = Step {
            name: check.name.clone(),
            url: check.url.clone(),
            headers: check.headers.clone(),
            expect: check.expect.clone(),
            ..Step::default()
        };
        check_step(settings, &step, &known(settings), &format!("check `{}`", title(&step)), &mut mistakes);
    }
    for journey in &settings.journeys {
        let mut known = known(settings);
        if journey.steps.is_empty() {
            mistakes.push(format!("journey `{}` has no steps", journey.name));
        }
        for step in &journey.steps {
            check_step(settings, step, &known, &format!("`{}` › `{}`", journey.name, title(step)), &mut mistakes);
            known.extend(step.capture.keys().cloned());
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::misconfigured(mistakes.join("; "))) }
}

fn known(settings: &Settings) -> BTreeSet<String> {
    settings.variables.keys().cloned().collect()
}

fn check_step(settings: &Settings, step: &Step, known: &BTreeSet<String>, place: &str, mistakes: &mut Vec<String>) {
    let mut say = |what: String| mistakes.push(format!("{place}: {what}"));
    let begins_with_value = step.url.starts_with("{{") && !step.url.starts_with("{{{{");
    if !is_absolute(&step.url) && !begins_with_value {
        if !step.url.starts_with('/') {
            say(format!("`{}` must start with http://, https:// or /", step.url));
        } else if settings.base.is_none() {
            say(format!("`{}` is a path: set `base`, or write the whole URL", step.url));
        }
    }
    if step.body.is_some() && step.json.is_some() {
        say("`body` and `json` are both set: keep one of them".into());
    }
    for problem in texts(settings, step).into_iter().flat_map(|text| unknown(Template::parse(text).map(|one| vec![one]), known)) {
        say(problem);
    }
    for json in step.json.iter().chain(step.expect.json.iter().filter_map(|json| json.equals.as_ref())) {
        unknown(in_json(json), known).into_iter().for_each(&mut say);
    }
    expectations(&step.expect).into_iter().for_each(&mut say);
    for (name, capture) in &step.capture {
        if !is_name(name) {
            say(format!("the capture `{name}` cannot be used as {{{{{name}}}}}: use a letter, then letters, digits, `-` and `_`"));
        }
        if capture.json.is_some() && capture.header.is_some() {
            say(format!("the capture `{name}` has both `json` and `header`: keep one of them"));
        }
        if let Some(pointer) = capture.json.as_deref().filter(|pointer| !is_pointer(pointer)) {
            say(not_a_pointer(pointer));
        }
        if let Some(Err(why)) = capture.pattern.as_deref().map(regex) {
            say(why);
        }
    }
}

/// The texts of a step that may hold placeholders.
fn texts<'a>(settings: &'a Settings, step: &'a Step) -> Vec<&'a str> {
    let in_text = |text: &'a Text| text.equals.iter().chain(&text.contains).map(String::as_str);
    let mut texts = vec![step.url.as_str()];
    texts.extend(settings.headers.values().chain(step.headers.values()).chain(&step.body).map(String::as_str));
    texts.extend(step.expect.headers.values().chain(&step.expect.body).flat_map(in_text));
    texts
}

fn unknown(templates: Result<Vec<Template>, String>, known: &BTreeSet<String>) -> Vec<String> {
    match templates {
        Ok(templates) => templates
            .iter()
            .flat_map(Template::names)
            .filter(|name| !known.contains(*name))
            .map(|name| format!("{{{{{name}}}}} has no value: no variable and no earlier step of the journey is called so"))
            .collect(),
        Err(why) => vec![why],
    }
}

fn expectations(expect: &Expect) -> Vec<String> {
    let mut mistakes = Vec::new();
    if let Some(body) = &expect.body
        && body.exists.is_some()
    {
        mistakes.push("`expect.body` cannot have `exists`: every answer has a body; compare it with `equals = \"\"`".into());
    }
    let patterns = expect.headers.values().chain(&expect.body).filter_map(|text| text.matches.as_deref());
    let patterns = patterns.chain(expect.json.iter().filter_map(|json| json.matches.as_deref()));
    mistakes.extend(patterns.filter_map(|pattern| regex(pattern).err()));
    for json in &expect.json {
        if !is_pointer(&json.at) {
            mistakes.push(not_a_pointer(&json.at));
        }
        let nothing = json.equals.is_none() && json.exists.is_none() && json.length.is_none() && json.matches.is_none();
        if nothing && json.min.is_none() && json.max.is_none() {
            mistakes
                .push(format!("`expect.json` at `{}` says nothing: add `equals`, `exists`, `length`, `min`, `max` or `matches`", json.at));
        }
    }
    for (name, text) in &expect.headers {
        if text.equals.is_none() && text.contains.is_none() && text.matches.is_none() && text.exists.is_none() {
            mistakes.push(format!("`expect.headers.{name}` says nothing: add `equals`, `contains`, `matches` or `exists`"));
        }
    }
    mistakes
}

fn is_absolute(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
}

/// RFC 6901, section 3.
fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

fn not_a_pointer(text: &str) -> String {
    format!("`{text}` is no JSON pointer: begin it with `/`, as in `/items/0/id`")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mistakes(settings: Value) -> String {
        match check(&serde_json::from_value(settings).unwrap()) {
            Ok(()) => String::new(),
            Err(Failure::Misconfigured(text)) => text,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn of_step(step: Value) -> String {
        mistakes(json!({ "journeys": [{ "name": "j", "steps": [step] }] }))
    }

    #[test]
    fn good_settings_have_none() {
        let steps = json!([
            { "url": "/a?u={{user}}", "capture": { "id": { "json": "/id" }, "all": { "json": "" }, "next": { "header": "location" } } },
            { "url": "{{next}}", "json": { "x": ["{{id}}"] }, "expect": { "body": { "contains": "{{id}} {{{{" } } },
        ]);
        let good = json!({ "base": "https://a", "variables": { "user": "u" }, "checks": [{ "url": "/" }], "journeys": [{ "name": "j", "steps": steps }] });
        assert_eq!(mistakes(good), "");
    }

    #[test]
    fn each_mistake_is_found_and_placed() {
        for (settings, text) in [
            (json!({}), "nothing to do"),
            (json!({ "base": "app:80", "checks": [{ "url": "/" }] }), "`base` is `app:80`"),
            (json!({ "checks": [{ "name": "c", "url": "/" }] }), "check `c`: `/` is a path: set `base`"),
            (json!({ "checks": [{ "url": "http://a/{{x}}" }] }), "check `GET http://a/{{x}}`: {{x}} has no value"),
            (json!({ "variables": { "a b": "" }, "checks": [{ "url": "http://a/" }] }), "the variable `a b`"),
            (json!({ "journeys": [{ "name": "empty", "steps": [] }] }), "journey `empty` has no steps"),
        ] {
            let told = mistakes(settings);
            assert!(told.contains(text), "{text} is not in {told}");
        }
        for (step, text) in [
            (json!({ "url": "ftp://a/" }), "`ftp://a/` must start with"),
            (json!({ "url": "http://a/", "body": "", "json": 1 }), "keep one of them"),
            (json!({ "url": "http://a/{{", "name": "s" }), "`j` › `s`: `{{` has no `}}`"),
            (json!({ "url": "http://a/", "json": { "a": "{{x}}" } }), "{{x}} has no value"),
            (json!({ "url": "http://a/{{x}}", "capture": { "x": { "json": "/x" } } }), "{{x}} has no value"),
            (json!({ "url": "http://a/", "capture": { "x": { "json": "x" } } }), "`x` is no JSON pointer"),
            (json!({ "url": "http://a/", "capture": { "1": { "json": "" } } }), "the capture `1`"),
            (json!({ "url": "http://a/", "capture": { "x": { "json": "", "header": "y" } } }), "both `json` and `header`"),
            (json!({ "url": "http://a/", "capture": { "x": { "pattern": "(" } } }), "`(` is no regular expression"),
            (json!({ "url": "http://a/", "expect": { "json": [{ "at": "/a" }] } }), "`expect.json` at `/a` says nothing"),
            (json!({ "url": "http://a/", "expect": { "json": [{ "at": "a", "exists": true }] } }), "`a` is no JSON pointer"),
            (json!({ "url": "http://a/", "expect": { "headers": { "x": {} } } }), "`expect.headers.x` says nothing"),
            (json!({ "url": "http://a/", "expect": { "body": { "exists": true } } }), "cannot have `exists`"),
            (json!({ "url": "http://a/", "expect": { "body": { "matches": "[" } } }), "`[` is no regular expression"),
        ] {
            let told = of_step(step);
            assert!(told.contains(text), "{text} is not in {told}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = of_step(json!({ "url": "a", "body": "{{b}}", "expect": { "body": { "matches": "[" } } }));
        assert_eq!(text.split("; ").count(), 3, "{text}");
    }
}
