//! The Docker engine, where a pipeline needs one: what runners that were killed left there is taken away.
//!
//! An engine outlives the runner, and so do its containers. Whoever uses it next removes what belongs to runners that are gone. Nobody who
//! has no use for an engine waits for one.

use std::time::Duration;

use docker::Engine;
use pipeline::plan::{Plan, ServiceSource};
use tokio::task::JoinHandle;

use crate::around;

/// How long the end of a run waits for what it began beside it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sweeps an engine beside a run.
pub struct Sweep(Option<JoinHandle<()>>);

impl Sweep {
    /// Begins, if the run may make containers. What effects of the run itself made is left to those who look for it.
    pub fn begin(plan: &Plan, run: &str) -> Sweep {
        let run = run.to_owned();
        Sweep(makes_containers(plan).then(|| {
            tokio::spawn(async move {
                // a stage that needs the engine says what is wrong with it
                if let Ok(engine) = Engine::connect(None).await {
                    let _ = docker::sweep(&engine, Some(&run)).await;
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

fn makes_containers(plan: &Plan) -> bool {
    plan.stages.iter().any(|stage| {
        let image = |&index: &usize| matches!(plan.services[index].source, ServiceSource::Image(_));
        stage.services.iter().any(image) || around::commands(&stage.grants).is_some_and(|grant| grant.place.container().is_some())
    })
}
