//! A stream, as a program has it: the number of its end.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use madsim::rand::Rng;
use madsim_tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::end::{EndId, Phase};
use super::fabric::{try_with, with};
use super::listener::ToSocketAddrs;

/// A connection.
#[derive(Debug)]
pub struct TcpStream {
    id: EndId,
    local: SocketAddr,
    remote: SocketAddr,
}

impl TcpStream {
    /// Connects. Nobody there is refused at once; a link that is cut, or a machine that is off, is asked again until it is too late.
    pub async fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in address.addresses()? {
            match Self::connect_from(None, address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) async fn connect_from(local: Option<SocketAddr>, remote: SocketAddr) -> io::Result<Self> {
        let id = with(|fabric| fabric.connect(local, remote)).ok_or(ErrorKind::AddrNotAvailable)?;
        let stream = Self::of(id).ok_or(ErrorKind::AddrNotAvailable)?;
        poll_fn(|cx| {
            with(|fabric| match fabric.ends.get_mut(&id) {
                None => Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
                Some(end) => match end.phase {
                    Phase::Open => Poll::Ready(Ok(())),
                    Phase::Failed(kind) => Poll::Ready(Err(io::Error::from(kind))),
                    Phase::Connecting(_) => {
                        end.out.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                },
            })
        })
        .await?;
        Ok(stream)
    }

    pub(super) fn of(id: EndId) -> Option<Self> {
        with(|fabric| fabric.ends.get(&id).map(|end| Self { id, local: end.local, remote: end.remote }))
    }

    pub(crate) fn connection(&self) -> Option<EndId> {
        with(|fabric| fabric.ends.get(&self.id).map(|end| end.connection))
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.remote)
    }

    /// Nothing is held back here anyway.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// It is so.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// With zero, a stream that is let go of is reset; other spans are as none.
    pub fn set_linger(&self, span: Option<Duration>) -> io::Result<()> {
        with(|fabric| {
            if let Some(end) = fabric.ends.get_mut(&self.id) {
                end.abrupt = span == Some(Duration::ZERO);
            }
        });
        Ok(())
    }

    /// Hops are not counted.
    pub fn set_ttl(&self, _: u32) -> io::Result<()> {
        Ok(())
    }

    /// A socket of the standard library that stands for this stream: options set on it have no effect.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        super::standard::park(self)
    }

    /// The stream that such a socket stands for.
    pub fn from_std(socket: std::net::TcpStream) -> io::Result<Self> {
        super::standard::fetch(&socket)
    }

    /// The two halves.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let stream = Arc::new(self);
        (OwnedReadHalf(stream.clone()), OwnedWriteHalf(stream))
    }

    fn read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with(|fabric| {
            let segment = fabric.machines.segment;
            let Some(end) = fabric.ends.get_mut(&self.id) else { return Poll::Ready(Err(gone())) };
            let waiting = end.into.bytes.len().min(into.remaining());
            if waiting > 0 {
                let (first, second) = end.into.bytes.as_slices();
                let from_first = first.len().min(waiting);
                into.put_slice(&first[..from_first]);
                into.put_slice(&second[..waiting - from_first]);
                end.into.bytes.drain(..waiting);
                if end.has_opened(segment) {
                    fabric.acknowledge(self.id);
                }
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = end.error() {
                return Poll::Ready(Err(error));
            }
            if end.into.ended || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            end.into.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    fn write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with(|fabric| {
            let partial = fabric.machines.partial;
            let Some(end) = fabric.ends.get_mut(&self.id) else { return Poll::Ready(Err(gone())) };
            if let Some(error) = end.error() {
                return Poll::Ready(Err(error));
            }
            if end.out.finishing {
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
            let mut take = bytes.len().min(end.out.room());
            if take == 0 && !bytes.is_empty() {
                end.out.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if take > 1 && partial > 0 {
                let mut rng = madsim::rand::thread_rng();
                if rng.gen_range(0..100) < partial {
                    take = rng.gen_range(1..=take);
                }
            }
            end.out.bytes.extend(&bytes[..take]);
            fabric.transmit(self.id);
            Poll::Ready(Ok(take))
        })
    }

    fn finish(&self) {
        with(|fabric| {
            if let Some(end) = fabric.ends.get_mut(&self.id) {
                end.out.finishing = true;
                fabric.transmit(self.id);
            }
        });
    }
}

/// The machine that held it was switched off under it.
fn gone() -> io::Error {
    ErrorKind::ConnectionAborted.into()
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        try_with(|fabric| fabric.let_go(self.id));
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read(cx, into)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

/// The half that reads.
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<TcpStream>);

/// The half that writes; let go of, nothing more is written.
#[derive(Debug)]
pub struct OwnedWriteHalf(Arc<TcpStream>);

/// Halves of two streams.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl OwnedReadHalf {
    /// The stream again.
    ///
    /// # Errors
    /// The halves are of two streams.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        if self.0.id != other.0.id {
            return Err(ReuniteError(self, other));
        }
        let stream = TcpStream { id: self.0.id, local: self.0.local, remote: self.0.remote };
        // Both are forgotten without being let go of: the stream goes on.
        std::mem::forget(self);
        std::mem::forget(other);
        Ok(stream)
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.remote)
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.read(cx, into)
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.finish();
        Poll::Ready(Ok(()))
    }
}
