//! The serving side of `wasi:http`, as far as its types need it: no stage is ever called with a request, so an `incoming-request` and a
//! `response-outparam` never come to be. Responses can be made, and go nowhere.

use std::convert::Infallible;
use std::sync::Arc;

use capability::StageState;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::wasi::http::types::{self, ErrorCode, Method, Scheme};
use super::fields::Fields;
use super::incoming::IncomingBody;
use super::outgoing::{OutgoingBody, new_body};

/// The representation of `incoming-request`.
pub struct IncomingRequest(Infallible);

/// The representation of `response-outparam`.
pub struct ResponseOutparam(Infallible);

/// The representation of `outgoing-response`.
pub struct OutgoingResponse {
    status: u16,
    headers: Arc<Vec<(String, Vec<u8>)>>,
    body_taken: bool,
}

impl types::HostIncomingRequest for StageState {
    fn method(&mut self, request: Resource<IncomingRequest>) -> Result<Method> {
        match self.table.get(&request)?.0 {}
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        match self.table.get(&request)?.0 {}
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> Result<Option<Scheme>> {
        match self.table.get(&request)?.0 {}
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        match self.table.get(&request)?.0 {}
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> Result<Resource<Fields>> {
        match self.table.get(&request)?.0 {}
    }

    fn consume(&mut self, request: Resource<IncomingRequest>) -> Result<std::result::Result<Resource<IncomingBody>, ()>> {
        match self.table.get(&request)?.0 {}
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl types::HostResponseOutparam for StageState {
    fn set(&mut self, outparam: Resource<ResponseOutparam>, _: std::result::Result<Resource<OutgoingResponse>, ErrorCode>) -> Result<()> {
        match self.table.get(&outparam)?.0 {}
    }

    fn send_informational(
        &mut self,
        outparam: Resource<ResponseOutparam>,
        _: u16,
        _: Resource<Fields>,
    ) -> Result<std::result::Result<(), ErrorCode>> {
        match self.table.get(&outparam)?.0 {}
    }

    fn drop(&mut self, outparam: Resource<ResponseOutparam>) -> Result<()> {
        self.table.delete(outparam)?;
        Ok(())
    }
}

impl types::HostOutgoingResponse for StageState {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingResponse>> {
        let headers = self.table.delete(headers)?.into_entries();
        Ok(self.table.push(OutgoingResponse { status: 200, headers, body_taken: false })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> Result<u16> {
        Ok(self.table.get(&response)?.status)
    }

    fn set_status_code(&mut self, response: Resource<OutgoingResponse>, status: u16) -> Result<std::result::Result<(), ()>> {
        let response = self.table.get_mut(&response)?;
        if !(100..=999).contains(&status) {
            return Ok(Err(()));
        }
        response.status = status;
        Ok(Ok(()))
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> Result<Resource<Fields>> {
        let fields = Fields::immutable(self.table.get(&response)?.headers.clone());
        Ok(self.table.push_child(fields, &response)?)
    }

    fn body(&mut self, response: Resource<OutgoingResponse>) -> Result<std::result::Result<Resource<OutgoingBody>, ()>> {
        let response = self.table.get_mut(&response)?;
        if std::mem::replace(&mut response.body_taken, true) {
            return Ok(Err(()));
        }
        let (body, _) = new_body(&response.headers);
        Ok(Ok(self.table.push(body)?))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}
