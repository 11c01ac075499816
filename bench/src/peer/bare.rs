//! The yardstick: one thread that writes the same bytes to as many sockets, and nothing else.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Cost;

/// What it is to be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) sockets: usize,
}

/// What it says first: where it listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
}

/// What it is asked: to accept its sockets, then to write.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Take in all sockets.
    Accept,
    /// Write so many frames of so many bytes to each socket, frame after frame.
    Write { frames: u64, bytes: usize },
}

/// Its life. Answers to `Write` say what it cost until the last byte was taken.
pub(super) fn live(plan: Plan) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    super::say(&Ok(Ready { address: listener.local_addr()? }))?;
    let mut sockets = Vec::with_capacity(plan.sockets);
    while let Some(question) = super::question()? {
        match question {
            Question::Accept => {
                while sockets.len() < plan.sockets {
                    let (socket, _) = listener.accept()?;
                    socket.set_nodelay(true)?;
                    socket.set_nonblocking(true)?;
                    sockets.push(socket);
                }
            }
            Question::Write { frames, bytes } => {
                let frame = vec![0x42; bytes];
                for _ in 0..frames {
                    sockets.iter().try_for_each(|socket| write(socket, &frame))?;
                }
            }
        }
        super::say(&Ok(Cost::now()?))?;
    }
    Ok(())
}

/// A socket that would block is tried again until it does not.
fn write(mut socket: &TcpStream, frame: &[u8]) -> Result<()> {
    let mut written = 0;
    while written < frame.len() {
        match socket.write(&frame[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
