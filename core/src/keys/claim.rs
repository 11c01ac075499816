//! What an envelope claims to be.
//!
//! A claim is the associated data of the seal: an envelope opens only when the claim it is opened with is, field by field,
//! the one it was sealed with. Nothing of it travels in the envelope but the version; the log's record says the rest.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::suite::{Field, prefixed};
use crate::id::{AccountId, KeyVersion, MessageId, RoomId};

/// Who speaks in a body: a member, or the room about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyKind {
    /// A member's message.
    Message,
    /// A system message: told by the room.
    System,
}

impl BodyKind {
    /// The kind as the associated data and the wire have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::System => "system",
        }
    }
}

/// What an envelope claims to be; bound to the ciphertext as associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The room it was said in.
    pub room: RoomId,
    /// The key version it is sealed under.
    pub version: KeyVersion,
    /// Who speaks: a member, or the room.
    pub kind: BodyKind,
    /// The account that said it, or did what is told.
    pub sender: &'a AccountId,
    /// The message, as its sender names it.
    pub message: MessageId,
    /// 0 for the first text of the message, then 1, 2, ...
    pub edit: u32,
}

impl Claim<'_> {
    /// The associated data: room, version, kind, sender, message id, edit, each with its length as a big-endian `u32` in
    /// front. No two claims have the same bytes.
    pub fn associated_data(&self) -> Vec<u8> {
        prefixed([
            Field::Text(self.room.as_str()),
            Field::Number(self.version.0),
            Field::Text(self.kind.as_str()),
            Field::Text(self.sender.as_str()),
            Field::Text(self.message.as_str()),
            Field::Number(self.edit),
        ])
    }
}
