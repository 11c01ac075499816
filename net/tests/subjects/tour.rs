//! Every row of the table, once, in the order in which people would: on the current server and on the old one.

use serde_json::json;

use crate::harness::{House, next, nothing, open, refused};
use crate::nats::Version;
use chamberlain_core::limits::Limits;

#[tokio::test]
async fn people_go_through_everything_on_the_current_server() {
    tour(Version::Current).await;
}

#[tokio::test]
async fn people_go_through_everything_on_the_old_server() {
    tour(Version::Old).await;
}

async fn tour(version: Version) {
    let house = House::with(version, 1, Limits::default()).await;
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let mut told = bob.hear("event.subscription.update").await;
    let mut keys = bob.hear("event.room.key").await;

    let room = ada.channel(&["bob"]).await;
    let joined = next(&mut told).await;
    assert_eq!(
        (&joined["type"], &joined["roomId"], &joined["name"]),
        (&json!("joined"), &json!(room), &json!("Lobby"))
    );
    let key = next(&mut keys).await;
    assert_eq!((&key["roomId"], &key["version"]), (&json!(room), &json!(0)));

    let mut heard = bob.listen(format!("chat.room.{room}.event")).await;
    let sent = ada.send(&room, json!({ "text": "hello" })).await;
    assert_eq!((&sent["status"], &sent["keyVersion"]), (&json!("accepted"), &json!(0)), "{sent}");
    let event = next(&mut heard).await;
    assert_eq!((&event["type"], &event["revision"]), (&json!("message"), &sent["revision"]));
    assert_eq!(open(&key, &event), ("ada".into(), json!({ "text": "hello" })));
    assert!(!event.to_string().contains("ada"), "{event}");

    let revision = &sent["revision"];
    let edited = ada.ask(ada.verb(&room, "msg.edit"), json!({ "revision": revision, "edit": 1, "text": "hi" })).await;
    assert_eq!(edited["status"], "accepted", "{edited}");
    let event = next(&mut heard).await;
    assert_eq!((&event["type"], &event["target"]), (&json!("edited"), revision));

    let read = bob.ask(bob.verb(&room, "message.read"), json!({ "revision": revision })).await;
    assert_eq!(&read["revision"], revision, "{read}");
    let members = ada.ask(ada.verb(&room, "member.list"), json!({})).await;
    assert_eq!(members["total"], 2, "{members}");
    assert_eq!((&members["members"][1]["account"], &members["members"][1]["read"]), (&json!("bob"), revision));

    let past = bob.ask(bob.verb(&room, "msg.history"), json!({ "around": revision, "limit": 5 })).await;
    let message = past["items"].as_array().unwrap().iter().find(|item| &item["revision"] == revision).unwrap();
    assert_eq!((&message["type"], &message["account"]), (&json!("message"), &json!("ada")));
    assert!(message["encryptedMessage"]["ciphertext"].is_string() && message["messageId"].is_string());

    let gone = ada.ask(ada.verb(&room, "msg.delete"), json!({ "revision": revision })).await;
    assert_eq!(gone["status"], "accepted", "{gone}");
    let event = next(&mut heard).await;
    assert_eq!((&event["type"], &event["target"]), (&json!("deleted"), revision));
    assert!(event.get("encryptedMessage").is_none());

    let named = ada.ask(ada.verb(&room, "room.rename"), json!({ "name": "Hall" })).await;
    assert_eq!(named["status"], "accepted", "{named}");
    assert_eq!(next(&mut heard).await["type"], "system");
    let role = ada.ask(ada.verb(&room, "member.role-update"), json!({ "account": "bob", "newRole": "owner" })).await;
    assert_eq!(role["status"], "accepted", "{role}");

    let cyd = house.person("cyd").await;
    let mut cyd_keys = cyd.hear("event.room.key").await;
    let added =
        ada.ask(ada.verb(&room, "member.add"), json!({ "users": ["cyd"], "history": { "mode": "none" } })).await;
    assert_eq!(added["status"], "accepted", "{added}");
    assert_eq!(next(&mut cyd_keys).await["version"], 1);
    assert_eq!(next(&mut keys).await["version"], 1);
    let old = cyd.ask(cyd.verb(&room, "key.get"), json!({ "version": 0 })).await;
    assert_eq!(refused(&old), ("not_found", "no_such_key"));
    let new = cyd.ask(cyd.verb(&room, "key.get"), json!({})).await;
    assert_eq!(new["version"], 1, "{new}");

    let removed = ada.ask(ada.verb(&room, "member.remove"), json!({ "account": "bob" })).await;
    assert_eq!(removed["status"], "accepted", "{removed}");
    assert_eq!(next(&mut told).await["type"], "left");
    assert_eq!(next(&mut cyd_keys).await["version"], 2);
    nothing(&mut keys).await;
    let past = bob.ask(bob.verb(&room, "msg.history"), json!({})).await;
    assert_eq!(refused(&past), ("not_found", "not_a_member"));
}

#[tokio::test]
async fn a_direct_message_room_is_the_same_from_both_sides_and_its_events_are_its_members_own() {
    let house = House::start().await;
    let (dan, bob) = (house.person("dan.l@corp.example").await, house.person("bob").await);
    let mut at_bob = bob.hear("event.>").await;
    let mut at_dan = dan.hear("event.room").await;
    let mut open_to_all = bob.listen("chat.room.>".into()).await;

    let made = dan.ask(dan.create(), json!({ "users": ["bob"] })).await;
    assert_eq!((&made["status"], &made["roomType"]), (&json!("accepted"), &json!("dm")), "{made}");
    let room = made["roomId"].as_str().unwrap();
    let again = bob.ask(bob.create(), json!({ "users": ["dan.l@corp.example"] })).await;
    assert_eq!((&again["status"], &again["roomId"]), (&json!("exists"), &json!(room)));

    // Sent before the counterpart can have heard of the room: the room and its key come first all the same.
    let sent = dan.send(room, json!({ "text": "psst" })).await;
    assert_eq!(sent["status"], "accepted", "{sent}");
    let joined = next(&mut at_bob).await;
    assert_eq!((&joined["type"], &joined["counterpart"]), (&json!("joined"), &json!("dan.l@corp.example")));
    let key = next(&mut at_bob).await;
    assert_eq!(key["version"], 0, "{key}");
    assert_eq!(open(&key, &next(&mut at_bob).await).1["kind"], "room_created");
    assert_eq!(next(&mut at_dan).await["type"], "system");
    let event = next(&mut at_bob).await;
    assert_eq!(open(&key, &event), ("dan.l@corp.example".into(), json!({ "text": "psst" })));
    assert_eq!(next(&mut at_dan).await["revision"], event["revision"]);
    nothing(&mut open_to_all).await;
}
