//! A node's calls to the stores, and what goes wrong with them.
//!
//! An operation leaves, lands, and its answer comes back, each a while later. It may fail and have had no effect; its answer
//! may be lost, and the effect with it, or not, or the effect comes much later, when nobody counts on it any more.

use chamberlain_core::id::LogId;
use chamberlain_core::retry::Failure;

use super::{Answer, Event, Flight, House, Op, Told};
use crate::story::Lane;
use crate::tape::Actor;

/// The least that an operation takes each way, in microseconds.
const LEAST: u64 = 100;
/// How long a node waits for an answer that does not come.
const TIMEOUT: u64 = 1_000_000;

/// What becomes of one operation.
enum Fate {
    Fine,
    /// It fails before it has an effect.
    Refused,
    /// Its answer is lost; whether and when it lands, nobody is told.
    Lost {
        lands_after: Option<u64>,
    },
}

impl House {
    /// Asks a store. What comes back is told to the node that asked, if it still lives then.
    pub(super) fn call(&mut self, node: usize, op: Op, then: impl FnOnce(&mut Self, Told) + 'static) {
        let life = self.nodes[node].life;
        self.spring(node, op.name(), false);
        let actor = Actor::nth("node", node as u32);
        let slow = self.knobs.faults.store_slow_us;
        let there = LEAST + self.tape.draw(actor, "store-there", slow + 1);
        let back = LEAST + self.tape.draw(actor, "store-back", slow / 2 + 1);
        let left = self.now;
        match self.fate(node, actor, &op) {
            Fate::Fine => {
                let flight = Flight { node, life, op, left, then: Some(Box::new(then)) };
                self.schedule(left + there, Event::Land(Box::new(flight)));
            }
            Fate::Refused => {
                self.probe("store refused");
                let told = Err(Failure::Transient);
                self.schedule(left + there + back, Event::Back { node, life, told, then: Box::new(then) });
            }
            Fate::Lost { lands_after } => {
                let append = matches!(op, Op::Append { .. });
                if let (Some(after), true) = (lands_after, op.writes()) {
                    if append {
                        self.probe(if after > 0 { "append landed late" } else { "append unknown, had landed" });
                    }
                    let flight = Flight { node, life, op, left, then: None };
                    self.schedule(left + there + after, Event::Land(Box::new(flight)));
                } else if append {
                    self.probe("append unknown, had not landed");
                }
                let told = Err(Failure::Unknown);
                self.schedule(left + there + back, Event::Back { node, life, told, then: Box::new(then) });
            }
        }
    }

    fn fate(&mut self, node: usize, actor: Actor, op: &Op) -> Fate {
        let lane = op.lane();
        if self.nodes[node].store_cut || self.knobs.faults.store_down.contains(&lane) {
            // Cut off in the middle of it, now and then.
            return match self.tape.draw(actor, "store-cut", 4) {
                3 => Fate::Lost { lands_after: None },
                2 => Fate::Lost { lands_after: Some(0) },
                _ => Fate::Refused,
            };
        }
        let faults = &self.knobs.faults;
        let (refused, lost) = (faults.store_refuses, faults.store_loses);
        if refused + lost == 0 {
            return Fate::Fine;
        }
        let draw = self.tape.draw(actor, "store-fault", 1_000) as u32;
        let quiet = 1_000 - refused - lost;
        if draw < quiet {
            return Fate::Fine;
        }
        if draw < quiet + refused {
            return Fate::Refused;
        }
        let late = self.knobs.faults.store_late_us;
        match self.tape.draw(actor, "store-lost", 4) {
            0 | 1 => Fate::Lost { lands_after: Some(0) },
            2 => Fate::Lost { lands_after: None },
            _ => Fate::Lost { lands_after: Some(self.tape.draw(actor, "store-late", late + 1)) },
        }
    }

    /// The operation takes place.
    pub(super) fn land(&mut self, flight: Flight) {
        let Flight { node, life, op, left, then } = flight;
        let (lane, now) = (op.lane(), self.now);
        if self.nodes[node].life == life {
            self.spring(node, op.name(), true);
        }
        let words = self.story.detailed.then(|| super::words::of_op(&op));
        let moved = match &op {
            Op::Append { log, after, .. } => Some((log.clone(), after.revision)),
            _ => None,
        };
        let op = self.stale(node, op);
        let story = &mut self.story;
        let told = self.stores.act(op, &mut |seen| story.note(now, seen));
        if let Some(words) = words {
            let words = format!("{words}: {}", super::words::of_told(&told));
            self.passed(Lane::Node(super::node::id(node)), lane, left, words);
        }
        if let (Some((log, revision)), Ok(Answer::Appended(true))) = (moved, &told) {
            self.announce(node, log, revision);
        }
        if let Some(then) = then {
            let actor = Actor::nth("node", node as u32);
            let slow = self.knobs.faults.store_slow_us;
            let back = LEAST + self.tape.draw(actor, "store-answers", slow / 2 + 1);
            // A node that was cut off meanwhile does not learn what came of it.
            let (told, back) =
                if self.nodes[node].store_cut { (Err(Failure::Unknown), back + TIMEOUT) } else { (told, back) };
            self.schedule(now + back, Event::Back { node, life, told, then });
        }
    }

    /// A node that is to be lost at such an operation is, before anything else happens.
    fn spring(&mut self, node: usize, name: &'static str, landed: bool) {
        if self.nodes[node].trap == Some((name, landed)) {
            self.nodes[node].trap = None;
            self.later(0, move |house| {
                house.fault(format!("node {node} crashes, its {name} {}", if landed { "done" } else { "under way" }));
                house.crash(node, false);
                house.later(TIMEOUT / 5, move |house| house.start(node));
            });
        }
    }

    /// A read of snapshots may be of an older one, or find none.
    fn stale(&mut self, node: usize, op: Op) -> Op {
        match op {
            Op::Latest { log, .. } if self.knobs.faults.snapshots_stale => {
                let stale = self.tape.draw(Actor::nth("node", node as u32), "snapshot-stale", 3) as usize;
                if stale > 0 {
                    self.probe("snapshot older than the latest");
                }
                Op::Latest { log, stale }
            }
            op => op,
        }
    }

    /// The name of a room's log.
    pub(super) fn log_of(room: chamberlain_core::id::RoomId) -> LogId {
        LogId::Room(room)
    }
}
