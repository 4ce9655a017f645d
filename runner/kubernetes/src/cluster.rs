//! A connection to one cluster.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde_json::Value;

use crate::ask::{Call, Patience};
use crate::config::{self, Found};
use crate::error::{ClusterError, chain};

/// A cluster that does not say what it is within this time is not there.
const ANSWER: Duration = Duration::from_secs(10);

/// A cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    about: Arc<About>,
    pub(crate) patience: Patience,
}

#[derive(Debug)]
struct About {
    server: String,
    from: String,
    context: Option<String>,
    namespace: String,
}

impl Cluster {
    /// Finds the cluster: the grant's `context` or the current one of `KUBECONFIG` or `~/.kube/config`, or the one that this Pod runs in. Nothing is sent yet.
    ///
    /// # Errors
    /// If the configuration names none, or one that can't be used.
    pub async fn connect(context: Option<&str>) -> Result<Cluster, ClusterError> {
        Cluster::of(config::find(context, &|name| std::env::var(name).ok()).await?)
    }

    pub(crate) fn of(found: Found) -> Result<Cluster, ClusterError> {
        let Found { config, context, from } = found;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config)
            .map_err(|error| ClusterError::Unusable { context: context.clone().unwrap_or_else(|| from.clone()), why: chain(&error) })?;
        Ok(Cluster { client, about: Arc::new(About { server, from, context, namespace }), patience: Patience::default() })
    }

    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Cluster {
        Cluster { patience, ..self }
    }

    /// `https://cluster.example:6443`
    pub fn server(&self) -> &str {
        &self.about.server
    }

    /// Who says that this cluster is meant.
    pub fn chosen_by(&self) -> &str {
        &self.about.from
    }

    pub fn context(&self) -> Option<&str> {
        self.about.context.as_deref()
    }

    /// The namespace that the context names, or `default`.
    pub fn namespace(&self) -> &str {
        &self.about.namespace
    }

    /// `v1.33.2`. The first thing to ask, and the only one that does not wait: it tells whether the cluster can be reached and knows the user.
    ///
    /// # Errors
    /// If it can't.
    pub async fn version(&self) -> Result<String, ClusterError> {
        const DOING: &str = "asking the cluster what it is";
        let impatient = self.clone().with_patience(Patience { whole: Duration::ZERO, ..self.patience });
        let asked = tokio::time::timeout(ANSWER, impatient.json(Call::new(Method::GET, DOING, "/version".to_owned()))).await;
        let unreachable = |why| ClusterError::Unreachable { server: self.server().to_owned(), from: self.chosen_by().to_owned(), why };
        let answer: Value = match asked {
            Err(_) => return Err(unreachable(format!("no answer within {} s", ANSWER.as_secs()))),
            Ok(Err(ClusterError::GaveUp { why, .. })) => return Err(unreachable(why)),
            Ok(answer) => answer?,
        };
        let version = answer.get("gitVersion").and_then(Value::as_str);
        let unexpected = || ClusterError::Unexpected { doing: DOING.to_owned(), why: "it says no gitVersion".to_owned() };
        version.map(str::to_owned).ok_or_else(unexpected)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("about", &self.about).finish_non_exhaustive()
    }
}
