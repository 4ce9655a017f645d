//! `wasi:cli`: the environment that the pipeline file names, an empty standard input, and two outputs that lead to the stage's log.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use capability::io::{InputStream, Output, OutputStream, StreamError};
use capability::{Room, StageLog, StageState, TrapLimit};
use event::Stream;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};

/// The component ended itself. Found again in the trap's error chain.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the component called exit with code {0}")]
pub struct Exit(pub u8);

/// No resource of this kind is ever made.
pub enum NoTerminal {}

/// Holds nothing: standard streams need only the log. It exists so that a log line cut off at the end is not lost.
pub struct StdioRoom(pub Arc<StageLog>);

impl Room for StdioRoom {
    fn leave(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.flush(None);
        Box::pin(async {})
    }
}

struct LogOutput(Arc<StageLog>);

impl Output for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        write_log(&self.0, bytes).map_err(StreamError::Trap)
    }
}

/// Writes to the stage's log; at its limit the attempt ends.
pub fn write_log(log: &StageLog, bytes: &[u8]) -> Result<()> {
    use capability::log::Closed;
    log.write(Stream::Stage, bytes).map_err(|closed| match closed {
        Closed::Limit(limit) => wasmtime::Error::new(TrapLimit {
            what: "the stage's log",
            limit: format!("{limit} bytes"),
            remedy: "raise `limits.log` in the pipeline file",
        }),
        Closed::Disk(_) | Closed::Diverged { .. } => wasmtime::Error::new(closed),
    })
}

impl environment::Host for StageState {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.setting.env.clone())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(vec![self.setting.name.clone()])
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for StageState {
    fn exit(&mut self, status: std::result::Result<(), ()>) -> Result<()> {
        Err(wasmtime::Error::new(Exit(u8::from(status.is_err()))))
    }

    fn exit_with_code(&mut self, status: u8) -> Result<()> {
        Err(wasmtime::Error::new(Exit(status)))
    }
}

impl stdin::Host for StageState {
    fn get_stdin(&mut self) -> Result<Resource<InputStream>> {
        Ok(self.table.push(InputStream(Box::new(Bytes::new())))?)
    }
}

fn log_stream(state: &mut StageState) -> Result<Resource<OutputStream>> {
    let output = LogOutput(state.setting.log.clone());
    Ok(state.table.push(OutputStream(Box::new(output)))?)
}

impl stdout::Host for StageState {
    fn get_stdout(&mut self) -> Result<Resource<OutputStream>> {
        log_stream(self)
    }
}

impl stderr::Host for StageState {
    fn get_stderr(&mut self) -> Result<Resource<OutputStream>> {
        log_stream(self)
    }
}

impl terminal_input::Host for StageState {}

impl terminal_input::HostTerminalInput for StageState {
    fn drop(&mut self, terminal: Resource<NoTerminal>) -> Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_output::Host for StageState {}

impl terminal_output::HostTerminalOutput for StageState {
    fn drop(&mut self, terminal: Resource<NoTerminal>) -> Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_stdin::Host for StageState {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for StageState {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for StageState {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<NoTerminal>>> {
        Ok(None)
    }
}
