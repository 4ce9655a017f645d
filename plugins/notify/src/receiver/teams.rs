//! Microsoft Teams: a workflow that starts with "When a Teams webhook request is received" takes a message with an Adaptive Card. The URL is
//! the secret; the answer is 202.
//!
//! Limits: 28 KB a message, six actions a card.

use serde_json::{Value, json};

use super::Prepared;
use crate::delivery::{Request, deliver};
use crate::escape::{Escape, cut};
use crate::message::{Message, Teller};
use crate::settings::HookTable;

/// In bytes of JSON, with some room for what the workflow adds.
const MESSAGE: usize = 26_000;
const TITLE: usize = 300;
const ACTIONS: usize = 6;

pub fn prepare<'a>(hook: &'a HookTable, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    // the title of an action is no markup
    let links = teller.links(Escape::Line)?;
    let message = Message { links, ..teller.message(hook.title.as_ref(), hook.text.as_ref(), Escape::Card)? };
    let color = if teller.run.failed() { "Attention" } else { "Good" };
    let mut most = MESSAGE;
    let body = loop {
        let body = card(&message, color, most);
        if body.to_string().len() <= MESSAGE || most < 100 {
            break body;
        }
        // characters are up to six bytes as JSON
        most /= 2;
    };
    Ok(Box::new(move |world| deliver(world, &Request::json("POST", &hook.url, &body)).map(|_| String::new())))
}

fn card(Message { title, text, links }: &Message, color: &str, most: usize) -> Value {
    let mut body =
        vec![json!({ "type": "TextBlock", "text": cut(title, TITLE), "weight": "Bolder", "size": "Medium", "color": color, "wrap": true })];
    if !text.is_empty() {
        // one line feed is a blank in a card
        body.push(json!({ "type": "TextBlock", "text": cut(&text.replace('\n', "\n\n"), most), "wrap": true }));
    }
    let actions: Vec<Value> =
        links.iter().take(ACTIONS).map(|(title, url)| json!({ "type": "Action.OpenUrl", "title": title, "url": url })).collect();
    let mut content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": { "width": "Full" },
        "body": body,
    });
    if !actions.is_empty() {
        content["actions"] = actions.into();
    }
    let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": content });
    json!({ "type": "message", "attachments": [attachment] })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::delivery::tests::answer;
    use crate::receiver::tests::tell;

    #[test]
    fn a_card() {
        let (told, world) = tell(json!({ "teams": "__secret-teams__" }), true, [answer(202, "")]);
        assert_eq!(told, Ok(String::new()));
        insta::assert_json_snapshot!(world.bodies()[0]);
    }

    #[test]
    fn a_long_card_is_cut_to_what_teams_takes() {
        for text in ["x".repeat(100_000), "\u{1}ü\"".repeat(30_000)] {
            let (_, world) = tell(json!({ "teams": { "url": "u", "text": text } }), true, [answer(202, "")]);
            assert!(world.sent[0].body.len() < 28_000, "{}", world.sent[0].body.len());
            assert!(String::from_utf8_lossy(&world.sent[0].body).contains("characters left out]"));
        }
    }
}
