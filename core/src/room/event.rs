//! What can happen in a room. New kinds are added at the end, and never change: they are what is stored.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use alloc::sync::Arc;
use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{AccountId, KeyVersion, MessageId, Revision, SiteId};
use crate::keys::{BodyKind, RoomPublic};

/// What a room is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// Members come and go; owners decide.
    Channel,
    /// Two accounts, or one with itself.
    Dm,
    /// One account and one bot.
    BotDm,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May change the room and its members.
    Owner,
    /// May read and write.
    Member,
}

/// How much of what came before may a new member read?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Everything, times of absence included.
    #[default]
    All,
    /// Nothing before the record that added it.
    None,
}

/// The name of a channel: 1 to 100 characters, trimmed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RoomName(Arc<str>);

/// Longest name of a channel, in characters.
pub const NAME_MAX: usize = 100;

impl RoomName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no room name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("name must be 1 to {NAME_MAX} characters after trimming, without control characters")]
pub struct InvalidName;

impl FromStr for RoomName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.trim();
        let fits = (1..=NAME_MAX).contains(&name.chars().count());
        if fits && !name.chars().any(char::is_control) { Ok(Self(name.into())) } else { Err(InvalidName) }
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::string::String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// One thing that happened, without its sealed body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The room began. Always revision 1, and nowhere else.
    Created {
        /// What it is for.
        kind: RoomKind,
        /// Its origin site, fixed for ever.
        site: SiteId,
        /// The name, of a channel.
        name: Option<RoomName>,
        /// The first owner, of a channel.
        owner: Option<AccountId>,
    },
    /// These accounts, none of which was a member, are members from here on.
    MembersAdded {
        /// In the order in which they were named.
        accounts: Vec<AccountId>,
        /// What they may read.
        history: History,
    },
    /// These accounts are no longer members.
    MembersRemoved {
        /// In the order in which they were named.
        accounts: Vec<AccountId>,
    },
    /// A member's role changed.
    RoleSet {
        /// The member.
        account: AccountId,
        /// The new role.
        role: Role,
    },
    /// The channel has another name.
    Renamed {
        /// The new name.
        name: RoomName,
    },
    /// Nothing can be changed or said any more.
    Archived,
    /// A new key version is current from here on. Its secret was in the vault before this was written.
    KeyRotated {
        /// The version: the one after the last.
        version: KeyVersion,
        /// Its public half.
        public: RoomPublic,
    },
    /// Something was said; the body is the envelope.
    Message {
        /// The sender's name for it.
        message: MessageId,
        /// Said by a member or by the room.
        kind: BodyKind,
        /// Version it is sealed under.
        version: KeyVersion,
        /// How many messages of members there are, this one included. System messages do not count.
        ordinal: u64,
    },
    /// A message reads differently from here on; the body is the new envelope.
    Edited {
        /// The revision of the message.
        revision: Revision,
        /// Which edit this is, from 1.
        edit: u32,
        /// Version it is sealed under.
        version: KeyVersion,
    },
    /// A message and its edits are gone: their bodies are served to nobody, and erased.
    Deleted {
        /// The revision of the message.
        revision: Revision,
    },
    /// A command was answered although it changed nothing; a retry is answered the same.
    Unchanged,
    /// An operator had the room go on although its log, or its vault, had lost something. The next event is the rotation to a key
    /// that nobody was ever given.
    Continued {
        /// Where the log ended.
        ended: Revision,
        /// Up to where it was known to have gone before: what stood between the two is lost, and not what stands there now.
        known: Revision,
        /// The version to go on with, above any that was seen; those before it that the log does not name are never used.
        version: KeyVersion,
    },
}

impl Event {
    /// The name of the kind, as on the wire and in `kinds` of `open` and `watch`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::MembersAdded { .. } => "members_added",
            Self::MembersRemoved { .. } => "members_removed",
            Self::RoleSet { .. } => "role_set",
            Self::Renamed { .. } => "renamed",
            Self::Archived => "archived",
            Self::KeyRotated { .. } => "key_rotated",
            Self::Message { .. } => "message",
            Self::Edited { .. } => "edited",
            Self::Deleted { .. } => "deleted",
            Self::Unchanged => "unchanged",
            Self::Continued { .. } => "continued",
        }
    }

    /// How many kinds a node must know to read an event of this kind.
    pub fn kinds_needed(&self) -> u32 {
        EVENT_KINDS.iter().position(|kind| *kind == self.kind()).map_or(u32::MAX, |at| at as u32 + 1)
    }

    /// The revision of the message whose text the event's body is; the event is the one at `at`.
    pub const fn text_of(&self, at: Revision) -> Option<Revision> {
        match self {
            Self::Message { .. } => Some(at),
            Self::Edited { revision, .. } => Some(*revision),
            _ => None,
        }
    }

    /// The version that the event's body is sealed under.
    pub const fn sealed_under(&self) -> Option<KeyVersion> {
        match self {
            Self::Message { version, .. } | Self::Edited { version, .. } => Some(*version),
            _ => None,
        }
    }
}

/// Every kind of event, in the order of [`Event`].
pub const EVENT_KINDS: [&str; 12] = [
    "created",
    "members_added",
    "members_removed",
    "role_set",
    "renamed",
    "archived",
    "key_rotated",
    "message",
    "edited",
    "deleted",
    "unchanged",
    "continued",
];
