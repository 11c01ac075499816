//! How a room reaches a connection: packed or not, filtered, resumed, watched.

use chamberlain_core::id::Revision;
use chamberlain_core::keys::Blob;
use chamberlain_core::room::{Command, Event};
use chamberlain_core::wire::{ClientFrame, Codec, Open, ResetWhy, VoidWhy};

use super::{opening, plain};
use crate::harness::{Client, Server};

#[tokio::test]
async fn a_client_that_declines_packing_gets_every_revision_in_a_frame_of_its_own_with_the_same_content() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    for nth in 0..30 {
        ada.say(room, &format!("{nth}")).await;
    }
    let head = ada.rooms[&room].last;

    let mut single = Client::connect_as(server.address, "ada", "ada", Codec::Json, false).await;
    single.open(room).await;
    single.reach(room, head).await;
    let mut packed = Client::connect(server.address, "ada", Codec::Json).await;
    packed.open(room).await;
    packed.reach(room, head).await;

    assert!(single.rooms[&room].frames.iter().all(|(from, to, _)| from == to), "several revisions in one frame");
    assert!(packed.rooms[&room].frames.len() < 30, "what waits already is packed");
    assert_eq!(single.rooms[&room].items, packed.rooms[&room].items);
}

#[tokio::test]
async fn with_kinds_only_those_come_and_the_rest_is_covered() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    for nth in 0..5 {
        ada.say(room, &format!("{nth}")).await;
    }
    ada.done(Command::Rename { room, name: "orchard".into() }).await;
    let head = ada.say(room, "after").await;

    for codec in Codec::ALL {
        let mut names = Client::connect(server.address, "ada", codec).await;
        names.open_as(Open { kinds: Some(vec!["renamed".into()]), ..opening(room, 1) }).await;
        names.reach(room, head).await;
        let log = &names.rooms[&room];
        assert_eq!(log.items.len(), 1, "only the renaming");
        assert!(
            matches!(&log.items.values().next().unwrap().event, Event::Renamed { name } if name.as_str() == "orchard")
        );

        // Nothing of what follows is of that kind: it is covered all the same.
        let next = ada.say(room, "more").await;
        names.reach(room, next).await;
        assert!(names.rooms[&room].frames.iter().any(|(.., void)| *void == Some(VoidWhy::Filtered)));
    }
}

#[tokio::test]
async fn an_old_position_resumes_after_a_restart_without_loss_or_repeat() {
    let mut server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    let heard = ada.say(room, "bob is here").await;
    bob.reach(room, heard).await;
    let earlier = bob;
    for nth in 0..20 {
        ada.say(room, &format!("missed {nth}")).await;
    }
    server.kill();
    server.go();

    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    bob.inherit(earlier);
    bob.open(room).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    ada.open(room).await;
    let last = ada.say(room, "welcome back").await;
    bob.reach(room, last).await;

    // The harness has checked that every frame follows the one before, the position of the old connection included.
    let log = &bob.rooms[&room];
    assert_eq!(log.items.len() as u64, last.0, "every revision, once");
    for nth in 0..20 {
        assert!(bob.find(room, &format!("missed {nth}")).is_some(), "message {nth} was lost");
    }
}

#[tokio::test]
async fn an_invented_position_resets_the_room_and_harms_nothing() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let other = ada.channel("elsewhere", &[]).await;
    ada.say(room, "one").await;
    ada.say(other, "one").await;
    let real = ada.rooms[&room].position.clone().unwrap().1;
    let foreign = ada.rooms[&other].position.clone().unwrap().1;
    let mut forged = real.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let mut far = real.to_vec();
    far[0] = far[0].wrapping_add(40);

    for (what, position) in [
        ("noise", Blob::from(vec![7; 64])),
        ("a wrong MAC", Blob::from(forged)),
        ("another revision", Blob::from(far)),
        ("another room's", foreign),
    ] {
        let mut client = Client::connect(server.address, "ada", Codec::Json).await;
        client.open_as(Open { position: Some(position), from: None, ..opening(room, 1) }).await;
        assert_eq!(client.rooms[&room].reset, Some(ResetWhy::UnknownPosition), "{what}");
        client.open(room).await;
        let revision = ada.say(room, what).await;
        client.reach(room, revision).await;
        assert_eq!(client.text(room, revision).as_deref(), Some(what));
    }
}

#[tokio::test]
async fn an_opening_begins_where_it_was_asked_to() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let mut head = Revision::ZERO;
    for nth in 0..10 {
        head = ada.say(room, &format!("{nth}")).await;
    }
    let begins = |head: Revision| {
        [
            (Open { from: Some(Revision(7)), ..opening(room, 1) }, 7),
            (Open { from: Some(Revision(head.0 + 100)), ..opening(room, 1) }, head.0 + 1),
            (Open { from: None, limit: Some(3), ..opening(room, 1) }, head.0 - 2),
            (Open { from: None, limit: Some(5_000), ..opening(room, 1) }, 1),
            (Open { from: None, ..opening(room, 1) }, head.0 + 1),
        ]
    };
    for nth in 0..begins(head).len() {
        let (open, first) = begins(head)[nth].clone();
        let mut client = Client::connect(server.address, "ada", Codec::Bincode).await;
        client.open_as(open.clone()).await;
        let next = ada.say(room, "next").await;
        client.reach(room, next).await;
        let log = &client.rooms[&room];
        assert_eq!(log.frames[0].0, Revision(first), "{open:?}");
        assert_eq!(log.items.len() as u64, next.0 - first + 1, "{open:?}");
        head = next;
    }
}

#[tokio::test]
async fn a_closed_room_is_silent_and_may_be_opened_again() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    bob.close(room).await;

    let missed = ada.say(room, "while closed").await;
    bob.settle().await;
    assert!(bob.rooms[&room].last < missed);

    bob.open(room).await;
    bob.reach(room, missed).await;
    assert_eq!(bob.text(room, missed).as_deref(), Some("while closed"));
}

#[tokio::test]
async fn who_takes_nothing_is_sent_away_while_others_go_on_and_resumes_without_loss() {
    let config = "[limits]\nslow_ms = 1000\nsubmits_per_second = 100000\nsubmits_burst = 100000\n";
    let server = Server::start_with(&[], config);
    let mut slow = Client::connect(server.address, "slow", Codec::Json).await;
    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Bincode).await;
    let room = ada.channel("garden", &["slow", "bob"]).await;
    slow.enter(room).await;
    bob.enter(room).await;

    // When much more is said than the system keeps for a connection that reads nothing.
    let text = "x".repeat(15_000);
    let begun = std::time::Instant::now();
    let sent_away =
        || server.get("/metrics").unwrap().1.lines().any(|line| line.contains("4008") && line.ends_with(" 1"));
    let mut last = Revision::ZERO;
    while !sent_away() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "who takes nothing was kept");
        for _ in 0..20 {
            last = ada.done(plain(room, &text)).await;
        }
        bob.reach(room, last).await;
    }

    // Then what it took is a whole number of frames, and the rest comes when it is back.
    while slow.read().await {}
    assert!(slow.rooms[&room].last < last);
    let mut back = Client::connect(server.address, "slow", Codec::Json).await;
    back.inherit(slow);
    back.open(room).await;
    back.reach(room, last).await;
    assert_eq!(back.rooms[&room].items.len() as u64, last.0);
}

#[tokio::test]
async fn who_watches_a_kind_is_shown_it_from_all_its_rooms_without_opening_them() {
    let server = Server::start_with_root();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut eve = Client::connect(server.address, "eve", Codec::Json).await;
    let mut root = Client::connect(server.address, "root", Codec::Bincode).await;
    let watch = |kinds: &[&str]| ClientFrame::Watch { kinds: kinds.iter().map(|&kind| kind.to_owned()).collect() };
    bob.send(&watch(&["message", "renamed"])).await;
    eve.send(&watch(&["*"])).await;
    root.send(&watch(&["message"])).await;
    for client in [&mut bob, &mut eve, &mut root] {
        client.settle().await;
    }

    let rooms = [ada.channel("one", &["bob"]).await, ada.channel("two", &["bob"]).await];
    let mut said = Vec::new();
    for room in rooms {
        ada.done(Command::Rename { room, name: "renamed".into() }).await;
        said.push((room, ada.say(room, "look").await));
    }
    let saw = |client: &Client, what: &(chamberlain_core::id::RoomId, Revision)| {
        client.watched.iter().any(|(room, item)| (*room, item.revision) == *what)
    };
    bob.until(|bob| said.iter().all(|what| saw(bob, what))).await;
    root.until(|root| said.iter().all(|what| saw(root, what))).await;
    eve.settle().await;

    // Then: a member sees its rooms, bodies included; an administrator all rooms, without bodies; others nothing.
    let kinds = |client: &Client| {
        client.watched.iter().map(|(_, item)| item.event.kind()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(kinds(&bob), ["message", "renamed"].into());
    assert_eq!(kinds(&root), ["message"].into());
    assert!(bob.watched.iter().filter(|(_, item)| item.event.kind() == "message").all(|(_, item)| item.body.is_some()));
    assert!(root.watched.iter().all(|(_, item)| item.body.is_none()), "a body of a room it is not in");
    assert!(eve.watched.is_empty(), "events of rooms it is not in");

    // And: an empty list ends it.
    bob.send(&watch(&[])).await;
    bob.settle().await;
    bob.watched.clear();
    ada.done(plain(rooms[0], "unseen")).await;
    bob.settle().await;
    assert!(bob.watched.is_empty());
}
