//! A client's connection: WebSocket over the simulated network. Writing never stands in the way of reading.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use chamberlain_core::wire::{ClientFrame, Codec, ServerFrame};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

/// Connecting and the handshake take no longer, or are tried again.
const PATIENCE: Duration = Duration::from_secs(15);

/// An open connection.
pub(crate) struct Line {
    ws: WebSocketStream<TcpStream>,
    codec: Codec,
    out: VecDeque<Message>,
    /// Nothing is written any more; what comes is read to its end.
    half_closed: bool,
}

/// What a line brought.
#[derive(Debug)]
pub(crate) enum Event {
    /// A sign of life.
    Ping,
    /// A frame.
    Frame(Box<ServerFrame>),
    /// Something that cannot be read: a defect of the server.
    Garbage(String),
    /// It ended, with a close code where one came.
    Ended(Option<u16>),
}

/// Why there is no line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoLine {
    /// No answer came in time.
    TimedOut,
    /// It was refused, reset, or answered with something else.
    Refused,
}

impl Line {
    pub(crate) async fn open(address: SocketAddr, codec: Codec) -> Result<Self, NoLine> {
        let opening = async {
            let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::TimedOut => NoLine::TimedOut,
                _ => NoLine::Refused,
            })?;
            let mut request = format!("ws://{address}/v1/socket").into_client_request().map_err(|_| NoLine::Refused)?;
            let protocol = HeaderValue::from_static(codec.subprotocol());
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            let opened = tokio_tungstenite::client_async(request, stream).await;
            let (ws, _) = opened.map_err(|_| NoLine::Refused)?;
            Ok(Self { ws, codec, out: VecDeque::new(), half_closed: false })
        };
        tokio::time::timeout(PATIENCE, opening).await.unwrap_or(Err(NoLine::TimedOut))
    }

    /// Puts a frame into the queue.
    pub(crate) fn send(&mut self, frame: &ClientFrame) {
        let bytes = self.codec.encode(frame);
        self.out.push_back(match self.codec {
            Codec::Json => Message::text(String::from_utf8(bytes).expect("JSON is text")),
            Codec::Bincode => Message::binary(bytes),
        });
    }

    /// Frames that were not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Writes what waits and gives what comes. Nothing is lost when it is not waited for to its end.
    pub(crate) async fn next(&mut self) -> Event {
        poll_fn(|cx| {
            if !self.half_closed {
                while !self.out.is_empty() {
                    match self.ws.poll_ready_unpin(cx) {
                        Poll::Ready(Ok(())) => {
                            if let Some(message) = self.out.pop_front() {
                                // What became of it, reading tells.
                                let _told_later = self.ws.start_send_unpin(message);
                            }
                        }
                        Poll::Ready(Err(_)) => self.out.clear(),
                        Poll::Pending => break,
                    }
                }
                let _told_later = self.ws.poll_flush_unpin(cx);
            }
            Poll::Ready(match futures_util::ready!(self.ws.poll_next_unpin(cx)) {
                Some(Ok(Message::Text(text))) if self.codec == Codec::Json => self.decode(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) if self.codec == Codec::Bincode => self.decode(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Event::Ping,
                Some(Ok(Message::Close(close))) => Event::Ended(close.map(|close| close.code.into())),
                Some(Ok(other)) => Event::Garbage(format!("{other:?}")),
                Some(Err(_)) | None => Event::Ended(None),
            })
        })
        .await
    }

    fn decode(&self, bytes: &[u8]) -> Event {
        match self.codec.decode_server(bytes) {
            Ok(frame) => Event::Frame(Box::new(frame)),
            Err(error) => Event::Garbage(error.0),
        }
    }

    /// Writes no more, and reads on.
    pub(crate) async fn half_close(&mut self) {
        use tokio::io::AsyncWriteExt;
        self.half_closed = true;
        // It may be over already.
        let _over = self.ws.get_mut().shutdown().await;
    }

    /// Has it end with a reset.
    pub(crate) fn reset(self) {
        // It is ours alone.
        let _over = self.ws.get_ref().set_linger(Some(Duration::ZERO));
    }

    /// Has nothing of it arrive anywhere any more.
    pub(crate) fn lose(&self) {
        if let Some(connection) = tokio::sim::connection(self.ws.get_ref()) {
            tokio::sim::lose(connection);
        }
    }

    /// Says goodbye, and waits for it for a moment.
    pub(crate) async fn close(mut self) {
        let close = async {
            // It may be over already.
            let _over = self.ws.close(None).await;
            while let Some(Ok(_)) = self.ws.next().await {}
        };
        let _late = tokio::time::timeout(Duration::from_secs(2), close).await;
    }
}
