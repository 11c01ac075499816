//! The opening handshake of WebSocket (RFC 6455, section 4.2): the subprotocol chosen, the connection handed to the gateway.
//!
//! Host and Origin were checked before, as for every request.

use std::sync::Arc;

use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::wire::Codec;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answer::{self, Body};
use super::call::Call;

/// Lives as long as the connection that a request came over, whatever becomes of it.
#[derive(Clone)]
pub(super) struct Keep(#[expect(dead_code, reason = "held, not read")] pub(super) Arc<dyn Send + Sync>);

const VERSION: &str = "13";

pub(super) async fn upgrade(call: Call) -> Result<Response<Body>, Refused> {
    let Call { app, parts, .. } = call;
    let headers = &parts.headers;
    if !lists(headers, header::UPGRADE, "websocket") || !lists(headers, header::CONNECTION, "upgrade") {
        let mut answer = answer::refusal(&malformed("upgrade: this path speaks WebSocket only"));
        *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
        answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return Ok(answer);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let mut answer = answer::refusal(&malformed("sec-websocket-version: must be 13"));
        *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
        answer.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        return Ok(answer);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key =
        key.filter(|key| is_key(key)).ok_or_else(|| malformed("sec-websocket-key: must be 16 bytes in base64"))?;
    let accept = derive_accept_key(key);
    let (codec, named) = choose(headers)?;
    if app.node.is_draining() {
        return Err(Reason::Draining.into());
    }
    let keep = parts.extensions.get::<Keep>().cloned();
    let on_upgrade = hyper::upgrade::on(Request::from_parts(parts, ()));
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(io) => crate::gateway::run(TokioIo::new(io), codec, app.node.clone(), app.auth.clone()).await,
            Err(error) => tracing::debug!(%error, "a connection went away while it became a WebSocket connection"),
        }
        drop(keep);
    });
    let mut answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if named {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(codec.subprotocol()));
    }
    Ok(answer)
}

/// The first subprotocol of the client's that we know, and that it was named. JSON when the client names none.
fn choose(headers: &HeaderMap) -> Result<(Codec, bool), Refused> {
    let offered: Vec<&str> = items(headers, header::SEC_WEBSOCKET_PROTOCOL).collect();
    if offered.is_empty() {
        return Ok((Codec::Json, false));
    }
    let chosen = offered.iter().find_map(|name| Codec::from_subprotocol(name)).map(|codec| (codec, true));
    chosen.ok_or_else(|| {
        let known = Codec::ALL.map(Codec::subprotocol).join(", ");
        malformed(format!("sec-websocket-protocol: none of {known}"))
    })
}

/// 16 bytes in base64: 22 characters that mean something and two of padding.
fn is_key(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(digit) && key[22..] == *b"=="
}

fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

/// The items of a header that is a list, of all its lines.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    Refused::new(Reason::Malformed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_subprotocol_of_the_client_is_chosen() {
        let choose = |offers: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer));
            }
            choose(&headers).map_err(|refused| refused.reason)
        };
        assert_eq!(choose(&[]), Ok((Codec::Json, false)));
        assert_eq!(choose(&["chamberlain.v1+json, chamberlain.v1+bincode"]), Ok((Codec::Json, true)));
        assert_eq!(choose(&["graphql-ws", "chamberlain.v1+bincode"]), Ok((Codec::Bincode, true)));
        assert_eq!(choose(&["chamberlain.v2+json"]), Err(Reason::Malformed));
    }

    #[test]
    fn keys_are_sixteen_bytes() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=!", "dGhlIHNhbXBsZSBub25jZQAA=="] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
