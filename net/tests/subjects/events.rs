//! Events: to whom, in which order, and how often.

use std::collections::BTreeSet;

use async_nats::Subscriber;
use chamberlain_core::id::{MessageId, RequestId, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{Command, Content, History, Submit};
use chamberlain_net::auth::Identity;
use serde_json::{Value, json};

use crate::harness::{House, PATIENCE, Person, SILENCE, message, next, next_subject, nothing, open, order};
use crate::nats::Version;

#[tokio::test]
async fn an_account_hears_of_the_room_then_gets_its_key_then_what_needs_it() {
    let house = House::start().await;
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let mut own = bob.hear("event.>").await;
    let room = ada.channel(&[]).await;
    for round in 0..5 {
        ada.ask(ada.verb(&room, "member.add"), json!({ "users": ["bob"], "history": { "mode": "none" } })).await;
        let (first, second) = (message(&mut own).await, message(&mut own).await);
        assert_eq!(first.subject.as_str(), "chat.user.bob.event.subscription.update", "round {round}");
        assert_eq!(second.subject.as_str(), "chat.user.bob.event.room.key", "round {round}");
        ada.ask(ada.verb(&room, "member.remove"), json!({ "account": "bob" })).await;
        let third: Value = next(&mut own).await;
        assert_eq!(third["type"], "left", "round {round}");
    }
    nothing(&mut own).await;
}

/// Three people in a room of the first, and where the other two hear of keys: both have the first one.
async fn three_with_the_first_key(house: &House) -> ([Person; 3], [Subscriber; 2], String) {
    let (ada, bob, cyd) = (house.person("ada").await, house.person("bob").await, house.person("cyd").await);
    let (mut at_bob, mut at_cyd) = (bob.hear("event.room.key").await, cyd.hear("event.room.key").await);
    let room = ada.channel(&["bob", "cyd"]).await;
    for listening in [&mut at_bob, &mut at_cyd] {
        assert_eq!(next(listening).await["version"], 0);
    }
    ([ada, bob, cyd], [at_bob, at_cyd], room)
}

#[tokio::test]
async fn a_new_version_reaches_members_before_the_first_event_under_it_and_nobody_else() {
    let house = House::start().await;
    let ([ada, bob, _cyd], [mut at_bob, mut at_cyd], room) = three_with_the_first_key(&house).await;
    let subject = format!("chat.room.{room}.event");
    let mut events = bob.listen(subject.clone()).await;
    let mut lines = order(&house, "bob", &["chat.user.bob.event.>".into(), subject.clone()]).await;
    ada.ask(ada.verb(&room, "member.remove"), json!({ "account": "cyd" })).await;
    assert_eq!(next_subject(&mut lines).await, "chat.user.bob.event.room.key");
    assert_eq!(next_subject(&mut lines).await, subject);
    let key = next(&mut at_bob).await;
    assert_eq!(key["version"], 1);
    let event = next(&mut events).await;
    assert_eq!(event["keyVersion"], 1);
    let (_, told) = open(&key, &event);
    assert_eq!(told["kind"], "member_removed", "{told}");
    nothing(&mut at_cyd).await;
}

#[tokio::test]
async fn several_nodes_share_requests_and_publish_each_event_once() {
    let house = House::with(Version::Current, 3, Limits::default()).await;
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let mut at_bob = bob.hear("event.room.key").await;
    let mut rooms = Vec::new();
    for _ in 0..8 {
        rooms.push(ada.channel(&["bob"]).await);
    }
    let mut keyed = BTreeSet::new();
    for _ in &rooms {
        let key = next(&mut at_bob).await;
        assert!(keyed.insert(key["roomId"].as_str().unwrap().to_owned()), "twice: {key}");
    }
    nothing(&mut at_bob).await;

    let room = &rooms[0];
    let mut events = bob.listen(format!("chat.room.{room}.event")).await;
    let mut sent = BTreeSet::new();
    for nth in 0..40 {
        let answer = ada.send(room, json!({ "text": format!("message {nth}") })).await;
        assert_eq!(answer["status"], "accepted", "{answer}");
        sent.insert(answer["revision"].as_u64().unwrap());
    }
    let mut heard = BTreeSet::new();
    for _ in 0..sent.len() {
        let event = next(&mut events).await;
        assert!(heard.insert(event["revision"].as_u64().unwrap()), "twice: {event}");
    }
    assert_eq!(heard, sent);
    nothing(&mut events).await;
    let shares: Vec<bool> = house.nodes.iter().map(|node| answered(node) > 0).collect();
    assert_eq!(shares, [true; 3], "every node answered something");
}

fn answered(node: &chamberlain_net::node::Node) -> u64 {
    let text = node.metrics().encode();
    let name = "chamberlain_subject_requests_total{outcome=\"ok\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap()
}

#[tokio::test]
async fn a_lost_server_is_come_back_to() {
    let mut house = House::start().await;
    let ada = house.person("ada").await;
    let room = ada.channel(&[]).await;
    house.restart_server();
    let mut answer = None;
    for _ in 0..50 {
        let asked = ada.client.request(ada.verb(&room, "member.list"), "{}".into()).await;
        if let Ok(found) = asked {
            answer = Some(found);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let answer: serde_json::Value = serde_json::from_slice(&answer.expect("an answer").payload).unwrap();
    assert_eq!(answer["total"], 1, "{answer}");
    assert!(house.figure("chamberlain_subject_reconnections_total") > 0);
}

#[tokio::test]
async fn who_heard_of_a_room_from_another_node_gets_its_next_key_from_this_one() {
    let house = House::with(Version::Current, 2, Limits::default()).await;
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let who = Identity { account: "ada".parse().unwrap(), name: None, admin: false, expires: None };
    let at = |node: usize, nth: u8, command: Command| {
        let (node, who) = (house.nodes[node].clone(), who.clone());
        async move { node.command(&who, RequestId::from_random([nth; 16]), command).await.unwrap() }
    };
    let room: RoomId = ada.channel(&[]).await.parse().unwrap();
    let rename = |name: &str| Command::Rename { room, name: name.into() };
    // Both have carried out effects of the room before: what either knows of them is not the newest.
    at(0, 1, rename("one")).await;
    at(1, 2, rename("two")).await;
    let mut told = bob.hear("event.subscription.update").await;
    let mut keys = bob.hear("event.room.key").await;
    let accounts = vec!["bob".parse().unwrap()];
    at(0, 3, Command::Add { room, accounts, channels: vec![], bots: false, history: History::All }).await;
    assert_eq!((&next(&mut told).await["type"], &next(&mut keys).await["version"]), (&json!("joined"), &json!(0)));
    at(1, 4, Command::Rotate { room }).await;
    assert_eq!(next(&mut keys).await["version"], 1);
    nothing(&mut keys).await;
    at(0, 5, Command::Rotate { room }).await;
    assert_eq!(next(&mut keys).await["version"], 2);
    nothing(&mut told).await;
}

#[tokio::test]
async fn who_is_shut_out_gets_no_key_although_it_is_still_in_the_room() {
    let house = House::start().await;
    let ([_ada, _bob, _cyd], [mut at_bob, mut at_cyd], room) = three_with_the_first_key(&house).await;
    // As if the server had stopped between shutting it out and removing it.
    let node = &house.nodes[0];
    let mut entry = node.account_entry(&"bob".parse().unwrap()).await.unwrap();
    entry.disabled = true;
    node.put_accounts(&[entry]).await.unwrap();
    let who = Identity { account: "ada".parse().unwrap(), name: None, admin: false, expires: None };
    let rotate = Command::Rotate { room: room.parse().unwrap() };
    node.command(&who, RequestId::from_random([1; 16]), rotate).await.unwrap();
    assert_eq!(next(&mut at_cyd).await["version"], 1);
    nothing(&mut at_bob).await;
}

#[tokio::test]
async fn a_server_that_takes_nothing_holds_nobody_up_and_every_event_is_accounted_for() {
    const MESSAGES: u64 = 3_000;
    let house = House::start().await;
    let ada = house.person("ada").await;
    let room: RoomId = ada.channel(&[]).await.parse().unwrap();
    let before = accounted(&house);
    house.server().pause(true);
    let who = Identity { account: "ada".parse().unwrap(), name: None, admin: false, expires: None };
    for nth in 0..MESSAGES {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&nth.to_be_bytes());
        let message = MessageId::from_digest(&[bytes, bytes].concat().try_into().unwrap());
        let content = Content::Plain { text: "x".repeat(8_000) };
        let submit = Command::Submit(Submit { room, message, content });
        house.nodes[0].command(&who, RequestId::from_random(bytes), submit).await.expect("answered all the same");
    }
    assert!(accounted(&house) < before + MESSAGES, "the server took all of it while it was stopped");
    house.server().pause(false);
    let begun = tokio::time::Instant::now();
    while accounted(&house) < before + MESSAGES {
        assert!(begun.elapsed() < PATIENCE * 3, "{} of {}", accounted(&house), before + MESSAGES);
        tokio::time::sleep(SILENCE).await;
    }
    assert_eq!(accounted(&house), before + MESSAGES);
}

/// Events of rooms that were published or dropped.
fn accounted(house: &House) -> u64 {
    let of = |what: &str| house.figure(&format!("chamberlain_subject_{what}_total{{kind=\"channel\"}}"));
    of("events") + of("events_dropped")
}
