//! Why a command was refused, decided before anything was written.

use alloc::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::KeyVersion;
use crate::keys::RoomPublic;

/// The class of a refusal; each maps to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: what was asked makes no sense.
    BadRequest,
    /// 401: we do not know who asks.
    Unauthenticated,
    /// 403: who asks may not.
    Forbidden,
    /// 404: it is not there, or not for who asks.
    NotFound,
    /// 409: it contradicts what is there.
    Conflict,
    /// 429: too much, too fast.
    TooManyRequests,
    /// 503: try again, with the same request id.
    Unavailable,
    /// 500: our fault.
    Internal,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident => $code:ident,)+) => {
        /// The reason of a refusal, for a program. Each belongs to one [`Code`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The class it belongs to.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)+ }
            }

            /// What it means, in a sentence for the documentation.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// The frame or body cannot be read; the message names the field.
    Malformed => BadRequest,
    /// A frame, body or message is larger than its limit.
    TooLarge => BadRequest,
    /// More names, rooms or items than the limit.
    TooMany => BadRequest,
    /// A channel's name is blank, too long, or has control characters.
    InvalidName => BadRequest,
    /// The message is empty after trimming.
    Empty => BadRequest,
    /// No account was named.
    NobodyNamed => BadRequest,
    /// The room is no channel: its members and name are fixed.
    NotAChannel => BadRequest,
    /// A bot was named where bots were not asked for, or may not be.
    BotNotAllowed => BadRequest,
    /// The envelope does not open as what it claims to be.
    BadEnvelope => BadRequest,
    /// The revision is beyond the head of the room.
    BeyondHead => BadRequest,
    /// The history asked for contradicts itself.
    InvalidRange => BadRequest,
    /// No token, or one that does not verify.
    InvalidToken => Unauthenticated,
    /// The token is no longer valid.
    TokenExpired => Unauthenticated,
    /// The account is disabled.
    AccountDisabled => Forbidden,
    /// Only owners and administrators may.
    NotOwner => Forbidden,
    /// Only the sender may.
    NotSender => Forbidden,
    /// Only administrators may.
    NotAdmin => Forbidden,
    /// In a large room only owners, bots and administrators write.
    RestrictedToOwners => Forbidden,
    /// The page's Origin is not one that the server answers to.
    ForeignOrigin => Forbidden,
    /// The Host is not one that the server answers to.
    ForeignHost => Forbidden,
    /// Who asks is not a member (and is not told whether the room exists).
    NotAMember => NotFound,
    /// The account that the command is about is not a member.
    TargetNotAMember => NotFound,
    /// No such account.
    UnknownAccount => NotFound,
    /// No message at that revision, or it was deleted.
    NoSuchMessage => NotFound,
    /// No such key version, or its grace is over.
    NoSuchKey => NotFound,
    /// No such path.
    NoSuchPath => NotFound,
    /// The room is archived.
    Archived => Conflict,
    /// The channel would have more members than the limit.
    RoomFull => Conflict,
    /// The channel would have no owner.
    LastOwner => Conflict,
    /// The member has that role already.
    AlreadyThatRole => Conflict,
    /// Sealed under another version than the current one, which the answer carries.
    StaleKey => Conflict,
    /// The edit number is not one more than the edits there are.
    StaleEdit => Conflict,
    /// The request id was used for another command.
    RequestReused => Conflict,
    /// The message id was used by this sender for another message.
    MessageReused => Conflict,
    /// The room is already open on this connection.
    AlreadyOpen => Conflict,
    /// More commands than the connection's rate limit.
    RateLimited => TooManyRequests,
    /// The room's queue is full.
    Busy => TooManyRequests,
    /// More connections than the account may have.
    TooManySockets => TooManyRequests,
    /// The deadline passed; try again with the same request id.
    Deadline => Unavailable,
    /// The server is stopping.
    Draining => Unavailable,
    /// The room's log is quarantined; an operator sees it.
    Quarantined => Unavailable,
    /// A store cannot be reached.
    StoreUnavailable => Unavailable,
    /// A defect of the server.
    Defect => Internal,
    /// The room changed while the command was being prepared; try again with the same request id.
    Overtaken => Unavailable,
    /// A node of the site is of an older version, and could not read what would be written; the message names it.
    OlderNode => Conflict,
    /// Nothing is known to be lost that an operator would have to decide about.
    NothingLost => Conflict,
    /// A newer version wrote to the room what this node cannot read; other nodes can.
    NewerLog => Unavailable,
}

/// The key to seal under instead of a stale one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentKey {
    /// The current version.
    pub version: KeyVersion,
    /// Its public half.
    pub public: RoomPublic,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Why, for a program.
    pub reason: Reason,
    /// Why, for a person: names the field and the limit.
    pub message: Cow<'static, str>,
    /// With [`Reason::StaleKey`]: the key to use.
    pub current: Option<CurrentKey>,
}

impl Refused {
    /// A refusal in these words.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), current: None }
    }

    /// The class it belongs to.
    pub fn code(&self) -> Code {
        self.reason.code()
    }
}

/// A refusal in the words of its reason.
impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.describe().trim())
    }
}
