//! The line that every effect crosses: decide, record, act, record.
//!
//! Nothing else makes a [`Permitted`], and a backend can't act without one, so a forgotten check does not compile. What was recorded
//! before is answered from the record, without deciding and without the backend: that is how a stage that was cut off comes back to
//! where it was, and how one is replayed with nothing around it (`recall`). Deliberately absent: retries (a policy of the schedule), and
//! anything that a capability knows.

mod recall;
#[cfg(test)]
mod tests;
mod waits;

pub use recall::{Ask, Revive};
pub use waits::Deadline;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use event::{Event, EventSink, Kind, StageRef};
use secret::Mask;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::{Clock, wall_now};
use crate::denial::Denial;
use crate::effect::{Decision, Effect};
use crate::ledger::{self, Class, InDoubt, Intent, Ledger, LedgerError, RecordKind, Reply};
use crate::log::StageLog;
use recall::{asked, json};

/// How often a policy may ask to see more before it must decide.
const MAX_OBSERVATIONS: usize = 8;
/// How many different denials of an attempt are told one by one; after that they are only recorded.
const TOLD: usize = 100;

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

    /// Finds out what became of an effect that was recorded and never answered, because the runner was killed. It has been decided again:
    /// `recorded` is what was seen then, `fresh` what is seen now, and what `act` will be given. Must change nothing in the world.
    fn recover(&self, effect: &E, recorded: &E::Seen, fresh: &mut E::Seen) -> impl Future<Output = Recovery<E::Reply>> + Send {
        let _ = (recorded, fresh);
        let recovery = if effect.class() == Class::Once { Recovery::Unknown } else { Recovery::Repeat };
        async { recovery }
    }

    /// The record has answered an effect, with what was seen then: for what the backend has to know of it all the same.
    fn recalled(&self, effect: &E, seen: impl FnOnce() -> Option<E::Seen>, reply: &E::Reply) {
        let _ = (effect, seen, reply);
    }

    /// What the guest is told of an effect in doubt that is to be left alone: that it was cut off. `None`: the stage fails.
    fn skipped(&self, effect: &E) -> Option<E::Reply> {
        let _ = effect;
        None
    }
}

/// What became of an effect that was never answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Recovery<R> {
    /// It happened, with this reply.
    Happened(R),
    /// It did not happen, or happening again changes nothing more.
    Repeat,
    /// Nothing can tell.
    Unknown,
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
    /// It can't be recorded, or not be answered from the record. The host function returns it as a trap.
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
    mode: Mode,
    /// The next position of the attempt.
    position: AtomicU64,
    /// Nothing more is answered from the record.
    live: AtomicBool,
    /// The guest was cut off: what it held back is not carried out any more.
    abandoned: AtomicBool,
    staged: Mutex<Vec<Weak<dyn Staged>>>,
    revivals: Mutex<Vec<Weak<dyn Revive>>>,
    told: Mutex<BTreeSet<(String, String)>>,
    log: Option<Arc<StageLog>>,
    mask: Arc<Mask>,
}

/// What happens where the record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The attempt goes on; with what to do about an effect in doubt.
    Live(Option<InDoubt>),
    /// Nothing may happen: the attempt ends there.
    Offline,
}

impl Boundary {
    pub fn new(stage: StageRef, attempt: u32, ledger: Arc<dyn Ledger>, sink: Arc<dyn EventSink>, clock: Clock) -> Self {
        let live = AtomicBool::new(!ledger.replays());
        let shared = Shared {
            stage,
            attempt,
            ledger,
            sink,
            clock,
            mode: Mode::Live(None),
            position: AtomicU64::new(0),
            live,
            abandoned: AtomicBool::new(false),
            staged: Mutex::default(),
            revivals: Mutex::default(),
            told: Mutex::default(),
            log: None,
            mask: Arc::default(),
        };
        Boundary { shared: Arc::new(shared) }
    }

    #[must_use]
    pub fn in_mode(mut self, mode: Mode) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.mode = mode;
            if mode == Mode::Offline {
                shared.live = AtomicBool::new(false);
            }
        }
        self
    }

    /// Keeps the stage's log and its other events in the order in which they happened.
    #[must_use]
    pub fn in_order_with(mut self, log: Arc<StageLog>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.log = Some(log);
        }
        self
    }

    /// What comes in from the world has its secrets hidden before the stage and the record see it; of what the stage asks, the record.
    #[must_use]
    pub fn hiding(mut self, mask: Arc<Mask>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.mask = mask;
        }
        self
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub fn stage(&self) -> &StageRef {
        &self.shared.stage
    }

    pub fn attempt(&self) -> u32 {
        self.shared.attempt
    }

    /// From now on `staged` holds something back, until it is settled.
    pub fn stage_effect(&self, staged: Weak<dyn Staged>) {
        lock(&self.shared.staged).push(staged);
    }

    /// Carries out whatever is held back. Every crossing and every delivery does so first.
    pub fn settle(&self) {
        let staged = std::mem::take(&mut *lock(&self.shared.staged));
        if self.shared.abandoned.load(Ordering::Relaxed) {
            return;
        }
        for one in staged.iter().filter_map(Weak::upgrade) {
            one.settle();
        }
    }

    /// The guest was cut off from outside, at a moment that no replay can find again: from now on nothing crosses in its name.
    pub fn abandon(&self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        lock(&self.shared.staged).clear();
    }

    /// Takes an effect across: decided by `policy`, recorded, carried out by `backend`, its reply recorded.
    pub async fn cross<E, P, B>(&self, policy: &P, effect: E, backend: &B) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        self.cross_or_wait(policy, effect, backend, true).await
    }

    /// The same for what was held back: it waits for nothing but its backend. If the record ends here, what the world has lost is put back at
    /// the next effect that may wait.
    pub async fn cross_staged<E, P, B>(&self, policy: &P, effect: E, backend: &B) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        self.cross_or_wait(policy, effect, backend, false).await
    }

    async fn cross_or_wait<E, P, B>(&self, policy: &P, effect: E, backend: &B, waits: bool) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        self.settle();
        let request = json(&effect)?;
        let asked = asked(E::NAME, &request);
        let (position, record) = self.turn(E::NAME, &effect.subject(), &asked, Some(&request))?;
        match record {
            None => {
                if waits {
                    self.revive().await?;
                }
                let crossing = Crossing { position, asked, request: &request, intended: false };
                self.cross_live(policy, effect, backend, crossing).await
            }
            Some(RecordKind::Denied { clock, denial }) => {
                self.shared.clock.reach(clock);
                let denial = Denial::from(denial);
                self.tell(&denial);
                Err(Refusal::Denied(denial))
            }
            Some(RecordKind::Crossed { seen, answer: Some(answer), .. }) => {
                self.shared.clock.reach(answer.clock);
                let reply = recall::value(E::NAME, &answer.body)?;
                backend.recalled(&effect, || recall::value(E::NAME, &seen).ok(), &reply);
                Ok(reply)
            }
            Some(RecordKind::Crossed { seen, answer: None, .. }) => {
                self.go_live()?;
                if waits {
                    self.revive().await?;
                }
                let crossing = Crossing { position, asked, request: &request, intended: true };
                if effect.class() == Class::Read {
                    return self.cross_live(policy, effect, backend, crossing).await;
                }
                let recorded = recall::value(E::NAME, &seen)?;
                self.recover(policy, effect, backend, &recorded, position).await
            }
            Some(RecordKind::Delivered(_) | RecordKind::Waiting) => {
                Err(self.parted(position, "a delivery", E::NAME, &effect.subject(), String::new()).into())
            }
        }
    }

    /// Decides until the policy has seen enough.
    async fn decide<E, P, B>(&self, policy: &P, effect: &E, backend: &B) -> Result<E::Seen, Denial>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        let mut seen = E::Seen::default();
        for _ in 0..=MAX_OBSERVATIONS {
            match policy.decide(effect, &seen) {
                Decision::Allow => return Ok(seen),
                Decision::Deny(denial) => return Err(denial),
                Decision::Observe(question) => backend.observe(question, &mut seen).await,
            }
        }
        Err(Denial::new("undecided", format!("the policy asked for more than {MAX_OBSERVATIONS} observations")))
    }

    async fn cross_live<E, P, B>(&self, policy: &P, effect: E, backend: &B, crossing: Crossing<'_>) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        let ledger = &*self.shared.ledger;
        let Crossing { position, asked, request, intended } = crossing;
        let seen = match self.decide(policy, &effect, backend).await {
            Ok(seen) => seen,
            Err(denial) => return Err(Refusal::Denied(self.deny(denial, &effect, position, asked)?)),
        };
        let class = effect.class();
        if !intended {
            let (subject, seen, mask) = (effect.subject(), json(&seen)?, &*self.shared.mask);
            let (subject, request, seen) = (mask.text(&subject), mask.text(request), mask.text(&seen));
            ledger.intent(&Intent { position, effect: E::NAME, class, subject: &subject, asked, request: &request, seen: &seen })?;
        }
        let reply = backend.act(Permitted { effect, seen }).await;
        Ok(self.answer(position, class, reply)?)
    }

    /// Records the reply, at the moment at which the guest gets it, and as the guest gets it.
    fn answer<R: Serialize + DeserializeOwned>(&self, position: u64, class: Class, reply: R) -> Result<R, LedgerError> {
        let clock = self.shared.clock.catch_up();
        let (reply, body) = self.hidden(reply)?;
        self.shared.ledger.reply(&Reply { position, clock, body: &body, promptly: class == Class::Once })?;
        Ok(reply)
    }

    /// A value with its secrets hidden, and as JSON.
    fn hidden<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<(T, String), LedgerError> {
        let body = json(&value)?;
        if !self.shared.mask.hides(body.as_bytes()) {
            return Ok((value, body));
        }
        let mut tree = recall::value("a reply", &body)?;
        self.shared.mask.json(&mut tree);
        let body = json(&tree)?;
        Ok((recall::value("a reply", &body)?, body))
    }

    /// An effect that was recorded and never answered: finds out whether it happened, or does what the user chose.
    async fn recover<E, P, B>(&self, policy: &P, effect: E, backend: &B, recorded: &E::Seen, position: u64) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        let class = effect.class();
        // its grant may be another one by now
        let mut fresh = match self.decide(policy, &effect, backend).await {
            Ok(seen) => seen,
            Err(denial) => {
                let detail = format!("it was allowed when it was recorded, and is not any more: {}", denial.reason);
                return Err(self.parted(position, E::NAME, E::NAME, &effect.subject(), detail).into());
            }
        };
        let reply = match backend.recover(&effect, recorded, &mut fresh).await {
            Recovery::Happened(reply) => reply,
            Recovery::Repeat => backend.act(Permitted { effect, seen: fresh }).await,
            Recovery::Unknown => match self.doubt(position, E::NAME, &effect.subject())? {
                InDoubt::Retry => backend.act(Permitted { effect, seen: fresh }).await,
                _ => match backend.skipped(&effect) {
                    Some(reply) => reply,
                    None => return Err(self.given_up(E::NAME, &effect.subject()).into()),
                },
            },
        };
        Ok(self.answer(position, class, reply)?)
    }

    /// Carries out once more what the record answers and the world has lost with the last process: a background process, a request whose
    /// body was being read. Decided again, and not recorded again.
    pub async fn again<E, P, B>(&self, policy: &P, effect: E, backend: &B) -> Result<E::Reply, Refusal>
    where
        E: Effect,
        P: Policy<E> + ?Sized,
        B: Backend<E> + ?Sized,
    {
        match self.decide(policy, &effect, backend).await {
            Ok(seen) => Ok(backend.act(Permitted { effect, seen }).await),
            Err(mut denial) => {
                denial.effect = E::NAME.to_owned();
                denial.subject = effect.subject().into_owned();
                self.tell(&denial);
                Err(Refusal::Denied(denial))
            }
        }
    }

    /// Refuses without asking: for what no grant can allow, such as sockets.
    pub fn refuse<E: Effect>(&self, effect: &E, denial: Denial) -> Result<Denial, LedgerError> {
        self.settle();
        let request = json(effect)?;
        let asked = asked(E::NAME, &request);
        match self.turn(E::NAME, &effect.subject(), &asked, Some(&request))? {
            (position, None) => self.deny(denial, effect, position, asked),
            (_, Some(RecordKind::Denied { clock, denial })) => {
                self.shared.clock.reach(clock);
                let denial = Denial::from(denial);
                self.tell(&denial);
                Ok(denial)
            }
            (position, Some(_)) => Err(self.parted(position, "allowed", E::NAME, &effect.subject(), String::new())),
        }
    }

    fn deny<E: Effect>(&self, mut denial: Denial, effect: &E, position: u64, asked: ledger::Asked) -> Result<Denial, LedgerError> {
        denial.effect = E::NAME.to_owned();
        denial.subject = effect.subject().into_owned();
        let denial = self.hidden(denial)?.0;
        let (shared, record) = (&*self.shared, denial.record());
        shared.ledger.denied(&ledger::Denied { position, clock: shared.clock.now(), asked, denial: &record })?;
        self.tell(&denial);
        Ok(denial)
    }

    /// Tells the user of a denial; the same one again and again is told once. By itself only for what a stage's programs were refused beside
    /// the component: that has no position, and no replay meets it again.
    pub fn tell(&self, denial: &Denial) {
        let first = {
            let mut told = lock(&self.shared.told);
            told.len() < TOLD && told.insert((denial.effect.clone(), denial.subject.clone()))
        };
        if first {
            self.emit(Kind::Denied { stage: self.shared.stage.clone(), denial: denial.record() });
        }
    }

    pub fn emit(&self, kind: Kind) {
        if let Some(log) = &self.shared.log {
            log.pass_on();
        }
        self.shared.sink.emit(&Event { at: wall_now(), kind });
    }
}

/// Where a live crossing is recorded.
struct Crossing<'a> {
    position: u64,
    asked: ledger::Asked,
    request: &'a str,
    /// Its intent is recorded already.
    intended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
