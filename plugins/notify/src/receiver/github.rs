//! GitHub: one comment on an issue or a pull request, which is rewritten each time, and the status of a commit.
//!
//! The comment is found by a marker in an HTML comment at its very beginning. Limits: 65,536 characters a comment, 140 a description.

use serde_json::{Value, json};

use super::{Prepared, below};
use crate::delivery::{Request, Undelivered, World, deliver};
use crate::escape::{Escape, cut};
use crate::message::{Message, Teller};
use crate::settings::{GithubComment, GithubStatus};

const COMMENT: usize = 65_536;
const TITLE: usize = 300;
const DESCRIPTION: usize = 140;
const CONTEXT: usize = 255;
/// Of a hundred comments each; what comes after those is not looked at.
const PAGES: u32 = 30;

pub fn prepare_comment<'a>(comment: &'a GithubComment, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let issues = format!("{}/issues", repository(&comment.api, &comment.repository)?);
    let Message { title, text, links } = teller.message(comment.title.as_ref(), comment.text.as_ref(), Escape::Markdown)?;
    let own =
        teller.run.origin.pull_request.as_ref().filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let number = comment.number.as_ref().map(|number| &number.0).or(own);
    let name = comment.marker.as_ref().unwrap_or(&teller.run.pipeline);
    // two hyphens would end the comment that the marker stands in
    let marker = format!("<!-- runner:notify {} -->", crate::escape::one_line(name).replace("--", "- -").replace('>', ""));
    let links: Vec<String> = links.iter().map(|(title, url)| format!("[{title}](<{url}>)")).collect();
    let rest = [text, links.join(" · ")].join("\n\n");
    let body = format!("{marker}\n**{}**\n\n{}", cut(&title, TITLE), rest.trim_end());
    let body = json!({ "body": cut(&body, COMMENT) });
    Ok(Box::new(move |world| {
        // a pipeline runs for branches too
        let Some(number) = number else { return Ok("there is no pull request to comment".to_owned()) };
        let here = format!("{issues}/{number}/comments");
        if let Some(id) = find(world, &here, &marker, &comment.token)? {
            let rewrite = Request::json("PATCH", format!("{issues}/comments/{id}"), &body).repeatable(&teller.key("github-comment"));
            match deliver(world, &authorized(rewrite, &comment.token)) {
                // somebody else's, or gone meanwhile
                Err(Undelivered { why, .. }) if ["403", "404"].iter().any(|status| why.starts_with(&format!("it answered {status}"))) => {}
                other => return other.map(|_| "rewrote the comment".to_owned()),
            }
        }
        deliver(world, &authorized(Request::json("POST", here, &body), &comment.token)).map(|_| "wrote a comment".to_owned())
    }))
}

/// The number of the comment that begins with the marker.
fn find(world: &mut dyn World, here: &str, marker: &str, token: &str) -> Result<Option<u64>, Undelivered> {
    for page in 1..=PAGES {
        let answer = deliver(world, &authorized(Request::get(format!("{here}?per_page=100&page={page}")), token))?;
        let Value::Array(comments) = answer.json() else { return Err("its list of comments is none".to_owned().into()) };
        let ours = |comment: &&Value| comment["body"].as_str().is_some_and(|body| body.starts_with(marker));
        if let Some(id) = comments.iter().find(ours).and_then(|comment| comment["id"].as_u64()) {
            return Ok(Some(id));
        }
        if comments.len() < 100 {
            break;
        }
    }
    Ok(None)
}

pub fn prepare_status<'a>(status: &'a GithubStatus, teller: &'a Teller<'a>) -> Result<Prepared<'a>, String> {
    let run = teller.run;
    let sha = status.sha.as_ref().or(run.origin.sha.as_ref()).ok_or("the commit is not known: name it with `sha`")?;
    if !(7..=64).contains(&sha.len()) || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("`sha` is `{sha}`, which is no commit"));
    }
    let url = format!("{}/statuses/{sha}", repository(&status.api, &status.repository)?);
    let state = if run.failed() { "failure" } else { "success" };
    let mut body = json!({
        "state": state,
        "description": cut(&teller.title(status.title.as_ref(), Escape::Plain)?, DESCRIPTION),
        "context": cut(status.context.as_ref().unwrap_or(&run.pipeline), CONTEXT),
    });
    if let Some((_, link)) = teller.links(Escape::Plain)?.first() {
        body["target_url"] = link.as_str().into();
    }
    // the last status of a context is the one that counts
    let request = authorized(Request::json("POST", url, &body).repeatable(&teller.key("github-status")), &status.token);
    Ok(Box::new(move |world| deliver(world, &request).map(|_| state.to_owned())))
}

fn authorized(request: Request, token: &str) -> Request {
    request
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28")
        .header("user-agent", "runner")
}

fn repository(api: &str, name: &str) -> Result<String, String> {
    let good = |part: &str| {
        !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match name.split_once('/') {
        Some((owner, repository)) if good(owner) && good(repository) => Ok(below(api, &format!("/repos/{owner}/{repository}"))),
        _ => Err(format!("`repository` is `{name}`: write it as `owner/name`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::tests::{Scripted, answer};
    use crate::receiver::tests::{mistake, tell};

    const MARKER: &str = "<!-- runner:notify shop -->";

    fn comment() -> Value {
        json!({ "github-comment": { "repository": "acme/shop", "number": 7, "token": "__secret-gh__" } })
    }

    fn page(comments: &[(u64, &str)]) -> String {
        Value::from_iter(comments.iter().map(|(id, body)| json!({ "id": id, "body": body }))).to_string()
    }

    fn asked(world: &Scripted) -> Vec<String> {
        world.sent.iter().map(|request| format!("{} {}", request.method, request.url)).collect()
    }

    #[test]
    fn the_first_comment_is_written() {
        let (told, world) = tell(comment(), true, [answer(200, &page(&[(1, "hello")])), answer(201, "{}")]);
        assert_eq!(told.unwrap(), "wrote a comment");
        let here = "https://api.github.com/repos/acme/shop/issues/7/comments";
        assert_eq!(asked(&world), [format!("GET {here}?per_page=100&page=1"), format!("POST {here}")]);
        insta::assert_snapshot!(world.bodies()[1]["body"].as_str().unwrap().replace('\u{200b}', "␣"));
    }

    #[test]
    fn later_ones_rewrite_it_and_no_other() {
        let full: Vec<(u64, String)> = (0..100).map(|id| (id, format!("quoting {MARKER}"))).collect();
        let full: Vec<(u64, &str)> = full.iter().map(|(id, body)| (*id, body.as_str())).collect();
        let second = format!("{MARKER}\nold");
        let answers = [answer(200, &page(&full)), answer(200, &page(&[(421, &second)])), answer(200, "{}")];
        let (told, world) = tell(comment(), false, answers);
        assert_eq!(told.unwrap(), "rewrote the comment");
        assert_eq!(asked(&world)[2], "PATCH https://api.github.com/repos/acme/shop/issues/comments/421");
        assert!(world.bodies()[2]["body"].as_str().unwrap().contains("**shop recovered on"));
    }

    #[test]
    fn a_comment_that_may_not_be_rewritten_is_written_anew() {
        let ours = format!("{MARKER}\nold");
        let answers = [answer(200, &page(&[(5, &ours)])), answer(403, "no"), answer(201, "{}")];
        assert_eq!(tell(comment(), true, answers).0.unwrap(), "wrote a comment");
        let answers = [answer(401, r#"{"message":"Bad credentials"}"#)];
        assert_eq!(tell(comment(), true, answers).0.unwrap_err().why, r#"it answered 401: {"message":"Bad credentials"}"#);
    }

    #[test]
    fn without_a_number_it_is_the_pull_request_of_the_run() {
        let receiver = json!({ "github-comment": { "repository": "acme/shop", "token": "t" } });
        assert_eq!(tell(receiver.clone(), true, []).0.unwrap(), "there is no pull request to comment");
        let settings = crate::message::tests::settings(json!({ "to": [receiver] }));
        let mut run = crate::run::tests::run(true, None);
        run.origin.pull_request = Some("12".into());
        let teller = Teller::new(&run, &settings);
        let mut world = Scripted::new([answer(200, "[]"), answer(201, "{}")]);
        settings.to[0].prepare(&teller).unwrap()(&mut world).unwrap();
        assert!(asked(&world)[1].ends_with("/issues/12/comments"), "{:?}", asked(&world));
    }

    #[test]
    fn a_status() {
        let receiver = json!({ "github-status": {
            "repository": "acme/shop", "token": "__secret-gh__", "title": "{{ stages }} ".repeat(20), "context": "ci/shop", "api": "https://gh.example/api/v3/",
        } });
        let (told, world) = tell(receiver, true, [answer(201, "{}")]);
        assert_eq!(told.unwrap(), "failure");
        assert_eq!(asked(&world), ["POST https://gh.example/api/v3/repos/acme/shop/statuses/0123456789abcdef0123456789abcdef01234567"]);
        let body = &world.bodies()[0];
        assert!(body["description"].as_str().unwrap().chars().count() <= 140);
        assert_eq!(
            (&body["state"], &body["context"], &body["target_url"]),
            (&json!("failure"), &json!("ci/shop"), &json!("https://ci.example/20261121-214501-9f3a1c?a&b"))
        );
        let headers: Vec<String> = world.sent[0].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert!(headers.contains(&"authorization: Bearer __secret-gh__".to_owned()), "{headers:?}");
    }

    #[test]
    fn names_that_would_be_paths_are_refused() {
        for repository in ["acme", "acme/shop/x", "../shop", "acme/sh op", "acme/"] {
            let receiver = json!({ "github-status": { "repository": repository, "token": "t" } });
            assert!(mistake(receiver).contains("write it as `owner/name`"), "{repository}");
        }
        assert!(mistake(json!({ "github-status": { "repository": "a/b", "token": "t", "sha": "main" } })).contains("no commit"));
    }
}
