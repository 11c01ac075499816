//! Room keys: the two halves of a key version, what is sealed under them, and who seals and opens.
//!
//! A room key version is a P-256 key pair. Members hold the private half ([`RoomSecret`]); whoever seals needs the public
//! half ([`RoomPublic`]) only. A [`Sealer`] encapsulates once per room and version and counts its nonces; an [`Opener`]
//! derives each sealer's message key once. An [`Envelope`] opens only as what it was sealed as: its [`Claim`].
//! Randomness is an argument; nothing here stores, sends or logs a secret.
//!
//! # The bytes
//!
//! This is all that another implementation needs. Test vectors: `core/tests/vectors/envelope.json` (ours) and
//! `core/tests/vectors/hpke.json` (RFC 9180); a second implementation: `core/tests/interop/envelope.mjs`.
//!
//! Integers are big-endian. `p(x)` is the length of `x` in bytes as a `u32`, then `x`; so `p(5_u32)` is
//! `00000004 00000005`. Ids and names are their text in ASCII. `|` joins.
//!
//! ```text
//! suite       HPKE (RFC 9180) base mode: DHKEM(P-256, HKDF-SHA256) = 0x0010, HKDF-SHA256 = 0x0001, AES-256-GCM = 0x0002
//! info        p("chamberlain/1") | p(site) | p(room) | p(version: u32)          site: the room's origin site
//! key         Context.Export(exporter_context = "message", L = 32)              an AES-256-GCM key
//! nonce       00 00 00 00 | counter: u64                                        12 bytes
//! aad         p(room) | p(version: u32) | p(kind) | p(sender) | p(message id) | p(edit: u32)
//!             kind: "message" or "system"; edit: 0 for the first text of a message, then 1, 2, ...
//! ciphertext  AES-256-GCM(key, nonce, aad, plaintext), its 16 bytes of tag at the end
//!
//! private     32 bytes, the scalar
//! public      65 bytes, uncompressed SEC1: 04 | x | y; an encapsulation is one too
//! stored      version: u32 | encapsulation: 65 bytes | counter: u64 | ciphertext         at least 93 bytes
//! JSON        {"version":0,"encapsulation":"BASE64","counter":0,"ciphertext":"BASE64"}    standard alphabet, padded
//! ```
//!
//! The counter of a sealer begins at 0 and is less than 2^32 ([`COUNTER_END`]): a sealer that gets there encapsulates
//! anew, and an opener refuses what is above, so that every counter is exact as a JavaScript number. A sealer never uses a
//! counter twice, whether or not what it sealed was sent, and never outlives the process or page that made it.

mod claim;
mod encoding;
mod envelope;
mod opener;
mod public;
mod sealer;
mod secret;
mod suite;
#[cfg(test)]
mod vectors;

pub use claim::{BodyKind, Claim};
pub use encoding::Blob;
pub use envelope::{ENVELOPE_MIN, Encapsulation, Envelope, MalformedEnvelope};
pub use opener::{OpenError, Opener};
pub use public::{InvalidKey, PUBLIC_LEN, RoomPublic};
pub use sealer::{COUNTER_END, SealError, Sealer};
pub use secret::{RoomSecret, SECRET_LEN};
pub(crate) use suite::{KeyBytes, MessageKey};
