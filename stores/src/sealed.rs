//! Room secrets as they lie in a vault: sealed under the site's master key, bound to the place they belong to.
//!
//! AES-256-GCM under a key derived for this purpose alone, a random nonce, and as associated data the key id, the site, the
//! room and the version, each length-prefixed: a sealed secret copied to another place does not open there. Stored form:
//! `0` for a tombstone, or `1`, key id (8 bytes), nonce (12 bytes), ciphertext and tag (48 bytes).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use chamberlain_core::id::{KeyVersion, RoomId, SiteId};
use chamberlain_core::keys::{RoomSecret, SECRET_LEN};
use chamberlain_core::site::MasterKey;
use hmac::{Hmac, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::StoreError;

/// The stored form of a version that was destroyed.
pub(crate) const TOMBSTONE: &[u8] = &[0];

const SEALED: u8 = 1;
const KEY_ID_LEN: usize = 8;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const SEALED_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN + SECRET_LEN + TAG_LEN;

/// Seals and opens the secrets of one site.
pub(crate) struct VaultCipher {
    cipher: Aes256Gcm,
    key_id: [u8; KEY_ID_LEN],
    site: SiteId,
}

impl VaultCipher {
    /// The cipher of a site under its master key.
    pub(crate) fn new(master: &MasterKey, site: SiteId) -> Self {
        let mut key = master.derive("vault");
        let cipher = Aes256Gcm::new(&key.into());
        key.zeroize();
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&check_value(master)[..KEY_ID_LEN]);
        Self { cipher, key_id, site }
    }

    /// Seals the secret of a version.
    pub(crate) fn seal(&self, room: RoomId, version: KeyVersion, secret: &RoomSecret) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        SysRng
            .try_fill_bytes(&mut nonce)
            .map_err(|why| StoreError::Unavailable(format!("no randomness for a nonce: {why}")))?;
        let plain = secret.to_bytes();
        let aad = self.bound_to(room, version);
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: &plain[..], aad: &aad })
            .map_err(|_| StoreError::Invalid("the secret cannot be sealed".into()))?;
        let mut stored = Vec::with_capacity(SEALED_LEN);
        stored.push(SEALED);
        stored.extend(self.key_id);
        stored.extend(nonce);
        stored.extend(sealed);
        debug_assert_eq!(stored.len(), SEALED_LEN);
        Ok(stored)
    }

    /// Opens what is stored under a version; `None` for a tombstone.
    pub(crate) fn open(
        &self,
        room: RoomId,
        version: KeyVersion,
        stored: &[u8],
    ) -> Result<Option<RoomSecret>, StoreError> {
        if stored == TOMBSTONE {
            return Ok(None);
        }
        let corrupt = |what: &str| StoreError::Corrupt(format!("secret of {room} version {version}: {what}"));
        let sealed = stored.strip_prefix(&[SEALED]).filter(|_| stored.len() == SEALED_LEN);
        let (key_id, rest) = sealed.ok_or_else(|| corrupt("of unknown form"))?.split_at(KEY_ID_LEN);
        if key_id != self.key_id {
            return Err(corrupt("sealed under another master key"));
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(|| corrupt("cut off"))?;
        let aad = self.bound_to(room, version);
        let plain = self.cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &aad });
        let plain = Zeroizing::new(plain.map_err(|_| corrupt("it does not open"))?);
        let mut bytes = Zeroizing::new([0; SECRET_LEN]);
        if plain.len() != SECRET_LEN {
            return Err(corrupt("of the wrong length"));
        }
        bytes.copy_from_slice(&plain);
        RoomSecret::from_bytes(&bytes).map(Some).map_err(|_| corrupt("it is no key"))
    }

    fn bound_to(&self, room: RoomId, version: KeyVersion) -> Vec<u8> {
        let version = version.0.to_be_bytes();
        let parts: [&[u8]; 5] =
            [b"chamberlain/vault/1", &self.key_id, self.site.as_str().as_bytes(), room.as_str().as_bytes(), &version];
        let mut aad = Vec::new();
        for part in parts {
            aad.extend((part.len() as u32).to_be_bytes());
            aad.extend_from_slice(part);
        }
        aad
    }
}

/// What a store keeps to notice another master key: a MAC of a constant, under a key derived for it.
pub(crate) fn check_value(master: &MasterKey) -> [u8; 32] {
    let mut key = master.derive("master key check");
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&key).expect("HMAC takes a key of any length");
    key.zeroize();
    mac.update(b"chamberlain/master-key-check/1");
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(key: u8, site: &str) -> VaultCipher {
        VaultCipher::new(&MasterKey::from_bytes([key; 32]), site.parse().expect("a site"))
    }

    #[test]
    fn a_secret_opens_only_where_it_was_put() {
        let (room, other) = (RoomId::from_digest(&[1; 32]), RoomId::from_digest(&[2; 32]));
        let secret = RoomSecret::from_bytes(&[7; 32]).expect("a scalar");
        let vault = cipher(1, "home");
        let stored = vault.seal(room, KeyVersion(3), &secret).expect("sealed");
        assert_eq!(vault.open(room, KeyVersion(3), &stored), Ok(Some(secret)));
        assert!(vault.open(room, KeyVersion(4), &stored).is_err());
        assert!(vault.open(other, KeyVersion(3), &stored).is_err());
        assert!(cipher(1, "away").open(room, KeyVersion(3), &stored).is_err());
        assert!(cipher(2, "home").open(room, KeyVersion(3), &stored).is_err());
        for at in 0..stored.len() {
            let mut bent = stored.clone();
            bent[at] ^= 1;
            assert!(vault.open(room, KeyVersion(3), &bent).is_err(), "byte {at}");
            assert!(vault.open(room, KeyVersion(3), &stored[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn equal_secrets_are_sealed_differently_each_time() {
        let (room, vault) = (RoomId::from_digest(&[1; 32]), cipher(1, "home"));
        let secret = RoomSecret::from_bytes(&[7; 32]).expect("a scalar");
        let seal = || vault.seal(room, KeyVersion(0), &secret).expect("sealed");
        assert_ne!(seal(), seal());
        assert!(!seal().windows(8).any(|bytes| bytes == [7; 8]));
    }
}
