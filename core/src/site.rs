//! What a site can prove: keys derived from its master key, each for one purpose.
//!
//! The master key never leaves [`MasterKey`]; what is derived from it names rooms, fingerprints commands and authenticates
//! positions. Equal inputs give equal outputs on every node of the site, so a retried creation finds the room it made.

use alloc::vec::Vec;
use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{AccountId, MessageId, RequestId, RoomId, SiteId};
use crate::log::Head;

/// The secret under which a site keeps its other secrets. 32 bytes; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// Takes 32 secret bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key for one purpose, named by `label`.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(b"chamberlain/1"), &self.0)
            .expand(label.as_bytes(), &mut key)
            .expect("32 bytes is a length HKDF can give");
        key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// Keyed hash of a command: tells a retry from another command under the same request id, and tells nothing about the body
/// to whoever reads a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub [u8; 16]);

/// MAC of a position.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PositionMac([u8; 16]);

/// The derived keys of a site.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SiteKeys {
    #[zeroize(skip)]
    site: SiteId,
    naming: [u8; 32],
    fingerprint: [u8; 32],
    position: [u8; 32],
    letters: [u8; 32],
}

impl SiteKeys {
    /// Derives them.
    pub fn new(site: SiteId, master: &MasterKey) -> Self {
        Self {
            site,
            naming: master.derive("naming"),
            fingerprint: master.derive("fingerprint"),
            position: master.derive("position"),
            letters: master.derive("letters"),
        }
    }

    /// The site they belong to.
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// The channel that this request creates: the same again for a retry.
    pub fn channel_id(&self, account: &AccountId, request: RequestId) -> RoomId {
        RoomId::from_digest(&mac(&self.naming, &[b"channel", account.as_str().as_bytes(), request.as_str().as_bytes()]))
    }

    /// The direct message room of two accounts (or of one, with itself): the same whoever asks.
    pub fn dm_id(&self, one: &AccountId, other: &AccountId) -> RoomId {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        RoomId::from_digest(&mac(&self.naming, &[b"dm", first.as_str().as_bytes(), second.as_str().as_bytes()]))
    }

    /// The message that the server writes for a request: the same again for a retry.
    pub fn system_message_id(&self, room: RoomId, account: &AccountId, request: RequestId, nth: u8) -> MessageId {
        MessageId::from_digest(&mac(
            &self.naming,
            &[b"system", room.as_str().as_bytes(), account.as_str().as_bytes(), request.as_str().as_bytes(), &[nth]],
        ))
    }

    /// Fingerprint of a command's canonical bytes.
    pub fn fingerprint(&self, command: &[u8]) -> Fingerprint {
        Fingerprint(first_half(mac(&self.fingerprint, &[command])))
    }

    /// The key under which one life of a node seals its letters to others.
    pub(crate) fn letter_key(&self, life: &[u8; 16]) -> [u8; 32] {
        mac(&self.letters, &[b"letter", life])
    }

    pub(crate) fn position_mac(&self, room: RoomId, head: Head) -> PositionMac {
        let revision = head.revision.0.to_be_bytes();
        PositionMac(first_half(mac(&self.position, &[room.as_str().as_bytes(), &revision, &head.digest.0])))
    }

    pub(crate) fn verify_position(&self, room: RoomId, head: Head, claimed: &PositionMac) -> bool {
        self.position_mac(room, head).0.ct_eq(&claimed.0).into()
    }
}

impl fmt::Debug for SiteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKeys({})", self.site)
    }
}

/// HMAC-SHA256 over length-prefixed parts.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    let mut framed = Vec::new();
    for part in parts {
        framed.extend((part.len() as u32).to_be_bytes());
        framed.extend_from_slice(part);
    }
    mac.update(&framed);
    mac.finalize().into_bytes().into()
}

fn first_half(full: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}
