//! Test vectors: RFC 9180's through the very functions that sealers and openers use, and our own.
//!
//! `tests/vectors/hpke.json` is the published vector of our suite. `tests/vectors/envelope.json` was written by this code
//! from fixed seeds and fixes the bytes for good; the second implementation under `tests/interop` and the browser client
//! check the same file. A change of the protocol writes it anew: `CHAMBERLAIN_WRITE_VECTORS=1 cargo test -p
//! chamberlain-core vectors`.

use core::convert::Infallible;
use std::string::String;
use std::vec::Vec;
use std::{env, format, fs};

use rand::{SeedableRng, TryCryptoRng, TryRng};
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::suite::{self, MESSAGE, MessageKey};
use super::{BodyKind, Claim, Envelope, Opener, RoomPublic, RoomSecret, Sealer};
use crate::id::{AccountId, KeyVersion, MessageId, RoomId, SiteId};

/// Bytes in hexadecimal, as the published vectors have them.
#[derive(Debug, PartialEq, Clone)]
struct Hex(Vec<u8>);

impl Hex {
    fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().to_vec())
    }

    fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().expect("of this length")
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii"));
        Ok(Self(pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()))
    }
}

/// A generator that gives these bytes and no more: published vectors name the bytes that were drawn.
struct Drawn(Vec<u8>);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("keys are drawn as bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("keys are drawn as bytes")
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        into.copy_from_slice(&self.0.drain(..into.len()).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// One entry of the test vectors that RFC 9180 refers to; names are theirs.
#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Published {
    mode: u8,
    kem_id: u16,
    kdf_id: u16,
    aead_id: u16,
    info: Hex,
    ikmE: Hex,
    skRm: Hex,
    pkRm: Hex,
    enc: Hex,
    key: Hex,
    encryptions: Vec<PublishedSeal>,
    exports: Vec<PublishedExport>,
}

#[derive(Deserialize)]
struct PublishedSeal {
    aad: Hex,
    ct: Hex,
    nonce: Hex,
    pt: Hex,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct PublishedExport {
    exporter_context: Hex,
    L: usize,
    exported_value: Hex,
}

#[test]
fn both_ends_agree_with_rfc_9180() {
    let published: Published =
        serde_json::from_str(include_str!("../../tests/vectors/hpke.json")).expect("the published vector");
    let suite = (published.mode, published.kem_id, published.kdf_id, published.aead_id);
    assert_eq!(suite, (0, 0x0010, 0x0001, 0x0002), "the vector is of our suite exactly");

    let secret = RoomSecret::from_bytes(&published.skRm.array()).expect("a scalar");
    assert_eq!(Hex::of(secret.public().as_bytes()), published.pkRm);
    assert_eq!(published.exports.len(), 3);
    for export in &published.exports {
        assert_eq!(export.L, 32);
        let context = &export.exporter_context.0;
        let mut drawn = Drawn(published.ikmE.0.clone());
        let (encapsulation, sealed_under) =
            suite::encapsulate(secret.public(), &published.info.0, context, &mut drawn).expect("encapsulates");
        assert!(drawn.0.is_empty(), "one ephemeral key was drawn");
        let opened_under =
            suite::decapsulate(&secret, &encapsulation, &published.info.0, context).expect("decapsulates");
        assert_eq!(Hex::of(encapsulation.0), published.enc);
        assert_eq!(Hex::of(&sealed_under[..]), export.exported_value);
        assert_eq!(Hex::of(&opened_under[..]), export.exported_value);
    }
}

#[test]
fn aes_256_gcm_agrees_with_rfc_9180() {
    use aes_gcm::Aes256Gcm;
    use aes_gcm::aead::{Aead, KeyInit, Payload};

    let published: Published =
        serde_json::from_str(include_str!("../../tests/vectors/hpke.json")).expect("the published vector");
    // Our nonces begin with four zero bytes and theirs do not, so the cipher is asked below `MessageKey`.
    let cipher = Aes256Gcm::new(&published.key.array::<32>().into());
    for seal in &published.encryptions {
        let payload = Payload { msg: &seal.pt.0, aad: &seal.aad.0 };
        assert_eq!(Hex(cipher.encrypt(&seal.nonce.array::<12>().into(), payload).expect("seals")), seal.ct);
    }
}

/// One envelope, with everything that goes into it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    says: String,
    site: SiteId,
    room: RoomId,
    version: KeyVersion,
    kind: BodyKind,
    sender: AccountId,
    message: MessageId,
    edit: u32,
    secret: Hex,
    public: Hex,
    info: Hex,
    key: Hex,
    nonce: Hex,
    associated_data: Hex,
    plaintext: Hex,
    ciphertext: Hex,
    envelope: Envelope,
    stored: Hex,
}

impl Vector {
    fn claim(&self) -> Claim<'_> {
        Claim {
            room: self.room,
            version: self.version,
            kind: self.kind,
            sender: &self.sender,
            message: self.message,
            edit: self.edit,
        }
    }
}

#[test]
fn our_own_vectors_do_not_change() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/envelope.json");
    let made = make();
    if env::var_os("CHAMBERLAIN_WRITE_VECTORS").is_some() {
        let json = serde_json::to_string_pretty(&made).expect("serializes");
        fs::write(path, json + "\n").expect("written");
    }
    let read: Vec<Vector> = serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("well-formed");
    assert_eq!(made, read);
}

#[test]
fn our_own_vectors_open() {
    let read: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/vectors/envelope.json")).expect("well-formed");
    assert!(!read.is_empty());
    for vector in &read {
        let secret = RoomSecret::from_bytes(&vector.secret.array()).expect("a scalar");
        assert_eq!(RoomPublic::from_bytes(&vector.public.0), Ok(secret.public()), "{}", vector.says);
        let key = suite::decapsulate(&secret, &vector.envelope.encapsulation, &vector.info.0, MESSAGE)
            .expect("a point on the curve");
        assert_eq!(Hex::of(&key[..]), vector.key, "{}", vector.says);
        let plaintext =
            MessageKey::new(&key).open(vector.envelope.counter, &vector.associated_data.0, &vector.ciphertext.0);
        assert_eq!(Hex(plaintext.expect("authentic").to_vec()), vector.plaintext, "{}", vector.says);

        assert_eq!(Envelope::from_bytes(&vector.stored.0).as_ref(), Ok(&vector.envelope), "{}", vector.says);
        let mut opener = Opener::new(&vector.site, vector.room, vector.version, secret, 1);
        let opened = opener.open(&vector.claim(), &vector.envelope).expect("authentic");
        assert_eq!(Hex::of(&opened[..]), vector.plaintext, "{}", vector.says);
    }
}

/// What is said in the vectors: what of the layout it shows, kind, sender, message, edit, text.
type Said<'a> = (&'a str, BodyKind, &'a str, &'a str, u32, &'a str);

fn make() -> Vec<Vector> {
    const FIRST: [Said<'_>; 4] = [
        ("the first envelope of a sealer", BodyKind::Message, "ada", "0123456789ABCDEFGHIJ", 0, "Good evening."),
        ("its second: the counter moves", BodyKind::Message, "ada", "0123456789ABCDEFGHIJ", 1, "Good morning."),
        (
            "another sender, 17 characters of message id, not ASCII",
            BodyKind::Message,
            "bo.t+x@corp",
            "abcdefghijklmnopq",
            0,
            "Grüße 🗝",
        ),
        ("a system message without a body", BodyKind::System, "ada", "zyxwvutsrqponmlkjihg", 0, ""),
    ];
    const SECOND: [Said<'_>; 2] = [
        ("a version of four bytes", BodyKind::Message, "ada", "0123456789ABCDEFGHIJ", 0, "Good evening."),
        (
            "the highest edit number, text of several blocks",
            BodyKind::Message,
            "a",
            "0123456789ABCDEFGHIJ",
            u32::MAX,
            "Sixteen bytes it is, and then some: a body that ends within a block.",
        ),
    ];
    let mut made = Vec::new();
    made.extend(say("home", RoomId::from_digest(&[1; 32]), KeyVersion(0), [1; 32], &FIRST));
    made.extend(say("s-2", RoomId::from_digest(&[0xfe; 32]), KeyVersion(0x0102_0304), [2; 32], &SECOND));
    made
}

fn say(site: &str, room: RoomId, version: KeyVersion, seed: [u8; 32], said: &[Said<'_>]) -> Vec<Vector> {
    let mut rng = ChaCha20Rng::from_seed(seed);
    let site: SiteId = site.parse().expect("valid");
    let secret = RoomSecret::generate(&mut rng);
    let info = suite::info(&site, room, version);
    let mut sealer = Sealer::new(&site, room, version, &secret.public(), &mut rng).expect("a key");
    said.iter()
        .map(|&(says, kind, sender, message, edit, text)| {
            let sender: AccountId = sender.parse().expect("valid");
            let message: MessageId = message.parse().expect("valid");
            let claim = Claim { room, version, kind, sender: &sender, message, edit };
            let envelope = sealer.seal(&claim, text.as_bytes()).expect("seals");
            let key = suite::decapsulate(&secret, &envelope.encapsulation, &info, MESSAGE).expect("a point");
            Vector {
                says: says.into(),
                site: site.clone(),
                room,
                version,
                kind,
                message,
                edit,
                secret: Hex::of(&secret.to_bytes()[..]),
                public: Hex::of(secret.public().as_bytes()),
                info: Hex::of(&info),
                key: Hex::of(&key[..]),
                nonce: Hex::of(suite::nonce(envelope.counter)),
                associated_data: Hex::of(claim.associated_data()),
                plaintext: Hex::of(text),
                ciphertext: Hex::of(&*envelope.ciphertext),
                stored: Hex::of(envelope.to_bytes()),
                envelope,
                sender,
            }
        })
        .collect()
}
