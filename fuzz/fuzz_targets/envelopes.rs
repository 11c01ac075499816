//! Envelopes: whatever the bytes, opening refuses or opens, and never panics; only what was sealed opens.
#![no_main]

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RoomId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::from_bytes(bytes) else { return };
    assert_eq!(envelope.to_bytes()[..], *bytes);
    let secret = RoomSecret::from_bytes(&[3; 32]).expect("a small scalar is a key");
    let room = RoomId::from_digest(&[1; 32]);
    let site = "fuzz".parse().expect("a site");
    let sender: AccountId = "somebody".parse().expect("an account");
    let mut opener = Opener::new(&site, room, KeyVersion::FIRST, secret, 4);
    let claim = Claim {
        room,
        version: KeyVersion::FIRST,
        kind: BodyKind::Message,
        sender: &sender,
        message: MessageId::from_digest(&[2; 32]),
        edit: 0,
    };
    assert!(opener.open(&claim, &envelope).is_err(), "nobody sealed this");
});
