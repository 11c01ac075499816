//! What holds of every envelope: it opens as what it was sealed as, and as nothing else.
//!
//! Each case costs scalar multiplications, so keys are made once and each property runs a bounded number of cases.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RoomId, SiteId};
use chamberlain_core::keys::{
    BodyKind, Claim, ENVELOPE_MIN, Encapsulation, Envelope, MalformedEnvelope, OpenError, Opener, RoomSecret,
    SealError, Sealer,
};
use proptest::prelude::*;
use proptest::sample::Index;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const VERSION: KeyVersion = KeyVersion(3);

static SITE: LazyLock<SiteId> = LazyLock::new(|| "home".parse().expect("valid"));
static ROOM: LazyLock<RoomId> = LazyLock::new(|| RoomId::from_digest(&[7; 32]));
static SECRET: LazyLock<RoomSecret> = LazyLock::new(|| RoomSecret::generate(&mut rng(1)));

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn sealer(seed: u8) -> Sealer {
    Sealer::new(&SITE, *ROOM, VERSION, &SECRET.public(), &mut rng(seed)).expect("a key")
}

fn opener() -> Opener {
    Opener::new(&SITE, *ROOM, VERSION, SECRET.clone(), 8)
}

/// A claim of the room and version above, that owns what it names.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    kind: BodyKind,
    sender: AccountId,
    message: MessageId,
    edit: u32,
}

impl Owned {
    fn claim(&self) -> Claim<'_> {
        let Self { kind, sender, message, edit } = self;
        Claim { room: *ROOM, version: VERSION, kind: *kind, sender, message: *message, edit: *edit }
    }
}

fn claims() -> impl Strategy<Value = Owned> {
    let kind = prop_oneof![Just(BodyKind::Message), Just(BodyKind::System)];
    let message = prop_oneof!["[0-9A-Za-z]{20}", "[0-9A-Za-z]{17}"];
    (kind, "[a-z0-9][a-z0-9._@+-]{0,63}", message, any::<u32>()).prop_map(|(kind, sender, message, edit)| Owned {
        kind,
        sender: sender.parse().expect("of the form"),
        message: message.parse().expect("of the form"),
        edit,
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_sealed_opens(said in prop::collection::vec((claims(), bodies(), 0_u8..3), 1..12), cache in 0_usize..4) {
        let mut sealers = [sealer(10), sealer(11), sealer(12)];
        let mut opener = Opener::new(&SITE, *ROOM, VERSION, SECRET.clone(), cache);
        for (owned, body, by) in &said {
            let envelope = sealers[usize::from(*by)].seal(&owned.claim(), body).expect("seals");
            let stored = Envelope::from_bytes(&envelope.to_bytes()).expect("well-formed");
            let json = serde_json::to_string(&envelope).expect("serializes");
            let wired: Envelope = serde_json::from_str(&json).expect("well-formed");
            prop_assert_eq!(&stored, &envelope);
            prop_assert_eq!(&wired, &envelope);
            prop_assert_eq!(&opener.open(&owned.claim(), &stored).expect("authentic")[..], &body[..]);
        }
    }

    #[test]
    fn it_opens_as_no_other_claim(one in claims(), other in claims(), body in bodies(), warm in any::<bool>()) {
        let mut opener = opener();
        let envelope = sealer(10).seal(&one.claim(), &body).expect("seals");
        if warm {
            opener.open(&one.claim(), &envelope).expect("authentic");
        }
        let kind = match one.kind {
            BodyKind::Message => BodyKind::System,
            BodyKind::System => BodyKind::Message,
        };
        let others = [
            Claim { kind, ..one.claim() },
            Claim { sender: &other.sender, ..one.claim() },
            Claim { message: other.message, ..one.claim() },
            Claim { edit: other.edit, ..one.claim() },
            Claim { edit: one.edit.wrapping_add(1), ..one.claim() },
            other.claim(),
        ];
        for claim in others.into_iter().filter(|claim| *claim != one.claim()) {
            prop_assert_eq!(opener.open(&claim, &envelope), Err(OpenError::NotAuthentic));
        }
        let claim = Claim { room: RoomId::from_digest(&[8; 32]), ..one.claim() };
        prop_assert_eq!(opener.open(&claim, &envelope), Err(OpenError::WrongRoom));
        let claim = Claim { version: VERSION.next(), ..one.claim() };
        let refused = matches!(opener.open(&claim, &envelope), Err(OpenError::WrongVersion { .. }));
        prop_assert!(refused);
        prop_assert_eq!(&opener.open(&one.claim(), &envelope).expect("authentic")[..], &body[..]);
    }

    #[test]
    fn no_bit_can_be_flipped(owned in claims(), body in bodies(), at in any::<Index>(), bit in 0_u8..8, warm in any::<bool>()) {
        let mut opener = opener();
        let envelope = sealer(10).seal(&owned.claim(), &body).expect("seals");
        if warm {
            opener.open(&owned.claim(), &envelope).expect("authentic");
        }
        let mut bytes = envelope.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let changed = Envelope::from_bytes(&bytes).expect("as long as before");
        prop_assert!(opener.open(&owned.claim(), &changed).is_err());
    }

    #[test]
    fn no_byte_can_be_cut_off_or_added(owned in claims(), body in bodies(), cut in 1_usize..40, more in prop::collection::vec(any::<u8>(), 1..40)) {
        let mut opener = opener();
        let bytes = sealer(10).seal(&owned.claim(), &body).expect("seals").to_bytes();
        if let Ok(shorter) = Envelope::from_bytes(&bytes[..bytes.len().saturating_sub(cut)]) {
            prop_assert_eq!(opener.open(&owned.claim(), &shorter), Err(OpenError::NotAuthentic));
        }
        let longer = Envelope::from_bytes(&[&bytes[..], &more].concat()).expect("long enough");
        prop_assert_eq!(opener.open(&owned.claim(), &longer), Err(OpenError::NotAuthentic));
    }

    #[test]
    fn sealers_never_repeat_a_nonce(asked in prop::collection::vec(0_u8..4, 1..40), seeds in prop::collection::btree_set(any::<u8>(), 1..4)) {
        let owned = Owned {
            kind: BodyKind::Message,
            sender: "ada".parse().expect("valid"),
            message: "abcdefghijklmnopqrst".parse().expect("valid"),
            edit: 0,
        };
        let mut used = BTreeSet::new();
        for seed in seeds {
            let mut sealer = sealer(seed);
            for (before, ask) in (0_u64..).zip(&asked) {
                match ask {
                    0 => {
                        let claim = Claim { version: VERSION.next(), ..owned.claim() };
                        let refused = SealError::WrongVersion { sealer: VERSION, claim: VERSION.next() };
                        prop_assert_eq!(sealer.seal(&claim, b""), Err(refused));
                    }
                    1 => {
                        let claim = Claim { room: RoomId::from_digest(&[8; 32]), ..owned.claim() };
                        prop_assert_eq!(sealer.seal(&claim, b""), Err(SealError::WrongRoom));
                    }
                    _ => {
                        let envelope = sealer.seal(&owned.claim(), b"").expect("seals");
                        prop_assert_eq!(envelope.counter, before, "a refusal burns a nonce too");
                        prop_assert!(used.insert((envelope.encapsulation, envelope.counter)));
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn garbage_is_read_exactly_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match Envelope::from_bytes(&bytes) {
            Ok(envelope) => prop_assert_eq!(&envelope.to_bytes()[..], &bytes[..]),
            Err(MalformedEnvelope { missing }) => prop_assert_eq!(bytes.len() + missing, ENVELOPE_MIN),
        }
    }

    #[test]
    fn garbage_does_not_open(bytes in prop::collection::vec(any::<u8>(), ENVELOPE_MIN..200), owned in claims(), on_the_curve in any::<bool>()) {
        let mut envelope = Envelope::from_bytes(&bytes).expect("long enough");
        envelope.version = VERSION;
        envelope.counter &= 0xffff_ffff;
        if on_the_curve {
            envelope.encapsulation = Encapsulation(*SECRET.public().as_bytes());
        }
        prop_assert!(opener().open(&owned.claim(), &envelope).is_err());
    }
}

#[test]
fn an_envelope_under_another_versions_key_does_not_open_however_it_is_labelled() {
    let owned = Owned {
        kind: BodyKind::Message,
        sender: "ada".parse().expect("valid"),
        message: "abcdefghijklmnopqrst".parse().expect("valid"),
        edit: 0,
    };
    let old = VERSION;
    let new = VERSION.next();
    let new_secret = RoomSecret::generate(&mut rng(2));
    let mut new_opener = Opener::new(&SITE, *ROOM, new, new_secret.clone(), 8);

    // Sealed to the old public half, by a sealer that honestly says the old version; the label is changed afterwards.
    let mut relabelled = sealer(10).seal(&owned.claim(), b"hello").expect("seals");
    assert_eq!(relabelled.version, old);
    let as_new = Claim { version: new, ..owned.claim() };
    let refused = OpenError::WrongVersion { opener: new, envelope: old, claim: new };
    assert_eq!(new_opener.open(&as_new, &relabelled), Err(refused));
    relabelled.version = new;
    assert_eq!(new_opener.open(&as_new, &relabelled), Err(OpenError::NotAuthentic));

    // Sealed to the old public half, by a sealer that says the new version throughout.
    let mut liar = Sealer::new(&SITE, *ROOM, new, &SECRET.public(), &mut rng(11)).expect("a key");
    let lie = liar.seal(&as_new, b"hello").expect("seals");
    assert_eq!(new_opener.open(&as_new, &lie), Err(OpenError::NotAuthentic));
    // Nor does the holder of the old private half open it as the old version.
    let mut as_old = lie.clone();
    as_old.version = old;
    assert_eq!(opener().open(&owned.claim(), &as_old), Err(OpenError::NotAuthentic));

    // The same key in another room or at another site is another key.
    let other_site: SiteId = "away".parse().expect("valid");
    let mut away = Opener::new(&other_site, *ROOM, old, SECRET.clone(), 8);
    let envelope = sealer(12).seal(&owned.claim(), b"hello").expect("seals");
    assert_eq!(away.open(&owned.claim(), &envelope), Err(OpenError::NotAuthentic));
}

#[test]
fn an_encapsulation_that_is_no_point_is_refused() {
    let owned = Owned {
        kind: BodyKind::Message,
        sender: "ada".parse().expect("valid"),
        message: "abcdefghijklmnopqrst".parse().expect("valid"),
        edit: 0,
    };
    let mut envelope = sealer(10).seal(&owned.claim(), b"hello").expect("seals");
    let honest = envelope.encapsulation;
    for (at, flip) in [(0, 4), (0, 2), (64, 1)] {
        envelope.encapsulation = honest;
        envelope.encapsulation.0[at] ^= flip;
        assert_eq!(opener().open(&owned.claim(), &envelope), Err(OpenError::Encapsulation));
    }
    envelope.encapsulation = Encapsulation([0; 65]);
    assert_eq!(opener().open(&owned.claim(), &envelope), Err(OpenError::Encapsulation));
}

#[test]
fn a_flood_of_made_up_sealers_pushes_no_honest_one_out() {
    // Seen from outside as: it still opens. That nothing was remembered is the opener's `known` in its Debug form.
    let owned = Owned {
        kind: BodyKind::Message,
        sender: "ada".parse().expect("valid"),
        message: "abcdefghijklmnopqrst".parse().expect("valid"),
        edit: 0,
    };
    let mut honest = sealer(10);
    let mut opener = Opener::new(&SITE, *ROOM, VERSION, SECRET.clone(), 2);
    let first = honest.seal(&owned.claim(), b"one").expect("seals");
    opener.open(&owned.claim(), &first).expect("authentic");
    for seed in 20..30 {
        let mut made_up = sealer(seed).seal(&owned.claim(), b"one").expect("seals");
        made_up.counter += 1;
        assert_eq!(opener.open(&owned.claim(), &made_up), Err(OpenError::NotAuthentic));
    }
    assert!(format!("{opener:?}").contains("known: 1"), "{opener:?}");
    let second = honest.seal(&owned.claim(), b"two").expect("seals");
    assert_eq!(&opener.open(&owned.claim(), &second).expect("authentic")[..], b"two");
}
