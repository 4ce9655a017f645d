//! Where attempts tell what happened to their copies of the workspace.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pipeline::learning::Touched;

/// By the stage's key in the pipeline file.
#[derive(Default)]
pub struct Watch(Mutex<BTreeMap<String, Touched>>);

impl Watch {
    pub fn add(&self, stage: &str, touched: workspace::Touched) {
        let workspace::Touched { read, listed, changed, made, removed, top, reads_unknown } = touched;
        let touched = Touched { read, listed, changed, made, removed, top, reads_unknown };
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.entry(stage.to_owned()).or_default().add(touched);
    }

    pub fn of(&self, stage: &str) -> Touched {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stage).cloned().unwrap_or_default()
    }
}
