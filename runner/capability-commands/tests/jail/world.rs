//! A jail to test with: the system's programs, this test binary, a writable workspace, and a host around it to escape to.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use capability_commands::jail::{Bind, ExitStatus, Jail, JailError, JailProcess, JailSpec, SpawnSpec, toolchain};
use tempfile::TempDir;

/// Where this binary is inside, to be run as an attacker.
pub const SELF: &str = "/opt/test";

pub struct World {
    pub runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

/// What a program that has ended left.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::Builder::new().prefix("jail-test-").tempdir().unwrap();
        fs::create_dir(folder.path().join("workspace")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret of the host").unwrap();
        World { runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), folder }
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    /// A folder of the host that no jail is granted.
    pub fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    pub fn spec(&self) -> JailSpec {
        let system = toolchain::expand("system", &self.workspace(), &|name| std::env::var(name).ok()).unwrap();
        let mut spec = JailSpec::new("/proc/self/exe");
        spec.binds = system.binds;
        spec.path = system.path;
        spec.binds.push(Bind::directory(self.workspace(), "/workspace").writable());
        spec.binds.push(Bind::file(std::env::current_exe().unwrap(), SELF));
        spec
    }

    /// Starts a jail, hands it to `test`, and ends it.
    pub fn with<T>(&self, spec: JailSpec, test: impl AsyncFnOnce(&Jail) -> T) -> T {
        self.runtime.block_on(async {
            let jail = Jail::start(spec).await.unwrap_or_else(|error| panic!("{error}"));
            let result = test(&jail).await;
            jail.end(Duration::from_secs(1)).await;
            result
        })
    }

    /// Runs one program in a jail of its own.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.with(self.spec(), async |jail| run(jail, program, args).await)
    }

    /// `sh -c`, in a jail of its own.
    pub fn sh(&self, script: &str) -> Output {
        self.run("sh", &["-c", script])
    }
}

pub fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

pub fn command(program: &str, args: &[&str]) -> SpawnSpec {
    SpawnSpec {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        dir: "/workspace".into(),
        stdin: null(),
        stdout: null(),
        stderr: null(),
        name: None,
        view: None,
    }
}

/// Starts a program with its output on pipes; the handle gives what came, once the program and all it started are gone.
pub async fn start(jail: &Jail, mut spec: SpawnSpec) -> Result<(JailProcess, impl Future<Output = (String, String)>), JailError> {
    let (stdout, out) = std::io::pipe().unwrap();
    let (stderr, err) = std::io::pipe().unwrap();
    spec.stdout = out.into();
    spec.stderr = err.into();
    let process = jail.spawn(spec).await?;
    let read = |mut pipe: std::io::PipeReader| {
        tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    Ok((process, async { (stdout.await.unwrap(), stderr.await.unwrap()) }))
}

pub async fn run(jail: &Jail, program: &str, args: &[&str]) -> Output {
    run_spec(jail, command(program, args)).await.unwrap_or_else(|error| panic!("{program}: {error}"))
}

pub async fn run_spec(jail: &Jail, spec: SpawnSpec) -> Result<Output, JailError> {
    let (process, output) = start(jail, spec).await?;
    let status = process.wait().await;
    let (stdout, stderr) = output.await;
    Ok(Output { status, stdout, stderr })
}

impl Output {
    /// The output of a program that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.stdout
    }
}

/// Polls until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(10), "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number of seconds for `sleep` that no other test run uses, to find its processes by.
pub fn marker(which: u32) -> String {
    format!("86400.{which}{}", std::process::id())
}

/// Processes of this machine whose command line holds a word.
pub fn processes_with(word: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|number| {
            let line = fs::read(Path::new("/proc").join(number.to_string()).join("cmdline")).unwrap_or_default();
            *number != std::process::id() && line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
        })
        .collect()
}
