//! Which cluster is meant, as kubectl finds it: the context that the grant names, or the current one, in the files of `KUBECONFIG` or in `~/.kube/config`;
//! without any of these, the cluster that this Pod runs in.
//!
//! Deliberately absent: kube's own search, which takes orders from `KUBE_RS_DEBUG_*` variables (another server, acting as somebody else), and TLS that trusts any
//! server. Login programs of a kubeconfig are started as kubectl starts them, but never with a terminal.

use std::path::PathBuf;

use kube::Config;
use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig};

use crate::error::{ClusterError, chain};

/// A cluster, and who says that it is meant.
#[derive(Debug)]
pub(crate) struct Found {
    pub config: Config,
    pub context: Option<String>,
    pub from: String,
}

/// `context` is what a grant names. `variable` is the environment.
pub(crate) async fn find(context: Option<&str>, variable: &(dyn Fn(&str) -> Option<String> + Sync)) -> Result<Found, ClusterError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let (files, default) = files(&set);
    if files.is_empty() {
        return in_cluster(context, default, &set);
    }
    let shown = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut merged = merged(&files)?;
    let current = merged.current_context.clone().filter(|name| !name.is_empty());
    let (name, from) = match (context, current) {
        (Some(name), _) => (name.to_owned(), "the grant".to_owned()),
        (None, Some(name)) => (name, format!("current-context of {shown}")),
        (None, None) => return Err(ClusterError::NoCurrent { files: shown }),
    };
    if !merged.contexts.iter().any(|known| known.name == name) {
        let known = match merged.contexts.len() {
            0 => "none".to_owned(),
            _ => merged.contexts.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", "),
        };
        return Err(ClusterError::NoContext { name, from, files: shown, known });
    }
    without_terminal(&mut merged);
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(merged, &options).await;
    let config = config.map_err(|error| ClusterError::Unusable { context: name.clone(), why: chain(&error) })?;
    if config.accept_invalid_certs {
        return Err(ClusterError::Insecure { context: name });
    }
    Ok(Found { config: own(config), from: format!("the context `{name}`, which {from} names"), context: Some(name) })
}

/// The names of the contexts that a grant could name; none in a Pod.
///
/// # Errors
/// If a file can't be read.
pub fn contexts() -> Result<Vec<String>, ClusterError> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(merged(&files(&set).0)?.contexts.into_iter().map(|known| known.name).collect())
}

/// Those that are there, and the one that is asked for where `KUBECONFIG` is not set.
fn files(set: &dyn Fn(&str) -> Option<String>) -> (Vec<PathBuf>, PathBuf) {
    let default = set("HOME").map(PathBuf::from).unwrap_or_default().join(".kube/config");
    let listed: Vec<PathBuf> = match set("KUBECONFIG") {
        Some(list) => std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => vec![default.clone()],
    };
    // kubectl passes over files that are not there
    (listed.into_iter().filter(|path| path.exists()).collect(), default)
}

fn merged(files: &[PathBuf]) -> Result<Kubeconfig, ClusterError> {
    let mut merged = Kubeconfig::default();
    for path in files {
        let broken = |error: &kube::config::KubeconfigError| ClusterError::Config { path: path.clone(), why: chain(error) };
        merged = Kubeconfig::read_from(path).and_then(|read| merged.merge(read)).map_err(|error| broken(&error))?;
    }
    Ok(merged)
}

fn in_cluster(context: Option<&str>, default: PathBuf, set: &dyn Fn(&str) -> Option<String>) -> Result<Found, ClusterError> {
    if let Some(name) = context {
        let files = format!("no file of KUBECONFIG and no {}", default.display());
        return Err(ClusterError::NoContext { name: name.to_owned(), from: "the grant".to_owned(), files, known: "it".to_owned() });
    }
    if set("KUBERNETES_SERVICE_HOST").is_none() {
        return Err(ClusterError::NoConfig { default });
    }
    let unusable = |error| ClusterError::Unusable { context: "of this Pod".to_owned(), why: chain(&error) };
    let config = Config::incluster_env().map_err(unusable)?;
    Ok(Found { config: own(config), context: None, from: "the service account of this Pod".to_owned() })
}

/// A login program that asks at the runner's terminal would hang a run that nobody watches.
fn without_terminal(config: &mut Kubeconfig) {
    for user in &mut config.auth_infos {
        if let Some(exec) = user.auth_info.as_mut().and_then(|info| info.exec.as_mut()) {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
}

/// Retries are this crate's own: kube would repeat writes that may have been carried out.
fn own(mut config: Config) -> Config {
    config.default_retry = false;
    config
}
