//! Messages after they were said: edited, taken back, counted, read page by page.

use chamberlain_core::id::{MessageId, Revision, RoomId};
use chamberlain_core::room::{Command, Content, Event, Outcome, Reason, Submit};
use chamberlain_core::wire::{Codec, HistoryRange, Item};

use super::{history, members, plain, view};
use crate::harness::{Client, Server, files, request_id};

fn message_at(client: &Client, room: RoomId, revision: Revision) -> MessageId {
    match client.rooms[&room].items[&revision].event {
        Event::Message { message, .. } => message,
        ref other => panic!("{other:?}"),
    }
}

async fn edit(client: &mut Client, room: RoomId, revision: Revision, edit: u32, text: &str) -> Command {
    let message = message_at(client, room, revision);
    let content = Content::Sealed(client.seal(room, message, edit, text));
    Command::Edit { room, revision, edit, content }
}

#[tokio::test]
async fn an_edited_message_reads_differently_to_everybody() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    let said = ada.say(room, "teh garden").await;

    let command = edit(&mut ada, room, said, 1, "the garden").await;
    let first = ada.done(command).await;
    let second = ada
        .done(Command::Edit { room, revision: said, edit: 2, content: Content::Plain { text: "our garden".into() } })
        .await;

    bob.reach(room, second).await;
    assert_eq!(bob.text(room, said).as_deref(), Some("teh garden"));
    assert_eq!(bob.edited_text(room, first).as_deref(), Some("the garden"));
    assert_eq!(bob.edited_text(room, second).as_deref(), Some("our garden"));
    let late = edit(&mut ada, room, said, 2, "too late").await;
    assert_eq!(ada.refused(late).await.reason, Reason::StaleEdit);
    bob.reach(room, second).await;
    let foreign = Command::Edit { room, revision: said, edit: 3, content: Content::Plain { text: "mine".into() } };
    assert_eq!(bob.refused(foreign).await.reason, Reason::NotSender);
}

#[tokio::test]
async fn a_message_taken_back_is_served_to_nobody_and_erased() {
    let mut server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    bob.settle().await;
    let away = bob;
    let kept = ada.say(room, "to be kept").await;
    let said = ada.say(room, "to be taken back").await;
    let command = edit(&mut ada, room, said, 1, "to be taken back, too").await;
    let edited = ada.done(command).await;
    let bodies: Vec<Vec<u8>> = [said, edited]
        .map(|revision| ada.rooms[&room].items[&revision].body.clone().unwrap().ciphertext.to_vec())
        .into();

    let deleted = ada.done(Command::Delete { room, revision: said }).await;

    // Live: everybody is told; a second deletion is a success, and an edit finds nothing.
    assert_eq!(ada.rooms[&room].items[&deleted].event, Event::Deleted { revision: said });
    let again = ada.command(Command::Delete { room, revision: said }).await;
    assert!(matches!(again, Ok(Outcome::Done { .. })));
    let late = edit(&mut ada, room, said, 2, "anew").await;
    assert_eq!(ada.refused(late).await.reason, Reason::NoSuchMessage);

    // Resumed from before it, opened anew, and in history, also after a restart: a tombstone at each revision.
    for restarted in [false, true] {
        if restarted {
            server.stop();
            server.go();
            ada = Client::connect(server.address, "ada", Codec::Json).await;
        }
        let (items, ..) = history(&mut ada, room, HistoryRange::Latest, 50).await.unwrap();
        let body = |items: &[Item], at: Revision| items.iter().find(|item| item.revision == at).unwrap().body.clone();
        assert!(body(&items, kept).is_some());
        assert_eq!((body(&items, said), body(&items, edited)), (None, None), "history, restarted: {restarted}");
        let mut anew = Client::connect(server.address, "bob", Codec::Json).await;
        anew.enter(room).await;
        let items: Vec<Item> = anew.rooms[&room].items.values().cloned().collect();
        assert_eq!((body(&items, said), body(&items, edited)), (None, None), "anew, restarted: {restarted}");
        assert_eq!(anew.text(room, kept).as_deref(), Some("to be kept"));
    }
    let mut bob = Client::connect(server.address, "bob", Codec::Bincode).await;
    bob.inherit(away);
    bob.open(room).await;
    bob.reach(room, deleted).await;
    assert!(bob.rooms[&room].items[&said].body.is_none() && bob.rooms[&room].items[&edited].body.is_none());
    assert_eq!(bob.text(room, kept).as_deref(), Some("to be kept"));

    // Erased: no copy made from now on holds a byte of it.
    let copy = server.beside("copy");
    server.ok(&["backup", copy.to_str().unwrap()]);
    let mut found = Vec::new();
    for file in files(&copy) {
        let bytes = std::fs::read(&file).unwrap();
        found.extend(bodies.iter().map(|body| bytes.windows(body.len()).any(|window| window == body)));
    }
    assert!(!found.is_empty() && !found.contains(&true), "a deleted body is in a backup made after it");
}

#[tokio::test]
async fn an_owner_may_take_back_what_others_said_and_a_member_may_not() {
    let server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    let (of_ada, of_bob) = (ada.say(room, "by ada").await, bob.say(room, "by bob").await);

    assert_eq!(bob.refused(Command::Delete { room, revision: of_ada }).await.reason, Reason::NotSender);
    let deleted = ada.done(Command::Delete { room, revision: of_bob }).await;

    bob.reach(room, deleted).await;
    assert_eq!(bob.rooms[&room].items[&deleted].event, Event::Deleted { revision: of_bob });
    assert_eq!(ada.refused(Command::Delete { room, revision: deleted }).await.reason, Reason::NoSuchMessage);
}

#[tokio::test]
async fn unread_messages_are_counted_up_to_the_mark_which_never_moves_back() {
    let mut server = Server::start();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    bob.enter(room).await;
    let mut said = Vec::new();
    for nth in 0..5 {
        said.push(ada.say(room, &format!("{nth}")).await);
    }
    assert_eq!(view(&mut bob, room).await.unwrap().unread, 5, "system messages do not count");

    let mark = |revision| Command::MarkRead { room, revision };
    bob.done(mark(said[2])).await;
    assert_eq!(view(&mut bob, room).await.unwrap().unread, 2);
    // A mark of long ago, from another device, moves nothing back, and is told where the mark stands.
    assert_eq!(bob.done(mark(said[0])).await, said[2]);
    let seen = view(&mut bob, room).await.unwrap();
    assert_eq!((seen.unread, seen.read), (2, said[2]));
    assert_eq!(bob.refused(mark(Revision(said[4].0 + 1_000))).await.reason, Reason::BeyondHead);

    // What everybody has read is the smallest of the marks.
    assert_eq!(members(&mut ada, room, None, 10).await.2, 0);
    ada.done(mark(said[4])).await;
    let (all, _, floor, _) = members(&mut ada, room, None, 10).await;
    assert_eq!(floor, said[2].0);
    assert_eq!(all.iter().map(|member| member.read).collect::<Vec<_>>(), [said[4], said[2]]);

    server.kill();
    server.go();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let seen = view(&mut bob, room).await.unwrap();
    assert_eq!((seen.unread, seen.read), (2, said[2]), "an acknowledged mark survives");
    bob.done(mark(seen.head)).await;
    assert_eq!(view(&mut bob, room).await.unwrap().unread, 0);
}

#[tokio::test]
async fn history_is_read_page_by_page_in_both_directions() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    for nth in 0..20 {
        ada.say(room, &format!("{nth}")).await;
    }
    let head = ada.rooms[&room].last;
    let all: Vec<Revision> = (1..=head.0).map(Revision).collect();
    let revisions = |items: &[Item]| items.iter().map(|item| item.revision).collect::<Vec<_>>();

    // Backwards from the newest, as a page scrolls.
    let mut back = Vec::new();
    let mut range = HistoryRange::Latest;
    loop {
        let (items, (from, to), more) = history(&mut ada, room, range, 7).await.unwrap();
        assert_eq!(revisions(&items), (from..=to).map(Revision).collect::<Vec<_>>());
        back.splice(0..0, revisions(&items));
        assert_eq!(more, from > 1);
        if !more {
            break;
        }
        range = HistoryRange::Before(Revision(from));
    }
    assert_eq!(back, all);

    // Forwards from the start.
    let (mut forth, mut last) = (Vec::new(), Revision::ZERO);
    loop {
        let (items, (_, to), more) = history(&mut ada, room, HistoryRange::After(last), 7).await.unwrap();
        forth.extend(revisions(&items));
        assert_eq!(more, to < head.0);
        last = Revision(to);
        if !more {
            break;
        }
    }
    assert_eq!(forth, all);

    // Around one, as a link to a message does.
    let (items, (from, to), _) = history(&mut ada, room, HistoryRange::Around(Revision(10)), 6).await.unwrap();
    assert_eq!(items.len(), 6);
    assert!(from < 10 && 10 < to, "{from}..={to}");
    assert_eq!(items[0].body.is_some(), ada.rooms[&room].items[&Revision(from)].body.is_some());
}

#[tokio::test]
async fn a_retry_is_answered_as_the_first_time_and_nothing_is_said_twice() {
    let mut server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let command = ada.sealed(room, "once");
    let id = request_id();
    let first = ada.command_as(id, command.clone()).await.unwrap();

    assert_eq!(ada.command_as(id, command.clone()).await.unwrap(), first);
    assert_eq!(ada.refused_as(id, plain(room, "something else")).await.reason, Reason::RequestReused);
    let mut elsewhere = Client::connect(server.address, "ada", Codec::Bincode).await;
    assert_eq!(elsewhere.command_as(id, command.clone()).await.unwrap(), first, "on another connection");
    server.kill();
    server.go();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    assert_eq!(ada.command_as(id, command.clone()).await.unwrap(), first, "after a crash");

    // The same message under another request id is the same message; another text under its id is a conflict.
    assert_eq!(ada.command(command.clone()).await.unwrap(), first);
    let Command::Submit(Submit { message, .. }) = command else { unreachable!() };
    let other = Command::Submit(Submit { room, message, content: Content::Plain { text: "other".into() } });
    assert_eq!(ada.refused(other).await.reason, Reason::MessageReused);
    ada.enter(room).await;
    assert!(ada.find(room, "once").is_some());
    assert_eq!(ada.rooms[&room].view.as_ref().unwrap().messages, 1);
}
