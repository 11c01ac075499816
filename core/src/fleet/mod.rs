//! The nodes of a site: which of them live, and which of them sequences a room. DESIGN.md, "Who sequences a room".
//!
//! A node says every so often that it is there; one that was not heard for a while is gone until it is heard again. A room is
//! sequenced by the node that comes first when all that live and serve are ranked for it (rendezvous hashing): every node that
//! knows of the same nodes names the same one, and one that comes or goes moves only the rooms that it is first for.
//!
//! All of this is a hint. Two nodes that both believe a room to be theirs are serialized by compare-and-append; a command sent
//! to a node that is gone, or paused, is carried out by the one that has it. So there is no election and no lease to get wrong.

mod letter;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use letter::{Letter, LetterError, LetterSealer, MOST_ACCOUNTS, Verdict, open_letter};

use crate::id::RoomId;
use crate::room::EVENT_KINDS;
use crate::time::Instant;

/// One run of a node, from its start to its end: drawn when it begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Life(pub [u8; 16]);

/// As 32 hexadecimal digits.
impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({self})")
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its name, the same in every life.
    pub name: String,
    /// This life.
    pub life: Life,
    /// Whether it takes commands: not while it drains.
    pub serves: bool,
    /// How many kinds of events it knows: they are numbered from zero, and a newer program knows more.
    pub kinds: u32,
    /// Its program's version, for operators.
    pub version: String,
}

/// Something a fleet is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Another node says that it is there.
    Heard(Announcement),
    /// A node's life is over, or nobody listens under it.
    Gone(Life),
    /// This node takes no more commands.
    Drain,
    /// Time has passed.
    Tick,
}

/// Something a fleet wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// To tell all nodes.
    Announce(Announcement),
    /// Other nodes live, or serve, than before: rooms may have another owner.
    Changed,
    /// Another node has this one's name.
    Namesake {
        /// Its life.
        life: Life,
    },
}

/// Another node, as it was last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Peer {
    said: Announcement,
    heard: Instant,
}

/// The nodes of a site, as one of them knows them.
#[derive(Debug, Clone)]
pub struct Fleet {
    me: Announcement,
    /// By life: a node that began anew is heard beside its former life until that is silent for long enough.
    peers: BTreeMap<Life, Peer>,
    announce_every: Duration,
    silent: Duration,
    next_announcement: Instant,
}

/// Nodes that are remembered, at most; those beyond are not heard.
pub const NODES_MOST: usize = 1_000;

impl Fleet {
    /// A node that knows of no others yet. It announces itself every `announce_every`, and takes others for gone that were
    /// silent for `silent`.
    pub fn new(me: Announcement, announce_every: Duration, silent: Duration) -> Self {
        Self { me, peers: BTreeMap::new(), announce_every, silent, next_announcement: Instant(0) }
    }

    /// What an up-to-date program says of itself.
    pub fn announcement(name: String, life: Life, version: String) -> Announcement {
        Announcement { name, life, serves: true, kinds: EVENT_KINDS.len() as u32, version }
    }

    /// Takes one input.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Heard(said) => self.hear(now, said, out),
            Input::Gone(life) => {
                if self.peers.remove(&life).is_some() {
                    out.push(Effect::Changed);
                }
            }
            Input::Drain => {
                self.me.serves = false;
                self.next_announcement = now;
                out.push(Effect::Changed);
            }
            Input::Tick => {}
        }
        let before = self.peers.len();
        let silent = self.silent;
        self.peers.retain(|_, peer| now.since(peer.heard) < silent);
        if self.peers.len() < before {
            out.push(Effect::Changed);
        }
        if now >= self.next_announcement {
            self.next_announcement = now.after(self.announce_every);
            out.push(Effect::Announce(self.me.clone()));
        }
    }

    /// When it wants to be told the time next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let silent = self.peers.values().map(|peer| peer.heard.after(self.silent)).min();
        Some(silent.map_or(self.next_announcement, |silent| silent.min(self.next_announcement)))
    }

    fn hear(&mut self, now: Instant, said: Announcement, out: &mut Vec<Effect>) {
        if said.life == self.me.life {
            return;
        }
        if said.name == self.me.name {
            out.push(Effect::Namesake { life: said.life });
        }
        let full = self.peers.len() >= NODES_MOST;
        match self.peers.get_mut(&said.life) {
            Some(peer) => {
                let moves = peer.said.serves != said.serves;
                *peer = Peer { said, heard: now };
                if moves {
                    out.push(Effect::Changed);
                }
            }
            None if full => {}
            None => {
                self.peers.insert(said.life, Peer { said, heard: now });
                // Who comes learns of us now, not at our next turn.
                self.next_announcement = now;
                out.push(Effect::Changed);
            }
        }
    }

    /// The node that sequences a room: none when it is this one.
    pub fn owner(&self, room: RoomId) -> Option<Life> {
        let others = self.peers.values().map(|peer| &peer.said).filter(|said| said.serves);
        let best = others.map(|said| (weight(&said.name, room), said.life)).max()?;
        let mine = self.me.serves.then(|| (weight(&self.me.name, room), self.me.life));
        (mine < Some(best)).then_some(best.1)
    }

    /// This node.
    pub fn me(&self) -> &Announcement {
        &self.me
    }

    /// The other nodes that live.
    pub fn others(&self) -> impl Iterator<Item = &Announcement> {
        self.peers.values().map(|peer| &peer.said)
    }

    /// The node that carries out a command for a room whose log this one cannot read: it knows more kinds of events.
    pub fn reader(&self, room: RoomId) -> Option<Life> {
        let others = self.peers.values().map(|peer| &peer.said);
        let others = others.filter(|said| said.serves && said.kinds > self.me.kinds);
        others.map(|said| (weight(&said.name, room), said.life)).max().map(|(_, life)| life)
    }

    /// The nodes that live and know fewer kinds of events than these.
    pub fn older_than(&self, kinds: u32) -> impl Iterator<Item = &Announcement> {
        core::iter::once(&self.me).chain(self.others()).filter(move |said| said.kinds < kinds)
    }

    /// How many kinds of events every node that lives knows: an event of a later kind is written only when it is below this,
    /// for the others could not read the log.
    pub fn kinds_known_by_all(&self) -> u32 {
        self.others().map(|said| said.kinds).fold(self.me.kinds, u32::min)
    }
}

/// How high a node ranks for a room.
fn weight(name: &str, room: RoomId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((name.len() as u32).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(room.as_str().as_bytes());
    hash.finalize().into()
}
