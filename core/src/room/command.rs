//! What can be asked of a room, and what came of it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::event::{History, Role, RoomKind};
use crate::id::{AccountId, KeyVersion, MessageId, Revision, RoomId};
use crate::keys::Envelope;
use crate::time::Timestamp;

/// A change that an account asks for, together with a request id. RULES.md, "Commands".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Begin a channel; who asks is its owner.
    CreateChannel {
        /// Its name.
        name: String,
        /// Who else is in it from the start.
        #[serde(default)]
        accounts: Vec<AccountId>,
        /// Channels whose members are in it from the start.
        #[serde(default)]
        channels: Vec<RoomId>,
    },
    /// Begin a direct message room with an account, a bot, or oneself; or find the one that is there.
    CreateDm {
        /// The counterpart.
        account: AccountId,
    },
    /// Add members to a channel.
    Add {
        /// The channel.
        room: RoomId,
        /// Whom.
        accounts: Vec<AccountId>,
        /// Channels whose members are added.
        #[serde(default)]
        channels: Vec<RoomId>,
        /// Whether bots may be among them.
        #[serde(default)]
        bots: bool,
        /// What they may read of what came before.
        #[serde(default)]
        history: History,
    },
    /// Remove members from a channel, or leave it.
    Remove {
        /// The channel.
        room: RoomId,
        /// Whom.
        accounts: Vec<AccountId>,
    },
    /// Make a member an owner, or an owner a member.
    SetRole {
        /// The channel.
        room: RoomId,
        /// The member.
        account: AccountId,
        /// The new role.
        role: Role,
    },
    /// Give a channel another name.
    Rename {
        /// The channel.
        room: RoomId,
        /// The new name.
        name: String,
    },
    /// End a channel.
    Archive {
        /// The channel.
        room: RoomId,
    },
    /// Move to a new key version.
    Rotate {
        /// The room.
        room: RoomId,
    },
    /// Say something.
    Submit(Submit),
    /// Say something else instead.
    Edit {
        /// The room.
        room: RoomId,
        /// The message's revision.
        revision: Revision,
        /// Which edit this is, from 1: one more than the edits there are. A sealed body is bound to it.
        edit: u32,
        /// What it says now.
        content: Content,
    },
    /// Take a message back.
    Delete {
        /// The room.
        room: RoomId,
        /// The message's revision.
        revision: Revision,
    },
    /// Everything up to here was read. Kept beside the log, never moves back.
    MarkRead {
        /// The room.
        room: RoomId,
        /// The last revision read.
        revision: Revision,
    },
    /// Shut an account out of everything (administrators).
    DisableAccount {
        /// The account.
        account: AccountId,
    },
}

/// A message to a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// The room.
    pub room: RoomId,
    /// The sender's name for the message.
    pub message: MessageId,
    /// What it says.
    pub content: Content,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// In the clear, over the connection only: the server seals it.
    Plain {
        /// The text.
        text: String,
    },
    /// Sealed by the client under the room's current version.
    Sealed(Envelope),
}

impl Command {
    /// The room it is about, where it names one.
    pub fn room(&self) -> Option<RoomId> {
        match self {
            Self::CreateChannel { .. } | Self::CreateDm { .. } | Self::DisableAccount { .. } => None,
            Self::Submit(submit) => Some(submit.room),
            Self::Add { room, .. }
            | Self::Remove { room, .. }
            | Self::SetRole { room, .. }
            | Self::Rename { room, .. }
            | Self::Archive { room }
            | Self::Rotate { room }
            | Self::Edit { room, .. }
            | Self::Delete { room, .. }
            | Self::MarkRead { room, .. } => Some(*room),
        }
    }

    /// The command's name, as on the wire, in metrics and in the audit trail.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateChannel { .. } => "create_channel",
            Self::CreateDm { .. } => "create_dm",
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::SetRole { .. } => "set_role",
            Self::Rename { .. } => "rename",
            Self::Archive { .. } => "archive",
            Self::Rotate { .. } => "rotate",
            Self::Submit(_) => "submit",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::MarkRead { .. } => "mark_read",
            Self::DisableAccount { .. } => "disable_account",
        }
    }
}

/// What an accepted command came to. The first one for `(account, request)` is remembered and given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A room is there.
    Created {
        /// Its id.
        room: RoomId,
        /// What it is for.
        kind: RoomKind,
        /// Whether it was there before.
        exists: bool,
    },
    /// The room changed, or was as asked already.
    Done {
        /// The last revision of what was recorded for it.
        revision: Revision,
    },
    /// The message, or the edit, is in the room.
    Sent {
        /// At this revision.
        revision: Revision,
        /// When.
        time: Timestamp,
        /// Under this version.
        version: KeyVersion,
    },
    /// The mark stands here.
    Marked {
        /// The last revision read.
        revision: Revision,
    },
    /// The account is shut out, and was removed from this many rooms.
    Disabled {
        /// How many.
        rooms: u32,
    },
}
