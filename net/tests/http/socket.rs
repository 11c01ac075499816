//! The door to the gateway: what a WebSocket handshake must say, and that frames pass afterwards.

use chamberlain_core::wire::{ClientFrame, Codec, Hello, ServerFrame};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::Server;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

#[tokio::test]
async fn a_handshake_must_be_whole() {
    let server = Server::start().await;
    let whole = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut headers: Vec<(&str, &str)> = whole.iter().copied().filter(|(other, _)| *other != name).collect();
        if !value.is_empty() {
            headers.push((name, value));
        }
        headers
    };
    for (headers, status, reason) in [
        (with("upgrade", ""), 426, "malformed"),
        (with("upgrade", "h2c"), 426, "malformed"),
        (with("connection", "keep-alive"), 426, "malformed"),
        (with("sec-websocket-version", "8"), 426, "malformed"),
        (with("sec-websocket-version", ""), 426, "malformed"),
        (with("sec-websocket-key", ""), 400, "malformed"),
        (with("sec-websocket-key", "c2hvcnQ="), 400, "malformed"),
        (with("sec-websocket-protocol", "graphql-ws"), 400, "malformed"),
        (with("origin", "https://evil.example"), 403, "foreign_origin"),
        (with("host", "evil.example"), 403, "foreign_host"),
    ] {
        let reply = server.asked("GET", "/v1/socket", &headers, Value::Null).await;
        assert_eq!((reply.status, reply.body["reason"].as_str()), (status, Some(reason)), "{headers:?}");
    }
    let reply = server.asked("GET", "/v1/socket", &with("sec-websocket-version", "8"), Value::Null).await;
    assert_eq!(reply.header("sec-websocket-version"), Some("13"));
    server.asked("POST", "/v1/socket", &whole, Value::Null).await.refused(405, "no_such_path");
}

#[tokio::test]
async fn frames_pass_in_the_codec_that_the_client_prefers() {
    let server = Server::start().await;
    for (offered, chosen, codec) in [
        (None, None, Codec::Json),
        (Some("chamberlain.v1+json, chamberlain.v1+bincode"), Some("chamberlain.v1+json"), Codec::Json),
        (Some("other, chamberlain.v1+bincode"), Some("chamberlain.v1+bincode"), Codec::Bincode),
    ] {
        let mut request = format!("ws://localhost:{}/v1/socket", server.address.port()).into_client_request().unwrap();
        let own = format!("http://localhost:{}", server.address.port());
        request.headers_mut().insert("origin", own.parse().unwrap());
        if let Some(offered) = offered {
            request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
        }
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let header = answer.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(header, chosen);
        let hello = codec.encode(&ClientFrame::Hello(Hello { token: "ada".into(), batch: true }));
        let hello = match codec {
            Codec::Json => Message::text(String::from_utf8(hello).unwrap()),
            Codec::Bincode => Message::binary(hello),
        };
        socket.send(hello).await.unwrap();
        let welcome = socket.next().await.unwrap().unwrap().into_data();
        let ServerFrame::Welcome(welcome) = codec.decode_server(&welcome).unwrap() else { panic!("no welcome") };
        assert_eq!(welcome.account.as_str(), "ada");
    }
}
