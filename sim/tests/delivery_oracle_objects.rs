//! The judge of delivery objects to what it must: each good history here turns bad by one edit.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, RoomSecret};
use chamberlain_core::log::{Head, Position};
use chamberlain_core::room::{CurrentKey, History, Outcome, Role, RoomKind};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{AccountChange, Answer, Item, OwnRevision, ResetWhy, RoomView, ServerFrame, VoidWhy};
use chamberlain_sim::delivery::{Author, Deed, Delivery, Received};

fn account(name: &str) -> AccountId {
    name.parse().expect("valid")
}

fn room() -> RoomId {
    RoomId::from_digest(&[1; 32])
}

fn request() -> RequestId {
    RequestId::from_random([1; 16])
}

fn keys() -> SiteKeys {
    SiteKeys::new("here".parse().expect("valid"), &MasterKey::from_bytes([1; 32]))
}

/// 1..=3 the beginning, 4 and 5 said by ada, 6 bob added without history, 7 version 1, 8 said by bob, 9 deletes 4.
fn author() -> Author {
    let mut author = Author::new(room(), vec![account("ada"), account("bob")]);
    for (deed, by) in [
        (Deed::Say(1), "ada"),
        (Deed::Say(1), "ada"),
        (Deed::Add(1, History::None), "ada"),
        (Deed::Say(1), "bob"),
        (Deed::Delete(0), "ada"),
    ] {
        author.write(&[(deed, account(by), (by == "bob").then(request))]);
    }
    author
}

fn opened(after: u64) -> ServerFrame {
    let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
    let view = RoomView {
        room: room(),
        kind: RoomKind::Channel,
        name: String::new(),
        counterpart: None,
        role: Role::Member,
        archived: false,
        members: 1,
        head: Revision(9),
        time: Timestamp(0),
        messages: 0,
        unread: 0,
        read: Revision(0),
        key: CurrentKey { version: KeyVersion(0), public },
    };
    ServerFrame::Opened { room: view, after: Revision(after), head: Revision(9) }
}

fn key(version: u32) -> ServerFrame {
    let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
    ServerFrame::Key { room: room(), version: KeyVersion(version), public, secret: Blob::default() }
}

fn item(at: u64) -> Item {
    let fact = author().fact(Revision(at)).clone();
    let body = fact.body.filter(|_| at != 4);
    Item { revision: Revision(at), time: fact.time, account: fact.account, event: fact.event, body }
}

fn batch(from: u64, to: u64) -> ServerFrame {
    let head = author().fact(Revision(to)).head;
    ServerFrame::Batch {
        room: room(),
        from: Revision(from),
        to: Revision(to),
        items: (from..=to).map(item).collect(),
        position: Position { room: room(), head }.to_blob(&keys()),
        own: Vec::new(),
    }
}

fn void(from: u64, to: u64, why: VoidWhy) -> ServerFrame {
    ServerFrame::Void { room: room(), from: Revision(from), to: Revision(to), why, position: Blob::default() }
}

fn ok() -> ServerFrame {
    ServerFrame::Ok { id: request(), answer: Answer::Outcome(Outcome::Done { revision: Revision(8) }) }
}

fn own(mut frame: ServerFrame, at: u64) -> ServerFrame {
    if let ServerFrame::Batch { own, .. } = &mut frame {
        own.push(OwnRevision { revision: Revision(at), request: request() });
    }
    frame
}

fn ada() -> Delivery {
    Delivery::new(account("ada"), true, BTreeSet::from([room()]))
}

fn bob() -> Delivery {
    Delivery::new(account("bob"), true, BTreeSet::from([room()]))
}

/// Judges frames of a room opened after `after`; the words of the first objection.
fn judge(mut judge: Delivery, after: u64, frames: &[ServerFrame]) -> Option<String> {
    let author = author();
    let shown = BTreeMap::from([(room(), (&author, author.head().revision))]);
    judge.asked_to_open(room(), None);
    core::iter::once(&opened(after)).chain(frames).find_map(|frame| judge.judge(frame, &shown, &keys()).err())
}

fn objects(invariant: &str, objection: Option<String>) {
    let objection = objection.unwrap_or_else(|| panic!("no objection of {invariant}"));
    assert!(objection.starts_with(invariant), "{objection}");
}

#[test]
fn good_histories_pass() {
    assert_eq!(judge(ada(), 0, &[key(0), batch(1, 7), key(1), batch(8, 9)]), None);
    assert_eq!(judge(bob(), 0, &[void(1, 5, VoidWhy::NotEntitled), batch(6, 7), key(1), batch(8, 9)]), None);
}

#[test]
fn a_gap_a_repetition_and_a_hole_break_s1() {
    objects("S1", judge(ada(), 0, &[key(0), batch(1, 3), batch(5, 5)]));
    objects("S1", judge(ada(), 0, &[key(0), batch(1, 4), batch(4, 5)]));
    let mut holed = batch(1, 5);
    if let ServerFrame::Batch { items, .. } = &mut holed {
        items.remove(2);
    }
    objects("S1", judge(ada(), 0, &[key(0), holed]));
}

#[test]
fn an_answer_that_overtakes_breaks_s2_and_one_too_many_x3() {
    let mut bob = bob();
    bob.asked(request());
    bob.recorded(request(), room(), Revision(8));
    objects("S2", judge(bob, 5, &[batch(6, 7), ok()]));
    objects("X3", judge(self::bob(), 5, &[ok()]));
}

#[test]
fn content_before_its_key_breaks_k1_and_a_key_before_its_room_k4() {
    objects("K1", judge(ada(), 3, &[batch(4, 5)]));
    objects("K1", judge(ada(), 5, &[key(0), batch(6, 8)]));
    objects("K1", judge(ada(), 5, &[key(0), key(0)]));
    let untold = || Delivery::new(account("ada"), true, BTreeSet::new());
    objects("K4", judge(untold(), 3, &[key(0)]));
    let event =
        AccountChange::Joined { room: room(), at: Revision(2), kind: RoomKind::Channel, name: None, counterpart: None };
    let told = ServerFrame::Account { revision: Revision(1), event };
    assert_eq!(judge(untold(), 3, &[told, key(0), batch(4, 5)]), None);
}

#[test]
fn what_is_not_for_the_account_breaks_d1_and_so_does_withholding() {
    objects("D1", judge(bob(), 3, &[batch(4, 5)]));
    objects("D1", judge(ada(), 3, &[void(4, 5, VoidWhy::NotEntitled)]));
    objects("D1", judge(ada(), 3, &[void(4, 5, VoidWhy::Filtered)]));
    objects("D1", judge(ada(), 3, &[void(4, 5, VoidWhy::Expired)]));
    objects("D1", judge(ada(), 3, &[ServerFrame::Reset { room: room(), why: ResetWhy::Removed }]));
}

#[test]
fn a_deleted_body_and_a_changed_item_are_noticed() {
    let undeleted = |frame: ServerFrame| match frame {
        ServerFrame::Batch { room, from, to, mut items, position, own } => {
            items[0].body = author().fact(Revision(4)).body.clone();
            ServerFrame::Batch { room, from, to, items, position, own }
        }
        other => other,
    };
    objects("a body at 4", judge(ada(), 3, &[key(0), undeleted(batch(4, 5))]));
    let mut forged = batch(5, 5);
    if let ServerFrame::Batch { items, .. } = &mut forged {
        items[0].account = account("bob");
    }
    objects("X3", judge(ada(), 4, &[key(0), forged]));
}

#[test]
fn marks_are_of_this_socket_alone() {
    objects("own", judge(bob(), 7, &[key(1), own(batch(8, 8), 8)]));
    let mut asked = bob();
    asked.asked(request());
    objects("own", judge(asked, 7, &[key(1), batch(8, 8)]));
    let mut asked = bob();
    asked.asked(request());
    assert_eq!(judge(asked, 7, &[key(1), own(batch(8, 8), 8), ok()]), None);
}

#[test]
fn a_position_of_another_log_breaks_s3_and_so_does_resuming_elsewhere() {
    let mut frame = batch(6, 7);
    if let ServerFrame::Batch { position, .. } = &mut frame {
        *position = Position { room: room(), head: Head { revision: Revision(7), ..Head::EMPTY } }.to_blob(&keys());
    }
    objects("S3", judge(ada(), 5, &[frame]));
    let mut received = Received::default();
    received.asked_to_open(room());
    assert_eq!(received.take(&opened(5)), Ok(()));
    assert_eq!(received.take(&batch(6, 7)), Ok(()));
    received.lost();
    received.asked_to_open(room());
    objects("S3", received.take(&opened(9)).err());
}
