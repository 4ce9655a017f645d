//! SIGTERM and SIGINT as something to wait for.
//!
//! A signal handler may do next to nothing (signal-safety(7)); this one writes the signal's number into a pipe, and a thread reads it at leisure.
//! The standard library has pipes but no signals, so that two functions of the C library are called by hand.

use std::ffi::c_int;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;

/// The writing end of the pipe; it stays open for the life of the process, since a handler may run at any time.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Signals that have arrived.
#[derive(Debug)]
pub struct Signals {
    pipe: PipeReader,
}

/// Takes SIGTERM and SIGINT from now on: they no longer end the process by themselves.
///
/// # Errors
/// The system's, if there can be no pipe or no handler.
pub fn watch() -> io::Result<Signals> {
    let (reader, writer) = io::pipe()?;
    PIPE.store(writer.as_raw_fd(), Ordering::SeqCst);
    let _stays_open = writer.into_raw_fd();
    handle(SIGTERM)?;
    handle(SIGINT)?;
    Ok(Signals { pipe: reader })
}

impl Signals {
    /// Waits for the next signal and says its name.
    pub fn wait(mut self) -> &'static str {
        let mut number = [0];
        match self.pipe.read_exact(&mut number).map(|()| c_int::from(number[0])) {
            Ok(SIGINT) => "SIGINT",
            Ok(_) => "SIGTERM",
            // Not reached while the process holds the writing end; ending is the safe reading of a broken pipe.
            Err(_) => "signal pipe closed",
        }
    }
}

#[allow(unsafe_code)]
fn handle(number: c_int) -> io::Result<()> {
    unsafe extern "C" {
        fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    }
    const SIG_ERR: usize = usize::MAX;

    // SAFETY: the signature is that of signal(3), whose handler type is a pointer, and `note` calls only async-signal-safe functions.
    let before = unsafe { signal(number, note) };
    if before == SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[allow(unsafe_code)]
extern "C" fn note(number: c_int) {
    unsafe extern "C" {
        fn write(file: c_int, bytes: *const u8, length: usize) -> isize;
    }
    let byte = number as u8;
    // SAFETY: write(2) is async-signal-safe, the buffer is one live byte, and the descriptor is never closed. A full pipe means that
    // a signal is waiting already, so the result says nothing of use.
    unsafe { write(PIPE.load(Ordering::SeqCst), &raw const byte, 1) };
}
