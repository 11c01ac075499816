//! The receiving side: a process of its own, so that its CPU time never counts as the sender's.
//!
//! One thread opens every connection, performs the WebSocket handshake by hand, then only reads and throws away, with a
//! buffer large enough to take many frames in one call. It speaks to its parent in lines: `ready` once all are connected,
//! `done` once the expected bytes have arrived. It ends when its standard input does.

use crate::frame;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
};

/// The first argument of a process that is to drain.
pub(crate) const ROLE: &str = "--drain";

const READ_BUFFER_BYTES: usize = 1 << 20;
const EVENTS_PER_POLL: usize = 1024;
const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What the child is asked to do.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: usize,
    /// Bytes over all sockets, handshakes not counted, after which to say `done`.
    pub(crate) expected_bytes: u64,
    /// Whether every client says one small thing first, so that the server has read from each socket.
    pub(crate) greets: bool,
}

/// The parent's hold on the draining process, which ends when this is dropped.
pub(crate) struct Drain {
    child: Child,
    _input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Drain {
    /// Starts this same program as a drain.
    pub(crate) fn start(task: Task) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(task.address.to_string())
            .arg(task.sockets.to_string())
            .arg(task.expected_bytes.to_string())
            .arg(u8::from(task.greets).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().expect("stdin was asked to be a pipe");
        let lines = BufReader::new(child.stdout.take().expect("stdout was asked to be a pipe"));
        Ok(Self { child, _input: input, lines })
    }

    /// Blocks until every client has its answer to the handshake.
    pub(crate) fn await_ready(&mut self) -> io::Result<()> {
        self.await_line("ready")
    }

    /// Blocks until every expected byte has been received.
    pub(crate) fn await_done(&mut self) -> io::Result<()> {
        self.await_line("done")
    }

    fn await_line(&mut self, wanted: &str) -> io::Result<()> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if line.trim_end() == wanted { Ok(()) } else { Err(io::Error::other(format!("the drain said {line:?}"))) }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's whole life. `arguments` are those behind `ROLE`.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    let task = parse(arguments).ok_or_else(|| io::Error::other("drain: address, sockets, bytes, greets"))?;
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });

    let mut poll = Poll::new()?;
    let mut streams = Vec::with_capacity(task.sockets);
    for token in 0..task.sockets {
        let mut stream = TcpStream::from_std(connect(task.address, task.greets)?);
        poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
        streams.push(stream);
    }
    say("ready")?;

    let mut events = Events::with_capacity(EVENTS_PER_POLL);
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let (mut received, mut open, mut said_done) = (0, streams.len(), false);
    while open > 0 {
        poll.poll(&mut events, None)?;
        for event in &events {
            match drain(&mut streams[event.token().0], &mut buffer)? {
                Drained::Bytes(count) => received += count,
                Drained::Closed => open -= 1,
            }
        }
        if !said_done && task.expected_bytes > 0 && received >= task.expected_bytes {
            said_done = true;
            say("done")?;
        }
    }
    Ok(())
}

enum Drained {
    Bytes(u64),
    Closed,
}

/// Reads what is there. A read that does not fill the buffer has emptied the socket, which saves the call that would say
/// so (epoll(7), on edge-triggered streams).
fn drain(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Drained> {
    let mut total = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => return Ok(Drained::Closed),
            Ok(count) => {
                total += count as u64;
                if count < buffer.len() {
                    return Ok(Drained::Bytes(total));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Drained::Bytes(total)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Drained::Closed),
            Err(error) => return Err(error),
        }
    }
}

/// A client: connected, its handshake answered, and from here on never blocking.
pub(crate) fn connect(address: SocketAddr, greets: bool) -> io::Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Err(io::Error::other("closed during the handshake")),
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    if !answer.starts_with(b"HTTP/1.1 101") {
        return Err(io::Error::other(format!("refused: {}", String::from_utf8_lossy(&answer))));
    }
    if greets {
        stream.write_all(&greeting())?;
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What a client that greets says first.
pub(crate) fn greeting() -> Vec<u8> {
    frame::client_frame(b"a small greeting")
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

fn parse(arguments: &[String]) -> Option<Task> {
    let [address, sockets, expected_bytes, greets] = arguments else { return None };
    Some(Task {
        address: address.parse().ok()?,
        sockets: sockets.parse().ok()?,
        expected_bytes: expected_bytes.parse().ok()?,
        greets: greets == "1",
    })
}
