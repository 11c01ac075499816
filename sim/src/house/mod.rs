//! The model level: nodes, stores, a bus, connections and clients in one event loop, without a runtime.
//!
//! What decides anything is the core, unchanged; what is here drives it as `net` does: rooms loaded when somebody needs them,
//! account logs and effects by durable cursors, one socket machine per connection. Stores keep their promises, each operation
//! at one moment; what goes wrong is drawn from the tape. Everything that happens is in one queue, ordered by time and number,
//! so that a run is a pure function of its tape. What others are to see of it goes into the story, and nothing else.

mod account;
mod act;
mod acts;
mod bus;
mod calls;
mod client;
mod commands;
mod effects;
mod ending;
mod faults;
mod knobs;
mod link;
mod losses;
mod node;
mod opening;
mod probes;
mod queries;
mod room;
pub(crate) mod scenes;
pub mod scripts;
mod session;
mod stores;
mod view;
mod words;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use chamberlain_core::id::RoomId;
use chamberlain_core::retry::Failure;
use chamberlain_core::room::Refused;
use chamberlain_core::time::Instant;

use crate::story::{LinkId, Story};
use crate::tape::{Actor, Tape};
use client::Client;
pub(crate) use faults::Kind;
pub(crate) use knobs::{Knobs, Rates};
use link::Link;
use node::Node;
pub use probes::PROBES;
use stores::{Answer, Op, Stores};

/// What goes on with the house when something came back.
type Then<T> = Box<dyn FnOnce(&mut House, T)>;
/// What a store said.
type Told = Result<Answer, Failure>;
/// The answer to a command.
type Reply = Then<Result<chamberlain_core::room::Outcome, Refused>>;

/// More happenings than any run needs: beyond it, something runs in a circle.
const MOST_EVENTS: u64 = 3_000_000;
/// The tape's actor for what is nobody's own.
const WORLD: Actor = Actor::only("world");

/// Everything there is.
pub(crate) struct House {
    pub(crate) now: u64,
    pub(crate) events: u64,
    pub(crate) tape: Tape,
    pub(crate) story: Story,
    pub(crate) knobs: Knobs,
    queue: BinaryHeap<Due>,
    count: u64,
    stores: Stores,
    nodes: Vec<Node>,
    links: BTreeMap<LinkId, Link>,
    clients: Vec<Client>,
    /// Channels that were begun so far.
    channels: u32,
    /// Of everything random that is no decision: seeds of sequencers, request ids of servers.
    seed: u64,
    fresh: u64,
    healed: bool,
}

/// Something that will happen.
enum Event {
    /// A store does something.
    Land(Box<Flight>),
    /// A store's answer comes.
    Back { node: usize, life: u32, told: Told, then: Then<Told> },
    /// A node goes on with something.
    Resume { node: usize, life: u32, then: Then<()> },
    /// Notes were left for a connection.
    Wake { node: usize, link: LinkId },
    /// A connection's machine asked to be told of the time.
    SocketTick { node: usize, link: LinkId },
    /// A sequencer did.
    RoomTick { node: usize, room: RoomId, born: u64 },
    /// The transport took what was to be written, or some of it.
    Wrote { node: usize, link: LinkId, all: bool },
    /// Bytes come to a client, and the frames that they complete.
    Down { link: LinkId, bytes: usize, pieces: Vec<link::Piece> },
    /// A frame comes to a node.
    Up { link: LinkId, piece: link::Piece },
    /// A message comes from the bus.
    Bus { to: usize, message: Box<bus::Message> },
    /// A client does something.
    Client { client: usize, what: client::Cue },
    /// Whatever else.
    World(Then<()>),
}

/// A store operation on its way.
struct Flight {
    node: usize,
    life: u32,
    op: Op,
    left: u64,
    /// Who waits for the answer; nobody, where it was lost already.
    then: Option<Then<Told>>,
}

/// An event and when it is due; the earliest and first of them is the greatest.
struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl House {
    fn schedule(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.queue.push(Due { at: at.max(self.now), number: self.count, event });
    }

    fn later(&mut self, micros: u64, then: impl FnOnce(&mut Self) + 'static) {
        self.schedule(self.now + micros, Event::World(Box::new(|house, ()| then(house))));
    }

    /// The node goes on after a while, if it still lives.
    fn resume_in(&mut self, node: usize, micros: u64, then: impl FnOnce(&mut Self) + 'static) {
        let life = self.nodes[node].life;
        self.schedule(self.now + micros, Event::Resume { node, life, then: Box::new(|house, ()| then(house)) });
    }

    /// Lets everything happen that is due by `end`. Whether it came to rest.
    fn until(&mut self, end: u64) -> bool {
        while self.queue.peek().is_some_and(|due| due.at <= end) {
            let Some(due) = self.queue.pop() else { break };
            if self.events >= MOST_EVENTS {
                return false;
            }
            self.now = due.at;
            // Under its old number: what stands still keeps its order.
            if let Some(at) = self.stands_still(&due.event) {
                self.queue.push(Due { at, ..due });
                continue;
            }
            self.events += 1;
            self.happen(due.event);
        }
        self.now = self.now.max(end);
        true
    }

    /// Until when nothing happens where this would.
    fn stands_still(&self, event: &Event) -> Option<u64> {
        let until = match event {
            Event::Down { link, .. } => self.links.get(link)?.stalled_until,
            Event::Up { link, .. } => self.nodes[self.links.get(link)?.node].paused_until,
            event => self.nodes[event.of_node()?].paused_until,
        };
        Some(until).filter(|until| *until > self.now)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Land(flight) => self.land(*flight),
            Event::Back { node, life, told, then } => {
                if self.nodes[node].life == life {
                    then(self, told);
                }
            }
            Event::Resume { node, life, then } => {
                if self.nodes[node].life == life {
                    then(self, ());
                }
            }
            Event::Wake { node, link } => self.wake(node, link),
            Event::SocketTick { node, link } => self.socket_tick(node, link),
            Event::RoomTick { node, room, born } => self.room_tick(node, room, born),
            Event::Wrote { node, link, all } => self.wrote(node, link, all),
            Event::Down { link, bytes, pieces } => self.come_down(link, bytes, pieces),
            Event::Up { link, piece } => self.come_up(link, piece),
            Event::Bus { to, message } => self.take_message(to, *message),
            Event::Client { client, what } => self.cue(client, what),
            Event::World(then) => then(self, ()),
        }
    }

    /// Monotone time, as every machine is told it.
    fn instant(&self) -> Instant {
        Instant(self.now)
    }

    /// Random bytes that are no decision: never the same twice in a run, whatever the tape says.
    fn fresh(&mut self) -> [u8; 32] {
        self.fresh += 1;
        let mut bytes = [0; 32];
        for (at, part) in bytes.chunks_exact_mut(8).enumerate() {
            let mixed = mix(self.seed ^ mix(self.fresh.wrapping_mul(4).wrapping_add(at as u64)));
            part.copy_from_slice(&mixed.to_be_bytes());
        }
        bytes
    }
}

impl Event {
    /// The node at which it happens, where it is one: a node that stands still does nothing.
    fn of_node(&self) -> Option<usize> {
        match self {
            Self::Back { node, .. }
            | Self::Resume { node, .. }
            | Self::Wake { node, .. }
            | Self::SocketTick { node, .. }
            | Self::RoomTick { node, .. }
            | Self::Wrote { node, .. }
            | Self::Bus { to: node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
