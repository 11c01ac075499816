//! A run from its beginning to its end: clients act, fall silent, everything heals, and everybody is to be caught up.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use chamberlain_core::wire::{ClientFrame, Codec, ServerFrame};

use super::client::{Client, Cue};
use super::node::Node;
use super::scripts::Play;
use super::stores::Stores;
use super::{House, Knobs, WORLD};
use crate::plan;
use crate::story::{Ending, Seen, Story};
use crate::tape::{Actor, Tape};

/// How long a run has to catch up once faults stop, in microseconds.
const PATIENCE: u64 = 40_000_000;
/// How long clients act at most.
const ACTS: u64 = 20_000_000;
/// How often it is looked whether there is more to come.
const SLICE: u64 = 50_000;
/// Nothing to be seen for so long, and nothing under way: it is over.
const STILL: u64 = 4_500_000;
/// In this order accounts come into a run: an administrator early, the bot not much later.
const CAST: [u8; 7] = [0, 1, 5, 2, 6, 3, 4];

impl House {
    /// A house that nobody entered yet.
    pub(crate) fn new(knobs: Knobs, tape: Tape, detailed: bool) -> Self {
        let keys = Arc::new(plan::site_keys());
        let mut story = Story::new(keys, Arc::new(knobs.limits.clone()), PATIENCE);
        story.detailed = detailed;
        story.people = plan::people();
        story.keeps_keys = knobs.grace_ms.is_none();
        Self {
            now: 0,
            events: 0,
            tape,
            story,
            nodes: (0..knobs.nodes).map(|_| Node::default()).collect(),
            knobs,
            queue: BinaryHeap::new(),
            count: 0,
            stores: Stores { people: plan::profiles(), ..Stores::default() },
            links: BTreeMap::new(),
            clients: Vec::new(),
            channels: 0,
            seed: 0,
            fresh: 0,
            healed: false,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self, play: Option<Play>) {
        self.seed = self.tape.seed(WORLD, "seed");
        self.enter(play.as_ref());
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        for client in 0..self.clients.len() {
            self.cue_in(client, 10 * client as u64, Cue::Connect);
            self.cue_in(client, 1_000_000 + client as u64, Cue::Look);
            self.cue_in(client, 20_000, Cue::Step);
        }
        self.plan_blows();
        let acts = match play {
            Some(play) => self.rehearse(play),
            None => ACTS,
        };
        let scripted = acts < ACTS;
        let mut rests = true;
        while rests && self.now < acts && (scripted || self.clients.iter().any(|client| client.steps > 0)) {
            rests = self.until(self.now + SLICE);
        }
        for client in &mut self.clients {
            client.steps = 0;
        }
        let lull = self.tape.draw(WORLD, "lull", 1_500_000);
        rests = rests && self.until(self.now + 100_000);
        self.note(Seen::Quiet);
        rests = rests && self.until(self.now + lull);
        rests = rests && self.heal();
        for client in 0..self.clients.len() {
            self.cue_in(client, 1_000 + client as u64, Cue::Settle);
        }
        let healed = self.now;
        let mut last = (self.material(), healed);
        while rests && self.now < healed + PATIENCE {
            rests = self.until(self.now + SLICE);
            let material = self.material();
            if material != last.0 || self.is_busy() {
                last = (material, self.now);
            } else if self.now - last.1 > STILL {
                break;
            }
        }
        self.end(rests);
    }

    /// Who takes part.
    fn enter(&mut self, play: Option<&Play>) {
        let mut next = 0;
        for number in 0..self.knobs.clients {
            let actor = Actor::nth("client", number as u32);
            let twin = self.tape.draw(actor, "twin", 4) == 3;
            let codec = if self.tape.draw(actor, "codec", 2) == 0 { Codec::Json } else { Codec::Bincode };
            let batch = self.tape.draw(actor, "batch", 3) < 2;
            let steps = self.tape.draw(actor, "steps", self.knobs.steps + 1);
            let client = match play.and_then(|play| play.cast.get(number)) {
                Some((account, codec, batch)) => Client::new(plan::account(*account), *codec, *batch, 0),
                None => {
                    next += usize::from(!(twin && next > 0));
                    let account = plan::account(CAST[(next.max(1) - 1) % CAST.len()]);
                    Client::new(account, codec, batch, steps)
                }
            };
            self.clients.push(client);
        }
    }

    /// How much was seen, idle talk apart.
    fn material(&self) -> usize {
        let idle = |seen: &Seen| {
            matches!(
                seen,
                Seen::Sent { frame: ClientFrame::Ping, .. }
                    | Seen::Came { frame: ServerFrame::Pong, .. }
                    | Seen::Passed { .. }
                    | Seen::State { .. }
            )
        };
        // Counted from the end: what comes in one slice is little.
        self.story.seen.len() - self.story.seen.iter().rev().take_while(|(_, seen)| idle(seen)).count()
    }

    /// Whether somebody still waits for something.
    fn is_busy(&self) -> bool {
        let waits = |client: &Client| !client.shut_out && !self.is_content(client);
        self.clients.iter().any(waits) || self.nodes_are_busy()
    }

    /// Whether a client has all that it asked for, over a connection that carries.
    fn is_content(&self, client: &Client) -> bool {
        let carries =
            client.link.and_then(|link| self.links.get(&link)).is_some_and(|link| !link.dead && link.is_served());
        let asks = !client.unanswered.is_empty() || client.rooms.values().any(|seat| seat.asked);
        carries && client.welcomed && !asks
    }

    fn nodes_are_busy(&self) -> bool {
        (0..self.nodes.len()).any(|node| {
            let found = &self.nodes[node];
            !found.up || found.draining || self.backlog(node) > 0 || !found.effects.is_idle()
        })
    }

    fn end(&mut self, rests: bool) {
        let mut ending = Ending::default();
        for (id, log) in &self.stores.logs {
            ending.logs.insert(id.clone(), log.records.clone());
        }
        ending.vault.clone_from(&self.stores.vault);
        ending.marks.clone_from(&self.stores.marks);
        if !rests {
            ending.unwell.push("the house does not come to rest".into());
        }
        let mut quarantined = BTreeSet::new();
        for node in 0..self.nodes.len() {
            let found = &self.nodes[node];
            if !found.up {
                ending.unwell.push(format!("node {node} is not there"));
            }
            if self.backlog(node) > 0 {
                ending.unwell.push(format!("node {node} still has commands under way"));
            }
            if !found.effects.is_idle() {
                ending.unwell.push(format!("node {node} still has effects to carry out"));
            }
            for (room, why) in self.quarantines(node) {
                if quarantined.insert(room) {
                    ending.unwell.push(format!("room {room} is quarantined at node {node}: {why}"));
                }
            }
        }
        self.story.ending = ending;
    }
}
