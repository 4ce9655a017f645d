//! Components that only tests run: built once, for wasm32-wasip2, beside the bundled plugins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of a built guest of `tests/guests/`.
pub fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(build);
    folder.join(format!("guest_{name}.wasm"))
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let exe = std::env::current_exe().expect("a test is a program");
    // target/<profile>/deps/<test>; runner/bundled builds into the same folder
    let target = exe.ancestors().nth(3).expect("the target folder").join("plugins");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(root).args(["build", "--locked", "--quiet", "--profile", "plugin", "--target", "wasm32-wasip2"]);
    command.arg("--target-dir").arg(&target);
    for entry in std::fs::read_dir(root.join("tests/guests")).expect("tests/guests").flatten() {
        // the guests in other languages are made by `tests/guests/foreign`
        if !entry.path().join("Cargo.toml").is_file() {
            continue;
        }
        command.arg("-p").arg(format!("guest-{}", entry.file_name().to_string_lossy()));
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET_") || text.contains("RUSTFLAGS") {
            command.env_remove(&name);
        }
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "the guests of tests/guests do not build");
    target.join("wasm32-wasip2/plugin")
}
