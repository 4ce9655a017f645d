//! Further programs in a running container.

use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};

use crate::container::{Container, Output, feed};
use crate::error::EngineError;
use crate::harden::pairs;
use crate::spec::ExecSpec;

/// A program that was started in a container. It has the container's ceilings, mounts and capabilities, and ends at the latest when that does: an
/// engine can't end it alone.
pub struct Exec<'a> {
    container: &'a Container,
    id: String,
    output: Option<Output>,
}

impl Container {
    /// # Errors
    /// If the container does not run, or the program can't be started.
    pub async fn exec(&self, spec: &ExecSpec) -> Result<Exec<'_>, EngineError> {
        let what = format!("running {} in it", spec.command.first().map_or("nothing", String::as_str));
        let docker = &self.engine().docker;
        let options = CreateExecOptions {
            cmd: Some(spec.command.clone()),
            env: Some(pairs(&spec.env)),
            working_dir: spec.directory.clone(),
            user: spec.user.clone(),
            attach_stdin: Some(!spec.stdin.is_empty()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            privileged: Some(false),
            detach_keys: None,
        };
        let made = docker.create_exec(self.id(), options).await.map_err(|error| self.failed(&what, error))?;
        let started = docker.start_exec(&made.id, None::<StartExecOptions>).await.map_err(|error| self.failed(&what, error))?;
        let output = match started {
            StartExecResults::Attached { output, input } => {
                feed(input, spec.stdin.clone());
                Some(self.printed(output, &what))
            }
            StartExecResults::Detached => None,
        };
        Ok(Exec { container: self, id: made.id, output })
    }
}

impl Exec<'_> {
    /// What it prints, from its start on. None the second time. The program stops when nobody reads.
    pub fn output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Its exit code, once it has ended. To be called when its output has: the engine tells nobody that a program has ended, it has to be asked.
    ///
    /// # Errors
    /// If the container or the engine is gone.
    pub async fn code(&mut self) -> Result<i64, EngineError> {
        let mut pause = Duration::from_millis(2);
        loop {
            let state = self.container.engine().docker.inspect_exec(&self.id).await;
            let state = state.map_err(|error| self.container.failed("asking how a program ended in it", error))?;
            match (state.running, state.exit_code) {
                (Some(false), Some(code)) => return Ok(code),
                // it was killed together with its container, before it could say anything
                (Some(false), None) => return Err(self.container.lost("asking how a program ended in it", "it was not told")),
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}
