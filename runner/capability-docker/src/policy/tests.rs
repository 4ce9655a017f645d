use std::borrow::Cow;

use pipeline::grant::MountRule;
use pipeline::plan::Secret;

use super::*;
use crate::effect::{Build, BuildLook, Inspect, Output, Pull, Push, Save, Scene, Tag};
use crate::grant::Schema;

const PLACEHOLDER: &str = "__secret-token-0123456789abcdef0123456789abcdef__";

fn grant(text: &str) -> DockerGrant {
    let decoded = capability::testing::grant(&Schema, &format!("docker = {{ {text} }}")).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    decoded.as_any().downcast_ref::<DockerGrant>().unwrap().clone()
}

/// A stage that may read its workspace and write `out`.
struct Stage {
    grant: Option<DockerGrant>,
    mounts: Vec<MountRule>,
    hidden: Vec<String>,
    protected: Vec<String>,
    held: Held,
}

impl Stage {
    fn new(text: &str) -> Stage {
        let secret = Secret {
            name: "token".into(),
            from: "env:T".into(),
            to: vec!["registry:ghcr.io".into()],
            audience: None,
            scope: None,
            token: None,
        };
        let rule = |path: &str, writable| MountRule { path: path.into(), writable };
        Stage {
            grant: Some(grant(text)),
            mounts: vec![rule(".", false), rule("out", true)],
            hidden: vec![".runner".into()],
            protected: vec![".git".into(), "pipeline.toml".into()],
            held: Held::placeholders(vec![SecretUse { secret, placeholder: PLACEHOLDER.into(), read: false }]),
        }
    }

    fn rules(&self) -> Rules<'_> {
        let view = View { mounts: &self.mounts, hidden: &self.hidden, protected: &self.protected };
        Rules { grant: self.grant.as_ref(), stage: "test", view, held: &self.held, uid: 1000 }
    }

    fn run(&self, run: &Run) -> (Cow<'static, str>, Option<String>) {
        let folders = Sights(Some(vec![Sight::Folder; run.mounts.len()]));
        told(self.rules().decide(run, &folders))
    }

    fn image<O: ImageOperation>(&self, operation: O, seen: &[Sight]) -> Cow<'static, str> {
        let seen = Sights((!seen.is_empty()).then(|| seen.to_vec()));
        told(self.rules().decide(&OnImages(operation), &seen)).0
    }
}

fn told<Q: std::fmt::Debug>(decision: Decision<Q>) -> (Cow<'static, str>, Option<String>) {
    match decision {
        Decision::Allow => ("allow".into(), None),
        Decision::Observe(_) => ("observe".into(), None),
        Decision::Deny(denial) => (denial.code, denial.remedy),
    }
}

fn run(image: &str) -> Run {
    Run {
        number: 1,
        image: image.into(),
        entrypoint: Vec::new(),
        arguments: Vec::new(),
        env: Vec::new(),
        directory: None,
        user: None,
        mounts: Vec::new(),
        network: Network::None,
        read_only_root: false,
        memory: None,
        cpus: None,
        pids: None,
        stdin: Vec::new(),
        stdout: Output::Log,
        stderr: Output::Log,
        timeout: None,
        name: None,
    }
}

fn mounting(source: &str, target: &str, writable: bool) -> Run {
    let mount = crate::effect::Mount { source: source.into(), target: target.into(), writable };
    Run { mounts: vec![mount], ..run("busybox") }
}

#[test]
fn containers() {
    let stage = Stage::new("run = [\"busybox\", \"node:20*\"], memory = \"64MiB\", cpus = 1, pids = 10");
    for (wanted, asked) in [
        ("allow", run("busybox")),
        ("allow", run("docker.io/library/busybox:latest")),
        ("allow", run("node:20-alpine")),
        ("not-granted", run("node:18")),
        ("not-granted", run("busybox:1")),
        ("not-granted", run("evil.example/library/busybox")),
        ("not-granted", run("98e4e22b5908")),
        ("not-granted", run("sha256:98e4e22b5908")),
        ("not-granted", run("busybox@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
        ("not-granted", run("")),
        ("not-granted", run("../../containers/json")),
        ("over-ceiling", Run { memory: Some((64 << 20) + 1), ..run("busybox") }),
        ("over-ceiling", Run { memory: Some(0), ..run("busybox") }),
        ("over-ceiling", Run { cpus: Some(1001), ..run("busybox") }),
        ("over-ceiling", Run { cpus: Some(0), ..run("busybox") }),
        ("over-ceiling", Run { pids: Some(11), ..run("busybox") }),
        ("over-ceiling", Run { pids: Some(0), ..run("busybox") }),
        ("allow", Run { memory: Some(64 << 20), cpus: Some(1000), pids: Some(10), ..run("busybox") }),
        ("network", Run { network: Network::Stage, ..run("busybox") }),
        ("network", Run { network: Network::Granted, ..run("busybox") }),
        ("allow", Run { user: Some("0".into()), ..run("busybox") }),
        ("user", Run { user: Some("root".into()), ..run("busybox") }),
        ("user", Run { user: Some("+0".into()), ..run("busybox") }),
        ("user", Run { user: Some("0:0:0".into()), ..run("busybox") }),
        ("user", Run { user: Some("0".into()), ..mounting("/workspace/out", "/x", true) }),
        ("allow", Run { user: Some("1000:1000".into()), ..mounting("/workspace/out", "/x", true) }),
        ("allow", Run { user: Some("0".into()), ..mounting("/workspace", "/x", false) }),
        ("mount-place", Run { directory: Some("relative".into()), ..run("busybox") }),
        ("variable", Run { env: vec![("A=B".into(), "x".into())], ..run("busybox") }),
        ("secret-place", Run { env: vec![("A".into(), PLACEHOLDER.into())], ..run("busybox") }),
        ("secret-place", Run { arguments: vec![PLACEHOLDER.into()], ..run("busybox") }),
        ("secret-place", Run { stdin: PLACEHOLDER.into(), ..run("busybox") }),
    ] {
        assert_eq!(stage.run(&asked).0, wanted, "{asked:?}");
    }
    let stage = Stage { grant: None, ..stage };
    assert_eq!(stage.run(&run("busybox")).0, "not-granted");
}

#[test]
fn mounts() {
    let stage = Stage::new("run = [\"busybox\"]");
    for (wanted, source, target, writable) in [
        ("allow", "/workspace", "/app", false),
        ("allow", "/workspace/src/deep", "/app", false),
        ("allow", "/workspace/out", "/app", true),
        ("allow", "/scratch", "/tmp", true),
        ("mount-outside", "/workspace", "/app", true),
        ("mount-outside", "/workspace/out/below", "/app", true),
        ("mount-outside", "/workspace/out/below", "/app", false),
        ("mount-outside", "/scratch/below", "/app", false),
        ("mount-outside", "/workspace/.runner", "/app", false),
        ("mount-outside", "/workspace/.git", "/app", true),
        ("mount-outside", "/workspace/pipeline.toml", "/app", true),
        ("mount-outside", "/", "/app", false),
        ("mount-outside", "/etc", "/app", false),
        ("mount-outside", "/var/run/docker.sock", "/app", false),
        ("mount-outside", "/workspace/../../var/run/docker.sock", "/app", false),
        ("mount-outside", "/run/docker.sock", "/app", false),
        ("mount-outside", "//var/run/docker.sock", "/app", false),
        ("mount-outside", "/proc/1/root", "/app", false),
        ("mount-outside", "a-volume", "/app", false),
        ("mount-outside", "", "/app", false),
        ("mount-outside", "/workspace\0", "/app", false),
        ("mount-place", "/workspace", "/", false),
        ("mount-place", "/workspace", "/.", false),
        ("mount-place", "/workspace", "/proc", false),
        ("mount-place", "/workspace", "/proc/sys", false),
        ("mount-place", "/workspace", "//sys/fs", false),
        ("mount-place", "/workspace", "/dev", false),
        ("mount-place", "/workspace", "/etc", false),
        ("mount-place", "/workspace", "/etc/resolv.conf", false),
        ("mount-place", "/workspace", "/x/../proc", false),
        ("mount-place", "/workspace", "relative", false),
        ("mount-place", "/workspace", "/run/runner/out", false),
        ("allow", "/workspace", "/etc/app", false),
        ("allow", "/workspace", "/procs", false),
    ] {
        assert_eq!(stage.run(&mounting(source, target, writable)).0, wanted, "{source} at {target}, {writable}");
    }
    let two =
        Run { mounts: [mounting("/workspace", "/x", false).mounts, mounting("/scratch", "/x/", true).mounts].concat(), ..run("busybox") };
    assert_eq!(stage.run(&two).0, "mount-place");
    for (sight, wanted) in
        [(Sight::File, "allow"), (Sight::Link, "mount-outside"), (Sight::Missing, "mount-outside"), (Sight::Other, "mount-outside")]
    {
        let decided = stage.rules().decide(&mounting("/workspace/src", "/x", false), &Sights(Some(vec![sight])));
        assert_eq!(told(decided).0, wanted, "{sight:?}");
    }
    assert_eq!(told(stage.rules().decide(&mounting("/workspace", "/x", false), &Sights(None))).0, "observe");
}

#[test]
fn remedies_are_exact() {
    let stage = Stage::new("run = [\"busybox\"], memory = \"64MiB\"");
    let remedy = |asked: &Run| stage.run(asked).1.unwrap();
    assert_eq!(remedy(&run("node:20")), "[stage.test.grants.docker]\nrun = [\"busybox\", \"node:20\"]");
    assert_eq!(remedy(&Run { memory: Some(128 << 20), ..run("busybox") }), "[stage.test.grants.docker]\nmemory = \"128MiB\"");
    assert_eq!(remedy(&Run { network: Network::Stage, ..run("busybox") }), "[stage.test.grants.docker]\nnetwork = \"stage\"");
    assert_eq!(remedy(&mounting("/workspace/src", "/x", true)), "[stage.test.grants]\nfiles = [{ path = \"src\", access = \"write\" }]");
    assert_eq!(stage.run(&mounting("/workspace/.git", "/x", true)).1, None);
}

#[test]
fn images() {
    let stage = Stage::new(
        "run = [\"node:20\"], push = [\"ghcr.io/acme/*:*\"], tag = [\"ghcr.io/acme/*:*\"], build = [\"local/app:*\"], save = [\"local/app:*\"], remove = [\"local/app:*\"]",
    );
    let digest = "ghcr.io/acme/shop@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let text = |text: &str| text.to_owned();
    for (wanted, decided) in [
        ("allow", stage.image(Inspect { reference: text("node:20") }, &[])),
        ("allow", stage.image(Inspect { reference: text("ghcr.io/acme/shop:1") }, &[])),
        ("not-granted", stage.image(Inspect { reference: text("redis") }, &[])),
        ("not-granted", stage.image(Pull { reference: text("node:20") }, &[])),
        ("allow", stage.image(Push { reference: text("ghcr.io/acme/shop:1") }, &[])),
        ("not-granted", stage.image(Push { reference: text("ghcr.io/evil/shop:1") }, &[])),
        ("not-granted", stage.image(Push { reference: text("acme/shop:1") }, &[])),
        ("not-granted", stage.image(Push { reference: text(digest) }, &[])),
        ("allow", stage.image(Tag { source: text("local/app:1"), target: text("ghcr.io/acme/shop:1") }, &[])),
        ("not-granted", stage.image(Tag { source: text("redis"), target: text("ghcr.io/acme/shop:1") }, &[])),
        ("not-granted", stage.image(Tag { source: text("local/app:1"), target: text("node:20") }, &[])),
        ("not-granted", stage.image(crate::effect::Remove { reference: text("node:20") }, &[])),
        ("observe", stage.image(Save { references: vec![text("local/app:1")], path: text("/scratch/a.tar") }, &[])),
        ("allow", stage.image(Save { references: vec![text("local/app:1")], path: text("/scratch/a.tar") }, &[Sight::Missing])),
        ("mount-outside", stage.image(Save { references: vec![text("local/app:1")], path: text("/scratch/a.tar") }, &[Sight::Link])),
        ("mount-outside", stage.image(Save { references: vec![text("local/app:1")], path: text("/workspace/a.tar") }, &[])),
        ("mount-outside", stage.image(Save { references: vec![text("local/app:1")], path: text("/etc/a.tar") }, &[])),
        ("not-granted", stage.image(Save { references: vec![text("node:20")], path: text("/scratch/a.tar") }, &[])),
    ] {
        assert_eq!(decided, wanted);
    }
}

#[test]
fn copies() {
    let stage = Stage::new("run = [\"busybox\"]");
    let decided = |way, here: &str, there: &str| {
        let copy = Copy { container: 1, way, here: here.into(), there: there.into(), mounted: vec!["/data".into()] };
        told(stage.rules().decide(&copy, &Sights(Some(vec![Sight::Folder])))).0
    };
    for (wanted, way, here, there) in [
        ("allow", Way::In, "/workspace/src", "/app"),
        ("allow", Way::Out, "/workspace/out", "/app"),
        ("allow", Way::Out, "/scratch", "/data/x"),
        ("mount-outside", Way::Out, "/workspace/src", "/app"),
        ("mount-outside", Way::In, "/etc", "/app"),
        ("mount-outside", Way::In, "/workspace/.runner/runs", "/app"),
        ("mount-place", Way::In, "/workspace/src", "app"),
        ("mount-place", Way::In, "/workspace/src", "/data"),
        ("mount-place", Way::In, "/workspace/src", "/data/x"),
        ("mount-place", Way::In, "/workspace/src", "/x/../data"),
        ("mount-place", Way::In, "/workspace/src", "/proc/1"),
        ("mount-place", Way::Out, "/scratch", "/proc/1/root"),
    ] {
        assert_eq!(decided(way, here, there), wanted, "{way:?} {here} {there}");
    }
}

fn build(tags: &[&str]) -> Build {
    Build {
        context: "/workspace".into(),
        dockerfile: String::new(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        build_args: Vec::new(),
        target: String::new(),
        labels: Vec::new(),
        platform: String::new(),
        network: false,
        cache_from: Vec::new(),
        cache_to: Vec::new(),
        no_cache: false,
        pull: false,
        timeout: None,
    }
}

#[test]
fn builds() {
    let stage =
        Stage::new("build = [\"local/app:*\"], from = [\"node:20\", \"https://dl.example/**\"], cache = [\"ghcr.io/acme/cache:*\"]");
    let decided = |build: &Build, text: &str, on_build: &[Option<&[&str]>]| {
        let brought = |brought: &Option<&[&str]>| brought.map(|list| list.iter().map(|text| (*text).to_owned()).collect());
        let engine = crate::effect::Bases { on_build: on_build.iter().map(brought).collect(), buildkit: true, documents: false };
        let scene = Scene { dockerfile: Some(Ok(text.to_owned())), engine: Some(Ok(engine)) };
        told(stage.rules().decide(build, &scene))
    };
    let plain = build(&["local/app:1"]);
    let none: &[Option<&[&str]>] = &[Some(&[])];
    for (wanted, build, text, on_build) in [
        ("allow", plain.clone(), "FROM node:20", none),
        ("build-source", plain.clone(), "FROM node:22", none),
        ("build-source", plain.clone(), "FROM node:20\nCOPY --from=evil / /", none),
        ("build-source", plain.clone(), "# syntax=docker/dockerfile:1\nFROM node:20", none),
        ("allow", plain.clone(), "FROM node:20\nADD https://dl.example/a.tgz /", none),
        ("build-source", plain.clone(), "FROM node:20\nADD https://dl.example.evil.example/a.tgz /", none),
        ("build-source", plain.clone(), "FROM node:20\nADD http://169.254.169.254/ /", none),
        ("build-source", plain.clone(), "FROM node:20\nADD git@github.com:a/b /", none),
        ("unresolved-source", plain.clone(), "FROM $X", none),
        ("unresolved-source", plain.clone(), "FROM node:20\nRUN <<EOF\nEOF", none),
        ("unresolved-source", plain.clone(), "FROM node:20", &[None]),
        ("build-source", plain.clone(), "FROM node:20", &[Some(&["COPY --from=evil / /"])]),
        ("unresolved-source", plain.clone(), "FROM node:20", &[Some(&["ADD $X /"])]),
        ("not-granted", build(&["node:20"]), "FROM node:20", none),
        ("build-network", Build { network: true, ..plain.clone() }, "FROM node:20", none),
        ("mount-outside", Build { context: "/".into(), ..plain.clone() }, "FROM node:20", none),
        ("mount-outside", Build { dockerfile: "../Dockerfile".into(), ..plain.clone() }, "FROM node:20", none),
        ("mount-outside", Build { dockerfile: "/etc/passwd".into(), ..plain.clone() }, "FROM node:20", none),
        ("mount-outside", Build { dockerfile: ".runner/x".into(), ..plain.clone() }, "FROM node:20", none),
        ("cache-place", Build { cache_to: vec!["ghcr.io/evil/cache:1".into()], ..plain.clone() }, "FROM node:20", none),
        ("cache-place", Build { cache_to: vec!["node:20".into()], ..plain.clone() }, "FROM node:20", none),
        ("allow", Build { cache_from: vec!["node:20".into()], ..plain.clone() }, "FROM node:20", none),
        ("allow", Build { cache_to: vec!["ghcr.io/acme/cache:main".into()], ..plain.clone() }, "FROM node:20", none),
        ("secret-place", Build { build_args: vec![("T".into(), PLACEHOLDER.into())], ..plain.clone() }, "FROM node:20", none),
        ("secret-place", Build { labels: vec![("t".into(), PLACEHOLDER.into())], ..plain.clone() }, "FROM node:20", none),
        (
            "build-source",
            Build { build_args: vec![("BUILDKIT_SYNTAX".into(), "docker/dockerfile".into())], ..plain.clone() },
            "FROM node:20",
            none,
        ),
        ("unresolved-source", Build { build_args: vec![("BUILDKIT_SYNTAX".into(), "evil".into())], ..plain.clone() }, "FROM node:20", none),
        ("unresolved-source", Build { build_args: vec![("BUILDKIT_X".into(), "1".into())], ..plain.clone() }, "FROM node:20", none),
        ("not-granted", Build { labels: vec![("dev.runner.run".into(), "x".into())], ..plain.clone() }, "FROM node:20", none),
        ("unresolved-source", Build { platform: "linux/amd64&x=1".into(), ..plain.clone() }, "FROM node:20", none),
    ] {
        assert_eq!(decided(&build, text, on_build).0, wanted, "{build:?} {text}");
    }
    assert_eq!(
        decided(&plain, "FROM node:22", none).1.unwrap(),
        "[stage.test.grants.docker]\nfrom = [\"node:20\", \"https://dl.example/**\", \"node:22\"]"
    );
    let first = stage.rules().decide(&plain, &Scene::default());
    assert!(matches!(first, Decision::Observe(BuildLook::Dockerfile(place)) if place.to_string() == "/workspace/Dockerfile"));
}
