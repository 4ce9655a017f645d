//! The Kubernetes cluster that `tests/engines/kubernetes` names, or that a user named to it. The tests of the crate `kubernetes` have this file too.
//!
//! It is looked for in `PIPELINE_TEST_KUBERNETES` alone: the `KUBECONFIG` of whoever runs the tests may lead to a cluster that matters.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A cluster that tests share, each in namespaces of its own.
pub struct Cluster {
    kubeconfig: String,
    audit: Option<PathBuf>,
    /// Ends with the file.
    _turn: File,
}

/// Gone, with all that is in it, when it is dropped.
pub struct Namespace<'c> {
    cluster: &'c Cluster,
    name: String,
}

/// Over when it is dropped.
pub struct Outage<'c> {
    cluster: &'c Cluster,
    part: &'static str,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// Beside other tests, or alone: who restarts a part of the cluster, or takes its whole capacity, is alone.
    pub fn find(alone: bool) -> Result<Cluster, String> {
        let kubeconfig = std::env::var("PIPELINE_TEST_KUBERNETES").map_err(|_| "PIPELINE_TEST_KUBERNETES is not set".to_owned())?;
        let turn = std::env::temp_dir().join("runner-test-kubernetes.lock");
        let turn = File::options().create(true).truncate(false).write(true).open(turn).map_err(|error| error.to_string())?;
        if alone { turn.lock() } else { turn.lock_shared() }.map_err(|error| error.to_string())?;
        let audit = std::env::var_os("PIPELINE_TEST_KUBERNETES_AUDIT").map(PathBuf::from);
        Ok(Cluster { kubeconfig, audit, _turn: turn })
    }

    /// What `KUBECONFIG` is to be: somebody who may do everything.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .arg("--cache-dir")
            .arg(std::env::temp_dir().join("runner-test-kubectl"))
            .args(arguments);
        command
    }

    /// What a command of `kubectl` prints, which must succeed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// How a command of `kubectl` ends.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.kubectl(arguments).output().expect("kubectl starts")
    }

    pub fn namespace(&self, purpose: &str) -> Namespace<'_> {
        let name = format!("{purpose}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        self.run(&["create", "namespace", &name]);
        let namespace = Namespace { cluster: self, name };
        // without it no Pod is admitted, and controllers that have lost their server make it in their own time
        let began = Instant::now();
        while !self.output(&["--namespace", &namespace.name, "get", "serviceaccount", "default"]).status.success() {
            assert!(began.elapsed() < Duration::from_secs(60), "{} has no account for its Pods", namespace.name);
            sleep(Duration::from_millis(100));
        }
        namespace
    }

    /// What the cluster was asked until now in requests whose audit holds these words, such as a namespace or a user: one for each answer, reads and refusals
    /// and dry runs too. None if the cluster is the user's own, which keeps its log to itself.
    pub fn audited(&self, words: &str) -> Option<Vec<Value>> {
        let audit = self.audit.as_ref()?;
        // lines may be written a moment after the answer was; in the order of the answers
        let marker = format!("until-here-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        self.output(&["get", "configmap", &marker, "--namespace", "default"]);
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(audit).expect("the audit log");
            if let Some((before, _)) = text.split_once(&marker) {
                let whole = before.rsplit_once('\n').map_or("", |(whole, _)| whole).lines();
                return Some(whole.filter(|line| line.contains(words)).map(|line| serde_json::from_str(line).expect("JSON")).collect());
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{} does not say what was asked", audit.display());
            sleep(Duration::from_millis(20));
        }
    }

    /// A part, such as `apiserver`, dies as if the power had gone, and is back when this is dropped. None if the cluster is the user's own.
    pub fn without(&self, part: &'static str) -> Option<Outage<'_>> {
        self.part("stop", part).then_some(Outage { cluster: self, part })
    }

    fn part(&self, verb: &str, part: &str) -> bool {
        let output = Command::new(engines().join("kubernetes")).args([verb, part]).env("KUBECONFIG", &self.kubeconfig).output();
        let output = output.expect("the script starts");
        assert!(output.status.success() || self.audit.is_none(), "{verb} {part}: {}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        self.cluster.part("start", self.part);
    }
}

impl Namespace<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a command of `kubectl` in this namespace prints, which must succeed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        self.cluster.run(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Applies manifests, in YAML.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        let mut command = self.cluster.kubectl(&["--namespace", &self.name, "apply", "--filename", "-"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
        process.stdin.take().expect("a pipe").write_all(manifests.as_bytes()).expect("it reads");
        let output = process.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}\n{manifests}", String::from_utf8_lossy(&output.stderr));
    }

    /// A Deployment of `runner-test/service` with this tag, and a Service of the same name, port 80, whose Pods Prometheus scrapes. `track` is a label of the
    /// Pods that the Service does not look at. Waits until all are available.
    #[track_caller]
    pub fn serve(&self, name: &str, track: &str, tag: &str, replicas: u32) {
        self.apply(&format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name}-{track} }}
spec:
  replicas: {replicas}
  progressDeadlineSeconds: 45
  selector: {{ matchLabels: {{ app: {name}, track: {track} }} }}
  strategy: {{ rollingUpdate: {{ maxSurge: 1, maxUnavailable: 0 }} }}
  template:
    metadata:
      labels: {{ app: {name}, track: {track} }}
      annotations: {{ prometheus.io/scrape: \"true\", prometheus.io/port: \"8080\" }}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: {name}
          image: runner-test/service:{tag}
          ports: [{{ name: http, containerPort: 8080, protocol: TCP }}]
          readinessProbe: {{ httpGet: {{ path: /health/ready, port: http }}, periodSeconds: 1 }}
          livenessProbe: {{ httpGet: {{ path: /health, port: http }}, periodSeconds: 2 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: {name} }}
spec: {{ selector: {{ app: {name} }}, ports: [{{ name: http, port: 80, targetPort: http, protocol: TCP }}] }}
"
        ));
        self.run(&["rollout", "status", &format!("deployment/{name}-{track}"), "--timeout=120s"]);
    }

    /// `10.96.17.4`, which this machine reaches if the cluster is the one that was started for tests.
    pub fn address(&self, service: &str) -> String {
        self.run(&["get", "service", service, "--output", "jsonpath={.spec.clusterIP}"])
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        self.cluster.output(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// The scripts that start engines.
pub fn engines() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("tests/engines")).find(|folder| folder.is_dir());
    folder.expect("the repository")
}
