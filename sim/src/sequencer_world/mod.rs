//! One room in a simulated world: one or two sequencers that both believe they own it, a log, a vault, and clocks.
//!
//! Single-threaded and deterministic: everything that happens is in one queue ordered by time and number, and every delay
//! and fault is drawn from the script's seed. Stores keep their promises (an append compares and appends at one moment, the
//! vault keeps what it took), but answers fail, come late or are lost, effects land late, and nodes die between any two.

mod script;
mod stores;

use std::collections::BTreeMap;
use std::sync::Arc;

use chamberlain_core::codec;
use chamberlain_core::id::{AccountId, RequestId, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::Record;
use chamberlain_core::room::{Command, Event, Request};
use chamberlain_core::sequencer::{Effect, Input, Sequencer, Ticket};
use chamberlain_core::site::SiteKeys;
use chamberlain_core::time::{Instant, Timestamp};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::plan::{self, Known};
use crate::room_history::{History, Seen};
pub use script::{Faults, Script, Step, scripts};
use stores::{Act, Stores};

/// More happenings than any script needs: beyond it, something runs in a circle.
const MOST_HAPPENINGS: u64 = 300_000;

/// The world.
pub struct World {
    now: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    count: u64,
    nodes: Vec<Node>,
    stores: Stores,
    history: History,
    asked: Vec<(AccountId, RequestId, Command)>,
    tickets: u64,
    limits: Arc<Limits>,
    keys: Arc<SiteKeys>,
    faults: Faults,
    rng: ChaCha20Rng,
}

struct Node {
    sequencer: Option<Sequencer>,
    /// Answers for an earlier life are thrown away.
    life: u32,
    tick: Option<u64>,
    wall_offset: i64,
}

enum Happening {
    /// A step of the script.
    Step(Step),
    /// A node is told something.
    Input { node: usize, life: u32, input: Box<Input> },
    /// A store does something.
    Act { node: usize, life: u32, act: Act },
    /// A node that was lost is back.
    Restart { node: usize },
}

impl World {
    /// Runs a script to its end, and on until nothing is left to happen; then asks everything that was answered once more,
    /// of every node. Gives what was seen.
    ///
    /// # Panics
    /// When it does not come to rest.
    pub fn run(script: &Script) -> History {
        let room = RoomId::from_digest(&[1; 32]);
        let limits = Arc::new(plan::limits());
        let deadline = u64::from(limits.command_deadline_ms) * 1_000;
        let mut world = Self {
            now: 0,
            happenings: BTreeMap::new(),
            count: 0,
            nodes: Vec::new(),
            stores: Stores::new(room),
            history: History::new(room, deadline),
            asked: Vec::new(),
            tickets: 0,
            limits,
            keys: Arc::new(plan::site_keys()),
            faults: script.faults.clone(),
            rng: ChaCha20Rng::seed_from_u64(script.seed),
        };
        for node in 0..usize::from(script.nodes.clamp(1, 2)) {
            world.nodes.push(Node { sequencer: None, life: 0, tick: None, wall_offset: 0 });
            world.start(node);
        }
        let mut at = 0;
        world.schedule(at, Happening::Step(Step::Ask { plan: script.begins.clone(), node: 0 }));
        for (gap_ms, step) in &script.steps {
            at += u64::from(*gap_ms) * 1_000;
            world.schedule(at, Happening::Step(step.clone()));
        }
        world.until(at);
        world.faults = Faults::default();
        world.until(u64::MAX);
        world.ask_again();
        world.until(u64::MAX);
        world.stores.finish(&mut world.history);
        world.history
    }

    fn until(&mut self, end: u64) {
        while let Some(entry) = self.happenings.first_entry() {
            if entry.key().0 > end {
                return;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            assert!(self.count < MOST_HAPPENINGS, "the world does not come to rest");
            self.happen(happening);
        }
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), happening);
    }

    fn note(&mut self, seen: Seen) {
        self.history.seen.push((self.now, seen));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Step(Step::Ask { plan, node }) => {
                let request = plan::request_id(self.asked.len() as u64);
                let command = plan.command(self.history.room, &self.known(), self.rng.next_u64());
                self.asked.push((plan.account(), request, command));
                self.ask(self.asked.len() - 1, node.into());
            }
            Happening::Step(Step::Again { which, node }) => self.ask(which.index(self.asked.len()), node.into()),
            Happening::Step(Step::Crash { node }) => self.crash(node.into()),
            Happening::Step(Step::Jump { node, ms }) => {
                let node = usize::from(node) % self.nodes.len();
                self.nodes[node].wall_offset += i64::from(ms);
            }
            Happening::Input { node, life, input } => {
                if self.nodes[node].life == life {
                    if matches!(*input, Input::Tick) {
                        self.nodes[node].tick = None;
                    }
                    self.step(node, *input);
                }
            }
            Happening::Act { node, life, act } => {
                let input = self.stores.act(act, &mut self.history, self.now, &mut self.rng);
                if let Some(input) = input {
                    if let Input::Loaded(Ok(fold)) = &input
                        && self.nodes[node].life == life
                    {
                        self.note(Seen::Loaded { node, head: fold.state.head() });
                    }
                    let at = self.now + self.faults.delay(&mut self.rng);
                    self.schedule(at, Happening::Input { node, life, input: Box::new(input) });
                }
            }
            Happening::Restart { node } => self.start(node),
        }
    }

    fn start(&mut self, node: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut out = Vec::new();
        let (keys, limits) = (self.keys.clone(), self.limits.clone());
        self.nodes[node].sequencer = Some(Sequencer::new(self.history.room, keys, limits, seed, &mut out));
        self.carry_out(node, out);
    }

    fn crash(&mut self, node: usize) {
        let node = node % self.nodes.len();
        if self.nodes[node].sequencer.take().is_some() {
            self.nodes[node].life += 1;
            self.nodes[node].tick = None;
            self.note(Seen::Crashed { node });
            let at = self.now + 1_000 + self.faults.delay(&mut self.rng);
            self.schedule(at, Happening::Restart { node });
        }
    }

    fn ask(&mut self, which: usize, node: usize) {
        let node = node % self.nodes.len();
        if self.nodes[node].sequencer.is_none() {
            return;
        }
        let (who, request, command) = self.asked[which].clone();
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.note(Seen::Asked { ticket, node, who: who.clone(), request, command: command.clone() });
        let request = Request {
            room: self.history.room,
            account: who,
            id: request,
            fingerprint: self.keys.fingerprint(&codec::encode(&command)),
            command,
            from_channels: Vec::new(),
            foreign_channel: false,
            people: plan::profiles(),
        };
        self.step(node, Input::Request { ticket, request: Box::new(request) });
    }

    /// Asks again what was answered well, of everybody.
    fn ask_again(&mut self) {
        let mut good: Vec<usize> = Vec::new();
        let tickets: BTreeMap<Ticket, RequestId> = self
            .history
            .seen
            .iter()
            .filter_map(|(_, seen)| match seen {
                Seen::Asked { ticket, request, .. } => Some((*ticket, *request)),
                _ => None,
            })
            .collect();
        for (_, seen) in &self.history.seen {
            if let Seen::Answered { ticket, result: Ok(_) } = seen {
                let which = self.asked.iter().position(|(_, request, _)| Some(request) == tickets.get(ticket));
                good.extend(which.filter(|which| !good.contains(which)));
            }
        }
        for node in 0..self.nodes.len() {
            good.iter().for_each(|which| self.ask(*which, node));
        }
    }

    fn step(&mut self, node: usize, input: Input) {
        let wall = 1_700_000_000_000_i64 + (self.now / 1_000) as i64 + self.nodes[node].wall_offset;
        let mut out = Vec::new();
        let Some(sequencer) = &mut self.nodes[node].sequencer else { return };
        sequencer.step(Instant(self.now), Timestamp(wall.unsigned_abs()), input, &mut out);
        self.carry_out(node, out);
        let due = self.nodes[node].sequencer.as_ref().and_then(Sequencer::next_deadline);
        if let Some(Instant(due)) = due {
            let due = due.max(self.now);
            if self.nodes[node].tick.is_none_or(|tick| tick > due) {
                self.nodes[node].tick = Some(due);
                let life = self.nodes[node].life;
                self.schedule(due, Happening::Input { node, life, input: Box::new(Input::Tick) });
            }
        }
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let life = self.nodes[node].life;
        for effect in effects {
            let act = match effect {
                Effect::Committed { after, .. } => {
                    self.note(Seen::Committed { node, after });
                    continue;
                }
                Effect::Answer { ticket, result } => {
                    self.note(Seen::Answered { ticket, result });
                    continue;
                }
                Effect::Snapshot { revision, bytes } => {
                    self.note(Seen::Kept { revision, bytes: bytes.clone() });
                    self.stores.keep(revision, bytes);
                    continue;
                }
                Effect::Quarantined { what } => {
                    self.note(Seen::Quarantined { what });
                    continue;
                }
                Effect::Load => Act::Load,
                Effect::Append { expected, record, after } => Act::Append { expected, record, after, loud: true },
                Effect::ReadBack { after } => Act::ReadBack { after },
                Effect::PutSecret { version, secret } => Act::Put { version, secret, loud: true },
                Effect::GetSecret { version } => Act::Get { version },
                Effect::FindMessage { revision } => Act::Find { revision },
            };
            self.attempt(node, life, act);
        }
    }

    /// Sends an effect on its way to a store, and draws what goes wrong.
    fn attempt(&mut self, node: usize, life: u32, act: Act) {
        let lands = self.now + self.faults.delay(&mut self.rng);
        let answered = self.now + self.faults.delay(&mut self.rng);
        let draw = self.rng.random_range(0..100);
        let faults = &self.faults;
        if draw < faults.transient {
            let input = act.failed_before();
            self.schedule(answered, Happening::Input { node, life, input: Box::new(input) });
        } else if draw < faults.transient + faults.lost {
            // Perhaps it comes to pass, perhaps much later; nobody is told.
            if let Some(input) = act.unknown() {
                self.schedule(answered, Happening::Input { node, life, input: Box::new(input) });
                let quiet = act.silenced();
                if let (Some(quiet), true) = (quiet, self.rng.random_bool(0.6)) {
                    let late = if self.rng.random_bool(0.3) { self.rng.random_range(0..4_000_000) } else { 0 };
                    self.schedule(lands + late, Happening::Act { node, life, act: quiet });
                }
            }
        } else {
            self.schedule(lands, Happening::Act { node, life, act });
        }
    }

    /// What a client can know: everything that is durable.
    fn known(&self) -> Known {
        let records: Vec<Record<Event>> = self.stores.records();
        let mut known = Known::default();
        for item in records.iter().flat_map(Record::items) {
            match item.event {
                Event::Message { kind: chamberlain_core::keys::BodyKind::Message, .. } => {
                    known.messages.push((item.revision, 0));
                }
                Event::Edited { revision, edit, .. } => {
                    known.messages.iter_mut().filter(|(at, _)| at == revision).for_each(|(_, edits)| *edits = *edit);
                }
                Event::KeyRotated { public, .. } => known.publics.push(*public),
                _ => {}
            }
        }
        known
    }
}
