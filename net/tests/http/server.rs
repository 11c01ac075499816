//! Connections: how many, how long, over TLS; how a server stops; and that what is documented is what is there.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::limits::Limits;
use chamberlain_net::server::{HostPolicy, ServerConfig, bind};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{self, RootCertStore};

use crate::harness::Server;

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn every_documented_operation_is_there() {
    let server = Server::start().await;
    let document = server.asked("GET", "/v1/openapi.json", &[], Value::Null).await.is(200);
    assert_eq!(document["paths"], chamberlain_net::server::openapi("any")["paths"]);
    for (template, methods) in document["paths"].as_object().unwrap() {
        let path =
            template.replace("{room}", "00000000000000000").replace("{account}", "nobody").replace("{revision}", "1");
        for method in methods.as_object().unwrap().keys() {
            let reply = server.ask("root", &method.to_uppercase(), &path, Value::Null).await;
            let nothing_there = reply.body["reason"] == "no_such_path" && path != "/v1/admin/backup";
            assert!(!nothing_there && reply.status != 405, "{method} {path} -> {}", reply.status);
        }
        // Nor anything that is not documented.
        for method in ["get", "post", "put", "patch", "delete"] {
            if methods.get(method).is_none() {
                server.ask("root", &method.to_uppercase(), &path, Value::Null).await.refused(405, "no_such_path");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    stream.write_all(&[&request[..], &request[..]].concat()).await.unwrap();
    let mut read = Vec::new();
    while read.windows(4).filter(|end| end == b"\nok\n").count() < 2 {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_harms_nobody() {
    let server = Server::start().await;
    let large = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx-large: {}\r\n\r\n", "x".repeat(64 * 1024));
    for (sent, status) in [("\x16\x03\x01\x02", "400"), ("GET / HTTP/9.9\r\n\r\n", ""), (&large, "431")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may close before it has read all.
        let _closed = stream.write_all(sent.as_bytes()).await;
        let _closed = stream.shutdown().await;
        let mut answer = Vec::new();
        let _reset = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("it ends");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.contains(status), "{answer}");
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("403") && answer.contains("foreign_host"), "{answer}");
    assert_eq!(server.asked("GET", "/healthz", &[], Value::Null).await.status, 200);
}

#[tokio::test]
async fn more_connections_than_configured_wait() {
    let server = Server::with(Limits::default(), |config| config.connections = 2).await;
    let idle = [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
    let third = timeout(Duration::from_millis(200), server.asked("GET", "/healthz", &[], Value::Null)).await;
    assert!(third.is_err());
    drop(idle);
    let third = timeout(SOON, server.asked("GET", "/healthz", &[], Value::Null)).await;
    assert_eq!(third.expect("a connection is free").status, 200);
}

#[tokio::test]
async fn a_server_that_stops_ends_idle_connections_and_takes_no_more() {
    let mut server = Server::start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"ok\n") {
        idle.read_buf(&mut read).await.unwrap();
    }
    let served = server.stop();
    timeout(SOON, served).await.expect("it stops soon").unwrap();
    assert_eq!(idle.read_buf(&mut read).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let server = Server::start().await;
    let taken = bind(ServerConfig::new(server.address)).await;
    assert_eq!(taken.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
}

#[tokio::test]
async fn tls_carries_the_same() {
    let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let server = Server::with(Limits::default(), |config| {
        config.tls = Some(Arc::new(tls));
        config.hosts = HostPolicy::new(["chat.example".to_owned()], []).unwrap();
    })
    .await;

    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    for (origin, status) in [("https://chat.example", "200 OK"), ("http://chat.example", "403 Forbidden")] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("chat.example").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(client.clone()).connect(name, stream).await.unwrap();
        let request =
            format!("GET /healthz HTTP/1.1\r\nhost: chat.example\r\norigin: {origin}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    // Somebody who speaks plain HTTP gets no answer, and the server goes on.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: chat.example\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = timeout(SOON, plain.read_to_end(&mut answer)).await.expect("it ends");
    assert!(!answer.starts_with(b"HTTP"));
}
