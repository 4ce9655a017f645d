//! `doctor`: what works on this machine, found out by trying, and how to mend what does not.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use capability_commands::jail::{self, toolchain};
use serde_json::json;

use crate::args::{Format, Global};
use crate::error::{CliError, Ending};
use crate::load;
use crate::style::Style;

enum Level {
    Good,
    /// Something optional is missing.
    Missing,
    Bad,
}

struct Finding {
    level: Level,
    what: &'static str,
    text: String,
    mend: Option<String>,
}

pub fn run(global: &Global, out: &mut dyn Write) -> Result<Ending, CliError> {
    let findings =
        [confinement(), code_store(), files(), docker(), kubernetes(), toolchain("rust"), toolchain("node"), toolchain("python")];
    let bad = findings.iter().any(|f| matches!(f.level, Level::Bad));
    let write = |out: &mut dyn Write| -> io::Result<()> {
        if global.format == Format::Json {
            let list: Vec<_> = findings.iter().map(as_json).collect();
            return writeln!(out, "{}", json!(list));
        }
        let style = Style::new(load::color(global, &io::stdout()));
        for finding in &findings {
            let mark = match finding.level {
                Level::Good => style.good("ok     "),
                Level::Missing => style.faint("missing"),
                Level::Bad => style.bad("BAD    "),
            };
            writeln!(out, "{mark}  {:<16} {}", finding.what, finding.text)?;
            if let Some(mend) = &finding.mend {
                writeln!(out, "         {:<16} {} {mend}", "", style.note("help:"))?;
            }
        }
        Ok(())
    };
    write(out).map_err(anyhow::Error::from)?;
    Ok(if bad { Ending::Failed } else { Ending::Ok })
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let level = match finding.level {
        Level::Good => "ok",
        Level::Missing => "missing",
        Level::Bad => "bad",
    };
    json!({ "check": finding.what, "level": level, "text": finding.text, "help": finding.mend })
}

fn confinement() -> Finding {
    let what = "confinement";
    match jail::probe() {
        Ok(support) => {
            let landlock = match support.landlock_abi {
                Some(abi) => format!("Landlock ABI {abi} behind it"),
                None => "no Landlock behind it (the kernel has none)".to_owned(),
            };
            let text = format!("commands in = \"process\" are confined in {:.1} ms; {landlock}", support.took.as_secs_f64() * 1e3);
            Finding { level: Level::Good, what, text, mend: None }
        }
        Err(unsupported) => Finding {
            level: Level::Bad,
            what,
            text: format!("commands in = \"process\" can't run here (cannot {})", unsupported.refused),
            mend: Some(format!("{}; or run with --unconfined", unsupported.reason.remedy())),
        },
    }
}

/// Where compiled plugins are kept: `$XDG_CACHE_HOME/runner`, or `~/.cache/runner`.
pub fn cache_folder() -> Result<PathBuf, CliError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("runner"))
        .ok_or_else(|| CliError::usage("there is no folder for compiled plugins", "set HOME or XDG_CACHE_HOME to an absolute path"))
}

fn code_store() -> Finding {
    let what = "compiled plugins";
    let opened = cache_folder().map_err(|e| e.to_string()).and_then(|folder| {
        let folder = folder.join("compiled");
        host::CodeStore::open(&folder, &load::exe()).map(|_| folder).map_err(|e| e.to_string())
    });
    match opened {
        Ok(folder) => Finding { level: Level::Good, what, text: format!("kept in {}, owner-only", folder.display()), mend: None },
        Err(text) => {
            let mend = Some("make the folder yours and writable, or set XDG_CACHE_HOME".to_owned());
            Finding { level: Level::Bad, what, text, mend }
        }
    }
}

/// The kernel call that keeps a path below a folder; without it no file is opened for a stage.
fn files() -> Finding {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let what = "files";
    let here = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = here.and_then(|root| openat2(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::BENEATH));
    match opened {
        Ok(_) => {
            Finding { level: Level::Good, what, text: "paths are kept inside the workspace by the kernel (openat2)".into(), mend: None }
        }
        Err(error) => Finding {
            level: Level::Bad,
            what,
            text: format!("openat2 does not work here: {error}"),
            mend: Some("Linux 5.6 or newer is needed, and a container's seccomp profile that allows openat2".into()),
        },
    }
}

/// The engine that stages are given where their grants name no context.
fn docker() -> Finding {
    let what = "docker";
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let asked = asked.and_then(|runtime| {
        let about = runtime.block_on(async {
            let engine = docker::Engine::connect(None).await?;
            let about = engine.about().await?.clone();
            Ok::<_, docker::EngineError>((engine.endpoint(), about))
        });
        about.map_err(|error| error.to_string())
    });
    match asked {
        Ok((endpoint, about)) => {
            let builder = if about.buildkit { "BuildKit" } else { "the classic builder" };
            let rootless = if about.rootless { ", rootless" } else { "" };
            let text = format!("{} at {endpoint} ({}/{}, {builder}{rootless})", about.version, about.os, about.arch);
            Finding { level: Level::Good, what, text, mend: None }
        }
        // the error says how to get one
        Err(text) => Finding { level: Level::Missing, what, text, mend: None },
    }
}

/// The cluster that stages are given where their grants name no context, and the contexts that they could name.
fn kubernetes() -> Finding {
    let what = "kubernetes";
    let missing = |text: String| Finding { level: Level::Missing, what, text, mend: None };
    let contexts = match kubernetes::contexts() {
        Ok(contexts) => contexts,
        Err(error) => return missing(error.to_string()),
    };
    let shown = match contexts.as_slice() {
        [] => String::new(),
        some => format!("; contexts: {}", some.join(", ")),
    };
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let asked = asked.and_then(|runtime| {
        let about = runtime.block_on(async {
            let cluster = kubernetes::Cluster::connect(None).await?;
            let version = cluster.version().await?;
            let chosen = cluster.context().map_or_else(|| cluster.chosen_by().to_owned(), |name| format!("context {name}"));
            Ok::<_, kubernetes::ClusterError>(format!("{version} at {} ({chosen})", cluster.server()))
        });
        about.map_err(|error| error.to_string())
    });
    match asked {
        Ok(about) => Finding { level: Level::Good, what, text: about + &shown, mend: None },
        // the error says how to get one
        Err(text) => missing(text + &shown),
    }
}

fn toolchain(name: &'static str) -> Finding {
    let what = match name {
        "rust" => "toolchain rust",
        "node" => "toolchain node",
        _ => "toolchain python",
    };
    match toolchain::expand(name, Path::new("."), &|variable| std::env::var(variable).ok()) {
        Ok(found) => {
            let folders: Vec<String> = found.path.iter().map(|path| path.display().to_string()).collect();
            let text = if folders.is_empty() { "from the system's folders".to_owned() } else { folders.join(", ") };
            Finding { level: Level::Good, what, text, mend: None }
        }
        Err(error) => Finding { level: Level::Missing, what, text: error.to_string(), mend: None },
    }
}
