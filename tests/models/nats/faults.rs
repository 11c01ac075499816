//! What the simulated server does when it is killed, paused, robbed of its power or given another disk, and to who is slow.

use std::time::Duration;

use chamberlain_core::id::Revision;
use chamberlain_sim_nats::Syncing as When;
use chamberlain_stores::conformance::Writer;
use chamberlain_stores::jetstream::{JetStream, Options, Syncing};
use chamberlain_stores::{Appended, Conflict, LogStore, StoreError};
use tokio::io::AsyncReadExt;

use super::raw::Raw;
use super::server::Simulated;
use super::{append, open, options, until_it_answers};

/// How a client introduces itself that wants no more said than must be.
const QUIET: &str = r#"{"verbose":false,"pedantic":false}"#;

async fn head(logs: &JetStream, writer: &Writer) -> chamberlain_core::log::Head {
    until_it_answers(async || LogStore::head(logs, writer.log()).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_syncs_late_forgets_with_the_power_what_it_acknowledged() {
    for (syncing, forgets) in [(When::LAZY, true), (When::Always, false)] {
        let mut server = Simulated::start_with(|config| config.syncing = syncing).await;
        let logs = open(server.url()).await;
        let mut room = Writer::of_room("power", 1);
        append(&logs, &mut room, 2, 100).await;
        // Ended in order, it syncs.
        server.stop().await;
        server.start_again().await;
        head(&logs, &room).await;
        let before = room.head();
        append(&logs, &mut room, 1, 100).await;
        assert_eq!(server.disk.unsynced(), usize::from(forgets));
        server.kill().await;
        server.disk.lose_unsynced();
        server.start_again().await;
        assert_eq!(head(&logs, &room).await, if forgets { before } else { room.head() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_loses_nothing_that_it_wrote() {
    let mut server = Simulated::start_with(|config| config.syncing = When::LAZY).await;
    let logs = open(server.url()).await;
    let mut room = Writer::of_room("killed", 1);
    append(&logs, &mut room, 2, 100).await;
    server.kill().await;
    server.start_again().await;
    assert_eq!(head(&logs, &room).await, room.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_comes_by_itself_in_time() {
    let often = When::Every(Duration::from_millis(20));
    let server = Simulated::start_with(|config| config.syncing = often).await;
    let logs = open(server.url()).await;
    append(&logs, &mut Writer::of_room("in time", 1), 1, 100).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.disk.unsynced(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_disk_brings_an_older_head_back() {
    let mut server = Simulated::start().await;
    let logs = open(server.url()).await;
    let mut room = Writer::of_room("restored", 1);
    append(&logs, &mut room, 2, 100).await;
    let (backup, then) = (server.disk.copy(), room.head());
    append(&logs, &mut room, 3, 100).await;
    server.kill().await;
    server.disk.restore(&backup);
    server.start_again().await;
    assert_eq!(head(&logs, &room).await, then);
    let (record, after) = room.next(1, 10);
    let appended = logs.append(room.log(), room.head(), record, after).await;
    assert_eq!(appended, Ok(Appended::Conflict(Conflict { head: then })));
    // Others go on where it ends now.
    let mut other = Writer::of_room("restored", 2);
    other.set_head(then);
    append(&logs, &mut other, 1, 100).await;
    assert_eq!(head(&logs, &room).await, other.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loses_its_disk_says_nothing_more() {
    let server = Simulated::start().await;
    let hasty = Duration::from_millis(100);
    let hasty = Options { request: hasty, operation: 2 * hasty, ..options(server.url()) };
    let logs = JetStream::open(hasty).await.unwrap();
    let room = Writer::of_room("lost", 1);
    server.disk.restore(&server.disk.copy());
    let answer = LogStore::head(&logs, room.log()).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_keeps_its_connections_and_goes_on() {
    let server = Simulated::start().await;
    let hasty = Duration::from_millis(200);
    let hasty = Options { request: hasty, operation: 2 * hasty, ..options(server.url()) };
    let logs = JetStream::open(hasty).await.unwrap();
    let mut room = Writer::of_room("paused", 1);
    append(&logs, &mut room, 1, 10).await;
    server.server().pause(true);
    let (record, after) = room.next(1, 10);
    let outcome = logs.append(room.log(), room.head(), record.clone(), after).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    server.server().pause(false);
    // What was sent meanwhile is taken now.
    while head(&logs, &room).await != after {}
    let again = logs.append(room.log(), room.head(), record, after).await;
    assert_eq!(again, Ok(Appended::Conflict(Conflict { head: after })));
    assert_eq!(server.server().statistics().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_body_is_nowhere_on_the_disk() {
    for syncing in [When::Always, When::LAZY] {
        let mut server = Simulated::start_with(|config| config.syncing = syncing).await;
        let lax = Options { syncing: Syncing::Lax, ..options(server.url()) };
        let logs = JetStream::open(lax).await.unwrap();
        // The stream itself is there for good.
        server.stop().await;
        server.start_again().await;
        let mut room = Writer::of_room("erased", 1);
        head(&logs, &room).await;
        let (record, after) = room.next(1, 64);
        let body = record.bytes[record.bytes.len() - 64..].to_vec();
        logs.append(room.log(), room.head(), record, after).await.unwrap();
        room.set_head(after);
        assert!(server.disk.holds(&body));
        logs.erase(room.log(), Revision(1)).await.unwrap();
        assert!(!server.disk.holds(&body));
        server.kill().await;
        server.disk.lose_unsynced();
        server.start_again().await;
        assert!(!server.disk.holds(&body));
        // Erasing synced the records beside it.
        assert_eq!(head(&logs, &room).await, room.head());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_is_cut_off_and_nobody_else() {
    let server = Simulated::start_with(|config| config.limits.pending = 100_000).await;
    let mut slow = Raw::connect(&server.url(), "{}").await;
    slow.say("SUB a 1\r\nPING\r\n").await;
    while slow.frame(Duration::from_secs(5)).await.as_deref() != Some("PONG") {}
    let mut loud = Raw::connect(&server.url(), "{}").await;
    let payload = "x".repeat(50_000);
    for _ in 0..1_000 {
        if server.server().statistics().slow_consumers > 0 {
            break;
        }
        loud.say(&format!("PUB a {}\r\n{payload}\r\nPING\r\n", payload.len())).await;
        while loud.frame(Duration::from_secs(5)).await.as_deref() != Some("PONG") {}
    }
    assert_eq!(server.server().statistics().slow_consumers, 1);
    // What was under way may arrive; then there is an end.
    let mut rest = Vec::new();
    let _broken = slow.stream.read_to_end(&mut rest).await;
    loud.say("PING\r\n").await;
    assert_eq!(loud.frame(Duration::from_secs(5)).await.as_deref(), Some("PONG"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_beyond_a_limit_is_refused_in_the_servers_words() {
    let server = Simulated::start_with(|config| {
        config.limits.connections = 2;
        config.limits.subscriptions = 2;
        config.limits.streams = 1;
        config.limits.messages = 2;
        config.limits.consumers = 1;
    })
    .await;
    let (mut one, _two) = (Raw::connect(&server.url(), QUIET).await, Raw::connect(&server.url(), QUIET).await);
    let mut third = String::new();
    let mut stream = tokio::net::TcpStream::connect(server.server().address()).await.unwrap();
    stream.read_to_string(&mut third).await.unwrap();
    assert!(third.ends_with("-ERR 'maximum connections exceeded'\r\n"), "{third}");
    one.say("SUB a 1\r\nSUB _I 2\r\nSUB c 3\r\n").await;
    assert_eq!(one.frame(Duration::from_secs(5)).await.unwrap(), "-ERR 'maximum subscriptions exceeded'");
    for (subject, payload, words) in [
        ("$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#, "did_create"),
        ("$JS.API.STREAM.CREATE.T", r#"{"name":"T","subjects":["t.>"]}"#, "maximum number of streams reached"),
        ("s.1", "x", "\"seq\":1"),
        ("s.1", "x", "\"seq\":2"),
        ("s.1", "x", "maximum messages exceeded"),
        ("$JS.API.CONSUMER.CREATE.S", r#"{"stream_name":"S","config":{}}"#, "consumer_create_response"),
        ("$JS.API.CONSUMER.CREATE.S", r#"{"stream_name":"S","config":{}}"#, "maximum consumers limit reached"),
        ("$JS.API.STREAM.CREATE.T", r#"{"name":"T","max_age":1}"#, "not simulated: max_age"),
        ("$JS.API.STREAM.SNAPSHOT.S", "{}", "not simulated"),
    ] {
        one.say(&format!("PUB {subject} _I {}\r\n{payload}\r\n", payload.len())).await;
        let said = one.frame(Duration::from_secs(5)).await.unwrap();
        assert!(said.contains(words), "{subject} {payload}: {said}");
    }
}
