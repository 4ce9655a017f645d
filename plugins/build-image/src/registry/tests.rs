use serde_json::json;

use super::*;
use crate::reference::Reference;
use crate::testing::{Scene, answer};

const PATIENCE: Patience = Patience { retries: 2, delay: Duration::from_secs(1) };

fn repository() -> Repository {
    Reference::parse("ghcr.io/acme/shop").unwrap().repository
}

fn login() -> BTreeMap<String, Login> {
    BTreeMap::from([("ghcr.io".to_owned(), Login { username: "ci".into(), password: "__secret-x__".into() })])
}

fn with<T>(world: &mut Scene, logins: &BTreeMap<String, Login>, act: impl FnOnce(&mut Client<'_>) -> T) -> T {
    act(&mut Client::new(world, logins, PATIENCE, std::env::temp_dir()))
}

fn authorization(request: &Request) -> Option<&str> {
    request.headers.iter().find(|(name, _)| *name == "authorization").map(|(_, value)| value.as_str())
}

const BEARER: (&str, &str) =
    ("www-authenticate", r#"Bearer realm="https://auth.example/token",service="ghcr.io",scope="repository:acme/shop:pull""#);

#[test]
fn a_token_is_fetched_with_the_login_and_used_again() {
    let manifest = json!({ "schemaVersion": 2, "mediaType": media::MANIFEST }).to_string();
    let mut world = Scene::answers(vec![
        answer(401, &[BEARER], ""),
        answer(200, &[], r#"{ "token": "t0ken" }"#),
        answer(200, &[("content-type", "application/json")], &manifest),
        answer(404, &[], ""),
    ]);
    let found = with(&mut world, &login(), |client| {
        let found = client.manifest(&repository(), "1").unwrap().unwrap();
        assert_eq!(client.manifest(&repository(), "2").unwrap(), None);
        found
    });
    // its media type stands in it
    assert_eq!(found.descriptor.media_type, media::MANIFEST);
    let seen: Vec<_> = world.sent.iter().map(|request| (request.url.as_str(), authorization(request))).collect();
    assert_eq!(
        seen,
        [
            ("https://ghcr.io/v2/acme/shop/manifests/1", None),
            // the placeholder, which the host replaces inside of the credentials
            ("https://auth.example/token?service=ghcr.io&scope=repository%3Aacme%2Fshop%3Apull", Some("Basic Y2k6X19zZWNyZXQteF9f")),
            ("https://ghcr.io/v2/acme/shop/manifests/1", Some("Bearer t0ken")),
            ("https://ghcr.io/v2/acme/shop/manifests/2", Some("Bearer t0ken")),
        ]
    );
}

#[test]
fn what_is_refused_is_not_tried_again() {
    let none = BTreeMap::new();
    for (logins, answers, part) in [
        (
            &none,
            vec![answer(401, &[("www-authenticate", "Basic realm=\"x\"")], "")],
            "ghcr.io wants a login; give it `login = { \"ghcr.io\"",
        ),
        (&none, vec![answer(401, &[], "")], "does not say which kind"),
        (&login(), vec![answer(401, &[BEARER], ""), answer(401, &[], "")], "are the user and the password right?"),
        (
            &login(),
            vec![
                answer(401, &[BEARER], ""),
                answer(200, &[], r#"{ "access_token": "t" }"#),
                answer(403, &[], r#"{ "errors": [{ "code": "DENIED", "message": "no\nwrite" }] }"#),
            ],
            "it answered 403: DENIED no write; may `ci` do this there?",
        ),
    ] {
        let mut world = Scene::answers(answers);
        let error = with(&mut world, logins, |client| client.manifest(&repository(), "1")).unwrap_err();
        assert!(matches!(&error, Error::Refused(why) if why.contains(part)), "{error}");
        assert!(world.waits.is_empty());
    }
}

#[test]
fn load_and_network_are_waited_for() {
    let mut tries = 0;
    let mut world = Scene::new(move |_| {
        tries += 1;
        match tries {
            1 => Ok(answer(429, &[("retry-after", "7")], "")),
            2 => Err(Trouble::Passing("no connection: refused".into())),
            _ => Ok(answer(404, &[], "")),
        }
    });
    assert_eq!(with(&mut world, &BTreeMap::new(), |client| client.manifest(&repository(), "1")), Ok(None));
    assert_eq!(world.waits, [Duration::from_secs(7), Duration::from_secs(2)]);
    assert_eq!(
        world.said,
        [
            "ghcr.io/acme/shop (1): ghcr.io: it answered 429; trying again in 7.0s (1 of 2)",
            "ghcr.io/acme/shop (1): no connection: refused; trying again in 2.0s (2 of 2)",
        ]
    );

    let mut world = Scene::new(|_| Ok(answer(503, &[], "busy")));
    let error = with(&mut world, &BTreeMap::new(), |client| client.manifest(&repository(), "1")).unwrap_err();
    assert_eq!(error.to_string(), "ghcr.io/acme/shop (1): ghcr.io: it answered 503: busy; 3 tries");

    let mut world = Scene::new(|_| Ok(answer(429, &[("retry-after", "3600")], "")));
    let error = with(&mut world, &BTreeMap::new(), |client| client.manifest(&repository(), "1")).unwrap_err();
    assert!(error.to_string().contains("asked again in 3600s, which is too late") && world.waits.is_empty(), "{error}");
}

#[test]
fn an_upload_that_goes_on_elsewhere_takes_no_login_along() {
    let blob = Blob::of(media::CONFIG, b"{}".to_vec());
    let digest = &blob.descriptor.digest;
    let mut world = Scene::answers(vec![
        answer(401, &[BEARER], ""),
        answer(200, &[], r#"{ "token": "t" }"#),
        answer(404, &[], ""),
        answer(202, &[("location", "https://uploads.example/1?state=x")], ""),
        answer(201, &[], ""),
    ]);
    let arrived = with(&mut world, &login(), |client| client.push_blob(&repository(), &blob));
    assert_eq!(arrived, Ok(Arrived::Sent));
    let last = world.sent.last().unwrap();
    assert_eq!(last.url, format!("https://uploads.example/1?state=x&digest={}", digest.replace(':', "%3A")));
    assert_eq!((authorization(last), last.body.as_slice()), (None, &b"{}"[..]));
}

#[test]
fn a_broken_upload_begins_anew() {
    let blob = Blob::of(media::LAYER, vec![7; (ONE_PIECE + 1) as usize]);
    let mut tries = 0;
    let mut world = Scene::new(move |request| {
        Ok(match request.method {
            "HEAD" => answer(404, &[], ""),
            "POST" => answer(202, &[("location", "/v2/acme/shop/blobs/uploads/1")], ""),
            "PATCH" if tries == 0 => {
                tries += 1;
                answer(416, &[], "")
            }
            "PATCH" => answer(202, &[("location", "/v2/acme/shop/blobs/uploads/2")], ""),
            _ => answer(201, &[], ""),
        })
    });
    let arrived = with(&mut world, &BTreeMap::new(), |client| client.push_blob(&repository(), &blob));
    assert_eq!(arrived, Ok(Arrived::Sent));
    let methods: Vec<&str> = world.sent.iter().map(|request| request.method).collect();
    assert_eq!(methods, ["HEAD", "POST", "PATCH", "POST", "PATCH", "PUT"]);
    let range = world.sent[4].headers.iter().find(|(name, _)| *name == "content-range").map(|(_, value)| value.as_str());
    assert_eq!(range, Some(format!("0-{ONE_PIECE}").as_str()));
}

#[test]
fn what_comes_must_be_what_was_asked_for() {
    let wanted = Descriptor::of(media::LAYER, b"right");
    let mut world = Scene::new(|_| Ok(answer(200, &[], "wrong")));
    let error = with(&mut world, &BTreeMap::new(), |client| client.fetch(&repository(), &wanted)).unwrap_err();
    assert!(error.to_string().contains("what came has 5 bytes"), "{error}");
    let error = with(&mut world, &BTreeMap::new(), |client| client.manifest(&repository(), &wanted.digest)).unwrap_err();
    assert!(matches!(&error, Error::Said(why) if why.contains("another digest")), "{error}");
    let mut world = Scene::new(|_| Ok(answer(201, &[("docker-content-digest", "sha256:other")], "")));
    let error = with(&mut world, &BTreeMap::new(), |client| client.put_manifest(&repository(), "1", media::MANIFEST, b"{}")).unwrap_err();
    assert!(error.to_string().contains("made something else of it"), "{error}");
}
