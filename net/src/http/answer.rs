//! Answers: JSON, the headers that every one carries, and refusals in their one form.

use bytes::Bytes;
use chamberlain_core::room::{Code, CurrentKey, Reason, Refused};
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::server::{Asset, BackupStream};

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A refusal as it is written.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: Code,
    reason: Reason,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<CurrentKey>,
}

/// The status that a refusal is answered with.
pub(super) fn status_of(reason: Reason) -> StatusCode {
    match (reason, reason.code()) {
        (Reason::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Code::BadRequest) => StatusCode::BAD_REQUEST,
        (_, Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        (_, Code::Forbidden) => StatusCode::FORBIDDEN,
        (_, Code::NotFound) => StatusCode::NOT_FOUND,
        (_, Code::Conflict) => StatusCode::CONFLICT,
        (_, Code::TooManyRequests) => StatusCode::TOO_MANY_REQUESTS,
        (_, Code::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Code::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A refusal.
pub(super) fn refusal(refused: &Refused) -> Response<Body> {
    let Refused { reason, message, current } = refused;
    let body = ErrorBody { code: reason.code(), reason: *reason, message, current: *current };
    let mut answer = json(status_of(*reason), &body);
    let headers = answer.headers_mut();
    match reason.code() {
        Code::Unauthenticated => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        Code::TooManyRequests | Code::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    answer
}

/// 200 with this as JSON.
pub(super) fn ok(value: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, value)
}

/// This as JSON. What one account may see is kept by no cache.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_of(status, "application/json", bytes.into()),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "")
        }
    }
}

/// A line of text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    bytes_of(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// These bytes.
pub(super) fn bytes_of(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Response<Body> {
    let mut answer = Response::new(whole(bytes));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// A copy of the stores, as it is produced.
pub(super) fn download(backup: BackupStream) -> Response<Body> {
    let frames = backup.bytes.map(|bytes| bytes.map(Frame::data));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(len) = backup.len {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
    answer
}

/// A file of the page, or 304 when the client has it. Its policy lets nothing in that this server did not serve.
pub(super) fn asset(asset: &Asset, have: Option<&HeaderValue>, sockets: &str) -> Response<Body> {
    let quoted = format!("\"{}\"", asset.etag.trim_matches('"'));
    let listed = |have: &HeaderValue| {
        let have = have.to_str().unwrap_or_default();
        have.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == quoted)
    };
    let mut answer = if have.is_some_and(listed) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        bytes_of(StatusCode::OK, asset.content_type, Bytes::from_static(asset.bytes))
    };
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         manifest-src 'self'; connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    for (name, value) in [(header::ETAG, quoted), (header::CONTENT_SECURITY_POLICY, policy)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    );
    answer
}

/// What every answer carries.
pub(super) fn finish(answer: &mut Response<Body>) {
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
