//! The plugin `build-image` on real engines and registries: what it pushes when they come and go, and what it makes without Docker.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use end_to_end::{Daemon, Docker, ImageRegistry, Project, docker, skipped};
use serde_json::Value;

use crate::RUNNER;

const DOCKERFILE: &str = "FROM runner-test/busybox:1\nCOPY hello.txt /\n";

/// A stage that builds `app/` and pushes it. `with`: further settings.
fn dockerfile(registry: &str, with: &str, others: &[String]) -> Project {
    let names: Vec<String> =
        std::iter::once(registry).chain(others.iter().map(String::as_str)).map(|place| format!("{place}/shop:*")).collect();
    let pipeline = format!(
        "format = 1\nname = \"shop\"\n\n[stage.image]\nuses = \"build-image\"\ntimeout = \"3m\"\n[stage.image.with]\ncontext = \"app\"\n\
         tags = [\"{registry}/shop:1\"]\n{with}\n[stage.image.grants]\nfiles = [{{ path = \"app\", access = \"read\" }}]\n\
         [stage.image.grants.docker]\nbuild = {names:?}\nfrom = [\"runner-test/busybox:1\"]\npush = {names:?}\n"
    );
    Project::new(RUNNER).file("pipeline.toml", pipeline).file("app/Dockerfile", DOCKERFILE).file("app/hello.txt", "hello\n")
}

fn manifest(registry: &ImageRegistry, path: &str) -> Option<(Value, String)> {
    let accepts = "accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
    let url = format!("http://{}/v2/{path}", registry.address());
    let output = Command::new("curl").args(["-sS", "--fail", "-i", "-H", accepts, &url]).output().expect("curl is there");
    let text = String::from_utf8(output.stdout).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").filter(|_| output.status.success())?;
    let digest = head.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("docker-content-digest")));
    Some((serde_json::from_str(body).expect("JSON"), digest?.1.to_owned()))
}

fn taken_away(engine: &Docker, names: &[String]) {
    for name in names {
        engine.run(&["image", "rm", name]);
    }
    engine.nothing_left();
}

#[test]
fn a_push_waits_for_a_registry_that_comes_back() {
    let test = "a_push_waits_for_a_registry_that_comes_back";
    let (Some(engine), Some(mut registry)) = (docker(test), ImageRegistry::start(test)) else { return };
    let project = dockerfile(&registry.address(), "push-delay = \"500ms\"", &[]);
    registry.stop();
    let running = project.start(&["exec", "--format", "plain", "--verbose"]);
    running.wait_until("(2 of 4)");
    registry.resume();
    let finished = running.finish().expect(0);
    let waits: Vec<&str> = finished.stdout.lines().filter(|line| line.contains("trying again in")).collect();
    assert!(waits.len() >= 2 && waits[0].contains("was not pushed") && waits[0].contains("(1 of 4)"), "{waits:?}\n{}", finished.stdout);
    let (_, digest) = manifest(&registry, "shop/manifests/1").expect("it is there");
    assert!(finished.stdout.contains(&digest[..19]), "{digest}\n{}", finished.stdout);
    taken_away(&engine, &[format!("{}/shop:1", registry.address())]);
}

#[test]
fn another_registry_takes_what_the_first_does_not() {
    let test = "another_registry_takes_what_the_first_does_not";
    let (Some(engine), Some(mut gone), Some(other)) = (docker(test), ImageRegistry::start(test), ImageRegistry::start(test)) else {
        return;
    };
    gone.stop();
    let with = format!("push-delay = \"50ms\"\npush-retries = 1\nfallback-registry = \"{}/copies\"", other.address());
    let project = dockerfile(&gone.address(), &with, &[format!("{}/copies", other.address())]);
    let finished = project.run(&["exec", "--format", "plain"]).expect(0);
    assert!(finished.stdout.contains(&other.address()), "{}", finished.stdout);
    assert!(manifest(&other, "copies/shop/manifests/1").is_some());
    taken_away(&engine, &[format!("{}/shop:1", gone.address()), format!("{}/copies/shop:1", other.address())]);
}

#[test]
fn what_a_dockerfile_takes_without_a_grant_is_denied_before_the_engine_builds() {
    let test = "what_a_dockerfile_takes_without_a_grant_is_denied_before_the_engine_builds";
    let (Some(engine), Some(registry)) = (docker(test), ImageRegistry::start(test)) else { return };
    let project = dockerfile(&registry.address(), "", &[]);
    project.write("app/Dockerfile", "FROM runner-test/busybox:1\nCOPY --from=runner-test/node:20 /usr /usr\n");
    project
        .run(&["exec", "--format", "plain"])
        .expect(5)
        .says("runner-test/node:20")
        .says("from = [\"runner-test/busybox:1\", \"runner-test/node:20\"]")
        .never_says("Step ");
    assert!(manifest(&registry, "shop/manifests/1").is_none());
    engine.nothing_left();
}

/// An engine that ends in the middle is an error that says so; with a retry, the stage passes once it is back.
#[test]
fn an_engine_that_is_restarted_is_an_error_and_then_a_retry() {
    let test = "an_engine_that_is_restarted_is_an_error_and_then_a_retry";
    let Some(engine) = docker(test) else { return };
    let Some((mut daemon, host)) = other_engine(&engine) else { return };
    let of_it = |arguments: &[&str]| of_other(&host, arguments);
    let up = |daemon: &Daemon| answering(daemon, &host);
    let pipeline = |retries: u32| {
        format!(
            "format = 1\nname = \"shop\"\n\n[stage.tool]\nuses = \"command\"\nretries = {{ count = {retries}, delay = \"10s\" }}\ntimeout = \"2m\"\n\
             [stage.tool.with]\nscript = \"echo up $((40 + 2)); sleep 5; echo over $((40 + 2))\"\n\
             [stage.tool.grants]\ncommands = {{ in = \"container\", image = \"runner-test/busybox:1\", programs = [\"sh\"] }}\n"
        )
    };
    for retries in [0, 1] {
        let project = Project::new(RUNNER).file("pipeline.toml", pipeline(retries)).env("DOCKER_HOST", &host);
        let running = project.start(&["exec", "--format", "plain", "--verbose"]);
        running.wait_until("up 42");
        daemon.restart();
        up(&daemon);
        let finished = running.finish().expect(if retries == 0 { 1 } else { 0 });
        assert!(finished.stdout.contains("the connection to the Docker engine at unix://"), "{}", finished.stdout);
        assert_eq!(finished.stdout.contains("over 42"), retries == 1, "{}", finished.stdout);
        // what the attempt could not remove goes with the next command
        project.run(&["gc"]).expect(0);
        let left = of_it(&["ps", "--all", "--format", "{{.Names}} {{.Labels}}"]);
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    }
}

fn of_other(host: &str, arguments: &[&str]) -> Output {
    Command::new("docker").env("DOCKER_HOST", host).args(arguments).output().expect("docker starts")
}

fn answering(daemon: &Daemon, host: &str) {
    let began = Instant::now();
    while !of_other(host, &["version"]).status.success() {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An engine of the test's own that has the image which the Dockerfiles begin with.
fn other_engine(engine: &Docker) -> Option<(Daemon, String)> {
    let Some(daemon) = Daemon::start(&[], &[]) else {
        skipped("there is no dockerd to start and stop. Get it with `apt-get install docker.io`");
        return None;
    };
    let host = format!("unix://{}", daemon.socket().display());
    let of_it = |arguments: &[&str]| of_other(&host, arguments);
    answering(&daemon, &host);
    let image = daemon.folder().join("busybox.tar");
    let image = image.to_str().expect("text");
    engine.run(&["save", "-o", image, "runner-test/busybox:1"]);
    assert!(of_it(&["load", "-i", image]).status.success());
    Some((daemon, host))
}

/// What one engine has built is taken from the registry by another that never built anything.
#[test]
fn a_cache_is_pushed_and_taken_up_by_another_engine() {
    let test = "a_cache_is_pushed_and_taken_up_by_another_engine";
    let (Some(engine), Some(registry)) = (docker(test), ImageRegistry::start(test)) else { return };
    let Some((_daemon, host)) = other_engine(&engine) else { return };
    let cache = format!("{}/shop:cache", registry.address());
    // what no step would do twice alike
    let text = "FROM runner-test/busybox:1\nRUN head -c 16 /dev/urandom | od -x > /stamp\nCOPY hello.txt /\n";
    let built = |settings: &str, host: Option<&str>| {
        let project = dockerfile(&registry.address(), settings, &[]);
        project.write("app/Dockerfile", text);
        project.replace("pipeline.toml", "[stage.image.grants.docker]", &format!("[stage.image.grants.docker]\ncache = [{cache:?}]"));
        let project = host.into_iter().fold(project, |project, host| project.env("DOCKER_HOST", host));
        let finished = project.run(&["exec", "--format", "plain", "--verbose"]).expect(0);
        let (manifest, _) = manifest(&registry, "shop/manifests/1").expect("it is there");
        let layers: Vec<String> = manifest["layers"].as_array().expect("layers").iter().map(|layer| layer["digest"].to_string()).collect();
        (layers, finished.stdout)
    };
    let (first, _) = built(&format!("cache-to = [{cache:?}]"), None);
    assert!(manifest(&registry, "shop/manifests/cache").is_some(), "the cache was pushed");
    // it has built nothing yet
    let (with, log) = built(&format!("cache-from = [{cache:?}]"), Some(&host));
    assert!(log.contains("from the cache"), "{log}");
    assert_eq!(with[1], first[1], "{log}");
    taken_away(&engine, &[format!("{}/shop:1", registry.address()), cache]);
}

/// Several platforms are one name; one that can't be built is an error, or is done without where that was said.
#[test]
fn platforms_are_joined_and_one_may_be_done_without() {
    let test = "platforms_are_joined_and_one_may_be_done_without";
    let (Some(engine), Some(registry)) = (docker(test), ImageRegistry::start(test)) else { return };
    let address = registry.address();
    let project = |text: &str, settings: &str| {
        let project = dockerfile(&address, &format!("platforms = [\"linux/amd64\", \"linux/arm64\"]\n{settings}"), &[]);
        project.write("app/Dockerfile", text);
        let granted = format!(
            "[stage.image.grants]\nhttp = [{{ url = \"http://{address}/v2/shop/**\", methods = [\"GET\", \"HEAD\", \"POST\", \"PUT\"] }}]"
        );
        project.replace("pipeline.toml", "[stage.image.grants]", &granted);
        project
    };
    let platforms = |tag: &str| -> Vec<String> {
        let url = format!("http://{address}/v2/shop/manifests/{tag}");
        let accepts = "accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";
        let output = Command::new("curl").args(["-sS", "--fail", "-H", accepts, &url]).output().expect("curl is there");
        let index: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        let told = |one: &Value| {
            format!("{}/{}", one["platform"]["os"].as_str().unwrap_or(""), one["platform"]["architecture"].as_str().unwrap_or(""))
        };
        manifests.iter().map(told).collect()
    };
    let both = project("FROM scratch\nCOPY hello.txt /\n", "");
    both.run(&["exec", "--format", "plain"]).expect(0);
    assert_eq!(platforms("1"), ["linux/amd64", "linux/arm64"]);
    // another image of the same name would leave this one without
    let names = ["linux-amd64", "linux-arm64"].map(|slug| format!("{address}/shop:1-{slug}"));
    names.iter().for_each(|name| drop(engine.run(&["image", "rm", name])));

    // there is no such image for the other platform, here or anywhere
    let one = "FROM runner-test/busybox:1\nRUN [ \"$(uname -m)\" = x86_64 ]\nCOPY hello.txt /\n";
    project(one, "").run(&["exec", "--format", "plain"]).expect(1).says("linux/arm64 can't be built").says("`fallback`");
    let enough = project(one, "fallback = [\"linux/amd64\"]").run(&["exec", "--format", "plain"]).expect(0);
    enough.says("for linux/amd64 ALONE, since linux/arm64 can't be built");
    assert_eq!(platforms("1"), [""; 0], "an image, and no index");
    taken_away(&engine, &names[..1]);
}

const FROM_FILES: &str = r#"format = 1
name = "shop"

[secret.cosign]
from = "file:KEY"

[stage.image]
uses = "build-image"
[stage.image.with]
tags = ["REGISTRY/acme/shop:1"]
from-files = [{ path = "bin/busybox", to = "/bin/busybox", mode = "0755" }, { path = "static", to = "/srv/" }]
entrypoint = ["/bin/busybox"]
expose = ["8080"]
sign = { key = "cosign" }
[stage.image.grants]
files = [{ path = ".", access = "read" }]
http = [{ url = "http://REGISTRY/v2/acme/shop/**", methods = ["GET", "HEAD", "POST", "PATCH", "PUT"] }]
secrets = { sign = ["cosign"] }
"#;

/// No engine: the bytes are the same whoever makes them, they run where there is one, and the signature is what openssl says it is.
#[test]
fn an_image_is_made_of_files_without_docker() {
    let test = "an_image_is_made_of_files_without_docker";
    let (Some(engine), Some(registry)) = (docker(test), ImageRegistry::start(test)) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is there");
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &at("key.pem")]);
    openssl(&["pkey", "-in", &at("key.pem"), "-pubout", "-out", &at("public.pem")]);
    // a program that needs nothing
    let busybox = engine.run(&["create", "--network", "none", "runner-test/busybox:1", "true"]);
    engine.run(&["cp", &format!("{busybox}:/bin/busybox"), &at("busybox")]);
    engine.run(&["rm", &busybox]);
    let mut digests = Vec::new();
    for name in ["one", "two"] {
        let project = Project::new(RUNNER)
            .file("pipeline.toml", FROM_FILES.replace("REGISTRY", &registry.address()).replace("KEY", &at("key.pem")))
            .file("bin/busybox", std::fs::read(at("busybox")).expect("the program"))
            .file("static/a.txt", "a\n")
            .file("static/sub/b.txt", "b\n")
            .file(&format!("{name}.txt"), "is in no image")
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        let told = project.run(&["exec", "--format", "json"]).expect(0).told();
        let outputs = told.ended("image").outputs;
        let digest = outputs.iter().find(|(name, _)| name == "digest").expect("a digest").1.clone();
        assert_eq!(manifest(&registry, "acme/shop/manifests/1").expect("it is there").1, digest);
        digests.push(digest);
    }
    assert_eq!(digests[0], digests[1]);

    let reference = format!("{}/acme/shop@{}", registry.address(), digests[0]);
    engine.run(&["pull", "--quiet", &reference]);
    assert_eq!(engine.run(&["run", "--rm", "--network", "none", &reference, "cat", "/srv/a.txt", "/srv/sub/b.txt"]), "a\nb");
    engine.run(&["image", "rm", &reference]);

    let (signature, _) = manifest(&registry, &format!("acme/shop/manifests/{}.sig", digests[0].replace(':', "-"))).expect("a signature");
    let layer = &signature["layers"][0];
    let payload = Command::new("curl")
        .args([
            "-sS",
            "--fail",
            &format!("http://{}/v2/acme/shop/blobs/{}", registry.address(), layer["digest"].as_str().expect("a digest")),
        ])
        .output()
        .expect("curl is there")
        .stdout;
    assert!(String::from_utf8_lossy(&payload).contains(&digests[0]));
    std::fs::write(at("payload"), payload).expect("a file");
    let encoded = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().expect("a signature");
    std::fs::write(at("signature.b64"), encoded).expect("a file");
    openssl(&["base64", "-d", "-A", "-in", &at("signature.b64"), "-out", &at("signature")]);
    openssl(&["dgst", "-sha256", "-verify", &at("public.pem"), "-signature", &at("signature"), &at("payload")]);
    engine.nothing_left();
}
