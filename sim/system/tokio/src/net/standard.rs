//! Sockets of the standard library, as far as clients go through them to set options.
//!
//! A client that asks a stream for its `std` form gets a real socket that was never connected: whatever is set on it is set
//! and has no effect. The simulated stream is parked meanwhile, under the number of that socket, and comes back for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::TcpStream as Standard;
use std::os::fd::AsRawFd as _;

use super::stream::TcpStream;

/// Most streams that are parked at once. Between the two calls of a client nothing happens, so one is the rule.
const PARKED: usize = 64;

thread_local! {
    static LOT: RefCell<BTreeMap<i32, TcpStream>> = const { RefCell::new(BTreeMap::new()) };
}

/// Parks a stream; the socket that stands for it.
pub(super) fn park(stream: TcpStream) -> io::Result<Standard> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let left = LOT.with_borrow_mut(|lot| {
        if lot.len() >= PARKED {
            return Err(ErrorKind::QuotaExceeded);
        }
        // Of a socket that was closed without coming back, whose number is this one's now.
        Ok(lot.insert(socket.as_raw_fd(), stream))
    });
    drop(left?);
    Ok(socket.into())
}

/// The stream that was parked for a socket.
pub(super) fn fetch(socket: &Standard) -> io::Result<TcpStream> {
    LOT.with_borrow_mut(|lot| lot.remove(&socket.as_raw_fd())).ok_or_else(|| ErrorKind::InvalidInput.into())
}
