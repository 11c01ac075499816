//! What members say, say differently, and take back.

use super::*;

#[test]
fn messages_are_counted_without_those_of_the_room() {
    let mut house = House::channel(&["bob"]);
    for n in 1..=3 {
        house.said("bob", n);
    }
    let ordinals = house.log.iter().flat_map(Record::items).filter_map(|item| match item.event {
        Event::Message { kind: BodyKind::Message, ordinal, .. } => Some(*ordinal),
        _ => None,
    });
    assert_eq!(ordinals.collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(house.state().messages(), 3);
}

#[test]
fn what_a_client_sealed_is_recorded_as_it_sealed_it() {
    let mut house = House::channel(&["bob"]);
    let envelope = house.envelope(KeyVersion(0), "bob", 1, br#"{"text":"hello","mine":[1]}"#);
    let say = house.say(1, Content::Sealed(envelope.clone()));
    house.ask("bob", say).expect("said");
    let record = house.log.last().expect("a record");
    assert_eq!(record.entries[0].events[0].body, Body::Present(Blob(envelope.to_bytes())));
}

#[test]
fn a_stale_seal_is_refused_with_the_key_to_use() {
    let mut house = House::channel(&["bob"]);
    let envelope = house.envelope(KeyVersion(0), "bob", 1, br#"{"text":"hello"}"#);
    let rotate = Command::Rotate { room: house.room() };
    house.ask("ada", rotate).expect("rotated");
    let say = house.say(1, Content::Sealed(envelope));
    let refused = house.ask("bob", say).expect_err("stale");
    assert_eq!(refused.reason, Reason::StaleKey);
    assert_eq!(refused.current, house.state().current_key());
}

#[test]
fn an_envelope_that_is_not_what_it_claims_is_refused() {
    let mut house = House::channel(&["bob"]);
    let good = house.envelope(KeyVersion(0), "bob", 1, br#"{"text":"hello"}"#);
    let mut broken = good.clone();
    broken.counter += 1;
    let no_json = house.envelope(KeyVersion(0), "bob", 1, b"hello");
    let blank = house.envelope(KeyVersion(0), "bob", 1, br#"{"text":" "}"#);
    for (who, n, envelope, expected) in [
        ("ada", 1, good.clone(), Reason::BadEnvelope),
        ("bob", 2, good, Reason::BadEnvelope),
        ("bob", 1, broken, Reason::BadEnvelope),
        ("bob", 1, no_json, Reason::BadEnvelope),
        ("bob", 1, blank, Reason::Empty),
    ] {
        let say = house.say(n, Content::Sealed(envelope));
        assert_eq!(house.refused(who, say), Some(expected));
    }
}

#[test]
fn a_label_of_the_next_version_over_the_last_ones_key_is_refused() {
    let mut house = House::channel(&["bob"]);
    let mut envelope = house.envelope(KeyVersion(0), "bob", 1, br#"{"text":"hello"}"#);
    let rotate = Command::Rotate { room: house.room() };
    house.ask("ada", rotate).expect("rotated");
    envelope.version = KeyVersion(1);
    let say = house.say(1, Content::Sealed(envelope));
    assert_eq!(house.refused("bob", say), Some(Reason::BadEnvelope));
}

#[test]
fn as_much_text_fits_when_the_client_seals_it() {
    let mut house = House::channel(&["bob"]);
    for (length, expected) in [(20 * 1024, None), (20 * 1024 + 1, Some(Reason::TooLarge))] {
        let plaintext = MessageContent { text: "x".repeat(length) }.to_bytes();
        let envelope = house.envelope(KeyVersion(0), "bob", 1, &plaintext);
        let say = house.say(1, Content::Sealed(envelope));
        assert_eq!(house.refused("bob", say), expected, "{length}");
    }
}

#[test]
fn a_version_is_followed_by_the_next_after_so_many_messages() {
    let mut house = House::channel(&["bob"]);
    house.limits.messages_per_key = 4;
    assert_eq!(house.state().messages_under_current(), 2);
    house.said("bob", 1);
    assert_eq!(house.version(), KeyVersion(0));
    house.said("bob", 2);
    assert_eq!(house.last_kinds(), ["message", "key_rotated"]);
    assert_eq!((house.version(), house.state().messages_under_current()), (KeyVersion(1), 0));
    let revision = house.said("bob", 3);
    for edit in 1..=3 {
        let edit = house.edit(revision, edit, text("x"));
        house.ask("bob", edit).expect("edited");
    }
    assert_eq!(house.last_kinds(), ["edited", "key_rotated"]);
    assert_eq!(house.version(), KeyVersion(2));
}

#[test]
fn edits_are_numbered_and_bounded() {
    let mut house = House::channel(&["bob"]);
    house.limits.edits_per_message = 2;
    let revision = house.said("bob", 1);
    for (edit, expected) in [(1, None), (1, Some(Reason::StaleEdit)), (2, None), (3, Some(Reason::TooMany))] {
        let edit = house.edit(revision, edit, text("x"));
        assert_eq!(house.refused("bob", edit), expected);
    }
    assert_eq!(house.state().edits(revision), [Revision(7), Revision(8)]);
}

#[test]
fn a_deletion_takes_the_message_and_its_edits() {
    let mut house = House::channel(&["bob"]);
    let revision = house.said("bob", 1);
    let edit = house.edit(revision, 1, text("x"));
    house.ask("bob", edit).expect("edited");
    assert_eq!(house.state().erased_by(&Event::Deleted { revision }), [Revision(6), Revision(7)]);
    let delete = house.delete(revision);
    house.ask("bob", delete).expect("deleted");
    assert!([6, 7].iter().all(|revision| house.state().is_erased(Revision(*revision))));
    assert!(house.state().erased_by(&Event::Unchanged).is_empty());

    let again = house.delete(revision);
    house.ask("ada", again).expect("deleted before");
    assert_eq!(house.last_kinds(), ["unchanged"]);
    assert_eq!(house.state().messages(), 1, "the count of what was said does not go back");
}

#[test]
fn bots_and_administrators_write_in_a_large_room() {
    let mut house = House::channel(&["bob", "root"]);
    let room = house.room();
    let add = Command::Add { room, accounts: ids(&["robot"]), channels: Vec::new(), bots: true, history: History::All };
    house.ask("ada", add).expect("added");
    house.limits.large_room = 4;
    for (n, who, expected) in
        [(1, "ada", None), (2, "robot", None), (3, "root", None), (4, "bob", Some(Reason::RestrictedToOwners))]
    {
        let say = house.say(n, text("x"));
        assert_eq!(house.refused(who, say), expected, "{who}");
    }
    house.limits.large_room = 5;
    let say = house.say(4, text("x"));
    assert_eq!(house.refused("bob", say), None);
}
