//! What a stage can ask of a Docker engine.

use std::time::Duration;

use runner_sdk::docker::{self, Build, Container, Error, Exec, Network, images};
use serde::Deserialize;

use crate::result::{Attempted, refused};

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Attempt {
    /// Answers with how it ended and what it printed.
    Run(Box<Run>),
    Pull {
        image: String,
    },
    Push {
        image: String,
    },
    Tag {
        image: String,
        to: String,
    },
    Save {
        images: Vec<String>,
        to: String,
    },
    Remove {
        image: String,
    },
    Inspect {
        image: String,
    },
    List,
    Build(Box<Built>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Run {
    image: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    entrypoint: Vec<String>,
    /// Source, target, and `rw`, or anything else.
    #[serde(default)]
    mounts: Vec<(String, String, String)>,
    #[serde(default)]
    env: Vec<(String, String)>,
    #[serde(default)]
    network: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    dir: Option<String>,
    #[serde(default)]
    memory: Option<u64>,
    #[serde(default)]
    cpus: Option<u32>,
    #[serde(default)]
    pids: Option<u32>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    timeout_ms: u64,
    /// Into the container, before anything is run in it.
    #[serde(default)]
    copy_in: Vec<(String, String)>,
    #[serde(default)]
    exec: Vec<Vec<String>>,
    #[serde(default)]
    copy_out: Vec<(String, String)>,
    /// Ends it instead of waiting for it.
    #[serde(default)]
    stop: bool,
    /// Into the log, instead of a file that is read.
    #[serde(default)]
    log: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Built {
    context: String,
    #[serde(default)]
    dockerfile: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    args: Vec<(String, String)>,
    #[serde(default)]
    labels: Vec<(String, String)>,
    #[serde(default)]
    network: bool,
    #[serde(default)]
    cache_from: Vec<String>,
    #[serde(default)]
    cache_to: Vec<String>,
    #[serde(default)]
    no_cache: bool,
    #[serde(default)]
    platform: String,
}

impl Attempt {
    pub fn attempt(self) -> Attempted {
        let done = match self {
            Attempt::Run(run) => run.attempt(),
            Attempt::Pull { image } => images::pull(image).map(|image| image.tags.join(" ")),
            Attempt::Push { image } => images::push(image).map(|pushed| format!("{} {}", pushed.digest, pushed.size)),
            Attempt::Tag { image, to } => images::tag(image, to).map(|()| String::new()),
            Attempt::Save { images, to } => images::save(images, to).map(|size| size.to_string()),
            Attempt::Remove { image } => images::remove(image).map(|()| String::new()),
            Attempt::Inspect { image } => images::inspect(image).map(|image| format!("{} {}", image.architecture, image.tags.join(" "))),
            Attempt::List => images::list().map(|images| images.into_iter().flat_map(|image| image.tags).collect::<Vec<_>>().join(" ")),
            Attempt::Build(build) => build.attempt(),
        };
        match done {
            Ok(told) => Attempted::Ok(told),
            Err(Error::Denied(denial)) => refused(format_args!("{}: {}", denial.code, denial.reason)),
            Err(error) => Attempted::Error(error.to_string()),
        }
    }
}

impl Run {
    fn attempt(self) -> Result<String, Error> {
        let network = match self.network.as_str() {
            "stage" => Network::Stage,
            "granted" => Network::Granted,
            _ => Network::None,
        };
        let mut container = Container::new(self.image).args(self.args).entrypoint(self.entrypoint).network(network).stdin(self.stdin);
        for (source, target, access) in self.mounts {
            container = container.mount(source, target, access == "rw");
        }
        for (name, value) in self.env {
            container = container.env(name, value);
        }
        container = self.user.into_iter().fold(container, Container::user);
        container = self.dir.into_iter().fold(container, Container::dir);
        container = self.memory.into_iter().fold(container, Container::memory);
        container = self.cpus.into_iter().fold(container, Container::cpus);
        container = self.pids.into_iter().fold(container, Container::pids);
        container = container.timeout(Duration::from_millis(self.timeout_ms)).name(self.name);
        if self.read_only {
            container = container.read_only_root();
        }
        if !self.log {
            container = container.capture_stdout().stderr(runner_sdk::commands::Output::Log);
        }
        let running = container.spawn()?;
        let mut told = String::new();
        let mut printed = |exit: docker::Exit| {
            let printed = exit.stdout.as_ref().and_then(|file| file.read_to_string().ok()).unwrap_or_default();
            told += &format!("{exit}: {printed}");
        };
        for (source, target) in self.copy_in {
            running.copy_in(source, target)?;
        }
        for words in self.exec {
            printed(running.exec(&Exec::new(words).stdout(runner_sdk::commands::Output::Capture))?);
        }
        for (source, target) in self.copy_out {
            running.copy_out(source, target)?;
        }
        printed(if self.stop { running.stop(Duration::from_secs(5))? } else { running.wait()? });
        Ok(told)
    }
}

impl Built {
    fn attempt(self) -> Result<String, Error> {
        let mut build = Build::new(self.context).dockerfile(self.dockerfile).platform(self.platform);
        build = self.tags.into_iter().fold(build, Build::tag);
        build = self.args.into_iter().fold(build, |build, (name, value)| build.build_arg(name, value));
        build = self.labels.into_iter().fold(build, |build, (name, value)| build.label(name, value));
        build = self.cache_from.into_iter().fold(build, Build::cache_from);
        build = self.cache_to.into_iter().fold(build, Build::cache_to);
        if self.network {
            build = build.network();
        }
        if self.no_cache {
            build = build.no_cache();
        }
        let built = build.run()?;
        Ok(format!("{} steps, {} cached, buildkit {}", built.steps, built.cached, built.buildkit))
    }
}
