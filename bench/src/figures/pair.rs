//! A server and its clients, or a bare loop and its own, and what passes between them.

use anyhow::Result;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::Run;
use crate::peer::clients::{self, Latencies, Pumped};
use crate::peer::{Cost, Peer, bare, server};

/// Which server, and how many clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Sockets that have the room open.
    pub(super) sockets: usize,
    /// Members of the room, at least as many as there are sockets.
    pub(super) members: usize,
    /// Whether several revisions may come in a frame.
    pub(super) batch: bool,
    /// Threads of the server's runtime; 0 is one thread that does everything.
    pub(super) workers: usize,
    /// Whether the log is on disk.
    pub(super) disk: bool,
}

impl Shape {
    /// A room of those who are connected, on disk, served by as many threads as there are cores.
    pub(super) fn new(sockets: usize) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { sockets, members: sockets, batch: false, workers, disk: true }
    }
}

/// A server and its clients.
pub(super) struct Pair {
    shape: Shape,
    server: Peer,
    clients: Peer,
    _folder: Option<TempDir>,
}

/// What a pump cost the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pumping {
    pub(super) pumped: Pumped,
    pub(super) cpu_seconds: f64,
}

impl Pumping {
    /// Deliveries for each second of the server's CPU time.
    pub(super) fn per_core(&self) -> f64 {
        self.pumped.deliveries as f64 / self.cpu_seconds
    }

    /// Deliveries for each second of wall time, clients on the same cores.
    pub(super) fn per_second(&self) -> f64 {
        self.pumped.deliveries as f64 * 1e9 / self.pumped.wall_ns as f64
    }
}

impl Pair {
    /// Starts both; every socket has the room open and the key when it returns.
    pub(super) fn start(run: &Run, shape: Shape) -> Result<Self> {
        let (server, ready, folder) = start_server(run, shape)?;
        Self::join(run, shape, server, ready, folder)
    }

    /// Clients for a server that is there.
    pub(super) fn join(
        run: &Run,
        shape: Shape,
        server: Peer,
        ready: server::Ready,
        folder: Option<TempDir>,
    ) -> Result<Self> {
        run.say(format!("connecting {} sockets", shape.sockets));
        let Shape { sockets, batch, .. } = shape;
        let plan = clients::Plan { address: ready.address, room: Some(ready.room), sockets, batch };
        let (clients, _): (_, clients::Ready) = Peer::start("clients", &plan)?;
        Ok(Self { shape, server, clients, _folder: folder })
    }

    /// Has so many messages said and delivered.
    pub(super) fn pump(&mut self, messages: u64, window: u64) -> Result<Pumping> {
        let before = self.cost()?;
        let pumped: Pumped = self.ask(&clients::Question::Pump { messages, window })?;
        let cpu_ns = self.cost()?.cpu_ns - before.cpu_ns;
        Ok(Pumping { pumped, cpu_seconds: cpu_ns as f64 / 1e9 })
    }

    /// Has messages said at a steady rate.
    pub(super) fn pace(&mut self, per_second: f64, messages: u64) -> Result<Latencies> {
        self.ask(&clients::Question::Pace { per_second, messages })
    }

    /// Removes a member; milliseconds until the last of the others has the next key.
    pub(super) fn remove(&mut self, member: usize) -> Result<f64> {
        self.ask(&clients::Question::Remove { member })
    }

    /// Has the server's owner say so many messages while no client reads.
    pub(super) fn say_to_nobody(&mut self, messages: u64) -> Result<Cost> {
        self.server.ask(&server::Question::Say(messages))
    }

    /// What the server has cost so far.
    pub(super) fn cost(&mut self) -> Result<Cost> {
        self.server.ask(&server::Question::Cost)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &clients::Question) -> Result<T> {
        self.clients.ask(question)
    }
}

/// A server with its room, and the folder it keeps it in.
pub(super) fn start_server(run: &Run, shape: Shape) -> Result<(Peer, server::Ready, Option<TempDir>)> {
    run.say(format!("growing a room of {} members", shape.members));
    let folder = if shape.disk { Some(run.folder()?) } else { None };
    let path = folder.as_ref().map(|folder| folder.path().to_owned());
    let plan = server::Plan { folder: path, members: shape.members, workers: shape.workers };
    let (server, ready) = Peer::start("server", &plan)?;
    Ok((server, ready, folder))
}

/// A bare loop and its clients.
pub(super) struct Bare {
    writer: Peer,
    clients: Peer,
    sockets: usize,
    cost: Cost,
}

impl Bare {
    pub(super) fn start(sockets: usize) -> Result<Self> {
        let (mut writer, ready): (_, bare::Ready) = Peer::start("bare", &bare::Plan { sockets })?;
        writer.tell(&bare::Question::Accept)?;
        let plan = clients::Plan { address: ready.address, room: None, sockets, batch: false };
        let (clients, _): (_, clients::Ready) = Peer::start("clients", &plan)?;
        let cost = writer.answer()?;
        Ok(Self { writer, clients, sockets, cost })
    }

    /// Writes so many frames to each socket, one after the other. Frames for each second of CPU time.
    pub(super) fn per_core(&mut self, frames: u64, bytes: usize) -> Result<f64> {
        let before = self.cost;
        self.write(frames, bytes)?;
        Ok(self.rate(before, frames))
    }

    /// The same, but each frame is written when all sockets have read the one before: the kernel wakes readers for each.
    pub(super) fn per_core_one_at_a_time(&mut self, frames: u64, bytes: usize) -> Result<f64> {
        let before = self.cost;
        (0..frames).try_for_each(|_| self.write(1, bytes))?;
        Ok(self.rate(before, frames))
    }

    fn write(&mut self, frames: u64, bytes: usize) -> Result<()> {
        let all = frames * self.sockets as u64 * bytes as u64;
        self.clients.tell(&clients::Question::Drain { bytes: all })?;
        self.cost = self.writer.ask(&bare::Question::Write { frames, bytes })?;
        self.clients.answer::<u64>()?;
        Ok(())
    }

    fn rate(&self, before: Cost, frames: u64) -> f64 {
        (frames * self.sockets as u64) as f64 * 1e9 / (self.cost.cpu_ns - before.cpu_ns) as f64
    }
}
