//! A project folder and the runner on it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// No run of a test takes longer, unless the test says so; one that does is killed, and the test fails.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder of its own with a pipeline, gone when dropped.
pub struct Project {
    path: PathBuf,
    /// Removes the folder when dropped.
    _made: Option<tempfile::TempDir>,
    runner: PathBuf,
    env: Vec<(String, String)>,
}

/// What a run left.
#[derive(Debug)]
pub struct Finished {
    /// 128 + the signal if one ended it, as a shell says it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    /// `runner` is `env!("CARGO_BIN_EXE_runner")`.
    pub fn new(runner: &str) -> Self {
        let made = tempfile::Builder::new().prefix("project-").tempdir().expect("a temporary folder");
        let path = made.path().to_owned();
        Project { path, _made: Some(made), runner: runner.into(), env: Vec::new() }
    }

    /// In a folder that is there, such as a small file system.
    pub fn at(runner: &str, path: &Path) -> Self {
        Project { path: path.to_owned(), _made: None, runner: runner.into(), env: Vec::new() }
    }

    /// With `pipeline.toml`.
    pub fn with_pipeline(runner: &str, pipeline: &str) -> Self {
        Project::new(runner).file("pipeline.toml", pipeline)
    }

    /// A copy of a folder of the repository, without what is built in it.
    pub fn copy_of(runner: &str, from: &Path) -> Self {
        let project = Project::new(runner);
        copy(from, project.path());
        project
    }

    #[must_use]
    pub fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.write(path, text);
        self
    }

    /// An executable file.
    #[must_use]
    pub fn script(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(0o755)).expect("permissions");
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Takes back what [`Project::env`] gave.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Replaces text of a file; the text must be there.
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} does not contain {from:?}:\n{text}");
        self.write(path, text.replace(from, to));
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `through`: a program that starts the runner, with its own arguments; none if it is empty.
    fn command<S: AsRef<OsStr>>(&self, through: &[&str], arguments: &[S]) -> Command {
        let words: Vec<&OsStr> = through.iter().map(OsStr::new).chain([self.runner.as_os_str()]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .current_dir(self.path())
            .env("XDG_CACHE_HOME", cache())
            .env_remove("CI")
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITLAB_CI")
            .env_remove("BUILDKITE")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("PIPELINE_UNCONFINED")
            .env_remove("PIPELINE_FAULT")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the runner to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Finished {
        self.start(arguments).finish()
    }

    /// `exec` with plain output.
    pub fn exec(&self) -> Finished {
        self.run(&["exec", "--format", "plain"])
    }

    /// Starts the runner and lets it run.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        self.start_through(&[], arguments)
    }

    /// Has another program start it.
    pub fn start_through<S: AsRef<OsStr>>(&self, through: &[&str], arguments: &[S]) -> Running {
        let mut child = self.command(through, arguments).spawn().expect("the runner starts");
        let stdout = Stream::of(child.stdout.take().expect("piped"));
        let stderr = Stream::of(child.stderr.take().expect("piped"));
        Running { child, stdout, stderr, began: Instant::now(), patience: PATIENCE }
    }
}

/// A runner that runs.
pub struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    began: Instant,
    patience: Duration,
}

/// What a process prints, while it does.
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Stream {
    fn of(mut from: impl Read + Send + 'static) -> Stream {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = text.clone();
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..length]);
            }
        });
        Stream { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn whole(self) -> String {
        self.reader.join().expect("it is read");
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Running {
    /// It may take this long.
    #[must_use]
    pub fn for_up_to(mut self, patience: Duration) -> Running {
        self.patience = patience;
        self
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the runner alone.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status().expect("kill");
        assert!(status.success(), "kill -{signal}");
    }

    /// Waits until it has printed this on standard output, for a minute at most.
    #[track_caller]
    pub fn wait_until(&self, says: &str) {
        self.wait_for(&format!("nothing says {says:?}"), || self.stdout.so_far().contains(says));
    }

    /// Waits until something has become of it, for a minute at most. `missing`: what is wrong if it has not.
    #[track_caller]
    pub fn wait_for(&self, missing: &str, so: impl Fn() -> bool) {
        let began = Instant::now();
        while !so() {
            let late = began.elapsed() > Duration::from_secs(60);
            assert!(!late, "{missing}\n--- stdout\n{}\n--- stderr\n{}", self.stdout.so_far(), self.stderr.so_far());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`.
    pub fn kill(self) -> Finished {
        self.signal("KILL");
        self.finish()
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Finished {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the runner can be waited for") {
                break status;
            }
            if self.began.elapsed() > self.patience {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("the runner did not end in {:?}: {}", self.patience, self.stdout.whole());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Finished {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

impl Finished {
    /// Fails with everything that was printed if the exit code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless `text` was printed on either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "nothing says {text:?}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!said, "something says {text:?}\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// The events of `--format json`.
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

/// Whether commands can be confined here. Where not, the test is skipped with a word on how to get it, or fails if
/// `PIPELINE_TEST_REQUIRE_ENGINES` says that everything must be there.
pub fn confined(runner: &str, test: &str) -> bool {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let output = Command::new(runner).args(["doctor", "--format", "json"]).env("XDG_CACHE_HOME", cache()).output().expect("doctor");
        let checks: serde_json::Value = serde_json::from_slice(&output.stdout).expect("doctor prints JSON");
        let check = checks.as_array().expect("a list").iter().find(|c| c["check"] == "confinement").expect("it looks at confinement");
        if check["level"] == "ok" { Ok(()) } else { Err(format!("{}: {}", check["text"], check["help"])) }
    });
    match found {
        Ok(()) => true,
        Err(why) if std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_some() => panic!("{test} needs confinement: {why}"),
        Err(why) => {
            say_skipped(test, why);
            false
        }
    }
}

/// Whether a program is on this machine. Where not, the test is skipped with a word on how to get it, or fails as in [`confined`].
pub fn has(program: &str, how: &str, test: &str) -> bool {
    if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("PIPELINE_TEST_REQUIRE_ENGINES").is_none(), "{test} needs {program}: {how}");
    skipped(&format!("{test} needs {program}: {how}"));
    false
}

/// Says that a test, or a part of it, is not run on this machine.
#[allow(clippy::print_stdout)] // what a test was skipped for belongs in its output
pub fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// Compiled plugins are kept for all tests, beside the test binary.
fn cache() -> PathBuf {
    let exe = std::env::current_exe().expect("a test is a program");
    exe.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>").join("test-cache")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.expect("an entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "target" || entry.file_name() == ".runner" {
            continue;
        }
        if source.is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("a copy");
        }
    }
}

#[allow(clippy::print_stdout)] // what a test was skipped for belongs in its output
fn say_skipped(test: &str, why: &str) {
    println!("skipped: {test} needs confinement: {why}");
}
