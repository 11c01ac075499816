//! What a socket is told, and what it wants done.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::kinds::KindSet;
use super::past::Past;
use crate::id::{KeyVersion, RequestId, Revision, RoomId};
use crate::log::Digest;
use crate::wire::ResetWhy;

/// One opening of one room on one socket; the next opening of the same room is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpeningId(pub u64);

/// What a socket is told. Frames are as the transport takes them.
#[derive(Debug, Clone)]
pub enum Input {
    /// Deliver a room. Register the socket for the room before the head is read, so that no record falls in between.
    Open {
        /// The room; an opening that is there already is replaced.
        room: RoomId,
        /// The last revision the client has.
        after: Revision,
        /// The room's head now.
        head: Revision,
        /// The digest at `after`: of the client's position, or of our own log.
        chain: Option<Digest>,
        /// Only events of these kinds.
        kinds: Option<KindSet>,
        /// The `opened` frame.
        opened: Bytes,
        /// What the account heard of the room already, from the state it was welcomed with or from account events that this
        /// socket was told of: it is told that it is in for revisions before this one.
        told_until: Revision,
    },
    /// The client closed a room.
    Close {
        /// The room.
        room: RoomId,
    },
    /// Close a room for a reason that is not in its log.
    Reset {
        /// The room.
        room: RoomId,
        /// The reason.
        why: ResetWhy,
    },
    /// A room's log goes up to `head`.
    Moved {
        /// The room.
        room: RoomId,
        /// Its last revision.
        head: Revision,
    },
    /// [`Effect::Fetch`] was done.
    Fetched {
        /// The room.
        room: RoomId,
        /// The opening that asked.
        opening: OpeningId,
        /// What was read.
        past: Arc<Past>,
    },
    /// [`Effect::Fetch`] failed, Transient; it is asked again later.
    FetchFailed {
        /// The room.
        room: RoomId,
        /// The opening that asked.
        opening: OpeningId,
    },
    /// [`Effect::Key`] was done.
    Key {
        /// The room.
        room: RoomId,
        /// The opening that asked.
        opening: OpeningId,
        /// The version.
        version: KeyVersion,
        /// The `key` frame; none when the account cannot have it, now or later: what needs it is void.
        frame: Option<Bytes>,
    },
    /// [`Effect::Key`] failed, Transient; it is asked again later.
    KeyFailed {
        /// The room.
        room: RoomId,
        /// The opening that asked.
        opening: OpeningId,
        /// The version.
        version: KeyVersion,
    },
    /// The transport took everything that was handed over.
    Written,
    /// The transport took some bytes.
    Progress,
    /// A command was sent on this socket.
    Asked {
        /// Its request id.
        request: RequestId,
    },
    /// An answer.
    Reply {
        /// The request, where it was told of with [`Input::Asked`].
        request: Option<RequestId>,
        /// The `ok` or `error` frame.
        frame: Bytes,
        /// The last revision that the request recorded: the answer waits until this socket was sent it.
        follows: Option<(RoomId, Revision)>,
    },
    /// The account came into a room, or left it.
    AccountEvent {
        /// The `account` frame.
        frame: Bytes,
        /// The room.
        room: RoomId,
        /// As in [`Input::Open`], from now on.
        told_until: Revision,
    },
    /// An event that the client watches.
    Watched {
        /// The `watched` frame.
        frame: Bytes,
        /// The message whose text is in it, if there is one.
        says: Option<(RoomId, Revision)>,
    },
    /// A message was taken back: watched events with its text that wait are not sent, and counted as missed.
    TakenBack {
        /// The room.
        room: RoomId,
        /// The message's revision.
        message: Revision,
    },
    /// Any other frame: welcome, pong, error.
    Control {
        /// The frame.
        frame: Bytes,
    },
    /// Bytes came from the client.
    Heard,
    /// [`super::Socket::next_deadline`] passed.
    Tick,
    /// End the connection, with a word.
    Bye {
        /// Close code.
        code: u16,
        /// Why.
        reason: Cow<'static, str>,
        /// How long to wait before connecting again.
        retry_after_ms: Option<u64>,
    },
}

/// What a socket wants done.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Write these, in order; then [`Input::Written`]. Only one is under way at a time.
    Write(Frames),
    /// Read the room's records from the one that holds the revision after `after`, at least up to `through` or as much as one
    /// read gives.
    Fetch {
        /// The room.
        room: RoomId,
        /// Names the opening in the answer.
        opening: OpeningId,
        /// The last revision that is not wanted.
        after: Revision,
        /// The last revision that is wanted.
        through: Revision,
    },
    /// Make the `key` frame of this version, if the fold says that the account may hold it.
    Key {
        /// The room.
        room: RoomId,
        /// Names the opening in the answer.
        opening: OpeningId,
        /// The version.
        version: KeyVersion,
    },
    /// Send a transport's ping.
    Ping,
    /// The room was closed: no longer tell this socket of it.
    Reset {
        /// The room.
        room: RoomId,
        /// Why; the client was told.
        why: ResetWhy,
    },
    /// Close the connection. The last effect.
    End {
        /// Close code.
        code: u16,
        /// Why.
        reason: Cow<'static, str>,
    },
}

/// Frames to write, in order. One frame, the usual case, needs no allocation.
#[derive(Debug, Clone, Default)]
pub enum Frames {
    /// Nothing.
    #[default]
    None,
    /// One.
    One(Bytes),
    /// Several.
    Many(Vec<Bytes>),
}

impl Frames {
    pub(super) fn push(&mut self, frame: Bytes) {
        *self = match core::mem::take(self) {
            Self::None => Self::One(frame),
            Self::One(first) => {
                let mut many = Vec::with_capacity(8);
                many.extend([first, frame]);
                Self::Many(many)
            }
            Self::Many(mut many) => {
                many.push(frame);
                Self::Many(many)
            }
        };
    }

    /// The frames, in order.
    pub fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::None => &[],
            Self::One(frame) => core::slice::from_ref(frame),
            Self::Many(frames) => frames,
        }
    }
}
