//! What a client resumes from: a revision and its digest, under a MAC of the site, opaque to the client.
//!
//! A position that verifies but is not in our log is evidence that the log lost something; one that a client made up does
//! not verify and proves nothing (RACES.md N-14, N-17).

use serde::{Deserialize, Serialize};

use super::digest::Head;
use crate::codec;
use crate::id::RoomId;
use crate::keys::Blob;
use crate::site::{PositionMac, SiteKeys};

/// A revision of a room and the digest there, as handed to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The room it belongs to.
    pub room: RoomId,
    /// The last revision that was delivered, and the digest there.
    pub head: Head,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    head: Head,
    mac: PositionMac,
}

impl Position {
    /// The opaque form; the same for every socket.
    pub fn to_blob(self, keys: &SiteKeys) -> Blob {
        let mac = keys.position_mac(self.room, self.head);
        Blob(codec::encode(&Sealed { head: self.head, mac }).into())
    }

    /// Reads the opaque form; `None` when it is not one that this site made for this room.
    pub fn from_blob(blob: &Blob, room: RoomId, keys: &SiteKeys) -> Option<Self> {
        let sealed: Sealed = codec::decode(blob).ok()?;
        keys.verify_position(room, sealed.head, &sealed.mac).then_some(Self { room, head: sealed.head })
    }
}
