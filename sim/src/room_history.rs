//! What was seen of a room from outside: what was asked and answered, what the stores took, in the order in which it came
//! to pass. Oracles read this, or the story that it is turned into, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use chamberlain_core::id::{AccountId, KeyVersion, LogId, RequestId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes};
use chamberlain_core::room::{Command, Outcome, Refused};
use chamberlain_core::sequencer::Ticket;
use chamberlain_core::wire::{Answer, ClientFrame, Codec, ServerFrame};

use crate::plan;
use crate::story::{ClientId, LinkId, NodeId, Seen as Told, Story};

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

    /// The same as a story, each command over a connection of its own. Answers to commands that do not name the room are left
    /// out: here they are all about this one, and a client would be told of another.
    pub fn story(&self) -> Story {
        let mut story = Story::new(Arc::new(plan::site_keys()), Arc::new(plan::limits()), self.deadline);
        story.people = plan::people();
        let mut asked: BTreeMap<Ticket, RequestId> = BTreeMap::new();
        let mut landing = self.log.iter();
        for (at, seen) in &self.seen {
            let mut note = |seen| story.seen.push((*at, seen));
            match seen {
                Seen::Asked { ticket, node, who, request, command } => {
                    let (link, client, node) = (link(*ticket), ClientId(0), NodeId(*node as u32));
                    let (account, codec, batch) = (who.clone(), Codec::Bincode, true);
                    note(Told::Connected { link, client, account, node, codec, batch });
                    note(Told::Sent { link, frame: ClientFrame::Command { id: *request, command: command.clone() } });
                    if command.room().is_some() {
                        asked.insert(*ticket, *request);
                    }
                }
                Seen::Answered { ticket, result } => {
                    let Some(id) = asked.get(ticket).copied() else { continue };
                    let frame = match result {
                        Ok(outcome) => ServerFrame::Ok { id, answer: Answer::Outcome(*outcome) },
                        Err(refused) => ServerFrame::Error {
                            id: Some(id),
                            room: Some(self.room),
                            code: refused.code(),
                            reason: refused.reason,
                            message: refused.message.clone().into_owned(),
                            current: refused.current,
                        },
                    };
                    note(Told::Came { link: link(*ticket), frame });
                }
                Seen::Landed => {
                    if let Some(record) = landing.next() {
                        note(Told::Landed { log: LogId::Room(self.room), record: record.clone() });
                    }
                }
                Seen::Put { version } => {
                    if let Some(secret) = self.vault.get(version) {
                        note(Told::Put { room: self.room, version: *version, secret: secret.clone() });
                    }
                }
                Seen::Kept { revision, bytes } => {
                    note(Told::Kept { log: LogId::Room(self.room), revision: *revision, bytes: bytes.clone() });
                }
                Seen::Quarantined { what } => note(Told::Quarantined { room: self.room, what: (*what).into() }),
                Seen::Told { .. } | Seen::Committed { .. } | Seen::Loaded { .. } | Seen::Crashed { .. } => {}
            }
        }
        story.ending.logs.insert(LogId::Room(self.room), self.erased.clone());
        story.ending.vault =
            self.vault.iter().map(|(version, secret)| ((self.room, *version), secret.clone())).collect();
        story
    }
}

fn link(ticket: Ticket) -> LinkId {
    LinkId(ticket.0 as u32)
}
