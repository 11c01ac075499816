//! What a run is like, derived from its tape before it begins: limits, people, links, and which faults may happen. Each run
//! arms only some of them: what would hide behind one fault shows when that one is absent.

use std::fmt;

use chamberlain_core::limits::Limits;
use chamberlain_sim::tape::{Actor, Tape};
use tokio::sim::{Link, Machines};

use crate::fleet::FleetPlan;
use crate::stores::Trouble;

/// Clients of several nodes, at most: what they do costs more there, and a run is to stay short.
const MOST_AMONG: u32 = 8;
/// Seconds for which they work, at most.
const LONGEST_AMONG: u64 = 30;

const PLAN: Actor = Actor::only("plan");

/// Faults that a run may have. All false is a run in which nothing goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Armed {
    /// The server's process is killed; its machine goes on.
    pub kill: bool,
    /// The server's machine loses power, between calls of the disk or within one.
    pub power: bool,
    /// The server is stopped in an orderly way and started again.
    pub drain: bool,
    /// The disk fails calls.
    pub disk: bool,
    /// Stores fail, before or after the effect, and are slow.
    pub stores: bool,
    /// Clients do not read for a while.
    pub slow: bool,
    /// Clients vanish without a word.
    pub silence: bool,
    /// Clients close half of the connection.
    pub half_close: bool,
    /// Connections are reset.
    pub reset: bool,
    /// Everybody reconnects at once.
    pub storm: bool,
    /// Links are cut, in one direction or both.
    pub cut: bool,
    /// Links become slow.
    pub narrow: bool,
    /// The server's wall clock jumps.
    pub clock: bool,
    /// Somebody connects who never says hello.
    pub strangers: bool,
}

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The node's limits.
    pub limits: Limits,
    /// Clients.
    pub clients: u32,
    /// Accounts: some have several clients.
    pub accounts: u32,
    /// Simulated seconds during which clients work and faults happen.
    pub seconds: u64,
    /// Milliseconds between what a client does, at most.
    pub pace: u64,
    /// The machines' buffers.
    pub machines: Machines,
    /// How links are at first.
    pub link: Link,
    /// Which faults may happen.
    pub armed: Armed,
    /// How badly stores behave.
    pub trouble: Trouble,
    /// What it is like beside, where there are several nodes.
    pub fleet: Option<FleetPlan>,
}

impl Plan {
    /// The plan of a tape.
    pub fn of(tape: &mut Tape) -> Self {
        let mut armed = Armed::default();
        for (name, flag) in armed.flags() {
            *flag = tape.chance(PLAN, name, 40);
        }
        let clients: u32 = *tape.pick(PLAN, "clients", &[2, 3, 4, 5, 6, 8, 12, 24]);
        let limits = limits(tape);
        debug_assert_eq!(limits.check(), Ok(()));
        Self {
            accounts: *tape.pick(PLAN, "accounts", &[clients, clients.div_ceil(2), clients.div_ceil(3).max(2)]),
            clients,
            seconds: *tape.pick(PLAN, "seconds", &[20, 10, 30, 60]),
            pace: *tape.pick(PLAN, "pace", &[400, 150, 1_500, 60]),
            machines: Machines {
                send_buffer: *tape.pick(PLAN, "send_buffer", &[64 * 1024, 4 * 1024, 16 * 1024]),
                receive_buffer: *tape.pick(PLAN, "receive_buffer", &[64 * 1024, 4 * 1024, 16 * 1024]),
                segment: *tape.pick(PLAN, "segment", &[16 * 1024, 1_400, 300]),
                partial: *tape.pick(PLAN, "partial", &[0, 30]),
                give_up: 120,
            },
            link: Link {
                latency: *tape.pick(PLAN, "latency", &[300, 50, 5_000, 60_000]),
                jitter: *tape.pick(PLAN, "jitter", &[0, 200, 20_000]),
                bandwidth: *tape.pick(PLAN, "bandwidth", &[0, 0, 200_000, 30_000]),
                loss: *tape.pick(PLAN, "loss", &[0, 0, 5, 30]),
                cut: false,
            },
            trouble: if armed.stores {
                Trouble {
                    before: *tape.pick(PLAN, "before", &[0, 1, 5, 15]),
                    after: *tape.pick(PLAN, "after", &[0, 1, 5, 15]),
                    slow: *tape.pick(PLAN, "slow", &[0, 5, 30]),
                    slowness: *tape.pick(PLAN, "slowness", &[20, 200, 1_500]),
                }
            } else {
                Trouble::default()
            },
            armed,
            limits,
            fleet: None,
        }
    }

    /// The plan of a tape for several nodes over servers that they share.
    pub fn among(tape: &mut Tape) -> Self {
        let plan = Self::of(tape);
        let clients = plan.clients.min(MOST_AMONG);
        // What happens to nodes and disks is drawn apart, for each machine there is.
        let armed = Armed { kill: false, power: false, drain: false, disk: false, clock: false, ..plan.armed };
        let limits = FleetPlan::limits(tape, plan.limits);
        debug_assert_eq!(limits.check(), Ok(()));
        let accounts = plan.accounts.min(clients);
        let seconds = plan.seconds.min(LONGEST_AMONG);
        Self { clients, accounts, seconds, armed, limits, fleet: Some(FleetPlan::of(tape)), ..plan }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u32 {
        self.fleet.as_ref().map_or(1, |fleet| fleet.nodes)
    }
}

/// Limits such that what they bound happens.
fn limits(tape: &mut Tape) -> Limits {
    let usual = Limits::default();
    let ping = *tape.pick(PLAN, "ping_ms", &[usual.ping_ms, 1_000, 4_000]);
    Limits {
        batch_items: *tape.pick(PLAN, "batch_items", &[usual.batch_items, 1, 2, 3, 7]),
        tail_records: *tape.pick(PLAN, "tail_records", &[usual.tail_records, 1, 2, 8, 32]),
        tail_bytes: *tape.pick(PLAN, "tail_bytes", &[usual.tail_bytes, 64 * 1024]),
        frame_out_bytes: *tape.pick(PLAN, "frame_out_bytes", &[usual.frame_out_bytes, 64 * 1024]),
        idle_rooms: *tape.pick(PLAN, "idle_rooms", &[usual.idle_rooms, 0, 1, 2]),
        snapshot_every: *tape.pick(PLAN, "snapshot_every", &[usual.snapshot_every, 16, 40]),
        replies_waiting: *tape.pick(PLAN, "replies_waiting", &[usual.replies_waiting, 16, 64]),
        record_commands: *tape.pick(PLAN, "record_commands", &[usual.record_commands, 1, 3]),
        messages_per_key: *tape.pick(PLAN, "messages_per_key", &[usual.messages_per_key, 5, 20]),
        edits_per_message: *tape.pick(PLAN, "edits_per_message", &[usual.edits_per_message, 2]),
        room_members: *tape.pick(PLAN, "room_members", &[usual.room_members, 3]),
        large_room: *tape.pick(PLAN, "large_room", &[usual.large_room, 4]),
        room_queue: *tape.pick(PLAN, "room_queue", &[usual.room_queue, 2, 16]),
        command_deadline_ms: *tape.pick(PLAN, "command_deadline_ms", &[usual.command_deadline_ms, 300, 2_000]),
        retry_first_ms: *tape.pick(PLAN, "retry_first_ms", &[usual.retry_first_ms, 1, 200]),
        retry_most_ms: *tape.pick(PLAN, "retry_most_ms", &[usual.retry_most_ms, 300]),
        sealers_per_key: *tape.pick(PLAN, "sealers_per_key", &[usual.sealers_per_key, 1, 4]),
        submits_per_second: *tape.pick(PLAN, "submits_per_second", &[usual.submits_per_second, 5]),
        submits_burst: *tape.pick(PLAN, "submits_burst", &[usual.submits_burst, 5]),
        open_rooms: *tape.pick(PLAN, "open_rooms", &[usual.open_rooms, 64]),
        hello_ms: *tape.pick(PLAN, "hello_ms", &[usual.hello_ms, 2_000]),
        ping_ms: ping,
        dead_ms: ping * 2 + *tape.pick(PLAN, "dead_ms", &[10_000, 2_000]),
        slow_ms: *tape.pick(PLAN, "slow_ms", &[usual.slow_ms, 1_000, 5_000]),
        drain_ms: *tape.pick(PLAN, "drain_ms", &[usual.drain_ms, 200, 1_500]),
        ..usual
    }
}

impl Armed {
    fn flags(&mut self) -> [(&'static str, &mut bool); 14] {
        [
            ("kill", &mut self.kill),
            ("power", &mut self.power),
            ("drain", &mut self.drain),
            ("disk", &mut self.disk),
            ("stores", &mut self.stores),
            ("slow", &mut self.slow),
            ("silence", &mut self.silence),
            ("half_close", &mut self.half_close),
            ("reset", &mut self.reset),
            ("storm", &mut self.storm),
            ("cut", &mut self.cut),
            ("narrow", &mut self.narrow),
            ("clock", &mut self.clock),
            ("strangers", &mut self.strangers),
        ]
    }
}

/// In words: what is not as usual.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, accounts, seconds, pace, machines, link, armed, trouble, .. } = self;
        let mut armed = *armed;
        let armed: Vec<&str> = armed.flags().into_iter().filter(|(_, on)| **on).map(|(name, _)| name).collect();
        let armed = if armed.is_empty() { "none".to_owned() } else { armed.join(" ") };
        writeln!(f, "{clients} clients of {accounts} accounts for {seconds} s, a step within {pace} ms")?;
        writeln!(f, "faults: {armed}")?;
        writeln!(f, "{machines:?}")?;
        writeln!(f, "{link:?}")?;
        if armed.contains("stores") {
            writeln!(f, "{trouble:?}")?;
        }
        if let Some(fleet) = &self.fleet {
            writeln!(f, "{fleet}")?;
        }
        let text = |limits: &Limits| format!("{limits:#?}");
        let (ours, usual) = (text(&self.limits), text(&Limits::default()));
        let other = ours.lines().zip(usual.lines()).filter(|(ours, usual)| ours != usual);
        let other: Vec<&str> = other.map(|(ours, _)| ours.trim().trim_end_matches(',')).collect();
        write!(f, "limits: {}", if other.is_empty() { "as usual".to_owned() } else { other.join(", ") })
    }
}
