//! Who may read what, and hold which key: RULES.md, "Reading".

use super::*;

fn holds(house: &House, account: &str) -> Vec<u32> {
    (0..=house.version().0).filter(|version| house.state().may_hold(&id(account), KeyVersion(*version))).collect()
}

/// The revisions that an account may read.
fn reads(house: &House, account: &str) -> Vec<u64> {
    let head = house.head.revision;
    let mut readable = Vec::new();
    let mut from = Revision(1);
    while from <= head {
        let (entitled, until) = house.state().entitlement(&id(account), from, head);
        assert!(until >= from && until <= head);
        for revision in from.0..=until.0 {
            assert_eq!(house.state().entitlement(&id(account), Revision(revision), head).0, entitled);
            readable.extend(entitled.then_some(revision));
        }
        from = until.next();
    }
    readable
}

#[test]
fn a_removed_member_never_holds_what_follows() {
    let mut house = House::channel(&["bob"]);
    house.said("bob", 1);
    let remove = house.remove(&["bob"]);
    house.ask("ada", remove).expect("removed");
    house.said("ada", 2);
    assert_eq!(holds(&house, "bob"), [0]);
    assert_eq!(holds(&house, "ada"), [0, 1]);
    // The revision that removes it is no longer its own.
    assert_eq!(reads(&house, "bob"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(house.state().entitlement(&id("bob"), Revision(7), Revision(7)), (false, Revision(7)));
}

#[test]
fn who_leaves_holds_nothing_of_what_follows() {
    let mut house = House::channel(&["bob", "cyd"]);
    for who in ["bob", "cyd"] {
        let leave = house.remove(&[who]);
        house.ask(who, leave).expect("left");
    }
    assert_eq!((holds(&house, "bob"), holds(&house, "cyd")), (alloc::vec![0], alloc::vec![0, 1]));
}

#[test]
fn many_removed_at_once_rotate_once() {
    let mut house = House::channel(&["bob", "cyd", "dan"]);
    let remove = house.remove(&["bob", "cyd", "dan"]);
    house.ask("ada", remove).expect("removed");
    assert_eq!(house.version(), KeyVersion(1));
    assert_eq!(holds(&house, "dan"), [0]);
}

#[test]
fn who_is_added_without_history_holds_nothing_of_what_was() {
    let mut house = House::channel(&["bob"]);
    house.said("ada", 1);
    let add = house.add_without_history(&["cyd"]);
    house.ask("ada", add).expect("added");
    assert_eq!(house.last_kinds(), ["key_rotated", "members_added", "message"]);
    assert_eq!(holds(&house, "cyd"), [1]);
    assert_eq!(holds(&house, "bob"), [0, 1]);
    assert_eq!(reads(&house, "cyd"), [8, 9]);
}

#[test]
fn who_is_added_with_history_reads_from_the_start() {
    let mut house = House::channel(&["bob"]);
    for command in [house.remove(&["bob"]), house.add(&["cyd"])] {
        house.ask("ada", command).expect("done");
    }
    assert_eq!(holds(&house, "cyd"), [0, 1]);
    assert_eq!(reads(&house, "cyd").len() as u64, house.head.revision.0);
}

#[test]
fn who_returns_with_history_reads_what_was_said_in_absence() {
    let mut house = House::channel(&["bob"]);
    let remove = house.remove(&["bob"]);
    house.ask("ada", remove).expect("removed");
    house.said("ada", 1);
    let add = house.add(&["bob"]);
    house.ask("ada", add).expect("added");
    assert_eq!(holds(&house, "bob"), [0, 1]);
    assert_eq!(reads(&house, "bob").len() as u64, house.head.revision.0);
}

#[test]
fn who_returns_without_history_keeps_what_it_had() {
    let mut house = House::channel(&["bob"]);
    let remove = house.remove(&["bob"]);
    house.ask("ada", remove).expect("removed");
    house.said("ada", 1);
    let add = house.add_without_history(&["bob"]);
    house.ask("ada", add).expect("added");
    house.said("ada", 2);
    assert_eq!(holds(&house, "bob"), [0, 2]);
    assert_eq!(reads(&house, "bob"), [1, 2, 3, 4, 5, 11, 12, 13]);
}

#[test]
fn a_stranger_reads_and_holds_nothing() {
    let house = House::channel(&["bob"]);
    assert!(holds(&house, "eve").is_empty() && reads(&house, "eve").is_empty());
    assert!(!house.state().may_hold(&id("ada"), KeyVersion(7)));
}

#[test]
fn a_version_expires_after_its_grace_by_the_time_of_the_log() {
    let mut house = House::channel(&["bob"]);
    let rotate = Command::Rotate { room: house.room() };
    house.ask("ada", rotate).expect("rotated");
    let retired = house.state().time();
    assert!(!house.state().is_expired(KeyVersion(0), Timestamp(retired.0 + 99), 100));
    assert!(house.state().is_expired(KeyVersion(0), Timestamp(retired.0 + 100), 100));
    assert!(!house.state().is_expired(KeyVersion(1), Timestamp(u64::MAX), 0));
}
