//! Ports of Pods and Services under names of the stage: `runner:http` connects to them as to a program's, under its own grant.

use std::io;
use std::sync::{Arc, Weak};

use admission::Target;
use capability::{Connecting, Endpoint};

use crate::attempt::Attempt;
use crate::effect::{Answer, Fault, Forward};

struct Way {
    attempt: Weak<Attempt>,
    target: Target,
    port: u16,
}

impl Endpoint for Way {
    fn connect(&self, port: u16) -> Connecting<'_> {
        Box::pin(async move {
            if port != self.port {
                let words = format!("port {} of {} is forwarded, and no other", self.port, self.target.whole());
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, words));
            }
            let attempt = self.attempt.upgrade().ok_or(io::ErrorKind::NotConnected)?;
            let cluster = attempt.cluster().await.map_err(io::Error::other)?;
            let whole = self.target.whole();
            let tunnel = match whole.kind().plural() {
                "services" => cluster.connect_service(&whole, port).await,
                _ => cluster.connect_pod(&whole, port).await,
            };
            let tunnel = tunnel.map_err(|error| io::Error::new(io::ErrorKind::ConnectionRefused, error.to_string()))?;
            Ok(Box::new(tunnel) as Box<dyn capability::Stream>)
        })
    }
}

impl Attempt {
    /// Makes the name known. Connections are made when somebody asks for one.
    pub fn forward(self: &Arc<Self>, forward: &Forward) -> Answer<()> {
        let way = Way { attempt: Arc::downgrade(self), target: Target::clone(&forward.target), port: forward.port };
        if !self.setting.endpoints.insert(&forward.name, Arc::new(way)) {
            return Err(Fault::Conflict(format!("the stage has another {}.stage already", forward.name)));
        }
        self.names().insert(forward.name.clone());
        Ok(())
    }

    pub fn forget_name(&self, name: &str) {
        if self.names().remove(name) {
            self.setting.endpoints.remove(name);
        }
    }
}

/// Whether a name can stand before `.stage`.
pub fn is_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(plain) && !name.starts_with('-') && !name.ends_with('-') && name != "localhost"
}
