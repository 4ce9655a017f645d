//! The runner's own requests: what the exchange of a CI token for a secret needs of the network. No stage reaches this.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secret::{Client, Response};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Job, Resolver, Trust, spawn};
use crate::effect::{Aim, Answer, Failure, Header, Limits, Request};
use crate::exchange::{Exchange, Filler, Read};
use crate::policy::Destination;
use crate::target::Target;

const PATIENCE: Duration = Duration::from_secs(30);
/// Tokens are small.
const LARGEST: u64 = 1 << 20;

/// Asks a URL that the pipeline file or the CI names. Redirects are not followed.
pub struct Asker {
    pub resolver: Arc<dyn Resolver>,
    pub trust: Arc<Trust>,
}

impl Client for Asker {
    fn send(&self, request: secret::Request) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>> {
        Box::pin(self.ask(request))
    }
}

impl Asker {
    async fn ask(&self, request: secret::Request) -> Result<Response, String> {
        let target = Target::parse(&request.url).map_err(|error| error.to_string())?;
        let sockets = |addresses: Vec<std::net::IpAddr>| addresses.into_iter().map(|a| SocketAddr::new(a, target.port)).collect();
        let destination = match target.host.address() {
            Some(address) => Destination::Addresses(sockets(vec![address])),
            None => match tokio::time::timeout(PATIENCE, self.resolver.resolve(&target.host.to_string())).await {
                Ok(Ok(addresses)) if !addresses.is_empty() => Destination::Addresses(sockets(addresses)),
                Ok(Ok(_)) => return Err(format!("the name {} has no addresses", target.host)),
                Ok(Err(error)) => return Err(format!("the name {} could not be resolved: {error}", target.host)),
                Err(_) => return Err(format!("the name {} was not resolved in time", target.host)),
            },
        };
        let limits = Limits {
            whole: Some(PATIENCE),
            deadline: Instant::now().checked_add(PATIENCE),
            connect: PATIENCE,
            head: None,
            pause: None,
            body: LARGEST,
        };
        let effect = Request {
            method: request.method.to_owned(),
            aim: Aim::At(target),
            headers: request.headers.iter().map(|(name, value)| Header::new(name, value.as_bytes().to_vec())).collect(),
            body: Bytes::copy_from_slice(&request.body),
            trailers: Vec::new(),
            limits,
            answer: Answer::Head,
        };
        let exchange = Arc::new(Exchange::default());
        let (tasks, idle) = (Arc::default(), Arc::default());
        let job = Job {
            effect,
            destination,
            resolve: 0,
            held: Arc::default(),
            setting: None,
            trust: self.trust.clone(),
            tasks: Arc::clone(&tasks),
            idle,
        };
        spawn(&tasks, job.run(Filler::new(exchange.clone())));
        exchange.wait_head().await;
        let failed = |failure: Failure| failure.to_string();
        let status = exchange.head().ok_or_else(|| "there was no answer".to_owned())?.map_err(failed)?.status;
        let mut body = Zeroizing::new(Vec::with_capacity(LARGEST as usize));
        loop {
            match exchange.read(usize::MAX) {
                Read::Pending => exchange.wait_body().await,
                Read::Bytes(bytes) => body.extend_from_slice(&bytes),
                Read::End => return Ok(Response { status, body }),
                Read::Failed(failure) => return Err(failed(failure)),
            }
        }
    }
}
