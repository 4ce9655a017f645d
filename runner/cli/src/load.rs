//! From the command line's words to a plan: the file, the capabilities that exist, the plugins, the facts.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capability::Registry;
use host::PluginFiles;
use journal::Header;
use pipeline::build::{PlanRequest, Refused};
use pipeline::compose::Files;
use pipeline::diagnostic::{Diagnostic, render};
use pipeline::facts::{Changed, Facts};
use pipeline::plan::{Plan, Stage};
use pipeline::source::Sources;

use crate::args::{Color, Global, Source};
use crate::around;
use crate::error::CliError;
use crate::revision::Revision;
use crate::{facts, git};

/// The plugins that exist, bundled and by path below the folder of the pipeline file.
pub fn plugins(root: &Path) -> PluginFiles {
    PluginFiles::new(bundled::PLUGINS.iter().copied(), root)
}

/// A plan and what it was made with.
pub struct Loaded {
    pub plan: Plan,
    pub warnings: Vec<Diagnostic>,
    pub registry: Registry,
    pub plugins: Arc<PluginFiles>,
    /// What was known of the world.
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
        .with(capability_docker::Docker)
        .with(capability_kubernetes::Kubernetes)
        .with(capability_secrets::Secrets)
}

/// A pipeline file that was read and is not yet planned.
pub struct Opened<'a> {
    pub file: &'a Path,
    pub root: &'a Path,
    pub text: &'a str,
    pub files: &'a dyn Files,
    pub facts: &'a Facts,
}

/// Reads and plans a pipeline. `running`: it is about to run, so that inputs without a value are mistakes and `git` is asked what changed.
/// `seed`: of the placeholders that stand for secrets.
pub fn load(source: &Source, global: &Global, run: &str, seed: [u8; 32], running: bool) -> Result<Loaded, CliError> {
    load_as(source, global, run, seed, running, &|_| Ok(None))
}

/// Like [`load`], with another text than the file holds where `instead` gives one.
pub fn load_as(
    source: &Source,
    global: &Global,
    run: &str,
    seed: [u8; 32],
    running: bool,
    instead: &dyn Fn(&Opened<'_>) -> Result<Option<String>, CliError>,
) -> Result<Loaded, CliError> {
    let named = source.occasion.pipeline_from.as_deref();
    let file = pipeline_file(&source.file, named.is_some())?;
    let root = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let root = root
        .canonicalize()
        .map_err(|e| CliError::usage(format!("{}: {e}", root.display()), "name a pipeline file in a folder that exists"))?;
    let revision = named.map(|name| Revision::named(&root, name)).transpose()?;
    let bytes = match &revision {
        None => std::fs::read(&file)
            .map_err(|e| CliError::usage(format!("{}: {e}", file.display()), "make the file readable, or name another"))?,
        Some(revision) => revision
            .bytes(Path::new(file.file_name().unwrap_or_default()))
            .map_err(|why| CliError::usage(why, "name the pipeline file as it is called there, or another revision"))?,
    };
    let text = pipeline::raw::decode(bytes).map_err(|mistake| invalid(&[mistake], &Sources::new(&file, ""), global))?;
    let from = revision.as_ref().map(|revision| revision.facts().clone());
    let facts = Facts { run: run.to_owned(), placeholder_seed: seed, ..facts::find(&source.occasion, &root, from, running)? };
    let repository = Repository { folder: root.clone(), top: git::top(&root).unwrap_or_else(|| root.clone()) };
    let files: &dyn Files = revision.as_ref().map_or(&repository, |revision| revision);
    let other = instead(&Opened { file: &file, root: &root, text: &text, files, facts: &facts })?;
    let text = other.as_deref().unwrap_or(&text);
    let text = Text { file: &file, root: &root, text, files, inputs: &source.inputs, complete: running };
    plan(&text, facts, source.unconfined, global)
}

/// Plans a run once more as it was started: the text, the inputs and the facts are those of its record.
pub fn load_recorded(header: &Header, root: &Path, global: &Global) -> Result<Loaded, CliError> {
    let facts = recorded_facts(header).map_err(|e| anyhow::anyhow!("the facts in the run's record can't be read: {e}"))?;
    let files = Kept(&header.included);
    let text = Text { file: Path::new(&header.file), root, text: &header.text, files: &files, inputs: &header.inputs, complete: true };
    plan(&text, facts, header.unconfined, global)
}

/// What was known of the world when a run was planned.
pub fn recorded_facts(header: &Header) -> Result<Facts, serde_json::Error> {
    let known: Facts = if header.facts.is_empty() {
        Facts { git_branch: header.git_branch.clone(), git_sha: header.git_sha.clone(), ..Facts::default() }
    } else {
        serde_json::from_str(&header.facts)?
    };
    Ok(Facts { run: header.run.clone(), placeholder_seed: header.seed, ..known })
}

/// Files of the repository that the pipeline file stands in.
struct Repository {
    /// Of the pipeline file.
    folder: PathBuf,
    /// Of the repository; nothing above is read.
    top: PathBuf,
}

impl Files for Repository {
    fn read(&self, path: &str) -> Result<String, String> {
        let file = self.folder.join(path).canonicalize().map_err(|e| e.to_string())?;
        if !file.starts_with(&self.top) {
            return Err(format!("it leads out of the repository, to {}", file.display()));
        }
        let bytes = std::fs::read(&file).map_err(|e| e.to_string())?;
        pipeline::raw::decode(bytes).map_err(|mistake| mistake.message)
    }
}

/// What a recorded run had included.
struct Kept<'a>(&'a [(String, String)]);

impl Files for Kept<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        let found = self.0.iter().find(|(known, _)| known == path);
        found.map(|(_, text)| text.clone()).ok_or_else(|| "the run's record does not hold it".to_owned())
    }
}

struct Text<'a> {
    file: &'a Path,
    root: &'a Path,
    text: &'a str,
    files: &'a dyn Files,
    inputs: &'a [(String, String)],
    complete: bool,
}

fn plan(text: &Text<'_>, facts: Facts, unconfined: bool, global: &Global) -> Result<Loaded, CliError> {
    let registry = registry(unconfined);
    let plugins = plugins(text.root);
    let plugins = Arc::new(match &facts.pipeline_from {
        None => plugins,
        Some(revision) => {
            let revision = Revision::of(text.root, revision)?;
            plugins.reading(Box::new(move |path| revision.bytes(path)))
        }
    });
    let request = PlanRequest {
        file: text.file,
        root: text.root,
        text: text.text,
        files: text.files,
        inputs: text.inputs,
        inputs_may_miss: !text.complete,
        facts: &facts,
        schemas: registry.schemas(),
        plugins: &*plugins,
        host_env: |name| std::env::var(name).ok(),
    };
    match pipeline::build::plan(&request) {
        Ok((plan, warnings)) => {
            let mistakes = around::mistakes(&plan, unconfined);
            if !mistakes.is_empty() {
                return Err(invalid(&mistakes, &plan.sources, global));
            }
            Ok(Loaded { plan, warnings, registry, plugins, facts })
        }
        Err(Refused { sources, diagnostics }) => Err(invalid(&diagnostics, &sources, global)),
    }
}

/// What the user should know before the run: that nobody can tell what changed, where a stage asks.
pub fn notices(loaded: &Loaded) -> Vec<String> {
    let Changed::Unknown(why) = &loaded.facts.changed else { return Vec::new() };
    let asks = |stage: &Stage| {
        let condition = stage.when.as_ref().map(|when| when.source()).unwrap_or_default();
        !stage.if_changed.is_empty() || condition.contains("changed(")
    };
    if !loaded.plan.stages.iter().any(asks) {
        return Vec::new();
    }
    vec![format!("every file counts as changed: {why}")]
}

/// What the pipeline includes, for the run's record: paths as they are asked for again.
pub fn included(loaded: &Loaded) -> Vec<(String, String)> {
    let folder = loaded.plan.sources.main().parent().unwrap_or(Path::new("")).to_owned();
    let path = |file: &Path| file.strip_prefix(&folder).unwrap_or(file).display().to_string();
    loaded.plan.sources.included().map(|(file, text)| (path(file), text.to_owned())).collect()
}

/// The file itself, or `pipeline.toml` of a folder. One of another revision need not be in the checkout.
fn pipeline_file(path: &Path, elsewhere: bool) -> Result<PathBuf, CliError> {
    let file = if path.is_dir() { path.join("pipeline.toml") } else { path.to_owned() };
    if elsewhere || file.is_file() {
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

pub fn invalid(mistakes: &[Diagnostic], sources: &Sources, global: &Global) -> CliError {
    CliError::Invalid { rendered: render(mistakes, sources, color(global, &std::io::stderr())) }
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
