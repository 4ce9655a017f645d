//! `runner:http/client`: one call sends a request and follows its redirects, each of them an effect of its own.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::runner::boundary::types as boundary_types;
use super::bindings::runner::http::client;
use super::{Unsendable, checked_headers, checked_method};
use crate::effect::{Aim, Answer, Failure, Head, Limits, MAX_RESPONSE_BODY, Piece, Request, Timing};
use crate::redirect;
use crate::room::{Crossing, Held, MAX_OPEN};
use capability::{Denial, StageState};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_BODY: u64 = 16 << 20;
/// What one `read` answers at most.
const MAX_READ: usize = 1 << 20;

/// The representation of `response`.
pub struct Response {
    held: Held,
    head: Head,
    url: String,
}

fn lift(request: client::Request) -> std::result::Result<Request, Unsendable> {
    let timeout = if request.timeout == 0 { DEFAULT_TIMEOUT } else { Duration::from_nanos(request.timeout) };
    let max_body = if request.max_body == 0 { DEFAULT_BODY } else { request.max_body.min(MAX_RESPONSE_BODY) };
    Ok(Request {
        method: checked_method(request.method)?,
        aim: Aim::parse(&request.url),
        headers: checked_headers(request.headers.iter().map(|h| (h.name.as_str(), &h.value[..])))?,
        body: Bytes::from(request.body),
        trailers: Vec::new(),
        limits: Limits {
            whole: Some(timeout),
            // a time beyond what the machine can count to is no limit
            deadline: Instant::now().checked_add(timeout),
            connect: timeout,
            head: None,
            pause: None,
            body: max_body,
        },
        answer: Answer::Head,
    })
}

impl client::Host for StageState {
    async fn send(&mut self, request: client::Request) -> Result<std::result::Result<Resource<Response>, client::Error>> {
        let allowed = request.redirects;
        let mut request = match lift(request) {
            Ok(request) => request,
            Err(error) => return Ok(Err(client::Error::Invalid(error.describe()))),
        };
        let crossing = Crossing::of(self);
        let mut left = allowed;
        let mut earlier = Timing::default();
        loop {
            if crossing.is_full() {
                return Ok(Err(client::Error::Connect(format!("{MAX_OPEN} responses are open at once; drop those that are done"))));
            }
            let url = request.aim.url();
            let (reply, held) = match crossing.cross(request.clone()).await {
                Ok(crossed) => crossed,
                Err(refusal) => return Ok(Err(client::Error::Denied(lower_denial(refusal.denial()?)))),
            };
            let mut head = match reply.head {
                Some(Ok(head)) => head,
                Some(Err(failure)) => return Ok(Err(lower_failure(failure))),
                None => return Err(wasmtime::Error::msg("a request that waits for its head was answered without one")),
            };
            head.timing = earlier.plus(head.timing);
            let next = redirect::location(&head).filter(|_| allowed > 0);
            let Some(location) = next else {
                return Ok(Ok(self.table.push(Response { held, head, url })?));
            };
            if left == 0 {
                return Ok(Err(client::Error::TooManyRedirects(allowed)));
            }
            left -= 1;
            earlier = head.timing;
            request = redirect::follow(request, head.status, location);
        }
    }
}

impl client::HostResponse for StageState {
    fn status(&mut self, response: Resource<Response>) -> Result<u16> {
        Ok(self.table.get(&response)?.head.status)
    }

    fn headers(&mut self, response: Resource<Response>) -> Result<Vec<client::Header>> {
        let headers = self.table.get(&response)?.head.headers.iter();
        Ok(headers.map(|h| client::Header { name: h.name.clone(), value: h.value.to_vec() }).collect())
    }

    fn url(&mut self, response: Resource<Response>) -> Result<String> {
        Ok(self.table.get(&response)?.url.clone())
    }

    fn certificate(&mut self, response: Resource<Response>) -> Result<Option<client::Certificate>> {
        let certificate = self.table.get(&response)?.head.certificate.as_ref();
        Ok(certificate.map(|c| client::Certificate {
            subject: c.subject.clone(),
            issuer: c.issuer.clone(),
            not_before: c.not_before,
            not_after: c.not_after,
        }))
    }

    fn timing(&mut self, response: Resource<Response>) -> Result<client::Timing> {
        let Timing { resolve, connect, tls, wait, total } = self.table.get(&response)?.head.timing;
        Ok(client::Timing { resolve, connect, tls, wait, total })
    }

    async fn read(&mut self, response: Resource<Response>, max: u32) -> Result<std::result::Result<Vec<u8>, client::Error>> {
        let held = &self.table.get(&response)?.held;
        let max = if max == 0 { MAX_READ } else { MAX_READ.min(max as usize) };
        match held.read_waiting(max).await? {
            (Piece::Failure(failure), _) => Ok(Err(lower_failure(failure))),
            (_, bytes) => Ok(Ok(bytes.into())),
        }
    }

    fn drop(&mut self, response: Resource<Response>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

fn lower_denial(denial: Denial) -> boundary_types::Denial {
    boundary_types::Denial {
        effect: denial.effect,
        subject: denial.subject,
        code: denial.code.into_owned(),
        reason: denial.reason,
        remedy: denial.remedy,
    }
}

fn lower_failure(failure: Failure) -> client::Error {
    let text = failure.to_string();
    match failure {
        Failure::Dns(_) => client::Error::Dns(text),
        Failure::Refused(_) | Failure::Unreachable(_) | Failure::Terminated(_) | Failure::NoProcess(_) | Failure::TooMany(_) => {
            client::Error::Connect(text)
        }
        Failure::ConnectTimeout | Failure::HeadTimeout | Failure::BodyTimeout => client::Error::Timeout,
        Failure::TlsCertificate(_) | Failure::TlsAlert { .. } | Failure::Tls(_) => client::Error::Tls(text),
        Failure::BodyTooLarge(limit) => client::Error::TooLarge(limit),
        Failure::HeadTooLarge | Failure::Protocol(_) => client::Error::Protocol(text),
        Failure::Invalid(_) => client::Error::Invalid(text),
    }
}
