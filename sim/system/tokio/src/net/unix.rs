//! Unix sockets, which a simulation has none of: connecting to one finds nobody, so no stream of this kind ever exists.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use madsim_tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that cannot be made.
#[derive(Debug)]
pub struct UnixStream(Infallible);

impl UnixStream {
    /// Finds nobody.
    pub async fn connect(_: impl AsRef<Path>) -> io::Result<Self> {
        Err(ErrorKind::NotFound.into())
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
