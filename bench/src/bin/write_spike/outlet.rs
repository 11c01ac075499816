//! The ends a socket's task can write to: below a library, through it, or with it reading beside.

use crate::room::Room;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::{future::Future, io};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_tungstenite::{WebSocketStream as Tungstenite, tungstenite};
use tokio_websockets::WebSocketStream as Websockets;

/// One socket, as its task sees it.
pub(crate) trait Outlet: Send + 'static {
    /// Sends one revision, waiting while the socket would block.
    fn send(&mut self, room: &Room, revision: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Rests until woken. Outlets that also read do it here.
    fn rest(&mut self, wake: &Notify) -> impl Future<Output = io::Result<()>> + Send {
        async {
            wake.notified().await;
            Ok(())
        }
    }
}

/// Below any library, on the socket itself.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Outlet for Raw {
    async fn send(&mut self, room: &Room, revision: u64) -> io::Result<()> {
        write_beneath(&self.0, room, room.frame(revision)).await
    }
}

/// Through tokio-tungstenite.
pub(crate) struct ThroughTungstenite<S>(pub(crate) Tungstenite<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Outlet for ThroughTungstenite<S> {
    async fn send(&mut self, room: &Room, revision: u64) -> io::Result<()> {
        self.0.send(tungstenite::Message::Binary(room.payload(revision))).await.map_err(io::Error::other)
    }
}

/// Through tokio-websockets.
pub(crate) struct ThroughWebsockets<S>(pub(crate) Websockets<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Outlet for ThroughWebsockets<S> {
    async fn send(&mut self, room: &Room, revision: u64) -> io::Result<()> {
        self.0.send(tokio_websockets::Message::binary(room.payload(revision))).await.map_err(io::Error::other)
    }
}

/// The encoded frame through hyper's upgraded connection: no library, yet dynamic dispatch and two wrappers.
pub(crate) struct ThroughUpgraded(pub(crate) TokioIo<Upgraded>);

impl Outlet for ThroughUpgraded {
    async fn send(&mut self, room: &Room, revision: u64) -> io::Result<()> {
        self.0.write_all(room.frame(revision)).await
    }
}

/// The shape of a real gateway: the library reads, frames go out beneath it, in one task.
///
/// Safe as long as the library itself has nothing half written, which holds when its own answers (pong, close) are
/// flushed before `rest` ends.
pub(crate) struct BesideTungstenite(pub(crate) Tungstenite<TcpStream>);

impl Outlet for BesideTungstenite {
    async fn send(&mut self, room: &Room, revision: u64) -> io::Result<()> {
        write_beneath(self.0.get_ref(), room, room.frame(revision)).await
    }

    async fn rest(&mut self, wake: &Notify) -> io::Result<()> {
        tokio::select! {
            biased;
            () = wake.notified() => Ok(()),
            message = self.0.next() => match message {
                Some(message) => message.map(drop).map_err(io::Error::other),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}

/// The same with tokio-websockets reading.
pub(crate) struct BesideWebsockets(pub(crate) Websockets<TcpStream>);

impl Outlet for BesideWebsockets {
    async fn send(&mut self, room: &Room, revision: u64) -> io::Result<()> {
        write_beneath(self.0.get_ref(), room, room.frame(revision)).await
    }

    async fn rest(&mut self, wake: &Notify) -> io::Result<()> {
        tokio::select! {
            biased;
            () = wake.notified() => Ok(()),
            message = self.0.next() => match message {
                Some(message) => message.map(drop).map_err(io::Error::other),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}

/// Writes at once what the kernel takes, and waits only for the rest.
pub(crate) async fn write_beneath(stream: &TcpStream, room: &Room, frame: &[u8]) -> io::Result<()> {
    let mut written = 0;
    loop {
        match stream.try_write(&frame[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if written == frame.len() {
            return Ok(());
        }
        room.note_blocked();
        stream.writable().await?;
    }
}
