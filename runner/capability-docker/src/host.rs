//! The host functions of `runner:docker`: lift, cross, lower.

mod builds;
mod images;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capability::{Ask, Boundary, Denial, StageState};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::backend::Starter;
use crate::containers::Attempt;
use crate::effect::{self, Answer, Copy, Exec, Exit, Fault, Mount, Network, Output, Run, State, Way};
use crate::{Handle, Room};

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:host-docker;
            world docker {
                import runner:docker/containers@0.1.0;
                import runner:docker/images@0.1.0;
                import runner:docker/builds@0.1.0;
            }
        ",
        world: "runner:host-docker/docker",
        imports: { default: async | trappable, "runner:docker/containers.[method]container.number": trappable, "runner:docker/containers.[drop]container": trappable },
        require_store_data_send: true,
        with: { "runner:docker/containers.container": crate::Handle },
    });
}

use bindings::runner::docker::containers as wit;
use bindings::runner::docker::types::{self as wit_types, Error};

type Reply<T> = Result<std::result::Result<T, Error>>;

/// One call: the attempt, and the boundary that it crosses.
struct Call {
    attempt: Arc<Attempt>,
    boundary: Boundary,
}

impl Call {
    fn of(state: &mut StageState) -> Call {
        let boundary = state.boundary.clone();
        let room: &mut Room = state.room();
        if boundary.replays() {
            room.revive_at(&boundary);
        }
        Call { attempt: room.attempt.clone(), boundary }
    }

    fn starter(&self) -> Starter<'_> {
        Starter { attempt: &self.attempt, boundary: &self.boundary }
    }
}

/// Crosses, and gives the reply as the guest is to have it.
macro_rules! crossed {
    ($call:expr, $effect:expr) => {
        match $call.boundary.cross(&$call.attempt.rules(), $effect, &$call.starter()).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(fault)) => Err(lower_fault(fault)),
            Err(refusal) => Err(Error::Denied(lower_denial(refusal.denial()?))),
        }
    };
}
use crossed;

impl wit_types::Host for StageState {}

impl wit::Host for StageState {
    async fn run(&mut self, spec: wit::Spec) -> Reply<Resource<Handle>> {
        let call = Call::of(self);
        let run = lift(spec, call.attempt.number());
        let number = run.number;
        if let Err(error) = crossed!(call, run.clone()) {
            return Ok(Err(error));
        }
        call.attempt.remember(run);
        Ok(Ok(self.table.push(Handle(number))?))
    }

    async fn wait_any(&mut self, containers: Vec<Resource<Handle>>, timeout: u64) -> Result<Option<u32>> {
        let numbers = containers.iter().map(|handle| Ok(self.table.get(handle)?.0)).collect::<Result<Vec<u32>>>()?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let Call { attempt, boundary } = Call::of(self);
        let find = async {
            let mut waited = Vec::new();
            for number in &numbers {
                waited.push(attempt.found(*number, &boundary).await?);
            }
            Ok(waited)
        };
        Ok(boundary.wait_any("docker.wait-any", &numbers, timeout, find).await?)
    }
}

impl wit::HostContainer for StageState {
    fn number(&mut self, handle: Resource<Handle>) -> Result<u32> {
        Ok(self.table.get(&handle)?.0)
    }

    async fn wait(&mut self, handle: Resource<Handle>) -> Reply<wit::Exit> {
        exit(self, &handle, None).await
    }

    async fn stop(&mut self, handle: Resource<Handle>, grace: u64) -> Reply<wit::Exit> {
        exit(self, &handle, Some(Duration::from_nanos(grace))).await
    }

    async fn exec(&mut self, handle: Resource<Handle>, exec: wit::Exec) -> Reply<wit::Exit> {
        let container = self.table.get(&handle)?.0;
        let call = Call::of(self);
        let exec = Exec {
            container,
            number: call.attempt.number(),
            arguments: exec.arguments,
            env: exec.env,
            directory: exec.directory,
            stdout: lift_output(exec.stdout),
            stderr: lift_output(exec.stderr),
            timeout: lift_timeout(exec.timeout),
        };
        Ok(crossed!(call, exec).map(lower_exit))
    }

    async fn copy_in(&mut self, handle: Resource<Handle>, source: String, target: String) -> Reply<()> {
        copy(self, &handle, Way::In, source, target).await
    }

    async fn copy_out(&mut self, handle: Resource<Handle>, source: String, target: String) -> Reply<()> {
        copy(self, &handle, Way::Out, target, source).await
    }

    async fn inspect(&mut self, handle: Resource<Handle>) -> Reply<wit::State> {
        let container = self.table.get(&handle)?.0;
        let call = Call::of(self);
        Ok(crossed!(call, State { container }).map(|effect::Standing { running, id, image, started, ended }| wit::State {
            running,
            id,
            image,
            started,
            ended,
        }))
    }

    fn drop(&mut self, handle: Resource<Handle>) -> Result<()> {
        let Handle(number) = self.table.delete(handle)?;
        let replays = self.boundary.replays();
        self.room::<Room>().attempt.forget(number, replays);
        Ok(())
    }
}

async fn copy(state: &mut StageState, handle: &Resource<Handle>, way: Way, here: String, there: String) -> Reply<()> {
    let container = state.table.get(handle)?.0;
    let call = Call::of(state);
    let mounted = call.attempt.mounted(container);
    Ok(crossed!(call, Copy { container, way, here, there, mounted }))
}

/// Waits for the end; with a grace, asks for it first.
async fn exit(state: &mut StageState, handle: &Resource<Handle>, stop: Option<Duration>) -> Reply<wit::Exit> {
    let number = state.table.get(handle)?.0;
    let Call { attempt, boundary } = Call::of(state);
    let ask = Ask::new("docker.exit", &(number, stop))?.of(attempt.line(number)).promptly();
    let look = async {
        let ended = match stop {
            None => attempt.found(number, &boundary).await?.wait().await,
            Some(grace) => attempt.stop(number, grace, &boundary).await?,
        };
        Ok((ended, Bytes::new()))
    };
    let (ended, _): (Answer<Exit>, _) = boundary.deliver(&ask, look).await?;
    attempt.known(number, &ended);
    Ok(ended.map(lower_exit).map_err(lower_fault))
}

fn lift(spec: wit::Spec, number: u32) -> Run {
    let network = match spec.network {
        wit::Network::None => Network::None,
        wit::Network::Stage => Network::Stage,
        wit::Network::Granted => Network::Granted,
    };
    let mount = |mount: wit::Mount| Mount { source: mount.source, target: mount.target, writable: mount.writable };
    Run {
        number,
        image: spec.image,
        entrypoint: spec.entrypoint,
        arguments: spec.arguments,
        env: spec.env,
        directory: spec.directory,
        user: spec.user,
        mounts: spec.mounts.into_iter().map(mount).collect(),
        network,
        read_only_root: spec.read_only_root,
        memory: spec.memory,
        cpus: spec.cpus,
        pids: spec.pids,
        stdin: spec.stdin,
        stdout: lift_output(spec.stdout),
        stderr: lift_output(spec.stderr),
        timeout: lift_timeout(spec.timeout),
        name: (!spec.name.is_empty()).then_some(spec.name),
    }
}

fn lift_output(output: wit::Output) -> Output {
    match output {
        wit::Output::Log => Output::Log,
        wit::Output::Capture => Output::Capture,
        wit::Output::Both => Output::Both,
        wit::Output::Discard => Output::Discard,
    }
}

fn lift_timeout(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

fn lower_denial(denial: Denial) -> bindings::runner::boundary::types::Denial {
    let event::DenialRecord { effect, subject, code, reason, remedy } = denial.record();
    bindings::runner::boundary::types::Denial { effect, subject, code, reason, remedy }
}

fn lower_fault(fault: Fault) -> Error {
    match fault {
        Fault::NotFound(text) => Error::NotFound(text),
        Fault::Invalid(text) => Error::Invalid(text),
        Fault::Conflict(text) => Error::Conflict(text),
        Fault::Registry(text) => Error::Registry(text),
        Fault::Engine(text) => Error::Engine(text),
        Fault::Limit(text) => Error::Limit(text),
    }
}

fn lower_exit(exit: Exit) -> wit::Exit {
    let captured = |captured: effect::Captured| wit::Captured { path: captured.path, size: captured.size };
    wit::Exit {
        code: exit.code,
        out_of_memory: exit.out_of_memory,
        timed_out: exit.timed_out,
        duration: u64::try_from(exit.duration.as_nanos()).unwrap_or(u64::MAX),
        stdout: exit.stdout.map(captured),
        stderr: exit.stderr.map(captured),
    }
}
