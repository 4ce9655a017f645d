//! The host functions of `runner:commands`: lift, cross, lower.

use std::time::Duration;

use bytes::Bytes;
use capability::{Ask, Denial, StageState};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::backend::{Captured, Ended, Starter};
use crate::policy::{self, Output, Start, StartError};
use crate::{Handle, Room};

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:host-commands;
            world commands { import runner:commands/commands@0.1.0; }
        ",
        world: "runner:host-commands/commands",
        imports: {
            "runner:commands/commands.start": async | trappable,
            "runner:commands/commands.wait-any": async | trappable,
            "runner:commands/commands.[method]process.wait": async | trappable,
            "runner:commands/commands.[method]process.stop": async | trappable,
            default: trappable,
        },
        require_store_data_send: true,
        with: { "runner:commands/commands.process": crate::Handle },
    });
}

use bindings::runner::commands::commands as wit;

impl wit::Host for StageState {
    async fn start(&mut self, command: wit::Command) -> Result<std::result::Result<Resource<Handle>, wit::Error>> {
        let boundary = self.boundary.clone();
        let room: &mut Room = self.room();
        let programs = room.programs.clone();
        if boundary.replays() {
            room.revive_at(&boundary);
        }
        let start = lift(command, programs.grant().is_some_and(|grant| grant.repeatable));
        let starter = Starter { programs: &programs, boundary: &boundary, number: None };
        match boundary.cross(&programs.rules(), start.clone(), &starter).await {
            Ok(Ok(number)) => {
                programs.adopt(number, start);
                Ok(Ok(self.table.push(Handle(number))?))
            }
            Ok(Err(error)) => Ok(Err(lower_error(error))),
            Err(refusal) => Ok(Err(wit::Error::Denied(lower_denial(refusal.denial()?)))),
        }
    }

    async fn wait_any(&mut self, processes: Vec<Resource<Handle>>, timeout: u64) -> Result<Option<u32>> {
        let numbers = processes.iter().map(|handle| Ok(self.table.get(handle)?.0)).collect::<Result<Vec<u32>>>()?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let (boundary, programs) = (self.boundary.clone(), self.room::<Room>().programs.clone());
        let find = async {
            let mut waited = Vec::new();
            for number in &numbers {
                waited.push(programs.found(*number, &boundary).await?);
            }
            Ok(waited)
        };
        Ok(boundary.wait_any("commands.wait-any", &numbers, timeout, find).await?)
    }
}

impl wit::HostProcess for StageState {
    fn id(&mut self, handle: Resource<Handle>) -> Result<u32> {
        Ok(self.table.get(&handle)?.0)
    }

    async fn wait(&mut self, handle: Resource<Handle>) -> Result<wit::Exit> {
        exit(self, &handle, None).await
    }

    async fn stop(&mut self, handle: Resource<Handle>, grace: u64) -> Result<wit::Exit> {
        exit(self, &handle, Some(Duration::from_nanos(grace))).await
    }

    fn drop(&mut self, handle: Resource<Handle>) -> Result<()> {
        let Handle(number) = self.table.delete(handle)?;
        self.room::<Room>().programs.forget(number);
        Ok(())
    }
}

/// Waits for the end; with a grace, asks for it first.
async fn exit(state: &mut StageState, handle: &Resource<Handle>, stop: Option<Duration>) -> Result<wit::Exit> {
    let number = state.table.get(handle)?.0;
    let (boundary, programs) = (state.boundary.clone(), state.room::<Room>().programs.clone());
    let ask = Ask::new("commands.exit", &(number, stop))?.of(programs.line(number)).promptly();
    let look = async {
        let ended = match stop {
            None => programs.found(number, &boundary).await?.wait().await,
            Some(grace) => programs.stop(number, grace).await,
        };
        Ok((ended, Bytes::new()))
    };
    let (ended, _): (Ended, _) = boundary.deliver(&ask, look).await?;
    programs.known(number, &ended);
    Ok(lower_exit(ended))
}

fn lift(command: wit::Command, repeatable: bool) -> Start {
    let output = |output| match output {
        wit::Output::Log => Output::Log,
        wit::Output::Capture => Output::Capture,
        wit::Output::Both => Output::Both,
        wit::Output::Discard => Output::Discard,
    };
    Start {
        program: command.program,
        arguments: command.arguments,
        env: command.env,
        directory: command.directory,
        stdin: command.stdin,
        stdout: output(command.stdout),
        stderr: output(command.stderr),
        timeout: (command.timeout > 0).then(|| Duration::from_nanos(command.timeout)),
        name: (!command.name.is_empty()).then_some(command.name),
        repeatable,
    }
}

fn lower_denial(denial: Denial) -> bindings::runner::boundary::types::Denial {
    let record = denial.record();
    bindings::runner::boundary::types::Denial {
        effect: record.effect,
        subject: record.subject,
        code: record.code,
        reason: record.reason,
        remedy: record.remedy,
    }
}

fn lower_error(error: StartError) -> wit::Error {
    match error {
        policy::StartError::NotFound(what) => wit::Error::NotFound(what),
        policy::StartError::Invalid(what) => wit::Error::Invalid(what),
        policy::StartError::System(what) => wit::Error::System(what),
        policy::StartError::Limit(what) => wit::Error::Limit(what),
    }
}

fn lower_exit(ended: Ended) -> wit::Exit {
    let captured = |captured: Captured| wit::Captured { path: captured.path, size: captured.size };
    wit::Exit {
        code: ended.code,
        signal: ended.signal,
        timed_out: ended.timed_out,
        duration: ended.duration.as_nanos() as u64,
        stdout: ended.stdout.map(captured),
        stderr: ended.stderr.map(captured),
    }
}
