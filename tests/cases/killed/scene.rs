//! The pipelines that are killed, one trial of one, and what it leaves.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use capability::log::Recorded;
use end_to_end::world::{Happened, World};
use end_to_end::{Cluster, Finished, Namespace, Project, guest, processes};
use event::{Outcome, Stream};
use journal::{Class, LineVerdict, Reader};
use serde_json::Value;

use crate::RUNNER;

/// A pipeline of stages that are the guest `durable`.
pub struct Scene<'c> {
    pub name: &'static str,
    stages: &'static [Stage],
    /// Where a stage is granted a cluster.
    tools: Option<&'c Tools<'c>>,
}

struct Stage {
    name: &'static str,
    /// Further lines of its table.
    head: &'static str,
    parts: &'static [&'static str],
    /// Its `commands` grant.
    commands: &'static str,
    engine: Engine,
}

/// What of the machine's it is granted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    None,
    /// For the scene's repository.
    Docker,
    /// For a namespace of the trial's own, and a Pod that all share.
    Kubernetes,
}

const SHELL: &str = "commands = { in = \"process\", toolchain = \"system\", programs = [\"sh\"] }";
const SHELL_AGAIN: &str = "commands = { in = \"process\", toolchain = \"system\", programs = [\"sh\", \"perl\"], repeatable = true }";
const STATE: &str = "artifacts = { state = { paths = [\"work/state.txt\"] } }";

pub const ONCE: Scene<'static> = Scene {
    name: "once",
    tools: None,
    stages: &[
        Stage { name: "before", head: "", parts: &["wasi-http"], commands: "", engine: Engine::None },
        Stage {
            name: "once",
            head: "needs = [\"before\"]\nartifacts = { state = { paths = [\"work/state.txt\"] } }",
            parts: &["chance", "files", "http", "wasi-http", "once", "state"],
            commands: SHELL,
            engine: Engine::None,
        },
        Stage { name: "after", head: "consumes = [\"once.state\"]", parts: &["handed"], commands: "", engine: Engine::None },
    ],
};

pub const AGAIN: Scene<'static> = Scene {
    name: "again",
    tools: None,
    stages: &[
        Stage { name: "before", head: STATE, parts: &["state"], commands: "", engine: Engine::None },
        Stage {
            name: "again",
            head: "needs = [\"before\"]\nworkspace = \"shared\"",
            parts: &["repeatable", "http", "state"],
            commands: SHELL_AGAIN,
            engine: Engine::None,
        },
        Stage {
            name: "after",
            head: "needs = [\"again\"]\nconsumes = [\"before.state\"]",
            parts: &["handed"],
            commands: "",
            engine: Engine::None,
        },
    ],
};

pub const BESIDE: Scene<'static> = Scene {
    name: "beside",
    tools: None,
    stages: &[
        Stage { name: "left", head: STATE, parts: &["http", "files", "chance", "state"], commands: "", engine: Engine::None },
        Stage { name: "right", head: STATE, parts: &["files", "chance", "http", "state"], commands: "", engine: Engine::None },
        Stage {
            name: "after",
            head: "needs = [\"right\"]\nconsumes = [\"left.state\"]",
            parts: &["handed"],
            commands: "",
            engine: Engine::None,
        },
    ],
};

/// The scene's images are all called this, in the registry of the tests.
pub const IMAGES: Scene<'static> = Scene {
    name: "images",
    tools: None,
    stages: &[
        Stage { name: "images", head: STATE, parts: &["docker", "state"], commands: "", engine: Engine::Docker },
        Stage { name: "after", head: "consumes = [\"images.state\"]", parts: &["handed"], commands: "", engine: Engine::None },
    ],
};

/// What is written is in a namespace of the trial's own.
pub const CLUSTER: Scene<'static> = Scene {
    name: "cluster",
    tools: None,
    stages: &[
        Stage { name: "cluster", head: STATE, parts: &["kubernetes", "state"], commands: "", engine: Engine::Kubernetes },
        Stage { name: "after", head: "consumes = [\"cluster.state\"]", parts: &["handed"], commands: "", engine: Engine::None },
    ],
};

/// Its Pods fit no node, so that nothing is started.
const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 0
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { nodeSelector: { runner-test: none }, containers: [{ name: web, image: none }] }
";

/// A Pod that runs until it is taken away.
const BOX: &str = "apiVersion: v1
kind: Pod
metadata: { name: box }
spec:
  terminationGracePeriodSeconds: 0
  containers: [{ name: box, image: runner-test/busybox:1, imagePullPolicy: Never, command: [sh, -c, 'echo started; sleep 36000'] }]
";

/// The cluster that a scene is tried in, with a Pod that all its trials enter.
pub struct Tools<'c> {
    cluster: &'c Cluster,
    home: Namespace<'c>,
}

impl<'c> Tools<'c> {
    pub fn of(cluster: &'c Cluster) -> Tools<'c> {
        let home = cluster.namespace("killed-tools");
        home.apply(BOX);
        home.run(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]);
        Tools { cluster, home }
    }

    /// A namespace of a trial's own.
    fn begin(&self) -> Namespace<'c> {
        let own = self.cluster.namespace("killed");
        own.apply(WEB);
        own
    }

    fn pod(&self) -> String {
        format!("{}/box", self.home.name())
    }

    fn grant(&self, stage: &str, own: &str) -> String {
        let home = self.home.name();
        format!(
            "\n[stage.{stage}.grants.kubernetes]\nnamespace = \"{own}\"\nrules = [\n\
             {{ resources = [\"configmaps\"], names = [\"made\", \"applied\"], verbs = [\"get\", \"list\", \"create\", \"patch\", \"delete\"] }},\n\
             {{ resources = [\"deployments\"], names = [\"web\"], verbs = [\"get\", \"watch\", \"patch\"], fields = {{ \"spec.replicas\" = {{ max = 3 }}, \"spec.paused\" = {{}}, \
             \"spec.template.metadata.annotations\" = {{}} }} }},\n\
             {{ namespaces = [\"{home}\"], resources = [\"pods/log\"], verbs = [\"get\"] }},\n\
             {{ namespaces = [\"{home}\"], resources = [\"pods/exec\", \"pods/portforward\"], verbs = [\"create\"] }},\n]\n"
        )
    }
}

/// A server that answers everybody with `hello`.
const SERVER: &str = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in(8099, INADDR_LOOPBACK)) && listen($s, 9) or die;
while (accept(my $c, $s)) {
  while (my $line = <$c>) { last if $line =~ /^\\r?$/ }
  print $c \"HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\nconnection: close\\r\\n\\r\\nhello\"; close $c }
";

impl<'c> Scene<'c> {
    /// With the cluster that it needs.
    pub fn in_cluster(self, tools: &'c Tools<'c>) -> Scene<'c> {
        Scene { tools: Some(tools), ..self }
    }

    fn engine(&self) -> Engine {
        self.stages.iter().map(|stage| stage.engine).find(|engine| *engine != Engine::None).unwrap_or(Engine::None)
    }

    /// Whether runs are killed at this effect: with an engine each takes seconds, and the others are tried without one.
    pub fn tries(&self, what: &str) -> bool {
        match self.engine() {
            Engine::None => true,
            Engine::Docker => what.starts_with("docker."),
            Engine::Kubernetes => what.starts_with("kubernetes."),
        }
    }

    fn pipeline(&self, server: &str, marker: &str, namespace: &str) -> String {
        let pod = self.tools.map(Tools::pod).unwrap_or_default();
        let mut text = "format = 1\nname = \"killed\"\n".to_owned();
        for Stage { name, head, parts, commands, engine } in self.stages {
            let own = format!("{{ url = \"{server}/{name}/**\", methods = [\"GET\", \"PUT\", \"DELETE\", \"POST\"], private = true }}");
            let images = format!("{}/killed/{marker}", std::env::var("PIPELINE_TEST_REGISTRY").unwrap_or_default());
            let app = "{ url = \"http://app.stage:8099/**\", methods = [\"GET\"] }";
            write!(
                text,
                "\n[stage.{name}]\nuses = \"./durable.wasm\"\nenv = {{ MARKER = \"{marker}\" }}\n{head}\n\n\
                 [stage.{name}.with]\nserver = \"{server}\"\nrepository = \"{images}\"\npod = \"{pod}\"\nparts = {parts:?}\n\n[stage.{name}.grants]\n\
                 files = [{{ path = \"work\", access = \"write\" }}, {{ path = \"given\", access = \"read\" }}]\n\
                 http = [{own}, {app}]\n{commands}\n"
            )
            .expect("writing to a string");
            if let Some(tools) = self.tools.filter(|_| *engine == Engine::Kubernetes) {
                text.push_str(&tools.grant(name, namespace));
            }
            if *engine == Engine::Docker {
                writeln!(text, "\n[stage.{name}.grants.docker]\nfrom = [\"runner-test/busybox:1\"]\nmemory = \"64MiB\"")
                    .expect("writing to a string");
                for key in ["build", "run", "tag", "save", "push", "pull", "remove"] {
                    writeln!(text, "{key} = [\"{images}:*\"]").expect("writing to a string");
                }
            }
        }
        text
    }
}

/// When a runner is killed; see `cli/src/fault.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    Between,
    After,
}

impl Moment {
    pub fn name(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::Between => "between",
            Moment::After => "after",
        }
    }
}

/// An effect of a run, and a moment of it.
#[derive(Debug, Clone)]
pub struct Point {
    pub number: u64,
    pub moment: Moment,
    pub what: String,
    pub subject: String,
    /// It must not happen twice, or tells how something that must not ended: every moment of it counts.
    pub delicate: bool,
}

impl Point {
    /// For `PIPELINE_FAULT`.
    pub fn fault(&self) -> String {
        format!("{}:{}", self.moment.name(), self.number)
    }
}

/// A project, the world around it, and the one run of it.
pub struct Trial<'c> {
    project: Project,
    world: World,
    marker: String,
    scene: &'static [Stage],
    engine: Engine,
    /// Gone with the trial.
    _namespace: Option<Namespace<'c>>,
}

/// No run is resumed more often.
const RESUMES: usize = 6;

impl<'c> Trial<'c> {
    pub fn new(scene: &Scene<'c>) -> Trial<'c> {
        let (world, marker) = (World::start(), processes::marker());
        let namespace = scene.tools.map(Tools::begin);
        let kubeconfig = scene.tools.map_or("", |tools| tools.cluster.kubeconfig());
        let own = namespace.as_ref().map(Namespace::name).unwrap_or_default();
        let given: String = (0..1000).fold(String::new(), |text, i| text + &format!("line {i}\n"));
        let project = Project::new(RUNNER)
            .file("durable.wasm", fs::read(guest("durable")).expect("the guest is built"))
            .file("given/text.txt", given)
            .file("given/serve.pl", SERVER)
            .file("given/image/Dockerfile", "FROM runner-test/busybox:1\nCOPY given.txt /\n")
            .file("given/image/given.txt", format!("of {marker}\n"))
            .file("work/given.txt", "from the checkout\n")
            .file("pipeline.toml", scene.pipeline(&world.url(), &marker, own))
            .env("KUBECONFIG", kubeconfig);
        Trial { project, world, marker, scene: scene.stages, engine: scene.engine(), _namespace: namespace }
    }

    pub fn exec(&self, fault: Option<&str>) -> Finished {
        self.run_faulty(fault, &["exec", "--format", "plain", "--jobs", "2"])
    }

    /// Waits as well until nothing of it is left.
    fn run_faulty(&self, fault: Option<&str>, arguments: &[&str]) -> Finished {
        let fault = format!("PIPELINE_FAULT={}", fault.unwrap_or(""));
        let finished = self.project.start_through(&["env", &fault], arguments).finish();
        // containers are the engine's, and run on until the next runner has them
        if self.engine != Engine::Docker {
            processes::wait_for_none_within(self.project.path());
        }
        finished
    }

    /// Resumes until the run is over, the first time with a fault. Answers how often something was in doubt.
    pub fn go_on(&self, fault: Option<&str>, number: usize) -> Result<u32, String> {
        let (mut doubts, mut choice) = (0, None);
        for nth in 0..RESUMES {
            let mut arguments = vec!["resume", "--format", "json"];
            arguments.extend(choice.map(|choice| ["--in-doubt", choice]).into_iter().flatten());
            let fault = fault.filter(|_| nth == 0);
            let finished = self.run_faulty(fault, &arguments);
            match finished.code {
                0 => return Ok(doubts),
                8 => {
                    doubts += 1;
                    choice = Some(self.choose(&finished, number)?);
                }
                137 if fault.is_some() => choice = None,
                // it had come to its end when it was killed for the second time
                2 if nth > 0 && finished.stderr.contains("no run waits") => return Ok(doubts),
                code => return Err(format!("resume {nth} ended with {code}\n{}\n{}", short(&finished.stdout), finished.stderr)),
            }
        }
        Err(format!("not over after {RESUMES} resumes"))
    }

    /// Looks whether what is in doubt has happened. To leave it is always right, since the stage looks as well; to do it only where it did not
    /// happen.
    fn choose(&self, finished: &Finished, number: usize) -> Result<&'static str, String> {
        let mut happened = false;
        let events = finished.events();
        let mut doubtful = events.iter().filter(|event| event["event"] == "stage-suspended").peekable();
        if doubtful.peek().is_none() {
            return Err(format!("exit code 8, and nothing is in doubt\n{}", finished.stdout));
        }
        for event in doubtful {
            let subject = event["subject"].as_str().unwrap_or_default();
            happened |= match event["effect"].as_str() {
                Some("http.request") => self.world.has(subject),
                // what is swept meanwhile has run or has not, as a command
                Some("commands.start" | "docker.run" | "docker.exec") => {
                    let line = subject.split("echo ").nth(1).and_then(|rest| rest.split(' ').next());
                    line.is_some_and(|line| self.lines(&event["stage"]).lines().any(|one| one == line))
                }
                // the stage runs it again if it hears that it was cut off
                Some("kubernetes.exec") => false,
                _ => return Err(format!("nothing else should be in doubt: {event}")),
            };
        }
        Ok(if happened || number.is_multiple_of(2) { "skip" } else { "retry" })
    }

    /// What the commands of a stage have written so far.
    fn lines(&self, stage: &Value) -> String {
        let attempt = format!("{}.1", stage.as_str().unwrap_or_default());
        fs::read_to_string(self.run().join("work").join(attempt).join("workspace").join("work").join("lines.txt")).unwrap_or_default()
    }

    /// The folder of the run.
    fn run(&self) -> PathBuf {
        let mut runs: Vec<PathBuf> = entries(&self.project.path().join(".runner/runs"));
        assert_eq!(runs.len(), 1, "one run: {runs:?}");
        runs.remove(0)
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.run()).expect("the journal can be read")
    }

    /// The last of its effects that is recorded.
    pub fn cut_at(&self) -> String {
        let mut last = String::new();
        self.reader().lines(None, &mut |line| last = line.what).expect("the journal can be read");
        last
    }

    /// Every point at which the run could have been killed.
    pub fn points(&self) -> Vec<Point> {
        let (mut points, mut number) = (Vec::new(), 0);
        let mut add = |line: journal::Line| {
            number += 1;
            let moments: &[Moment] = match line.verdict {
                LineVerdict::Granted { .. } => &[Moment::Before, Moment::Between, Moment::After],
                _ => &[Moment::Between, Moment::After],
            };
            let delicate = matches!(line.verdict, LineVerdict::Granted { class: Class::Once, .. })
                || line.what.starts_with("commands.")
                || line.what == "docker.exit";
            let (what, subject) = (&line.what, &line.subject);
            let point = |moment: &Moment| Point { number, moment: *moment, what: what.clone(), subject: subject.clone(), delicate };
            points.extend(moments.iter().map(point));
        };
        self.reader().lines(None, &mut add).expect("the journal can be read");
        points
    }

    /// What the run left, in the record and in the world.
    pub fn left(&self) -> Result<Left, String> {
        let run = self.run();
        let work = entries(&run.join("work"));
        if !work.is_empty() {
            return Err(format!("folders of stages are left: {work:?}"));
        }
        let running = processes::with(&self.marker);
        if !running.is_empty() {
            return Err(format!("processes are left: {running:?}"));
        }
        let mut left = Left::default();
        for attempt in self.reader().attempts().map_err(|error| error.to_string())? {
            let stage = attempt.begin.stage.as_str().to_owned();
            let Some(end) = attempt.end else { return Err(format!("{stage} has no end")) };
            let artifacts = end.artifacts.iter().map(|artifact| format!("{} {}", artifact.name, artifact.digest)).collect();
            left.stages.push(Ended {
                stage: stage.clone(),
                attempt: attempt.begin.attempt,
                outcome: end.outcome,
                outputs: end.outputs,
                artifacts,
            });
            let (mut printed, mut commands) = (String::new(), Vec::new());
            let log = Recorded::open(&run.join(format!("logs/{stage}.1.log"))).map_err(|error| error.to_string())?;
            let mut log = log.ok_or_else(|| format!("{stage} has no log"))?;
            while let Some((stream, bytes)) = log.next_piece().map_err(|error| error.to_string())? {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                match stream {
                    Stream::Stage => printed.push_str(&text),
                    Stream::Command(_) => commands.extend(text.lines().map(str::to_owned)),
                    Stream::Runner => {}
                }
            }
            left.printed.insert(stage.clone(), printed);
            if self.engine == Engine::Docker {
                // what a build prints comes in the engine's own order
                commands.retain(|line| line.starts_with("cmd: "));
            }
            left.commands.insert(stage, commands);
        }
        left.stages.sort_by(|a, b| a.stage.cmp(&b.stage));
        left.happened = self.world.happened();
        left.happened.events.sort();
        for path in entries(&self.project.path().join("work")) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            left.files.insert(name, fs::read_to_string(&path).unwrap_or_default());
        }
        Ok(left)
    }

    /// Replays every stage with nothing around it: no server, no workspace. Answers how many they were.
    pub fn replays(self) -> Result<usize, String> {
        let Trial { project, world, scene, .. } = &self;
        let (run, happened) = (self.run(), world.happened());
        for folder in ["work", "given"] {
            fs::remove_dir_all(project.path().join(folder)).map_err(|error| error.to_string())?;
        }
        let asked = world.asked("GET /once/small");
        for Stage { name, .. } in *scene {
            let again = project.path().join(format!("{name}.log"));
            let finished = project.run(&["replay", "latest", name, "--log", &again.to_string_lossy()]);
            if finished.code != 0 {
                return Err(format!("replay of {name} ended with {}\n{}\n{}", finished.code, short(&finished.stdout), finished.stderr));
            }
            let (then, now) = (fs::read(run.join(format!("logs/{name}.1.log"))), fs::read(&again));
            match (then, now) {
                (Ok(then), Ok(now)) if then == now => {}
                (then, now) => {
                    let text = |bytes: std::io::Result<Vec<u8>>| {
                        bytes.map_or_else(|e| e.to_string(), |b| String::from_utf8_lossy(&b).into_owned())
                    };
                    return Err(format!("the replay of {name} printed something else\n--- then\n{}\n--- now\n{}", text(then), text(now)));
                }
            }
        }
        if world.happened() != happened || world.asked("GET /once/small") != asked {
            return Err("a replay has reached the server".to_owned());
        }
        Ok(scene.len())
    }
}

/// What a run leaves.
#[derive(Debug, Default)]
pub struct Left {
    stages: Vec<Ended>,
    /// By stage, what the component itself printed.
    printed: BTreeMap<String, String>,
    /// By stage, what its commands printed.
    commands: BTreeMap<String, Vec<String>>,
    happened: Happened,
    /// In the workspace.
    files: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq)]
struct Ended {
    stage: String,
    attempt: u32,
    outcome: Outcome,
    outputs: Vec<(String, String)>,
    /// Names and digests.
    artifacts: Vec<String>,
}

impl Left {
    /// The first difference. `careless`: a command may have been cut off, so that what it printed is missing, or there twice if it may run twice.
    pub fn compare(&self, other: &Left, careless: bool) -> Result<(), String> {
        let same = |what: &str, one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| {
            let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
            if one == other { Ok(()) } else { Err(format!("{what} differ\n--- reference\n{one}\n--- resumed\n{other}")) }
        };
        for (stage, printed) in &self.printed {
            let now = other.printed.get(stage).cloned().unwrap_or_default();
            same(&format!("the lines of {stage}"), &comparable(printed), &comparable(&now))?;
        }
        same("the stages", &self.stages, &other.stages)?;
        same("what happened in the world", &self.happened, &other.happened)?;
        same("the files of the workspace", &self.files, &other.files)?;
        if !careless {
            return same("the lines of the commands", &self.commands, &other.commands);
        }
        for (stage, lines) in &other.commands {
            let known = &self.commands[stage];
            if let Some(line) = lines.iter().find(|line| !known.contains(line)) {
                return Err(format!("a command of {stage} printed {line:?}"));
            }
            let of = |line: &String| lines.iter().filter(|one| *one == line).count();
            if let Some(line) = lines.iter().find(|line| line.contains("line-") && of(line) > 1) {
                return Err(format!("{stage}: a command that must not run twice printed {line:?} twice"));
            }
        }
        Ok(())
    }
}

/// Random numbers differ from run to run.
fn comparable(printed: &str) -> Vec<&str> {
    printed.lines().map(|line| if line.starts_with("random ") { "random" } else { line }).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// The events that say how stages ended.
fn short(events: &str) -> String {
    let telling = ["stage-finished", "stage-suspended", "run-finished"];
    let of = |line: &&str| serde_json::from_str::<Value>(line).map_or(true, |event| telling.iter().any(|kind| event["event"] == *kind));
    events.lines().filter(of).collect::<Vec<_>>().join("\n")
}
