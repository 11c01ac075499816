//! Envelopes: whatever the bytes, opening refuses or opens, and never panics; only what was sealed opens, for what it was
//! sealed for and nothing else.
#![no_main]

use std::sync::LazyLock;

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RoomId, SiteId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const TEXT: &[u8] = b"the chamberlain of a house keeps its rooms";

/// What a fuzzer changes: a genuine envelope, which no random bytes would ever become.
static GENUINE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut sealer = Sealer::new(&site(), room(), KeyVersion::FIRST, &secret().public(), &mut rng).expect("a sealer");
    sealer.seal(&claim(&sender(), 0), TEXT).expect("a counter is left").to_bytes().to_vec()
});

fuzz_target!(|bytes: &[u8]| {
    // The first byte says what the others are: edits of a genuine envelope, or an envelope.
    let Some((how, rest)) = bytes.split_first() else { return };
    let mut tried = rest.to_vec();
    let mut edit = 0;
    if how % 2 == 0 {
        tried.clone_from(&GENUINE);
        for change in rest.chunks_exact(2) {
            match usize::from(change[0]) {
                255 => edit = u32::from(change[1]),
                254 => tried.truncate(tried.len().saturating_sub(usize::from(change[1]))),
                at => {
                    let at = at % tried.len().max(1);
                    if let Some(byte) = tried.get_mut(at) {
                        *byte ^= change[1];
                    }
                }
            }
        }
    }
    let Ok(envelope) = Envelope::from_bytes(&tried) else { return };
    assert_eq!(envelope.to_bytes()[..], tried[..], "an envelope is written as it was read");
    let mut opener = Opener::new(&site(), room(), KeyVersion::FIRST, secret(), 4);
    let opened = opener.open(&claim(&sender(), edit), &envelope);
    let genuine = tried == *GENUINE && edit == 0;
    assert_eq!(opened.is_ok(), genuine, "what was sealed opens, and nothing else does");
    if let Ok(text) = opened {
        assert_eq!(&text[..], TEXT);
    }
});

fn site() -> SiteId {
    "fuzz".parse().expect("a site")
}

fn room() -> RoomId {
    RoomId::from_digest(&[1; 32])
}

fn secret() -> RoomSecret {
    RoomSecret::from_bytes(&[3; 32]).expect("a small scalar is a key")
}

fn sender() -> AccountId {
    "somebody".parse().expect("an account")
}

fn claim(sender: &AccountId, edit: u32) -> Claim<'_> {
    Claim {
        room: room(),
        version: KeyVersion::FIRST,
        kind: BodyKind::Message,
        sender,
        message: MessageId::from_digest(&[2; 32]),
        edit,
    }
}
