//! The oracles let a good story pass, and each objects to a story that breaks its invariant.

mod bad;
mod builder;

use std::collections::BTreeSet;

use builder::{Builder, account, say};
use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::room::{Command, Content, History, Outcome, Role};
use chamberlain_core::wire::{HistoryRange, Open, Query, ServerFrame};
use chamberlain_sim::judge::{ORACLES, Objection, judge};
use chamberlain_sim::plan;
use chamberlain_sim::story::{LinkId, Seen, Story};

/// An open without anything said.
fn open(room: RoomId) -> Open {
    Open { room, position: None, from: None, kinds: None, limit: None }
}

fn open_from(room: RoomId, from: u64) -> Open {
    Open { from: Some(Revision(from)), ..open(room) }
}

fn revision(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Sent { revision, .. } | Outcome::Done { revision } => revision,
        other => panic!("{other:?} is of no revision"),
    }
}

/// The connections of the good story.
const ADA: LinkId = LinkId(1);
const BOB: LinkId = LinkId(2);
const CYD: LinkId = LinkId(3);
const ADA_AGAIN: LinkId = LinkId(4);

/// People come, talk, go, and come back.
fn good() -> (Story, RoomId) {
    let mut house = Builder::new();
    house.connect(ADA.0, "ada");
    house.connect(BOB.0, "bob");
    house.connect(CYD.0, "cyd");
    let create = Command::CreateChannel { name: "Hall".into(), accounts: vec![account("bob")], channels: Vec::new() };
    house.ask(ADA, 1, create).expect("created");
    let room = plan::site_keys().channel_id(&account("ada"), plan::request_id(1));
    house.open(ADA, open_from(room, 1));
    house.open(BOB, Open { limit: Some(2), ..open(room) });
    house.ask(ADA, 2, say(room, 1, "hello")).expect("said");
    let said = revision(house.ask(BOB, 3, say(room, 2, "good day")).expect("said"));
    let edit = Command::Edit { room, revision: said, edit: 1, content: Content::Plain { text: "well".into() } };
    house.ask(BOB, 4, edit).expect("edited");
    house.ask(ADA, 5, Command::Rotate { room }).expect("rotated");
    house.keep(room);
    let add = |name: &str, history| Command::Add {
        room,
        accounts: vec![account(name)],
        channels: Vec::new(),
        bots: false,
        history,
    };
    house.ask(ADA, 6, add("cyd", History::None)).expect("added");
    house.open(CYD, open_from(room, 1));
    house.ask(CYD, 7, say(room, 3, "here I am")).expect("said");
    house.ask(BOB, 8, Command::Delete { room, revision: said }).expect("deleted");
    house.query(ADA, 20, Query::History { room, range: HistoryRange::Latest, limit: None });
    house.query(ADA, 21, Query::Members { room, after: None, limit: None });
    house.query(CYD, 22, Query::Rooms);
    house.query(ADA, 23, Query::Key { room, version: None });
    house.watched(ADA, room, said.previous(), true);
    house.ask(ADA, 9, Command::MarkRead { room, revision: said }).expect("marked");
    house.ask(ADA, 10, Command::Remove { room, accounts: vec![account("bob")] }).expect("removed");
    house.ask(BOB, 11, say(room, 4, "hello?")).expect_err("no member");
    house.ask(ADA, 12, say(room, 5, "among us")).expect("said");
    house.ask(ADA, 13, Command::SetRole { room, account: account("cyd"), role: Role::Owner }).expect("an owner");
    let here = house.head(room);
    house.lose(ADA);
    house.ask(CYD, 14, say(room, 6, "alone")).expect("said");
    house.connect(ADA_AGAIN.0, "ada");
    let position = Some(house.position(room, here));
    house.open(ADA_AGAIN, Open { position, ..open(room) });
    house.ask(ADA_AGAIN, 12, say(room, 5, "among us")).expect("said before");
    house.ask(ADA_AGAIN, 15, Command::CreateDm { account: account("dan") }).expect("created");
    house.close(CYD, room);
    house.open(CYD, Open { kinds: Some(vec!["message".into()]), ..open_from(room, 1) });
    house.ask(ADA_AGAIN, 16, add("bob", History::All)).expect("added");
    house.open(BOB, open_from(room, 1));
    house.keep(room);
    (house.end(), room)
}

/// Where in a story a frame came over a connection.
fn came(story: &Story, link: LinkId, is_it: impl Fn(&ServerFrame) -> bool) -> usize {
    let of = |(_, seen): &(u64, Seen)| matches!(seen, Seen::Came { link: on, frame } if *on == link && is_it(frame));
    story.seen.iter().position(of).expect("such a frame came")
}

/// Changes a frame that came.
fn change(story: &mut Story, at: usize, change: impl FnOnce(&mut ServerFrame)) {
    let Seen::Came { frame, .. } = &mut story.seen[at].1 else { panic!("no frame came at {at}") };
    change(frame);
}

/// Takes a moment out of a story.
fn drop_at(story: &mut Story, at: usize) -> Seen {
    story.seen.remove(at).1
}

/// Puts a moment into a story.
fn insert(story: &mut Story, at: usize, seen: Seen) {
    let time = story.seen[at].0;
    story.seen.insert(at, (time, seen));
}

fn words(objections: &[Objection]) -> String {
    objections.iter().map(|o| format!("\n  {} at {:?}: {}", o.oracle, o.at, o.what)).collect()
}

#[test]
fn a_good_story_passes() {
    let objections = judge(&good().0);
    assert!(objections.is_empty(), "{}", words(&objections));
}

#[test]
fn a_story_in_which_nothing_happens_passes() {
    let objections = judge(&Builder::new().end());
    assert!(objections.is_empty(), "{}", words(&objections));
}

#[test]
fn a_story_may_end_anywhere() {
    let (whole, _) = good();
    for length in 0..whole.seen.len() {
        let mut story = whole.clone();
        story.seen.truncate(length);
        story.ending = Default::default();
        story.ending.vault = whole.ending.vault.clone();
        let objections = judge(&story);
        assert!(objections.is_empty(), "after {length}: {}", words(&objections));
    }
}

#[test]
fn every_bad_story_meets_its_oracle() {
    let mut missed = String::new();
    for case in bad::cases() {
        let (mut story, room) = good();
        (case.spoil)(&mut story, room);
        let objections = judge(&story);
        if !objections.iter().any(|objection| objection.oracle == case.oracle) {
            missed += &format!("\n{}, {}:{}", case.oracle, case.what, words(&objections));
        }
    }
    assert!(missed.is_empty(), "{missed}");
}

#[test]
fn every_oracle_has_a_bad_story() {
    let tested: BTreeSet<&str> = bad::cases().map(|case| case.oracle).collect();
    let all: BTreeSet<&str> = ORACLES.iter().map(|oracle| oracle.name).collect();
    assert_eq!(tested, all);
    assert_eq!(all.len(), ORACLES.len(), "two oracles of one name");
}

#[test]
fn an_objection_names_the_invariant_and_the_moment() {
    let (mut story, _) = good();
    let at = came(&story, ADA, |frame| matches!(frame, ServerFrame::Batch { .. }));
    change(&mut story, at, |frame| {
        let ServerFrame::Batch { position, .. } = frame else { panic!("a batch") };
        *position = Blob::from(vec![1, 2, 3]);
    });
    let objections = judge(&story);
    assert!(objections.iter().any(|objection| objection.oracle == "S3" && objection.at == Some(at)), "{objections:?}");
    assert!(objections.iter().all(|objection| !objection.invariant.is_empty() && !objection.what.is_empty()));
}
