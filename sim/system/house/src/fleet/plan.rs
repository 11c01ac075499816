//! What a run with several nodes is like beside what every run is like.

use std::fmt;
use std::time::Duration;

use chamberlain_core::limits::Limits;
use chamberlain_sim::tape::{Actor, Tape};
use tokio::sim::Link;

const PLAN: Actor = Actor::only("fleet plan");

/// Faults that a run with several nodes may have beside those of its clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct FleetArmed {
    /// The process of a node is killed.
    pub kill_node: bool,
    /// The machine of a node loses power.
    pub power_node: bool,
    /// A node stands still for a while.
    pub pause_node: bool,
    /// A node is drained and started again.
    pub drain_node: bool,
    /// All nodes are, one after the other.
    pub roll: bool,
    /// A node is cut off from the servers, or one of them, in one direction or both.
    pub cut_node: bool,
    /// Its links to them are slow and lose much.
    pub narrow_node: bool,
    /// A node's wall clock jumps.
    pub clock: bool,
    /// nats-server is killed.
    pub kill_nats: bool,
    /// Its machine loses power.
    pub power_nats: bool,
    /// It stands still.
    pub pause_nats: bool,
    /// Valkey is killed.
    pub kill_vault: bool,
    /// Its machine loses power.
    pub power_vault: bool,
    /// It stands still.
    pub pause_vault: bool,
}

/// What a run with several nodes is like.
#[derive(Debug, Clone)]
pub struct FleetPlan {
    /// How many nodes.
    pub nodes: u32,
    /// Links between nodes and servers.
    pub backbone: Link,
    /// How long nats-server takes to store a message, at least and at most.
    pub storing: (Duration, Duration),
    /// How long Valkey takes to sync a write.
    pub sync_takes: Duration,
    /// Connections of a node to Valkey.
    pub connections: usize,
    /// Whether nodes are on NATS subjects for clients, too.
    pub subjects: bool,
    /// Faults that may go on at the same time.
    pub at_once: u32,
    /// Milliseconds between one fault and the next, at most.
    pub calm_ms: u64,
    /// Which there are.
    pub armed: FleetArmed,
}

impl Default for FleetPlan {
    /// Three nodes, and nothing goes wrong.
    fn default() -> Self {
        Self {
            nodes: 3,
            backbone: Link { latency: 400, jitter: 300, ..Link::default() },
            storing: (Duration::from_micros(200), Duration::from_millis(3)),
            sync_takes: Duration::from_millis(1),
            connections: 2,
            subjects: false,
            at_once: 0,
            calm_ms: 0,
            armed: FleetArmed::default(),
        }
    }
}

impl FleetPlan {
    /// The plan of a tape.
    pub(crate) fn of(tape: &mut Tape) -> Self {
        let mut armed = FleetArmed::default();
        for (name, flag) in armed.flags() {
            *flag = tape.chance(PLAN, name, 35);
        }
        let micros = |tape: &mut Tape, kind, choices: &[u64]| Duration::from_micros(*tape.pick(PLAN, kind, choices));
        let least = micros(tape, "storing", &[200, 50, 2_000]);
        Self {
            nodes: *tape.pick(PLAN, "nodes", &[3, 2, 3]),
            backbone: Link {
                latency: *tape.pick(PLAN, "latency", &[300, 50, 3_000, 20_000]),
                jitter: *tape.pick(PLAN, "jitter", &[0, 300, 10_000]),
                loss: *tape.pick(PLAN, "loss", &[0, 0, 2, 10]),
                ..Link::default()
            },
            storing: (least, least + micros(tape, "storing longer", &[1_000, 10_000, 60_000])),
            sync_takes: micros(tape, "sync_takes", &[500, 0, 5_000, 30_000]),
            connections: *tape.pick(PLAN, "connections", &[2, 1, 4]),
            subjects: false,
            at_once: *tape.pick(PLAN, "at_once", &[1, 2, 3]),
            calm_ms: *tape.pick(PLAN, "calm_ms", &[5_000, 1_500, 500]),
            armed,
        }
    }

    /// Limits of nodes among others, such that what they bound happens.
    pub(crate) fn limits(tape: &mut Tape, limits: Limits) -> Limits {
        let announce_ms = *tape.pick(PLAN, "announce_ms", &[limits.announce_ms, 200, 500]);
        Limits {
            announce_ms,
            silent_ms: announce_ms * *tape.pick(PLAN, "silent", &[4, 3, 10]),
            // Several times as long as the way there and back over the slowest links: an owner that never answers in time leaves every
            // refusal without the last word.
            forward_ms: *tape.pick(PLAN, "forward_ms", &[limits.forward_ms, 400, 1_000]),
            forwards_waiting: *tape.pick(PLAN, "forwards_waiting", &[limits.forwards_waiting, 1, 4]),
            ..limits
        }
    }
}

impl FleetArmed {
    fn flags(&mut self) -> [(&'static str, &mut bool); 14] {
        [
            ("kill_node", &mut self.kill_node),
            ("power_node", &mut self.power_node),
            ("pause_node", &mut self.pause_node),
            ("drain_node", &mut self.drain_node),
            ("roll", &mut self.roll),
            ("cut_node", &mut self.cut_node),
            ("narrow_node", &mut self.narrow_node),
            ("clock", &mut self.clock),
            ("kill_nats", &mut self.kill_nats),
            ("power_nats", &mut self.power_nats),
            ("pause_nats", &mut self.pause_nats),
            ("kill_vault", &mut self.kill_vault),
            ("power_vault", &mut self.power_vault),
            ("pause_vault", &mut self.pause_vault),
        ]
    }
}

/// In words.
impl fmt::Display for FleetPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, backbone, storing, sync_takes, connections, subjects: _, at_once, calm_ms, mut armed } =
            *self;
        let armed: Vec<&str> = armed.flags().into_iter().filter(|(_, on)| **on).map(|(name, _)| name).collect();
        let armed = if armed.is_empty() { "none".to_owned() } else { armed.join(" ") };
        writeln!(
            f,
            "{nodes} nodes, which have {connections} connections each to a Valkey that syncs in {sync_takes:?},"
        )?;
        writeln!(f, "and a nats-server that stores in {:?} to {:?}, over {backbone:?}", storing.0, storing.1)?;
        write!(f, "faults of theirs, {at_once} at once, {calm_ms} ms from one to the next: {armed}")
    }
}
