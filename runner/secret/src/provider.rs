//! Where secrets come from: one port, and what is behind it.
//!
//! A provider is asked when the first stage that uses its secret starts, and never by `check`, `plan` or `doctor`. What it answers is
//! bytes or an error that holds none of them. Deliberately absent: caching and limits (`held`), and any client of HTTP: the exchange of
//! tokens asks through a port of its own ([`Client`]).

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pipeline::plan::Secret;
use tokio::io::AsyncReadExt;
use zeroize::{Zeroize, Zeroizing};

use crate::mask::Mask;
use crate::oidc::Exchange;
use crate::value::{LONGEST, Unfit, Value, without_final_newline};

/// How long a program may take to print a secret: time enough for a person to touch a key.
const PROGRAM: Duration = Duration::from_secs(60);
/// How much of what a program says of itself is passed on.
const SAID: usize = 2 << 10;

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Why>> + Send + 'a>>;

/// Something that has a secret.
pub trait Provider: Send + Sync {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Fetched, Why>> + Send + '_>>;
}

/// What a provider has.
pub struct Fetched {
    pub bytes: Zeroizing<Vec<u8>>,
    /// What the user should know, such as a file that others can read.
    pub notes: Vec<String>,
}

/// Why a secret can't be had, with what to do about it. Never with a byte of it.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("the variable `{0}` is not set; set it where the runner is started")]
    Unset(String),
    #[error("{path}: {error}; put the secret there, or make the file readable for the runner's user")]
    File { path: PathBuf, error: std::io::Error },
    #[error("`{program}` can't be started: {error}; install it, or write its whole path")]
    Program { program: String, error: std::io::Error },
    #[error("`{program}` ended with {how}{said}; try the command in a terminal")]
    Ended { program: String, how: String, said: String },
    #[error("`{program}` did not end within {} seconds{said}; try the command in a terminal", PROGRAM.as_secs())]
    Slow { program: String, said: String },
    #[error("{0}")]
    Unfit(#[from] Unfit),
    #[error("there is no token of the CI: {0}")]
    NoToken(String),
    #[error("{url} can't be asked: {error}")]
    Unreachable { url: String, error: String },
    #[error("{url} answered with {status}{said}; look at what the token endpoint asks of the CI's token")]
    Refused { url: String, status: u16, said: String },
    #[error("{url} answered with something that holds no `{field}`")]
    Unreadable { url: String, field: &'static str },
}

/// One request over HTTP, and its answer: what the exchange of tokens needs of the network.
pub trait Client: Send + Sync {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>>;
}

pub struct Request {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, Zeroizing<String>)>,
    pub body: Zeroizing<Vec<u8>>,
}

pub struct Response {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

/// What providers know of the machine.
#[derive(Clone)]
pub struct Machine {
    /// Of the runner.
    pub env: fn(&str) -> Option<std::ffi::OsString>,
    /// The folder of the pipeline file: relative paths begin there, programs are started there.
    pub root: PathBuf,
    pub client: Arc<dyn Client>,
}

/// The provider of a secret, from its `from`.
pub(crate) fn provider(secret: &Secret, machine: &Machine, mask: &Arc<Mask>) -> Box<dyn Provider> {
    match secret.from.split_once(':') {
        Some(("oidc", endpoint)) => Box::new(Exchange::new(endpoint, secret, machine, mask)),
        _ => plain(&secret.from, machine),
    }
}

/// `env:`, `file:` and `cmd:`. The pipeline has looked at the text: what is none of them is a variable that is not set.
pub(crate) fn plain(from: &str, machine: &Machine) -> Box<dyn Provider> {
    match from.split_once(':') {
        Some(("file", path)) => Box::new(File(machine.root.join(path))),
        Some(("cmd", line)) => Box::new(Program {
            words: line.split_whitespace().map(str::to_owned).collect(),
            folder: machine.root.clone(),
            patience: PROGRAM,
        }),
        Some((_, name)) => Box::new(Variable { name: name.to_owned(), env: machine.env }),
        None => Box::new(Variable { name: from.to_owned(), env: machine.env }),
    }
}

struct Variable {
    name: String,
    env: fn(&str) -> Option<std::ffi::OsString>,
}

impl Provider for Variable {
    fn fetch(&self) -> Answer<'_, Fetched> {
        use std::os::unix::ffi::OsStringExt;
        let value = (self.env)(&self.name).map(|value| Zeroizing::new(value.into_vec()));
        let fetched = value.map(|bytes| Fetched { bytes, notes: Vec::new() }).ok_or_else(|| Why::Unset(self.name.clone()));
        Box::pin(std::future::ready(fetched))
    }
}

struct File(PathBuf);

impl Provider for File {
    fn fetch(&self) -> Answer<'_, Fetched> {
        Box::pin(async { read(&self.0).await.map_err(|error| Why::File { path: self.0.clone(), error }) })
    }
}

async fn read(path: &Path) -> std::io::Result<Fetched> {
    use std::os::unix::fs::MetadataExt;
    // a pipe without a writer must not hold anything up
    let file = tokio::fs::File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path).await?;
    let meta = file.metadata().await?;
    if !meta.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    file.take(LONGEST as u64 + 3).read_to_end(&mut bytes).await?;
    let mut notes = Vec::new();
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        notes.push(format!("{} is open to other users (mode {mode:o}); `chmod 600` keeps it to its owner", path.display()));
    }
    Ok(Fetched { bytes: without_final_newline(bytes), notes })
}

/// A program and its arguments, parted at white space: no shell, no quotes.
struct Program {
    words: Vec<String>,
    folder: PathBuf,
    patience: Duration,
}

impl Provider for Program {
    fn fetch(&self) -> Answer<'_, Fetched> {
        Box::pin(self.run())
    }
}

impl Program {
    async fn run(&self) -> Result<Fetched, Why> {
        let (program, arguments) = self.words.split_first().ok_or_else(|| Why::Unset(String::new()))?;
        let not_started = |error| Why::Program { program: program.clone(), error };
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).current_dir(&self.folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(not_started(std::io::Error::other("it has no output")));
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        let mut said = Vec::new();
        let ended = tokio::time::timeout(self.patience, async {
            let mut stdout = stdout.take(LONGEST as u64 + 3);
            let mut stderr = stderr.take(64 << 10);
            let (printed, told) = tokio::join!(stdout.read_to_end(&mut bytes), stderr.read_to_end(&mut said));
            printed.and(told).map_err(not_started)?;
            child.wait().await.map_err(not_started)
        })
        .await;
        let bytes = without_final_newline(bytes);
        let said = shown(&said, &bytes);
        match ended {
            Err(_) => Err(Why::Slow { program: program.clone(), said }),
            Ok(Err(why)) => Err(why),
            Ok(Ok(status)) if !status.success() => Err(Why::Ended { program: program.clone(), how: status.to_string(), said }),
            Ok(Ok(_)) => {
                let notes = if said.is_empty() { Vec::new() } else { vec![format!("`{program}` said{said}")] };
                Ok(Fetched { bytes, notes })
            }
        }
    }
}

/// What a program or a server said beside the secret, on one line, without the secret.
pub(crate) fn shown(said: &[u8], secret: &[u8]) -> String {
    let mask = Mask::default();
    if let Ok(value) = Value::new(secret.to_vec()) {
        mask.learn(&value);
    }
    let masked = mask.bytes(said).into_owned();
    let text = String::from_utf8_lossy(&masked[..masked.len().min(SAID)]).into_owned();
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ");
    let line: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// Takes a text out of a JSON answer, and leaves nothing else of it in memory.
pub(crate) fn field(body: &[u8], name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let found = answer.get_mut(name).and_then(|value| match value {
        serde_json::Value::String(text) => Some(Zeroizing::new(std::mem::take(text).into_bytes())),
        _ => None,
    });
    if let serde_json::Value::Object(fields) = &mut answer {
        fields.values_mut().for_each(|value| {
            if let serde_json::Value::String(text) = value {
                text.zeroize();
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::machine;

    async fn fetch(from: &str, root: &Path) -> Result<(String, Vec<String>), String> {
        let fetched = plain(from, &machine(root)).fetch().await;
        fetched.map(|f| (String::from_utf8(f.bytes.to_vec()).unwrap(), f.notes)).map_err(|why| why.to_string())
    }

    #[tokio::test]
    async fn variables_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(fetch("env:TOKEN", root).await, Ok(("value-of-TOKEN".into(), Vec::new())));
        assert_eq!(fetch("env:MISSING", root).await, Err("the variable `MISSING` is not set; set it where the runner is started".into()));
        for (text, expected) in [("s3cr3t\n", "s3cr3t"), ("s3cr3t\r\n", "s3cr3t"), ("s3cr3t\n\n", "s3cr3t\n"), ("s3cr3t", "s3cr3t")] {
            std::fs::write(root.join("token"), text).unwrap();
            std::fs::set_permissions(root.join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(fetch("file:token", root).await, Ok((expected.into(), Vec::new())));
        }
        std::fs::set_permissions(root.join("token"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let (_, notes) = fetch(&format!("file:{}", root.join("token").display()), root).await.unwrap();
        assert!(notes[0].contains("mode 644"), "{notes:?}");
        assert!(fetch("file:nothing", root).await.unwrap_err().contains("put the secret there"));
        assert!(fetch("file:.", root).await.unwrap_err().contains("no regular file"));
    }

    #[tokio::test]
    async fn programs() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let script = |text: &str| {
            let path = root.join("give");
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            format!("cmd:{} one $TWO", path.display())
        };
        assert_eq!(fetch(&script("echo \"$1 $2\""), root).await, Ok(("one $TWO".into(), Vec::new())));
        let (value, notes) = fetch(&script("echo s3cr3t-s3cr3t; echo touch the key, not s3cr3t-s3cr3t >&2"), root).await.unwrap();
        assert_eq!(value, "s3cr3t-s3cr3t");
        assert!(notes[0].ends_with("said: touch the key, not *************"), "{notes:?}");
        let error = fetch(&script("echo s3cr3t-s3cr3t; echo no s3cr3t-s3cr3t here >&2; exit 3"), root).await.unwrap_err();
        assert!(error.contains("exit status: 3: no ************* here"), "{error}");
        assert!(fetch("cmd:/nonexistent/program", root).await.unwrap_err().contains("can't be started"));
        let slow = Program { words: vec!["sleep".into(), "30".into()], folder: root.to_owned(), patience: Duration::from_millis(50) };
        assert!(matches!(slow.fetch().await, Err(Why::Slow { .. })));
    }
}
