//! The host functions of `runner:http` and `wasi:http`: lift the call into a request, take it across, lower what came of it.
//!
//! Deliberately absent: checks (`policy`) and sockets (`backend`).

mod client;
mod error;
mod fields;
mod incoming;
mod outgoing;
mod server;

use bytes::Bytes;

use crate::effect::{Header, MAX_HEAD};
use crate::grant::is_token;

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:capability-http;
            world http {
                import runner:http/client@0.1.0;
                import wasi:http/types@0.2.12;
                import wasi:http/outgoing-handler@0.2.12;
            }
        ",
        world: "runner:capability-http/http",
        imports: {
            "runner:http/client.send": async | trappable,
            "runner:http/client.[method]response.read": async | trappable,
            "wasi:http/outgoing-handler.handle": async | trappable,
            "wasi:http/types.[static]outgoing-body.finish": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:io/error": capability::io::bindings::wasi::io::error,
            "wasi:io/poll": capability::io::bindings::wasi::io::poll,
            "wasi:io/streams": capability::io::bindings::wasi::io::streams,
            "runner:http/client.response": crate::host::client::Response,
            "wasi:http/types.fields": crate::host::fields::Fields,
            "wasi:http/types.outgoing-request": crate::host::outgoing::OutgoingRequest,
            "wasi:http/types.request-options": crate::host::outgoing::RequestOptions,
            "wasi:http/types.outgoing-body": crate::host::outgoing::OutgoingBody,
            "wasi:http/types.future-incoming-response": crate::host::incoming::FutureResponse,
            "wasi:http/types.incoming-response": crate::host::incoming::IncomingResponse,
            "wasi:http/types.incoming-body": crate::host::incoming::IncomingBody,
            "wasi:http/types.future-trailers": crate::host::incoming::FutureTrailers,
            "wasi:http/types.outgoing-response": crate::host::server::OutgoingResponse,
            "wasi:http/types.incoming-request": crate::host::server::IncomingRequest,
            "wasi:http/types.response-outparam": crate::host::server::ResponseOutparam,
        },
    });
}

/// Why a request can't be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unsendable {
    Method(String),
    Header(String),
    /// The headers together, in bytes.
    HeadTooLarge(usize),
}

impl Unsendable {
    fn describe(&self) -> String {
        match self {
            Unsendable::Method(method) => format!("`{}` is no method", method.escape_debug()),
            Unsendable::Header(what) => what.clone(),
            Unsendable::HeadTooLarge(size) => format!("the headers have {size} bytes together; {MAX_HEAD} are the limit"),
        }
    }
}

fn checked_method(method: String) -> Result<String, Unsendable> {
    if is_token(&method) && method.len() <= 64 { Ok(method) } else { Err(Unsendable::Method(method.chars().take(64).collect())) }
}

fn checked_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<Header>, Unsendable> {
    let mut checked = Vec::new();
    let mut size = 0;
    for (name, value) in headers {
        if !is_token(name) {
            return Err(Unsendable::Header(format!("`{}` is no name of a header", name.escape_debug())));
        }
        if http::HeaderValue::from_bytes(value).is_err() {
            return Err(Unsendable::Header(format!("the value of the header `{name}` holds a control character")));
        }
        size += name.len() + value.len();
        checked.push(Header::new(name, Bytes::copy_from_slice(value)));
    }
    if size > MAX_HEAD { Err(Unsendable::HeadTooLarge(size)) } else { Ok(checked) }
}
