//! The engines that `tests/engines` starts: Docker, registries for images, Kubernetes, Prometheus.
//!
//! Where there is none the test is skipped with a word on how to get it, or fails if `PIPELINE_TEST_REQUIRE_ENGINES` says that
//! everything must be there. Nothing here starts or stops a Docker engine or a cluster: it may be the user's own.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::Cluster;

/// A Docker engine that is this test's alone, also among other test programs, until the value is dropped. If anything is left behind
/// then, the test fails.
pub struct Docker {
    before: Listing,
    _turn: File,
}

/// One line for each container, network, volume and image without a name.
type Listing = BTreeSet<String>;

/// The engine, once all tests before this one are done with it.
pub fn docker(test: &str) -> Option<Docker> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match Command::new("docker").args(["image", "inspect", "runner-test/busybox:1"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(why) => Err(format!("the program docker: {why}")),
    });
    if let Err(why) = found {
        missing(test, "Docker", why, "`tests/engines/docker up`");
        return None;
    }
    // Tests compare what is there before and after. The lock ends with the file.
    let turn = File::create(std::env::temp_dir().join("runner-test-docker.lock")).expect("a file in the folder for temporary files");
    turn.lock().expect("a lock");
    Some(Docker { before: listing(), _turn: turn })
}

impl Docker {
    /// What a command of the `docker` program prints, which must succeed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// How a command of the `docker` program ends.
    pub fn output(&self, arguments: &[&str]) -> Output {
        Command::new("docker").args(arguments).output().expect("docker starts")
    }

    /// The containers, networks, volumes and images without a name that were not there when the test began.
    pub fn left(&self) -> Vec<String> {
        listing().difference(&self.before).cloned().collect()
    }

    /// Fails if anything is left behind ten seconds from now: the engine removes in its own time, and what others start and end
    /// meanwhile is not this test's.
    #[track_caller]
    pub fn nothing_left(&self) {
        let began = Instant::now();
        let mut left = self.left();
        while !left.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10), "left behind: {left:#?}");
            sleep(Duration::from_millis(100));
            let now = self.left();
            left.retain(|line| now.contains(line));
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_left();
        }
    }
}

fn listing() -> Listing {
    let lists: [&[&str]; 4] = [
        // labels may have lines of their own
        &[
            "ps",
            "--all",
            "--no-trunc",
            "--format",
            "container {{.ID}} {{.Names}} {{.Image}} {{if .Label \"io.kubernetes.pod.uid\"}}io.kubernetes.pod.uid{{else}}{{.Labels}}{{end}}",
        ],
        &["network", "ls", "--no-trunc", "--format", "network {{.ID}} {{.Name}} {{.Labels}}"],
        &["volume", "ls", "--format", "volume {{.Name}} {{.Labels}}"],
        &["image", "ls", "--no-trunc", "--filter", "dangling=true", "--format", "image {{.ID}}"],
    ];
    let lines = |arguments: &&[&str]| {
        let output = Command::new("docker").args(*arguments).output().expect("docker starts");
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        // a kubelet makes and removes Pods when it likes: those are not this test's
        let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
        lines.into_iter().filter(|line| !line.contains("io.kubernetes.pod.uid"))
    };
    lists.iter().flat_map(lines).collect()
}

/// `127.0.0.1:5000`, the registry that all tests share: they push to repositories with names of their own.
pub fn image_registry(test: &str) -> Option<String> {
    let address = std::env::var("PIPELINE_TEST_REGISTRY").ok();
    if address.is_none() {
        let how = "`tests/engines/registry up`, then `eval \"$(tests/engines/registry env)\"`";
        missing(test, "a registry for images", "PIPELINE_TEST_REGISTRY is not set", how);
    }
    address
}

/// A registry of the test's own, which can be stopped and started again at the same address. What was pushed to it stays.
pub struct ImageRegistry {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl ImageRegistry {
    /// A registry that answers and holds nothing.
    pub fn start(test: &str) -> Option<ImageRegistry> {
        if let Err(why) = Command::new("docker-registry").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            missing(test, "the program docker-registry", &why.to_string(), "`tests/engines/registry up`");
            return None;
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        let mut registry = ImageRegistry { port, folder: tempfile::tempdir().expect("a folder"), process: None };
        drop(free);
        registry.resume();
        Some(registry)
    }

    /// `127.0.0.1:41234`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on connections are refused.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is ours");
            process.wait().expect("it ends");
        }
    }

    /// Starts it again, and waits until it answers.
    pub fn resume(&mut self) {
        let config = self.folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {:?} }}\n  delete: {{ enabled: true }}\nhttp: {{ addr: \"{}\" }}\n",
            self.folder.path().join("data"),
            self.address(),
        );
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("docker-registry starts"));
        let began = Instant::now();
        while TcpStream::connect(self.address()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the registry does not answer at {}", self.address());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The cluster that tests share.
pub fn cluster(test: &str) -> Option<Cluster> {
    found(test, Cluster::find(false))
}

/// The same, once all tests before this one are done with it, and with no others beside.
pub fn cluster_alone(test: &str) -> Option<Cluster> {
    found(test, Cluster::find(true))
}

fn found(test: &str, cluster: Result<Cluster, String>) -> Option<Cluster> {
    let how = "`tests/engines/kubernetes up`, then `eval \"$(tests/engines/kubernetes env)\"`";
    cluster.map_err(|why| missing(test, "a Kubernetes cluster", &why, how)).ok()
}

/// `http://127.0.0.1:9090`, which has the metrics of all Pods of the cluster that ask for it.
pub fn prometheus(test: &str) -> Option<String> {
    let url = std::env::var("PIPELINE_TEST_PROMETHEUS").ok();
    if url.is_none() {
        let how = "`tests/engines/prometheus up`, then `eval \"$(tests/engines/prometheus env)\"`";
        missing(test, "Prometheus", "PIPELINE_TEST_PROMETHEUS is not set", how);
    }
    url
}

fn missing(test: &str, what: &str, why: &str, how: &str) {
    let why = format!("{test} needs {what} ({why}): {how}");
    assert!(std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{why}");
    crate::skipped(&why);
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::Prometheus;

    #[test]
    fn what_a_test_leaves_behind_fails_it() {
        let Some(docker) = docker("leftovers") else { return };
        let volume = format!("runner-test-leftover-{}", std::process::id());
        docker.run(&["volume", "create", "--label", "kept=yes", &volume]);
        let container = docker.run(&["create", "--network", "none", "runner-test/busybox:1", "true"]);
        let left = docker.left();
        assert!(left.iter().any(|line| line.starts_with(&format!("container {container} "))), "{left:?}");
        assert!(left.iter().any(|line| *line == format!("volume {volume} kept=yes")), "{left:?}");
        let message = catch_unwind(AssertUnwindSafe(|| docker.nothing_left())).expect_err("something is left");
        assert!(message.downcast_ref::<String>().is_some_and(|m| m.contains("left behind") && m.contains(&container)));
        docker.run(&["rm", &container]);
        docker.run(&["volume", "rm", &volume]);
        docker.nothing_left();
    }

    #[test]
    fn a_registry_keeps_its_images_while_it_is_stopped() {
        let Some(docker) = docker("a stopped registry") else { return };
        let Some(mut registry) = ImageRegistry::start("a stopped registry") else { return };
        let image = format!("{}/kept:1", registry.address());
        docker.run(&["tag", "runner-test/busybox:1", &image]);
        docker.run(&["push", "--quiet", &image]);
        docker.run(&["image", "rm", &image]);
        registry.stop();
        assert!(!docker.output(&["pull", "--quiet", &image]).status.success(), "nobody answers");
        registry.resume();
        docker.run(&["pull", "--quiet", &image]);
        docker.run(&["image", "rm", &image]);
    }

    #[test]
    fn a_cluster_says_what_it_was_asked() {
        let Some(cluster) = cluster("an audit") else { return };
        let namespace = cluster.namespace("audited");
        namespace.run(&["create", "configmap", "tried", "--dry-run=server"]);
        namespace.run(&["create", "configmap", "made"]);
        namespace.run(&["create", "secret", "generic", "kept", "--from-literal=word=unspoken"]);
        let Some(asked) = cluster.audited(namespace.name()) else { return };
        let made = |name: &str| {
            let of = asked.iter().filter(|one| one["verb"] == "create" && one["requestObject"]["metadata"]["name"] == name);
            of.map(|one| one["requestURI"].as_str().expect("a URI").contains("dryRun=All")).collect::<Vec<_>>()
        };
        assert_eq!((made("tried"), made("made")), (vec![true], vec![false]), "{asked:#?}");
        assert!(asked.iter().any(|one| one["objectRef"]["resource"] == "secrets"), "{asked:#?}");
        assert!(!asked.iter().any(|one| one.to_string().contains("unspoken")), "a secret is in the log");
    }

    #[test]
    fn a_prometheus_that_is_stopped_sees_nothing_meanwhile() {
        let Some(cluster) = cluster("a stopped Prometheus") else { return };
        let Some(mut prometheus) = Prometheus::start("a stopped Prometheus") else { return };
        let namespace = cluster.namespace("scraped");
        namespace.serve("api", "stable", "1", 1);
        let up = format!("up{{namespace=\"{}\",app=\"api\",track=\"stable\"}}", namespace.name());
        let began = Instant::now();
        while prometheus.query(&up).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "its Pod is not seen");
            sleep(Duration::from_millis(200));
        }
        prometheus.stop();
        assert!(TcpStream::connect(prometheus.url().trim_start_matches("http://")).is_err());
        prometheus.resume();
        assert!(!prometheus.query(&format!("max_over_time({up}[1m])")).is_empty(), "what it saw is kept");
    }
}
