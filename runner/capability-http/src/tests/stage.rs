//! A stage without its component: a grant, names that lead where a test wants, and the host functions to call.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use capability::ledger::MemoryLedger;
use capability::{Capability, StageState};
use wasmtime::component::Resource;

use crate::host::bindings::runner::http::client::{self, Host as _, HostResponse as _};
use crate::{Http, HttpSchema, Options, Resolver};

pub use crate::host::bindings::runner::http::client::Error;
pub type Response = Resource<client::Response>;

/// Answers each question about a name with the next of its answers, the last again and again.
#[derive(Default)]
pub struct Names {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    pub asked: Mutex<Vec<String>>,
}

impl Names {
    pub fn add(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers.iter().map(|a| a.iter().map(|a| a.parse().unwrap()).collect()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(host.to_owned());
            let mut answers = self.answers.lock().unwrap();
            let Some(answers) = answers.get_mut(host) else { return Err(io::Error::other("no such name")) };
            Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
        })
    }
}

pub struct Stage {
    pub state: StageState,
    pub ledger: Arc<MemoryLedger>,
    pub names: Arc<Names>,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// `grant` may be empty for none.
    pub fn new(grant: &str) -> Stage {
        Stage::trusting(grant, &[])
    }

    /// With certificates in PEM that are trusted.
    pub fn trusting(grant: &str, authorities: &[u8]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let grant =
            (!grant.is_empty()).then(|| capability::testing::grant(&HttpSchema, grant).unwrap_or_else(|d| panic!("{grant}: {d:?}")));
        let setting = capability::testing::setting(folder.path(), grant.as_deref());
        let (boundary, ledger) = capability::testing::boundary();
        let names = Arc::new(Names::default());
        let http = Http::new(Options { resolver: names.clone(), extra_authorities: authorities.to_vec() }).unwrap();
        let room = http.enter(grant.as_ref(), &setting).unwrap();
        let mut state = StageState::new(setting, boundary);
        state.enter(room);
        Stage { state, ledger, names, _folder: folder }
    }

    pub async fn send(&mut self, request: client::Request) -> Result<Response, Error> {
        self.state.send(request).await.expect("no trap")
    }

    pub async fn open(&mut self, url: &str) -> Result<Response, Error> {
        self.send(get(url)).await
    }

    /// A whole exchange: the status and the body.
    pub async fn fetch(&mut self, request: client::Request) -> Result<(u16, String), Error> {
        let response = self.send(request).await?;
        let body = self.body(&response).await;
        let status = self.state.status(again(&response)).unwrap();
        self.state.drop(response).unwrap();
        Ok((status, String::from_utf8(body?).unwrap()))
    }

    pub async fn body(&mut self, response: &Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let bytes = self.state.read(again(response), 0).await.expect("no trap")?;
            if bytes.is_empty() {
                return Ok(body);
            }
            body.extend(bytes);
        }
    }

    pub fn header(&mut self, response: &Response, name: &str) -> Option<String> {
        let headers = self.state.headers(again(response)).unwrap();
        headers.into_iter().find(|h| h.name == name).map(|h| String::from_utf8(h.value).unwrap())
    }

    /// Ends the attempt.
    pub async fn leave(mut self) {
        for room in self.state.leave() {
            room.leave().await;
        }
    }
}

/// The same handle once more, as a call borrows it.
pub fn again<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

pub fn get(url: &str) -> client::Request {
    client::Request {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: 10_000_000_000,
        redirects: 0,
        max_body: 0,
    }
}

pub fn header(name: &str, value: &str) -> client::Header {
    client::Header { name: name.into(), value: value.into() }
}

pub fn denied(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Denied(denial)) => denial.code,
        other => panic!("not denied: {other:?}"),
    }
}
