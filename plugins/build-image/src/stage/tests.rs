use std::fs;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runner_sdk::docker::images::Pushed;
use serde_json::{Value, json};

use super::*;
use crate::settings::tests::settings;
use crate::testing::{Registry, Scene, built, noise, skip};

/// A project with a program, and what is known of the run.
struct Project {
    folder: tempfile::TempDir,
    about: About,
}

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("scratch")).unwrap();
        fs::create_dir_all(folder.path().join("app/static")).unwrap();
        fs::write(folder.path().join("app/server"), "#!/bin/sh\necho hello\n").unwrap();
        fs::write(folder.path().join("app/static/index.html"), "<p>Hello</p>\n").unwrap();
        fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        let about = About {
            sha: Some("0123456789abcdef0123456789abcdef01234567".into()),
            branch: Some("main".into()),
            tag: Some("v1.2.3".into()),
            started: "2026-01-31T12:00:00Z".parse().unwrap(),
        };
        Project { folder, about }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn files(&self) -> Value {
        json!([{ "path": self.path("app/server"), "to": "/bin/server", "mode": "0755" }, { "path": self.path("app/static"), "to": "/srv" }])
    }

    fn run(&self, world: &mut Scene, value: Value) -> Result<Told, Failure> {
        let settings = settings(value);
        let scratch = self.folder.path().join("scratch");
        Work { world, settings: &settings, about: &self.about, epoch: None, scratch: &scratch }.run()
    }
}

fn output(told: &Told, name: &str) -> String {
    told.outputs.iter().find(|(known, _)| *known == name).unwrap().1.clone()
}

/// A private key and its public one.
fn keys(project: &Project) -> (std::path::PathBuf, std::path::PathBuf) {
    let (private, public) = (project.folder.path().join("key.pem"), project.folder.path().join("key.pub"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (private_path, public_path) = (private.display().to_string(), public.display().to_string());
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &private_path]);
    openssl(&["ec", "-in", &private_path, "-pubout", "-out", &public_path]);
    (private, public)
}

#[test]
fn files_become_an_image_with_names_bill_of_materials_and_signature() {
    let Some(registry) = Registry::up("files_become_an_image…") else { return };
    let project = Project::new();
    let (private, public) = keys(&project);
    fs::write(project.folder.path().join("sbom.json"), r#"{ "bomFormat": "CycloneDX", "specVersion": "1.6" }"#).unwrap();
    let host = &registry.host;
    let mut world = Scene::real();
    world.key = Some(private);
    let told = project
        .run(
            &mut world,
            json!({
                "tags": [format!("{host}/acme/shop:{{sha}}"), format!("{host}/acme/shop:{{major}}.{{minor}}")],
                "from-files": project.files(), "entrypoint": ["/bin/server"], "user": "65532:65532", "labels": { "team": "shop" },
                "source": "https://git.example/acme/shop", "sbom": project.path("sbom.json"), "sign": { "key": "cosign" },
            }),
        )
        .unwrap();

    let manifest = registry.json("acme/shop/manifests/1.2");
    assert_eq!(manifest, registry.json("acme/shop/manifests/0123456"));
    assert_eq!(manifest["annotations"]["org.opencontainers.image.revision"], project.about.sha.clone().unwrap());
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    let config = registry.json(&format!("acme/shop/blobs/{}", manifest["config"]["digest"].as_str().unwrap()));
    let labels = &config["config"]["Labels"];
    assert_eq!((&labels["team"], &labels["org.opencontainers.image.version"]), (&json!("shop"), &json!("1.2.3")));
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");

    let digest = output(&told, "digest");
    assert_eq!(output(&told, "ref"), format!("{host}/acme/shop@{digest}"));
    assert_eq!(output(&told, "tags"), format!("{host}/acme/shop:0123456 {host}/acme/shop:1.2"));
    assert!(told.summary.ends_with("; bill of materials attached; signed"), "{}", told.summary);
    assert_eq!(registry.json(&format!("acme/shop/manifests/{digest}")), manifest);

    // this registry knows no referrers, so the index that stands for them is kept
    let tag = digest.replace(':', "-");
    let referrers = registry.json(&format!("acme/shop/manifests/{tag}"));
    let referrer = &referrers["manifests"][0];
    assert_eq!(referrer["artifactType"], sbom::MEDIA_TYPE);
    let referrer = registry.json(&format!("acme/shop/manifests/{}", referrer["digest"].as_str().unwrap()));
    assert_eq!((&referrer["subject"]["digest"], &referrer["artifactType"]), (&json!(digest), &json!(sbom::MEDIA_TYPE)));
    let document = registry.json(&format!("acme/shop/blobs/{}", referrer["layers"][0]["digest"].as_str().unwrap()));
    assert_eq!(document["bomFormat"], "CycloneDX");

    // what cosign reads: the payload, and a signature of it that the public key verifies
    let signed = registry.json(&format!("acme/shop/manifests/{tag}.sig"));
    let layer = &signed["layers"][0];
    let payload = registry.json(&format!("acme/shop/blobs/{}", layer["digest"].as_str().unwrap()));
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], json!(digest));
    let repository = Reference::parse(&format!("{host}/acme/shop")).unwrap().repository;
    let (bytes, signature) = (project.folder.path().join("payload"), project.folder.path().join("signature"));
    fs::write(&bytes, attach::payload(&repository, &digest)).unwrap();
    assert_eq!(crate::blob::digest(&fs::read(&bytes).unwrap()), layer["digest"].as_str().unwrap());
    let annotation = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    fs::write(&signature, STANDARD.decode(annotation).unwrap()).unwrap();
    let verified = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(&public)
        .arg("-signature")
        .arg(&signature)
        .arg(&bytes)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    // the same again: nothing is sent that is there
    let mut again = Scene::real();
    let tags = [format!("{host}/acme/shop:{{sha}}")];
    let value = json!({ "tags": tags, "from-files": project.files(), "entrypoint": ["/bin/server"], "user": "65532:65532", "labels": { "team": "shop" },
        "source": "https://git.example/acme/shop" });
    assert_eq!(output(&project.run(&mut again, value).unwrap(), "digest"), digest);
    assert!(
        again.lines().iter().all(|line| line.starts_with("HEAD /v2/acme/shop/blobs/") || line.starts_with("PUT /v2/acme/shop/manifests/"))
    );
}

/// Runs the `docker` CLI; what it printed.
fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn docker_runs_what_was_made_without_it() {
    const BUSYBOX: &str = "runner-test/busybox:1";
    let Some(registry) = Registry::up("docker_runs_what…") else { return };
    if let Err(why) = docker(&["image", "inspect", BUSYBOX]) {
        return skip("docker_runs_what…", &format!("an engine with the image {BUSYBOX}"), &format!("`tests/engines/docker up`; {why}"));
    }
    let host = &registry.host;
    let (base, made) = (format!("{host}/base/busybox:1"), format!("{host}/acme/shop:1"));
    docker(&["tag", BUSYBOX, &base]).unwrap();
    let pushed = docker(&["push", "--quiet", &base]);
    docker(&["image", "rm", &base]).unwrap();
    pushed.unwrap();

    let project = Project::new();
    let value = json!({ "tags": [made], "base": { "image": base }, "from-files": project.files(), "entrypoint": ["/bin/server"], "user": "65532:65532" });
    let told = project.run(&mut Scene::real(), value).unwrap();
    let reference = output(&told, "ref");
    let ran = docker(&["run", "--rm", "--network", "none", &reference]);
    let labels = docker(&["image", "inspect", "--format", "{{json .Config.Labels}}", &reference]);
    docker(&["image", "rm", &reference]).unwrap();
    assert_eq!(ran.unwrap(), "hello");
    assert!(labels.unwrap().contains("\"org.opencontainers.image.revision\":\"0123456789abcdef"));
}

#[test]
fn an_image_that_is_there_is_signed_later() {
    let Some(registry) = Registry::up("an_image_that_is_there…") else { return };
    let project = Project::new();
    let name = format!("{}/acme/shop:1", registry.host);
    let made = project.run(&mut Scene::real(), json!({ "tags": [name], "from-files": project.files() })).unwrap();
    let mut world = Scene::real();
    world.key = Some(keys(&project).0);
    for round in 1..=2 {
        let told = project.run(&mut world, json!({ "existing": output(&made, "ref"), "sign": { "key": "cosign" } })).unwrap();
        assert_eq!(told.outputs, made.outputs[..2]);
        assert!(told.summary.ends_with(": signed"), "{}", told.summary);
        let signed = registry.json(&format!("acme/shop/manifests/{}.sig", output(&made, "digest").replace(':', "-")));
        // openssl signs in another way each time; both stand
        assert_eq!(signed["layers"].as_array().unwrap().len(), round);
    }
    let error = project.run(&mut world, json!({ "existing": format!("{name}.2"), "sign": { "key": "cosign" } })).unwrap_err();
    assert!(matches!(&error, Failure::Misconfigured(why) if why.contains("there is no ")), "{error}");
}

#[test]
fn a_base_is_taken_over_and_large_layers_go_in_pieces() {
    let Some(registry) = Registry::up("a_base_is_taken_over…") else { return };
    let project = Project::new();
    let host = &registry.host;
    let large = project.folder.path().join("large");
    noise(&large, 20 << 20);
    let mut world = Scene::real();
    let base = json!({
        "tags": [format!("{host}/base/both:1")], "platforms": ["linux/amd64", "linux/arm64"], "env": { "PATH": "/bin" },
        "from-files": [{ "path": project.path("large"), "to": "/large" }, { "path": project.path("app"), "to": "/arm", "platform": "linux/arm64" }],
    });
    let told = project.run(&mut world, base).unwrap();
    assert_eq!(world.lines().iter().filter(|line| line.starts_with("PATCH ")).count(), 3);
    let index = registry.json("base/both/manifests/1");
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    assert!(output(&told, "size").parse::<u64>().unwrap() > 40 << 20, "of both");

    let mut world = Scene::real();
    let archive = project.path("image.tar");
    let above = json!({
        "tags": [format!("{host}/acme/shop:1")], "platforms": ["linux/arm64"], "base": { "image": format!("{host}/base/both:1") },
        "from-files": project.files(), "archive": archive,
    });
    let told = project.run(&mut world, above).unwrap();
    let mounts: Vec<String> = world.lines().into_iter().filter(|line| line.contains("mount=")).collect();
    assert_eq!(mounts.len(), 2, "{:?}", world.lines());
    assert!(mounts.iter().all(|line| line.ends_with("&from=base/both")));
    let manifest = registry.json("acme/shop/manifests/1");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 4);
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.name"], format!("{host}/base/both:1"));
    let config = registry.json(&format!("acme/shop/blobs/{}", manifest["config"]["digest"].as_str().unwrap()));
    assert_eq!((&config["config"]["Env"][0], &config["architecture"]), (&json!("PATH=/bin"), &json!("arm64")));

    // the archive is the same image, and a base itself
    let mut world = Scene::real();
    let offline = json!({
        "tags": ["shop:offline"], "platforms": ["linux/arm64"], "base": { "layout": archive }, "push": false, "archive": project.path("again.tar"),
        "cmd": ["x"],
    });
    assert_eq!(output(&project.run(&mut world, offline).unwrap(), "ref"), "docker.io/library/shop:offline");
    let found = base::find(&mut Layout::open(&archive).unwrap(), &Platform::parse("linux/arm64").unwrap()).unwrap();
    assert_eq!(found.digest, output(&told, "digest"));
    assert!(world.sent.is_empty());
}

#[test]
fn a_registry_that_comes_back_is_waited_for() {
    let Some(mut registry) = Registry::new("a_registry_that_comes_back…") else { return };
    let project = Project::new();
    let tags = [format!("{}/acme/shop:1", registry.host)];
    let mut world = Scene::real();
    let (sender, started) = std::sync::mpsc::channel();
    let mut waiting = Some(sender);
    // it is down for the first two tries
    world.meanwhile = Box::new(move |waits| {
        if waits == 2 {
            registry.start();
            waiting.take().unwrap().send(std::mem::replace(&mut registry, Registry::new("…").unwrap())).unwrap();
        }
    });
    project.run(&mut world, json!({ "tags": tags, "from-files": project.files() })).unwrap();
    assert_eq!(world.waits, [Duration::from_secs(1), Duration::from_secs(2)]);
    let retries: Vec<&String> = world.said.iter().filter(|text| text.contains("trying again")).collect();
    assert!(retries[0].contains("no connection") && retries[0].ends_with("trying again in 1.0s (1 of 4)"), "{retries:?}");
    assert!(retries[1].ends_with("trying again in 2.0s (2 of 4)"), "{retries:?}");
    let registry = started.recv().unwrap();
    assert_eq!(registry.json("acme/shop/manifests/1")["schemaVersion"], 2);
}

#[test]
fn another_registry_takes_what_its_own_does_not() {
    let Some(registry) = Registry::up("another_registry…") else { return };
    let project = Project::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut world = Scene::real();
    let value = json!({
        "tags": [format!("{gone}/acme/shop:1")], "from-files": project.files(), "push-retries": 1, "fallback-registry": format!("{}/copies", registry.host),
    });
    let told = project.run(&mut world, value).unwrap();
    assert_eq!(output(&told, "tags"), format!("{}/copies/acme/shop:1", registry.host));
    assert!(told.summary.contains(&format!("pushed to {}/copies INSTEAD of {gone}", registry.host)), "{}", told.summary);
    assert!(world.said.iter().any(|text| text.contains("CAN'T BE PUSHED TO")), "{:?}", world.said);
    assert_eq!(registry.json("copies/acme/shop/manifests/1")["schemaVersion"], 2);
}

#[test]
fn an_image_of_docker_is_pushed_under_each_name() {
    let project = Project::new();
    let mut world = Scene::real();
    let pushed = || Ok(Pushed { digest: format!("sha256:{}", "a".repeat(64)), size: 500 });
    let down = || Err(docker::Error::Registry("connection refused".into()));
    world.built = [built("sha256:id")].into();
    world.pushed = [down(), down(), pushed(), pushed()].into();
    let tags = ["ghcr.io/acme/shop:{branch}-{sha}", "ghcr.io/acme/shop:latest"];
    let told = project.run(&mut world, json!({ "tags": tags, "context": project.path("") })).unwrap();
    assert_eq!(output(&told, "ref"), format!("ghcr.io/acme/shop@sha256:{}", "a".repeat(64)));
    assert_eq!((output(&told, "size").as_str(), world.waits.len()), ("1500000", 2));
    assert_eq!(told.summary, "pushed ghcr.io/acme/shop:main-0123456 and one more name: sha256:aaaaaaaaaaaa, 1.5 MB");
    let labels = format!("{:?}", world.builds[0]);
    for part in ["org.opencontainers.image.revision", "2026-01-31T12:00:00Z", "org.opencontainers.image.title"] {
        assert!(labels.contains(part), "{labels}");
    }
}

#[test]
fn an_image_of_docker_moves_to_another_registry() {
    let project = Project::new();
    let mut world = Scene::real();
    world.built = [built("sha256:id")].into();
    world.pushed = [Err(docker::Error::Registry("timeout".into())), Ok(Pushed { digest: "sha256:1".into(), size: 5 })].into();
    let value = json!({ "context": project.path(""), "push-retries": 0, "fallback-registry": "mirror.example" });
    let told = project.run(&mut world, value).unwrap();
    assert_eq!(world.tagged, [("ghcr.io/acme/shop:1".to_owned(), "mirror.example/acme/shop:1".to_owned())]);
    assert_eq!(world.pushes, ["ghcr.io/acme/shop:1", "mirror.example/acme/shop:1"]);
    assert_eq!(output(&told, "ref"), "mirror.example/acme/shop@sha256:1");
}

#[test]
fn images_of_docker_for_several_platforms_get_an_index() {
    let Some(registry) = Registry::up("images_of_docker_for_several…") else { return };
    let project = Project::new();
    let host = &registry.host;
    // stand-ins for what an engine would push
    let mut digests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let tags = [format!("{host}/acme/shop:1-{}", platform.replace('/', "-"))];
        let value = json!({ "tags": tags, "platforms": [platform], "from-files": project.files() });
        digests.push(output(&project.run(&mut Scene::real(), value).unwrap(), "digest"));
    }
    let mut world = Scene::real();
    world.built = [built("sha256:a"), built("sha256:b")].into();
    world.pushed = digests.iter().map(|digest| Ok(Pushed { digest: digest.clone(), size: 1 })).collect();
    let value =
        json!({ "tags": [format!("{host}/acme/shop:1")], "context": project.path(""), "platforms": ["linux/amd64", "linux/arm64"] });
    let told = project.run(&mut world, value).unwrap();
    let index = registry.json("acme/shop/manifests/1");
    let listed: Vec<&str> = index["manifests"].as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap()).collect();
    assert_eq!(listed, digests);
    assert_eq!(index["manifests"][0]["platform"], json!({ "architecture": "amd64", "os": "linux" }));
    assert_eq!(registry.json(&format!("acme/shop/manifests/{}", output(&told, "digest"))), index);
}

#[test]
fn a_platform_that_is_given_up_is_told_in_the_summary() {
    let project = Project::new();
    let mut world = Scene::real();
    world.built = [built("sha256:id"), Err(docker::Error::Engine("exec format error".into()))].into();
    world.pushed = [Ok(Pushed { digest: "sha256:1".into(), size: 5 })].into();
    let value = json!({ "context": project.path(""), "platforms": ["linux/amd64", "linux/arm64"], "fallback": ["linux/amd64"] });
    let told = project.run(&mut world, value).unwrap();
    assert!(told.summary.contains("; for linux/amd64 ALONE, since linux/arm64 can't be built: exec format error"), "{}", told.summary);
    assert_eq!(world.tagged, [("ghcr.io/acme/shop:1-linux-amd64".to_owned(), "ghcr.io/acme/shop:1".to_owned())]);
    assert_eq!(world.pushes, ["ghcr.io/acme/shop:1"]);
}

#[test]
fn the_same_files_are_the_same_image() {
    let digest = || {
        let project = Project::new();
        // the paths are of this test's folder, and stand in the history: the image of them is made where they do not
        let settings = settings(json!({ "entrypoint": ["/bin/server"] }));
        let entry = |value: Value| serde_json::from_value(value).unwrap();
        let mut layer = pack(&entry(project.files()[0].clone()), 0, project.folder.path().join("layer")).unwrap();
        layer.made_by = "build-image: app/server as /bin/server".into();
        let image = assemble(&settings, &Platform::usual(), None, &[layer], &BTreeMap::new(), "1970-01-01T00:00:00Z");
        image.manifest.descriptor.digest
    };
    assert_eq!(digest(), digest());
    assert_eq!(digest(), "sha256:a18a1bc0d826fac7b1eb93693de79e2573a226cdae89ef14daa8e93b896d7a55");
}

#[test]
fn what_is_wrong_is_told_before_anything_is_sent() {
    let project = Project::new();
    for (value, part) in [
        (json!({ "tags": ["ghcr.io/acme/shop:a b"], "from-files": project.files() }), "is no tag"),
        (json!({ "from-files": [{ "path": project.path("nothing"), "to": "/a" }] }), "there is no "),
        (json!({ "from-files": project.files(), "sbom": project.path("sbom.json") }), "let an `audit` stage write it"),
        (json!({ "base": { "layout": project.path("app") } }), "is no OCI image"),
        (json!({ "base": { "image": "Nothing" } }), "base: `Nothing` is no image reference"),
        (json!({ "from-files": project.files(), "created": "yesterday" }), "created: `yesterday` is no time"),
        (json!({ "context": project.path("app") }), "there is no Dockerfile in"),
    ] {
        let mut world = Scene::real();
        let error = project.run(&mut world, value).unwrap_err();
        assert!(matches!(&error, Failure::Misconfigured(why) if why.contains(part)), "{part}: {error}");
        assert!(world.sent.is_empty() && world.builds.is_empty());
    }
}
