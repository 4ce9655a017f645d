//! `exec --learn`: a run with grants that are wide enough to see what its stages want, and afterwards the smallest that let it pass.
//!
//! The run is one like any other: what is wider is the text of the pipeline that it is started with, in which each stage's grants are replaced by
//! what each capability answers to `GrantSchema::learning`. So the boundary, the record and a resume know nothing of learning. Afterwards the record,
//! and what happened to the private copies ([`Watch`]), go back to the capabilities (`GrantSchema::learned`).
//!
//! Only for runs of trust `local`: learning grants what somebody's code asks for, and whoever starts it must be the one who reads the
//! result. Deliberately absent: hosts that nobody confirmed, programs on the host, and everything that no grant can open.

mod edit;
mod outcome;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use capability::Registry;
use journal::Reader;
use pipeline::build::Refused;
use pipeline::facts::Trust;
use pipeline::grant::GrantContext;
use pipeline::learning::{Learning, can_use, stages};
use pipeline::manifest::Plugins;
use pipeline::model::Stage;

use crate::args::{Global, Learning as Args, Source};
use crate::error::CliError;
use crate::load::{self, Opened};

use edit::{EditError, Edited};
use outcome::Learned;
pub use watch::Watch;

/// A learning run, from its command line to what it says at its end.
pub struct Learner {
    /// `host` or `host:port`, confirmed.
    hosts: Vec<String>,
    out: Option<PathBuf>,
    write: bool,
    source: Source,
    registry: Registry,
    watch: Arc<Watch>,
    /// What stood in the file when the run began.
    original: OnceLock<Original>,
}

struct Original {
    file: PathBuf,
    text: String,
    stages: Vec<Known>,
}

/// A stage as it stood in the file.
struct Known {
    stage: Stage,
    context: GrantContext,
    /// Why its grants were left as they are.
    left: Option<String>,
}

impl Learner {
    pub fn new(args: &Args, source: &Source) -> Result<Learner, CliError> {
        if source.unconfined {
            let message = "nothing can be learned from programs that run unconfined: nobody sees what they do";
            return Err(CliError::usage(message, "leave `--unconfined` out; `runner doctor` says how to confine programs here"));
        }
        if source.occasion.pipeline_from.is_some() {
            return Err(CliError::usage("`--learn` is for the pipeline file of the checkout", "leave `--pipeline-from` out"));
        }
        for host in &args.learn_host {
            let plain = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
            if host.is_empty() || !host.chars().all(plain) {
                return Err(CliError::usage(
                    format!("`{host}` is no host"),
                    "write `--learn-host api.example` or `--learn-host localhost:8080`",
                ));
            }
            if let Err(what) = egress::confirmable(host) {
                let message = format!("`{host}` is {what}: nothing that a word on the command line opens");
                return Err(CliError::usage(message, "if you mean it, grant it by hand"));
            }
        }
        Ok(Learner {
            hosts: args.learn_host.clone(),
            out: args.learn_out.clone(),
            write: args.learn_write,
            source: source.clone(),
            registry: load::registry(false),
            watch: Arc::default(),
            original: OnceLock::new(),
        })
    }

    pub fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    /// The text of the pipeline for this run.
    pub fn widen(&self, opened: &Opened<'_>, global: &Global) -> Result<String, CliError> {
        if opened.facts.trust != Trust::Local {
            let message = format!("`--learn` is for runs that you start yourself; this one is of trust `{}`", opened.facts.trust);
            return Err(CliError::usage(
                message,
                "learning grants what the code asks for: do it on your machine, and review the grants like code",
            ));
        }
        let stages = stages(opened.file, opened.text, opened.files)
            .map_err(|Refused { sources, diagnostics }| load::invalid(&diagnostics, &sources, global))?;
        let mut edited = Edited::of(opened.text).map_err(anyhow::Error::from)?;
        let plugins = load::plugins(opened.root);
        let mut known = Vec::with_capacity(stages.len());
        for stage in stages {
            let plugin = stage.uses.as_ref().and_then(|uses| plugins.find(&uses.value).ok());
            // a plugin that is not there is the plan's to complain about
            let Some(plugin) = plugin else { continue };
            let context = GrantContext {
                stage: stage.name.clone(),
                trusted_plugin: plugin.provenance.trusted(),
                secrets: Vec::new(),
                root: opened.root.to_owned(),
                host_env: |name| std::env::var(name).ok(),
            };
            let granted = |capability: &str| stage.grants.iter().find(|(key, _)| key.name == capability).map(|(_, node)| node);
            let mut wide = Vec::new();
            let mut left = match (&stage.shared, edited.has(&stage.name)) {
                (Some(_), _) => Some("it writes to the checkout itself (`workspace = \"shared\"`)".to_owned()),
                (None, false) => Some("it stands in an included file".to_owned()),
                (None, true) => None,
            };
            for schema in self.registry.schemas().iter().filter(|schema| can_use(&plugin, &***schema)) {
                let granted = granted(schema.name());
                let required = plugin.manifest.request(schema.name()).is_some_and(|request| request.required);
                let learning = Learning { context: &context, settings: stage.with.as_ref(), granted, hosts: &self.hosts };
                match schema.learning(&learning) {
                    Ok(grant) => wide.extend(grant.map(|grant| (schema.name(), grant))),
                    Err(why) if granted.is_some() => left = left.or(Some(why)),
                    Err(why) if required && left.is_none() => {
                        let message = format!("the grants of `{}` can't be learned: {why}", stage.name);
                        return Err(CliError::usage(
                            message,
                            format!("its plugin needs `{}`, such as {}", schema.name(), schema.example()),
                        ));
                    }
                    Err(_) => {}
                }
            }
            if left.is_none() {
                for (capability, grant) in wide {
                    edited.set(&stage.name, capability, &grant).map_err(anyhow::Error::from)?;
                }
            }
            known.push(Known { stage, context, left });
        }
        let _ = self.original.set(Original { file: opened.file.to_owned(), text: opened.text.to_owned(), stages: known });
        Ok(edited.text())
    }

    /// Says what was learned from the run that is recorded in `folder`, and writes it where it was asked for.
    pub fn conclude(&self, folder: &Path, global: &Global, out: &mut dyn Write) -> Result<(), CliError> {
        let Some(original) = self.original.get() else { return Ok(()) };
        let reader = Reader::open(folder).map_err(anyhow::Error::from)?;
        let learned = Learned::of(&reader, original, &self.registry, &self.watch, &self.hosts)?;
        if let Some(file) = &self.out {
            std::fs::write(file, learned.toml()).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
        }
        let written = if self.write { self.write(original, &learned, global)? } else { false };
        learned.show(written.then_some(&*original.file), global, out).map_err(anyhow::Error::from)?;
        Ok(())
    }

    /// Puts what was learned into the pipeline file; false if there is nothing to write.
    fn write(&self, original: &Original, learned: &Learned, global: &Global) -> Result<bool, CliError> {
        let mut edited = Edited::of(&original.text).map_err(anyhow::Error::from)?;
        for grant in learned.writable() {
            edited.set(&grant.stage, grant.capability, &grant.toml).map_err(|error: EditError| anyhow::Error::from(error))?;
        }
        let text = edited.text();
        if text == original.text {
            return Ok(false);
        }
        // a file that can't be planned is not written
        load::load_as(&self.source, global, "learned", [0; 32], false, &|_| Ok(Some(text.clone())))?;
        let now = std::fs::read(&original.file).unwrap_or_default();
        if now != original.text.as_bytes() {
            let message = format!("{} was changed while the stages ran; nothing was written to it", original.file.display());
            return Err(CliError::usage(message, "run it again, or take the lines from `--learn-out FILE`"));
        }
        edit::replace_file(&original.file, &text).map_err(|e| anyhow::anyhow!("{}: {e}", original.file.display()))?;
        Ok(true)
    }
}
