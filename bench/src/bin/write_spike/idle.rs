//! Memory of a connection that does nothing: growth of the process over its sockets, kernel buffers not counted.
//!
//! Every client has said one small thing and been answered before the reading, because buffers that are filled on first
//! use look free until then. Each holding runs in a process of its own: what another one freed would be taken up again.

use crate::{
    accept,
    drain::{Drain, Task},
};
use bytes::Bytes;
use chamberlain_bench::cost;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use std::{io, process::Command, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_websockets::ServerBuilder;

/// The first argument of a process that is to measure one holding.
pub(crate) const ROLE: &str = "--idle";

/// What a task holds while its socket is idle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    Socket,
    TungsteniteDefault,
    TungsteniteSmall,
    Websockets,
    AxumLoweredTungstenite,
    AxumLoweredWebsockets,
    AxumUpgradedTungstenite,
    AxumUpgradedWebsockets,
}

impl Holding {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Socket,
        Self::TungsteniteDefault,
        Self::TungsteniteSmall,
        Self::Websockets,
        Self::AxumLoweredTungstenite,
        Self::AxumLoweredWebsockets,
        Self::AxumUpgradedTungstenite,
        Self::AxumUpgradedWebsockets,
    ];

    /// The row's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Socket => "task and socket alone",
            Self::TungsteniteDefault => "tungstenite, default buffers",
            Self::TungsteniteSmall => "tungstenite, 1 KiB to read",
            Self::Websockets => "websockets",
            Self::AxumLoweredTungstenite => "axum, lowered, tungstenite, 1 KiB",
            Self::AxumLoweredWebsockets => "axum, lowered, websockets",
            Self::AxumUpgradedTungstenite => "axum, Upgraded, tungstenite, 1 KiB",
            Self::AxumUpgradedWebsockets => "axum, Upgraded, websockets",
        }
    }
}

/// Bytes per idle socket, measured by another process of this program.
pub(crate) fn measure_apart(holding: Holding, sockets: usize) -> io::Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .arg(ROLE)
        .arg(holding.name())
        .arg(sockets.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| io::Error::other(format!("{} came back with {text:?}", holding.name())))
}

/// The other process's life: the figure it should print. `arguments` are those behind `ROLE`.
pub(crate) fn run(arguments: &[String]) -> io::Result<f64> {
    let [name, sockets] = arguments else { return Err(io::Error::other("idle: holding, sockets")) };
    let holding = Holding::ALL.into_iter().find(|holding| holding.name() == name);
    let holding = holding.ok_or_else(|| io::Error::other(format!("no holding {name:?}")))?;
    let sockets = sockets.parse().map_err(io::Error::other)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(hold(holding, sockets))
}

async fn hold(holding: Holding, count: usize) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (greeted, mut greetings) = mpsc::channel(count);
    let mut drain =
        Drain::start(Task { address: listener.local_addr()?, sockets: count, expected_bytes: 0, greets: true })?;
    let mut wakes = Vec::with_capacity(count);
    let before = cost::resident_bytes()?;

    let mut keep = |connection: Connection| {
        let wake = Arc::new(Notify::new());
        wakes.push(wake.clone());
        tokio::spawn(connection.idle(holding, wake, greeted.clone()));
    };
    if holding.asks_axum() {
        // Handed over one by one, as a gateway would: nothing waits in a list with its request's buffers.
        let mut upgraded = accept::upgrades(listener, count);
        for _ in 0..count {
            let io = upgraded.recv().await.ok_or_else(|| io::Error::other("the server ended"))?;
            keep(if holding.lowers() { Connection::lowered(io)? } else { Connection::Upgraded(io) });
        }
    } else {
        for _ in 0..count {
            keep(Connection::Tcp(accept::handshake(&listener).await?, Bytes::new()));
        }
    }
    for _ in 0..count {
        greetings.recv().await.ok_or_else(|| io::Error::other("a socket was lost"))?;
    }
    drain.await_ready()?;
    let after = cost::resident_bytes()?;
    Ok((after.saturating_sub(before)) as f64 / count as f64)
}

impl Holding {
    fn asks_axum(self) -> bool {
        matches!(
            self,
            Self::AxumLoweredTungstenite
                | Self::AxumLoweredWebsockets
                | Self::AxumUpgradedTungstenite
                | Self::AxumUpgradedWebsockets
        )
    }

    fn lowers(self) -> bool {
        matches!(self, Self::AxumLoweredTungstenite | Self::AxumLoweredWebsockets)
    }
}

enum Connection {
    Tcp(TcpStream, Bytes),
    Upgraded(hyper::upgrade::Upgraded),
}

impl Connection {
    fn lowered(upgraded: hyper::upgrade::Upgraded) -> io::Result<Self> {
        let (stream, early) = accept::lower(upgraded)?;
        Ok(Self::Tcp(stream, early))
    }

    /// Boxed by kind, so that each task is as large as its own kind and not as the largest.
    fn idle(
        self,
        holding: Holding,
        wake: Arc<Notify>,
        greeted: mpsc::Sender<()>,
    ) -> std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + Send>> {
        let small = accept::small_buffers();
        match (holding, self) {
            (Holding::Socket, Self::Tcp(stream, _)) => Box::pin(bare(stream, wake, greeted)),
            (Holding::TungsteniteDefault, Self::Tcp(stream, early)) => {
                Box::pin(tungstenite(stream, early, WebSocketConfig::default(), wake, greeted))
            }
            (Holding::TungsteniteSmall | Holding::AxumLoweredTungstenite, Self::Tcp(stream, early)) => {
                Box::pin(tungstenite(stream, early, small, wake, greeted))
            }
            (Holding::AxumUpgradedTungstenite, Self::Upgraded(io)) => {
                Box::pin(tungstenite(TokioIo::new(io), Bytes::new(), small, wake, greeted))
            }
            (Holding::Websockets | Holding::AxumLoweredWebsockets, Self::Tcp(stream, _)) => {
                Box::pin(websockets(stream, wake, greeted))
            }
            (Holding::AxumUpgradedWebsockets, Self::Upgraded(io)) => {
                Box::pin(websockets(TokioIo::new(io), wake, greeted))
            }
            _ => unreachable!("each holding is fed by one kind of connection"),
        }
    }
}

async fn bare(mut stream: TcpStream, wake: Arc<Notify>, greeted: mpsc::Sender<()>) -> io::Result<()> {
    let mut greeting = vec![0; crate::drain::greeting().len()];
    stream.read_exact(&mut greeting).await?;
    drop(greeting);
    stream.write_all(&crate::frame::server_frame(b"hello")).await?;
    let _ = greeted.send(()).await;
    drop(greeted);
    tokio::select! {
        () = wake.notified() => Ok(()),
        ready = stream.readable() => ready,
    }
}

async fn tungstenite<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    early: Bytes,
    config: WebSocketConfig,
    wake: Arc<Notify>,
    greeted: mpsc::Sender<()>,
) -> io::Result<()> {
    let mut socket = if early.is_empty() {
        // Even when empty it keeps alive the buffer that hyper read the request into: 8 KiB a socket.
        drop(early);
        WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
    } else {
        WebSocketStream::from_partially_read(stream, early.into(), Role::Server, Some(config)).await
    };
    loop {
        tokio::select! {
            () = wake.notified() => {}
            message = socket.next() => match message {
                Some(Ok(_)) => {
                    socket.send(Message::binary(Bytes::from_static(b"hello"))).await.map_err(io::Error::other)?;
                    let _ = greeted.try_send(());
                }
                _ => return Ok(()),
            }
        }
    }
}

async fn websockets<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    wake: Arc<Notify>,
    greeted: mpsc::Sender<()>,
) -> io::Result<()> {
    let mut socket = ServerBuilder::new().serve(stream);
    loop {
        tokio::select! {
            () = wake.notified() => {}
            message = socket.next() => match message {
                Some(Ok(_)) => {
                    let hello = tokio_websockets::Message::binary(Bytes::from_static(b"hello"));
                    socket.send(hello).await.map_err(io::Error::other)?;
                    let _ = greeted.try_send(());
                }
                _ => return Ok(()),
            }
        }
    }
}
