//! The frames. Fields that a client may leave out have a default; nothing is skipped when written, so that both codecs
//! carry the same.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::account::AccountChange;
use crate::id::{AccountId, KeyVersion, RequestId, Revision, RoomId, SiteId};
use crate::keys::{Blob, Envelope, RoomPublic};
use crate::limits::Limits;
use crate::room::{Code, Command, CurrentKey, Event, Outcome, Reason, Role, RoomKind};
use crate::time::Timestamp;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame: who this is.
    Hello(Hello),
    /// A newer token for the same account.
    Refresh {
        /// The token.
        token: String,
    },
    /// Deliver a room from here on.
    Open(Open),
    /// No longer deliver a room.
    Close {
        /// The room.
        room: RoomId,
    },
    /// Deliver events of these kinds from all rooms the account is in; an empty list ends it.
    Watch {
        /// Names of [`Event::kind`]; `*` is every kind.
        kinds: Vec<String>,
    },
    /// Change something; answered by `ok` or `error` with the same id.
    Command {
        /// The request id.
        id: RequestId,
        /// What.
        command: Command,
    },
    /// Ask something; answered by `ok` or `error` with the same id.
    Query {
        /// Names the answer; not remembered.
        id: RequestId,
        /// What.
        query: Query,
    },
    /// Is anybody there?
    Ping,
}

/// The first frame of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The token; in development sign-in, the account's name.
    pub token: String,
    /// Whether several revisions may come in one frame.
    #[serde(default = "yes")]
    pub batch: bool,
}

/// Asks for a room's revisions. With `position` from there on; else with `from` from that revision on; else with `limit` the
/// last so many; else what comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The room.
    pub room: RoomId,
    /// Where this client is: the `position` of the last frame it took.
    #[serde(default)]
    pub position: Option<Blob>,
    /// First revision wanted.
    #[serde(default)]
    pub from: Option<Revision>,
    /// Only events of these kinds; the rest is covered by the range alone.
    #[serde(default)]
    pub kinds: Option<Vec<String>>,
    /// How many of the last revisions to begin with.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// A page of a room's past.
    History {
        /// The room.
        room: RoomId,
        /// Which part.
        range: HistoryRange,
        /// How many items at most.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// A page of a room's members, sorted by account.
    Members {
        /// The room.
        room: RoomId,
        /// The last account of the page before.
        #[serde(default)]
        after: Option<AccountId>,
        /// How many at most.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// My rooms.
    Rooms,
    /// A room's key: this version, or the current one.
    Key {
        /// The room.
        room: RoomId,
        /// The version.
        #[serde(default)]
        version: Option<KeyVersion>,
    },
}

/// Which part of a room's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryRange {
    /// The items just before this revision.
    Before(Revision),
    /// The items just after this revision.
    After(Revision),
    /// The items around this revision, half before and half from it on.
    Around(Revision),
    /// The last items.
    Latest,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to hello.
    Welcome(Welcome),
    /// A room is open: what follows covers every revision after `after`.
    Opened {
        /// The room, as the client sees it.
        room: RoomView,
        /// The revision before the first that will be covered.
        after: Revision,
        /// The last revision now.
        head: Revision,
    },
    /// Revisions of a room: everything from `from` to `to`, except what `kinds` left out.
    Batch {
        /// The room.
        room: RoomId,
        /// First revision covered.
        from: Revision,
        /// Last revision covered.
        to: Revision,
        /// What happened, in order.
        items: Vec<Item>,
        /// What to resume from after this frame. Empty in a past that was opened without a position, until the server knows
        /// the digests up to there: then resume with `from`, the revision after `to`.
        position: Blob,
        /// Which of the revisions this very connection asked for.
        own: Vec<OwnRevision>,
    },
    /// Revisions that are not for this client: covered, without content.
    Void {
        /// The room.
        room: RoomId,
        /// First revision covered.
        from: Revision,
        /// Last revision covered.
        to: Revision,
        /// Why.
        why: VoidWhy,
        /// What to resume from after this frame; empty as in `batch`.
        position: Blob,
    },
    /// A room key, always before the first revision that needs it.
    Key {
        /// The room.
        room: RoomId,
        /// The version.
        version: KeyVersion,
        /// Its public half, to seal under.
        public: RoomPublic,
        /// Its private half, to open with: 32 bytes, the P-256 scalar, big-endian.
        secret: Blob,
    },
    /// Something happened to the account itself.
    Account {
        /// Revision in the account's log.
        revision: Revision,
        /// What.
        event: AccountChange,
    },
    /// An event that `watch` asked for.
    Watched {
        /// The room.
        room: RoomId,
        /// What happened. Bodies are there only where the account may read them and has the room open elsewhere for the key.
        item: Item,
    },
    /// `watch` fell behind, and this many events were left out.
    WatchLagged {
        /// How many.
        missed: u64,
    },
    /// The request was carried out; what it recorded is durable.
    Ok {
        /// The request.
        id: RequestId,
        /// What came of it.
        answer: Answer,
    },
    /// The request, or the frame, was refused.
    Error {
        /// The request, where one could be read.
        id: Option<RequestId>,
        /// The room, where the frame named one.
        room: Option<RoomId>,
        /// The class.
        code: Code,
        /// Why, for a program.
        reason: Reason,
        /// Why, for a person.
        message: String,
        /// With `stale_key`: the key to seal under.
        current: Option<CurrentKey>,
    },
    /// The room is no longer open on this connection.
    Reset {
        /// The room.
        room: RoomId,
        /// Why.
        why: ResetWhy,
    },
    /// The answer to ping.
    Pong,
    /// The connection ends; the WebSocket close frame follows with the same code.
    Bye {
        /// Close code: RULES.md, "Sockets".
        code: u16,
        /// Why, in words.
        reason: String,
        /// How long to wait before connecting again, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// The answer to hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The account.
    pub account: AccountId,
    /// Its name for people.
    pub name: String,
    /// Whether it is an administrator.
    pub admin: bool,
    /// The site; part of what envelopes are bound to.
    pub site: SiteId,
    /// The node.
    pub node: String,
    /// The server's time, so that a client can tell how far its clock is off.
    pub time: Timestamp,
    /// Head of the account's log: account events after this one follow.
    pub account_revision: Revision,
    /// When the token ends.
    pub expires: Option<Timestamp>,
    /// What the server puts up with.
    pub limits: Limits,
}

/// One revision as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its revision.
    pub revision: Revision,
    /// When.
    pub time: Timestamp,
    /// Who asked for it; the sender of a message.
    pub account: AccountId,
    /// What happened.
    pub event: Event,
    /// The envelope, of a message or an edit that was not deleted.
    pub body: Option<Envelope>,
}

/// A revision that this connection asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRevision {
    /// The revision.
    pub revision: Revision,
    /// The request.
    pub request: RequestId,
}

/// Why revisions have no content for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoidWhy {
    /// The client asked for other kinds.
    Filtered,
    /// The account was not a member then.
    NotEntitled,
    /// The key's grace is over.
    Expired,
}

/// Why a room was closed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetWhy {
    /// The account is no longer a member.
    Removed,
    /// The position is not one of this log: open again without it.
    UnknownPosition,
    /// The log is quarantined.
    Quarantined,
}

/// A room as a member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomView {
    /// Its id.
    pub room: RoomId,
    /// What it is for.
    pub kind: RoomKind,
    /// What to call it: the channel's name, or the counterpart's.
    pub name: String,
    /// The other one in a direct message room.
    pub counterpart: Option<AccountId>,
    /// My role.
    pub role: Role,
    /// Whether it is archived.
    pub archived: bool,
    /// How many members it has.
    pub members: u32,
    /// Last revision.
    pub head: Revision,
    /// When that was.
    pub time: Timestamp,
    /// How many messages of members it has.
    pub messages: u64,
    /// How many of them I have not read.
    pub unread: u64,
    /// Up to where I have read.
    pub read: Revision,
    /// The key to seal under.
    pub key: CurrentKey,
}

/// A member as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// The account.
    pub account: AccountId,
    /// Its name for people.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Whether it is a program.
    pub bot: bool,
    /// The revision that added it.
    pub since: Revision,
    /// Up to where it has read.
    pub read: Revision,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of a command.
    Outcome(Outcome),
    /// Of `history`: what this account may see of the range, oldest first.
    History {
        /// The room.
        room: RoomId,
        /// The items.
        items: Vec<Item>,
        /// First revision covered.
        from: Revision,
        /// Last revision covered.
        to: Revision,
        /// Whether there is more in the direction asked for.
        more: bool,
    },
    /// Of `members`.
    Members {
        /// The room.
        room: RoomId,
        /// A page of them.
        members: Vec<MemberView>,
        /// How many there are altogether.
        total: u32,
        /// The smallest read mark of all members: everybody has read up to here.
        read_floor: Revision,
        /// Whether there are more.
        more: bool,
    },
    /// Of `rooms`.
    Rooms {
        /// My rooms, the last active first.
        rooms: Vec<RoomView>,
        /// Head of my account's log when this was read.
        account_revision: Revision,
    },
    /// Of `key`.
    Key {
        /// The room.
        room: RoomId,
        /// The version.
        version: KeyVersion,
        /// Its public half.
        public: RoomPublic,
        /// Its private half: 32 bytes, the P-256 scalar, big-endian.
        secret: Blob,
    },
}

const fn yes() -> bool {
    true
}
