//! Kills this process at a chosen effect, for the tests of what a killed runner leaves behind. Only in builds with debug assertions.
//!
//! `PIPELINE_FAULT=between:17` ends it with SIGKILL at the seventeenth recorded effect of the run, between the act and its reply; `before`
//! is after the intent was recorded and before the act, `after` is after the reply was recorded. Deliveries and denials count too; for those, `between`
//! is before they are recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use capability::ledger::{Delivery, Denied, Intent, Record, Reply, Waiting};
use capability::{Ledger, LedgerError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    Between,
    After,
}

/// How many effects the run has recorded so far.
static COUNT: AtomicU64 = AtomicU64::new(0);

struct Faulty {
    inner: Arc<dyn Ledger>,
    moment: Moment,
    at: u64,
    /// The effect that is being carried out. A stage has one at a time.
    current: AtomicU64,
}

/// The ledger itself, unless a fault is asked for.
pub fn wrap(inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
    let asked = if cfg!(debug_assertions) { std::env::var("PIPELINE_FAULT").ok() } else { None };
    let Some((moment, at)) = asked.as_deref().and_then(parse) else { return inner };
    Arc::new(Faulty { inner, moment, at, current: AtomicU64::new(0) })
}

fn parse(text: &str) -> Option<(Moment, u64)> {
    let (moment, at) = text.split_once(':')?;
    let moment = match moment {
        "before" => Moment::Before,
        "between" => Moment::Between,
        "after" => Moment::After,
        _ => return None,
    };
    Some((moment, at.parse().ok()?))
}

impl Faulty {
    fn next(&self) -> u64 {
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        self.current.store(number, Ordering::SeqCst);
        number
    }

    fn reached(&self, moment: Moment, number: u64) {
        if moment == self.moment && number == self.at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // the signal is on its way
            loop {
                std::thread::park();
            }
        }
    }
}

impl Ledger for Faulty {
    fn replays(&self) -> bool {
        self.inner.replays()
    }

    fn recorded(&self, position: u64) -> Result<Option<Record>, LedgerError> {
        self.inner.recorded(position)
    }

    fn intent(&self, intent: &Intent<'_>) -> Result<(), LedgerError> {
        let number = self.next();
        self.inner.intent(intent)?;
        self.reached(Moment::Before, number);
        Ok(())
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<(), LedgerError> {
        let number = self.current.load(Ordering::SeqCst);
        self.reached(Moment::Between, number);
        self.inner.reply(reply)?;
        self.reached(Moment::After, number);
        Ok(())
    }

    fn denied(&self, denied: &Denied<'_>) -> Result<(), LedgerError> {
        let number = self.next();
        self.reached(Moment::Between, number);
        self.inner.denied(denied)?;
        self.reached(Moment::After, number);
        Ok(())
    }

    fn delivered(&self, delivery: &Delivery<'_>, promptly: bool) -> Result<(), LedgerError> {
        let number = self.next();
        self.reached(Moment::Between, number);
        self.inner.delivered(delivery, promptly)?;
        self.reached(Moment::After, number);
        Ok(())
    }

    fn waiting(&self, waiting: &Waiting<'_>) -> Result<(), LedgerError> {
        self.inner.waiting(waiting)
    }
}
