//! What the containers of one attempt share: the engine, their owner, and the pod, each made when it is first needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixListener;
use tokio::sync::OnceCell;

use crate::{Engine, EngineError, Image, Owner, Pod, PodSpec};

pub struct StagePod {
    owner: Owner,
    spec: PodSpec,
    engine: OnceCell<Engine>,
    pod: OnceCell<Arc<Pod>>,
    tried: AtomicBool,
    outlet: Mutex<Option<UnixListener>>,
}

impl StagePod {
    /// Nothing is asked of an engine yet.
    pub fn new(owner: Owner, spec: PodSpec) -> Self {
        StagePod { owner, spec, engine: OnceCell::new(), pod: OnceCell::new(), tried: AtomicBool::default(), outlet: Mutex::default() }
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// # Errors
    /// If none answers.
    pub async fn engine(&self) -> Result<&Engine, EngineError> {
        self.engine.get_or_try_init(|| Engine::connect(None)).await
    }

    /// The pod, which stands from now on.
    ///
    /// # Errors
    /// If there is no engine, or it is not on this machine.
    pub async fn standing(&self) -> Result<&Arc<Pod>, EngineError> {
        let started = self.pod.get_or_try_init(|| async {
            self.tried.store(true, Ordering::Relaxed);
            let mut pod = Pod::start(self.engine().await?, &self.owner, &self.spec).await?;
            *self.outlet.lock().unwrap_or_else(PoisonError::into_inner) = pod.outlet();
            Ok(Arc::new(pod))
        });
        started.await
    }

    /// Whether there may be a pod, or a part of one.
    pub fn stands(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    /// What arrives at the proxy's place inside; once.
    pub fn outlet(&self) -> Option<UnixListener> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// An image by its name, from its registry if the engine does not have it. Only what anybody may pull comes from there. `note`: tells of that.
    ///
    /// # Errors
    /// If it can't be had.
    pub async fn image(&self, reference: &str, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Image, EngineError> {
        let engine = self.engine().await?;
        if let Some(image) = engine.image(reference).await? {
            return Ok(image);
        }
        note(&format!("the engine does not have the image {reference}: it is pulled"));
        engine.pull(reference, None, None, &|_| {}).await
    }

    /// Takes away all that the attempt made, the pod too.
    ///
    /// # Errors
    /// If the engine does not answer any more.
    pub async fn end(&self) -> Result<(), EngineError> {
        match self.engine.get() {
            Some(engine) => engine.clear(&self.owner).await.map(drop),
            None => Ok(()),
        }
    }
}
