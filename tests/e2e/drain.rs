//! SIGTERM: everybody is asked to leave and to come back, what was answered is there, and the process ends by itself.

use std::time::{Duration, Instant};

use chamberlain_core::room::{Command, Reason};
use chamberlain_core::wire::{ClientFrame, Codec};

use crate::harness::load::{Load, UNHURRIED};
use crate::harness::{Client, Server, request_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_under_load_sends_everybody_away_and_loses_nothing() {
    let mut server = Server::start_with(&[], UNHURRIED);
    let mut load = Load::begin(&server, 4, 3).await;

    let mut stopped = Instant::now();
    let byes = load
        .talk(200, || {
            server.terminate();
            stopped = Instant::now();
        })
        .await;
    let code = server.wait();

    // Twice the window of 1.5 s, and what a busy machine adds.
    assert!(stopped.elapsed() < Duration::from_secs(10), "it took {:?} to stop", stopped.elapsed());
    assert_eq!(code, Some(0), "it ended in another way than by itself");
    let mut waits = Vec::new();
    for bye in byes {
        let Some((4013, Some(retry_after_ms))) = bye else { panic!("sent away with {bye:?}") };
        assert!(retry_after_ms <= 2_500, "told to wait {retry_after_ms} ms, which is longer than the window");
        waits.push(retry_after_ms);
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1, "everybody was told to come back at the same moment");

    server.go();
    load.come_back(&server).await;
    load.audit(&server).await;
}

#[tokio::test]
async fn a_server_that_stops_takes_no_more_commands() {
    let mut server = Server::start_with(&[], UNHURRIED);
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &[]).await;
    // A connection that does not leave keeps the server waiting for the window.
    let _idle = tokio::net::TcpStream::connect(server.address).await.unwrap();

    server.terminate();
    ada.until(|ada| ada.bye.is_some()).await;
    let id = request_id();
    if ada.closed.is_none() {
        ada.send(&ClientFrame::Command { id, command: Command::Rename { room, name: "late".into() } }).await;
    }
    assert_eq!(ada.until_closed().await, 4013);

    if let Some(Err(refusal)) = ada.answers.get(&id) {
        assert_eq!(refusal.reason, Reason::Draining);
    }
    assert!(!matches!(ada.answers.get(&id), Some(Ok(_))), "a command was taken after the goodbye");
    let ready = server.get("/readyz");
    assert!(ready.as_ref().is_none_or(|(status, _)| *status == 503), "still ready: {ready:?}");
    assert_eq!(server.wait(), Some(0));
    server.go();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    ada.enter(room).await;
    assert_eq!(ada.rooms[&room].view.as_ref().unwrap().name, "garden");
}
