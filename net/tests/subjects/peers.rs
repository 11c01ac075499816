//! What other servers ask.

use serde_json::{Value, json};

use crate::harness::{House, connect, fresh, refused, with_id};

async fn ask(house: &House, verb: &str, body: Value) -> Value {
    let away = connect(&house.server().url(), "away", "_INBOX.away").await;
    let subject = format!("chat.server.request.room.here.{verb}");
    let answer = away.request_with_headers(subject, with_id(&fresh()), body.to_string().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test]
async fn a_server_makes_rooms_asks_for_keys_and_asks_what_rooms_are() {
    let house = House::start().await;
    let made = ask(&house, "create.dm", json!({ "account": "ada", "counterpart": "bob" })).await;
    assert_eq!((&made["status"], &made["roomType"]), (&json!("accepted"), &json!("dm")), "{made}");
    let again = ask(&house, "create.dm", json!({ "account": "bob", "counterpart": "ada" })).await;
    assert_eq!((&again["status"], &again["roomId"]), (&json!("exists"), &made["roomId"]));

    let key = ask(&house, "key.ensure", json!({ "roomId": made["roomId"] })).await;
    assert_eq!((&key["version"], &key["roomId"]), (&json!(0), &made["roomId"]), "{key}");
    assert!(key["publicKey"].is_string() && key.get("privateKey").is_none());

    let ada = house.person("ada").await;
    let room = ada.channel(&["bob"]).await;
    let missing = "00000000000000000";
    let info = ask(&house, "info.batch", json!({ "roomIds": [made["roomId"], room, missing] })).await;
    let rooms = info["rooms"].as_array().unwrap();
    assert_eq!((&rooms[0]["roomType"], &rooms[0]["members"]), (&json!("dm"), &json!(2)));
    assert_eq!(
        (&rooms[1]["roomType"], &rooms[1]["name"], &rooms[1]["siteId"]),
        (&json!("channel"), &json!("Lobby"), &json!("here"))
    );
    assert_eq!((&rooms[2]["roomId"], &rooms[2]["roomType"]), (&json!(missing), &Value::Null));
}

#[tokio::test]
async fn a_server_is_refused_in_the_same_words() {
    let house = House::start().await;
    for (verb, body, code, reason) in [
        ("create.dm", json!({ "account": "off", "counterpart": "bob" }), "forbidden", "account_disabled"),
        ("create.dm", json!({ "account": "ada" }), "bad_request", "malformed"),
        ("create.room", json!({}), "bad_request", "malformed"),
        ("key.ensure", json!({ "roomId": "00000000000000000" }), "not_found", "no_such_room"),
        ("info.batch", json!({ "roomIds": vec!["00000000000000000"; 101] }), "bad_request", "too_many"),
    ] {
        assert_eq!(refused(&ask(&house, verb, body).await), (code, reason), "{verb}");
    }
}
