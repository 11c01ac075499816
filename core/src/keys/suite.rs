//! The cryptography of an envelope, as RFC 9180 and DESIGN.md fix it; the layout is in the header of [`crate::keys`].
//!
//! HPKE gives a secret to both ends of an encapsulation and is asked for nothing but [its export]; the message key made of
//! it does the sealing. Only this file names HPKE's algorithms and AES-GCM.
//!
//! [its export]: https://www.rfc-editor.org/rfc/rfc9180.html#section-5.3

use alloc::vec::Vec;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::envelope::Encapsulation;
use super::public::{InvalidKey, PUBLIC_LEN, RoomPublic};
use super::secret::RoomSecret;
use crate::id::{KeyVersion, RoomId, SiteId};

/// Bytes of the tag that ends a ciphertext.
pub(super) const TAG_LEN: usize = 16;

/// First of the four parts of the info: this protocol, and its version.
const PROTOCOL: &str = "chamberlain/1";
/// Exporter context of the message key.
pub(super) const MESSAGE: &[u8] = b"message";

/// Bytes of an AES-256 key; wiped when dropped.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// Encapsulates to `public`, and exports the key of `context`. One ephemeral key pair, of 32 bytes from `rng`.
pub(super) fn encapsulate(
    public: RoomPublic,
    info: &[u8],
    context: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Encapsulation, KeyBytes), InvalidKey> {
    let (encapsulated, sender) = setup_sender_with_rng::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeS::Base,
        &public.to_point()?,
        info,
        rng,
    )
    .map_err(|_| InvalidKey::Public)?;
    let mut key = KeyBytes::default();
    sender.export(context, &mut key[..]).map_err(|_| InvalidKey::Public)?;
    let mut bytes = [0; PUBLIC_LEN];
    encapsulated.write_exact(&mut bytes);
    Ok((Encapsulation(bytes), key))
}

/// The key of `context` that the maker of `encapsulation` exported.
pub(super) fn decapsulate(
    secret: &RoomSecret,
    encapsulation: &Encapsulation,
    info: &[u8],
    context: &[u8],
) -> Result<KeyBytes, HpkeError> {
    let scalar = secret.to_scalar().map_err(|_| HpkeError::ValidationError)?;
    let encapsulated = <DhP256HkdfSha256 as Kem>::EncappedKey::from_bytes(&encapsulation.0)?;
    let receiver =
        setup_receiver::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(&OpModeR::Base, &scalar, &encapsulated, info)?;
    let mut key = KeyBytes::default();
    receiver.export(context, &mut key[..])?;
    Ok(key)
}

/// HPKE's info: which protocol, and which key of which room of which site.
pub(super) fn info(site: &SiteId, room: RoomId, version: KeyVersion) -> Vec<u8> {
    prefixed([Field::Text(PROTOCOL), Field::Text(site.as_str()), Field::Text(room.as_str()), Field::Number(version.0)])
}

/// One sealer's key, scheduled; one node's, for its letters to others. Wiped when dropped (`aes-gcm` with `zeroize`).
pub(crate) struct MessageKey(Aes256Gcm);

impl MessageKey {
    pub(crate) fn new(key: &KeyBytes) -> Self {
        Self(Aes256Gcm::new((&**key).into()))
    }

    /// The ciphertext and its tag; `None` when the plaintext is longer than AES-GCM allows (64 GiB).
    pub(crate) fn seal(&self, counter: u64, associated: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&nonce(counter), Payload { msg: plaintext, aad: associated }).ok()
    }

    /// The plaintext; `None` when key, counter, associated data and ciphertext do not belong together.
    pub(crate) fn open(&self, counter: u64, associated: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.decrypt(&nonce(counter), Payload { msg: ciphertext, aad: associated }).ok().map(Zeroizing::new)
    }
}

/// Four zero bytes, and the counter.
pub(super) fn nonce(counter: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce.into()
}

/// A part of the info or of the associated data.
pub(super) enum Field<'a> {
    Text(&'a str),
    Number(u32),
}

/// Joins fields, each with its length as a big-endian `u32` in front, so that no two lists have the same bytes.
pub(super) fn prefixed<const N: usize>(fields: [Field<'_>; N]) -> Vec<u8> {
    // All of our lists fit: the longest is a claim, of 140 bytes.
    let mut out = Vec::with_capacity(144);
    for field in fields {
        match field {
            Field::Text(text) => {
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Field::Number(number) => {
                out.extend_from_slice(&4_u32.to_be_bytes());
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
    out
}
