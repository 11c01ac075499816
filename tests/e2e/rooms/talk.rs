//! Talking: in both codecs, sealed by the client or by the server, in direct messages.

use std::collections::BTreeSet;

use chamberlain_core::id::{RequestId, Revision};
use chamberlain_core::room::{Command, Outcome, Reason, RoomKind};
use chamberlain_core::wire::{Answer, ClientFrame, Codec};

use super::{plain, rooms};
use crate::harness::{Client, Server, account, request_id};

#[tokio::test]
async fn two_people_talk_whatever_codec_each_of_them_speaks() {
    let server = Server::start();
    for (ours, theirs) in [(Codec::Json, Codec::Json), (Codec::Bincode, Codec::Bincode), (Codec::Json, Codec::Bincode)]
    {
        let mut bob = Client::connect(server.address, "bob", theirs).await;
        let mut ada = Client::connect(server.address, "ada", ours).await;
        let room = ada.channel("garden", &["bob"]).await;
        bob.enter(room).await;

        let mut said = Vec::new();
        for turn in 0..10 {
            let (from_ada, from_bob) = (format!("ada {turn}"), format!("bob \u{1f331} {turn}"));
            said.push((ada.say(room, &from_ada).await, from_ada));
            said.push((bob.say(room, &from_bob).await, from_bob));
        }

        let last = said.last().unwrap().0;
        for client in [&mut ada, &mut bob] {
            client.reach(room, last).await;
            for (revision, text) in &said {
                assert_eq!(client.text(room, *revision).as_ref(), Some(text), "{} at {revision}", client.account);
            }
        }
        assert_eq!(ada.rooms[&room].items, bob.rooms[&room].items, "two codecs carry the same");
    }
}

#[tokio::test]
async fn what_the_server_seals_reads_like_what_a_client_sealed() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("notes", &[]).await;

    let plain = ada.done(plain(room, "in the clear, over the connection only")).await;
    let sealed = ada.say(room, "sealed at home").await;

    assert_eq!(ada.text(room, plain).as_deref(), Some("in the clear, over the connection only"));
    assert_eq!(ada.text(room, sealed).as_deref(), Some("sealed at home"));
}

#[tokio::test]
async fn a_client_sees_its_own_message_before_it_is_told_of_it_and_nobody_else_sees_the_mark() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Bincode).await;
    let mut elsewhere = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    elsewhere.enter(room).await;

    // Many at once from one connection: the harness checks that no answer overtakes its revision (S2).
    let requests: Vec<RequestId> = (0..40).map(|_| request_id()).collect();
    for (nth, id) in requests.iter().enumerate() {
        let command = if nth % 2 == 0 { ada.sealed(room, &format!("{nth}")) } else { plain(room, &format!("{nth}")) };
        ada.send(&ClientFrame::Command { id: *id, command }).await;
    }
    ada.until(|ada| requests.iter().all(|id| ada.answers.contains_key(id))).await;

    let mut last = Revision::ZERO;
    for id in &requests {
        let Ok(Answer::Outcome(Outcome::Sent { revision, .. })) = ada.answers[id] else {
            panic!("{:?}", ada.answers[id])
        };
        assert!(revision > last, "in the order in which they were sent");
        assert_eq!(ada.rooms[&room].own.get(&revision), Some(id), "marked as its own at its revision");
        last = revision;
    }
    for other in [&mut bob, &mut elsewhere] {
        other.reach(room, last).await;
        assert!(other.rooms[&room].own.is_empty(), "a mark on a connection that did not ask");
    }
}

#[tokio::test]
async fn a_direct_message_room_begun_from_both_sides_at_once_is_one_room() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    let (ours, theirs) = (request_id(), request_id());

    ada.send(&ClientFrame::Command { id: ours, command: Command::CreateDm { account: account("bob") } }).await;
    bob.send(&ClientFrame::Command { id: theirs, command: Command::CreateDm { account: account("ada") } }).await;
    ada.until(|ada| ada.answers.contains_key(&ours)).await;
    bob.until(|bob| bob.answers.contains_key(&theirs)).await;

    let created = |answer: &Result<Answer, _>| match answer {
        Ok(Answer::Outcome(Outcome::Created { room, kind, exists })) => (*room, *kind, *exists),
        Ok(other) => panic!("{other:?}"),
        Err(_) => panic!("refused"),
    };
    let (one, other) = (created(&ada.answers[&ours]), created(&bob.answers[&theirs]));
    assert_eq!(one.0, other.0, "one room");
    assert_eq!(BTreeSet::from([one.2, other.2]), BTreeSet::from([false, true]), "begun once, found once");
    assert_eq!(one.1, RoomKind::Dm);

    // Asked for again, by anybody, it is there; and each sees the other's name.
    let again = ada.command(Command::CreateDm { account: account("bob") }).await.unwrap();
    assert_eq!(again, Outcome::Created { room: one.0, kind: RoomKind::Dm, exists: true });
    ada.enter(one.0).await;
    bob.enter(one.0).await;
    let revision = ada.say(one.0, "only for you").await;
    bob.reach(one.0, revision).await;
    assert_eq!(bob.text(one.0, revision).as_deref(), Some("only for you"));
    assert_eq!(rooms(&mut ada).await[0].name, "bob");
    assert_eq!(rooms(&mut bob).await[0].counterpart, Some(account("ada")));
    let refusal = ada.refused(super::add(one.0, &["bob"], chamberlain_core::room::History::All)).await;
    assert_eq!(refusal.reason, Reason::NotAChannel);
}

#[tokio::test]
async fn notes_to_oneself_are_a_room_of_one() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let Ok(Outcome::Created { room, kind, exists }) = ada.command(Command::CreateDm { account: account("ada") }).await
    else {
        panic!("notes to oneself are a room")
    };
    assert_eq!((kind, exists), (RoomKind::Dm, false));
    ada.enter(room).await;
    let revision = ada.say(room, "milk").await;
    assert_eq!(ada.text(room, revision).as_deref(), Some("milk"));
    assert_eq!(rooms(&mut ada).await[0].members, 1);
}
