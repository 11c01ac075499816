//! The network of a simulation: hosts, links between them, and what is on its way.
//!
//! One for each thread, since a simulation is one thread; streams hold nothing but the number of their end. Everything that
//! takes time goes through one queue, which a task works off ([`pump`]).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use madsim::rand::Rng;
use madsim::time::TimeHandle;

use super::end::{End, EndId, Phase, Segment};

/// A machine: the number of madsim's node.
pub type HostId = u64;

/// How things go from one host to another. One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// How long a packet takes, in microseconds.
    pub latency: u64,
    /// How much longer it may take, in microseconds.
    pub jitter: u64,
    /// Bytes a second; 0 is without bound.
    pub bandwidth: u64,
    /// So many of a thousand packets are lost.
    pub loss: u32,
    /// Whether every packet is.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self { latency: 300, jitter: 200, bandwidth: 0, loss: 0, cut: false }
    }
}

/// What the machines are like.
#[derive(Debug, Clone, Copy)]
pub struct Machines {
    /// Bytes that an end takes from its program before the other end has them.
    pub send_buffer: usize,
    /// Bytes that an end holds for its reader: the window.
    pub receive_buffer: usize,
    /// Bytes of a segment.
    pub segment: usize,
    /// So many of a hundred writes are taken in part although there is room.
    pub partial: u32,
    /// Seconds without a sign of life after which a connection that waits for one fails.
    pub give_up: u64,
}

impl Default for Machines {
    fn default() -> Self {
        Self { send_buffer: 64 * 1024, receive_buffer: 64 * 1024, segment: 16 * 1024, partial: 0, give_up: 120 }
    }
}

/// First wait for a sign of life, and the longest, in nanoseconds.
const WAIT: (u64, u64) = (300_000_000, 10_000_000_000);
/// How long the machine goes on with a connection that no program holds, in nanoseconds.
const LINGER: u64 = 60_000_000_000;
/// How often a connection is asked for before it is given up.
const ASKS: u32 = 6;
/// Ports that are given out.
const PORTS: u16 = 49_152;

pub(crate) struct Listener {
    pub(crate) id: u64,
    pub(crate) queue: VecDeque<EndId>,
    pub(crate) backlog: usize,
    pub(crate) waker: Option<Waker>,
}

#[derive(Default)]
struct Host {
    off: bool,
    next_port: u16,
}

/// What is on its way.
enum Packet {
    Ask { source: SocketAddr, target: SocketAddr },
    Welcome,
    Data(Segment),
    Acknowledge { upto: u64, limit: u64 },
    Reset,
}

enum Happening {
    Packet { from: (HostId, EndId), to: (HostId, Option<EndId>), connection: EndId, packet: Packet },
    Timer { end: EndId, generation: u64 },
    Forget { end: EndId },
}

/// The network.
#[derive(Default)]
pub(crate) struct Fabric {
    pub(crate) machines: Machines,
    hosts: BTreeMap<HostId, Host>,
    links: BTreeMap<(HostId, HostId), Link>,
    /// Until when each link is busy with what was sent before.
    busy: BTreeMap<(HostId, HostId), u64>,
    pub(crate) default_link: Link,
    pub(crate) ends: BTreeMap<EndId, End>,
    pub(crate) listeners: BTreeMap<(HostId, u16), Listener>,
    /// Connections whose packets go nowhere.
    lost: BTreeSet<EndId>,
    queue: BTreeMap<(u64, u64), Happening>,
    next_id: u64,
    next_happening: u64,
    /// Until when the pump sleeps, and who wakes it.
    pump: Option<(u64, Waker)>,
    /// Who is to be woken once the fabric is let go of.
    wakers: Vec<Waker>,
}

thread_local! {
    static FABRIC: RefCell<Fabric> = RefCell::default();
}

/// Does something with the network, and wakes whom it concerns.
pub(crate) fn with<T>(act: impl FnOnce(&mut Fabric) -> T) -> T {
    let (value, wakers) = FABRIC.with(|fabric| {
        let mut fabric = fabric.borrow_mut();
        let value = act(&mut fabric);
        (value, std::mem::take(&mut fabric.wakers))
    });
    wakers.into_iter().for_each(Waker::wake);
    value
}

/// As [`with`]; nothing when the thread is ending, or in the middle of something.
pub(crate) fn try_with(act: impl FnOnce(&mut Fabric)) {
    let wakers = FABRIC.try_with(|fabric| {
        let Ok(mut fabric) = fabric.try_borrow_mut() else { return Vec::new() };
        act(&mut fabric);
        std::mem::take(&mut fabric.wakers)
    });
    wakers.unwrap_or_default().into_iter().for_each(Waker::wake);
}

/// Nanoseconds since the simulation began; 0 without one.
fn now() -> u64 {
    TimeHandle::try_current().map_or(0, |time| u64::try_from(time.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn chance(of_thousand: u32) -> bool {
    of_thousand > 0 && madsim::rand::thread_rng().gen_range(0..1_000) < of_thousand
}

/// The address of a host.
pub(crate) fn address_of(host: HostId) -> IpAddr {
    let [.., high, low] = host.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

/// The host that an address belongs to, as seen from one.
fn host_of(address: IpAddr, from: HostId) -> Option<HostId> {
    match address {
        IpAddr::V4(v4) if v4.octets()[..2] == [10, 0] => {
            Some(u64::from(u16::from_be_bytes([v4.octets()[2], v4.octets()[3]])))
        }
        address if address.is_loopback() || address.is_unspecified() => Some(from),
        _ => None,
    }
}

/// The host of the current task.
pub(crate) fn here() -> HostId {
    madsim::plugin::try_node().and_then(|node| node.to_string().parse().ok()).unwrap_or(0)
}

/// Works off what is on its way, for as long as the simulation lasts.
pub(crate) async fn pump() {
    let far = || Instant::now() + Duration::from_secs(86_400);
    let mut sleep = pin!(crate::time::sleep_until(far()));
    poll_fn(|cx| {
        loop {
            let next = with(|fabric| {
                let next = fabric.work_off();
                fabric.pump = Some((next.unwrap_or(u64::MAX), cx.waker().clone()));
                next
            });
            let until = next.map_or_else(far, |at| Instant::now() + Duration::from_nanos(at.saturating_sub(now())));
            sleep.as_mut().reset(until);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::<()>::Pending;
            }
        }
    })
    .await;
}

impl Fabric {
    fn host(&mut self, host: HostId) -> &mut Host {
        self.hosts.entry(host).or_default()
    }

    pub(crate) fn link(&self, from: HostId, to: HostId) -> Link {
        if from == to {
            return Link { latency: 30, jitter: 20, ..Link::default() };
        }
        self.links.get(&(from, to)).copied().unwrap_or(self.default_link)
    }

    pub(crate) fn set_link(&mut self, from: HostId, to: HostId, link: Link) {
        self.links.insert((from, to), link);
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.next_happening += 1;
        self.queue.insert((at, self.next_happening), happening);
        if let Some((_, waker)) = self.pump.take_if(|(until, _)| at < *until) {
            self.wakers.push(waker);
        }
    }

    /// Does everything that is due; when the next thing is.
    fn work_off(&mut self) -> Option<u64> {
        let now = now();
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > now {
                return Some(first.key().0);
            }
            match first.remove() {
                Happening::Packet { from, to, connection, packet } => self.deliver(from, to, connection, packet),
                Happening::Timer { end, generation } => self.timer(end, generation),
                Happening::Forget { end } => {
                    if self.ends.get(&end).is_some_and(|end| !end.owned) {
                        self.ends.remove(&end);
                    }
                }
            }
        }
        None
    }

    /// Puts a packet on its way; when it would arrive, lost or not.
    fn send(&mut self, from: EndId, to: (HostId, Option<EndId>), packet: Packet) -> u64 {
        let now = now();
        let Some(end) = self.ends.get(&from) else { return now };
        let (host, connection, last) = (end.host, end.connection, end.last_arrival);
        let link = self.link(host, to.0);
        let mut leaves = now;
        if let (Packet::Data(segment), 1..) = (&packet, link.bandwidth) {
            let busy = self.busy.entry((host, to.0)).or_default();
            let size = segment.bytes.len() as u64 + 40;
            *busy = (*busy).max(now) + size * 1_000_000_000 / link.bandwidth;
            leaves = *busy;
        }
        let jitter = if link.jitter > 0 { madsim::rand::thread_rng().gen_range(0..=link.jitter) } else { 0 };
        let arrives = last.max(leaves + (link.latency + jitter) * 1_000);
        if let Some(end) = self.ends.get_mut(&from) {
            end.last_arrival = arrives;
        }
        if !link.cut && !self.lost.contains(&connection) && !chance(link.loss) {
            self.at(arrives, Happening::Packet { from: (host, from), to, connection, packet });
        }
        arrives
    }

    /// A packet of the machine itself, about a connection that it does not know.
    fn refuse(&mut self, from: HostId, to: (HostId, EndId), connection: EndId) {
        let link = self.link(from, to.0);
        if !link.cut {
            let arrives = now() + (link.latency + link.jitter) * 1_000;
            let to = (to.0, Some(to.1));
            self.at(arrives, Happening::Packet { from: (from, connection), to, connection, packet: Packet::Reset });
        }
    }

    fn deliver(&mut self, from: (HostId, EndId), to: (HostId, Option<EndId>), connection: EndId, packet: Packet) {
        // A cut link loses what is on its way, and a machine that is off loses everything.
        if self.host(to.0).off || self.link(from.0, to.0).cut || self.lost.contains(&connection) {
            return;
        }
        match (packet, to.1) {
            (Packet::Ask { source, target }, _) => self.asked(from, to.0, source, target),
            (packet, Some(id)) => match self.ends.get(&id) {
                Some(end) if !matches!(end.phase, Phase::Failed(_)) => self.take(id, from, packet),
                _ if matches!(packet, Packet::Reset) => {}
                _ => self.refuse(to.0, from, connection),
            },
            (_, None) => {}
        }
    }

    /// Somebody wants to connect.
    fn asked(&mut self, from: (HostId, EndId), host: HostId, source: SocketAddr, target: SocketAddr) {
        let accepted = self.ends.iter().find(|(_, end)| end.peer == Some(from.1)).map(|(id, _)| *id);
        if let Some(id) = accepted {
            self.send(id, (from.0, Some(from.1)), Packet::Welcome);
            return;
        }
        let Some(listener) = self.listeners.get_mut(&(host, target.port())) else {
            return self.refuse(host, from, from.1);
        };
        // A full queue loses who asks; he asks again.
        if listener.queue.len() >= listener.backlog {
            return;
        }
        self.next_id += 1;
        let id = EndId(self.next_id);
        listener.queue.push_back(id);
        self.wakers.extend(listener.waker.take());
        let sizes = (self.machines.send_buffer, self.machines.receive_buffer);
        let mut end = End::new(host, (target, source), from.1, sizes, now());
        end.peer = Some(from.1);
        end.phase = Phase::Open;
        self.ends.insert(id, end);
        self.send(id, (from.0, Some(from.1)), Packet::Welcome);
    }

    fn take(&mut self, id: EndId, from: (HostId, EndId), packet: Packet) {
        let now = now();
        let Some(end) = self.ends.get_mut(&id) else { return };
        // Whatever comes first says that the other end is there.
        if matches!(end.phase, Phase::Connecting(_)) && !matches!(packet, Packet::Reset) {
            end.peer = Some(from.1);
            end.phase = Phase::Open;
            (end.progress, end.backoff) = (now, 0);
            self.wakers.extend(end.out.waker.take());
        }
        match packet {
            Packet::Ask { .. } => {}
            Packet::Welcome => self.transmit(id),
            // The other end has said and heard everything, and is gone: only its word that it had our last one was lost.
            Packet::Reset if end.out.finishing && end.out.bytes.is_empty() && end.into.ended => {
                (end.out.finished, end.out.acked) = (true, end.out.next);
                self.reap(id);
            }
            Packet::Reset => {
                let kind = match end.phase {
                    Phase::Connecting(_) => ErrorKind::ConnectionRefused,
                    _ => ErrorKind::ConnectionReset,
                };
                self.fail(id, kind);
            }
            Packet::Data(segment) => {
                if !end.owned && segment.at + segment.bytes.len() as u64 > end.into.next {
                    // It is new, and nobody will ever read it.
                    self.reset(id);
                    return;
                }
                let woken = end.came(&segment);
                self.wakers.extend(woken);
                self.acknowledge(id);
                self.reap(id);
            }
            Packet::Acknowledge { upto, limit } => {
                let woken = end.acknowledged(upto, limit, now);
                self.wakers.extend(woken);
                self.transmit(id);
                self.reap(id);
            }
        }
    }

    /// Tells the other end what has come.
    pub(crate) fn acknowledge(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        let (upto, limit) = end.acknowledge();
        if let Some(to) = self.peer(id) {
            self.send(id, to, Packet::Acknowledge { upto, limit });
        }
    }

    /// Where the other end is.
    fn peer(&self, id: EndId) -> Option<(HostId, Option<EndId>)> {
        let end = self.ends.get(&id)?;
        Some((host_of(end.remote.ip(), end.host)?, end.peer))
    }

    /// Sends what may be sent, and sets the timer.
    pub(crate) fn transmit(&mut self, id: EndId) {
        let most = self.machines.segment;
        let mut expected = now();
        while let Some(segment) = self.ends.get_mut(&id).and_then(|end| end.next_segment(most)) {
            let Some(to) = self.peer(id) else { return };
            expected = expected.max(self.send(id, to, Packet::Data(segment)));
        }
        // A timer that runs already for what is not acknowledged goes on: a program that keeps writing would put it off for ever.
        let runs = self.ends.get(&id).is_some_and(|end| end.timed == Some(end.stands()) && end.waits());
        if !runs {
            self.arm(id, expected);
        }
    }

    fn arm(&mut self, id: EndId, expected: u64) {
        let Some((to, _)) = self.peer(id) else { return };
        let Some(end) = self.ends.get_mut(&id) else { return };
        end.timer += 1;
        end.timed = end.waits().then(|| end.stands());
        if end.timed.is_none() {
            end.progress = now();
            return;
        }
        let (generation, wait) = (end.timer, (WAIT.0 << end.backoff.min(10)).min(WAIT.1));
        let expected = expected.max(end.last_arrival);
        let host = end.host;
        let back = self.link(to, host);
        let at = expected + (back.latency + back.jitter) * 1_000 + wait;
        self.at(at, Happening::Timer { end: id, generation });
    }

    fn timer(&mut self, id: EndId, generation: u64) {
        let give_up = self.machines.give_up * 1_000_000_000;
        let now = now();
        let Some(end) = self.ends.get_mut(&id).filter(|end| end.timer == generation) else { return };
        end.backoff += 1;
        end.timed = None;
        match end.phase {
            Phase::Failed(_) => {}
            Phase::Connecting(asks) if asks + 1 >= ASKS => self.fail(id, ErrorKind::TimedOut),
            Phase::Connecting(asks) => {
                end.phase = Phase::Connecting(asks + 1);
                self.ask(id);
            }
            Phase::Open if now.saturating_sub(end.progress) > give_up => self.fail(id, ErrorKind::TimedOut),
            Phase::Open => {
                end.out.next = end.out.acked;
                let shut = end.out.limit <= end.out.acked && !end.out.bytes.is_empty();
                if let (true, Some(to)) = (shut, self.peer(id)) {
                    // Nothing in it: its answer says whether there is room by now.
                    let at = self.ends[&id].out.acked;
                    self.send(id, to, Packet::Data(Segment { at, bytes: Vec::new(), end: false }));
                    self.arm(id, now);
                } else {
                    self.transmit(id);
                }
            }
        }
    }

    /// Begins a connection.
    pub(crate) fn connect(&mut self, local: Option<SocketAddr>, remote: SocketAddr) -> Option<EndId> {
        let host = here();
        host_of(remote.ip(), host)?;
        self.next_id += 1;
        let id = EndId(self.next_id);
        let address = if remote.ip().is_loopback() { remote.ip() } else { address_of(host) };
        let local = match local {
            Some(local) if local.port() != 0 => SocketAddr::new(address, local.port()),
            _ => SocketAddr::new(address, self.free_port(host)),
        };
        let sizes = (self.machines.send_buffer, self.machines.receive_buffer);
        self.ends.insert(id, End::new(host, (local, remote), id, sizes, now()));
        self.ask(id);
        Some(id)
    }

    fn ask(&mut self, id: EndId) {
        let Some((to, _)) = self.peer(id) else { return };
        let (source, target) = (self.ends[&id].local, self.ends[&id].remote);
        self.send(id, (to, None), Packet::Ask { source, target });
        self.arm(id, now());
    }

    /// Listens at a port, or at a free one.
    pub(crate) fn listen(&mut self, host: HostId, port: u16, backlog: usize) -> Option<(u64, u16)> {
        let port = if port == 0 { self.free_port(host) } else { port };
        if self.listeners.contains_key(&(host, port)) {
            return None;
        }
        self.next_id += 1;
        let listener = Listener { id: self.next_id, queue: VecDeque::new(), backlog, waker: None };
        self.listeners.insert((host, port), listener);
        Some((self.next_id, port))
    }

    fn free_port(&mut self, host: HostId) -> u16 {
        loop {
            let taken = self.host(host);
            taken.next_port = taken.next_port.wrapping_add(1).max(PORTS);
            let port = taken.next_port;
            if !self.listeners.contains_key(&(host, port)) {
                return port;
            }
        }
    }

    /// The program lets go of an end: it is closed, or reset when something was left unread in it.
    pub(crate) fn let_go(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if !end.owned {
            return;
        }
        end.owned = false;
        match end.phase {
            Phase::Open if end.abrupt || !end.into.bytes.is_empty() => self.reset(id),
            Phase::Open => {
                end.out.finishing = true;
                self.transmit(id);
                self.at(now() + LINGER, Happening::Forget { end: id });
                self.reap(id);
            }
            // Whoever is asked meanwhile is told that nobody is there.
            Phase::Connecting(_) | Phase::Failed(_) => drop(self.ends.remove(&id)),
        }
    }

    /// Forgets an end that has nothing left to do.
    fn reap(&mut self, id: EndId) {
        if self.ends.get(&id).is_some_and(|end| !end.owned && end.out.finished && end.into.ended) {
            self.ends.remove(&id);
        }
    }

    /// Ends it at once, and says so to the other end.
    pub(crate) fn reset(&mut self, id: EndId) {
        if let Some(to) = self.peer(id) {
            self.send(id, to, Packet::Reset);
        }
        self.fail(id, ErrorKind::ConnectionReset);
    }

    pub(crate) fn fail(&mut self, id: EndId, kind: ErrorKind) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        let wakers = end.fail(kind);
        if !end.owned {
            self.ends.remove(&id);
        }
        self.wakers.extend(wakers.into_iter().flatten());
    }

    /// The program of a host is gone, and its machine cleans up after it.
    pub(crate) fn exit(&mut self, host: HostId) {
        self.stop_listening(host);
        let ends: Vec<EndId> = self.ends_of(host);
        for id in ends {
            self.let_go(id);
        }
    }

    /// A host is off: what it held is gone, and nobody is told.
    pub(crate) fn off(&mut self, host: HostId) {
        self.stop_listening(host);
        for id in self.ends_of(host) {
            self.ends.remove(&id);
        }
        self.host(host).off = true;
    }

    pub(crate) fn on(&mut self, host: HostId) {
        self.host(host).off = false;
    }

    fn stop_listening(&mut self, host: HostId) {
        let ports: Vec<u16> = self.listeners.keys().filter(|(of, _)| *of == host).map(|(_, port)| *port).collect();
        for port in ports {
            self.close_listener((host, port));
        }
    }

    /// Nobody listens any more; who was not accepted yet is reset.
    pub(crate) fn close_listener(&mut self, at: (HostId, u16)) {
        if let Some(listener) = self.listeners.remove(&at) {
            for id in listener.queue {
                self.reset(id);
                self.ends.remove(&id);
            }
        }
    }

    fn ends_of(&self, host: HostId) -> Vec<EndId> {
        self.ends.iter().filter(|(_, end)| end.host == host).map(|(id, _)| *id).collect()
    }

    /// Connections that a host has open.
    pub(crate) fn connections(&self, host: HostId) -> Vec<EndId> {
        let open = self.ends.values().filter(|end| end.host == host && end.owned && end.phase == Phase::Open);
        open.map(|end| end.connection).collect()
    }

    /// From now on its packets go nowhere.
    pub(crate) fn lose(&mut self, connection: EndId) {
        self.lost.insert(connection);
    }

    /// Both ends are told that it was reset, by somebody between them.
    pub(crate) fn interrupt(&mut self, connection: EndId) {
        let ends: Vec<EndId> =
            self.ends.iter().filter(|(_, end)| end.connection == connection).map(|(id, _)| *id).collect();
        for id in ends {
            self.fail(id, ErrorKind::ConnectionReset);
        }
    }
}
