//! What administrators may do, and nobody else.

use std::sync::Arc;

use chamberlain_core::limits::Limits;
use chamberlain_net::server::BackupStream;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

use crate::harness::Server;

#[tokio::test]
async fn administrators_keep_the_directory() {
    let server = Server::start().await;
    let put = json!({ "accounts": [{ "account": "eve" }, { "account": "fay+x@corp", "name": "Fay", "admin": true }] });
    assert_eq!(server.ask("root", "PUT", "/v1/admin/accounts", put).await.is(200)["put"], 2);
    let fay = server.ask("root", "GET", "/v1/admin/accounts/fay+x%40corp", Value::Null).await.is(200);
    assert_eq!((&fay["name"], &fay["site"], &fay["admin"]), (&json!("Fay"), &json!("here"), &json!(true)));
    // Its token says nothing of it, and the directory does.
    server.ask("fay+x@corp", "GET", "/v1/admin/rooms", Value::Null).await.is(200);

    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/admin/accounts?limit=3{after}");
        let page = server.ask("root", "GET", &path, Value::Null).await.is(200);
        let accounts = page["accounts"].as_array().unwrap();
        seen.extend(accounts.iter().map(|entry| entry["account"].as_str().unwrap().to_owned()));
        if page["more"] == false {
            break;
        }
        after = format!("&after={}", seen.last().unwrap());
    }
    assert_eq!(seen, ["ada", "bob", "cyd", "dan", "eve", "fay+x@corp", "rob", "root"]);
}

#[tokio::test]
async fn who_is_disabled_is_out_of_everything_until_enabled() {
    let server = Server::start().await;
    let room = server.channel("ada", &["bob"]).await;
    // The account's log tells of the room a moment after the room does.
    while server.ask("bob", "GET", "/v1/rooms", Value::Null).await.is(200)["rooms"]["rooms"] == json!([]) {}
    let disabled = server.ask("root", "POST", "/v1/admin/accounts/bob/disable", Value::Null).await.is(200);
    assert_eq!(disabled["disabled"]["rooms"], 1);
    server.ask("bob", "GET", "/v1/rooms", Value::Null).await.refused(403, "account_disabled");
    let members = server.ask("root", "GET", &format!("/v1/admin/rooms/{room}/members"), Value::Null).await.is(200);
    assert_eq!(members["members"]["total"], 1);
    let again = json!({ "accounts": [{ "account": "bob", "name": "Bob" }] });
    server.ask("root", "PUT", "/v1/admin/accounts", again).await.is(200);
    let bob = server.ask("root", "GET", "/v1/admin/accounts/bob", Value::Null).await.is(200);
    assert_eq!((&bob["name"], &bob["disabled"]), (&json!("Bob"), &json!(true)));
    let bob = server.ask("root", "POST", "/v1/admin/accounts/bob/enable", Value::Null).await.is(200);
    assert_eq!(bob["disabled"], false);
    server.ask("bob", "GET", "/v1/rooms", Value::Null).await.is(200);

    let put = json!({ "accounts": [{ "account": "bob", "disabled": true }] });
    let refused = server.ask("root", "PUT", "/v1/admin/accounts", put).await;
    assert!(refused.refused(400, "malformed").contains("accounts[0].disabled"));
}

#[tokio::test]
async fn administrators_see_rooms_and_not_what_is_said() {
    let server = Server::start().await;
    let room = server.channel("ada", &["bob"]).await;
    let other = server.channel("cyd", &[]).await;
    let path = format!("/v1/rooms/{room}/messages");
    let sent = server.ask("ada", "POST", &path, json!({ "text": "a secret" })).await.is(201);
    let revision = sent["sent"]["revision"].as_u64().unwrap();

    let mut rooms = [room.clone(), other];
    rooms.sort();
    let page = server.ask("root", "GET", "/v1/admin/rooms?limit=1", Value::Null).await.is(200);
    assert_eq!((&page["rooms"][0]["room"], &page["more"]), (&json!(rooms[0]), &json!(true)));
    let page = server.ask("root", "GET", &format!("/v1/admin/rooms?after={}", rooms[0]), Value::Null).await.is(200);
    assert_eq!((&page["rooms"][0]["room"], &page["more"]), (&json!(rooms[1]), &json!(false)));

    let one = server.ask("root", "GET", &format!("/v1/admin/rooms/{room}"), Value::Null).await.is(200);
    assert_eq!((&one["members"], &one["owners"], &one["messages"]), (&json!(2), &json!(1), &json!(1)));
    let log = server.ask("root", "GET", &format!("/v1/admin/rooms/{room}/log?limit=1000"), Value::Null).await.is(200);
    let items = log["items"].as_array().unwrap();
    assert_eq!(items.len() as u64, log["head"].as_u64().unwrap());
    assert!(items.iter().any(|item| item["revision"] == revision && item["body"] == "present"));
    assert!(!log.to_string().contains("ciphertext"));
    let page = server.ask("root", "GET", &format!("/v1/admin/rooms/{room}/log?after=1&limit=1"), Value::Null).await;
    let page = page.is(200);
    assert_eq!((&page["items"][0]["revision"], &page["more"]), (&json!(2), &json!(true)));

    server.ask("root", "POST", &format!("/v1/admin/rooms/{room}/archive"), Value::Null).await.is(200);
    server.ask("root", "GET", &format!("/v1/rooms/{room}"), Value::Null).await.refused(404, "not_a_member");
}

#[tokio::test]
async fn there_is_nothing_to_decide_where_nothing_is_lost() {
    let server = Server::start().await;
    let room = server.channel("ada", &["bob"]).await;
    let path = format!("/v1/admin/rooms/{room}/continue");
    let told = server.ask("root", "POST", &path, json!({})).await.is(200);
    assert_eq!((&told["lossy"], &told["lost"], &told["continued"]), (&json!(false), &json!([]), &json!(null)));
    assert_eq!(told["ended"], told["known"]);
    server.ask("root", "POST", &path, json!({ "head": told["head"] })).await.refused(409, "nothing_lost");
    let other = json!({ "head": "1-0123456789abcdef" });
    let refused = server.ask("root", "POST", &path, other).await;
    let message = refused.refused(503, "overtaken");
    assert!(message.contains(told["head"].as_str().unwrap()), "{message}");
    let nowhere = "/v1/admin/rooms/00000000000000000/continue";
    server.ask("root", "POST", nowhere, json!({})).await.refused(404, "not_a_member");
    let after = server.ask("root", "POST", &path, json!({})).await.is(200);
    assert_eq!(after, told, "nothing was changed");
}

#[tokio::test]
async fn nobody_else_is_let_in() {
    let server = Server::start().await;
    for (method, path) in [
        ("GET", "/v1/admin/accounts"),
        ("PUT", "/v1/admin/accounts"),
        ("GET", "/v1/admin/accounts/bob"),
        ("POST", "/v1/admin/accounts/bob/disable"),
        ("POST", "/v1/admin/accounts/bob/enable"),
        ("GET", "/v1/admin/rooms"),
        ("GET", "/v1/admin/rooms/00000000000000000"),
        ("GET", "/v1/admin/rooms/00000000000000000/members"),
        ("GET", "/v1/admin/rooms/00000000000000000/log"),
        ("POST", "/v1/admin/rooms/00000000000000000/archive"),
        ("POST", "/v1/admin/rooms/00000000000000000/continue"),
        ("POST", "/v1/admin/backup"),
    ] {
        server.ask("ada", method, path, Value::Null).await.refused(403, "not_admin");
        server.asked(method, path, &[], Value::Null).await.refused(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_copy_of_the_stores_is_streamed() {
    let server = Server::with(Limits::default(), |config| {
        config.backup = Some(Arc::new(|| {
            let pieces = stream::iter([Ok("one ".into()), Ok("two".into())]).boxed();
            async { Ok(BackupStream { len: Some(7), bytes: pieces }) }.boxed()
        }));
    })
    .await;
    let copy = server.ask("root", "POST", "/v1/admin/backup", Value::Null).await;
    assert_eq!((copy.status, &copy.bytes[..]), (200, &b"one two"[..]));
    assert_eq!(copy.header("content-length"), Some("7"));

    let without = Server::start().await;
    without.ask("root", "POST", "/v1/admin/backup", Value::Null).await.refused(404, "no_such_path");
    let failing = Server::with(Limits::default(), |config| {
        config.backup = Some(Arc::new(|| async { Err(std::io::Error::other("the disk is full")) }.boxed()));
    })
    .await;
    let refused = failing.ask("root", "POST", "/v1/admin/backup", Value::Null).await;
    assert!(refused.refused(503, "store_unavailable").contains("the disk is full"));
}
