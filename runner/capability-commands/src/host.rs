//! The host functions of `runner:commands`: lift, cross, lower.

use std::sync::Arc;
use std::time::Duration;

use capability::{Denial, StageState};
use futures::future::select_all;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::backend::{Captured, Ended, Process, Starter};
use crate::policy::{self, Output, Rules, Start, StartError};
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
        let start = lift(command);
        let boundary = self.boundary.clone();
        let room: &Room = self.room();
        let programs = room.programs.clone();
        let rules = Rules { grant: programs.grant(), stage: &programs.setting().name };
        let starter = Starter { programs: &programs, boundary: &boundary };
        match boundary.cross(&rules, start, &starter).await {
            Ok(Ok(number)) => Ok(Ok(self.table.push(Handle(number))?)),
            Ok(Err(error)) => Ok(Err(lower_error(error))),
            Err(refusal) => Ok(Err(wit::Error::Denied(lower_denial(refusal.denial()?)))),
        }
    }

    async fn wait_any(&mut self, processes: Vec<Resource<Handle>>, timeout: u64) -> Result<Option<u32>> {
        let processes = processes.iter().map(|handle| process(self, handle)).collect::<Result<Vec<_>>>()?;
        if processes.is_empty() {
            return Ok(None);
        }
        let waits = select_all(processes.iter().map(|process| Box::pin(process.wait())));
        let first = match timeout {
            0 => {
                waits.await;
                true
            }
            nanos => tokio::time::timeout(Duration::from_nanos(nanos), waits).await.is_ok(),
        };
        // several may have ended meanwhile: the lowest index is the answer, whoever was first
        let index = first.then(|| processes.iter().position(|p| p.has_ended()).unwrap_or(0) as u32);
        self.boundary.deliver("commands.wait-any", &index)?;
        Ok(index)
    }
}

impl wit::HostProcess for StageState {
    fn id(&mut self, handle: Resource<Handle>) -> Result<u32> {
        Ok(self.table.get(&handle)?.0)
    }

    async fn wait(&mut self, handle: Resource<Handle>) -> Result<wit::Exit> {
        let ended = process(self, &handle)?.wait().await;
        self.boundary.deliver("commands.exit", &ended)?;
        Ok(lower_exit(ended))
    }

    async fn stop(&mut self, handle: Resource<Handle>, grace: u64) -> Result<wit::Exit> {
        let ended = process(self, &handle)?.stop(Duration::from_nanos(grace)).await;
        self.boundary.deliver("commands.exit", &ended)?;
        Ok(lower_exit(ended))
    }

    fn drop(&mut self, handle: Resource<Handle>) -> Result<()> {
        let Handle(number) = self.table.delete(handle)?;
        self.room::<Room>().programs.forget(number);
        Ok(())
    }
}

fn process(state: &mut StageState, handle: &Resource<Handle>) -> Result<Arc<Process>> {
    let number = state.table.get(handle)?.0;
    let programs = &state.room::<Room>().programs;
    programs.process(number).ok_or_else(|| wasmtime::Error::msg("a handle of a process that is gone"))
}

fn lift(command: wit::Command) -> Start {
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
