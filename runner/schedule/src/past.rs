//! What earlier sessions of a run left behind, and which of it is done again.
//!
//! A resumed run is a new machine over the same graph that begins with what is known of each stage. Everything else (who is blocked, who
//! may start, what the verdict is) follows from the rules, as it would have without the interruption.

use std::time::Duration;

use event::{Blocked, Outcome, StageRef};
use pipeline::plan::StageIndex;

use crate::action::ApprovalResult;
use crate::graph::Graph;

/// What earlier sessions left of one stage. The default: it never started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    pub was: Was,
    /// What was said about it, asked or not: it is not asked again. A stage with an attempt behind it is not asked in any case.
    pub approval: Option<ApprovalResult>,
    /// The number of its last attempt before it was reset to be run again, or 0. Attempts are numbered on from there, and those before it
    /// are not counted as retries.
    pub spent: u32,
    /// From the start of its first attempt (after a reset: since then) to its last sign of life; its `took` goes on from there.
    pub took: Duration,
}

/// Where a stage stood when the last session ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Was {
    /// It waited, or is to be run again from the start.
    #[default]
    Fresh,
    /// This attempt ran: it is started again under the same number.
    Cut { attempt: u32 },
    /// This attempt is over and was to be followed by another: that one starts at once.
    Again { attempt: u32, outcome: Outcome },
    /// This attempt is over, and nobody has judged it yet: it is judged as if it ended now.
    Ended { attempt: u32, outcome: Outcome },
    /// Its last word: it counts for the verdict and for those that need it, and there is no `Action::Settle` for it.
    Settled { outcome: Outcome },
}

impl From<Was> for Past {
    fn from(was: Was) -> Self {
        Past { was, ..Past::default() }
    }
}

/// A record that can't be of a run of this graph.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PastError {
    #[error("the record has {found} stages and the plan has {wanted}: start a new run")]
    Length { found: usize, wanted: usize },
    #[error("the record says that attempt {attempt} of stage `{stage}` began, and attempts begin with {first}: start a new run")]
    Attempt { stage: StageRef, attempt: u32, first: u32 },
    #[error("the record says that stage `{stage}` began before `{need}`, which it needs, had ended: start a new run")]
    Early { stage: StageRef, need: StageRef },
}

pub(crate) fn check(graph: &Graph, past: &[Past]) -> Result<(), PastError> {
    if past.len() != graph.len() {
        return Err(PastError::Length { found: past.len(), wanted: graph.len() });
    }
    for (stage, Past { was, spent, .. }) in past.iter().enumerate() {
        let node = graph.node(stage);
        let (Was::Cut { attempt } | Was::Again { attempt, .. } | Was::Ended { attempt, .. }) = was else { continue };
        if attempt <= spent {
            return Err(PastError::Attempt { stage: node.id.clone(), attempt: *attempt, first: spent.saturating_add(1) });
        }
        let open = |need: &&StageIndex| !matches!(past[**need].was, Was::Settled { .. });
        if let Some(&need) = node.needs.iter().chain(&node.needs_any).find(open) {
            return Err(PastError::Early { stage: node.id.clone(), need: graph.node(need).id.clone() });
        }
    }
    Ok(())
}

/// Which stages a resumed run resets: it begins them anew, as if they had never started. `outcomes` are those of the stages that are
/// settled.
///
/// Always what was stopped (cancelled, or blocked because the run was stopping), with `failed` also what failed, softly or not, and what
/// was blocked for any reason; and in both cases all that needs one of them, whatever became of it. A stage that was left out stays left
/// out, and one without an outcome goes on from where it was.
pub fn to_run_again(graph: &Graph, outcomes: &[Option<Outcome>], failed: bool) -> Vec<bool> {
    debug_assert_eq!(outcomes.len(), graph.len());
    let stopped = |outcome: &Outcome| match outcome {
        Outcome::Cancelled { .. } | Outcome::Blocked { why: Blocked::Stopping } => true,
        Outcome::Failed { .. } | Outcome::Blocked { .. } => failed,
        Outcome::Passed { .. } | Outcome::Skipped { .. } => false,
    };
    let is_settled = |stage: StageIndex| {
        let outcome = outcomes.get(stage).and_then(Option::as_ref);
        outcome.is_some_and(|outcome| !matches!(outcome, Outcome::Skipped { why: Blocked::NotSelected }))
    };
    let mut again = vec![false; graph.len()];
    let begin = |stage: &StageIndex| outcomes.get(*stage).and_then(Option::as_ref).is_some_and(stopped);
    let mut reached: Vec<StageIndex> = (0..graph.len()).filter(begin).collect();
    while let Some(stage) = reached.pop() {
        if is_settled(stage) && !std::mem::replace(&mut again[stage], true) {
            reached.extend(graph.dependents(stage).map(|edge| graph.dependent(edge)));
        }
    }
    again
}

#[cfg(test)]
mod tests;
