//! Requests of every class.

use runner_sdk::{Failure, http};

use crate::bindings::wasi::http::outgoing_handler::{OutgoingRequest, handle};
use crate::bindings::wasi::http::types::{Fields, IncomingResponse, Scheme};
use crate::bindings::wasi::io::streams::StreamError;
use crate::files::Diary;

/// How often something is looked for and done again.
const TRIES: u32 = 5;

pub struct Network<'a> {
    pub server: &'a str,
    /// Each stage has its own places on the server.
    pub stage: &'a str,
}

impl Network<'_> {
    fn url(&self, path: &str) -> String {
        format!("{}/{}/{path}", self.server, self.stage)
    }

    pub fn everything(&self, diary: Option<&mut Diary>) -> Result<(), Failure> {
        let hello = http::get(self.url("small")).send()?;
        println!("GET small: {} {:?}", hello.status(), hello.text()?);
        self.interrupted(diary)?;
        for (method, path) in [("PUT", "kept"), ("PUT", "deleted"), ("DELETE", "deleted")] {
            let response = http::Request::new(method, self.url(path)).body(path).send()?;
            println!("{method} {path}: {}", response.status());
        }
        let order = http::post(self.url("orders")).header("Idempotency-Key", "key-1").body("an order").send()?;
        println!("POST orders: {} {:?}", order.status(), order.text()?);
        for event in ["first", "second"] {
            self.once(event)?;
        }
        match http::get(format!("{}/forbidden", self.server)).send() {
            Err(http::Error::Denied(denial)) => println!("GET forbidden: {}", denial.code),
            other => println!("GET forbidden: {:?}", other.map(|response| response.status())),
        }
        let kept = http::get(self.url("kept")).send()?;
        println!("GET kept: {} {:?}", kept.status(), kept.text()?);
        Ok(())
    }

    /// A body that is read in pieces, with other effects in between.
    fn interrupted(&self, mut diary: Option<&mut Diary>) -> Result<(), Failure> {
        let mut large = http::get(self.url("large")).send()?;
        let (mut length, mut sum, mut wanted) = (0usize, 0u64, 3u32);
        loop {
            let piece = large.chunk(200_000)?;
            if piece.is_empty() {
                break;
            }
            length += piece.len();
            sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            if wanted > 0 {
                wanted -= 1;
                let response = http::Request::new("PUT", self.url("between")).body(wanted.to_string()).send()?;
                println!("PUT between: {}", response.status());
                if let Some(diary) = &mut diary {
                    diary.note("a piece has come")?;
                }
            }
        }
        println!("GET large: {length} bytes, {sum:016x}");
        Ok(())
    }

    /// A request that must not be sent twice: when it was cut off, the server is asked whether it has come.
    fn once(&self, event: &str) -> Result<(), Failure> {
        let path = format!("events/{event}");
        for _ in 0..TRIES {
            let sent = http::post(self.url(&path)).body(event).send().and_then(|response| Ok((response.status(), response.text()?)));
            if sent.is_ok() || self.seen(event)? {
                println!("POST {path}: the server has it");
                return Ok(());
            }
        }
        Err(Failure::errored(format_args!("{path} never came")))
    }

    fn seen(&self, event: &str) -> Result<bool, Failure> {
        let events = http::get(self.url("events")).send()?.text()?;
        Ok(events.lines().any(|line| line == event))
    }

    /// The same by the interface that other languages use.
    pub fn by_wasi(&self) -> Result<(), Failure> {
        let authority = self.server.trim_start_matches("http://");
        let request = OutgoingRequest::new(Fields::new());
        let made = request.set_scheme(Some(&Scheme::Http)).and_then(|()| request.set_authority(Some(authority)));
        if made.and_then(|()| request.set_path_with_query(Some(&format!("/{}/small", self.stage)))).is_err() {
            return Err(Failure::errored("the request can't be made"));
        }
        let future = handle(request, None).map_err(|code| Failure::errored(format_args!("{code:?}")))?;
        future.subscribe().block();
        match future.get() {
            Some(Ok(Ok(response))) => {
                println!("wasi GET small: {} {:?}", response.status(), body(&response)?);
                Ok(())
            }
            other => Err(Failure::errored(format_args!("{other:?}"))),
        }
    }
}

fn body(response: &IncomingResponse) -> Result<String, Failure> {
    let body = response.consume().map_err(|()| Failure::errored("the body is gone"))?;
    let stream = body.stream().map_err(|()| Failure::errored("the stream is gone"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(StreamError::LastOperationFailed(error)) => return Err(Failure::errored(error.to_debug_string())),
        }
    }
}
