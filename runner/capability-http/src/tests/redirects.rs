//! Redirects and names: each leads only where a rule and an address check allow.

use http::Response as Answer;

use super::server::{Body, Server, full};
use super::stage::{Error, Stage, again, denied, get, header};
use crate::host::bindings::runner::http::client::HostResponse as _;

fn to(status: u16, location: &str) -> Answer<Body> {
    Answer::builder().status(status).header("location", location).body(full("moved")).unwrap()
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_asked() {
    let server = Server::http(|seen| match seen.target.as_str() {
        "/end" => Answer::new(full(format!("{} {}", seen.method, String::from_utf8_lossy(&seen.body)))),
        "/loop" => to(302, "/loop"),
        target => match target.trim_start_matches('/').parse::<u16>() {
            Ok(status) => to(status, "end"),
            Err(_) => to(302, "/end"),
        },
    })
    .await;
    let mut stage = Stage::new(&server.grant());
    let request = |method: &str, path: &str, redirects: u32| {
        let mut request = get(&server.url(path));
        request.method = method.into();
        request.redirects = redirects;
        if method == "POST" {
            request.body = b"body".to_vec();
        }
        request
    };
    assert_eq!(stage.fetch(request("GET", "/302", 0)).await.unwrap(), (302, "moved".into()));
    assert_eq!(stage.fetch(request("GET", "/302", 1)).await.unwrap(), (200, "GET ".into()));
    assert_eq!(stage.fetch(request("POST", "/302", 1)).await.unwrap(), (200, "GET ".into()));
    assert_eq!(stage.fetch(request("POST", "/303", 1)).await.unwrap(), (200, "GET ".into()));
    assert_eq!(stage.fetch(request("POST", "/307", 1)).await.unwrap(), (200, "POST body".into()));
    assert_eq!(stage.fetch(request("POST", "/308", 1)).await.unwrap(), (200, "POST body".into()));
    assert_eq!(stage.fetch(request("GET", "/304", 1)).await.unwrap().0, 304);
    assert!(matches!(stage.fetch(request("GET", "/loop", 5)).await, Err(Error::TooManyRedirects(5))));

    let response = stage.send(request("GET", "/301", 3)).await.unwrap();
    assert_eq!(stage.state.url(again(&response)).unwrap(), server.url("/end"));
}

#[tokio::test]
async fn each_redirect_is_a_crossing_of_its_own() {
    let metadata = Server::http(|_| Answer::new(full("secret"))).await;
    let inside = metadata.url("/latest");
    let port = metadata.port();
    let server = Server::http(move |seen| match seen.target.as_str() {
        "/loopback" => to(302, &inside),
        "/number" => to(302, &format!("http://2130706433:{port}/latest")),
        "/hex" => to(302, &format!("http://0x7f.1:{port}/latest")),
        "/mapped" => to(302, &format!("http://[::ffff:127.0.0.1]:{port}/latest")),
        "/metadata" => to(302, "http://169.254.169.254/latest/meta-data"),
        "/ungranted-name" => to(302, "http://evil.example/"),
        "/private-name" => to(302, &format!("http://inside.example:{port}/latest")),
        "/userinfo" => to(302, "http://user:pass@inside.example/"),
        "/scheme" => to(302, "file:///etc/passwd"),
        "/up" => to(302, "/x/..%2f..%2fadmin"),
        _ => to(302, "/outside/of/the/rule"),
    })
    .await;
    let grant = format!("http = [{{ url = \"http://{}/*\" }}, {{ url = \"http://inside.example:*/**\" }}]", server.address);
    let mut stage = Stage::new(&grant);
    stage.names.add("inside.example", &[&["127.0.0.1"]]);
    for (path, expected) in [
        ("/loopback", "not-granted"),
        ("/number", "not-granted"),
        ("/hex", "not-granted"),
        ("/mapped", "not-granted"),
        ("/metadata", "not-granted"),
        ("/ungranted-name", "not-granted"),
        ("/private-name", "private-address"),
        ("/userinfo", "bad-url"),
        ("/scheme", "bad-url"),
        ("/up", "bad-url"),
        ("/elsewhere", "not-granted"),
    ] {
        let mut request = get(&server.url(path));
        request.redirects = 5;
        assert_eq!(denied(stage.send(request).await), expected, "{path}");
    }
    assert_eq!(metadata.connections(), 0, "nothing reached the inside");
    assert_eq!(stage.ledger.counts().denied, 11);
}

#[tokio::test]
async fn credentials_are_not_carried_to_another_origin() {
    let other = Server::http(|_| Answer::new(full("ok"))).await;
    let away = other.url("/");
    let server = Server::http(move |seen| match seen.target.as_str() {
        "/away" => to(307, &away),
        "/here" => to(307, "/there"),
        _ => Answer::new(full("ok")),
    })
    .await;
    let grant = format!("http = [{{ url = \"{}\" }}, {{ url = \"{}\" }}]", server.url("/**"), other.url("/**"));
    let mut stage = Stage::new(&grant);
    let request = |path: &str| {
        let mut request = get(&server.url(path));
        request.redirects = 1;
        request.headers = vec![header("Authorization", "Bearer x"), header("Cookie", "a=b"), header("x-kept", "1")];
        request
    };
    stage.fetch(request("/away")).await.unwrap();
    let seen = other.last();
    assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("cookie"));
    assert_eq!(seen.headers["x-kept"], "1");
    assert_eq!(seen.headers["host"], other.address.to_string());
    stage.fetch(request("/here")).await.unwrap();
    assert!(server.last().headers.contains_key("authorization"));
}

#[tokio::test]
async fn names_that_lead_inside_are_refused_unless_a_rule_says_so() {
    let server = Server::http(|_| Answer::new(full("inside"))).await;
    let url = format!("http://inside.example:{}/", server.port());
    let mut public = Stage::new("http = [{ url = \"http://inside.example:*/**\" }]");
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0", "64:ff9b::7f00:1"] {
        public.names.add("inside.example", &[&[address]]);
        assert_eq!(denied(public.open(&url).await), "private-address", "{address}");
    }
    assert_eq!(server.connections(), 0);
    let mut private = Stage::new("http = [{ url = \"http://inside.example:*/**\", private = true }]");
    private.names.add("inside.example", &[&["127.0.0.1"]]);
    assert_eq!(private.fetch(get(&url)).await.unwrap(), (200, "inside".into()));
    assert_eq!(server.last().headers["host"], format!("inside.example:{}", server.port()));
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_connected_to_where_it_was_checked() {
    let first = Server::http(|_| Answer::new(full("first"))).await;
    let port = first.port();
    let second = Server::start(&format!("127.0.0.2:{port}"), None, |_| Answer::new(full("second"))).await;
    let url = format!("http://rebind.example:{port}/");
    let mut stage = Stage::new("http = [{ url = \"http://rebind.example:*/**\", private = true }]");
    stage.names.add("rebind.example", &[&["127.0.0.1"], &["127.0.0.2"]]);
    assert_eq!(stage.fetch(get(&url)).await.unwrap().1, "first");
    assert_eq!(stage.names.asked.lock().unwrap().len(), 1);
    assert_eq!(second.connections(), 0);
    // asked again for the next request: the idle connection leads to an address that was not checked for it
    assert_eq!(stage.fetch(get(&url)).await.unwrap().1, "second");
    assert_eq!((first.connections(), second.connections()), (1, 1));

    // and where the second answer is refused, nothing is sent, idle connection or not
    let mut strict = Stage::new(&format!(
        "http = [{{ url = \"http://rebind.example:{port}/**\" }}, {{ url = \"http://rebind.example:{port}/first\", private = true }}]"
    ));
    strict.names.add("rebind.example", &[&["127.0.0.1"]]);
    strict.fetch(get(&format!("{url}first"))).await.unwrap();
    assert_eq!(denied(strict.open(&url).await), "private-address");
}

#[tokio::test]
async fn of_several_addresses_one_that_answers_is_enough() {
    let server = Server::http(|_| Answer::new(full("ok"))).await;
    let mut stage = Stage::new("http = [{ url = \"http://many.example:*/**\", private = true }]");
    stage.names.add("many.example", &[&["127.0.0.9", "::1", "127.0.0.1"]]);
    let url = format!("http://many.example:{}/", server.port());
    assert_eq!(stage.fetch(get(&url)).await.unwrap(), (200, "ok".into()));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error_of_dns() {
    let mut stage = Stage::new("http = [{ url = \"http://*.example/**\" }]");
    match stage.open("http://nowhere.example/").await {
        Err(Error::Dns(text)) => assert!(text.contains("nowhere.example"), "{text}"),
        other => panic!("{other:?}"),
    }
    stage.names.add("empty.example", &[&[]]);
    assert!(matches!(stage.open("http://empty.example/").await, Err(Error::Dns(_))));
}
