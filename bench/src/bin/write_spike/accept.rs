//! Ways to a handshaken stream: the library's own handshake on a bare socket, or an HTTP upgrade through axum.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
    serve::ListenerExt,
};
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::WebSocketConfig};

/// `count` sockets with the handshake behind them and nothing read beyond it.
pub(crate) async fn plain(listener: TcpListener, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(handshake(&listener).await?);
    }
    Ok(streams)
}

/// The next socket, after the library's own handshake.
pub(crate) async fn handshake(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let socket = tokio_tungstenite::accept_async_with_config(stream, Some(small_buffers()));
    Ok(socket.await.map_err(io::Error::other)?.into_inner())
}

/// `count` connections that axum served and then upgraded.
pub(crate) async fn upgraded(listener: TcpListener, count: usize) -> io::Result<Vec<Upgraded>> {
    let mut upgrades = upgrades(listener, count);
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        streams.push(upgrades.recv().await.ok_or_else(|| io::Error::other("the server ended"))?);
    }
    Ok(streams)
}

/// Connections as axum upgrades them, at most `capacity` of them waiting. The server lives as long as the runtime.
pub(crate) fn upgrades(listener: TcpListener, capacity: usize) -> mpsc::Receiver<Upgraded> {
    let (sender, receiver) = mpsc::channel(capacity);
    let router = Router::new().route("/ws", any(upgrade)).with_state(sender);
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a connected socket has the option"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    receiver
}

/// The socket beneath an upgraded connection, and what hyper had read past the request.
///
/// `axum::serve` uses the automatic builder of hyper-util, whose own wrapper hides the socket from
/// [`Upgraded::downcast`]; hyper-util has the key to it.
pub(crate) fn lower(upgraded: Upgraded) -> io::Result<(TcpStream, Bytes)> {
    let parts = hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)
        .map_err(|_| io::Error::other("the upgraded connection is not a TCP socket"))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// tungstenite with buffers for many idle sockets: 1 KiB to read into, nothing held back when writing.
pub(crate) fn small_buffers() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(512 * 1024))
        .max_frame_size(Some(512 * 1024))
}

async fn upgrade(State(sender): State<mpsc::Sender<Upgraded>>, headers: HeaderMap, request: Request) -> Response {
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else { return StatusCode::BAD_REQUEST.into_response() };
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // The receiver is gone only when the measurement was given up.
            let _ = sender.send(upgraded).await;
        }
    });
    let headers = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain;

    async fn one_upgraded() -> (Upgraded, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let client = tokio::task::spawn_blocking(move || drain::connect(address, false));
        let server = upgraded(listener, 1).await.expect("axum upgrades").pop().expect("one was asked for");
        (server, client.await.expect("the client ends").expect("the client is answered"))
    }

    #[tokio::test]
    async fn the_socket_below_axum_comes_out_through_hyper_util() {
        let (upgraded, _client) = one_upgraded().await;
        let (_stream, early) = lower(upgraded).expect("a TCP socket is below");
        assert!(early.is_empty());
    }

    #[tokio::test]
    async fn hypers_own_downcast_does_not_see_the_socket_below_axum() {
        let (upgraded, _client) = one_upgraded().await;
        assert!(upgraded.downcast::<TokioIo<TcpStream>>().is_err());
    }
}
