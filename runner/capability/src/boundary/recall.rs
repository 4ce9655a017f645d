//! The record's side of the boundary: what was recorded before is answered again, what is new is recorded.
//!
//! A component gets the same answers in the same order, so it asks the same questions; each question is compared with the recorded one by
//! its digest, and one that differs is an error, never a guess. Where the record ends the attempt is live: what the world lost with
//! the last process (background programs, half-read responses) is put back first ([`Revive`]).

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Boundary, Mode, lock};
use crate::ledger::{Answer, Asked, Delivery, Divergence, InDoubt, LedgerError, Payload, RecordKind, Waiting};

/// A question that the world answers by itself, or that reads something open: what is delivered is recorded after the fact.
#[derive(Debug)]
pub struct Ask<'a> {
    what: &'static str,
    subject: Cow<'a, str>,
    /// As JSON.
    about: String,
    promptly: bool,
    again: bool,
    waits: Option<Option<u64>>,
}

impl<'a> Ask<'a> {
    /// `about`: what tells this question from another, such as a handle and a range.
    ///
    /// # Errors
    /// If it can't be written as JSON.
    pub fn new(what: &'static str, about: &impl Serialize) -> Result<Self, LedgerError> {
        Ok(Ask { what, subject: Cow::Borrowed(""), about: json(about)?, promptly: false, again: false, waits: None })
    }

    /// What it is aimed at, for people.
    #[must_use]
    pub fn of(mut self, subject: impl Into<Cow<'a, str>>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Losing the answer would leave an effect in doubt: it is on the disk before the guest goes on.
    #[must_use]
    pub fn promptly(mut self) -> Self {
        self.promptly = true;
        self
    }

    /// The world can be asked again and answers the same, if it is the same world: so does a file that was read. What is not kept of such an
    /// answer is no obstacle to going on, only to an offline replay.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// It may take long: that the wait began is recorded at once, with the time (nanoseconds since 1970) at which it ends at the latest.
    #[must_use]
    pub fn waits(mut self, until: Option<u64>) -> Self {
        self.waits = Some(until);
        self
    }
}

/// What is done when the record ends and the attempt goes on in the world.
pub trait Revive: Send + Sync {
    /// Finds out whether the world is still the one that the record speaks of. Waits for nothing.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] with what is different.
    fn verify(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Puts back what was lost when the last process was killed.
    fn revive(&self) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// How a delivery is to be answered.
enum Turn {
    Recorded(Answer),
    /// The answer was recorded, and of its bytes only what tells them apart.
    Verify(Answer),
    Live(u64),
}

impl Boundary {
    /// Answers a question that needs no waiting.
    pub fn deliver_now<T>(&self, ask: &Ask<'_>, look: impl FnOnce() -> (T, Bytes)) -> Result<(T, Bytes), LedgerError>
    where
        T: Serialize + DeserializeOwned,
    {
        match self.delivery(ask)? {
            Turn::Recorded(answer) => self.recalled(ask, answer),
            Turn::Verify(answer) => {
                let (_, bytes) = look();
                self.verified(ask, &answer, bytes)
            }
            Turn::Live(position) => {
                let (value, bytes) = look();
                self.keep(ask, position, value, bytes)
            }
        }
    }

    /// Answers a question, after waiting if need be.
    pub async fn deliver<T>(
        &self,
        ask: &Ask<'_>,
        look: impl Future<Output = Result<(T, Bytes), LedgerError>>,
    ) -> Result<(T, Bytes), LedgerError>
    where
        T: Serialize + DeserializeOwned,
    {
        match self.delivery(ask)? {
            Turn::Recorded(answer) => self.recalled(ask, answer),
            // nothing that is waited for can be asked again
            Turn::Verify(answer) => self.recalled(ask, answer),
            Turn::Live(position) => {
                self.revive().await?;
                if let Some(until) = ask.waits {
                    let asked = asked(ask.what, &ask.about);
                    self.shared.ledger.waiting(&Waiting { position, what: ask.what, asked, until })?;
                }
                let (value, bytes) = look.await?;
                self.keep(ask, position, value, bytes)
            }
        }
    }

    fn delivery(&self, ask: &Ask<'_>) -> Result<Turn, LedgerError> {
        self.settle();
        let asked = asked(ask.what, &ask.about);
        let (position, record) = self.turn(ask.what, &ask.subject, &asked, None)?;
        match record {
            None => Ok(Turn::Live(position)),
            Some(RecordKind::Delivered(answer)) => match (&answer.bytes, self.shared.mode) {
                (Payload::Here(_), _) => Ok(Turn::Recorded(answer)),
                (Payload::Digest { .. }, Mode::Live(_)) if ask.again => Ok(Turn::Verify(answer)),
                (Payload::Digest { length, .. }, _) => {
                    let subject = ask.subject.clone().into_owned();
                    Err(LedgerError::NotKept { what: ask.what.to_owned(), subject, length: *length })
                }
            },
            Some(RecordKind::Waiting) => {
                self.go_live()?;
                Ok(Turn::Live(position))
            }
            Some(_) => Err(self.parted(position, "an effect", ask.what, &ask.subject, String::new())),
        }
    }

    fn recalled<T: DeserializeOwned>(&self, ask: &Ask<'_>, answer: Answer) -> Result<(T, Bytes), LedgerError> {
        self.shared.clock.reach(answer.clock);
        let Payload::Here(bytes) = answer.bytes else { return Err(LedgerError::Over) };
        Ok((value(ask.what, &answer.body)?, bytes))
    }

    /// The world is asked again, and must say the same.
    fn verified<T: DeserializeOwned>(&self, ask: &Ask<'_>, answer: &Answer, bytes: Bytes) -> Result<(T, Bytes), LedgerError> {
        self.shared.clock.reach(answer.clock);
        if let Payload::Digest { length, digest } = &answer.bytes
            && (bytes.len() as u64 != *length || blake3::hash(&bytes) != *digest)
        {
            let position = self.shared.position.load(Ordering::Relaxed).saturating_sub(1);
            let detail = format!("what is there has changed since: {length} bytes were read then, {} other ones now", bytes.len());
            return Err(self.parted(position, ask.what, ask.what, &ask.subject, detail));
        }
        Ok((value(ask.what, &answer.body)?, bytes))
    }

    /// Records an answer, and gives it as the guest is to have it. Bytes that can be read again are the stage's own files: they stay as they
    /// are, and with a secret in them they are not kept.
    fn keep<T>(&self, ask: &Ask<'_>, position: u64, value: T, mut bytes: Bytes) -> Result<(T, Bytes), LedgerError>
    where
        T: Serialize + DeserializeOwned,
    {
        let shared = &*self.shared;
        let clock = shared.clock.catch_up();
        let (value, body) = self.hidden(value)?;
        let secret = shared.mask.hides(&bytes);
        if secret && !ask.again {
            bytes = shared.mask.bytes(&bytes).into_owned().into();
        }
        let (asked, subject) = (asked(ask.what, &ask.about), shared.mask.text(&ask.subject));
        let delivery =
            Delivery { position, clock, what: ask.what, subject: &subject, asked, body: &body, bytes: &bytes, secret: secret && ask.again };
        shared.ledger.delivered(&delivery, ask.promptly)?;
        Ok((value, bytes))
    }

    /// The next position, and what is recorded there.
    pub(super) fn turn(
        &self,
        what: &str,
        subject: &str,
        asked: &Asked,
        request: Option<&str>,
    ) -> Result<(u64, Option<RecordKind>), LedgerError> {
        let shared = &*self.shared;
        if shared.abandoned.load(Ordering::Relaxed) {
            return Err(LedgerError::Over);
        }
        let position = shared.position.fetch_add(1, Ordering::Relaxed);
        if shared.live.load(Ordering::Relaxed) {
            return Ok((position, None));
        }
        let Some(record) = shared.ledger.recorded(position)? else {
            self.go_live()?;
            return Ok((position, None));
        };
        if record.what != what || record.asked != *asked {
            let mut recorded = named(&record.what, &record.subject);
            let mut detail = String::new();
            if record.what == what && record.subject == subject {
                recorded.push_str(" as recorded");
                if let (RecordKind::Crossed { request: before, .. }, Some(now)) = (&record.kind, request) {
                    detail = difference(before, now);
                }
            }
            return Err(self.parted_from(position, recorded, what, subject, detail));
        }
        Ok((position, Some(record.kind)))
    }

    /// The record ends here.
    pub(super) fn go_live(&self) -> Result<(), LedgerError> {
        if self.shared.mode == Mode::Offline {
            return Err(LedgerError::Over);
        }
        self.shared.live.store(true, Ordering::Relaxed);
        let revivals: Vec<_> = lock(&self.shared.revivals).iter().filter_map(Weak::upgrade).collect();
        revivals.iter().try_for_each(|one| one.verify())
    }

    /// Whether the guest is given answers of an earlier process.
    pub fn replays(&self) -> bool {
        !self.shared.live.load(Ordering::Relaxed)
    }

    /// How many positions have been passed.
    pub fn crossed(&self) -> u64 {
        self.shared.position.load(Ordering::Relaxed)
    }

    /// `revive` is asked once, when the attempt goes live.
    pub fn on_live(&self, revive: Weak<dyn Revive>) {
        lock(&self.shared.revivals).push(revive);
    }

    pub(super) async fn revive(&self) -> Result<(), LedgerError> {
        let revivals = std::mem::take(&mut *lock(&self.shared.revivals));
        for one in revivals.iter().filter_map(Weak::upgrade) {
            one.revive().await?;
        }
        Ok(())
    }

    /// What the user chose for effects of which nobody can tell whether they happened.
    ///
    /// # Errors
    /// If nothing was chosen, or to fail.
    pub fn in_doubt(&self, effect: &str, subject: &str) -> Result<InDoubt, LedgerError> {
        let position = self.shared.position.load(Ordering::Relaxed).saturating_sub(1);
        self.doubt(position, effect, subject)
    }

    pub(super) fn doubt(&self, position: u64, effect: &str, subject: &str) -> Result<InDoubt, LedgerError> {
        match self.shared.mode {
            Mode::Live(Some(InDoubt::Fail)) => Err(self.given_up(effect, subject)),
            Mode::Live(Some(choice)) => Ok(choice),
            Mode::Live(None) => Err(LedgerError::InDoubt { position, effect: effect.to_owned(), subject: subject.to_owned() }),
            Mode::Offline => Err(LedgerError::Over),
        }
    }

    pub(super) fn given_up(&self, effect: &str, subject: &str) -> LedgerError {
        LedgerError::GivenUp { effect: effect.to_owned(), subject: subject.to_owned() }
    }

    pub(super) fn parted(&self, position: u64, recorded: &str, what: &str, subject: &str, detail: String) -> LedgerError {
        self.parted_from(position, recorded.to_owned(), what, subject, detail)
    }

    fn parted_from(&self, position: u64, recorded: String, what: &str, subject: &str, detail: String) -> LedgerError {
        let asked = named(what, subject);
        LedgerError::Diverged(Box::new(Divergence { position: Some(position), recorded, asked, detail }))
    }
}

fn named(what: &str, subject: &str) -> String {
    if subject.is_empty() { format!("`{what}`") } else { format!("`{what}` {subject}") }
}

/// Which part of two requests differs, in few words.
fn difference(before: &str, now: &str) -> String {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let (Some(before), Some(now)) = (parse(before), parse(now)) else { return String::new() };
    differs("", &before, &now).unwrap_or_default()
}

fn differs(place: &str, before: &serde_json::Value, now: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                differs(&place, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| differs(&format!("{place}[{i}]"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{place} was {}, now {}", shortened(a), shortened(b))),
    }
}

fn shortened(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 80 { text.chars().take(77).chain("…".chars()).collect() } else { text }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|e| LedgerError::Unrecorded(format!("a value can't be written as JSON: {e}")))
}

pub(super) fn value<T: DeserializeOwned>(what: &str, body: &str) -> Result<T, LedgerError> {
    serde_json::from_str(body)
        .map_err(|e| LedgerError::Unrecorded(format!("the recorded answer of `{what}` can't be read by this runner: {e}")))
}

pub(super) fn asked(what: &str, request: &str) -> Asked {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what.as_bytes()).update(&[0]).update(request.as_bytes());
    *hasher.finalize().as_bytes()
}
