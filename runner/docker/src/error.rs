//! What can go wrong with an engine: where, what, and how to mend it.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{from} names the Docker context `{name}`, which {} doesn't know; `docker context ls` lists those that exist", folder.display())]
    NoContext { name: String, from: String, folder: PathBuf },
    #[error("{}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("{from} gives the Docker endpoint `{endpoint}`: {why}")]
    Endpoint { endpoint: String, from: String, why: String },
    #[error("no Docker engine answers at {endpoint} ({from}): {why}; {remedy}")]
    Unreachable { endpoint: String, from: String, why: String, remedy: &'static str },
    #[error("the Docker engine at {endpoint} speaks version {api} of the API, and at least {least} is needed: Docker 20.10 or newer")]
    Old { endpoint: String, api: String, least: &'static str },
    #[error("`{0}` is no image reference: it is [registry/]repository[:tag][@digest], as in `docker.io/library/node:20`")]
    Reference(String),
    /// The engine's answer.
    #[error("{doing}: the Docker engine says: {words} (status {status})")]
    Said { doing: String, status: u16, words: String },
    /// The engine passed on what a registry said, or that none answered.
    #[error("{doing}: {words}")]
    Registry { doing: String, words: String, refused: bool },
    #[error("{doing}: the connection to the Docker engine at {endpoint} broke: {why}; is it still running?")]
    Lost { doing: String, endpoint: String, why: String },
    #[error("{what} needs an engine on this machine, and {endpoint} is another one: it can't share a folder")]
    NotLocal { what: &'static str, endpoint: String },
    #[error("{what}: {why}")]
    Pod { what: &'static str, why: String },
}

impl EngineError {
    /// The engine's status, where it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            EngineError::Said { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// No such container, image, volume or path.
    pub fn is_missing(&self) -> bool {
        self.status() == Some(404)
    }

    /// A name that is taken, an image in use, a container that is being removed already.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Nobody answers at the other end, now or any more.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, EngineError::Unreachable { .. } | EngineError::Lost { .. })
    }
}

/// One line of an error's whole chain: hyper says "error sending request" and hides what the system said below it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        next = cause.source();
    }
    words
}
