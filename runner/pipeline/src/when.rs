//! Conditions: `when`, in CEL.

use crate::bind::Results;

/// A condition that was checked when the plan was made.
#[derive(Debug, Clone)]
pub struct Condition {
    source: String,
}

impl Condition {
    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the stage runs. Asked once the stage's needs have ended.
    ///
    /// # Errors
    /// Why the condition has no answer: an output that is not there, a result that is not a boolean.
    pub fn evaluate(&self, _results: &dyn Results) -> Result<bool, String> {
        unimplemented!()
    }
}
