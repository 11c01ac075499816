//! The public half of a room key version: what a sealer needs, and what the log carries.
//!
//! A value of this type is a point on the curve, never the point at infinity; it is checked once, when it is parsed.

use core::fmt;

use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding;

/// Bytes of a public half and of an encapsulation: uncompressed SEC1.
pub const PUBLIC_LEN: usize = 65;

/// Why bytes are no key of P-256. Refused: the same bytes will never be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A private half is 32 bytes, and as a number from 1 to the order of the group less one.
    #[error("a private key must be 32 bytes: a number from 1 up to, not including, the order of P-256")]
    Private,
    /// A public half is 65 bytes, 04 and the coordinates of a point on the curve.
    #[error("a public key must be 65 bytes: an uncompressed point on P-256")]
    Public,
}

/// Public half of a room key version: 65 bytes, uncompressed SEC1, on the curve. Base64 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomPublic([u8; PUBLIC_LEN]);

impl RoomPublic {
    /// Checks that `bytes` are an uncompressed point on P-256.
    ///
    /// # Errors
    /// [`InvalidKey::Public`] for anything else, the compressed form included.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        point(bytes)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidKey::Public)?))
    }

    /// The point: 04, x, y.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.0
    }

    /// Bytes that are known to be a point, because they were computed as one.
    pub(super) fn computed(bytes: [u8; PUBLIC_LEN]) -> Self {
        debug_assert!(point(&bytes).is_ok());
        Self(bytes)
    }

    /// The same point, as HPKE takes it.
    pub(super) fn to_point(self) -> Result<<DhP256HkdfSha256 as Kem>::PublicKey, InvalidKey> {
        point(&self.0)
    }
}

/// Parses an uncompressed point; refuses every other form, and what is not on the curve.
fn point(bytes: &[u8]) -> Result<<DhP256HkdfSha256 as Kem>::PublicKey, InvalidKey> {
    match bytes {
        [4, ..] => <DhP256HkdfSha256 as Kem>::PublicKey::from_bytes(bytes).map_err(|_| InvalidKey::Public),
        _ => Err(InvalidKey::Public),
    }
}

/// The first bytes of x: enough to tell two keys apart in a log.
impl fmt::Debug for RoomPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomPublic(")?;
        self.0[1..5].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

impl Serialize for RoomPublic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encoding::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for RoomPublic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = encoding::deserialize::<PUBLIC_LEN, D>(deserializer)?;
        Self::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RoomSecret;

    #[test]
    fn only_uncompressed_points_on_the_curve_are_public_keys() {
        let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
        let good = *public.as_bytes();
        assert_eq!(RoomPublic::from_bytes(&good), Ok(public));

        let mut off_the_curve = good;
        off_the_curve[64] ^= 1;
        let mut hybrid = good;
        hybrid[0] = 6 + (good[64] & 1);
        let mut compressed = [0; 33];
        compressed[0] = 2 + (good[64] & 1);
        compressed[1..].copy_from_slice(&good[1..33]);
        for bad in [&off_the_curve[..], &hybrid, &compressed, &good[..64], &[0], &[0; 65], &[]] {
            assert_eq!(RoomPublic::from_bytes(bad), Err(InvalidKey::Public), "{bad:?}");
        }
    }

    #[test]
    fn serde_checks_the_point() {
        let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
        let json = serde_json::to_string(&public).expect("serializes");
        assert_eq!(json.len(), 88 + 2);
        assert_eq!(serde_json::from_str::<RoomPublic>(&json).expect("reads back"), public);
        let mut bytes = bincode::serde::encode_to_vec(public, bincode::config::standard()).expect("encodes");
        assert_eq!(bytes.len(), 66);
        bytes[65] ^= 1;
        assert!(bincode::serde::decode_from_slice::<RoomPublic, _>(&bytes, bincode::config::standard()).is_err());
    }
}
