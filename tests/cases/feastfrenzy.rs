//! The pipeline of `pipelines/feastfrenzy` on a real engine, a real registry and a real cluster: green as it ships, and what it pushed and
//! delivered is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use end_to_end::receivers::Receivers;
use end_to_end::repository::{commit, git};
use end_to_end::{Cluster, Docker, ImageRegistry, Namespace, Project, Registry, Visitors, cluster, docker, has, prometheus};
use serde_json::Value;

use crate::RUNNER;

const CANARY: &str = "canary (app=backend)";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/feastfrenzy")
}

/// The pipeline as it ships, in a repository of its own, with this machine's registries in the place of the public ones.
fn feastfrenzy(images: &ImageRegistry, packages: &Registry) -> Project {
    let project = Project::copy_of(RUNNER, &shipped());
    project.replace("pipeline.toml", "network = [\"npm.example:443\"]", &format!("network = [\"{}\"]", packages.host()));
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

/// How a program ends, which has to be well.
#[track_caller]
fn runs(command: &mut Command) {
    let output = command.output().expect("it starts");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}\n{complained}");
}

/// Width and height of a PNG.
#[track_caller]
fn dimensions(png: &[u8]) -> (u32, u32) {
    let head = png.get(..24).expect("a PNG's head");
    assert!(head.starts_with(b"\x89PNG\r\n\x1a\n") && head[12..16] == *b"IHDR", "{head:?}");
    let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

/// Images of the programs as they are, called version `first` and built by a run of their own: by their digests.
fn first(images: &ImageRegistry, project: &Project) -> [String; 2] {
    let arguments = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", ".npm"];
    runs(Command::new("npm").args(arguments).current_dir(project.path().join("app/backend")));
    let image = format!("{}/feastfrenzy/${{matrix.app}}:first", images.address());
    project.write(
        "first.toml",
        format!(
            "format = 1\nname = \"first\"\n[stage.image]\nuses = \"build-image\"\nmatrix = {{ app = [\"backend\", \"frontend\"] }}\ntimeout = \"10m\"\n\
             with = {{ context = \"app/${{matrix.app}}\", tags = [\"{image}\"], build-args = {{ BASE = \"runner-test/node:20\", VERSION = \"first\" }} }}\n\
             [stage.image.grants]\nfiles = [{{ path = \"app\", access = \"read\" }}]\n\
             docker = {{ build = [\"{image}\"], from = [\"runner-test/node:20\"], push = [\"{image}\"] }}\n"
        ),
    );
    project.start(&["exec", "first.toml"]).for_up_to(Duration::from_secs(300)).finish().expect(0);
    ["backend", "frontend"].map(|app| {
        let (_, digest) = asked(images, &format!("{app}/manifests/first"));
        format!("{}/feastfrenzy/{app}@{digest}", images.address())
    })
}

/// The manifests as they ship, with these images: four Pods of the backend, which are enough for a small machine, and two of the frontend.
fn canteen<'c>(cluster: &'c Cluster, backend: &str, frontend: &str) -> Namespace<'c> {
    let namespace = cluster.namespace("feastfrenzy");
    let manifests = |app: &str, image: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(shipped().join(format!("kubernetes/{app}.yaml"))).expect("manifests");
        let shipped = format!("127.0.0.1:5000/feastfrenzy/{app}:latest");
        assert!(text.contains(&shipped) && text.contains(from), "{text}");
        text.replace(&shipped, image).replace(from, to)
    };
    namespace.apply(&manifests("backend", backend, "replicas: 10", "replicas: 4"));
    // no names are looked up in the cluster of the tests
    namespace.apply(&manifests("frontend", frontend, "http://backend", &format!("http://{}", namespace.address("backend"))));
    for name in ["backend", "frontend"] {
        namespace.run(&["rollout", "status", &format!("deployment/{name}"), "--timeout=120s"]);
    }
    namespace
}

/// `4 127.0.0.1:5000/feastfrenzy/backend@sha256:…`
fn deployed(namespace: &Namespace<'_>, deployment: &str) -> String {
    namespace.run(&["get", "deployment", deployment, "--output", "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}"])
}

/// Ends the Pods, and removes what was built and pushed: the engine may be a person's own.
fn clear_away(engine: &Docker, images: &ImageRegistry, namespace: &Namespace<'_>) {
    namespace.run(&["delete", "deployments", "--all"]);
    let named = format!("reference={}/feastfrenzy/*", images.address());
    let began = Instant::now();
    loop {
        let left = engine.run(&["image", "ls", "--quiet", "--no-trunc", "--filter", &named]);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "images that can't be removed: {left}");
        // one that a Pod still runs stays for now
        for image in left.lines().collect::<BTreeSet<_>>() {
            engine.output(&["image", "rm", "--force", image]);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The whole of it, as it is for a push to `main`: from the checkout to all the traffic while people ask for products, and again from its record.
#[test]
fn feastfrenzy_is_delivered() {
    let test = "feastfrenzy_is_delivered";
    let (Some(engine), Some(mut images)) = (docker(test), ImageRegistry::start(test)) else { return };
    let (Some(cluster), Some(prometheus)) = (cluster(test), prometheus(test)) else { return };
    if !has("npm", "install Node.js, such as with `apt-get install npm`", test) {
        return;
    }
    let [by_hand, packages] = [Registry::start(), Registry::start()];
    by_hand.hands_on_npm();
    packages.hands_on_npm();
    let before = feastfrenzy(&images, &by_hand);
    let [backend, frontend] = first(&images, &before);
    let namespace = canteen(&cluster, &backend, &frontend);

    let receivers = Receivers::start();
    let project = feastfrenzy(&images, &packages);
    for (written, here) in [
        ("context = \"production\"", format!("context = {:?}", cluster.run(&["config", "current-context"]))),
        ("feastfrenzy-production", namespace.name().to_owned()),
        ("http://prometheus.production.example:9090", prometheus),
        ("https://chat.example/hooks/*", receivers.url("/hook/*")),
    ] {
        project.replace("pipeline.toml", written, &here);
    }
    let head = commit(&project, "where it goes");
    let short = &head[..7];
    let project = project.env("KUBECONFIG", cluster.kubeconfig()).env("FEASTFRENZY_HOOK", &receivers.url("/hook/canteen"));

    let visitors = Visitors::at(&namespace, "backend", "/api/products");
    // what is compared with the time before needs one
    std::thread::sleep(Duration::from_secs(15));
    let here = ["--input", "images=runner-test", "--input", "browser=runner-test/playwright:1"];
    let quickly = ["--input", "soak=20s", "--input", "interval=8s"];
    let arguments = [&["exec", "--event", "push", "--format", "json", "--junit", "junit.xml"], &here[..], &quickly[..]].concat();
    let finished = project.start(&arguments).for_up_to(Duration::from_secs(900)).finish().expect(0);
    let (visits, bad) = visitors.done();
    let told = finished.told();
    assert_eq!(told.verdict(), "passed");
    for stage in ["lint", "integration", "pages", "e2e", "audit", CANARY, "frontend (app=frontend)", "smoke", "metrics", "notify"] {
        assert_eq!(told.ended(stage).outcome, "passed", "{stage}: {}", told.ended(stage).message);
    }
    for stage in ["staging (app=backend)", "staging (app=frontend)", "smoke-staging", "metrics-staging"] {
        assert_eq!(told.ended(stage).outcome, "skipped", "{stage} is for another branch");
    }
    assert!(visits > 1000 && bad.is_empty(), "{} of {visits}: {bad:#?}\n{}", bad.len(), told.log(CANARY));
    for step in ["set-weight 10%", "set-weight 50%", "promote"] {
        assert!(told.log(CANARY).contains(step), "{}", told.log(CANARY));
    }
    let text = receivers.known().last("hook")["text"].as_str().expect("a text").to_owned();
    assert!(text.contains(&format!("feastfrenzy passed: {short} on main")), "{text}");
    let junit = project.read("junit.xml");
    let tests = junit.matches("<testcase").count();
    assert!(tests >= 36 + 18 + 7 + 11, "{tests} tests of the two programs\n{junit}");
    project.run(&["artifacts", "latest", "e2e.pages", "-o", "captures"]).expect(0);
    let capture = project.read("captures/app/frontend/e2e/pages/an-employee-pays-from-the-balance.html");
    assert!(capture.contains("Ed, €2.20") && capture.contains("Paid €7.80. Enjoy!"), "{capture}");
    let kept = std::fs::read_dir(project.path().join("captures/app/frontend/e2e/pages")).expect("captures");
    let paths = kept.map(|entry| entry.expect("an entry").path());
    let screenshots: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "png")).collect();
    assert_eq!(screenshots.len(), 8, "one of each journey: {screenshots:?}");
    for path in screenshots {
        let png = std::fs::read(&path).expect("a screenshot");
        let (width, height) = dimensions(&png);
        assert!(width == 1280 && (720..5000).contains(&height), "{}: {width} x {height}", path.display());
        // an empty page has 4 KB, and so has one without letters
        assert!(png.len() > 10_000, "{}: {} bytes", path.display(), png.len());
    }
    assert!(!project.path().join("app/backend/node_modules").exists(), "a stage wrote into the checkout");
    // one stage had a network, and it is the one that was granted it
    assert!(packages.asked().iter().any(|path| path.contains("mysql2")), "{:?}", packages.asked());

    for (app, port) in [("backend", "3000/tcp"), ("frontend", "8080/tcp")] {
        let (tags, _) = asked(&images, &format!("{app}/tags/list"));
        let mut tags: Vec<&str> = tags["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
        tags.retain(|tag| !tag.starts_with("sha256-") && *tag != "first");
        tags.sort_unstable();
        assert_eq!(tags, ["latest", &format!("main-{short}"), &format!("sha-{short}")]);
        let (manifest, digest) = asked(&images, &format!("{app}/manifests/sha-{short}"));
        assert_eq!(asked(&images, &format!("{app}/manifests/latest")).1, digest);
        let pods = if app == "backend" { 4 } else { 2 };
        assert_eq!(deployed(&namespace, app), format!("{pods} {}/feastfrenzy/{app}@{digest}", images.address()));
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
    assert!(deployed(&namespace, "backend-canary").starts_with("0 "), "{}", deployed(&namespace, "backend-canary"));
    clear_away(&engine, &images, &namespace);
    images.stop();

    let project = project.without("KUBECONFIG").without("FEASTFRENZY_HOOK");
    project.strip(&[]);
    let stages: BTreeSet<&str> = told.all("stage-started").filter_map(|event| event["stage"].as_str()).collect();
    assert_eq!(stages.len(), 20, "{stages:?}");
    for stage in stages {
        project.replayed(stage).same("same");
    }
    project.run(&["replay", "--format", "plain", "latest"]).expect(0).says("REPLAYED the whole run: 20 attempts in ");
    engine.nothing_left();
}

#[test]
fn feastfrenzy_says_who_may_what() {
    let project = Project::copy_of(RUNNER, &shipped());
    git(&project, &["init", "-q", "-b", "main"]);
    commit(&project, "everything");
    let packages: Value = serde_json::from_str(&project.read("app/frontend/package.json")).expect("JSON");
    let playwright = packages["devDependencies"]["playwright-core"].as_str().expect("a version");
    project
        .run(&["plan"])
        .expect(0)
        .says(&format!("run node (in a container of mcr.microsoft.com/playwright:v{playwright}-noble, no network)"))
        .says("connect to npm.example:443")
        .says("PUSH 127.0.0.1:5000/feastfrenzy/backend:*")
        .says("build 127.0.0.1:5000/feastfrenzy/backend:* (no network)")
        .says("build from docker.io/library/node:20, and pull what of it is missing")
        .says("get, watch, PATCH deployments backend, backend-canary in feastfrenzy-production")
        .says("change spec.template.spec.containers[name=app].image (like 127.0.0.1:5000/feastfrenzy/backend@sha256:*)")
        .says("CREATE services/portforward backend, frontend in feastfrenzy-production")
        .says("refused: the environment `staging` is for develop")
        .never_says("secrets in feastfrenzy");
    project
        .run(&["plan", "--event", "push", "--ref", "refs/heads/develop"])
        .expect(0)
        .says("refused: the environment `production` is for main");
    assert!(!project.path().join(".runner").exists(), "plan leaves nothing behind");
}

/// A canary is measured against Pods that differ in nothing but the image.
#[test]
fn the_canary_of_feastfrenzy_is_like_what_serves() {
    let text = std::fs::read_to_string(shipped().join("kubernetes/backend.yaml")).expect("manifests");
    let templates: Vec<String> = text
        .split("\n---\n")
        .filter_map(|document| document.split_once("\n  template:\n"))
        .map(|(_, template)| template.replace("track: canary", "track: stable"))
        .collect();
    assert_eq!(templates.len(), 2, "{text}");
    assert_eq!(templates[0].trim_end(), templates[1].trim_end());
}
