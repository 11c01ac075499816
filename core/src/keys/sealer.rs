//! One end of an encapsulation: who seals.
//!
//! A sealer lives as long as the process or page that made it and is never stored or copied, so that no nonce is used
//! twice: it counts every attempt, and what it could not seal leaves a gap. A retry sends the bytes it has; what must be
//! sealed again takes a new nonce, under another version from another sealer.

use core::fmt;

use rand::CryptoRng;

use super::claim::Claim;
use super::envelope::{Encapsulation, Envelope};
use super::public::{InvalidKey, RoomPublic};
use super::suite::{self, MESSAGE, MessageKey};
use crate::id::{KeyVersion, RoomId, SiteId};

/// The first counter that no sealer uses: 2^32. Far below where AES-GCM wears out under short messages, and exact in
/// every language's numbers.
pub const COUNTER_END: u64 = 1 << 32;

/// Why a sealer did not seal. In every case the nonce is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The claim is of another room than the sealer. Permanent: the caller is wrong.
    #[error("a sealer of one room was asked to seal for another")]
    WrongRoom,
    /// The claim is of another version than the sealer. Transient: seal with the sealer of that version.
    #[error("a sealer of version {sealer} was asked to seal under version {claim}")]
    WrongVersion {
        /// The version it seals under.
        sealer: KeyVersion,
        /// The version it was asked for.
        claim: KeyVersion,
    },
    /// All [`COUNTER_END`] nonces are used. Transient: make a new sealer.
    #[error("this sealer has used all its nonces; encapsulate anew")]
    Exhausted,
    /// The plaintext is longer than AES-GCM allows, 64 GiB. Permanent.
    #[error("a body of more than 64 GiB cannot be sealed")]
    TooLong,
}

/// Seals for one room under one key version. One per process or page, room and version.
pub struct Sealer {
    room: RoomId,
    version: KeyVersion,
    encapsulation: Encapsulation,
    key: MessageKey,
    /// The next nonce, never one that was used.
    counter: u64,
}

impl Sealer {
    /// Encapsulates to `public`, which is the public half of this version of this room; `site` is the room's origin.
    /// Costs three scalar multiplications and 32 bytes of `rng`.
    ///
    /// # Errors
    /// [`InvalidKey`] is not met in practice: a [`RoomPublic`] is a key.
    pub fn new(
        site: &SiteId,
        room: RoomId,
        version: KeyVersion,
        public: &RoomPublic,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, InvalidKey> {
        let (encapsulation, key) = suite::encapsulate(*public, &suite::info(site, room, version), MESSAGE, rng)?;
        Ok(Self { room, version, encapsulation, key: MessageKey::new(&key), counter: 0 })
    }

    /// The version it seals under.
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// The room it seals for.
    pub fn room(&self) -> RoomId {
        self.room
    }

    /// Seals `plaintext` as `claim`. Uses up a nonce, whatever happens.
    ///
    /// # Errors
    /// [`SealError`] when the claim is not of this room and version, or nothing is left to count.
    pub fn seal(&mut self, claim: &Claim<'_>, plaintext: &[u8]) -> Result<Envelope, SealError> {
        let counter = self.counter;
        if counter >= COUNTER_END {
            return Err(SealError::Exhausted);
        }
        self.counter += 1;
        if claim.room != self.room {
            return Err(SealError::WrongRoom);
        }
        if claim.version != self.version {
            return Err(SealError::WrongVersion { sealer: self.version, claim: claim.version });
        }
        let sealed = self.key.seal(counter, &claim.associated_data(), plaintext).ok_or(SealError::TooLong)?;
        Ok(Envelope { version: self.version, encapsulation: self.encapsulation, counter, ciphertext: sealed.into() })
    }
}

/// Without the key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("room", &self.room)
            .field("version", &self.version)
            .field("encapsulation", &self.encapsulation)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;
    use crate::keys::{BodyKind, OpenError, Opener, RoomSecret};
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn a_sealer_stops_before_a_nonce_would_repeat() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let site: SiteId = "home".parse().expect("valid");
        let sender: AccountId = "ada".parse().expect("valid");
        let room = RoomId::from_digest(&[1; 32]);
        let secret = RoomSecret::generate(&mut rng);
        let mut sealer = Sealer::new(&site, room, KeyVersion(0), &secret.public(), &mut rng).expect("a key");
        let claim = Claim {
            room,
            version: KeyVersion(0),
            kind: BodyKind::Message,
            sender: &sender,
            message: "abcdefghijklmnopqrst".parse().expect("valid"),
            edit: 0,
        };
        let mut opener = Opener::new(&site, room, KeyVersion(0), secret, 4);

        sealer.counter = COUNTER_END - 1;
        let mut last = sealer.seal(&claim, b"last").expect("one nonce is left");
        assert_eq!(opener.open(&claim, &last).expect("opens").as_slice(), b"last");
        for _ in 0..3 {
            assert_eq!(sealer.seal(&claim, b"more"), Err(SealError::Exhausted));
        }
        last.counter = COUNTER_END;
        assert_eq!(opener.open(&claim, &last), Err(OpenError::Counter));
    }
}
