//! The transport: the WebSocket library reads, shared frames are written beneath it.
//!
//! The library sees a [`Pipe`] whose writes never reach the socket by themselves: they wait until a frame of ours is whole,
//! so that a pong never lands inside one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::wire::Codec;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::framing;

/// Bytes that the library reads at once: small, for there is one such buffer per connection.
const READ_BUFFER: usize = 1024;
/// A frame over the limit but not over so many times the limit is read to its end and refused, and the connection goes on.
const READ_ON: usize = 16;
/// After goodbye, so many of the largest frames are taken unread before the connection is cut.
const READ_OUT: usize = 4;

/// What the library reads from and writes to.
struct Pipe<S> {
    io: S,
    /// What the library wants written: pongs and close frames.
    library: Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Pipe<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<S: Unpin> AsyncWrite for Pipe<S> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.library.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection after its handshake.
pub(super) struct Connection<S> {
    ws: WebSocketStream<Pipe<S>>,
    codec: Codec,
    frame_most: usize,
    /// Frames to be written; the first may be written in part.
    out: VecDeque<Bytes>,
    unflushed: bool,
    closed: bool,
}

/// What a connection did.
pub(super) enum Event {
    /// The transport took bytes; `all` when nothing is left to write.
    Wrote { all: bool },
    /// Something came from the client.
    Came(Incoming),
}

/// What came from a client.
pub(super) enum Incoming {
    /// A frame in the connection's codec.
    Frame(Bytes),
    /// A frame that is refused; the connection goes on.
    Refused(Refused),
    /// A ping or pong: a sign of life.
    Sign,
    /// Not WebSocket, or far too much: the connection cannot go on.
    Broken(Refused),
    /// The client left.
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) async fn new(io: S, codec: Codec, limits: &Limits) -> Self {
        let most = limits.frame_in_bytes as usize;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(most * READ_ON))
            .max_frame_size(Some(most * READ_ON));
        let pipe = Pipe { io, library: Vec::new() };
        let ws = WebSocketStream::from_raw_socket(pipe, Role::Server, Some(config)).await;
        Self { ws, codec, frame_most: most, out: VecDeque::new(), unflushed: false, closed: false }
    }

    /// Whether something is left to write.
    pub(super) fn is_writing(&self) -> bool {
        !self.out.is_empty() || self.unflushed || !self.ws.get_ref().library.is_empty()
    }

    /// Waits until the transport takes bytes or, with `listen`, something comes.
    pub(super) async fn next(&mut self, listen: bool) -> Event {
        poll_fn(|cx| {
            if self.is_writing() {
                match self.poll_write(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Event::Wrote { all: !self.is_writing() }),
                    Poll::Ready(Err(_)) => return Poll::Ready(Event::Came(Incoming::Closed)),
                    Poll::Pending => {}
                }
            }
            if listen { self.poll_read(cx).map(Event::Came) } else { Poll::Pending }
        })
        .await
    }

    /// One write to the transport: as much of the first frame as it takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = self.ws.get_mut();
        if self.out.is_empty() && !pipe.library.is_empty() {
            self.out.push_back(std::mem::take(&mut pipe.library).into());
        }
        if let Some(frame) = self.out.front_mut() {
            let took = ready!(Pin::new(&mut pipe.io).poll_write(cx, frame))?;
            if took == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            frame.advance(took);
            if frame.is_empty() {
                self.out.pop_front();
                // What the library wants to say goes between two frames.
                if !pipe.library.is_empty() {
                    self.out.push_front(std::mem::take(&mut pipe.library).into());
                }
            }
            self.unflushed = true;
        }
        if self.out.is_empty() && self.unflushed {
            ready!(Pin::new(&mut pipe.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let message = ready!(Pin::new(&mut self.ws).poll_next(cx));
        let incoming = match message {
            Some(Ok(Message::Text(text))) if self.codec == Codec::Json => self.sized(text.into()),
            Some(Ok(Message::Binary(bytes))) if self.codec == Codec::Bincode => self.sized(bytes),
            Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                let message = format!(
                    "frames of {} are {}",
                    self.codec.subprotocol(),
                    match self.codec {
                        Codec::Json => "text",
                        Codec::Bincode => "binary",
                    }
                );
                Incoming::Broken(Refused::new(Reason::Malformed, message))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Sign,
            Some(Err(WsError::Capacity(CapacityError::MessageTooLong { size, .. }))) => {
                let message = format!("frame: {size} bytes, the limit is {}", self.frame_most);
                Incoming::Broken(Refused::new(Reason::TooLarge, message))
            }
            Some(Err(WsError::Protocol(error))) => {
                Incoming::Broken(Refused::new(Reason::Malformed, format!("not WebSocket: {error}")))
            }
            Some(Err(WsError::Utf8(_))) => Incoming::Broken(Refused::new(Reason::Malformed, "the frame is not UTF-8")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                self.closed = true;
                Incoming::Closed
            }
        };
        Poll::Ready(incoming)
    }

    fn sized(&self, bytes: Bytes) -> Incoming {
        if bytes.len() <= self.frame_most {
            return Incoming::Frame(bytes);
        }
        let message = format!("frame: {} bytes, the limit is {}", bytes.len(), self.frame_most);
        Incoming::Refused(Refused::new(Reason::TooLarge, message))
    }

    /// Says goodbye to the transport: what is left to write, a close frame, and the client's own.
    pub(super) async fn finish(&mut self, code: u16) {
        if self.closed {
            return;
        }
        self.push(framing::close(code));
        while self.is_writing() {
            if let Event::Came(_) = self.next(false).await {
                return;
            }
        }
        let shut = poll_fn(|cx| Pin::new(&mut self.ws.get_mut().io).poll_shutdown(cx)).await;
        if shut.is_ok() {
            self.read_out().await;
        }
    }

    /// Takes what still comes, unread, until the client closes as well. A socket that is dropped with bytes waiting in it is
    /// reset by the machine, and the client loses the frames that say why.
    async fn read_out(&mut self) {
        let mut left = self.frame_most * READ_ON * READ_OUT;
        let mut waste = [0; READ_BUFFER];
        while left > 0 {
            let read = poll_fn(|cx| {
                let mut into = ReadBuf::new(&mut waste);
                let io = Pin::new(&mut self.ws.get_mut().io);
                io.poll_read(cx, &mut into).map_ok(|()| into.filled().len())
            });
            match read.await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => left = left.saturating_sub(bytes),
            }
        }
    }
}

impl<S> Connection<S> {
    /// Queues a frame. Bounded by the socket machine: one write is out at a time.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.out.push_back(frame);
    }
}
