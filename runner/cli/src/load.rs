//! From the command line's words to a plan: the file, the capabilities that exist, the plugins, the facts.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capability::Registry;
use host::PluginFiles;
use journal::Header;
use pipeline::build::{Facts, PlanRequest};
use pipeline::diagnostic::{Diagnostic, render};
use pipeline::plan::Plan;

use crate::args::{Color, Global, Source};
use crate::error::CliError;
use crate::git;

/// A plan and what it was made with.
pub struct Loaded {
    pub plan: Plan,
    pub warnings: Vec<Diagnostic>,
    pub registry: Registry,
    pub plugins: Arc<PluginFiles>,
    /// What was known of the checkout.
    pub facts: Facts,
}

/// The runner's own executable, for the processes that are the runner once more.
pub fn exe() -> PathBuf {
    // the link still leads to the running program when its file was replaced
    PathBuf::from("/proc/self/exe")
}

/// The capabilities that exist. A new one is one line here.
pub fn registry(unconfined: bool) -> Registry {
    Registry::default()
        .with(capability_files::Files)
        .with(capability_http::Http::default())
        .with(capability_commands::Commands::new(exe()).unconfined(unconfined))
        .with(capability_secrets::Secrets)
}

/// Reads and plans a pipeline. `complete`: inputs without a value are mistakes.
pub fn load(source: &Source, global: &Global, run: &str, complete: bool) -> Result<Loaded, CliError> {
    let file = pipeline_file(&source.file)?;
    let bytes =
        std::fs::read(&file).map_err(|e| CliError::usage(format!("{}: {e}", file.display()), "make the file readable, or name another"))?;
    let text = pipeline::raw::decode(bytes).map_err(|mistake| invalid(&[mistake], &file, "", global))?;
    let root = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let root = root.canonicalize().map_err(|e| anyhow::anyhow!("{}: {e}", root.display()))?;
    let git = git::head(&root);
    let facts = Facts { run: run.to_owned(), git_branch: git.branch, git_sha: git.sha };
    let text = Text { file: &file, root: &root, text: &text, inputs: &source.inputs, complete };
    plan(&text, facts, source.unconfined, global)
}

/// Plans a run once more as it was started: the text, the inputs and the facts are those of its record.
pub fn load_recorded(header: &Header, root: &Path, global: &Global) -> Result<Loaded, CliError> {
    let facts = Facts { run: header.run.clone(), git_branch: header.git_branch.clone(), git_sha: header.git_sha.clone() };
    let text = Text { file: Path::new(&header.file), root, text: &header.text, inputs: &header.inputs, complete: true };
    plan(&text, facts, header.unconfined, global)
}

struct Text<'a> {
    file: &'a Path,
    root: &'a Path,
    text: &'a str,
    inputs: &'a [(String, String)],
    complete: bool,
}

fn plan(text: &Text<'_>, facts: Facts, unconfined: bool, global: &Global) -> Result<Loaded, CliError> {
    let registry = registry(unconfined);
    let plugins = Arc::new(PluginFiles::new(bundled::PLUGINS.iter().copied(), text.root));
    let request = PlanRequest {
        file: text.file,
        root: text.root,
        text: text.text,
        inputs: text.inputs,
        inputs_may_miss: !text.complete,
        facts: &facts,
        schemas: registry.schemas(),
        plugins: &*plugins,
        host_env: |name| std::env::var(name).ok(),
    };
    match pipeline::build::plan(&request) {
        Ok((plan, warnings)) => Ok(Loaded { plan, warnings, registry, plugins, facts }),
        Err(mistakes) => Err(invalid(&mistakes, text.file, text.text, global)),
    }
}

/// The file itself, or `pipeline.toml` of a folder.
fn pipeline_file(path: &Path) -> Result<PathBuf, CliError> {
    let file = if path.is_dir() { path.join("pipeline.toml") } else { path.to_owned() };
    if file.is_file() {
        return Ok(file);
    }
    let hint = match nearest_pipeline(path) {
        Some(near) => format!("there is {}", near.display()),
        None => "name a pipeline file: `runner exec path/to/pipeline.toml`".to_owned(),
    };
    Err(CliError::usage(format!("there is no pipeline file {}", file.display()), hint))
}

/// A pipeline file in the folders above, for a person who is a folder too deep.
fn nearest_pipeline(path: &Path) -> Option<PathBuf> {
    let from = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    let from = from.canonicalize().ok()?;
    from.ancestors().map(|folder| folder.join("pipeline.toml")).find(|file| file.is_file())
}

fn invalid(mistakes: &[Diagnostic], file: &Path, text: &str, global: &Global) -> CliError {
    CliError::Invalid { rendered: render(mistakes, &file.display().to_string(), text, color(global, &std::io::stderr())) }
}

/// Whether to colour what goes to `stream`.
pub fn color(global: &Global, stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) => false,
        Color::Auto if set("CLICOLOR_FORCE") => true,
        Color::Auto => stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}
