//! One exchange between the backend's task, which fills it, and the host functions, which read it when the guest asks.
//!
//! The task fills a bounded buffer and waits while it is full, so that a response of any size costs little memory and a slow guest slows the
//! server. What a guest learns, it learns through a delivery that the host functions record; the times at which things arrive
//! here stay here. Deliberately absent: hyper, and the boundary.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use capability::io::Completion;
use tokio::sync::Notify;

use crate::effect::{Failure, Head, Header, Piece};

/// How much of a body waits for the guest.
const BUFFER: usize = 256 << 10;

#[derive(Default)]
pub struct Exchange {
    state: Mutex<State>,
    /// The head, a piece or the end has come.
    arrived: Notify,
    /// The guest has read, or will not read any more.
    drained: Notify,
}

#[derive(Default)]
struct State {
    head: Option<Result<Head, Failure>>,
    pieces: VecDeque<Bytes>,
    buffered: usize,
    /// The trailers, or why there are none.
    end: Option<Result<Vec<Header>, Failure>>,
    discard: bool,
    /// What the guest got of it before the runner was killed.
    before: Before,
}

/// What an earlier process delivered of an exchange.
#[derive(Default)]
struct Before {
    status: Option<u16>,
    /// So many bytes of the body, with this digest.
    length: u64,
    digest: blake3::Hasher,
    /// It was read to its end.
    over: bool,
    /// Of the same request sent again: what of `length` has come.
    again: u64,
    hasher: blake3::Hasher,
}

/// What a guest that reads gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Pending,
    Bytes(Bytes),
    End,
    Failed(Failure),
}

impl Exchange {
    pub fn head(&self) -> Option<Result<Head, Failure>> {
        self.lock().head.clone()
    }

    pub async fn wait_head(&self) {
        self.wait(|state| state.head.is_some()).await;
    }

    /// The next bytes of the body, `max` at most.
    pub fn read(&self, max: usize) -> Read {
        let mut state = self.lock();
        let Some(mut piece) = state.pieces.pop_front() else {
            return match &state.end {
                None => Read::Pending,
                Some(Ok(_)) => Read::End,
                Some(Err(failure)) => Read::Failed(failure.clone()),
            };
        };
        if piece.len() > max {
            let rest = piece.split_off(max);
            state.pieces.push_front(rest);
        }
        state.buffered -= piece.len();
        drop(state);
        self.drained.notify_one();
        Read::Bytes(piece)
    }

    pub async fn wait_body(&self) {
        self.wait(|state| !state.pieces.is_empty() || state.end.is_some()).await;
    }

    /// The guest got this of it from the record.
    pub fn replayed(&self, piece: &Piece, bytes: &[u8]) {
        let before = &mut self.lock().before;
        match piece {
            Piece::Pending => {}
            Piece::Head(head) => before.status = Some(head.status),
            Piece::Body => {
                before.length += bytes.len() as u64;
                before.digest.update(bytes);
            }
            Piece::End | Piece::Trailers(_) | Piece::Failure(_) => before.over = true,
        }
    }

    /// Whether the guest has nothing more to get of it; and whether it has the head.
    pub fn was_read(&self) -> (bool, bool) {
        let before = &self.lock().before;
        (before.over, before.status.is_some())
    }

    /// The guest wants the trailers and none of the body that is left.
    pub fn discard(&self) {
        let mut state = self.lock();
        state.discard = true;
        state.pieces.clear();
        state.buffered = 0;
        drop(state);
        self.drained.notify_one();
    }

    /// The trailers, once the body is over.
    pub fn trailers(&self) -> Option<Result<Vec<Header>, Failure>> {
        self.lock().end.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, ready: impl Fn(&State) -> bool) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // before the look, so that nothing arrives unseen between the two
            arrived.as_mut().enable();
            if ready(&self.lock()) {
                return;
            }
            arrived.await;
        }
    }
}

impl Before {
    /// Takes off what the guest has already, if it is the same.
    fn skip(&mut self, bytes: &mut Bytes) -> Result<(), Failure> {
        if self.again == self.length {
            return Ok(());
        }
        let known = bytes.split_to(bytes.len().min(usize::try_from(self.length - self.again).unwrap_or(usize::MAX)));
        self.hasher.update(&known);
        self.again += known.len() as u64;
        if self.again == self.length && self.hasher.finalize() != self.digest.finalize() { Err(changed()) } else { Ok(()) }
    }
}

fn changed() -> Failure {
    Failure::Terminated("the runner was restarted while the response was read, and the server answers something else now".to_owned())
}

/// The backend's end. An exchange whose filler goes away ends with a failure, so that no guest waits for it.
pub struct Filler(Arc<Exchange>);

impl Filler {
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Filler(exchange)
    }

    /// Answers whether the rest is wanted: a request that was sent again must be answered as it was.
    pub fn head(&self, head: Head) -> bool {
        let mut state = self.0.lock();
        if state.before.status.is_some_and(|status| status != head.status) {
            drop(state);
            self.stop(changed());
            self.0.arrived.notify_waiters();
            return false;
        }
        state.head = Some(Ok(head));
        drop(state);
        self.0.arrived.notify_waiters();
        true
    }

    /// Adds to the body, once there is room for it.
    pub async fn piece(&self, mut bytes: Bytes) -> Result<(), Failure> {
        self.0.lock().before.skip(&mut bytes)?;
        loop {
            let drained = self.0.drained.notified();
            {
                let mut state = self.0.lock();
                if state.discard || bytes.is_empty() {
                    return Ok(());
                }
                if state.buffered < BUFFER {
                    state.buffered += bytes.len();
                    state.pieces.push_back(bytes);
                    break;
                }
            }
            drained.await;
        }
        self.0.arrived.notify_waiters();
        Ok(())
    }

    pub fn end(self, trailers: Vec<Header>) {
        let mut state = self.0.lock();
        state.end = Some(if state.before.again < state.before.length { Err(changed()) } else { Ok(trailers) });
    }

    pub fn fail(self, failure: Failure) {
        self.stop(failure);
    }

    fn stop(&self, failure: Failure) {
        let mut state = self.0.lock();
        if state.head.is_none() {
            state.head = Some(Err(failure.clone()));
        }
        if state.end.is_none() {
            state.end = Some(Err(failure));
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stop(Failure::Terminated("the exchange was cut off".to_owned()));
        self.0.arrived.notify_waiters();
    }
}

/// The moments of an exchange that a guest can wait for.
pub enum Moment {
    Head(Arc<Exchange>),
    Body(Arc<Exchange>),
    End(Arc<Exchange>),
}

impl Completion for Moment {
    fn ready(&self) -> bool {
        match self {
            Moment::Head(exchange) => exchange.lock().head.is_some(),
            Moment::Body(exchange) => {
                let state = exchange.lock();
                !state.pieces.is_empty() || state.end.is_some()
            }
            Moment::End(exchange) => exchange.lock().end.is_some(),
        }
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            match self {
                Moment::Head(exchange) => exchange.wait_head().await,
                Moment::Body(exchange) => exchange.wait_body().await,
                Moment::End(exchange) => exchange.wait(|state| state.end.is_some()).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_buffer_makes_the_task_wait_for_the_guest() {
        let exchange = Arc::new(Exchange::default());
        let filler = Filler::new(exchange.clone());
        let task = tokio::spawn(async move {
            for _ in 0..16 {
                filler.piece(Bytes::from(vec![1; BUFFER / 2])).await.unwrap();
            }
            filler.end(Vec::new());
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!task.is_finished());
        assert!(exchange.lock().buffered <= BUFFER + BUFFER / 2);
        let mut total = 0;
        loop {
            exchange.wait_body().await;
            match exchange.read(100_000) {
                Read::Bytes(bytes) => {
                    assert!(bytes.len() <= 100_000);
                    total += bytes.len();
                }
                Read::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(total, 8 * BUFFER);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_filler_that_goes_away_ends_the_exchange() {
        let exchange = Arc::new(Exchange::default());
        let filler = Filler::new(exchange.clone());
        let waiting = tokio::spawn({
            let exchange = exchange.clone();
            async move { exchange.wait_head().await }
        });
        tokio::task::yield_now().await;
        drop(filler);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert!(matches!(exchange.head(), Some(Err(Failure::Terminated(_)))));
        assert!(matches!(exchange.read(1), Read::Failed(Failure::Terminated(_))));
    }

    #[tokio::test]
    async fn a_guest_that_wants_only_the_trailers_holds_nothing_up() {
        let exchange = Arc::new(Exchange::default());
        let filler = Filler::new(exchange.clone());
        let task = tokio::spawn(async move {
            for _ in 0..16 {
                filler.piece(Bytes::from(vec![1; BUFFER])).await.unwrap();
            }
            filler.end(vec![Header::new("x", "y")]);
        });
        tokio::task::yield_now().await;
        exchange.discard();
        let moment = Moment::End(exchange.clone());
        tokio::time::timeout(Duration::from_secs(5), moment.wait()).await.unwrap();
        assert!(moment.ready());
        assert_eq!(exchange.trailers(), Some(Ok(vec![Header::new("x", "y")])));
        task.await.unwrap();
    }
}
