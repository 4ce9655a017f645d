//! The pipeline of `pipelines/feastfrenzy` on a real engine and a real registry: green as it ships, and what it pushed is there.

use std::path::Path;
use std::process::Command;

use end_to_end::repository::{commit, git};
use end_to_end::{ImageRegistry, Project, Registry, docker, has};
use serde_json::Value;

use crate::RUNNER;

/// The pipeline as it ships, in a repository of its own, with this machine's registries in the place of the public ones.
fn feastfrenzy(images: &ImageRegistry, packages: &Registry) -> Project {
    let project = Project::copy_of(RUNNER, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/feastfrenzy"));
    project.replace("pipeline.toml", "network = [\"registry.npmjs.org:443\"]", &format!("network = [\"{}\"]", packages.host()));
    project.replace("pipeline.toml", "127.0.0.1:5000", &images.address());
    for app in ["backend", "frontend"] {
        project.write(&format!("app/{app}/.npmrc"), format!("registry=http://{}/\n", packages.host()));
    }
    // npm's cache is by address: the build has to ask the same registry to find what is there
    project.replace("app/backend/Dockerfile", "COPY package.json package-lock.json", "COPY .npmrc package.json package-lock.json");
    project.replace("app/backend/.dockerignore", "!.npm\n", "!.npm\n!.npmrc\n");
    git(&project, &["init", "-q", "-b", "main"]);
    commit(&project, "everything");
    project
}

/// What a registry answers, and the digest that it says it has.
#[track_caller]
fn asked(registry: &ImageRegistry, path: &str) -> (Value, String) {
    let accepts = "accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
                   application/vnd.oci.image.index.v1+json";
    let url = format!("http://{}/v2/feastfrenzy/{path}", registry.address());
    let output = Command::new("curl").args(["-sS", "--fail", "-i", "-H", accepts, &url]).output().expect("curl is there");
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let digest = head.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("docker-content-digest")));
    (serde_json::from_str(body).expect("JSON"), digest.map(|(_, digest)| digest.to_owned()).unwrap_or_default())
}

#[test]
fn feastfrenzy_is_delivered() {
    let test = "feastfrenzy_is_delivered";
    let (Some(engine), Some(images)) = (docker(test), ImageRegistry::start(test)) else { return };
    if !has("npm", "install Node.js, such as with `apt-get install npm`", test) {
        return;
    }
    let packages = Registry::start();
    packages.hands_on_npm();
    let project = feastfrenzy(&images, &packages);
    let head = git(&project, &["rev-parse", "HEAD"]);
    let short = &head[..7];

    let finished = project.run(&["exec", "--input", "images=runner-test", "--format", "json", "--junit", "junit.xml"]).expect(0);
    let told = finished.told();
    assert_eq!(told.verdict(), "passed");
    for stage in ["lint", "integration", "pages", "audit"] {
        assert_eq!(told.ended(stage).outcome, "passed", "{stage}");
    }
    let junit = project.read("junit.xml");
    let tests = junit.matches("<testcase").count();
    assert!(tests >= 34 + 18 + 7, "{tests} tests of the two programs\n{junit}");
    assert!(!project.path().join("app/backend/node_modules").exists(), "a stage wrote into the checkout");
    // one stage had a network, and it is the one that was granted it
    assert!(packages.asked().iter().any(|path| path.contains("mysql2")), "{:?}", packages.asked());

    for (app, port) in [("backend", "3000/tcp"), ("frontend", "8080/tcp")] {
        let (tags, _) = asked(&images, &format!("{app}/tags/list"));
        let mut tags: Vec<&str> = tags["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
        tags.retain(|tag| !tag.starts_with("sha256-"));
        tags.sort_unstable();
        assert_eq!(tags, ["latest", &format!("main-{short}"), &format!("sha-{short}")]);
        let (manifest, digest) = asked(&images, &format!("{app}/manifests/sha-{short}"));
        assert_eq!(asked(&images, &format!("{app}/manifests/latest")).1, digest);
        let (config, _) = asked(&images, &format!("{app}/blobs/{}", manifest["config"]["digest"].as_str().expect("a digest")));
        let labels = &config["config"]["Labels"];
        assert_eq!(labels["org.opencontainers.image.revision"], *head);
        assert_eq!(labels["org.opencontainers.image.title"], format!("feastfrenzy-{app}"));
        assert!(labels["org.opencontainers.image.created"].as_str().is_some_and(|time| time.ends_with('Z')), "{labels}");
        assert!(config["config"]["ExposedPorts"][port].is_object(), "{config}");
        assert_eq!(config["config"]["User"], "1000:1000");
        assert!(config["config"]["Env"].as_array().expect("variables").contains(&format!("VERSION={short}").into()), "{config}");

        // a registry that knows no referrers has them under this tag
        let (index, _) = asked(&images, &format!("{app}/manifests/{}", digest.replace(':', "-")));
        let referrer = &index["manifests"][0];
        assert_eq!(referrer["artifactType"], "application/vnd.cyclonedx+json", "{index}");
        let (attached, _) = asked(&images, &format!("{app}/manifests/{}", referrer["digest"].as_str().expect("a digest")));
        assert_eq!(attached["subject"]["digest"], *digest);
        let (sbom, _) = asked(&images, &format!("{app}/blobs/{}", attached["layers"][0]["digest"].as_str().expect("a digest")));
        assert_eq!(sbom["bomFormat"], "CycloneDX");
        let components: Vec<&str> = sbom["components"].as_array().expect("components").iter().filter_map(|c| c["purl"].as_str()).collect();
        assert!(components.iter().any(|purl| purl.starts_with("pkg:npm/npm@")), "{components:?}");
        assert_eq!(components.iter().any(|purl| purl.starts_with("pkg:npm/mysql2@")), app == "backend", "{components:?}");
    }
    // what was named stays, and only that
    for app in ["backend", "frontend"] {
        for tag in ["latest", &format!("main-{short}"), &format!("sha-{short}")] {
            engine.run(&["image", "rm", &format!("{}/feastfrenzy/{app}:{tag}", images.address())]);
        }
    }
    engine.nothing_left();
}

#[test]
fn feastfrenzy_says_who_may_what() {
    let project = Project::copy_of(RUNNER, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/feastfrenzy"));
    git(&project, &["init", "-q", "-b", "main"]);
    commit(&project, "everything");
    project
        .run(&["plan"])
        .expect(0)
        .says("connect to registry.npmjs.org:443")
        .says("PUSH 127.0.0.1:5000/feastfrenzy/backend:*")
        .says("build 127.0.0.1:5000/feastfrenzy/backend:* (no network)")
        .says("build from docker.io/library/node:20, and pull what of it is missing");
    assert!(!project.path().join(".runner").exists(), "plan leaves nothing behind");
}
