//! Records, their digests, and positions.

use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use crate::keys::{Blob, BodyKind};
use crate::room::Event;
use crate::site::{Fingerprint, MasterKey, SiteKeys};
use crate::time::Timestamp;

fn message(n: u64, body: &[u8]) -> Logged<Event> {
    Logged {
        event: Event::Message {
            message: "abcdefghijklmnopqrst".parse().expect("valid"),
            kind: BodyKind::Message,
            version: KeyVersion(0),
            ordinal: n,
        },
        body: Body::Present(Blob(Bytes::copy_from_slice(body))),
    }
}

fn entry(events: Vec<Logged<Event>>) -> Entry<Event> {
    Entry {
        account: "ada".parse().expect("valid"),
        request: Some(RequestId::from_random([4; 16])),
        fingerprint: Fingerprint([6; 16]),
        events,
    }
}

fn record() -> Record<Event> {
    let unchanged = Logged { event: Event::Unchanged, body: Body::None };
    Record {
        first: Revision(5),
        time: Timestamp(1_700_000_000_000),
        entries: alloc::vec![
            entry(alloc::vec![message(1, b"one"), unchanged.clone()]),
            entry(alloc::vec![unchanged, message(2, b""), message(3, b"three")]),
        ],
    }
}

fn before() -> Head {
    Head { revision: Revision(4), digest: Digest([9; 32]) }
}

#[test]
fn every_event_has_its_revision_and_its_place() {
    let record = record();
    let places: Vec<_> = record.items().map(|item| (item.revision.0, item.opens_entry, item.closes_entry)).collect();
    assert_eq!(places, [(5, true, false), (6, false, true), (7, true, false), (8, false, false), (9, false, true)]);
    assert_eq!((record.count(), record.last()), (5, Revision(9)));
}

#[test]
fn a_record_follows_the_head_before_it_and_no_other() {
    let record = record();
    assert_eq!(record.extend(before()).map(|head| head.revision), Some(Revision(9)));
    assert_eq!(record.extend(Head { revision: Revision(3), ..before() }), None);
    assert_eq!(record.extend(Head { revision: Revision(9), ..before() }), None);
}

#[test]
fn the_digest_covers_everything_and_the_order_of_it() {
    let digest = |record: &Record<Event>, before| record.extend(before).expect("follows").digest;
    let changes: [fn(&mut Record<Event>); 8] = [
        |r| r.time = Timestamp(1),
        |r| r.entries[0].account = "bob".parse().expect("valid"),
        |r| r.entries[0].request = None,
        |r| r.entries[1].fingerprint = Fingerprint([7; 16]),
        |r| r.entries[0].events[0] = message(2, b"one"),
        |r| r.entries[0].events[0] = message(1, b"two"),
        |r| r.entries[1].events.swap(1, 2),
        // The same events, one command more.
        |r| {
            let rest = r.entries[1].events.split_off(1);
            r.entries.push(entry(rest));
        },
    ];
    let mut seen =
        alloc::vec![digest(&record(), before()), digest(&record(), Head { digest: Digest::ZERO, ..before() })];
    for change in changes {
        let mut changed = record();
        change(&mut changed);
        seen.push(digest(&changed, before()));
    }
    let distinct: alloc::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
}

#[test]
fn erasing_a_body_keeps_length_and_digests() {
    let record = record();
    let stored = record.encode();
    let erased = erase_body(&stored, Revision(9)).expect("a body stands there");
    assert_eq!(erased.bytes.len(), stored.bytes.len());
    assert_eq!((erased.first, erased.last), (stored.first, stored.last));
    assert!(!erased.bytes.windows(5).any(|window| window == b"three"));

    let read = Record::<Event>::decode(&erased.bytes).expect("readable");
    assert_eq!(read.extend(before()), record.extend(before()));
    assert!(matches!(read.entries[1].events[2].body, Body::Erased { len: 5, .. }));
    assert_eq!(read.entries[0], record.entries[0]);
    assert_eq!(read.encode(), erased, "an erased body is written as it was read");
    assert_eq!(erase_body(&erased, Revision(9)), Ok(erased.clone()), "twice is once");
}

#[test]
fn only_a_body_can_be_erased() {
    let stored = record().encode();
    for revision in [0, 4, 6, 7, 10, u64::MAX] {
        assert_eq!(erase_body(&stored, Revision(revision)), Err(MalformedRecord::NoBody(Revision(revision))));
    }
}

#[test]
fn a_changed_body_is_noticed() {
    let stored = record().encode();
    let mut bytes = stored.bytes.to_vec();
    let at = bytes.windows(3).position(|window| window == b"one").expect("stands there");
    bytes[at] ^= 1;
    assert_eq!(Record::<Event>::decode(&bytes.into()), Err(MalformedRecord::BodyHash(Revision(5))));
}

#[test]
fn bytes_that_are_no_record_say_why() {
    let stored = record().encode().bytes;
    let decode = |bytes: Vec<u8>| Record::<Event>::decode(&bytes.into()).expect_err("malformed");
    assert_eq!(decode(alloc::vec![]), MalformedRecord::Bodies);
    assert_eq!(decode([&[2], &stored[1..]].concat()), MalformedRecord::NewerVersion(2));
    assert_eq!(decode([&stored[..], &[0]].concat()), MalformedRecord::Bodies);
    for end in 1..stored.len() {
        decode(stored[..end].to_vec());
    }
    let with = |change: fn(&mut Record<Event>)| {
        let mut record = record();
        change(&mut record);
        decode(record.encode().bytes.to_vec())
    };
    assert_eq!(with(|r| r.first = Revision::ZERO), MalformedRecord::Revisions);
    assert_eq!(with(|r| r.entries.clear()), MalformedRecord::Empty);

    // A head that ends at the last number, with one event too many.
    let mut last = record();
    last.entries.truncate(1);
    last.entries[0].events.truncate(1);
    last.first = Revision(u64::MAX - 1);
    let stored = last.encode().bytes;
    assert!(Record::<Event>::decode(&stored).is_ok());
    let mut bytes = stored.to_vec();
    let at = bytes.windows(8).position(|window| window == [0xfe, 255, 255, 255, 255, 255, 255, 255]).expect("there");
    bytes[at] = 255;
    assert_eq!(decode(bytes), MalformedRecord::Revisions);
}

#[test]
fn a_kind_of_event_from_the_future_is_named() {
    let mut record = record();
    record.entries = alloc::vec![entry(alloc::vec![Logged { event: Event::Unchanged, body: Body::None }])];
    let mut bytes = record.encode().bytes.to_vec();
    // The last byte of the head is the kind, the one after it the empty slot.
    let at = bytes.len() - 2;
    assert_eq!(bytes[at], 10);
    bytes[at] = 77;
    let error = Record::<Event>::decode(&bytes.into()).expect_err("unknown");
    assert_eq!(error, MalformedRecord::Head(crate::codec::DecodeError::UnknownKind(77)));
}

#[test]
fn an_invented_position_does_not_verify() {
    let keys = SiteKeys::new("home".parse().expect("valid"), &MasterKey::from_bytes([1; 32]));
    let room = RoomId::from_digest(&[2; 32]);
    let position = Position { room, head: before() };
    let blob = position.to_blob(&keys);
    assert_eq!(Position::from_blob(&blob, room, &keys), Some(position));

    let other_room = RoomId::from_digest(&[3; 32]);
    assert_eq!(Position::from_blob(&blob, other_room, &keys), None);
    let other_site = SiteKeys::new("home".parse().expect("valid"), &MasterKey::from_bytes([4; 32]));
    assert_eq!(Position::from_blob(&blob, room, &other_site), None);
    for at in 0..blob.len() {
        let mut bytes = blob.to_vec();
        bytes[at] ^= 1;
        assert_eq!(Position::from_blob(&bytes.into(), room, &keys), None, "byte {at}");
    }
    assert_eq!(Position::from_blob(&Blob::default(), room, &keys), None);
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::None),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Body::Present(bytes.into())),
        (any::<[u8; 32]>(), 0..50_u32).prop_map(|(hash, len)| Body::Erased { hash, len }),
    ]
}

fn entries() -> impl Strategy<Value = Entry<Event>> {
    let event = (bodies(), any::<u64>()).prop_map(|(body, ordinal)| {
        let Logged { event, .. } = message(ordinal, b"");
        Logged { event, body }
    });
    let account = "[a-z0-9][a-z0-9._@+-]{0,63}".prop_map(|name| name.parse::<AccountId>().expect("valid"));
    (account, any::<Option<[u8; 16]>>(), any::<[u8; 16]>(), proptest::collection::vec(event, 1..5)).prop_map(
        |(account, request, fingerprint, events)| Entry {
            account,
            request: request.map(RequestId::from_random),
            fingerprint: Fingerprint(fingerprint),
            events,
        },
    )
}

fn records() -> impl Strategy<Value = Record<Event>> {
    (1..u64::MAX / 2, any::<u64>(), proptest::collection::vec(entries(), 1..5))
        .prop_map(|(first, time, entries)| Record { first: Revision(first), time: Timestamp(time), entries })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in records()) {
        let stored = record.encode();
        prop_assert_eq!(Record::<Event>::decode(&stored.bytes), Ok(record.clone()));
        prop_assert_eq!(RecordBytes::from_bytes::<Event>(stored.bytes.clone()), Ok(stored));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::<Event>::decode(&bytes.clone().into());
        let mut versioned = alloc::vec![1, 0, 0, 0, (bytes.len() / 2) as u8];
        versioned.extend(bytes);
        let _ = Record::<Event>::decode(&versioned.into());
    }

    #[test]
    fn a_damaged_record_is_refused_or_read_without_a_panic(
        record in records(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = record.encode().bytes.to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(read) = Record::<Event>::decode(&bytes) {
            read.items().for_each(drop);
            let stored = RecordBytes { first: read.first, last: read.last(), bytes };
            let _ = erase_body(&stored, read.first);
        }
    }

    #[test]
    fn erasing_anything_keeps_the_digests(record in records()) {
        let before = Head { revision: record.first.previous(), digest: Digest::ZERO };
        let after = record.extend(before);
        let mut stored = record.encode();
        for item in record.items() {
            match erase_body(&stored, item.revision) {
                Ok(erased) => stored = erased,
                Err(error) => {
                    prop_assert_eq!(error, MalformedRecord::NoBody(item.revision));
                    prop_assert_eq!(item.body, &Body::None);
                }
            }
        }
        let read = Record::<Event>::decode(&stored.bytes).expect("readable");
        prop_assert_eq!(read.extend(before), after);
        prop_assert!(read.items().all(|item| !matches!(item.body, Body::Present(_))));
    }
}
