//! The compared ways to drive the writes, each over sockets of its own and the same number of the same frames.

use crate::{
    accept, cost,
    drain::{Drain, Task},
    outlet::{
        BesideTungstenite, BesideWebsockets, Outlet, Raw, ThroughTungstenite, ThroughUpgraded, ThroughWebsockets,
    },
    room::Room,
};
use hyper_util::rt::TokioIo;
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};
use tokio_websockets::ServerBuilder;

/// How much to send.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) sockets: usize,
    pub(crate) payload_bytes: usize,
    /// Timed revisions; as many as `WARM_UP_REVISIONS` go before them.
    pub(crate) revisions: u64,
}

/// What one run cost its sending process.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// From the first timed write until the last write was taken.
    pub(crate) cpu: Duration,
    /// From the first timed write until the last byte was received.
    pub(crate) wall: Duration,
    /// Writes that were not taken whole at once.
    pub(crate) blocked: u64,
}

/// Who writes, and through what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Bare,
    Loop,
    TaskBeneath,
    TaskBeneathWokenByRoom,
    TaskBeneathTungsteniteReads,
    TaskBeneathWebsocketsReads,
    TaskThroughTungstenite,
    TaskThroughWebsockets,
    AxumBeneath,
    AxumUpgradedBytes,
    AxumUpgradedTungstenite,
    AxumUpgradedWebsockets,
}

impl Shape {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 12] = [
        Self::Bare,
        Self::Loop,
        Self::TaskBeneath,
        Self::TaskBeneathWokenByRoom,
        Self::TaskBeneathTungsteniteReads,
        Self::TaskBeneathWebsocketsReads,
        Self::TaskThroughTungstenite,
        Self::TaskThroughWebsockets,
        Self::AxumBeneath,
        Self::AxumUpgradedBytes,
        Self::AxumUpgradedTungstenite,
        Self::AxumUpgradedWebsockets,
    ];

    /// The row's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare loop, std sockets",
            Self::Loop => "(b) loop, tasks take the blocked",
            Self::TaskBeneath => "(a) task, beneath",
            Self::TaskBeneathWokenByRoom => "(a) task, beneath, one wake for all",
            Self::TaskBeneathTungsteniteReads => "(a) task, beneath, tungstenite reads",
            Self::TaskBeneathWebsocketsReads => "(a) task, beneath, websockets reads",
            Self::TaskThroughTungstenite => "(a') task, through tungstenite",
            Self::TaskThroughWebsockets => "(a') task, through websockets",
            Self::AxumBeneath => "axum, lowered: task, beneath",
            Self::AxumUpgradedBytes => "axum, Upgraded: task, frame bytes",
            Self::AxumUpgradedTungstenite => "axum, Upgraded: through tungstenite",
            Self::AxumUpgradedWebsockets => "axum, Upgraded: through websockets",
        }
    }
}

const WARM_UP_REVISIONS: u64 = 10;

/// Runs one shape once, on the runtime it is called on.
pub(crate) async fn measure(shape: Shape, plan: Plan) -> io::Result<Sample> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let room = Arc::new(Room::new(plan.payload_bytes));
    let mut drain = Drain::start(Task {
        address: listener.local_addr()?,
        sockets: plan.sockets,
        expected_bytes: (plan.revisions + WARM_UP_REVISIONS) * (plan.sockets * room.frame_bytes()) as u64,
        greets: false,
    })?;
    let count = plan.sockets;
    match shape {
        Shape::Bare => {
            let sockets = accept::plain(listener, count).await?;
            let sockets = sockets.into_iter().map(TcpStream::into_std).collect::<io::Result<Vec<_>>>()?;
            time_bare(&sockets, &room, plan, &mut drain)
        }
        Shape::Loop => time_loop(accept::plain(listener, count).await?, room, plan, &mut drain).await,
        Shape::TaskBeneath => {
            let outlets = accept::plain(listener, count).await?.into_iter().map(Raw).collect();
            time_tasks(outlets, Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::TaskBeneathWokenByRoom => {
            let outlets = accept::plain(listener, count).await?.into_iter().map(Raw).collect();
            time_tasks(outlets, Wakes::PerRoom, room, plan, &mut drain).await
        }
        Shape::TaskBeneathTungsteniteReads => {
            let mut outlets = Vec::with_capacity(count);
            for stream in accept::plain(listener, count).await? {
                let config = Some(accept::small_buffers());
                let socket = WebSocketStream::from_raw_socket(stream, Role::Server, config).await;
                outlets.push(BesideTungstenite(socket));
            }
            time_tasks(outlets, Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::TaskBeneathWebsocketsReads => {
            let streams = accept::plain(listener, count).await?;
            let serve = |stream| BesideWebsockets(ServerBuilder::new().serve(stream));
            time_tasks(streams.into_iter().map(serve).collect(), Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::TaskThroughTungstenite => {
            let mut outlets = Vec::with_capacity(count);
            for stream in accept::plain(listener, count).await? {
                let config = Some(accept::small_buffers());
                let socket = WebSocketStream::from_raw_socket(stream, Role::Server, config).await;
                outlets.push(ThroughTungstenite(socket));
            }
            time_tasks(outlets, Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::TaskThroughWebsockets => {
            let streams = accept::plain(listener, count).await?;
            let serve = |stream| ThroughWebsockets(ServerBuilder::new().serve(stream));
            time_tasks(streams.into_iter().map(serve).collect(), Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::AxumBeneath => {
            let mut outlets = Vec::with_capacity(count);
            for upgraded in accept::upgraded(listener, count).await? {
                outlets.push(Raw(accept::lower(upgraded)?.0));
            }
            time_tasks(outlets, Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::AxumUpgradedBytes => {
            let upgraded = accept::upgraded(listener, count).await?;
            let outlets = upgraded.into_iter().map(|io| ThroughUpgraded(TokioIo::new(io))).collect();
            time_tasks(outlets, Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::AxumUpgradedTungstenite => {
            let mut outlets = Vec::with_capacity(count);
            for upgraded in accept::upgraded(listener, count).await? {
                let config = Some(accept::small_buffers());
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, config).await;
                outlets.push(ThroughTungstenite(socket));
            }
            time_tasks(outlets, Wakes::PerSocket, room, plan, &mut drain).await
        }
        Shape::AxumUpgradedWebsockets => {
            let upgraded = accept::upgraded(listener, count).await?;
            let serve = |io| ThroughWebsockets(ServerBuilder::new().serve(TokioIo::new(io)));
            time_tasks(upgraded.into_iter().map(serve).collect(), Wakes::PerSocket, room, plan, &mut drain).await
        }
    }
}

/// Both clocks, started together.
struct Stopwatch {
    cpu: Duration,
    wall: Duration,
}

impl Stopwatch {
    fn start() -> Self {
        Self { cpu: cost::cpu_time(), wall: cost::wall_time() }
    }

    /// The CPU clock stops here, the wall clock when the drain has everything.
    fn stop(self, room: &Room, drain: &mut Drain) -> io::Result<Sample> {
        let cpu = cost::cpu_time() - self.cpu;
        drain.await_done()?;
        Ok(Sample { cpu, wall: cost::wall_time() - self.wall, blocked: room.blocked() })
    }
}

/// The yardstick: nothing but the system calls. A socket that would block is tried again until it does not.
fn time_bare(sockets: &[std::net::TcpStream], room: &Room, plan: Plan, drain: &mut Drain) -> io::Result<Sample> {
    drain.await_ready()?;
    let publish = |revision| -> io::Result<()> {
        let frame = room.frame(revision);
        for mut socket in sockets {
            let mut written = 0;
            while written < frame.len() {
                match socket.write(&frame[written..]) {
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        room.note_blocked();
                        std::thread::yield_now();
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    };
    (0..WARM_UP_REVISIONS).try_for_each(publish)?;
    let watch = Stopwatch::start();
    (WARM_UP_REVISIONS..WARM_UP_REVISIONS + plan.revisions).try_for_each(publish)?;
    watch.stop(room, drain)
}

/// Whether each task has a bell of its own or the room rings one for all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakes {
    PerSocket,
    PerRoom,
}

/// A task per socket, woken for every revision.
async fn time_tasks<O: Outlet>(
    outlets: Vec<O>,
    wakes: Wakes,
    room: Arc<Room>,
    plan: Plan,
    drain: &mut Drain,
) -> io::Result<Sample> {
    drain.await_ready()?;
    let bell = Arc::new(Notify::new());
    let mut bells = Vec::with_capacity(outlets.len());
    let mut tasks = JoinSet::new();
    for outlet in outlets {
        let wake = if wakes == Wakes::PerSocket { Arc::new(Notify::new()) } else { bell.clone() };
        if wakes == Wakes::PerSocket {
            tasks.spawn(follow(outlet, room.clone(), wake.clone()));
        } else {
            tasks.spawn(follow_bell(outlet, room.clone(), wake.clone()));
        }
        bells.push(wake);
    }
    let mut watch = None;
    for revision in 0..WARM_UP_REVISIONS + plan.revisions {
        if revision == WARM_UP_REVISIONS {
            watch = Some(Stopwatch::start());
        }
        room.publish(bells.len());
        match wakes {
            Wakes::PerSocket => bells.iter().for_each(|wake| wake.notify_one()),
            Wakes::PerRoom => bell.notify_waiters(),
        }
        tokio::select! {
            biased;
            () = room.all_delivered() => {}
            Some(ended) = tasks.join_next() => return Err(why(ended)),
        }
    }
    watch.expect("there is a revision after the warm-up").stop(&room, drain)
}

/// One socket's task: sends up to the head, rests, again.
async fn follow<O: Outlet>(mut outlet: O, room: Arc<Room>, wake: Arc<Notify>) -> io::Result<()> {
    let mut cursor = 0;
    loop {
        while cursor < room.head() {
            outlet.send(&room, cursor).await?;
            cursor += 1;
            room.delivered();
        }
        outlet.rest(&wake).await?;
    }
}

/// The same under a shared bell, which rings only for those that already listen: listen first, then look.
async fn follow_bell<O: Outlet>(mut outlet: O, room: Arc<Room>, bell: Arc<Notify>) -> io::Result<()> {
    let mut cursor = 0;
    loop {
        let rung = bell.notified();
        while cursor < room.head() {
            outlet.send(&room, cursor).await?;
            cursor += 1;
            room.delivered();
        }
        rung.await;
    }
}

/// A socket that the loop and its task take turns in writing to; `taken` says that one of them is.
struct Member {
    stream: TcpStream,
    taken: AtomicBool,
    cursor: AtomicU64,
    /// Bytes of the frame at the cursor that are written already.
    written: AtomicU64,
    wake: Notify,
}

impl Member {
    /// Writes up to the head without waiting: true if it got there. The caller has taken the socket.
    fn advance(&self, room: &Room) -> io::Result<bool> {
        let mut cursor = self.cursor.load(Ordering::Relaxed);
        while cursor < room.head() {
            let frame = room.frame(cursor);
            let written = self.written.load(Ordering::Relaxed);
            let count = match self.stream.try_write(&frame[written as usize..]) {
                Ok(count) => count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if written + count < frame.len() as u64 {
                self.written.store(written + count, Ordering::Relaxed);
                room.note_blocked();
                return Ok(false);
            }
            self.written.store(0, Ordering::Relaxed);
            cursor += 1;
            self.cursor.store(cursor, Ordering::Relaxed);
        }
        Ok(true)
    }

    fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }
}

/// One loop writes to every socket that takes it and leaves those that do not to their tasks.
async fn time_loop(sockets: Vec<TcpStream>, room: Arc<Room>, plan: Plan, drain: &mut Drain) -> io::Result<Sample> {
    drain.await_ready()?;
    let mut members = Vec::with_capacity(sockets.len());
    let mut tasks = JoinSet::new();
    for stream in sockets {
        let member = Arc::new(Member {
            stream,
            taken: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            written: AtomicU64::new(0),
            wake: Notify::new(),
        });
        tasks.spawn(catch_up(member.clone(), room.clone()));
        members.push(member);
    }
    let mut watch = None;
    for revision in 0..WARM_UP_REVISIONS + plan.revisions {
        if revision == WARM_UP_REVISIONS {
            watch = Some(Stopwatch::start());
        }
        room.publish(members.len());
        for member in &members {
            if !member.take() {
                continue;
            }
            if member.advance(&room)? {
                member.taken.store(false, Ordering::SeqCst);
            } else {
                member.wake.notify_one();
            }
        }
        tokio::task::yield_now().await;
    }
    while members.iter().any(|member| member.cursor.load(Ordering::Relaxed) < room.head()) {
        match tasks.try_join_next() {
            Some(ended) => return Err(why(ended)),
            None => tokio::task::yield_now().await,
        }
    }
    watch.expect("there is a revision after the warm-up").stop(&room, drain)
}

/// The task of a member: idle until the loop hands the socket over, and then only until it has caught up.
async fn catch_up(member: Arc<Member>, room: Arc<Room>) -> io::Result<()> {
    loop {
        member.wake.notified().await;
        loop {
            while !member.advance(&room)? {
                member.stream.writable().await?;
            }
            member.taken.store(false, Ordering::SeqCst);
            // The loop may have passed by between the last look at the head and giving the socket back.
            let missed = member.cursor.load(Ordering::Relaxed) < room.head();
            if !(missed && member.take()) {
                break;
            }
        }
    }
}

fn why(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => io::Error::other("a task ended early"),
        Err(error) => io::Error::other(error),
    }
}
