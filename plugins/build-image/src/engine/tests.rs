use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::settings::tests::settings;
use crate::testing::{Scene, answer, built, denial};

/// Settings for a context that has a Dockerfile.
fn with_dockerfile(mut value: Value) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    value["context"] = folder.path().display().to_string().into();
    (folder, settings(value))
}

fn world(answers: Vec<Result<Built, docker::Error>>) -> Scene {
    let mut world = Scene::new(|_| Ok(answer(500, &[], "")));
    world.built = answers.into();
    world
}

fn names() -> Vec<Reference> {
    ["ghcr.io/acme/shop:1", "ghcr.io/acme/shop:latest"].map(|text| Reference::parse(text).unwrap()).into()
}

fn tags(made: &Builds) -> Vec<String> {
    made.images.iter().flat_map(|one| &one.names).map(Reference::to_string).collect()
}

const FOREIGN: &str = "step 2/3 RUN true: exec /bin/sh: exec format error";

#[test]
fn one_platform_has_all_names_and_several_have_their_own() {
    let (_folder, settings) = with_dockerfile(json!({ "build-args": { "A": "1" }, "labels": { "x": "y" }, "network": true }));
    let mut world_ = world(vec![built("sha256:1")]);
    let made = build(&mut world_, &settings, &names(), &BTreeMap::from([("revision".to_owned(), "0123".to_owned())])).unwrap();
    assert_eq!(tags(&made), ["ghcr.io/acme/shop:1", "ghcr.io/acme/shop:latest"]);
    let expected = Build::new(&settings.context).tag("ghcr.io/acme/shop:1").tag("ghcr.io/acme/shop:latest").build_arg("A", "1");
    assert_eq!(world_.builds, [expected.label("revision", "0123").label("x", "y").network()]);

    let (_folder, settings) = with_dockerfile(json!({ "platforms": ["linux/amd64", "linux/arm64"] }));
    let mut world = world(vec![built("sha256:1"), built("sha256:2")]);
    let made = build(&mut world, &settings, &names(), &BTreeMap::new()).unwrap();
    assert_eq!(tags(&made), ["ghcr.io/acme/shop:1-linux-amd64", "ghcr.io/acme/shop:1-linux-arm64"]);
}

#[test]
fn a_platform_without_emulation_is_given_up_loudly_or_fails() {
    let foreign = || Err(docker::Error::Engine(FOREIGN.into()));
    let (_folder, settings) = with_dockerfile(json!({ "platforms": ["linux/arm64", "linux/amd64"], "fallback": ["linux/amd64"] }));
    let mut loud = world(vec![foreign(), built("sha256:1")]);
    let made = build(&mut loud, &settings, &names(), &BTreeMap::new()).unwrap();
    assert_eq!((made.images.len(), made.given_up[0].0.to_string().as_str()), (1, "linux/arm64"));
    assert!(loud.said[0].starts_with("linux/arm64 CAN'T BE BUILT: ") && loud.said[0].ends_with("for linux/amd64 ALONE"), "{:?}", loud.said);
    assert!(loud.said[0].contains("qemu-user-static"), "{:?}", loud.said);

    let (_folder, settings) = with_dockerfile(json!({ "platforms": ["linux/arm64"] }));
    let error = build(&mut world(vec![foreign()]), &settings, &names(), &BTreeMap::new()).unwrap_err();
    assert!(matches!(&error, Failure::Failed(why) if why.contains("the engine can't run programs of linux/arm64")), "{error}");
}

#[test]
fn a_denial_is_no_reason_to_do_with_less() {
    let (_folder, settings) = with_dockerfile(json!({ "platforms": ["linux/arm64", "linux/amd64"], "fallback": ["linux/amd64"] }));
    let mut world = world(vec![Err(docker::Error::Denied(denial()))]);
    assert_eq!(build(&mut world, &settings, &names(), &BTreeMap::new()), Err(Failure::Denied(denial())));
}

#[test]
fn without_a_dockerfile_the_engine_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    for (value, part) in [(json!({}), "there is no Dockerfile in"), (json!({ "dockerfile": "." }), "is no file")] {
        let mut value = value;
        value["context"] = folder.path().display().to_string().into();
        let error = build(&mut world(vec![]), &settings(value), &names(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(&error, Failure::Misconfigured(why) if why.contains(part)), "{error}");
    }
}

#[test]
fn a_push_is_tried_again_unless_it_is_refused() {
    let pushed = || Ok(Pushed { digest: "sha256:1".into(), size: 5 });
    let down = || Err(docker::Error::Registry("dial tcp 127.0.0.1:5000: connect: connection refused".into()));
    let patience = Patience { retries: 4, delay: Duration::from_secs(1) };
    let name = &names()[0];

    let mut world_ = world(vec![]);
    world_.pushed = [down(), down(), pushed()].into();
    assert_eq!(push(&mut world_, name, patience), pushed());
    assert_eq!(world_.waits, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert!(world_.said[1].ends_with("connection refused; trying again in 2.0s (2 of 4)"), "{:?}", world_.said);

    let mut world = world(vec![]);
    world.pushed = [Err(docker::Error::Registry("denied: requested access to the resource is denied".into()))].into();
    push(&mut world, name, patience).unwrap_err();
    assert!(world.waits.is_empty());
}
