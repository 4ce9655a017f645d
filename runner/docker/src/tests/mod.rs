//! What is true only against a real engine. Each test owns what it makes by labels of its own, and ends by showing that nothing of it is left:
//! others use the same engine at the same time.

#![allow(clippy::print_stderr)] // that is how a test says that it was skipped

mod containers;
mod images;
mod outage;
mod pods;
mod services;
mod sweeping;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder};
use futures::StreamExt;

use crate::endpoint::{Address, Endpoint};
use crate::{Container, ContainerSpec, Ended, Engine, Output, Owner, Printed};

const BUSYBOX: &str = "runner-test/busybox:1";

/// An engine, and whose things a test makes in it.
struct Scene {
    engine: Engine,
    owner: Owner,
}

/// None: the test can't be run here, which it has said.
async fn scene(test: &str) -> Option<Scene> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let missing = match Engine::connect(None).await {
        Err(error) => error.to_string(),
        Ok(engine) => match engine.image(BUSYBOX).await {
            Ok(Some(_)) => {
                let run = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
                return Some(Scene { engine, owner: Owner { run, stage: test.to_owned(), attempt: 1, process: Owner::this_process() } });
            }
            Ok(None) => format!("the engine has no image {BUSYBOX}"),
            Err(error) => error.to_string(),
        },
    };
    skip(test, &format!("{missing}. Get one with `tests/engines/docker up`"));
    None
}

fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{test}: {why}");
    eprintln!("skipped: {test}: {why}");
}

impl Scene {
    async fn run(&self, spec: ContainerSpec) -> Container {
        self.engine.run(&self.owner, &spec).await.unwrap()
    }

    /// What a script prints to both outputs, and how it ended.
    async fn says(&self, spec: ContainerSpec) -> (String, String, Ended) {
        let container = self.run(spec).await;
        let (out, err) = read(container.output().unwrap()).await;
        let ended = container.wait().await.unwrap();
        container.remove().await.unwrap();
        (out, err, ended)
    }

    /// What the engine has of this test's.
    async fn left(&self) -> Vec<String> {
        let filter = self.owner.filter();
        let docker = &self.engine.docker;
        let containers =
            docker.list_containers(Some(ListContainersOptionsBuilder::new().all(true).filters(&filter).build())).await.unwrap();
        let networks = docker.list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filter).build())).await.unwrap();
        let volumes = docker.list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filter).build())).await.unwrap();
        let containers = containers.into_iter().map(|found| format!("container {:?} {:?}", found.names, found.status));
        let networks = networks.into_iter().map(|found| format!("network {:?}", found.name));
        let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|found| format!("volume {}", found.name));
        containers.chain(networks).chain(volumes).collect()
    }

    async fn end(self) {
        assert_eq!(self.left().await, Vec::<String>::new());
    }

    /// What is dropped is removed in the background.
    async fn end_soon(self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.left().await.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.end().await;
    }
}

fn sh(script: &str) -> ContainerSpec {
    ContainerSpec {
        image: BUSYBOX.to_owned(),
        entrypoint: Some(vec!["/bin/sh".to_owned()]),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        ..ContainerSpec::default()
    }
}

async fn read(mut output: Output) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        match piece.unwrap() {
            (Printed::Stdout, bytes) => out.extend_from_slice(&bytes),
            (Printed::Stderr, bytes) => err.extend_from_slice(&bytes),
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Waits for a line of a container's output.
async fn line(output: &mut Output, wanted: &str) {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let piece = tokio::time::timeout(Duration::from_secs(30), output.next()).await.expect("it prints in time");
        seen.push_str(&String::from_utf8_lossy(&piece.expect("it goes on").unwrap().1));
    }
}

fn socket(path: PathBuf) -> Endpoint {
    Endpoint { address: Address::Unix(path), from: "the test".to_owned() }
}

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
