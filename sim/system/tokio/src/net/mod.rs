//! TCP, simulated. UDP, Unix sockets and names are not here.

mod end;
pub(crate) use end::EndId;
pub(crate) mod fabric;
mod listener;
mod stream;

#[cfg(test)]
mod tests;

pub use listener::{TcpListener, TcpSocket, ToSocketAddrs};
pub use stream::TcpStream;

/// The halves of a stream.
pub mod tcp {
    pub use super::stream::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
}
