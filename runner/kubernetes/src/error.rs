//! What can go wrong with a cluster: where, what, and how to mend it.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no Kubernetes cluster is configured: neither KUBECONFIG nor {} names a file that is there, and this is no Pod; `kubectl config view` shows what kubectl would use", default.display())]
    NoConfig { default: PathBuf },
    #[error("{}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("{from} names the context `{name}`, and {files} has {known}")]
    NoContext { name: String, from: String, files: String, known: String },
    #[error("{files} sets no current-context: name one in the grant (`context = \"..\"`), or choose with `kubectl config use-context`")]
    NoCurrent { files: String },
    #[error("the context `{context}` can't be used: {why}")]
    Unusable { context: String, why: String },
    #[error("the context `{context}` has insecure-skip-tls-verify, which would trust any server: give its cluster a certificate-authority")]
    Insecure { context: String },
    #[error(
        "no cluster answers at {server} ({from}): {why}; see that it runs and that the address and its certificates are right (`kubectl version`)"
    )]
    Unreachable { server: String, from: String, why: String },
    #[error("logging in to {server} ({from}): {why}; see that `kubectl auth whoami` works with the same context")]
    Login { server: String, from: String, why: String },
    /// The cluster's answer.
    #[error("{doing}: the cluster says: {words} ({reason}, status {status})")]
    Said { doing: String, status: u16, reason: String, words: String },
    /// It was throttled, or could not be reached, for longer than was waited.
    #[error("{doing}: {server} did not serve it within {} s: {why}", waited.as_secs())]
    GaveUp { doing: String, server: String, why: String, waited: Duration },
    /// It may have been carried out.
    #[error("{doing}: the connection to {server} broke before the answer: {why}; nobody can tell whether it was carried out")]
    Lost { doing: String, server: String, why: String },
    #[error("{doing}: the object asks for version {wanted} of itself, and {known} was looked at")]
    Stale { doing: String, wanted: String, known: String },
    #[error("{doing}: that is not what was expected of a cluster: {why}")]
    Unexpected { doing: String, why: String },
    #[error("{doing}: there are more than {most} objects; narrow the selection by labels")]
    TooMany { doing: String, most: usize },
}

impl ClusterError {
    /// The cluster's status, where it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClusterError::Said { status, .. } => Some(*status),
            ClusterError::Stale { .. } => Some(409),
            _ => None,
        }
    }

    /// No such object, kind or namespace.
    pub fn is_missing(&self) -> bool {
        self.status() == Some(404)
    }

    /// Somebody else wrote it, it is there already, or another field manager has the field.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The cluster's own rules say no.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// What was sent is no object that the cluster takes.
    pub fn is_invalid(&self) -> bool {
        matches!(self.status(), Some(400 | 405 | 415 | 422))
    }

    /// A version of an object or list that the cluster no longer has.
    pub fn is_expired(&self) -> bool {
        self.status() == Some(410)
    }

    /// Nobody answers at the other end.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, ClusterError::Unreachable { .. } | ClusterError::GaveUp { .. } | ClusterError::Lost { .. })
    }
}

/// One line of an error's whole chain: hyper says "client error" and hides what the system said below it.
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
