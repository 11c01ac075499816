//! The surface of rooms, once from end to end, and what idempotency promises.

use serde_json::{Value, json};

use crate::harness::{Server, request_id};

#[tokio::test]
async fn people_talk_in_a_channel() {
    let server = Server::start().await;
    let room = server.channel("ada", &["bob"]).await;
    let path = |rest: &str| format!("/v1/rooms/{room}{rest}");

    let view = server.ask("bob", "GET", &path(""), Value::Null).await.is(200);
    assert_eq!((&view["name"], &view["role"], &view["members"]), (&json!("the channel"), &json!("member"), &json!(2)));
    server.ask("ada", "PATCH", &path(""), json!({ "name": "renamed" })).await.is(200);

    let sent = server.ask("ada", "POST", &path("/messages"), json!({ "text": "hello" })).await.is(201);
    let revision = sent["sent"]["revision"].as_u64().unwrap();
    let body = json!({ "message": "abcdefghijklmnopqrst", "content": { "plain": { "text": "hello, too" } } });
    server.ask("bob", "POST", &path("/messages"), body).await.is(201);
    let message = path(&format!("/messages/{revision}"));
    server.ask("ada", "PATCH", &message, json!({ "edit": 1, "text": "hello again" })).await.is(200);

    let history = server.ask("bob", "GET", &path(&format!("/messages?around={revision}&limit=3")), Value::Null).await;
    let history = &history.is(200)["history"];
    let items = history["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["revision"] == revision && item["body"]["ciphertext"].is_string()));
    let latest = server.ask("bob", "GET", &path("/messages"), Value::Null).await.is(200);
    let head = latest["history"]["to"].as_u64().unwrap();
    for range in [format!("before={head}"), "after=0".into(), "after=2&limit=100".into()] {
        server.ask("bob", "GET", &path(&format!("/messages?{range}")), Value::Null).await.is(200);
    }

    let mine = server.ask("bob", "GET", "/v1/accounts/me/rooms", Value::Null).await.is(200);
    let unread = mine["rooms"]["rooms"][0]["unread"].as_u64().unwrap();
    assert_eq!(unread, 2);
    let marked = server.ask("bob", "POST", &path("/read"), json!({ "revision": head })).await.is(200);
    assert_eq!(marked["marked"]["revision"], head);
    let mine = server.ask("bob", "GET", "/v1/rooms", Value::Null).await.is(200);
    assert_eq!(mine["rooms"]["rooms"][0]["unread"], 0);

    server.ask("ada", "DELETE", &message, Value::Null).await.is(200);
    let after = format!("/messages?after={}&limit=1", revision - 1);
    let erased = server.ask("bob", "GET", &path(&after), Value::Null).await.is(200);
    assert_eq!(erased["history"]["items"][0]["body"], Value::Null);

    let key = server.ask("bob", "GET", &path("/key"), Value::Null).await.is(200);
    assert_eq!(key["key"]["version"], 0);
    server.ask("ada", "POST", &path("/rotate"), Value::Null).await.is(200);
    let key = server.ask("bob", "GET", &path("/key?version=1"), Value::Null).await.is(200);
    assert_eq!(key["key"]["version"], 1);
    server.ask("ada", "POST", &path("/archive"), Value::Null).await.is(200);
    server.ask("ada", "POST", &path("/messages"), json!({ "text": "late" })).await.refused(409, "archived");
}

#[tokio::test]
async fn members_come_and_go() {
    let server = Server::start().await;
    let room = server.channel("ada", &["bob"]).await;
    let members = format!("/v1/rooms/{room}/members");
    let added = json!({ "accounts": ["cyd", "rob"], "bots": true, "history": "none" });
    server.ask("ada", "POST", &members, added).await.is(200);
    let page = server.ask("bob", "GET", &format!("{members}?limit=2&after=ada"), Value::Null).await.is(200);
    let names: Vec<_> =
        page["members"]["members"].as_array().unwrap().iter().map(|member| &member["account"]).collect();
    assert_eq!((json!(names), &page["members"]["total"]), (json!(["bob", "cyd"]), &json!(4)));
    server.ask("ada", "PATCH", &format!("{members}/bob"), json!({ "role": "owner" })).await.is(200);
    server.ask("bob", "DELETE", &format!("{members}/ada"), Value::Null).await.is(200);
    server.ask("ada", "GET", &members, Value::Null).await.refused(404, "not_a_member");
    // What they share is enough to begin another one with the same people.
    let other = server.ask("bob", "POST", "/v1/rooms", json!({ "name": "other", "channels": [room] })).await;
    let other = other.is(201)["created"]["room"].as_str().unwrap().to_owned();
    let path = format!("/v1/rooms/{other}/members");
    server.ask("bob", "POST", &path, json!({ "accounts": [], "channels": [room] })).await.is(200);
}

#[tokio::test]
async fn direct_messages_are_begun_once() {
    let server = Server::start().await;
    let first = server.ask("ada", "POST", "/v1/rooms", json!({ "account": "bob" })).await.is(201);
    let second = server.ask("bob", "POST", "/v1/rooms", json!({ "account": "ada" })).await.is(200);
    assert_eq!(first["created"]["room"], second["created"]["room"]);
    assert_eq!(second["created"]["exists"], true);
    let room = first["created"]["room"].as_str().unwrap();
    let view = server.ask("ada", "GET", &format!("/v1/rooms/{room}"), Value::Null).await.is(200);
    assert_eq!((&view["name"], &view["counterpart"]), (&json!("BOB"), &json!("bob")));
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_is_the_same_request() {
    let server = Server::start().await;
    let (create, say) = (request_id(1), request_id(2));
    let body = json!({ "name": "once" });
    let first = server.with_id("ada", &create, "POST", "/v1/rooms", body.clone()).await;
    assert_eq!(first.header("x-request-id"), Some(create.as_str()));
    let again = server.with_id("ada", &create, "POST", "/v1/rooms", body).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));

    let room = first.body["created"]["room"].as_str().unwrap();
    let path = format!("/v1/rooms/{room}/messages");
    let first = server.with_id("ada", &say, "POST", &path, json!({ "text": "once" })).await.is(201);
    let again = server.with_id("ada", &say, "POST", &path, json!({ "text": "once" })).await.is(201);
    assert_eq!(first, again);
    server.with_id("ada", &say, "POST", &path, json!({ "text": "twice" })).await.refused(409, "request_reused");
    let view = server.ask("ada", "GET", &format!("/v1/rooms/{room}"), Value::Null).await.is(200);
    assert_eq!(view["messages"], 1);

    // Without an id, the server makes one up and tells it; another request is another message.
    let made = server.ask("ada", "POST", &path, json!({ "text": "again" })).await;
    let made = made.header("x-request-id").expect("an id is made up").to_owned();
    server.with_id("ada", &made, "POST", &path, json!({ "text": "again" })).await.is(201);
    server.ask("ada", "POST", &path, json!({ "text": "again" })).await.is(201);
    let view = server.ask("ada", "GET", &format!("/v1/rooms/{room}"), Value::Null).await.is(200);
    assert_eq!(view["messages"], 3);
}

#[tokio::test]
async fn accounts_learn_who_they_are() {
    let server = Server::start().await;
    let me = server.ask("ada", "GET", "/v1/accounts/me", Value::Null).await.is(200);
    assert_eq!(me["name"], "ADA");
    assert_eq!((&me["admin"], &me["expires"]), (&json!(false), &json!(9_000_000_000_000_u64)));
    let me = server.ask("root", "GET", "/v1/accounts/me", Value::Null).await.is(200);
    assert_eq!(me["admin"], true);
}
