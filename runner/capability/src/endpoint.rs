//! Names that exist only inside a stage: `http://app.stage:8080` is a process that the stage started under the name `app`.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways, over whatever leads there.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on its way up.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Something of the stage's own that listens on ports.
pub trait Endpoint: Send + Sync {
    fn connect(&self, port: u16) -> Connecting<'_>;
}

/// The stage's names. One capability puts them in, another connects to them; neither knows the other.
#[derive(Default)]
pub struct Endpoints(Mutex<BTreeMap<String, Arc<dyn Endpoint>>>);

impl Endpoints {
    /// False if the name is taken.
    pub fn insert(&self, name: &str, endpoint: Arc<dyn Endpoint>) -> bool {
        let mut names = self.lock();
        if names.contains_key(name) {
            return false;
        }
        names.insert(name.to_owned(), endpoint);
        true
    }

    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn Endpoint>> {
        self.lock().get(name).cloned()
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<dyn Endpoint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
