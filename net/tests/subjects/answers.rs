//! Refusals, and where answers go and do not go.

use chamberlain_core::id::RequestId;
use chamberlain_core::limits::Limits;
use chamberlain_core::room::Command;
use chamberlain_net::auth::Identity;
use serde_json::json;

use crate::harness::{House, PATIENCE, fresh, next, nothing, refused, with_id};
use crate::nats::Version;

#[tokio::test]
async fn refusals_have_a_code_a_reason_and_words_that_name_the_field() {
    let house = House::start().await;
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let room = ada.channel(&[]).await;
    let long = "x".repeat(70_000);
    for (subject, body, code, reason, words) in [
        (ada.create(), json!({ "name": "  " }).to_string(), "bad_request", "invalid_name", "name"),
        (ada.create(), json!({ "nmae": "x" }).to_string(), "bad_request", "malformed", "unknown field `nmae`"),
        (ada.create(), "{".into(), "bad_request", "malformed", "body: EOF"),
        (ada.create(), json!({ "name": "x", "orgs": ["o"] }).to_string(), "not_found", "unknown_org", "orgs"),
        (
            ada.create(),
            json!({ "name": "x", "users": ["nobody"] }).to_string(),
            "not_found",
            "unknown_account",
            "nobody",
        ),
        (ada.create(), json!({ "name": long }).to_string(), "bad_request", "too_large", "65536"),
        (ada.verb(&room, "member.kick"), "{}".into(), "bad_request", "malformed", "member.add"),
        (ada.verb("short", "member.list"), "{}".into(), "bad_request", "malformed", "17 characters"),
        (ada.verb(&room, "msg.delete"), json!({ "revision": 999 }).to_string(), "not_found", "no_such_message", ""),
        (ada.verb(&room, "member.list"), json!({ "limit": 0 }).to_string(), "bad_request", "too_many", "limit"),
        (ada.verb(&room, "member.remove"), json!({ "orgId": "o" }).to_string(), "not_found", "unknown_org", "orgId"),
        (bob.verb(&room, "member.list"), "{}".into(), "not_found", "not_a_member", ""),
        (bob.verb(&room, "room.rename"), json!({ "name": "x" }).to_string(), "not_found", "not_a_member", ""),
    ] {
        let who = if subject.starts_with("chat.user.bob") { &bob } else { &ada };
        let answer = who.ask_with(subject.clone(), with_id(&fresh()), body).await;
        assert_eq!(refused(&answer), (code, reason), "{subject}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{subject}: {answer}");
    }
}

#[tokio::test]
async fn a_command_without_a_request_id_is_a_bad_request_and_the_same_one_twice_is_done_once() {
    let house = House::start().await;
    let ada = house.person("ada").await;
    let body = json!({ "name": "Lobby" }).to_string();
    for headers in [async_nats::HeaderMap::new(), with_id("7"), with_id("018f4e3c-0000-1000-8000-000000000000")] {
        let answer = ada.ask_with(ada.create(), headers, body.clone()).await;
        assert_eq!(refused(&answer), ("bad_request", "malformed"));
        assert!(answer["error"].as_str().unwrap().starts_with("X-Request-ID: "), "{answer}");
    }
    let id = fresh();
    let first = ada.ask_with(ada.create(), with_id(&id), body.clone()).await;
    let second = ada.ask_with(ada.create(), with_id(&id), body).await;
    assert_eq!(first["roomId"], second["roomId"]);
    let other = ada.ask_with(ada.create(), with_id(&id), json!({ "name": "Other" }).to_string()).await;
    assert_eq!(refused(&other), ("conflict", "request_reused"));
}

#[tokio::test]
async fn who_is_disabled_unknown_or_a_server_is_refused() {
    let house = House::start().await;
    let off = house.person("off").await;
    assert_eq!(refused(&off.ask(off.create(), json!({ "name": "x" })).await), ("forbidden", "account_disabled"));
    let stranger = house.person("stranger").await;
    assert_eq!(
        refused(&stranger.ask(stranger.create(), json!({ "name": "x" })).await),
        ("not_found", "unknown_account")
    );

    // Shut out while connected: the next question is refused.
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let room = ada.channel(&["bob"]).await;
    assert_eq!(bob.ask(bob.verb(&room, "member.list"), json!({})).await["total"], 2);
    let root = Identity { account: "ada".parse().unwrap(), name: None, admin: true, expires: None };
    let command = Command::DisableAccount { account: "bob".parse().unwrap() };
    house.nodes[0].command(&root, RequestId::from_random([9; 16]), command).await.unwrap();
    assert_eq!(refused(&bob.ask(bob.verb(&room, "member.list"), json!({})).await), ("forbidden", "account_disabled"));
}

#[tokio::test]
async fn a_foreign_reply_subject_is_ignored_and_counted() {
    let house = House::start().await;
    let (ada, bob) = (house.person("ada").await, house.person("bob").await);
    let room = ada.channel(&[]).await;
    let mut open_to_all = bob.listen("chat.room.>".into()).await;
    let mut victim = bob.hear(">").await;
    let foreign = ["chat.user.bob.response.1", "_INBOX.bob.1", "chat.room.abcdefghijklmnopq.event", "$SYS.x"];
    // NATS lets a client name any reply subject, whatever it may publish to.
    for reply in foreign {
        let subject = ada.verb(&room, "member.list");
        let headers = with_id(&fresh());
        ada.client.publish_with_reply_and_headers(subject, reply, headers, "{}".into()).await.unwrap();
    }
    let own = ada.verb(&room, "member.add");
    ada.client
        .publish_with_reply_and_headers(ada.verb(&room, "member.list"), own, with_id(&fresh()), "{}".into())
        .await
        .unwrap();
    // The lane is in order: what was asked before has been seen when this is answered.
    ada.ask(ada.verb(&room, "member.list"), json!({})).await;
    assert_eq!(house.figure("chamberlain_subject_replies_ignored_total"), foreign.len() as u64 + 1);
    nothing(&mut victim).await;
    nothing(&mut open_to_all).await;
}

#[tokio::test]
async fn a_message_is_answered_at_its_own_response_subject_and_nowhere_else() {
    let house = House::start().await;
    let ada = house.person("ada").await;
    let room = ada.channel(&[]).await;
    let id = fresh();
    let mut response = ada.hear(&format!("response.{id}")).await;
    let mut mine = ada.hear("mine").await;
    let subject = format!("chat.user.ada.room.{room}.here.msg.send");
    let body = json!({ "text": "hello" }).to_string();
    let reply = "chat.user.ada.mine";
    ada.client.publish_with_reply_and_headers(subject.clone(), reply, with_id(&id), body.into()).await.unwrap();
    assert_eq!(next(&mut response).await["status"], "accepted");
    nothing(&mut mine).await;
    // Without a request id there is no such place: the reply subject gets the refusal.
    ada.client.publish_with_reply(subject, reply, json!({ "text": "x" }).to_string().into()).await.unwrap();
    assert_eq!(refused(&next(&mut mine).await), ("bad_request", "malformed"));
    // The client spells the place.
    let id = fresh().to_uppercase();
    let mut response = ada.hear(&format!("response.{id}")).await;
    let body = json!({ "text": "HELLO" }).to_string();
    ada.client
        .publish_with_headers(format!("chat.user.ada.room.{room}.here.msg.send"), with_id(&id), body.into())
        .await
        .unwrap();
    assert_eq!(next(&mut response).await["status"], "accepted");
    let refusal = ada.send(&room, json!({ "text": "   " })).await;
    assert_eq!(refused(&refusal), ("bad_request", "empty"));
}

#[tokio::test]
async fn a_page_that_is_larger_than_a_message_is_cut() {
    let house = House::start().await;
    let ada = house.person("ada").await;
    let room = ada.channel(&[]).await;
    let text = "x".repeat(18_000);
    for _ in 0..60 {
        assert_eq!(ada.send(&room, json!({ "text": text })).await["status"], "accepted");
    }
    let past = ada.ask(ada.verb(&room, "msg.history"), json!({ "limit": 100 })).await;
    let items = past["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.len() < 60, "{}", items.len());
    assert_eq!(past["more"], true);
    assert_eq!(past["to"], items.last().unwrap()["revision"]);
}

#[tokio::test]
async fn more_requests_than_the_rate_are_refused() {
    let limits = Limits { submits_burst: 5, submits_per_second: 1, ..Limits::default() };
    let house = House::with(Version::Current, 1, limits).await;
    let ada = house.person("ada").await;
    let asked = (0..20).map(|_| ada.ask(ada.create(), json!({ "name": "x" })));
    let answers = tokio::time::timeout(PATIENCE, futures_util::future::join_all(asked)).await.unwrap();
    let late = answers.iter().filter(|answer| answer["reason"] == "rate_limited").count();
    assert!((10..20).contains(&late), "{late} of 20");
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered_and_nothing_after() {
    let mut house = House::start().await;
    let ada = house.person("ada").await;
    let asked: Vec<_> = (0..50).map(|_| ada.ask(ada.create(), json!({ "name": "x" }))).collect();
    let answering = futures_util::future::join_all(asked);
    let closing = async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        house.subjects.pop().unwrap().close().await;
    };
    let (answers, ()) = tokio::time::timeout(PATIENCE, futures_util::future::join(answering, closing)).await.unwrap();
    assert!(answers.iter().all(|answer| answer["status"] == "accepted"), "{answers:?}");
    let later = ada.client.request_with_headers(ada.create(), with_id(&fresh()), "{}".into()).await;
    assert!(later.is_err(), "{later:?}");
}
