//! Which engine is meant, as Docker's own command line finds it: the context that the grant names, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current
//! context of `config.json`, and last the socket where an engine listens by default.
//!
//! Deliberately absent: `ssh://` (it starts programs with the user's keys), TLS that trusts any server, and logins: those of a grant are used and
//! no others.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::EngineError;

const DEFAULT: &str = "/var/run/docker.sock";

/// Where an engine listens, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub address: Address,
    pub from: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp { authority: String, tls: Option<Tls> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Endpoint {
    pub fn shown(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("unix://{}", path.display()),
            Address::Tcp { authority, .. } => format!("tcp://{authority}"),
        }
    }
}

/// What Docker's command line keeps in its folder.
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Endpoints", default)]
    endpoints: std::collections::HashMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
struct MetaEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

/// `context` is what a grant names. `variable` is the environment.
pub(crate) fn find(context: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Endpoint, EngineError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let folder = set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".docker"))).unwrap_or_default();
    let (name, from) = match context {
        Some(name) => (name.to_owned(), "the grant".to_owned()),
        None if set("DOCKER_HOST").is_some() => ("default".to_owned(), String::new()),
        None => match set("DOCKER_CONTEXT") {
            Some(name) => (name, "DOCKER_CONTEXT".to_owned()),
            None => (current(&folder)?, format!("`currentContext` of {}", folder.join("config.json").display())),
        },
    };
    if !name.is_empty() && name != "default" {
        return in_context(&folder, &name, from);
    }
    let Some(host) = set("DOCKER_HOST") else {
        return Ok(Endpoint { address: Address::Unix(DEFAULT.into()), from: "the default, since DOCKER_HOST is not set".to_owned() });
    };
    let from = "DOCKER_HOST";
    let refuse = |why: &str| EngineError::Endpoint { endpoint: host.clone(), from: from.to_owned(), why: why.to_owned() };
    let tls = set("DOCKER_TLS_VERIFY").is_some() || host.starts_with("https://");
    if !tls && set("DOCKER_TLS").is_some() && !host.starts_with("unix://") {
        return Err(refuse(
            "DOCKER_TLS alone would trust any server: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with ca.pem",
        ));
    }
    let certificates = set("DOCKER_CERT_PATH").map_or(folder, PathBuf::from);
    let address = parse(&host, tls.then_some(certificates.as_path())).map_err(|why| refuse(&why))?;
    Ok(Endpoint { address, from: from.to_owned() })
}

fn current(folder: &Path) -> Result<String, EngineError> {
    let path = folder.join("config.json");
    match std::fs::read(&path) {
        Ok(text) => {
            let config: Config = serde_json::from_slice(&text).map_err(|error| broken(&path, &error))?;
            Ok(config.current_context)
        }
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(String::new()),
        Err(error) => Err(broken(&path, &error)),
    }
}

/// A context's folders are named by the SHA-256 of its name.
fn in_context(folder: &Path, name: &str, from: String) -> Result<Endpoint, EngineError> {
    let id = crate::digest::hex(name.as_bytes());
    let contexts = folder.join("contexts");
    let path = contexts.join("meta").join(&id).join("meta.json");
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            EngineError::NoContext { name: name.to_owned(), from: from.clone(), folder: contexts.clone() }
        }
        _ => broken(&path, &error),
    })?;
    let meta: Meta = serde_json::from_slice(&text).map_err(|error| broken(&path, &error))?;
    let from = format!("the context `{name}`, which {from} names");
    let Some(endpoint) = meta.endpoints.get("docker").filter(|endpoint| !endpoint.host.is_empty()) else {
        return Err(EngineError::Config { path, why: "it says of no endpoint `docker` where it is".to_owned() });
    };
    let refuse = |why: String| EngineError::Endpoint { endpoint: endpoint.host.clone(), from: from.clone(), why };
    if endpoint.skip_tls_verify {
        return Err(refuse("the context has SkipTLSVerify, which would trust any server: give it the server's CA".to_owned()));
    }
    let tls = contexts.join("tls").join(&id).join("docker");
    let has_tls = tls.is_dir() || endpoint.host.starts_with("https://");
    let address = parse(&endpoint.host, has_tls.then_some(tls.as_path())).map_err(refuse)?;
    Ok(Endpoint { address, from })
}

/// `certificates`: the folder that TLS is to be spoken with.
fn parse(host: &str, certificates: Option<&Path>) -> Result<Address, String> {
    let (scheme, rest) = host.split_once("://").ok_or("it has no scheme: unix:///path/of/socket or tcp://host:port")?;
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Address::Unix(rest.into())),
        "unix" => Err("a socket's path begins with a slash".to_owned()),
        "tcp" | "http" | "https" => {
            let authority = rest.trim_end_matches('/');
            if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
                return Err("it is to be tcp://host:port and nothing more".to_owned());
            }
            let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !authority.ends_with(']'));
            let port = if certificates.is_some() { 2376 } else { 2375 };
            let authority = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
            Ok(Address::Tcp { authority, tls: certificates.map(tls_of).transpose()? })
        }
        "ssh" => {
            Err("ssh:// is not supported; forward the engine's socket (ssh -NL /tmp/engine.sock:/var/run/docker.sock host) and use unix://"
                .to_owned())
        }
        "npipe" => Err("npipe:// is Windows' own; runner speaks unix:// and tcp://".to_owned()),
        other => Err(format!("{other}:// is not supported; runner speaks unix:// and tcp://")),
    }
}

fn tls_of(folder: &Path) -> Result<Tls, String> {
    let file = |name: &str| {
        let path = folder.join(name);
        if path.is_file() { Ok(path) } else { Err(format!("TLS needs {}, which is not there", path.display())) }
    };
    Ok(Tls { ca: file("ca.pem")?, certificate: file("cert.pem")?, key: file("key.pem")? })
}

fn broken(path: &Path, why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Config { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
