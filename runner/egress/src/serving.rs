//! Serving whoever connects, so many at the same time: one loop for whatever programs connect over, a jail's socket or the holder of a pod.
//!
//! Deliberately absent: opening what listens, and closing it; its owner hands in a [`Door`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// Clients that are served at the same time; more wait.
const AT_ONCE: usize = 256;
/// Before a failed accept is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Where clients come in.
pub trait Door: Send + Sync + 'static {
    type Client: Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Client>> + Send;

    /// Serves one to its end.
    fn serve(self: Arc<Self>, client: Self::Client) -> impl Future<Output = ()> + Send;
}

/// A door that is open. Dropping it closes everything.
pub struct Serving {
    /// Ends with this.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Serves in the background from now on.
    pub fn start(door: impl Door) -> Serving {
        let (stop, stopped) = oneshot::channel();
        Serving { stop, task: tokio::spawn(serve(Arc::new(door), stopped)) }
    }

    /// Closes what is open, and returns when all of it has been told.
    pub async fn close(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

async fn serve<D: Door>(door: Arc<D>, mut stopped: oneshot::Receiver<()>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut clients = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((slot, door.accept().await?))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = &mut stopped => break,
        };
        while clients.try_join_next().is_some() {}
        let Ok((slot, client)) = accepted else {
            // out of descriptors, most likely: some of those that are open will end
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let serving = door.clone().serve(client);
        clients.spawn(async move {
            serving.await;
            drop(slot);
        });
    }
    clients.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Mutex, mpsc};

    use super::*;

    /// Clients are what a test sends; they stay until they are let go, or until everything is closed.
    struct Hall {
        coming: Mutex<mpsc::UnboundedReceiver<io::Result<Arc<Semaphore>>>>,
        inside: Arc<AtomicUsize>,
    }

    struct Inside(Arc<AtomicUsize>);

    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Door for Hall {
        type Client = Arc<Semaphore>;

        async fn accept(&self) -> io::Result<Arc<Semaphore>> {
            match self.coming.lock().await.recv().await {
                Some(client) => client,
                None => std::future::pending().await,
            }
        }

        async fn serve(self: Arc<Self>, leave: Arc<Semaphore>) {
            self.inside.fetch_add(1, Ordering::SeqCst);
            let _inside = Inside(self.inside.clone());
            let _ = leave.acquire().await;
        }
    }

    async fn until(inside: &AtomicUsize, wanted: usize) {
        let soon = async {
            while inside.load(Ordering::SeqCst) != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), soon).await;
        assert!(waited.is_ok(), "{} are inside, and not {wanted}", inside.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn so_many_at_a_time_and_none_after_the_end() {
        let (send, coming) = mpsc::unbounded_channel();
        let inside = Arc::new(AtomicUsize::new(0));
        let serving = Serving::start(Hall { coming: Mutex::new(coming), inside: inside.clone() });
        let (leave, stay) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        // an accept that fails is not the end
        send.send(Err(io::Error::other("out of descriptors"))).unwrap();
        for _ in 0..AT_ONCE {
            send.send(Ok(leave.clone())).unwrap();
        }
        until(&inside, AT_ONCE).await;
        for _ in 0..3 {
            send.send(Ok(stay.clone())).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(inside.load(Ordering::SeqCst), AT_ONCE, "those wait");
        leave.add_permits(AT_ONCE);
        until(&inside, 3).await;
        serving.close().await;
        assert_eq!(inside.load(Ordering::SeqCst), 0, "nobody is inside when it has closed");
    }
}
