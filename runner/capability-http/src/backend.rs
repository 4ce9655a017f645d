//! Carries requests out: the only place that knows sockets, TLS and hyper.
//!
//! Each exchange is a task of the attempt: it connects to a checked address, sends, and fills the [`Exchange`] that the guest reads. A
//! connection is used again for the same scheme, host, port and checked address, and only for requests that may be repeated, since a server
//! may close it at the very moment. Deliberately absent: any decision (`policy`), redirects (`host`: each is a new effect), proxies from the
//! environment, decoding of `content-encoding`, cookies and caches: a guest sees what the server sent.

mod ask;
mod connect;
mod tls;
mod wire;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use capability::{Backend, Boundary, Class, Effect, Endpoints, Permitted, Setting, Stream};
use http_body_util::BodyExt;
use secret::{Held, mask};
use tokio::task::{AbortHandle, JoinSet};

pub use ask::Asker;
pub use egress::{Resolver, SystemResolver};
pub use tls::Trust;

use crate::effect::{Aim, Answer, Failure, Head, Header, Limits, Reply, Request, Resolve, Resolved, Seen, Timing};
use crate::exchange::{Exchange, Filler};
use crate::policy::{Destination, HttpPolicy};
use crate::room::Revival;
use crate::secrets::{self, Filled};
use crate::target::{Scheme, Target};
use connect::{Place, connect, places};
use wire::{Link, Sender};

/// Connections that wait to be used again.
const MAX_IDLE: usize = 32;

/// The backend of one attempt.
pub struct HttpBackend {
    policy: Arc<HttpPolicy>,
    setting: Arc<Setting>,
    resolver: Arc<dyn Resolver>,
    trust: Arc<Trust>,
    exchanges: Mutex<BTreeMap<u64, Running>>,
    number: AtomicU64,
    tasks: Arc<Mutex<JoinSet<()>>>,
    idle: Arc<Mutex<HashMap<Key, Vec<Link>>>>,
    revival: OnceLock<Arc<Revival>>,
}

struct Running {
    exchange: Arc<Exchange>,
    work: Work,
}

enum Work {
    Task(AbortHandle),
    /// Of an earlier process, which was killed: the request, if it has to be sent again.
    Lost(Box<Request>),
}

/// What a connection may be used again for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scheme: Scheme,
    authority: String,
    place: Place,
}

impl HttpBackend {
    pub fn new(policy: Arc<HttpPolicy>, setting: Arc<Setting>, resolver: Arc<dyn Resolver>, trust: Arc<Trust>) -> Self {
        HttpBackend {
            policy,
            setting,
            resolver,
            trust,
            exchanges: Mutex::default(),
            number: AtomicU64::new(1),
            tasks: Arc::default(),
            idle: Arc::default(),
            revival: OnceLock::new(),
        }
    }

    /// What sends again what was being read when the runner was killed: one for the attempt.
    pub(crate) fn revival(self: &Arc<Self>, boundary: &Boundary, policy: &Arc<HttpPolicy>) -> Arc<Revival> {
        self.revival.get_or_init(|| Arc::new(Revival::new(boundary, policy, self))).clone()
    }

    pub fn exchange(&self, number: u64) -> Option<Arc<Exchange>> {
        lock(&self.exchanges).get(&number).map(|running| running.exchange.clone())
    }

    /// How many exchanges the guest holds.
    pub fn open(&self) -> usize {
        lock(&self.exchanges).len()
    }

    /// Ends an exchange that the guest has dropped.
    pub fn end(&self, number: u64) {
        if let Some(running) = lock(&self.exchanges).remove(&number)
            // one that has come to its end only has its connection left to put away
            && running.exchange.trailers().is_none()
            && let Work::Task(task) = running.work
        {
            task.abort();
        }
    }

    /// Ends everything, and waits until it has ended.
    pub async fn leave(&self) {
        lock(&self.exchanges).clear();
        lock(&self.idle).clear();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }

    /// Ends everything without waiting.
    pub fn abort(&self) {
        lock(&self.tasks).abort_all();
    }

    /// Takes over a number that an earlier process gave out.
    pub fn adopt(&self, number: u64, request: Request) {
        self.number.fetch_max(number + 1, Ordering::Relaxed);
        let lost = || Running { exchange: Arc::default(), work: Work::Lost(Box::new(request)) };
        lock(&self.exchanges).entry(number).or_insert_with(lost);
    }

    /// Exchanges of an earlier process whose responses the guest has not read to the end.
    pub fn lost(&self) -> Vec<(u64, Arc<Exchange>, Request)> {
        let exchanges = lock(&self.exchanges);
        let lost = exchanges.iter().filter_map(|(number, running)| match &running.work {
            Work::Lost(request) if !running.exchange.was_read().0 => Some((*number, running.exchange.clone(), (**request).clone())),
            _ => None,
        });
        lost.collect()
    }

    fn start(&self, effect: Request, seen: &Seen) -> (u64, Arc<Exchange>) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let exchange = Arc::new(Exchange::default());
        self.work_on(number, exchange.clone(), effect, seen);
        (number, exchange)
    }

    fn work_on(&self, number: u64, exchange: Arc<Exchange>, effect: Request, seen: &Seen) {
        let filler = Filler::new(exchange.clone());
        let job = Job {
            destination: self.policy.destination(&effect, seen),
            held: self.policy.held.clone(),
            resolve: seen.resolved.as_ref().map_or(0, |resolved| resolved.took),
            effect,
            setting: Some(self.setting.clone()),
            trust: self.trust.clone(),
            tasks: self.tasks.clone(),
            idle: self.idle.clone(),
        };
        let task = spawn(&self.tasks, job.run(filler));
        lock(&self.exchanges).insert(number, Running { exchange, work: Work::Task(task) });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(tasks: &Mutex<JoinSet<()>>, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let mut tasks = lock(tasks);
    // those that have ended hold memory until somebody asks for them
    while tasks.try_join_next().is_some() {}
    tasks.spawn(future)
}

impl Backend<Request> for HttpBackend {
    async fn observe(&self, question: Resolve, seen: &mut Seen) {
        let started = Instant::now();
        let answer = tokio::time::timeout(question.within, self.resolver.resolve(&question.host)).await;
        let took = started.elapsed().as_nanos() as u64;
        let host = &question.host;
        let resolved = match answer {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Resolved { addresses, error: Some(format!("the name {host} has no addresses")), took }
            }
            Ok(Ok(addresses)) => Resolved { addresses, error: None, took },
            Ok(Err(error)) => {
                Resolved { addresses: Vec::new(), error: Some(format!("the name {host} could not be resolved: {error}")), took }
            }
            Err(_) => Resolved { addresses: Vec::new(), error: Some(format!("the name {host} was not resolved in time")), took },
        };
        seen.resolved = Some(resolved);
    }

    async fn act(&self, permitted: Permitted<Request>) -> Reply {
        let (effect, seen) = permitted.into_parts();
        let answer = effect.answer;
        let (number, exchange) = self.start(effect, &seen);
        let head = match answer {
            Answer::Start => None,
            Answer::Head => {
                exchange.wait_head().await;
                exchange.head()
            }
        };
        Reply { exchange: number, head }
    }

    /// The stage is told that the connection broke, which is all that can be known.
    fn skipped(&self, effect: &Request) -> Option<Reply> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let exchange = Arc::new(Exchange::default());
        drop(Filler::new(exchange.clone()));
        let head = (effect.answer == Answer::Head).then(|| exchange.head()).flatten();
        lock(&self.exchanges).insert(number, Running { exchange, work: Work::Lost(Box::new(effect.clone())) });
        Some(Reply { exchange: number, head })
    }
}

/// Sends a request again whose response was being read when the runner was killed.
pub struct Resend<'a> {
    pub backend: &'a HttpBackend,
    pub number: u64,
    pub exchange: Arc<Exchange>,
}

impl Backend<Request> for Resend<'_> {
    async fn observe(&self, question: Resolve, seen: &mut Seen) {
        self.backend.observe(question, seen).await;
    }

    async fn act(&self, permitted: Permitted<Request>) -> Reply {
        let (effect, seen) = permitted.into_parts();
        self.backend.work_on(self.number, self.exchange.clone(), effect, &seen);
        Reply { exchange: self.number, head: None }
    }
}

/// One exchange from its connection to its last byte.
struct Job {
    effect: Request,
    destination: Destination,
    /// Nanoseconds that the name took.
    resolve: u64,
    held: Arc<Held>,
    /// None for requests of the runner's own, which no process of a stage answers.
    setting: Option<Arc<Setting>>,
    trust: Arc<Trust>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    idle: Arc<Mutex<HashMap<Key, Vec<Link>>>>,
}

impl Job {
    async fn run(self, filler: Filler) {
        // from here on the request is what it is in truth; nothing of it is recorded
        let target = secrets::target(&self.effect, &self.held).map_err(|denial| Failure::Invalid(denial.reason));
        let sent = match target.and_then(|target| secrets::fill(&self.effect, target, &self.held)) {
            Ok(filled) => filled,
            Err(failure) => return filler.fail(failure),
        };
        match self.head(&sent).await {
            Err(failure) => filler.fail(failure),
            Ok((head, body, link, key)) => {
                if !filler.head(head) {
                    return;
                }
                self.body(body, filler).await;
                self.keep(key, link).await;
            }
        }
    }

    async fn head(&self, sent: &Filled) -> Result<(Head, hyper::body::Incoming, Link, Key), Failure> {
        let (started, target) = (Instant::now(), &sent.target);
        let repeatable = self.effect.class() != Class::Once;
        if repeatable && let Some((mut link, key)) = self.take(target) {
            let mut timing = Timing { resolve: self.resolve, ..Timing::default() };
            match self.exchange(sent, &mut link, started, &mut timing).await {
                // the server closed the connection while it was idle: only a new one can tell whether anything is wrong
                Err(Failure::Terminated(_)) => {}
                other => return other.map(|(head, body)| (head, body, link, key)),
            }
        }
        let mut timing = Timing { resolve: self.resolve, ..Timing::default() };
        let (mut link, place) = self.open(target, &mut timing).await?;
        let key = Key { scheme: target.scheme, authority: target.authority(), place };
        let (head, body) = self.exchange(sent, &mut link, started, &mut timing).await?;
        Ok((head, body, link, key))
    }

    /// A new connection.
    async fn open(&self, target: &Target, timing: &mut Timing) -> Result<(Link, Place), Failure> {
        let limits = &self.effect.limits;
        let started = Instant::now();
        let nobody = Endpoints::default();
        let endpoints = self.setting.as_ref().map_or(&nobody, |setting| &setting.endpoints);
        let connecting = connect(&self.destination, endpoints);
        let (plain, place) = within(limits, Some(limits.connect), Failure::ConnectTimeout, connecting).await??;
        timing.connect = nanos(started);
        let mut certificate = None;
        let mut http2 = false;
        let stream: Box<dyn Stream> = match target.scheme {
            Scheme::Http => plain,
            Scheme::Https => {
                let started = Instant::now();
                let handshake = self.trust.connect(&target.host, plain);
                let stream = within(limits, Some(limits.connect), Failure::ConnectTimeout, handshake).await??;
                timing.tls = nanos(started).max(1);
                certificate = tls::certificate(&stream);
                http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::new(stream)
            }
        };
        let opening = Sender::open(stream, http2);
        let (sender, driver) = within(limits, Some(limits.connect), Failure::ConnectTimeout, opening).await??;
        spawn(&self.tasks, driver);
        Ok((Link { sender, certificate }, place))
    }

    /// Sends the request and waits for the head.
    async fn exchange(
        &self,
        sent: &Filled,
        link: &mut Link,
        started: Instant,
        timing: &mut Timing,
    ) -> Result<(Head, hyper::body::Incoming), Failure> {
        let limits = &self.effect.limits;
        let target = &sent.target;
        let request = wire::request(&sent.request, target, link.sender.is_http2())?;
        let taken = request.body().taken.clone();
        let begun = Instant::now();
        let sending = within(limits, limits.head, Failure::HeadTimeout, link.sender.send(request));
        let response = sending.await?.map_err(|error| wire::failure(&error))?;
        timing.wait = nanos(taken.get().copied().unwrap_or(begun));
        timing.total = self.resolve + nanos(started);
        let (parts, body) = response.into_parts();
        if parts.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Protocol("the server switched to another protocol, which nobody asked for".to_owned()));
        }
        let mut headers = wire::headers(&parts.headers);
        if let Aim::Secret { .. } = self.effect.aim {
            complete_location(&mut headers, target);
        }
        if sent.secret {
            secrets::readable(&headers)?;
        }
        self.hide(&mut headers);
        if headers.iter().map(|h| h.name.len() + h.value.len()).sum::<usize>() > crate::effect::MAX_HEAD {
            return Err(Failure::HeadTooLarge);
        }
        Ok((Head { status: parts.status.as_u16(), headers, certificate: link.certificate.clone(), timing: *timing }, body))
    }

    /// What a server repeats of a secret, the stage does not get to see.
    fn hide(&self, headers: &mut [Header]) {
        for header in headers {
            if let Cow::Owned(masked) = self.held.mask().bytes(&header.value) {
                header.value = masked.into();
            }
        }
    }

    async fn body(&self, mut body: hyper::body::Incoming, filler: Filler) {
        let limits = &self.effect.limits;
        let mut left = limits.body;
        let mut trailers = Vec::new();
        let (mask, mut masked) = (self.held.mask(), mask::Stream::default());
        // a length that is announced need not be waited for; the answer to HEAD announces one and has none
        if self.effect.method != "HEAD" && hyper::body::Body::size_hint(&body).lower() > limits.body {
            return filler.fail(Failure::BodyTooLarge(limits.body));
        }
        loop {
            let frame = match within(limits, limits.pause, Failure::BodyTimeout, body.frame()).await {
                Err(failure) => return filler.fail(failure),
                Ok(None) => {
                    let rest = masked.finish();
                    return match within(limits, None, Failure::BodyTimeout, filler.piece(rest.into())).await {
                        Ok(Ok(())) => filler.end(trailers),
                        Ok(Err(failure)) | Err(failure) => filler.fail(failure),
                    };
                }
                Ok(Some(Err(error))) => return filler.fail(wire::failure(&error)),
                Ok(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(mut bytes) => {
                    let over = bytes.len() as u64 > left;
                    if over {
                        bytes.truncate(left as usize);
                    }
                    left -= bytes.len() as u64;
                    if let Cow::Owned(shown) = masked.push(mask, &bytes) {
                        bytes = shown.into();
                    }
                    match within(limits, None, Failure::BodyTimeout, filler.piece(bytes)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(failure)) | Err(failure) => return filler.fail(failure),
                    }
                    if over {
                        return filler.fail(Failure::BodyTooLarge(limits.body));
                    }
                }
                Err(frame) => {
                    if let Ok(map) = frame.into_trailers() {
                        trailers = wire::headers(&map);
                        self.hide(&mut trailers);
                    }
                }
            }
        }
    }

    /// An idle connection to one of the places that were checked for this very request.
    fn take(&self, target: &Target) -> Option<(Link, Key)> {
        let mut idle = lock(&self.idle);
        for place in places(&self.destination) {
            let key = Key { scheme: target.scheme, authority: target.authority(), place };
            while let Some(link) = idle.get_mut(&key).and_then(Vec::pop) {
                if link.sender.is_usable() {
                    return Some((link, key));
                }
            }
        }
        None
    }

    async fn keep(&self, key: Key, mut link: Link) {
        let settled = tokio::time::timeout(Duration::from_millis(100), link.sender.settle()).await;
        if settled != Ok(true) {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.values().map(Vec::len).sum::<usize>() < MAX_IDLE {
            idle.entry(key).or_default().push(link);
        }
    }
}

/// A redirect from a URL that nobody else knows has to say the whole of where it leads.
fn complete_location(headers: &mut [Header], target: &Target) {
    for header in headers.iter_mut().filter(|header| header.name == "location") {
        if let Ok(next) = target.join(&String::from_utf8_lossy(&header.value)) {
            header.value = next.to_string().into();
        }
    }
}

fn nanos(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

/// Bounds a phase by its own time and by that of the whole exchange.
async fn within<T>(limits: &Limits, phase: Option<Duration>, late: Failure, future: impl Future<Output = T>) -> Result<T, Failure> {
    let phase = phase.map(|phase| tokio::time::Instant::now() + phase);
    let deadline = match (phase, limits.deadline) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    match deadline {
        None => Ok(future.await),
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.map_err(|_| late),
    }
}
