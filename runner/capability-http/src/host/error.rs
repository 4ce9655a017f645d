//! What went wrong, in the words of `wasi:http`.

use capability::Denial;

use super::Unsendable;
use super::bindings::wasi::http::types::{DnsErrorPayload, ErrorCode, FieldSizePayload, TlsAlertReceivedPayload};
use crate::effect::{Failure, MAX_HEAD};

pub fn of_failure(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::Dns(text) => ErrorCode::DnsError(DnsErrorPayload { rcode: Some(text.clone()), info_code: None }),
        Failure::Refused(_) => ErrorCode::ConnectionRefused,
        Failure::Unreachable(_) => ErrorCode::DestinationIpUnroutable,
        Failure::Terminated(_) => ErrorCode::ConnectionTerminated,
        Failure::NoProcess(_) => ErrorCode::DestinationNotFound,
        Failure::TooMany(_) => ErrorCode::ConnectionLimitReached,
        Failure::ConnectTimeout => ErrorCode::ConnectionTimeout,
        Failure::HeadTimeout => ErrorCode::HttpResponseTimeout,
        Failure::BodyTimeout => ErrorCode::ConnectionReadTimeout,
        Failure::TlsCertificate(_) => ErrorCode::TlsCertificateError,
        Failure::TlsAlert { alert, text } => {
            ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload { alert_id: Some(*alert), alert_message: Some(text.clone()) })
        }
        Failure::Tls(_) => ErrorCode::TlsProtocolError,
        Failure::BodyTooLarge(limit) => ErrorCode::HttpResponseBodySize(Some(*limit)),
        Failure::HeadTooLarge => ErrorCode::HttpResponseHeaderSectionSize(Some(MAX_HEAD as u32)),
        Failure::Protocol(_) => ErrorCode::HttpProtocolError,
        Failure::Invalid(text) => ErrorCode::InternalError(Some(text.clone())),
    }
}

pub fn of_denial(denial: &Denial) -> ErrorCode {
    match &*denial.code {
        "private-address" => ErrorCode::DestinationIpProhibited,
        "bad-url" => ErrorCode::HttpRequestUriInvalid,
        _ => ErrorCode::HttpRequestDenied,
    }
}

pub fn of_unsendable(error: &Unsendable) -> ErrorCode {
    match error {
        Unsendable::Method(_) => ErrorCode::HttpRequestMethodInvalid,
        Unsendable::Header(_) => ErrorCode::HttpRequestHeaderSize(None::<FieldSizePayload>),
        Unsendable::HeadTooLarge(size) => ErrorCode::HttpRequestHeaderSectionSize(u32::try_from(*size).ok()),
    }
}
