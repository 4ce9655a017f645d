//! What a stage can do with a secret that it must not have.

use std::io::Write;

use runner_sdk::secrets;

use crate::result::{Attempted, refused};

/// Says whether it was given the bytes, and says them.
pub fn read(name: &str) -> Attempted {
    match secrets::read(name) {
        Ok(bytes) => Attempted::Ok(format!("{} bytes: {}", bytes.len(), String::from_utf8_lossy(&bytes))),
        Err(secrets::Error::Denied(denial)) => refused(denial.code),
        Err(error) => Attempted::Error(error.to_string()),
    }
}

pub fn placeholder(name: &str) -> Attempted {
    match secrets::placeholder(name) {
        Ok(text) => Attempted::Ok(text),
        Err(secrets::Error::Denied(denial)) => refused(denial.code),
        Err(error) => Attempted::Error(error.to_string()),
    }
}

/// Writes all of its own memory into a file.
pub fn memory_to(path: &str) -> Attempted {
    #[cfg(target_arch = "wasm32")]
    let size = core::arch::wasm32::memory_size(0) * 65_536;
    #[cfg(not(target_arch = "wasm32"))]
    let size = 0;
    // address 0 is no address in Rust
    let start = 16;
    // SAFETY: a component's linear memory is there from its first byte to its last, and only this thread writes to it.
    let memory = unsafe { std::slice::from_raw_parts(start as *const u8, size - start) };
    match std::fs::File::create(path).and_then(|mut file| file.write_all(memory)) {
        Ok(()) => Attempted::Ok(format!("{size} bytes")),
        Err(error) => Attempted::Error(error.to_string()),
    }
}
