//! Connections that go wrong as a whole, and floods.

use std::time::Duration;

use chamberlain_core::id::RequestId;
use chamberlain_core::room::{Command, Reason};
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Open};
use futures_util::future::join_all;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::{Client, Server, message_id, request_id};

#[tokio::test]
async fn what_is_no_frame_of_the_protocol_ends_the_connection_and_no_other() {
    let server = Server::start();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let not_utf8 = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    let cases = [
        ("text on bincode", Codec::Bincode, Message::text("\"ping\""), Reason::Malformed, "binary"),
        ("binary on JSON", Codec::Json, Message::binary(vec![1, 2, 3]), Reason::Malformed, "text"),
        ("no UTF-8", Codec::Json, Message::Frame(not_utf8), Reason::Malformed, "UTF-8"),
        ("far over the limit", Codec::Bincode, Message::binary(vec![0; 1024 * 1024 + 1]), Reason::TooLarge, "65536"),
    ];
    for (what, codec, message, reason, word) in cases {
        let mut eve = Client::connect(server.address, "ada", codec).await;
        eve.open(room).await;
        eve.send_raw(message).await;
        assert_eq!(eve.until_closed().await, 4000, "{what}");
        assert_eq!(eve.bye.map(|bye| bye.0), Some(4000), "{what}");
        let refusal = eve.refusals.first().unwrap_or_else(|| panic!("{what}: closed without a reason"));
        assert_eq!(refusal.reason, reason, "{what}");
        assert!(refusal.message.contains(word), "{what}: {:?} does not say {word:?}", refusal.message);
        ada.say(room, what).await;
    }
}

#[tokio::test]
async fn the_first_frame_is_hello_and_comes_in_time() {
    let server = Server::start_with(&[], "[limits]\nhello_ms = 300\n");
    for (what, first) in [
        ("ping", Some(ClientFrame::Ping)),
        (
            "open",
            Some(ClientFrame::Open(Open {
                room: chamberlain_core::id::RoomId::from_digest(&[1; 32]),
                position: None,
                from: None,
                kinds: None,
                limit: None,
            })),
        ),
        ("nothing", None),
    ] {
        let mut client = Client::dial(server.address, "ada", Codec::Json).await;
        if let Some(frame) = first {
            client.send(&frame).await;
        }
        assert_eq!(client.until_closed().await, 4000, "{what}");
        assert_eq!(client.refusals[0].reason, Reason::Malformed, "{what}");
        assert!(client.refusals[0].message.contains("hello"), "{what}: {}", client.refusals[0].message);
    }
}

#[tokio::test]
async fn an_idle_connection_is_asked_for_a_sign_of_life_and_goes_on_when_it_gives_one() {
    let server = Server::start_with(&[], "[limits]\nping_ms = 100\ndead_ms = 1000\n");
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    // Says nothing and reads nothing, so that its pings are not answered.
    let mut gone = Client::connect(server.address, "gone", Codec::Bincode).await;

    let idle = tokio::time::Instant::now();
    while idle.elapsed() < Duration::from_millis(2_500) {
        ada.listen(Duration::from_millis(100)).await;
        assert_eq!(ada.closed, None, "an idle connection was closed after {:?}: {:?}", idle.elapsed(), ada.bye);
    }
    ada.say(room, "still here").await;
    assert_ne!(gone.until_closed().await, 1000, "who gives no sign of life is given up");
}

#[tokio::test]
async fn a_flood_of_commands_is_refused_command_by_command_and_nothing_else_suffers() {
    let server = Server::start_with(&[], "[limits]\nsubmits_per_second = 5\nsubmits_burst = 10\n");
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let mut eve = Client::connect(server.address, "eve", Codec::Json).await;
    let room = ada.channel("garden", &["eve"]).await;
    eve.enter(room).await;

    let requests: Vec<RequestId> = (0..30).map(|_| request_id()).collect();
    let commands: Vec<Command> = requests.iter().map(|_| crate::rooms::plain(room, "flood")).collect();
    for (id, command) in requests.iter().zip(&commands) {
        eve.send(&ClientFrame::Command { id: *id, command: command.clone() }).await;
    }
    let last = ada.say(room, "through the flood").await;
    eve.reach(room, last).await;
    eve.until(|eve| requests.iter().all(|id| eve.answers.contains_key(id))).await;

    let refused: Vec<usize> = (0..30).filter(|nth| eve.answers[&requests[*nth]].is_err()).collect();
    // At most 20, and fewer on a machine that takes seconds to send them.
    assert!((1..=20).contains(&refused.len()), "{} of 30 were refused", refused.len());
    assert!(refused[0] >= 10, "the burst passes");
    for nth in &refused {
        let Some(Err(refusal)) = eve.answers.get(&requests[*nth]) else { unreachable!() };
        assert_eq!(refusal.reason, Reason::RateLimited);
        assert!(refusal.message.contains('5') && refusal.message.contains("10"), "{}", refusal.message);
    }
    // Slower, the same request passes: the refusal was not kept.
    let (id, command) = (requests[refused[0]], commands[refused[0]].clone());
    eve.answers.clear();
    loop {
        match eve.command_as(id, command.clone()).await {
            Ok(_) => break,
            Err(refusal) => assert_eq!(refusal.reason, Reason::RateLimited),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_room_with_a_full_queue_is_busy_and_a_retry_passes() {
    let config = "[limits]\nroom_queue = 1\nsubmits_per_second = 1000000\nsubmits_burst = 1000000\n";
    let server = Server::start_with(&[], config);
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let other = ada.channel("kitchen", &[]).await;

    let crowd = (0..12).map(|_| async {
        let mut client = Client::connect(server.address, "ada", Codec::Bincode).await;
        let mut busy = 0;
        let mut waiting: Vec<(RequestId, Command)> =
            (0..100).map(|_| (request_id(), crate::rooms::plain(room, &message_id().to_string()))).collect();
        while !waiting.is_empty() {
            for (id, command) in &waiting {
                client.send(&ClientFrame::Command { id: *id, command: command.clone() }).await;
            }
            client.until(|client| waiting.iter().all(|(id, _)| client.answers.contains_key(id))).await;
            waiting.retain(|(id, _)| match client.answers.remove(id) {
                Some(Ok(Answer::Outcome(_))) => false,
                Some(Err(refusal)) => {
                    assert_eq!(refusal.reason, Reason::Busy, "{}", refusal.message);
                    busy += 1;
                    true
                }
                other => panic!("{other:?}"),
            });
        }
        busy
    });
    let busy: usize = join_all(crowd).await.into_iter().sum();

    assert!(busy > 0, "a queue of one was never full");
    ada.say(other, "all quiet here").await;
    let mut reader = Client::connect(server.address, "ada", Codec::Json).await;
    reader.enter(room).await;
    assert_eq!(reader.rooms[&room].view.as_ref().unwrap().messages, 1_200, "each of them once");
}
