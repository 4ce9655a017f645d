//! The line that every effect crosses: decide, record, act, record.
//!
//! Nothing else makes a [`Permitted`], and a backend can't act without one, so a forgotten check does not compile. Deliberately
//! absent: retries (a policy of the schedule), and anything that a capability knows.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event::{Event, EventSink, Kind, StageRef};

use crate::clock::Clock;
use crate::denial::Denial;
use crate::effect::{Decision, Effect};
use crate::ledger::{Ledger, LedgerError, Record};
use crate::log::StageLog;

/// How often a policy may ask to see more before it must decide.
const MAX_OBSERVATIONS: usize = 8;

/// Decides about an effect: a pure function of the grant, the effect and what has been observed.
pub trait Policy<E: Effect>: Send + Sync {
    fn decide(&self, effect: &E, seen: &E::Seen) -> Decision<E::Question>;
}

/// Carries an effect out. The only place that knows the real world.
pub trait Backend<E: Effect>: Send + Sync {
    /// Answers a policy's question. Must change nothing in the world.
    fn observe(&self, question: E::Question, seen: &mut E::Seen) -> impl Future<Output = ()> + Send;

    /// Carries out the very effect that was decided.
    fn act(&self, permitted: Permitted<E>) -> impl Future<Output = E::Reply> + Send;
}

/// An effect that policy has allowed, with what was observed on the way. Made by [`Boundary::cross`] alone; not `Clone`, so that one
/// decision is one act.
#[derive(Debug)]
pub struct Permitted<E: Effect> {
    effect: E,
    seen: E::Seen,
}

impl<E: Effect> Permitted<E> {
    pub fn effect(&self) -> &E {
        &self.effect
    }

    pub fn seen(&self) -> &E::Seen {
        &self.seen
    }

    pub fn into_parts(self) -> (E, E::Seen) {
        (self.effect, self.seen)
    }
}

/// Why an effect was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The guest receives it as a value.
    #[error("{} {}: {}", .0.effect, .0.subject, .0.reason)]
    Denied(Denial),
    /// It can't be recorded. The host function returns it as a trap: without a record no effect may happen.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Refusal {
    /// The denial as a value, anything else as a trap.
    pub fn denial(self) -> wasmtime::Result<Denial> {
        match self {
            Refusal::Denied(denial) => Ok(denial),
            Refusal::Ledger(error) => Err(wasmtime::Error::new(error)),
        }
    }
}

/// Something that was held back: staged writes. It is carried out before anything else crosses, so that what the guest did first has
/// happened first.
pub trait Staged: Send + Sync {
    /// Carries it out, by crossing. Keeps a failure for whoever asks next.
    fn settle(&self);
}

/// One attempt's side of the boundary. Clones share the attempt's sequence, clock and ledger.
#[derive(Clone)]
pub struct Boundary {
    shared: Arc<Shared>,
}

struct Shared {
    stage: StageRef,
    attempt: u32,
    ledger: Arc<dyn Ledger>,
    sink: Arc<dyn EventSink>,
    clock: Clock,
    staged: Mutex<Vec<Weak<dyn Staged>>>,
    log: Option<Arc<StageLog>>,
}

impl Boundary {
    pub fn new(stage: StageRef, attempt: u32, ledger: Arc<dyn Ledger>, sink: Arc<dyn EventSink>, clock: Clock) -> Self {
        Boundary { shared: Arc::new(Shared { stage, attempt, ledger, sink, clock, staged: Mutex::default(), log: None }) }
    }

    /// Keeps the stage's log and its other events in the order in which they happened.
    #[must_use]
    pub fn in_order_with(mut self, log: Arc<StageLog>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.log = Some(log);
        }
        self
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub fn stage(&self) -> &StageRef {
        &self.shared.stage
    }

    /// From now on `staged` holds something back, until it is settled.
    pub fn stage_effect(&self, staged: Weak<dyn Staged>) {
        self.shared.staged.lock().unwrap_or_else(PoisonError::into_inner).push(staged);
    }

    /// Carries out whatever is held back. Every crossing does so first; whoever answers a guest without crossing calls it.
    pub fn settle(&self) {
        let staged = std::mem::take(&mut *self.shared.staged.lock().unwrap_or_else(PoisonError::into_inner));
        for one in staged.iter().filter_map(Weak::upgrade) {
            one.settle();
        }
    }

    /// Takes an effect across: decided by `policy`, recorded, carried out by `backend`, its reply recorded.
    pub async fn cross<E, P, B>(&self, policy: &P, effect: E, backend: &B) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        self.settle();
        let mut seen = E::Seen::default();
        for _ in 0..=MAX_OBSERVATIONS {
            match policy.decide(&effect, &seen) {
                Decision::Allow => {
                    let shared = &*self.shared;
                    let position = shared.ledger.next(&shared.stage, shared.attempt);
                    shared.ledger.intent(&position, E::NAME, effect.class(), &effect.subject(), &Record::new(&(&effect, &seen)))?;
                    let reply = backend.act(Permitted { effect, seen }).await;
                    shared.clock.catch_up();
                    shared.ledger.reply(&position, &Record::new(&reply))?;
                    return Ok(reply);
                }
                Decision::Deny(denial) => return Err(Refusal::Denied(self.deny(denial, &effect)?)),
                Decision::Observe(question) => backend.observe(question, &mut seen).await,
            }
        }
        let denial = Denial::new("undecided", format!("the policy asked for more than {MAX_OBSERVATIONS} observations"));
        Err(Refusal::Denied(self.deny(denial, &effect)?))
    }

    /// Refuses without asking: for what no grant can allow, such as sockets.
    pub fn refuse<E: Effect>(&self, effect: &E, denial: Denial) -> Result<Denial, LedgerError> {
        self.deny(denial, effect)
    }

    fn deny<E: Effect>(&self, mut denial: Denial, effect: &E) -> Result<Denial, LedgerError> {
        denial.effect = E::NAME.to_owned();
        denial.subject = effect.subject().into_owned();
        let shared = &*self.shared;
        let position = shared.ledger.next(&shared.stage, shared.attempt);
        if shared.ledger.denied(&position, &denial)? {
            self.emit(Kind::Denied { stage: shared.stage.clone(), denial: denial.record() });
        }
        Ok(denial)
    }

    /// Records something that the world did by itself (bytes that arrived, a process that ended) at the moment at which the guest
    /// gets to see it. The order of deliveries is what makes a replay see the same run.
    pub fn deliver(&self, what: &'static str, body: &dyn erased::Deliverable) -> Result<(), LedgerError> {
        let shared = &*self.shared;
        shared.clock.catch_up();
        let position = shared.ledger.next(&shared.stage, shared.attempt);
        shared.ledger.delivered(&position, what, &Record::from_dyn(body))
    }

    pub fn emit(&self, kind: Kind) {
        if let Some(log) = &self.shared.log {
            log.pass_on();
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64;
        self.shared.sink.emit(&Event { at, kind });
    }
}

pub(crate) mod erased {
    use std::fmt::Debug;

    /// Something that can be recorded: any serialisable value.
    pub trait Deliverable: Debug {
        fn to_json(&self) -> serde_json::Result<serde_json::Value>;
    }

    impl<T: serde::Serialize + Debug + ?Sized> Deliverable for T {
        fn to_json(&self) -> serde_json::Result<serde_json::Value> {
            serde_json::to_value(self)
        }
    }
}
