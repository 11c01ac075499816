//! Servers that are not used: they could forget, are of another master key, or cannot do what is asked.

use chamberlain_core::id::KeyVersion;
use chamberlain_stores::valkey::{OpenError, Options};
use chamberlain_stores::{KeyVault, Marks, PutSecret, StoreError};

use super::opening::{impatient, open, open_as, room, secret};
use super::server::{STRICT, Server};

fn lax() -> Options {
    Options { lax: true, ..Options::default() }
}

async fn refused(server: &Server, options: Options) -> OpenError {
    open_as(&server.url(), 1, options).await.expect_err("refused")
}

#[tokio::test]
async fn a_server_that_could_forget_is_refused_and_told_what_to_set() {
    for (settings, set) in [
        (&[][..], "appendonly yes, appendfsync always"),
        (&["appendonly yes", "appendfsync everysec"][..], "appendfsync always"),
        (&["appendonly yes", "appendfsync no"], "appendfsync always"),
        (&["appendonly yes", "appendfsync always", "no-appendfsync-on-rewrite yes"], "no-appendfsync-on-rewrite no"),
    ] {
        let server = Server::with(settings);
        let why = refused(&server, Options::default()).await;
        let OpenError::Forgetful { set: told, .. } = &why else { panic!("{settings:?}: {why}") };
        assert_eq!(told, set, "{settings:?}");
        assert!(why.to_string().contains("insist"), "{why}");
        let insisted = open(&server, lax()).await;
        insisted.raise(&[("mark".to_owned(), 1)]).await.expect("raised");
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_whoever_insists() {
    let server = Server::with(&[STRICT, &["maxmemory-policy allkeys-lru"]].concat());
    for options in [Options::default(), lax()] {
        let why = refused(&server, options).await;
        assert!(why.to_string().contains("set maxmemory-policy noeviction"), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_begins_to_forget_is_refused_when_it_is_asked_again() {
    let server = Server::strict();
    let options = Options { vouch_again_after: std::time::Duration::ZERO, connections: 1, ..impatient() };
    let valkey = open(&server, options).await;
    valkey.raise(&[("mark".to_owned(), 1)]).await.expect("raised");
    assert_eq!(server.ask(&["CONFIG", "SET", "appendfsync", "everysec"]), "+OK");
    let outcome = valkey.raise(&[("mark".to_owned(), 2)]).await;
    assert!(
        matches!(&outcome, Err(StoreError::Unavailable(why)) if why.contains("set appendfsync always")),
        "{outcome:?}"
    );
    assert_eq!(server.ask(&["CONFIG", "SET", "appendfsync", "always"]), "+OK");
    super::faults::until_well(&valkey).await;
}

#[tokio::test]
async fn a_server_that_is_emptied_while_connected_is_refused_when_it_is_asked_again() {
    let server = Server::strict();
    let options = Options { vouch_again_after: std::time::Duration::ZERO, connections: 1, ..impatient() };
    let valkey = open(&server, options).await;
    valkey.put_if_absent(room(1), KeyVersion(0), &secret(1)).await.expect("put");
    assert_eq!(server.ask(&["FLUSHALL"]), "+OK");
    let put = valkey.put_if_absent(room(1), KeyVersion(0), &secret(2)).await;
    assert!(matches!(&put, Err(StoreError::Unavailable(why)) if why.contains("emptied")), "{put:?}");
    assert!(server.ask(&["DBSIZE"]).ends_with(":0"), "nothing was written");
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let server = Server::strict();
    let valkey = open(&server, Options::default()).await;
    valkey.put_if_absent(room(1), KeyVersion(0), &secret(1)).await.expect("put");
    let why = open_as(&server.url(), 2, Options::default()).await.expect_err("refused");
    assert!(matches!(why, OpenError::WrongMasterKey(_)), "{why}");
    let again = open(&server, Options::default()).await;
    assert_eq!(again.put_if_absent(room(1), KeyVersion(0), &secret(2)).await, Ok(PutSecret::Winner(secret(1))));
}

#[tokio::test]
async fn of_two_nodes_with_different_master_keys_that_begin_at_once_one_is_refused() {
    let server = Server::strict();
    let url = server.url();
    let (one, other) = tokio::join!(open_as(&url, 1, Options::default()), open_as(&url, 2, Options::default()));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test]
async fn an_empty_server_is_refused_where_there_are_logs() {
    let server = Server::strict();
    let why = refused(&server, Options { found: false, ..Options::default() }).await;
    assert!(matches!(why, OpenError::Missing(_)), "{why}");
    open(&server, Options::default()).await;
    open(&server, Options { found: false, ..Options::default() }).await;
}

#[tokio::test]
async fn a_copy_of_another_server_is_refused() {
    let server = Server::strict();
    let copy = Server::with(&[STRICT, &[&format!("replicaof 127.0.0.1 {}", server.port)]].concat());
    let why = refused(&copy, Options::default()).await;
    assert!(matches!(why, OpenError::Unfit { .. }), "{why}");
}

#[tokio::test]
async fn nothing_behind_an_address_is_told_in_time() {
    let why = open_as(&format!("valkey://127.0.0.1:{}", super::server::free_port()), 1, impatient())
        .await
        .expect_err("refused");
    assert!(matches!(why, OpenError::Unreachable { .. }), "{why}");
}

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused() {
    use chamberlain_core::id::{LogId, Revision};
    use chamberlain_stores::{Snapshot, SnapshotStore};
    let server = Server::strict();
    let valkey = open(&server, Options { snapshot_bytes: 1_000, ..Options::default() }).await;
    let log = LogId::Room(room(1));
    let snapshot = |bytes: usize| Snapshot { revision: Revision(1), bytes: vec![7; bytes].into() };
    valkey.put(&log, snapshot(1_000)).await.expect("put");
    let outcome = valkey.put(&log, snapshot(1_001)).await;
    assert!(matches!(&outcome, Err(StoreError::Invalid(why)) if why.contains("1000 go")), "{outcome:?}");
    assert_eq!(valkey.latest(&log).await, Ok(Some(snapshot(1_000))));
}
