//! Sealing and opening one body of 256 bytes, and what comes before the first of a sealer.

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RoomId, SiteId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::names;

/// Bytes of the body.
pub const BODY_BYTES: usize = 256;

/// Both ends of one encapsulation.
pub struct Ends {
    rng: ChaCha20Rng,
    site: SiteId,
    room: RoomId,
    secret: RoomSecret,
    sender: AccountId,
    message: MessageId,
    body: Vec<u8>,
    sealer: Sealer,
    opener: Opener,
}

impl Default for Ends {
    fn default() -> Self {
        Self::new()
    }
}

impl Ends {
    /// A sealer and an opener that have met: the opener knows the sealer's key.
    pub fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (site, room) = (names::site(), names::room(0));
        let secret = RoomSecret::generate(&mut rng);
        let public = secret.public();
        let sealer = Sealer::new(&site, room, KeyVersion::FIRST, &public, &mut rng).expect("a key of our own");
        let opener = Opener::new(&site, room, KeyVersion::FIRST, secret.clone(), 16);
        let mut ends = Self {
            rng,
            site,
            room,
            secret,
            sender: names::member(0),
            message: names::message(0),
            body: vec![b'x'; BODY_BYTES],
            sealer,
            opener,
        };
        let first = ends.seal();
        ends.open(&first);
        ends
    }

    /// Seals the body under the key that both know.
    pub fn seal(&mut self) -> Envelope {
        let claim = claim(self.room, &self.sender, self.message);
        self.sealer.seal(&claim, &self.body).expect("a nonce is left")
    }

    /// Opens what was sealed, and says how long it is.
    pub fn open(&mut self, envelope: &Envelope) -> usize {
        let claim = claim(self.room, &self.sender, self.message);
        self.opener.open(&claim, envelope).expect("sealed by the other end").len()
    }

    /// A new sealer: one encapsulation.
    pub fn encapsulate(&mut self) -> Sealer {
        let public = self.secret.public();
        Sealer::new(&self.site, self.room, KeyVersion::FIRST, &public, &mut self.rng).expect("a key of our own")
    }

    /// Opens the first envelope of a sealer that is not known yet: one decapsulation.
    pub fn open_first(&mut self, envelope: &Envelope) -> usize {
        let claim = claim(self.room, &self.sender, self.message);
        let mut opener = Opener::new(&self.site, self.room, KeyVersion::FIRST, self.secret.clone(), 1);
        opener.open(&claim, envelope).expect("sealed by the other end").len()
    }
}

fn claim(room: RoomId, sender: &AccountId, message: MessageId) -> Claim<'_> {
    Claim { room, version: KeyVersion::FIRST, kind: BodyKind::Message, sender, message, edit: 0 }
}
