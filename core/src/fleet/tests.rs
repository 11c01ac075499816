//! Fleets as several nodes see them, and letters as they are sealed and bent.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::id::Revision;
use crate::id::SiteId;
use crate::room::{Outcome, Reason, Refused};
use crate::site::{MasterKey, SiteKeys};

const EVERY: Duration = Duration::from_millis(1_000);
const SILENT: Duration = Duration::from_millis(3_500);

fn life(number: u8) -> Life {
    Life([number; 16])
}

fn said(number: u8) -> Announcement {
    Fleet::announcement(format!("node-{number}"), life(number), "1".to_string())
}

fn fleet(me: u8, others: &[u8]) -> Fleet {
    let mut fleet = Fleet::new(said(me), EVERY, SILENT);
    let mut out = Vec::new();
    for other in others.iter().filter(|other| **other != me) {
        fleet.step(Instant(0), Input::Heard(said(*other)), &mut out);
    }
    fleet
}

fn room(number: u32) -> RoomId {
    format!("{number:0>17}").parse().expect("a room id")
}

fn owner(fleet: &Fleet, room: RoomId) -> Life {
    fleet.owner(room).unwrap_or(fleet.me().life)
}

#[test]
fn all_nodes_name_the_same_owner_and_each_owns_its_share() {
    let all = [1, 2, 3, 4];
    let fleets: Vec<Fleet> = all.iter().map(|me| fleet(*me, &all)).collect();
    let mut owned = alloc::collections::BTreeMap::<Life, u32>::new();
    for number in 0..2_000 {
        let owners: BTreeSet<Life> = fleets.iter().map(|fleet| owner(fleet, room(number))).collect();
        assert_eq!(owners.len(), 1, "everybody names the same one");
        *owned.entry(owners.first().copied().expect("one")).or_default() += 1;
    }
    assert!(owned.len() == 4 && owned.values().all(|count| (400..600).contains(count)), "{owned:?}");
}

#[test]
fn a_node_that_goes_moves_only_its_own_rooms() {
    let before = fleet(1, &[1, 2, 3, 4]);
    let mut after = before.clone();
    let mut out = Vec::new();
    after.step(Instant(0), Input::Gone(life(3)), &mut out);
    assert!(out.contains(&Effect::Changed));
    for number in 0..500 {
        let (was, is) = (owner(&before, room(number)), owner(&after, room(number)));
        assert!(was == is || was == life(3));
        assert_ne!(is, life(3));
    }
}

#[test]
fn who_is_silent_is_gone_and_who_is_heard_again_is_back() {
    let mut fleet = fleet(1, &[1, 2]);
    let mut out = Vec::new();
    fleet.step(Instant(3_499_000), Input::Tick, &mut out);
    assert!(!out.contains(&Effect::Changed), "{out:?}");
    fleet.step(Instant(3_500_000), Input::Tick, &mut out);
    assert_eq!((out.contains(&Effect::Changed), fleet.others().count()), (true, 0));
    out.clear();
    fleet.step(Instant(4_000_000), Input::Heard(said(2)), &mut out);
    assert_eq!((out.contains(&Effect::Changed), fleet.others().count()), (true, 1));
    assert!(matches!(out.last(), Some(Effect::Announce(_))), "who comes learns at once who is there: {out:?}");
}

#[test]
fn announcements_come_in_time() {
    let mut fleet = fleet(1, &[]);
    let (mut out, mut announced) = (Vec::new(), 0);
    for _ in 0..10 {
        let at = fleet.next_deadline().expect("it announces itself");
        fleet.step(at, Input::Tick, &mut out);
        announced += out.drain(..).filter(|effect| matches!(effect, Effect::Announce(_))).count();
        assert!(fleet.next_deadline() > Some(at), "time goes on");
    }
    assert_eq!(announced, 10);
}

#[test]
fn who_drains_owns_nothing_while_somebody_else_serves() {
    let (mut draining, mut out) = (fleet(1, &[1, 2]), Vec::new());
    draining.step(Instant(0), Input::Drain, &mut out);
    let announced = out.iter().any(|effect| matches!(effect, Effect::Announce(said) if !said.serves));
    assert!(announced, "the others are told: {out:?}");
    assert!((0..100).all(|number| draining.owner(room(number)) == Some(life(2))));
    let mut other = fleet(2, &[1, 2]);
    other.step(Instant(0), Input::Heard(Announcement { serves: false, ..said(1) }), &mut out);
    assert!((0..100).all(|number| other.owner(room(number)).is_none()));
    // The last one keeps its rooms to the end.
    draining.step(Instant(0), Input::Gone(life(2)), &mut out);
    assert_eq!(draining.owner(room(1)), None);
}

#[test]
fn a_room_that_this_node_cannot_read_falls_to_one_that_knows_more_whoever_owns_it() {
    let (mut fleet, mut out) = (fleet(1, &[1, 2]), Vec::new());
    let known = fleet.me().kinds;
    assert!((0..100).all(|number| fleet.reader(room(number)).is_none()), "nobody knows more");
    assert_eq!(fleet.older_than(known).count(), 0);
    assert_eq!(fleet.older_than(known + 1).count(), 2, "this node is one of them");
    for newer in [3, 4] {
        fleet.step(Instant(0), Input::Heard(Announcement { kinds: known + 1, ..said(newer) }), &mut out);
    }
    let readers: BTreeSet<Option<Life>> = (0..100).map(|number| fleet.reader(room(number))).collect();
    assert_eq!(readers, [Some(life(3)), Some(life(4))].into());
    let drains = Announcement { kinds: known + 1, serves: false, ..said(3) };
    fleet.step(Instant(0), Input::Heard(drains), &mut out);
    assert!((0..100).all(|number| fleet.reader(room(number)) == Some(life(4))));
}

#[test]
fn a_namesake_is_told_of_and_kinds_are_those_that_all_know() {
    let (mut fleet, mut out) = (fleet(1, &[1, 2]), Vec::new());
    let known = fleet.me().kinds;
    assert_eq!(fleet.kinds_known_by_all(), known);
    let older = Announcement { kinds: known - 1, ..said(3) };
    fleet.step(Instant(0), Input::Heard(older), &mut out);
    assert_eq!(fleet.kinds_known_by_all(), known - 1, "a new kind waits for the oldest node");
    fleet.step(Instant(0), Input::Gone(life(3)), &mut out);
    assert_eq!(fleet.kinds_known_by_all(), known);
    out.clear();
    fleet.step(Instant(0), Input::Heard(Announcement { life: life(9), ..said(1) }), &mut out);
    assert!(out.contains(&Effect::Namesake { life: life(9) }));
    out.clear();
    fleet.step(Instant(0), Input::Heard(said(1)), &mut out);
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Namesake { .. })), "its own voice is nobody else's");
}

#[test]
fn more_nodes_than_there_may_be_are_not_heard() {
    let (mut fleet, mut out) = (fleet(1, &[]), Vec::new());
    for number in 0..NODES_MOST as u32 + 10 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(number + 1_000).to_be_bytes());
        let announcement = Fleet::announcement(number.to_string(), Life(bytes), String::new());
        fleet.step(Instant(0), Input::Heard(announcement), &mut out);
    }
    assert_eq!(fleet.others().count(), NODES_MOST);
}

fn keys(master: u8, site: &str) -> SiteKeys {
    SiteKeys::new(site.parse::<SiteId>().expect("a site"), &MasterKey::from_bytes([master; 32]))
}

#[test]
fn letters_open_where_they_are_sent_to_and_nowhere_else() {
    let ours = keys(1, "home");
    let mut sealer = LetterSealer::new(&ours, life(1));
    let letter = Letter::Command { from: life(1), id: 7, shown: Revision(3), request: vec![1, 2, 3] };
    let bytes = sealer.seal(Some(life(2)), &letter);
    assert_eq!(open_letter(&ours, life(2), &bytes), Ok(letter.clone()));
    assert_eq!(open_letter(&ours, life(3), &bytes), Err(LetterError::Forged), "it was to another node");
    assert_eq!(open_letter(&keys(2, "home"), life(2), &bytes), Err(LetterError::Forged), "another master key");
    let to_all = sealer.seal(None, &letter);
    assert_eq!(open_letter(&ours, life(3), &to_all), Ok(letter.clone()));
    assert_ne!(to_all[HEADER..], sealer.seal(None, &letter)[HEADER..], "no nonce is used twice");
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        assert!(open_letter(&ours, life(2), &bent).is_err(), "byte {at} is not believed when it was changed");
    }
    for length in 0..bytes.len() {
        assert!(open_letter(&ours, life(2), &bytes[..length]).is_err());
    }
}

const HEADER: usize = 25;

#[test]
fn verdicts_say_what_was_decided() {
    let refused = Refused::new(Reason::NotOwner, "role: you are no owner");
    assert_eq!(Verdict::from(Err(refused.clone())).result(), Some(Err(refused)));
    let done = Outcome::Done { revision: crate::id::Revision(7) };
    assert_eq!(Verdict::from(Ok(done)).result(), Some(Ok(done)));
    assert_eq!(Verdict::Declined.result(), None);
}

proptest! {
    /// Whatever is heard in whatever order, the owner lives, or is this node.
    #[test]
    fn the_owner_is_somebody_who_lives(steps in prop::collection::vec((0_u8..6, 0_u8..3, 0_u64..5_000_000), 0..60)) {
        let (mut fleet, mut out, mut now) = (fleet(0, &[]), Vec::new(), 0);
        for (number, what, later) in steps {
            now += later;
            let input = match what {
                0 => Input::Heard(said(number)),
                1 => Input::Gone(life(number)),
                _ => Input::Tick,
            };
            fleet.step(Instant(now), input, &mut out);
            let alive: BTreeSet<Life> = fleet.others().map(|said| said.life).collect();
            prop_assert!(!alive.contains(&life(0)));
            for number in 0..20 {
                prop_assert!(fleet.owner(room(number)).is_none_or(|owner| alive.contains(&owner)));
            }
            prop_assert!(fleet.next_deadline().is_some_and(|at| at > Instant(now)));
        }
    }
}
