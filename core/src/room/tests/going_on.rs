//! A room that goes on after a loss.

use super::*;
use crate::room::{Fold, GoingOn};

fn public(seed: u8) -> crate::keys::RoomPublic {
    RoomSecret::from_bytes(&[seed; 32]).expect("a scalar").public()
}

/// A room with ada, bob and cyd, and its fold.
fn fold() -> Fold {
    House::channel(&["bob", "cyd"]).fold
}

fn decision(fold: &Fold, known: u64, out: &[&str]) -> GoingOn {
    GoingOn {
        by: id("root"),
        time: Timestamp(9_000_000_000_000),
        ended: fold.state.head().revision,
        known: Revision(known),
        out: out.iter().map(|name| id(name)).collect(),
    }
}

fn go_on(fold: &mut Fold, decision: &GoingOn, version: u32) -> u32 {
    for nth in 0.. {
        let next = KeyVersion(version + nth);
        let (record, last) = decision.record(&fold.state, next, public(nth as u8 + 40));
        let after = record.extend(fold.state.head()).expect("follows");
        fold.apply(&record, after).expect("folds");
        if last {
            return nth + 1;
        }
    }
    unreachable!("it ends")
}

#[test]
fn it_goes_past_all_that_is_remembered_under_a_key_above_all_that_was_seen() {
    let mut fold = fold();
    let before = fold.state.current_key().expect("a key").version;
    let decision = decision(&fold, 300, &["cyd", "eve"]);
    assert_eq!(go_on(&mut fold, &decision, 7), 1);
    let state = &fold.state;
    assert_eq!(state.head().revision, Revision(303), "filled, a removal, the decision and its key");
    assert_eq!(state.current_key().map(|key| (key.version, key.public)), Some((KeyVersion(7), public(40))));
    assert!(!state.is_member(&id("cyd")) && state.is_member(&id("bob")));
    assert_eq!(state.continued().map(|continued| (continued.at.0, continued.known.0)), Some((302, 300)));
    // Versions between are none: nobody may hold them, and the one before ends where the new one begins.
    for version in before.0 + 1..7 {
        let version = KeyVersion(version);
        assert_eq!((state.public(version), state.may_hold(&id("ada"), version)), (None, false));
    }
    assert!(state.may_hold(&id("cyd"), before) && !state.may_hold(&id("cyd"), KeyVersion(7)));
    assert!(state.may_hold(&id("bob"), KeyVersion(7)));
    assert!(state.is_expired(before, Timestamp(9_000_000_000_001), 0));
    assert_eq!((state.may_be_lost(before), state.may_be_lost(KeyVersion(7))), (true, false));
    assert_eq!(state.next_version(), KeyVersion(8));
    let read = Fold::from_snapshot(&fold.to_snapshot()).expect("readable");
    assert_eq!(read, fold);
    assert_eq!(read.state.continued(), fold.state.continued());
}

#[test]
fn a_long_gap_takes_several_records_and_each_has_a_key_of_its_own() {
    let mut fold = fold();
    let decision = decision(&fold, 10_000, &["bob"]);
    assert_eq!(go_on(&mut fold, &decision, 3), 3);
    assert!(fold.state.head().revision > Revision(10_000));
    assert_eq!(fold.state.current_key().map(|key| key.version), Some(KeyVersion(5)));
    assert!(!fold.state.may_hold(&id("bob"), KeyVersion(5)));
}

#[test]
fn what_no_operator_decided_contradicts() {
    let fold = fold();
    let decision = decision(&fold, 0, &[]);
    let contradicts = |change: &dyn Fn(&mut Vec<crate::log::Logged<Event>>)| {
        let (mut record, _) = decision.record(&fold.state, KeyVersion(9), public(1));
        change(&mut record.entries[0].events);
        let after = record.extend(fold.state.head()).expect("follows");
        fold.clone().apply(&record, after).is_err()
    };
    assert!(!contradicts(&|_| {}));
    assert!(contradicts(&|events| events[1].event = Event::Unchanged), "without a key");
    assert!(contradicts(&|events| events.swap(0, 1)), "a version is left out before it");
    for (ended, version) in [(u64::MAX, 9), (1, 0), (1, u32::MAX)] {
        assert!(contradicts(&|events| {
            let (ended, known, version) = (Revision(ended), Revision(1), KeyVersion(version));
            events[0].event = Event::Continued { ended, known, version };
        }));
    }
}
