//! Who may come in: tokens, hosts, origins, versions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chamberlain_core::room::Reason;
use chamberlain_core::wire::{ClientFrame, Codec, Hello};
use serde_json::json;

use crate::harness::{Client, Server, account, token};

const SECRET: &str = "a secret of the tests, and of nobody else";

/// A server that takes signed tokens, without leeway.
fn signed() -> Server {
    let mut server =
        Server::new(&[], "[auth]\nmode = \"jwt\"\naudience = \"rooms\"\nissuer = \"tests\"\nleeway_s = 0\n");
    server.environment("CHAMBERLAIN_AUTH__HMAC_SECRET", SECRET);
    server.go();
    server
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(name: &str, ends_in_s: i64) -> serde_json::Value {
    json!({"sub": name, "aud": "rooms", "iss": "tests", "exp": now_s().saturating_add_signed(ends_in_s)})
}

fn good(name: &str, ends_in_s: i64) -> String {
    token(SECRET, &claims(name, ends_in_s))
}

async fn hello(server: &Server, token: &str) -> Client {
    let mut client = Client::dial(server.address, "ada", Codec::Json).await;
    client.send(&ClientFrame::Hello(Hello { token: token.into(), batch: true })).await;
    client.until_answered().await;
    client
}

#[tokio::test]
async fn only_a_token_that_verifies_opens_a_connection() {
    let server = signed();
    let with = |field: &str, value: serde_json::Value| {
        let mut claims = claims("ada", 600);
        claims[field] = value;
        token(SECRET, &claims)
    };
    let unsigned = {
        let whole = good("ada", 600);
        format!("{}.", whole.rsplit_once('.').unwrap().0)
    };
    for (what, token, reason) in [
        ("a name", "ada".to_owned(), Reason::InvalidToken),
        ("nothing", String::new(), Reason::InvalidToken),
        ("another's secret", token("another secret, which is just as long", &claims("ada", 600)), Reason::InvalidToken),
        ("no signature", unsigned, Reason::InvalidToken),
        ("another audience", with("aud", json!("mail")), Reason::InvalidToken),
        ("another issuer", with("iss", json!("strangers")), Reason::InvalidToken),
        ("no end", with("exp", json!(null)), Reason::InvalidToken),
        ("no account", with("sub", json!(null)), Reason::InvalidToken),
        ("an account that cannot be", with("sub", json!("Ada Lovelace")), Reason::InvalidToken),
        ("not yet", with("nbf", json!(now_s() + 600)), Reason::InvalidToken),
        ("expired", good("ada", -10), Reason::TokenExpired),
    ] {
        let mut client = hello(&server, &token).await;
        assert!(client.welcome.is_none(), "{what}: welcome");
        assert_eq!(client.refusals[0].reason, reason, "{what}: {}", client.refusals[0].message);
        assert_eq!(client.refusals[0].code, super::documented(reason));
        assert!(
            token.len() < 20 || !client.refusals[0].message.contains(&token[10..20]),
            "{what}: the token is repeated"
        );
        assert_eq!(client.until_closed().await, 4001, "{what}");
        // The same over HTTP.
        let bearer = format!("Bearer {token}");
        let (status, body) = server.http("GET", "/v1/accounts/me/rooms", &[("Authorization", &bearer)], "").unwrap();
        assert_eq!(status, 401, "{what}: {body}");
        let refusal: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(refusal["code"], "unauthenticated", "{what}: {body}");
    }
    let mut ada = hello(&server, &good("ada", 600)).await;
    assert_eq!(ada.welcome.as_ref().unwrap().account, account("ada"));
    ada.settle().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_a_newer_one_came_in_time() {
    let server = signed();
    let mut lapses = hello(&server, &good("ada", 4)).await;
    let mut renewed = hello(&server, &good("bob", 4)).await;
    let mut impostor = hello(&server, &good("cyd", 600)).await;
    let mut careless = hello(&server, &good("dan", 600)).await;

    renewed.send(&ClientFrame::Refresh { token: good("bob", 600) }).await;
    renewed.settle().await;
    impostor.send(&ClientFrame::Refresh { token: good("ada", 600) }).await;
    careless.send(&ClientFrame::Refresh { token: "nonsense".into() }).await;

    assert_eq!(impostor.until_closed().await, 4001, "another's token");
    assert_eq!(impostor.refusals[0].reason, Reason::InvalidToken);
    assert_eq!(careless.until_closed().await, 4001, "no token");
    assert_eq!(lapses.until_closed().await, 4001, "the token has ended");
    assert_eq!(lapses.bye.map(|bye| bye.0), Some(4001));
    // Beyond the end of the first token.
    while now_s() < renewed.welcome.as_ref().unwrap().expires.unwrap().0 / 1_000 + 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    renewed.settle().await;
    assert!(renewed.closed.is_none(), "a newer token came in time");
}

#[tokio::test]
async fn a_foreign_page_and_a_foreign_name_are_kept_out_of_sockets_and_of_the_api() {
    let server = Server::start_with(&[], "allowed_origins = [\"https://app.example\"]\n");
    let port = server.address.port();
    let own = format!("http://127.0.0.1:{port}");
    let local = format!("localhost:{port}");
    for (what, headers, expected) in [
        ("another page", vec![("Origin", "https://evil.example")], Some("foreign_origin")),
        ("a page of nothing", vec![("Origin", "null")], Some("foreign_origin")),
        ("a page of another port", vec![("Origin", "http://127.0.0.1:1")], Some("foreign_origin")),
        ("another name", vec![("Host", "evil.example")], Some("foreign_host")),
        (
            "another name and its page",
            vec![("Host", "evil.example"), ("Origin", "http://evil.example")],
            Some("foreign_host"),
        ),
        ("our page", vec![("Origin", own.as_str())], None),
        ("a page that was allowed", vec![("Origin", "https://app.example")], None),
        ("this machine by name", vec![("Host", local.as_str())], None),
        ("no page", vec![], None),
    ] {
        let (status, body) = server.upgrade("13", Some("chamberlain.v1+json"), &headers);
        let mut signed = headers.clone();
        signed.push(("Authorization", "Bearer ada"));
        let (api_status, api_body) = server.http("GET", "/v1/accounts/me/rooms", &signed, "").unwrap();
        match expected {
            None => assert_eq!((status, api_status), (101, 200), "{what}: {body} {api_body}"),
            Some(reason) => {
                for (status, body) in [(status, body), (api_status, api_body)] {
                    assert_eq!(status, 403, "{what}: {body}");
                    let refusal: serde_json::Value = serde_json::from_str(&body).unwrap();
                    assert_eq!((&refusal["code"], &refusal["reason"]), (&json!("forbidden"), &json!(reason)), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_socket_speaks_a_protocol_and_a_version_that_the_server_knows() {
    let server = Server::start();
    for (what, version, protocol, status) in [
        ("an unknown subprotocol", "13", Some("chamberlain.v9+xml"), 400),
        ("no subprotocol, which is JSON", "13", None, 101),
        ("an old version", "8", Some("chamberlain.v1+json"), 426),
        ("both codecs", "13", Some("chamberlain.v1+json, chamberlain.v1+bincode"), 101),
        ("one unknown, one known", "13", Some("chat, chamberlain.v1+json"), 101),
    ] {
        let answer = server.upgrade(version, protocol, &[]);
        assert_eq!(answer.0, status, "{what}: {}", answer.1);
    }
    let (status, body) = server.get("/v1/socket").unwrap();
    assert!(status == 400 || status == 426, "no upgrade at all: {status} {body}");
}

#[tokio::test]
async fn the_api_refuses_in_the_same_words() {
    let server = Server::start();
    let signed = [("Authorization", "Bearer ada"), ("Content-Type", "application/json")];
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    let refused = |method: &str, path: &str, body: &str, status: u16, reason: &str| {
        let (got, answer) = server.http(method, path, &signed, body).unwrap();
        assert_eq!(got, status, "{method} {path}: {answer}");
        let refusal: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(refusal["reason"], reason, "{method} {path}: {answer}");
        assert!(refusal["message"].as_str().is_some_and(|message| !message.is_empty()));
    };
    refused("GET", "/v1/nothing", "", 404, "no_such_path");
    refused("GET", "/v1/rooms/00000000000000000", "", 404, "not_a_member");
    refused("GET", &format!("/v1/rooms/{room}/messages?before=5&after=5"), "", 400, "invalid_range");
    refused("POST", "/v1/rooms", "{", 400, "malformed");
    let unsigned = server.get("/v1/accounts/me/rooms").unwrap();
    assert_eq!(unsigned.0, 401, "{}", unsigned.1);
}
