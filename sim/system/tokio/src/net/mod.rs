//! TCP, simulated. UDP and names are not here; of Unix sockets only what clients must name to be compiled.

mod end;
pub(crate) use end::EndId;
pub(crate) mod fabric;
mod listener;
mod standard;
mod stream;
mod unix;

#[cfg(test)]
mod tests;

pub use listener::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
pub use stream::TcpStream;
pub use unix::UnixStream;

/// The halves of a stream.
pub mod tcp {
    pub use super::stream::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
}
