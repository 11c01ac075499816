//! Coming and going: what a member may read is decided by when it was there.

use chamberlain_core::id::KeyVersion;
use chamberlain_core::room::{Command, Event, History, Outcome, Reason, Role};
use chamberlain_core::wire::{AccountChange, Codec, HistoryRange, ResetWhy, VoidWhy};

use super::{add, history, key, members, opening, plain, remove, view};
use crate::harness::{Client, Server, account, sealed_text};

#[tokio::test]
async fn a_newcomer_with_all_history_reads_from_the_start() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut cyd = Client::connect(server.address, "cyd", Codec::Bincode).await;
    let room = ada.channel("garden", &[]).await;
    let before = ada.say(room, "before").await;

    let added = ada.done(add(room, &["cyd"], History::All)).await;
    cyd.enter(room).await;
    let after = ada.say(room, "after").await;
    cyd.reach(room, after).await;

    assert_eq!(cyd.rooms[&room].items.len() as u64, after.0, "every revision");
    assert_eq!(cyd.text(room, before).as_deref(), Some("before"));
    assert_eq!(cyd.text(room, added).as_deref(), Some("\"ada\" added \"cyd\" to the channel"));
    assert_eq!(cyd.rooms[&room].current.unwrap().version, KeyVersion(0), "no new version for who may read everything");
}

#[tokio::test]
async fn a_newcomer_without_history_reads_from_the_record_that_added_it_and_can_open_nothing_before() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut cyd = Client::connect(server.address, "cyd", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let secret = ada.say(room, "before cyd").await;

    let added = ada.done(add(room, &["cyd"], History::None)).await;
    cyd.enter(room).await;
    let hello = ada.say(room, "hello cyd").await;
    cyd.reach(room, hello).await;

    assert_eq!(cyd.text(room, hello).as_deref(), Some("hello cyd"));
    assert_eq!(cyd.text(room, added).as_deref(), Some("\"ada\" added \"cyd\" to the channel"));
    assert!(cyd.rooms[&room].items.keys().all(|revision| *revision > secret));
    assert_eq!(cyd.rooms[&room].frames[0].2, Some(VoidWhy::NotEntitled), "what came before is covered, and void");
    // Even when handed the ciphertext.
    let captured = ada.rooms[&room].items[&secret].clone();
    let openers = cyd.rooms.get_mut(&room).unwrap().openers.values_mut();
    assert_eq!(sealed_text(room, &captured, openers), None);
    assert_eq!(key(&mut cyd, room, Some(0)).await.unwrap_err().reason, Reason::NoSuchKey);
    let (items, ..) = history(&mut cyd, room, HistoryRange::Before(added), 100).await.unwrap();
    assert!(items.iter().all(|item| item.revision > secret), "history shows what the stream did not");
}

#[tokio::test]
async fn who_is_removed_gets_nothing_more_and_can_open_nothing_that_follows() {
    let server = Server::start();
    for codec in Codec::ALL {
        let mut bob = Client::connect(server.address, "bob", codec).await;
        let mut cyd = Client::connect(server.address, "cyd", Codec::Json).await;
        let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
        let room = ada.channel("garden", &["bob", "cyd"]).await;
        let other = ada.channel("kitchen", &["bob"]).await;
        bob.enter(room).await;
        bob.enter(other).await;
        cyd.enter(room).await;
        let then = ada.say(room, "with bob").await;
        bob.reach(room, then).await;
        assert_eq!(bob.text(room, then).as_deref(), Some("with bob"));

        // When bob is removed, and the talk goes on.
        let removed = ada.done(remove(room, &["bob"])).await;
        let after = ada.say(room, "without bob").await;
        cyd.reach(room, after).await;
        assert_eq!(cyd.text(room, after).as_deref(), Some("without bob"));
        assert_eq!(cyd.text(room, removed).as_deref(), Some("\"bob\" has been removed from the channel"));

        // Then bob is told so in both ways, and his other room goes on; a frame of this room would fail the harness.
        bob.until(|bob| bob.rooms[&room].reset.is_some() && !bob.joined.contains(&room)).await;
        assert_eq!(bob.rooms[&room].reset, Some(ResetWhy::Removed));
        assert!(
            bob.told.iter().any(|change| matches!(change, AccountChange::Left { room: left, .. } if *left == room))
        );
        let elsewhere = ada.say(other, "still here?").await;
        bob.reach(other, elsewhere).await;
        assert_eq!(bob.text(other, elsewhere).as_deref(), Some("still here?"));
        bob.settle().await;
        assert_eq!(bob.rooms[&room].last, then, "nothing after what was said while he was there");

        // Nor does any key he holds open what follows, even when he is handed the ciphertext.
        let captured = cyd.rooms[&room].items[&after].clone();
        assert!(!bob.rooms[&room].openers.is_empty());
        let openers = bob.rooms.get_mut(&room).unwrap().openers.values_mut();
        assert_eq!(sealed_text(room, &captured, openers), None, "a removed member opened what follows (K2)");

        // He may still ask for the key of what he could read then, and for nothing newer.
        assert_eq!(key(&mut bob, room, Some(0)).await.unwrap(), KeyVersion(0));
        assert_eq!(key(&mut bob, room, Some(1)).await.unwrap_err().reason, Reason::NotAMember);
        assert_eq!(key(&mut bob, room, None).await.unwrap_err().reason, Reason::NotAMember);
        assert_eq!(bob.not_opened(opening(room, 1)).await.reason, Reason::NotAMember);
        assert_eq!(history(&mut bob, room, HistoryRange::Latest, 10).await.unwrap_err().reason, Reason::NotAMember);
        assert_eq!(bob.refused(plain(room, "let me in")).await.reason, Reason::NotAMember);
        assert!(view(&mut bob, room).await.is_none());
    }
}

#[tokio::test]
async fn who_comes_back_reads_the_time_of_its_absence_only_with_all_history() {
    let server = Server::start();
    for (mode, reads) in [(History::All, true), (History::None, false)] {
        let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
        let mut ada = Client::connect(server.address, "ada", Codec::Bincode).await;
        let room = ada.channel("garden", &["bob"]).await;
        bob.enter(room).await;
        let first = ada.say(room, "first stay").await;
        bob.reach(room, first).await;
        ada.done(remove(room, &["bob"])).await;
        bob.until(|bob| !bob.joined.contains(&room)).await;
        let absent = ada.say(room, "while bob was away").await;

        ada.done(add(room, &["bob"], mode)).await;
        bob.enter(room).await;
        let back = ada.say(room, "second stay").await;
        bob.reach(room, back).await;

        assert_eq!(bob.text(room, first).as_deref(), Some("first stay"));
        assert_eq!(bob.text(room, back).as_deref(), Some("second stay"));
        assert_eq!(bob.text(room, absent).is_some(), reads, "{mode:?}");
        let mut anew = Client::connect(server.address, "bob", Codec::Json).await;
        anew.enter(room).await;
        assert_eq!(anew.text(room, first).as_deref(), Some("first stay"), "in another opening, too");
        assert_eq!(anew.text(room, absent).is_some(), reads, "{mode:?}");
    }
}

#[tokio::test]
async fn owners_decide_and_a_channel_keeps_one() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut cyd = Client::connect(server.address, "cyd", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob", "cyd"]).await;
    let role = |name: &str, role| Command::SetRole { room, account: account(name), role };

    // A member decides nothing, and the last owner neither steps down nor leaves.
    assert_eq!(bob.refused(role("bob", Role::Owner)).await.reason, Reason::NotOwner);
    assert_eq!(bob.refused(remove(room, &["cyd"])).await.reason, Reason::NotOwner);
    assert_eq!(bob.refused(Command::Rename { room, name: "x".into() }).await.reason, Reason::NotOwner);
    assert_eq!(bob.refused(Command::Archive { room }).await.reason, Reason::NotOwner);
    assert_eq!(bob.refused(Command::Rotate { room }).await.reason, Reason::NotOwner);
    assert_eq!(ada.refused(role("ada", Role::Member)).await.reason, Reason::LastOwner);
    assert_eq!(ada.refused(remove(room, &["ada"])).await.reason, Reason::LastOwner);

    // A second owner may, and then the first may go; who leaves says so itself.
    ada.done(role("bob", Role::Owner)).await;
    assert_eq!(ada.refused(role("bob", Role::Owner)).await.reason, Reason::AlreadyThatRole);
    assert_eq!(view(&mut bob, room).await.unwrap().role, Role::Owner);
    ada.done(role("ada", Role::Member)).await;
    cyd.enter(room).await;
    let left = ada.done(remove(room, &["ada"])).await;
    ada.until(|ada| ada.rooms[&room].reset == Some(ResetWhy::Removed)).await;
    cyd.reach(room, left).await;
    assert_eq!(cyd.text(room, left).as_deref(), Some("\"ada\" left the channel"));

    // Members are who is left, a page at a time, sorted.
    let (page, total, _, more) = members(&mut bob, room, None, 1).await;
    assert_eq!((page[0].account.as_str(), page[0].role, total, more), ("bob", Role::Owner, 2, true));
    let (page, total, _, more) = members(&mut bob, room, Some("bob"), 1).await;
    assert_eq!((page[0].account.as_str(), page[0].role, total, more), ("cyd", Role::Member, 2, false));

    // Together they go, and the last one ends it.
    bob.done(remove(room, &["cyd"])).await;
    bob.done(remove(room, &["bob"])).await;
    let refusal = bob.refused(plain(room, "anybody?")).await;
    assert_eq!(refusal.reason, Reason::NotAMember);
    assert!(view(&mut bob, room).await.is_none());
}

#[tokio::test]
async fn adding_who_is_there_already_changes_nothing_and_succeeds() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;

    let revision = ada.done(add(room, &["bob", "ada"], History::None)).await;
    bob.reach(room, revision).await;

    assert_eq!(bob.rooms[&room].items[&revision].event, Event::Unchanged);
    assert_eq!(view(&mut ada, room).await.unwrap().members, 2);
    assert_eq!(ada.rooms[&room].current.unwrap().version, KeyVersion(0));
}

#[tokio::test]
async fn members_of_a_channel_come_along_when_it_is_named() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut cyd = Client::connect(server.address, "cyd", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let team = ada.channel("team", &["bob", "cyd"]).await;

    let created =
        bob.command(Command::CreateChannel { name: "offsite".into(), accounts: vec![], channels: vec![team] }).await;
    let Ok(Outcome::Created { room, .. }) = created else { panic!("{created:?}") };
    cyd.enter(room).await;
    ada.enter(room).await;

    assert_eq!(view(&mut ada, room).await.unwrap().members, 3);
    assert_eq!(cyd.rooms[&room].view.as_ref().unwrap().name, "offsite");
}

#[tokio::test]
async fn a_new_name_is_shown_and_told_and_an_archived_channel_is_over_but_readable() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    let said = ada.say(room, "for the record").await;

    let renamed = ada.done(Command::Rename { room, name: "  the orchard  ".into() }).await;
    bob.reach(room, renamed).await;
    assert_eq!(bob.text(room, renamed).as_deref(), Some("\"ada\" renamed the channel to \"the orchard\""));
    assert_eq!(view(&mut bob, room).await.unwrap().name, "the orchard");

    let archived = ada.done(Command::Archive { room }).await;
    bob.reach(room, archived).await;
    assert_eq!(bob.rooms[&room].items[&archived].event, Event::Archived);
    assert!(view(&mut bob, room).await.unwrap().archived);
    for command in [
        plain(room, "one more"),
        add(room, &["bob"], History::All),
        Command::Archive { room },
        Command::Rename { room, name: "again".into() },
    ] {
        let owner = ada.refused(command).await;
        assert_eq!(owner.reason, Reason::Archived);
    }
    let mut later = Client::connect(server.address, "bob", Codec::Bincode).await;
    later.enter(room).await;
    assert_eq!(later.text(room, said).as_deref(), Some("for the record"));
}

#[tokio::test]
async fn a_rotated_key_is_current_at_once_and_the_old_one_still_opens_what_was_sealed_under_it() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    let under_first = bob.say(room, "under the first").await;

    let rotated = ada.done(Command::Rotate { room }).await;
    bob.reach(room, rotated).await;
    let under_second = bob.say(room, "under the second").await;
    ada.reach(room, under_second).await;

    assert_eq!(ada.text(room, under_first).as_deref(), Some("under the first"));
    assert_eq!(ada.text(room, under_second).as_deref(), Some("under the second"));
    let versions: Vec<u32> = [under_first, under_second]
        .map(|revision| ada.rooms[&room].items[&revision].body.as_ref().unwrap().version.0)
        .into();
    assert_eq!(versions, [0, 1]);
    assert_eq!(key(&mut bob, room, None).await.unwrap(), KeyVersion(1));
    assert_eq!(key(&mut bob, room, Some(0)).await.unwrap(), KeyVersion(0));
}
