//! Jira: a failure makes an issue, or comments the open one that bears the label; a run that passes comments it and makes none.
//!
//! The cloud has version 3 of the API, whose texts are documents and whose search is `search/jql`; Data Center has version 2 and wiki text.
//! Limits: 255 characters a summary and a label, 32,767 a text. Whether an issue is there is asked first, since making one twice makes two;
//! what was made a moment ago may not be found yet.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Prepared, below};
use crate::delivery::{Request, deliver};
use crate::escape::{Escape, cut};
use crate::message::{Message, Teller};
use crate::settings::{Jira, JiraApi};

const SUMMARY: usize = 255;
const LABEL: usize = 255;
const TEXT: usize = 30_000;

pub fn prepare<'a>(jira: &'a Jira, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let message = teller.message(jira.title.as_ref(), jira.text.as_ref(), Escape::Plain)?;
    let label = match &jira.label {
        Some(template) => teller.fill("label", template, Escape::Line)?,
        None => format!("runner-{}", teller.run.key()),
    };
    // a label has no blanks
    let label = cut(&label, LABEL).split_whitespace().collect::<Vec<_>>().join("-");
    if label.is_empty() {
        return Err("`label` is empty once it is filled in: the issue could not be found again".into());
    }
    let (version, search) = match jira.api {
        JiraApi::Cloud => ("3", "search/jql"),
        JiraApi::DataCenter => ("2", "search"),
    };
    let api = move |path: &str| below(&jira.url, &format!("/rest/api/{version}/{path}"));
    let jql =
        format!("project = {} AND labels = {} AND statusCategory != Done ORDER BY created DESC", quoted(&jira.project), quoted(&label));
    let find = Request::json("POST", api(search), &json!({ "jql": jql, "maxResults": 1, "fields": ["summary"] }));
    let find = authorized(find.repeatable(&teller.key("jira-search")), jira);
    let text = text(jira.api, &message);
    let issue = json!({ "fields": {
        "project": { "key": jira.project },
        "issuetype": { "name": jira.kind },
        "summary": cut(&message.title, SUMMARY),
        "description": text,
        "labels": [label],
    } });
    let comment = json!({ "body": said(jira.api, &message) });
    let failed = teller.run.failed();
    Ok(Box::new(move |world| {
        let found = deliver(world, &find)?.json();
        let Some(issues) = found["issues"].as_array() else {
            return Err("it did not answer the search with a list of issues".to_owned().into());
        };
        match issues.first() {
            Some(open) => {
                let key = open["key"].as_str().filter(|key| is_key(key)).ok_or_else(|| "it found an issue without a key".to_owned())?;
                let comment = authorized(Request::json("POST", api(&format!("issue/{key}/comment")), &comment), jira);
                deliver(world, &comment).map(|_| format!("commented {key}"))
            }
            None if failed => {
                let made = deliver(world, &authorized(Request::json("POST", api("issue"), &issue), jira))?.json();
                Ok(format!("made {}", made["key"].as_str().filter(|key| is_key(key)).unwrap_or("an issue")))
            }
            None => Ok("no issue is open".to_owned()),
        }
    }))
}

fn authorized(request: Request, jira: &Jira) -> Request {
    let authorization = match &jira.user {
        Some(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{}", jira.token))),
        None => format!("Bearer {}", jira.token),
    };
    request.header("authorization", authorization).header("accept", "application/json")
}

/// A text of the query language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// It goes into a path, and comes from outside.
fn is_key(key: &str) -> bool {
    key.len() <= 255 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A comment says in its first line what the issue says in its summary.
fn said(api: JiraApi, message: &Message) -> Value {
    text(api, &Message { text: format!("{}\n\n{}", message.title, message.text), ..message.clone() })
}

fn text(api: JiraApi, message: &Message) -> Value {
    let text = cut(&message.text, TEXT);
    match api {
        JiraApi::Cloud => {
            let words = |text: &str| if text.is_empty() { json!([]) } else { json!([{ "type": "text", "text": text }]) };
            let mut content: Vec<Value> = text.lines().map(|line| json!({ "type": "paragraph", "content": words(line) })).collect();
            for (title, url) in &message.links {
                let link = json!({ "type": "text", "text": title, "marks": [{ "type": "link", "attrs": { "href": url } }] });
                content.push(json!({ "type": "paragraph", "content": [link] }));
            }
            json!({ "type": "doc", "version": 1, "content": content })
        }
        JiraApi::DataCenter => {
            // nothing is markup in there, but the word that ends it
            let quiet = text.replace("{noformat", "{ noformat");
            let links = message.links.iter().map(|(title, url)| format!("\n[{}|{url}]", title.replace(['[', ']', '|'], " ")));
            json!(format!("{{noformat}}\n{quiet}\n{{noformat}}{}", links.collect::<String>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::tests::{Scripted, answer};
    use crate::receiver::tests::tell;

    fn jira(more: Value) -> Value {
        let mut jira =
            json!({ "url": "https://acme.atlassian.net/", "project": "OPS", "user": "ci@acme.example", "token": "__secret-jira__" });
        jira.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "jira": jira })
    }

    fn asked(world: &Scripted) -> Vec<String> {
        world.sent.iter().map(|request| format!("{} {}", request.method, request.url)).collect()
    }

    #[test]
    fn the_first_failure_makes_an_issue() {
        let answers = [answer(200, r#"{"issues":[],"isLast":true}"#), answer(201, r#"{"id":"10000","key":"OPS-24","self":"x"}"#)];
        let (told, world) = tell(jira(json!({})), true, answers);
        assert_eq!(told.unwrap(), "made OPS-24");
        let api = "https://acme.atlassian.net/rest/api/3";
        assert_eq!(asked(&world), [format!("POST {api}/search/jql"), format!("POST {api}/issue")]);
        let authorization = STANDARD.encode("ci@acme.example:__secret-jira__");
        assert!(world.sent[1].headers.contains(&("authorization".into(), format!("Basic {authorization}"))));
        insta::assert_json_snapshot!(world.bodies());
    }

    #[test]
    fn later_ones_comment_it() {
        let found = r#"{"issues":[{"id":"10000","key":"OPS-24"}]}"#;
        for failed in [true, false] {
            let (told, world) = tell(jira(json!({})), failed, [answer(200, found), answer(201, "{}")]);
            assert_eq!(told.unwrap(), "commented OPS-24");
            assert_eq!(asked(&world)[1], "POST https://acme.atlassian.net/rest/api/3/issue/OPS-24/comment");
        }
        let (told, _) = tell(jira(json!({})), true, [answer(200, r#"{"issues":[{"key":"../../admin"}]}"#)]);
        assert_eq!(told.unwrap_err().why, "it found an issue without a key");
    }

    #[test]
    fn a_run_that_passes_makes_none() {
        let (told, world) = tell(jira(json!({})), false, [answer(200, r#"{"issues":[]}"#)]);
        assert_eq!((told.unwrap().as_str(), world.sent.len()), ("no issue is open", 1));
    }

    #[test]
    fn a_data_center_has_texts() {
        let more = json!({ "api": "data-center", "user": null, "label": "ci \"{{ pipeline }}\"", "text": "a {noformat} *b* {{ branch }}" });
        let (_, world) = tell(jira(more), true, [answer(200, r#"{"issues":[]}"#), answer(201, r#"{"key":"OPS-1"}"#)]);
        assert_eq!(asked(&world)[0], "POST https://acme.atlassian.net/rest/api/2/search");
        assert!(world.sent[0].headers.contains(&("authorization".into(), "Bearer __secret-jira__".into())));
        let bodies = world.bodies();
        assert!(bodies[0]["jql"].as_str().unwrap().contains(r#"labels = "ci-\"shop\"""#), "{}", bodies[0]);
        assert_eq!(
            bodies[1]["fields"]["description"],
            "{noformat}\na { noformat} *b* feature/<@U1>@org\n{noformat}\n[Run|https://ci.example/20261121-214501-9f3a1c?a&b]"
        );
    }
}
