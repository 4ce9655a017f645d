//! The Docker engines, where a pipeline needs one: what runners that were killed left there is taken away.
//!
//! An engine outlives the runner, and so do its containers. So a run that may use one writes down which, and each run that begins or goes on, and
//! `gc`, remove from those what belongs to runners that are gone. Where no run of a checkout ever used one, nobody waits for one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use capability_docker::DockerGrant;
use docker::{Engine, EngineError, Swept};
use pipeline::plan::{Plan, ServiceSource};
use tokio::task::JoinHandle;
use workspace::State;

use crate::around;

/// How long the end of a run waits for what it began beside it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sweeps engines beside a run.
pub struct Sweep(Option<JoinHandle<()>>);

impl Sweep {
    /// Begins, if this run or one before may have made containers. What effects of the run itself made is left to those who look for it.
    pub fn begin(state: &State, plan: &Plan, run: &str) -> Sweep {
        let before = known(state);
        let all: BTreeSet<String> = before.union(&wanted(plan)).cloned().collect();
        if all != before {
            let text: String = all.iter().map(|context| format!("{context}\n")).collect();
            // what can't be written down is swept by the next run that needs the engine
            let _ = std::fs::write(file(state), text);
        }
        let run = run.to_owned();
        Sweep((!all.is_empty()).then(|| {
            tokio::spawn(async move {
                for context in all {
                    // a stage that needs the engine says what is wrong with it
                    let _ = sweep(&context, Some(&run)).await;
                }
            })
        }))
    }

    /// Returns when it is done.
    pub async fn end(self) {
        if let Some(task) = self.0 {
            let _ = tokio::time::timeout(PATIENCE, task).await;
        }
    }
}

/// The engines that a checkout's runs used: Docker contexts, a line each; empty for the default.
fn file(state: &State) -> PathBuf {
    state.path().join("docker")
}

fn known(state: &State) -> BTreeSet<String> {
    std::fs::read_to_string(file(state)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The Docker contexts that a pipeline may use; empty for the default.
fn wanted(plan: &Plan) -> BTreeSet<String> {
    let mut contexts = BTreeSet::new();
    for stage in &plan.stages {
        let image = |&index: &usize| matches!(plan.services[index].source, ServiceSource::Image(_));
        if stage.services.iter().any(image) || around::commands(&stage.grants).is_some_and(|grant| grant.place.container().is_some()) {
            contexts.insert(String::new());
        }
        let granted = stage.grants.iter().filter_map(|grant| grant.grant.as_any().downcast_ref::<DockerGrant>());
        contexts.extend(granted.map(|grant| grant.context.clone().unwrap_or_default()));
    }
    contexts
}

/// For `gc`: how much was removed, and why something was not.
///
/// # Errors
/// If nothing can be asked.
pub fn collect(state: &State) -> std::io::Result<(usize, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut removed, mut stuck) = (0, Vec::new());
    for context in known(state) {
        match runtime.block_on(sweep(&context, None)) {
            Ok(swept) => {
                removed += swept.containers.len() + swept.networks.len() + swept.volumes.len() + swept.images.len();
                stuck.extend(swept.stuck);
            }
            Err(error) => stuck.push(error.to_string()),
        }
    }
    Ok((removed, stuck))
}

async fn sweep(context: &str, spare: Option<&str>) -> Result<Swept, EngineError> {
    let engine = Engine::connect(Some(context).filter(|context| !context.is_empty())).await?;
    docker::sweep(&engine, spare).await
}
