//! What is made to go wrong at a time, and how it heals.

use super::knobs::Rates;
use super::{House, WORLD};
use crate::story::{Lane, LinkId, Seen};

/// When blows fall at the latest, in microseconds.
const HORIZON: u64 = 4_000_000;

/// A kind of blow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Crash,
    SilentCrash,
    Trap,
    Drain,
    Pause,
    StoreCut,
    BusCut,
    ClientsCut,
    StoreDown,
    ClockJump,
    ClockDrift,
    Stall,
    Death,
    Reset,
    Storm,
    Burst,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Crash,
        Self::SilentCrash,
        Self::Trap,
        Self::Drain,
        Self::Pause,
        Self::StoreCut,
        Self::BusCut,
        Self::ClientsCut,
        Self::StoreDown,
        Self::ClockJump,
        Self::ClockDrift,
        Self::Stall,
        Self::Death,
        Self::Reset,
        Self::Storm,
        Self::Burst,
    ];

    /// The kind of the decision that arms it.
    pub(super) const fn arm(self) -> &'static str {
        match self {
            Self::Crash => "arm-crash",
            Self::SilentCrash => "arm-silent-crash",
            Self::Trap => "arm-trap",
            Self::Drain => "arm-drain",
            Self::Pause => "arm-pause",
            Self::StoreCut => "arm-store-cut",
            Self::BusCut => "arm-bus-cut",
            Self::ClientsCut => "arm-clients-cut",
            Self::StoreDown => "arm-store-down",
            Self::ClockJump => "arm-clock-jump",
            Self::ClockDrift => "arm-clock-drift",
            Self::Stall => "arm-stall",
            Self::Death => "arm-death",
            Self::Reset => "arm-reset",
            Self::Storm => "arm-storm",
            Self::Burst => "arm-burst",
        }
    }

    /// In words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Crash => "crashes",
            Self::SilentCrash => "crashes that no client hears of",
            Self::Trap => "crashes in the midst of an operation",
            Self::Drain => "drains",
            Self::Pause => "pauses",
            Self::StoreCut => "nodes cut off from the stores",
            Self::BusCut => "nodes cut off from the bus",
            Self::ClientsCut => "nodes cut off from their clients",
            Self::StoreDown => "stores that are away",
            Self::ClockJump => "clocks that jump",
            Self::ClockDrift => "clocks that drift",
            Self::Stall => "slow readers",
            Self::Death => "connections that die silently",
            Self::Reset => "connections that are reset",
            Self::Storm => "reconnect storms",
            Self::Burst => "bursts of load",
        }
    }
}

impl House {
    /// Draws the blows of the run.
    pub(super) fn plan_blows(&mut self) {
        let armed = self.knobs.armed.clone();
        for _ in 0..self.knobs.blows {
            let which = self.tape.draw(WORLD, "blow", armed.len() as u64 + 1);
            let at = self.tape.draw(WORLD, "blow-at", HORIZON);
            let whom = self.tape.draw(WORLD, "blow-whom", 1 << 16);
            let long = 1_000 + self.tape.draw(WORLD, "blow-long", 3_000_000);
            if let Some(kind) = (which as usize).checked_sub(1).and_then(|at| armed.get(at)).copied() {
                self.later(at, move |house| house.blow(kind, whom, long));
            }
        }
    }

    /// Something goes wrong, for so long.
    pub(super) fn blow(&mut self, kind: Kind, whom: u64, long: u64) {
        if self.healed {
            return;
        }
        let node = (whom % self.nodes.len() as u64) as usize;
        let client = (whom % self.clients.len() as u64) as usize;
        let link = self.clients[client].link;
        match kind {
            Kind::Crash | Kind::SilentCrash => {
                self.fault(format!("node {node} crashes"));
                self.crash(node, kind == Kind::SilentCrash);
                self.later(long, move |house| house.start(node));
            }
            Kind::Trap => {
                let at = ["append", "put", "account append", "raise", "erase", "disable", "read"];
                let name = at[(whom / 7 % at.len() as u64) as usize];
                self.nodes[node].trap = Some((name, whom / 49 % 2 == 1));
            }
            Kind::Drain => {
                self.fault(format!("node {node} is drained"));
                self.drain(node);
                let window = u64::from(self.limits().drain_ms) * 2_000 + 1_000_000;
                self.later(window + long, move |house| house.revive(node));
            }
            Kind::Pause => {
                self.fault(format!("node {node} stands still"));
                let until = &mut self.nodes[node].paused_until;
                *until = (*until).max(self.now + long);
            }
            Kind::StoreCut => {
                self.fault(format!("node {node} does not reach the stores"));
                self.nodes[node].store_cut = true;
                self.later(long, move |house| house.nodes[node].store_cut = false);
            }
            Kind::BusCut => {
                self.fault(format!("node {node} does not reach the bus"));
                self.nodes[node].bus_cut = true;
                self.later(long, move |house| house.join_bus(node));
            }
            Kind::ClientsCut => {
                self.fault(format!("clients do not reach node {node}"));
                self.nodes[node].clients_cut = true;
                self.later(long, move |house| house.reach_clients(node));
            }
            Kind::StoreDown => {
                let lane = [Lane::Logs, Lane::Vault, Lane::Shelf][(whom / 7 % 3) as usize];
                self.fault(format!("{lane:?} is away"));
                self.knobs.faults.store_down.insert(lane);
                self.later(long, move |house| {
                    house.knobs.faults.store_down.remove(&lane);
                });
            }
            Kind::ClockJump => {
                let by = [-5_000, 5_000, -90_000_000, 90_000_000, -50, 400][(whom / 3 % 6) as usize];
                self.fault(format!("the clock of node {node} jumps by {by} ms"));
                if by < 0 {
                    self.probe("clock jumped back");
                }
                self.nodes[node].wall_offset_ms += by;
            }
            Kind::ClockDrift => {
                self.fault(format!("the clock of node {node} drifts"));
                self.nodes[node].wall_drift = [200_000, -200_000][(whom / 3 % 2) as usize];
            }
            Kind::Stall => {
                self.fault(format!("client {client} reads nothing for {} ms", long / 1_000));
                let until = self.now + long * 2;
                self.stall(client, until);
            }
            Kind::Death => {
                self.fault(format!("the connection of client {client} dies silently"));
                if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
                    link.dead = true;
                }
            }
            Kind::Reset => {
                self.fault(format!("the connection of client {client} is reset"));
                if let Some(link) = link {
                    self.reset_link(link);
                }
            }
            Kind::Storm => {
                self.fault("every connection is reset".into());
                self.probe("reconnect storm");
                let links: Vec<LinkId> = self.clients.iter().filter_map(|client| client.link).collect();
                links.into_iter().for_each(|link| self.reset_link(link));
            }
            Kind::Burst => {
                self.fault(format!("client {client} says much at once"));
                self.burst(client, 5 + whom / 11 % 30);
            }
        }
    }

    /// A client reads nothing until then.
    pub(super) fn stall(&mut self, client: usize, until: u64) {
        if let Some(link) = self.clients[client].link.and_then(|link| self.links.get_mut(&link)) {
            link.stalled_until = link.stalled_until.max(until);
        }
    }

    /// Both ends learn that it is over.
    fn reset_link(&mut self, link: LinkId) {
        let Some(found) = self.links.get(&link) else { return };
        let (client, node) = (found.client, found.node);
        self.server_gone(link, true);
        self.leave(node, link);
        self.ended(client, link, None);
    }

    fn join_bus(&mut self, node: usize) {
        if std::mem::take(&mut self.nodes[node].bus_cut) {
            self.resume_in(node, 1_000, move |house| house.resynchronize(node));
        }
    }

    /// What was under way when the way was cut is lost, and with it the connections.
    fn reach_clients(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].clients_cut) {
            return;
        }
        let links = self.links.iter_mut().filter(|(_, link)| link.node == node);
        links.for_each(|(_, link)| link.dead = true);
    }

    pub(super) fn fault(&mut self, what: String) {
        self.note(Seen::Fault { what });
    }

    /// Nothing more goes wrong from here on; what stands still is let move on, and `Healed` is when the last of it does.
    pub(super) fn heal(&mut self) -> bool {
        self.healed = true;
        let faults = std::mem::take(&mut self.knobs.faults);
        self.knobs.faults = Rates { store_slow_us: faults.store_slow_us.min(1_000), ..Rates::default() };
        let stalls = self.links.values().map(|link| link.stalled_until);
        let still = stalls.chain(self.nodes.iter().map(|node| node.paused_until)).max().unwrap_or(0);
        let rests = self.until(still.max(self.now));
        for node in 0..self.nodes.len() {
            self.nodes[node].store_cut = false;
            self.nodes[node].trap = None;
            self.join_bus(node);
            self.reach_clients(node);
            self.revive(node);
        }
        self.note(Seen::Healed);
        rests
    }

    /// The node is there again, as soon as it has gone.
    fn revive(&mut self, node: usize) {
        if self.nodes[node].draining {
            return self.later(100_000, move |house| house.revive(node));
        }
        self.start(node);
    }
}
