//! The other end of every encapsulation to one key version: who opens.
//!
//! Deriving a sealer's message key takes scalar multiplications, so an opener remembers the keys of the sealers it heard
//! last, up to a bound. A key is remembered only once something opened with it: envelopes that were made up cost time but
//! push no sealer out. Replays are not noticed here; the message id is bound, and the log says what was said before.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::claim::Claim;
use super::envelope::{Encapsulation, Envelope};
use super::public::RoomPublic;
use super::sealer::COUNTER_END;
use super::secret::RoomSecret;
use super::suite::{self, MESSAGE, MessageKey};
use crate::id::{KeyVersion, RoomId, SiteId};

/// Why an envelope did not open. Refused, all of them: the same envelope will never open as the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The claim is of another room than the opener.
    #[error("an opener of one room was given an envelope of another")]
    WrongRoom,
    /// The claim or the envelope is of another version than the opener.
    #[error("an opener of version {opener} was given an envelope of version {envelope} claimed as {claim}")]
    WrongVersion {
        /// The version it opens.
        opener: KeyVersion,
        /// The version that the envelope says.
        envelope: KeyVersion,
        /// The version that the claim says.
        claim: KeyVersion,
    },
    /// The counter is one that no sealer uses.
    #[error("the counter is {COUNTER_END} or more")]
    Counter,
    /// The encapsulation is not a point on the curve.
    #[error("the encapsulation is not an uncompressed point on P-256")]
    Encapsulation,
    /// It was sealed under another key, or as something else, or it was changed since.
    #[error("the envelope is not what it is claimed to be")]
    NotAuthentic,
}

/// Opens what was sealed under one key version of one room.
pub struct Opener {
    room: RoomId,
    version: KeyVersion,
    secret: RoomSecret,
    info: Vec<u8>,
    known: Known,
}

impl Opener {
    /// An opener of this version of this room that remembers the keys of `cache` sealers, about a kilobyte each, as they
    /// come; with 0 it remembers none. `site` is the room's origin.
    pub fn new(site: &SiteId, room: RoomId, version: KeyVersion, secret: RoomSecret, cache: usize) -> Self {
        let info = suite::info(site, room, version);
        Self { room, version, secret, info, known: Known { keys: BTreeMap::new(), bound: cache, uses: 0 } }
    }

    /// Opens `envelope` as `claim`. The plaintext wipes itself. Costs two scalar multiplications when the sealer is not
    /// among those remembered, and none when it is.
    ///
    /// # Errors
    /// [`OpenError`] when it is not what it is claimed to be, in any field or bit.
    pub fn open(&mut self, claim: &Claim<'_>, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if claim.room != self.room {
            return Err(OpenError::WrongRoom);
        }
        if claim.version != self.version || envelope.version != self.version {
            let (envelope, claim) = (envelope.version, claim.version);
            return Err(OpenError::WrongVersion { opener: self.version, envelope, claim });
        }
        if envelope.counter >= COUNTER_END {
            return Err(OpenError::Counter);
        }
        let associated = claim.associated_data();
        let open = |key: &MessageKey| {
            key.open(envelope.counter, &associated, &envelope.ciphertext).ok_or(OpenError::NotAuthentic)
        };
        if let Some(key) = self.known.get(&envelope.encapsulation) {
            return open(key);
        }
        let key = suite::decapsulate(&self.secret, &envelope.encapsulation, &self.info, MESSAGE)
            .map_err(|_| OpenError::Encapsulation)?;
        let key = MessageKey::new(&key);
        let plaintext = open(&key)?;
        self.known.put(envelope.encapsulation, key);
        Ok(plaintext)
    }

    /// The version it opens.
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// The room it opens for.
    pub fn room(&self) -> RoomId {
        self.room
    }

    /// The private half.
    pub fn secret(&self) -> &RoomSecret {
        &self.secret
    }

    /// The public half.
    pub fn public(&self) -> RoomPublic {
        self.secret.public()
    }
}

/// Without the secret and the keys.
impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("room", &self.room)
            .field("version", &self.version)
            .field("public", &self.public())
            .field("known", &self.known.keys.len())
            .finish_non_exhaustive()
    }
}

/// The message keys of the sealers heard last; the one longest unheard goes first.
struct Known {
    keys: BTreeMap<Encapsulation, Heard>,
    bound: usize,
    /// Counts the uses of all keys: the time by which they age.
    uses: u64,
}

struct Heard {
    /// Boxed: a scheduled key is large, and the map's nodes hold eleven entries from the first.
    key: Box<MessageKey>,
    last: u64,
}

impl Known {
    fn get(&mut self, encapsulation: &Encapsulation) -> Option<&MessageKey> {
        let heard = self.keys.get_mut(encapsulation)?;
        self.uses += 1;
        heard.last = self.uses;
        Some(&heard.key)
    }

    fn put(&mut self, encapsulation: Encapsulation, key: MessageKey) {
        if self.bound == 0 {
            return;
        }
        if self.keys.len() >= self.bound {
            // A walk over all, but only where scalar multiplications were just spent, which take far longer.
            if let Some(oldest) = self.keys.iter().min_by_key(|(_, heard)| heard.last).map(|(oldest, _)| *oldest) {
                self.keys.remove(&oldest);
            }
        }
        self.uses += 1;
        self.keys.insert(encapsulation, Heard { key: Box::new(key), last: self.uses });
        debug_assert!(self.keys.len() <= self.bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> MessageKey {
        MessageKey::new(&Zeroizing::new([n; 32]))
    }

    #[test]
    fn the_sealer_longest_unheard_is_forgotten_first() {
        let mut known = Known { keys: BTreeMap::new(), bound: 2, uses: 0 };
        let [one, two, three] = [1, 2, 3].map(|n| Encapsulation([n; 65]));
        known.put(one, key(1));
        known.put(two, key(2));
        assert!(known.get(&one).is_some());
        known.put(three, key(3));
        assert!(known.get(&two).is_none());
        assert!(known.get(&one).is_some() && known.get(&three).is_some());
        assert_eq!(known.keys.len(), 2);
    }

    #[test]
    fn a_bound_of_zero_remembers_nothing() {
        let mut known = Known { keys: BTreeMap::new(), bound: 0, uses: 0 };
        known.put(Encapsulation([1; 65]), key(1));
        assert!(known.keys.is_empty());
    }
}
