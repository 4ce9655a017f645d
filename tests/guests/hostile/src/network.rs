//! Attempts on the network.

use runner_sdk::http;

use crate::bindings::wasi::http::outgoing_handler::{OutgoingRequest, handle};
use crate::bindings::wasi::http::types::{ErrorCode, Fields, Scheme};
use crate::bindings::wasi::sockets::instance_network::instance_network;
use crate::bindings::wasi::sockets::ip_name_lookup::resolve_addresses;
use crate::result::{Attempted, refused};

/// The status and the body.
pub fn http(
    url: String,
    method: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
    redirects: u32,
) -> Result<String, http::Error> {
    let mut request = http::Request::new(method.unwrap_or_else(|| "GET".to_owned()), url).redirects(redirects);
    for (name, value) in headers {
        request = request.header(name, value.into_bytes());
    }
    if !body.is_empty() {
        request = request.body(body.into_bytes());
    }
    let response = request.send()?;
    Ok(format!("{} {}", response.status(), response.text()?))
}

/// `Basic` credentials (RFC 7617).
pub fn basic(name: &str, password: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut header = "Basic ".to_owned();
    for three in format!("{name}:{password}").as_bytes().chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            header.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    header
}

pub fn wasi_http(scheme: &str, authority: &str, path: &str) -> Attempted {
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let set = request.set_scheme(Some(&scheme)).and_then(|()| request.set_authority(Some(authority)));
    if set.and_then(|()| request.set_path_with_query(Some(path))).is_err() {
        return Attempted::Error("the request can't be made".to_owned());
    }
    let answer = handle(request, None).and_then(|future| {
        future.subscribe().block();
        future.get().and_then(Result::ok).unwrap_or(Err(ErrorCode::InternalError(None)))
    });
    match answer {
        Ok(response) => Attempted::Ok(response.status().to_string()),
        Err(code @ (ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited)) => refused(format_args!("{code:?}")),
        Err(code) => Attempted::Error(format!("{code:?}")),
    }
}

pub fn lookup(name: &str) -> Attempted {
    match resolve_addresses(&instance_network(), name) {
        Ok(_) => Attempted::Ok(String::new()),
        Err(code) => refused(code.name()),
    }
}
