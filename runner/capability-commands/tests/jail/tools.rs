//! Real toolchains doing real work inside. What this machine does not have is passed over, and said.

use std::fs;

use capability_commands::jail::{
    JailSpec,
    toolchain::{self, ToolchainError},
};

use crate::{
    Case,
    world::{World, run},
};

pub const CASES: &[Case] = &[
    ("cargo builds, tests and lints", cargo),
    ("cargo uses what was fetched before", cargo_with_dependency),
    ("node runs", node),
    ("python runs", python),
    ("a c compiler compiles", cc),
];

/// The world's jail with a toolchain, unless this machine has none.
fn with_toolchain(world: &World, name: &str) -> Option<JailSpec> {
    let toolchain = match toolchain::expand(name, &world.workspace(), &|name| std::env::var(name).ok()) {
        Ok(toolchain) => toolchain,
        Err(error @ ToolchainError::NotFound { .. }) => {
            println!("passed over: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let mut spec = world.spec();
    spec.binds.extend(toolchain.binds);
    spec.env.extend(toolchain.env);
    spec.path.splice(0..0, toolchain.path);
    Some(spec)
}

fn cargo() {
    let world = World::new();
    let Some(spec) = with_toolchain(&world, "rust") else { return };
    let work = world.workspace();
    fs::create_dir(work.join("src")).unwrap();
    fs::write(work.join("Cargo.toml"), "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n").unwrap();
    fs::write(
        work.join("src/main.rs"),
        "fn main() { println!(\"{}\", tiny()); }\nfn tiny() -> u32 { return 7; }\n#[test]\nfn seven() { assert_eq!(tiny(), 7); }\n",
    )
    .unwrap();
    world.with(spec, async |jail| {
        let output = run(jail, "cargo", &["run", "--quiet"]).await;
        assert_eq!(output.stdout, "7\n", "{output:?}");
        let output = run(jail, "cargo", &["test", "--quiet"]).await;
        assert!(output.stdout.contains("1 passed"), "{output:?}");
        let output = run(jail, "cargo", &["clippy"]).await;
        if !output.stderr.contains("no such command") {
            assert!(output.stderr.contains("needless_return"), "{output:?}");
        }
        // Of cargo's and rustup's folders only what is needed, and none of it writable.
        let output = run(
            jail,
            "sh",
            &[
                "-c",
                "find / -name 'credentials*' -not -path '/proc/*' -path '*cargo*' 2>/dev/null; ls -A ~/.cargo; touch /toolchain/rust/x",
            ],
        )
        .await;
        assert!(!output.stdout.contains("credentials") && !output.stdout.contains("bin"), "{output:?}");
        assert!(!output.status.success());
    });
    assert!(work.join("target/debug/tiny").is_file());
}

/// With a crate that this test itself depends on, so that it is there wherever the test is built from a registry.
fn cargo_with_dependency() {
    let world = World::new();
    let Some(spec) = with_toolchain(&world, "rust") else { return };
    let registry = spec.binds.iter().find(|bind| bind.inside.ends_with(".cargo/registry"));
    let sources = registry.into_iter().flat_map(|bind| fs::read_dir(bind.host.join("src")).into_iter().flatten().flatten());
    let crates = sources.flat_map(|source| fs::read_dir(source.path()).into_iter().flatten().flatten());
    let names = crates.filter_map(|unpacked| unpacked.file_name().into_string().ok());
    let Some(version) = names.filter_map(|name| Some(name.strip_prefix("cfg-if-")?.to_owned())).max() else {
        return println!("passed over: no cfg-if was ever fetched on this machine");
    };
    let work = world.workspace();
    fs::create_dir(work.join("src")).unwrap();
    let manifest =
        format!("[package]\nname = \"user\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ncfg-if = \"={version}\"\n");
    fs::write(work.join("Cargo.toml"), manifest).unwrap();
    fs::write(
        work.join("src/main.rs"),
        "fn main() { cfg_if::cfg_if! { if #[cfg(unix)] { println!(\"unix\") } else { println!(\"other\") } } }\n",
    )
    .unwrap();
    world.with(spec, async |jail| {
        let output = run(jail, "cargo", &["run", "--quiet"]).await;
        assert_eq!(output.stdout, "unix\n", "{output:?}");
    });
}

fn node() {
    let world = World::new();
    let Some(spec) = with_toolchain(&world, "node") else { return };
    world.with(spec, async |jail| {
        assert_eq!(run(jail, "node", &["-e", "console.log(6 * 7, process.env.HOME)"]).await.ok(), "42 /home/stage\n");
        // A server and a client in one, over loopback, by the name that everybody uses.
        let script = "const http = require('http'); const s = http.createServer((q, r) => r.end('served')).listen(0, () =>
            http.get('http://localhost:' + s.address().port, r => r.on('data', d => { console.log(String(d)); process.exit(0) })))";
        assert_eq!(run(jail, "node", &["-e", script]).await.ok(), "served\n");
        // Worker threads, child processes.
        let script = "const { execFileSync } = require('child_process'); console.log(String(execFileSync('echo', ['child'])).trim(), require('os').userInfo().username)";
        assert_eq!(run(jail, "node", &["-e", script]).await.ok(), "child stage\n");
    });
}

fn python() {
    let world = World::new();
    let Some(spec) = with_toolchain(&world, "python") else { return };
    world.with(spec, async |jail| {
        let script = "import json, subprocess, threading, multiprocessing, tempfile, ssl\n\
            with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2]), subprocess.check_output(['echo', 'child']))";
        assert_eq!(run(jail, "python3", &["-c", script]).await.ok(), "[1, 2] b'child\\n'\n");
    });
}

fn cc() {
    let world = World::new();
    world.with(world.spec(), async |jail| {
        fs::write(world.workspace().join("x.c"), "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n").unwrap();
        assert_eq!(run(jail, "sh", &["-c", "cc -o x x.c && ./x"]).await.ok(), "compiled\n");
    });
}
