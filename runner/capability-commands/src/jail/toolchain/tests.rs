//! Version managers as they lay out their folders, made of empty files.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{Bind, Toolchain, ToolchainError, expand};

/// A home folder, a project in it, and the variables of a shell.
struct Machine {
    folder: tempfile::TempDir,
    variables: HashMap<&'static str, String>,
}

impl Machine {
    fn new() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine { folder, variables: HashMap::new() };
        fs::create_dir_all(machine.project()).unwrap();
        machine.variables.insert("HOME", machine.home().display().to_string());
        machine.variables.insert("PATH", machine.home().join("bin").display().to_string());
        machine
    }

    fn home(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("home/dev")
    }

    fn project(&self) -> PathBuf {
        self.home().join("project")
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An executable of the machine's own format, as far as anybody looks.
    fn native(&self, path: &str) {
        self.file(path, "\u{7f}ELF");
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn path(&mut self, folder: &str) {
        self.variables.insert("PATH", self.home().join(folder).display().to_string());
    }

    fn expand(&self, name: &str) -> Result<Toolchain, ToolchainError> {
        expand(name, &self.project(), &|name| self.variables.get(name).cloned())
    }

    /// What a toolchain adds to the system's binds, with the home folder as `~`.
    fn added(&self, name: &str) -> Vec<String> {
        let toolchain = self.expand(name).unwrap_or_else(|error| panic!("{error}"));
        assert!(toolchain.binds.iter().all(|bind| !bind.writable));
        let system = expand("system", Path::new("/"), &|_| None).unwrap().binds;
        let home = self.home().display().to_string();
        let show = |bind: &Bind| format!("{} -> {}", bind.host.display(), bind.inside.display()).replace(&home, "~");
        toolchain.binds.iter().filter(|bind| !system.contains(bind)).map(show).collect()
    }

    fn first_on_path(&self, name: &str) -> String {
        self.expand(name).unwrap().path[0].display().to_string().replace(&self.home().display().to_string(), "~")
    }
}

fn rustup() -> Machine {
    let mut machine = Machine::new();
    machine.path(".cargo/bin");
    machine.native(".cargo/bin/rustup");
    machine.link("rustup", ".cargo/bin/cargo");
    for name in ["stable-x86_64-unknown-linux-gnu", "1.95.0-x86_64-unknown-linux-gnu", "nightly-x86_64-unknown-linux-gnu"] {
        machine.native(&format!(".rustup/toolchains/{name}/bin/cargo"));
    }
    let settings = "default_host_triple = \"x86_64-unknown-linux-gnu\"\ndefault_toolchain = \"stable-x86_64-unknown-linux-gnu\"\n";
    machine.file(".rustup/settings.toml", settings);
    machine
}

fn rust(name: &str) -> Vec<String> {
    vec![format!("~/.rustup/toolchains/{name}-x86_64-unknown-linux-gnu -> /toolchain/rust")]
}

#[test]
fn rustup_decides_by_variable_then_nearest_folder_then_default() {
    let mut machine = rustup();
    assert_eq!(machine.added("rust"), rust("stable"));
    machine.file("rust-toolchain", "nightly\n");
    assert_eq!(machine.added("rust"), rust("nightly"));
    machine.file("project/rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\ncomponents = [\"clippy\"]\n");
    assert_eq!(machine.added("rust"), rust("1.95.0"));
    let project = machine.project();
    let settings = fs::read_to_string(machine.home().join(".rustup/settings.toml")).unwrap();
    machine.file(".rustup/settings.toml", &format!("{settings}[overrides]\n\"{}\" = \"nightly\"\n", project.display()));
    assert_eq!(machine.added("rust"), rust("nightly"));
    machine.variables.insert("RUSTUP_TOOLCHAIN", "stable".into());
    assert_eq!(machine.added("rust"), rust("stable"));
    assert_eq!(machine.first_on_path("rust"), "/toolchain/rust/bin");
}

#[test]
fn a_toolchain_file_may_name_a_path_or_nothing_that_decides() {
    let machine = rustup();
    machine.native("project/own/bin/cargo");
    machine.file("project/rust-toolchain.toml", "[toolchain]\npath = \"own\"\n");
    assert_eq!(machine.added("rust"), ["~/project/own -> /toolchain/rust"]);
    machine.file("project/rust-toolchain.toml", "[toolchain]\ntargets = [\"wasm32-wasip2\"]\n");
    assert_eq!(machine.added("rust"), rust("stable"));
    machine.file("project/rust-toolchain.toml", "[toolchain\n");
    assert!(matches!(machine.expand("rust"), Err(ToolchainError::BadName { path }) if path.ends_with("rust-toolchain.toml")));
}

#[test]
fn a_toolchain_that_is_not_installed_is_named() {
    let machine = rustup();
    machine.file("project/rust-toolchain.toml", "[toolchain]\nchannel = \"1.80\"\n");
    let error = machine.expand("rust").unwrap_err().to_string();
    assert!(error.contains("`1.80` is not installed") && error.contains("rustup toolchain install 1.80"), "{error}");
    fs::remove_file(machine.project().join("rust-toolchain.toml")).unwrap();
    machine.file(".rustup/settings.toml", "");
    assert!(matches!(machine.expand("rust"), Err(ToolchainError::RustNoDefault)));
}

#[test]
fn of_cargo_home_only_the_registry_is_shown() {
    let mut machine = rustup();
    machine.file(".cargo/credentials.toml", "[registry]\ntoken = \"hush\"\n");
    machine.file(".cargo/config.toml", "");
    machine.file(".cargo/registry/cache/x.crate", "");
    let added = machine.added("rust");
    assert_eq!(added[1..], ["~/.cargo/registry -> /home/stage/.cargo/registry"]);
    machine.variables.insert("CARGO_HOME", machine.home().join("elsewhere").display().to_string());
    machine.file("elsewhere/registry/index/x", "");
    assert_eq!(machine.added("rust")[1..], ["~/elsewhere/registry -> /home/stage/.cargo/registry"]);
    let env = machine.expand("rust").unwrap().env;
    assert_eq!(env, [("CARGO_HOME".into(), "/home/stage/.cargo".into()), ("CARGO_NET_OFFLINE".into(), "true".into())]);
}

#[test]
fn a_cargo_without_rustup_shows_its_own_folder() {
    let mut machine = Machine::new();
    machine.native("opt/rust/bin/cargo");
    machine.path("opt/rust/bin");
    assert_eq!(machine.added("rust"), ["~/opt/rust -> /toolchain/rust"]);
    // In the home folder's own `bin` there is more than cargo: only the file is shown.
    machine.native("bin/cargo");
    machine.path("bin");
    assert_eq!(machine.added("rust"), ["~/bin/cargo -> /toolchain/rust/bin/cargo"]);
    machine.path("nowhere");
    assert!(matches!(machine.expand("rust"), Err(ToolchainError::NotFound { program: "cargo", .. })));
}

#[test]
fn node_of_each_version_manager() {
    let mut machine = Machine::new();
    machine.native(".nvm/versions/node/v22.1.0/bin/node");
    machine.path(".nvm/versions/node/v22.1.0/bin");
    assert_eq!(machine.added("node"), ["~/.nvm/versions/node/v22.1.0 -> /toolchain/node"]);
    assert_eq!(machine.first_on_path("node"), "/toolchain/node/bin");

    // fnm: a link for each shell.
    machine.native(".local/share/fnm/node-versions/v20.0.0/installation/bin/node");
    let installation = machine.home().join(".local/share/fnm/node-versions/v20.0.0/installation");
    machine.link(installation.to_str().unwrap(), "run/fnm_multishells/1_2");
    machine.path("run/fnm_multishells/1_2/bin");
    assert_eq!(machine.added("node"), ["~/.local/share/fnm/node-versions/v20.0.0/installation -> /toolchain/node"]);

    // volta: a shim, a default, and what the project pins.
    machine.native(".volta/bin/volta-shim");
    machine.link("volta-shim", ".volta/bin/node");
    machine.path(".volta/bin");
    assert!(matches!(machine.expand("node"), Err(ToolchainError::Shim { .. })));
    machine.native(".volta/tools/image/node/20.9.0/bin/node");
    machine.native(".volta/tools/image/node/22.9.0/bin/node");
    machine.file(".volta/tools/user/platform.json", r#"{"node":{"runtime":"20.9.0","npm":null}}"#);
    assert_eq!(machine.added("node"), ["~/.volta/tools/image/node/20.9.0 -> /toolchain/node"]);
    machine.file("project/package.json", r#"{"name":"x","volta":{"node":"22.9.0"}}"#);
    assert_eq!(machine.added("node"), ["~/.volta/tools/image/node/22.9.0 -> /toolchain/node"]);
    machine.file("project/package.json", r#"{"name":"x","volta":{"node":"18.0.0"}}"#);
    assert!(matches!(machine.expand("node"), Err(ToolchainError::NotInstalled { version, .. }) if version == "18.0.0"));

    // asdf: a script, which says nothing without being run.
    machine.file(".asdf/shims/node", "#!/bin/sh\nexec asdf exec node\n");
    machine.path(".asdf/shims");
    let error = machine.expand("node").unwrap_err().to_string();
    assert!(error.contains("put the folder of the real one first on PATH"), "{error}");
}

#[test]
fn python_of_pyenv_is_shown_where_it_is() {
    let mut machine = Machine::new();
    machine.file(".pyenv/shims/python3", "#!/bin/sh\n");
    machine.path(".pyenv/shims");
    for version in ["3.9.1", "3.12.2", "3.12.10"] {
        machine.native(&format!(".pyenv/versions/{version}/bin/python3"));
    }
    machine.file(".pyenv/version", "3.9.1\n");
    assert_eq!(machine.added("python"), ["~/.pyenv/versions/3.9.1 -> ~/.pyenv/versions/3.9.1"]);
    assert_eq!(machine.first_on_path("python"), "~/.pyenv/versions/3.9.1/bin");
    // The newest, by number and not by letter.
    machine.file("project/.python-version", "# a comment\n3.12\n");
    assert_eq!(machine.added("python"), ["~/.pyenv/versions/3.12.10 -> ~/.pyenv/versions/3.12.10"]);
    machine.variables.insert("PYENV_VERSION", "3.8:system".into());
    assert_eq!(machine.added("python"), Vec::<String>::new());
    machine.variables.insert("PYENV_VERSION", "3.8".into());
    assert!(matches!(machine.expand("python"), Err(ToolchainError::NotInstalled { version, .. }) if version == "3.8"));
}

#[test]
fn a_virtual_environment_brings_what_it_is_built_on() {
    let mut machine = Machine::new();
    machine.native("opt/python/bin/python3");
    machine.native("project/.venv/bin/python3");
    let venv = machine.project().join(".venv");
    machine.variables.insert("VIRTUAL_ENV", venv.display().to_string());
    let home = machine.home().join("opt/python/bin");
    machine.file("project/.venv/pyvenv.cfg", &format!("home = {}\ninclude-system-site-packages = false\n", home.display()));
    assert_eq!(machine.added("python"), ["~/project/.venv -> ~/project/.venv", "~/opt/python -> ~/opt/python"]);
    assert_eq!(machine.first_on_path("python"), "~/project/.venv/bin");
    machine.file("project/.venv/pyvenv.cfg", "home = /usr/bin\n");
    assert_eq!(machine.added("python"), ["~/project/.venv -> ~/project/.venv"]);
    machine.file("project/.venv/pyvenv.cfg", "version = 3\n");
    assert!(matches!(machine.expand("python"), Err(ToolchainError::Unreadable { .. })));
}

#[test]
fn an_unknown_name_lists_the_known() {
    let error = Machine::new().expand("go").unwrap_err().to_string();
    assert!(super::NAMES.iter().all(|name| error.contains(name)), "{error}");
}

/// A commit that wants to see the keys of whoever runs the pipeline.
#[test]
fn files_of_the_project_can_name_no_folder_and_have_no_file_quoted() {
    let secret = "-----BEGIN KEY-----";
    let mut machine = rustup();
    machine.native(".ssh/bin/cargo");
    machine.file(".ssh/id", secret);
    let refused = |machine: &Machine, toolchain: &str, what: &str| {
        let error = machine.expand(toolchain).expect_err(what).to_string();
        assert!(!error.contains("BEGIN"), "{what}: {error}");
    };
    for text in [
        "[toolchain]\npath = \"../.ssh\"",
        "[toolchain]\npath = \".\"",
        "[toolchain]\nchannel = \"../../.ssh\"",
        "[toolchain]\nchannel = \"..\"",
        secret,
    ] {
        machine.file("project/rust-toolchain.toml", text);
        refused(&machine, "rust", text);
    }
    fs::remove_file(machine.project().join("rust-toolchain.toml")).unwrap();
    // A link is passed over, whatever it leads to.
    machine.link("../.ssh/id", "project/rust-toolchain");
    machine.link("../../.ssh", "project/toolchain");
    assert_eq!(machine.added("rust"), rust("stable"));
    machine.file("project/rust-toolchain.toml", "[toolchain]\npath = \"toolchain\"");
    refused(&machine, "rust", "a linked folder");

    machine.file(".pyenv/shims/python3", "#!/bin/sh\n");
    machine.native(".pyenv/bin/python3");
    machine.native(".pyenv/versions/3.9.1/bin/python3");
    machine.path(".pyenv/shims");
    for text in ["..", "../..", secret, "."] {
        machine.file("project/.python-version", text);
        refused(&machine, "python", text);
    }
    fs::remove_file(machine.project().join(".python-version")).unwrap();
    machine.link("../.ssh/id", "project/.python-version");
    machine.file(".pyenv/version", "3.9.1");
    assert_eq!(machine.added("python"), ["~/.pyenv/versions/3.9.1 -> ~/.pyenv/versions/3.9.1"]);

    machine.variables.insert("VIRTUAL_ENV", machine.project().join("venv").display().to_string());
    for home in [".ssh", ".ssh/bin", ".", ".pyenv/bin", "project"] {
        machine.file("project/venv/pyvenv.cfg", &format!("home = {}\n", machine.home().join(home).display()));
        refused(&machine, "python", home);
    }

    machine.native(".volta/bin/volta-shim");
    machine.link("volta-shim", ".volta/bin/node");
    machine.native(".ssh/bin/node");
    machine.path(".volta/bin");
    machine.file("project/package.json", r#"{"volta":{"node":"../../../../.ssh"}}"#);
    refused(&machine, "node", "a pinned path");
}

#[test]
fn hidden_folders_of_the_home_folder_are_never_shown_whole() {
    let mut machine = Machine::new();
    for (name, program) in [("rust", "cargo"), ("node", "node")] {
        machine.native(&format!(".local/bin/{program}"));
        machine.path(".local/bin");
        assert_eq!(machine.added(name), [format!("~/.local/bin/{program} -> /toolchain/{name}/bin/{program}")]);
    }
    // Cargo's own folder, with a cargo that is no proxy.
    machine.native(".cargo/bin/cargo");
    machine.path(".cargo/bin");
    assert_eq!(machine.added("rust"), ["~/.cargo/bin/cargo -> /toolchain/rust/bin/cargo"]);
    machine.native(".local/bin/python3");
    machine.path(".local/bin");
    assert!(matches!(machine.expand("python"), Err(ToolchainError::TooWide { .. })));
}
