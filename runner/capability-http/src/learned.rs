//! The smallest `http` rules that let a run pass: each URL that was asked for with its methods, and `*` for a segment that is somebody's id.
//!
//! Hosts are never guessed: a learning run may only reach what somebody confirmed, and the stage's own processes, which are nobody else's.
//! Deliberately absent: `query`, which nobody writes before there is a reason to, and `private` where it does not stand already.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::grant::Used;

use crate::grant::Rule;
use crate::pattern::UrlPattern;
use crate::target::Target;

/// From this many on, segments that differ are taken for ids.
const MANY: usize = 3;

const METHODS: &str = r#"["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]"#;

/// The grant of a learning run. `before`: the rules that stand in the file.
pub fn learning(before: &[Rule], hosts: &[String]) -> String {
    let mut places = vec!["http://*.stage:*/**".to_owned()];
    places.extend(hosts.iter().flat_map(|host| ["https", "http"].map(|scheme| format!("{scheme}://{host}/**"))));
    let confirmed = places
        .iter()
        .filter(|place| {
            UrlPattern::parse(place).is_ok_and(|url| url.address().is_none_or(|it| egress::confirmable(&it.to_string()).is_ok()))
        })
        .map(|place| format!("{{ url = {}, methods = {METHODS} }}", capability::denial::toml_string(place)));
    let rules: Vec<String> = before.iter().map(Rule::to_string).chain(confirmed).collect();
    format!("[{}]", rules.join(", "))
}

#[derive(serde::Deserialize)]
struct Request {
    method: String,
    url: String,
}

/// The grant as it would stand in the file. `before`: the rules that stand there now.
pub fn learned(before: &[Rule], used: &[Used<'_>]) -> Option<String> {
    let mut private = BTreeSet::new();
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for used in used.iter().filter(|used| used.effect == "http.request") {
        let Ok(Request { method, url }) = serde_json::from_str(used.request) else { continue };
        let Ok(target) = Target::parse(&url) else { continue };
        // that it may lead to a private address is nothing that a request shows
        if before.iter().any(|rule| rule.private && rule.allows(&method, &target)) {
            private.insert(target.authority());
        }
        asked.entry(UrlPattern::exact(&target).to_string()).or_default().insert(method);
    }
    let rules: Vec<String> = generalised(asked)
        .into_iter()
        .filter_map(|(url, methods)| {
            let private = url.split('/').nth(2).is_some_and(|authority| private.contains(authority));
            Some(Rule { url: UrlPattern::parse(&url).ok()?, methods: methods.into_iter().collect(), private, query: None }.to_string())
        })
        .collect();
    match &rules[..] {
        [] => None,
        [one] => Some(format!("[{one}]")),
        several => Some(format!("[\n  {},\n]", several.join(",\n  "))),
    }
}

/// Where URLs differ in one segment only, and often: `*` in its place.
fn generalised(mut asked: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    // the scheme, nothing, and the authority are in front of the path
    let longest = asked.keys().map(|url| url.split('/').count()).max().unwrap_or(0);
    for place in (3..longest).rev() {
        let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for url in asked.keys() {
            let mut segments: Vec<&str> = url.split('/').collect();
            if segments.get(place).is_some_and(|segment| !segment.is_empty() && !segment.starts_with('*')) {
                segments[place] = "*";
                alike.entry(segments.join("/")).or_default().push(url.clone());
            }
        }
        for (url, alike) in alike.into_iter().filter(|(_, alike)| alike.len() >= MANY) {
            let methods: BTreeSet<String> = alike.iter().filter_map(|url| asked.remove(url)).flatten().collect();
            asked.entry(url).or_default().extend(methods);
        }
    }
    asked
}

/// The host of a request that was denied.
pub fn confirmable(denied: &Used<'_>) -> Option<String> {
    // the method and the URL: what was denied has no record of more
    let url = denied.subject.split_whitespace().find(|word| word.contains("://"))?;
    let target = Target::parse(url).ok()?;
    let confirmable = target.host.process().is_none() && egress::confirmable(&target.host.to_string()).is_ok();
    (denied.effect == "http.request" && confirmable).then(|| match target.port == target.scheme.default_port() {
        true => target.host.to_string(),
        false => format!("{}:{}", target.host, target.port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(asked: &[(&str, &str)]) -> String {
        let requests: Vec<String> =
            asked.iter().map(|(method, url)| serde_json::json!({ "method": method, "url": url }).to_string()).collect();
        let used: Vec<Used<'_>> = requests.iter().map(|request| Used { effect: "http.request", subject: "", request }).collect();
        learned(&[], &used).unwrap_or_default()
    }

    #[test]
    fn urls_and_methods_are_exact() {
        assert_eq!(
            told(&[("GET", "https://api.example/v1/a?page=2"), ("GET", "https://api.example/v1/a"), ("POST", "https://api.example/v1/b")]),
            "[\n  { url = \"https://api.example/v1/a\", methods = [\"GET\"] },\n  { url = \"https://api.example/v1/b\", methods = [\"POST\"] },\n]"
        );
        assert_eq!(told(&[("GET", "http://app.stage:8080/")]), "[{ url = \"http://app.stage:8080/\", methods = [\"GET\"] }]");
        assert_eq!(told(&[]), "");
    }

    #[test]
    fn three_ids_are_a_pattern_and_two_are_not() {
        let of = |ids: &[&str]| {
            let urls: Vec<String> = ids.iter().map(|id| format!("https://osv.example/v1/vulns/{id}")).collect();
            told(&urls.iter().map(|url| ("GET", url.as_str())).collect::<Vec<_>>())
        };
        assert_eq!(of(&["a", "b", "c"]), "[{ url = \"https://osv.example/v1/vulns/*\", methods = [\"GET\"] }]");
        assert!(of(&["a", "b"]).contains("/vulns/a\""), "{}", of(&["a", "b"]));
    }

    #[test]
    fn what_is_granted_for_learning_is_a_grant() {
        let hosts = ["api.example".to_owned(), "localhost:8080".to_owned(), "no host".to_owned(), "0xa9fea9fe".to_owned()];
        let text = format!("http = {}\n", learning(&[], &hosts));
        let grant = capability::testing::grant(&crate::grant::HttpSchema, &text).expect("a grant");
        let shown: Vec<String> = grant.authority().into_iter().map(|line| line.text).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
    }

    #[test]
    fn a_denied_request_names_the_host_to_confirm() {
        let of = |subject| confirmable(&Used { effect: "http.request", subject, request: "" });
        assert_eq!(of("GET https://api.example/v1?x=1").as_deref(), Some("api.example"));
        assert_eq!(of("POST http://localhost:8080/").as_deref(), Some("localhost:8080"));
        assert_eq!(of("GET http://app.stage:8080/"), None);
        assert_eq!(of("GET http://169.254.169.254/latest/meta-data/"), None);
    }
}
