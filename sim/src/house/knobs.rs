//! How a run is made: nodes, clients, limits, and what may go wrong in it. All of it is drawn; 0 is the plainest.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chamberlain_core::limits::Limits;

use super::WORLD;
use super::faults::Kind;
use crate::story::Lane;
use crate::tape::Tape;

/// What a run is made of.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    pub(crate) nodes: usize,
    /// Programs; there may be more of them than accounts.
    pub(crate) clients: usize,
    /// Steps of each client, at most.
    pub(crate) steps: u64,
    /// Channels that may be begun.
    pub(crate) channels: u32,
    /// Think time between two steps, in microseconds, at most.
    pub(crate) think_us: u64,
    /// Clients open every room that they learn of.
    pub(crate) eager: bool,
    /// Clients that were cut off keep no positions: they open everything from its start.
    pub(crate) forgetful: bool,
    /// Every node believes that it owns every room.
    pub(crate) stubborn: bool,
    /// Keys of versions that were replaced so many milliseconds ago are handed out no more; for ever, without it.
    pub(crate) grace_ms: Option<u64>,
    pub(crate) limits: Limits,
    /// What goes wrong by itself, at any time.
    pub(crate) faults: Rates,
    /// What may be made to go wrong.
    pub(crate) armed: Vec<Kind>,
    /// How often.
    pub(crate) blows: u64,
}

/// How often things go wrong by themselves, and how slow they are. The default is a good day.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates {
    pub(crate) store_slow_us: u64,
    /// Of a thousand operations.
    pub(crate) store_refuses: u32,
    /// Of a thousand operations.
    pub(crate) store_loses: u32,
    pub(crate) store_late_us: u64,
    /// Stores that do not answer at all.
    pub(crate) store_down: BTreeSet<Lane>,
    pub(crate) snapshots_stale: bool,
    pub(crate) bus_slow_us: u64,
    /// Of a hundred messages.
    pub(crate) bus_loses: u32,
    /// Of a hundred messages.
    pub(crate) bus_repeats: u32,
    pub(crate) link_slow_us: u64,
    pub(crate) link_narrow: bool,
    pub(crate) link_thin: bool,
    /// How late a connection wakes to its notes.
    pub(crate) wake_late_us: u64,
}

impl Knobs {
    /// A world without faults and with plain limits, for scripts.
    pub(crate) fn plain(nodes: usize, clients: usize) -> Self {
        Self {
            nodes,
            clients,
            steps: 0,
            channels: 100,
            think_us: 0,
            eager: false,
            forgetful: false,
            stubborn: false,
            grace_ms: None,
            limits: Limits::default(),
            faults: Rates::default(),
            armed: Vec::new(),
            blows: 0,
        }
    }

    /// Draws everything.
    pub(crate) fn draw(tape: &mut Tape) -> Self {
        let mut flip = |kind: &'static str| tape.draw(WORLD, kind, 2) == 1;
        let mut faults = Rates::default();
        if flip("arm-store-slow") {
            faults.store_slow_us = 30_000;
        }
        if flip("arm-store-refuses") {
            faults.store_refuses = if flip("refuses-often") { 150 } else { 30 };
        }
        if flip("arm-store-loses") {
            faults.store_loses = 30;
        }
        if flip("arm-store-late") {
            faults.store_late_us = 3_000_000;
        }
        faults.snapshots_stale = flip("arm-snapshots-stale");
        if flip("arm-bus-slow") {
            faults.bus_slow_us = 60_000;
        }
        if flip("arm-bus-loses") {
            faults.bus_loses = 10;
        }
        if flip("arm-bus-repeats") {
            faults.bus_repeats = 10;
        }
        if flip("arm-link-slow") {
            faults.link_slow_us = 60_000;
        }
        faults.link_narrow = flip("arm-link-narrow");
        faults.link_thin = flip("arm-link-thin");
        if flip("arm-wake-late") {
            faults.wake_late_us = 3_000;
        }
        let mut armed: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| flip(kind.arm())).collect();
        let eager = flip("eager");
        let stubborn = flip("stubborn");
        // Often two at the same time are enough for a failure; some need a connection that has much open, and lags in all of it.
        let many_rooms = tape.draw(WORLD, "many-rooms", 6) == 5;
        let mut limits = limits(tape);
        if many_rooms {
            armed.extend([Kind::Storm; 2]);
            limits.tail_records = limits.tail_records.min(2);
            faults.link_narrow = true;
        }
        Self {
            nodes: 1 + tape.draw(WORLD, "nodes", 3) as usize,
            clients: 2 + tape.draw(WORLD, "clients", 7) as usize,
            steps: 20 + tape.draw(WORLD, "steps", 80),
            channels: 1 + tape.draw(WORLD, "channels", 3) as u32 + if many_rooms { 12 } else { 0 },
            think_us: *tape.pick(WORLD, "think", &[20_000, 2_000, 100_000, 500_000]),
            eager: eager || many_rooms,
            forgetful: many_rooms,
            stubborn,
            grace_ms: *tape.pick(WORLD, "grace", &[None, None, Some(1_000), Some(50)]),
            limits,
            faults,
            armed,
            blows: tape.draw(WORLD, "blows", 12),
        }
    }

    /// One readable paragraph.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{} nodes, {} clients of up to {} steps", self.nodes, self.clients, self.steps);
        let plain = Limits::default();
        let (ours, theirs) = (format!("{:?}", self.limits), format!("{plain:?}"));
        let changed: Vec<&str> = ours
            .trim_start_matches("Limits { ")
            .trim_end_matches(" }")
            .split(", ")
            .filter(|part| !theirs.contains(&format!("{part},")) && !theirs.ends_with(&format!("{part} }}")))
            .collect();
        if !changed.is_empty() {
            let _ = write!(text, "; limits {}", changed.join(", "));
        }
        if let Some(ms) = self.grace_ms {
            let _ = write!(text, "; keys that were replaced are kept for {ms} ms");
        }
        let faults = &self.faults;
        let rates = [
            ("slow stores", faults.store_slow_us > 0),
            ("stores that refuse", faults.store_refuses > 0),
            ("stores whose answers are lost", faults.store_loses > 0),
            ("effects that come late", faults.store_loses > 0 && faults.store_late_us > 0),
            ("stale snapshots", faults.snapshots_stale),
            ("a slow bus", faults.bus_slow_us > 0),
            ("a bus that loses", faults.bus_loses > 0),
            ("a bus that repeats", faults.bus_repeats > 0),
            ("slow links", faults.link_slow_us > 0),
            ("narrow links", faults.link_narrow),
            ("thin links", faults.link_thin),
            ("connections that wake late", faults.wake_late_us > 0),
            ("clients that keep no positions", self.forgetful),
            ("nodes that all believe to own every room", self.stubborn && self.nodes > 1),
        ];
        let mut armed: Vec<&str> = rates.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        if self.blows > 0 {
            armed.extend(self.armed.iter().map(|kind| kind.words()));
        }
        let _ = match armed.is_empty() {
            true => write!(text, "; nothing goes wrong"),
            false => write!(text, "; {}", armed.join(", ")),
        };
        text
    }
}

/// Limits: each the default, or one that is met soon.
fn limits(tape: &mut Tape) -> Limits {
    let plain = Limits::default();
    let mut pick = |kind: &'static str, choices: &[u32]| *tape.pick(WORLD, kind, choices);
    let (ping_ms, dead_ms) =
        [(25_000, 60_000), (1_000, 4_000), (3_000, 10_000)][pick("limit-ping", &[0, 1, 2]) as usize];
    let (submits_per_second, submits_burst) = [(50, 100), (2, 5)][pick("limit-rate", &[0, 0, 0, 1]) as usize];
    Limits {
        room_members: pick("limit-members", &[10_000, 10_000, 5]),
        large_room: pick("limit-large", &[500, 500, 500, 3]),
        edits_per_message: pick("limit-edits", &[100, 3]),
        messages_per_key: pick("limit-key", &[100_000, 3, 8, 20]).into(),
        remembered_requests: pick("limit-remembered", &[16_384, 256]),
        record_commands: pick("limit-record", &[1_024, 1, 2, 5]),
        room_queue: pick("limit-queue", &[4_096, 4_096, 2, 20]),
        command_deadline_ms: pick("limit-deadline", &[10_000, 1_000, 3_000]),
        retry_first_ms: pick("limit-first", &[20, 1, 100]),
        retry_most_ms: pick("limit-most", &[2_000, 300]),
        snapshot_every: pick("limit-snapshot", &[4_096, 16, 30]),
        tail_records: pick("limit-tail", &[1_024, 1, 2, 4, 16]),
        idle_rooms: pick("limit-idle", &[1_000, 0]),
        frame_out_bytes: pick("limit-frame", &[1024 * 1024, 64 * 1024]),
        batch_items: pick("limit-batch", &[256, 1, 2, 5, 17]),
        open_rooms: pick("limit-open", &[1_000, 1_000, 1_000, 1]),
        sockets_per_account: pick("limit-sockets", &[16, 16, 16, 1]),
        submits_per_second,
        submits_burst,
        replies_waiting: pick("limit-replies", &[1_024, 16, 40]),
        ping_ms,
        dead_ms,
        slow_ms: pick("limit-slow", &[30_000, 1_000, 3_000]),
        drain_ms: pick("limit-drain", &[5_000, 200, 1_000]),
        history_items: pick("limit-history", &[100, 5]),
        sealers_per_key: pick("limit-sealers", &[1_024, 1]),
        ..plain
    }
}
