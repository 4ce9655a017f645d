//! Builds the holder (`holder/main.rs`), the first process of a pod, for the runner's own target.
//!
//! It has no dependencies and no C library, so `rustc` alone makes it, in a second: no further target, no cargo of its own. None of the outer build's
//! flags reach it, and nothing of where it was built does: the same compiler makes the same bytes anywhere, and with them the same image.

#![allow(clippy::print_stdout, clippy::print_stderr)] // that is how a build script speaks

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    // it has no C library: that of a static runner makes no difference to it
    let target = env::var("TARGET").expect("cargo sets it").replace("-musl", "-gnu");
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=holder");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    if !matches!(target.as_str(), "x86_64-unknown-linux-gnu" | "aarch64-unknown-linux-gnu") {
        fail(&format!("the holder of pods knows the system calls of Linux on x86_64 and aarch64, and not those of {target}"));
    }

    let mut build = Command::new(rustc);
    build.current_dir(&here).args(["holder/main.rs", "--crate-name=holder", "--crate-type=bin", "--edition=2024"]);
    build.arg(format!("--target={target}")).arg("-o").arg(out.join("holder"));
    for option in ["opt-level=2", "panic=abort", "codegen-units=1", "relocation-model=static", "strip=symbols", "debuginfo=0"] {
        build.arg(format!("-C{option}"));
    }
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none"] {
        build.arg(format!("-Clink-arg={argument}"));
    }
    build.arg(format!("--remap-path-prefix={}=", here.display()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("-Clinker=");
        option.push(linker);
        build.arg(option);
    }
    match build.status() {
        Ok(status) if status.success() => {}
        Ok(_) => fail("building the holder of pods failed; rustc said why above. It needs a C compiler to link with, as Rust does"),
        Err(error) => fail(&format!("rustc can't be started: {error}")),
    }
}

fn fail(message: &str) -> ! {
    println!("cargo:warning={message}");
    eprintln!("error: {message}");
    exit(1);
}
