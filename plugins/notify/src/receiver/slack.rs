//! Slack's incoming webhooks: Block Kit, and `ok` as the answer. The URL is the secret.
//!
//! Limits: 3,000 characters a text of a section. Links stand in the text and are not buttons: a button wants an application behind it.

use serde_json::json;

use super::Prepared;
use crate::delivery::{Request, deliver};
use crate::escape::{Escape, cut, slack};
use crate::message::{Message, Teller};
use crate::settings::HookTable;

const SECTION: usize = 3_000;
const TITLE: usize = 300;

pub fn prepare<'a>(hook: &'a HookTable, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let Message { title, text, links } = teller.message(hook.title.as_ref(), hook.text.as_ref(), Escape::Slack)?;
    let title = cut(&title, TITLE);
    let section = |text: &str| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
    let mut blocks = vec![section(&format!("*{title}*"))];
    if !text.is_empty() {
        blocks.push(section(&cut(&text, SECTION)));
    }
    if !links.is_empty() {
        let links: Vec<String> = links.iter().map(|(title, url)| format!("<{}|{title}>", slack(url).replace('|', "%7C"))).collect();
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": cut(&links.join("  ·  "), SECTION) }] }));
    }
    // what notifications show
    let body = json!({ "text": title, "blocks": blocks });
    Ok(Box::new(move |world| deliver(world, &Request::json("POST", &hook.url, &body)).map(|_| String::new())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::delivery::tests::answer;
    use crate::receiver::tests::tell;

    #[test]
    fn a_message() {
        let (told, world) = tell(json!({ "slack": "__secret-slack__" }), true, [answer(200, "ok")]);
        assert_eq!(told, Ok(String::new()));
        assert_eq!(world.sent[0].url, "__secret-slack__", "a secret is the URL as it is");
        insta::assert_json_snapshot!(world.bodies()[0]);
    }

    #[test]
    fn long_texts_are_cut() {
        let text = "{% for a in stages %}".repeat(6) + "{{ stages }}" + &"{% endfor %}".repeat(6);
        let (_, world) = tell(json!({ "slack": { "url": "u", "text": text, "title": "x".repeat(5000) } }), true, [answer(200, "ok")]);
        let body = &world.bodies()[0];
        let texts: Vec<&str> = body["blocks"].as_array().unwrap().iter().filter_map(|block| block["text"]["text"].as_str()).collect();
        assert!(
            texts.len() == 2 && texts.iter().all(|text| text.chars().count() <= 3000 && text.contains("characters left out]")),
            "{texts:?}"
        );
    }

    #[test]
    fn what_slack_refuses_is_said_without_the_url() {
        let (told, _) = tell(json!({ "slack": "__secret-slack__" }), true, [answer(404, "no_service")]);
        assert_eq!(told.unwrap_err().why, "it answered 404: no_service");
    }
}
