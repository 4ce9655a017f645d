//! A connection to one engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::endpoint::{self, Address, Endpoint};
use crate::error::{EngineError, chain};
use crate::tls;

/// An engine that does not answer within this time is not there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until the head of an answer: what takes longer than that (a push, an archive) is asked for through [`Engine::patient`].
const ANSWER_SECONDS: u64 = 120;
const LONG_ANSWER: Duration = Duration::from_secs(6 * 3600);
/// The first version with private cgroup namespaces, which Docker 20.10 brought.
const LEAST: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// An engine that answered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) docker: Docker,
    endpoint: Arc<Endpoint>,
    about: Arc<OnceCell<About>>,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Of the engine: `28.2.2`.
    pub version: String,
    /// That both sides speak.
    pub api: String,
    pub os: String,
    /// `amd64`, `arm64`, …
    pub arch: String,
    pub rootless: bool,
    /// Whether it can build with BuildKit.
    pub buildkit: bool,
    /// `1` or `2`.
    pub cgroup: String,
    /// The storage driver.
    pub storage: String,
}

impl Engine {
    /// Finds the engine (the grant's `context`, `DOCKER_HOST`, `DOCKER_CONTEXT`, Docker's own `config.json`, the default socket), connects, and agrees on
    /// a version.
    ///
    /// # Errors
    /// If the configuration names none, if none answers within 5 seconds, or if it is too old.
    pub async fn connect(context: Option<&str>) -> Result<Engine, EngineError> {
        Engine::at(endpoint::find(context, &|name| std::env::var(name).ok())?).await
    }

    pub(crate) async fn at(endpoint: Endpoint) -> Result<Engine, EngineError> {
        let unreachable = |why: String, remedy: &'static str| EngineError::Unreachable {
            endpoint: endpoint.shown(),
            from: endpoint.from.clone(),
            why,
            remedy,
        };
        let speaks = match reach(&endpoint.address).await {
            Ok(speaks) => speaks,
            Err((why, remedy)) => return Err(unreachable(why, remedy)),
        };
        let best = match &speaks {
            Some(theirs) if theirs < API_DEFAULT_VERSION => theirs,
            _ => API_DEFAULT_VERSION,
        };
        let docker = match &endpoint.address {
            Address::Unix(path) => Docker::connect_with_unix(&path.to_string_lossy(), ANSWER_SECONDS, best),
            Address::Tcp { authority, tls: None } => Docker::connect_with_http(authority, ANSWER_SECONDS, best),
            Address::Tcp { authority, tls: Some(tls) } => {
                Ok(tls::connect(authority, tls, ANSWER_SECONDS).map_err(|(path, why)| EngineError::Config { path, why })?)
            }
        };
        let docker = docker.map_err(|error| unreachable(chain(&error), ELSEWHERE))?;
        let docker = match speaks {
            Some(_) => docker,
            None => match timeout(PATIENCE, docker.negotiate_version()).await {
                Ok(Ok(docker)) => docker,
                Ok(Err(error)) => return Err(unreachable(chain(&error), NO_ENGINE)),
                Err(_) => return Err(unreachable(no_answer(), NO_ENGINE)),
            },
        };
        let api = docker.client_version();
        if api < LEAST {
            return Err(EngineError::Old { endpoint: endpoint.shown(), api: api.to_string(), least: "1.41" });
        }
        let docker = docker.with_request_modifier(move |request| versioned(url_safe_logins(request), &api));
        Ok(Engine { docker, endpoint: Arc::new(endpoint), about: Arc::new(OnceCell::new()) })
    }

    /// `unix:///var/run/docker.sock`
    pub fn endpoint(&self) -> String {
        self.endpoint.shown()
    }

    /// Who says that this engine is meant: `DOCKER_HOST`, …
    pub fn chosen_by(&self) -> &str {
        &self.endpoint.from
    }

    /// Whether it runs on this machine, as far as its endpoint tells: only then it can share folders and sockets.
    pub fn is_local(&self) -> bool {
        matches!(self.endpoint.address, Address::Unix(_))
    }

    /// Asked once.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn about(&self) -> Result<&About, EngineError> {
        self.about.get_or_try_init(|| self.ask_about()).await
    }

    async fn ask_about(&self) -> Result<About, EngineError> {
        let doing = || "asking the engine what it is".to_owned();
        let version = self.docker.version().await.map_err(|error| self.failed(doing(), error))?;
        let info = self.docker.info().await.map_err(|error| self.failed(doing(), error))?;
        let os = version.os.unwrap_or_default();
        let podman = version.components.iter().flatten().any(|part| part.name.to_lowercase().contains("podman"));
        Ok(About {
            version: version.version.unwrap_or_default(),
            api: self.docker.client_version().to_string(),
            arch: version.arch.unwrap_or_default(),
            rootless: info.security_options.iter().flatten().any(|option| option.contains("rootless")),
            buildkit: os == "linux" && !podman,
            cgroup: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
            storage: info.driver.unwrap_or_default(),
            os,
        })
    }

    /// The same engine, asked things whose answers may take long.
    pub(crate) fn patient(&self) -> Docker {
        self.docker.clone().with_timeout(LONG_ANSWER)
    }

    /// What went wrong while `doing`.
    pub(crate) fn failed(&self, doing: impl Into<String>, error: bollard::errors::Error) -> EngineError {
        use bollard::errors::Error;
        let doing = doing.into();
        match error {
            Error::DockerResponseServerError { status_code, message } => EngineError::Said { doing, status: status_code, words: message },
            Error::DockerStreamError { error } => EngineError::Said { doing, status: 500, words: error },
            other => EngineError::Lost { doing, endpoint: self.endpoint(), why: chain(&other) },
        }
    }
}

const START: &str = "start it (`systemctl start docker`), install one, or set DOCKER_HOST to one that runs";
const RIGHTS: &str =
    "let this user use it (add them to the group `docker` and log in again), or use a rootless engine of their own through DOCKER_HOST";
const ELSEWHERE: &str = "see that the address and its certificates are right";
const NO_ENGINE: &str = "see that what listens there is a Docker engine and that it is well (`docker version`)";

fn no_answer() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

/// Connects, because the system's own error says more than a client's, and asks for the version in passing: an engine answers a ping at once, where it starts three
/// programs to say which version it is. None: that can't be asked so simply, or the answer does not say.
async fn reach(address: &Address) -> Result<Option<ClientVersion>, (String, &'static str)> {
    let connected = async {
        match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(|stream| Some(Box::new(stream) as Box<dyn service::Stream>)),
            Address::Tcp { authority, tls } => {
                let stream = TcpStream::connect(authority.as_str()).await?;
                Ok(tls.is_none().then(|| Box::new(stream) as Box<dyn service::Stream>))
            }
        }
    };
    match timeout(PATIENCE, connected).await {
        Ok(Ok(Some(stream))) => timeout(PATIENCE, ping(stream)).await.map_err(|_| (no_answer(), NO_ENGINE)),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => {
            let remedy = match (address, error.kind()) {
                (_, io::ErrorKind::PermissionDenied) => RIGHTS,
                (Address::Unix(_), _) => START,
                (Address::Tcp { .. }, _) => ELSEWHERE,
            };
            let why = match error.kind() {
                io::ErrorKind::NotFound => "there is no such socket".to_owned(),
                _ => error.to_string(),
            };
            Err((why, remedy))
        }
        Err(_) => Err((format!("no connection within {} s", PATIENCE.as_secs()), NO_ENGINE)),
    }
}

/// The version that the engine answers a ping with.
async fn ping(stream: Box<dyn service::Stream>) -> Option<ClientVersion> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = http::Request::head("/_ping").header(http::header::HOST, "docker").body(String::new()).ok()?;
    let asked = async {
        let answer = sender.send_request(request).await.ok()?;
        let (major, minor) = answer.headers().get("api-version")?.to_str().ok()?.split_once('.')?;
        Some(ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? })
    };
    tokio::select! {
        version = asked => version,
        _ = connection => None,
    }
}

/// The engine reads logins in the base64 that is meant for URLs, and bollard writes the other one: they differ in two characters, so that some
/// passwords would not arrive.
fn url_safe_logins(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = request.headers().get(name) else { continue };
        let safe: Vec<u8> = value
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect();
        if let Ok(mut safe) = http::HeaderValue::from_bytes(&safe) {
            safe.set_sensitive(true);
            request.headers_mut().insert(name, safe);
        }
    }
    request
}

/// bollard agrees on a version and then leaves it out of what it asks: a newer engine would answer in a version of its own.
fn versioned(mut request: BollardRequest, api: &ClientVersion) -> BollardRequest {
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    if !asked.starts_with("/v1.") {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = format!("/v{api}{asked}").parse().ok();
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_written_as_the_engine_reads_them() {
        let request = http::Request::builder().header("X-Registry-Auth", "a+b/c=").header("other", "a+b/c=");
        let request = url_safe_logins(request.body(bollard::body_full(bytes::Bytes::new())).unwrap());
        assert_eq!(request.headers()["x-registry-auth"], "a-b_c=");
        assert!(request.headers()["x-registry-auth"].is_sensitive());
        assert_eq!(request.headers()["other"], "a+b/c=");
    }

    #[test]
    fn what_is_asked_is_asked_in_the_version_that_both_speak() {
        let asked = |uri: &str| {
            let request = http::Request::builder().uri(uri).body(bollard::body_full(bytes::Bytes::new())).unwrap();
            versioned(request, &LEAST).uri().to_string()
        };
        assert_eq!(asked("unix://2f78/images/json?all=true"), "unix://2f78/v1.41/images/json?all=true");
        assert_eq!(asked("https://host:2376/v1.40/info"), "https://host:2376/v1.40/info");
    }
}
