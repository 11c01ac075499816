//! A node: what it holds in memory, and how it begins and ends.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::fanout::{Input, Registry};
use chamberlain_core::id::{AccountId, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Profile, Reason, Refused};
use chamberlain_core::sequencer;
use chamberlain_core::time::Timestamp;

use super::account::Account;
use super::effects::Effects;
use super::room::Cell;
use super::session::Session;
use super::{Event, House, Reply};
use crate::story::{Lane, LinkId, NodeId, Seen};

/// When simulated time begins, in milliseconds since 1970.
const EPOCH: i64 = 1_700_000_000_000;
/// How often rooms that nobody uses are looked for, in microseconds.
const SWEEP: u64 = 1_000_000;
/// How often a node that is being stopped looks whether it may.
const DRAINED: u64 = 20_000;

/// One node. What is in memory is lost with it; what is about its place in the world stays.
#[derive(Default)]
pub(super) struct Node {
    /// Answers for an earlier life are thrown away.
    pub(super) life: u32,
    pub(super) up: bool,
    pub(super) draining: bool,
    pub(super) rooms: BTreeMap<RoomId, Cell>,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    pub(super) profiles: BTreeMap<AccountId, Profile>,
    /// Accounts that this node heard to be shut out.
    pub(super) shut: BTreeSet<AccountId>,
    pub(super) effects: Effects,
    pub(super) sessions: BTreeMap<LinkId, Session>,
    pub(super) of_account: BTreeMap<AccountId, BTreeSet<LinkId>>,
    pub(super) registry: Registry<LinkId>,
    /// Commands handed to another node, until their answers come.
    pub(super) forwarded: BTreeMap<u64, Reply>,
    /// The nodes that it believes to live, itself apart.
    pub(super) live: BTreeSet<usize>,

    /// It is lost at the next operation of this kind: when it is asked for, or when it took place.
    pub(super) trap: Option<(&'static str, bool)>,
    /// It stands still until then.
    pub(super) paused_until: u64,
    /// It does not reach the stores.
    pub(super) store_cut: bool,
    /// It does not reach the bus.
    pub(super) bus_cut: bool,
    /// Clients do not reach it.
    pub(super) clients_cut: bool,
    pub(super) wall_offset_ms: i64,
    /// Parts per million.
    pub(super) wall_drift: i64,
}

/// A node's name in the story.
pub(super) fn id(node: usize) -> NodeId {
    NodeId(node as u32)
}

/// What a store's failure means to whoever asked.
pub(super) fn refusal(failure: Failure) -> Refused {
    match failure {
        Failure::Permanent | Failure::Newer => Reason::Quarantined.into(),
        Failure::Transient | Failure::Unknown => Reason::StoreUnavailable.into(),
    }
}

impl House {
    pub(super) fn limits(&self) -> std::sync::Arc<Limits> {
        self.story.limits.clone()
    }

    /// What the node's clock shows.
    pub(super) fn wall(&self, node: usize) -> Timestamp {
        let (node, ms) = (&self.nodes[node], (self.now / 1_000) as i64);
        let drifted = ms * node.wall_drift / 1_000_000;
        Timestamp((EPOCH + ms + drifted + node.wall_offset_ms).unsigned_abs())
    }

    /// The node begins: with nothing in memory, and whatever an earlier life left unfinished.
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].up {
            return;
        }
        let live = (0..self.nodes.len()).filter(|other| *other != node && self.nodes[*other].up).collect();
        let found = &mut self.nodes[node];
        found.up = true;
        found.live = live;
        self.note(Seen::Started { node: id(node) });
        self.present(node, true);
        self.resume_effects(node);
        self.sweep(node);
    }

    /// The node is lost with everything in memory.
    pub(super) fn crash(&mut self, node: usize, silent: bool) {
        if !self.nodes[node].up {
            return;
        }
        self.probe_crash(node);
        self.note(Seen::Stopped { node: id(node), drained: false });
        self.stop(node, silent);
    }

    fn stop(&mut self, node: usize, silent: bool) {
        let old = std::mem::take(&mut self.nodes[node]);
        self.nodes[node] = Node {
            life: old.life + 1,
            store_cut: old.store_cut,
            bus_cut: old.bus_cut,
            clients_cut: old.clients_cut,
            wall_offset_ms: old.wall_offset_ms,
            wall_drift: old.wall_drift,
            ..Node::default()
        };
        self.present(node, false);
        let links: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.node == node).map(|(id, _)| *id).collect();
        for link in links {
            self.server_gone(link, silent);
        }
    }

    /// Asks everybody to leave, and stops when all that was begun is done, or twice the window has passed.
    pub(super) fn drain(&mut self, node: usize) {
        if !self.nodes[node].up || self.nodes[node].draining {
            return;
        }
        self.nodes[node].draining = true;
        if self.backlog(node) > 0 {
            self.probe("drained with commands under way");
        }
        let window = u64::from(self.limits().drain_ms);
        let links: Vec<LinkId> = self.nodes[node].sessions.keys().copied().collect();
        let count = links.len().max(1) as u64;
        for (nth, link) in links.into_iter().enumerate() {
            let retry_after_ms = Some(500 + window * nth as u64 / count);
            let bye = Input::Bye { code: 4013, reason: "the server is stopping".into(), retry_after_ms };
            self.tell_socket(node, link, bye);
        }
        let most = self.now + (window * 2 + 500) * 1_000;
        self.drained(node, most);
    }

    fn drained(&mut self, node: usize, most: u64) {
        let busy =
            !self.nodes[node].sessions.is_empty() || self.backlog(node) > 0 || !self.nodes[node].effects.is_idle();
        if busy && self.now < most {
            return self.resume_in(node, DRAINED, move |house| house.drained(node, most));
        }
        self.write_cursors(node);
        self.resume_in(node, DRAINED, move |house| {
            house.note(Seen::Stopped { node: id(node), drained: true });
            house.stop(node, false);
        });
    }

    /// Commands that wait or are under way.
    pub(super) fn backlog(&self, node: usize) -> usize {
        let rooms = self.nodes[node].rooms.values();
        rooms.filter_map(Cell::ready).map(|room| room.waiting.len()).sum()
    }

    /// Drops rooms that nobody uses, and goes on doing so.
    fn sweep(&mut self, node: usize) {
        let kept = self.limits().idle_rooms as usize;
        let found = &mut self.nodes[node];
        let surplus = found.rooms.len().saturating_sub(kept);
        let idle = |(id, cell): (&RoomId, &Cell)| {
            let room = cell.ready()?;
            let unused = found.registry.listeners(*id).next().is_none() && !found.effects.is_busy(*id);
            (unused && room.is_idle()).then_some(*id)
        };
        let gone: Vec<RoomId> = found.rooms.iter().filter_map(idle).take(surplus).collect();
        for id in &gone {
            found.rooms.remove(id);
        }
        if !gone.is_empty() {
            self.probe("idle room dropped");
        }
        self.resume_in(node, SWEEP, move |house| house.sweep(node));
    }

    /// Tells the others that a node is there, or no longer, when they get to know.
    fn present(&mut self, node: usize, up: bool) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let delay = 1_000 + self.tape.draw(super::WORLD, "presence", 500_000);
            self.later(delay, move |house| {
                let live = &mut house.nodes[other].live;
                let changed = if up { live.insert(node) } else { live.remove(&node) };
                if changed && !up {
                    house.probe("takeover");
                }
            });
        }
    }

    fn probe_crash(&mut self, node: usize) {
        let rooms = || self.nodes[node].rooms.values().filter_map(Cell::ready);
        let staged = rooms().any(|room| room.staging);
        let appended = rooms().any(|room| room.appended && !room.waiting.is_empty());
        if staged {
            self.probe("crash between the key and its record");
        }
        if appended {
            self.probe("crash between append and answer");
        }
    }

    pub(super) fn note(&mut self, seen: Seen) {
        self.story.note(self.now, seen);
    }

    pub(super) fn probe(&mut self, name: &'static str) {
        debug_assert!(super::PROBES.iter().any(|(known, _)| *known == name), "{name} is no probe");
        self.story.probe(name);
    }

    /// A message that arrived, for people.
    pub(super) fn passed(&mut self, from: Lane, to: Lane, left: u64, what: String) {
        self.note(Seen::Passed { from, to, left, what });
    }

    /// What somebody holds from now on, for people.
    pub(super) fn state(&mut self, of: Lane, what: String) {
        self.note(Seen::State { of, what });
    }

    /// Schedules a tick of a sequencer, unless an earlier one is scheduled.
    pub(super) fn schedule_room_tick(&mut self, node: usize, id: RoomId) {
        let now = self.now;
        let Some(room) = self.nodes[node].rooms.get_mut(&id).and_then(Cell::ready_mut) else { return };
        let Some(due) = room.sequencer.next_deadline() else { return };
        let due = due.0.max(now);
        if room.tick.is_none_or(|tick| tick > due) {
            room.tick = Some(due);
            let born = room.born;
            self.schedule(due, Event::RoomTick { node, room: id, born });
        }
    }

    pub(super) fn room_tick(&mut self, node: usize, id: RoomId, born: u64) {
        let now = self.now;
        let Some(room) = self.nodes[node].rooms.get_mut(&id).and_then(Cell::ready_mut) else { return };
        // A node that stood still is late.
        if room.born != born || room.tick.is_none_or(|tick| tick > now) {
            return;
        }
        room.tick = None;
        self.sequence(node, id, sequencer::Input::Tick);
    }
}
