//! Services and Pods of the cluster that the stage speaks HTTP with, as settings: the same in every plugin.
//!
//! ```toml
//! forward = [{ service = "api", port = 80, name = "api" }]     # http://api.stage:80
//! ```

use serde::Deserialize;

use super::pods::{self, Destination, Forwarding};
use crate::Failure;

/// A port of a Service or a Pod that the stage's requests reach at `http://<name>.stage:<port>`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Forward {
    /// A DNS label: the port answers at `http://<name>.stage:<port>`
    pub name: String,
    /// The Service
    pub service: Option<String>,
    /// The Pod, instead of a Service
    pub pod: Option<String>,
    /// The port; a Service's own
    pub port: u16,
    /// The namespace, if not the grant's
    pub namespace: Option<String>,
}

impl Forward {
    /// Opens the way. It ends when the answer is dropped.
    ///
    /// # Errors
    /// `Misconfigured` if it leads to nothing or to two things; otherwise what the cluster or the grant say.
    pub fn open(&self) -> Result<Forwarding, Failure> {
        let destination = self.destination()?;
        Ok(pods::forward(self.namespace.as_deref(), &destination, self.port, &self.name)?)
    }

    fn destination(&self) -> Result<Destination, Failure> {
        match (&self.service, &self.pod) {
            (Some(service), None) => Ok(Destination::Service(service.clone())),
            (None, Some(pod)) => Ok(Destination::Pod(pod.clone())),
            _ => Err(Failure::misconfigured(format_args!("forward `{}`: name either a `service` or a `pod`", self.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leads_to_one_thing() {
        let forward = |json: serde_json::Value| serde_json::from_value::<Forward>(json).unwrap().destination();
        let api = serde_json::json!({ "name": "app", "service": "api", "port": 80 });
        assert_eq!(forward(api).unwrap(), Destination::Service("api".into()));
        for other in
            [serde_json::json!({ "name": "app", "port": 80 }), serde_json::json!({ "name": "app", "service": "a", "pod": "b", "port": 80 })]
        {
            assert!(forward(other).unwrap_err().to_string().contains("either a `service` or a `pod`"));
        }
    }
}
