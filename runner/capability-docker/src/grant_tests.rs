use capability::testing;
use pipeline::grant::{Authority, Grant, Used};

use super::*;

fn decoded(keys: &str) -> Result<Arc<dyn Grant>, Vec<Diagnostic>> {
    testing::grant(&Schema, &format!("docker = {{ {keys} }}"))
}

#[test]
fn the_plan_shows_everything() {
    let grant = decoded(
        "run = [\"node:20\"], pull = [\"node:*\"], push = [\"ghcr.io/acme/*:*\"], build = [\"ghcr.io/acme/*:*\"], from = [\"node:20\", \"https://dl.example/**\"], \
         cache = [\"ghcr.io/acme/cache:*\"], network = [\"api.example:443\", { host = \"localhost:1\", private = true }], memory = \"64MiB\", context = \"ci\"",
    );
    let shown: Vec<(String, bool)> = grant.unwrap().authority().into_iter().map(|Authority { text, alarming }| (text, alarming)).collect();
    let expected = [
        ("run containers of node:20 (a network of the hosts below; at most 64MiB of memory, 2.0 cpus, 512 processes each)", false),
        ("pull node:*", false),
        ("build ghcr.io/acme/*:* (no network)", false),
        ("build from node:20, https://dl.example/**, and pull what of it is missing", false),
        ("PUSH ghcr.io/acme/*:*", true),
        ("  connect to api.example:443", false),
        ("  connect to localhost:1 (this machine)", true),
        ("keep layers of builds at ghcr.io/acme/cache:*, and PUSH them there", true),
        ("in the Docker context ci", false),
    ];
    assert_eq!(shown, expected.map(|(text, alarming)| (text.to_owned(), alarming)));
    let full = decoded("run = [\"node\"], build = [\"x\"], network = \"full\", build-network = \"full\"").unwrap().authority();
    assert!(full.iter().all(|line| line.alarming), "{full:?}");
}

#[test]
fn mistakes_stand_where_they_are() {
    for (keys, code, under) in [
        ("run = []", "empty", "run"),
        ("run = [\"Node\"]", "bad-image", "\"Node\""),
        ("run = \"node\"", "wrong-type", "\"node\""),
        ("push = [\"*.io/x\"]", "bad-image", "\"*.io/x\""),
        ("from = [\"https://u@x.example/a\"]", "bad-url", "\"https://u@x.example/a\""),
        ("from = [\"ftp://x.example/a\"]", "bad-url", "\"ftp://x.example/a\""),
        ("network = \"host\"", "unknown-word", "\"host\""),
        ("network = [\"x.example\"]", "bad-host", "\"x.example\""),
        ("build-network = \"host\"", "unknown-word", "\"host\""),
        ("memory = \"1MiB\"", "out-of-range", "\"1MiB\""),
        ("context = \"../x\"", "bad-context", "\"../x\""),
        ("registries = [{ host = \"ghcr.io\", user = \"u\", password = \"plain\" }]", "bad-secret", "\"plain\""),
        ("privileged = true", "unknown-key", "privileged"),
    ] {
        let text = format!("docker = {{ {keys} }}");
        let mistakes = decoded(keys).unwrap_err();
        let [mistake] = &mistakes[..] else { panic!("{keys}: {mistakes:?}") };
        assert_eq!((mistake.code, &text[mistake.span.clone().unwrap()]), (code, under), "{mistake:?}");
    }
}

#[test]
fn what_nobody_used_could_go() {
    let grant = decoded("run = [\"node:20\", \"redis\"], push = [\"ghcr.io/acme/shop:*\"]").unwrap();
    let used = |effect, request| Used { effect, subject: "", request };
    let run = used("docker.run", r#"{"image":"node:20"}"#);
    assert_eq!(grant.unused(&mut [run].into_iter()), ["\"redis\" in `run`: never used", "\"ghcr.io/acme/shop:*\" in `push`: never used"]);
    assert_eq!(grant.unused(&mut [].into_iter()), ["the whole grant: no image was used"]);
    let push = used("docker.push", r#"{"reference":"ghcr.io/acme/shop:1"}"#);
    let redis = used("docker.run", r#"{"image":"redis:latest"}"#);
    assert_eq!(grant.unused(&mut [run, push, redis].into_iter()), [""; 0]);
}
