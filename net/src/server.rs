//! The listening socket: connections are accepted, served and drained here.
//!
//! Plain or TLS, HTTP/1.1, upgraded to WebSocket where asked. As many connections at once as configured, WebSocket ones
//! included; each of them can be slow or silent for a bounded time. Binding and serving are two steps, so that the address can
//! be told before the first request, port 0 included.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

use crate::auth::Authenticate;
use crate::http::{self, App, Peer, Stall};
use crate::metrics::Metrics;
use crate::node::Node;

pub use crate::http::{HostPolicy, InvalidHost, openapi};

/// Connections that the system may hold ready before they are accepted: after a restart, everybody comes at once.
const BACKLOG: u32 = 4_096;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the header of a request may take, and a connection be idle between two requests.
const HEADER: Duration = Duration::from_secs(30);
/// Bytes of a request's header.
const HEADER_BYTES: usize = 32 * 1024;
/// Wait after the system refused to give a connection, for want of descriptors.
const WANT: Duration = Duration::from_millis(100);
/// How long requests under way may take to end when the server stops.
const LINGER: Duration = Duration::from_secs(5);

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// With its character set, where it is text.
    pub content_type: &'static str,
    /// What it holds.
    pub bytes: &'static [u8],
    /// Changes when the bytes do; with or without quotes.
    pub etag: &'static str,
}

/// A copy of the stores on its way to whoever asked.
pub struct BackupStream {
    /// Its length in bytes, where it is known.
    pub len: Option<u64>,
    /// The copy. An error cuts the answer short, which the client sees.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

/// Makes a consistent copy of the stores.
pub type Backup = Arc<dyn Fn() -> BoxFuture<'static, io::Result<BackupStream>> + Send + Sync>;

/// How a server is reached, and what it serves besides its node.
#[derive(Clone)]
pub struct ServerConfig {
    /// The address to listen on; port 0 for any free one.
    pub listen: SocketAddr,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Hosts it answers to, and pages from elsewhere that may use it, besides its own.
    pub hosts: HostPolicy,
    /// The files of the page by path, `/` included.
    pub assets: fn(&str) -> Option<Asset>,
    /// Makes a copy of the stores; none where they are backed up by their own means.
    pub backup: Option<Backup>,
    /// Whether anybody may read `/metrics`: else only from this machine, or with an administrator's token.
    pub open_metrics: bool,
    /// Connections at once, WebSocket ones included. More wait in the system's queue.
    pub connections: usize,
    /// The version that `/v1/config` and the OpenAPI document tell.
    pub version: &'static str,
}

impl ServerConfig {
    /// Plain HTTP at this address, without a page and without backups.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            hosts: HostPolicy::default(),
            assets: |_| None,
            backup: None,
            open_metrics: false,
            connections: 101_000,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A server that listens and does not serve yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    config: ServerConfig,
}

/// Listens.
///
/// # Errors
/// What the system says: the address is in use, or not of this machine.
pub async fn bind(config: ServerConfig) -> io::Result<Bound> {
    let socket = if config.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier run that are not quite gone must not keep the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(config.listen)?;
    let listener = socket.listen(BACKLOG)?;
    Ok(Bound { address: listener.local_addr()?, listener, config })
}

impl Bound {
    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains: no new connections, the node says goodbye and finishes what it began, and what is
    /// left ends with the request it is in.
    pub async fn serve(self, node: Node, auth: Arc<dyn Authenticate>, shutdown: impl Future<Output = ()>) {
        let Self { listener, config, .. } = self;
        let (stop, stopping) = watch::channel(false);
        let most = config.connections.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let turns = Arc::new(Semaphore::new(most));
        let acceptor = Acceptor {
            app: Arc::new(App::new(&config, node.clone(), auth)),
            tls: config.tls.map(TlsAcceptor::from),
            stopping,
        };
        let mut shutdown = pin!(shutdown);
        loop {
            let next = async {
                // Never closed: it lives as long as this function.
                let turn = turns.clone().acquire_owned().await.ok()?;
                Some((listener.accept().await, turn))
            };
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = next => accepted,
            };
            match accepted {
                Some((Ok((stream, remote)), turn)) => drop(tokio::spawn(acceptor.clone().serve(stream, remote, turn))),
                Some((Err(error), _)) if is_of_one_connection(&error) => {}
                Some((Err(error), _)) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(WANT).await;
                }
                None => break,
            }
        }
        drop(listener);
        node.drain().await;
        // Every connection ends itself within LINGER of this.
        let _nobody_listens = stop.send(true);
        let all = turns.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
        if tokio::time::timeout(LINGER * 2, all).await.is_err() {
            tracing::warn!("connections were left when the server stopped");
        }
    }
}

/// What each connection is given.
#[derive(Clone)]
struct Acceptor {
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    stopping: watch::Receiver<bool>,
}

/// A connection's turn and its place in the figures, for as long as anything of it lives.
struct Connected {
    metrics: Metrics,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.metrics.disconnected();
    }
}

impl Acceptor {
    async fn serve(self, stream: TcpStream, remote: SocketAddr, turn: OwnedSemaphorePermit) {
        let metrics = self.app.node.metrics().clone();
        metrics.connected();
        let connected = Arc::new(Connected { metrics, _turn: turn });
        // Answers are written whole: waiting for more to send would only delay them.
        let ready = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        let Ok(local) = ready else { return };
        let peer = Peer { remote, local, tls: self.tls.is_some() };
        match self.tls.clone() {
            None => self.speak(stream, peer, connected).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream, peer, connected).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn speak<S>(self, stream: S, peer: Peer, connected: Arc<Connected>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { app, mut stopping, .. } = self;
        // The gateway notices a slow socket by itself, and says so; this is for whoever it does not look after.
        let patience = Duration::from_millis(app.node.limits().slow_ms.into()) * 2;
        let service = service_fn(move |request| {
            let (app, keep) = (app.clone(), connected.clone());
            async move { Ok::<_, Infallible>(http::serve(app, peer, keep, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(Stall::new(stream, patience)), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            ended = connection.as_mut() => return log_end(ended),
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(LINGER, connection).await {
            Ok(ended) => log_end(ended),
            Err(_) => tracing::debug!("a request was cut short, for the server stops"),
        }
    }
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Whether the failure is of the connection that was to be accepted, and the next may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
