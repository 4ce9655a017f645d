use pipeline::diagnostic::render;
use pipeline::grant::Grant;

use super::{HttpGrant, HttpSchema};

fn decode(text: &str) -> Result<HttpGrant, String> {
    match capability::testing::grant(&HttpSchema, text) {
        Ok(grant) => Ok((*grant).as_any().downcast_ref::<HttpGrant>().unwrap().clone()),
        Err(diagnostics) => Err(render(&diagnostics, &pipeline::source::Sources::new("pipeline.toml", text), false)),
    }
}

fn authority(text: &str) -> Vec<String> {
    let grant = decode(text).unwrap_or_else(|e| panic!("{e}"));
    grant.authority().into_iter().map(|a| format!("{}{}", if a.alarming { "! " } else { "" }, a.text)).collect()
}

#[test]
fn grants_show_their_whole_authority() {
    let text = r#"
http = [
  { url = "https://api.example/v1/**", methods = ["GET"] },
  { url = "https://API.example:443/" },
  { url = "https://*.cdn.example/assets/*", query = ["v", "w"] },
  { url = "https://a.example/**", methods = ["POST", "POST", "PURGE"], query = [] },
  { url = "http://prometheus:9090/api/**", private = true },
  { url = "http://127.0.0.1:8080/health" },
  { url = "http://[fd00::1]:*/**" },
  { url = "http://169.254.169.254/latest/**" },
  { url = "http://localhost:8080/**" },
  { url = "http://app.stage:8080/**" },
  { url = "https://1.1.1.1/dns-query" },
  { url = "https://*.com/**" },
]
"#;
    assert_eq!(
        authority(text),
        [
            "GET https://api.example/v1/**",
            "GET, HEAD https://api.example/",
            "GET, HEAD https://*.cdn.example/assets/* (query: v, w)",
            "POST, PURGE https://a.example/** (no query)",
            "! GET, HEAD http://prometheus:9090/api/** (private addresses too)",
            "! GET, HEAD http://127.0.0.1:8080/health (a loopback address)",
            "! GET, HEAD http://[fd00::1]:*/** (a unique local address)",
            "! GET, HEAD http://169.254.169.254/latest/** (a cloud's metadata address)",
            "! GET, HEAD http://localhost:8080/** (this machine)",
            "GET, HEAD http://app.stage:8080/**",
            "GET, HEAD https://1.1.1.1/dns-query",
            "! GET, HEAD https://*.com/**",
        ]
    );
}

#[test]
fn one_rule_may_stand_alone() {
    let array = decode(r#"http = [{ url = "https://a.example/**" }]"#).unwrap();
    assert_eq!(decode(r#"http = { url = "https://a.example/**" }"#).unwrap(), array);
    assert_eq!(decode("[http]\nurl = \"https://a.example/**\"").unwrap(), array);
    assert_eq!(decode("[[http]]\nurl = \"https://a.example/**\"").unwrap(), array);
}

#[test]
fn an_empty_list_allows_nothing() {
    assert_eq!(decode("http = []").unwrap().rules, []);
}

#[test]
fn the_example_is_a_grant() {
    use pipeline::grant::GrantSchema;
    decode(HttpSchema.example()).unwrap();
}

#[test]
fn a_rule_is_written_as_it_is_read() {
    for text in [
        r#"{ url = "https://a.example/**", methods = ["GET", "POST"], query = ["$${x}", "b"], private = true }"#,
        r#"{ url = "http://[::1]:8080/a%2Ab", methods = ["GET"], query = [] }"#,
    ] {
        let text = text.replace("$${", "${");
        let grant = decode(&format!("http = [{text}]")).unwrap();
        assert_eq!(grant.rules[0].to_string().replace("$${", "${"), text);
    }
}

#[test]
fn every_mistake_in_a_url_is_shown() {
    let text = r#"
http = [
  { url = "api.example/v1" },
  { url = "ftp://api.example/v1" },
  { url = "HTTPS://api.example/v1" },
  { url = "https://" },
  { url = "https:///v1" },
  { url = "https://api.example" },
  { url = "https://user:pass@api.example/v1" },
  { url = "https://api.example/v1#part" },
  { url = "https://api.example/v1?page=1&q" },
  { url = "https://*/v1" },
  { url = "https://api.*.example/v1" },
  { url = "https://api*.example/v1" },
  { url = "https://*.10.0.0.1/v1" },
  { url = "https://2130706433/v1" },
  { url = "https://0x7f.1/v1" },
  { url = "https://api.example:0/v1" },
  { url = "https://api.example:99999/v1" },
  { url = "https://api.example:/v1" },
  { url = "https://[::1/v1" },
  { url = "https://[::1]x/v1" },
  { url = "https://bad_host%/v1" },
  { url = "https://api.example/*.json" },
  { url = "https://api.example/v1/../v2" },
  { url = "https://api.example/v1/%2e%2E/v2" },
  { url = "https://api.example/v1/..%2fv2" },
  { url = "https://api.example/v1//v2" },
  { url = "https://api.example/100%" },
  { url = "https://api.example/a b" },
  { url = "https://api.example\\v1" },
  { url = "https://app.stage:8443/**" },
]
"#;
    insta::assert_snapshot!(decode(text).unwrap_err());
}

#[test]
fn every_mistake_in_a_rule_is_shown() {
    let text = r#"
http = [
  { methods = ["GET"] },
  { url = 1, methods = "GET", private = "yes", query = "page" },
  { url = "https://a.example/**", methods = ["get", "POTS", "GET POST", "*", "CONNECT", "trace", ""] },
  { url = "https://a.example/**", methods = [] },
  { url = "https://a.example/**", query = ["page=1", "?q"] },
  { url = "https://a.example/**", method = ["GET"], timeout = "5s" },
  "https://a.example/**",
  5,
]
"#;
    insta::assert_snapshot!(decode(text).unwrap_err());
}

#[test]
fn what_is_no_list_of_rules_is_shown() {
    let errors: Vec<String> =
        [r#"http = "https://a.example/**""#, "http = true", "http = 3"].iter().map(|text| decode(text).unwrap_err()).collect();
    insta::assert_snapshot!(errors.join(""));
}

fn unused(text: &str, requests: &[(&str, &str)]) -> Vec<String> {
    let grant = capability::testing::grant(&HttpSchema, text).unwrap_or_else(|_| panic!("{text} is a grant"));
    let requests: Vec<String> =
        requests.iter().map(|(method, url)| serde_json::json!({ "method": method, "url": url, "headers": [] }).to_string()).collect();
    let mut used = requests.iter().map(|request| pipeline::grant::Used { effect: "http.request", subject: "", request });
    grant.unused(&mut used)
}

#[test]
fn rules_and_methods_that_no_request_needed_could_go() {
    let text = r#"http = [
    { url = "https://a.example/v1/**", methods = ["GET", "POST"] },
    { url = "https://b.example/**" },
    { url = "https://c.example/x", query = ["page"] },
]
"#;
    let found = unused(text, &[("GET", "https://a.example/v1/x"), ("GET", "https://b.example/y"), ("GET", "https://c.example/x?page=2")]);
    assert_eq!(
        found,
        [
            r#"{ url = "https://a.example/v1/**", methods = ["GET", "POST"] }: { url = "https://a.example/v1/**", methods = ["GET"] } is enough"#
        ]
    );
    let found = unused(text, &[("POST", "https://a.example/v1/x"), ("GET", "https://a.example/v1/x"), ("HEAD", "https://b.example/y")]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("methods = [\"HEAD\"] } is enough"), "{found:?}");
    assert!(found[1].starts_with("{ url = \"https://c.example/x\"") && found[1].ends_with(": no request"), "{found:?}");
}

#[test]
fn a_request_that_cannot_be_read_takes_nothing_away() {
    assert_eq!(unused(r#"http = [{ url = "https://a.example/**" }]"#, &[("GET", "no url")]), [""; 0]);
}
