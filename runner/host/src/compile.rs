//! Compiling a component in a process of its own, because a compiler can't be stopped from the inside: a component may be made to
//! take minutes and gigabytes. The process is a re-executed runner that reads the component, writes the code, and is killed at
//! the limit.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::engine;

/// The hidden first argument of a runner that compiles.
pub const ARGUMENT: &str = "__compile";

/// Address space of the compiling process. Cranelift needs some hundred bytes for each byte of a component.
const ADDRESS_SPACE: u64 = 8 << 30;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("compiling took longer than {}; raise `limits.compile`", humantime(*.0))]
    Timeout(Duration),
    #[error("not a component that this runner can run: {0}")]
    Invalid(String),
    #[error("the compiler could not be run: {0}")]
    System(String),
}

fn humantime(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

/// Compiles `wasm` and leaves the code at `target`, a path in a folder that only the owner can enter.
pub async fn compile(exe: &Path, wasm: &[u8], target: &Path, limit: Duration) -> Result<(), CompileError> {
    let system = |what: &str, error: std::io::Error| CompileError::System(format!("{what}: {error}"));
    let mut child = Command::new(exe)
        .arg(ARGUMENT)
        .arg(target)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| system("starting it", e))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let work = async {
        // a compiler that gives up early says why on stderr; the broken pipe is only its echo
        let _ = stdin.write_all(wasm).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let output =
        tokio::time::timeout(limit, work).await.map_err(|_| CompileError::Timeout(limit))?.map_err(|e| system("waiting for it", e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(1) => Err(CompileError::Invalid(said)),
        _ if said.contains("memory allocation") => Err(CompileError::Invalid("it needs more memory to compile than 8 GiB".into())),
        _ => Err(CompileError::System(format!("it ended with {}: {said}", output.status))),
    }
}

/// The compiling process: the component on stdin, the code to the path in `arguments`. Exit code 1: the component is at fault.
pub fn compile_main(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> u8 {
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::As,
        rustix::process::Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) },
    );
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let Some(target) = arguments.next().map(PathBuf::from) else { return 2 };
    let mut wasm = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut wasm) {
        return complain(2, &format!("reading the component: {error}"));
    }
    let code = match engine::compiler().and_then(|engine| engine.precompile_component(&wasm)) {
        Ok(code) => code,
        Err(error) => return complain(1, &format!("{error:#}")),
    };
    match std::fs::write(&target, code) {
        Ok(()) => 0,
        Err(error) => complain(2, &format!("{}: {error}", target.display())),
    }
}

fn complain(code: u8, what: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "{what}");
    code
}
