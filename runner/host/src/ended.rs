//! How an attempt ended, from what the component answered or why it trapped.

use capability::log::Closed;
use capability::{LedgerError, Refusal, TrapLimit};
use event::{DenialRecord, FailureKind, Outcome};
use pipeline::plan::Limits;
use wasmtime::Trap;

use crate::run::Finished;
use crate::stage::bindings::Failure;
use crate::stage::bindings::runner::boundary::types::Denial as WitDenial;
use crate::wasi::Exit;

/// An effect of which nobody can tell whether it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    pub effect: String,
    pub subject: String,
    /// What to do about it.
    pub message: String,
}

impl Finished {
    fn of(outcome: Outcome) -> Self {
        Finished { outcome, outputs: Vec::new(), cut_off: false, crossed: 0, suspended: None }
    }

    pub fn passed(summary: String, outputs: Vec<(String, String)>) -> Self {
        Finished { outputs, ..Finished::of(Outcome::Passed { summary }) }
    }

    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Finished::of(Outcome::Failed { kind, message: message.into(), soft: false, denial: None })
    }

    /// It was asked to stop.
    pub fn stopped() -> Self {
        Finished { cut_off: true, ..Finished::of(Outcome::Cancelled { message: "stopped".into() }) }
    }

    pub(crate) fn from_failure(failure: Failure, stage: &str) -> Self {
        match failure {
            Failure::Failed(message) => Finished::failed(FailureKind::Failed, message),
            Failure::Misconfigured(message) => Finished::failed(FailureKind::Misconfigured, message),
            Failure::Errored(message) => Finished::failed(FailureKind::Errored, message),
            Failure::Denied(denial) => {
                let message = format!("{} {} was denied: {}", denial.effect, denial.subject, denial.reason);
                let outcome = Outcome::Failed { kind: FailureKind::Denied, message, soft: false, denial: Some(record(denial, stage)) };
                Finished::of(outcome)
            }
        }
    }

    pub(crate) fn from_trap(trap: &wasmtime::Error, memory_refused: bool, limits: &Limits) -> Self {
        if let Some(limit) = trap.downcast_ref::<TrapLimit>() {
            return Finished::failed(FailureKind::Limit, limit.to_string());
        }
        if let Some(closed) = trap.downcast_ref::<Closed>() {
            let kind = if matches!(closed, Closed::Diverged { .. }) { FailureKind::Diverged } else { FailureKind::Limit };
            return Finished { cut_off: true, ..Finished::failed(kind, closed.to_string()) };
        }
        if let Some(error) = ledger_error(trap) {
            return Finished::from_ledger(error);
        }
        if memory_refused {
            let limit = limits.memory >> 20;
            let message = format!("the component's memory reached its limit of {limit} MiB; raise `limits.memory` in the pipeline file");
            return Finished::failed(FailureKind::Limit, message);
        }
        if let Some(Exit(code)) = trap.downcast_ref::<Exit>() {
            let message = format!("the component ended itself with exit code {code} instead of answering");
            return Finished::failed(FailureKind::Crashed, message);
        }
        let text = format!("{trap:#}");
        if text.contains("resource table has no free keys") || text.contains("store handle limit exceeded") || text.contains("maximum size")
        {
            let message = format!("open handles reached their limit of {}; raise `limits.handles` in the pipeline file", limits.handles);
            return Finished::failed(FailureKind::Limit, message);
        }
        if text.contains("hostcall fuel") || text.contains("too much data") {
            let message =
                format!("a call to the host passed more than {} bytes; raise `limits.hostcall` in the pipeline file", limits.hostcall);
            return Finished::failed(FailureKind::Limit, message);
        }
        if trap.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
            return Finished::failed(FailureKind::Limit, "the component's stack reached its limit of 512 KiB");
        }
        let reason = trap.root_cause().to_string();
        Finished::failed(FailureKind::Crashed, format!("the component crashed: {reason}"))
    }
}

impl Finished {
    fn from_ledger(error: &LedgerError) -> Self {
        let message = error.to_string();
        match error {
            LedgerError::Diverged(_) => Finished::failed(FailureKind::Diverged, message),
            LedgerError::Over => Finished::stopped(),
            LedgerError::InDoubt { effect, subject, .. } => {
                // reports name the effect themselves, and how to choose
                let message = "it was cut off, and nothing can tell whether it happened".to_owned();
                let suspended = Suspended { effect: effect.clone(), subject: subject.clone(), message };
                Finished { suspended: Some(suspended), ..Finished::stopped() }
            }
            LedgerError::Unrecorded(_) | LedgerError::GivenUp { .. } | LedgerError::NotKept { .. } | LedgerError::Secret(_) => {
                Finished::failed(FailureKind::Host, message)
            }
        }
    }
}

/// Why an attempt could not go on.
fn ledger_error(trap: &wasmtime::Error) -> Option<&LedgerError> {
    trap.downcast_ref::<LedgerError>().or_else(|| match trap.downcast_ref::<Refusal>() {
        Some(Refusal::Ledger(error)) => Some(error),
        _ => None,
    })
}

/// Whether the component ended at a moment that nothing inside it determines, so that what it held back belongs to no moment.
pub fn is_cut_off(trap: &wasmtime::Error) -> bool {
    trap.downcast_ref::<Closed>().is_some() || ledger_error(trap).is_some()
}

/// A component does not know what its stage is called in the file: lines of its own get their table.
fn record(denial: WitDenial, stage: &str) -> DenialRecord {
    let remedy = denial.remedy.map(|lines| if lines.starts_with('[') { lines } else { format!("[stage.{stage}.grants]\n{lines}") });
    DenialRecord { effect: denial.effect, subject: denial.subject, code: denial.code, reason: denial.reason, remedy }
}
