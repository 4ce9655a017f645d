//! The last step: a stage's values that only its needs could say.

use event::Outcome;

use crate::diagnostic::Diagnostic;
use crate::plan::{Bound, Stage, StageIndex};

/// How a stage ended, for those that refer to it.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    pub outcome: &'a Outcome,
    pub outputs: &'a [(String, String)],
}

/// The stages that have ended so far.
pub trait Results {
    /// `None` while the stage has not ended.
    fn ended(&self, stage: StageIndex) -> Option<Ended<'_>>;
}

/// What [`Stage::bind`] completes.
#[derive(Debug)]
pub(crate) struct Unbound {}

impl Stage {
    /// Fills in the outputs of other stages, checks the settings against the plugin's schema and decodes the grants once more. A stage
    /// without such references was completed when the plan was made and costs a clone here.
    ///
    /// # Errors
    /// Every mistake, with its place in the pipeline file (`Plan::text`).
    pub fn bind(&self, _results: &dyn Results) -> Result<Bound, Vec<Diagnostic>> {
        unimplemented!()
    }
}
