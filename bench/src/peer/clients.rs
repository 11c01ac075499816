//! Clients: a process with one thread that holds every socket, and one more that says everything.
//!
//! Each socket says hello as a member and opens the room. What comes is counted and checked: every revision once, in order.
//! A latency is measured from when something was to be said, not from when it could be (no coordinated omission).

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chamberlain_bench::names;
use chamberlain_core::id::RoomId;
use chamberlain_core::room::Command;
use chamberlain_core::wire::{ClientFrame, Codec, Hello, Open, ServerFrame};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde::{Deserialize, Serialize};

use super::reader::{Reader, Said};
use super::server::submit;

const READ_BYTES: usize = 1 << 20;
const EVENTS: usize = 1_024;
/// How long nothing may happen before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients are to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// The room to open; none at the bare loop, where bytes are only counted.
    pub(crate) room: Option<RoomId>,
    pub(crate) sockets: usize,
    /// Whether several revisions may come in a frame.
    pub(crate) batch: bool,
}

/// What they say first.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ready {}

/// What they are asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Say so many messages, never more than `window` ahead of what all sockets were sent, until all were sent all.
    Pump { messages: u64, window: u64 },
    /// Say so many messages a second, whatever comes back, and time the way of each to each socket.
    Pace { per_second: f64, messages: u64 },
    /// Remove the last member, and wait until all others have the next key.
    Remove { member: usize },
    /// Wait for so many bytes.
    Drain { bytes: u64 },
}

/// What came of saying so many messages.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Pumped {
    /// From the first that was said until the last was everywhere.
    pub(crate) wall_ns: u64,
    /// Revisions, over all sockets.
    pub(crate) deliveries: u64,
    /// Frames, over all sockets.
    pub(crate) frames: u64,
    /// Bytes of these frames.
    pub(crate) bytes: u64,
}

/// Latencies, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) most: f64,
    /// Percentile and latency.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Latencies {
    /// From microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        const AT: [f64; 10] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];
        let ms = |micros: u64| micros as f64 / 1e3;
        Self {
            count: histogram.len(),
            most: ms(histogram.max()),
            curve: AT.map(|at| (at, ms(histogram.value_at_percentile(at)))).into(),
        }
    }

    /// At one of the percentiles of the curve.
    pub(crate) fn at(&self, percentile: f64) -> f64 {
        self.curve.iter().find(|(at, _)| *at >= percentile).map_or(self.most, |(_, latency)| *latency)
    }
}

/// Their life.
pub(super) fn live(plan: Plan) -> Result<()> {
    let mut clients = Clients::connect(&plan)?;
    super::say(&Ok(Ready {}))?;
    while let Some(question) = super::question()? {
        match question {
            Question::Pump { messages, window } => super::say(&Ok(clients.pump(messages, window)?))?,
            Question::Pace { per_second, messages } => super::say(&Ok(clients.pace(per_second, messages)?))?,
            Question::Remove { member } => super::say(&Ok(clients.remove(member)?))?,
            Question::Drain { bytes } => super::say(&Ok(clients.drain(bytes)?))?,
        }
    }
    Ok(())
}

struct Clients {
    room: Option<RoomId>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    /// The owner's comes last, and has nothing open.
    sockets: Vec<Socket>,
    members: usize,
    said: u64,
    to_write: Vec<u8>,
    seen: Seen,
}

/// What was seen on all sockets together.
struct Seen {
    opened: usize,
    welcomed: usize,
    deliveries: u64,
    bytes: u64,
    keys: usize,
    answers: u64,
    last_key: Instant,
    latencies: Option<Latency>,
}

/// Latencies as they are measured.
struct Latency {
    /// When the message at `first` was to be said.
    begun: Instant,
    first: u64,
    per_second: f64,
    histogram: Histogram<u64>,
}

struct Socket {
    stream: TcpStream,
    reader: Reader,
    /// The last revision delivered.
    at: u64,
}

impl Clients {
    fn connect(plan: &Plan) -> Result<Self> {
        let poll = Poll::new()?;
        let seen = Seen {
            opened: 0,
            welcomed: 0,
            deliveries: 0,
            bytes: 0,
            keys: 0,
            answers: 0,
            last_key: Instant::now(),
            latencies: None,
        };
        let mut clients = Self {
            room: plan.room,
            poll,
            events: Events::with_capacity(EVENTS),
            buffer: vec![0; READ_BYTES],
            sockets: Vec::with_capacity(plan.sockets + 1),
            members: plan.sockets,
            said: 0,
            to_write: Vec::new(),
            seen,
        };
        for nth in 0..plan.sockets {
            let open = plan.room.map(|room| Open { room, position: None, from: None, kinds: None, limit: None });
            let hello = Hello { token: names::member(nth).as_str().to_owned(), batch: plan.batch };
            clients.add(plan.address, open.is_some().then_some(hello), open)?;
            clients.turn(Some(Duration::ZERO))?;
        }
        if plan.room.is_some() {
            clients.add(plan.address, Some(Hello { token: names::OWNER.to_owned(), batch: true }), None)?;
            clients.until(|seen| seen.opened == plan.sockets && seen.welcomed == plan.sockets + 1)?;
        }
        Ok(clients)
    }

    /// One more socket. At the bare loop there is no handshake.
    fn add(&mut self, address: SocketAddr, hello: Option<Hello>, open: Option<Open>) -> Result<()> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        if let Some(hello) = hello {
            upgrade(&mut stream, address)?;
            stream.write_all(&masked(&ClientFrame::Hello(hello)))?;
            if let Some(open) = open {
                stream.write_all(&masked(&ClientFrame::Open(open)))?;
            }
        }
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(self.sockets.len()), Interest::READABLE)?;
        self.sockets.push(Socket { stream, reader: Reader::default(), at: 0 });
        Ok(())
    }

    /// Waits for bytes, at most so long, and takes them. Whether any came.
    fn turn(&mut self, within: Option<Duration>) -> Result<bool> {
        self.write()?;
        match self.poll.poll(&mut self.events, within) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            polled => polled?,
        }
        let now = Instant::now();
        let mut came = false;
        for event in &self.events {
            came = true;
            let nth = event.token().0;
            let socket = &mut self.sockets[nth];
            read(socket, self.room.is_some(), &mut self.buffer, &mut self.seen, now)
                .with_context(|| format!("socket {nth}"))?;
        }
        Ok(came)
    }

    fn until(&mut self, done: impl Fn(&Seen) -> bool) -> Result<()> {
        while !done(&self.seen) {
            ensure!(self.turn(Some(PATIENCE))?, "nothing came for {} s", PATIENCE.as_secs());
        }
        Ok(())
    }

    /// Writes what the owner wants to say, as far as the socket takes it.
    fn write(&mut self) -> Result<()> {
        while !self.to_write.is_empty() {
            let owner = self.sockets.last_mut().context("there is an owner")?;
            match owner.stream.write(&self.to_write) {
                Ok(count) => drop(self.to_write.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn command(&mut self, id: u64, command: Command) {
        self.to_write.extend(masked(&ClientFrame::Command { id: names::request(id), command }));
    }

    /// Says one message more.
    fn say(&mut self) -> Result<()> {
        let room = self.room.context("nothing can be said at the bare loop")?;
        self.command(self.said, submit(room, self.said));
        self.said += 1;
        Ok(())
    }

    fn counted(&self) -> (u64, u64) {
        self.sockets.iter().fold((0, 0), |(frames, bytes), s| (frames + s.reader.frames, bytes + s.reader.bytes))
    }

    fn pump(&mut self, messages: u64, window: u64) -> Result<Pumped> {
        let sockets = self.members as u64;
        let (frames, bytes) = self.counted();
        let (before, said) = (self.seen.deliveries, self.said);
        let begun = Instant::now();
        while self.seen.deliveries - before < messages * sockets {
            let everywhere = (self.seen.deliveries - before) / sockets;
            while self.said - said < messages.min(everywhere + window) {
                self.say()?;
            }
            // What does not fit into the socket is tried again soon.
            let within = if self.to_write.is_empty() { PATIENCE } else { Duration::from_millis(1) };
            let came = self.turn(Some(within))?;
            ensure!(came || within < PATIENCE, "nothing came for {} s", PATIENCE.as_secs());
        }
        let wall_ns = u64::try_from(begun.elapsed().as_nanos())?;
        let (frames_now, bytes_now) = self.counted();
        let deliveries = self.seen.deliveries - before;
        Ok(Pumped { wall_ns, deliveries, frames: frames_now - frames, bytes: bytes_now - bytes })
    }

    fn pace(&mut self, per_second: f64, messages: u64) -> Result<Latencies> {
        let first = self.sockets.first().context("there are sockets")?.at + 1;
        let target = self.seen.deliveries + messages * self.members as u64;
        let (begun, said) = (Instant::now(), self.said);
        let histogram = Histogram::new_with_max(PATIENCE.as_micros() as u64, 3)?;
        self.seen.latencies = Some(Latency { begun, first, per_second, histogram });
        let mut last = Instant::now();
        while self.seen.deliveries < target {
            let due = |nth: u64| begun + Duration::from_secs_f64(nth as f64 / per_second);
            while self.said - said < messages && due(self.said - said) <= Instant::now() {
                self.say()?;
            }
            let next = if self.said - said < messages { due(self.said - said) } else { Instant::now() + PATIENCE };
            if self.turn(Some(next.saturating_duration_since(Instant::now())))? {
                last = Instant::now();
            }
            ensure!(last.elapsed() < PATIENCE, "nothing came for {} s", PATIENCE.as_secs());
        }
        let measured = self.seen.latencies.take().context("latencies were being measured")?;
        Ok(Latencies::of(&measured.histogram))
    }

    /// Milliseconds until the last of the others has the next key.
    fn remove(&mut self, member: usize) -> Result<f64> {
        let room = self.room.context("nobody can be removed at the bare loop")?;
        let keys = self.seen.keys;
        let begun = Instant::now();
        self.command(u64::MAX / 4 + member as u64, Command::Remove { room, accounts: vec![names::member(member)] });
        let survivors = self.members;
        self.until(|seen| seen.keys - keys >= survivors)?;
        Ok((self.seen.last_key - begun).as_secs_f64() * 1e3)
    }

    fn drain(&mut self, bytes: u64) -> Result<u64> {
        self.until(|seen| seen.bytes >= bytes)?;
        Ok(std::mem::take(&mut self.seen.bytes))
    }
}

/// Reads what is there. A read that does not fill the buffer has emptied the socket (epoll(7), on edge-triggered streams).
fn read(socket: &mut Socket, frames: bool, buffer: &mut [u8], seen: &mut Seen, now: Instant) -> Result<()> {
    loop {
        let count = match socket.stream.read(buffer) {
            Ok(0) => bail!("the server closed it"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        seen.bytes += count as u64;
        if frames {
            let at = &mut socket.at;
            socket.reader.take(&buffer[..count], &mut |said| note(said, at, seen, now))?;
        }
        if count < buffer.len() {
            return Ok(());
        }
    }
}

/// Notes what was said on a socket that was delivered everything up to `at`.
fn note(said: Said, at: &mut u64, seen: &mut Seen, now: Instant) -> Result<()> {
    match said {
        Said::Delivered { from, to } => {
            ensure!(from == *at + 1, "{from} was delivered after {at}");
            *at = to;
            seen.deliveries += to - from + 1;
            if let Some(latency) = &mut seen.latencies {
                latency.note(from.max(latency.first), to, now)?;
            }
        }
        Said::Frame(frame) => match *frame {
            ServerFrame::Welcome(_) => seen.welcomed += 1,
            ServerFrame::Opened { after, .. } => {
                *at = after.0;
                seen.opened += 1;
            }
            ServerFrame::Key { .. } => {
                seen.keys += 1;
                seen.last_key = now;
            }
            ServerFrame::Ok { .. } => seen.answers += 1,
            ServerFrame::Account { .. } => {}
            other => bail!("it said {other:?}"),
        },
    }
    Ok(())
}

impl Latency {
    fn note(&mut self, from: u64, to: u64, now: Instant) -> Result<()> {
        for revision in from..=to {
            let due = self.begun + Duration::from_secs_f64((revision - self.first) as f64 / self.per_second);
            self.histogram.record(now.saturating_duration_since(due).as_micros() as u64)?;
        }
        Ok(())
    }
}

/// The handshake of a WebSocket client.
fn upgrade(stream: &mut std::net::TcpStream, address: SocketAddr) -> Result<()> {
    let protocol = Codec::Bincode.subprotocol();
    write!(
        stream,
        "GET /v1/socket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    let mut piece = [0; 1];
    // One byte at a time: what follows the handshake is not ours to take.
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut piece)? == 1, "closed during the handshake");
        answer.extend(piece);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// A frame from a client. The mask is zero, so that the payload stands as it is.
fn masked(frame: &ClientFrame) -> Vec<u8> {
    let payload = Codec::Bincode.encode(frame);
    let mut bytes = vec![0x82];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(medium).expect("small frames are sent").to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}
