//! Listening, and sockets before they are connected.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use super::fabric::{HostId, address_of, here, try_with, with};
use super::stream::TcpStream;

/// Addresses to connect to. Names are not looked up.
pub trait ToSocketAddrs {
    /// Them.
    ///
    /// # Errors
    /// It is a name, or nothing.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>>;
}

impl ToSocketAddrs for SocketAddr {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![*self])
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let ip: Result<IpAddr, _> = self.0.parse();
        ip.map(|ip| vec![SocketAddr::new(ip, self.1)]).map_err(|_| ErrorKind::NotFound.into())
    }
}

impl ToSocketAddrs for (IpAddr, u16) {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::from(*self)])
    }
}

impl ToSocketAddrs for [SocketAddr] {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.to_vec())
    }
}

impl ToSocketAddrs for str {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.parse().map(|address| vec![address]).map_err(|_| ErrorKind::InvalidInput.into())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        (**self).addresses()
    }
}

/// The addresses of a host, given by numbers. Where it is a name, nobody knows it.
///
/// # Errors
/// It is given by a name.
pub async fn lookup_host(host: impl ToSocketAddrs) -> io::Result<impl Iterator<Item = SocketAddr>> {
    Ok(host.addresses()?.into_iter())
}

/// A listening socket.
#[derive(Debug)]
pub struct TcpListener {
    id: u64,
    host: HostId,
    address: SocketAddr,
}

impl TcpListener {
    /// Listens.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let address = *address.addresses()?.first().ok_or(ErrorKind::AddrNotAvailable)?;
        Self::listen(address, 1_024)
    }

    fn listen(address: SocketAddr, backlog: usize) -> io::Result<Self> {
        let host = here();
        with(|fabric| {
            let (id, port) = fabric.listen(host, address.port(), backlog).ok_or(ErrorKind::AddrInUse)?;
            let ip = if address.ip().is_unspecified() { address_of(host) } else { address.ip() };
            Ok(Self { id, host, address: SocketAddr::new(ip, port) })
        })
    }

    /// Its address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The next connection.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let next = with(|fabric| {
            let at = (self.host, self.address.port());
            let Some(listener) = fabric.listeners.get_mut(&at).filter(|listener| listener.id == self.id) else {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted));
            };
            match listener.queue.pop_front() {
                Some(id) => Poll::Ready(Ok(id)),
                None => {
                    listener.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        next.map(|id| {
            let stream = TcpStream::of(id?).ok_or(ErrorKind::ConnectionAborted)?;
            let remote = stream.peer_addr()?;
            Ok((stream, remote))
        })
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let at = (self.host, self.address.port());
        try_with(|fabric| {
            // After a restart somebody else may listen there.
            if fabric.listeners.get(&at).is_some_and(|listener| listener.id == self.id) {
                fabric.close_listener(at);
            }
        });
    }
}

/// A socket that is not connected yet.
#[derive(Debug)]
pub struct TcpSocket {
    bound: std::cell::Cell<Option<SocketAddr>>,
}

impl TcpSocket {
    /// For IPv4.
    pub fn new_v4() -> io::Result<Self> {
        Ok(Self { bound: std::cell::Cell::new(None) })
    }

    /// For IPv6; it makes no difference here.
    pub fn new_v6() -> io::Result<Self> {
        Self::new_v4()
    }

    /// Nothing keeps an address here.
    pub fn set_reuseaddr(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// Nothing is held back here anyway.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// From this address.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.bound.set(Some(address));
        Ok(())
    }

    /// Listens.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        TcpListener::listen(self.bound.get().unwrap_or(any), backlog as usize)
    }

    /// Connects.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let local = self.bound.into_inner();
        TcpStream::connect_from(local, address).await
    }
}
