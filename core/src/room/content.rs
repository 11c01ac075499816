//! What is inside an envelope: JSON, so that a browser, a bot and a person with a debugger can all read it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::AccountId;

/// What a member says. Unknown fields beside `text` are the client's own and pass through unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageContent {
    /// The text, not empty after trimming.
    pub text: String,
}

/// Which system message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemKind {
    /// The room began.
    RoomCreated,
    /// Somebody was added.
    MembersAdded,
    /// Somebody left.
    MemberLeft,
    /// Somebody was removed.
    MemberRemoved,
    /// The channel has another name.
    RoomRenamed,
    /// The channel was archived.
    RoomArchived,
    /// A channel without an owner was given one.
    OwnerNamed,
}

/// What the room itself says: RULES.md, "System messages".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemContent {
    /// Which one.
    pub kind: SystemKind,
    /// The words for a person.
    pub text: String,
    /// The accounts it is about, for a program.
    pub accounts: Vec<AccountId>,
}

impl MessageContent {
    /// Reads what an envelope held.
    pub fn parse(plaintext: &[u8]) -> Option<Self> {
        serde_json::from_slice(plaintext).ok()
    }

    /// Writes what is to be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        Self::bytes_of(&self.text)
    }

    /// Writes what is to be sealed of a text, without a copy of the text.
    pub(super) fn bytes_of(text: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            text: &'a str,
        }
        serde_json::to_vec(&Borrowed { text }).expect("a string can always be written as JSON")
    }
}

impl SystemContent {
    /// Writes what is to be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings can always be written as JSON")
    }
}
