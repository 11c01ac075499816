//! Servers that are killed, stand still, are emptied, exchanged or put back to an earlier time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chamberlain_core::id::KeyVersion;
use chamberlain_stores::valkey::{Options, Valkey};
use chamberlain_stores::{KeyVault, Marks, PutSecret, StoreError};

use tokio::sync::Notify;

use super::opening::{impatient, open, room, secret};
use super::server::{STRICT, Server};

/// How long a server that is well again may seem not to be.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until calls go through on every connection.
pub(crate) async fn until_well(valkey: &Valkey) {
    let began = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 4 {
        match valkey.raise(&[("well".to_owned(), 1)]).await {
            Ok(()) => in_a_row += 1,
            Err(why) => {
                in_a_row = 0;
                assert!(began.elapsed() < PATIENCE, "it is not well again: {why}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Waits until calls are refused for this reason; until then they are for another one.
async fn until_refused(valkey: &Valkey, reason: &str) {
    let began = Instant::now();
    loop {
        match KeyVault::get(valkey, room(1), KeyVersion(0)).await {
            Err(StoreError::Unavailable(why)) if why.contains("not the vault") && why.contains(reason) => return,
            Err(StoreError::Unavailable(why)) => assert!(began.elapsed() < PATIENCE, "{why}"),
            outcome => panic!("it is answered: {outcome:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_server_acknowledged_is_there() {
    let mut server = Server::strict();
    let valkey = open(&server, impatient()).await;
    let (mut put, mut marked) = (0_u32, [0_u64; 4]);
    for round in 0..6 {
        until_well(&valkey).await;
        let (stop, some) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let writing = {
            let (valkey, stop, some) = (valkey.clone(), stop.clone(), some.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match valkey.put_if_absent(room(1), KeyVersion(put), &secret(put.into())).await {
                        Ok(won) => {
                            assert_eq!(won, PutSecret::Winner(secret(put.into())));
                            put += 1;
                            some.notify_one();
                        }
                        // The same again: it finds its own.
                        Err(why) => assert!(is_transient(&why), "{why}"),
                    }
                }
                put
            })
        };
        let marking: Vec<_> = (0..4_usize)
            .map(|nth| {
                let (valkey, stop) = (valkey.clone(), stop.clone());
                let mut value = marked[nth];
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let marks = [(format!("one {nth}"), value + 1), (format!("other {nth}"), value + 1)];
                        match valkey.raise(&marks).await {
                            Ok(()) => value += 1,
                            Err(why) => assert!(is_transient(&why), "{why}"),
                        }
                    }
                    value
                })
            })
            .collect();
        tokio::time::timeout(Duration::from_secs(20), some.notified()).await.expect("something is put");
        tokio::time::sleep(Duration::from_millis(80 + round * 37 % 100)).await;
        server.kill();
        stop.store(true, Ordering::Relaxed);
        put = writing.await.expect("it wrote");
        for (nth, marking) in marking.into_iter().enumerate() {
            marked[nth] = marking.await.expect("it marked");
        }
        server.restart();
        until_well(&valkey).await;
        let versions: Vec<KeyVersion> = (0..put).map(KeyVersion).collect();
        let stored = valkey.get_many(room(1), &versions).await.expect("got");
        assert!(stored.iter().zip(0..).all(|(stored, seed)| *stored == Some(secret(seed))), "round {round}");
        for (nth, least) in marked.iter().enumerate() {
            let names = [format!("one {nth}"), format!("other {nth}")];
            let values = Marks::get(&valkey, &names).await.expect("got");
            assert!(
                values[0] >= *least && values[0] == values[1],
                "round {round}: {values:?}, {least} was acknowledged"
            );
        }
    }
}

fn is_transient(why: &StoreError) -> bool {
    matches!(why, StoreError::Unavailable(_) | StoreError::Unknown(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_costs_a_deadline_and_is_well_again() {
    let server = Server::strict();
    let options = impatient();
    let patience = options.deadline + Duration::from_secs(1);
    let valkey = open(&server, options).await;
    until_well(&valkey).await;
    server.pause();
    let mut unknown = 0;
    let began = Instant::now();
    for version in 0..3 {
        let asked = Instant::now();
        let outcome = valkey.put_if_absent(room(1), KeyVersion(version), &secret(version.into())).await;
        assert!(asked.elapsed() < patience, "it took {:?}", asked.elapsed());
        match outcome {
            // It was sent over a connection that was good.
            Err(StoreError::Unknown(_)) => unknown += 1,
            // There was no connection to send it over.
            Err(StoreError::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
        let outcome = KeyVault::get(&valkey, room(1), KeyVersion(version)).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert!((1..=2).contains(&unknown), "one for each good connection at most, and {unknown} were");
    tokio::time::sleep(Duration::from_secs(2).saturating_sub(began.elapsed())).await;
    server.resume();
    until_well(&valkey).await;
    for version in 0..3 {
        let put = valkey.put_if_absent(room(1), KeyVersion(version), &secret(version.into())).await;
        assert_eq!(put, Ok(PutSecret::Winner(secret(version.into()))), "it, or its earlier attempt, won");
    }
}

#[tokio::test]
async fn many_calls_at_once_wait_no_longer_than_one() {
    let server = Server::strict();
    let options = impatient();
    let patience = options.deadline + Duration::from_secs(1);
    let valkey = open(&server, Options { in_flight: 16, ..options }).await;
    server.pause();
    let began = Instant::now();
    let calls: Vec<_> = (0..300)
        .map(|nth| {
            let valkey = valkey.clone();
            tokio::spawn(async move { valkey.raise(&[(format!("mark {nth}"), 1)]).await })
        })
        .collect();
    for call in calls {
        let outcome = call.await.expect("called");
        assert!(matches!(&outcome, Err(why) if is_transient(why)), "{outcome:?}");
    }
    assert!(began.elapsed() < patience, "{:?}", began.elapsed());
    server.resume();
    until_well(&valkey).await;
}

#[tokio::test]
async fn a_server_that_was_emptied_is_noticed_and_not_begun_anew() {
    let mut server = Server::strict();
    let valkey = open(&server, impatient()).await;
    valkey.put_if_absent(room(1), KeyVersion(0), &secret(1)).await.expect("put");
    server.kill();
    let files = server.replace_files(None);
    server.restart();
    until_refused(&valkey, "emptied").await;
    let put = valkey.put_if_absent(room(1), KeyVersion(0), &secret(2)).await;
    assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
    // Another node begins there, as if that were right: still not ours.
    let other = open(&server, impatient()).await;
    until_refused(&valkey, "another vault").await;
    drop(other);
    server.kill();
    drop(server.replace_files(Some(files.path())));
    server.restart();
    until_well(&valkey).await;
    assert_eq!(KeyVault::get(&valkey, room(1), KeyVersion(0)).await, Ok(Some(secret(1))));
}

#[tokio::test]
async fn a_server_put_back_to_an_earlier_time_is_noticed() {
    let mut server = Server::strict();
    let earlier_node = open(&server, impatient()).await;
    earlier_node.put_if_absent(room(1), KeyVersion(0), &secret(1)).await.expect("put");
    let copy = server.copy_files();
    let valkey = open(&server, impatient()).await;
    valkey.put_if_absent(room(1), KeyVersion(1), &secret(2)).await.expect("put");
    server.kill();
    let latest = server.replace_files(Some(copy.path()));
    server.restart();
    until_refused(&valkey, "earlier time").await;
    server.kill();
    drop(server.replace_files(Some(latest.path())));
    server.restart();
    until_well(&valkey).await;
    assert_eq!(KeyVault::get(&valkey, room(1), KeyVersion(1)).await, Ok(Some(secret(2))));
}

#[tokio::test]
async fn a_write_is_acknowledged_once_replicas_have_it() {
    let server = Server::strict();
    // Replicas tell of their disks about once a second.
    let patience = Duration::from_secs(2);
    let options =
        Options { replicas: 1, connections: 1, deadline: patience, connect_deadline: patience, ..impatient() };
    if !server.can_wait() {
        let why = super::opening::open_as(&server.url(), 1, options).await.expect_err("refused");
        assert!(why.to_string().contains("WAITAOF"), "{why}");
        return;
    }
    let why = super::opening::open_as(&server.url(), 1, options.clone()).await.expect_err("refused");
    assert!(why.to_string().contains("0 replicas acknowledged"), "{why}");
    let copy = Server::with(&[STRICT, &[&format!("replicaof 127.0.0.1 {}", server.port)]].concat());
    let began = Instant::now();
    let valkey = loop {
        match super::opening::open_as(&server.url(), 1, options.clone()).await {
            Ok(valkey) => break valkey,
            Err(why) => assert!(began.elapsed() < PATIENCE, "{why}"),
        }
    };
    valkey.put_if_absent(room(1), KeyVersion(0), &secret(1)).await.expect("put");
    let other = super::opening::open_as(&server.url(), 1, options).await.expect("opened");
    copy.pause();
    let put = valkey.put_if_absent(room(1), KeyVersion(1), &secret(2)).await;
    assert!(matches!(&put, Err(StoreError::Unknown(why)) if why.contains("0 of 1 replicas")), "{put:?}");
    // What another node finds, and is not yet on the replica, is no answer either.
    let again = other.put_if_absent(room(1), KeyVersion(1), &secret(2)).await;
    assert!(matches!(&again, Err(StoreError::Unknown(_))), "{again:?}");
    copy.resume();
    until_well(&valkey).await;
    assert_eq!(valkey.put_if_absent(room(1), KeyVersion(1), &secret(3)).await, Ok(PutSecret::Winner(secret(2))));
}
