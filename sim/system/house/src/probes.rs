//! States that a good batch of runs must visit. A batch that did not says which, by name.

/// Those that runs with several nodes are to hit beside.
pub const AMONG: &[&str] = &[
    "a node stood still",
    "a node was cut off",
    "a node was far away",
    "drained one after the other",
    "killed between the disk and the answer",
    "nats-server lost power",
    "nats-server stood still",
    "nats-server was killed",
    "Valkey lost power",
    "Valkey stood still",
    "Valkey was killed",
];

/// Those of scripts alone.
pub(crate) const SCRIPTED: &[&str] = &[
    "an answer was asked for at somebody else's",
    "nats-server found an older disk",
    "what is no record was in a log",
];

/// What a batch of a scenario, or of none, is to hit.
pub fn of(scenario: Option<&str>) -> &'static [&'static str] {
    match scenario {
        None => ALL,
        Some("several-nodes") => AMONG,
        Some(_) => &[],
    }
}

/// Every probe of runs with one node.
pub const ALL: &[&str] = &[
    "a position was invented",
    "account event came",
    "append outcome unknown",
    "batch of several revisions",
    "client sealed a message",
    "clock jumped",
    "closed as slow",
    "connect timed out",
    "connection lost in silence",
    "connection reset",
    "disk failed a call",
    "drained under load",
    "event watched",
    "half closed",
    "killed",
    "link cut",
    "message deleted",
    "message edited",
    "gap fetched from the log",
    "key fetched from the vault",
    "key given over a socket",
    "opened again with the revision alone",
    "power failed in a commit",
    "power failed",
    "rate limited",
    "record found later",
    "reconnect storm",
    "refused as stale",
    "removed while the room was open",
    "request answered after a retry",
    "resumed with a position",
    "room loaded from a snapshot",
    "store failed after the effect",
    "store failed before the effect",
    "stranger never said hello",
    "void came",
];
