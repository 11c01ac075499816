//! Everything a sequencer folds: the room, and what was answered. Kept as a snapshot, as one version byte and
//! [`crate::codec`]'s bytes; an unreadable snapshot costs a replay from the first record, nothing else.

use alloc::vec::Vec;

use super::event::Event;
use super::requests::Requests;
use super::state::{Contradiction, RoomState};
use crate::codec::{self, DecodeError};
use crate::id::RoomId;
use crate::log::{Head, Item, Record};

/// The version written today.
const VERSION: u8 = 1;

/// A room and its answered requests, at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The room.
    pub state: RoomState,
    /// Its answered requests.
    pub requests: Requests,
}

/// Why bytes are no snapshot of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSnapshot {
    /// Written by another version of the program.
    #[error("snapshot version {0:?}")]
    Version(Option<u8>),
    /// Not readable.
    #[error("snapshot: {0}")]
    Bytes(#[from] DecodeError),
}

impl Fold {
    /// Before the first revision; remembers the answers to `remembered` requests.
    pub fn new(room: RoomId, remembered: u32) -> Self {
        Self { state: RoomState::new(room), requests: Requests::new(room, remembered) }
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
        let mut bytes = codec::encode(&(&self.state, &self.requests));
        bytes.insert(0, VERSION);
        bytes
    }

    /// Reads a snapshot.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, MalformedSnapshot> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                let (state, requests) = codec::decode(rest)?;
                Ok(Self { state, requests })
            }
            other => Err(MalformedSnapshot::Version(other.map(|(version, _)| *version))),
        }
    }
}
