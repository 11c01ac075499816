//! What a socket asks of a hub, and what it gets: the words between the two machines.
//!
//! A socket asks while it is about to write, and what it gets is written in the same step: nothing can be removed, deleted
//! or added in between (RACES.md S-17, S-18, S-19).

use alloc::collections::BTreeSet;

use bytes::Bytes;

use super::kinds::KindSet;
use super::past::Past;
use crate::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use crate::log::Digest;
use crate::wire::Codec;

/// The next frame of one room, please: from `after` on, at most to `through`.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Whose socket it is.
    pub account: &'a AccountId,
    /// How frames are written on it.
    pub codec: Codec,
    /// Whether several revisions may come in one frame.
    pub batch: bool,
    /// Only these kinds, if the opening said so.
    pub kinds: Option<KindSet>,
    /// The last revision that was handed to the transport.
    pub after: Revision,
    /// The last revision that is claimed.
    pub through: Revision,
    /// The digest at `after`, where it is known.
    pub chain: Option<Digest>,
    /// [`Packed::vouched`] of the last frame.
    pub vouched: Option<Revision>,
    /// A version whose key this account cannot have: what needs it is void.
    pub refused: Option<KeyVersion>,
    /// Requests that were sent on this very socket and are not done with: their revisions are marked (RACES.md S-21).
    pub own: &'a BTreeSet<RequestId>,
    /// What was fetched for it.
    pub past: Option<&'a Past>,
}

/// What comes next in a room for one socket.
#[derive(Debug, Clone)]
pub enum Pack {
    /// A frame: a batch, or a void.
    Frame(Packed),
    /// What follows `after` is no longer in memory: it has to be read from the store.
    Fetch,
    /// The account is no member, and nothing that follows is for it.
    Removed,
    /// The chain of digests at `after` is not ours: the position came from a log that is not this one.
    Unknown,
    /// Nothing is there yet.
    Nothing,
}

/// A frame that covers `from..=to`.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The frame, as the transport takes it.
    pub bytes: Bytes,
    /// First revision covered.
    pub from: Revision,
    /// Last revision covered.
    pub to: Revision,
    /// The version whose key must have been given before; a frame needs at most one.
    pub needs: Option<KeyVersion>,
    /// The digest at `to`, where it is known.
    pub chain: Option<Digest>,
    /// The account was a member at this revision and may read everything after `to`, as long as nobody is removed later.
    /// Handed back with the next ask, it saves looking the account up.
    pub vouched: Option<Revision>,
}

/// How a socket sees the hubs of its node, for the duration of one step.
pub trait View {
    /// [`super::Hub::pack`] of that room's hub; [`Pack::Nothing`] when there is none.
    fn pack(&mut self, room: RoomId, ask: &Ask<'_>) -> Pack;
}
