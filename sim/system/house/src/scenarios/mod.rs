//! Scripted runs, each with a name, for rows of RACES.md that want a certain order of things.
//!
//! A script panics where its own course is impossible, and objects where the server did what it must not; the oracles judge
//! the story besides.

mod keys;
mod lag;
mod lives;
mod servers;

use std::sync::Arc;

use chamberlain_core::limits::Limits;
use chamberlain_sim::tape::Tape;
use futures_util::future::BoxFuture;
use tokio::sim::{Link, Machines};

use crate::fleet::FleetPlan;
use crate::house::House;
use crate::plan::{Armed, Plan};
use crate::run::chaos;
use crate::stores::Trouble;

/// A scripted run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// What it is like.
    pub plan: fn(&mut Tape) -> Plan,
    /// What happens.
    pub run: fn(Arc<House>) -> BoxFuture<'static, ()>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "invented-position",
        what: "N-17: a position that nobody gave resets its opening and harms nobody",
        plan: |_| quiet(),
        run: |house| Box::pin(keys::invented_position(house)),
    },
    Scenario {
        name: "offline-at-hand-out",
        what: "K-18: who was away when a key was handed out gets it on return, and who was removed does not",
        plan: |_| quiet(),
        run: |house| Box::pin(keys::offline_at_hand_out(house)),
    },
    Scenario {
        name: "lag-for-ever",
        what: "N-19: a reader who always lags is not closed for it, and arrives",
        plan: |_| patient(),
        run: |house| Box::pin(lag::for_ever(house)),
    },
    Scenario {
        name: "opened-while-it-grows",
        what: "S-12: what lands while a room is opened arrives, whatever the opening waits for",
        plan: |_| sluggish(),
        run: |house| Box::pin(lag::opened_while_it_grows(house)),
    },
    Scenario {
        name: "added-in-a-row",
        what: "X1: what follows from a record is done though nothing happens after it",
        plan: |_| sluggish(),
        run: |house| Box::pin(lag::added_in_a_row(house)),
    },
    Scenario {
        name: "slow-and-back",
        what: "S-10: who takes no byte is closed as slow, others are not slowed, and it resumes without a gap",
        plan: |_| narrow(),
        run: |house| Box::pin(lag::slow_and_back(house)),
    },
    Scenario {
        name: "drain",
        what: "N-08: a drain under load ends, answers are true, everybody is told when to return, and does",
        plan: |_| quiet(),
        run: |house| Box::pin(lives::drain(house)),
    },
    Scenario {
        name: "power",
        what: "N-04: what was answered before the power failed is there, once",
        plan: |_| quiet(),
        run: |house| Box::pin(lives::power(house)),
    },
    Scenario {
        name: "clock-goes-back",
        what: "N-13: the wall clock goes back and times in logs do not",
        plan: |_| quiet(),
        run: |house| Box::pin(lives::clock_goes_back(house)),
    },
    Scenario {
        name: "silence",
        what: "a client that vanished without a word is noticed, and its place is free again",
        plan: |_| lonely(),
        run: |house| Box::pin(lives::silence(house)),
    },
    Scenario {
        name: "several-nodes",
        what: "whatever the tape makes of two or three nodes over nats-server and Valkey, killed, cut off, paused and drained",
        plan: Plan::among,
        run: |house| Box::pin(async move { chaos(&house).await }),
    },
    Scenario {
        name: "schedule",
        what: "three nodes through what real servers go through end to end: killed, without power, stopped, cut off, drained in a row",
        plan: |_| busy(),
        run: |house| Box::pin(servers::schedule(house)),
    },
    Scenario {
        name: "quiet-room",
        what: "N-15: what was said while a node was cut off comes there by itself, though nothing follows it",
        plan: |_| several(),
        run: |house| Box::pin(servers::quiet_room(house)),
    },
    Scenario {
        name: "older-disk",
        what: "N-14: nats-server comes back with an older disk, and no acknowledged revision becomes another one",
        plan: |_| several(),
        run: |house| Box::pin(servers::older_disk(house)),
    },
    Scenario {
        name: "unreadable-record",
        what: "N-01: a record that nobody can read stops its room and no other, and is not skipped",
        plan: |_| several(),
        run: |house| Box::pin(servers::unreadable(house)),
    },
    Scenario {
        name: "foreign-reply",
        what: "N-18: an answer on NATS subjects is published only where its requester may read",
        plan: |_| on_subjects(),
        run: |house| Box::pin(servers::foreign_reply(house)),
    },
];

/// Nothing goes wrong but what the script does.
fn quiet() -> Plan {
    Plan {
        limits: Limits { submits_per_second: 10_000, submits_burst: 10_000, ..Limits::default() },
        clients: 0,
        accounts: 0,
        seconds: 0,
        pace: 1,
        machines: Machines::default(),
        link: Link::default(),
        armed: Armed::default(),
        trouble: Trouble::default(),
        fleet: None,
    }
}

/// Three nodes, and nothing goes wrong but what the script does.
fn several() -> Plan {
    Plan { fleet: Some(FleetPlan::default()), ..quiet() }
}

/// The same, with people who write, over links that lose something.
fn busy() -> Plan {
    let backbone = Link { latency: 400, jitter: 300, loss: 2, ..Link::default() };
    let fleet = FleetPlan { backbone, ..FleetPlan::default() };
    let machines = Machines { partial: 10, ..Machines::default() };
    Plan { clients: 9, accounts: 9, pace: 400, machines, fleet: Some(fleet), ..quiet() }
}

/// The same as [`several`], with rooms on NATS subjects.
fn on_subjects() -> Plan {
    Plan { fleet: Some(FleetPlan { subjects: true, ..FleetPlan::default() }), ..quiet() }
}

/// Stores that often take their time.
fn sluggish() -> Plan {
    Plan { trouble: Trouble { slow: 700, slowness: 100, ..Trouble::default() }, ..quiet() }
}

/// Small buffers, small frames, little patience with a reader who takes nothing.
fn narrow() -> Plan {
    let machines = Machines { send_buffer: 4 * 1024, receive_buffer: 4 * 1024, ..Machines::default() };
    let limits = Limits { slow_ms: 5_000, tail_records: 4, batch_items: 8, ..quiet().limits };
    Plan { machines, limits, ..quiet() }
}

/// The same, with more patience than a reader needs who takes a little all the time.
fn patient() -> Plan {
    let narrow = narrow();
    Plan { limits: Limits { slow_ms: 15_000, ..narrow.limits.clone() }, ..narrow }
}

/// One connection an account.
fn lonely() -> Plan {
    let quiet = quiet();
    let limits = Limits { sockets_per_account: 1, ping_ms: 2_000, dead_ms: 6_000, ..quiet.limits.clone() };
    Plan { limits, ..quiet }
}
