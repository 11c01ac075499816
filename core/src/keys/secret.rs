//! The private half of a room key version: what members are handed, and what the vault keeps.
//!
//! It has no serde form on purpose: the two places where its bytes leave (the vault and a key frame) call
//! [`RoomSecret::to_bytes`] and can be found by that name.

use core::fmt;

use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem};
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::public::{InvalidKey, PUBLIC_LEN, RoomPublic};

/// Bytes of a private half.
pub const SECRET_LEN: usize = 32;

/// Private half of a room key version: a P-256 scalar. Zeroized on drop, compared in constant time, redacted in `Debug`.
#[derive(Clone)]
pub struct RoomSecret {
    scalar: SecretKey,
    /// Computed once: whoever holds a secret checks its public half against the log.
    public: RoomPublic,
}

impl RoomSecret {
    /// A new key pair, uniform over the scalars.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::of(SecretKey::generate_from_rng(rng))
    }

    /// The key pair of these 32 bytes, big-endian. Costs one scalar multiplication, for the public half.
    ///
    /// # Errors
    /// [`InvalidKey::Private`] for zero and for what is not less than the order of the group.
    pub fn from_bytes(bytes: &[u8; SECRET_LEN]) -> Result<Self, InvalidKey> {
        SecretKey::from_slice(bytes).map(Self::of).map_err(|_| InvalidKey::Private)
    }

    /// The scalar, 32 bytes big-endian. The copy wipes itself.
    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_LEN]> {
        let mut field = self.scalar.to_bytes();
        let mut bytes = Zeroizing::new([0; SECRET_LEN]);
        bytes.copy_from_slice(&field);
        field.as_mut_slice().zeroize();
        bytes
    }

    /// The public half.
    pub fn public(&self) -> RoomPublic {
        self.public
    }

    /// The same scalar, as HPKE takes it.
    pub(super) fn to_scalar(&self) -> Result<<DhP256HkdfSha256 as Kem>::PrivateKey, InvalidKey> {
        <DhP256HkdfSha256 as Kem>::PrivateKey::from_bytes(&*self.to_bytes()).map_err(|_| InvalidKey::Private)
    }

    fn of(scalar: SecretKey) -> Self {
        let point = scalar.public_key().to_sec1_point(false);
        let mut bytes = [0; PUBLIC_LEN];
        bytes.copy_from_slice(point.as_bytes());
        Self { scalar, public: RoomPublic::computed(bytes) }
    }
}

/// In constant time.
impl PartialEq for RoomSecret {
    fn eq(&self, other: &Self) -> bool {
        self.scalar == other.scalar
    }
}

impl Eq for RoomSecret {}

/// Names the pair by its public half; the scalar is not shown.
impl fmt::Debug for RoomSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomSecret").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    /// The order of P-256 (SEC 2, section 2.4.2).
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
        0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];

    #[test]
    fn scalars_run_from_one_to_the_order() {
        let mut last = ORDER;
        last[31] -= 1;
        let mut one = [0; 32];
        one[31] = 1;
        for good in [one, last] {
            assert_eq!(*RoomSecret::from_bytes(&good).expect("a scalar").to_bytes(), good);
        }
        for bad in [[0; 32], ORDER, [0xff; 32]] {
            assert_eq!(RoomSecret::from_bytes(&bad).err(), Some(InvalidKey::Private));
        }
    }

    #[test]
    fn a_generated_secret_reads_back_as_itself() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (one, two) = (RoomSecret::generate(&mut rng), RoomSecret::generate(&mut rng));
        assert_eq!(RoomSecret::from_bytes(&one.to_bytes()).as_ref(), Ok(&one));
        assert_ne!(one, two);
        assert_ne!(one.public(), two.public());
    }

    #[test]
    fn debug_does_not_show_the_scalar() {
        let secret = RoomSecret::from_bytes(&[0xab; 32]).expect("a scalar");
        let shown = format!("{secret:?}");
        assert!(shown.starts_with("RoomSecret { public: RoomPublic(") && !shown.contains("abab"), "{shown}");
    }
}
