//! Builds every plugin of `plugins/` for wasm32-wasip2 with a cargo of its own, and writes the list that `lib.rs` includes.
//!
//! The inner cargo gets its own target folder (sharing the outer one deadlocks on its lock) and none of the outer cargo's
//! environment (RUSTFLAGS and friends are for the host, not for WebAssembly).

#![allow(clippy::print_stdout, clippy::print_stderr)] // that is how a build script speaks

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let root = here.join("../..").canonicalize().expect("the workspace is two folders up");
    let plugins = root.join("plugins");
    let names = names(&plugins);
    for path in [root.join("wit"), root.join("Cargo.toml"), root.join("Cargo.lock"), here.join("build.rs")] {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    // what a plugin is made of, and no fixtures or documentation
    for folder in folders(&plugins) {
        for part in ["src", "Cargo.toml", "plugin.toml"] {
            println!("cargo:rerun-if-changed={}", plugins.join(&folder).join(part).display());
        }
    }

    if !target_is_installed(&root) {
        let added = cargo_like("rustup", &root).args(["target", "add", TARGET]).status();
        if !added.is_ok_and(|status| status.success()) || !target_is_installed(&root) {
            fail(&format!("the bundled plugins need the target {TARGET}: run `rustup target add {TARGET}` in the checkout"));
        }
    }
    // OUT_DIR is <target>/<profile>/build/<package>/out; the plugins' builds outlive a change of profile
    let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("plugins");
    let mut build = cargo_like(env::var_os("CARGO").unwrap_or("cargo".into()), &root);
    build.args(["build", "--locked", "--profile", "plugin", "--target", TARGET, "--target-dir"]).arg(&target_dir);
    for name in &names {
        build.arg("-p").arg(format!("plugin-{name}"));
    }
    match build.status() {
        Ok(status) if status.success() => {}
        Ok(_) => fail("building the bundled plugins failed; cargo said why above"),
        Err(error) => fail(&format!("cargo can't be started: {error}")),
    }

    let mut list = String::from("pub static PLUGINS: &[(&str, &[u8])] = &[\n");
    for name in &names {
        let built = target_dir.join(TARGET).join("plugin").join(format!("plugin_{}.wasm", name.replace('-', "_")));
        let copy = out.join(format!("{name}.wasm"));
        fs::copy(&built, &copy).unwrap_or_else(|error| fail(&format!("{}: {error}", built.display())));
        writeln!(list, "    ({name:?}, include_bytes!({:?})),", copy).expect("writing to a string");
    }
    list.push_str("];\n");
    fs::write(out.join("plugins.rs"), list).unwrap_or_else(|error| fail(&format!("plugins.rs: {error}")));
}

/// Folders with a manifest are plugins; the others are libraries for them.
fn names(plugins: &Path) -> Vec<String> {
    folders(plugins).into_iter().filter(|name| plugins.join(name).join("plugin.toml").is_file()).collect()
}

fn folders(plugins: &Path) -> Vec<String> {
    let entries = fs::read_dir(plugins).unwrap_or_else(|error| fail(&format!("{}: {error}", plugins.display())));
    let mut found: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    found.sort();
    found
}

fn target_is_installed(root: &Path) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = cargo_like(rustc, root).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// A command in the workspace's root without what the outer cargo put into the environment for its own build.
fn cargo_like(program: impl AsRef<OsStr>, root: &Path) -> Command {
    const KEPT: &[&str] = &["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_TERM_COLOR"];
    const KEPT_PREFIXES: &[&str] = &["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    const LEAKED: &[&str] = &[
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "TARGET",
        "HOST",
        "OUT_DIR",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "RUSTC_LINKER",
    ];
    let mut command = Command::new(program);
    command.current_dir(root);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let ours = name.starts_with("CARGO") && !KEPT.contains(&&*name) && !KEPT_PREFIXES.iter().any(|p| name.starts_with(p));
        if ours || LEAKED.contains(&&*name) || name.starts_with("DEP_") {
            command.env_remove(&key);
        }
    }
    command
}

fn fail(message: &str) -> ! {
    println!("cargo:warning={message}");
    eprintln!("error: {message}");
    exit(1);
}
