//! The toolchains of languages: where the version managers of this machine keep what the project uses.

use std::path::{Path, PathBuf};

use super::{Bind, Host, Toolchain, ToolchainError, is_name, is_native, project_file, system, unreadable};
use crate::jail::HOME;

/// rustup's toolchain that is active for the project, or a cargo without rustup.
///
/// The order in which rustup decides: <https://rust-lang.github.io/rustup/overrides.html>.
pub(super) fn rust(host: &Host<'_>) -> Result<Toolchain, ToolchainError> {
    let cargo_home = host.folder("CARGO_HOME", ".cargo");
    let own = || cargo_home.as_ref().map(|home| home.join("bin/cargo")).filter(|path| super::is_executable(path));
    let not_found = ToolchainError::NotFound { toolchain: "rust", program: "cargo" };
    let cargo = host.find("cargo").or_else(own).ok_or(not_found)?;
    let real = cargo.canonicalize().map_err(|error| unreadable(&cargo, &error))?;
    // A proxy is rustup under another name: a link to it, or a copy beside it.
    let proxy = real.file_name().is_some_and(|name| name == "rustup") || cargo.with_file_name("rustup").exists();
    let folder = if proxy { Some(active_rust(host)?) } else { prefix(&real) };

    let mut toolchain = system::toolchain();
    if let Some(folder) = folder {
        install(&mut toolchain, host, "rust", &folder, "cargo");
    }
    let home = Path::new(HOME).join(".cargo");
    if let Some(registry) = cargo_home.map(|home| home.join("registry")).filter(|path| path.is_dir()) {
        toolchain.binds.push(Bind::directory(registry, home.join("registry")));
    }
    toolchain.env.push(("CARGO_HOME".to_owned(), home.display().to_string()));
    toolchain.env.push(("CARGO_NET_OFFLINE".to_owned(), "true".to_owned()));
    Ok(toolchain)
}

fn active_rust(host: &Host<'_>) -> Result<PathBuf, ToolchainError> {
    let rustup = host.folder("RUSTUP_HOME", ".rustup").ok_or(ToolchainError::RustNoDefault)?;
    let settings: toml::Table = match std::fs::read_to_string(rustup.join("settings.toml")) {
        Ok(text) => text.parse().map_err(|error| unreadable(&rustup.join("settings.toml"), &error))?,
        Err(_) => toml::Table::new(),
    };
    let text = |table: &toml::Table, key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let overrides = settings.get("overrides").and_then(toml::Value::as_table);
    // The nearest folder decides, and in it a `rustup override` comes before a file.
    let in_folder = |folder: &Path| {
        let by_command = overrides.and_then(|table| text(table, folder.to_str()?)).map(|name| Ok(Wanted::Named(name)));
        by_command.or_else(|| by_file(host, folder))
    };
    let wanted = match host.variable("RUSTUP_TOOLCHAIN") {
        Some(name) => Wanted::Named(name),
        None => match host.above(in_folder).transpose()? {
            Some(wanted) => wanted,
            None => Wanted::Named(text(&settings, "default_toolchain").ok_or(ToolchainError::RustNoDefault)?),
        },
    };
    let name = match wanted {
        Wanted::At(path) => return Ok(path),
        Wanted::Named(name) if is_name(&name) => name,
        Wanted::Named(_) => return Err(ToolchainError::BadName { path: "RUSTUP_TOOLCHAIN".into() }),
    };
    let folder = rustup.join("toolchains");
    let triple = text(&settings, "default_host_triple").unwrap_or_else(|| format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let names = [name.clone(), format!("{name}-{triple}")];
    let installed = names.iter().map(|name| folder.join(name)).find_map(|path| path.canonicalize().ok());
    installed.ok_or(ToolchainError::RustNotInstalled { name, folder })
}

enum Wanted {
    Named(String),
    At(PathBuf),
}

/// What a folder's toolchain file asks for. The file without `.toml` may hold nothing but the name.
fn by_file(host: &Host<'_>, folder: &Path) -> Option<Result<Wanted, ToolchainError>> {
    let plain = folder.join("rust-toolchain");
    let files = [plain.clone(), folder.join("rust-toolchain.toml")];
    let (file, text) = files.into_iter().find_map(|path| project_file(&path).map(|text| (path, text)))?;
    let bad = || Some(Err(ToolchainError::BadName { path: file.clone() }));
    if file == plain && is_name(text.trim()) {
        return Some(Ok(Wanted::Named(text.trim().to_owned())));
    }
    // The parser's own words would quote the file.
    let Ok(table) = text.parse::<toml::Table>() else { return bad() };
    let toolchain = table.get("toolchain")?.as_table()?;
    let text = |key: &str| toolchain.get(key).and_then(toml::Value::as_str);
    match (text("channel"), text("path")) {
        (Some(name), _) if is_name(name) => Some(Ok(Wanted::Named(name.to_owned()))),
        (Some(_), _) => bad(),
        (None, Some(path)) => match (folder.join(path).canonicalize(), host.directory.canonicalize()) {
            (Ok(path), Ok(project)) if path.starts_with(&project) && path != project => Some(Ok(Wanted::At(path))),
            _ => bad(),
        },
        // A file that names components or targets only leaves the choice to what comes after it.
        (None, None) => None,
    }
}

/// The node that the runner's PATH leads to: the system's, nvm's, fnm's, or volta's.
pub(super) fn node(host: &Host<'_>) -> Result<Toolchain, ToolchainError> {
    let node = host.find("node").ok_or(ToolchainError::NotFound { toolchain: "node", program: "node" })?;
    let mut real = node.canonicalize().map_err(|error| unreadable(&node, &error))?;
    if real.file_name().is_some_and(|name| name == "volta-shim") {
        real = volta_node(host)?;
    }
    if !is_native(&real) {
        return Err(ToolchainError::Shim { toolchain: "node", path: node });
    }
    let mut toolchain = system::toolchain();
    if let Some(folder) = prefix(&real) {
        install(&mut toolchain, host, "node", &folder, "node");
    }
    // Nothing to fetch from: say so at once instead of after the retries.
    toolchain.env.push(("npm_config_offline".to_owned(), "true".to_owned()));
    toolchain.env.push(("npm_config_update_notifier".to_owned(), "false".to_owned()));
    Ok(toolchain)
}

/// What volta's shim would start: the version that `package.json` pins, or else the user's default.
fn volta_node(host: &Host<'_>) -> Result<PathBuf, ToolchainError> {
    let volta = host.folder("VOLTA_HOME", ".volta").ok_or(ToolchainError::NotFound { toolchain: "node", program: "node" })?;
    let json = |path: &Path| serde_json::from_str::<serde_json::Value>(&project_file(path)?).ok();
    let pinned = host.above(|folder| Some(json(&folder.join("package.json"))?.pointer("/volta/node")?.as_str()?.to_owned()));
    let default = || Some(json(&volta.join("tools/user/platform.json"))?.pointer("/node/runtime")?.as_str()?.to_owned());
    let folder = volta.join("tools/image/node");
    let version = pinned.or_else(default).ok_or_else(|| ToolchainError::Shim { toolchain: "node", path: volta.join("bin/node") })?;
    if !is_name(&version) {
        return Err(ToolchainError::BadName { path: host.directory.join("package.json") });
    }
    let node = folder.join(&version).join("bin/node");
    node.canonicalize().map_err(|_| ToolchainError::NotInstalled { toolchain: "node", version, folder })
}

/// The active virtual environment with what it is built on, or pyenv's version, or the python that PATH leads to.
///
/// At the same place inside as outside: scripts such as `pytest` name their interpreter by its path.
pub(super) fn python(host: &Host<'_>) -> Result<Toolchain, ToolchainError> {
    let mut toolchain = system::toolchain();
    toolchain.env.push(("PIP_DISABLE_PIP_VERSION_CHECK".to_owned(), "1".to_owned()));
    if let Some(venv) = host.variable("VIRTUAL_ENV").map(PathBuf::from).filter(|path| path.is_absolute()) {
        let settings = venv.join("pyvenv.cfg");
        let text = project_file(&settings).ok_or_else(|| unreadable(&settings, &"it is missing, or no plain file"))?;
        let base = text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "home").then(|| PathBuf::from(value.trim()))
        });
        let base = base.ok_or_else(|| unreadable(&settings, &"it has no line `home = …`"))?;
        if host.too_wide(&venv) {
            return Err(ToolchainError::TooWide { toolchain: "python", path: venv });
        }
        toolchain.binds.push(Bind::directory(&venv, &venv));
        toolchain.path.insert(0, venv.join("bin"));
        toolchain.env.push(("VIRTUAL_ENV".to_owned(), venv.display().to_string()));
        return same_place(toolchain, host, &base, false);
    }
    let not_found = ToolchainError::NotFound { toolchain: "python", program: "python3" };
    let python = host.find("python3").or_else(|| host.find("python")).ok_or(not_found)?;
    let pyenv = host.folder("PYENV_ROOT", ".pyenv");
    let bin = match pyenv.filter(|root| python.starts_with(root.join("shims"))) {
        Some(root) => match pyenv_version(host, &root)? {
            Some(version) => root.join("versions").join(version).join("bin"),
            // pyenv's word for whatever else is on PATH.
            None => PathBuf::from("/usr/bin"),
        },
        None => {
            let real = python.canonicalize().map_err(|error| unreadable(&python, &error))?;
            if !is_native(&real) {
                return Err(ToolchainError::Shim { toolchain: "python", path: python });
            }
            real.parent().map_or_else(|| PathBuf::from("/usr/bin"), Path::to_owned)
        }
    };
    same_place(toolchain, host, &bin, true)
}

/// The first installed of the versions that pyenv is told to use: by variable, by `.python-version`, or for all of the user's shells.
fn pyenv_version(host: &Host<'_>, root: &Path) -> Result<Option<String>, ToolchainError> {
    let file = |path: PathBuf| project_file(&path);
    let wanted = host.variable("PYENV_VERSION").map(|versions| versions.replace(':', "\n"));
    let wanted = wanted.or_else(|| host.above(|folder| file(folder.join(".python-version")))).or_else(|| file(root.join("version")));
    let wanted = wanted.unwrap_or_else(|| "system".to_owned());
    let words: Vec<&str> = wanted.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|word| !word.is_empty()).collect();
    let folder = root.join("versions");
    for word in &words {
        if *word == "system" {
            return Ok(None);
        }
        if !is_name(word) {
            return Err(ToolchainError::BadName { path: host.directory.join(".python-version") });
        }
        if let Some(version) = installed_python(&folder, word) {
            return Ok(Some(version));
        }
    }
    Err(ToolchainError::NotInstalled { toolchain: "python", version: words.join(", "), folder })
}

/// `3.12` means the newest installed 3.12.x.
fn installed_python(folder: &Path, word: &str) -> Option<String> {
    if folder.join(word).is_dir() {
        return Some(word.to_owned());
    }
    let last = |name: &str| name.strip_prefix(word)?.strip_prefix('.')?.parse::<u32>().ok();
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Some((last(&name)?, name))).max().map(|(_, name)| name)
}

/// Shows the installation that a `bin` folder belongs to where it is, unless the system's binds do.
fn same_place(mut toolchain: Toolchain, host: &Host<'_>, bin: &Path, on_path: bool) -> Result<Toolchain, ToolchainError> {
    let real = bin.canonicalize().map_err(|error| unreadable(bin, &error))?;
    if system::shows(&real) {
        return Ok(toolchain);
    }
    // What a virtual environment names comes from a file: it must at least be a python's.
    if !["python3", "python"].iter().any(|name| super::is_executable(&real.join(name))) {
        return Err(ToolchainError::NotFound { toolchain: "python", program: "python3" });
    }
    let Some(folder) = real.parent().filter(|parent| !host.too_wide(parent)) else {
        return Err(ToolchainError::TooWide { toolchain: "python", path: real });
    };
    toolchain.binds.push(Bind::directory(folder, folder));
    // Links that name the installation by another path than the real one must still lead to it.
    if let Some(alias) = bin.parent().filter(|alias| *alias != folder) {
        toolchain.binds.push(Bind::directory(folder, alias));
    }
    if on_path {
        toolchain.path.insert(0, real);
    }
    Ok(toolchain)
}

/// The folder that an installation's `bin/program` lies in.
fn prefix(program: &Path) -> Option<PathBuf> {
    let bin = program.parent()?;
    Some(if bin.file_name()? == "bin" { bin.parent()? } else { bin }.to_owned())
}

/// Shows an installation that does not mind where it is at `/toolchain/<name>`, unless the system's binds show it.
fn install(toolchain: &mut Toolchain, host: &Host<'_>, name: &str, folder: &Path, program: &str) {
    if system::shows(folder) {
        return;
    }
    let inside = Path::new("/toolchain").join(name);
    let bin = if folder.join("bin").join(program).exists() { "bin" } else { "" };
    if host.too_wide(folder) {
        // A program in somebody's home folder's own `bin`: the file alone.
        toolchain.binds.push(Bind::file(folder.join(bin).join(program), inside.join("bin").join(program)));
        toolchain.path.insert(0, inside.join("bin"));
    } else {
        toolchain.path.insert(0, inside.join(bin));
        toolchain.binds.push(Bind::directory(folder, inside));
    }
}
