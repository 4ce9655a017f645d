//! `runner:kubernetes/pods`.

use std::time::Duration;

use admission::Subresource;
use bytes::Bytes;
use capability::{Ask, StageState};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::runner::kubernetes::pods as wit;
use super::bindings::runner::kubernetes::types::Error;
use super::{Call, Reply, lifted, lower_denial, lower_fault};
use crate::backend::Connected;
use crate::effect::{Answer, Captured, Exec, Exit, Forward, Logs, Output};
use crate::forward::is_label;
use crate::logs::Piece;
use crate::place::Place;
use crate::{ForwardHandle, LogHandle, Room};

impl Call {
    /// A part of a Pod or a Service.
    fn part(&self, plural: &str, namespace: Option<&str>, name: &str, part: Subresource) -> std::result::Result<Place, Error> {
        let kind = admission::Kind::new("", "v1", plural);
        let place = kind.and_then(|kind| Place::one(kind, namespace, self.attempt.namespace(), name));
        place.and_then(|place| place.part(part)).map_err(|mistake| Error::Invalid(mistake.to_string()))
    }
}

impl wit::Host for StageState {
    async fn logs(&mut self, pod: wit::Pod, options: wit::LogOptions) -> Reply<Resource<LogHandle>> {
        let call = Call::of(self);
        let target = lifted!(call.part("pods", pod.namespace.as_deref(), &pod.name, Subresource::Log));
        let logs = Logs {
            number: call.attempt.number(),
            target,
            container: pod.container,
            follow: options.follow,
            previous: options.previous,
            tail: options.tail,
            since: Duration::from_nanos(options.since),
            timestamps: options.timestamps,
        };
        lifted!(call.read(logs.clone()).await?);
        let number = logs.number;
        call.attempt.remember_log(logs);
        Ok(Ok(self.table.push(LogHandle(number))?))
    }

    async fn exec(&mut self, pod: wit::Pod, command: wit::Command) -> Reply<wit::Exit> {
        let call = Call::of(self);
        let target = lifted!(call.part("pods", pod.namespace.as_deref(), &pod.name, Subresource::Exec));
        let exec = Exec {
            number: call.attempt.number(),
            target,
            container: pod.container,
            arguments: command.arguments,
            stdin: command.stdin,
            stdout: lift_output(command.stdout),
            stderr: lift_output(command.stderr),
            timeout: (command.timeout > 0).then(|| Duration::from_nanos(command.timeout)),
        };
        let crossed = call.boundary.cross(&call.attempt.rules(), exec, &Connected(&call.attempt)).await;
        match crossed {
            Ok(exit) => Ok(exit.map(lower_exit).map_err(lower_fault)),
            Err(refusal) => Ok(Err(lower_denial(refusal.denial()?))),
        }
    }

    async fn forward(
        &mut self,
        namespace: Option<String>,
        destination: wit::Destination,
        port: u16,
        name: String,
    ) -> Reply<Resource<ForwardHandle>> {
        let call = Call::of(self);
        if !is_label(&name) || port == 0 {
            let words = format!("`{}` and port {port}: a name is a DNS label, and a port is not 0", name.escape_debug());
            return Ok(Err(Error::Invalid(words)));
        }
        let (plural, object) = match &destination {
            wit::Destination::Pod(object) => ("pods", object),
            wit::Destination::Service(object) => ("services", object),
        };
        let target = lifted!(call.part(plural, namespace.as_deref(), object, Subresource::PortForward));
        lifted!(call.read(Forward { target, port, name: name.clone() }).await?);
        Ok(Ok(self.table.push(ForwardHandle { name, port })?))
    }
}

impl wit::HostLog for StageState {
    async fn read(&mut self, handle: Resource<LogHandle>, max: u32, timeout: u64) -> Reply<Option<Vec<u8>>> {
        let number = self.table.get(&handle)?.0;
        let Call { attempt, boundary } = Call::of(self);
        let Some(log) = attempt.log(number) else { return Ok(Err(Error::NotFound(format!("log {number} is closed")))) };
        let deadline = boundary.deadline(timeout);
        let ask = Ask::new("kubernetes.log", &(number, max, timeout))?.waits(deadline.until);
        let replays = boundary.replays();
        let look = async {
            let (piece, bytes) = log.read(max, deadline, &boundary).await;
            Ok((piece, Bytes::from(bytes)))
        };
        let (piece, bytes): (Answer<Piece>, _) = boundary.deliver(&ask, look).await?;
        let piece = lifted!(piece.map_err(lower_fault));
        if replays {
            log.recalled(&piece).await;
        }
        Ok(Ok((!piece.ended || !bytes.is_empty()).then(|| bytes.to_vec())))
    }

    fn drop(&mut self, handle: Resource<LogHandle>) -> Result<()> {
        let LogHandle(number) = self.table.delete(handle)?;
        self.room::<Room>().attempt.forget_log(number);
        Ok(())
    }
}

impl wit::HostForwarding for StageState {
    fn url(&mut self, handle: Resource<ForwardHandle>) -> Result<String> {
        let ForwardHandle { name, port } = self.table.get(&handle)?;
        Ok(format!("http://{name}.stage:{port}"))
    }

    fn drop(&mut self, handle: Resource<ForwardHandle>) -> Result<()> {
        let ForwardHandle { name, .. } = self.table.delete(handle)?;
        self.room::<Room>().attempt.forget_name(&name);
        Ok(())
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

fn lower_exit(exit: Exit) -> wit::Exit {
    let captured = |captured: Captured| wit::Captured { path: captured.path, size: captured.size };
    wit::Exit {
        code: exit.code,
        timed_out: exit.timed_out,
        duration: u64::try_from(exit.duration.as_nanos()).unwrap_or(u64::MAX),
        stdout: exit.stdout.map(captured),
        stderr: exit.stderr.map(captured),
    }
}
