//! Bad input, and everything else that is refused: each reason that the table of errors has, by a request that provokes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chamberlain_core::limits::Limits;
use chamberlain_core::room::Reason;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Marks, Pending, StoreError};
use serde_json::{Value, json};

use crate::harness::{Server, request_id};

/// Marks that can be out of reach.
struct Fragile {
    marks: Arc<dyn Marks>,
    broken: AtomicBool,
}

impl Fragile {
    fn check(&self) -> Result<(), StoreError> {
        match self.broken.load(Ordering::Acquire) {
            true => Err(StoreError::Unavailable("out of reach".into())),
            false => Ok(()),
        }
    }
}

impl Marks for Fragile {
    fn raise<'a>(&'a self, marks: &'a [(String, u64)]) -> Pending<'a, ()> {
        Box::pin(async {
            self.check()?;
            self.marks.raise(marks).await
        })
    }

    fn get<'a>(&'a self, names: &'a [String]) -> Pending<'a, Vec<u64>> {
        Box::pin(async {
            self.check()?;
            self.marks.get(names).await
        })
    }
}

/// What a socket alone is told, and what takes a broken store or a defect: tried elsewhere.
const ELSEWHERE: [&str; 10] = [
    "already_open",
    "too_many_sockets",
    "busy",
    "deadline",
    "quarantined",
    "defect",
    "overtaken",
    "older_node",
    "nothing_lost",
    "newer_log",
];

/// An envelope of nothing, under this version.
fn envelope(version: u32) -> Value {
    let encapsulation = "BQUF".repeat(21) + "BQU=";
    json!({ "version": version, "encapsulation": encapsulation, "counter": 0, "ciphertext": "7u7u7u7u7u7u7u7u7u7u7g==" })
}

#[tokio::test]
async fn every_reason_of_the_table_is_given_where_it_is_documented() {
    let mut seen = BTreeSet::new();
    let limits = Limits { room_members: 4, accounts_per_command: 5, message_bytes: 2_000, ..Limits::default() };
    let stores = MemoryStores::new().stores();
    let fragile = Arc::new(Fragile { marks: stores.marks.clone(), broken: AtomicBool::new(false) });
    let server = Server::over(chamberlain_stores::Stores { marks: fragile.clone(), ..stores }, limits, |_| {}).await;
    let room = server.channel("ada", &["bob", "cyd"]).await;
    let dm = server.ask("ada", "POST", "/v1/rooms", json!({ "account": "bob" })).await.is(201);
    let dm = dm["created"]["room"].as_str().unwrap().to_owned();
    let old = server.channel("ada", &["bob"]).await;
    server.ask("ada", "POST", &format!("/v1/rooms/{old}/archive"), Value::Null).await.is(200);
    let named = json!({ "message": "abcdefghijklmnopqrst", "text": "said" });
    let said = server.ask("bob", "POST", &format!("/v1/rooms/{room}/messages"), named).await.is(201);
    let said = said["sent"]["revision"].as_u64().unwrap();
    server.ask("root", "POST", "/v1/admin/accounts/dan/disable", Value::Null).await.is(200);
    let reused = request_id(9);
    server.with_id("ada", &reused, "POST", &format!("/v1/rooms/{room}/rotate"), Value::Null).await.is(200);

    let long = "x".repeat(3_000);
    let rooms = "/v1/rooms";
    let here = |rest: &str| format!("/v1/rooms/{room}{rest}");
    let text = |text: &str| json!({ "text": text });
    let sealed = |version| json!({ "message": "abcdefghijklmnopqrsu", "content": { "sealed": envelope(version) } });
    #[rustfmt::skip]
    let table = [
        // What the request says of itself.
        ("ada", "POST", rooms.into(), json!({}), 400, "malformed", "either `name`"),
        ("ada", "POST", rooms.into(), json!({ "name": "a", "account": "bob" }), 400, "malformed", "either `name`"),
        ("ada", "POST", rooms.into(), json!({ "name": 5 }), 400, "malformed", "name: invalid type"),
        ("ada", "POST", rooms.into(), json!({ "nam": "a" }), 400, "malformed", "unknown field `nam`"),
        ("ada", "POST", rooms.into(), json!([]), 400, "malformed", "must be a JSON object"),
        ("ada", "POST", rooms.into(), json!({ "name": "a", "accounts": ["bob", "Bob"] }), 400, "malformed", "accounts[1]: account must be"),
        ("ada", "POST", rooms.into(), json!({ "name": " " }), 400, "invalid_name", "1 to 100 characters"),
        ("ada", "POST", here("/messages"), json!({ "text": "a", "content": { "plain": { "text": "a" } } }), 400, "malformed", "either `content` or `text`"),
        ("ada", "POST", here("/messages"), json!({ "content": { "plain": { "txt": "a" } } }), 400, "malformed", "content.plain"),
        ("ada", "POST", here("/messages"), json!({ "content": { "sealed": envelope(0) } }), 400, "malformed", "message:"),
        ("ada", "POST", here("/messages"), json!({ "message": "short", "text": "a" }), 400, "malformed", "message: message must be"),
        ("ada", "PATCH", here("/messages/1"), text("a"), 400, "malformed", "missing field `edit`"),
        ("ada", "PATCH", here("/messages/x"), json!({ "edit": 1, "text": "a" }), 400, "malformed", "revision: must be a number"),
        ("ada", "GET", "/v1/rooms/short".into(), Value::Null, 400, "malformed", "room: room must be"),
        ("ada", "DELETE", here("/members/A%20da"), Value::Null, 400, "malformed", "account: account must be"),
        ("ada", "GET", here("/messages?limit=ten"), Value::Null, 400, "malformed", "limit: must be a number"),
        ("ada", "GET", here("/messages?from=1"), Value::Null, 400, "malformed", "from: no such parameter"),
        ("ada", "GET", here("/key?version=4294967296"), Value::Null, 400, "malformed", "version: too large"),
        ("ada", "GET", here("/messages?before=1&after=1"), Value::Null, 400, "invalid_range", "only one of"),
        ("ada", "GET", here("/messages?limit=101"), Value::Null, 400, "too_many", "limit: must be 1 to 100"),
        ("ada", "GET", here("/messages?limit=0"), Value::Null, 400, "too_many", "limit: must be 1 to 100"),
        ("ada", "GET", here("/members?limit=201"), Value::Null, 400, "too_many", "limit: must be 1 to 200"),
        ("root", "GET", "/v1/admin/accounts?limit=0".into(), Value::Null, 400, "too_many", "limit: must be 1 to 1000"),
        ("root", "GET", "/v1/admin/rooms?limit=201".into(), Value::Null, 400, "too_many", "limit: must be 1 to 200"),
        ("ada", "POST", rooms.into(), json!({ "name": "a", "accounts": ["a", "b", "c", "d", "e", "f"] }), 400, "too_many", "the limit is 5"),
        // Who asks.
        ("not an account", "GET", rooms.into(), Value::Null, 401, "invalid_token", "account"),
        ("stranger", "GET", rooms.into(), Value::Null, 401, "invalid_token", "no account stranger"),
        ("expired", "GET", rooms.into(), Value::Null, 401, "token_expired", ""),
        ("dan", "GET", rooms.into(), Value::Null, 403, "account_disabled", ""),
        ("ada", "GET", "/v1/admin/rooms".into(), Value::Null, 403, "not_admin", ""),
        // What rooms refuse.
        ("root", "GET", here(""), Value::Null, 404, "not_a_member", ""),
        ("root", "GET", "/v1/admin/rooms/00000000000000000".into(), Value::Null, 404, "not_a_member", "no room 0"),
        ("ada", "GET", "/v1/rooms/00000000000000000/messages".into(), Value::Null, 404, "not_a_member", ""),
        ("ada", "POST", rooms.into(), json!({ "account": "nobody" }), 404, "unknown_account", "nobody"),
        ("root", "GET", "/v1/admin/accounts/nobody".into(), Value::Null, 404, "unknown_account", "nobody"),
        ("root", "POST", "/v1/admin/accounts/nobody/enable".into(), Value::Null, 404, "unknown_account", ""),
        ("ada", "POST", here("/members"), json!({ "accounts": ["rob"] }), 400, "bot_not_allowed", "rob"),
        ("ada", "POST", here("/members"), json!({}), 400, "nobody_named", ""),
        ("ada", "POST", here("/members"), json!({ "accounts": ["root", "rob"], "bots": true }), 409, "room_full", ""),
        ("ada", "DELETE", here("/members/root"), Value::Null, 404, "target_not_a_member", "root"),
        ("ada", "DELETE", here("/members/ada"), Value::Null, 409, "last_owner", ""),
        ("bob", "DELETE", here("/members/cyd"), Value::Null, 403, "not_owner", ""),
        ("ada", "PATCH", here("/members/bob"), json!({ "role": "member" }), 409, "already_that_role", ""),
        ("ada", "PATCH", here("/members/bob"), json!({ "role": "king" }), 400, "malformed", "role: unknown variant"),
        ("bob", "PATCH", here(""), json!({ "name": "b" }), 403, "not_owner", ""),
        ("ada", "PATCH", format!("/v1/rooms/{dm}"), json!({ "name": "b" }), 400, "not_a_channel", ""),
        ("ada", "POST", format!("/v1/rooms/{old}/messages"), text("late"), 409, "archived", ""),
        ("ada", "POST", here("/messages"), text(" \n"), 400, "empty", ""),
        ("ada", "POST", here("/messages"), text(&long), 413, "too_large", "2000"),
        ("ada", "POST", here("/messages"), sealed(7), 409, "stale_key", ""),
        ("ada", "POST", here("/messages"), sealed(1), 400, "bad_envelope", ""),
        ("bob", "POST", here("/messages"), json!({ "message": "abcdefghijklmnopqrst", "text": "else" }), 409, "message_reused", ""),
        ("ada", "PATCH", here(&format!("/messages/{said}")), json!({ "edit": 1, "text": "a" }), 403, "not_sender", ""),
        ("bob", "PATCH", here(&format!("/messages/{said}")), json!({ "edit": 2, "text": "a" }), 409, "stale_edit", "1"),
        ("bob", "PATCH", here("/messages/1"), json!({ "edit": 1, "text": "a" }), 404, "no_such_message", ""),
        ("ada", "DELETE", here("/messages/999"), Value::Null, 404, "no_such_message", ""),
        ("ada", "GET", here("/key?version=9"), Value::Null, 404, "no_such_key", ""),
        ("ada", "POST", here("/read"), json!({ "revision": 999 }), 400, "beyond_head", "999"),
        // Where there is nothing.
        ("ada", "GET", "/v1/nowhere".into(), Value::Null, 404, "no_such_path", "/v1/nowhere"),
        ("ada", "GET", "/v1/rooms/".into(), Value::Null, 404, "no_such_path", ""),
        ("ada", "DELETE", rooms.into(), Value::Null, 405, "no_such_path", "GET, POST"),
    ];
    for (who, method, path, body, status, reason, words) in table {
        let at = format!("{who}: {method} {path} {body}");
        let reply = server.ask(who, method, &path, body).await;
        assert_eq!((reply.status, reply.body["reason"].as_str()), (status, Some(reason)), "{at}: {}", reply.body);
        let message = reply.body["message"].as_str().unwrap();
        assert!(message.contains(words) && !message.is_empty(), "{at}: {message}");
        assert_eq!(reply.body["current"].is_object(), reason == "stale_key", "{at}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{at}");
        seen.insert(reason.to_owned());
    }

    let reply = server.with_id("ada", &reused, "PATCH", &here(""), json!({ "name": "b" })).await;
    seen.insert(reply.refused(409, "request_reused").to_owned());
    let reply = server.with_id("ada", "not-a-uuid", "GET", rooms, Value::Null).await;
    assert!(reply.refused(400, "malformed").contains("x-request-id"));
    let reply = server.asked("GET", rooms, &[], Value::Null).await;
    reply.refused(401, "invalid_token");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    server.asked("GET", rooms, &[("authorization", "Basic YTpi")], Value::Null).await.refused(401, "invalid_token");
    server.asked("GET", "/healthz", &[("host", "evil.example")], Value::Null).await.refused(403, "foreign_host");
    server.asked("GET", "/", &[("origin", "null")], Value::Null).await.refused(403, "foreign_origin");

    fragile.broken.store(true, Ordering::Release);
    let reply = server.ask("ada", "POST", &here("/read"), json!({ "revision": 1 })).await;
    reply.refused(503, "store_unavailable");
    assert_eq!(reply.header("retry-after"), Some("1"));
    server.asked("GET", "/readyz", &[], Value::Null).await.refused(503, "store_unavailable");
    fragile.broken.store(false, Ordering::Release);
    assert_eq!(server.asked("GET", "/readyz", &[], Value::Null).await.status, 200);

    server.node.drain().await;
    server.ask("ada", "POST", &here("/messages"), text("late")).await.refused(503, "draining");
    server.asked("GET", "/readyz", &[], Value::Null).await.refused(503, "draining");
    server.asked("GET", "/healthz", &[], Value::Null).await.is(200);

    let provoked = ["request_reused", "foreign_host", "foreign_origin", "store_unavailable", "draining"];
    let apart = ["rate_limited", "restricted_to_owners"];
    for reason in Reason::ALL {
        let name = json!(reason);
        let name = name.as_str().unwrap();
        let covered = seen.contains(name) || provoked.contains(&name) || apart.contains(&name);
        assert!(covered || ELSEWHERE.contains(&name), "nothing here is refused as {name}");
    }
}

#[tokio::test]
async fn an_account_has_so_many_commands_a_second_over_all_its_connections() {
    let limits = Limits { submits_per_second: 1, submits_burst: 3, ..Limits::default() };
    let server = Server::with(limits, |_| {}).await;
    let room = server.channel("ada", &["bob"]).await;
    let path = format!("/v1/rooms/{room}/messages");
    for _ in 0..2 {
        server.ask("ada", "POST", &path, json!({ "text": "a" })).await.is(201);
    }
    let refused = server.ask("ada", "POST", &path, json!({ "text": "a" })).await;
    refused.refused(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.ask("bob", "POST", &path, json!({ "text": "a" })).await.is(201);
}

#[tokio::test]
async fn in_large_rooms_owners_write() {
    let server = Server::with(Limits { large_room: 2, ..Limits::default() }, |_| {}).await;
    let room = server.channel("ada", &["bob", "cyd"]).await;
    let path = format!("/v1/rooms/{room}/messages");
    server.ask("bob", "POST", &path, json!({ "text": "a" })).await.refused(403, "restricted_to_owners");
    server.ask("ada", "POST", &path, json!({ "text": "a" })).await.is(201);
}

#[tokio::test]
async fn bodies_are_json_of_a_limited_size() {
    let server = Server::start().await;
    let bearer = [("authorization", "Bearer ada")];
    for (body, words) in [
        (&b""[..], "body: EOF"),
        (b"{", "EOF"),
        (b"{} {}", "trailing"),
        (b"\xff", "body"),
        (b"{\"name\":\"\xff\"}", "name"),
    ] {
        let reply = server.raw("POST", "/v1/rooms", &bearer, body.to_vec()).await;
        let message = reply.refused(400, "malformed");
        assert!(message.contains(words), "{message}");
    }
    let deep = "[".repeat(10_000);
    server.raw("POST", "/v1/rooms", &bearer, deep.into_bytes()).await.refused(400, "malformed");

    let limit = Limits::default().frame_in_bytes as usize;
    let padded = |len: usize| [br#"{"name":"a"}"#, &vec![b' '; len - 12][..]].concat();
    server.raw("POST", "/v1/rooms", &bearer, padded(limit)).await.is(201);
    let reply = server.raw("POST", "/v1/rooms", &bearer, padded(limit + 1)).await;
    assert!(reply.refused(413, "too_large").contains(&limit.to_string()));
    let accounts: Vec<Value> = (0..1_000).map(|nth| json!({ "account": format!("{nth:064}") })).collect();
    server.ask("root", "PUT", "/v1/admin/accounts", json!({ "accounts": accounts })).await.is(200);
}
