//! `wasi:io`: our own streams and our own poll.
//!
//! Two kinds of streams exist. Those that are complete at once (files, standard input and output, request bodies) are always
//! ready. Those that wait for the world (a response's body) are ready when a [`Completion`] has been delivered, and every delivery
//! is recorded: that is the whole non-determinism of this interface.

mod host;
mod poll;
mod stream;

pub use poll::{Completion, Pollable};
pub use stream::{Input, InputStream, IoError, Output, OutputStream, StreamError};

use wasmtime::component::{HasSelf, Linker};

use crate::state::StageState;

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:capability;
            world io { import wasi:io/poll@0.2.12; import wasi:io/streams@0.2.12; }
        ",
        world: "runner:capability/io",
        imports: {
            "wasi:io/poll.poll": async | trappable,
            "wasi:io/poll.[method]pollable.block": async | trappable,
            "wasi:io/streams.[method]input-stream.blocking-read": async | trappable,
            "wasi:io/streams.[method]input-stream.blocking-skip": async | trappable,
            "wasi:io/streams.[method]output-stream.blocking-splice": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:io/poll.pollable": crate::io::Pollable,
            "wasi:io/streams.input-stream": crate::io::InputStream,
            "wasi:io/streams.output-stream": crate::io::OutputStream,
            "wasi:io/error.error": crate::io::IoError,
        },
        trappable_error_type: { "wasi:io/streams.stream-error" => crate::io::StreamError },
    });
}

/// Links `wasi:io/{error,poll,streams}`.
pub fn link(linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
    bindings::wasi::io::error::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    bindings::wasi::io::poll::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    bindings::wasi::io::streams::add_to_linker::<_, HasSelf<StageState>>(linker, |s| s)?;
    Ok(())
}
