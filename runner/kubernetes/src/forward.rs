//! Ports of Pods, and of the Pods behind a Service.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use admission::{Kind, Target};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::objects::Selection;

/// One connection to a port.
pub struct Tunnel {
    stream: DuplexStream,
    /// What the kubelet says if nobody listens there.
    refusal: Option<BoxFuture<'static, Option<String>>>,
}

impl Cluster {
    /// Connects to a port of a Pod.
    ///
    /// # Errors
    /// If there is no such Pod, or no way to it. That nobody listens there is told when it is read.
    pub async fn connect_pod(&self, pod: &Target, port: u16) -> Result<Tunnel, ClusterError> {
        let doing = format!("connecting to port {port} of {pod}");
        let (Some(namespace), Some(name)) = (pod.namespace(), pod.name()) else {
            return Err(ClusterError::Unexpected { doing, why: "a Pod has a namespace and a name".to_owned() });
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut forward = pods.portforward(name, &[port]).await.map_err(|error| self.not_begun(&doing, error))?;
        let refusal = forward.take_error(port).map(FutureExt::boxed);
        match forward.take_stream(port) {
            Some(stream) => Ok(Tunnel { stream, refusal }),
            None => Err(ClusterError::Unexpected { doing, why: "there is no stream for the port".to_owned() }),
        }
    }

    /// Connects to a Pod that is ready at this moment, of those that a Service selects.
    ///
    /// # Errors
    /// If there is no such Service or port, or no Pod of it is ready.
    pub async fn connect_service(&self, service: &Target, port: u16) -> Result<Tunnel, ClusterError> {
        let doing = format!("connecting to port {port} of {service}");
        let unexpected = |why: String| ClusterError::Unexpected { doing: doing.clone(), why };
        let object = self.get(&service.whole()).await?;
        let labels = selector(&object).ok_or_else(|| unexpected("it selects no Pods".to_owned()))?;
        let pods = Kind::new("", "v1", "pods").and_then(|kind| Target::all(kind, service.namespace()));
        let pods = pods.map_err(|error| unexpected(error.to_string()))?;
        let page = self.list(&pods, &Selection { labels, fields: String::new() }, 500, "").await?;
        let (name, port) = choose(&object, port, &page.items).map_err(unexpected)?;
        let pod = Target::one(pods.kind().clone(), service.namespace(), &name).map_err(|error| unexpected(error.to_string()))?;
        self.connect_pod(&pod, port).await
    }
}

fn selector(service: &Value) -> Option<String> {
    let selector = service.pointer("/spec/selector")?.as_object().filter(|selector| !selector.is_empty())?;
    let pairs: Option<Vec<String>> = selector.iter().map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    Some(pairs?.join(","))
}

/// The Pod of a Service that a connection goes to, and its port: the ready one that has been ready for longest.
///
/// # Errors
/// Why there is none.
pub fn choose(service: &Value, port: u16, pods: &[Value]) -> Result<(String, u16), String> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let wanted = ports.iter().find(|one| one.get("port").and_then(Value::as_u64) == Some(u64::from(port)));
    let Some(wanted) = wanted else {
        let known: Vec<String> = ports.iter().filter_map(|one| Some(one.get("port")?.to_string())).collect();
        return Err(format!(
            "the Service has no such port; it has {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ));
    };
    let mut ready: Vec<(&str, &Value)> = pods.iter().filter_map(|pod| Some((ready_since(pod)?, pod))).collect();
    ready.sort_by_key(|(since, pod)| (*since, name(pod)));
    for (_, pod) in &ready {
        let number = match wanted.get("targetPort") {
            None => Some(port),
            Some(Value::String(named)) => container_port(pod, named),
            Some(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        };
        if let (Some(name), Some(number)) = (name(pod), number) {
            return Ok((name.to_owned(), number));
        }
    }
    Err(match (pods.len(), ready.is_empty()) {
        (0, _) => "the Service selects no Pods that are there".to_owned(),
        (count, true) => format!("none of its {count} Pods is ready"),
        _ => format!("no ready Pod has a port named {}", wanted.get("targetPort").unwrap_or(&Value::Null)),
    })
}

fn name(pod: &Value) -> Option<&str> {
    pod.pointer("/metadata/name")?.as_str()
}

fn ready_since(pod: &Value) -> Option<&str> {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return None;
    }
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|one| one.get("type").and_then(Value::as_str) == Some("Ready"))?;
    (ready.get("status")?.as_str()? == "True").then(|| ready.get("lastTransitionTime").and_then(Value::as_str).unwrap_or_default())
}

fn container_port(pod: &Value, named: &str) -> Option<u16> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let ports = containers.iter().filter_map(|container| container.get("ports")?.as_array()).flatten();
    let port = ports.into_iter().find(|port| port.get("name").and_then(Value::as_str) == Some(named))?;
    u16::try_from(port.get("containerPort")?.as_u64()?).ok()
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let silent = match &read {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => into.filled().len() == before && into.remaining() > 0,
            Poll::Ready(Err(_)) => false,
        };
        // nothing comes: because nothing was said yet, because all was, or because there is nobody
        if silent && let Some(Poll::Ready(words)) = self.refusal.as_mut().map(|refusal| refusal.poll_unpin(context)) {
            self.refusal = None;
            if let Some(words) = words {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, words)));
            }
        }
        read
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
