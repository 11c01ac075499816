//! Everything a sequencer folds: the room, and what was answered. Kept as a snapshot: one version byte, a
//! checksum, and [`crate::codec`]'s bytes. An unreadable snapshot costs a replay from the first record, nothing else.

use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use super::event::Event;
use super::requests::Requests;
use super::state::{Continuation, Contradiction, RoomState};
use crate::codec::{self, DecodeError};
use crate::id::{Revision, RoomId};
use crate::log::{Head, Item, Record};

/// A room and its answered requests.
const VERSION: u8 = 1;
/// The same, and where an operator had the room go on: written only where one did.
const CONTINUED: u8 = 2;

/// A room and its answered requests, at one revision.
#[derive(Debug, Clone)]
pub struct Fold {
    /// The room.
    pub state: RoomState,
    /// Its answered requests.
    pub requests: Requests,
    /// The revision of the snapshot it began with; zero when it was folded from the first record.
    kept: Revision,
}

/// Folds of the same log at the same revision are equal, whatever they began with.
impl PartialEq for Fold {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state && self.requests == other.requests
    }
}

impl Eq for Fold {}

/// Why bytes are no snapshot of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSnapshot {
    /// Written by another version of the program.
    #[error("snapshot version {0:?}")]
    Version(Option<u8>),
    /// Cut off, or changed since it was written.
    #[error("snapshot does not match its checksum")]
    Checksum,
    /// Not readable.
    #[error("snapshot: {0}")]
    Bytes(#[from] DecodeError),
}

impl Fold {
    /// Before the first revision; remembers the answers to `remembered` requests.
    pub fn new(room: RoomId, remembered: u32) -> Self {
        Self { state: RoomState::new(room), requests: Requests::new(room, remembered), kept: Revision::ZERO }
    }

    /// Folds a record that leads to the head `after`.
    pub fn apply(&mut self, record: &Record<Event>, after: Head) -> Result<(), Contradiction> {
        self.state.apply(record, after)?;
        self.requests.apply(record);
        Ok(())
    }

    pub(crate) fn apply_item(&mut self, item: &Item<'_, Event>) -> Result<(), Contradiction> {
        self.state.apply_item(item)?;
        self.requests.apply_item(item);
        Ok(())
    }

    /// The snapshot.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let (version, body) = match self.state.continued() {
            None => (VERSION, codec::encode(&(&self.state, &self.requests))),
            Some(continued) => (CONTINUED, codec::encode(&(&self.state, &self.requests, continued))),
        };
        let mut bytes = Vec::with_capacity(1 + CHECKSUM + body.len());
        bytes.push(version);
        bytes.extend(checksum(&body));
        bytes.extend(body);
        bytes
    }

    /// The revision of the snapshot that this fold began with.
    pub(crate) fn kept(&self) -> Revision {
        self.kept
    }

    /// Reads a snapshot.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, MalformedSnapshot> {
        let Some((&version @ (VERSION | CONTINUED), rest)) = bytes.split_first() else {
            return Err(MalformedSnapshot::Version(bytes.first().copied()));
        };
        let (sum, body) = rest.split_first_chunk::<CHECKSUM>().ok_or(MalformedSnapshot::Checksum)?;
        if *sum != checksum(body) {
            return Err(MalformedSnapshot::Checksum);
        }
        let (state, requests): (RoomState, Requests) = match version {
            VERSION => codec::decode(body)?,
            _ => {
                let (mut state, requests, continued): (RoomState, Requests, Continuation) = codec::decode(body)?;
                state.set_continued(Some(continued));
                (state, requests)
            }
        };
        let kept = state.head().revision;
        Ok(Self { state, requests, kept })
    }
}

/// Bytes of SHA-256 that are kept: against accidents, not against people.
const CHECKSUM: usize = 16;

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let full: [u8; 32] = Sha256::digest(body).into();
    core::array::from_fn(|at| full[at])
}
