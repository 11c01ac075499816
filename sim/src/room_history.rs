//! What was seen of a room from outside: what was asked and answered, what the stores took, in the order in which it came
//! to pass. Oracles read this and nothing else.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes};
use chamberlain_core::room::{Command, Outcome, Refused};
use chamberlain_core::sequencer::Ticket;

/// One thing that came to pass.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A command reached a node.
    Asked {
        /// Names the answer.
        ticket: Ticket,
        /// Which node.
        node: usize,
        /// Who asks.
        who: AccountId,
        /// Under which id.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// A node answered.
    Answered {
        /// Which command.
        ticket: Ticket,
        /// What came of it.
        result: Result<Outcome, Refused>,
    },
    /// The log took a record: the next one of [`History::log`].
    Landed,
    /// The vault took a secret, the first of its version.
    Put {
        /// The version.
        version: KeyVersion,
    },
    /// The vault told a node a secret.
    Told {
        /// The version.
        version: KeyVersion,
        /// The secret.
        secret: RoomSecret,
    },
    /// A node announced a record as durable.
    Committed {
        /// Which node.
        node: usize,
        /// The head after it.
        after: Head,
    },
    /// A node loaded the room.
    Loaded {
        /// Which node.
        node: usize,
        /// The head it loaded.
        head: Head,
    },
    /// A node kept a snapshot.
    Kept {
        /// The revision it says.
        revision: Revision,
        /// The snapshot.
        bytes: bytes::Bytes,
    },
    /// A node was lost, with everything it had in memory.
    Crashed {
        /// Which node.
        node: usize,
    },
    /// A node stopped appending.
    Quarantined {
        /// Why.
        what: &'static str,
    },
}

/// Everything that was seen of one room.
#[derive(Debug, Clone)]
pub struct History {
    /// The room.
    pub room: RoomId,
    /// What the log took, as it was taken.
    pub log: Vec<RecordBytes>,
    /// The same after erasures.
    pub erased: Vec<RecordBytes>,
    /// What the vault holds.
    pub vault: BTreeMap<KeyVersion, RoomSecret>,
    /// What came to pass, and when, in microseconds.
    pub seen: Vec<(u64, Seen)>,
    /// From its arrival, a command is answered within so many microseconds.
    pub deadline: u64,
}

impl History {
    /// Nothing seen yet.
    pub fn new(room: RoomId, deadline: u64) -> Self {
        let (log, erased, vault, seen) = (Vec::new(), Vec::new(), BTreeMap::new(), Vec::new());
        Self { room, log, erased, vault, seen, deadline }
    }
}
