//! The last step: a stage's values that only its needs could say.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use event::Outcome;

use crate::diagnostic::{Diagnostic, Severity};
use crate::plan::{Bound, Stage, StageIndex};
use crate::recipe::Recipe;
use crate::values::{MatrixValues, Own, Running, Shared};

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
pub(crate) enum Unbound {
    /// Nothing is missing. Shared by the instances of a matrix that do not refer to it.
    Complete(Arc<Bound>),
    Late(Box<Late>),
}

pub(crate) struct Late {
    pub recipe: Arc<Recipe>,
    pub shared: Arc<Shared>,
    pub own: Arc<Own>,
    pub matrix: MatrixValues,
    pub producers: HashMap<String, StageIndex>,
}

impl fmt::Debug for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unbound::Complete(bound) => f.debug_tuple("Complete").field(bound).finish(),
            Unbound::Late(late) => f.debug_tuple("Late").field(&late.producers).finish(),
        }
    }
}

impl Stage {
    /// Fills in the outputs of other stages, checks the settings against the plugin's schema and decodes the grants once more. A stage
    /// without such references was completed when the plan was made and costs a clone here.
    ///
    /// # Errors
    /// Every mistake, with its place in the pipeline file (`Plan::text`).
    pub fn bind(&self, results: &dyn Results) -> Result<Bound, Vec<Diagnostic>> {
        let late = match &self.unbound {
            Unbound::Complete(bound) => return Ok(Bound::clone(bound)),
            Unbound::Late(late) => late,
        };
        let mut diagnostics = Vec::new();
        let values = Running { shared: &late.shared, matrix: &late.matrix, own: &late.own, producers: &late.producers, results };
        let completed = late.recipe.complete(&values, &mut diagnostics);
        diagnostics.retain(|d| d.severity == Severity::Error);
        match completed.bound {
            Some(bound) if diagnostics.is_empty() => Ok(bound),
            _ => Err(diagnostics),
        }
    }

    /// Whether [`Stage::bind`] has anything to fill in, so that settings and grants of the plan are not the last word.
    pub fn is_late(&self) -> bool {
        matches!(self.unbound, Unbound::Late(_))
    }
}
