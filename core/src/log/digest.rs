//! The chain of digests over a log, one link per revision.
//!
//! `digest(r) = SHA-256(digest(r-1) | r | H(event without its body) | H(body))`, where the event is taken with its time,
//! account, request and fingerprint, and whether it is the first of its entry. Bodies are covered by their hash alone, so
//! that an erased body leaves a chain that verifies.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::Revision;

/// SHA-256 over everything up to one revision of one log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Before the first revision.
    pub const ZERO: Self = Self([0; 32]);

    /// The link for `revision`, over the hashes of its event and its body.
    pub fn link(self, revision: Revision, event: &[u8; 32], body: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(revision.0.to_be_bytes());
        hash.update(event);
        hash.update(body);
        Self(hash.finalize().into())
    }

    /// The one that is written as these 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a log ends: its last revision and the digest there. Two logs with equal heads are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Head {
    /// The last revision; zero for an empty log.
    pub revision: Revision,
    /// The digest at that revision.
    pub digest: Digest,
}

impl Head {
    /// The head of a log that holds nothing.
    pub const EMPTY: Self = Self { revision: Revision::ZERO, digest: Digest::ZERO };
}
