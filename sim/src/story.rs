//! The story of a run: what clients sent and saw, what stores took and hold, what went wrong, in the order in which it came to
//! pass. Both levels of the simulator write one; oracles ([`crate::judge`]) read it and nothing else, so that no machine is
//! asked for its own opinion.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::limits::Limits;
use chamberlain_core::log::RecordBytes;
use chamberlain_core::site::SiteKeys;
use chamberlain_core::wire::{ClientFrame, Codec, ServerFrame};

use crate::room_model::Person;

/// One connection of one client; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A node, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A client: one program of one person, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// Somebody in the story: a line of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A client.
    Client(ClientId),
    /// A node.
    Node(NodeId),
    /// The logs.
    Logs,
    /// The vault.
    Vault,
    /// Snapshots and marks.
    Shelf,
    /// The bus between nodes.
    Bus,
}

/// One thing that came to pass.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A client connected, and said hello.
    Connected {
        /// The connection.
        link: LinkId,
        /// Whose.
        client: ClientId,
        /// As whom.
        account: AccountId,
        /// To which node.
        node: NodeId,
        /// Which codec.
        codec: Codec,
        /// Whether several revisions may come in one frame.
        batch: bool,
    },
    /// A client sent a frame; it may not arrive.
    Sent {
        /// Over which connection.
        link: LinkId,
        /// The frame.
        frame: ClientFrame,
    },
    /// A frame came to a client.
    Came {
        /// Over which connection.
        link: LinkId,
        /// The frame.
        frame: ServerFrame,
    },
    /// A connection ended, as its client sees it. Nothing comes over it afterwards.
    Ended {
        /// Which.
        link: LinkId,
        /// The close code, where one came.
        code: Option<u16>,
    },
    /// A node holds so much for a connection that was not taken yet. Written when it grows; the model level can look inside.
    Holds {
        /// The connection.
        link: LinkId,
        /// Frames, answers and notes that wait.
        items: u64,
        /// Bytes of them.
        bytes: u64,
    },
    /// A log took a record: from here on it is durable.
    Landed {
        /// The log.
        log: LogId,
        /// The record.
        record: RecordBytes,
    },
    /// A body was erased.
    Erased {
        /// The log.
        log: LogId,
        /// The revision.
        revision: Revision,
    },
    /// The vault took a secret, the first of its version.
    Put {
        /// The room.
        room: RoomId,
        /// The version.
        version: KeyVersion,
        /// The secret.
        secret: RoomSecret,
    },
    /// A snapshot of a log was kept.
    Kept {
        /// The log.
        log: LogId,
        /// The revision that it says.
        revision: Revision,
        /// The snapshot.
        bytes: Bytes,
    },
    /// A node stopped appending to a room.
    Quarantined {
        /// The room.
        room: RoomId,
        /// Why.
        what: String,
    },
    /// A node began, or began again.
    Started {
        /// Which.
        node: NodeId,
    },
    /// A node ended: with a word to its clients, or without.
    Stopped {
        /// Which.
        node: NodeId,
        /// Whether it was drained; else it crashed.
        drained: bool,
    },
    /// Something went wrong, on purpose; in words.
    Fault {
        /// What.
        what: String,
    },
    /// Faults end here: from now on everybody is to be caught up within the bound.
    Healed,
    /// The clients stop asking for anything new here, and the run ends when they are caught up or the bound has passed.
    Quiet,
    /// A message between two that arrived just now; told in detailed stories only, and read by no oracle.
    Passed {
        /// From whom.
        from: Lane,
        /// To whom.
        to: Lane,
        /// When it left.
        left: u64,
        /// What it says, in words.
        what: String,
    },
    /// What somebody holds from now on; told in detailed stories only, and read by no oracle.
    State {
        /// Who.
        of: Lane,
        /// What, in words: `garden: delivered 4, claimed 5..=7, head 9`.
        what: String,
    },
}

/// What the stores hold at the end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// Every log, as it is stored after erasures.
    pub logs: BTreeMap<LogId, Vec<RecordBytes>>,
    /// Every secret.
    pub vault: BTreeMap<(RoomId, KeyVersion), RoomSecret>,
    /// Every mark.
    pub marks: BTreeMap<String, u64>,
    /// Every node that could still not serve, in words; empty in a good run.
    pub unwell: Vec<String>,
}

/// Everything that was seen of one run.
#[derive(Debug, Clone)]
pub struct Story {
    /// The site's keys, to read positions and ids with.
    pub keys: Arc<SiteKeys>,
    /// The limits of the run.
    pub limits: Arc<Limits>,
    /// Everybody whom the directory knows from the start. Where nobody is told, refusals are not held against the rules.
    pub people: Vec<Person>,
    /// Whether stores kept their promises: no acknowledged record or secret was lost. Where one was lost on purpose, what
    /// follows from it is told plainly, and only that is asked for.
    pub stores_whole: bool,
    /// Whether old versions of keys are handed out for ever.
    pub keeps_keys: bool,
    /// Whether messages and states are told as well: for people, at a cost.
    pub detailed: bool,
    /// From [`Seen::Healed`] on everybody is caught up, and every request answered, within so many microseconds.
    pub patience: u64,
    /// What came to pass, and when, in microseconds of simulated time. Times never fall.
    pub seen: Vec<(u64, Seen)>,
    /// What the stores hold at the end.
    pub ending: Ending,
    /// Probes that the run hit, by name.
    pub probes: std::collections::BTreeSet<&'static str>,
}

impl Story {
    /// A story that has not begun.
    pub fn new(keys: Arc<SiteKeys>, limits: Arc<Limits>, patience: u64) -> Self {
        Self {
            keys,
            limits,
            people: Vec::new(),
            stores_whole: true,
            keeps_keys: false,
            detailed: false,
            patience,
            seen: Vec::new(),
            ending: Ending::default(),
            probes: std::collections::BTreeSet::new(),
        }
    }

    /// Writes down what came to pass.
    pub fn note(&mut self, at: u64, seen: Seen) {
        debug_assert!(self.seen.last().is_none_or(|(before, _)| *before <= at), "time fell");
        self.seen.push((at, seen));
    }

    /// A state that a good batch of runs must visit was visited.
    pub fn probe(&mut self, name: &'static str) {
        self.probes.insert(name);
    }
}
