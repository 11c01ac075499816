//! What a simulation does to the network and the clocks of its hosts. A host is a node of madsim.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::net::TcpStream;
pub use crate::net::fabric::{HostId, Link, Machines};
use crate::net::fabric::{address_of, here, pump, with};

/// A connection, by number; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(crate::net::EndId);

/// How far a host's wall clock is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// By so many microseconds.
    pub offset: i64,
    /// And more by so many microseconds a second.
    pub drift: i64,
}

thread_local! {
    static CLOCKS: RefCell<BTreeMap<HostId, Clock>> = const { RefCell::new(BTreeMap::new()) };
}

/// Begins a network without hosts and connections. Called by the simulation's first task, which outlives all others.
pub fn begin(machines: Machines, link: Link) {
    with(|fabric| {
        fabric.machines = machines;
        fabric.default_link = link;
    });
    // Set by whichever simulation of the process is first; it is the same function.
    let _set = madsim::time::WALL.set(shown);
    drop(crate::spawn(pump()));
}

/// Simulated time since the beginning.
pub fn elapsed() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

/// A host's address.
pub fn address(host: HostId) -> IpAddr {
    address_of(host)
}

/// How things go from one host to another.
pub fn link(from: HostId, to: HostId) -> Link {
    with(|fabric| fabric.link(from, to))
}

/// Has them go otherwise. One direction.
pub fn set_link(from: HostId, to: HostId, link: Link) {
    with(|fabric| fabric.set_link(from, to, link));
}

/// The program of a host was killed: its machine closes what it held open. Its tasks are madsim's to end.
pub fn exit(host: HostId) {
    with(|fabric| fabric.exit(host));
}

/// A host is without power: what it held is gone, and nobody is told. Its tasks are madsim's to end.
pub fn off(host: HostId) {
    with(|fabric| fabric.off(host));
}

/// It has power again.
pub fn on(host: HostId) {
    with(|fabric| fabric.on(host));
}

/// Connections that programs of a host have open.
pub fn connections(host: HostId) -> Vec<ConnectionId> {
    with(|fabric| fabric.connections(host)).into_iter().map(ConnectionId).collect()
}

/// The connection of a stream, while there is one.
pub fn connection(stream: &TcpStream) -> Option<ConnectionId> {
    stream.connection().map(ConnectionId)
}

/// From now on nothing of a connection arrives anywhere, as when an address translation forgot it.
pub fn lose(connection: ConnectionId) {
    with(|fabric| fabric.lose(connection.0));
}

/// Somebody between the two ends resets a connection.
pub fn interrupt(connection: ConnectionId) {
    with(|fabric| fabric.interrupt(connection.0));
}

/// How far a host's wall clock is off from now on.
pub fn set_clock(host: HostId, clock: Clock) {
    CLOCKS.with_borrow_mut(|clocks| clocks.insert(host, clock));
}

/// What the wall clock of the current host shows.
fn shown(time: Duration) -> Duration {
    let clock = CLOCKS.try_with(|clocks| clocks.try_borrow().ok()?.get(&here()).copied());
    let Ok(Some(Clock { offset, drift })) = clock else { return time };
    let run = madsim::time::TimeHandle::try_current().map_or(0, |time| time.elapsed().as_micros());
    let drifted = i64::try_from(run).unwrap_or(i64::MAX).saturating_mul(drift) / 1_000_000;
    let off = offset.saturating_add(drifted);
    let by = Duration::from_micros(off.unsigned_abs());
    if off < 0 { time.saturating_sub(by) } else { time.saturating_add(by) }
}
