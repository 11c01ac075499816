//! Logs in JetStream, on real servers: what they must do, and what must hold when servers are killed, paused, or strange.

#[path = "support/nats.rs"]
mod nats;
#[path = "support/tape.rs"]
mod tape;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Head, RecordBytes, erase_body};
use chamberlain_stores::conformance::{self, Writer};
use chamberlain_stores::directory::LoggedDirectory;
use chamberlain_stores::directory::memory::MemoryTables;
use chamberlain_stores::jetstream::{Credentials, JetStream, OpenError, Options, Storage, Syncing};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Appended, LogStore, StoreError, Stores};
use nats::{Server, Version};
use tokio::sync::broadcast::error::RecvError;

const ALL: usize = usize::MAX;

/// How long opening may take where it is to fail.
const PATIENCE: Duration = Duration::from_secs(3);

/// One account for logs, and the system's.
const ACCOUNTS: &str = "accounts {
    SYS { users: [{ user: system, password: secret }] }
    ROOMS { jetstream: enabled, users: [{ user: chamberlain, password: secret }] }
}
system_account: SYS";

fn credentials_of(user: &str) -> Credentials {
    Credentials::Password { user: user.into(), password: "secret".into() }
}

fn options(server: &Server) -> Options {
    Options::new("home".parse().expect("a site"), server.url(), Syncing::Promised)
}

async fn open(server: &Server) -> JetStream {
    JetStream::open(options(server)).await.expect("opened")
}

impl tape::Played for Server {
    async fn open(&self) -> JetStream {
        open(self).await
    }

    async fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again();
    }
}

/// Logs in JetStream, the directory's among them, the rest in memory.
fn stores(logs: &JetStream) -> Stores {
    let logs = Arc::new(logs.clone());
    let directory = LoggedDirectory::new(logs.clone(), Arc::new(MemoryTables::new()), 64 * 1024);
    Stores { logs, directory: Arc::new(directory), ..MemoryStores::new().stores() }
}

async fn records(logs: &dyn LogStore, log: &LogId) -> Vec<RecordBytes> {
    until_it_answers(async || logs.read(log, Revision::ZERO, ALL).await).await
}

/// The answer, once the store is available.
async fn until_it_answers<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Err(StoreError::Unavailable(why)) => {
                assert!(started.elapsed() < Duration::from_secs(20), "still unavailable: {why}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answered => return answered.expect("answered"),
        }
    }
}

/// Appends until it is done, as a sequencer does that reads back what it does not know.
async fn append(logs: &dyn LogStore, writer: &mut Writer, events: usize, body_bytes: usize) -> RecordBytes {
    let (record, after) = writer.next(events, body_bytes);
    loop {
        match logs.append(writer.log(), writer.head(), record.clone(), after).await {
            Ok(Appended::Done(head)) => assert_eq!(head, after),
            Ok(Appended::Conflict(conflict)) => assert_eq!(conflict.head, after, "somebody else wrote"),
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(why) => panic!("{why}"),
        }
        writer.set_head(after);
        return record;
    }
}

/// Erases until it is done.
async fn erase(logs: &dyn LogStore, log: &LogId, revision: Revision) {
    while let Err(why) = logs.erase(log, revision).await {
        assert!(matches!(why, StoreError::Unavailable(_) | StoreError::Unknown(_)), "{why}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jetstream_conforms() {
    let server = Server::start();
    let logs = open(&server).await;
    conformance::run(async || stores(&logs)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jetstream_of_an_old_server_conforms_where_the_operator_insists() {
    let server = Server::start_with(Version::Old, "");
    let refused = JetStream::open(options(&server)).await.err();
    assert_eq!(refused, Some(OpenError::TooOld { version: "2.9.10".into() }));
    let logs = JetStream::open(Options { syncing: Syncing::Lax, ..options(&server) }).await.expect("opened");
    conformance::run(async || stores(&logs)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_conform_and_keep_what_was_acknowledged_while_each_is_killed_in_turn() {
    let mut servers = Server::start_cluster(ACCOUNTS);
    let options = Options {
        credentials: credentials_of("chamberlain"),
        syncing: Syncing::Asked(credentials_of("system")),
        servers: servers.iter().map(Server::url).collect(),
        replicas: 3,
        opening: Duration::from_secs(30),
        ..options(&servers[0])
    };
    let logs = JetStream::open(options.clone()).await.expect("opened");
    conformance::run(async || stores(&logs)).await;
    let writing = tokio::spawn(async move {
        let mut room = Writer::of_room("three", 1);
        let mut written = Vec::new();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(12) {
            written.push(append(&logs, &mut room, 2, 200).await);
        }
        (room, written)
    });
    for server in &mut servers {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.start_again();
        // Two of three must have caught up before the next may be missed.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let (room, written) = writing.await.expect("wrote");
    let fresh = JetStream::open(options).await.expect("opened");
    let read = records(&fresh, room.log()).await;
    assert_eq!(read, written);
    assert_eq!(room.verify(&read), Some(room.head()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_or_erased_stays_so_when_the_server_is_killed() {
    const ROUNDS: u64 = 6;
    let mut server = Server::start();
    let logs = open(&server).await;
    let writing: Vec<_> = (0..4)
        .map(|nth| {
            let logs = logs.clone();
            tokio::spawn(async move {
                let mut room = Writer::of_room(&format!("killed {nth}"), nth);
                let mut written = Vec::new();
                let mut erased = Vec::new();
                let started = Instant::now();
                while started.elapsed() < Duration::from_millis(600 * ROUNDS) {
                    let record = append(&logs, &mut room, 1 + nth as usize, 700).await;
                    if written.len() % 4 == 0 {
                        erase(&logs, room.log(), record.last).await;
                        // The last body of a record is the end of its bytes.
                        erased.push(record.bytes.slice(record.bytes.len() - 700..));
                        written.push(erase_body(&record, record.last).expect("a body"));
                    } else {
                        written.push(record);
                    }
                }
                (room, written, erased)
            })
        })
        .collect();
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(200 + 37 * round)).await;
        server.kill();
        server.start_again();
    }
    // Nothing that this process remembers of the server, and nothing that the server has not on its disk.
    let mut all = Vec::new();
    for writing in writing {
        all.push(writing.await.expect("wrote"));
    }
    server.kill();
    server.start_again();
    let logs = open(&server).await;
    for (room, written, erased) in all {
        for body in erased.iter().step_by(1 + erased.len() / 4) {
            assert!(!somewhere_in(&server.data(), body), "an erased body is in a file");
        }
        assert!(written.len() > 5, "{} records", written.len());
        let read = records(&logs, room.log()).await;
        assert_eq!(read, written);
        assert_eq!(room.verify(&read), Some(room.head()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_write_one_log_each_extends_the_other() {
    let server = Server::start();
    let nodes = [open(&server).await, open(&server).await];
    let writing = [1, 2].map(|tag| {
        let logs = nodes[tag as usize - 1].clone();
        tokio::spawn(async move {
            let mut writer = Writer::of_room("two nodes", tag);
            let mut done = Vec::new();
            while done.len() < 60 {
                let (record, after) = writer.next(1 + done.len() % 3, 100);
                match logs.append(writer.log(), writer.head(), record.clone(), after).await.expect("answered") {
                    Appended::Done(head) => {
                        writer.set_head(head);
                        done.push(record);
                    }
                    Appended::Conflict(conflict) => writer.set_head(conflict.head),
                }
            }
            done
        })
    });
    let mut done = Vec::new();
    for writing in writing {
        done.extend(writing.await.expect("wrote"));
    }
    done.sort_by_key(|record| record.first);
    let reader = Writer::of_room("two nodes", 0);
    for logs in &nodes {
        let read = records(logs, reader.log()).await;
        assert_eq!(read, done);
        assert_eq!(reader.verify(&read), logs.head(reader.log()).await.ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_is_not_stored() {
    let server = Server::start();
    let logs = open(&server).await;
    let client = async_nats::connect(server.url()).await.expect("connected");
    let mut room = Writer::of_room("duplicate", 1);
    append(&logs, &mut room, 1, 10).await;
    // Another message has the id that the next record will have.
    let (record, after) = room.next(2, 10);
    let other = Writer::of_room("something else", 2);
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{}:{}", room.log(), after.digest));
    headers.insert("Chamberlain", format!("1 head 1 1 {}", after.digest));
    let LogId::Room(id) = other.log() else { panic!("a room") };
    let subject = format!("chamberlain.home.log.room.{id}");
    let answer = client.request_with_headers(subject, headers, "".into()).await.expect("answered");
    assert!(!String::from_utf8_lossy(&answer.payload).contains("error"), "{answer:?}");
    let appended = logs.append(room.log(), room.head(), record.clone(), after).await;
    assert_eq!(appended, Ok(Appended::Done(after)));
    let read = records(&logs, room.log()).await;
    assert_eq!((read.len(), &read[1]), (2, &record));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_body_is_in_no_file_of_the_server() {
    let mut server = Server::start();
    let logs = open(&server).await;
    let mut room = Writer::of_room("erased", 1);
    let mut written = Vec::new();
    for _ in 0..5 {
        written.push(append(&logs, &mut room, 2, 64).await);
    }
    // The last body of a record is the end of its bytes; the one before ends 37 bytes of head and 64 of body earlier.
    let body = |record: usize, nth: usize| {
        let bytes = &written[record].bytes;
        let end = bytes.len() - (1 - nth) * (37 + 64);
        bytes[end - 64..end].to_vec()
    };
    let all: Vec<(u64, Vec<u8>)> = (0..5)
        .flat_map(|record| (0..2).map(move |nth| (record, nth)))
        .map(|(r, n)| (1 + 2 * r as u64 + n as u64, body(r, n)))
        .collect();
    for (_, body) in &all {
        assert!(somewhere_in(&server.data(), body));
    }
    // In the middle, twice in one record, at the end.
    let erased = [4, 5, 6, 10];
    for revision in erased {
        logs.erase(room.log(), Revision(revision)).await.expect("erased");
        for (revision, body) in all.iter().filter(|(at, _)| erased.contains(at) && *at <= revision) {
            assert!(!somewhere_in(&server.data(), body), "the body at {revision} is in a file");
        }
    }
    server.kill();
    server.start_again();
    let fresh = open(&server).await;
    for logs in [&logs, &fresh] {
        let read = records(logs, room.log()).await;
        assert_eq!(room.verify(&read), Some(room.head()));
        assert_eq!(until_it_answers(async || logs.head(room.log()).await).await, room.head());
        for (revision, body) in &all {
            let gone = erased.contains(revision);
            assert_eq!(read.iter().any(|record| holds(&record.bytes, body)), !gone, "revision {revision}");
            assert_eq!(somewhere_in(&server.data(), body), !gone, "revision {revision}");
        }
    }
    append(&fresh, &mut room, 1, 64).await;
    append(&logs, &mut room, 1, 64).await;
    assert_eq!(room.verify(&records(&fresh, room.log()).await), Some(room.head()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_was_cut_off_is_finished_by_the_next() {
    let server = Server::start();
    let logs = open(&server).await;
    let client = async_nats::connect(server.url()).await.expect("connected");
    let mut room = Writer::of_room("cut off", 1);
    let first = append(&logs, &mut room, 2, 64).await;
    let LogId::Room(id) = room.log().clone() else { panic!("a room") };
    // Only the first step was taken: the record without a body is there, and the one with it too.
    let without = erase_body(&first, Revision(1)).expect("a body");
    let head = room.head();
    let mut headers = HeaderMap::new();
    headers.insert("Chamberlain", format!("1 record 1 2 {}", head.digest));
    let subject = format!("chamberlain.home.rewritten.room.{id}.1");
    client.request_with_headers(subject, headers, without.bytes.clone()).await.expect("answered");
    assert_eq!(records(&logs, room.log()).await, std::slice::from_ref(&first));
    // Another body of the record is erased: the one of the first attempt is not brought back.
    logs.erase(room.log(), Revision(2)).await.expect("erased");
    let both = erase_body(&without, Revision(2)).expect("a body");
    assert_eq!(records(&logs, room.log()).await, std::slice::from_ref(&both));
    logs.erase(room.log(), Revision(1)).await.expect("erased");
    assert_eq!(records(&logs, room.log()).await, [both]);
    for body in [&first.bytes[first.bytes.len() - 64..], &first.bytes[first.bytes.len() - 165..first.bytes.len() - 101]]
    {
        assert!(!somewhere_in(&server.data(), body));
    }
    append(&logs, &mut room, 1, 64).await;
    assert_eq!(room.verify(&records(&logs, room.log()).await), Some(room.head()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_one_record_are_erased_at_once_by_many() {
    let server = Server::start();
    let nodes = [open(&server).await, open(&server).await];
    let mut room = Writer::of_room("at once", 1);
    append(&nodes[0], &mut room, 12, 64).await;
    let erasing: Vec<_> = (1..=12)
        .map(|revision| {
            let (logs, log) = (nodes[revision % 2].clone(), room.log().clone());
            tokio::spawn(async move { logs.erase(&log, Revision(revision as u64)).await })
        })
        .collect();
    let more = append(&nodes[0], &mut room, 1, 64).await;
    for erasing in erasing {
        assert_eq!(erasing.await.expect("ran"), Ok(()));
    }
    let read = records(&nodes[1], room.log()).await;
    assert_eq!((read.len(), read.last()), (2, Some(&more)));
    for revision in 1..=12 {
        assert_eq!(erase_body(&read[0], Revision(revision)).as_ref(), Ok(&read[0]));
    }
    assert_eq!(room.verify(&read), Some(room.head()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_beyond_the_servers_limit_is_refused_by_name() {
    let server = Server::start_with(Version::Current, "max_payload: 65536");
    let refused = JetStream::open(options(&server)).await.err();
    assert!(matches!(refused, Some(OpenError::MaxPayload { given: 65_536, .. })), "{refused:?}");
    let logs = JetStream::open(Options { record_bytes: 60_000, ..options(&server) }).await.expect("opened");
    let mut room = Writer::of_room("large", 1);
    let (record, after) = room.next(1, 70_000);
    let outcome = logs.append(room.log(), room.head(), record, after).await;
    let Err(StoreError::Invalid(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("max_payload"), "{why}");
    assert_eq!(logs.head(room.log()).await, Ok(Head::EMPTY));
    append(&logs, &mut room, 1, 60_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_differs_is_refused_by_the_name_of_the_field() {
    let server = Server::start();
    let client = async_nats::connect(server.url()).await.expect("connected");
    let create = async |site: &str, more: &str| {
        let root = format!("chamberlain.{site}");
        let config = format!(
            r#"{{"name":"CHAMBERLAIN_{site}","subjects":["{root}.log.>","{root}.rewritten.>"],"num_replicas":1,
                "retention":"limits","storage":"file","max_msgs":-1,"max_msgs_per_subject":-1,"allow_direct":true,
                "deny_purge":true,"republish":{{"src":"{root}.log.>","dest":"{root}.moved.>","headers_only":true}},{more}}}"#
        );
        let subject = format!("$JS.API.STREAM.CREATE.CHAMBERLAIN_{site}");
        let answer = client.request(subject, config.into()).await.expect("answered");
        assert!(!String::from_utf8_lossy(&answer.payload).contains("error"), "{answer:?}");
    };
    for (site, more, field) in [
        ("one", r#""discard":"old""#, Some("discard")),
        ("two", r#""discard":"new","max_age":1000000000000"#, Some("max_age")),
        ("three", r#""discard":"new","allow_rollup_hdrs":true,"deny_purge":false"#, Some("allow_rollup_hdrs")),
        ("four", r#""discard":"new","description":"made by hand""#, None),
    ] {
        create(site, more).await;
        let opened = JetStream::open(Options { site: site.parse().expect("a site"), ..options(&server) }).await;
        let differing = opened.err().map(|why| match why {
            OpenError::Differs { field, .. } => field,
            other => panic!("{other}"),
        });
        assert_eq!(differing.as_deref(), field);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_memory_is_made_only_where_the_operator_insists() {
    let server = Server::start();
    let memory = Options { storage: Storage::Memory, ..options(&server) };
    assert!(matches!(JetStream::open(memory.clone()).await.err(), Some(OpenError::Option(_))));
    let logs = JetStream::open(Options { syncing: Syncing::Lax, ..memory }).await.expect("opened");
    append(&logs, &mut Writer::of_room("memory", 1), 1, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_in_is_let_in_and_nobody_else() {
    let server = Server::start_with(Version::Current, "authorization { user: chamberlain, password: secret }");
    assert!(matches!(JetStream::open(options(&server)).await.err(), Some(OpenError::Unreachable(_))));
    let named = vec![server.url().replacen("//", "//chamberlain:secret@", 1)];
    let why = JetStream::open(Options { servers: named, ..options(&server) }).await.err().expect("refused");
    assert!(matches!(&why, OpenError::Option(_)) && !why.to_string().contains("secret"), "{why}");
    let credentials = credentials_of("chamberlain");
    assert!(!format!("{credentials:?}").contains("secret"));
    let logs = JetStream::open(Options { credentials, ..options(&server) }).await.expect("opened");
    append(&logs, &mut Writer::of_room("signed in", 1), 1, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_asked_whether_they_sync() {
    let asking = |server: &Server, user: &str| {
        let asked = Syncing::Asked(credentials_of(user));
        JetStream::open(Options {
            credentials: credentials_of("chamberlain"),
            syncing: asked,
            opening: PATIENCE,
            ..options(server)
        })
    };
    let server = Server::start_with(Version::Current, ACCOUNTS);
    append(&asking(&server, "system").await.expect("opened"), &mut Writer::of_room("asked", 1), 1, 10).await;
    assert!(matches!(asking(&server, "chamberlain").await.err(), Some(OpenError::Unverified(_))));
    assert!(matches!(asking(&server, "nobody").await.err(), Some(OpenError::Unverified(_))));
    let lax = Server::start_with(Version::Lax, ACCOUNTS);
    assert_eq!(asking(&lax, "system").await.err(), Some(OpenError::SyncsLate { server: "test".into() }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_is_trusted_by_who_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
    };
    std::fs::write(&certificate, pem("CERTIFICATE", made.cert.der())).expect("written");
    std::fs::write(&key, pem(concat!("PRIVATE", " KEY"), &made.signing_key.serialize_der())).expect("written");
    let files = format!("cert_file: \"{}\"\n key_file: \"{}\"", certificate.display(), key.display());
    let server = Server::start_with(Version::Current, &format!("tls {{ {files} }}"));
    assert!(matches!(JetStream::open(options(&server)).await.err(), Some(OpenError::Unreachable(_))));
    let logs = JetStream::open(Options { trust: vec![certificate], ..options(&server) }).await.expect("opened");
    append(&logs, &mut Writer::of_room("sealed wire", 1), 1, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_address_is_said_in_time() {
    let mut server = Server::start();
    let options = Options { opening: Duration::from_millis(500), ..options(&server) };
    server.kill();
    let started = Instant::now();
    assert!(matches!(JetStream::open(options).await.err(), Some(OpenError::Unreachable(_))));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_that_they_lost_some_when_the_server_comes_back() {
    let mut server = Server::start();
    let (here, there) = (open(&server).await, open(&server).await);
    let mut room = Writer::of_room("reconnect", 1);
    let mut watcher = here.watch();
    append(&there, &mut room, 1, 10).await;
    let told = tokio::time::timeout(Duration::from_secs(5), watcher.recv()).await.expect("told").expect("told");
    assert_eq!((&told.log, told.head), (room.log(), room.head()));
    server.kill();
    let (record, after) = room.next(1, 10);
    let outcome = here.append(room.log(), room.head(), record, after).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))), "{outcome:?}");
    server.start_again();
    append(&there, &mut room, 1, 10).await;
    let lagged = async {
        loop {
            match watcher.recv().await {
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => panic!("closed"),
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lagged).await.expect("made to lag");
    append(&here, &mut room, 1, 10).await;
    let last = async { while watcher.recv().await.ok().is_none_or(|moved| moved.head != room.head()) {} };
    tokio::time::timeout(Duration::from_secs(5), last).await.expect("told again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_leaves_no_call_waiting() {
    let server = Server::start();
    let hasty = Duration::from_millis(300);
    let logs = Options { request: hasty, operation: 3 * hasty, ..options(&server) };
    let logs = JetStream::open(logs).await.expect("opened");
    let mut room = Writer::of_room("paused", 1);
    append(&logs, &mut room, 1, 10).await;
    server.pause(true);
    let (record, after) = room.next(1, 10);
    let started = Instant::now();
    let outcome = logs.append(room.log(), room.head(), record, after).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    assert!(matches!(logs.head(room.log()).await, Err(StoreError::Unavailable(_))));
    assert!(started.elapsed() < 6 * hasty, "{:?}", started.elapsed());
    server.pause(false);
    // It was sent, and a server that goes on takes it, or takes the next attempt: once in any case.
    append(&logs, &mut room, 1, 10).await;
    assert_eq!(records(&logs, room.log()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_read_from_anywhere() {
    let server = Server::start_with(Version::Current, "");
    let logs = open(&server).await;
    let mut room = Writer::of_room("long", 1);
    let mut others: Vec<Writer> = (0..3).map(|nth| Writer::of_room(&format!("beside {nth}"), 1)).collect();
    let mut written = Vec::new();
    for nth in 0..400 {
        written.push(append(&logs, &mut room, 1 + nth % 4, 20).await);
        let other = &mut others[nth % 3];
        append(&logs, other, 1, 20).await;
    }
    for revision in (100..300).chain([1, 2, room.head().revision.0]) {
        logs.erase(room.log(), Revision(revision)).await.expect("erased");
        let record = written.iter_mut().find(|record| record.last >= Revision(revision)).expect("there");
        *record = erase_body(record, Revision(revision)).expect("a body");
    }
    let fresh = open(&server).await;
    for after in (0..=room.head().revision.0).rev().step_by(7).chain(90..310) {
        let expected: Vec<_> = written.iter().filter(|record| record.last > Revision(after)).take(3).cloned().collect();
        let bytes = expected.iter().map(|record| record.bytes.len()).sum::<usize>().saturating_sub(1);
        let read = fresh.read(room.log(), Revision(after), bytes).await.expect("read");
        assert_eq!(read, expected, "after {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tape_of_operations_agrees_with_the_model() {
    let soak = std::env::var_os("CHAMBERLAIN_SOAK").is_some();
    let mut server = Server::start();
    tape::play(&mut server, if soak { 100_000 } else { 4_000 }, tape::seed()).await;
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether any file below the folder holds these bytes.
fn somewhere_in(folder: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.into_iter().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            somewhere_in(&path, bytes)
        } else {
            std::fs::read(&path).is_ok_and(|all| holds(&all, bytes))
        }
    })
}
